//! Settings that are read, and those that are refused by name.

use mmlens_sound::{LogMel, LogMelSettings};
use serde_json::{Value, json};

use crate::oracle::path;

/// What is said of a file with some fields changed; null takes a field out.
fn read(change: Value) -> Result<LogMelSettings, String> {
    let mut fields = json!({
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400, "padding_value": 0.0,
        "return_attention_mask": false, "padding_side": "right", "n_samples": 480000, "nb_max_frames": 3000, "dither": 0.0,
    });
    for (field, value) in change.as_object().unwrap() {
        match value.as_str() {
            Some("gone") => drop(fields.as_object_mut().unwrap().remove(field)),
            _ => fields[field] = value.clone(),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("preprocessor_config.json");
    std::fs::write(&file, fields.to_string()).unwrap();
    LogMelSettings::read(&file)
        .map_err(|error| error.to_string().replace(&format!("{}: ", file.display()), "FILE: "))
}

fn said(change: Value) -> String {
    read(change).unwrap_err()
}

#[test]
fn settings_are_those_of_the_file() {
    assert_eq!(read(json!({})), Ok(LogMelSettings::default()));
    let qwen2 = LogMelSettings::read(path("qwen2").join("preprocessor_config.json")).unwrap();
    assert_eq!(qwen2, LogMelSettings { mels: 128, ..LogMelSettings::default() });
    let other = LogMelSettings::read(path("other").join("preprocessor_config.json")).unwrap();
    let expected = LogMelSettings { mels: 40, rate: 8000, hop: 150, window: 512, seconds: 1, padding: 0.01 };
    assert_eq!(other, expected);
    assert_eq!((other.samples(), other.frames()), (8000, 53));
    let all = [
        "feature_size",
        "sampling_rate",
        "hop_length",
        "chunk_length",
        "n_fft",
        "padding_value",
        "padding_side",
        "n_samples",
        "dither",
    ];
    let gone: serde_json::Map<_, _> =
        all.map(|field| (field.to_owned(), json!("gone"))).into_iter().collect();
    assert_eq!(read(Value::Object(gone)), Ok(LogMelSettings::default()));
    // The filters of older files are made anew in transformers too.
    assert_eq!(
        read(json!({"mel_filters": [[1.0]], "processor_class": "WhisperProcessor"})),
        Ok(LogMelSettings::default())
    );
}

#[test]
fn the_part_of_a_processor_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("processor_config.json");
    let inner = json!({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128});
    std::fs::write(&file, json!({"processor_class": "A", "feature_extractor": inner}).to_string()).unwrap();
    assert_eq!(LogMelSettings::read(&file).unwrap().mels, 128);
}

#[test]
fn what_changes_a_number_is_used_or_refused() {
    for (change, expected) in [
        (json!({"dither": 0.0001}), "`dither` is 0.0001, expected 0: it adds noise"),
        (json!({"padding_side": "left"}), "`padding_side` is \"left\", expected \"right\""),
        (json!({"do_normalize": true}), "`do_normalize` is true, expected false"),
        (json!({"n_samples": 1}), "`n_samples` is 1, expected 480000, which follows from the other fields"),
        (
            json!({"nb_max_frames": 1}),
            "`nb_max_frames` is 1, expected 3000, which follows from the other fields",
        ),
        (json!({"feature_size": "80"}), "`feature_size` is \"80\", expected a whole number"),
        (
            json!({"feature_size": null}),
            "`feature_size` is null, expected to be given, or to be left out for its default",
        ),
        (json!({"feature_size": 0}), "`feature_size` is 0, expected 1 to 1024"),
        (json!({"n_fft": 401}), "`n_fft` is 401, expected an even number"),
        (json!({"n_fft": 0}), "`n_fft` is 0, expected 2 to 16384"),
        (json!({"hop_length": 0}), "`hop_length` is 0, expected 1 to 480000"),
        (json!({"chunk_length": 30.5}), "`chunk_length` is 30.5, expected a whole number"),
        (json!({"chunk_length": 10000}), "`chunk_length` is 10000, expected 1 to 8388"),
        (json!({"sampling_rate": 10}), "`sampling_rate` is 10, expected 1000 to 768000"),
        (json!({"padding_value": 100}), "`padding_value` is 100, expected a number from -16 to 16"),
        (json!({"preemphasis": 0.97}), "the field `preemphasis` (0.97) is not supported"),
        (
            json!({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}),
            "the feature extractor is \"Wav2Vec2FeatureExtractor\", expected WhisperFeatureExtractor",
        ),
        (
            json!({"feature_extractor_type": "gone"}),
            "the feature extractor is not named, expected WhisperFeatureExtractor",
        ),
    ] {
        assert_eq!(said(change), format!("FILE: {expected}"));
    }
    assert_eq!(read(json!({"preemphasis": null, "do_normalize": false})), Ok(LogMelSettings::default()));
}

#[test]
fn settings_without_a_file_are_checked_too() {
    let settings = LogMelSettings { window: 401, ..LogMelSettings::default() };
    assert_eq!(LogMel::new(settings).unwrap_err().to_string(), "`n_fft` is 401, expected an even number");
    let settings = LogMelSettings { hop: 1, seconds: 8000, mels: 1024, ..LogMelSettings::default() };
    let said = LogMel::new(settings).unwrap_err().to_string();
    assert_eq!(said, "`hop_length` is 1, expected a spectrogram of at most 134217728 values");
    let settings = LogMelSettings { padding: f32::NAN, ..LogMelSettings::default() };
    assert!(LogMel::new(settings).unwrap_err().to_string().starts_with("`padding_value` is NaN"));
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, "{\"feature_size\": }").unwrap();
    let said = LogMel::open(&file).unwrap_err().to_string();
    assert!(said.contains("a.json: line 1 column 18: "), "{said}");
    assert!(LogMel::open(folder.path()).unwrap_err().to_string().contains("it is a folder"));
}
