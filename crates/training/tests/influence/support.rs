//! Samples of these tests.

use mmlens_core::{Case, Cases, Objective, Reply, Sample, Target, from_fn};

pub(crate) use crate::common::{numbers, opened, shown};

/// A case of which the log-probability of one token is explained.
pub(crate) fn said(sample: Sample, token: u32) -> Case {
    Case { sample, target: Target::Objective(Objective::log_probability(token)) }
}

/// Words with an answer each, for the toys.
pub(crate) fn words() -> impl Cases + Send + use<> {
    from_fn("words", 24, |i| Ok(word(i)))
}

pub(crate) fn word(i: usize) -> Case {
    let letters = "abcdefghij";
    let text = format!("{}{}", &letters[i % 7..i % 7 + 3], &letters[i % 5..i % 5 + 1 + i % 3]);
    let answer = ["c", "dd", "b"][i % 3].to_owned();
    Case::answer(Sample::text(text).answered(Reply::Text(answer)))
}
