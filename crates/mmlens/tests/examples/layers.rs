//! The example of the room of layers says what its page says.

#[path = "../../../../examples/layers/rooms.rs"]
mod rooms;

#[test]
fn the_room_of_layers() {
    let rooms = rooms::rooms().unwrap();
    println!("{}", rooms.text);
    // What is read by translators is nearer to the last layer than what is read without, at every depth.
    assert!(rooms.divergence.len() == 4 && rooms.divergence.iter().all(|[logit, tuned, _]| tuned < logit));
    // Two layers of MLPs bring back more than one of them alone.
    assert!(rooms.recovered[1] > rooms.recovered[0], "{:?}", rooms.recovered);
    let (name, bytes) = &rooms.pictures[0];
    let drawn = image::load_from_memory(bytes).unwrap();
    // The scene and four layers, two pixels for one.
    assert_eq!((*name, drawn.width(), drawn.height()), ("tracing.png", 5 * 128, 128));
}
