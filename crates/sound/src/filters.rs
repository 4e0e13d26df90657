//! Slaney's mel filters: triangles over the bins of a spectrum, equally far apart in mel, each of area 1 (in hertz).
//!
//! As `transformers.audio_utils.mel_filter_bank` with `norm="slaney"`, `mel_scale="slaney"`, from 0 to 8000 Hz whatever the rate.

/// The highest frequency of the last filter, in Hz.
const HIGHEST: f64 = 8000.0;
/// Below it mel is linear in hertz, above logarithmic: there, 27 mel are a factor of 6.4.
const BREAK: f64 = 1000.0;
/// The break in mel.
const BREAK_MEL: f64 = 15.0;

/// One filter.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// The first bin of the spectrum that has a weight.
    pub(crate) first: usize,
    /// The weights of this bin and those behind it. None for a filter between two bins, or above half the rate.
    pub(crate) weights: Vec<f64>,
    /// Where it begins, has its peak and ends, in Hz.
    pub(crate) hertz: [f64; 3],
}

/// The filters over `bins` frequencies from 0 to half the rate.
pub(crate) fn filters(mels: usize, bins: usize, rate: u32) -> Vec<Filter> {
    let edges: Vec<f64> = spread(mel(HIGHEST), mels + 2).map(hertz).collect();
    let frequencies: Vec<f64> = spread(f64::from(rate / 2), bins).collect();
    let filter = |edges: &[f64]| {
        let &[low, centre, high] = edges else { return None };
        let weight = |frequency: &f64| {
            let rising = (frequency - low) / (centre - low);
            let falling = (high - frequency) / (high - centre);
            rising.min(falling).max(0.0) * (2.0 / (high - low))
        };
        let weights: Vec<f64> = frequencies.iter().map(weight).collect();
        let first = weights.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        let weights = weights.into_iter().skip(first).take_while(|weight| *weight > 0.0).collect();
        Some(Filter { first, weights, hertz: [low, centre, high] })
    };
    edges.windows(3).filter_map(filter).collect()
}

/// `count` numbers from 0 to `last`, equally far apart.
fn spread(last: f64, count: usize) -> impl Iterator<Item = f64> {
    let step = last / (count - 1) as f64;
    (0..count).map(move |at| if at + 1 == count { last } else { at as f64 * step })
}

fn mel(hertz: f64) -> f64 {
    match hertz >= BREAK {
        true => BREAK_MEL + (hertz / BREAK).ln() * (27.0 / 6.4_f64.ln()),
        false => 3.0 * hertz / 200.0,
    }
}

fn hertz(mel: f64) -> f64 {
    match mel >= BREAK_MEL {
        true => BREAK * (6.4_f64.ln() / 27.0 * (mel - BREAK_MEL)).exp(),
        false => 200.0 * mel / 3.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mel_is_linear_and_then_logarithmic() {
        // 3 * 200 / 200; 15 + 27 for a factor of 6.4
        assert_eq!((mel(200.0), mel(1000.0), mel(6400.0)), (3.0, 15.0, 42.0));
        for frequency in [0.0, 150.0, 1000.0, 4321.0, 8000.0] {
            assert!((hertz(mel(frequency)) - frequency).abs() < 1e-9);
        }
    }

    #[test]
    fn filters_overlap_by_halves_and_have_area_one() {
        let all = filters(80, 20001, 16000);
        for pair in all.windows(2) {
            assert_eq!(pair[0].hertz[1..], pair[1].hertz[..2]);
        }
        // bins 8000 / 20000 = 0.4 Hz apart
        for filter in &all {
            let area = filter.weights.iter().sum::<f64>() * 0.4;
            assert!((area - 1.0).abs() < 1e-3, "{area}");
        }
    }
}
