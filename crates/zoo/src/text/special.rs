//! The special tokens of a checkpoint, by role.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::TextError;
use crate::checkpoint::read_json_if_there;

/// Tokens with a role: `bos_token`, `eos_token`, `image_token` and whatever else the files name.
///
/// `tokenizer_config.json` counts; where it does not name a role, `special_tokens_map.json` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    roles: BTreeMap<String, String>,
}

impl SpecialTokens {
    /// Reads the files of a folder; both may be absent.
    ///
    /// # Errors
    ///
    /// [`TextError::Config`] if one of them is not JSON.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, TextError> {
        let dir = dir.as_ref();
        let mut special = Self::default();
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            if let Some(fields) = read_json_if_there::<Map<String, Value>>(dir.join(file))? {
                special.add(&fields);
            }
        }
        Ok(special)
    }

    /// Roles given by hand.
    pub fn from_roles<R: Into<String>, T: Into<String>>(roles: impl IntoIterator<Item = (R, T)>) -> Self {
        Self { roles: roles.into_iter().map(|(role, token)| (role.into(), token.into())).collect() }
    }

    /// The token of a role, such as `bos_token`.
    #[must_use]
    pub fn get(&self, role: &str) -> Option<&str> {
        self.roles.get(role).map(String::as_str)
    }

    /// All roles and their tokens, sorted by role.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.roles.iter().map(|(role, token)| (role.as_str(), token.as_str()))
    }

    /// Takes the roles of a file that are not known yet. A token is a string, or an object with its `content`.
    pub(super) fn add(&mut self, fields: &Map<String, Value>) {
        let named = fields.iter().filter(|(field, _)| field.ends_with("_token"));
        let extra = fields.get("extra_special_tokens").and_then(Value::as_object).into_iter().flatten();
        // Those of a list have no role but to be special.
        let listed = ["additional_special_tokens", "extra_special_tokens"].into_iter().flat_map(|field| {
            let list = fields.get(field).and_then(Value::as_array).into_iter().flatten();
            list.enumerate().map(move |(at, token)| (format!("{field}[{at}]"), token))
        });
        let named = named.chain(extra).map(|(role, token)| (role.clone(), token));
        for (role, value) in named.chain(listed) {
            if let Some(token) = content(value) {
                self.roles.entry(role).or_insert_with(|| token.to_owned());
            }
        }
    }
}

/// The text of a token: a string, or the field `content` of an object.
fn content(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str))
}
