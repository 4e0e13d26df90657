//! Tokenizers: from text to ids and back, as the `tokenizers` library and transformers do it together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::AddedToken;

use super::class::TokenizerClass;
use super::error::TextError;
use super::library::{Library, MOST_TOKENIZER_BYTES};
use super::piece::Alphabet;
use super::special::SpecialTokens;
use crate::checkpoint::{parse_json, read_json_if_there};

/// Turns text into token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Library,
    file: PathBuf,
    special: SpecialTokens,
    alphabet: Alphabet,
    tidy: bool,
}

/// A token and the bytes of the text it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// Start and end in the original text; `None` for what the tokenizer added itself.
    pub bytes: Option<(usize, usize)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `dir`, and what `tokenizer_config.json` and `special_tokens_map.json` add to it. Its steps are
    /// those of the class that transformers would take ([`TokenizerClass::of`]), if that brings its own.
    ///
    /// What stands around a text is up to `tokenizer.json`; `add_bos_token` and `add_eos_token` have no say where that file
    /// is there, as in transformers 5.
    ///
    /// # Errors
    ///
    /// [`TextError`] if a file cannot be read or does not fit the others.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, TextError> {
        let dir = dir.as_ref();
        if let Some(class) = TokenizerClass::of(dir)? {
            return Self::from_dir_as(dir, class);
        }
        let file = dir.join("tokenizer.json");
        let text = mmlens_files::read(&file, MOST_TOKENIZER_BYTES)
            .map_err(|source| TextError::unread(file.clone(), source))?;
        let config_file = dir.join("tokenizer_config.json");
        let config = read_json_if_there(&config_file)?.unwrap_or_default();
        Self::assemble(file, &text, &config_file, &config, SpecialTokens::from_dir(dir)?)
    }

    /// As [`Tokenizer::from_dir`], with the steps of a class that brings its own.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::from_dir`].
    pub fn from_dir_as(dir: impl AsRef<Path>, class: TokenizerClass) -> Result<Self, TextError> {
        let dir = dir.as_ref();
        let special = SpecialTokens::from_dir(dir)?;
        let (file, text) = class.read(dir, &special)?;
        let mut config_file = dir.join("tokenizer_config.json");
        let mut config: Map<String, Value> = read_json_if_there(&config_file)?.unwrap_or_default();
        // Older folders without a whole tokenizer have the added tokens in a file of their own.
        if file != dir.join("tokenizer.json") && !config.contains_key("added_tokens_decoder") {
            let own = dir.join("added_tokens.json");
            if let Some(listed) = read_json_if_there::<BTreeMap<String, u32>>(&own)? {
                let described = |(content, id): (String, u32)| {
                    let special = special.iter().any(|(_, token)| token == content);
                    (id.to_string(), json!({ "content": content, "special": special }))
                };
                let all: Map<String, Value> = listed.into_iter().map(described).collect();
                config.insert("added_tokens_decoder".to_owned(), all.into());
                config_file = own;
            }
        }
        Self::assemble(file, &text, &config_file, &config, special)
    }

    /// From the texts of `tokenizer.json` and, where there is one, `tokenizer_config.json`; `name` is what errors call
    /// them.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::from_dir`].
    pub fn from_json(name: &str, tokenizer: &[u8], config: Option<&[u8]>) -> Result<Self, TextError> {
        let config: Map<String, Value> =
            config.map(|text| parse_json(name, text)).transpose()?.unwrap_or_default();
        let mut special = SpecialTokens::default();
        special.add(&config);
        Self::assemble(PathBuf::from(name), tokenizer, Path::new(name), &config, special)
    }

    fn assemble(
        file: PathBuf,
        text: &[u8],
        config_file: &Path,
        config: &Map<String, Value>,
        special: SpecialTokens,
    ) -> Result<Self, TextError> {
        let mut inner = Library::read(&file, text)?;
        add_configured_tokens(&mut inner, config_file, config)?;
        for (_, token) in special.iter() {
            if inner.id(token).is_some() && !inner.is_special(token) {
                inner.add(AddedToken::from(token, true))?;
            }
        }
        inner.surrounded()?;
        let flag = |field: &str| config.get(field).and_then(Value::as_bool).unwrap_or(false);
        // Cleaning up is meant for word pieces; transformers leaves byte pairs alone unless told otherwise.
        let tidy = flag("clean_up_tokenization_spaces")
            && (inner.byte_pairs().is_none()
                || flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"));
        let alphabet = inner.alphabet()?;
        Ok(Self { inner, file, special, alphabet, tidy })
    }

    /// The tokens of `text`, with those the tokenizer adds at its ends if `add_special` says so.
    ///
    /// # Errors
    ///
    /// [`TextError::Conversion`], as for a character without a token where the tokenizer has no token for the unknown.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<Token>, TextError> {
        let tokens = self.inner.encode(text, add_special)?.into_iter();
        Ok(tokens.map(|(id, bytes, added)| Token { id, bytes: (!added).then_some(bytes) }).collect())
    }

    /// The tokens of a rendered chat: those at the ends are added unless the template wrote the first of them itself, which
    /// is what transformers' processors do.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_chat(&self, rendered: &str) -> Result<Vec<Token>, TextError> {
        let begun = self.special.get("bos_token").is_some_and(|bos| rendered.starts_with(bos));
        self.encode(rendered, !begun)
    }

    /// The text of tokens.
    ///
    /// # Errors
    ///
    /// [`TextError::NoToken`] for an id without a token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        if let Some(&id) = ids.iter().find(|&&id| self.inner.token(id).is_none()) {
            return Err(self.no_token(id));
        }
        let text = self.alphabet.joined(self.inner.decode(ids, skip_special)?);
        Ok(if self.tidy { tidied(text) } else { text })
    }

    /// A token to look at: bytes as text, with spaces (`␣`), line ends and single bytes made visible.
    ///
    /// # Errors
    ///
    /// [`TextError::NoToken`] for an id without a token.
    pub fn piece(&self, id: u32) -> Result<String, TextError> {
        let token = self.inner.token(id).ok_or_else(|| self.no_token(id))?;
        Ok(self.alphabet.show(&token, self.inner.added(id).is_some()))
    }

    /// The id of a token, written as the vocabulary writes it.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.id(token)
    }

    /// A token as the vocabulary writes it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.token(id)
    }

    /// Whether a token is left out by [`Tokenizer::decode`] when special tokens are.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.inner.token(id);
        token.is_some_and(|token| self.inner.is_special(&token))
    }

    /// How many tokens there are, those that were added included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.len()
    }

    /// The special tokens by role.
    #[must_use]
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The id of a role's token, such as that of `bos_token`.
    #[must_use]
    pub fn special_id(&self, role: &str) -> Option<u32> {
        self.special.get(role).and_then(|token| self.id(token))
    }

    /// The token that stands for a picture, by `image_token_id` or `image_token_index` in `config.json` of `dir`; `None`
    /// where it names none.
    ///
    /// # Errors
    ///
    /// [`TextError::ImageToken`] if the tokenizer lacks that token.
    pub fn image_token(&self, dir: impl AsRef<Path>) -> Result<Option<(u32, String)>, TextError> {
        #[derive(Deserialize, Default)]
        struct Named {
            image_token_id: Option<u32>,
            image_token_index: Option<u32>,
        }
        let file = dir.as_ref().join("config.json");
        let named: Named = read_json_if_there(&file)?.unwrap_or_default();
        let (field, id) = match (named.image_token_id, named.image_token_index) {
            (Some(id), _) => ("image_token_id", id),
            (None, Some(id)) => ("image_token_index", id),
            (None, None) => return Ok(None),
        };
        let known = self.vocab_size();
        match self.token(id) {
            Some(token) => Ok(Some((id, token))),
            None => Err(TextError::ImageToken { file, field, id, known }),
        }
    }

    fn no_token(&self, id: u32) -> TextError {
        TextError::NoToken { file: self.file.clone(), id, known: self.vocab_size() }
    }
}

/// Adds the tokens of `added_tokens_decoder` that `tokenizer.json` lacks or describes otherwise.
fn add_configured_tokens(
    inner: &mut Library,
    file: &Path,
    config: &Map<String, Value>,
) -> Result<(), TextError> {
    #[derive(Deserialize)]
    struct Described {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        #[serde(default)]
        special: bool,
    }
    let complain = |field: String, found: String, expected| TextError::Field {
        file: file.to_owned(),
        field: format!("added_tokens_decoder.{field}"),
        found,
        expected,
    };
    let Some(Value::Object(listed)) = config.get("added_tokens_decoder") else { return Ok(()) };
    let mut tokens = Vec::with_capacity(listed.len());
    for (id, described) in listed {
        let number: u32 =
            id.parse().map_err(|_| complain(id.clone(), format!("`{id}`"), "a token id as its name"))?;
        let token: Described = mmlens_files::parse_value(described)
            .map_err(|e| complain(id.clone(), e.to_string(), "a token with its `content`"))?;
        tokens.push((number, token));
    }
    tokens.sort_by_key(|(id, _)| *id);
    for (id, described) in tokens {
        let token = AddedToken {
            normalized: described.normalized.unwrap_or(!described.special),
            content: described.content,
            single_word: described.single_word,
            lstrip: described.lstrip,
            rstrip: described.rstrip,
            special: described.special,
        };
        if inner.added(id) == Some(&token) {
            continue;
        }
        let content = token.content.clone();
        let own = inner.add(token)?;
        if own != Some(id) {
            let found = format!("`{content}`, which has the id {own:?}");
            return Err(complain(id.to_string(), found, "the token of that id"));
        }
    }
    Ok(())
}

/// Spaces before punctuation taken out, as transformers does after joining word pieces.
fn tidied(text: String) -> String {
    let pairs = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    pairs.iter().fold(text, |text, (from, to)| text.replace(from, to))
}
