//! What to read and change while an answer is generated, step by step.

use std::num::NonZeroUsize;

use crate::{HookError, Plan};

/// Some steps of a generation. Step `i` is the pass that decides token `i` of the answer: step 0 sees the whole prompt,
/// every later one a single position, the token decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steps {
    /// All of them.
    Every,
    /// The pass over the prompt, step 0.
    Prompt,
    /// The passes over the answer, from step 1 on.
    Answer,
    /// Some, by number. Each must be reached.
    At(Vec<usize>),
}

impl Steps {
    fn holds(&self, step: usize) -> bool {
        match self {
            Self::Every => true,
            Self::Prompt => step == 0,
            Self::Answer => step > 0,
            Self::At(steps) => steps.contains(&step),
        }
    }
}

/// Plans for the steps of a generation, and how many continuations share one prompt.
///
/// ```
/// use mmlens_core::{Change, Plan, Plans, Region, Steps};
/// # fn main() -> Result<(), mmlens_core::HookError> {
/// let plans = Plans::new()
///     .during(Steps::Answer, Plan::new().change("text.blocks.1.mlp_out", Region::all(), Change::Zero)?)
///     .during(Steps::Every, Plan::new().read("text.blocks.*.resid_post")?);
/// assert!(plans.at(0).is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Plans {
    parts: Vec<(Steps, Plan)>,
    copies: NonZeroUsize,
}

impl Default for Plans {
    fn default() -> Self {
        Self { parts: Vec::new(), copies: NonZeroUsize::MIN }
    }
}

impl Plans {
    /// Nothing is read or changed; one continuation of every prompt.
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out a plan during some steps. Several plans at one step are one, in the order given. A site that a step
    /// does not pass (those of the image tower, after the prompt) is refused there.
    #[must_use]
    pub fn during(mut self, steps: Steps, plan: Plan) -> Self {
        self.parts.push((steps, plan));
        self
    }

    /// So many continuations of every prompt: the prompt and its pictures are computed once, and every continuation
    /// goes on from a copy of their cache. The rows of the answer, and of every step after the prompt's, are the
    /// continuations of the first prompt, then those of the second, and so on; those that have ended are left out. Draws differ
    /// between them, and so may what a plan does to a row.
    #[must_use]
    pub fn copies(mut self, copies: NonZeroUsize) -> Self {
        self.copies = copies;
        self
    }

    /// Continuations of every prompt.
    pub fn continuations(&self) -> usize {
        self.copies.get()
    }

    /// The plan of a step, which runs to the output; `None` if there is none.
    pub fn at(&self, step: usize) -> Option<Plan> {
        let own = self.parts.iter().filter(|(steps, _)| steps.holds(step)).map(|(_, plan)| plan.clone());
        Some(own.reduce(Plan::and)?.to_output())
    }

    /// Whether a plan changes some rows by their number.
    pub(crate) fn names_rows(&self) -> bool {
        self.parts.iter().any(|(_, plan)| plan.names_rows())
    }

    /// What cannot be done while generating, or was not: gradients and resumption; a step by number that was not among
    /// the `taken` ones.
    ///
    /// # Errors
    /// [`HookError::Generating`] for the first, [`HookError::NoStep`] for the second.
    pub fn check(&self, taken: Option<usize>) -> Result<(), HookError> {
        for (steps, plan) in &self.parts {
            if let Some(what) = plan.not_while_generating() {
                return Err(HookError::Generating(what));
            }
            if let (Steps::At(steps), Some(taken)) = (steps, taken)
                && let Some(&step) = steps.iter().find(|step| **step >= taken)
            {
                return Err(HookError::NoStep { step, taken });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, Objective, Region};

    fn steps_of(steps: Steps) -> Vec<usize> {
        let plans = Plans::new().during(steps, Plan::new());
        (0..5).filter(|step| plans.at(*step).is_some()).collect()
    }

    #[test]
    fn a_plan_holds_during_its_steps() {
        assert_eq!(steps_of(Steps::Every), [0, 1, 2, 3, 4]);
        assert_eq!(steps_of(Steps::Prompt), [0]);
        assert_eq!(steps_of(Steps::Answer), [1, 2, 3, 4]);
        assert_eq!(steps_of(Steps::At(vec![3, 1])), [1, 3]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let plans = |plan| Plans::new().during(Steps::At(vec![4]), plan);
        let read = || Plan::new().read("text.embed").unwrap();
        assert!(plans(read()).check(None).is_ok() && plans(read()).check(Some(5)).is_ok());
        let said = plans(read()).check(Some(4)).unwrap_err().to_string();
        assert_eq!(said, "something is planned at step 4, but the answer took 4 steps (0 to 3)");
        let grad = Plan::new().grad("text.embed").unwrap().objective(Objective::logit(0));
        let said = plans(grad).check(None).unwrap_err().to_string();
        assert_eq!(
            said,
            "gradients cannot be planned while generating; run a pass over the prompt and its answer"
        );
        let zero = Plan::new().change("text.embed", Region::all(), Change::Zero).unwrap();
        assert!(plans(zero).check(Some(5)).is_ok());
    }
}
