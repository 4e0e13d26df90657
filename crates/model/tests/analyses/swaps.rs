//! Region swap: against hooks in transformers, against identities, against what differs in pictures of the shapes world.

use burn::tensor::Device;
use mmlens_core::finding::{Axis, CautionKind, Finding, Labels, Tolerance};
use mmlens_core::{
    Analysis, Case, LogitSelection, Objective, Pair, Part, Plan, Position, Sample, Seed, Subject, Words,
};
use mmlens_data::shapes::{Edit, Kind, Split, World};
use mmlens_engine::Positions;
use mmlens_engine::distribution::{largest, log_probabilities};
use mmlens_model::region_swap::{From, RegionSwap, Settings, Towards};
use mmlens_testkit::{Oracle, Toy, kinds};
use proptest::prelude::*;

use crate::identities::few;
use crate::support::{about, captioned, llava, numbers, opened, painted, question, scalar, shown};

/// Logarithms of probabilities, of logits in f32 that are ones or tens, grouped in another way by passes that begin elsewhere.
const NAT: Tolerance = Tolerance::either(2e-5, 1e-5);

fn run(subject: &dyn Subject, pair: &Pair, settings: Settings) -> Finding {
    RegionSwap::new(settings).unwrap().run(subject, pair).unwrap()
}

fn said(subject: &dyn Subject, pair: &Pair, settings: Settings) -> String {
    RegionSwap::new(settings).unwrap().run(subject, pair).unwrap_err().to_string()
}

fn pictured() -> Pair {
    Pair { clean: question(), corrupted: shown(&["tall"], "<image>Red?") }
}

fn classified() -> Pair {
    let of = |name| Sample::new(shown(&[name], "").pictures, Words::Nothing);
    Pair { clean: Case::new(of("square")), corrupted: of("tall") }
}

#[test]
fn cells_are_those_of_hooks_in_transformers() {
    let oracle = Oracle::open("methods/region-swap").unwrap();
    let number = |key: &str| oracle.about()[key].as_u64().unwrap();
    for (name, layer, pair) in
        [("llava-a", 0, pictured()), ("llava-a", 1, pictured()), ("vit-a", 1, classified())]
    {
        let kinds = [
            ("same", From::Same, Towards::Answer),
            ("any", From::Any, Towards::Answer),
            ("objective", From::Same, Towards::Objective),
        ];
        for (what, from, towards) in kinds {
            let wanted =
                |table: &str| &oracle.array(&format!("{name}/{layer}/{what}/{table}")).unwrap().values;
            let settings = Settings {
                layer,
                from,
                towards,
                steps: wanted("cell").len(),
                random: number("draws") as usize,
                seed: Seed(number("seed")),
                rows: 7,
                ..Settings::default()
            };
            let found = RegionSwap::new(settings).unwrap().run(opened(name), &pair).unwrap();
            let flipped = (towards == Towards::Answer).then_some("flipped");
            for table in ["alone", "path"].into_iter().chain(flipped) {
                let gap = NAT.check(table, numbers(&found, table), wanted(table)).unwrap();
                println!("{name}, layer {layer}, {what}, {table}: {gap:?}");
            }
            for table in ["cell", "taken from"] {
                let own: Vec<f64> = numbers(&found, table).iter().map(|at| f64::from(*at)).collect();
                assert_eq!(&own, wanted(table), "{name}, layer {layer}, {what}, {table}");
            }
            if towards == Towards::Objective {
                continue;
            }
            let answers = oracle.about()[&format!("{name}/{layer}")].as_array().unwrap();
            let token = |at: usize| opened(name).token(answers[at].as_u64().unwrap() as u32);
            let told = found.table("answers").unwrap();
            assert_eq!([told.get_text(&[0]).unwrap(), told.get_text(&[1]).unwrap()], [&token(0), &token(1)]);
        }
    }
}

/// Two questions of the toy about different pictures, of which it says different things.
fn toys(seed: u64, word: &str) -> (Toy, Option<Pair>) {
    let toy = Toy::curved(seed);
    let of = |picture: u32| Sample::prompt(vec![painted(picture)], format!("#{word}"));
    let top = |sample: &Sample| mmlens_core::top_token(&toy, &toy.encode(sample).unwrap()).unwrap();
    let first = of(0);
    let other = (1..40).map(of).find(|sample| top(sample) != top(&first));
    let pair = other.map(|corrupted| Pair { clean: Case::new(first), corrupted });
    (toy, pair)
}

proptest! {
    #![proptest_config(few())]

    /// Of all cells at the entrance nothing is left of the first picture; what cells bring adds up; any place is at least as good as the same; rows decide nothing.
    #[test]
    fn all_cells_swapped_are_the_other_picture(seed in 0..99_u64, word in "[a-f]{2,4}", rows in 1..6_usize) {
        let (toy, pair) = toys(seed, &word);
        prop_assume!(pair.is_some());
        let pair = pair.unwrap();
        let settings = |from| Settings { from, steps: 99, random: 2, rows, ..Settings::default() };
        let found = run(&toy, &pair, settings(From::Same));
        let cells = numbers(&found, "swapped").len();
        let path = numbers(&found, "path");
        prop_assert_eq!(path.len(), 2 * (cells + 1));
        let inputs = toy.encode(&pair.corrupted).unwrap();
        let plan = Plan::new().select_logits(LogitSelection::at(Position::Last));
        let trace = toy.run(&inputs, plan).unwrap();
        let logits = mmlens_core::AnyTensor::new(trace.output().at(Position::Last).unwrap()).to_values().unwrap();
        let logs = log_probabilities(&logits);
        let (_, best) = largest(&logs, 1)[0];
        // In whichever order.
        NAT.check("all of them", &[path[cells], path[2 * cells + 1]], &[best, best]).unwrap();
        let flipped = numbers(&found, "flipped");
        prop_assert_eq!((flipped[0], flipped[cells], flipped[2 * cells + 1]), (0.0, 1.0, 1.0));
        let needed = scalar(&found, "needed") as usize;
        prop_assert!(flipped[needed] == 1.0 && flipped[..needed].iter().all(|own| *own == 0.0));
        let sum: f64 = numbers(&found, "swapped").iter().map(|own| f64::from(*own)).sum();
        NAT.check("sum", &[(sum + f64::from(path[0])) as f32], &[f64::from(path[cells])]).unwrap();
        // Whatever the objective is, all cells bring it to where it is for the other.
        let moved = run(&toy, &pair, Settings { towards: Towards::Objective, ..settings(From::Same) });
        let way = numbers(&moved, "way");
        NAT.check("way", &[way[0], way[cells], way[2 * cells + 1]], &[0.0, 1.0, 1.0]).unwrap();
        prop_assert!(way[1] > 0.0, "{way:?}");
        let alone = numbers(&found, "alone");
        let mut sorted = alone.to_vec();
        sorted.sort_by(f32::total_cmp);
        let most = sorted[cells - 1];
        NAT.check("first", &[path[1] - path[0]], &[f64::from(most)]).unwrap();
        let any = run(&toy, &pair, Settings { steps: 1, ..settings(From::Any) });
        prop_assert!(numbers(&any, "alone").iter().zip(alone).all(|(any, same)| *any >= *same - 2e-5));
        let other = run(&toy, &pair, Settings { rows: rows + 3, ..settings(From::Same) });
        prop_assert_eq!(numbers(&other, "cell"), numbers(&found, "cell"));
        NAT.check("rows", numbers(&other, "path"), &path.iter().map(|own| f64::from(*own)).collect::<Vec<_>>()).unwrap();
    }
}

/// Of an answer of two letters of which both begin alike, the second is what is turned.
#[test]
fn an_answer_is_turned_where_both_part() {
    let mut seen = 0;
    for seed in 0..60 {
        let toy = Toy::curved(seed);
        let of = |picture: u32| {
            Sample::prompt(vec![painted(picture)], "#ab").answered(mmlens_core::Reply::Text("cd".to_owned()))
        };
        let tops = |sample: &Sample| {
            let inputs = toy.encode(sample).unwrap().all_logits();
            let last = inputs.positions() - 1;
            let places = [last - 2, last - 1].map(Position::At);
            let all = LogitSelection::at(places[0]).and(&LogitSelection::at(places[1]));
            let trace = toy.run(&inputs, Plan::new().select_logits(all)).unwrap();
            places.map(|at| {
                let logits = mmlens_core::AnyTensor::new(trace.output().at(at).unwrap()).to_values().unwrap();
                largest(&log_probabilities(&logits), 1)[0].0 as u32
            })
        };
        let own = tops(&of(0));
        let late = |other: &[u32; 2]| other[0] == own[0] && other[1] != own[1];
        let Some((picture, other)) = (1..30).map(|at| (at, tops(&of(at)))).find(|(_, other)| late(other))
        else {
            continue;
        };
        let pair = Pair { clean: Case::answer(of(0)), corrupted: of(picture) };
        let found = run(&toy, &pair, Settings { steps: 99, random: 0, ..Settings::default() });
        let told = found.table("answers").unwrap();
        let texts = [told.get_text(&[0]).unwrap(), told.get_text(&[1]).unwrap()];
        assert_eq!(texts, [own[1], other[1]].map(|token| toy.token(token)), "seed {seed}");
        assert_eq!(numbers(&found, "flipped").last(), Some(&1.0));
        seen += 1;
        if seen == 3 {
            return;
        }
    }
    panic!("of 60 toys {seen} part late");
}

/// Where a cell lies on the picture, in pixels.
pub(crate) fn boxes(axis: &Axis) -> Vec<[f32; 4]> {
    match &axis.labels {
        Labels::Patches(all) => all.iter().map(|patch| patch.bbox).collect(),
        Labels::Tokens(all) => all.iter().map(|token| token.patch.unwrap().bbox).collect(),
        other => panic!("{other:?}"),
    }
}

/// Of two scenes that differ in the colour of one thing, the patches that turn the answer are those that show it.
#[test]
fn what_turns_the_answer_is_what_was_changed() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let world = World::new(5);
    let (mut asked, mut on, mut swapped, mut flipped, mut by_chance) = (0, 0, 0, 0, 0.0);
    for id in 0..60 {
        let scene = world.scene(Split::Test, id);
        let questions = scene.questions();
        let Some(question) = questions.iter().find(|question| question.kind == Kind::Colour) else {
            continue;
        };
        let recoloured = |edit: &Edit| matches!(edit, Edit::Colour(_));
        let Some(made) = scene.flips(&question.text).into_iter().find(|made| recoloured(&made.edit)) else {
            continue;
        };
        let pair = made.pair(&question.text);
        let settings = Settings { steps: 4, random: 4, ..Settings::default() };
        let Ok(found) = RegionSwap::new(settings).unwrap().run(&subject, &pair) else { continue };
        asked += 1;
        let changed = made.changed();
        let side = made.before.render().width();
        let shows = |[left, top, right, bottom]: [f32; 4]| {
            let inside = |at: usize| {
                let (x, y) = ((at as u32 % side) as f32 + 0.5, (at as u32 / side) as f32 + 0.5);
                (left..right).contains(&x) && (top..bottom).contains(&y)
            };
            changed.iter().enumerate().any(|(at, differs)| *differs && inside(at))
        };
        let table = found.table("swapped").unwrap();
        let all = boxes(&table.axes()[0]);
        let gained = table.as_numbers().unwrap();
        let some = gained.iter().zip(all).filter(|(own, _)| **own != 0.0);
        for (_, own) in some {
            swapped += 1;
            on += usize::from(shows(own));
        }
        let turned = numbers(&found, "flipped");
        flipped += usize::from(turned[4] == 1.0);
        by_chance += f64::from(turned[9]);
        if asked == 12 {
            break;
        }
    }
    println!(
        "of {asked} scenes {flipped} turn within 4 patches, by chance {by_chance}; {on} of {swapped} patches show what changed"
    );
    assert!(asked == 12 && flipped >= 9 && by_chance <= 3.0, "{asked} {flipped} {by_chance}");
    assert!(10 * on >= 7 * swapped, "{on} of {swapped}");
}

#[test]
fn what_a_path_does_not_tell_is_spoken_of() {
    let llava = llava("llava-a");
    // Two of them turn it, one does not.
    let short = run(llava, &pictured(), Settings { steps: 1, ..Settings::default() });
    assert_eq!(kinds(&short), [CautionKind::NotConverged]);
    assert!(short.find("needed").is_none());
    let turned = run(llava, &pictured(), Settings { steps: 3, ..Settings::default() });
    assert_eq!((kinds(&turned), scalar(&turned, "needed")), (Vec::new(), 2.0));
    // One cell of one: any order is this one.
    let seen = llava.encode(&pictured().clean.sample).unwrap();
    let last = seen.positions() - 1;
    let positions = Positions::At(vec![last]);
    let other = Pair { corrupted: shown(&["tall"], "<image>Bed?"), ..pictured() };
    let one = Settings { positions, layer: 2, random: 2, ..Settings::default() };
    let found = RegionSwap::new(one).unwrap().run(llava, &other);
    let found = found.unwrap();
    assert!(kinds(&found).contains(&CautionKind::Other), "{:?}", found.cautions());
    if found.find("needed").is_some() {
        assert!(kinds(&found).contains(&CautionKind::Chance), "{:?}", found.cautions());
    }
}

#[test]
fn what_cannot_be_swapped_is_refused() {
    let llava = llava("llava-a");
    let same = Pair { corrupted: pictured().clean.sample, ..pictured() };
    let alike = said(llava, &same, Settings::default());
    assert!(
        alike.starts_with("region-swap needs two samples of which the model says different things; `towards` = `objective` does with any, but of both it says `"),
        "{alike}"
    );
    let worded = Pair { corrupted: shown(&["square"], "<image>Bed?"), ..pictured() };
    let seen = said(llava, &worded, Settings::default());
    assert!(
        seen.contains("says different things")
            || seen.ends_with("both hold the same at `text.blocks.0.resid_pre`"),
        "{seen}"
    );
    let clip = opened("clip-a");
    let captions = |picture| captioned(picture, &["a red square"]);
    let pair = Pair { clean: about(captions("square"), Objective::Similarity), corrupted: captions("tall") };
    let no_words = said(clip, &pair, Settings::default());
    assert!(
        no_words.contains("an answer that is made of tokens, or a class; `towards` = `objective`"),
        "{no_words}"
    );
    let found = run(clip, &pair, Settings { towards: Towards::Objective, steps: 2, ..Settings::default() });
    assert!(numbers(&found, "way")[2] > 0.0 && found.find("answers").is_none());
    let past = said(llava, &pictured(), Settings { layer: 40, ..Settings::default() });
    assert!(past.starts_with("region-swap: layer = 40, of "), "{past}");
    let long = Pair { corrupted: shown(&["tall"], "<image>Redder?"), ..pictured() };
    assert!(said(llava, &long, Settings::default()).contains("region-swap needs"), "another length");
    let sum = Objective::Sum(Vec::new());
    let of_none = Pair { clean: about(pictured().clean.sample, sum), ..pictured() };
    let none = said(llava, &of_none, Settings::default());
    assert!(none.contains("an answer that is made of tokens, or a class"), "{none}");
    for (settings, setting) in [
        (Settings { steps: 0, ..Settings::default() }, "steps"),
        (Settings { rows: 0, ..Settings::default() }, "rows"),
        (Settings { random: usize::MAX, ..Settings::default() }, "random"),
    ] {
        let refused = RegionSwap::new(settings).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("region-swap: {setting} = ")), "{refused}");
    }
    // A tower is swapped where it is asked for.
    let tower = Settings { part: Some(Part::Vision), steps: 2, ..Settings::default() };
    let found = run(llava, &pictured(), tower);
    assert_eq!(found.provenance.sites.len(), 1);
    let words = Pair { clean: Case::new(Sample::text("Red?")), corrupted: Sample::text("Bed?") };
    assert!(said(llava, &words, Settings::default()).contains("a picture"), "no picture");
}
