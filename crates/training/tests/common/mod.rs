//! Checkpoints, pictures and numbers, for the tests of this crate.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use mmlens_core::{Picture, Sample, Subject, Words};
pub(crate) use mmlens_testkit::numbers;
use mmlens_testkit::{checkpoint, picture};

/// A checkpoint of the fixtures, opened once.
pub(crate) fn opened(name: &str) -> &'static dyn Subject {
    static OPEN: OnceLock<Mutex<BTreeMap<String, &'static dyn Subject>>> = OnceLock::new();
    let mut open = OPEN.get_or_init(Default::default).lock().unwrap();
    *open
        .entry(name.to_owned())
        .or_insert_with(|| Box::leak(mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap()))
}

pub(crate) fn shown(name: &str, words: Words) -> Sample {
    Sample::new(vec![Picture::open(picture(name)).unwrap()], words)
}
