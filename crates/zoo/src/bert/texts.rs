//! Texts as BERT and BLIP take them: word pieces between two special tokens, padded on the right.

use std::path::Path;
use std::sync::Arc;

use mmlens_core::finding::{Modality, TokenLabel};
use mmlens_core::{Batch, Inputs, SubjectError, TokenMap};

use crate::ZooError;
use crate::text::{TextError, Tokenizer};

/// A tokenizer and what texts are padded with.
#[derive(Debug, Clone)]
pub struct Texts {
    tokenizer: Tokenizer,
    pad: u32,
    most: usize,
}

impl Texts {
    /// Reads a folder's tokenizer; `most` is how many positions a text may have, `pad` what the config pads with. Where neither
    /// names a token, texts are padded with id 0: padding is masked.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn from_dir(folder: &Path, most: usize, pad: Option<u32>) -> Result<Self, ZooError> {
        let tokenizer = Tokenizer::from_dir(folder)?;
        let own = tokenizer.special_id("pad_token").or_else(|| tokenizer.id("[PAD]"));
        Ok(Self { pad: own.or(pad).unwrap_or(0), tokenizer, most })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What texts are padded with.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// The token that stands for a missing word, if the vocabulary has one.
    pub fn mask(&self) -> Option<u32> {
        self.tokenizer.special_id("mask_token").or_else(|| self.tokenizer.id("[MASK]"))
    }

    /// Token ids of a text, and what each is.
    ///
    /// # Errors
    /// A text that has no tokens, too many, or that the tokenizer refuses.
    pub fn one(&self, text: &str) -> Result<(Vec<u32>, TokenMap), ZooError> {
        let pieces = self.tokenizer.encode(text, true)?;
        if pieces.is_empty() || pieces.len() > self.most {
            return Err(ZooError::Tokens { text: text.to_owned(), found: pieces.len(), most: self.most });
        }
        let mut map = TokenMap { text: text.to_owned(), ..TokenMap::default() };
        for piece in &pieces {
            let label = self.label(piece.id);
            map.tokens.push(match piece.bytes {
                Some((from, to)) => label.with_bytes(from, to),
                None => label,
            });
        }
        Ok((pieces.iter().map(|piece| piece.id).collect(), map))
    }

    /// How a token is shown.
    pub fn label(&self, id: u32) -> TokenLabel {
        let kind = if self.tokenizer.is_special(id) { Modality::Special } else { Modality::Text };
        TokenLabel::new(self.token(id), kind).with_id(id)
    }

    /// One token as it is shown to a person.
    pub fn token(&self, id: u32) -> String {
        self.tokenizer.piece(id).unwrap_or_else(|_| format!("<{id}>"))
    }

    /// The text of token ids. Special tokens are left out, and ids that name none.
    ///
    /// # Errors
    /// Ids that the tokenizer cannot join.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        let known: Vec<u32> = ids.iter().copied().filter(|id| self.tokenizer.piece(*id).is_ok()).collect();
        self.tokenizer.decode(&known, true)
    }

    /// Rows of one length, without pictures; the shorter ones are padded on the right.
    ///
    /// # Errors
    /// [`SubjectError::Batch`] for no text, or one without tokens.
    pub(crate) fn rows(&self, texts: Vec<(Vec<u32>, TokenMap)>) -> Result<Inputs, SubjectError> {
        let longest = texts.iter().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        let mut batch = Batch { pads: vec![0; texts.len()], ..Batch::default() };
        for (mut ids, map) in texts {
            batch.tails.push(longest - ids.len());
            ids.resize(longest, self.pad);
            batch.ids.push(ids);
            batch.maps.push(Arc::new(map));
        }
        Inputs::new(batch)
    }
}
