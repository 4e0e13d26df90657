//! What goes into a model and what comes out, on the models that ship inside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../examples/data_room/room.rs"]
mod room;

use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

#[test]
fn the_data_room_tells_what_it_finds() {
    let (clip, llava) =
        (shipped::shapes_clip(&Device::default()).unwrap(), shipped::shapes(&Device::default()).unwrap());
    let seen = room::modalities(&llava, 8).unwrap();
    let change = seen.table("change").unwrap().as_numbers().unwrap();
    assert!(change.iter().all(|change| *change > 0.0), "{change:?}");
    let pairs = room::pairs(&clip, 8).unwrap();
    let accuracy = pairs.table("accuracy").unwrap();
    assert!(accuracy.as_numbers().unwrap().last().is_some_and(|all| *all > 0.8), "{accuracy:?}");
    let (question, _, finding) = room::counterfactual(&llava).unwrap();
    assert!(question.starts_with("what colour is the "), "{question}");
    assert!(finding.sentences().len() > 2, "{:?}", finding.sentences());
    assert!(room::grounded().unwrap().ends_with("of the object's box"));
}
