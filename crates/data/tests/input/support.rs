//! Subjects, samples and small helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use mmlens_core::finding::Finding;
use mmlens_core::{Picture, Sample, Subject};
use mmlens_testkit::{checkpoint, picture};
pub(crate) use mmlens_testkit::{numbers, painted};
use proptest::prelude::ProptestConfig;

/// A checkpoint of the fixtures, opened once.
pub(crate) fn opened(name: &str) -> &'static dyn Subject {
    static OPEN: OnceLock<Mutex<BTreeMap<String, &'static dyn Subject>>> = OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    *open
        .entry(name.to_owned())
        .or_insert_with(|| Box::leak(mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()))
}

pub(crate) fn seen(name: &str) -> Picture {
    Picture::open(picture(name)).unwrap()
}

pub(crate) fn shown(name: &str, prompt: &str) -> Sample {
    Sample::prompt(vec![seen(name)], prompt)
}

/// The value of a table with an axis of names, under one of them.
pub(crate) fn named(finding: &Finding, table: &str, name: &str) -> f32 {
    let table = finding.table(table).unwrap();
    let at = (0..table.axes()[0].len()).find(|at| table.axes()[0].label(*at).as_deref() == Some(name));
    table.get(&[at.unwrap()]).unwrap()
}

pub(crate) fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}
