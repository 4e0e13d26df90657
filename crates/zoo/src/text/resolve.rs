//! Which tokenizer class transformers takes for a folder.

use std::path::Path;

use serde_json::{Map, Value};

use super::class::TokenizerClass;
use super::error::TextError;
use super::library::MOST_TOKENIZER_BYTES;
use crate::checkpoint::read_json_if_there;

/// What transformers has on record for a kind of model.
enum OnRecord {
    /// Nothing: the folder's files say which class.
    Nothing,
    /// A class, which other classes that the files name stand above.
    Class(TokenizerClass),
    /// A class that stands above what the files name, since they are known to be wrong.
    Surely(TokenizerClass),
    /// No class: `tokenizer.json` is taken as it is.
    File,
}

fn on_record(model_type: &str) -> OnRecord {
    match model_type {
        "clip" => OnRecord::Class(TokenizerClass::Clip),
        "bert" | "blip" => OnRecord::Class(TokenizerClass::Bert),
        "gpt2" => OnRecord::Class(TokenizerClass::Gpt2),
        "gemma2" => OnRecord::Class(TokenizerClass::Gemma),
        "whisper" => OnRecord::Class(TokenizerClass::Whisper),
        "qwen3" | "qwen2_vl" | "qwen2_5_vl" | "qwen3_vl" | "qwen2_audio" => {
            OnRecord::Class(TokenizerClass::Qwen2)
        }
        "qwen2" => OnRecord::Surely(TokenizerClass::Qwen2),
        "siglip2" => OnRecord::Surely(TokenizerClass::Siglip2),
        "llava" | "llava_next" | "smolvlm" | "mistral" => OnRecord::File,
        _ => OnRecord::Nothing,
    }
}

impl TokenizerClass {
    /// The class of a folder's tokenizer, if it brings steps of its own: by the `tokenizer_class` of its files, and by what
    /// transformers has on record for its `model_type`. `None` where `tokenizer.json` is taken as it is.
    ///
    /// # Errors
    /// [`TextError::Config`] for a file that is not JSON.
    pub fn of(dir: &Path) -> Result<Option<Self>, TextError> {
        let read = |name: &str| read_json_if_there::<Map<String, Value>>(dir.join(name));
        let (config, own) =
            (read("config.json")?.unwrap_or_default(), read("tokenizer_config.json")?.unwrap_or_default());
        let text = |fields: &Map<String, Value>, name: &str| {
            fields.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let named = text(&own, "tokenizer_class").or_else(|| text(&config, "tokenizer_class"));
        let on_record = on_record(&text(&config, "model_type").unwrap_or_default());
        let class = named.as_deref().map(Self::named);
        Ok(match (on_record, class) {
            (OnRecord::File, _) => None,
            (OnRecord::Surely(known), _) | (OnRecord::Class(known), None) => Some(known),
            (OnRecord::Class(_) | OnRecord::Nothing, Some(Some(Self::Llama))) if of_bytes(dir) => None,
            (OnRecord::Class(_) | OnRecord::Nothing, class) => class.flatten(),
        })
    }
}

/// Whether a folder's `tokenizer.json` works on bytes, where `LlamaTokenizer` is known to be a mistake.
fn of_bytes(dir: &Path) -> bool {
    const NAMED: &[u8] = b"\"ByteLevel\"";
    let text = mmlens_files::read(dir.join("tokenizer.json"), MOST_TOKENIZER_BYTES);
    text.is_ok_and(|text| text.windows(NAMED.len()).any(|part| part == NAMED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(config: &Value, named: Option<&str>, steps: &Value) -> Option<TokenizerClass> {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        write("config.json", config);
        write("tokenizer_config.json", &named.map_or(json!({}), |name| json!({"tokenizer_class": name})));
        write("tokenizer.json", &json!({"pre_tokenizer": steps}));
        TokenizerClass::of(folder.path()).unwrap()
    }

    #[test]
    fn what_is_on_record_stands_above_or_below_what_files_say() {
        let kind = |kind: &str| json!({"model_type": kind});
        let plain = |kind_of: &str, named| of(&kind(kind_of), named, &Value::Null);
        assert_eq!(plain("llava", Some("LlamaTokenizer")), None);
        assert_eq!(plain("mistral", Some("LlamaTokenizerFast")), None);
        assert_eq!(plain("llama", Some("LlamaTokenizerFast")), Some(TokenizerClass::Llama));
        assert_eq!(plain("llama", Some("PreTrainedTokenizerFast")), None);
        assert_eq!(plain("llama", Some("GPT2Tokenizer")), Some(TokenizerClass::Gpt2));
        assert_eq!(plain("llama", None), None);
        assert_eq!(plain("gpt2", None), Some(TokenizerClass::Gpt2));
        assert_eq!(plain("qwen2", Some("LlamaTokenizer")), Some(TokenizerClass::Qwen2));
        assert_eq!(plain("qwen3", Some("PreTrainedTokenizerFast")), None);
        assert_eq!(plain("siglip2", Some("GemmaTokenizer")), Some(TokenizerClass::Siglip2));
        assert_eq!(plain("siglip", Some("GemmaTokenizer")), Some(TokenizerClass::Gemma));
        assert_eq!(plain("clip", None), Some(TokenizerClass::Clip));
        assert_eq!(plain("bert", None), Some(TokenizerClass::Bert));
        assert_eq!(plain("blip", Some("BertTokenizerFast")), Some(TokenizerClass::Bert));
        let outer = json!({"model_type": "llama", "tokenizer_class": "LlamaTokenizer"});
        assert_eq!(of(&outer, None, &Value::Null), Some(TokenizerClass::Llama));
    }

    #[test]
    fn llama_on_bytes_is_a_mistake_of_the_folder() {
        let bytes = json!({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}]});
        assert_eq!(of(&json!({"model_type": "llama"}), Some("LlamaTokenizer"), &bytes), None);
        assert_eq!(
            of(&json!({"model_type": "idefics3"}), Some("GPT2Tokenizer"), &bytes),
            Some(TokenizerClass::Gpt2)
        );
    }
}
