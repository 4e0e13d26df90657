//! Pictures and clips, as models of several families look at them.

use std::io::Cursor;

use anyhow::Context;
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, RgbaImage};
use mmlens_core::{Clip, Picture, Sample, SubjectError};

use crate::{Outcome, Room, checkpoint};

/// One of each way to prepare pictures.
const LOOKING: [&str; 8] =
    ["llava-a", "smolvlm-a", "qwen2-vl-a", "clip-a", "vit-a", "blip-a", "llava-next-a", "qwen3-vl-a"];

/// The models that take clips.
const WATCHING: [&str; 2] = ["qwen2-vl-a", "qwen3-vl-a"];

/// What the files are called: no word of a message.
const PICTURE: &str = "shown.bin";
const CLIP: &str = "moving.gif";

fn drawn(width: u32, height: u32, turn: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        image::Rgba([(x * 40 + turn) as u8, (y * 50) as u8, (x * y + 9 * turn) as u8, 255 - (x * 7) as u8])
    })
}

/// A picture in every format and several kinds of pixels, behind a byte that says who looks at it.
pub(crate) fn seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    let rgba = DynamicImage::ImageRgba8(drawn(6, 5, 0));
    let mut all = Vec::new();
    let mut push = |picture: &DynamicImage, format| -> anyhow::Result<()> {
        let mut bytes = vec![all.len() as u8];
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format)?;
        bytes.extend(file.into_inner());
        all.push(bytes);
        Ok(())
    };
    for format in [Png, WebP, Bmp, Gif] {
        push(&rgba, format)?;
    }
    let rgb = DynamicImage::ImageRgb8(rgba.to_rgb8());
    push(&rgb, Jpeg)?;
    push(&rgb, Bmp)?;
    push(&DynamicImage::ImageLuma8(rgba.to_luma8()), Jpeg)?;
    push(&DynamicImage::ImageLuma16(rgba.to_luma16()), Png)?;
    push(&DynamicImage::ImageRgba16(rgba.to_rgba16()), Png)?;
    let folder = mmlens_testkit::fixtures().join("pictures");
    let mut files = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "png")) {
        all.push([vec![all.len() as u8], std::fs::read(file)?].concat());
    }
    Ok(all)
}

/// Opens the picture and has it looked at.
pub(crate) fn once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((who, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let path = room.file(PICTURE, contents)?;
    let picture = match Picture::open(&path) {
        Ok(picture) => picture,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let name = LOOKING.get(usize::from(*who) % LOOKING.len()).context("a model that looks")?;
    let subject = room.subject(name)?;
    let mut sample = checkpoint::sample(room.takes(name, checkpoint::first_taken)?)?;
    sample.pictures = vec![picture];
    Ok(seen(checkpoint::run(subject, &sample), (name, PICTURE), room))
}

/// Animated GIFs of some frames, the last one with a smaller one behind.
pub(crate) fn clip_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for (i, frames) in [1_u32, 2, 5].into_iter().enumerate() {
        let mut bytes = vec![i as u8];
        {
            let mut encoder = GifEncoder::new(&mut bytes);
            let turns = (0..frames).map(|turn| Frame::new(drawn(8, 6, turn * 30)));
            encoder.encode_frames(turns)?;
            if frames == 5 {
                encoder.encode_frame(Frame::from_parts(
                    drawn(3, 2, 9),
                    2,
                    1,
                    image::Delay::from_numer_denom_ms(40, 1),
                ))?;
            }
        }
        all.push(bytes);
    }
    Ok(all)
}

/// Opens the clip and has it watched.
pub(crate) fn clip_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((who, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let path = room.file(CLIP, contents)?;
    let clip = match Clip::open(&path, None) {
        Ok(clip) => clip,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let name = WATCHING.get(usize::from(*who) % WATCHING.len()).context("a model that watches")?;
    let subject = room.subject(name)?;
    let words = mmlens_core::Words::Question("what?".to_owned());
    let sample = Sample::new(vec![], words).with_clips(vec![clip]);
    Ok(seen(checkpoint::run(subject, &sample), (name, CLIP), room))
}

/// What a model refuses it refuses by the picture's name, which is not the file's path, or by a setting of its own.
fn seen(outcome: Result<(), SubjectError>, (model, file): (&str, &str), room: &Room) -> Outcome {
    let Err(error) = outcome else { return Outcome::Accepted };
    let said = error.to_string();
    Outcome::Refused(match said.contains(file) {
        true => format!("{}: {said}", room.path().display()),
        false => checkpoint::behind(model, room.path(), &said),
    })
}
