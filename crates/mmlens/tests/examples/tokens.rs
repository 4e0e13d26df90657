//! The tour of the tokens of a picture: what it shows is so.

#[path = "../../../../examples/tokens/tour.rs"]
mod tour;

use mmlens::core::burn::tensor::Device;
use mmlens::model::token_ablation::Replace;
use mmlens::report::on_picture;
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
        let layers = tour::layers(table).unwrap();
        let drawn = image::load_from_memory(&scene.drawn(&layers).unwrap()).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (128 * (1 + layers.len() as u32), 128));
    }
    // Of each method more lies on the object than its share of the picture.
    for table in scene.attributions(&subject).unwrap() {
        let places = on_picture([table], (0, 0), (64, 64)).unwrap().places;
        let inside = |[x0, y0, x1, y1]: &[f32; 4]| {
            let [left, top, right, bottom] = scene.bbox;
            let (x, y) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
            (left..right).contains(&x) && (top..bottom).contains(&y)
        };
        let mean = |within: bool| {
            let own: Vec<f32> =
                places.iter().filter(|(at, _)| inside(at) == within).map(|(_, value)| value.abs()).collect();
            own.iter().sum::<f32>() / own.len() as f32
        };
        assert!(mean(true) > mean(false), "{} {}", mean(true), mean(false));
    }
    let contexts = scene.contexts(&subject, 6).unwrap();
    let told = contexts.table("contexts").unwrap().as_texts().unwrap();
    assert!(told.iter().all(|text| text.contains('[') && text.contains(']')), "{told:?}");
}
