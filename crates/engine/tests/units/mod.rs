//! Units that can be absent: on the toy against inputs made by hand, and on every family against one pass at a time.

pub(crate) mod by_hand;
mod families;
mod lazy;
mod sounds;
mod toy;

use mmlens_core::Memory;
use mmlens_core::{Inputs, Objective, Plan, Subject, Unwatched};
use mmlens_engine::{Coalition, Hiding, Progress};

/// What is measured of some coalitions, so many in a pass.
fn measured(
    hiding: &Hiding<'_>,
    objective: impl Into<mmlens_engine::Metric>,
    some: &[Coalition],
    rows: usize,
) -> Vec<f32> {
    let memory = Memory::default().at_most(super::rows(rows));
    let mut progress = Progress::new(&Unwatched, "hiding", some.len());
    let found = hiding.measure(&[objective.into()], some, &memory, &mut progress).unwrap().remove(0).values;
    assert_eq!((progress.done(), found.len()), (some.len(), some.len()));
    found
}

fn score(subject: &dyn Subject, inputs: &Inputs, plan: Plan, objective: impl Into<Objective>) -> f32 {
    mmlens_engine::score(&subject.run(inputs, plan.objective(objective)).unwrap()).unwrap()
}

/// Each coalition in a pass of its own, from the input on.
fn one_by_one(
    subject: &dyn Subject,
    hiding: &Hiding<'_>,
    objective: impl Into<Objective>,
    some: &[Coalition],
) -> Vec<f32> {
    let objective = objective.into();
    let one = |coalition: &Coalition| {
        let (inputs, plan) = hiding.only(coalition).unwrap();
        score(subject, &inputs, plan, &objective)
    };
    some.iter().map(one).collect()
}

/// What the first row shows, picture by picture.
fn pixels(inputs: &Inputs) -> Vec<f32> {
    let pixels = inputs.seen.values.as_ref().unwrap();
    if !inputs.seen.grids.is_empty() {
        return pixels.to_values().unwrap();
    }
    inputs.seen.of_rows[0]
        .iter()
        .flat_map(|entry| pixels.rows(*entry, 1).unwrap().to_values().unwrap())
        .collect()
}

/// All coalitions of a few units.
fn every(units: usize) -> Vec<Coalition> {
    (0..1 << units).map(|number| Coalition::numbered(units, number)).collect()
}
