//! A sample as a model takes it: token ids, pixels, and the map that says what each position is.

use std::sync::Arc;

use mmlens_finding::{Modality, PatchLabel, TokenLabel};

use crate::{AnyTensor, HookError, SubjectError};

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

/// Which positions the output is computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// The last only.
    #[default]
    Last,
    /// All of them.
    All,
}

/// Sizes of one picture, tile or clip of the pixel batch, counted in patches, where they differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Steps in time; 1 for a picture.
    pub frames: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// For a clip, the seconds from one step to the next.
    pub seconds: Option<f64>,
}

/// A batch as a model takes it. Decoders pad shorter rows on the left, encoders of text on the right.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Token ids of each row, placeholders expanded, all of one length.
    pub ids: Vec<Vec<u32>>,
    /// How many of a row's positions, at its start, are padding.
    pub pads: Vec<usize>,
    /// How many of a row's positions, at its end, are padding.
    pub tails: Vec<usize>,
    /// What each row's positions are.
    pub maps: Vec<Arc<TokenMap>>,
    /// The pictures and tiles of the batch, `[image, channel, height, width]`. Each is computed once, however many
    /// rows show it.
    pub pixels: Option<AnyTensor>,
    /// One for each picture of the pixel batch, where they may differ in size; else empty.
    pub grids: Vec<Grid>,
    /// For each picture of the pixel batch the mean colour of the original picture (or clip) that it shows, in the numbers the
    /// tower is given: red, green, blue. Tiles of one picture have the same. Empty where that is not known.
    pub colours: Vec<[f32; 3]>,
    /// For each row, its entries of `pixels` (of `grids`, where there are any), in the order of their placeholders.
    pub images: Vec<Vec<usize>>,
    /// Which positions the output is computed for.
    pub asked: Asked,
}

impl Inputs {
    /// One row of text: the token at each position, and what it is.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for another number of labels than tokens.
    pub fn text(ids: Vec<u32>, tokens: Vec<TokenLabel>) -> Result<Self, SubjectError> {
        if ids.len() != tokens.len() {
            let reason = format!("{} labels for {} tokens", tokens.len(), ids.len());
            return Err(SubjectError::Batch { reason });
        }
        Ok(Self {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(TokenMap { tokens, ..TokenMap::default() })],
            pixels: None,
            grids: Vec::new(),
            colours: Vec::new(),
            images: vec![Vec::new()],
            asked: Asked::Last,
        })
    }

    /// The same single row with an answer behind it, token by token, each shown as `shown` says.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for several rows, or rows that have an answer already; for an answer without tokens.
    pub fn answered(
        mut self,
        tokens: &[u32],
        shown: impl Fn(u32) -> TokenLabel,
    ) -> Result<Self, SubjectError> {
        let fail = |reason: &str| Err(SubjectError::Batch { reason: reason.to_owned() });
        if tokens.is_empty() {
            return fail("the answer has no tokens");
        }
        let ([ids], [map]) = (self.ids.as_mut_slice(), self.maps.as_mut_slice()) else {
            return fail("an answer stands behind a single row");
        };
        let map = Arc::make_mut(map);
        if map.answer.is_some() || self.tails.iter().any(|tail| *tail > 0) {
            return fail("an answer stands behind a prompt that ends its row");
        }
        map.answer = Some(map.len());
        ids.extend(tokens);
        map.tokens.extend(tokens.iter().map(|token| shown(*token).with_id(*token)));
        Ok(self)
    }

    /// Number of prompts.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Number of positions, padding included.
    pub fn positions(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }

    /// Number of pictures, tiles and clips the batch shows.
    pub fn pictures(&self) -> usize {
        let first = self.pixels.as_ref().and_then(|p| p.dims().first().copied());
        if self.grids.is_empty() { first.unwrap_or(0) } else { self.grids.len() }
    }

    /// The token map of the first row.
    pub fn map(&self) -> &TokenMap {
        static EMPTY: std::sync::OnceLock<TokenMap> = std::sync::OnceLock::new();
        self.maps.first().map_or_else(|| EMPTY.get_or_init(TokenMap::default), Arc::as_ref)
    }

    /// With the output at all positions.
    #[must_use]
    pub fn ask_all(mut self) -> Self {
        self.asked = Asked::All;
        self
    }

    /// The whole batch `times` over, one copy after the other, all copies showing the same pictures.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let over = |_: usize| 0..self.rows();
        Self {
            ids: (0..times).flat_map(over).map(|r| self.ids[r].clone()).collect(),
            pads: (0..times).flat_map(over).map(|r| self.pads[r]).collect(),
            tails: (0..times).flat_map(over).map(|r| self.tails[r]).collect(),
            maps: (0..times).flat_map(over).map(|r| self.maps[r].clone()).collect(),
            pixels: self.pixels.clone(),
            grids: self.grids.clone(),
            colours: self.colours.clone(),
            images: (0..times).flat_map(over).map(|r| self.images[r].clone()).collect(),
            asked: self.asked,
        }
    }

    /// The whole batch `times` over, each copy with pictures of its own, so that pixels can differ between copies.
    ///
    /// # Errors
    /// [`HookError::Values`] if the pixels cannot be repeated.
    pub fn repeat_pictures(&self, times: usize) -> Result<Self, HookError> {
        let mut out = self.repeat(times);
        if let Some(pixels) = &self.pixels {
            let images = self.pictures();
            out.pixels = Some(pixels.repeat_rows(times)?);
            out.grids = self.grids.repeat(times);
            out.colours = self.colours.repeat(times);
            for (row, own) in out.images.iter_mut().enumerate() {
                let copy = row / self.rows().max(1);
                own.iter_mut().for_each(|i| *i += copy * images);
            }
        }
        Ok(out)
    }

    /// Several inputs as one batch, shorter rows padded on the left with `pad`.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] if there are none, or their pictures differ in size.
    pub fn batch(inputs: &[Self], pad: u32) -> Result<Self, SubjectError> {
        let longest = inputs.iter().map(Self::positions).max().unwrap_or(0);
        let first =
            inputs.first().ok_or(SubjectError::Batch { reason: "there is nothing to batch".to_owned() })?;
        let mut out = Self {
            ids: Vec::new(),
            pads: Vec::new(),
            tails: Vec::new(),
            maps: Vec::new(),
            pixels: None,
            grids: Vec::new(),
            colours: Vec::new(),
            images: Vec::new(),
            asked: first.asked,
        };
        let mut pictures = Vec::new();
        let mut offset = 0;
        for one in inputs {
            let extra = longest - one.positions();
            for row in 0..one.rows() {
                let mut ids = vec![pad; extra];
                ids.extend(&one.ids[row]);
                out.ids.push(ids);
                out.pads.push(one.pads[row] + extra);
                out.tails.push(one.tails[row]);
                out.maps.push(one.maps[row].clone());
                out.images.push(one.images[row].iter().map(|i| i + offset).collect());
            }
            if let Some(pixels) = &one.pixels {
                offset += one.pictures();
                out.grids.extend(&one.grids);
                out.colours.extend(&one.colours);
                pictures.push(pixels.clone());
            }
            if one.asked != first.asked {
                return Err(SubjectError::Batch {
                    reason: "some ask for all positions, some for the last".to_owned(),
                });
            }
        }
        out.pixels = concatenate(&pictures)?;
        Ok(out)
    }

    /// Checks that the parts belong together, so that a model may rely on it.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] naming what does not fit.
    pub fn check(&self) -> Result<(), SubjectError> {
        let fail = |reason: String| Err(SubjectError::Batch { reason });
        let (rows, len) = (self.rows(), self.positions());
        if rows == 0 || (len == 0 && self.pixels.is_none()) {
            return fail("the batch has no positions".to_owned());
        }
        if [self.pads.len(), self.tails.len(), self.maps.len(), self.images.len()] != [rows; 4] {
            return fail(format!(
                "{rows} rows, but {} and {} pads, {} maps, {} picture lists",
                self.pads.len(),
                self.tails.len(),
                self.maps.len(),
                self.images.len()
            ));
        }
        if let Some((row, ids)) = self.ids.iter().enumerate().find(|(_, ids)| ids.len() != len) {
            return fail(format!("row {row} has {} positions, row 0 has {len}", ids.len()));
        }
        let padding = self.pads.iter().zip(&self.tails).map(|(pad, tail)| pad + tail);
        if let Some((row, pad)) = padding.enumerate().find(|(_, pad)| len > 0 && *pad >= len) {
            return fail(format!("row {row} is padded by {pad} of {len} positions"));
        }
        let pictures = self.pictures();
        if let Some(bad) = self.images.iter().flatten().find(|i| **i >= pictures) {
            return fail(format!("picture {bad} is named, there are {pictures}"));
        }
        if !self.colours.is_empty() && self.colours.len() != pictures {
            return fail(format!("{} mean colours, but {pictures} pictures", self.colours.len()));
        }
        Ok(())
    }
}

fn concatenate(pictures: &[AnyTensor]) -> Result<Option<AnyTensor>, SubjectError> {
    let Some(first) = pictures.first() else { return Ok(None) };
    if pictures.len() == 1 {
        return Ok(Some(first.clone()));
    }
    let size = first.dims().get(1..).map(<[usize]>::to_vec);
    if let Some(other) = pictures.iter().find(|p| p.dims().get(1..).map(<[usize]>::to_vec) != size) {
        let reason =
            format!("pictures of sizes {:?} and {:?} cannot share a batch", first.dims(), other.dims());
        return Err(SubjectError::Batch { reason });
    }
    let join = match first.rank() {
        2 => cat::<2>,
        3 => cat::<3>,
        4 => cat::<4>,
        _ => cat::<5>,
    };
    Ok(Some(join(pictures)?))
}

fn cat<const D: usize>(pictures: &[AnyTensor]) -> Result<AnyTensor, HookError> {
    let tensors: Result<Vec<_>, HookError> =
        pictures.iter().map(|p| p.clone().rank_of::<D>("vision.pixels")).collect();
    Ok(burn::tensor::Tensor::cat(tensors?, 0).into())
}
