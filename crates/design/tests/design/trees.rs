//! Decision trees: against scikit-learn, on answers that follow from a concept, against misuse.

use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{Analysis, Annotated, Case, ManyCases, Sample, Subject, from_fn};
use mmlens_design::DecisionTree;
use mmlens_design::decision_tree::{Answers, Features, Settings};
use mmlens_design::surrogate::cart::{Grown, Tree};
use mmlens_engine::Matrix;
use mmlens_testkit::{Oracle, Toy};

use crate::support::{kinds, numbers};

/// Features and thresholds of all splits, what is below first.
fn splits(tree: &Tree, all: &mut Vec<(usize, f64)>) {
    if let Tree::Split { feature, threshold, below, above, .. } = tree {
        all.push((*feature, *threshold));
        splits(below, all);
        splits(above, all);
    }
}

#[test]
fn trees_are_those_of_scikit_learn() {
    let oracle = Oracle::open("methods/decision-tree").unwrap();
    assert_eq!(DecisionTree::CARD.id, "decision-tree");
    let array = |name: &str| oracle.array(name).unwrap();
    let number = |name: &str| oracle.about()[name].as_u64().unwrap() as usize;
    let ids = |name: &str| array(name).ids().into_iter().map(|id| id as usize).collect::<Vec<_>>();
    let mut compared = 0;
    let mut compare =
        |name: &str, rows: &Matrix, (labels, from, all): (&[usize], usize, bool), grown: Grown| {
            let learned: Vec<usize> = (0..from).collect();
            let tree = Tree::of(&rows.chosen(&learned), &labels[..from], 3, grown);
            let said: Vec<usize> =
                rows.rows().skip(if all { 0 } else { from }).map(|row| tree.says(row)).collect();
            assert_eq!(said, ids(&format!("{name}.said")));
            let mut own = Vec::new();
            splits(&tree, &mut own);
            let (features, thresholds): (Vec<usize>, Vec<f64>) = own.iter().copied().unzip();
            assert_eq!(features, ids(&format!("{name}.features")));
            // Half way between two rows in single precision, which both reckon in double.
            let close = Tolerance::absolute(1e-12);
            let check = |what: &str, own: &[f64]| {
                close.check(what, own, &array(&format!("{name}.{what}")).values).unwrap().absolute
            };
            let gaps =
                [check("thresholds", &thresholds), check("importance", &tree.importance(rows.width()))];
            println!("{name}: {} splits, thresholds {:.1e}, importance {:.1e}", own.len(), gaps[0], gaps[1]);
            compared += own.len();
        };
    let matrix = |name: &str, width| Matrix::of_floats(&array(name).f32(), width).unwrap();
    let rows = matrix("rows", 6);
    let labels: Vec<usize> = (0..rows.len()).map(|row| row % 3).collect();
    for depth in oracle.about()["depths"].as_array().unwrap() {
        let depth = depth.as_u64().unwrap() as usize;
        let grown = Grown { depth, least: number("least") };
        compare(&depth.to_string(), &rows, (&labels, number("learned"), false), grown);
    }
    // Concepts, of which many splits are as good.
    let grown = Grown { depth: number("tied_depth"), least: number("tied_least") };
    compare("tied", &matrix("tied.rows", 7), (&ids("tied.labels"), number("tied_learned"), true), grown);
    assert!(compared > 30, "{compared}");
}

/// Labels that follow from one concept, from two, or from nothing.
fn labelled(label: impl Fn(usize) -> usize + Sync + Send + 'static) -> ManyCases {
    let labels = (0..80).map(label).collect();
    let case = |i: usize| Ok(Case::new(Sample::text(["ab", "cd", "ef"][i % 3])));
    let data = Annotated::new(from_fn("cases", 80, case), ["no", "yes"], labels).unwrap();
    let shows = |i: usize| {
        let has = [
            ("red", i.is_multiple_of(2)),
            ("round", (i / 2).is_multiple_of(2)),
            ("large", (i / 4).is_multiple_of(3)),
        ];
        has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    };
    ManyCases::over(data.showing((0..80).map(shows)).unwrap()).unwrap()
}

fn grown(settings: Settings, data: &ManyCases) -> mmlens_core::finding::Finding {
    DecisionTree::new(settings).unwrap().run(&Toy::curved(1), data).unwrap()
}

fn of_labels() -> Settings {
    Settings { answers: Answers::Labels, ..Settings::default() }
}

#[test]
fn answers_that_follow_from_concepts_are_found() {
    let red = grown(of_labels(), &labelled(|i| usize::from(i % 2 == 0)));
    let [own, learned, majority, shuffled] = numbers(&red, "fidelity")[..] else { panic!() };
    assert_eq!((own, learned), (1.0, 1.0));
    // Half of the cases are red: of others' features nothing follows.
    println!("majority {majority:.3}, shuffled {shuffled:.3}");
    assert!(majority < 0.7 && shuffled < 0.7, "{majority} {shuffled}");
    let lines = red.table("tree").unwrap().as_texts().unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("red: yes (") && lines[1].starts_with("not red: no ("), "{lines:?}");
    let [same, by_chance, features] = numbers(&red, "stability")[..] else { panic!() };
    assert!(same == 1.0 && features == 1.0 && by_chance < 0.7, "{same} {by_chance} {features}");
    // Concepts are in the order of their names: large, red, round.
    assert_eq!(numbers(&red, "importance"), [0.0, 1.0, 0.0]);
    assert_eq!(kinds(&red), []);
    let both = grown(of_labels(), &labelled(|i| usize::from((i % 2 == 0) != (i / 2 % 2 == 0))));
    assert_eq!(numbers(&both, "fidelity")[0], 1.0);
    // Frequent where it is learned from is what counts, not where it is tested.
    let skewed = labelled(|i| usize::from(i % 2 == 0 && i % 5 != 0));
    let found = grown(of_labels(), &skewed);
    let held = numbers(&found, "held out");
    let answers = found.table("answers").unwrap().as_texts().unwrap();
    let of = |out: f32, which: &str| {
        answers.iter().zip(held).filter(|(own, h)| **h == out && own.as_str() == which).count()
    };
    let most = if of(0.0, "yes") > of(0.0, "no") { "yes" } else { "no" };
    let share = of(1.0, most) as f32 / (of(1.0, "yes") + of(1.0, "no")) as f32;
    assert_eq!(numbers(&found, "fidelity")[2], share);
    let nothing = grown(of_labels(), &labelled(|i| i * i % 7 % 2));
    assert!(kinds(&nothing).contains(&CautionKind::NoBetter), "{:?}", numbers(&nothing, "fidelity"));
    let [same, _, features] = numbers(&nothing, "stability")[..] else { panic!() };
    assert!(same < 1.0, "{same}");
    // Answers that hang on the draw are cautioned of, too.
    assert!(features >= 0.5 || kinds(&nothing).contains(&CautionKind::Unsteady), "{features}");
}

/// The model's own answers are what it writes; from its own activations a tree tells them.
#[test]
fn own_answers_are_what_the_model_writes() {
    let toy = Toy::curved(1);
    let data = labelled(|i| i % 2);
    let settings = Settings {
        features: Features::Rows,
        site: "text.blocks.1.resid_post".parse().unwrap(),
        max_new: 2,
        least: 1,
        ..Settings::default()
    };
    let found = grown(settings, &data);
    let answers = found.table("answers").unwrap().as_texts().unwrap();
    for (case, answer) in answers.iter().enumerate().take(6) {
        let inputs = toy.encode(&data.data().case(case).unwrap().sample).unwrap();
        let how = mmlens_core::Generation { max_new: 2, ..mmlens_core::Generation::default() };
        let said = toy.generate(&inputs, &how).unwrap().remove(0).text;
        assert_eq!(*answer, said.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    }
    assert_eq!(numbers(&found, "fidelity")[..2], [1.0, 1.0]);
}

#[test]
fn what_cannot_be_grown_is_refused_by_name() {
    let made = |settings: Settings| DecisionTree::new(settings).unwrap_err().to_string();
    assert_eq!(
        made(Settings { depth: 33, ..of_labels() }),
        "decision-tree: depth = 33, but it must be at most 32"
    );
    assert!(made(Settings { least: 0, ..of_labels() }).ends_with("at least 1"));
    assert!(made(Settings { held_out: 1.0, ..of_labels() }).ends_with("between 0 and 1"));
    let bare = ManyCases::over(from_fn("bare", 4, |_| Ok(Case::new(Sample::text("a"))))).unwrap();
    let said = |settings: Settings| {
        DecisionTree::new(settings).unwrap().run(&Toy::curved(1), &bare).unwrap_err().to_string()
    };
    assert_eq!(
        said(of_labels()),
        "decision-tree needs cases that name the concepts they show, but no case of `bare` names one"
    );
    let rows = Settings { features: Features::Rows, ..of_labels() };
    assert_eq!(said(rows), "decision-tree needs a label for every case, but case 0 of `bare` has none");
}
