//! Effects of modalities, CF-VQA and causal mediation: identities, the shapes world, cautions, misuse.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, largest};
use mmlens_core::{
    Alteration, Altered, Analysis, Annotated, Case, CaseAmong, Change, ManyCases, Objective, Pair, Picture,
    Point, Position, Region, Sample, Seed, Subject, Target, Words, from_fn,
};
use mmlens_data::shapes::{Edit, Kind, ShapesCases, Split, World};
use mmlens_design::causal_mediation::UnitsOf;
use mmlens_design::{
    CausalMediation, CfVqa, Measured, ModalityEffects, ModalityEffectsOverCases, causal_mediation, cf_vqa,
    modality_effects, modality_effects_over_cases,
};
use mmlens_engine::{Indices, Pictures, Positions};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use crate::support::{few, kinds, numbers, opened, painted, shown};

fn scalar(found: &Finding, table: &str) -> f32 {
    found.table(table).unwrap().as_scalar().unwrap()
}

fn number(found: &Finding, kind: CautionKind) -> Option<f32> {
    found.cautions().into_iter().find(|own| own.kind == kind).map(|own| own.number)
}

fn cut_off<S: Subject>(model: S) -> Altered<S> {
    let cut = Alteration::new("connector.out", Region::all(), Change::Scale(0.0)).unwrap();
    Altered::new(model, [cut]).unwrap()
}

fn model() -> impl Subject + 'static {
    mmlens_zoo::shipped::shapes(&Device::default()).unwrap()
}

/// Cases of a toy with words of one length, so that pictures and words are as many positions in all.
fn toys(seed: u64, n: usize) -> ManyCases {
    let words = ["#abc", "#dbe", "#fca", "#bbd"];
    let case = move |i: usize| {
        let sample = Sample::prompt(vec![painted(i as u32 + 10 * seed as u32)], words[i % 4]);
        Ok(Case { sample, target: Target::Token(3) })
    };
    ManyCases::over(from_fn("toys", n, case)).unwrap()
}

fn among(seed: u64) -> CaseAmong {
    let data = toys(seed, 4);
    CaseAmong { case: data.data().case(0).unwrap(), among: Some(data) }
}

fn effects(settings: modality_effects::Settings, on: &dyn Subject, given: &CaseAmong) -> Finding {
    ModalityEffects::new(settings).unwrap().run(on, given).unwrap()
}

fn pair(a: u32, b: u32) -> Pair {
    let sample = |i: u32| Sample::prompt(vec![painted(i)], "#abc");
    Pair { clean: Case { sample: sample(a), target: Target::Token(3) }, corrupted: sample(b) }
}

fn mediated(settings: causal_mediation::Settings, on: &dyn Subject, pair: &Pair) -> Finding {
    CausalMediation::new(settings).unwrap().run(on, pair).unwrap()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn shares_add_up(seed in 0..99_u64) {
        for (toy, measured) in
            [(Toy::curved(seed), None), (Toy::curved(seed), Some(Measured::Objective)), (Toy::straight(seed), None)]
        {
            let settings = modality_effects::Settings { measured, ..Default::default() };
            let found = effects(settings, &toy, &among(seed));
            let (alone, effect) = (numbers(&found, "alone"), numbers(&found, "effect"));
            let (joint, cell) = (scalar(&found, "joint"), numbers(&found, "cell"));
            prop_assert!((alone[0] + alone[1] + effect[2] - joint).abs() < 1e-4);
            prop_assert!((cell[0] - cell[3] - joint).abs() < 1e-4);
            // Either total effect is what the modality does alone, and the interaction.
            prop_assert!((effect[0] - alone[0] - effect[2]).abs() < 1e-4);
            prop_assert!((effect[1] - alone[1] - effect[2]).abs() < 1e-4);
            if let Some(share) = found.find("share") {
                prop_assert!((share.as_numbers().unwrap().iter().sum::<f32>() - 1.0).abs() < 1e-3);
            }
        }
    }

    /// Nobody stands in for itself, and pictures and words of a draw come from two cases where there are three.
    #[test]
    fn nobody_stands_in_for_itself(seed in 0..99_u64, n in 2..9_usize) {
        for case in 0..n {
            let all: Vec<[usize; 2]> =
                (0..n - 1).map(|draw| ModalityEffectsOverCases::stand_ins(Seed(seed), n, case, draw)).collect();
            for [seen, said] in &all {
                prop_assert!(*seen != case && *said != case && *seen < n && *said < n);
                prop_assert!(n == 2 || seen != said);
            }
            // Pictures are those of every other case once.
            let mut seen: Vec<usize> = all.iter().map(|[seen, _]| *seen).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq((0..n).filter(|at| *at != case)));
        }
    }

    /// Logits of a straight toy are affine in pictures and words: nothing interacts there, though in log-odds it does.
    #[test]
    fn an_additive_model_has_no_interaction(seed in 0..99_u64) {
        let (toy, given) = (Toy::straight(seed), among(seed));
        let run = |measured| {
            let settings = modality_effects::Settings { measured: Some(measured), ..Default::default() };
            effects(settings, &toy, &given)
        };
        let logits = run(Measured::Objective);
        let effect = numbers(&logits, "effect");
        let size = effect[0].abs() + effect[1].abs();
        prop_assert!(effect[2].abs() < 1e-5 * (1.0 + size), "{effect:?}");
        prop_assert!(numbers(&logits, "alone").iter().zip(effect).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + size)));
        // And curved toys, or log-odds, have some.
        let odds = run(Measured::LogOdds);
        prop_assert!(numbers(&odds, "effect")[2].abs() > 1e-6);
        let whole = modality_effects::Settings { measured: Some(Measured::Objective), ..Default::default() };
        prop_assert!(numbers(&effects(whole, &Toy::curved(seed), &given), "effect")[2].abs() > 1e-6);
    }

    /// A picture that reaches nothing has no effect and does not interact, to the bit.
    #[test]
    fn what_is_cut_off_has_no_effect(seed in 0..99_u64) {
        let found = effects(modality_effects::Settings::default(), &cut_off(Toy::curved(seed)), &among(seed));
        let (effect, alone) = (numbers(&found, "effect"), numbers(&found, "alone"));
        prop_assert_eq!((effect[0], effect[2], alone[0]), (0.0, 0.0, 0.0));
        prop_assert_eq!(effect[1], alone[1]);
        prop_assert_eq!(number(&found, CautionKind::NothingMoved), Some(1.0));
    }

    /// TE = NDE + (what is lost without the units), and with the samples exchanged what went past the units is what comes through them; the stream that enters
    /// carries all.
    #[test]
    fn total_effects_are_direct_and_indirect_ones(seed in 0..99_u64) {
        let toy = Toy::curved(seed);
        let through = |point| causal_mediation::Settings { units: UnitsOf::Layers(point), ..Default::default() };
        let found = mediated(through(Point::ResidPre), &toy, &pair(1, 2));
        let total = scalar(&found, "total");
        prop_assert!((scalar(&found, "corrupted") - scalar(&found, "clean") - total).abs() < 1e-6);
        let joint = numbers(&found, "joint");
        prop_assert!((numbers(&found, "nie")[0] - total).abs() < 1e-5 && numbers(&found, "nde")[0].abs() < 1e-5);
        prop_assert!((joint[0] - total).abs() < 1e-5 && joint[1].abs() < 1e-5);
        for units in [UnitsOf::Heads, UnitsOf::Neurons, UnitsOf::Layers(Point::MlpOut)] {
            let settings = causal_mediation::Settings { units, random: 2, ..Default::default() };
            let (one, other) = (mediated(settings.clone(), &toy, &pair(1, 2)), mediated(settings, &toy, &pair(2, 1)));
            prop_assert!((scalar(&other, "total") + total).abs() < 1e-6);
            for (nde, nie) in numbers(&one, "nde").iter().zip(numbers(&other, "nie")) {
                prop_assert!((nde - total - nie).abs() < 1e-5);
            }
            let parts = numbers(&one, "interaction").iter().zip(numbers(&one, "nie")).zip(numbers(&one, "nde"));
            for ((interaction, nie), nde) in parts {
                prop_assert!((interaction + nie + nde - total).abs() < 1e-5);
            }
        }
    }

    /// Through units that nothing reads goes nothing, and all of it past them.
    #[test]
    fn nothing_goes_through_what_nothing_reads(seed in 0..99_u64) {
        // Of the last layer only the last position is read; pictures stand before it.
        let settings = causal_mediation::Settings {
            layers: Indices::At(vec![1]),
            positions: Positions::Pictures,
            random: 2,
            ..Default::default()
        };
        let found = mediated(settings, &Toy::curved(seed), &pair(1, 2));
        let total = scalar(&found, "total");
        prop_assert!(numbers(&found, "nie").iter().all(|nie| *nie == 0.0));
        prop_assert!(numbers(&found, "nde").iter().all(|nde| (nde - total).abs() < 1e-6));
        prop_assert!(kinds(&found).contains(&CautionKind::NothingMoved));
    }

    /// In a model without nonlinearities TE = NDE + NIE for every unit, and heads of one layer add up.
    #[test]
    fn in_a_straight_model_effects_add_up(seed in 0..99_u64) {
        let toy = Toy::straight(seed);
        let of_layer = |layer: usize| causal_mediation::Settings { layers: Indices::At(vec![layer]), random: 2, ..Default::default() };
        for settings in [of_layer(0), of_layer(1), causal_mediation::Settings { units: UnitsOf::Neurons, ..of_layer(1) }] {
            let found = mediated(settings, &toy, &pair(1, 2));
            let bound = 2e-5 * (1.0 + scalar(&found, "total").abs());
            prop_assert!(numbers(&found, "interaction").iter().all(|own| own.abs() < bound), "{:?}", numbers(&found, "interaction"));
            let joint = numbers(&found, "joint");
            let all = joint.len() / 4 - if found.find("p").is_some() { 2 } else { 1 };
            let all = &joint[4 * all..][..4];
            prop_assert!(all[2].abs() < bound && (all[0] - all[3]).abs() < bound, "{all:?}");
        }
    }
}

/// Colour questions need the picture, and need it together with the words that say of which object.
#[test]
fn a_colour_question_needs_both_and_a_blind_model_neither() {
    let data = || ManyCases::over(ShapesCases::new(World::new(3), Split::Test, Kind::Colour, 24)).unwrap();
    let often = ModalityEffectsOverCases::new(modality_effects_over_cases::Settings::default()).unwrap();
    let cf = CfVqa::new(cf_vqa::Settings::default()).unwrap();
    let whole = often.run(&model(), &data()).unwrap();
    println!("{:?} {:?}", numbers(&whole, "effect"), numbers(&whole, "interval"));
    let (effect, interval) = (numbers(&whole, "effect"), numbers(&whole, "interval"));
    for at in 0..3 {
        assert!(effect[at] > 1.0 && effect[at] > numbers(&whole, "sign flips")[at], "{effect:?}");
        assert!(interval[2 * at] > 0.0 && interval[2 * at] < effect[at] && effect[at] < interval[2 * at + 1]);
    }
    assert!(kinds(&whole).is_empty(), "{:?}", whole.cautions());
    let said = cf.run(&model(), &data()).unwrap();
    println!("{:?} {:?}", numbers(&said, "accuracy"), numbers(&said, "constant"));
    let accuracy = numbers(&said, "accuracy");
    assert!(accuracy[0] > 0.9 && accuracy[1] < 0.6);
    // The model is right as it is: there is no prior to be taken off, and the finding says so.
    assert!(number(&said, CautionKind::NoBetter).unwrap() <= 0.0);

    let blind = cut_off(model());
    let found = often.run(&blind, &data()).unwrap();
    let effect = numbers(&found, "effect");
    assert_eq!((effect[0], effect[2]), (0.0, 0.0));
    assert!(kinds(&found).contains(&CautionKind::NothingMoved));
    let said = cf.run(&blind, &data()).unwrap();
    assert_eq!(numbers(&said, "with the picture"), numbers(&said, "without"));
    assert_eq!(number(&said, CautionKind::NothingMoved), Some(24.0));
    let accuracy = numbers(&said, "accuracy");
    assert_eq!(accuracy[0], accuracy[1]);
    assert!(kinds(&said).iter().filter(|kind| **kind == CautionKind::NoBetter).count() == 2);
}

/// What differs between two pictures of a recoloured object comes to where the answer is decided through heads, and through nothing else.
#[test]
fn the_colour_of_an_object_is_brought_by_heads() {
    let model = model();
    let cases = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 3);
    for i in 0..3 {
        let (scene, question) = cases.scene(i).unwrap();
        let flips = scene.flips(&question.text);
        let made = flips.iter().find(|made| matches!(made.edit, Edit::Colour(_))).unwrap();
        let pair = made.pair(&question.text);
        let settings = causal_mediation::Settings { positions: Positions::Last, ..Default::default() };
        let found = mediated(settings, &model, &pair);
        let (total, joint) = (scalar(&found, "total"), numbers(&found, "joint"));
        println!(
            "{total} {joint:?} {:?} {:?}",
            scalar(&found, "p"),
            found.table("chosen").unwrap().as_texts()
        );
        // The answer changes; chosen, all, random: NIE, NDE.
        assert!(total < -5.0);
        assert!((joint[4] - total).abs() < 1e-3 && joint[5].abs() < 1e-3);
        assert!(joint[0] < joint[8] && scalar(&found, "p") < 0.05, "{joint:?}");
        assert!(
            numbers(&found, "mediated")
                .iter()
                .zip(numbers(&found, "nie"))
                .all(|(a, b)| (a - b / total).abs() < 1e-5)
        );
        // To a model that does not see both are the same.
        let blind = CausalMediation::new(causal_mediation::Settings::default())
            .unwrap()
            .run(&cut_off(self::model()), &pair);
        let said = blind.unwrap_err().to_string();
        assert!(
            said.starts_with("causal-mediation needs two samples that the objective tells apart, but"),
            "{said}"
        );
    }
}

/// Cautions of one case fire where their numbers say so, and nowhere else.
#[test]
fn cautions_of_effects_are_where_their_numbers_say() {
    let mut chance = [0; 2];
    for seed in 0..30 {
        let found = effects(modality_effects::Settings::default(), &Toy::curved(seed), &among(seed));
        let (effect, apart) = (numbers(&found, "effect"), numbers(&found, "stand-ins"));
        let expected = (0..2).filter(|at| effect[*at].abs() <= apart[*at]).count();
        let fired = kinds(&found).iter().filter(|kind| **kind == CautionKind::Chance).count();
        assert_eq!(fired, expected, "{effect:?} {apart:?}");
        if let Some(share) = number(&found, CautionKind::Chance) {
            assert!((0.0..=1.0).contains(&share));
        }
        chance[usize::from(fired > 0)] += 1;
    }
    assert!(chance.iter().all(|count| *count > 0), "{chance:?}");
    // All but flat beside its mean colour, with words that say the same: there is nothing to share out.
    let mut image = image::RgbImage::from_pixel(8, 8, image::Rgb([100; 3]));
    image.put_pixel(2, 2, image::Rgb([106, 100, 100]));
    let own = Sample::prompt(vec![Picture::new("all but flat", image)], "#abc");
    let words = Sample { pictures: vec![painted(1)], ..own.clone() };
    let data = ManyCases::over(from_fn("same words", 1, move |_| Ok(Case::new(words.clone())))).unwrap();
    let given = CaseAmong { case: Case::new(own), among: Some(data) };
    let settings = modality_effects::Settings { pictures: Some(Pictures::MeanColour), ..Default::default() };
    let found = effects(settings, &Toy::curved(1), &given);
    let joint = scalar(&found, "joint");
    assert!(joint != 0.0 && joint.abs() < 0.1, "{joint}");
    assert_eq!(number(&found, CautionKind::SmallDifference), Some(joint));
    assert!(found.find("share").is_none() && number(&found, CautionKind::NothingMoved) == Some(1.0));
    let same = CaseAmong::from(Case::new(Sample::prompt(vec![painted(1)], "#abc")));
    let flat = Sample { pictures: vec![painted(1).mean_colour().unwrap()], ..same.case.sample.clone() };
    let settings = modality_effects::Settings { words: None, ..Default::default() };
    let found = effects(settings, &Toy::curved(1), &CaseAmong::from(Case::new(flat)));
    // Its own mean colour is what is there already.
    assert_eq!((numbers(&found, "effect")[0], number(&found, CautionKind::NothingMoved)), (0.0, Some(1.0)));
}

#[test]
fn cautions_over_cases_are_where_their_numbers_say() {
    let mut chance = [0; 2];
    for seed in 0..12 {
        let settings = modality_effects_over_cases::Settings::default();
        let found =
            ModalityEffectsOverCases::new(settings).unwrap().run(&Toy::curved(seed), &toys(seed, 8)).unwrap();
        let (effect, flips) = (numbers(&found, "effect"), numbers(&found, "sign flips"));
        let expected = (0..3).filter(|at| effect[*at].abs() <= flips[*at]).count();
        let fired = kinds(&found).iter().filter(|kind| **kind == CautionKind::Chance).count();
        assert_eq!(fired, expected, "{effect:?} {flips:?}");
        chance[usize::from(fired > 0)] += 1;
        assert_eq!(number(&found, CautionKind::FewRows), Some(8.0));
        let interval = numbers(&found, "interval");
        assert!((0..3).all(|at| interval[2 * at] <= effect[at] && effect[at] <= interval[2 * at + 1]));
    }
    // Pictures of toys do as often one thing as the other; on colour questions of the shapes world no caution fires.
    assert!(chance[1] > 0, "{chance:?}");
}

#[test]
fn cautions_of_mediation_are_where_their_numbers_say() {
    let (mut chance, mut gap) = ([0; 2], [0; 2]);
    for seed in 0..16 {
        let settings = causal_mediation::Settings { units: UnitsOf::Neurons, joint: 4, ..Default::default() };
        let found = mediated(settings, &Toy::curved(seed), &pair(1, 2));
        let (total, joint, p) = (scalar(&found, "total"), numbers(&found, "joint"), scalar(&found, "p"));
        let (own, random) = (joint[0].abs(), numbers(&found, "random"));
        let beyond = random.iter().filter(|other| other.abs() >= own).count();
        assert!((p - (1 + beyond) as f32 / 21.0).abs() < 1e-6);
        assert_eq!(number(&found, CautionKind::Chance), (p > 0.05).then_some(p));
        chance[usize::from(p > 0.05)] += 1;
        let apart = (joint[3] - joint[0]).abs() / total.abs();
        assert_eq!(number(&found, CautionKind::Gap).is_some(), apart > 0.1, "{apart}");
        gap[usize::from(apart > 0.1)] += 1;
        assert!(number(&found, CautionKind::FewRows).is_none());
    }
    println!("chance {chance:?}, gap {gap:?}");
    assert!(chance[0] > 0 && gap.iter().all(|count| *count > 0), "{chance:?} {gap:?}");
    let settings = causal_mediation::Settings { units: UnitsOf::Neurons, random: 4, ..Default::default() };
    let few = mediated(settings, &Toy::curved(1), &pair(1, 2));
    assert_eq!(number(&few, CautionKind::FewRows), Some(4.0));
}

#[test]
fn cf_vqa_without_labels_says_what_is_answered_alone() {
    let cases = || {
        let case = |i: usize| Ok(Case::new(Sample::prompt(vec![painted(i as u32)], ["#ab", "#ba"][i % 2])));
        from_fn("asked", 6, case)
    };
    let run = |data: ManyCases| {
        CfVqa::new(cf_vqa::Settings::default()).unwrap().run(&Toy::curved(3), &data).unwrap()
    };
    let some = Annotated::new(cases(), ["a", "b", "c"], vec![0, 1, 2, 0, 1, 2]).unwrap();
    let found = run(ManyCases::over(some).unwrap());
    assert_eq!(found.tables()[0].name(), "accuracy");
    assert_eq!(number(&found, CautionKind::FewRows), Some(6.0));
    // Every way of answering says one answer of each case, and chance is a third.
    let (answers, accuracy) = (numbers(&found, "answers"), numbers(&found, "accuracy"));
    assert!(answers.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-6));
    assert!((accuracy[accuracy.len() - 1] - 1.0 / 3.0).abs() < 1e-6);
    let total = numbers(&found, "effect of the answer");
    assert!(total.chunks(3).all(|row| (row[0] - row[1] - row[2]).abs() < 1e-5));
}

/// Of cautions about what is no better there are as many as accuracies say.
#[test]
fn cautions_of_cf_vqa_are_where_accuracies_say() {
    let mut seen = [0; 3];
    for seed in 0..40 {
        let words = ["#ab", "#ba", "#cb", "#ac", "#bc"];
        let case = move |i: usize| {
            Ok(Case::new(Sample::prompt(vec![painted((i * 7) as u32 + seed as u32)], words[i % 5])))
        };
        let labels = (0..8).map(|i| (i * i + seed as usize) % 3).collect();
        let data = Annotated::new(from_fn("asked", 8, case), ["a", "b", "c"], labels).unwrap();
        let data = ManyCases::over(data).unwrap();
        let found = CfVqa::new(cf_vqa::Settings::default()).unwrap().run(&Toy::curved(seed), &data).unwrap();
        let accuracy = numbers(&found, "accuracy");
        let best = |from: usize| largest(&accuracy[from..from + 3]).unwrap() as f32;
        let (whole, tie, other, frequent) = (accuracy[0], best(5), best(8), accuracy[11]);
        let expected = [whole <= frequent, tie <= whole, tie > whole && other >= tie];
        let fired = kinds(&found).iter().filter(|kind| **kind == CautionKind::NoBetter).count();
        assert_eq!(fired, expected.iter().filter(|own| **own).count(), "{accuracy:?} {:?}", found.cautions());
        for (count, own) in seen.iter_mut().zip(expected) {
            *count += usize::from(own);
        }
    }
    println!("{seen:?}");
    // Toys know nothing of labels; the model of the shapes world is right more often than the most frequent answer.
    assert!(seen[0] > 0 && seen[1..].iter().all(|count| (1..40).contains(count)), "{seen:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let asks = |settings: modality_effects::Settings, given: &CaseAmong| {
        ModalityEffects::new(settings).unwrap().run(&Toy::curved(1), given).unwrap_err().to_string()
    };
    let sample = Sample::prompt(vec![painted(1)], "#abc");
    let alone = CaseAmong::from(Case::new(sample.clone()));
    let another = modality_effects::Settings { pictures: Some(Pictures::Another), ..Default::default() };
    assert_eq!(
        asks(another, &alone),
        "modality-effects needs a data set, for what stands in, but none was given"
    );
    let placed = Target::Objective(Objective::Logit { at: Position::At(2), token: 3 });
    let placed = CaseAmong { case: Case { target: placed, ..alone.case.clone() }, among: Some(toys(0, 4)) };
    let said = asks(modality_effects::Settings::default(), &placed);
    assert!(
        said.starts_with("modality-effects needs an objective at the last position, or an answer, but"),
        "{said}"
    );
    let shared = Target::Objective(Objective::Similarity);
    let odds = modality_effects::Settings { measured: Some(Measured::LogOdds), ..Default::default() };
    let caption = Sample::captions(painted(1), ["a cat"]);
    let case = CaseAmong::from(Case { sample: caption, target: shared });
    let said = ModalityEffects::new(odds).unwrap().run(opened("clip-a"), &case).unwrap_err().to_string();
    assert!(
        said.starts_with("modality-effects needs an objective that is about tokens, for log-odds, but"),
        "{said}"
    );
    let same = ManyCases::over(from_fn("same", 3, move |_| Ok(Case::new(sample.clone())))).unwrap();
    let given = CaseAmong { case: alone.case.clone(), among: Some(same) };
    let said = asks(modality_effects::Settings::default(), &given);
    assert!(said.ends_with("none of the 3 of `same` is another"), "{said}");
    let nothing = CaseAmong::from(Case::new(Sample::new(Vec::new(), Words::Nothing)));
    let said = asks(modality_effects::Settings::default(), &nothing);
    assert!(said.contains("the modalities that are to be exchanged"), "{said}");

    let often = |data: &ManyCases, draws: usize| {
        let settings = modality_effects_over_cases::Settings { draws, ..Default::default() };
        let method = ModalityEffectsOverCases::new(settings).unwrap();
        method.run(&Toy::curved(1), data).unwrap_err().to_string()
    };
    assert!(often(&toys(0, 1), 1).contains("at least two cases, and more than stand-ins"));
    assert!(often(&toys(0, 3), 3).contains("`toys` has 3, and each has 3 stand-ins"));
    let mixed = |i: usize| {
        let words = if i == 1 { "abc" } else { "#abc" };
        let pictures = if i == 1 { Vec::new() } else { vec![painted(i as u32)] };
        Ok(Case::new(Sample::prompt(pictures, words)))
    };
    let said = often(&ManyCases::over(from_fn("mixed", 4, mixed)).unwrap(), 2);
    assert!(said.ends_with("case 1 holds others than those before"), "{said}");

    let cf = |data: &ManyCases| {
        CfVqa::new(cf_vqa::Settings::default()).unwrap().run(&Toy::curved(1), data).unwrap_err().to_string()
    };
    assert!(cf(&toys(0, 3)).ends_with("`toys` has 3 of 0 classes"));
    let settings = cf_vqa::Settings { constant: Some(f64::NAN), ..Default::default() };
    assert!(CfVqa::new(settings).unwrap_err().to_string().contains("finite"));

    let settings =
        causal_mediation::Settings { units: UnitsOf::Layers(Point::FinalNorm), ..Default::default() };
    assert!(CausalMediation::new(settings).unwrap_err().to_string().contains("must lie in a block"));
    let far = causal_mediation::Settings { layers: Indices::At(vec![7]), ..Default::default() };
    let said = CausalMediation::new(far).unwrap().run(&Toy::curved(1), &pair(1, 2)).unwrap_err().to_string();
    assert!(said.contains("layers") && said.contains('7'), "{said}");
    let other = Pair {
        corrupted: shown("square", "<image>Red or blue?"),
        clean: Case::new(shown("square", "<image>Red?")),
    };
    let said =
        CausalMediation::new(causal_mediation::Settings::default()).unwrap().run(opened("llava-a"), &other);
    assert!(said.unwrap_err().to_string().contains("causal-mediation needs"));
}
