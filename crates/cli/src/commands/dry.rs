//! `mmlens explain --dry-run`: what methods would take, without running them.

use anyhow::Result;
use mmlens::core::{AnalysisError, AnyAnalysis, Given, Method, On, Pace, estimate, memory};
use serde::Serialize;
use serde_json::json;

use crate::print;
use crate::progress::stopped;

/// What methods would take of a case.
#[derive(Serialize)]
pub(crate) struct Told {
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

/// What each method would take of what is given.
pub(crate) fn told(
    on: &On<'_>,
    (rows, made): (&[&Method], &[Box<dyn AnyAnalysis>]),
    given: &Given,
) -> Result<Told> {
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
    Ok(Told {
        model: on.subject().name().to_owned(),
        positions: on.encode(&given.case.sample)?.positions(),
        pass_seconds: pace.of_a_row,
        budget: on.memory().budget(),
        seconds: rounded(methods.iter().map(|method| method.seconds).sum()),
        methods,
        refused,
    })
}

impl Told {
    pub(crate) fn tell(&self, json: bool) -> Result<()> {
        if json { print::json(self) } else { table(self) }
    }
}

/// Tells what every case would take, one after the other as it is known, and all of them together; how many failed.
pub(crate) fn cases(each: impl Iterator<Item = (String, Result<Told>)>, json: bool) -> Result<usize> {
    let (mut all, mut bytes, mut count, mut failed) = (0.0, 0, 0, 0);
    for (name, told) in each {
        if stopped() {
            return Err(AnalysisError::Cancelled { method: "a dry run", done: count, total: count }.into());
        }
        count += 1;
        let told = match told {
            Ok(told) => told,
            Err(error) if stopped() => return Err(error),
            Err(error) => {
                failed += 1;
                print::failed_case(&name, &error, json)?;
                continue;
            }
        };
        (all, bytes) = (all + told.seconds, most(&told).max(bytes));
        if json {
            let mut line = serde_json::to_value(&told)?;
            if let Some(own) = line.as_object_mut() {
                own.insert("case".to_owned(), json!(name));
            }
            print::json_line(&line)?;
            continue;
        }
        let sum = |of: fn(&Would) -> u64| told.methods.iter().map(of).sum::<u64>();
        let (forward, backward) = (sum(|would| would.forward), sum(|would| would.backward));
        let (name, size) = (print::visible(&name), memory::size(most(&told)));
        let passes = format!("{forward} forward, {backward} backward");
        print::line(format!(
            "{name}: {} positions, {passes}, at most {:.1} s, up to {size}",
            told.positions, told.seconds
        ))?;
        for Refused { method, reason } in &told.refused {
            print::note(&format!("{name}: {method} would be refused: {}", print::visible(reason)));
        }
    }
    if !json {
        let size = memory::size(bytes);
        print::line(format!(
            "\nat most {all:.1} s for {} cases, up to {size} at once; no method was run",
            count - failed
        ))?;
    }
    Ok(failed)
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
