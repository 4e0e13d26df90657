//! Features on the models that ship inside: what is planted in their weights is found, identities hold, and cautions come where they should.

mod cautions;
mod colour;
mod identities;
mod planted;

use std::path::Path;

use mmlens_core::{Cases, Plan, Subject};
use mmlens_data::shapes::ShapesConcepts;
use mmlens_engine::{Eigen, Matrix, dot};
use mmlens_testkit::{Weights, planted, shipped};
use tempfile::TempDir;

use crate::support::site;

/// Places on a side of the picture, and pixels on a side of a place.
const GRID: usize = 8;

/// What a site holds of a case, row by row.
fn held(subject: &dyn Subject, data: &dyn Cases, case: usize, place: &str) -> Vec<Vec<f64>> {
    let inputs = subject.encode(&data.case(case).unwrap().sample).unwrap();
    let trace = subject.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
    let value = trace.get(site(place)).unwrap();
    let width = *value.dims().last().unwrap();
    value.to_values().unwrap().chunks(width).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

/// How many of the 64 pixels of every patch show something of a name, `colour: red`.
fn covered(data: &ShapesConcepts, case: usize, name: &str) -> Vec<usize> {
    let mut pixels = vec![0; GRID * GRID];
    for mask in data.masks(case).unwrap().into_iter().filter(|mask| mask.name == name) {
        let inside = mask.inside.iter().enumerate().filter(|(_, inside)| **inside);
        inside.for_each(|(at, _)| pixels[at / 64 / 8 * GRID + at % 64 / 8] += 1);
    }
    pixels
}

/// `w` that makes least `sum_i c_i (x_i . w - y_i)^2` and a little of its own square.
fn least_squares(rows: &[Vec<f64>], (wanted, counts): (&[f64], &[f64]), ridge: f64) -> Vec<f64> {
    let width = rows[0].len();
    let (mut square, mut right) = (Matrix::zeros(width, width), vec![0.0; width]);
    for (row, (y, count)) in rows.iter().zip(wanted.iter().zip(counts)) {
        for ((sums, x), right) in square.rows_mut().zip(row).zip(&mut right) {
            sums.iter_mut().zip(row).for_each(|(sum, other)| *sum += count * x * other);
            *right += count * x * y;
        }
    }
    let Eigen { values, vectors } = Eigen::of("test", &square).unwrap();
    let mut found = vec![0.0; width];
    for (value, vector) in values.iter().zip(vectors.rows()) {
        let by = dot(vector, &right) / (value.max(0.0) + ridge * values[0]); // no NaN: finite rows
        found.iter_mut().zip(vector).for_each(|(x, v)| *x += by * v);
    }
    found
}

/// What reads from rows whether they are of a class: 1 where they are and -1 elsewhere, both counted alike. A row's last number should be one.
fn detector(rows: &[Vec<f64>], own: &[bool]) -> Vec<f64> {
    let first = own.iter().filter(|own| **own).count() as f64;
    let others = own.len() as f64 - first;
    let wanted: Vec<f64> = own.iter().map(|own| if *own { 1.0 } else { -1.0 }).collect();
    let counts: Vec<f64> = own.iter().map(|own| if *own { 1.0 / first } else { 1.0 / others }).collect();
    least_squares(rows, (&wanted, &counts), 1e-6)
}

/// Mean and deviation of numbers.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// A model that ships inside, with its weights changed.
fn opened_with(name: &str, plant: impl FnOnce(&mut Weights)) -> (Box<dyn Subject>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    planted(&shipped(name), folder.path(), plant);
    (mmlens_zoo::open(folder.path() as &Path, &mmlens_core::device::host()).unwrap(), folder)
}

/// A weight of two axes, in double precision.
fn wide(weights: &Weights, name: &str) -> Matrix {
    let (dims, values) = &weights[name];
    Matrix::of_floats(values, *dims.last().unwrap()).unwrap()
}
