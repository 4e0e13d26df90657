//! Exponential, error function and sigmoid without branches, so that they become vector instructions.

use super::simd::Isa;

const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to whole numbers, which stand in the lowest bits then
const LN2_HIGH: f32 = 0.693_359_4; // few bits, so that its products with small whole numbers are exact
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` to two units in the last place; 0 below -86.99 (where it is less than 1.7e-38), infinite above 88.72, and no number for none.
///
/// Cody and Waite's reduction to `[-ln 2 / 2, ln 2 / 2]`, then the polynomial of Moshier's Cephes library.
#[inline(always)]
pub(crate) fn exp<I: Isa>(x: f32) -> f32 {
    let low = if x < -87.3 { -87.3 } else { x };
    let held = if low > 88.8 { 88.8 } else { low };
    let shifted = I::mul_add(held, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = I::mul_add(n, -LN2_LOW, I::mul_add(n, -LN2_HIGH, held));
    let mut p = 1.987_569_1e-4;
    p = I::mul_add(p, r, 1.398_199_9e-3);
    p = I::mul_add(p, r, 8.333_452e-3);
    p = I::mul_add(p, r, 4.166_579_6e-2);
    p = I::mul_add(p, r, 1.666_666_5e-1);
    p = I::mul_add(p, r, 0.5);
    p = I::mul_add(p * r, r, r) + 1.0;
    // Half the power of two at a time: 2^128 is no float, twice 2^127 is what it should be, infinite or not.
    let half = f32::from_bits(shifted.to_bits().wrapping_add(126) << 23);
    let y = p * half * 2.0;
    if x < -87.3 { 0.0 } else { y }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<I>(-x))
}

/// The hyperbolic tangent, to two units in the last place: Cephes' polynomial near zero, the exponential elsewhere.
#[inline(always)]
pub(crate) fn tanh<I: Isa>(x: f32) -> f32 {
    let s = x * x;
    let mut p = -5.704_988_7e-3;
    p = I::mul_add(p, s, 2.063_909e-2);
    p = I::mul_add(p, s, -5.373_971_6e-2);
    p = I::mul_add(p, s, 1.333_144_2e-1);
    p = I::mul_add(p, s, -3.333_328e-1);
    let near = I::mul_add(p * s, x, x);
    let far = 1.0 - 2.0 / (exp::<I>(2.0 * x) + 1.0);
    if x.abs() < 0.625 { near } else { far }
}

/// The error function, to four units in the last place: the rational function of Eigen and XLA.
#[inline(always)]
pub(crate) fn erf<I: Isa>(x: f32) -> f32 {
    let held = if x > 4.0 { 4.0 } else { x };
    let held = if held < -4.0 { -4.0 } else { held };
    let s = held * held;
    let mut p = -2.726_142_3e-10;
    p = I::mul_add(p, s, 2.770_681_5e-8);
    p = I::mul_add(p, s, -2.101_024e-6);
    p = I::mul_add(p, s, -5.692_506_2e-5);
    p = I::mul_add(p, s, -7.349_906_5e-4);
    p = I::mul_add(p, s, -2.954_6e-3);
    p = I::mul_add(p, s, -1.609_603_3e-2);
    let mut q = -1.456_607_2e-5;
    q = I::mul_add(q, s, -2.133_740_5e-4);
    q = I::mul_add(q, s, -1.682_827e-3);
    q = I::mul_add(q, s, -7.373_329e-3);
    q = I::mul_add(q, s, -1.426_473_9e-2);
    let y = held * p / q;
    let y = if x >= 4.0 { 1.0 } else { y };
    if x <= -4.0 { -1.0 } else { y }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Fused, Portable};
    use super::*;

    fn inputs() -> impl Iterator<Item = f32> {
        (-100_000..=100_000).map(|i| i as f32 * 1e-3)
    }

    fn close<I: Isa>() {
        for x in inputs() {
            let (e, want) = (exp::<I>(x), f64::from(x).exp());
            let error = (f64::from(e) - want).abs();
            let shown = x > -86.98 && want < f64::from(f32::MAX);
            assert!(
                if shown { error <= 2.5e-7 * want } else { error < 1.7e-38 || e.is_infinite() },
                "{x}: {e}"
            );
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid::<I>(x)) - want).abs() < 2e-7, "{x}");
            let want = f64::from(x).tanh();
            assert!((f64::from(tanh::<I>(x)) - want).abs() <= 3e-7 * want.abs(), "{x}");
        }
    }

    #[test]
    fn exponentials_are_close_to_those_in_double_precision() {
        close::<Fused>();
        close::<Portable>();
    }

    /// Values from tables of the error function (Abramowitz and Stegun, table 7.1).
    #[test]
    fn the_error_function_has_the_values_of_the_tables() {
        let table = [
            (0.0_f32, 0.0_f64),
            (0.1, 0.112_462_916),
            (0.5, 0.520_499_878),
            (1.0, 0.842_700_793),
            (1.5, 0.966_105_146),
            (2.0, 0.995_322_265),
            (3.0, 0.999_977_910),
        ];
        for (x, want) in table {
            for sign in [1.0_f32, -1.0] {
                let want = f64::from(sign) * want;
                assert!((f64::from(erf::<Fused>(sign * x)) - want).abs() < 3e-7, "{x}");
                assert!((f64::from(erf::<Portable>(sign * x)) - want).abs() < 3e-7, "{x}");
            }
        }
    }

    #[test]
    fn ends_of_the_line() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!([exp::<Fused>(-inf), exp::<Fused>(inf), exp::<Fused>(0.0)], [0.0, inf, 1.0]);
        assert_eq!([exp::<Fused>(f32::MIN), exp::<Fused>(f32::MAX)], [0.0, inf]);
        assert_eq!([erf::<Fused>(-inf), erf::<Fused>(inf), erf::<Fused>(1e30)], [-1.0, 1.0, 1.0]);
        assert_eq!([sigmoid::<Fused>(-inf), sigmoid::<Fused>(inf)], [0.0, 1.0]);
        assert!(exp::<Fused>(nan).is_nan() && erf::<Fused>(nan).is_nan() && sigmoid::<Fused>(nan).is_nan());
    }
}
