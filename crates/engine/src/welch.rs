//! Two means compared: the test of Welch, two-sided.

/// Two groups of numbers compared by their means, where their variances may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// The difference of the means by its standard error; infinite where nothing varies within groups that differ.
    pub t: f64,
    /// The degrees of freedom (Satterthwaite).
    pub freedom: f64,
    /// How likely a difference that large in magnitude is between groups of one mean.
    pub p: f64,
}

impl Welch {
    /// Of two groups of at least two finite numbers each; `None` for fewer.
    ///
    /// Where nothing varies within either, `p` is one if the means are equal, and else zero.
    #[must_use]
    pub fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let ((a, va), (b, vb)) = (moments(first)?, moments(second)?);
        let (ea, eb) = (va / first.len() as f64, vb / second.len() as f64);
        let error = ea + eb;
        if error == 0.0 {
            let same = a == b;
            let t = if same { 0.0 } else { f64::INFINITY * (a - b).signum() };
            return Some(Self { t, freedom: 0.0, p: f64::from(u8::from(same)) });
        }
        let freedom =
            error * error / (ea * ea / (first.len() as f64 - 1.0) + eb * eb / (second.len() as f64 - 1.0));
        let t = (a - b) / error.sqrt();
        Some(Self { t, freedom, p: two_sided(t, freedom) })
    }
}

/// The mean, and the variance by one less than how many there are.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (mean, square / (n - 1.0)))
}

/// How likely Student's distribution of so many degrees of freedom lies as far from zero, on either side.
fn two_sided(t: f64, freedom: f64) -> f64 {
    beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularised incomplete beta function, by its continued fraction (Lentz's method).
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // On this side of its mean the fraction converges quickly.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p();
    let tiny = |value: f64| if value.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { value };
    let (mut c, mut d) = (1.0, 1.0 / tiny(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..=ROUNDS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / tiny(1.0 + even * d);
        c = tiny(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / tiny(1.0 + odd * d);
        c = tiny(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    front.exp() * fraction / a
}

/// The fraction is cut off after so many pairs of terms: it needs a few dozens.
const ROUNDS: u32 = 500;

#[cfg(test)]
mod tests {
    use mmlens_core::finding::Tolerance;

    use super::{Welch, two_sided};

    /// Of one degree of freedom (Cauchy) `p = 1 - 2 atan(t) / pi`, of two `p = 1 - t / sqrt(2 + t^2)`.
    #[test]
    fn few_degrees_of_freedom_have_closed_forms() {
        for t in [0.0_f64, 0.1, 0.7, 1.0, 2.5, 12.0, 300.0] {
            let one = 1.0 - 2.0 * t.atan() / std::f64::consts::PI;
            let two = 1.0 - t / (2.0 + t * t).sqrt();
            Tolerance::absolute(1e-14)
                .check("p", &[two_sided(t, 1.0), two_sided(t, 2.0)], &[one, two])
                .unwrap();
            assert_eq!(two_sided(t, 3.7), two_sided(-t, 3.7));
        }
    }

    /// Means 2 and 4, variances 1 and 4, three of each: `t = -2 / sqrt(1/3 + 4/3)`, freedom `(5/3)^2 / (1/18 + 16/18)`.
    #[test]
    fn by_hand() {
        let found = Welch::of(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).unwrap();
        let wanted = [-2.0 / (5.0_f64 / 3.0).sqrt(), 25.0 / 9.0 * 18.0 / 17.0];
        Tolerance::relative(1e-14).check("welch", &[found.t, found.freedom], &wanted).unwrap();
        // scipy.stats.ttest_ind([1, 2, 3], [2, 4, 6], equal_var=False).pvalue
        Tolerance::absolute(1e-12).check("p", &[found.p], &[0.220_880_840_494_095_93]).unwrap();
        assert_eq!(Welch::of(&[1.0, 1.0], &[1.0, 1.0]).unwrap().p, 1.0);
        assert_eq!(Welch::of(&[1.0, 1.0], &[0.5, 0.5, 0.5]).unwrap().p, 0.0);
        assert_eq!(Welch::of(&[1.0], &[1.0, 2.0]), None);
    }
}
