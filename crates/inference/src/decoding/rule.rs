//! How the scores of the next token come of what several branches say.

use mmlens_core::finding::top;
use mmlens_core::{HookError, MASKED};
use mmlens_engine::distribution::log_probabilities;
use serde::{Deserialize, Serialize};

/// Which way from the other branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// `l + s (l - l')`, of logits: visual contrastive decoding.
    Logits,
    /// `a + s (a - b)`, of log-probabilities: guidance without a classifier.
    LogProbabilities,
    /// `a - s b`, of log-probabilities: contrasting layers.
    Difference,
}

/// How far apart two distributions are, where one of several branches is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Divergence {
    /// The mean of `D(p || m)` and `D(q || m)` with `m = (p + q) / 2`.
    #[default]
    JensenShannon,
    /// The mean of `D(m || p)` and `D(m || q)`, which the authors' code of DoLa has in its place.
    FromTheMean,
}

/// What is made of the model's own branch and others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// How strongly the other branch counts; at zero the model's own logits are left as they are.
    pub strength: f32,
    /// Which way.
    pub form: Form,
    /// A token whose own probability is below this share of the highest cannot come (adaptive plausibility); at zero all can.
    pub plausible: f32,
    /// Of several other branches the one that is farthest by this is taken, for each row by itself; of equal ones the first.
    pub divergence: Divergence,
}

/// What the branches say of the next token of a row, and what is made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RowScores {
    /// The model's own logits.
    pub own: Vec<f32>,
    /// Which of the other branches was taken, and its logits.
    pub other: Option<(usize, Vec<f32>)>,
    /// The scores; of tokens that cannot come [`MASKED`].
    pub scores: Vec<f32>,
    /// How many tokens can come.
    pub plausible: usize,
}

impl Rule {
    /// The scores of a row, given its own logits and those of the other branches, all finite. Without other branches they are its own.
    ///
    /// # Errors
    /// [`HookError::Values`] for branches with other vocabularies, [`HookError::NoOutput`] for no logits.
    pub fn score(&self, own: Vec<f32>, mut others: Vec<Vec<f32>>) -> Result<RowScores, HookError> {
        if let Some(other) = others.iter().find(|other| other.len() != own.len()) {
            return Err(HookError::Values { dims: vec![own.len()], given: other.len() });
        }
        if others.is_empty() {
            let (scores, plausible) = (own.clone(), own.len());
            return Ok(RowScores { own, other: None, scores, plausible });
        }
        let which = self.farthest(&own, &others)?;
        let other = others.swap_remove(which);
        let none = || HookError::NoOutput("a rule of decoding".to_owned());
        let highest = top(&own).ok().flatten().and_then(|at| own.get(at).copied()).ok_or_else(none)?;
        let bound = self.plausible.ln() + highest;
        let mut scores = self.combined(&own, &other);
        let mut plausible = 0;
        for (score, own) in scores.iter_mut().zip(&own) {
            if *own < bound {
                *score = MASKED;
            } else {
                plausible += 1;
            }
        }
        Ok(RowScores { own, other: Some((which, other)), scores, plausible })
    }

    fn combined(&self, own: &[f32], other: &[f32]) -> Vec<f32> {
        let s = self.strength;
        if s == 0.0 {
            return own.to_vec();
        }
        let each = |own: &[f32], other: &[f32], one: fn(f32, f32, f32) -> f32| -> Vec<f32> {
            own.iter().zip(other).map(|(a, b)| one(*a, *b, s)).collect()
        };
        let logs = |row| log_probabilities(row).into_iter().map(|log| log as f32).collect::<Vec<f32>>();
        match self.form {
            Form::Logits => each(own, other, |a, b, s| a + s * (a - b)),
            Form::LogProbabilities => each(&logs(own), &logs(other), |a, b, s| a + s * (a - b)),
            Form::Difference => each(&logs(own), &logs(other), |a, b, s| a - s * b),
        }
    }

    /// Which branch is the farthest from the model's own.
    fn farthest(&self, own: &[f32], others: &[Vec<f32>]) -> Result<usize, HookError> {
        if let [_] = others {
            return Ok(0);
        }
        let own = log_probabilities(own);
        let far: Vec<f64> =
            others.iter().map(|other| self.divergence.of(&own, &log_probabilities(other))).collect();
        let found = top(&far)
            .map_err(|error| HookError::not_finite("the divergence of branches", &[far.len()], 0, error))?;
        found.ok_or_else(|| HookError::NoOutput("a rule of decoding".to_owned()))
    }
}

impl Divergence {
    /// Between two distributions, given by their log-probabilities, in nats.
    #[must_use]
    pub fn of(self, p: &[f64], q: &[f64]) -> f64 {
        let one = |(p, q): (&f64, &f64)| {
            let (p_share, q_share) = (p.exp(), q.exp());
            let middle = 0.5 * (p_share + q_share);
            if middle == 0.0 {
                return 0.0;
            }
            let log = middle.ln();
            match self {
                Self::JensenShannon => p_share * (p - log) + q_share * (q - log),
                Self::FromTheMean => middle * (2.0 * log - p - q),
            }
        };
        0.5 * p.iter().zip(q).map(one).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(form: Form, strength: f32, plausible: f32) -> Rule {
        Rule { strength, form, plausible, divergence: Divergence::default() }
    }

    #[test]
    fn scores_by_hand() {
        // Logits 2, 1, 0 against 1, 1, 1. Half of the highest probability is a logit of 2 - 0.693 = 1.307: only the first can come.
        let (own, other) = (vec![2.0, 1.0, 0.0], vec![1.0, 1.0, 1.0]);
        let of = |form, strength, plausible| {
            rule(form, strength, plausible).score(own.clone(), vec![other.clone()]).unwrap()
        };
        assert_eq!(of(Form::Logits, 0.5, 0.0).scores, [2.5, 1.0, -0.5]);
        let masked = of(Form::Logits, 0.5, 0.5);
        assert_eq!((masked.scores.as_slice(), masked.plausible), ([2.5, MASKED, MASKED].as_slice(), 1));
        // ln(e^2 + e + 1) = 2.407606, ln 3 = 1.098612: a = -0.407606, -1.407606, -2.407606; b = -1.098612.
        let near = |found: &[f32], wanted: [f32; 3]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?} {wanted:?}");
        };
        near(&of(Form::Difference, 1.0, 0.0).scores, [0.691_006, -0.308_994, -1.308_994]);
        // a + 0.1 (a - b)
        near(&of(Form::LogProbabilities, 0.1, 0.0).scores, [-0.338_505, -1.438_505, -2.538_505]);
        // At no strength the model's own logits, to the bit, whatever the form.
        for form in [Form::Logits, Form::LogProbabilities, Form::Difference] {
            assert_eq!(of(form, 0.0, 0.0).scores, own);
        }
        let alone = rule(Form::Logits, 1.0, 0.5).score(own.clone(), Vec::new()).unwrap();
        assert_eq!((alone.scores, alone.plausible, alone.other), (own.clone(), 3, None));
        let said = rule(Form::Logits, 1.0, 0.5).score(own, vec![vec![0.0]]).unwrap_err().to_string();
        assert_eq!(said, "1 values cannot fill a tensor of shape [3]");
    }

    #[test]
    fn divergences_by_hand() {
        // p = (3/4, 1/4), q = (1/4, 3/4), m = (1/2, 1/2): D(p || m) = 3/4 ln 3/2 + 1/4 ln 1/2, and so is D(q || m); D(m || p) = ln(2 / sqrt 3).
        let [p, q] = [[0.75_f64, 0.25], [0.25, 0.75]].map(|p| p.map(f64::ln));
        let js = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((Divergence::JensenShannon.of(&p, &q) - js).abs() < 1e-12);
        assert!((Divergence::FromTheMean.of(&p, &q) - (2.0 / 3.0_f64.sqrt()).ln()).abs() < 1e-12);
        for divergence in [Divergence::JensenShannon, Divergence::FromTheMean] {
            assert_eq!(divergence.of(&p, &p), 0.0);
        }
    }

    #[test]
    fn the_farthest_of_several_branches_is_taken() {
        let own = vec![2.0, 0.0, 0.0];
        let others = vec![vec![2.0, 0.1, 0.0], vec![0.0, 2.0, 0.0], vec![0.0, 2.0, 0.0]];
        let scored = rule(Form::Difference, 1.0, 0.0).score(own, others.clone()).unwrap();
        assert_eq!(scored.other, Some((1, others[1].clone())));
    }
}
