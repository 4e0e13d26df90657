//! What goes into a model and what comes out, on the models that ship inside.

#[path = "../../../../examples/data_room/room.rs"]
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
    let recoloured = room::counterfactual(&llava).unwrap();
    assert!(recoloured.question.starts_with("what colour is the "), "{}", recoloured.question);
    assert!(recoloured.edit.contains("colour="), "{}", recoloured.edit);
    assert!(recoloured.finding.sentences().len() > 2, "{:?}", recoloured.finding.sentences());
    let drawn = image::load_from_memory(&recoloured.drawn).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (3 * 128, 128));
    assert!(room::grounded().unwrap().ends_with("of the object's box"));
}
