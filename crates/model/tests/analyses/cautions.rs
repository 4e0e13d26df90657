//! What a finding says against itself comes where it is due, with its number, and nowhere else.

use mmlens_core::finding::Finding;
use mmlens_core::{Analysis, Case, Objective, Pair, Sample};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, painted, question, scalar};

fn shares(steps: usize) -> IntegratedGradients {
    IntegratedGradients::new(integrated_gradients::Settings { steps: Some(steps), ..Default::default() })
        .unwrap()
}

/// What a finding of integrated gradients should say of gaps above a twentieth.
fn due(found: &Finding) -> Vec<String> {
    let gaps = numbers(found, "relative completeness gap").iter().filter(|gap| **gap > 0.05);
    gaps.map(|gap| format!("add up to by {:.0} % of it", 100.0 * gap)).collect()
}

fn says(found: &Finding) -> Result<(), TestCaseError> {
    let due = due(found);
    prop_assert_eq!(found.cautions().len(), due.len(), "{:?} {:?}", found.cautions(), due);
    for (said, due) in found.cautions().iter().zip(due) {
        prop_assert!(said.contains(&due), "{} {}", said, due);
    }
    // No table without a text.
    prop_assert_eq!(found.find("cautions").is_some(), !found.cautions().is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn a_wide_gap_is_spoken_of(seed in 0..99_u64, steps in 1..40_usize) {
        says(&shares(steps).run(&Toy::curved(seed), &asked(seed as u32, "abc", 4)).unwrap())?;
    }

    /// One of a pair and its reverse is the wrong way round.
    #[test]
    fn a_loss_is_spoken_of(seed in 0..99_u64, token in 0..8_u32) {
        let toy = Toy::curved(seed);
        let of = |word: &str| Sample::prompt(vec![painted(2)], word);
        let mut warned = Vec::new();
        for (clean, corrupted) in [("#ab", "#cb"), ("#cb", "#ab")] {
            let pair = Pair { clean: about(of(clean), Objective::logit(token)), corrupted: of(corrupted) };
            let by = ActivationPatching::new(activation_patching::Settings::default()).unwrap();
            let near = AttributionPatching::new(attribution_patching::Settings::default()).unwrap();
            for found in [by.run(&toy, &pair).unwrap(), near.run(&toy, &pair).unwrap()] {
                let (at_clean, at_corrupted) = (scalar(&found, "clean"), scalar(&found, "corrupted"));
                prop_assert_eq!(found.cautions().len(), usize::from(at_clean < at_corrupted));
                let numbers = format!("is {at_clean:.3} in the clean run and {at_corrupted:.3} in the corrupted one");
                prop_assert!(found.cautions().iter().all(|said| said.contains(&numbers)), "{:?}", found.cautions());
                warned.push(!found.cautions().is_empty());
            }
        }
        prop_assert_eq!(warned.iter().filter(|warned| **warned).count(), 2);
        prop_assert_eq!((warned[0], warned[2]), (warned[1], warned[3]));
    }
}

/// A budget that is spent before contributions sum to a millionth is spoken of, with both numbers.
#[test]
fn a_spent_budget_is_spoken_of() {
    let run = |budget, gap| {
        let settings = integrated_gradients::Settings { budget, gap, ..Default::default() };
        IntegratedGradients::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap()
    };
    let found = run(95, 1e-9);
    let [said] = found.cautions() else { panic!("{:?}", found.cautions()) };
    let (gap, panels) = (scalar(&found, "relative completeness gap"), scalar(&found, "missed by panels"));
    assert!(panels > 1e-9 && scalar(&found, "places") == 95.0);
    let wanted = format!(
        "contributions along `vision.pixels + text.embed` miss what they should add up to by {:.2} % of it, and its panels by {:.2} % \
         without their signs, at 95 places; a larger `budget` misses less",
        100.0 * gap,
        100.0 * panels
    );
    assert_eq!(said, &wanted);
    let more = run(1000, 0.01);
    assert!(more.cautions().is_empty() && scalar(&more, "missed by panels") <= 0.01, "{:?}", more.cautions());
}

/// Both happen on a checkpoint: few nodes miss the sum, many do not.
#[test]
fn nodes_decide_on_a_checkpoint() {
    let case: Case = question();
    let run = |steps| shares(steps).run(llava("llava-a"), &case).unwrap();
    let (few, many) = (run(1), run(512));
    assert!(
        !few.cautions().is_empty() && few.cautions()[0].contains("more than 1 `steps` miss less"),
        "{few:?}"
    );
    assert!(
        many.cautions().is_empty(),
        "{:?} {:?}",
        many.cautions(),
        numbers(&many, "relative completeness gap")
    );
    [few, many].iter().try_for_each(says).unwrap();
}
