//! Identities of shares of parts, and of shaken methods.

use mmlens_core::finding::Caution;
use mmlens_core::{Analysis, Baseline, Plan, Seed, Subject};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::kernel_shap::{self, KernelShap};
use mmlens_model::occlusion::{self, Cover, Each, Occlusion};
use mmlens_model::smooth_grad::{self, SmoothGrad};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{largest, numbers, scalar, total};

proptest! {
    #![proptest_config(few())]

    /// Enumerated and drawn.
    #[test]
    fn shares_of_parts_add_up(seed in 0..99_u64, samples in prop::sample::select(vec![40_usize, 300])) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 5));
        let picture = Some(Cover::Grid { rows: 2, cols: 3 });
        let settings = kernel_shap::Settings { picture, each: Each::Token, samples, ..Default::default() };
        let found = KernelShap::new(settings).unwrap().run(&toy, &case).unwrap();
        let shares = [numbers(&found, "picture"), numbers(&found, "tokens")].concat();
        let change = f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective of nothing"));
        let allowed = 1e-5 * largest(&shares).max(f64::from(scalar(&found, "objective").abs()));
        prop_assert!((total(&shares) - change).abs() < allowed, "{} and {change}", total(&shares));
        let gap = f64::from(scalar(&found, "efficiency gap"));
        prop_assert!((gap - (total(&shares) - change)).abs() < allowed);
        let (inputs, objective) = case.open(&toy).unwrap();
        let whole = toy.run(&inputs, Plan::new().objective(objective)).unwrap().scores().unwrap()[0];
        prop_assert!(f64::from((whole - scalar(&found, "objective")).abs()) < allowed);
        let magnitude = |table| numbers(&found, table).iter().map(|share| f64::from(share.abs())).sum::<f64>();
        let of_all = magnitude("picture") / (magnitude("picture") + magnitude("tokens"));
        let modalities = numbers(&found, "by modality");
        prop_assert!((f64::from(modalities[0]) - of_all).abs() < 1e-5 && (modalities[0] + modalities[1] - 1.0).abs() < 1e-5);
        prop_assert_eq!(found.provenance.seed.is_some(), samples == 40);
        let errors = largest(numbers(&found, "picture error"));
        prop_assert_eq!(errors > 0.0, samples == 40, "{}", errors);
    }

    /// To the last bit, and the deviation is zero.
    #[test]
    fn without_noise_the_method_inside_is_left(seed in 0..99_u64, samples in 1..5_usize) {
        let (toy, case) = (Toy::curved(seed), asked(seed as u32, "abc", 5));
        let with = serde_json::json!({ "steps": 3, "rows": 2 });
        let inside: integrated_gradients::Settings = serde_json::from_value(with.clone()).unwrap();
        let alone = IntegratedGradients::new(inside).unwrap().run(&toy, &case).unwrap();
        let with = with.as_object().unwrap().clone();
        let settings = smooth_grad::Settings { with, samples, noise: 0.0, ..Default::default() };
        let found = SmoothGrad::new(settings).unwrap().run(&toy, &case).unwrap();
        let tables: Vec<_> = alone.tables().iter().filter(|table| !Caution::is_table(table.name())).collect();
        for table in &tables {
            prop_assert_eq!(found.table(table.name()).unwrap(), *table);
            let deviation = numbers(&found, &format!("{} deviation", table.name()));
            prop_assert!(deviation.iter().all(|value| *value == 0.0), "{}", table.name());
        }
        // Every sample is warned of as the method inside warns.
        let warned = alone.cautions().first().map(|first| format!("{samples} of {samples} samples, the first: {first}"));
        let said: Vec<String> = found.cautions().into_iter().map(|caution| caution.text).collect();
        prop_assert_eq!(said, warned.iter().cloned().collect::<Vec<_>>());
        prop_assert_eq!(found.tables().len(), 2 * tables.len() + 1 + 3 * usize::from(warned.is_some()));
    }

    /// Of an affine subject every contribution moves with its noise: their sum is what the objective gained in the mean.
    #[test]
    fn shaken_contributions_are_complete(seed in 0..99_u64, noise in 0.01..0.5_f64) {
        let (toy, case) = (Toy::straight(seed), asked(seed as u32, "ab", 5));
        let with = serde_json::json!({ "along": [{ "site": "vision.pixels", "baseline": "zero" }], "steps": 1, "rows": 1 });
        let with = with.as_object().unwrap().clone();
        let settings = smooth_grad::Settings { with, samples: 3, noise, seed: Seed(seed), ..Default::default() };
        let found = SmoothGrad::new(settings).unwrap().run(&toy, &case).unwrap();
        let change = f64::from(scalar(&found, "objective")) - f64::from(scalar(&found, "objective at baseline"));
        let sum = total(numbers(&found, "vision.pixels"));
        let size = largest(numbers(&found, "objective")).max(change.abs());
        prop_assert!((sum - change).abs() < 1e-4 + 1e-5 * size, "{sum} {change}");
        prop_assert!(largest(numbers(&found, "vision.pixels deviation")) > 0.0);
        let (inputs, _) = case.open(&toy).unwrap();
        let pixels = inputs.seen.values.clone().unwrap().to_values().unwrap();
        let mut sorted = pixels;
        sorted.sort_by(f32::total_cmp);
        let range = sorted[sorted.len() - 1] - sorted[0];
        prop_assert!((f64::from(scalar(&found, "sigma")) - noise * f64::from(range)).abs() < 1e-5 * f64::from(range));
    }

    /// Where parts are replaced by what stands there, they have no share, and words have what they have by themselves.
    #[test]
    fn a_part_that_changes_nothing_has_no_share(seed in 0..99_u64) {
        let (toy, case) = (Toy::curved(seed), asked(4, "abc", 6));
        let (inputs, _) = case.open(&toy).unwrap();
        let pixels = Baseline::Given(inputs.seen.values.clone().unwrap());
        let settings = kernel_shap::Settings {
            picture: Some(Cover::Grid { rows: 2, cols: 2 }),
            pixels,
            each: Each::Token,
            ..Default::default()
        };
        let alone = kernel_shap::Settings { picture: None, ..settings.clone() };
        let run = |settings| KernelShap::new(settings).unwrap().run(&toy, &case).unwrap();
        let (both, alone) = (run(settings), run(alone));
        let size = 1e-6 + 1e-5 * f64::from(scalar(&both, "objective").abs());
        prop_assert!(largest(numbers(&both, "picture")) < size, "{:?}", numbers(&both, "picture"));
        let words = numbers(&both, "tokens").iter().zip(numbers(&alone, "tokens"));
        prop_assert!(words.map(|(a, b)| f64::from((a - b).abs())).all(|gap| gap < size));
    }

    /// Of an affine subject what a part adds does not depend on the others.
    #[test]
    fn shares_of_a_straight_subject_are_its_drops(seed in 0..99_u64, token in 0..27_u32) {
        let (toy, case) = (Toy::straight(seed), asked(seed as u32, "ab", token));
        let picture = Some(Cover::Grid { rows: 2, cols: 3 });
        let shap = kernel_shap::Settings { picture, words: None, ..Default::default() };
        let hide = occlusion::Settings { picture, words: None, ..Default::default() };
        let shares = KernelShap::new(shap).unwrap().run(&toy, &case).unwrap();
        let drops = Occlusion::new(hide).unwrap().run(&toy, &case).unwrap();
        let (shares, drops) = (numbers(&shares, "picture"), numbers(&drops, "picture"));
        prop_assert_eq!(shares.len(), 6);
        for (share, drop) in shares.iter().zip(drops) {
            prop_assert!((share - drop).abs() < 1e-4, "{share} {drop}");
        }
    }
}
