//! The tour of the tokens of a picture: what it shows is so.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../examples/tokens/tour.rs"]
mod tour;

use mmlens::core::burn::tensor::Device;
use mmlens::model::token_ablation::Replace;
use mmlens::zoo::shipped;

/// The object matters more than any random set like it, and what lies around it does not; the pictures are drawn.
#[test]
fn the_tour_finds_the_object() {
    let (subject, scene) = (shipped::shapes(&Device::default()).unwrap(), tour::first().unwrap());
    assert!(scene.question.contains("colour") && !scene.answer.is_empty());
    let found = scene.ablation(&subject, Replace::Cut).unwrap();
    let numbers = |table: &str| found.table(table).unwrap().as_numbers().unwrap().to_vec();
    assert!(
        numbers("change")[0] < 0.0 && numbers("p")[0] == 0.05,
        "{:?} {:?}",
        numbers("change"),
        numbers("p")
    );
    assert!(numbers("change")[1].abs() < numbers("change")[0].abs());
    let sinks = scene.sinks(&subject).unwrap();
    let words = scene.words(&subject).unwrap();
    for table in [sinks.table("over even share").unwrap(), words.table("nearest").unwrap()] {
        assert!(scene.drawn(table, 0).unwrap().starts_with(b"\x89PNG"));
    }
    let contexts = scene.contexts(&subject, 6).unwrap();
    let told = contexts.table("contexts").unwrap().as_texts().unwrap();
    assert!(told.iter().all(|text| text.contains('[') && text.contains(']')), "{told:?}");
}
