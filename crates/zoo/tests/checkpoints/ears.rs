//! What models with ears are played: what each position is, which prompt they begin with, and what is refused by name.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::finding::Modality;
use mmlens_core::sound::Sound;
use mmlens_core::{Generation, Inputs, Picture, Plan, Sample, Sampling, Subject, SubjectError, Words};
use mmlens_zoo::certify::certify;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn open(name: &str) -> Box<dyn Subject> {
    mmlens_zoo::open(fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

fn sound(name: &str) -> Sound {
    Sound::open(fixtures().join("recordings").join(format!("{name}.wav"))).unwrap()
}

fn heard(names: &[&str], words: Words) -> Sample {
    Sample::new(Vec::new(), words).with_recordings(names.iter().map(|name| sound(name)).collect())
}

fn said(subject: &dyn Subject, sample: &Sample) -> String {
    match subject.encode(sample).unwrap_err() {
        SubjectError::Sample { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// A folder with another file in the place of one of its own.
fn changed(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(name).join("model")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&file, value.to_string()).unwrap();
    folder
}

fn prompt(text: &str) -> Words {
    Words::Prompt(text.to_owned())
}

#[test]
fn whisper_begins_as_its_settings_say() {
    let whisper = open("whisper-a");
    let inputs = whisper.encode(&heard(&["chirp"], Words::Nothing)).unwrap();
    let map = inputs.map();
    assert_eq!(map.text, "<|startoftranscript|><|fr|><|transcribe|><|notimestamps|>");
    assert!(map.tokens.iter().all(|token| token.modality == Modality::Special));
    // 6400 samples in steps of 320.
    assert_eq!(map.pictures, [(20, 80)]);
    let same = whisper.encode(&heard(&["chirp"], prompt(&map.text))).unwrap();
    assert_eq!((same.ids.clone(), same.map()), (inputs.ids.clone(), map));
    // Times are text that is shown, and no special tokens.
    let times = whisper.tokens("<|0.00|> a<|0.46|>").unwrap();
    assert_eq!(whisper.decode(&times).unwrap(), "<|0.00|> a<|0.46|>");
}

#[test]
fn whisper_refuses_what_it_is_not_made_for() {
    let whisper = open("whisper-a");
    for (sample, wanted) in [
        (heard(&["chirp"], Words::Question("What is heard?".to_owned())), "asked nothing"),
        (heard(&["chirp", "blip"], Words::Nothing), "it hears one recording, 2 were given"),
        (heard(&[], Words::Nothing), "it hears one recording, 0 were given"),
        (heard(&["chirp"], prompt("")), "the prompt is empty"),
        (heard(&["chirp"], prompt(&"no ".repeat(60))), "tokens, of at most 64"),
        (heard(&["long"], Words::Nothing), "long.wav: it is 1.8 s long, expected at most 1"),
    ] {
        let said = said(whisper.as_ref(), &sample);
        assert!(said.contains(wanted), "{said}");
    }
    let mut seen = heard(&["chirp"], Words::Nothing);
    seen.pictures.push(Picture::open(fixtures().join("pictures/square.png")).unwrap());
    assert!(said(whisper.as_ref(), &seen).contains("no pictures"));
    let said = said(open("whisper-old").as_ref(), &heard(&["chirp"], Words::Nothing));
    let example = "as `<|startoftranscript|><|en|><|transcribe|><|notimestamps|>`";
    assert!(said.contains("knows 3 languages") && said.ends_with(example), "{said}");
}

#[test]
fn times_that_are_forced_are_refused_where_tokens_are_generated() {
    let folder =
        changed("whisper-a", "generation_config.json", |value| value["return_timestamps"] = json!(true));
    let whisper = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    let inputs = whisper.encode(&heard(&["chirp"], Words::Nothing)).unwrap();
    assert_eq!(inputs.map().text, "<|startoftranscript|><|fr|><|transcribe|>");
    let how = Generation { max_new: 2, sampling: Sampling::Greedy, stop_at_end: true };
    let said = whisper.generate(&inputs, &how).unwrap_err().to_string();
    assert!(said.contains("generation_config.json: `return_timestamps`: `true` is not supported"), "{said}");
}

#[test]
fn rows_hear_what_they_play_in_whatever_order() {
    let whisper = open("whisper-a");
    let [one, two] = ["chirp", "odd"].map(|name| whisper.encode(&heard(&[name], Words::Nothing)).unwrap());
    let logits = |inputs: &Inputs| -> Vec<f32> {
        let trace = whisper.run(inputs, Plan::new().to_output()).unwrap();
        trace.output().logits.as_ref().unwrap().to_values().unwrap()
    };
    let both = Inputs::batch(&[one.clone(), two.clone()], 0).unwrap();
    let swapped = both.clone().with(|batch| {
        batch.heard.of_rows.swap(0, 1);
        batch.maps.swap(0, 1);
    });
    let (alone, swapped) = ([logits(&two), logits(&one)].concat(), logits(&swapped.unwrap()));
    let apart: Vec<f32> = alone.iter().zip(&swapped).map(|(a, b)| (a - b).abs()).collect();
    let apart = mmlens_core::finding::largest(&apart).unwrap();
    assert!(apart < 1e-4, "{apart}"); // The order of sums alone.
    assert!(logits(&one).iter().zip(&logits(&two)).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn every_position_of_a_recording_is_the_stretch_it_stands_for() {
    let qwen = open("qwen2-audio-a");
    let inputs = qwen.encode(&heard(&["odd", "blip"], Words::Question("Which?".to_owned()))).unwrap();
    let map = inputs.map();
    // The template of the class counts recordings.
    let counted =
        "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nAudio 2: <|audio_bos|><|AUDIO|><|audio_eos|>\nWhich?";
    assert!(map.text.contains(counted), "{}", map.text);
    // 10863 samples are 34 frames (33.9 steps of 320), 17 positions of the tower, 8 behind it; 2500 are 8, 4 and 2.
    assert_eq!(map.pictures, [(34, 128), (8, 128)]);
    let stretches = |image: usize| -> Vec<[f32; 4]> {
        map.picture(image).into_iter().map(|at| map.tokens[at].patch.unwrap().bbox).collect()
    };
    let wanted: Vec<[f32; 4]> =
        (0..8u8).map(|i| [4.0 * f32::from(i), 0.0, 4.0 * f32::from(i + 1), 128.0]).collect();
    assert_eq!(stretches(0), wanted);
    assert_eq!(stretches(1), [[0.0, 0.0, 4.0, 128.0], [4.0, 0.0, 8.0, 128.0]]);
    assert_eq!(map.of(Modality::Audio).len(), 10);
    // A sound that ends within a position covers as much of it: 6 frames of 7 are 3 positions of the tower and 1 behind it.
    let short = sound("blip").between(0.0, 0.135).unwrap();
    let mut sample = heard(&["chirp"], prompt("<|AUDIO|>"));
    sample.recordings = vec![short];
    let inputs = qwen.encode(&sample).unwrap();
    assert_eq!(inputs.map().pictures, [(7, 128)]);
    let boxes: Vec<[f32; 4]> =
        inputs.map().tokens.iter().filter_map(|token| token.patch).map(|p| p.bbox).collect();
    assert_eq!(boxes, [[0.0, 0.0, 4.0, 128.0], [4.0, 0.0, 7.0, 128.0]]);
}

#[test]
fn a_sound_at_another_rate_is_brought_to_that_of_the_checkpoint() {
    let qwen = open("qwen2-audio-a");
    let mut sample = heard(&["chirp"], prompt("<|AUDIO|>"));
    let usual = qwen.encode(&sample).unwrap();
    sample.recordings = vec![sound("chirp").at(44100).unwrap()];
    let other = qwen.encode(&sample).unwrap();
    assert_eq!(
        (other.ids.clone(), other.map().pictures.clone()),
        (usual.ids.clone(), usual.map().pictures.clone())
    );
}

#[test]
fn qwen2_audio_refuses_what_it_cannot_hear() {
    let qwen = open("qwen2-audio-a");
    let with = |recording: Sound, text: &str| {
        let mut sample = heard(&[], prompt(text));
        sample.recordings.push(recording);
        said(qwen.as_ref(), &sample)
    };
    let short = with(sound("blip").between(0.0, 0.03).unwrap(), "<|AUDIO|>");
    assert_eq!(
        short,
        "blip.wav: its 2 frames are too few for one position of the language model, expected at least 3"
    );
    let long = with(sound("long"), "<|AUDIO|>");
    assert!(long.contains("it is 1.8 s long, expected at most 1"), "{long}");
    let none = with(sound("blip"), "Hi?");
    assert_eq!(none, "the prompt has 0 recording placeholders (`<|AUDIO|>`), but 1 recordings were given");
    let deaf = said(open("llava-a").as_ref(), &heard(&["blip"], prompt("Hi?")));
    assert_eq!(deaf, "this checkpoint takes no recordings, but 1 were given");
}

#[test]
fn an_extractor_that_does_not_fit_the_tower_is_refused_by_file_and_field() {
    let refused = |field: &str, number: usize| {
        let folder = changed("qwen2-audio-a", "processor_config.json", |value| {
            let own = value["feature_extractor"].as_object_mut().unwrap();
            own.insert(field.to_owned(), json!(number));
            own.remove("n_samples");
            own.remove("nb_max_frames");
        });
        mmlens_zoo::open(folder.path(), &Device::flex()).err().unwrap().to_string()
    };
    let said = refused("feature_size", 80);
    assert!(
        said.ends_with(
            "processor_config.json: `feature_size` = 80, expected num_mel_bins = 128 of the tower"
        ),
        "{said}"
    );
    // 8000 samples less than twice as many frames in steps of 640.
    let said = refused("hop_length", 640);
    assert!(said.contains("`frames of a spectrogram` = 25, expected 50"), "{said}");
}

#[test]
fn a_template_beside_the_tokenizer_has_no_say() {
    let folder =
        changed("qwen2-audio-a", "tokenizer_config.json", |value| value["chat_template"] = json!("Hi"));
    std::fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let qwen = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    let sample = heard(&["chirp"], Words::Question("Which?".to_owned()));
    let usual = open("qwen2-audio-a").encode(&sample).unwrap();
    assert_eq!(qwen.encode(&sample).unwrap().map().text, usual.map().text);
}

#[test]
fn a_certificate_notices_a_spectrogram_that_is_off() {
    let folder = fixtures().join("whisper-a");
    let mut bytes = std::fs::read(folder.join("trace-prompt.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let at = file.tensor("input_features").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    let value = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) + 1e-4;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let certificate = certify(open("whisper-a").as_ref(), file.path(), &fixtures().join("pictures")).unwrap();
    let differ: Vec<&str> =
        certificate.compared.iter().filter(|c| !c.passed).map(|c| c.name.as_str()).collect();
    assert_eq!(differ, ["input_features"]);
}

/// Folders from before there was `tokenizer.json` have vocabulary, merges and added tokens in files of their own.
#[test]
fn a_whisper_of_the_slow_tokenizer_knows_its_special_tokens() {
    let folder = changed("whisper-a", "tokenizer_config.json", |fields| {
        fields.as_object_mut().unwrap().remove("added_tokens_decoder");
    });
    let at = |name: &str| folder.path().join(name);
    let whole: Value = serde_json::from_slice(&std::fs::read(at("tokenizer.json")).unwrap()).unwrap();
    std::fs::remove_file(at("tokenizer.json")).unwrap();
    let merges: Vec<String> = whole["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| match pair {
            Value::String(pair) => pair.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        })
        .collect();
    let added: serde_json::Map<String, Value> = whole["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["content"].as_str().unwrap().to_owned(), token["id"].clone()))
        .collect();
    std::fs::write(at("vocab.json"), whole["model"]["vocab"].to_string()).unwrap();
    std::fs::write(at("merges.txt"), format!("#version: 0.2\n{}\n", merges.join("\n"))).unwrap();
    let special: Vec<&str> = whole["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|token| token["special"] == true)
        .map(|token| token["content"].as_str().unwrap())
        .collect();
    std::fs::write(at("added_tokens.json"), Value::from(added).to_string()).unwrap();
    let listed = json!({ "additional_special_tokens": special });
    std::fs::write(at("special_tokens_map.json"), listed.to_string()).unwrap();
    let (older, newer) = (mmlens_zoo::open(folder.path(), &Device::flex()).unwrap(), open("whisper-a"));
    let text = "<|startoftranscript|><|fr|><|transcribe|><|0.00|> two<|0.46|>";
    assert_eq!(older.tokens(text).unwrap(), newer.tokens(text).unwrap());
    let map =
        |subject: &dyn Subject| subject.encode(&heard(&["chirp"], Words::Nothing)).unwrap().map().clone();
    assert_eq!(map(older.as_ref()).tokens, map(newer.as_ref()).tokens);
}

/// What is said of the encoder's text is said of nothing where the encoder is given a recording.
#[test]
fn rules_for_the_text_of_an_encoder_are_none_for_a_recording() {
    let folder = changed("whisper-a", "generation_config.json", |fields| {
        fields["encoder_repetition_penalty"] = json!(3.0);
        fields["encoder_no_repeat_ngram_size"] = json!(1);
    });
    let rules = |subject: &dyn Subject| {
        let inputs = subject.encode(&heard(&["chirp"], Words::Nothing)).unwrap();
        format!("{:?}", subject.rules(&inputs).unwrap())
    };
    let with = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    assert_eq!(rules(with.as_ref()), rules(open("whisper-a").as_ref()));
}

/// Without `generation_config.json` transformers takes from `config.json` what generation settings know, the defaults of the class among them.
#[test]
fn a_whisper_without_generation_settings_has_those_of_its_class() {
    let folder = changed("whisper-old", "config.json", |fields| {
        fields["language"] = json!("fr");
        fields["task"] = json!("transcribe");
        fields["return_timestamps"] = json!(true);
    });
    let _ = std::fs::remove_file(folder.path().join("generation_config.json"));
    let map = |subject: &dyn Subject| {
        let inputs = subject.encode(&heard(&["chirp"], Words::Nothing)).unwrap();
        (inputs.ids.clone(), format!("{:?}", subject.rules(&inputs).map_err(|error| error.to_string())))
    };
    let subject = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
    let (ids, rules) = map(subject.as_ref());
    let plain = changed("whisper-old", "config.json", |_| {});
    let _ = std::fs::remove_file(plain.path().join("generation_config.json"));
    let plain = mmlens_zoo::open(plain.path(), &Device::flex()).unwrap();
    assert_eq!((ids, rules), map(plain.as_ref()));
}

#[test]
fn other_names_of_a_field_must_agree_with_it() {
    let folder = changed("whisper-a", "config.json", |fields| fields["num_key_value_heads"] = json!(77));
    let said = mmlens_zoo::open(folder.path(), &Device::flex()).err().unwrap().to_string();
    assert!(said.contains("num_key_value_heads") && said.contains("encoder_attention_heads"), "{said}");
}

/// A processor looks into its own file first, then into the older one of templates, then into the newer.
#[test]
fn the_template_of_a_processor_is_its_own_before_all_others() {
    let folder = changed("qwen2-audio-a", "config.json", |_| {});
    let encoded = || {
        let subject = mmlens_zoo::open(folder.path(), &Device::flex()).unwrap();
        let sample = heard(&["chirp"], Words::Question("Hi?".to_owned()));
        subject.encode(&sample).unwrap().map().text.clone()
    };
    let template = |mark: &str| format!("{mark}<|audio_bos|><|AUDIO|><|audio_eos|>");
    std::fs::write(folder.path().join("chat_template.jinja"), template("c")).unwrap();
    assert!(encoded().starts_with('c'));
    std::fs::write(
        folder.path().join("chat_template.json"),
        json!({"chat_template": template("b")}).to_string(),
    )
    .unwrap();
    assert!(encoded().starts_with('b'));
    let own = folder.path().join("processor_config.json");
    let mut fields: Value =
        std::fs::read(&own).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
    fields["chat_template"] = json!(template("a"));
    std::fs::write(&own, fields.to_string()).unwrap();
    assert!(encoded().starts_with('a'));
}
