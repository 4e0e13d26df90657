//! Modality ablation: against transformers, against identities, against misuse; and what it says of models that see and of one that does not.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance, top};
use mmlens_core::{
    Alteration, Altered, Analysis, Annotated, Case, Change, ManyCases, Objective, Region, Reply, Sample,
    Seed, Subject, Target, Words, from_fn,
};
use mmlens_data::modality_ablation::{ModalityAblation, Pictures, Settings, Wording};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_testkit::{Oracle, Toy, kinds};
use proptest::prelude::*;

use crate::support::{few, named, numbers, opened, painted, seen, shown};

/// Logits of passes in f32, and means of their differences.
const LOGIT: Tolerance = Tolerance::absolute(1e-5);
/// Shares of a few cases, in f32.
const SHARE: Tolerance = Tolerance::absolute(1e-6);

fn ablation(settings: Settings) -> ModalityAblation {
    ModalityAblation::new(settings).unwrap()
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What a case gives with the picture of one case and the words of another: its objective, and what is chosen.
type Seen<'a> = &'a dyn Fn(usize, usize, usize) -> (f64, usize);

/// The tables, computed by their definitions.
fn agrees(found: &Finding, seed: Seed, repeats: usize, labels: &[usize], classes: usize, seen: Seen<'_>) {
    let n = labels.len();
    let orders: Vec<Vec<usize>> =
        (0..repeats).map(|repeat| ModalityAblation::stands_in(seed, repeat, n)).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let error = |values: &[f64]| {
        let middle = mean(values);
        let squares: f64 = values.iter().map(|v| (v - middle) * (v - middle)).sum();
        (squares / (repeats as f64 - 1.0) / repeats as f64).sqrt()
    };
    let whole: Vec<(f64, usize)> = (0..n).map(|i| seen(i, i, i)).collect();
    let (mut change, mut errors, mut scores, mut score_errors, mut flips, mut accuracy) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    let right = |said: &[(f64, usize)]| {
        said.iter().zip(labels).filter(|((_, chosen), label)| chosen == *label).count() as f64 / n as f64
    };
    let frequent = (0..classes).map(|c| labels.iter().filter(|label| **label == c).count()).max().unwrap();
    let frequent = frequent as f64 / n as f64;
    accuracy.push(right(&whole));
    for modality in 0..2 {
        let said = |order: &Vec<usize>| -> Vec<(f64, usize)> {
            (0..n).map(|i| if modality == 0 { seen(i, order[i], i) } else { seen(i, i, order[i]) }).collect()
        };
        let said: Vec<Vec<(f64, usize)>> = orders.iter().map(said).collect();
        let drop = |said: &Vec<(f64, usize)>| {
            mean(&said.iter().zip(&whole).map(|(own, whole)| whole.0 - own.0).collect::<Vec<_>>())
        };
        let drops: Vec<f64> = said.iter().map(drop).collect();
        let shares: Vec<f64> = said.iter().map(|said| right(said)).collect();
        let flipped = |said: &Vec<(f64, usize)>| {
            said.iter().zip(&whole).filter(|(own, whole)| own.1 != whole.1).count() as f64 / n as f64
        };
        change.push(mean(&drops));
        errors.push(error(&drops));
        accuracy.push(mean(&shares));
        score_errors.push(error(&shares));
        flips.push(mean(&said.iter().map(flipped).collect::<Vec<_>>()));
        let score = accuracy[0] - mean(&shares);
        scores.extend([score, score / accuracy[0], score / (1.0 - frequent)]);
    }
    let shuffled = orders
        .iter()
        .map(|order| (0..n).filter(|i| whole[order[*i]].1 == labels[*i]).count() as f64 / n as f64);
    let shuffled = mean(&shuffled.collect::<Vec<_>>());
    accuracy.extend([shuffled, frequent, 1.0 / classes as f64]);
    for (table, wanted, within) in [
        ("change", change, LOGIT),
        ("standard error", errors, LOGIT),
        ("objective", vec![mean(&whole.iter().map(|said| said.0).collect::<Vec<_>>())], LOGIT),
        ("accuracy", accuracy, SHARE),
        ("perceptual score", scores, SHARE),
        ("score error", score_errors, SHARE),
        ("flips", flips, SHARE),
    ] {
        let gap = within.check(table, numbers(found, table), &wanted).unwrap();
        println!("{}, {table}: {:.1e}", found.provenance.subject, gap.absolute);
    }
}

#[test]
fn llava_says_of_exchanged_pictures_and_words_what_transformers_says() {
    let oracle = Oracle::open("methods/modality-llava-a").unwrap();
    let about = oracle.about().clone();
    let (prompts, pictures) = (strings(&about["prompts"]), strings(&about["pictures"]));
    let tokens = oracle.array("tokens").unwrap().ids();
    let n = tokens.len();
    let objectives = oracle.array("objectives").unwrap();
    for kind in ["one", "many"] {
        let classes = strings(&about["classes"][kind]);
        let scores = oracle.array(&format!("classes.{kind}")).unwrap();
        let (asked, shown_pictures, tokens) = (prompts.clone(), pictures.clone(), tokens.clone());
        let case = move |i: usize| {
            let sample = shown(&shown_pictures[i % 4], &asked[i % 5]);
            // Half of them as the model would answer by itself.
            let target = if i.is_multiple_of(2) { Target::Top } else { Target::Token(tokens[i]) };
            Ok(Case { sample, target })
        };
        let labels: Vec<usize> = (0..n).map(|i| i * i % 3).collect();
        let data = Annotated::new(from_fn("asked", n, case), classes, labels.clone()).unwrap();
        let settings = Settings { repeats: 3, seed: Seed(4), ..Settings::default() };
        let found = ModalityAblation::new(settings)
            .unwrap()
            .run(opened("llava-a"), &ManyCases::over(data).unwrap())
            .unwrap();
        agrees(&found, Seed(4), 3, &labels, 3, &|i, picture, words| {
            let place = words % 5 * 4 + picture % 4;
            let scores = &scores.values[place * 3..place * 3 + 3];
            let chosen = top(scores).unwrap().unwrap();
            (objectives.values[i * 20 + place], chosen)
        });
    }
}

#[test]
fn clip_says_of_exchanged_pictures_and_captions_what_transformers_says() {
    let oracle = Oracle::open("methods/modality-clip-a").unwrap();
    let logits = oracle.array("logits").unwrap();
    let (captions, pictures) = (strings(&oracle.about()["captions"]), strings(&oracle.about()["pictures"]));
    let n = 9;
    let case = move |i: usize| {
        let captions = (0..3).map(|k| captions[(i + k) % 5].clone());
        let sample = Sample::captions(seen(&pictures[i % 4]), captions);
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    };
    let labels: Vec<usize> = (0..n).map(|i| i * i % 3).collect();
    let data = Annotated::new(from_fn("captions", n, case), ["0", "1", "2"], labels.clone()).unwrap();
    let settings = Settings { repeats: 4, seed: Seed(1), ..Settings::default() };
    let found = ModalityAblation::new(settings)
        .unwrap()
        .run(opened("clip-a"), &ManyCases::over(data).unwrap())
        .unwrap();
    agrees(&found, Seed(1), 4, &labels, 3, &|_, picture, words| {
        let logit = |k: usize| logits.values[picture % 4 * 5 + (words + k) % 5];
        let chosen = top(&[0, 1, 2].map(logit)).unwrap().unwrap();
        (logit(0), chosen)
    });
}

/// Colour questions about shapes.
fn colours(seed: u64, count: usize) -> ManyCases {
    ManyCases::over(ShapesCases::new(World::new(seed), Split::Test, Kind::Colour, count)).unwrap()
}

/// The shipped model sees: without the picture it has next to nothing. With what the picture sends cut down it hangs on it less, and where nothing
/// of it arrives, not at all, to the bit.
#[test]
fn a_model_that_does_not_see_is_found_out() {
    for seed in [3, 7, 11] {
        let data = colours(seed, 24);
        let strength = |of: f32| {
            let model = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
            let cut = Alteration::new("connector.out", Region::all(), Change::Scale(of)).unwrap();
            let model = Altered::new(model, [cut]).unwrap();
            ablation(Settings { repeats: 3, ..Settings::default() }).run(&model, &data).unwrap()
        };
        let [whole, less, none] = [1.0, 0.3, 0.0].map(strength);
        for found in [&whole, &less, &none] {
            println!("{:?} {:?} {:?}", numbers(found, "change"), numbers(found, "accuracy"), kinds(found));
        }
        let score = |found: &Finding| numbers(found, "perceptual score")[0];
        assert!(named(&whole, "accuracy", "as they are") > 0.9 && score(&whole) > 0.5);
        assert!(named(&whole, "change", "pictures") > 1.0 && kinds(&whole).is_empty(), "{:?}", kinds(&whole));
        assert!(score(&less) < score(&whole) && score(&less) >= 0.0);
        assert_eq!((score(&none), named(&none, "change", "pictures")), (0.0, 0.0));
        assert_eq!(named(&none, "flips", "pictures"), 0.0);
        assert!(kinds(&none).contains(&CautionKind::NothingMoved));
        assert!(kinds(&none).contains(&CautionKind::NoBetter), "{:?}", none.cautions());
    }
}

proptest! {
    #![proptest_config(few())]

    /// A permutation, whatever the seed; another for each repeat.
    #[test]
    fn every_case_stands_in_once(seed in any::<u64>(), cases in 1..40_usize, repeat in 0..5_usize) {
        let mut order = ModalityAblation::stands_in(Seed(seed), repeat, cases);
        let other = ModalityAblation::stands_in(Seed(seed), repeat + 1, cases);
        prop_assert!(cases < 12 || order != other);
        order.sort_unstable();
        prop_assert_eq!(order, (0..cases).collect::<Vec<_>>());
    }

    /// Cases that are all alike lose nothing by an exchange; those alike in words alone lose nothing by words.
    #[test]
    fn what_is_the_same_moves_nothing(seed in 0..99_u64, word in "[a-f]{2,4}", alike in any::<bool>()) {
        let words = word.clone();
        let case = move |i: usize| {
            let picture = painted(if alike { 3 } else { i as u32 });
            Ok(Case::new(Sample::prompt(vec![picture], format!("#{words}"))))
        };
        let data = ManyCases::over(from_fn("alike", 4, case)).unwrap();
        let settings = Settings { repeats: 2, seed: Seed(seed), ..Settings::default() };
        let found = ablation(settings).run(&Toy::curved(seed), &data).unwrap();
        prop_assert_eq!(named(&found, "change", "words"), 0.0);
        // Where all ask the same of one token an exchange reorders the values, and their mean stays: cases tell.
        let moved = numbers(&found, "change by case").chunks(2).any(|case| case[0] != 0.0);
        // A permutation may leave every case its own.
        let exchanged = (0..2).any(|r| ModalityAblation::stands_in(Seed(seed), r, 4) != [0, 1, 2, 3]);
        prop_assert_eq!(moved, !alike && exchanged);
        let moved = found.cautions().iter().filter(|own| own.kind == CautionKind::NothingMoved).count();
        prop_assert_eq!(moved, if alike || !exchanged { 2 } else { 1 });
        prop_assert!(kinds(&found).contains(&CautionKind::FewRows));
    }

    /// What a case says of its answer with words that nobody attends to and its mean colour is what hiding and a grey picture make of it.
    #[test]
    fn replaced_once_is_what_each_replacement_gives(seed in 0..99_u64, word in "[a-f]{2,4}") {
        let toy = Toy::curved(seed);
        let sample = Sample::prompt(vec![painted(2)], format!("#{word}")).answered(Reply::Text("ab".to_owned()));
        let case = Case::answer(sample.clone());
        let given = case.clone();
        let data = ManyCases::over(from_fn("same", 2, move |_| Ok(given.clone()))).unwrap();
        let settings = Settings { pictures: Some(Pictures::MeanColour), words: Some(Wording::Unattended), ..Settings::default() };
        let found = ablation(settings).run(&toy, &data).unwrap();
        let value = |case: &Case| {
            let (inputs, objective) = case.open(&toy).unwrap();
            toy.run(&inputs, mmlens_core::Plan::new().objective(&objective)).unwrap().scores().unwrap()[0]
        };
        let grey = Case { sample: sample.emptied().unwrap(), ..case.clone() };
        let wanted = value(&case) - value(&grey);
        prop_assert!((named(&found, "change", "pictures") - wanted).abs() < 1e-5);
        prop_assert!(named(&found, "change", "words") != 0.0);
        // Nothing is drawn.
        prop_assert!(found.find("standard error").is_none() && found.provenance.seed.is_none());
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: Settings| ModalityAblation::new(settings).unwrap_err().to_string();
    assert_eq!(
        said(Settings { pictures: None, words: None, ..Settings::default() }),
        "modality-ablation: pictures = null, as words, but one of the two must be replaced"
    );
    assert_eq!(
        said(Settings { repeats: 1, ..Settings::default() }),
        "modality-ablation: repeats = 1, but a standard error takes at least 2"
    );
    let toy = Toy::curved(1);
    let run = |subject: &dyn Subject, cases: Vec<Case>| {
        let count = cases.len();
        let data = from_fn("some", count, move |i: usize| Ok(cases[i].clone()));
        ablation(Settings::default()).run(subject, &ManyCases::over(data).unwrap()).unwrap_err().to_string()
    };
    let asked = |words: &str| Case::new(Sample::prompt(vec![painted(1)], words));
    let some = run(&toy, vec![asked("#ab")]);
    assert_eq!(some, "modality-ablation needs at least two cases, but `some` has 1");
    let blind = Case::new(Sample::text("ab"));
    assert_eq!(
        run(&toy, vec![asked("#ab"), blind]),
        "modality-ablation needs cases that all hold a modality, or none of them, but 1 of 2 have pictures"
    );
    let at = |words: &str| {
        let objective = Objective::Logit { at: mmlens_core::Position::At(2), token: 3 };
        Case { target: Target::Objective(objective), ..asked(words) }
    };
    let moved = run(&toy, vec![at("#ab"), at("#abc")]);
    assert!(moved.contains("an objective at the last position, or an answer"), "{moved}");
    let other = Case { target: Target::Objective(Objective::log_probability(2)), ..asked("#ab") };
    assert_eq!(
        run(&toy, vec![asked("#ab"), other]),
        "modality-ablation needs objectives of one unit, but one is a logit, that of case 1 a log probability"
    );
    let text = ablation(Settings::default()).run(opened("gpt2-a"), &colours(1, 2)).unwrap_err().to_string();
    assert!(text.starts_with("`model` cannot take this sample"), "{text}");
    // As many captions as classes, or no choice among them.
    let captions = |i: usize| {
        let sample = Sample::new(vec![painted(i as u32)], Words::Texts(vec!["a cat".to_owned(); 2]));
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    };
    let data = Annotated::new(from_fn("two", 2, captions), ["a", "b", "c"], vec![0, 1]).unwrap();
    let data = ManyCases::over(data).unwrap();
    let said = ablation(Settings::default()).run(opened("clip-a"), &data).unwrap_err().to_string();
    assert_eq!(
        said,
        "modality-ablation needs as many captions as classes, in their order, but a sample has 2, and there are 3 classes"
    );
    let free = ablation(Settings { labels: false, ..Settings::default() }).run(opened("clip-a"), &data);
    assert!(free.unwrap().find("accuracy").is_none());
}
