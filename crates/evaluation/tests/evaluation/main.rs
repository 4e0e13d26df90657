//! Metrics against Quantus, captum and closed forms; the harness against sums by hand, a budget, and kills.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::{Case, Inputs, Mask, Objective, On, PersonMap, Picture, Sample, Seed, Subject, Target};
use mmlens_evaluation::{AtHand, Explainer, Map, NoScore, Redraws, Side};

mod comparison;
mod harness;
mod identities;
mod oracles;
mod words;

/// A map that is there already.
struct There(Map);

impl Explainer for There {
    fn map(&self, _: &On<'_>, _: &Case, _: Side) -> Result<Map, NoScore> {
        Ok(self.0.clone())
    }

    fn cost(&self, _: &On<'_>, _: &Case) -> Result<u64, NoScore> {
        Ok(1)
    }
}

/// A case, opened on a subject.
struct At<'a> {
    subject: &'a dyn Subject,
    case: Case,
    inputs: Inputs,
    objective: Objective,
}

impl<'a> At<'a> {
    fn new(subject: &'a dyn Subject, sample: Sample, target: Target) -> Self {
        let (inputs, objective) = Case { sample: sample.clone(), target }.open(subject).unwrap();
        let case = Case { sample, target: Target::Objective(objective.clone()) };
        Self { subject, case, inputs, objective }
    }

    fn asked<'b>(
        &'b self,
        explainer: &'b dyn Explainer,
        known: &'b Known,
        redraws: Redraws<'b>,
    ) -> AtHand<'b> {
        AtHand {
            on: On::new(self.subject),
            case: &self.case,
            inputs: &self.inputs,
            objective: &self.objective,
            picture: 0,
            masks: &known.masks,
            persons: &known.persons,
            explainer,
            redraws,
            seed: Seed(3),
        }
    }
}

#[derive(Default)]
struct Known {
    masks: Vec<Mask>,
    persons: Vec<PersonMap>,
}

fn painted(seed: u32, [width, height]: [u32; 2]) -> Picture {
    let image = RgbImage::from_fn(width, height, |x, y| {
        Rgb([0, 1, 2].map(|c| ((x * 31 + y * 57 + c * 91 + seed * 13) * 17 % 256) as u8))
    });
    Picture::new("painted", DynamicImage::from(image))
}
