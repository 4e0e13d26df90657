//! Numbers as they are written for people.

/// A number with so many places behind the point. What rounds to zero has no sign: `-0.001` with two places is `0.00`.
#[must_use]
pub fn fixed(value: impl Into<f64>, places: usize) -> String {
    let text = format!("{:.places$}", value.into());
    match text.strip_prefix('-') {
        Some(size) if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) => size.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::fixed;

    #[test]
    fn zero_has_no_sign() {
        let written = [-0.001, -0.0, 0.0, 0.001, -0.006, -1.0].map(|value| fixed(value, 2));
        assert_eq!(written, ["0.00", "0.00", "0.00", "0.00", "-0.01", "-1.00"]);
        assert_eq!([fixed(-0.4_f32, 0), fixed(-0.6_f32, 0)], ["0", "-1"]);
    }

    #[test]
    fn what_is_no_number_says_so() {
        let written = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN].map(|value| fixed(value, 3));
        assert_eq!(written, ["-inf", "inf", "NaN"]);
    }
}
