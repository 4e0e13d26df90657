//! Draws that depend on a seed alone.

use mmlens_core::Seed;

/// A draw of the normal distribution (Box and Muller 1958).
pub fn normal(seed: Seed) -> f64 {
    let (radius, angle) = (1.0 - f64::from(seed.at(0).unit()), f64::from(seed.at(1).unit()));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
