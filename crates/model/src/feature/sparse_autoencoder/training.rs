//! The search: directions that are adapted to batches of rows by Adam.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use mmlens_core::burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::finding::{NotFinite, largest};
use mmlens_core::{AnalysisError, AnyTensor, Seed};
use mmlens_engine::dictionary::{Kept, Of, Weights, top_places};
use mmlens_engine::{Dictionary, direction};
use mmlens_files::{Doubles, TensorError, doubles_to_bytes, read_doubles, write};
use mmlens_kernels::linear;
use rayon::prelude::*;

use super::CARD;

/// What decides a search beside its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) k: usize,
    pub(super) rate: f64,
    /// The weight of what dead features are to explain.
    pub(super) auxiliary: f64,
    /// Of so many of them.
    pub(super) auxiliary_k: usize,
    /// Rows after which a feature that was active in none of them is dead.
    pub(super) dead_after: u64,
}

/// How many features may be active in a row at a step: their number grows evenly from one to `k` over the first `growing` steps.
pub(super) fn grown(k: usize, step: u64, growing: u64) -> usize {
    match step < growing {
        true => 1 + ((k as u64 - 1) * step / growing) as usize,
        false => k,
    }
}

/// The running means of a gradient and of its square.
#[derive(Debug, Clone, PartialEq, Default)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    fn of(length: usize) -> Self {
        Self { first: vec![0.0; length], second: vec![0.0; length] }
    }

    /// One step of Adam (Kingma and Ba 2015), in place.
    fn step(&mut self, values: &mut [f32], gradient: &[f32], pace: Pace) {
        let own = self.first.iter_mut().zip(&mut self.second);
        for ((value, g), (first, second)) in values.iter_mut().zip(gradient).zip(own) {
            *first = FIRST * *first + (1.0 - FIRST) * g;
            *second = SECOND * *second + (1.0 - SECOND) * g * g;
            *value -= pace.rate * *first / ((*second * pace.second).sqrt() + EPSILON);
        }
    }
}

const FIRST: f32 = 0.9;
const SECOND: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// What a step of Adam multiplies by: the rate over `1 - 0.9^t`, and 1 over `1 - 0.999^t`.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: f32,
    second: f32,
}

/// One feature: how it is found, and what it stands for.
#[derive(Debug, Clone, PartialEq)]
struct Direction {
    encoder: Vec<f32>,
    bias: f32,
    decoder: Vec<f32>,
    of_encoder: Moments,
    of_bias: Moments,
    of_decoder: Moments,
    /// Rows since it was active.
    silent: u64,
}

/// So much of a feature in a row: how much, and the gradient of the loss by it.
struct Active {
    feature: usize,
    much: f32,
    gradient: f32,
}

/// What became of a row.
struct Worked {
    active: Vec<Active>,
    revived: Vec<Active>,
    /// Of the loss, by what is put together, and by what dead features put together.
    together: Vec<f32>,
    anew: Vec<f32>,
    /// Of the loss, by what came in.
    centred: Vec<f32>,
}

/// Directions under way, of rows over their scale: what is learned does not depend on it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Training {
    width: usize,
    scale: f32,
    directions: Vec<Direction>,
    centre: Vec<f32>,
    of_centre: Moments,
    pub(super) steps: u64,
    /// The largest absolute value of the gradient in the last step.
    pub(super) gradient: f64,
    /// What was left unexplained after each pass.
    pub(super) passes: Vec<f64>,
}

impl Training {
    /// Directions drawn evenly from the sphere, found by themselves, around a centre of rows of a scale.
    pub(super) fn new(centre: &[f32], scale: f32, features: usize, seed: Seed) -> Self {
        let width = centre.len();
        let directions = (0..features).map(|at| {
            let direction = unit(width, seed.at(at as u64));
            Direction {
                encoder: direction.clone(),
                bias: 0.0,
                decoder: direction,
                of_encoder: Moments::of(width),
                of_bias: Moments::of(1),
                of_decoder: Moments::of(width),
                silent: 0,
            }
        });
        Self {
            width,
            scale,
            directions: directions.collect(),
            centre: centre.iter().map(|x| x / scale).collect(),
            of_centre: Moments::of(width),
            steps: 0,
            gradient: 0.0,
            passes: Vec::new(),
        }
    }

    /// The dictionary as it stands.
    pub(super) fn dictionary(&self, k: usize, of: Of) -> Result<Dictionary, AnalysisError> {
        let (width, features) = (self.width, self.directions.len());
        let mut encoder = vec![0.0; width * features];
        for (at, direction) in self.directions.iter().enumerate() {
            for (to, value) in encoder.iter_mut().skip(at).step_by(features).zip(&direction.encoder) {
                *to = *value;
            }
        }
        let weights = Weights {
            width,
            features,
            encoder,
            encoder_bias: self.directions.iter().map(|direction| direction.bias * self.scale).collect(),
            decoder: self.directions.iter().flat_map(|direction| direction.decoder.iter().copied()).collect(),
            decoder_bias: self.centre.iter().map(|x| x * self.scale).collect(),
        };
        Dictionary::new(weights, Kept::Largest(k), of).map_err(unsteady)
    }

    /// Adapts the directions to a batch of rows.
    pub(super) fn step(&mut self, rows: &[f32], rule: &Rule) -> Result<(), AnalysisError> {
        let width = self.width;
        let count = rows.len() / width.max(1);
        let rows: Vec<f32> = rows.iter().map(|x| x / self.scale).collect();
        let centred: Vec<f32> = rows
            .chunks_exact(width)
            .flat_map(|row| row.iter().zip(&self.centre).map(|(x, centre)| x - centre))
            .collect();
        let before = self.before(&centred, count)?;
        let dead: Vec<usize> = (0..self.directions.len())
            .filter(|at| self.directions.get(*at).is_some_and(|d| d.silent >= rule.dead_after))
            .collect();
        let features = self.directions.len();
        let worked: Vec<Worked> = rows
            .par_chunks_exact(width)
            .zip(before.par_chunks_exact(features))
            .map(|(row, before)| self.row(row, before, &dead, (rule, count)))
            .collect();

        self.steps += 1;
        let power = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let corrected = |beta: f32| 1.0 - f64::from(beta).powi(power);
        let pace =
            Pace { rate: (rule.rate / corrected(FIRST)) as f32, second: (1.0 / corrected(SECOND)) as f32 };
        // What each feature was active in, in the order of the rows.
        let mut by_feature: Vec<Vec<(usize, &Active, bool)>> = vec![Vec::new(); features];
        for (row, worked) in worked.iter().enumerate() {
            let both =
                worked.active.iter().map(|a| (a, false)).chain(worked.revived.iter().map(|a| (a, true)));
            for (active, revived) in both {
                if let Some(of) = by_feature.get_mut(active.feature) {
                    of.push((row, active, revived));
                }
            }
        }
        let mut centre = vec![0.0_f32; width];
        for row in &worked {
            for ((to, together), centred) in centre.iter_mut().zip(&row.together).zip(&row.centred) {
                *to += together - centred;
            }
        }
        let steepest: Result<Vec<f64>, NotFinite> = self
            .directions
            .par_iter_mut()
            .zip(&by_feature)
            .map(|(direction, of)| direction.step(of, (&worked, &centred), (count, pace)))
            .collect();
        let mut steepest = steepest.map_err(unsteady)?;
        steepest.push(largest(&centre).map_err(unsteady)?);
        self.of_centre.step(&mut self.centre, &centre, pace);
        self.gradient = largest(&steepest).map_err(unsteady)?;
        Ok(())
    }

    /// Of each row, how much of each feature it holds before the largest are kept.
    fn before(&self, centred: &[f32], count: usize) -> Result<Vec<f32>, AnalysisError> {
        let (width, features) = (self.width, self.directions.len());
        let device = Device::default();
        let encoder: Vec<f32> = self.directions.iter().flat_map(|d| d.encoder.iter().copied()).collect();
        let bias: Vec<f32> = self.directions.iter().map(|direction| direction.bias).collect();
        let matrix =
            |values: Vec<f32>, rows| Tensor::<2>::from_data(TensorData::new(values, [rows, width]), &device);
        let bias = Tensor::<1>::from_data(TensorData::new(bias, [features]), &device);
        let before = linear(matrix(centred.to_vec(), count), matrix(encoder, features), Some(bias));
        Ok(AnyTensor::new(before).to_values()?)
    }

    fn row(&self, row: &[f32], before: &[f32], dead: &[usize], (rule, count): (&Rule, usize)) -> Worked {
        let scale = (2.0 / count as f64) as f32;
        let much = |at: usize| before.get(at).copied().filter(|much| *much > 0.0).map(|much| (at, much));
        let kept: Vec<(usize, f32)> = top_places(before, rule.k).into_iter().filter_map(much).collect();
        let mut missed: Vec<f32> = self.centre.iter().zip(row).map(|(centre, x)| centre - x).collect();
        self.add(&kept, &mut missed);
        let together: Vec<f32> = missed.iter().map(|e| scale * e).collect();
        let mut centred = vec![0.0; self.width];
        let active = self.pull(&kept, &together, &mut centred);
        let (mut revived, mut anew) = (Vec::new(), Vec::new());
        if !dead.is_empty() && rule.auxiliary > 0.0 {
            let values: Vec<f32> = dead.iter().filter_map(|at| before.get(*at).copied()).collect();
            let of_dead = top_places(&values, rule.auxiliary_k).into_iter();
            let kept: Vec<(usize, f32)> =
                of_dead.filter_map(|at| dead.get(at).copied()).filter_map(much).collect();
            // What they put together is to be what the others miss: `missed` is that with its sign turned.
            self.add(&kept, &mut missed);
            let share = (dead.len() as f64 / rule.auxiliary_k.max(1) as f64).min(1.0);
            let scale = scale * (rule.auxiliary * share) as f32;
            anew = missed.iter().map(|e| scale * e).collect();
            revived = self.pull(&kept, &anew, &mut centred);
        }
        Worked { active, revived, together, anew, centred }
    }

    /// Adds so much of some directions.
    fn add(&self, kept: &[(usize, f32)], to: &mut [f32]) {
        for (at, much) in kept {
            let Some(direction) = self.directions.get(*at) else { continue };
            for (to, value) in to.iter_mut().zip(&direction.decoder) {
                *to += much * value;
            }
        }
    }

    /// The gradient by so much of each feature, and what of it comes to what came in.
    fn pull(&self, kept: &[(usize, f32)], gradient: &[f32], centred: &mut [f32]) -> Vec<Active> {
        let each = kept.iter().filter_map(|(at, much)| {
            let direction = self.directions.get(*at)?;
            let own = dot(&direction.decoder, gradient);
            for (to, value) in centred.iter_mut().zip(&direction.encoder) {
                *to += own * value;
            }
            Some(Active { feature: *at, much: *much, gradient: own })
        });
        each.collect()
    }
}

/// A search that has left the numbers.
fn unsteady(error: impl std::fmt::Display) -> AnalysisError {
    AnalysisError::Input {
        method: CARD.id,
        needs: "a search that stays finite: a lower `rate`".into(),
        found: error.to_string(),
    }
}

impl Direction {
    fn step(
        &mut self,
        of: &[(usize, &Active, bool)],
        (worked, centred): (&[Worked], &[f32]),
        (count, pace): (usize, Pace),
    ) -> Result<f64, NotFinite> {
        let width = self.decoder.len();
        let (mut encoder, mut bias, mut decoder) = (vec![0.0_f32; width], 0.0_f32, vec![0.0_f32; width]);
        for (row, active, revived) in of {
            let Some(own) = worked.get(*row) else { continue };
            let by = if *revived { &own.anew } else { &own.together };
            for (to, g) in decoder.iter_mut().zip(by) {
                *to += active.much * g;
            }
            let came = centred.get(row * width..(row + 1) * width).unwrap_or_default();
            for (to, x) in encoder.iter_mut().zip(came) {
                *to += active.gradient * x;
            }
            bias += active.gradient;
        }
        // Along the direction itself there is nothing to be learned: its length is one.
        let along = dot(&decoder, &self.decoder);
        for (g, value) in decoder.iter_mut().zip(&self.decoder) {
            *g -= along * value;
        }
        self.of_encoder.step(&mut self.encoder, &encoder, pace);
        self.of_bias.step(std::slice::from_mut(&mut self.bias), &[bias], pace);
        self.of_decoder.step(&mut self.decoder, &decoder, pace);
        let length = dot(&self.decoder, &self.decoder).sqrt().max(f32::MIN_POSITIVE);
        self.decoder.iter_mut().for_each(|value| *value /= length);
        let was_active = of.iter().any(|(_, _, revived)| !revived);
        self.silent = if was_active { 0 } else { self.silent + count as u64 };
        largest(&[encoder, decoder, vec![bias]].concat())
    }
}

/// A direction drawn evenly from the sphere.
pub(super) fn unit(width: usize, seed: Seed) -> Vec<f32> {
    direction(width, seed).into_iter().map(|x| x as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// What tells a search from others, in the file of one that is under way.
const OF: &str = "of";

impl Training {
    /// Keeps the search in a file, whole or not at all.
    pub(super) fn keep(&self, file: &Path, of: &str) -> Result<(), AnalysisError> {
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let (width, features) = (self.width, self.directions.len());
        let rows = |take: fn(&Direction) -> &[f32], wide_of: usize| Doubles {
            shape: vec![features, wide_of],
            values: self.directions.iter().flat_map(|d| take(d).iter().map(|x| f64::from(*x))).collect(),
        };
        let one = |values: Vec<f64>| Doubles { shape: vec![values.len()], values };
        let tensors = [
            ("encoder", rows(|d| &d.encoder, width)),
            ("encoder.first", rows(|d| &d.of_encoder.first, width)),
            ("encoder.second", rows(|d| &d.of_encoder.second, width)),
            ("bias", rows(|d| std::slice::from_ref(&d.bias), 1)),
            ("bias.first", rows(|d| &d.of_bias.first, 1)),
            ("bias.second", rows(|d| &d.of_bias.second, 1)),
            ("decoder", rows(|d| &d.decoder, width)),
            ("decoder.first", rows(|d| &d.of_decoder.first, width)),
            ("decoder.second", rows(|d| &d.of_decoder.second, width)),
            ("silent", one(self.directions.iter().map(|d| d.silent as f64).collect())),
            ("centre", one(wide(&self.centre))),
            ("centre.first", one(wide(&self.of_centre.first))),
            ("centre.second", one(wide(&self.of_centre.second))),
            ("passes", one(self.passes.clone())),
            ("ended", one(vec![self.steps as f64, self.gradient])),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let bytes = doubles_to_bytes(&tensors, &[(OF.to_owned(), of.to_owned())].into());
        write(file, bytes.map_err(|error| wrong(error.to_string()))?)
            .map_err(|error| wrong(error.to_string()))
    }

    /// A search that was kept, if it is there and is this one; one of other settings or rows is begun anew.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a file that holds no such search.
    pub(super) fn kept(
        file: &Path,
        of: &str,
        scale: f32,
        sizes: (usize, usize),
    ) -> Result<Option<Self>, AnalysisError> {
        let broken = |found: String| AnalysisError::Input {
            method: CARD.id,
            needs: "a search that was kept whole, or no such file".into(),
            found,
        };
        let (tensors, texts) = match read_doubles(file) {
            Err(TensorError::File { error, .. }) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| broken(error.to_string()))?,
        };
        match texts.get(OF) {
            Some(own) if own == of => Self::of(tensors, scale, sizes)
                .map(Some)
                .ok_or_else(|| broken(format!("{} lacks a part of it", file.display()))),
            Some(_) => Ok(None),
            None => Err(broken(format!("{} holds something else", file.display()))),
        }
    }

    /// A search of its parts, if all are there.
    fn of(
        mut tensors: BTreeMap<String, Doubles>,
        scale: f32,
        (width, features): (usize, usize),
    ) -> Option<Self> {
        let mut take = |name: &str, shape: &[usize]| {
            let tensor = tensors.remove(name)?;
            (shape.is_empty() || tensor.shape == shape).then_some(tensor.values)
        };
        let narrow = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let (wide, one) = ([features, width], [features, 1]);
        let mut rows = |name: &str, shape: &[usize]| take(name, shape).map(narrow);
        let [encoder, e1, e2] = ["encoder", "encoder.first", "encoder.second"].map(|name| rows(name, &wide));
        let [decoder, d1, d2] = ["decoder", "decoder.first", "decoder.second"].map(|name| rows(name, &wide));
        let [bias, b1, b2] = ["bias", "bias.first", "bias.second"].map(|name| rows(name, &one));
        let [centre, c1, c2] = ["centre", "centre.first", "centre.second"].map(|name| rows(name, &[width]));
        let (silent, passes, ended) =
            (take("silent", &[features])?, take("passes", &[])?, take("ended", &[2])?);
        let (encoder, e1, e2, decoder, d1, d2) = (encoder?, e1?, e2?, decoder?, d1?, d2?);
        let (bias, b1, b2) = (bias?, b1?, b2?);
        let row =
            |all: &[f32], at: usize, width: usize| all.get(at * width..(at + 1) * width).map(<[f32]>::to_vec);
        let direction = |at: usize| {
            Some(Direction {
                encoder: row(&encoder, at, width)?,
                bias: *bias.get(at)?,
                decoder: row(&decoder, at, width)?,
                of_encoder: Moments { first: row(&e1, at, width)?, second: row(&e2, at, width)? },
                of_bias: Moments { first: row(&b1, at, 1)?, second: row(&b2, at, 1)? },
                of_decoder: Moments { first: row(&d1, at, width)?, second: row(&d2, at, width)? },
                silent: *silent.get(at)? as u64,
            })
        };
        Some(Self {
            width,
            scale,
            directions: (0..features).map(direction).collect::<Option<_>>()?,
            centre: centre?,
            of_centre: Moments { first: c1?, second: c2? },
            steps: *ended.first()? as u64,
            gradient: *ended.get(1)?,
            passes,
        })
    }
}
