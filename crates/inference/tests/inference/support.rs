//! Subjects, samples and small helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::{CautionKind, Finding};
use mmlens_core::{Picture, Sample, Subject};
use mmlens_testkit::{checkpoint, picture};
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

/// A picture of 8 x 8 pixels that depends on a number.
pub(crate) fn painted(seed: u32) -> Picture {
    let colour =
        |x: u32, y: u32, channel: u32| ((x * 37 + y * 91 + channel * 53 + seed * 29) * 17 % 256) as u8;
    let image = RgbImage::from_fn(8, 8, |x, y| Rgb([0, 1, 2].map(|channel| colour(x, y, channel))));
    Picture::new("painted", DynamicImage::from(image))
}

pub(crate) fn numbers<'a>(finding: &'a Finding, table: &str) -> &'a [f32] {
    finding.table(table).unwrap().as_numbers().unwrap()
}

pub(crate) fn kinds(finding: &Finding) -> Vec<CautionKind> {
    finding.cautions().iter().map(|caution| caution.kind).collect()
}

pub(crate) fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}
