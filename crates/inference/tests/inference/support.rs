//! Subjects, samples and small helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use mmlens_core::{Picture, Sample, Subject};
use mmlens_testkit::{checkpoint, picture};
pub(crate) use mmlens_testkit::{kinds, numbers, painted};
use proptest::prelude::ProptestConfig;

/// A checkpoint of the fixtures, opened once.
pub(crate) fn opened(name: &str) -> &'static dyn Subject {
    static OPEN: OnceLock<Mutex<BTreeMap<String, &'static dyn Subject>>> = OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    *open
        .entry(name.to_owned())
        .or_insert_with(|| Box::leak(mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()))
}

pub(crate) fn shown(name: &str, prompt: &str) -> Sample {
    Sample::prompt(vec![Picture::open(picture(name)).unwrap()], prompt)
}

/// What an oracle says it asked: a prompt, with a picture or without.
pub(crate) fn asked(picture: &serde_json::Value, prompt: &str) -> Sample {
    match picture.as_str() {
        Some(name) => shown(name, prompt),
        None => Sample::text(prompt),
    }
}

pub(crate) fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}
