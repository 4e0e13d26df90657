//! Influence of training cases against heads that are trained again, in the small.

#[path = "../../../../examples/influence/agree.rs"]
mod agree;
#[path = "../../../../examples/influence/truth.rs"]
mod truth;

use std::sync::Arc;

use mmlens::core::burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::zoo::shipped;

use agree::{Row, Told};
use truth::{Size, Trained};

/// What takes gradients of the trained head knows what training again does; chance does not.
#[test]
fn trak_and_tracin_know_what_training_again_does() {
    let inner: Arc<dyn Subject> = Arc::new(shipped::shapes_clip(&Device::default()).unwrap());
    let trained = Trained::new(&inner, Size::SMALL, Seed(1)).unwrap();
    assert_eq!(trained.planted.iter().filter(|own| **own).count(), Size::SMALL.planted);
    assert!(
        trained.subsets.iter().all(|own| own.iter().filter(|own| **own).count() == Size::SMALL.cases / 2)
    );
    assert!(trained.told().unwrap().starts_with("40 training cases, 4 of them with a wrong label, right in"));
    for size in [Size::SMALL, Size::WHOLE] {
        assert!(size.planted * 10 == size.cases && size.seeds > 0, "{size:?}");
    }
    let mut told = Told::default();
    told.add(&trained).unwrap();
    let row = |name: &str| -> &Row { told.rows.iter().find(|row| row.name == name).unwrap() };
    let [again, trak, tracin, chance] = [
        "trained again without the case",
        "`trak`, whole gradients",
        "`tracin`, whole gradients",
        "by chance",
    ]
    .map(row);
    assert_eq!(again.without.value, 1.0);
    assert_eq!(told.table().lines().count(), 2 + told.rows.len());
    let found = [again, trak, tracin, chance].map(|row| row.subsets.value);
    assert!(found[..3].iter().all(|own| *own > 0.3) && found[3].abs() < 0.3, "{found:?}");
    // Of wrong labels TracIn and TRAK find by self-influence about what the loss alone finds, half in the whole table (0.50 to 0.52 of 20 among the
    // first 20, docs/training.md): a head that is fitted to its minimum with a penalty leaves them with high losses, and a gradient is that times
    // a state of nearly one length. Here there are 4 among 40, too few to ask for any among the first four (TRAK has none): they rank above chance,
    // an AUROC of 0.5, and as the loss ranks them (TRAK and the loss 0.72 both).
    let loss = row("the loss of the case").own.as_ref().unwrap();
    for found in [trak, tracin] {
        let (area, first) = found.own.as_ref().unwrap();
        println!(
            "{}: AUROC {:.3}, among the first {first:.2}; the loss {:.3}",
            found.name, area.value, loss.0.value
        );
        assert!(
            area.value > 0.6 && (area.value - loss.0.value).abs() < 0.15,
            "{}: {}",
            found.name,
            area.value
        );
    }
    // Labels that are wrong are among those that speak the most against right answers, if the truth is known.
    assert!(again.harm.0.value > 0.7, "{}", again.harm.0.value);
}
