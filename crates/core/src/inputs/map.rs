//! What each position of a prompt is, and where it lies on the pictures and recordings.

use mmlens_finding::{HeardPlace, Modality, PatchLabel, TokenLabel};

use super::Heard;
use crate::Part;

/// How one picture (or tile) given to a tower lies on the original picture; of a recording, how its spectrogram lies on that of the sound.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which picture of the sample; clips are counted behind pictures, recordings behind clips.
    pub image: usize,
    /// For every pixel row (or filter, the lowest first) given to the tower, its extent in rows of the original picture.
    pub rows: Vec<[f32; 2]>,
    /// For every pixel column (or frame) given to the tower, its extent in columns of the original picture.
    pub cols: Vec<[f32; 2]>,
}

/// What a position of a tower is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TowerPosition {
    /// A part of a picture, or a stretch of a recording.
    Patch(PatchLabel),
    /// A class token, which stands for the whole.
    Class,
    /// Padding behind a recording: the tower hears it, and it is part of nothing.
    Padding,
}

impl TowerPosition {
    /// What it shows or plays, if anything.
    #[must_use]
    pub const fn patch(self) -> Option<PatchLabel> {
        match self {
            Self::Patch(patch) => Some(patch),
            Self::Class | Self::Padding => None,
        }
    }
}

/// What each position of one prompt is: a piece of text, a patch of a picture or a part of a recording.
///
/// Positions are counted without padding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenMap {
    /// One label for each position.
    pub tokens: Vec<TokenLabel>,
    /// The text in which the bytes of tokens are counted, placeholders not yet expanded: the prompt as the template made it. Empty where
    /// there is none.
    pub text: String,
    /// Width and height of each original picture; of a clip those of its frames, of a recording the frames of the sound and the
    /// filters of its spectrogram.
    pub pictures: Vec<(u32, u32)>,
    /// What the last of these show: one for each recording.
    pub sounds: Vec<Heard>,
    /// One view for each entry that belongs to this prompt, of the image tower first, then of the audio tower.
    pub views: Vec<View>,
    /// Where the image tower is given patches instead of pictures, or no position shows a picture (dual encoders, classifiers): one label for
    /// each patch of the tower, in their order. Else empty.
    pub patches: Vec<PatchLabel>,
    /// Positions that fill a text up to a fixed length and that attention sees, as SigLIP's do. They are no words, and means of
    /// what enters the first block leave them out.
    pub padding: Vec<usize>,
    /// Where an answer begins that stands behind the prompt, if one does: it goes on to the end.
    pub answer: Option<usize>,
}

impl TokenMap {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Positions of the prompt: all but those of an answer behind it.
    pub fn prompt(&self) -> std::ops::Range<usize> {
        0..self.answer.unwrap_or(self.len()).min(self.len())
    }

    /// Positions of the answer behind the prompt; none, if there is none.
    pub fn reply(&self) -> std::ops::Range<usize> {
        self.prompt().end..self.len()
    }

    /// Positions that hold a modality.
    pub fn of(&self, modality: Modality) -> Vec<usize> {
        self.filter(|t| t.modality == modality)
    }

    /// Positions of the patches of a picture, or of the parts of a recording.
    pub fn picture(&self, image: usize) -> Vec<usize> {
        self.filter(|t| t.patch.as_ref().is_some_and(|p| p.image == image))
    }

    /// Positions of the patches that touch a box (x0, y0, x1, y1 in pixels of the original picture).
    pub fn covering(&self, image: usize, bbox: [f32; 4]) -> Vec<usize> {
        self.filter(|t| {
            t.patch.as_ref().is_some_and(|p| {
                let b = p.bbox;
                p.image == image && b[0] < bbox[2] && bbox[0] < b[2] && b[1] < bbox[3] && bbox[1] < b[3]
            })
        })
    }

    /// Positions of the text tokens that share a byte with a range of the prompt; none with an empty one.
    pub fn bytes(&self, start: usize, end: usize) -> Vec<usize> {
        self.filter(|t| t.bytes.is_some_and(|(a, b)| a.max(start) < b.min(end)))
    }

    /// Which of the pictures is the first that is a recording; their number, if none is.
    pub fn first_sound(&self) -> usize {
        self.pictures.len().saturating_sub(self.sounds.len())
    }

    /// What a picture shows that is a recording; none for another.
    pub fn sound(&self, image: usize) -> Option<&Heard> {
        self.sounds.get(image.checked_sub(self.first_sound())?)
    }

    /// What the map calls a picture of it: `picture` or `recording`.
    pub fn called(&self, image: usize) -> &'static str {
        if self.sound(image).is_some() { "recording" } else { "picture" }
    }

    /// What a box on the spectrogram of a recording stands for; none on a picture.
    pub fn heard(&self, patch: PatchLabel) -> Option<HeardPlace> {
        let heard = self.sound(patch.image)?;
        Some(heard.scale.place(patch.image - self.first_sound(), patch.bbox))
    }

    /// Whether a position carries a part of a recording and does not say which.
    pub(super) fn is_untold(&self) -> bool {
        let heard = |patch: PatchLabel| self.sound(patch.image).is_some();
        self.tokens.iter().any(|token| token.heard.is_none() && token.patch.is_some_and(heard))
    }

    /// Says of every position that carries a part of a recording which part it is.
    pub(super) fn tell_heard(&mut self) {
        let heard: Vec<_> = self.tokens.iter().map(|token| self.heard(token.patch?)).collect();
        self.tokens.iter_mut().zip(heard).for_each(|(token, heard)| token.heard = heard);
    }

    /// The label of a part of a picture or recording: its place is its name.
    pub fn label(&self, patch: PatchLabel) -> TokenLabel {
        match self.sound(patch.image) {
            Some(own) => {
                let label = own.label(patch);
                let which = patch.image - self.first_sound();
                let text = match self.sounds.len() {
                    1 => label.text,
                    _ => format!("recording {which}, {}", label.text),
                };
                TokenLabel { text, heard: self.heard(patch), ..label }
            }
            None => TokenLabel::new(format!("{patch}"), Modality::Image).with_patch(patch),
        }
    }

    /// The views of the entries of a tower that belong to this prompt.
    pub fn views_of(&self, part: Part) -> &[View] {
        let first = self.first_sound();
        let sounds = |view: &View| !self.sounds.is_empty() && view.image >= first;
        let heard = self.views.iter().position(sounds).unwrap_or(self.views.len());
        let (seen, heard) = self.views.split_at_checked(heard).unwrap_or((&self.views, &[]));
        if part == Part::Audio { heard } else { seen }
    }

    /// What the positions of a tower are that is given an entry of this prompt: its patches in order, with a class token before them where
    /// there is one position more, or padding behind a recording. Nothing where the map does not say, as of towers whose positions become
    /// fewer behind them.
    pub fn tower(&self, part: Part, entry: usize, len: usize) -> Option<Vec<TowerPosition>> {
        if part == Part::Audio {
            return self.listened(entry, len);
        }
        let patches = self.patches_of(entry);
        let before = len.checked_sub(patches.len()).filter(|before| *before <= 1 && !patches.is_empty())?;
        let class = std::iter::repeat_n(TowerPosition::Class, before);
        Some(class.chain(patches.into_iter().map(TowerPosition::Patch)).collect())
    }

    /// The positions of a tower that hears a recording, each of as many frames: those that hold a frame of the sound.
    fn listened(&self, entry: usize, len: usize) -> Option<Vec<TowerPosition>> {
        let view = self.views_of(Part::Audio).get(entry)?;
        let each =
            view.cols.len().checked_div(len).filter(|each| *each > 0 && each * len == view.cols.len())?;
        let high = self.pictures.get(view.image)?.1 as f32;
        let patch = |(col, frames): (usize, &[[f32; 2]])| {
            let [from, to] = [frames.first()?[0], frames.last()?[1]];
            let bbox = [from, 0.0, to, high];
            Some(match from < to {
                true => TowerPosition::Patch(PatchLabel {
                    image: view.image,
                    tile: 0,
                    frame: 0,
                    row: 0,
                    col,
                    bbox,
                }),
                false => TowerPosition::Padding,
            })
        };
        view.cols.chunks(each).enumerate().map(patch).collect()
    }

    /// The patches of one entry of this prompt's part of the pixel batch.
    fn patches_of(&self, entry: usize) -> Vec<PatchLabel> {
        let views = self.views_of(Part::Vision);
        let each = self.patches.len() / views.len().max(1);
        if let Some(own) = self.patches.get(entry * each..(entry + 1) * each).filter(|own| !own.is_empty()) {
            return own.to_vec();
        }
        let (Some(view), Some(before)) = (views.get(entry), views.get(..entry)) else {
            return Vec::new();
        };
        let tile = before.iter().filter(|other| other.image == view.image).count();
        let patches = self.tokens.iter().filter_map(|token| token.patch);
        patches.filter(|patch| (patch.image, patch.tile) == (view.image, tile)).collect()
    }

    fn filter(&self, keep: impl Fn(&TokenLabel) -> bool) -> Vec<usize> {
        self.tokens.iter().enumerate().filter(|(_, t)| keep(t)).map(|(i, _)| i).collect()
    }
}
