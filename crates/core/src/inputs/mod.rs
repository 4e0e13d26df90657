//! A sample as a model takes it: token ids, pixels, and the map that says what each position is.

mod batch;
mod map;

use std::ops::Deref;
use std::sync::Arc;

use mmlens_finding::TokenLabel;

pub use batch::{Batch, Grid, LogitsAt};
pub use map::{TokenMap, View};

use crate::{AnyTensor, HookError, Point, Site, SubjectError};

/// A batch whose parts belong together, as a model takes it.
///
/// Its parts are read as they are (`inputs.ids`), and changed by [`Inputs::with`], which looks whether they still fit.
#[derive(Debug, Clone)]
pub struct Inputs(Batch);

impl Deref for Inputs {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.0
    }
}

impl Inputs {
    /// A batch whose parts belong together.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] that names what does not fit.
    pub fn new(batch: Batch) -> Result<Self, SubjectError> {
        batch.check()?;
        Ok(Self(batch))
    }

    /// The same with parts of it changed.
    ///
    /// ```
    /// # use mmlens_core::{Inputs, finding::{Modality, TokenLabel}};
    /// let inputs = Inputs::text(vec![3, 4], vec![TokenLabel::new("a", Modality::Text); 2])?;
    /// let said = inputs.with(|batch| batch.pads = vec![2]).unwrap_err().to_string();
    /// assert_eq!(said, "the batch does not fit together: row 0 is padded by 2 of 2 positions");
    /// # Ok::<(), mmlens_core::SubjectError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Inputs::new`].
    pub fn with(mut self, change: impl FnOnce(&mut Batch)) -> Result<Self, SubjectError> {
        change(&mut self.0);
        Self::new(self.0)
    }

    /// That there is something of it: a batch that is repeated no times has no rows.
    ///
    /// # Errors
    /// As [`Inputs::new`].
    pub(crate) fn some(&self) -> Result<(), SubjectError> {
        match self.rows() {
            0 => Err(SubjectError::Batch { reason: "the batch has no positions".to_owned() }),
            _ => Ok(()),
        }
    }

    /// One row of text: the token at each position, and what it is.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for another number of labels than tokens.
    pub fn text(ids: Vec<u32>, tokens: Vec<TokenLabel>) -> Result<Self, SubjectError> {
        if ids.len() != tokens.len() {
            let reason = format!("{} labels for {} tokens", tokens.len(), ids.len());
            return Err(SubjectError::Batch { reason });
        }
        Self::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(TokenMap { tokens, ..TokenMap::default() })],
            images: vec![Vec::new()],
            ..Batch::default()
        })
    }

    /// The same single row with an answer behind it, token by token, each shown as `shown` says.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for several rows, or rows that have an answer already; for an answer without tokens.
    pub fn answered(self, tokens: &[u32], shown: impl Fn(u32) -> TokenLabel) -> Result<Self, SubjectError> {
        let fail = |reason: &str| Err(SubjectError::Batch { reason: reason.to_owned() });
        if tokens.is_empty() {
            return fail("the answer has no tokens");
        }
        let mut batch = self.0;
        let ([ids], [map]) = (batch.ids.as_mut_slice(), batch.maps.as_mut_slice()) else {
            return fail("an answer stands behind a single row");
        };
        let map = Arc::make_mut(map);
        if map.answer.is_some() || batch.tails.iter().any(|tail| *tail > 0) {
            return fail("an answer stands behind a prompt that ends its row");
        }
        map.answer = Some(map.len());
        ids.extend(tokens);
        map.tokens.extend(tokens.iter().map(|token| shown(*token).with_id(*token)));
        Self::new(batch)
    }

    /// The token map of the first row.
    pub fn map(&self) -> &TokenMap {
        static EMPTY: std::sync::OnceLock<TokenMap> = std::sync::OnceLock::new();
        self.maps.first().map_or_else(|| EMPTY.get_or_init(TokenMap::default), Arc::as_ref)
    }

    /// With the output at all positions.
    #[must_use]
    pub fn all_logits(mut self) -> Self {
        self.0.logits_at = LogitsAt::All;
        self
    }

    /// As it must be for some sites to be read at every position: with the output at all of them, where the output is one of these.
    #[must_use]
    pub fn reading(self, sites: impl IntoIterator<Item = Site>) -> Self {
        match sites.into_iter().any(|site| site.point() == Point::Logits) {
            true => self.all_logits(),
            false => self,
        }
    }

    /// With the output at the last position alone.
    #[must_use]
    pub fn last_logits(mut self) -> Self {
        self.0.logits_at = LogitsAt::Last;
        self
    }

    /// The whole batch `times` over, one copy after the other, all copies showing the same pictures.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let over = |_: usize| 0..self.rows();
        Self(Batch {
            ids: (0..times).flat_map(over).map(|r| self.ids[r].clone()).collect(),
            pads: (0..times).flat_map(over).map(|r| self.pads[r]).collect(),
            tails: (0..times).flat_map(over).map(|r| self.tails[r]).collect(),
            maps: (0..times).flat_map(over).map(|r| self.maps[r].clone()).collect(),
            pixels: self.pixels.clone(),
            grids: self.grids.clone(),
            colours: self.colours.clone(),
            images: (0..times).flat_map(over).map(|r| self.images[r].clone()).collect(),
            logits_at: self.logits_at,
        })
    }

    /// The whole batch `times` over, each copy with pictures of its own, so that pixels can differ between copies.
    ///
    /// # Errors
    /// [`HookError::Values`] if the pixels cannot be repeated.
    pub fn repeat_pictures(&self, times: usize) -> Result<Self, HookError> {
        let Self(mut out) = self.repeat(times);
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
        Ok(Self(out))
    }

    /// Several inputs as one batch, shorter rows padded on the left with `pad`.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] if there are none, or their pictures differ in size.
    pub fn batch(inputs: &[Self], pad: u32) -> Result<Self, SubjectError> {
        let longest = inputs.iter().map(|one| one.positions()).max().unwrap_or(0);
        let first =
            inputs.first().ok_or(SubjectError::Batch { reason: "there is nothing to batch".to_owned() })?;
        let mut out = Batch { logits_at: first.logits_at, ..Batch::default() };
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
            if one.logits_at != first.logits_at {
                return Err(SubjectError::Batch {
                    reason: "some ask for all positions, some for the last".to_owned(),
                });
            }
        }
        out.pixels = concatenate(&pictures)?;
        Self::new(out)
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
