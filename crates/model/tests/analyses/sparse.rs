//! Sparse autoencoders: against PyTorch, against what was planted, against misuse.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Cases, Change, Examples, Fit, Fitted, On, Region, Rows,
    Sample, Seed, Source, Subject, Unwatched, Watch, from_fn,
};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_engine::{MannWhitney, Positions, Ranked, gathered, normal};
use mmlens_model::SparseAutoencoder;
use mmlens_model::sparse_autoencoder::{Autoencoder, Settings};
use mmlens_testkit::{Oracle, Toy};

use crate::support::{numbers, site};

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

fn rows_of(oracle: &Oracle) -> Examples {
    let rows = oracle.array("rows").unwrap().f32();
    let groups: Vec<u64> = oracle.array("groups").unwrap().ids().into_iter().map(u64::from).collect();
    let labels = vec![0; groups.len()];
    Examples::new("drawn", rows, vec!["any".to_owned()], labels).unwrap().grouped(groups).unwrap()
}

fn settings_of(oracle: &Oracle) -> (Settings, Seed) {
    let number = |name: &str| oracle.about()[name].as_f64().unwrap();
    let count = |name: &str| number(name) as usize;
    let settings = Settings {
        features: Some(count("features")),
        k: count("k"),
        rate: Some(number("rate")),
        // With one feature a row what is missed is orthogonal to it at the first step, and the gradient is nothing but rounding, of which Adam takes the sign.
        growing: 0.0,
        batch: count("batch"),
        auxiliary: number("auxiliary"),
        dead_after: Some(number("dead_after") as u64),
        passes: count("passes"),
        tolerance: 1e-12,
        held_out: number("held_out"),
        ..Settings::default()
    };
    (settings, Seed(number("seed") as u64))
}

/// Gradients by hand are those of PyTorch, dead features and all, step by step to the same dictionary.
#[test]
fn it_learns_what_pytorch_learns() {
    let oracle = Oracle::open("methods/sparse-autoencoder").unwrap();
    let (settings, seed) = settings_of(&oracle);
    let fit = SparseAutoencoder::new(settings).unwrap();
    let found = fit.fit(&rows_of(&oracle), seed, &Unwatched).unwrap();
    let array = |name: &str| &oracle.array(name).unwrap().values;
    let own = found.fitted.dictionary().weights();
    // Adam divides by the size of a gradient: where that is small, rounding of 1e-7 of it grows with the steps.
    let close = Tolerance::absolute(2e-4);
    for (name, values) in [
        ("W_enc", &own.encoder),
        ("b_enc", &own.encoder_bias),
        ("W_dec", &own.decoder),
        ("b_dec", &own.decoder_bias),
    ] {
        let gap = close.check(name, &wide(values), array(name)).unwrap();
        println!("{name}: {:.1e}", gap.absolute);
    }
    for (table, name) in [("unexplained variance", "unexplained"), ("unexplained variance by pass", "passes")]
    {
        let gap = close.check(table, &wide(numbers(&found.finding, table)), array(name)).unwrap();
        println!("{table}: {:.1e}", gap.absolute);
    }
    Tolerance::absolute(1e-6)
        .check("density", &wide(numbers(&found.finding, "density")), array("density"))
        .unwrap();
    let dead = array("density").iter().filter(|share| **share == 0.0).count() as f64 / 20.0;
    assert!((f64::from(numbers(&found.finding, "dead features")[0]) - dead).abs() < 1e-6);
    assert!((f64::from(numbers(&found.finding, "active features")[0]) - array("active")[0]).abs() < 1e-6);
}

/// Breaks off after so many steps.
struct After(AtomicUsize);

impl Watch for After {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        match self.0.fetch_sub(1, Ordering::SeqCst) {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn words(count: usize) -> impl Cases {
    from_fn("words", count, |i| {
        Ok(Case::new(Sample::text(format!(
            "{}{}{}",
            ["a", "c"][i % 2],
            ["d", "e", "f", "g"][i % 4],
            "b".repeat(i % 3)
        ))))
    })
}

/// Cut off at any step, it goes on to the same bits.
#[test]
fn what_was_cut_off_goes_on_to_the_same_bits() {
    let toy = Toy::curved(1);
    let settings = Settings { k: 2, batch: 8, passes: 5, tolerance: 1e-9, ..Settings::default() };
    let fit = SparseAutoencoder::new(settings).unwrap();
    let data = words(40);
    let folder = tempfile::tempdir().unwrap();
    let whole = fit.learn(&On::new(&toy), &data, Seed(4)).unwrap();
    let bytes = |found: &Autoencoder| found.to_bytes().unwrap();
    // At every step of a pass of 14, behind its last among them.
    for cut in (41..57).chain([60, 75]) {
        let file = folder.path().join(cut.to_string());
        let watch = After(AtomicUsize::new(cut));
        let on = On::new(&toy).watched(&watch);
        let broken =
            fit.learn_from(&Source::Cases(&on, &data), Seed(4), Some(&file)).unwrap_err().to_string();
        assert!(broken.contains("was cancelled after"), "{broken}");
        assert!(file.exists(), "{cut}");
        // Twice, and of another seed it begins anew.
        let again = After(AtomicUsize::new(cut + 5));
        let on = On::new(&toy).watched(&again);
        let _ = fit.learn_from(&Source::Cases(&on, &data), Seed(4), Some(&file));
        let on = On::new(&toy);
        let found = fit.learn_from(&Source::Cases(&on, &data), Seed(4), Some(&file)).unwrap();
        assert!(bytes(&found.fitted) == bytes(&whole.fitted), "{cut}");
        assert_eq!(found.finding.differences(&whole.finding), []);
        let other = fit.learn_from(&Source::Cases(&on, &data), Seed(5), Some(&file)).unwrap();
        assert!(bytes(&other.fitted) == bytes(&fit.learn(&on, &data, Seed(5)).unwrap().fitted));
    }
}

#[test]
fn what_is_saved_reads_back_and_lists_features() {
    let toy = Toy::curved(1);
    let on = On::new(&toy);
    let settings =
        Settings { k: 2, passes: 3, site: site("text.blocks.1.resid_post"), ..Settings::default() };
    let found = SparseAutoencoder::new(settings).unwrap().learn(&on, &words(40), Seed(4)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sae.safetensors");
    found.fitted.save(&file).unwrap();
    let read = Autoencoder::load(&file).unwrap();
    assert!(**read.dictionary() == **found.fitted.dictionary());
    let case = Case::new(Sample::text("adb"));
    let (listed, again) = (found.fitted.run(&toy, &case).unwrap(), read.run(&toy, &case).unwrap());
    assert_eq!(listed.differences(&again), []);
    // Against the features themselves.
    let held = mmlens_engine::rows_of(
        (&on, "test"),
        &toy.encode(&case.sample).unwrap(),
        site("text.blocks.1.resid_post"),
        &Positions::All,
    )
    .unwrap();
    let features = read.dictionary().features();
    let data = burn::tensor::TensorData::new(held.values.clone(), [3, held.width]);
    let values = AnyTensor::new(
        read.dictionary().encode(burn::tensor::Tensor::from_data(data, &Device::default())).unwrap(),
    )
    .to_values()
    .unwrap();
    let table = listed.table("activations").unwrap();
    let names: Vec<usize> =
        (0..table.axes()[0].len()).map(|at| table.axes()[0].label(at).unwrap().parse().unwrap()).collect();
    let own: Vec<f32> = names
        .iter()
        .flat_map(|of| (0..3).map(move |row| (row, *of)))
        .map(|(row, of)| values[row * features + of])
        .collect();
    assert_eq!(table.as_numbers().unwrap(), own);
    let largest = numbers(&listed, "largest");
    assert!(largest.windows(2).all(|pair| pair[0] >= pair[1]) && largest[0] > 0.0);
    assert_eq!(
        numbers(&listed, "active features").iter().sum::<f32>() as usize,
        values.iter().filter(|x| **x > 0.0).count()
    );
    assert!(
        Autoencoder::new(Default::default())
            .unwrap_err()
            .to_string()
            .contains("it has to be learned, or loaded")
    );
    // Of a model with logits what is lost is told too.
    let loss = numbers(&found.finding, "loss");
    assert!(loss[2] > 0.0 && loss.iter().all(|x| *x >= -1e-6), "{loss:?}");
    let share = numbers(&found.finding, "loss recovered")[0];
    assert!((share - (1.0 - loss[0] / loss[2])).abs() < 1e-5);
}

/// Rows that few directions make up are explained by these; where rows have none, it says that it is no better.
#[test]
fn cautions_come_and_stay_away() {
    let rows = |sparse: bool| {
        let (count, width, parts) = (600_usize, 12_usize, 24_usize);
        let direction = |part: usize, at: usize| normal(Seed(9).at(part as u64).at(at as u64));
        let value = |row: usize, at: usize| -> f32 {
            let draws = Seed(7).at(row as u64);
            if !sparse {
                return normal(draws.at(at as u64)) as f32;
            }
            let part = |turn: u64| (draws.at(turn).unit() * parts as f32) as usize;
            ((0..2).map(|turn| direction(part(turn), at)).sum::<f64>()) as f32
        };
        let values = (0..count).flat_map(|row| (0..width).map(move |at| value(row, at))).collect();
        Examples::new("drawn", values, vec!["any".to_owned()], vec![0; count]).unwrap()
    };
    let kinds = |rows: &Examples, settings: Settings| {
        let found = SparseAutoencoder::new(settings).unwrap().fit(rows, Seed(1), &Unwatched).unwrap();
        println!("{}: {:?}", found.ended, numbers(&found.finding, "unexplained variance"));
        (
            found.finding.cautions().iter().map(|caution| caution.kind).collect::<Vec<_>>(),
            found.ended.converged(),
        )
    };
    let settings = Settings {
        features: Some(48),
        k: 2,
        batch: 64,
        rate: Some(0.01),
        passes: 100,
        tolerance: 0.01,
        ..Settings::default()
    };
    let (sound, converged) = kinds(&rows(true), settings.clone());
    assert!(
        converged && !sound.contains(&CautionKind::NoBetter) && !sound.contains(&CautionKind::NotConverged),
        "{sound:?}"
    );
    let (short, _) = kinds(&rows(true), Settings { passes: 1, ..settings.clone() });
    assert!(short.contains(&CautionKind::NotConverged), "{short:?}");
    // Noise in twelve directions, of which eight principal components hold two thirds.
    let (noise, _) = kinds(&rows(false), Settings { k: 8, passes: 2, rate: Some(1e-5), ..settings.clone() });
    assert!(noise.contains(&CautionKind::NoBetter), "{noise:?}");
    // Far more features than rows could ever use.
    let (dead, _) =
        kinds(&rows(true), Settings { features: Some(600), auxiliary: 0.0, passes: 1, ..settings });
    assert!(dead.contains(&CautionKind::DeadFeatures), "{dead:?}");
}

/// Directions planted in the shipped model, at positions drawn at random, so that nothing else goes along with them: five seeds, three strengths in units of the
/// root mean square of the length of a row. Each is one of the features, which tells where it was planted.
#[test]
fn a_planted_direction_is_a_feature() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let data = ShapesCases::new(World::new(3), Split::Test, Kind::Colour, 24);
    let place = site("text.blocks.1.resid_post");
    let bare = gathered((&On::new(&subject), "test"), &data, place, &Positions::All).unwrap();
    let (width, count) = (bare.width(), bare.len());
    let values = bare.read(&(0..count).collect::<Vec<usize>>()).unwrap();
    let squares: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
    let size = (squares / count as f64).sqrt();
    let settings =
        Settings { site: place, features: Some(128), k: 8, batch: 128, passes: 20, ..Settings::default() };
    let fit = SparseAutoencoder::new(settings).unwrap();
    let learned = |values: Vec<f32>, seed: u64| {
        let rows = Examples::new("planted", values, vec!["any".to_owned()], vec![0; count]).unwrap();
        fit.fit(&rows.grouped(bare.groups().unwrap()).unwrap(), Seed(seed), &Unwatched).unwrap().fitted
    };
    let (mut compared, unplanted) = (0, learned(values.clone(), 0));
    for seed in 0..5 {
        let drawn: Vec<f64> = (0..width).map(|at| normal(Seed(100 + seed).at(at as u64))).collect();
        let norm = drawn.iter().map(|x| x * x).sum::<f64>().sqrt();
        let direction: Vec<f32> = drawn.iter().map(|x| (x / norm) as f32).collect();
        let nearest = |found: &Autoencoder| {
            let decoder = &found.dictionary().weights().decoder;
            let cosine = |row: &[f32]| row.iter().zip(&direction).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let each: Vec<f64> = decoder.chunks_exact(width).map(cosine).collect();
            let at = mmlens_core::finding::top(&each).unwrap().unwrap();
            (at, each[at])
        };
        let planted: Vec<bool> =
            (0..count).map(|row| Seed(200 + seed).at(row as u64).unit() < 0.08).collect();
        for strength in [0.25, 0.5, 1.0] {
            let push: Vec<f32> = direction.iter().map(|x| (strength * size) as f32 * x).collect();
            let mut rows = values.clone();
            for (row, _) in rows.chunks_exact_mut(width).zip(&planted).filter(|(_, planted)| **planted) {
                row.iter_mut().zip(&push).for_each(|(x, push)| *x += push);
            }
            let found = learned(rows.clone(), seed);
            let (feature, cosine) = nearest(&found);
            let rows = burn::tensor::Tensor::from_data(
                burn::tensor::TensorData::new(rows, [count, width]),
                &Device::default(),
            );
            let active = AnyTensor::new(found.dictionary().encode(rows).unwrap()).to_values().unwrap();
            let active: Vec<f32> = active.into_iter().skip(feature).step_by(128).collect();
            let own = planted.iter().filter(|planted| **planted).count();
            let auroc = MannWhitney::new(own, count - own).u(&Ranked::of(&active), &planted)
                / (own * (count - own)) as f64;
            println!(
                "seed {seed}, strength {strength}: feature {feature}, cosine {cosine:.3}, auroc {auroc:.3}"
            );
            assert!(cosine > 0.85 && auroc > 0.95, "seed {seed}, strength {strength}: {cosine} {auroc}");
            compared += 1;
            if strength == 0.5 && seed == 0 {
                // The same in the model itself, and seen in a case.
                let here: Vec<usize> =
                    (0..count).filter(|row| bare.cases()[*row] == 0 && planted[*row]).collect();
                assert!(here.len() > 1, "{here:?}");
                let value = AnyTensor::from_values(push, &[1, 1, width], &Device::default()).unwrap();
                let region = Region::all().positions(here.iter().copied());
                let alteration = Alteration::new(place, region, Change::Add(value)).unwrap();
                let altered = Altered::new(&subject, [alteration]).unwrap();
                let listed = found.run(&altered, &data.case(0).unwrap()).unwrap();
                let table = listed.table("activations").unwrap();
                let row = (0..table.axes()[0].len())
                    .find(|at| table.axes()[0].label(*at).unwrap() == feature.to_string())
                    .expect("it is among the strongest");
                let length = table.axes()[1].len();
                let activations = &table.as_numbers().unwrap()[row * length..(row + 1) * length];
                let (there, elsewhere): (Vec<usize>, Vec<usize>) =
                    (0..length).partition(|at| here.contains(at));
                let mean =
                    |of: Vec<usize>| of.iter().map(|at| activations[*at]).sum::<f32>() / of.len() as f32;
                let (there, elsewhere) = (mean(there), mean(elsewhere));
                assert!(there > 4.0 * elsewhere, "{there} {elsewhere}");
            }
        }
        let (_, cosine) = nearest(&unplanted);
        println!("seed {seed}, nothing planted: cosine {cosine:.3}");
        assert!(cosine < 0.5, "seed {seed}: {cosine}");
    }
    assert_eq!(compared, 15);
}

/// How many features are active follows from the step alone: two settings that say the same for every step learn the same, to the last bit.
#[test]
fn active_features_grow_evenly_from_one() {
    let oracle = Oracle::open("methods/sparse-autoencoder").unwrap();
    let (settings, seed) = settings_of(&oracle);
    let learned = |k: usize, growing: f64, passes: usize| {
        let settings = Settings { k, growing, passes, batch: 60, ..settings.clone() };
        let found =
            SparseAutoencoder::new(settings).unwrap().fit(&rows_of(&oracle), seed, &Unwatched).unwrap();
        found.fitted.dictionary().weights().clone()
    };
    // A pass is a step. Five over four steps: 1 + 4 step / 4 = 1, 2, 3, 4. Four over three, and then four: 1 + 3 step / 3 = 1, 2, 3, and 4.
    let one = learned(5, 1.0, 4);
    assert!(one == learned(4, 0.75, 4));
    assert!(one != learned(4, 0.0, 4) && one != learned(5, 0.0, 4));
    // The first step has one, of however many.
    assert!(learned(5, 1.0, 1) == learned(1, 0.0, 1));
}

/// In other units of the rows the same directions are found, and biases in these units.
#[test]
fn units_of_rows_decide_nothing() {
    let oracle = Oracle::open("methods/sparse-autoencoder").unwrap();
    let (settings, seed) = settings_of(&oracle);
    let fit = SparseAutoencoder::new(settings).unwrap();
    let scaled = |by: f32| {
        let rows = oracle.array("rows").unwrap().f32().iter().map(|x| x * by).collect();
        let groups: Vec<u64> = oracle.array("groups").unwrap().ids().into_iter().map(u64::from).collect();
        let labels = vec![0; groups.len()];
        let rows =
            Examples::new("drawn", rows, vec!["any".to_owned()], labels).unwrap().grouped(groups).unwrap();
        fit.fit(&rows, seed, &Unwatched).unwrap().fitted.dictionary().weights().clone()
    };
    // A power of two rounds nothing.
    let (one, other) = (scaled(1.0), scaled(64.0));
    assert!(one.encoder == other.encoder && one.decoder == other.decoder);
    let larger = |values: &[f32]| values.iter().map(|x| x * 64.0).collect::<Vec<f32>>();
    assert!(
        larger(&one.encoder_bias) == other.encoder_bias && larger(&one.decoder_bias) == other.decoder_bias
    );
    assert!(one.encoder_bias.iter().any(|bias| *bias != 0.0));
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: Settings| SparseAutoencoder::new(settings).unwrap_err().to_string();
    let base = Settings::default;
    assert!(said(Settings { k: 0, ..base() }).ends_with("k = 0, but it must be at least 1"));
    assert!(said(Settings { features: Some(3), ..base() }).ends_with("there must be `k` at least"));
    assert!(
        said(Settings { rate: Some(f64::NAN), ..base() }).ends_with("it must be a finite number above zero")
    );
    assert!(
        said(Settings { auxiliary: -1.0, ..base() }).ends_with("it must be a finite number, not below zero")
    );
    assert!(
        said(Settings { growing: 1.5, ..base() }).ends_with("growing = 1.5, but it must lie between 0 and 1")
    );
    assert!(said(Settings { held_out: 0.0, ..base() }).ends_with("it must lie between 0 and 1"));
    let toy = Toy::curved(1);
    let learn = |settings: Settings, data: &dyn Cases| {
        SparseAutoencoder::new(settings)
            .unwrap()
            .learn(&On::new(&toy), data, Seed(1))
            .unwrap_err()
            .to_string()
    };
    let same = from_fn("same", 4, |_| Ok(Case::new(Sample::text("a"))));
    let last = Settings { positions: Positions::Last, k: 2, ..base() };
    assert_eq!(
        learn(last.clone(), &same),
        "sparse-autoencoder needs rows that differ, but their variance is 0"
    );
    assert!(learn(last.clone(), &words(1)).ends_with("needs at least two groups, but there is one"));
    let wild = Settings { rate: Some(1e30), ..last };
    assert!(learn(wild, &words(20)).contains("a search that stays finite"), "");
    let nowhere = Settings { site: site("text.blocks.9.resid_post"), ..base() };
    assert!(learn(nowhere, &words(4)).contains("text.blocks.9.resid_post"));
}
