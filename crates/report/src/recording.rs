//! A recording of the input: its spectrogram as a picture, with axes of time and frequency, and its sound to be played.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmlens_finding::SoundScale;

/// The sound of the recordings of a page has at most so many bytes together.
pub(crate) const MOST_SOUND: usize = 4_000_000;

/// What is heard where a picture is the spectrogram of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What columns and rows of the picture stand for.
    pub scale: SoundScale,
    /// How long the sound is, in seconds. The last column may reach beyond.
    pub seconds: f64,
    /// The sound as a file that browsers play (WAV); empty, where it is left out.
    pub wav: Vec<u8>,
}

impl Recording {
    /// Marks of time below a picture of so many columns, as far apart as nice numbers of seconds are.
    pub(crate) fn times(&self, columns: u32) -> String {
        let whole = f64::from(columns) * self.scale.step;
        let step = nice(whole / 6.0);
        let mut html = String::from("<div class=\"times\" aria-hidden=\"true\">");
        let mut at = 0;
        // A mark near the end would stand half outside.
        while step > 0.0 && f64::from(at) * step <= whole * 0.97 {
            let instant = f64::from(at) * step;
            let _ = write!(
                html,
                "<span style=\"left:{:.3}%\" data-seconds=\"{instant}\">{} s</span>",
                100.0 * instant / whole,
                rounded(instant)
            );
            at += 1;
        }
        html.push_str("</div>");
        html
    }

    /// Marks of frequency beside a picture of so many rows: ends, and powers of two times 125 Hz between them.
    pub(crate) fn frequencies(&self, rows: u32) -> String {
        let high = f64::from(rows);
        let [low, top] = self.scale.hertz_of([0.0, rows as f32]);
        let octaves = (0..16).map(|octave| 125.0 * f64::from(1_u32 << octave));
        let mut html = String::from("<div class=\"frequencies\" aria-hidden=\"true\">");
        let mut above = f64::INFINITY;
        let mut marks: Vec<f64> =
            [low].into_iter().chain(octaves).filter(|own| *own >= low && *own < top).collect();
        marks.push(top);
        for hertz in marks.into_iter().rev() {
            let [row, _] = self.scale.rows([low, hertz]);
            let at = 100.0 * f64::from(row) / high;
            // Marks that lie on one another say nothing; the lowest is always there.
            if hertz > low && ((at - above).abs() < 11.0 || 100.0 - at < 7.0) {
                continue;
            }
            above = at;
            let shown = if hertz >= 1000.0 {
                format!("{} kHz", rounded(hertz / 1000.0))
            } else {
                format!("{} Hz", rounded(hertz))
            };
            let _ = write!(html, "<span style=\"top:{at:.3}%\" data-hertz=\"{hertz}\">{shown}</span>");
        }
        html.push_str("</div>");
        html
    }

    /// The sound, to be played, if it has no more than so many bytes.
    pub(crate) fn player(&self, most: usize) -> String {
        match self.wav.len() {
            0 => "<p class=\"note\">Its sound is not on this page.</p>".to_owned(),
            found if found > most => {
                "<p class=\"note\">It is too long to be played on this page.</p>".to_owned()
            }
            _ => format!(
                "<audio controls preload=\"auto\" src=\"data:audio/wav;base64,{}\"></audio>",
                STANDARD.encode(&self.wav)
            ),
        }
    }

    /// What the script of the page is told.
    pub(crate) fn attributes(&self) -> String {
        let hertz: Vec<String> = self.scale.hertz.iter().map(|own| format!("{own:.2}")).collect();
        format!(
            " data-step=\"{}\" data-seconds=\"{}\" data-hertz=\"{}\"",
            self.scale.step,
            self.seconds,
            hertz.join(" ")
        )
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn nice(step: f64) -> f64 {
    if !step.is_finite() || step <= 0.0 {
        return 0.0;
    }
    let power = 10.0_f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|of| of * power).find(|own| *own >= step * 0.999).unwrap_or(power)
}

/// Without digits that say nothing.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(step: f64) -> Recording {
        let scale = SoundScale { step, window: 2.5 * step, hertz: vec![8000.0, 4000.0, 1000.0, 250.0, 0.0] };
        Recording { scale, seconds: 100.0 * step, wav: Vec::new() }
    }

    #[test]
    fn marks_of_time_are_nice_numbers() {
        for (step, wanted) in [(0.01, "0.2 s"), (0.3, "5 s"), (0.00042, "0.01 s")] {
            let html = recording(step).times(100);
            assert!(html.contains(&format!(">{wanted}<")), "{html}");
            assert!((3..9).contains(&html.matches("<span").count()), "{html}");
        }
    }

    #[test]
    fn marks_of_frequency_stand_at_their_rows() {
        let html = recording(0.01).frequencies(3);
        assert!(html.contains("top:0.000%\" data-hertz=\"8000\">8 kHz") && html.contains(">0 Hz"), "{html}");
        // Nothing stands on the lowest mark.
        let peaks = (1..=40).rev().map(|row| 100.0 * f64::from(row));
        let hertz = [4100.0].into_iter().chain(peaks).chain([0.0]).collect();
        let scale = SoundScale { step: 0.01, window: 0.025, hertz };
        let html = Recording { scale, ..recording(0.01) }.frequencies(40);
        assert!(html.contains(">0 Hz") && html.contains(">500 Hz") && !html.contains(">125 Hz"), "{html}");
        let html = recording(0.01).frequencies(3);
        // 4 kHz is the peak, and so the middle, of the first of three rows
        assert!(html.contains("top:16.667%\" data-hertz=\"4000\">4 kHz"), "{html}");
    }

    #[test]
    fn sound_is_bounded() {
        let with = |wav: Vec<u8>| Recording { wav, ..recording(0.01) }.player(8);
        assert!(with(vec![1; 8]).contains("data:audio/wav;base64,AQEB"));
        assert!(with(vec![1; 9]).contains("too long"));
        assert!(with(Vec::new()).contains("not on this page"));
    }
}
