//! Embeddings made of concepts, and concepts found in rows: against scikit-learn, against identities, against misuse.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Cases, Change, Examples, Fit, Fitted, Given, ManyCases,
    On, Outcome, Plan, Region, Sample, Seed, Subject, Unwatched, Words, from_fn,
};
use mmlens_engine::{Matrix, Positions, WordList, direction};
use mmlens_model::concepts::{By, ConceptBank, Learned, Negative};
use mmlens_model::{Concepts, Splice, concepts, splice};
use mmlens_testkit::{Oracle, Toy, analysis_breaches};

use crate::support::{captioned, numbers, opened, painted, scalar, site};

/// Pictures that depend on a number, each with a caption that plays no part.
fn paintings(count: usize) -> ManyCases {
    let words = || Words::Texts(vec!["ring".to_owned()]);
    let case = move |i: usize| Ok(Case::new(Sample::new(vec![painted(i as u32)], words())));
    ManyCases::over(from_fn("paintings", count, case)).unwrap()
}

fn spliced(name: &str, count: usize, settings: splice::Settings) -> Finding {
    Splice::new(settings).unwrap().run(opened(name), &paintings(count)).unwrap()
}

#[test]
fn codes_are_those_of_scikit_learn() {
    let oracle = Oracle::open("methods/splice").unwrap();
    let list: Vec<String> = serde_json::from_value(oracle.about()["texts"].clone()).unwrap();
    for name in ["clip-a", "siglip-a"] {
        let settings = splice::Settings {
            texts: WordList::Here(list.clone()),
            path: vec![0.05, 0.4],
            seed: Seed(3),
            top: 20,
            rows: 7,
            ..splice::Settings::default()
        };
        let found = Splice::new(settings).unwrap().run(opened(name), &paintings(12)).unwrap();
        let array = |what: &str| &oracle.array(&format!("{name}.{what}")).unwrap().values;
        // In the order of the list, from the order of the weights.
        let (named, weights) = (found.table("concepts").unwrap(), numbers(&found, "weights"));
        let mut dense = vec![0.0_f32; 12 * list.len()];
        for (at, (text, weight)) in named.as_texts().unwrap().iter().zip(weights).enumerate() {
            match list.iter().position(|own| own == text) {
                Some(own) => dense[at / 20 * list.len() + own] = *weight,
                None => assert_eq!((text.as_str(), *weight), ("", 0.0)),
            }
        }
        let gap = Tolerance::absolute(2e-5).check("weights", &dense, array("weights")).unwrap();
        println!("{name} weights {:.1e}", gap.absolute);
        let same = Tolerance::absolute(1e-5);
        same.check("cosine", numbers(&found, "cosine"), array("cosine")).unwrap();
        same.check("count", numbers(&found, "count"), array("count")).unwrap();
        same.check("path", numbers(&found, "path"), array("path")).unwrap();
        for pair in weights.chunks(20) {
            assert!(pair.windows(2).all(|own| own[0] >= own[1]), "{pair:?}");
        }
        assert!(found.cautions().iter().all(|caution| caution.kind == CautionKind::NoBetter));
        let used = numbers(&found, "mean weights");
        let mean: f64 = array("weights").iter().sum::<f64>() / 12.0;
        Tolerance::absolute(1e-4).check("mean", &[used.iter().sum::<f32>()], &[mean]).unwrap();
    }
}

/// A larger penalty is a smaller sum of weights; beyond the largest product nothing is left, and the mean alone is the picture.
#[test]
fn a_larger_penalty_uses_less() {
    let texts =
        || WordList::Here(["red", "blue", "a dog", "ring", "star", "two cats"].map(str::to_owned).to_vec());
    let of = |l1: f64| {
        spliced(
            "clip-a",
            12,
            splice::Settings { texts: texts(), l1, path: Vec::new(), ..splice::Settings::default() },
        )
    };
    let sums: Vec<f32> =
        [0.01, 0.1, 0.5, 1.0, 2.1].map(|l1| numbers(&of(l1), "mean weights").iter().sum()).to_vec();
    assert!(sums.windows(2).all(|pair| pair[0] > pair[1]) || sums[4] == 0.0, "{sums:?}");
    // No product of vectors of length one is above 1, so that at l1 = 2 none is worth its penalty.
    let none = of(2.1);
    assert!(numbers(&none, "weights").iter().all(|weight| *weight == 0.0));
    for row in numbers(&none, "cosine").chunks(3) {
        assert_eq!(row[0], row[1]);
    }
    let cautions = none.cautions();
    assert!(
        cautions.iter().any(|own| own.kind == CautionKind::NothingMoved && own.number == 12.0),
        "{cautions:?}"
    );
    assert!(cautions.iter().any(|own| own.kind == CautionKind::NoBetter), "{cautions:?}");
}

#[test]
fn what_cannot_be_coded_is_refused_by_name() {
    let texts = || WordList::Here(vec!["red".into(), "ring".into()]);
    let base = || splice::Settings { texts: texts(), path: Vec::new(), ..splice::Settings::default() };
    let made = |settings: splice::Settings| Splice::new(settings).unwrap_err().to_string();
    assert_eq!(
        made(splice::Settings { l1: 0.0, ..base() }),
        "splice: l1 = 0, but it must be a finite number above zero"
    );
    assert!(made(splice::Settings { path: vec![0.1, f64::NAN], ..base() }).starts_with("splice: path = NaN"));
    assert!(made(splice::Settings { top: 0, ..base() }).ends_with("at least 1"));
    let run = |settings: splice::Settings, data: &ManyCases| {
        Splice::new(settings).unwrap().run(opened("clip-a"), data).unwrap_err().to_string()
    };
    let one = WordList::Here(vec!["red".into()]);
    assert_eq!(
        run(splice::Settings { texts: one, ..base() }, &paintings(3)),
        "splice: texts = 1, but at least two texts"
    );
    assert_eq!(run(base(), &paintings(1)), "splice needs at least two cases, but there are 1");
    let same =
        ManyCases::over(from_fn("same", 4, |_| Ok(Case::new(captioned("square", &["ring"]))))).unwrap();
    assert_eq!(
        run(base(), &same),
        "splice needs vectors that differ from their mean, but the picture of case 0 does not"
    );
    let bare = splice::Settings { centred: false, ..base() };
    assert!(Splice::new(bare).unwrap().run(opened("clip-a"), &same).is_ok());
    let said = Splice::new(base()).unwrap().run(&Toy::curved(1), &same).unwrap_err().to_string();
    assert_eq!(
        said,
        "splice needs a space that pictures and captions share, but this one compares no pictures with captions"
    );
    let few = spliced("clip-a", 3, base()).cautions();
    assert!(few.iter().any(|own| own.kind == CautionKind::FewRows && own.number == 3.0), "{few:?}");
}

fn found(rows: &Examples, settings: concepts::Settings) -> Outcome<ConceptBank> {
    Concepts::new(settings).unwrap().fit(rows, Seed(6), &Unwatched).unwrap()
}

fn of_oracle(oracle: &Oracle, name: &str) -> Examples {
    let rows = oracle.array(name).unwrap().f32();
    let groups: Vec<u64> = oracle.array("groups").unwrap().ids().into_iter().map(u64::from).collect();
    let labels = vec![0; groups.len()];
    Examples::new("drawn", rows, vec!["row".to_owned()], labels).unwrap().grouped(groups).unwrap()
}

const KINDS: [(By, &str, &str); 3] =
    [(By::KMeans, "kmeans", "signed"), (By::Nmf, "nmf", "rows"), (By::SemiNmf, "semi-nmf", "signed")];

/// The same draws, the same starts, the same steps.
#[test]
fn parts_are_those_of_scikit_learn() {
    let oracle = Oracle::open("methods/concepts").unwrap();
    for (by, name, rows) in KINDS {
        let settings = concepts::Settings {
            by,
            count: 3,
            starts: 2,
            rounds: if by == By::KMeans { 300 } else { 40 },
            tolerance: 0.0,
            held_out: 0.25,
            draws: 2,
            ..concepts::Settings::default()
        };
        let concepts = Concepts::new(settings).unwrap();
        let Outcome { fitted, finding, .. } =
            concepts.fit(&of_oracle(&oracle, rows), Seed(6), &Unwatched).unwrap();
        let array = |what: &str| &oracle.array(&format!("{name}.{what}")).unwrap().values;
        let parts = Analysis::settings(&fitted).parts.concat();
        let gap = Tolerance::absolute(1e-7).check("parts", &parts, array("parts")).unwrap();
        println!("{name} parts {:.1e}", gap.absolute);
        let same = Tolerance::absolute(1e-6);
        same.check("share", numbers(&finding, "share"), array("share")).unwrap();
        same.check("error", numbers(&finding, "error"), array("error")).unwrap();
        same.check("training", numbers(&finding, "training error"), array("training")).unwrap();
        assert_eq!(numbers(&finding, "rows"), [36.0, 12.0, 6.0]);
        assert!(finding.cautions().is_empty(), "{:?}", finding.cautions());
    }
}

fn words(count: usize) -> impl Cases {
    let text =
        |i: usize| format!("{}{}{}", ["a", "c", "f"][i % 3], ["d", "e", "b"][i / 3 % 3], "b".repeat(i % 4));
    from_fn("words", count, move |i| Ok(Case::new(Sample::text(text(i)))))
}

const SITE: &str = "text.blocks.1.resid_post";

fn small(by: By) -> concepts::Settings {
    let negative = Negative::Clip;
    concepts::Settings { by, count: 2, site: site(SITE), negative, draws: 2, ..concepts::Settings::default() }
}

fn learned(toy: &Toy, by: By) -> Outcome<ConceptBank> {
    Concepts::new(small(by)).unwrap().learn(&On::new(toy), &words(12), Seed(2)).unwrap()
}

/// What is taken off is what the concept gives; what the answer loses is that of a pass with the rows set by hand.
#[test]
fn importance_is_that_of_the_edit() {
    let toy = Toy::curved(4);
    let case = crate::support::about(Sample::text("cdb"), mmlens_core::Objective::logit(3));
    for (by, ..) in KINDS {
        let bank = learned(&toy, by).fitted;
        let Learned { parts, mean, .. } = Analysis::settings(&bank);
        let found = bank.run(&toy, &case).unwrap();
        let inputs = toy.encode(&case.sample).unwrap();
        let plan = || Plan::new().objective(mmlens_core::Objective::logit(3));
        let trace = toy.run(&inputs, plan().read(SITE).unwrap()).unwrap();
        let (whole, value) = (trace.scores().unwrap()[0], trace.get(site(SITE)).unwrap().clone());
        let rows = Matrix::of_floats(&value.to_values().unwrap(), mean.len()).unwrap();
        let activations = bank.activations(&rows).unwrap();
        for concept in 0..2 {
            let mut set = Vec::new();
            for (row, own) in rows.rows().zip(activations.rows()) {
                let nearest = own[concept] >= own[1 - concept];
                let off = |at: usize| match by {
                    By::KMeans if nearest => parts[concept][at] - mean[at],
                    By::KMeans => 0.0,
                    _ => own[concept] * parts[concept][at],
                };
                set.extend(row.iter().enumerate().map(|(at, x)| (x - off(at)) as f32));
            }
            let edited = plan().set(SITE, value.filled(set).unwrap()).unwrap();
            let without = toy.run(&inputs, edited).unwrap().scores().unwrap()[0];
            let own = numbers(&found, "importance")[concept];
            assert!((own - (whole - without)).abs() < 1e-5, "{by:?} {concept}: {own} {whole} {without}");
        }
        assert!((scalar(&found, "objective") - whole).abs() < 1e-6);
        assert_eq!(found.table("activations").unwrap().shape(), [inputs.positions(), 2]);
        assert!(numbers(&found, "random").iter().any(|lost| *lost != 0.0));
    }
}

#[test]
fn a_bank_of_concepts_is_a_method_of_cases() {
    let toy = Toy::curved(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("concepts.safetensors");
    for (by, ..) in KINDS {
        let Outcome { fitted, finding, ended } = learned(&toy, by);
        let given = Given::new(Case::new(Sample::prompt(vec![painted(1)], "#cdb"))).unwrap();
        let probe = toy.encode(&given.case.sample).unwrap();
        let breaches = analysis_breaches(&fitted, &toy, &given, &probe);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        assert_eq!(finding.provenance.settings["ended"], serde_json::to_value(ended).unwrap());
        // The same seed, the same bits; another, others.
        assert_eq!(learned(&toy, by).finding, finding);
        fitted.save(&path).unwrap();
        let read = ConceptBank::load(&path).unwrap();
        assert_eq!(Analysis::settings(&read), Analysis::settings(&fitted));
        let case = Case::new(Sample::text("cdb"));
        assert_eq!(read.run(&toy, &case).unwrap(), fitted.run(&toy, &case).unwrap());
        // Without draws it tells activations alone.
        let bare = Learned { draws: 0, ..Analysis::settings(&fitted).clone() };
        let bare = ConceptBank::new(bare).unwrap();
        assert!(bare.run(&toy, &case).unwrap().table("importance").is_err());
        assert_eq!(analysis_breaches(&bare, &toy, &given, &probe), Vec::<String>::new());
        // Exemplars are rows with most of their concept, told by case and place.
        let table = finding.table("exemplars").unwrap();
        assert_eq!(table.shape(), [2, 5]);
        let first = table.get_text(&[0, 0]).unwrap();
        assert!(first.starts_with("case ") && first.contains('`'), "{first}");
    }
}

/// A vector added to the first row of patches of every picture, behind a block of the tower: five directions, three lengths. One of two means is those patches and no others.
#[test]
fn a_planted_pattern_is_a_concept() {
    let clip = mmlens_zoo::shipped::shapes_clip(&Device::default()).unwrap();
    let place = "vision.blocks.2.resid_post";
    for seed in 0..5_u64 {
        for times in [100.0, 300.0, 1000.0] {
            let drawn = direction(96, Seed(seed)).into_iter().map(|x| (times * x) as f32).collect();
            let vector = AnyTensor::from_values(drawn, &[1, 1, 96], &Device::default()).unwrap();
            let region = Region::all().positions(1..9);
            let edit = Alteration::new(place, region, Change::Add(vector)).unwrap();
            let altered = Altered::new(&clip, [edit]).unwrap();
            let settings = concepts::Settings {
                by: By::KMeans,
                count: 2,
                site: site(place),
                exemplars: 3,
                ..concepts::Settings::default()
            };
            let data = paintings(8);
            let learned =
                Concepts::new(settings).unwrap().learn(&On::new(&altered), data.data(), Seed(seed)).unwrap();
            let shares = numbers(&learned.finding, "share");
            // 8 of 64 patches and a class token.
            let planted = shares.iter().position(|share| (share - 8.0 / 65.0).abs() < 1e-6);
            let planted = planted.unwrap_or_else(|| panic!("seed {seed}, {times}: {shares:?}"));
            for rank in 0..3 {
                let at = |what: usize| {
                    learned.finding.table("exemplar places").unwrap().get(&[planted, rank, what]).unwrap()
                };
                assert_eq!(at(3), 0.0, "the box begins at the top");
            }
            let [own, random, _] = numbers(&learned.finding, "error")[..] else { panic!() };
            assert!(own < random);
        }
    }
}

#[test]
fn what_holds_no_concepts_is_refused_by_name() {
    let toy = Toy::curved(1);
    let made = |settings: concepts::Settings| Concepts::new(settings).unwrap_err().to_string();
    let base = || small(By::Nmf);
    assert_eq!(
        made(concepts::Settings { count: 0, ..base() }),
        "concepts: count = 0, but it must be at least 1"
    );
    assert!(
        made(concepts::Settings { tolerance: f64::NAN, ..base() }).starts_with("concepts: tolerance = NaN")
    );
    assert!(made(concepts::Settings { held_out: 1.0, ..base() }).ends_with("between 0 and 1"));
    let learn = |settings: concepts::Settings, data: &dyn Cases| {
        Concepts::new(settings).unwrap().learn(&On::new(&toy), data, Seed(1)).unwrap_err().to_string()
    };
    let refused = learn(concepts::Settings { negative: Negative::Refuse, ..base() }, &words(12));
    assert!(
        refused.starts_with("concepts needs numbers that are not negative, but ")
            && refused.ends_with("`by` = \"semi-nmf\""),
        "{refused}"
    );
    let clipped = learned(&toy, By::Nmf).finding.cautions();
    assert!(clipped.iter().any(|own| own.kind == CautionKind::Other && own.number > 0.0), "{clipped:?}");
    let many = learn(concepts::Settings { count: 999, ..base() }, &words(12));
    assert!(
        many.starts_with("concepts needs at least as many rows to learn from as concepts, but there are"),
        "{many}"
    );
    assert_eq!(learn(base(), &words(1)), "concepts needs at least two groups, but there is one");
    let same = from_fn("same", 4, |_| Ok(Case::new(Sample::text("a"))));
    let alike = learn(concepts::Settings { by: By::KMeans, positions: Positions::Last, ..base() }, &same);
    assert_eq!(alike, "concepts needs rows that differ, but they are all alike");
    let none = ConceptBank::new(Learned::default()).unwrap_err().to_string();
    assert_eq!(none, "concepts: parts = none, but there must be one: concepts have to be learned");
    let bank = learned(&toy, By::SemiNmf).fitted;
    let said = bank.activations(&Matrix::zeros(1, 2)).unwrap_err().to_string();
    assert!(
        said.starts_with("concepts needs rows of the length of its parts, but 2, where parts have"),
        "{said}"
    );
    // Rows of two kinds and no others: as many random rows miss nothing, either.
    let values = (0..40).flat_map(|i| [f32::from(u8::from(i % 2 == 0)), 3.0]).collect();
    let two = Examples::new("two", values, vec!["row".to_owned()], vec![0; 40]).unwrap();
    let poor = found(&two, concepts::Settings { by: By::KMeans, count: 20, ..concepts::Settings::default() });
    let poor = poor.finding.cautions();
    assert!(poor.iter().any(|own| own.kind == CautionKind::NoBetter), "{poor:?}");
}
