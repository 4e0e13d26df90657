//! Identities of influence, what goes on from a file, and misuse.

use std::ops::ControlFlow;

use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{
    Analysis, AnalysisError, Case, Cases, Fit, Fitted, On, Reply, Sample, Seed, Source, Watch, from_fn,
};
use mmlens_testkit::Toy;
use mmlens_training::influence::{Projected, Settings};
use mmlens_training::{
    Bm25, FeatureSimilarity, GradientSimilarity, Influence, TracIn, Trak, bm25, feature_similarity, trac_in,
    trak,
};

use crate::support::{numbers, opened, shown, word, words};

/// Sums in another order.
const SAME: Tolerance = Tolerance::either(1e-5, 1e-5);

fn whole() -> Settings {
    Settings { projected: Projected::None, ..Settings::default() }
}

#[test]
fn sketches_of_more_features_come_nearer() {
    let (toy, data) = (Toy::curved(1), words());
    let scores = |settings: Settings| {
        let learned = TracIn::new(settings).unwrap().learn(&On::new(&toy), &data, Seed(3)).unwrap();
        numbers(&learned.fitted.run(&toy, &word(4)).unwrap(), "scores").to_vec()
    };
    let exact = scores(whole());
    let size = exact.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let miss = |features: usize| {
        let own = scores(Settings { features, ..Settings::default() });
        let off = own.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        (off / size).sqrt()
    };
    let [few, many] = [miss(16), miss(4096)];
    println!("16 features miss {few:.3}, 4096 {many:.3}");
    // The deviation falls with the root of the count: a sixteenth, within a factor of two.
    assert!(many < few / 8.0 && many < 0.1, "{few} {many}");
}

#[test]
fn parts_sum_to_the_score() {
    let subject = opened("llava-a");
    let of = |i: usize| {
        let words =
            mmlens_core::Words::Prompt(["<image>Red?", "<image>Blue?", "<image>It is"][i % 3].to_owned());
        let sample = shown(["square", "wide"][i % 2], words);
        Ok(Case::answer(sample.answered(Reply::Text(["red", "no"][i % 2].to_owned()))))
    };
    let data = from_fn("pictures", 4, of);
    let settings = Settings { features: 64, ..Settings::default() };
    let learned = TracIn::new(settings).unwrap().learn(&On::new(subject), &data, Seed(3)).unwrap();
    let finding = learned.fitted.run(subject, &of(1).unwrap()).unwrap();
    let table = finding.table("by part").unwrap();
    let parts: Vec<String> = (0..table.axes()[1].len()).filter_map(|at| table.axes()[1].label(at)).collect();
    assert_eq!(parts, ["vision", "connector", "text at words", "text at pictures"]);
    let sums: Vec<f32> = table.as_numbers().unwrap().chunks(4).map(|row| row.iter().sum()).collect();
    SAME.check("parts", &sums, numbers(&finding, "highest")).unwrap();
    assert!(table.as_numbers().unwrap().iter().all(|part| *part != 0.0));
    // Of a prompt without a picture the tower has no gradient, and its training cases with pictures count for their words alone.
    let blind = Case::answer(Sample::prompt(Vec::new(), "It is").answered(Reply::Text("red".to_owned())));
    let finding = learned.fitted.run(subject, &blind).unwrap();
    assert!(finding.table("by part").is_err());
    assert!(numbers(&finding, "scores").iter().all(|score| *score != 0.0));
    let learns = |patterns: &str| {
        let settings = Settings { weights: vec![patterns.to_owned()], ..whole() };
        TracIn::new(settings).unwrap().learn(&On::new(subject), &data, Seed(3)).map(|learned| learned.fitted)
    };
    let found = learns("connector").unwrap().run(subject, &blind).unwrap();
    assert!(numbers(&found, "scores").iter().all(|score| *score == 0.0));
    assert!(found.cautions().iter().any(|caution| caution.kind == CautionKind::NothingMoved));
    // The last block of its tower is behind the one that is read.
    let blocks = subject.anatomy()[0].blocks;
    let said = learns(&format!("vision.blocks.{}", blocks - 1)).unwrap_err().to_string();
    assert!(said.contains("does not offer weights under `vision.blocks."), "{said}");
}

#[test]
fn a_training_case_is_most_like_itself() {
    let (toy, data) = (Toy::curved(1), words());
    let on = On::new(&toy);
    let gradients = GradientSimilarity::new(whole()).unwrap().learn(&on, &data, Seed(3)).unwrap().fitted;
    let settings = feature_similarity::Settings::default();
    let states = FeatureSimilarity::new(settings).unwrap().learn(&on, &data, Seed(3)).unwrap().fitted;
    for at in [0, 7, 23] {
        for finding in [gradients.run(&toy, &word(at)).unwrap(), states.run(&toy, &word(at)).unwrap()] {
            let scores = numbers(&finding, "scores");
            assert!((scores[at] - 1.0).abs() < 1e-5, "{}", scores[at]);
            assert!(scores.iter().all(|score| *score <= 1.0 + 1e-5));
        }
    }
    // Of twice the rate all scores are twice as large.
    let traced = |rate: f64| {
        let settings = Settings { rate, ..whole() };
        let fitted = TracIn::new(settings).unwrap().learn(&on, &data, Seed(3)).unwrap().fitted;
        numbers(&fitted.run(&toy, &word(2)).unwrap(), "scores").to_vec()
    };
    let twice: Vec<f32> = traced(0.5).iter().map(|score| 2.0 * score).collect();
    SAME.check("rate", &twice, &traced(1.0)).unwrap();
}

/// Of one training case `d` with the words `a b b`, `n = mean n`: of the word `b`, `idf = ln(1 + 0.5 / 1.5)`, and `2 (k1 + 1) / (2 + k1)` with `k1 = 1.5`.
#[test]
fn words_are_counted_as_written() {
    let toy = Toy::curved(1);
    let data = from_fn("one", 1, |_| Ok(Case::new(Sample::text("A b, b!"))));
    let learned =
        Bm25::new(bm25::Settings::default()).unwrap().learn(&On::new(&toy), &data, Seed(1)).unwrap();
    let found = |text: &str| learned.fitted.run(&toy, &Case::new(Sample::text(text))).unwrap();
    let wanted = (0.5_f64 / 1.5).ln_1p() * 2.0 * 2.5 / 3.5;
    SAME.check("b", numbers(&found("B c"), "scores"), &[wanted]).unwrap();
    SAME.check("twice", numbers(&found("b b"), "scores"), &[2.0 * wanted]).unwrap();
    let none = found("c d");
    assert_eq!(numbers(&none, "scores"), [0.0]);
    assert!(none.cautions().iter().any(|caution| caution.kind == CautionKind::NothingMoved));
}

struct Until(usize);

impl Watch for Until {
    fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
        if done < self.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[test]
fn what_was_cut_off_goes_on_to_the_same_bits() {
    let (toy, data, folder) = (Toy::curved(1), words(), tempfile::tempdir().unwrap());
    let fit = Trak::new(trak::Settings { features: 8, ..trak::Settings::default() }).unwrap();
    let on = On::new(&toy);
    let straight = fit.learn(&on, &data, Seed(2)).unwrap().fitted.to_bytes().unwrap();
    let keep = folder.path().join("kept");
    for until in [1, 9] {
        let watch = Until(until);
        let cut = On::new(&toy).watched(&watch);
        let said = fit.learn_from(&Source::Cases(&cut, &data), Seed(2), Some(&keep)).unwrap_err();
        assert!(matches!(said, AnalysisError::Cancelled { .. }), "{said}");
    }
    let lines = std::fs::read_to_string(&keep).unwrap().lines().count();
    assert_eq!(lines, 10);
    let source = Source::Cases(&on, &data);
    let learned = fit.learn_from(&source, Seed(2), Some(&keep)).unwrap();
    assert!(learned.fitted.to_bytes().unwrap() == straight);
    // Another seed begins anew.
    let other = fit.learn_from(&source, Seed(5), Some(&keep)).unwrap().fitted.to_bytes().unwrap();
    assert!(other == fit.learn(&on, &data, Seed(5)).unwrap().fitted.to_bytes().unwrap());
    let file = folder.path().join("trak.safetensors");
    learned.fitted.save(&file).unwrap();
    let read = Influence::<trak::Newton>::load(&file).unwrap();
    assert_eq!(read.run(&toy, &word(1)).unwrap(), learned.fitted.run(&toy, &word(1)).unwrap());
    assert!(
        Influence::<trac_in::Products>::load(&file).unwrap_err().to_string().contains("`trak` has learned")
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let (toy, data) = (Toy::curved(1), words());
    let on = On::new(&toy);
    let said = |settings: Settings| {
        let fit = TracIn::new(settings).map_err(|error| error.to_string())?;
        fit.learn(&on, &data, Seed(1)).map(|_| ()).map_err(|error| error.to_string())
    };
    let wrong = said(Settings { weights: vec!["text.blocks.9".to_owned()], ..Settings::default() });
    assert!(wrong.unwrap_err().contains("no weight `text.blocks.9`"));
    assert!(said(Settings { features: 0, ..Settings::default() }).is_err());
    assert!(said(Settings { rate: f64::NAN, ..Settings::default() }).is_err());
    // Another model than the one that was learned from.
    let learned = TracIn::new(whole()).unwrap().learn(&on, &data, Seed(1)).unwrap().fitted;
    let other = learned.run(&Toy::curved(2), &word(0)).unwrap_err().to_string();
    assert!(
        other.starts_with("tracin needs the model that its training cases were passed through"),
        "{other}"
    );
    // A logit is no log-probability.
    let logits = from_fn("logits", 3, |i| Ok(Case::new(word(i).sample)));
    let said = Trak::new(trak::Settings::default()).unwrap().learn(&on, &logits, Seed(1)).unwrap_err();
    assert_eq!(
        said.to_string(),
        "trak needs cases of which a log-probability is explained, but a logit is explained: name an answer"
    );
    let mixed = learned.run(&toy, &Case::new(word(0).sample)).unwrap();
    assert!(mixed.cautions().iter().any(|caution| caution.kind == CautionKind::Other));
    let none = from_fn("none", 0, |i| Ok(word(i)));
    assert!(TracIn::new(whole()).unwrap().learn(&on, &none, Seed(1)).is_err());
    // Without a ridge a square of more features than cases cannot be inverted.
    let settings = trak::Settings { ridge: 0.0, features: 64, ..trak::Settings::default() };
    let said = Trak::new(settings).unwrap().learn(&on, &data, Seed(1)).unwrap_err().to_string();
    assert!(said.contains("24 cases of 64 features with a ridge of 0"), "{said}");
    let few = from_fn("few", 3, |i| Ok(word(i)));
    let few = TracIn::new(whole()).unwrap().learn(&on, &few, Seed(1)).unwrap();
    assert!(few.finding.cautions().iter().any(|caution| caution.kind == CautionKind::FewRows));
    assert_eq!(data.len(), 24);
}
