//! Subjects, samples and small helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use mmlens_core::finding::Finding;
use mmlens_core::{Case, Cases, Objective, Picture, Reply, Sample, Subject, Target, Words, from_fn};
use mmlens_testkit::{checkpoint, picture};

/// A checkpoint of the fixtures, opened once.
pub(crate) fn opened(name: &str) -> &'static dyn Subject {
    static OPEN: OnceLock<Mutex<BTreeMap<String, &'static dyn Subject>>> = OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    *open
        .entry(name.to_owned())
        .or_insert_with(|| Box::leak(mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()))
}

pub(crate) fn numbers<'a>(finding: &'a Finding, table: &str) -> &'a [f32] {
    finding.table(table).unwrap().as_numbers().unwrap()
}

/// A case of which the log-probability of one token is explained.
pub(crate) fn said(sample: Sample, token: u32) -> Case {
    Case { sample, target: Target::Objective(Objective::log_probability(token)) }
}

pub(crate) fn shown(name: &str, words: Words) -> Sample {
    Sample::new(vec![Picture::open(picture(name)).unwrap()], words)
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
