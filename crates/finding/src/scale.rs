//! What columns and rows of a recording's spectrogram stand for: a recording is looked at as a picture, and told in seconds and Hz.

use serde::{Deserialize, Serialize};

use crate::HeardPlace;

/// What columns and rows of a recording's spectrogram stand for. The lowest frequency is in the lowest row.
///
/// ```
/// # use mmlens_finding::SoundScale;
/// // two rows with their peaks at 1000 and 500 Hz, between 0 and 2000 Hz; 100 columns a second
/// let scale = SoundScale { step: 0.01, window: 0.025, hertz: vec![2000.0, 1000.0, 500.0, 0.0] };
/// assert_eq!(scale.seconds([10.0, 20.0]), [0.1, 0.2]);
/// // the middles of rows are the peaks
/// assert_eq!(scale.hertz_of([0.5, 2.0]), [0.0, 1000.0]);
/// assert_eq!(scale.rows([0.0, 1000.0]), [0.5, 2.0]);
/// assert_eq!(scale.describe([10.0, 0.0, 20.0, 2.0]), "0.1–0.2 s");
/// assert_eq!(scale.describe([10.0, 1.0, 20.0, 2.0]), "0.1–0.2 s, 0–750 Hz");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SoundScale {
    /// Seconds from one column to the next. The first begins with the recording.
    pub step: f64,
    /// How long the stretch is that a column looks at, around its instant, in seconds.
    pub window: f64,
    /// Frequencies in Hz, falling: the upper end of the topmost row, the peak of every row, which is its middle, and the lower end of the
    /// lowest. Between them frequencies are spread evenly.
    pub hertz: Vec<f64>,
}

impl SoundScale {
    /// How many rows there are.
    #[must_use]
    pub fn rows_all(&self) -> usize {
        self.hertz.len().saturating_sub(2)
    }

    /// From when to when, in seconds, columns reach that are counted from the beginning.
    #[must_use]
    pub fn seconds(&self, columns: [f32; 2]) -> [f64; 2] {
        // A column is told to a millionth: single precision has no more.
        columns.map(|column| rounded(f64::from(column) * self.step))
    }

    /// The columns of a stretch of time in seconds.
    #[must_use]
    pub fn columns(&self, seconds: [f64; 2]) -> [f32; 2] {
        seconds.map(|instant| if self.step > 0.0 { (instant / self.step) as f32 } else { 0.0 })
    }

    /// From which to which frequency in Hz, the lower first, rows reach that are counted from the top.
    #[must_use]
    pub fn hertz_of(&self, rows: [f32; 2]) -> [f64; 2] {
        let [top, bottom] = rows.map(|row| rounded(self.at(f64::from(row))));
        [bottom, top]
    }

    /// The rows, counted from the top, of a band of frequencies in Hz, the lower first.
    #[must_use]
    pub fn rows(&self, [low, high]: [f64; 2]) -> [f32; 2] {
        [self.row(high) as f32, self.row(low) as f32]
    }

    /// A box on the spectrogram in words: its time, and its frequencies where it does not have all of them.
    #[must_use]
    pub fn describe(&self, [x0, y0, x1, y1]: [f32; 4]) -> String {
        let time = span(self.seconds([x0, x1]), "s");
        if self.has_all([y0, y1]) { time } else { format!("{time}, {}", span(self.hertz_of([y0, y1]), "Hz")) }
    }

    /// A box on the spectrogram of a recording as a place there.
    #[must_use]
    pub fn place(&self, recording: usize, [x0, y0, x1, y1]: [f32; 4]) -> HeardPlace {
        let single = |own: [f64; 2]| own.map(|value| value as f32);
        let hertz = (!self.has_all([y0, y1])).then(|| single(self.hertz_of([y0, y1])));
        HeardPlace { recording, seconds: single(self.seconds([x0, x1])), hertz }
    }

    /// Whether these are all rows.
    fn has_all(&self, [y0, y1]: [f32; 2]) -> bool {
        y0 <= 0.0 && f64::from(y1) >= self.rows_all() as f64
    }

    /// Where a knot lies, in rows from the top.
    fn knot(&self, at: usize) -> f64 {
        match at {
            0 => 0.0,
            at if at + 1 >= self.hertz.len() => self.rows_all() as f64,
            at => at as f64 - 0.5,
        }
    }

    fn at(&self, row: f64) -> f64 {
        let behind = (1..self.hertz.len()).find(|at| row <= self.knot(*at));
        let at = behind.unwrap_or(self.hertz.len().saturating_sub(1));
        let (Some(&to), Some(&from)) = (self.hertz.get(at), self.hertz.get(at.saturating_sub(1))) else {
            return 0.0;
        };
        let (start, end) = (self.knot(at.saturating_sub(1)), self.knot(at));
        let share = if end > start { ((row - start) / (end - start)).clamp(0.0, 1.0) } else { 0.0 };
        from + (to - from) * share
    }

    fn row(&self, hertz: f64) -> f64 {
        let behind = (1..self.hertz.len()).find(|at| self.hertz.get(*at).is_some_and(|own| hertz >= *own));
        let at = behind.unwrap_or(self.hertz.len().saturating_sub(1));
        let (Some(&to), Some(&from)) = (self.hertz.get(at), self.hertz.get(at.saturating_sub(1))) else {
            return 0.0;
        };
        let share = if from > to { ((from - hertz) / (from - to)).clamp(0.0, 1.0) } else { 0.0 };
        self.knot(at.saturating_sub(1)) + (self.knot(at) - self.knot(at.saturating_sub(1))) * share
    }
}

/// To six places behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// From and to, in words: times to a thousandth of a second, frequencies to whole Hz.
#[must_use]
pub fn span([from, to]: [f64; 2], unit: &str) -> String {
    let shown = |value: f64| if unit == "s" { (value * 1e3).round() / 1e3 } else { value.round() };
    format!("{}–{} {unit}", shown(from), shown(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with the peaks 800, 400, 200 and 100 Hz.
    fn scale() -> SoundScale {
        SoundScale { step: 0.02, window: 0.05, hertz: vec![1600.0, 800.0, 400.0, 200.0, 100.0, 0.0] }
    }

    #[test]
    fn rows_and_frequencies_lead_to_one_another() {
        let scale = scale();
        assert_eq!(scale.rows_all(), 4);
        for row in [0.0, 0.25, 0.5, 1.0, 1.75, 3.5, 4.0_f32] {
            let [low, high] = scale.hertz_of([row, 4.0]);
            assert_eq!((low, scale.rows([low, high])), (0.0, [row, 4.0]));
        }
        // the middle of the first row is its peak; a quarter of a row is half the way there
        assert_eq!(scale.hertz_of([0.25, 0.5]), [800.0, 1200.0]);
    }

    #[test]
    fn what_lies_outside_is_moved_to_the_edge() {
        let scale = scale();
        assert_eq!(scale.rows([-5.0, 9000.0]), [0.0, 4.0]);
        assert_eq!(scale.hertz_of([-1.0, 9.0]), [0.0, 1600.0]);
        assert_eq!(SoundScale::default().hertz_of([0.0, 1.0]), [0.0, 0.0]);
    }

    #[test]
    fn boxes_are_told_in_seconds_and_hertz() {
        let scale = scale();
        assert_eq!(scale.describe([5.0, 0.5, 6.0, 1.5]), "0.1–0.12 s, 400–800 Hz");
        assert_eq!(scale.describe([0.0, 0.0, 50.0, 4.0]), "0–1 s");
        assert_eq!(scale.columns([0.1, 1.0]), [5.0, 50.0]);
    }
}
