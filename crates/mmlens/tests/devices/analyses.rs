//! Integrated gradients and occlusion, as they are on the CPU.

use burn::tensor::Device;
use mmlens::core::finding::{Finding, Tolerance};
use mmlens::core::{Analysis, Baseline, Case, device};
use mmlens::engine::End;
use mmlens::model::integrated_gradients::{self, IntegratedGradients};
use mmlens::model::occlusion::{self, Cover, Occlusion};

use crate::sweeps::{opened, sample};

/// Attributions are sums of products over 64 pixels and more: their rounding, relative to the largest.
const ROUNDING: Tolerance = Tolerance::relative(1e-4);

fn found(device: &Device) -> [Finding; 2] {
    let (subject, _) = opened(device);
    let case = Case::new(sample("square"));
    // From zero, so that the gap of four nodes is large: a difference of nearly equal numbers keeps fewer digits.
    let along = Some(vec![End::new("vision.pixels".parse().unwrap(), Baseline::Zero)]);
    let gradients = integrated_gradients::Settings { along, steps: Some(4), rows: 3, ..Default::default() };
    let hidden = occlusion::Settings {
        picture: Some(Cover::Grid { rows: 3, cols: 2 }),
        rows: 4,
        ..Default::default()
    };
    [
        IntegratedGradients::new(gradients).unwrap().run(subject.as_ref(), &case).unwrap(),
        Occlusion::new(hidden).unwrap().run(subject.as_ref(), &case).unwrap(),
    ]
}

pub(crate) fn hold(device: &Device) {
    for (there, here) in found(device).iter().zip(&found(&device::host())) {
        assert_eq!(there.tables().len(), here.tables().len());
        let mut compared = 0;
        for (there, here) in there.tables().iter().zip(here.tables()) {
            assert_eq!((there.name(), there.axes()), (here.name(), here.axes()));
            let (Some(there), Some(wanted)) = (there.as_numbers(), here.as_numbers()) else { continue };
            ROUNDING.check(here.name(), there, wanted).unwrap();
            compared += wanted.len();
        }
        assert!(compared > 6);
    }
}
