//! What each position of a prompt is, and where it lies on the pictures.

use mmlens_finding::{Modality, PatchLabel, TokenLabel};

/// How one picture (or tile) given to the tower lies on the original picture.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which picture of the sample.
    pub image: usize,
    /// For every pixel row given to the tower, its extent in rows of the original picture.
    pub rows: Vec<[f32; 2]>,
    /// For every pixel column given to the tower, its extent in columns of the original picture.
    pub cols: Vec<[f32; 2]>,
}

/// What each position of one prompt is: a piece of text or a patch of a picture.
///
/// Positions are counted without padding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenMap {
    /// One label for each position.
    pub tokens: Vec<TokenLabel>,
    /// The text in which the bytes of tokens are counted, placeholders not yet expanded: the prompt as the template made it. Empty where
    /// there is none.
    pub text: String,
    /// Width and height of each original picture.
    pub pictures: Vec<(u32, u32)>,
    /// One view for each entry of the pixel batch that belongs to this prompt.
    pub views: Vec<View>,
    /// Where the tower is given patches instead of pictures, or no position shows a picture (dual encoders, classifiers): one label for
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

    /// Positions of the patches of a picture.
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

    /// What the positions of a tower are that looks at an entry of this prompt's part of the pixel batch: its patches in order, `None`
    /// for a class token before them. Nothing where the map does not say, as of towers whose positions become fewer behind them.
    pub fn tower(&self, entry: usize, len: usize) -> Option<Vec<Option<PatchLabel>>> {
        let patches = self.patches_of(entry);
        let before = len.checked_sub(patches.len()).filter(|before| *before <= 1 && !patches.is_empty())?;
        Some(std::iter::repeat_n(None, before).chain(patches.into_iter().map(Some)).collect())
    }

    /// The patches of one entry of this prompt's part of the pixel batch.
    fn patches_of(&self, entry: usize) -> Vec<PatchLabel> {
        let each = self.patches.len() / self.views.len().max(1);
        if let Some(own) = self.patches.get(entry * each..(entry + 1) * each).filter(|own| !own.is_empty()) {
            return own.to_vec();
        }
        let (Some(view), Some(before)) = (self.views.get(entry), self.views.get(..entry)) else {
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
