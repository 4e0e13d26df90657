//! What a finding says against itself comes where it is due, with its number, and nowhere else.

use mmlens_core::finding::{Caution, CautionKind, Finding};
use mmlens_core::{Analysis, Case, Objective, Pair, Sample};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::occlusion::{self, Occlusion};
use mmlens_testkit::{Toy, kinds};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, painted, question, scalar};

fn shares(steps: usize) -> IntegratedGradients {
    IntegratedGradients::new(integrated_gradients::Settings { steps: Some(steps), ..Default::default() })
        .unwrap()
}

/// What two values of a logit call for.
fn of_two(at: f32, other: f32) -> Option<CautionKind> {
    match at - other {
        apart if apart.abs() < 0.1 => Some(CautionKind::SmallDifference),
        apart if apart < 0.0 => Some(CautionKind::Reversed),
        _ => None,
    }
}

/// What a finding of integrated gradients should say: of its ends, or else of a gap above a hundredth.
fn due(found: &Finding) -> Vec<CautionKind> {
    let ends = numbers(found, "objective at baseline").iter();
    let gaps = numbers(found, "relative completeness gap").iter();
    let gap = |gap: &f32| (*gap > 0.01).then_some(CautionKind::Gap);
    let one = |(end, own): (&f32, &f32)| of_two(scalar(found, "objective"), *end).or_else(|| gap(own));
    ends.zip(gaps).filter_map(one).collect()
}

fn says(found: &Finding) -> Result<(), TestCaseError> {
    prop_assert_eq!(kinds(found), due(found), "{:?}", found.cautions());
    // The number is that of the kind, and stands in the sentence.
    for Caution { kind, number, text } in found.cautions() {
        let told = match kind {
            CautionKind::Gap => format!("by {:.1} % of it", 100.0 * number),
            _ => format!("{:.3} with the input", scalar(found, "objective")),
        };
        prop_assert!(text.contains(&told), "{text} {told}");
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
                // Of the stream before the first layer, all positions together, gradients give the difference, if they miss nothing.
                let stream = found.find("resid_pre").filter(|_| found.provenance.method == "attribution-patching");
                let missed = stream.map(|stream| {
                    let first = stream.as_numbers().unwrap().iter().take(stream.shape()[1]);
                    let apart = f64::from(at_clean) - f64::from(at_corrupted);
                    (first.map(|own| f64::from(*own)).sum::<f64>() - apart).abs() / apart.abs()
                });
                let gap = missed.filter(|missed| *missed > 0.75).map(|_| CautionKind::Gap);
                let due = of_two(at_clean, at_corrupted).or(gap);
                prop_assert_eq!(kinds(&found), due.into_iter().collect::<Vec<_>>());
                let numbers = format!("is {at_clean:.3} in the clean run and {at_corrupted:.3} in the corrupted one");
                let mut said = found.cautions();
                said.retain(|said| said.kind != CautionKind::Gap);
                prop_assert!(said.iter().all(|said| said.text.contains(&numbers)), "{said:?}");
                warned.push(!said.is_empty());
            }
        }
        // The one way round or the other, or both where they barely differ; both methods alike.
        prop_assert!(warned[0] || warned[2], "{warned:?}");
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
    let found = run(129, 1e-9);
    let said = found.cautions();
    let (gap, panels) = (scalar(&found, "relative completeness gap"), scalar(&found, "missed by panels"));
    assert!(panels > 1e-9 && scalar(&found, "places") == 129.0);
    let wanted = format!(
        "contributions along `vision.pixels + text.embed` miss what they should add up to by {:.1} % of it ({:.1} % panel by panel, \
         without signs) at 129 places; a larger `budget` may miss less",
        100.0 * gap,
        100.0 * panels
    );
    assert_eq!(said, [Caution::new(CautionKind::Gap, gap, wanted)]);
    let more = run(1000, 0.01);
    assert!(more.cautions().is_empty() && scalar(&more, "missed by panels") <= 0.01, "{:?}", more.cautions());
}

/// Both happen on a checkpoint: few nodes miss the sum, many do not.
#[test]
fn nodes_decide_on_a_checkpoint() {
    let case: Case = question();
    let run = |steps| shares(steps).run(llava("llava-a"), &case).unwrap();
    let (few, many) = (run(1), run(512));
    let gap = |found: &Finding| f64::from(numbers(found, "relative completeness gap")[0]);
    assert!(gap(&few) > 0.01 && gap(&many) < 0.01, "{} {}", gap(&few), gap(&many));
    [few, many].iter().try_for_each(says).unwrap();
}

/// What changes nothing brings nothing, and is told from small effects.
#[test]
fn zeros_are_spoken_of() {
    let toy = Toy::straight(3);
    let case = asked(3, "abc", 4);
    // The output does not read what a site of a block behind it held: a neuron of the first block reads no words behind it.
    let (inputs, _) = case.open(&toy).unwrap();
    let first = Objective::Site(
        mmlens_core::Reading::at("text.embed".parse().unwrap())
            .within(mmlens_core::Region::all().positions([inputs.positions() - 3])),
    );
    let case = about(case.sample, first);
    let settings = occlusion::Settings { words: None, ..Default::default() };
    let found = Occlusion::new(settings).unwrap().run(&toy, &case).unwrap();
    assert_eq!(kinds(&found), [CautionKind::NothingMoved], "{:?}", found.cautions());
    let caution = &found.cautions()[0];
    assert!(
        caution.text.starts_with("drops of the picture are all exactly zero") && caution.number >= 1.0,
        "{caution:?}"
    );
}
