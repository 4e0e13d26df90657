//! Pictures, recordings and words from the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::error::ErrorKind;
use image::codecs::jpeg::JpegEncoder;
use mmlens::core::{Clip, Inputs, Picture, Sample, Subject, Words, kind};
use mmlens::finding::{Caution, CautionKind, Modality, TokenLabel};
use mmlens::report;

use crate::audio::AudioArgs;
use crate::refusal::Refusal;

/// A question about pictures or recordings, captions to compare them with, or pictures alone for models that need no words.
#[derive(Debug, Args)]
pub(crate) struct QuestionArgs {
    /// A picture (PNG, JPEG, WebP, BMP, GIF); repeat it for several, in the order the model should see them.
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    clips: ClipArgs,
    #[command(flatten)]
    audio: AudioArgs,
    #[command(flatten)]
    words: WordsArgs,
}

/// Clips, for models that take them.
#[derive(Debug, Args)]
pub(crate) struct ClipArgs {
    /// A clip, for models that take them: a folder of frames, a list of them (.txt, or with commas) or an animated GIF; repeat it for
    /// several. Clips come after pictures.
    #[arg(long = "video", value_name = "FOLDER")]
    videos: Vec<PathBuf>,
    /// Frames in a second, of every clip.
    #[arg(long, value_name = "F", requires = "videos")]
    fps: Option<f64>,
}

impl ClipArgs {
    pub(crate) fn clips(&self) -> Result<Vec<Clip>> {
        Ok(self.videos.iter().map(|path| Clip::open(path, self.fps)).collect::<Result<_, _>>()?)
    }

    /// What was given, for the record.
    pub(crate) fn named(&self) -> Vec<String> {
        self.videos.iter().map(|path| path.display().to_string()).collect()
    }

    /// The files and folders they are made of.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        let files = |path: &PathBuf| Clip::files(path).unwrap_or_default();
        self.videos.iter().flat_map(move |path| files(path).into_iter().chain([path.clone()]))
    }

    pub(crate) fn fps(&self) -> Option<f64> {
        self.fps
    }
}

/// What is asked of the pictures.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct WordsArgs {
    /// The question, put through the checkpoint's chat template.
    #[arg(long, value_name = "QUESTION")]
    ask: Option<String>,
    /// The text as it is, with placeholders as the checkpoint's processor writes them before expansion.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A caption, for dual encoders (CLIP, SigLIP); repeat it for several.
    #[arg(long, value_name = "CAPTION")]
    text: Vec<String>,
}

impl QuestionArgs {
    /// The files and folders of its pictures, clips and recordings.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        self.images.iter().cloned().chain(self.clips.inputs()).chain(self.audio.inputs())
    }

    /// What was said, in one of three ways.
    pub(crate) fn said(&self) -> (Option<String>, Option<String>, Vec<String>) {
        let WordsArgs { ask, prompt, text } = &self.words;
        (ask.clone(), prompt.clone(), text.clone())
    }

    pub(crate) fn sample(&self) -> Result<Sample> {
        let WordsArgs { ask, prompt, text } = &self.words;
        let nothing = self.images.is_empty() && self.audio.is_empty();
        if ask.is_none() && prompt.is_none() && text.is_empty() && nothing {
            let said = "nothing is asked: give --ask, --prompt or --text, or --image or --audio alone where a model needs no words\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, said).into());
        }
        let words = words(ask.as_ref(), prompt.as_ref(), text);
        let sample = Sample::new(pictures(&self.images)?, words).with_clips(self.clips.clips()?);
        Ok(sample.with_recordings(self.audio.sounds()?))
    }
}

/// What was said, in one of three ways, or nothing.
pub(crate) fn words(ask: Option<&String>, prompt: Option<&String>, texts: &[String]) -> Words {
    match (ask, prompt, texts) {
        (Some(question), ..) => Words::Question(question.clone()),
        (_, Some(prompt), _) => Words::Prompt(prompt.clone()),
        (.., []) => Words::Nothing,
        (.., texts) => Words::Texts(texts.to_vec()),
    }
}

/// Words as the user wrote them, captions side by side.
pub(crate) fn written(words: &Words) -> String {
    match words {
        Words::Question(text) | Words::Prompt(text) => text.clone(),
        Words::Texts(texts) => texts.join(" | "),
        Words::Nothing => String::new(),
    }
}

/// Words that a model has no token for, and reads as one that stands for all such: of every row, each once.
pub(crate) fn unknown(inputs: &Inputs) -> Option<Caution> {
    let mut all: Vec<(String, String)> = Vec::new();
    for map in &inputs.maps {
        // What stands for a picture becomes several tokens, all of the same place.
        let mut there: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for bytes in map.tokens.iter().filter_map(|token| token.bytes) {
            *there.entry(bytes).or_default() += 1;
        }
        let read = |token: &TokenLabel| {
            let special = token.modality == Modality::Special;
            let (from, to) = token.bytes.filter(|bytes| special && there.get(bytes) == Some(&1))?;
            let written = map.text.get(from..to)?.trim();
            (written != token.text.trim()).then(|| (written.to_owned(), token.text.clone()))
        };
        for found in map.tokens.iter().filter_map(read) {
            if !all.contains(&found) {
                all.push(found);
            }
        }
    }
    let (_, stands) = all.first()?;
    let words: Vec<String> = all.iter().map(|(word, _)| format!("`{word}`")).collect();
    let text = format!("the model has no token for {}, and reads `{stands}`", words.join(", "));
    Some(Caution::new(CautionKind::UnknownWords, words.len() as f32, text))
}

/// Refuses captions where a question is needed, and the other way round.
pub(crate) fn suited(subject: &dyn Subject, words: &Words) -> Result<(), Refusal> {
    let model = || subject.name().to_owned();
    match (words, kind::compares(subject)) {
        (Words::Texts(_), false) if !kind::takes_texts(subject) => {
            Err(Refusal::NoCaptions { model: model() })
        }
        (Words::Question(_) | Words::Prompt(_) | Words::Nothing, true) => {
            Err(Refusal::Captions { model: model() })
        }
        _ => Ok(()),
    }
}

/// The pictures of some files.
pub(crate) fn pictures(files: &[PathBuf]) -> Result<Vec<Picture>> {
    Ok(files.iter().map(Picture::open).collect::<Result<_, _>>()?)
}

/// The frames of clips that patches begin at, as the page shows them; clips come after `pictures` pictures.
pub(crate) fn frames_on_page(
    clips: &[Clip],
    pictures: usize,
    prompt: &[TokenLabel],
) -> Result<Vec<report::Picture>> {
    let mut shown = Vec::new();
    for (at, clip) in clips.iter().enumerate() {
        let image = pictures + at;
        let begun: BTreeSet<usize> =
            prompt.iter().filter_map(|t| t.patch).filter(|p| p.image == image).map(|p| p.frame).collect();
        for frame in begun {
            let Some(pixels) = clip.frames.get(frame) else { continue };
            let name = format!("{}, frame {frame}", clip.name);
            let named = Picture { name, image: pixels.clone(), source: clip.source.clone() };
            shown.push(on_page(&named)?.at(image, frame));
        }
    }
    Ok(shown)
}

/// More pixels than this are put on a page as JPEG, which is smaller.
const MOST_EXACT: u64 = 1 << 20;
const QUALITY: u8 = 90;

/// A picture as the page shows it: upright, on white where it is transparent, at its original size.
pub(crate) fn on_page(picture: &Picture) -> Result<report::Picture> {
    let (name, pixels) = (picture.name.clone(), picture.rgb()?);
    if u64::from(pixels.width()) * u64::from(pixels.height()) <= MOST_EXACT {
        return Ok(report::Picture::from_rgb(name, &pixels)?);
    }
    let mut bytes = Cursor::new(Vec::new());
    pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
    Ok(report::Picture::from_bytes(name, bytes.into_inner())?)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn what_is_transparent_is_white() {
        let mut pixels = image::RgbaImage::new(3, 1);
        pixels.put_pixel(1, 0, image::Rgba([10, 20, 30, 255]));
        // 100 * 51 / 255 + 255 * 204 / 255 = 20 + 204
        pixels.put_pixel(2, 0, image::Rgba([100, 100, 100, 51]));
        let on_white = Picture::new("pale", pixels).rgb().unwrap().into_raw();
        assert_eq!(on_white, [255, 255, 255, 10, 20, 30, 224, 224, 224]);
    }

    #[test]
    fn large_pictures_stay_whole_on_a_page() {
        let large = Picture::new("large", RgbImage::from_pixel(1025, 1024, Rgb([200, 30, 40])));
        let shown = on_page(&large).unwrap();
        assert_eq!(shown.dimensions(), (1025, 1024));
        let Rgb([red, green, blue]) = *shown.pixels().unwrap().get_pixel(500, 500);
        assert!(red > 190 && green < 45 && blue < 55, "{red} {green} {blue}");
    }
}
