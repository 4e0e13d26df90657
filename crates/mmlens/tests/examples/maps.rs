//! Maps of one answer: what the example prints is so.

#[path = "../../../../examples/maps/tour.rs"]
mod tour;

use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

/// Those that docs/maps.md finds above the baselines on this model lie on the object more than evenly; the picture is drawn.
#[test]
fn maps_lie_on_the_object() {
    let (subject, asked) = (shipped::shapes(&Device::default()).unwrap(), tour::first().unwrap());
    assert!(asked.question.contains("colour") && !asked.answer.is_empty());
    let known = tour::methods();
    let mut all = Vec::new();
    for name in ["saliency", "gxi", "relevance", "occlusion"] {
        let (method, settings) = known.iter().find(|(own, _)| *own == name).unwrap().clone();
        let map = asked.map(&subject, method, settings).unwrap();
        let (inside, even) = (map.inside, asked.even());
        assert!(inside > even && inside <= 1.0, "{}: {inside} {even}; {:?}", map.method, map.cautions);
        all.push(map);
    }
    let drawn = image::load_from_memory(&asked.drawn(&all).unwrap()).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (3 * 128, 256));
}
