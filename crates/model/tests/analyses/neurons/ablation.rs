use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, Case, Cases, ManyCases, Memory, Objective, On, Part, Sample, Seed, Subject, Target, Words,
    from_fn,
};
use mmlens_engine::NeuronAt;
use mmlens_model::group_ablation::{GroupAblation, Settings, To};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use proptest::prelude::*;
use serde_json::json;

use super::letters;
use crate::identities::few;
use crate::support::{llava, numbers, scalar, shown};

/// Differences of logits that are nearly equal.
const CHANGE: Tolerance = Tolerance::either(1e-5, 1e-5);

fn named(neurons: &[(usize, usize)]) -> Option<Vec<NeuronAt>> {
    Some(neurons.iter().map(|(layer, neuron)| NeuronAt { layer: *layer, neuron: *neuron }).collect())
}

fn run(subject: &dyn Subject, many: &ManyCases, settings: Settings) -> Finding {
    GroupAblation::new(settings).unwrap().run(subject, many).unwrap()
}

#[test]
fn groups_are_taken_out_as_by_hooks() {
    let oracle = Oracle::open("methods/group-ablation").unwrap();
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap();
    let words = ["<image>Red?", "<image>Big?", "<image>Is it big"];
    let questions = move |i: usize| Ok(Case::new(shown(&[["square", "wide", "tall"][i]], words[i])));
    let captions = move |i: usize| {
        let sample = shown(&[["square", "wide", "tall"][i]], "");
        let sample = Sample::new(sample.pictures, Words::Texts(vec![["a", "a red", "big"][i].to_owned()]));
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    };
    let questions = ManyCases::over(from_fn("questions", 3, questions)).unwrap();
    let captions = ManyCases::over(from_fn("captions", 3, captions)).unwrap();
    for (name, subject, many, part, group) in [
        (
            "llava-a",
            llava("llava-a") as &dyn Subject,
            questions,
            Part::Text,
            vec![(0, 3), (0, 11), (2, 7), (1, 20), (2, 30)],
        ),
        ("clip-a", clip.as_ref(), captions, Part::Vision, vec![(1, 2), (2, 9), (2, 14)]),
    ] {
        for (to, what) in [(To::Zero, "zero"), (To::Mean, "mean")] {
            let (seed, random) =
                (oracle.about()["seed"].as_u64().unwrap(), oracle.about()["random"].as_u64().unwrap());
            let settings = Settings {
                neurons: named(&group),
                to,
                part: Some(part),
                seed: Seed(seed),
                random: random as usize,
                ..Default::default()
            };
            let found = GroupAblation::new(settings).unwrap().run(subject, &many).unwrap();
            let wanted = |table: &str| oracle.array(&format!("{name}/{table}")).unwrap().values.clone();
            for table in ["change", "random"] {
                let gap =
                    CHANGE.check(table, numbers(&found, table), &wanted(&format!("{what}/{table}"))).unwrap();
                println!("{name} {what} {table}: {:.1e} of {:.1e}", gap.absolute, gap.scale);
            }
            CHANGE.check("objective", numbers(&found, "objective"), &wanted("objective")).unwrap();
            let mean = wanted(&format!("{what}/change")).iter().sum::<f64>() / 3.0;
            CHANGE.check("mean change", &numbers(&found, "mean change")[..1], &[mean]).unwrap();
            if name == "llava-a" {
                let likeliest = numbers(&found, "likeliest");
                assert_eq!(likeliest[..2], [1.0, wanted(&format!("{what}/likeliest"))[0] as f32]);
            } else {
                assert!(found.find("likeliest").is_none());
            }
        }
    }
}

/// Letters with a token to explain.
fn explained(count: usize, token: u32) -> ManyCases {
    let data = letters(count);
    let case = move |i| Ok(Case { target: Target::Token(token), ..data.case(i)? });
    ManyCases::over(from_fn("letters", count, case)).unwrap()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn p_counts_and_a_data_set_twice_changes_no_mean(seed in 0..99_u64, count in 1..5_usize) {
        let toy = Toy::curved(seed);
        let settings = |to| Settings { neurons: named(&[(0, 1), (1, 3), (1, 4)]), to, random: 7, seed: Seed(seed), ..Default::default() };
        let found = run(&toy, &explained(count, 4), settings(To::Zero));
        let own = numbers(&found, "mean change")[0];
        let larger = numbers(&found, "random").iter().filter(|other| other.abs() >= own.abs()).count();
        prop_assert_eq!(scalar(&found, "p"), (1 + larger) as f32 / 8.0);
        let mean = numbers(&found, "change").iter().sum::<f32>() / count as f32;
        prop_assert!((mean - own).abs() < 1e-5);
        // Random groups have one neuron of block 0 and two of block 1, none of the group.
        for group in found.table("random groups").unwrap().as_texts().unwrap() {
            let own: Vec<&str> = group.split(' ').collect();
            prop_assert_eq!(own.iter().filter(|name| name.starts_with("0.")).count(), 1);
            prop_assert!(own.len() == 3 && own.iter().all(|name| !["0.1", "1.3", "1.4"].contains(name)));
        }
        let data = letters(count);
        let twice = from_fn("twice", 2 * count, move |i: usize| Ok(Case { target: Target::Token(4), ..data.case(i % count)? }));
        let twice = ManyCases::over(twice).unwrap();
        for to in [To::Zero, To::Mean] {
            let (one, two) = (run(&toy, &explained(count, 4), settings(to)), run(&toy, &twice, settings(to)));
            CHANGE.check("twice", numbers(&two, "random"), numbers(&one, "random")).unwrap();
        }
    }

    /// Where a neuron holds the same everywhere, its mean is what it holds; how many share a pass decides nothing.
    #[test]
    fn a_constant_neuron_at_its_mean_changes_nothing(seed in 0..99_u64, rows in 1..6_usize) {
        let toy = Toy::curved(seed);
        let case = move |_: usize| Ok(Case { sample: Sample::text("a"), target: Target::Token(3) });
        let one = ManyCases::over(from_fn("one", 1, case)).unwrap();
        let settings = Settings { neurons: named(&[(1, 2), (0, 5)]), to: To::Mean, rows, ..Default::default() };
        let found = run(&toy, &one, settings);
        prop_assert!(numbers(&found, "change")[0].abs() < 1e-5 && numbers(&found, "random").iter().all(|own| own.abs() < 1e-5));
        let zero = |rows| run(&toy, &explained(2, 4), Settings { neurons: named(&[(0, 1)]), rows, ..Default::default() });
        CHANGE.check("rows", numbers(&zero(rows), "random"), numbers(&zero(1), "random")).unwrap();
    }
}

#[test]
fn without_names_the_neurons_that_hold_most_are_taken_out() {
    let (toy, many) = (Toy::curved(3), explained(6, 5));
    let found = run(&toy, &many, Settings { largest: 3, ..Default::default() });
    let held = mmlens_model::exemplars::Exemplars::new(Default::default()).unwrap().run(&toy, &many).unwrap();
    // Of neurons that are never below zero the mean is that of the absolute value.
    let (mean, quantiles) = (numbers(&held, "mean"), numbers(&held, "quantiles"));
    assert_eq!((mean.len(), quantiles.len()), (16, 80));
    let group = NeuronAt::listed(found.table("group").unwrap().as_texts().unwrap()).unwrap();
    assert_eq!(found.provenance.settings["neurons"], json!(group));
    let again = run(&toy, &many, Settings { neurons: Some(group), ..Default::default() });
    assert_eq!(numbers(&again, "random"), numbers(&found, "random"));
    let little = GroupAblation::new(Settings::default()).unwrap();
    let said = little.run_on(&On::new(&toy).within(Memory::bytes(100)), &many).unwrap_err().to_string();
    assert!(said.starts_with("group-ablation takes up to "), "{said}");
}

#[test]
fn cautions_come_where_they_are_due() {
    let toy = Toy::curved(3);
    let kinds = |neurons: &[(usize, usize)], token| {
        let found =
            run(&toy, &explained(4, token), Settings { neurons: named(neurons), ..Default::default() });
        (found.cautions().iter().map(|own| own.kind).collect::<Vec<_>>(), scalar(&found, "p"))
    };
    // Whichever neuron is looked at, a caution comes exactly where random groups do as much.
    let (mut chance, mut sound) = (0, 0);
    for neuron in 0..8 {
        for layer in 0..2 {
            let (said, p) = kinds(&[(layer, neuron)], 4);
            match p > 0.05 {
                true => chance += usize::from(said == [CautionKind::Chance]),
                false => sound += usize::from(said.is_empty()),
            }
        }
    }
    assert!(chance + sound == 16 && chance > 0, "{chance} {sound}");
}

#[test]
fn what_cannot_be_is_refused() {
    let said = |settings: serde_json::Value| {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        GroupAblation::new(settings)
            .and_then(|method| method.run(&Toy::curved(1), &explained(2, 3)))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        said(json!({ "neurons": ["0.1", "0.1"] })),
        "group-ablation: neurons = 0.1 twice, but a neuron is named once"
    );
    assert_eq!(
        said(json!({ "neurons": ["4.1"] })),
        "group-ablation: neurons = 4.1, of 2 layers of 8, but neurons that there are"
    );
    let many: Vec<String> = (0..5).map(|neuron| format!("0.{neuron}")).collect();
    assert_eq!(
        said(json!({ "neurons": many })),
        "group-ablation: neurons = 5 of the 8 neurons of layer 0, but a random group needs as many others"
    );
    assert_eq!(said(json!({ "random": 0 })), "group-ablation: random = 0, but it must be at least 1");
    let case = |i: usize| {
        Ok(Case {
            sample: Sample::text("ab"),
            target: Target::Objective([Objective::logit(1), Objective::log_probability(1)][i].clone()),
        })
    };
    let mixed = ManyCases::over(from_fn("mixed", 2, case)).unwrap();
    let said = GroupAblation::new(Settings::default())
        .unwrap()
        .run(&Toy::curved(1), &mixed)
        .unwrap_err()
        .to_string();
    assert_eq!(said, "group-ablation needs cases explained in one unit, but log probability beside logit");
}
