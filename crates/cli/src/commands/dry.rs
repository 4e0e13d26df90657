//! `mmlens explain --dry-run`: what methods would take, without running them.

use anyhow::Result;
use mmlens::core::{AnyAnalysis, Given, Method, On, Pace, estimate, memory};
use serde::Serialize;

use crate::print;

#[derive(Serialize)]
struct Told {
    model: String,
    /// Positions of the prompt.
    positions: usize,
    /// What a pass of the sample took.
    pass_seconds: f64,
    /// What each method may take of memory at once.
    budget: u64,
    methods: Vec<Would>,
    /// Methods that would be refused.
    refused: Vec<Refused>,
    /// All of them, one after the other.
    seconds: f64,
}

/// What a method would take.
#[derive(Serialize)]
struct Would {
    method: &'static str,
    /// Rows through the model.
    forward: u64,
    /// Rows of which gradients are taken.
    backward: u64,
    seconds: f64,
    /// Beside the model and the sample.
    bytes: u64,
}

#[derive(Serialize)]
struct Refused {
    method: &'static str,
    reason: String,
}

/// Tells what each method would take of what is given.
pub(crate) fn tell(
    on: &On<'_>,
    (rows, made): (&[&Method], &[Box<dyn AnyAnalysis>]),
    given: &Given,
    json: bool,
) -> Result<()> {
    let pace = Pace::timed(on, &given.case)?;
    let (mut methods, mut refused) = (Vec::new(), Vec::new());
    for (row, told) in rows.iter().zip(estimate(made, on, given, pace)) {
        let method = row.card.short;
        match told {
            Ok(told) => {
                let seconds = rounded(told.seconds);
                let (forward, backward, bytes) = (told.cost.forward, told.cost.backward, told.cost.bytes);
                methods.push(Would { method, forward, backward, seconds, bytes });
            }
            Err(error) => refused.push(Refused { method, reason: error.to_string() }),
        }
    }
    let told = Told {
        model: on.subject().name().to_owned(),
        positions: on.encode(&given.case.sample)?.positions(),
        pass_seconds: pace.of_a_row,
        budget: on.memory().budget(),
        seconds: rounded(methods.iter().map(|method| method.seconds).sum()),
        methods,
        refused,
    };
    if json { print::json(&told) } else { table(&told) }
}

fn table(told: &Told) -> Result<()> {
    let pass = format!("{:.3} s for a pass of {} positions", told.pass_seconds, told.positions);
    print::line(format!("{}: {pass}; no method was run\n", print::visible(&told.model)))?;
    let head = ["method", "forward", "backward", "seconds", "memory"].map(str::to_owned);
    let row = |would: &Would| {
        let Would { method, forward, backward, seconds, bytes } = would;
        let time = format!("{seconds:.1}");
        [(*method).to_owned(), forward.to_string(), backward.to_string(), time, memory::size(*bytes)]
    };
    print::columns(&std::iter::once(head).chain(told.methods.iter().map(row)).collect::<Vec<_>>())?;
    print::line(format!(
        "\nat most {:.1} s in all, up to {} at once",
        told.seconds,
        memory::size(most(told))
    ))?;
    told.refused.iter().for_each(|Refused { method, reason }| {
        print::note(&format!("{method} would be refused: {}", print::visible(reason)));
    });
    Ok(())
}

/// What the dearest of them takes at once.
fn most(told: &Told) -> u64 {
    told.methods.iter().map(|method| method.bytes).max().unwrap_or(0)
}

/// To a tenth of a second and no less than that.
fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).ceil() / 10.0
}
