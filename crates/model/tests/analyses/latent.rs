//! Neighbours among states of words in context: against NumPy, from a file, in words and recorded.

use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{Analysis, Case, Memory, On, Sample, Seed, Subject, Unwatched, from_fn};
use mmlens_engine::{Indices, Positions};
use mmlens_model::latent_lens::{LatentLens, Settings};
use mmlens_store::Recording;
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::identities::few;
use crate::support::{llava, numbers, opened, question};

/// Of states in f32; scores are summed in double precision.
const SCORE: Tolerance = Tolerance::either(2e-6, 5e-6);

fn texts(oracle: &Oracle) -> Vec<String> {
    serde_json::from_value(oracle.about()["texts"].clone()).unwrap()
}

fn run(subject: &dyn Subject, case: &Case, settings: Settings) -> Finding {
    LatentLens::new(settings).unwrap().run(subject, case).unwrap()
}

fn told<'a>(found: &'a Finding, table: &str) -> &'a [String] {
    found.table(table).unwrap().as_texts().unwrap()
}

#[test]
fn neighbours_are_those_of_numpy() {
    let oracle = Oracle::open("methods/words").unwrap();
    let places = serde_json::from_value(oracle.about()["positions"]["llava-a"].clone()).unwrap();
    let base = Settings { positions: Some(Positions::At(places)), top: 3, ..Settings::default() };
    let subject = llava("llava-a");
    let found = run(subject, &question(), Settings { texts: texts(&oracle), ..base.clone() });
    let wanted = |what: &str| oracle.array(&format!("bank/{what}")).unwrap();
    assert_eq!(found.table("scores").unwrap().shape(), wanted("scores").dims);
    let apart = SCORE.check("scores", numbers(&found, "scores"), &wanted("scores").values).unwrap();
    println!("scores: {apart:?}");
    assert_eq!(numbers(&found, "bank"), [4.0, wanted("states").values[0] as f32]);
    let all = texts(&oracle);
    for (at, own) in wanted("where").ids().chunks(3).enumerate() {
        let [text, position, depth] = own[..] else { panic!() };
        let inputs = subject.encode(&Sample::text(all[text as usize].as_str())).unwrap();
        assert_eq!(told(&found, "words")[at], subject.token(inputs.ids[0][position as usize]), "{at}");
        let called =
            if depth == 0 { "before block 0".to_owned() } else { format!("after block {}", depth - 1) };
        assert_eq!(told(&found, "depths")[at], called, "{at}");
    }
    // The shares of depths are counted here once more.
    let depths = found.table("depth of the nearest").unwrap();
    let [layers, of_bank] = depths.shape()[..] else { panic!() };
    let each = told(&found, "depths").len() / layers;
    for layer in 0..layers {
        for depth in 0..of_bank {
            let name = depths.axes()[1].label(depth).unwrap();
            let own = told(&found, "depths")[layer * each..(layer + 1) * each].iter().step_by(3);
            let share = own.clone().filter(|own| **own == name).count() as f32 / own.count() as f32;
            assert_eq!(depths.get(&[layer, depth]).unwrap(), share);
        }
    }
    // From a file, and recorded, it is the same, within whatever memory.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.txt");
    std::fs::write(&file, format!("\n{}\n\n{}\n", all[..2].join("\n"), all[2..].join("\n  "))).unwrap();
    let of_file = run(subject, &question(), Settings { bank: Some(file), ..base.clone() });
    let data = from_fn("texts", 4, move |i| Ok(Case::new(Sample::text(all[i].as_str()))));
    let place = folder.path().join("store");
    let recorded = |sites: mmlens_core::Selector| {
        Recording::new(sites).batch(1).unwrap().run(subject, &place, &data, &Unwatched).unwrap()
    };
    // What enters a block is what left the one before, so that the same states are there, some of them twice.
    let store = recorded("text.blocks.*.{resid_pre,resid_post}".parse().unwrap());
    let depths: Vec<String> = store.manifest().columns.iter().map(|column| column.site.clone()).collect();
    drop(store);
    let of_store = run(subject, &question(), Settings { bank: Some(place), ..base.clone() });
    assert!(depths.len() > 2);
    for table in ["scores", "nearest", "random"] {
        SCORE.check(table, numbers(&of_file, table), numbers(&found, table)).unwrap();
    }
    assert_eq!(
        (told(&of_file, "words"), told(&of_file, "contexts")),
        (told(&found, "words"), told(&found, "contexts"))
    );
    SCORE.check("recorded", numbers(&of_store, "nearest"), numbers(&found, "nearest")).unwrap();
    let least = On::new(subject).within(Memory::bytes(24 << 20));
    let texts = Settings { texts: texts(&oracle), ..base };
    let small = LatentLens::new(texts).unwrap().run_on(&least, &question()).unwrap();
    SCORE.check("memory", numbers(&small, "scores"), numbers(&found, "scores")).unwrap();
    assert_eq!(told(&small, "contexts"), told(&found, "contexts"));
}

/// Of another kind, whose picture is cut into tiles: the same search.
#[test]
fn neighbours_of_patches_in_tiles_are_those_of_numpy() {
    let oracle = Oracle::open("methods/words").unwrap();
    let places = serde_json::from_value(oracle.about()["positions"]["smolvlm-a"].clone()).unwrap();
    let all = texts(&oracle);
    let positions = Some(Positions::At(places));
    let settings = Settings { positions, top: 3, texts: all.clone(), ..Settings::default() };
    let subject = opened("smolvlm-a");
    let found = run(subject, &question(), settings);
    let wanted = |what: &str| oracle.array(&format!("smolvlm-a/bank/{what}")).unwrap();
    assert_eq!(found.table("scores").unwrap().shape(), wanted("scores").dims);
    let apart = SCORE.check("scores", numbers(&found, "scores"), &wanted("scores").values).unwrap();
    println!("scores of smolvlm-a: {apart:?}");
    assert_eq!(numbers(&found, "bank"), [4.0, wanted("states").values[0] as f32]);
    for (at, own) in wanted("where").ids().chunks(3).enumerate() {
        let [text, position, _] = own[..] else { panic!() };
        let inputs = subject.encode(&Sample::text(all[text as usize].as_str())).unwrap();
        assert_eq!(told(&found, "words")[at], subject.token(inputs.ids[0][position as usize]), "{at}");
    }
}

proptest! {
    #![proptest_config(few())]

    /// A text of the bank has itself as its nearest, at its own depth.
    #[test]
    fn a_text_of_the_bank_finds_itself(seed in 0..99_u64, word in "[a-f]{5,8}", other in "[a-f]{5,8}") {
        prop_assume!(word[..3] != other[..3]);
        let toy = Toy::curved(seed);
        let case = Case::new(Sample::text(word.as_str()));
        let positions = Some(Positions::At(vec![3, 4]));
        let settings = Settings { texts: vec![other, word.clone()], positions, top: 1, seed: Seed(seed), ..Settings::default() };
        let found = run(&toy, &case, settings);
        prop_assert!(numbers(&found, "nearest").iter().all(|own| (own - 1.0).abs() < 1e-6));
        // Before the first block a letter is the same wherever it stands; behind it, only in its text.
        for (at, depth) in told(&found, "depths").iter().enumerate().skip(2) {
            prop_assert_eq!(depth, &format!("after block {}", at / 2 - 1));
        }
        prop_assert!(numbers(&found, "beyond random").iter().all(|share| *share == 1.0));
    }
}

#[test]
fn what_speaks_against_neighbours_is_told() {
    let toy = Toy::curved(2);
    let case = Case::new(Sample::text("abcab"));
    let of = |texts: &[&str]| Settings {
        texts: texts.iter().map(|own| (*own).to_owned()).collect(),
        ..Settings::default()
    };
    let texts = |found: &Finding| found.cautions().into_iter().map(|own| own.text).collect::<Vec<_>>();
    let own = run(&toy, &case, Settings::default());
    assert!(
        texts(&own)[0].starts_with("there is no bank: the neighbours are words of the prompt itself"),
        "{:?}",
        texts(&own)
    );
    let caution = &own.cautions()[0];
    // Three words behind the first two, at every depth.
    let depths = numbers(&own, "depth of the nearest").len() / own.table("nearest").unwrap().shape()[0];
    assert_eq!((caution.kind, caution.number), (CautionKind::Other, (3 * depths) as f32));
    let copies = run(&toy, &case, of(&["abcdef", "abcdef", "abcdef"]));
    assert!(texts(&copies).iter().any(|text| text.contains("the bank holds copies")), "{:?}", texts(&copies));
    let apart = run(&toy, &case, Settings { top: 1, ..of(&["abcab", "fedcb"]) });
    assert!(texts(&apart).is_empty(), "{:?}", texts(&apart));
}

#[test]
fn banks_that_cannot_be_searched_are_refused() {
    let (toy, case) = (Toy::curved(1), Case::new(Sample::text("abcab")));
    let said = |settings: Settings| {
        LatentLens::new(settings).and_then(|own| own.run(&toy, &case)).unwrap_err().to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.txt");
    let found = said(Settings { bank: Some(missing), ..Settings::default() });
    assert!(
        found.starts_with("latent-lens needs a bank that can be read, but ") && found.contains("none.txt"),
        "{found}"
    );
    let bytes = folder.path().join("bytes.txt");
    std::fs::write(&bytes, b"abc\nde\xff\n").unwrap();
    assert!(said(Settings { bank: Some(bytes), ..Settings::default() }).contains("bytes.txt: line 2: "));
    let both = Settings { bank: Some("x".into()), texts: vec!["abc".to_owned()], ..Settings::default() };
    assert_eq!(said(both), "latent-lens: texts = 1, but there is a bank already");
    assert!(said(Settings { skip: 99, ..Settings::default() }).contains("a bank with a word"));
    assert!(
        said(Settings { bank_layers: Indices::At(vec![9]), ..Settings::default() })
            .contains("bank_layers = 9, of ")
    );
    let place = folder.path().join("store");
    let data = from_fn("texts", 2, |i| Ok(Case::new(Sample::text(["abcab", "fedcb"][i]))));
    let sites: mmlens_core::Selector = "text.blocks.*.resid_post".parse().unwrap();
    Recording::new(sites).run(&Toy::curved(2), &place, &data, &Unwatched).unwrap();
    assert!(
        said(Settings { bank: Some(place), ..Settings::default() }).contains("a bank of this very model")
    );
}
