//! Minimal pairs: against transformers, against identities, against misuse; and what they say of models that see and of one that does not.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, Case, Change, ManyCases, Objective, Picture, Region, Reply, Sample, Seed,
    Subject, Target, Words, from_fn,
};
use mmlens_data::foil::{Rule, Rules};
use mmlens_data::minimal_pairs::{MinimalPairs, Settings};
use mmlens_data::shapes::{Detail, Split, World};
use mmlens_testkit::{Oracle, Toy, kinds};
use proptest::prelude::*;

use crate::support::{few, named, numbers, opened, painted, seen};

/// Logits of passes in f32, sums of nine log-probabilities.
const SCORE: Tolerance = Tolerance::either(2e-5, 2e-6);

fn pairs(settings: Settings) -> MinimalPairs {
    MinimalPairs::new(settings).unwrap()
}

fn rules(all: &[(&str, &[&[&str]])]) -> Rules {
    let owned = |set: &&[&str]| set.iter().map(|word| (*word).to_owned()).collect();
    let rule = |(name, sets): &(&str, &[&[&str]])| Rule {
        name: (*name).to_owned(),
        sets: sets.iter().map(owned).collect(),
    };
    Rules::new(all.iter().map(rule).collect()).unwrap()
}

/// The rules by which the foils of the oracle are made.
fn few_rules() -> Settings {
    let rules = rules(&[
        ("colour", &[&["red", "blue", "orange"]]),
        ("shape", &[&["circle", "star"]]),
        ("size", &[&["small", "large"]]),
    ]);
    Settings { rules, each: None, rows: 3, ..Settings::default() }
}

/// The numbers of a finding are those of its scores, by their definitions.
fn follows(found: &Finding) {
    let scores: Vec<&[f32]> = numbers(found, "scores").chunks(4).collect();
    let texts = |table: &str| found.table(table).unwrap().as_texts().unwrap();
    let (own, captions, foils) = (texts("rule"), texts("caption"), texts("foil"));
    let names = &found.table("accuracy").unwrap().axes()[0];
    assert_eq!(names.label(names.len() - 1).unwrap(), "all");
    for at in 0..names.len() {
        let name = names.label(at).unwrap();
        let some: Vec<usize> = (0..scores.len()).filter(|i| name == "all" || own[*i] == name).collect();
        let share = |fits: &dyn Fn(usize) -> f64| {
            (some.iter().map(|i| fits(*i)).sum::<f64>() / some.len() as f64) as f32
        };
        let bit = |fits: bool| f64::from(u8::from(fits));
        assert_eq!(named(found, "accuracy", &name), share(&|i| bit(scores[i][0] > scores[i][1])));
        assert_eq!(named(found, "pairs", &name), some.len() as f32);
        assert_eq!(
            named(found, "ties", &name),
            some.iter().filter(|i| scores[**i][0] == scores[**i][1]).count() as f32
        );
        assert_eq!(
            named(found, "margin", &name),
            share(&|i| f64::from(scores[i][0]) - f64::from(scores[i][1]))
        );
        let length = |text: &str| text.chars().count();
        let shorter = share(&|i| match length(&captions[i]) as i64 - length(&foils[i]) as i64 {
            0 => 0.5,
            apart => bit(apart < 0),
        });
        let row = numbers(found, "baselines").chunks(3).nth(at).unwrap();
        assert_eq!(row, [share(&|i| bit(scores[i][2] > scores[i][3])), shorter, 0.5]);
        if found.find("alone").is_some() {
            let (fits, not) = (share(&|i| bit(scores[i][0] > 0.0)), share(&|i| bit(scores[i][1] < 0.0)));
            let row = numbers(found, "alone").chunks(3).nth(at).unwrap();
            assert_eq!(row, [fits, not, if fits < not { fits } else { not }]);
        }
    }
}

#[test]
fn scores_are_those_of_transformers() {
    for name in ["clip-a", "blip-itm", "llava-a"] {
        let oracle = Oracle::open(&format!("methods/pairs-{name}")).unwrap();
        let list = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let about = oracle.about().clone();
        let pictures = list(&about["pictures"]);
        let texts: Vec<Vec<String>> = about["texts"].as_array().unwrap().iter().map(list).collect();
        let (shown, captions, prompt) =
            (pictures.clone(), texts.clone(), about["prompt"].as_str().map(str::to_owned));
        let case = move |i: usize| {
            let (picture, caption) = (seen(&shown[i % 4]), captions[i / 4][0].clone());
            let sample = match &prompt {
                Some(prompt) => Sample::prompt(vec![picture], prompt.clone()).answered(Reply::Text(caption)),
                None => Sample::captions(picture, [caption]),
            };
            Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
        };
        let data = ManyCases::over(from_fn("captions", 8, case)).unwrap();
        let found = MinimalPairs::new(few_rules()).unwrap().run(opened(name), &data).unwrap();
        let mut wanted = Vec::new();
        let (mut foils, mut counts) = (Vec::new(), Vec::new());
        for (set, texts) in texts.iter().enumerate() {
            let scores = oracle.array(&set.to_string()).unwrap();
            for picture in 0..4 {
                let at =
                    |blank: usize, text: usize| scores.values[(picture * 2 + blank) * texts.len() + text];
                for (foil, text) in texts.iter().enumerate().skip(1) {
                    wanted.extend([at(0, 0), at(0, foil), at(1, 0), at(1, foil)]);
                    foils.push(text.clone());
                    if let Some(tokens) = about["tokens"].get(set) {
                        let count = |text: usize| tokens[text].as_f64().unwrap();
                        counts.extend([count(0), count(foil), count(0), count(foil)]);
                    }
                }
            }
        }
        assert_eq!(found.table("foil").unwrap().as_texts().unwrap(), foils);
        let gap = SCORE.check(name, numbers(&found, "scores"), &wanted).unwrap();
        println!("{name}: {:.1e} of {:.1e}", gap.absolute, gap.scale);
        follows(&found);
        assert_eq!(found.find("alone").is_some(), name == "blip-itm");
        let rows = |rows| {
            numbers(&pairs(Settings { rows, ..few_rules() }).run(opened(name), &data).unwrap(), "scores")
                .to_vec()
        };
        SCORE.check(name, &rows(1), &rows(16)).unwrap();
        let by_token = pairs(Settings { per_token: true, ..few_rules() }).run(opened(name), &data);
        match counts.is_empty() {
            true => assert_eq!(
                by_token.unwrap_err().to_string(),
                "minimal-pairs needs a subject that writes tokens, for `per_token`, but this one writes none"
            ),
            false => {
                let wanted: Vec<f64> =
                    wanted.iter().zip(&counts).map(|(score, count)| score / count).collect();
                SCORE.check(name, numbers(&by_token.unwrap(), "scores"), &wanted).unwrap();
            }
        }
    }
}

/// Scenes and their captions.
fn scenes(seed: u64, count: usize) -> ManyCases {
    let case = move |i: usize| {
        let scene = World::new(seed).scene(Split::Test, i as u64);
        let picture = Picture::new("scene", scene.render());
        let sample = Sample::captions(picture, [scene.caption(Detail::Full).to_string()]);
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    };
    ManyCases::over(from_fn("scenes", count, case)).unwrap()
}

/// The shipped CLIP tells colours, shapes and sizes by what it sees; with its picture cut off it tells nothing that the words do not.
#[test]
fn a_model_that_does_not_see_tells_no_pair_by_its_picture() {
    for seed in [2, 5, 9] {
        let strength = |of: f32| {
            let model = mmlens_zoo::shipped::shapes_clip(&Device::default()).unwrap();
            let cut = Alteration::new("vision.pixels", Region::all(), Change::Scale(of)).unwrap();
            let model = Altered::new(model, [cut]).unwrap();
            pairs(Settings::default()).run(&model, &scenes(seed, 30)).unwrap()
        };
        let [whole, none] = [1.0, 0.0].map(strength);
        for found in [&whole, &none] {
            println!("{:?} {:?} {:?}", numbers(found, "accuracy"), numbers(found, "baselines"), kinds(found));
            follows(found);
        }
        for rule in ["colour", "shape", "size", "all"] {
            assert!(named(&whole, "accuracy", rule) > 0.85, "{rule}");
        }
        let unseen = numbers(&whole, "baselines")[9];
        assert!(unseen < 0.75 && kinds(&whole).is_empty(), "{unseen} {:?}", whole.cautions());
        let blind: Vec<f32> = numbers(&none, "baselines").chunks(3).map(|row| row[0]).collect();
        assert_eq!(numbers(&none, "accuracy"), blind);
        assert_eq!(kinds(&none), [CautionKind::NoBetter]);
    }
}

proptest! {
    #![proptest_config(few())]

    /// What comes with a case is taken as it is; a foil that is the caption itself is a tie, and no preference.
    #[test]
    fn a_text_is_not_preferred_to_itself(seed in 0..99_u64, same in any::<bool>()) {
        let case = move |i: usize| {
            let other = if same { "a cat" } else { "the dog" };
            let texts = vec!["a cat".to_owned(), other.to_owned(), "a red cat".to_owned()];
            let sample = Sample::new(vec![painted(seed as u32 + i as u32)], Words::Texts(texts));
            Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
        };
        let data = ManyCases::over(from_fn("given", 2, case)).unwrap();
        let found = pairs(Settings::default()).run(opened("clip-a"), &data).unwrap();
        prop_assert_eq!(named(&found, "pairs", "given"), 4.0);
        prop_assert_eq!(named(&found, "ties", "given"), if same { 2.0 } else { 0.0 });
        follows(&found);
        prop_assert!(kinds(&found).contains(&CautionKind::FewRows));
    }

    /// Drawn foils are some of all there are, another draw for another seed, and each rule has its own.
    #[test]
    fn what_is_drawn_is_some_of_all(seed in any::<u64>(), each in 1..4_usize) {
        let case = |_: usize| {
            let sample = Sample::prompt(vec![painted(1)], "#ab").answered(Reply::Text("a red star".to_owned()));
            Ok(Case::new(sample))
        };
        let data = ManyCases::over(from_fn("said", 2, case)).unwrap();
        let run = |each: Option<usize>| {
            let settings = Settings { each, seed: Seed(seed), ..Settings::default() };
            let found = pairs(settings).run(&Toy::curved(1), &data).unwrap();
            follows(&found);
            found.table("foil").unwrap().as_texts().unwrap().to_vec()
        };
        let (some, all) = (run(Some(each)), run(None));
        prop_assert_eq!((some.len(), all.len()), (4 * each, 2 * (7 + 5)));
        prop_assert!(some.iter().all(|foil| all.contains(foil)));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: Settings| MinimalPairs::new(settings).unwrap_err().to_string();
    let zero = "but it must be at least 1";
    assert_eq!(
        said(Settings { each: Some(0), ..Settings::default() }),
        format!("minimal-pairs: each = 0, {zero}")
    );
    assert_eq!(said(Settings { rows: 0, ..Settings::default() }), format!("minimal-pairs: rows = 0, {zero}"));
    let run = |subject: &dyn Subject, sample: Sample| {
        let data = from_fn("some", 1, move |_| Ok(Case::new(sample.clone())));
        pairs(Settings::default()).run(subject, &ManyCases::over(data).unwrap()).unwrap_err().to_string()
    };
    let toy = Toy::curved(1);
    let asked = || Sample::prompt(vec![painted(1)], "#ab");
    assert_eq!(
        run(&toy, asked()),
        "minimal-pairs needs a caption, or an answer in words, but case 0 has neither"
    );
    assert_eq!(
        run(&toy, asked().answered(Reply::Tokens(vec![1]))),
        "minimal-pairs needs captions in words, but case 0 has an answer in tokens"
    );
    assert_eq!(
        run(&toy, Sample::text("ab").answered(Reply::Text("red".to_owned()))),
        "minimal-pairs needs cases with pictures, but case 0 has none"
    );
    assert_eq!(
        run(&toy, asked().answered(Reply::Text("grey".to_owned()))),
        "minimal-pairs needs captions that rules find words in, but of 1 cases none has a word that a rule exchanges"
    );
}
