//! Generation by the checkpoint's settings, token for token as `generate(do_sample=False)` of transformers writes it; drawn
//! tokens by the same rules; where an answer stops.

mod beams;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::{
    Generated, Generation, Generator, Inputs, Picture, Plan, Plans, Sample, Sampling, Seed, Steps, Subject,
    SubjectError, Words,
};
use mmlens_zoo::OpenOptions;
use serde_json::{Map, Value};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

/// A case of `oracles/generation.py`.
struct Case {
    name: String,
    model: String,
    about: Value,
}

impl Case {
    fn all() -> Vec<Self> {
        Self::of("generation")
    }

    /// The cases of a folder of fixtures.
    fn of(folder: &str) -> Vec<Self> {
        let text = fs::read_to_string(fixtures().join(folder).join("cases.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let named = |about: Value| {
            let model = about["model"].as_str().unwrap().to_owned();
            Self { name: format!("{model}: {}", about["what"].as_str().unwrap()), model, about }
        };
        cases.into_iter().map(named).collect()
    }

    fn tokens(&self) -> Option<Vec<Vec<u32>>> {
        self.about.get("tokens").map(|tokens| serde_json::from_value(tokens.clone()).unwrap())
    }

    /// The checkpoint's folder with other files.
    fn folder(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(fixtures().join(&self.model).join("model")).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let read = |name: &str| -> Map<String, Value> {
            let text = fs::read_to_string(folder.path().join(name)).unwrap_or_else(|_| "{}".to_owned());
            serde_json::from_str(&text).unwrap()
        };
        let write = |name: &str, fields: Map<String, Value>| {
            fs::write(folder.path().join(name), Value::Object(fields).to_string()).unwrap();
        };
        match self.about["generation"].as_object() {
            None => drop(fs::remove_file(folder.path().join("generation_config.json"))),
            Some(fields) if fields.is_empty() => {}
            Some(fields) => {
                let mut whole = read("generation_config.json");
                whole.extend(fields.clone());
                write("generation_config.json", whole);
            }
        }
        let mut whole = read("config.json");
        for (name, value) in self.about["config"].as_object().unwrap() {
            match (name.as_str(), value.as_object()) {
                ("text_config", Some(fields)) => {
                    whole["text_config"].as_object_mut().unwrap().extend(fields.clone());
                }
                _ => drop(whole.insert(name.clone(), value.clone())),
            }
        }
        write("config.json", whole);
        folder
    }

    fn open(&self) -> (tempfile::TempDir, Box<dyn Subject>) {
        let folder = self.folder();
        let subject = OpenOptions::new(&Device::flex()).self_check(false).open(folder.path());
        let subject = subject.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        (folder, subject)
    }

    fn inputs(&self, subject: &dyn Subject) -> Inputs {
        let rows = self.about["rows"].as_array().unwrap();
        let rows: Vec<Inputs> = rows.iter().map(|row| subject.encode(&sample(row)).unwrap()).collect();
        Inputs::batch(&rows, subject.pad()).unwrap()
    }

    /// The greatest length that is asked for, or what the checkpoint says.
    fn most(&self, subject: &dyn Subject, inputs: &Inputs) -> usize {
        let asked = self.about["count"].as_u64().map(|count| count as usize);
        asked.or_else(|| subject.longest_answer(inputs)).unwrap()
    }
}

fn sample(row: &Value) -> Sample {
    let open = |name: &Value| {
        Picture::open(fixtures().join(format!("pictures/{}.png", name.as_str().unwrap()))).unwrap()
    };
    let pictures = row["images"].as_array().map_or_else(Vec::new, |names| names.iter().map(open).collect());
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let words = text("ask").map(Words::Question).or_else(|| text("prompt").map(Words::Prompt));
    Sample::new(pictures, words.unwrap_or(Words::Nothing))
}

fn written(rows: &[Generated]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.tokens.clone()).collect()
}

#[test]
fn every_setting_writes_what_transformers_writes() {
    let mut held = 0;
    for case in Case::all() {
        let Some(expected) = case.tokens() else { continue };
        let (_folder, subject) = case.open();
        let inputs = case.inputs(subject.as_ref());
        let how = Generation { max_new: case.most(subject.as_ref(), &inputs), ..Generation::default() };
        // A vanishing temperature draws the highest score, so the same rules lead to the same tokens.
        let sampling = Sampling::Draw { temperature: 1e-5, top_p: 1.0, seed: Seed(1) };
        let drawn = subject.generate(&inputs, &Generation { sampling, ..how.clone() });
        let rows = subject.generate(&inputs, &how);
        // Where settings forbid every token, transformers writes the first of the vocabulary, which nobody asked for.
        if case.name == "gpt2-a: nothing is left" {
            for refused in [rows, drawn] {
                let said = refused.unwrap_err().to_string();
                assert!(
                    said.contains("expected a token that the generation settings do not forbid"),
                    "{said}"
                );
            }
            continue;
        }
        let rows = rows.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(written(&rows), expected, "{}", case.name);
        assert_eq!(written(&drawn.unwrap()), expected, "{}, drawn", case.name);
        held += 1;
    }
    assert!(held > 100, "{held}");
}

/// Any of several tokens ends an answer, whatever its place in the list.
#[test]
fn any_of_the_ends_ends_an_answer() {
    let about = serde_json::json!({"model": "gpt2-a", "what": "ends", "generation": {"eos_token_id": null}, "config": {"eos_token_id": null}});
    let mut case = Case { name: "ends".to_owned(), model: "gpt2-a".to_owned(), about };
    let write = |case: &Case| {
        let (_folder, subject) = case.open();
        let inputs = subject.encode(&Sample::prompt(Vec::new(), "Go on")).unwrap();
        let how = Generation { max_new: 12, ..Generation::default() };
        subject.generate(&inputs, &how).unwrap().remove(0).tokens
    };
    let all = write(&case);
    assert_eq!(all.len(), 12);
    let at = (1..12).find(|at| !all[..*at].contains(&all[*at])).unwrap();
    let other = (0..).find(|id| !all.contains(id)).unwrap();
    for ends in [[other, all[at]], [all[at], other]] {
        case.about["generation"]["eos_token_id"] = serde_json::json!(ends);
        let written = write(&case);
        assert!(
            all.starts_with(&written) && (at..=at + 1).contains(&written.len()),
            "{written:?} of {all:?}"
        );
    }
}

#[test]
fn what_is_not_offered_is_refused_by_file_and_field() {
    let mut held = 0;
    for case in Case::all().iter().filter(|case| case.tokens().is_none()) {
        let (folder, subject) = case.open();
        let inputs = case.inputs(subject.as_ref());
        let error = subject.generate(&inputs, &Generation::default()).unwrap_err();
        assert!(matches!(error, SubjectError::Generation { .. }), "{}: {error:?}", case.name);
        let said = error.to_string();
        let changed = case.about["generation"].as_object().filter(|fields| !fields.is_empty());
        let (file, fields) = match changed {
            Some(fields) => ("generation_config.json", fields.clone()),
            None => ("config.json", case.about["config"]["text_config"].as_object().unwrap().clone()),
        };
        assert!(said.contains(&folder.path().join(file).display().to_string()), "{said}");
        assert!(fields.keys().any(|field| said.contains(field)), "{said}");
        held += 1;
    }
    assert!(held > 15, "{held}");
}

#[test]
fn a_refusal_says_what_is_there_and_what_could_be() {
    let case = |generation: &str| Case {
        name: generation.to_owned(),
        model: "gpt2-a".to_owned(),
        about: serde_json::from_str(&format!(
            r#"{{"generation": {generation}, "config": {{}}, "rows": [{{"prompt": "a"}}]}}"#
        ))
        .unwrap(),
    };
    for (generation, expected) in [
        (
            r#"{"num_beams": 4}"#,
            "generation_config.json: num_beams`: `4` is not supported; supported: 1, no search by beams",
        ),
        (
            r#"{"repetition_penalty": 0.0}"#,
            "generation_config.json: repetition_penalty` = 0, expected a number above 0",
        ),
        (r#"{"bad_words_ids": [[3, 270]]}"#, "bad_words_ids` = token 270, expected tokens below 270"),
        (
            r#"{"suppress_tokens": [4, 5], "forced_bos_token_id": [4, 5]}"#,
            "forced_bos_token_id` = [4, 5], expected a token that `suppress_tokens` has not",
        ),
        (r#"{"use_mtp": true}"#, "use_mtp`: `true` is not supported; supported: false"),
        (
            r#"{"cache_implementation": "quantized"}"#,
            "cache_implementation`: `\"quantized\"` is not supported",
        ),
    ] {
        let (_folder, subject) = case(generation).open();
        let inputs = subject.encode(&Sample::prompt(Vec::new(), "a")).unwrap();
        let said = subject.generate(&inputs, &Generation::default()).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        // What needs no generation goes on.
        subject.run(&inputs, Plan::new()).unwrap();
    }
    // Settings that change nothing, as older configs list them.
    let (_folder, subject) = case(
        r#"{"num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0, "length_penalty": 1.0, "early_stopping": false,
            "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "bad_words_ids": null,
            "min_length": 0, "forced_bos_token_id": null, "forced_eos_token_id": null, "remove_invalid_values": false,
            "exponential_decay_length_penalty": null, "suppress_tokens": null, "begin_suppress_tokens": null, "top_k": 50,
            "typical_p": 1.0, "use_cache": true, "cache_implementation": "hybrid", "penalty_alpha": 0.0,
            "num_return_sequences": 1, "pad_token_id": -1, "guidance_scale": 1.0, "do_sample": true, "temperature": 0.2}"#,
    )
    .open();
    let (_plain, plain) = case("{}").open();
    let inputs = subject.encode(&Sample::prompt(Vec::new(), "a")).unwrap();
    let write = |subject: &dyn Subject| written(&subject.generate(&inputs, &Generation::default()).unwrap());
    assert_eq!(write(subject.as_ref()), write(plain.as_ref()));
}

#[test]
fn an_answer_stops_at_the_last_position_and_says_so() {
    for case in Case::all().iter().filter(|case| case.about.get("last_position").is_some()) {
        let (_folder, subject) = case.open();
        let inputs = case.inputs(subject.as_ref());
        let expected = case.tokens().unwrap();
        let write = |max_new| {
            let how = Generation { max_new, ..Generation::default() };
            subject.generate(&inputs, &how).unwrap().remove(0)
        };
        let (all, stopped) = (expected[0].len(), write(1000));
        assert_eq!(
            (written(std::slice::from_ref(&stopped)), stopped.last_position),
            (expected, true),
            "{}",
            case.name
        );
        assert_eq!((stopped.ended, stopped.probabilities.len()), (false, all), "{}", case.name);
        // Whoever asks for no more is told of nothing.
        let asked = write(all);
        assert_eq!((asked.tokens, asked.last_position), (stopped.tokens, false), "{}", case.name);
    }
}

#[test]
fn rows_of_a_batch_stop_each_at_its_own_last_position() {
    let case = |about: &Case| about.model == "gpt2-a" && about.about.get("last_position").is_some();
    let cases: Vec<Case> = Case::all().into_iter().filter(case).collect();
    let (_folder, subject) = cases[0].open();
    let alone: Vec<Inputs> = cases.iter().map(|case| case.inputs(subject.as_ref())).collect();
    let both = Inputs::batch(&alone, subject.pad()).unwrap();
    let rows = subject.generate(&both, &Generation { max_new: 1000, ..Generation::default() }).unwrap();
    let expected: Vec<Vec<u32>> = cases.iter().flat_map(|case| case.tokens().unwrap()).collect();
    assert!(expected[0].len() != expected[1].len());
    assert_eq!(written(&rows), expected);
    assert!(rows.iter().all(|row| row.last_position && !row.ended));
}

/// The softmax of what the model said at each step, at the tokens that came.
fn own(subject: &dyn Subject, inputs: &Inputs, how: &Generation) -> (Generated, Vec<f32>) {
    let plans = Plans::new().during(Steps::Every, Plan::new().read("text.logits").unwrap());
    let (mut rows, traces) = Generator::new(how).plans(&plans).write(subject, inputs).unwrap();
    let row = rows.remove(0);
    let share = |(trace, token): (&mmlens_core::Trace, &u32)| {
        let logits = trace.get("text.logits".parse().unwrap()).unwrap().to_values().unwrap();
        let highest = logits[mmlens_core::finding::top(&logits).unwrap().unwrap()];
        let all: f64 = logits.iter().map(|x| f64::from(x - highest).exp()).sum();
        (f64::from(logits[*token as usize] - highest).exp() / all) as f32
    };
    let shares = traces.values().zip(&row.tokens).map(share).collect();
    (row, shares)
}

#[test]
fn a_token_has_the_probability_that_the_model_itself_gave_it() {
    let chosen = ["gpt2-a: several", "llava-a: suppress_tokens", "qwen2.5-vl-a: repetition_penalty"];
    let mut unlikely = 0;
    for case in Case::all().iter().filter(|case| chosen.contains(&case.name.as_str())) {
        let (_folder, subject) = case.open();
        let rows = case.about["rows"].as_array().unwrap();
        let inputs = subject.encode(&sample(&rows[0])).unwrap();
        let draw = |seed| Sampling::Draw { temperature: 3.0, top_p: 0.95, seed: Seed(seed) };
        for sampling in [Sampling::Greedy, draw(1), draw(2)] {
            let how = Generation { max_new: 8, sampling, stop_at_end: true };
            let (row, shares) = own(subject.as_ref(), &inputs, &how);
            assert_eq!(row.probabilities.len(), row.tokens.len(), "{}", case.name);
            for (found, expected) in row.probabilities.iter().zip(&shares) {
                // One softmax in f32 against one in f64.
                assert!((found - expected).abs() < 1e-5, "{}: {found}, not {expected}", case.name);
                unlikely += usize::from(*expected < 0.01);
            }
        }
    }
    // Drawn at a high temperature, most are far from the likeliest: no other token's probability would pass for theirs.
    assert!(unlikely > 5, "{unlikely}");
}

#[test]
fn drawn_tokens_keep_to_the_rules() {
    let case = |name: &str| Case::all().into_iter().find(|case| case.name == name).unwrap();
    let suppressed = case("llava-a: suppress_tokens");
    let (_folder, subject) = suppressed.open();
    let never: Vec<i64> =
        serde_json::from_value(suppressed.about["generation"]["suppress_tokens"].clone()).unwrap();
    let inputs = suppressed.inputs(subject.as_ref());
    let mut seen = 0;
    for seed in 0..20 {
        let sampling = Sampling::Draw { temperature: 1.0, top_p: 1.0, seed: Seed(seed) };
        let how = Generation { max_new: 12, sampling, stop_at_end: true };
        for row in subject.generate(&inputs, &how).unwrap() {
            assert!(row.tokens.iter().all(|id| !never.contains(&i64::from(*id))), "{:?}", row.tokens);
            seen += row.tokens.len();
        }
    }
    assert!(seen > 200, "{seen}");
    let end = case("gpt2-a: forced_eos_token_id");
    let (_folder, subject) = end.open();
    let sampling = Sampling::Draw { temperature: 2.0, top_p: 1.0, seed: Seed(3) };
    let how = Generation { max_new: 5, sampling, stop_at_end: false };
    let rows = subject.generate(&end.inputs(subject.as_ref()), &how).unwrap();
    let forced = end.about["generation"]["forced_eos_token_id"].as_u64().unwrap() as u32;
    assert!(rows.iter().all(|row| row.tokens.len() == 5 && row.tokens[4] == forced), "{rows:?}");
}
