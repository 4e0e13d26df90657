//! Captions as a dual encoder takes them: token ids, padded as the checkpoint's processor pads them.

use std::path::Path;

use mmlens_core::TokenMap;
use mmlens_core::finding::{Modality, TokenLabel};
use serde_json::{Map, Value};

use super::{ClipConfig, DualKind};
use crate::ZooError;
use crate::checkpoint::read_json_if_there;
use crate::text::{Tokenizer, TokenizerClass};

/// Longer than any text: tokenizers without a limit of their own say so.
const NO_LIMIT: f64 = 1e20;

/// A tokenizer and how it pads.
#[derive(Debug, Clone)]
pub struct Captions {
    tokenizer: Tokenizer,
    pad: Option<u32>,
    /// The length of every text; as long as the longest of a batch, where there is none.
    length: Option<usize>,
    /// Whether padding is hidden from attention.
    masked: bool,
    left: bool,
    limit: usize,
}

/// Texts of one length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Padded {
    pub(crate) ids: Vec<Vec<u32>>,
    /// Padding that attention does not see, at the end of each row.
    pub(crate) tails: Vec<usize>,
    /// Without pictures.
    pub(crate) maps: Vec<TokenMap>,
}

impl Captions {
    /// Reads how a folder's tokenizer pads. CLIP pads to the longest text of a batch, SigLIP to `model_max_length` (or
    /// where it names none, to as many positions as were learned). Padding is hidden from attention where the tokenizer
    /// gives an attention mask, which SigLIP's do not.
    ///
    /// # Errors
    /// A file that cannot be read, padding of a kind that is not supported.
    pub fn from_dir(folder: &Path, config: &ClipConfig) -> Result<Self, ZooError> {
        let file = folder.join("tokenizer_config.json");
        let fields: Map<String, Value> = read_json_if_there(&file)?.unwrap_or_default();
        let class = TokenizerClass::of(folder)?;
        let tokenizer = Tokenizer::from_dir(folder)?;
        Self::new(tokenizer, class, &file.display().to_string(), &fields, config)
    }

    /// From a tokenizer of some class and its `tokenizer_config.json`, which is called `file` in errors.
    ///
    /// # Errors
    /// Padding of a kind that is not supported.
    pub fn new(
        tokenizer: Tokenizer,
        class: Option<TokenizerClass>,
        file: &str,
        fields: &Map<String, Value>,
        config: &ClipConfig,
    ) -> Result<Self, ZooError> {
        let field = |name: &str| format!("{file}: {name}");
        let own = class.map_or("</s>", TokenizerClass::pad);
        let pad = tokenizer.special_id("pad_token").or_else(|| tokenizer.id(own));
        let limit = config.text.positions;
        let most = match fields.get("model_max_length") {
            None | Some(Value::Null) => None,
            Some(Value::Number(most)) => most.as_f64().filter(|most| *most < NO_LIMIT),
            Some(other) => {
                return Err(ZooError::Value {
                    field: field("model_max_length"),
                    found: other.to_string(),
                    expected: "a number".to_owned(),
                });
            }
        };
        if let Some(most) = most.filter(|most| most.fract() != 0.0 || *most < 1.0) {
            return Err(ZooError::Value {
                field: field("model_max_length"),
                found: most.to_string(),
                expected: "a whole number above zero".to_owned(),
            });
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let length = (config.kind == DualKind::Siglip).then(|| most.map_or(limit, |most| most as usize));
        if let Some(length) = length.filter(|length| *length > limit) {
            return Err(ZooError::Value {
                field: field("model_max_length"),
                found: length.to_string(),
                expected: format!("at most text_config.max_position_embeddings = {limit}"),
            });
        }
        let masked = match fields.get("model_input_names") {
            Some(Value::Array(names)) => names.iter().any(|name| name == "attention_mask"),
            _ => true,
        };
        let side = fields.get("padding_side").and_then(Value::as_str);
        let usual = if class.is_some_and(TokenizerClass::pads_left) { "left" } else { "right" };
        let left = match side.unwrap_or(usual) {
            "right" => false,
            // Positions would depend on the padding, that is on the other texts of a batch.
            "left" if !masked && length.is_some() => true,
            other => {
                return Err(ZooError::Unsupported {
                    field: field("padding_side"),
                    found: other.to_owned(),
                    supported: "right; left without an attention mask and to a fixed length".to_owned(),
                });
            }
        };
        Ok(Self { tokenizer, pad, length, masked, left, limit })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What texts are padded with.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// Tokenises and pads texts.
    ///
    /// # Errors
    /// A text that is too long, that has no tokens, or that the tokenizer refuses.
    pub(crate) fn encode(&self, texts: &[String]) -> Result<Padded, ZooError> {
        let mut padded = Padded::default();
        for text in texts {
            let (ids, map) = self.one(text)?;
            padded.ids.push(ids);
            padded.maps.push(map);
        }
        let longest = padded.ids.iter().map(Vec::len).max().unwrap_or(0);
        let length = self.length.unwrap_or(longest);
        for (ids, map) in padded.ids.iter_mut().zip(&mut padded.maps) {
            let more = length.saturating_sub(ids.len());
            padded.tails.push(if self.masked { more } else { 0 });
            if more == 0 {
                continue;
            }
            let pad = self.pad.ok_or_else(|| ZooError::Value {
                field: "tokenizer_config.json: pad_token".to_owned(),
                found: "none that the tokenizer has".to_owned(),
                expected: "a token, since texts have to be padded".to_owned(),
            })?;
            let at = if self.left { 0 } else { ids.len() };
            ids.splice(at..at, std::iter::repeat_n(pad, more));
            // What every text is padded to is a part of it; what a batch is padded to is not.
            if !self.masked || self.length.is_some() {
                let label = TokenLabel::new(self.name(pad), Modality::Special).with_id(pad);
                map.tokens.splice(at..at, std::iter::repeat_n(label, more));
                map.padding = (at..at + more).collect();
            }
        }
        Ok(padded)
    }

    fn name(&self, id: u32) -> String {
        self.tokenizer.piece(id).unwrap_or_else(|_| format!("<{id}>"))
    }

    fn one(&self, text: &str) -> Result<(Vec<u32>, TokenMap), ZooError> {
        let pieces = self.tokenizer.encode(text, true)?;
        let most = self.length.unwrap_or(self.limit);
        if pieces.is_empty() || pieces.len() > most {
            return Err(ZooError::Tokens { text: text.to_owned(), found: pieces.len(), most });
        }
        let mut map = TokenMap { text: text.to_owned(), ..TokenMap::default() };
        for piece in &pieces {
            let kind = if self.tokenizer.is_special(piece.id) { Modality::Special } else { Modality::Text };
            let label = TokenLabel::new(self.name(piece.id), kind).with_id(piece.id);
            map.tokens.push(match piece.bytes {
                Some((from, to)) => label.with_bytes(from, to),
                None => label,
            });
        }
        Ok((pieces.iter().map(|piece| piece.id).collect(), map))
    }
}
