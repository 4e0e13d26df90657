//! What methods will take, told before any of them runs.

use std::time::Instant;

use super::case::asked;
use crate::{AnalysisError, AnyAnalysis, Case, Cost, Given, On, Plan, SubjectError};

/// How fast a subject is on this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Seconds that a pass of one row took.
    pub of_a_row: f64,
}

impl Pace {
    /// Times a pass of a case, up to what its objective looks at. A pass before it brings the weights into memory and wakes the
    /// threads.
    ///
    /// # Errors
    /// Whatever encoding or the passes report.
    ///
    /// # Cost
    /// Two passes.
    pub fn timed(on: &On<'_>, case: &Case) -> Result<Self, SubjectError> {
        let inputs = on.encode(&case.sample)?;
        let objective = on.form(case, &inputs)?;
        let inputs = asked(inputs, &objective);
        let pass = || {
            let started = Instant::now();
            // Devices answer when a number is asked for.
            on.subject().run(&inputs, Plan::new().objective(&objective))?.scores()?;
            Ok::<_, SubjectError>(started.elapsed().as_secs_f64())
        };
        pass()?;
        Ok(Self { of_a_row: pass()? / inputs.rows().max(1) as f64 })
    }
}

/// What a method will take of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Rows through the model, and memory: told from settings and shapes.
    pub cost: Cost,
    /// About how long it takes on this machine ([`Cost::seconds`]). Rows that share a pass, and passes that go on from a saved state,
    /// make it less.
    pub seconds: f64,
}

/// What each of some methods will take of an input, in their order, none of which is run; for those that would be refused, why.
///
/// Each is told as if it ran alone: several that share what they know ([`explain`](crate::explain)) make the unedited pass once.
///
/// ```no_run
/// # use mmlens_core::{AnalysisError, Case, Given, Method, On, Pace, Subject, estimate};
/// # fn look(methods: &[Method], subject: &dyn Subject, case: Case) -> Result<(), AnalysisError> {
/// let (on, methods, given) = (On::new(subject), Method::first(methods)?, Given::new(case)?);
/// let pace = Pace::timed(&on, &given.case)?;
/// for (method, told) in methods.iter().zip(estimate(&methods, &on, &given, pace)) {
///     println!("{}: {:.0} s", method.card().name, told?.seconds);
/// }
/// # Ok(())
/// # }
/// ```
pub fn estimate(
    methods: &[Box<dyn AnyAnalysis>],
    on: &On<'_>,
    given: &Given,
    pace: Pace,
) -> Vec<Result<Estimate, AnalysisError>> {
    let of = |method: &dyn AnyAnalysis| {
        let cost = method.cost(on, given)?;
        Ok(Estimate { cost, seconds: cost.seconds(pace.of_a_row) })
    };
    methods.iter().map(|method| of(method.as_ref())).collect()
}
