//! Subjects, samples and small helpers of these tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use burn::tensor::Device;
use mmlens_core::{Annotated, Case, ManyCases, Picture, Sample, Site, Subject, Words, from_fn};
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

pub(crate) fn few() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}

pub(crate) fn site(name: &str) -> Site {
    name.parse().unwrap()
}

/// Labels of [`many`], by the case.
const LABELS: [&str; 12] = [
    "first",
    "random",
    "second",
    "random",
    "explained",
    "first",
    "random",
    "second",
    "random",
    "explained",
    "first",
    "second",
];

/// A data set of twelve cases like a sample, each with a few letters behind its words, a label and what it shows by name.
pub(crate) fn many(sample: &Sample) -> ManyCases {
    let sample = sample.clone();
    let case = move |i: usize| {
        let more =
            ["", "a", "ab", "bd", "dba", "bb", "ba", "aa", "abd", "da", "db", "bab"].get(i).copied().unwrap();
        let longer = |words: &str| format!("{words}{more}");
        let words = match &sample.words {
            Words::Prompt(prompt) => Words::Prompt(longer(prompt)),
            Words::Texts(texts) => Words::Texts(texts.iter().map(|text| longer(text)).collect()),
            other => panic!("{other:?}"),
        };
        Ok(Case::new(Sample { words, ..sample.clone() }))
    };
    let mut classes = LABELS.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let labels =
        LABELS.iter().map(|label| classes.iter().position(|class| class == label).unwrap()).collect();
    let data = Annotated::new(from_fn("many", LABELS.len(), case), classes, labels).unwrap();
    let shows = (0..LABELS.len()).map(|i| if i % 3 == 0 { vec!["third"] } else { vec![] });
    ManyCases::over(data.showing(shows).unwrap()).unwrap()
}
