//! A data set of prompts and pictures, and how it is recorded.

use std::path::Path;

use mmlens_core::{Case, Cases, Picture, Sample, SubjectError, Unwatched, from_fn};
use mmlens_store::{Recording, Store};
use mmlens_testkit::Toy;

pub(crate) const SITE: &str = "text.blocks.1.resid_post";

pub(crate) fn painted(seed: usize) -> Picture {
    let image = image::RgbImage::from_fn(8, 8, |x, y| {
        image::Rgb([0, 1, 2].map(|c| ((x * 31 + y * 57 + c * 91 + seed as u32 * 13) % 256) as u8))
    });
    Picture::new(format!("painted-{seed}"), image)
}

/// Prompts of different lengths, some with pictures.
pub(crate) fn sample(i: usize) -> Result<Sample, SubjectError> {
    let words: String = "abcdefgh".chars().cycle().skip(i).take(1 + i % 5).collect();
    Ok(match i % 3 {
        0 => Sample::prompt(vec![painted(i)], format!("#{words}")),
        _ => Sample::prompt(vec![], words),
    })
}

pub(crate) fn words(count: usize) -> impl Cases {
    from_fn("words", count, |i| Ok(Case::new(sample(i)?)))
}

pub(crate) fn recording(site: &str) -> Recording {
    Recording::new(site.parse().unwrap()).batch(4).unwrap().shard(30).unwrap()
}

pub(crate) fn record(recording: &Recording, folder: &Path, count: usize) -> Store {
    recording.run(&Toy::curved(1), folder, &words(count), &Unwatched).unwrap()
}

pub(crate) fn all(store: &Store) -> Vec<u64> {
    (0..store.len()).collect()
}
