//! What speaks against maps, parts, heads and layers is said where it is due, with its number, and nowhere else.

use mmlens_core::finding::{CautionKind, Finding};
use mmlens_core::{Analysis, Case, CaseAmong, Objective, Pair, Sample};
use mmlens_engine::Positions;
use mmlens_model::attention_by_depth::AttentionByDepth;
use mmlens_model::attention_maps::{self, AttentionMaps};
use mmlens_model::attention_relevance::AttentionRelevance;
use mmlens_model::expected_gradients::{self, ExpectedGradients};
use mmlens_model::gradient_times_input::{self, GradientTimesInput};
use mmlens_model::head_measures::{self, HeadMeasures};
use mmlens_model::layer_skipping::LayerSkipping;
use mmlens_model::lime::{self, Cover, Lime};
use mmlens_model::multimodal_neurons::{self, MultimodalNeurons};
use mmlens_model::permutation_shap::{self, PermutationShap};
use mmlens_model::region_swap::{self, RegionSwap, Towards};
use mmlens_testkit::{Toy, kinds};

use crate::identities::asked;
use crate::support::{about, largest, numbers, opened, painted, scalar, site, total};

fn number(found: &Finding, kind: CautionKind) -> Option<f64> {
    found.cautions().into_iter().find(|own| own.kind == kind).map(|own| f64::from(own.number))
}

/// A logit, ten million times smaller: what parts of the sample do to it is far below the last bit of what logits are made of.
fn tiny(token: u32) -> Objective {
    Objective::Sum(vec![(1e-7, Objective::logit(token))])
}

/// What two values of a logit call for.
fn of_two(at: f32, other: f32) -> Option<CautionKind> {
    match at - other {
        apart if apart.abs() < 0.1 => Some(CautionKind::SmallDifference),
        apart if apart < 0.0 => Some(CautionKind::Reversed),
        _ => None,
    }
}

#[test]
fn relevance_that_rests_on_the_first_token_or_is_nothing_is_spoken_of() {
    let (mut rests, mut sound) = (0, 0);
    for seed in 0..60 {
        let toy = Toy::curved(seed);
        let run = |objective| {
            AttentionRelevance::default().run(&toy, &about(Sample::prompt(vec![], "ab"), objective)).unwrap()
        };
        let found = run(Objective::logit(4));
        let words = numbers(&found, "tokens");
        let share = f64::from(words[0]) / total(words);
        let own = number(&found, CautionKind::Sink);
        assert_eq!(own.is_some(), share > 0.9, "{share}");
        match own {
            Some(own) => {
                assert!((own - share).abs() < 1e-6, "{own} {share}");
                rests += 1;
            }
            None => sound += usize::from(kinds(&found).is_empty()),
        }
        // No weight raises a logit less itself.
        let nothing = run(Objective::logit_difference(4, 4));
        assert_eq!(kinds(&nothing), [CautionKind::NothingMoved]);
        assert_eq!(number(&nothing, CautionKind::NothingMoved), Some(words.len() as f64));
    }
    assert!(rests > 0 && sound > 0, "{rests} {sound}");
}

#[test]
fn a_background_that_barely_differs_or_does_better_is_spoken_of() {
    let mut counts = [0; 3];
    for seed in 0..90 {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 4));
        let texts = vec![["#fde", "#bbc"][seed as usize % 2].to_owned()];
        let settings = expected_gradients::Settings {
            texts,
            sites: Some(vec![site("text.embed")]),
            samples: 12,
            ..Default::default()
        };
        let found =
            ExpectedGradients::new(settings.clone()).unwrap().run(&toy, &case.clone().into()).unwrap();
        let (at, end) = (scalar(&found, "objective"), scalar(&found, "objective at baseline"));
        match of_two(at, end) {
            Some(kind) => {
                let apart = f64::from(at) - f64::from(end);
                let wanted = if kind == CautionKind::Reversed { -apart } else { apart };
                let own = number(&found, kind).unwrap();
                assert!((own - wanted).abs() < 1e-6, "{own} {wanted}");
                counts[usize::from(kind == CautionKind::Reversed)] += 1;
            }
            None => {
                let said = kinds(&found);
                assert!(said.iter().all(|own| *own == CautionKind::Unsteady), "{said:?}");
                counts[2] += 1;
            }
        }
        let small: CaseAmong = about(case.sample, tiny(4)).into();
        let found = ExpectedGradients::new(settings).unwrap().run(&toy, &small).unwrap();
        assert_eq!(kinds(&found), [CautionKind::Rounding]);
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_line_that_stands_for_nothing_is_spoken_of() {
    let line = |alpha, objective, toy: &Toy, case: &Case| {
        let picture = Some(Cover::Grid { rows: 2, cols: 2 });
        let settings = lime::Settings { picture, samples: 60, alpha, ..Default::default() };
        Lime::new(settings).unwrap().run(toy, &about(case.sample.clone(), objective)).unwrap()
    };
    let case = asked(3, "abd", 4);
    for seed in 0..6 {
        let (straight, curved) = (Toy::straight(seed), Toy::curved(seed));
        // Of what is a straight line a line without penalty explains all, at the sample itself, too.
        let sound = line(0.0, Objective::logit(4), &straight, &case);
        assert!(kinds(&sound).is_empty(), "{:?}", sound.cautions());
        // A penalty that leaves no coefficient: the line is its intercept, the mean of what is said behind draws.
        let flat = line(1e4, Objective::logit(4), &curved, &case);
        assert_eq!(kinds(&flat), [CautionKind::PoorFit, CautionKind::Gap]);
        assert_eq!(number(&flat, CautionKind::PoorFit), Some(f64::from(scalar(&flat, "explained"))));
        let (at, base) = (scalar(&flat, "objective"), scalar(&flat, "intercept"));
        let missed = f64::from(at - scalar(&flat, "prediction")).abs() / f64::from(at - base).abs();
        let own = number(&flat, CautionKind::Gap).unwrap();
        assert!((own - missed).abs() < 1e-3 * own && own > 0.5, "{own} {missed}");
        let small = line(0.0, tiny(4), &straight, &case);
        assert_eq!(kinds(&small), [CautionKind::Rounding]);
        let most = largest(&[numbers(&small, "picture"), numbers(&small, "tokens")].concat());
        assert!((number(&small, CautionKind::Rounding).unwrap() - most).abs() < 1e-12);
    }
}

#[test]
fn orders_of_what_barely_differs_are_spoken_of() {
    let mut counts = [0; 3];
    for seed in 0..24 {
        let toy = Toy::curved(seed);
        let run = |objective| {
            let picture = Some(Cover::Grid { rows: 2, cols: 2 });
            let settings = permutation_shap::Settings { picture, orders: 2, ..Default::default() };
            let case = about(asked(seed as u32, "abd", 4).sample, objective);
            PermutationShap::new(settings).unwrap().run(&toy, &case).unwrap()
        };
        let found = run(Objective::logit(4));
        let (at, none) = (scalar(&found, "objective"), scalar(&found, "objective of nothing"));
        let due = of_two(at, none);
        assert_eq!(kinds(&found), due.into_iter().collect::<Vec<_>>());
        match due {
            Some(kind) => {
                let own = number(&found, kind).unwrap();
                assert!((own.abs() - f64::from((at - none).abs())).abs() < 1e-6, "{own} {at} {none}");
                counts[usize::from(kind == CautionKind::Reversed)] += 1;
            }
            None => counts[2] += 1,
        }
        // Of the picture and of words; the ends of so small an objective barely differ, too.
        let small = run(tiny(4));
        assert_eq!(
            kinds(&small),
            [CautionKind::Rounding, CautionKind::Rounding, CautionKind::SmallDifference]
        );
        assert!(
            (number(&small, CautionKind::Rounding).unwrap() - largest(numbers(&small, "picture"))).abs()
                < 1e-12
        );
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn tangents_swaps_and_skipped_layers_of_rounding_are_spoken_of() {
    let (toy, case) = (Toy::curved(3), asked(3, "abd", 4));
    let small = about(case.sample.clone(), tiny(4));
    let gxi = |case: &Case| {
        let settings = gradient_times_input::Settings {
            sites: Some(vec![site("text.embed")]),
            gap: 1e9,
            ..Default::default()
        };
        GradientTimesInput::new(settings).unwrap().run(&toy, case).unwrap()
    };
    assert!(kinds(&gxi(&case)).is_empty());
    let found = gxi(&small);
    assert_eq!(kinds(&found), [CautionKind::Rounding]);
    assert!(
        (number(&found, CautionKind::Rounding).unwrap() - largest(numbers(&found, "text.embed"))).abs()
            < 1e-12
    );

    let swap = |clean: &Case| {
        let corrupted = Sample::prompt(vec![painted(9)], "#abd");
        let settings =
            region_swap::Settings { towards: Towards::Objective, steps: 2, random: 0, ..Default::default() };
        RegionSwap::new(settings).unwrap().run(&toy, &Pair { clean: clean.clone(), corrupted }).unwrap()
    };
    assert!(kinds(&swap(&case)).is_empty(), "{:?}", swap(&case).cautions());
    let found = swap(&small);
    assert_eq!(kinds(&found), [CautionKind::Rounding]);
    assert!(
        (number(&found, CautionKind::Rounding).unwrap() - largest(numbers(&found, "alone"))).abs() < 1e-12
    );

    let skip = |case: &Case| LayerSkipping::new(Default::default()).unwrap().run(&toy, case).unwrap();
    assert!(kinds(&skip(&case)).is_empty());
    let found = skip(&small);
    assert_eq!(kinds(&found), [CautionKind::Rounding]);
    assert!(
        (number(&found, CautionKind::Rounding).unwrap() - largest(numbers(&found, "change"))).abs() < 1e-12
    );
}

/// The mean over layers and heads of what the positions asked for give every position, by the maps of attention.
fn overall(toy: &Toy, case: &Case, positions: &Positions) -> (Finding, Vec<f64>) {
    let settings = attention_maps::Settings { positions: positions.clone(), ..Default::default() };
    let found = AttentionMaps::new(settings).unwrap().run(toy, case).unwrap();
    let keys = found.table("attention").unwrap().shape()[2];
    let rows: Vec<&[f32]> = numbers(&found, "attention").chunks(keys).collect();
    let mean = |key: usize| rows.iter().map(|row| f64::from(row[key])).sum::<f64>() / rows.len() as f64;
    let mean = (0..keys).map(mean).collect();
    (found, mean)
}

/// The first position sees itself alone, the second the first two patches: what rests there says nothing of the rest. Who sees everything looks around.
#[test]
fn heads_that_look_nowhere_else_are_spoken_of() {
    let mut counts = [0; 4];
    for seed in 0..30 {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abd", 4));
        for positions in [Positions::Last, Positions::At(vec![1]), Positions::At(vec![0])] {
            let (maps, mean) = overall(&toy, &case, &positions);
            let rests = mean[0] > 0.9;
            assert_eq!(kinds(&maps), if rests { vec![CautionKind::Sink] } else { Vec::new() });
            let settings = head_measures::Settings { positions, ..Default::default() };
            let found = HeadMeasures::new(settings).unwrap().run(&toy, &case).unwrap();
            let (shares, even) = (numbers(&found, "share"), numbers(&found, "even share"));
            let ahead = shares
                .chunks(shares.len() / even.len())
                .zip(even)
                .flat_map(|(own, even)| own.iter().map(move |own| own - even));
            let ahead = ahead.fold(f32::NEG_INFINITY, f32::max); // no NaN: sums of weights
            let seen: f64 = mean[..4].iter().sum();
            let most = mean[..4].iter().copied().fold(0.0, f64::max); // no NaN: sums of weights
            // What lies within rounding of a bound is left to either side.
            if ahead.abs() > 1e-6 {
                assert_eq!(kinds(&found).contains(&CautionKind::NoBetter), ahead < 0.0, "{ahead}");
            }
            let sinks = usize::from(rests) + usize::from(most > 0.5 * seen);
            let said = found.cautions().into_iter().filter(|own| own.kind == CautionKind::Sink);
            let said: Vec<f64> = said.map(|own| f64::from(own.number)).collect();
            assert_eq!(said.len(), sinks, "{:?}", found.cautions());
            if most > 0.5 * seen {
                assert!((said.last().unwrap() - most / seen).abs() < 1e-5, "{said:?} {most} {seen}");
            }
            counts[0] += usize::from(kinds(&found).contains(&CautionKind::NoBetter));
            counts[1] += usize::from(rests);
            counts[2] += usize::from(most > 0.5 * seen);
            counts[3] += usize::from(kinds(&found).is_empty());
        }
    }
    println!("no better {}, at rest {}, one patch {}, sound {}", counts[0], counts[1], counts[2], counts[3]);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn layers_that_look_evenly_or_at_markers_are_spoken_of() {
    let case = asked(3, "abd", 4);
    let even = AttentionByDepth::default().run(&Toy::straight(3), &case).unwrap();
    assert_eq!(kinds(&even), [CautionKind::NoBetter]);
    let mut sound = 0;
    for seed in 0..20 {
        let found = AttentionByDepth::default().run(&Toy::curved(seed), &case).unwrap();
        let apart = numbers(&found, "shares").iter().zip(numbers(&found, "even shares"));
        let apart = apart.map(|(own, even)| f64::from((own - even).abs())).fold(0.0, f64::max); // no NaN: sums of weights
        let own = number(&found, CautionKind::NoBetter);
        assert_eq!(own.is_some(), apart < 0.05, "{apart}");
        assert!(own.is_none_or(|own| (own - apart).abs() < 1e-6), "{own:?} {apart}");
        sound += usize::from(kinds(&found).is_empty());
    }
    assert!(sound > 0);
    // Of forty markers in front of a word nearly all is given to markers.
    let run = |markers: usize| {
        let prompt = format!("{}red", "<|endoftext|>".repeat(markers));
        AttentionByDepth::default().run(opened("gpt2-a"), &Case::new(Sample::prompt(vec![], prompt))).unwrap()
    };
    let found = run(30);
    let own = number(&found, CautionKind::Sink).unwrap();
    assert!(
        own > 0.9 && found.cautions().iter().any(|own| own.text.contains("on markers")),
        "{:?}",
        found.cautions()
    );
    assert_eq!(number(&run(2), CautionKind::Sink), None);
}

#[test]
fn neurons_with_the_map_of_any_others_are_spoken_of() {
    let (mut alike, mut apart) = (0, 0);
    for seed in 0..30 {
        let settings = multimodal_neurons::Settings { top: 3, words: 2, ..Default::default() };
        let found = MultimodalNeurons::new(settings)
            .unwrap()
            .run(&Toy::curved(seed), &asked(seed as u32, "abd", 4))
            .unwrap();
        let of = |table: &str| {
            let values = numbers(&found, table);
            let mean = total(values) / values.len() as f64;
            values.iter().map(|own| f64::from(*own) - mean).collect::<Vec<_>>()
        };
        let (own, others) = (of("map"), of("map of others"));
        let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let correlation = product(&own, &others) / (product(&own, &own) * product(&others, &others)).sqrt();
        let said = number(&found, CautionKind::Chance);
        // Tables are in f32.
        if (correlation - 0.9).abs() > 1e-4 {
            assert_eq!(said.is_some(), correlation > 0.9, "{correlation}");
        }
        assert!(said.is_none_or(|said| (said - correlation).abs() < 1e-4), "{said:?} {correlation}");
        alike += usize::from(said.is_some());
        apart += usize::from(kinds(&found).is_empty());
    }
    assert!(alike > 0 && apart > 0, "{alike} {apart}");
}
