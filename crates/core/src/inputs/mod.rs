//! A sample as a model takes it: token ids, what towers are given, and the map that says what each position is.

mod batch;
mod entries;
mod heard;
mod map;

use std::ops::Deref;
use std::sync::Arc;

use mmlens_finding::TokenLabel;

pub use batch::{Batch, LogitsAt};
pub use entries::{Entries, Grid};
pub use heard::{Heard, Listened};
pub use map::{TokenMap, TowerPosition, View};

use crate::{HookError, Point, Site, SubjectError};

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
    pub fn new(mut batch: Batch) -> Result<Self, SubjectError> {
        let rows = batch.rows();
        for (_, entries) in batch.towers_mut() {
            // Of a tower that is given nothing every row has none.
            if entries.of_rows.is_empty() {
                entries.of_rows = vec![Vec::new(); rows];
            }
        }
        batch.check()?;
        // Whoever makes a map says where positions lie on a spectrogram; what that stands for is said here, for all.
        for map in batch.maps.iter_mut().filter(|map| map.is_untold()) {
            Arc::make_mut(map).tell_heard();
        }
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

    /// The whole batch `times` over, one copy after the other, all copies showing the same pictures and playing the same recordings.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let rows = || (0..times).flat_map(|_| 0..self.rows());
        Self(Batch {
            ids: rows().map(|r| self.ids[r].clone()).collect(),
            pads: rows().map(|r| self.pads[r]).collect(),
            tails: rows().map(|r| self.tails[r]).collect(),
            maps: rows().map(|r| self.maps[r].clone()).collect(),
            seen: self.seen.rows(rows()),
            heard: self.heard.rows(rows()),
            logits_at: self.logits_at,
        })
    }

    /// The whole batch `times` over, each copy with entries of its own in every tower, so that what towers are given can differ between
    /// copies.
    ///
    /// # Errors
    /// [`HookError::Values`] if the values of a tower cannot be repeated.
    pub fn repeat_entries(&self, times: usize) -> Result<Self, HookError> {
        let Self(mut out) = self.repeat(times);
        for (_, entries) in out.towers_mut() {
            *entries = std::mem::take(entries).apart(times)?;
        }
        Ok(Self(out))
    }

    /// Several inputs as one batch, shorter rows padded on the left with `pad`.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] if there are none, or their pictures or recordings differ in size.
    pub fn batch(inputs: &[Self], pad: u32) -> Result<Self, SubjectError> {
        let longest = inputs.iter().map(|one| one.positions()).max().unwrap_or(0);
        let first =
            inputs.first().ok_or(SubjectError::Batch { reason: "there is nothing to batch".to_owned() })?;
        let mut out = Batch { logits_at: first.logits_at, ..Batch::default() };
        for one in inputs {
            let extra = longest - one.positions();
            for row in 0..one.rows() {
                let mut ids = vec![pad; extra];
                ids.extend(&one.ids[row]);
                out.ids.push(ids);
                out.pads.push(one.pads[row] + extra);
                out.tails.push(one.tails[row]);
                out.maps.push(one.maps[row].clone());
            }
            if one.logits_at != first.logits_at {
                return Err(SubjectError::Batch {
                    reason: "some ask for all positions, some for the last".to_owned(),
                });
            }
        }
        for (part, entries) in out.towers_mut() {
            let own: Vec<_> =
                inputs.iter().filter_map(|one| Some((one.entries(part)?, one.rows()))).collect();
            *entries = Entries::joined(&own, part)?;
        }
        Self::new(out)
    }
}
