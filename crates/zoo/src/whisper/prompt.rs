//! What Whisper is told before it writes: start, language, task, and that it is to write no times.
//!
//! Follows `WhisperGenerationMixin` of transformers, up to one thing: where several languages are known and none is named, it lets the
//! model choose one in a pass of its own. Here that is refused, with a prompt that names one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::languages;
use crate::ZooError;
use crate::checkpoint::{GenerationConfig, read_json, read_json_if_there};

/// What a checkpoint says of its prompt, in `generation_config.json`; where that is missing, start and forced tokens of `config.json`, which
/// are all that transformers takes from there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PromptSettings {
    file: PathBuf,
    raw: Raw,
    /// `forced_decoder_ids` of the model's config, for what the generation settings leave out.
    forced: Option<Vec<(usize, Option<u32>)>>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Raw {
    decoder_start_token_id: Option<u32>,
    no_timestamps_token_id: Option<u32>,
    lang_to_id: Option<BTreeMap<String, u32>>,
    task_to_id: Option<BTreeMap<String, u32>>,
    language: Option<String>,
    task: Option<String>,
    forced_decoder_ids: Option<Vec<(usize, Option<u32>)>>,
    return_timestamps: Option<Value>,
    no_speech_threshold: Option<Value>,
    logprob_threshold: Option<Value>,
    compression_ratio_threshold: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfModel {
    #[serde(default = "start")]
    decoder_start_token_id: Option<u32>,
    forced_decoder_ids: Option<Vec<(usize, Option<u32>)>>,
}

/// The default of the class.
fn start() -> Option<u32> {
    Some(50257)
}

/// What there is to do.
const TASKS: [&str; 2] = ["translate", "transcribe"];

impl PromptSettings {
    /// Reads those of a folder.
    ///
    /// # Errors
    /// A file that is not as expected.
    pub fn from_dir(folder: &Path) -> Result<Self, ZooError> {
        let (own, model) = (folder.join("generation_config.json"), folder.join("config.json"));
        let OfModel { decoder_start_token_id, forced_decoder_ids: forced } = read_json(&model)?;
        Ok(match read_json_if_there(&own)? {
            Some(raw) => Self { file: own, raw, forced },
            None => {
                let raw = Raw { decoder_start_token_id, ..Raw::default() };
                Self { raw, file: model, forced }
            }
        })
    }

    fn wrong(&self, field: &str, found: impl ToString, expected: impl Into<String>) -> ZooError {
        let (field, found) = (field.to_owned(), found.to_string());
        ZooError::Value { field, found, expected: expected.into() }.within(&self.file)
    }

    /// Whether times are written. With other than yes or no, whatever counts as yes in Python.
    fn times(&self) -> bool {
        match &self.raw.return_timestamps {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        }
    }

    /// The tokens that a transcription begins with.
    ///
    /// # Errors
    /// [`ZooError::Language`] where several languages are known and none is named; a language or task that is not known, forced tokens
    /// that leave a place out.
    pub fn tokens(&self, name: impl Fn(u32) -> String) -> Result<Vec<u32>, ZooError> {
        let Raw { no_timestamps_token_id, lang_to_id, task_to_id, language, task, .. } = &self.raw;
        let start = self.raw.decoder_start_token_id;
        let start = start.ok_or_else(|| self.wrong("decoder_start_token_id", "nothing", "a token"))?;
        let mut tokens = vec![Some(start)];
        if language.is_none() && task.is_none() {
            let forced = self.raw.forced_decoder_ids.as_ref().or(self.forced.as_ref());
            for (at, (place, token)) in forced.into_iter().flatten().enumerate() {
                if *place != at + 1 {
                    let expected = format!("places from 1 on, of which {} is left out", at + 1);
                    return Err(self.wrong("forced_decoder_ids", format!("place {place}"), expected));
                }
                tokens.push(*token);
            }
        }
        let own = match language {
            Some(language) => Some(self.language(language)?),
            None => None,
        };
        match (own, tokens.get_mut(1)) {
            (Some(own), Some(place)) => *place = Some(own),
            (Some(own), None) => tokens.push(Some(own)),
            (None, None | Some(None)) if lang_to_id.is_some() => {
                return Err(self.unnamed(start, name));
            }
            (None, _) => {}
        }
        let known = |task: &str| task_to_id.as_ref().and_then(|all| all.get(task)).copied();
        if let Some(task) = task {
            if !TASKS.contains(&task.as_str()) {
                return Err(self.wrong("task", format!("`{task}`"), TASKS.join(" or ")));
            }
            let own = known(task)
                .ok_or_else(|| self.wrong("task", format!("`{task}`"), "a task that `task_to_id` has"))?;
            tokens.push(Some(own));
        } else if language.is_some()
            && let Some(tasks) = task_to_id
            && !tasks.values().any(|own| tokens.contains(&Some(*own)))
        {
            let own = known("transcribe")
                .ok_or_else(|| self.wrong("task_to_id", "no `transcribe`", "what a language alone means"))?;
            tokens.push(Some(own));
        }
        match (self.times(), no_timestamps_token_id) {
            (false, Some(none)) if tokens.last() != Some(&Some(*none)) => tokens.push(Some(*none)),
            (true, Some(none)) if tokens.last() == Some(&Some(*none)) => {
                tokens.pop();
            }
            _ => {}
        }
        Ok(tokens.into_iter().flatten().collect())
    }

    /// The token of a language by its name, code or token.
    fn language(&self, language: &str) -> Result<u32, ZooError> {
        let known = self.raw.lang_to_id.as_ref().ok_or_else(|| {
            self.wrong("language", format!("`{language}`"), "nothing, since there is no `lang_to_id`")
        })?;
        let found = known.get(&language.to_lowercase()).copied();
        let by_name = || known.get(&languages::token(language)?).copied();
        found.or_else(by_name).ok_or_else(|| {
            let all = known.keys().cloned().collect::<Vec<_>>().join(", ");
            self.wrong("language", format!("`{language}`"), format!("one of {all}"))
        })
    }

    /// That no language is named, with a prompt that names one.
    fn unnamed(&self, start: u32, name: impl Fn(u32) -> String) -> ZooError {
        let languages = self.raw.lang_to_id.as_ref();
        let usual = languages.and_then(|all| all.get("<|en|>").or_else(|| all.values().next()));
        let task = self.raw.task_to_id.as_ref().and_then(|all| all.get("transcribe"));
        let written = [Some(&start), usual, task, self.raw.no_timestamps_token_id.as_ref()];
        ZooError::Language {
            file: self.file.clone(),
            languages: languages.map_or(0, BTreeMap::len),
            example: written.into_iter().flatten().map(|id| name(*id)).collect(),
        }
    }

    /// Refuses settings that lead to another way of generating: times that the model is made to write, passes that are repeated where they
    /// went wrong.
    ///
    /// # Errors
    /// [`ZooError::Unsupported`], by file and name.
    pub fn supported(&self) -> Result<(), ZooError> {
        let refuse = |field: &str, found: &Value, supported: &str| {
            let (field, found, supported) = (field.to_owned(), found.to_string(), supported.to_owned());
            Err(ZooError::Unsupported { field, found, supported }.within(&self.file))
        };
        if let (true, Some(times)) = (self.times(), &self.raw.return_timestamps) {
            return refuse(
                "return_timestamps",
                times,
                "false: times come as the model writes them by itself",
            );
        }
        let none = "null, one pass alone";
        for (field, value) in [
            ("no_speech_threshold", &self.raw.no_speech_threshold),
            ("logprob_threshold", &self.raw.logprob_threshold),
            ("compression_ratio_threshold", &self.raw.compression_ratio_threshold),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_null()) {
                return refuse(field, value, none);
            }
        }
        Ok(())
    }
}

/// How many tokens an answer to a prompt of so many positions may have: Whisper counts `max_length` without the prompt, up to the last
/// position it has learned.
pub(super) fn longest_answer(
    generation: &GenerationConfig,
    prompt: usize,
    positions: usize,
) -> Option<usize> {
    let counted = prompt.min((positions / 2).saturating_sub(1));
    let whole = |length: i64| {
        let length = usize::try_from(length).unwrap_or(0);
        (length + counted).min(positions).saturating_sub(prompt)
    };
    generation.max_new_tokens.map(|most| most as usize).or(generation.max_length.map(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: u32 = 10;

    fn settings(more: Value) -> PromptSettings {
        let mut raw = json!({"decoder_start_token_id": START, "no_timestamps_token_id": 50,
            "lang_to_id": {"<|en|>": 20, "<|fr|>": 21}, "task_to_id": {"transcribe": 31, "translate": 30}});
        raw.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let raw = raw.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        let raw: Value =
            raw.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into();
        PromptSettings { file: "g.json".into(), raw: serde_json::from_value(raw).unwrap(), forced: None }
    }

    fn tokens(more: Value) -> Result<Vec<u32>, String> {
        settings(more).tokens(|id| format!("<{id}>")).map_err(|error| error.to_string())
    }

    #[test]
    fn language_and_task_are_as_transformers_has_them() {
        assert_eq!(tokens(json!({"language": "French"})), Ok(vec![START, 21, 31, 50]));
        assert_eq!(tokens(json!({"language": "<|en|>", "task": "translate"})), Ok(vec![START, 20, 30, 50]));
        let forced = json!({"forced_decoder_ids": [[1, 20], [2, 31], [3, 50]]});
        assert_eq!(tokens(forced.clone()), Ok(vec![START, 20, 31, 50]));
        let english = json!({"forced_decoder_ids": [[1, 50]], "lang_to_id": null, "task_to_id": null});
        assert_eq!(tokens(english), Ok(vec![START, 50]));
        assert_eq!(tokens(json!({"lang_to_id": null})), Ok(vec![START, 50]));
        // Named settings go before forced ones.
        let mut both = forced;
        both["language"] = json!("fr");
        assert_eq!(tokens(both), Ok(vec![START, 21, 31, 50]));
        assert_eq!(tokens(json!({"language": "fr", "return_timestamps": true})), Ok(vec![START, 21, 31]));
    }

    #[test]
    fn what_is_not_said_or_cannot_be_is_refused_by_name() {
        let said = tokens(json!({"forced_decoder_ids": [[1, null], [2, 31]]})).unwrap_err();
        assert_eq!(
            said,
            "g.json: the checkpoint knows 2 languages, and neither `language` nor `forced_decoder_ids` names one: give the whole \
             prompt, as `<10><20><31><50>`"
        );
        for (more, wanted) in [
            (json!({}), "knows 2 languages"),
            (
                json!({"language": "Klingon"}),
                "g.json: `language` = `Klingon`, expected one of <|en|>, <|fr|>",
            ),
            (json!({"language": "fr", "lang_to_id": null}), "since there is no `lang_to_id`"),
            (json!({"language": "fr", "task": "sing"}), "`task` = `sing`, expected translate or transcribe"),
            (json!({"forced_decoder_ids": [[1, 20], [3, 50]]}), "of which 2 is left out"),
            (json!({"decoder_start_token_id": null}), "`decoder_start_token_id`"),
        ] {
            let said = tokens(more).unwrap_err();
            assert!(said.contains(wanted), "{said}");
        }
        for more in [json!({"return_timestamps": true}), json!({"no_speech_threshold": 0.6})] {
            let field = more.as_object().unwrap().keys().next().unwrap().clone();
            let said = settings(more).supported().unwrap_err().to_string();
            assert!(said.starts_with(&format!("g.json: `{field}`")), "{said}");
        }
        assert!(settings(json!({"return_timestamps": false})).supported().is_ok());
    }

    #[test]
    fn a_length_is_counted_without_the_prompt_up_to_the_last_position() {
        let of = |fields: Value| serde_json::from_value::<GenerationConfig>(fields).unwrap();
        assert_eq!(longest_answer(&of(json!({"max_length": 30})), 4, 64), Some(30));
        assert_eq!(longest_answer(&of(json!({"max_length": 448})), 4, 448), Some(444));
        // Of a prompt of 40, 31 are counted: 64 / 2 - 1.
        assert_eq!(longest_answer(&of(json!({"max_length": 20})), 40, 64), Some(11));
        assert_eq!(longest_answer(&of(json!({"max_length": 20, "max_new_tokens": 5})), 40, 64), Some(5));
        assert_eq!(longest_answer(&of(json!({})), 4, 64), None);
    }
}
