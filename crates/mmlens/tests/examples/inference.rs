//! Decoders and confidences on questions whose answers are known: less of what docs/inference.md quotes.

#[path = "../../../../examples/inference/tour.rs"]
mod tour;

use mmlens::core::burn::tensor::Device;
use mmlens::data::shapes::Kind;
use mmlens::zoo::shipped;
use mmlens_testkit::numbers;

/// Where the shipped model is not always right, decoders differ: contrasting layers costs it answers, as drawing does, and a contrast with noise gives those back. Greedy answers are those whose
/// confidence is measured, and it tells right from wrong.
#[test]
fn the_tour_compares_decoders_and_confidences() {
    let subject = shipped::shapes(&Device::default()).unwrap();
    let tour = tour::Tour::new(Kind::Count, 20);
    assert_eq!(tour.cases(), 20);
    let found = tour.decoders(&subject).unwrap();
    let of = |name: &str| found.iter().find(|(own, _)| *own == name).unwrap().1;
    assert_eq!(found.len(), 8);
    assert!(of("greedy") >= 0.85 && of("vcd, greedy") >= 0.85, "{found:?}");
    assert!(of("dola (textbook), greedy") < of("greedy"), "{found:?}");
    assert!(of("drawn") < of("greedy") && of("drawn") < of("vcd, drawn"), "{found:?}");
    let confidence = tour.calibration(&subject).unwrap();
    let accuracy = numbers(&confidence, "accuracy")[0];
    assert!((f64::from(accuracy) - of("greedy")).abs() < 1e-6, "{accuracy} {found:?}");
    let auroc = numbers(&confidence, "auroc")[0];
    assert!(auroc > 0.6 && numbers(&confidence, "mean confidence")[0] > accuracy, "{auroc}");
    assert!((0.0..=1.0).contains(&tour.meanings(&subject).unwrap().unwrap()));
}
