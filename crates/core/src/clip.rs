//! A piece of video, from the files of its frames.

use std::cmp::Ordering;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::DynamicImage;
use mmlens_finding::{ClipRecord, Source};

use crate::gif::Frames;
use crate::picture::{
    Fault, MOST_PICTURE_BYTES, MOST_PICTURE_PIXELS, filled, hash, level, opened as opened_picture, regular,
    within,
};
use crate::{SubjectError, caught};

/// How files end that are taken for frames.
const ENDS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];
/// The most pixels that the frames of a clip may have together: 1 GiB of them.
pub const MOST_CLIP_PIXELS: u64 = 1 << 28;
/// The most frames of a clip.
pub const MOST_CLIP_FRAMES: usize = 1 << 14;
/// The most bytes of a list of frames.
const MOST_LIST: u64 = 1 << 23;

/// A piece of video: pictures in the order of time.
#[derive(Debug, Clone)]
pub struct Clip {
    /// What it is called in findings and reports.
    pub name: String,
    /// The frames, all of one size.
    pub frames: Vec<Arc<DynamicImage>>,
    /// Frames in a second, where it is known.
    pub fps: Option<f64>,
    /// Where they came from.
    pub source: Source,
}

impl Clip {
    /// A clip from memory.
    pub fn new(name: impl Into<String>, frames: Vec<Arc<DynamicImage>>, fps: Option<f64>) -> Self {
        Self { name: name.into(), frames, fps, source: Source::Memory }
    }

    /// A clip of the same length whose frames show its mean colour alone, that of all frames together.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for a clip without frames, or of colours that are not taken.
    pub fn mean_colour(&self) -> Result<Self, SubjectError> {
        let colour = level(&self.name, self.frames.iter().map(AsRef::as_ref))?;
        Ok(Self {
            name: format!("mean colour of {}", self.name),
            frames: self.frames.iter().map(|frame| filled(frame, colour)).collect(),
            fps: self.fps,
            source: Source::MeanColourOf(Box::new(self.source.clone())),
        })
    }

    /// What a finding keeps of it.
    pub(crate) fn record(&self) -> ClipRecord {
        ClipRecord {
            name: self.name.clone(),
            source: self.source.clone(),
            fps: self.fps,
            frames: self.frames.iter().map(|frame| hash(frame)).collect(),
        }
    }

    /// A clip from a folder with one picture for each frame, in the order of their names, numbers in them counting as
    /// numbers (`2.png` comes before `10.png`); from a text file that lists the frames, one path a line, relative to
    /// itself; from the paths of the frames with commas between; or from an animated GIF, which also says how fast it is
    /// unless `fps` does.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] if a file cannot be read, there are no frames, or more than [`MOST_CLIP_FRAMES`] or
    /// [`MOST_CLIP_PIXELS`].
    ///
    /// # Memory
    /// The frames; beside them one, and what decoding it takes.
    pub fn open(path: impl AsRef<Path>, fps: Option<f64>) -> Result<Self, SubjectError> {
        let path = path.as_ref();
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let (files, source) = (Self::files(path)?, Source::File(path.display().to_string()));
        if files == [path] && ends_with(path, "gif") {
            let (frames, own) = animated(path)?;
            return Ok(Self { name, frames, fps: fps.or(own), source });
        }
        Ok(Self { name, frames: opened(path, &files)?, fps, source })
    }

    /// The files of the frames of a clip that [`Clip::open`] would open, in their order; of an animated GIF the GIF.
    ///
    /// # Errors
    /// [`SubjectError::Picture`] for a folder or a list that cannot be read, or what is none of these.
    pub fn files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, SubjectError> {
        let path = path.as_ref();
        if !path.exists()
            && let Some(list) = path.to_str().filter(|text| text.contains(','))
        {
            return Ok(list.split(',').map(PathBuf::from).collect());
        }
        if path.is_dir() {
            return in_folder(path);
        }
        if ends_with(path, "gif") {
            return Ok(vec![path.to_owned()]);
        }
        if ends_with(path, "txt") {
            return listed(path);
        }
        Err(fail(
            path,
            "a clip is a folder of frames, a list of them (.txt, or with commas) or an animated GIF",
        ))
    }
}

fn fail(path: &Path, reason: impl ToString) -> SubjectError {
    SubjectError::Picture { path: path.display().to_string(), reason: reason.to_string() }
}

fn ends_with(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(end))
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, SubjectError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| fail(folder, e))? {
        let file = entry.map_err(|e| fail(folder, e))?.path();
        if ENDS.iter().any(|end| ends_with(&file, end)) {
            files.push(file);
            few(folder, files.len())?;
        }
    }
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    files.sort_by(|a, b| in_order(&name(a), &name(b)));
    Ok(files)
}

fn listed(list: &Path) -> Result<Vec<PathBuf>, SubjectError> {
    let text = mmlens_files::read_text(list, MOST_LIST).map_err(|e| fail(list, e))?;
    let folder = list.parent().unwrap_or_else(|| Path::new(""));
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| folder.join(line)).collect())
}

fn opened(path: &Path, files: &[PathBuf]) -> Result<Vec<Arc<DynamicImage>>, SubjectError> {
    few(path, files.len())?;
    let mut frames = Vec::with_capacity(files.len());
    let mut left = MOST_CLIP_PIXELS;
    for file in files {
        let frame = opened_picture(file, left).map_err(|fault| match fault {
            Fault::Beyond => too_many_pixels(path),
            other => fail(file, other),
        })?;
        left -= u64::from(frame.width()) * u64::from(frame.height());
        frames.push(Arc::new(frame));
    }
    if frames.is_empty() { Err(fail(path, "it has no frames")) } else { Ok(frames) }
}

fn few(path: &Path, frames: usize) -> Result<(), SubjectError> {
    match frames <= MOST_CLIP_FRAMES {
        true => Ok(()),
        false => Err(fail(path, format!("it has more than {MOST_CLIP_FRAMES} frames"))),
    }
}

fn too_many_pixels(path: &Path) -> SubjectError {
    fail(path, format!("its frames have more than {MOST_CLIP_PIXELS} pixels together"))
}

/// The frames of a GIF, and how many of them a second has.
fn animated(path: &Path) -> Result<(Vec<Arc<DynamicImage>>, Option<f64>), SubjectError> {
    caught(|| frames_of(path)).unwrap_or_else(|panic| Err(fail(path, panic)))
}

fn frames_of(path: &Path) -> Result<(Vec<Arc<DynamicImage>>, Option<f64>), SubjectError> {
    let file = regular(path, MOST_PICTURE_BYTES).map_err(|e| fail(path, e))?;
    let mut coming = Frames::new(BufReader::new(file)).map_err(|e| fail(path, e))?;
    within(coming.dimensions(), MOST_PICTURE_PIXELS).map_err(|e| fail(path, e))?;
    let (mut frames, mut left, mut hundredths) = (Vec::new(), MOST_CLIP_PIXELS, 0_u64);
    while let Some(frame) = coming.read().map_err(|e| fail(path, e))? {
        few(path, frames.len() + 1)?;
        let pixels = u64::from(frame.image.width()) * u64::from(frame.image.height());
        left = left.checked_sub(pixels).ok_or_else(|| too_many_pixels(path))?;
        hundredths += u64::from(frame.hundredths);
        frames.push(Arc::new(frame.image));
    }
    if frames.is_empty() {
        return Err(fail(path, "it has no frames"));
    }
    let fps = (hundredths > 0).then(|| frames.len() as f64 * 100.0 / hundredths as f64);
    Ok((frames, fps))
}

/// By text, except that runs of digits count as the number they are.
fn in_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let ((n, after), (m, behind)) = (left.split_at(digits(left)), right.split_at(digits(right)));
            let (n, m) = (n.trim_start_matches('0'), m.trim_start_matches('0'));
            match n.len().cmp(&m.len()).then_with(|| n.cmp(m)) {
                Ordering::Equal => (left, right) = (after, behind),
                other => return other,
            }
        } else if x == y {
            (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
        } else {
            return x.cmp(&y);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame, Rgb, RgbImage};

    use super::*;

    fn frame(level: u8) -> DynamicImage {
        DynamicImage::ImageRgb8(RgbImage::from_pixel(3, 2, Rgb([level; 3])))
    }

    fn levels(clip: &Clip) -> Vec<u8> {
        clip.frames.iter().map(|f| f.to_rgb8().get_pixel(0, 0).0[0]).collect()
    }

    #[test]
    fn frames_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for (name, level) in [("f10.png", 30), ("f2.png", 20), ("f001.png", 10)] {
            frame(level).save(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("notes.md"), "no frame").unwrap();
        assert_eq!(levels(&Clip::open(folder.path(), Some(2.0)).unwrap()), [10, 20, 30]);
        let list = folder.path().join("frames.txt");
        std::fs::write(&list, "f10.png\n\nf001.png\nf10.png\n").unwrap();
        assert_eq!(levels(&Clip::open(&list, None).unwrap()), [30, 10, 30]);
        let paths = ["f2.png", "f10.png"].map(|name| folder.path().join(name).display().to_string());
        assert_eq!(levels(&Clip::open(paths.join(","), None).unwrap()), [20, 30]);
        assert_eq!(in_order("a1b", "a01b"), Ordering::Greater);
        assert_eq!(in_order("a2", "a10"), Ordering::Less);
        assert_eq!(in_order("é1", "é1x"), Ordering::Less);
    }

    #[test]
    fn a_gif_says_how_fast_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gif");
        let mut encoder = GifEncoder::new(File::create(&file).unwrap());
        for level in [0, 255] {
            let delay = Delay::from_numer_denom_ms(250, 1);
            encoder.encode_frame(Frame::from_parts(frame(level).to_rgba8(), 0, 0, delay)).unwrap();
        }
        drop(encoder);
        let clip = Clip::open(&file, None).unwrap();
        assert_eq!((levels(&clip), clip.fps), (vec![0, 255], Some(4.0)));
        assert_eq!(clip.frames[0].color(), image::ColorType::Rgb8);
        assert_eq!(Clip::open(&file, Some(7.0)).unwrap().fps, Some(7.0));
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| Clip::open(path, None).unwrap_err().to_string();
        assert!(said(folder.path()).contains("it has no frames"));
        assert!(said(&folder.path().join("a.mp4")).contains("a folder of frames"));
        let file = folder.path().join("a.png");
        std::fs::write(&file, "no picture").unwrap();
        assert!(said(folder.path()).contains("a.png"));
    }

    /// A frame is a picture, and may be no larger than one, whatever the frames of a clip may have together.
    #[test]
    fn a_canvas_larger_than_a_picture_is_refused_before_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gif");
        let mut encoder = GifEncoder::new(File::create(&file).unwrap());
        encoder.encode_frame(Frame::new(frame(9).to_rgba8())).unwrap();
        drop(encoder);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[6..10].copy_from_slice(&[0x08, 0x96, 0x15, 0x18]);
        std::fs::write(&file, bytes).unwrap();
        let said = Clip::open(&file, None).unwrap_err().to_string();
        assert!(said.ends_with("38408 x 6165 pixels, expected at most 90000000 of them"), "{said}");
    }

    /// A GIF of frames of 3 x 2 pixels, its bytes changed.
    fn gif(folder: &Path, frames: usize, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for _ in 0..frames {
            encoder.encode_frame(Frame::new(frame(0).to_rgba8())).unwrap();
        }
        drop(encoder);
        change(&mut bytes);
        let file = folder.join("a.gif");
        std::fs::write(&file, bytes).unwrap();
        file
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| Clip::open(path, None).unwrap_err().to_string();
        // Width and height of the canvas are 2 bytes each behind 6, little endian.
        let large = gif(folder.path(), 1, |bytes| bytes[6..10].fill(0xff));
        assert!(
            said(&large).ends_with("65535 x 65535 pixels, expected at most 90000000 of them"),
            "{}",
            said(&large)
        );
        // Those of a frame stand 5 bytes behind the comma that begins it.
        let wide = gif(folder.path(), 2, |bytes| {
            let begun = bytes.iter().rposition(|byte| *byte == b',').unwrap();
            bytes[begun + 5..begun + 9].fill(0xff);
        });
        let expected = "frame 1 is larger than the canvas of 3 x 2 pixels";
        assert!(said(&wide).ends_with(expected), "{}", said(&wide));
        assert_eq!(Clip::open(gif(folder.path(), 2, |_| ()), None).unwrap().frames.len(), 2);
        let many = gif(folder.path(), MOST_CLIP_FRAMES + 1, |_| ());
        assert!(said(&many).ends_with("it has more than 16384 frames"), "{}", said(&many));
        let list = folder.path().join("a.txt");
        std::fs::write(&list, "none.png\n".repeat(MOST_CLIP_FRAMES + 1)).unwrap();
        assert!(said(&list).ends_with("it has more than 16384 frames"), "{}", said(&list));
    }
}
