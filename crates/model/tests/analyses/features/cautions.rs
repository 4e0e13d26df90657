//! Cautions of the methods of features come where what was found does not rise above chance, and stay away where it does.

use mmlens_core::finding::{Caution, CautionKind, Finding};
use mmlens_core::{
    Alteration, Altered, Analysis, Case, Examples, Fit, Fitted, ManyCases, Objective, Parts, Region, Sample,
    Seed, Subject, Unwatched, Words, from_fn,
};
use mmlens_data::shapes::{Said, ShapesConcepts, Split, World};
use mmlens_engine::{Positions, WordList, direction, normal};
use mmlens_files::Doubles;
use mmlens_model::inlp::{Erasure, Learned};
use mmlens_model::modality_gap::{self, ModalityGap};
use mmlens_model::project_away::{self, ProjectAway};
use mmlens_model::sparse_autoencoder::Autoencoder;
use mmlens_model::{
    EmbeddingParts, Inlp, LinearProbe, Splice, TextSpan, concepts, embedding_parts, inlp, linear_probe,
    splice, text_span,
};
use mmlens_testkit::Toy;

use crate::support::{about, many, numbers, opened, painted, pairs, scalar, site};

fn of_kind(cautions: &[Caution], kind: CautionKind) -> Option<&Caution> {
    cautions.iter().find(|own| own.kind == kind)
}

fn no_better(found: &Finding) -> Option<Caution> {
    of_kind(&found.cautions(), CautionKind::NoBetter).cloned()
}

fn chance(found: &Finding) -> Option<Caution> {
    of_kind(&found.cautions(), CautionKind::Chance).cloned()
}

fn drawn(count: usize, width: usize, push: f64) -> Examples {
    let row = |i: usize| {
        let sign = if i.is_multiple_of(2) { push } else { -push };
        (0..width).map(move |at| (normal(Seed(5).at((i * width + at) as u64)) + sign) as f32)
    };
    let labels = (0..count).map(|i| i % 2).collect();
    Examples::new("drawn", (0..count).flat_map(row).collect(), vec!["up".into(), "down".into()], labels)
        .unwrap()
}

#[test]
fn a_probe_says_what_its_scores_are_worth() {
    let fit = |rows: &Examples| {
        let found = LinearProbe::new(linear_probe::Settings::default()).unwrap();
        found.fit(rows, Seed(2), &Unwatched).unwrap().finding
    };
    let kinds = |count: u64, of: u64| (0..count).map(move |i| i / 2 % of).collect::<Vec<u64>>();
    let sound = drawn(200, 6, 2.0).of_kinds(kinds(200, 10)).unwrap();
    assert_eq!(fit(&sound).cautions(), []);
    assert_eq!(fit(&sound).table("scores").unwrap().shape(), [4]);
    // A fifth of 60 rows.
    let few = fit(&drawn(60, 6, 2.0).of_kinds(kinds(60, 10)).unwrap()).cautions();
    assert!(few.len() == 1 && few[0].kind == CautionKind::FewRows && few[0].number == 12.0, "{few:?}");
    // Numbers that have nothing to do with the classes: with this seed a probe is right less often than who looks at nothing.
    let mut noise = None;
    for seed in 0..20 {
        let labels = (0..200).map(|i| usize::from(Seed(seed).at(i).unit() < 0.5)).collect();
        let values = drawn(200, 6, 0.0).rows().flatten().copied().collect();
        let rows = Examples::new("noise", values, vec!["up".into(), "down".into()], labels).unwrap();
        let found = fit(&rows.of_kinds(kinds(200, 10)).unwrap());
        let [accuracy, _, _, majority]: [f32; 4] = numbers(&found, "scores").try_into().unwrap();
        let own = no_better(&found);
        // no NaN: numbers of findings are finite
        assert_eq!(own.is_some(), accuracy <= f32::max(majority, 0.5), "{seed}: {accuracy} {majority}");
        if let Some(own) = &own {
            // no NaN: numbers of findings are finite
            assert!((own.number - (accuracy - f32::max(majority, 0.5))).abs() < 1e-6, "{own:?}");
        }
        noise = noise.or(own);
    }
    assert!(noise.is_some());
    // All rows of one kind: there is no control, and none is told.
    let one = fit(&drawn(200, 6, 2.0).of_kinds(vec![3; 200]).unwrap());
    let said = one.cautions();
    assert!(said.len() == 1 && said[0].kind == CautionKind::Other && said[0].number == 1.0, "{said:?}");
    assert!(said[0].text.contains("of one kind"), "{said:?}");
    assert_eq!(
        (one.table("scores").unwrap().shape(), one.table("training scores").unwrap().shape()),
        (vec![2], vec![1])
    );
    // Every row of a kind of its own: the control is chance.
    let alone = fit(&drawn(200, 6, 2.0));
    let said = alone.cautions();
    assert!(said.len() == 1 && said[0].kind == CautionKind::Other && said[0].number == 0.0, "{said:?}");
    assert_eq!(alone.table("scores").unwrap().shape(), [4]);
}

#[test]
fn directions_that_any_would_do_for_are_told() {
    let fit = |rows: &Examples| {
        let settings = inlp::Settings { rounds: 1, ..inlp::Settings::default() };
        Inlp::new(settings).unwrap().fit(rows, Seed(2), &Unwatched).unwrap().finding
    };
    // One of thirty coordinates tells the classes, and then none does.
    let row = |i: usize| {
        let sign = if i.is_multiple_of(2) { 4.0 } else { -4.0 };
        (0..30).map(move |at| {
            (normal(Seed(6).at((i * 30 + at) as u64)) + if at == 0 { sign } else { 0.0 }) as f32
        })
    };
    let labels = (0..400).map(|i| i % 2).collect();
    let rows =
        Examples::new("one", (0..400).flat_map(row).collect(), vec!["up".into(), "down".into()], labels)
            .unwrap();
    let one = fit(&rows);
    assert_eq!(no_better(&one), None, "{:?}", numbers(&one, "scores"));
    // Numbers that have nothing to do with the classes, of which a probe is right a little more often than who looks at nothing, by luck.
    let (mut told, mut quiet) = (0, 0);
    for seed in 0..30 {
        let labels = (0..200).map(|i| usize::from(Seed(seed).at(i).unit() < 0.5)).collect();
        let values = drawn(200, 6, 0.0).rows().flatten().copied().collect();
        let rows = Examples::new("noise", values, vec!["up".into(), "down".into()], labels).unwrap();
        let settings = inlp::Settings { rounds: 1, ..inlp::Settings::default() };
        // Where it is not right more often there is nothing to take off.
        let Ok(found) = Inlp::new(settings).unwrap().fit(&rows, Seed(2), &Unwatched) else { continue };
        let [_, after, random, _]: [f32; 4] = numbers(&found.finding, "scores").try_into().unwrap();
        let own = no_better(&found.finding);
        assert_eq!(own.is_some(), random - after < 0.01, "{seed}: {random} {after}");
        match own {
            Some(own) => {
                assert!((own.number - (random - after)).abs() < 1e-6, "{own:?}");
                told += 1;
            }
            None => quiet += 1,
        }
    }
    println!("inlp: {told} told, {quiet} quiet");
    assert!(told > 0, "{told} {quiet}");
}

#[test]
fn a_gap_no_longer_than_that_of_shuffled_kinds_is_told() {
    let settings = || modality_gap::Settings { draws: 5, ..modality_gap::Settings::default() };
    let gap = |settings, subject: &dyn Subject, data: &ManyCases| {
        ModalityGap::new(settings).unwrap().run(subject, data).unwrap()
    };
    assert_eq!(chance(&gap(settings(), opened("clip-a"), &pairs())), None);
    let tower = Some(site("connector.out"));
    let data = many(&Sample::prompt(vec![painted(3)], "#abc"));
    let settings = modality_gap::Settings { pictures: tower, words: tower, ..settings() };
    let found = gap(settings, &Toy::curved(3), &data);
    let own = chance(&found).expect("rows of one kind have no gap");
    assert_eq!(own.number, scalar(&found, "p"));
    assert_eq!(own.number, 1.0);
}

#[test]
fn where_no_head_stands_out_it_is_told() {
    let case = |texts: &[&str], picture: u32| {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Case::new(Sample::new(vec![painted(picture)], Words::Texts(texts)))
    };
    let of = |subject: &dyn Subject, case: &Case| {
        EmbeddingParts::new(embedding_parts::Settings::default()).unwrap().run(subject, case).unwrap()
    };
    // By hand, of two captions: what the heads add to one less what they add to the other, over what they add to a direction drawn by chance, as long as the two are apart.
    let largest = |found: &Finding, apart: f64| {
        let all = numbers(found, "heads against the others");
        let each =
            all.iter().zip(numbers(found, "random")).map(|(x, random)| f64::from(x.abs() / random) / apart);
        let n = numbers(found, "random").len();
        // no NaN: numbers of findings are finite
        (each.fold(0.0, f64::max), (2.0 * (n as f64).ln()).sqrt())
    };
    let clip = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let (mut fired, mut quiet) = (0, 0);
    for (name, subject) in [("clip-a", opened("clip-a")), ("shapes-clip", &clip as &dyn Subject)] {
        for picture in 0..4 {
            for texts in [["a red circle", "a blue circle"], ["a red circle", "a small blue square"]] {
                let case = case(&texts, picture);
                let found = of(subject, &case);
                let cosine = {
                    let inputs = subject.encode(&case.sample).unwrap();
                    let place = site("text.projected");
                    let trace = subject.run(&inputs, mmlens_core::Plan::new().read(place).unwrap()).unwrap();
                    let values = trace.get(place).unwrap().to_values().unwrap();
                    let rows = mmlens_engine::Matrix::of_floats(&values, values.len() / 2)
                        .unwrap()
                        .normalised()
                        .unwrap();
                    mmlens_engine::dot(rows.row(0), rows.row(1))
                };
                let (most, chance) = largest(&found, (2.0 - 2.0 * cosine).sqrt());
                let own = no_better(&found);
                println!("{name} {picture} {texts:?}: {most:.2} of {chance:.2}");
                assert_eq!(own.is_some(), most <= chance, "{most} {chance}");
                if let Some(own) = &own {
                    assert!(
                        (f64::from(own.number) - (most - chance)).abs() < 1e-3,
                        "{own:?} {most} {chance}"
                    );
                }
                if own.is_some() { fired += 1 } else { quiet += 1 }
            }
        }
    }
    println!("{fired} fired, {quiet} quiet");
    assert!(fired > 0 && quiet > 0, "{fired} {quiet}");
}

#[test]
fn texts_that_any_would_do_for_are_told() {
    let span = |subject: &dyn Subject, texts: &[&str], data: &ManyCases| {
        let settings = text_span::Settings {
            texts: WordList::Here(texts.iter().map(|text| (*text).to_owned()).collect()),
            count: 2,
            draws: 8,
            ..text_span::Settings::default()
        };
        TextSpan::new(settings).unwrap().run(subject, data).unwrap()
    };
    let data = ShapesConcepts::new(World::new(61), Split::Test, 40, Said::Caption);
    let data = ManyCases::over(data).unwrap();
    let clip = mmlens_zoo::shipped::shapes_clip(&mmlens_core::device::host()).unwrap();
    let list = [
        "a red circle",
        "a blue square",
        "a green triangle",
        "a white star",
        "a large ring",
        "a small cross",
    ];
    let found = span(&clip, &list, &data);
    let beaten = |found: &Finding| {
        let each =
            numbers(found, "variance explained").chunks(2).zip(numbers(found, "random texts").chunks(2));
        let each = each.zip(numbers(found, "random directions").chunks(2));
        each.filter(|((own, a), b)| (0..2).all(|at| own[at] - a[at].max(b[at]) < 0.01)).count() as f32 / 16.0
    };
    println!("of six texts: {:?}", chance(&found));
    assert_eq!(chance(&found).map_or(0.0, |own| own.number), beaten(&found));
    // Two texts that mean all but the same: either explains what the other does.
    let poor = span(&clip, &["a large ring", "a ring"], &data);
    let own = chance(&poor).expect("either would do");
    println!("of two: {own:?}");
    assert!(own.number > 0.0 && own.number == beaten(&poor), "{own:?}");
    assert!(beaten(&found) < beaten(&poor), "{} {}", beaten(&found), beaten(&poor));
}

/// By what was learned of a case and by a word: a caution where some random direction changes the objective as much, with its p.
#[test]
fn changes_that_any_direction_makes_are_told() {
    let check = |found: &Finding| {
        let own = numbers(found, "change")[0].abs();
        // no NaN: numbers of findings are finite
        let most = numbers(found, "random changes").iter().map(|change| change.abs()).fold(0.0, f32::max);
        let said = chance(found);
        let as_large = scalar(found, "p") > 1.5 / (1 + numbers(found, "random changes").len()) as f32;
        // Where nothing of the case points along it, that is told.
        let nothing = [CautionKind::NothingMoved, CautionKind::Rounding];
        if found.cautions().iter().any(|own| nothing.contains(&own.kind)) {
            assert_eq!(said, None, "{own} {most}");
            return None;
        }
        assert_eq!(said.is_some(), as_large, "{own} {most}");
        if let Some(said) = &said {
            assert_eq!(said.number, scalar(found, "p"), "{own} {most}");
        }
        Some(said.is_some())
    };
    let (mut away, mut erased) = ([0; 2], [0; 2]);
    for seed in 0..12_u64 {
        let toy = Toy::curved(seed);
        let case = about(Sample::prompt(vec![painted(seed as u32)], "#abc"), Objective::logit(3));
        let settings = project_away::Settings {
            phrase: "a".to_owned(),
            site: site("text.blocks.1.resid_post"),
            draws: 4,
            positions: Positions::All,
            ..project_away::Settings::default()
        };
        let told = check(&ProjectAway::new(settings).unwrap().run(&toy, &case).unwrap());
        told.into_iter().for_each(|told| away[usize::from(told)] += 1);
        let width = toy.sites().iter().find(|spec| spec.site == site("text.blocks.1.resid_post")).unwrap();
        let width = width.axes.last().unwrap().1.unwrap();
        let learned = Learned {
            site: site("text.blocks.1.resid_post"),
            directions: vec![direction(width, Seed(seed))],
            draws: 4,
            seed: Seed(seed + 1),
            ..Learned::default()
        };
        let told = check(&Erasure::new(learned).unwrap().run(&toy, &case).unwrap());
        told.into_iter().for_each(|told| erased[usize::from(told)] += 1);
    }
    println!("away: {away:?} quiet and told; erased: {erased:?}");
    assert!(away.iter().chain(&erased).all(|count| *count > 0), "{away:?} {erased:?}");
}

/// Concepts that take no more from the answer than rows that are moved as far by chance, and one that does.
#[test]
fn concepts_that_the_answer_need_not_rest_on_are_told() {
    let mut counts = [0; 2];
    for seed in 0..12_u64 {
        let toy = Toy::curved(seed);
        let place = "text.blocks.1.resid_post";
        let case = about(Sample::prompt(vec![painted(seed as u32)], "#abc"), Objective::logit(3));
        let width =
            super::held(&toy, &from_fn("one", 1, |_| Ok(Case::new(Sample::text("ab")))), 0, place)[0].len();
        let learned = concepts::Learned {
            site: site(place),
            positions: Positions::All,
            parts: vec![direction(width, Seed(seed))],
            mean: vec![0.0; width],
            // Of a single draw `random` is that draw.
            draws: 1,
            seed: Seed(seed + 7),
            ..concepts::Learned::default()
        };
        let found = concepts::ConceptBank::new(learned).unwrap().run(&toy, &case).unwrap();
        let apart = numbers(&found, "importance")[0].abs() - numbers(&found, "random")[0].abs();
        let own = no_better(&found);
        // Where a case holds nothing of it, or nothing reads it, that is told.
        if found.cautions().iter().any(|own| own.kind != CautionKind::NoBetter) {
            assert_eq!(own, None);
            continue;
        }
        assert_eq!(own.is_some(), apart <= 0.0, "{seed}: {apart}");
        if let Some(own) = &own {
            assert!((own.number - apart).abs() < 1e-6, "{own:?} {apart}");
        }
        counts[usize::from(own.is_some())] += 1;
    }
    println!("concepts: {counts:?} quiet and told");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// A dictionary that reads little has no feature stronger than directions drawn by chance; one that reads the case has.
#[test]
fn features_no_stronger_than_random_directions_are_told() {
    let toy = Toy::curved(1);
    let case = Case::new(Sample::text("adb"));
    let place = "text.blocks.1.resid_post";
    let rows = super::held(&toy, &from_fn("one", 1, |_| Ok(Case::new(Sample::text("adb")))), 0, place);
    let (width, features) = (rows[0].len(), 8);
    let found = |scale: f64| {
        // Feature `at` reads what the case holds at its position `at`.
        let read = |at: usize, i: usize| scale * rows.get(at).map_or(0.0, |row| row[i]);
        let encoder =
            (0..width).flat_map(|i| (0..features).map(move |at| (at, i))).map(|(at, i)| read(at, i));
        let tensors = [
            ("W_enc", vec![width, features], encoder.collect::<Vec<f64>>()),
            ("b_enc", vec![features], vec![0.0; features]),
            (
                "W_dec",
                vec![features, width],
                (0..features as u64).flat_map(|at| direction(width, Seed(at))).collect(),
            ),
            ("b_dec", vec![width], vec![0.0; width]),
        ];
        let tensors = tensors
            .map(|(name, shape, values)| (name.to_owned(), Doubles { shape, values }))
            .into_iter()
            .collect();
        let about =
            format!("{{\"site\":\"{place}\",\"positions\":\"all\",\"k\":2,\"model\":null,\"weights\":null}}");
        Autoencoder::of(Parts { tensors, about }).unwrap().run(&toy, &case).unwrap()
    };
    assert_eq!(no_better(&found(10.0)), None);
    let weak = found(1e-4);
    let own = no_better(&weak).expect("weaker than chance");
    let (top, chance) = (numbers(&weak, "largest")[0], numbers(&weak, "of random directions")[0]);
    assert!((own.number - (top - chance)).abs() < 1e-6 && own.number < 0.0, "{own:?}");
    // The axis says that they are features; their labels are numbers.
    let table = weak.table("largest").unwrap();
    assert!(table.axes()[0].label(0).unwrap().parse::<usize>().is_ok());
}

/// Texts whose vectors are all but that of the first picture, and a penalty that is all but none: the search for a code is given up, and it is told.
#[test]
fn a_code_that_was_given_up_is_told() {
    let clip = opened("clip-a");
    let near = super::held(clip, &from_fn("one", 1, |_| Ok(pair(0))), 0, "vision.projected").swap_remove(0);
    let length = near.iter().map(|x| x * x).sum::<f64>().sqrt();
    let edit = Alteration::named("text.projected", Region::all(), "near", move |x| {
        let own = x.to_values()?;
        let values = own.iter().zip(&near).map(|(x, near)| (near / length) as f32 + 1e-3 * x);
        x.filled(values.collect())
    });
    let altered = Altered::new(clip, [edit.unwrap()]).unwrap();
    let data = ManyCases::over(from_fn("paintings", 10, |i| Ok(pair(i as u32)))).unwrap();
    let (first, second) =
        (["red", "ring", "dog", "star"], ["a", "b", "cat", "two", "blue", "it", "big", "x"]);
    let texts: Vec<String> =
        first.iter().flat_map(|a| second.iter().map(move |b| format!("{a} {b}"))).collect();
    let run = |subject: &dyn Subject, l1: f64, centred: bool| {
        let settings = splice::Settings {
            texts: WordList::Here(texts.clone()),
            l1,
            path: Vec::new(),
            centred,
            ..splice::Settings::default()
        };
        Splice::new(settings).unwrap().run(subject, &data).unwrap().cautions()
    };
    let said = run(&altered, 1e-9, false);
    println!("{said:?}");
    let own = of_kind(&said, CautionKind::Gap).expect("the search was given up");
    assert!(own.number > 1e-9 && own.number < 1.0, "{own:?}");
    let sound = run(clip, 0.15, true);
    assert_eq!(of_kind(&sound, CautionKind::Gap), None, "{sound:?}");
}

fn pair(picture: u32) -> Case {
    Case::new(Sample::new(vec![painted(picture)], Words::Texts(vec!["ring".to_owned()])))
}
