//! What the values of a pass must be by definition, whatever the model: numbers, attention weights that sum to one, a
//! stream that is the sum of what was written to it.

use std::collections::BTreeMap;

use crate::{AnyTensor, HookError, Part, Point, Site, Subject};

/// What a value breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A value that is no number, or an infinite one outside attention scores.
    #[error("`{site}` holds {found} at {at:?}, where a finite number belongs")]
    NotANumber {
        /// The place.
        site: Site,
        /// Where in it.
        at: Vec<usize>,
        /// What stands there.
        found: f32,
    },
    /// Attention weights that do not sum to one.
    #[error("row {row} of `{site}` sums to {sum}, where attention weights sum to 1 (off by {off:e})")]
    Weights {
        /// The place.
        site: Site,
        /// Which of its rows, counted through all axes but the last.
        row: usize,
        /// What they sum to.
        sum: f64,
        /// How far that is from one.
        off: f64,
    },
    /// Attention weights that are not the softmax of their scores.
    #[error("`{site}` is off by {off:e} from the softmax of `{scores}`")]
    Softmax {
        /// The place.
        site: Site,
        /// Where the scores are.
        scores: Site,
        /// The largest difference.
        off: f64,
    },
    /// A stream that is not the sum of what was written to it.
    #[error("`{site}` is off by {off:e} from `{before}` + `{added}`, whose largest value is {largest:e}")]
    Sum {
        /// The place.
        site: Site,
        /// The stream before.
        before: Site,
        /// What was added.
        added: Site,
        /// The largest difference.
        off: f64,
        /// The largest value of the sum.
        largest: f64,
    },
    /// A stream that changed where nothing is written to it.
    #[error("`{site}` is off by {off:e} from `{before}`, which it should equal")]
    Stream {
        /// The place.
        site: Site,
        /// The stream before.
        before: Site,
        /// The largest difference.
        off: f64,
    },
    /// An output that is no number.
    #[error("the output holds {found}, where a finite number belongs")]
    Output {
        /// What stands there.
        found: f32,
    },
    /// A site that is published but not reached, reached but not published, of another shape, or that could not be read.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// Looks at the values of one pass, one after the other in the order of a pass, and holds no more of them than it needs:
/// the stream of each part, what was last added to it, and the last scores.
///
/// Give it every site of the pass: what it is not given cannot be checked, and what is added to a stream must be known.
#[derive(Debug, Clone)]
pub struct Integrity {
    rounding: f64,
    weights: f64,
    streams: BTreeMap<Part, Held>,
    added: BTreeMap<Part, Held>,
    scores: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    site: Site,
    values: Vec<f32>,
}

impl Integrity {
    /// For passes of a subject, with the rounding of its precision.
    #[must_use]
    pub fn of(subject: &dyn Subject) -> Self {
        Self::new(&subject.dtype())
    }

    /// For passes in a precision, `f32`, `bf16` or `f16`.
    #[must_use]
    pub fn new(dtype: &str) -> Self {
        // The distance of 1 to the next number.
        let epsilon = match dtype {
            "bf16" => 2.0_f64.powi(-7),
            "f16" => 2.0_f64.powi(-10),
            _ => 2.0_f64.powi(-23),
        };
        Self {
            rounding: (2.0 * epsilon).max(1e-5),
            weights: (2.0 * epsilon).max(1e-4),
            streams: BTreeMap::new(),
            added: BTreeMap::new(),
            scores: None,
        }
    }

    /// Looks at the value of the next site.
    ///
    /// # Errors
    /// [`Breach`] with the site and by how much it is off.
    ///
    /// # Cost
    /// The value is copied to the host.
    pub fn see(&mut self, site: Site, value: &AnyTensor) -> Result<(), Breach> {
        let (dims, values) = (value.dims(), value.to_values()?);
        let masked = matches!(site.point(), Point::Scores | Point::CrossScores);
        if let Some(at) = values.iter().position(|v| v.is_nan() || (!masked && v.is_infinite())) {
            return Err(Breach::NotANumber { site, at: place(at, &dims), found: values[at] });
        }
        let held = Held { site, values };
        match site.point() {
            Point::Scores | Point::CrossScores => self.scores = Some(held),
            Point::Pattern | Point::CrossPattern | Point::PoolPattern => {
                self.look_at_weights(&held, &dims)?;
            }
            // Where a norm follows a sum, what it gives is what goes on.
            Point::Input
            | Point::NormalizedResidMid
            | Point::NormalizedResidCross
            | Point::NormalizedResidPost => drop(self.streams.insert(site.part(), held)),
            Point::AttnOut | Point::CrossOut | Point::MlpOut => drop(self.added.insert(site.part(), held)),
            Point::ResidPre => self.entered(held)?,
            Point::QIn | Point::KIn | Point::VIn | Point::MlpIn => self.is_read(&held, &dims)?,
            Point::ResidMid | Point::ResidCross | Point::ResidPost => self.written(held)?,
            Point::Deepstack => self.added_between(&held),
            _ => {}
        }
        Ok(())
    }

    fn look_at_weights(&mut self, held: &Held, dims: &[usize]) -> Result<(), Breach> {
        let site = held.site;
        let keys = dims.last().copied().unwrap_or(1).max(1);
        for (row, weights) in held.values.chunks(keys).enumerate() {
            let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            let off = (sum - 1.0).abs();
            if off > self.weights {
                return Err(Breach::Weights { site, row, sum, off });
            }
        }
        let alike = |scores: &Held| {
            let points = (scores.site.point(), site.point());
            (scores.site.part(), scores.site.block_index()) == (site.part(), site.block_index())
                && matches!(
                    points,
                    (Point::Scores, Point::Pattern) | (Point::CrossScores, Point::CrossPattern)
                )
        };
        if let Some(scores) = self.scores.take().filter(alike) {
            let off = apart(&held.values, scores.values.chunks(keys).flat_map(softmax));
            if off > self.rounding {
                return Err(Breach::Softmax { site, scores: scores.site, off });
            }
        }
        Ok(())
    }

    /// Nothing happens to the stream between two blocks, but for what was seen to be added.
    fn entered(&mut self, held: Held) -> Result<(), Breach> {
        let part = held.site.part();
        if let Some(before) = self.streams.get(&part) {
            let off = apart(&held.values, before.values.iter().map(|v| f64::from(*v)));
            if off > self.rounding * largest(&held.values) {
                return Err(Breach::Stream { site: held.site, before: before.site, off });
            }
        }
        self.added.remove(&part);
        self.streams.insert(part, held);
        Ok(())
    }

    /// What reads the stream reads a copy of it, every head its own.
    fn is_read(&self, held: &Held, dims: &[usize]) -> Result<(), Breach> {
        let Some(before) = self.streams.get(&held.site.part()) else { return Ok(()) };
        let width = dims.last().copied().unwrap_or(1).max(1);
        let heads = held.values.len() / before.values.len().max(1);
        let copies = before.values.chunks(width).flat_map(|x| std::iter::repeat_n(x, heads).flatten());
        let off = apart(&held.values, copies.map(|v| f64::from(*v)));
        if off > self.rounding * largest(&held.values) {
            return Err(Breach::Stream { site: held.site, before: before.site, off });
        }
        Ok(())
    }

    fn written(&mut self, held: Held) -> Result<(), Breach> {
        let part = held.site.part();
        let added = self.added.remove(&part);
        if let (Some(before), Some(added)) = (self.streams.get(&part), added) {
            let sum = before.values.iter().zip(&added.values).map(|(b, a)| f64::from(*b) + f64::from(*a));
            let off = apart(&held.values, sum);
            let largest = largest(&held.values).max(largest(&before.values));
            if off > self.rounding * largest {
                let (site, before, added) = (held.site, before.site, added.site);
                return Err(Breach::Sum { site, before, added, off, largest });
            }
        }
        self.streams.insert(part, held);
        Ok(())
    }

    fn added_between(&mut self, held: &Held) {
        if let Some(stream) = self.streams.get_mut(&held.site.part()) {
            stream.values.iter_mut().zip(&held.values).for_each(|(stream, added)| *stream += added);
        }
    }
}

/// The largest difference; infinite between values of other number.
fn apart(found: &[f32], wanted: impl Iterator<Item = f64>) -> f64 {
    let mut wanted = wanted.fuse();
    let off = found.iter().map(|f| wanted.next().map_or(f64::INFINITY, |w| (f64::from(*f) - w).abs()));
    let off = off.fold(0.0, f64::max);
    if wanted.next().is_some() { f64::INFINITY } else { off }
}

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |most, v| f64::from(v.abs()).max(most))
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let highest = scores.iter().fold(f64::NEG_INFINITY, |most, s| f64::from(*s).max(most));
    let weights: Vec<f64> = scores.iter().map(|s| (f64::from(*s) - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

fn place(mut index: usize, dims: &[usize]) -> Vec<usize> {
    let mut place = vec![0; dims.len()];
    for (slot, len) in place.iter_mut().zip(dims).rev() {
        *slot = index % len.max(&1);
        index /= len.max(&1);
    }
    place
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn run(values: &[(&str, &[f32])]) -> Result<(), String> {
        let mut integrity = Integrity::new("f32");
        values.iter().try_for_each(|(site, values)| {
            let dims = if site.ends_with("q_in") { vec![2, 2] } else { vec![1, values.len()] };
            let value = AnyTensor::from_values(values.to_vec(), &dims, &Device::flex()).unwrap();
            integrity.see(site.parse().unwrap(), &value).map_err(|breach| breach.to_string())
        })
    }

    const WHOLE: &[(&str, &[f32])] = &[
        ("text.input", &[1.0, -2.0]),
        ("text.blocks.0.resid_pre", &[1.0, -2.0]),
        ("text.blocks.0.attn.q_in", &[1.0, -2.0, 1.0, -2.0]),
        // exp(0) : exp(ln 3) = 1 : 3
        ("text.blocks.0.attn.scores", &[0.0, 1.098_612_3, f32::NEG_INFINITY]),
        ("text.blocks.0.attn.pattern", &[0.25, 0.75, 0.0]),
        ("text.blocks.0.attn_out", &[0.5, 0.5]),
        ("text.blocks.0.resid_mid", &[1.5, -1.5]),
        ("text.blocks.0.mlp_out", &[1.0, 1.0]),
        ("text.blocks.0.resid_post", &[2.5, -0.5]),
        ("text.blocks.0.deepstack", &[0.5, 0.5]),
        ("text.blocks.1.resid_pre", &[3.0, 0.0]),
    ];

    fn changed(site: &str, to: &'static [f32]) -> Result<(), String> {
        let mut values = WHOLE.to_vec();
        values.iter_mut().find(|(name, _)| *name == site).unwrap().1 = to;
        run(&values)
    }

    #[test]
    fn what_is_whole_passes() {
        assert_eq!(run(WHOLE), Ok(()));
    }

    #[test]
    fn every_breach_names_its_site_and_size() {
        let said = changed("text.blocks.0.attn_out", &[0.5, f32::NAN]).unwrap_err();
        assert_eq!(said, "`text.blocks.0.attn_out` holds NaN at [0, 1], where a finite number belongs");
        let said = changed("text.blocks.0.attn.pattern", &[0.25, 0.5, 0.0]).unwrap_err();
        assert_eq!(
            said,
            "row 0 of `text.blocks.0.attn.pattern` sums to 0.75, where attention weights sum to 1 (off by 2.5e-1)"
        );
        let said = changed("text.blocks.0.attn.pattern", &[0.5, 0.5, 0.0]).unwrap_err();
        assert!(
            said.starts_with("`text.blocks.0.attn.pattern` is off by 2.")
                && said.ends_with("from the softmax of `text.blocks.0.attn.scores`"),
            "{said}"
        );
        let said = changed("text.blocks.0.resid_mid", &[1.5, -1.25]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.0.resid_mid` is off by 2.5e-1 from `text.blocks.0.resid_pre` + `text.blocks.0.attn_out`, \
             whose largest value is 2e0"
        );
        let said = changed("text.blocks.0.attn.q_in", &[1.0, -2.0, -2.0, 1.0]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.0.attn.q_in` is off by 3e0 from `text.blocks.0.resid_pre`, which it should equal"
        );
        let said = changed("text.blocks.1.resid_pre", &[2.5, -0.5]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.1.resid_pre` is off by 5e-1 from `text.blocks.0.resid_post`, which it should equal"
        );
    }

    /// BERT: what a norm behind a sum gives is what is added to, and what the next block begins with.
    #[test]
    fn norms_after_the_sums_go_on() {
        let mut values: Vec<(&str, &[f32])> = vec![
            ("text.blocks.0.resid_pre", &[1.0, -2.0]),
            ("text.blocks.0.attn_out", &[0.5, 0.5]),
            ("text.blocks.0.resid_mid", &[1.5, -1.5]),
            ("text.blocks.0.normalized_resid_mid", &[1.0, -1.0]),
            ("text.blocks.0.cross_out", &[0.0, 0.5]),
            ("text.blocks.0.resid_cross", &[1.0, -0.5]),
            ("text.blocks.0.normalized_resid_cross", &[1.0, -1.0]),
            ("text.blocks.0.mlp_in", &[1.0, -1.0]),
            ("text.blocks.0.mlp_out", &[1.0, 1.0]),
            ("text.blocks.0.resid_post", &[2.0, 0.0]),
            ("text.blocks.0.normalized_resid_post", &[1.0, -1.0]),
            ("text.blocks.1.resid_pre", &[1.0, -1.0]),
        ];
        assert_eq!(run(&values), Ok(()));
        values[9].1 = &[2.0, -0.5];
        let said = run(&values).unwrap_err();
        assert!(said.contains("`text.blocks.0.normalized_resid_cross` + `text.blocks.0.mlp_out`"), "{said}");
    }
}
