//! What the values of a pass must be by definition, whatever the model: numbers, attention weights that sum to one, a
//! stream that is the sum of what was written to it.

use std::collections::BTreeMap;

use mmlens_finding::{Mismatch, Tolerance};

use crate::tensor::place;
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
    #[error("`{site}` is off by {off:e} at {at:?} from the softmax of `{scores}`")]
    Softmax {
        /// The place.
        site: Site,
        /// Where the scores are.
        scores: Site,
        /// Where in it.
        at: Vec<usize>,
        /// The difference.
        off: f64,
    },
    /// A stream that is not the sum of what was written to it.
    #[error(
        "`{site}` is off by {off:e} at {at:?} from `{before}` + `{added}`, whose values there are of size {size:e}"
    )]
    Sum {
        /// The place.
        site: Site,
        /// The stream before.
        before: Site,
        /// What was added.
        added: Site,
        /// Where in it.
        at: Vec<usize>,
        /// The difference.
        off: f64,
        /// The absolute values of both, together.
        size: f64,
    },
    /// A stream that changed where nothing is written to it.
    #[error("`{site}` is off by {off:e} at {at:?} from `{before}`, which it should equal")]
    Stream {
        /// The place.
        site: Site,
        /// The stream before.
        before: Site,
        /// Where in it.
        at: Vec<usize>,
        /// The difference.
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
    /// What is added to a stream after a block.
    between: BTreeMap<Part, Held>,
    scores: Option<Held>,
    edited: Vec<Site>,
}

#[derive(Debug, Clone)]
struct Held {
    site: Site,
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Integrity {
    /// For passes of a subject, with the rounding of its precision. Where it has standing edits, numbers must be finite, and
    /// what follows must follow from them; they themselves follow from nothing.
    #[must_use]
    pub fn of(subject: &dyn Subject) -> Self {
        Self { edited: subject.edited().to_vec(), ..Self::new(&subject.dtype()) }
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
            between: BTreeMap::new(),
            scores: None,
            edited: Vec::new(),
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
        if let Some(at) = values.iter().position(|value| !site.admits(*value)) {
            return Err(Breach::NotANumber { site, at: place(at, &dims), found: values[at] });
        }
        let held = Held { site, dims, values };
        if self.edited.contains(&site) {
            self.begins(held);
            return Ok(());
        }
        match site.point() {
            Point::Scores | Point::CrossScores => self.scores = Some(held),
            Point::Pattern | Point::CrossPattern | Point::PoolPattern => {
                self.look_at_weights(&held)?;
            }
            // Where a norm follows a sum, what it gives is what goes on.
            Point::Input
            | Point::NormalizedResidMid
            | Point::NormalizedResidCross
            | Point::NormalizedResidPost => drop(self.streams.insert(site.part(), held)),
            Point::AttnOut | Point::CrossOut | Point::MlpOut => drop(self.added.insert(site.part(), held)),
            Point::ResidPre => self.entered(held)?,
            Point::QIn | Point::KIn | Point::VIn | Point::MlpIn => self.is_read(&held)?,
            Point::ResidMid | Point::ResidCross | Point::ResidPost => self.written(held)?,
            Point::Deepstack => drop(self.between.insert(site.part(), held)),
            _ => {}
        }
        Ok(())
    }

    /// What was changed by hand is what the rest follows from.
    fn begins(&mut self, held: Held) {
        match held.site.point() {
            Point::Scores | Point::CrossScores => self.scores = Some(held),
            Point::Pattern | Point::CrossPattern => self.scores = None,
            Point::Input
            | Point::ResidPre
            | Point::ResidMid
            | Point::ResidCross
            | Point::ResidPost
            | Point::NormalizedResidMid
            | Point::NormalizedResidCross
            | Point::NormalizedResidPost => {
                self.added.remove(&held.site.part());
                self.between.remove(&held.site.part());
                self.streams.insert(held.site.part(), held);
            }
            Point::AttnOut | Point::CrossOut | Point::MlpOut => {
                self.added.insert(held.site.part(), held);
            }
            Point::Deepstack => drop(self.between.insert(held.site.part(), held)),
            // What depends on a point of the model's own, nobody else knows.
            Point::Own(_) => {
                let part = held.site.part();
                for known in [&mut self.streams, &mut self.added, &mut self.between] {
                    known.remove(&part);
                }
                self.scores = None;
            }
            _ => {}
        }
    }

    fn look_at_weights(&mut self, held: &Held) -> Result<(), Breach> {
        let site = held.site;
        let keys = held.dims.last().copied().unwrap_or(1).max(1);
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
            let wanted: Vec<f64> = scores.values.chunks(keys).flat_map(softmax).collect();
            if let Some((at, off, _)) = self.beyond(held, &wanted, |_| 1.0) {
                return Err(Breach::Softmax { site, scores: scores.site, at, off });
            }
        }
        Ok(())
    }

    /// Nothing happens to the stream between two blocks, but for what was seen to be added.
    fn entered(&mut self, held: Held) -> Result<(), Breach> {
        let part = held.site.part();
        self.added.remove(&part);
        if let Some(before) = self.streams.get(&part) {
            match self.between.remove(&part) {
                Some(added) => self.is_sum(&held, before, &added)?,
                None => self.is_same(&held, before, &before.values)?,
            }
        }
        self.streams.insert(part, held);
        Ok(())
    }

    /// What reads the stream reads a copy of it, every head its own.
    fn is_read(&self, held: &Held) -> Result<(), Breach> {
        let Some(before) = self.streams.get(&held.site.part()) else { return Ok(()) };
        let width = held.dims.last().copied().unwrap_or(1).max(1);
        let heads = held.values.len() / before.values.len().max(1);
        let copies = before.values.chunks(width).flat_map(|x| std::iter::repeat_n(x, heads).flatten());
        self.is_same(held, before, &copies.copied().collect::<Vec<f32>>())
    }

    fn written(&mut self, held: Held) -> Result<(), Breach> {
        let part = held.site.part();
        let added = self.added.remove(&part);
        if let (Some(before), Some(added)) = (self.streams.get(&part), added) {
            self.is_sum(&held, before, &added)?;
        }
        self.streams.insert(part, held);
        Ok(())
    }

    fn is_same(&self, held: &Held, before: &Held, wanted: &[f32]) -> Result<(), Breach> {
        let wanted: Vec<f64> = wanted.iter().map(|value| f64::from(*value)).collect();
        let size = |i: usize| wanted.get(i).map_or(0.0, |value| value.abs());
        match self.beyond(held, &wanted, size) {
            Some((at, off, _)) => Err(Breach::Stream { site: held.site, before: before.site, at, off }),
            None => Ok(()),
        }
    }

    fn is_sum(&self, held: &Held, before: &Held, added: &Held) -> Result<(), Breach> {
        let terms = || before.values.iter().zip(&added.values).map(|(b, a)| (f64::from(*b), f64::from(*a)));
        let sums: Vec<f64> = terms().map(|(before, added)| before + added).collect();
        let sizes: Vec<f64> = terms().map(|(before, added)| before.abs() + added.abs()).collect();
        match self.beyond(held, &sums, |i| sizes.get(i).copied().unwrap_or(0.0)) {
            Some((at, off, size)) => {
                let (site, before, added) = (held.site, before.site, added.site);
                Err(Breach::Sum { site, before, added, at, off, size })
            }
            None => Ok(()),
        }
    }

    /// Where values are off by more than rounding of what they are made of, by how much, and how large that is. Every value
    /// by itself: one that is a thousand times as large as another excuses nothing.
    fn beyond(
        &self,
        held: &Held,
        wanted: &[f64],
        size: impl Fn(usize) -> f64,
    ) -> Option<(Vec<usize>, f64, f64)> {
        match Tolerance::relative(self.rounding).check_by("values", &held.values, wanted, size) {
            Ok(_) => None,
            Err(Mismatch::Apart { gap, .. }) => Some((place(gap.at, &held.dims), gap.absolute, gap.scale)),
            Err(Mismatch::NotFinite { at, .. }) => Some((place(at, &held.dims), f64::INFINITY, 0.0)),
            Err(_) => Some((held.dims.clone(), f64::INFINITY, 0.0)),
        }
    }
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let highest = scores.iter().fold(f64::NEG_INFINITY, |most, s| f64::from(*s).max(most)); // no NaN: it was looked for
    let weights: Vec<f64> = scores.iter().map(|s| (f64::from(*s) - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
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
                && said.ends_with("at [0, 0] from the softmax of `text.blocks.0.attn.scores`"),
            "{said}"
        );
        let said = changed("text.blocks.0.resid_mid", &[1.5, -1.25]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.0.resid_mid` is off by 2.5e-1 at [0, 1] from `text.blocks.0.resid_pre` + \
             `text.blocks.0.attn_out`, whose values there are of size 2.5e0"
        );
        let said = changed("text.blocks.0.attn.q_in", &[1.0, -2.0, -2.0, 1.0]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.0.attn.q_in` is off by 3e0 at [1, 0] from `text.blocks.0.resid_pre`, which it should equal"
        );
        let said = changed("text.blocks.1.resid_pre", &[2.5, -0.5]).unwrap_err();
        assert_eq!(
            said,
            "`text.blocks.1.resid_pre` is off by 5e-1 at [0, 1] from `text.blocks.0.resid_post` + \
             `text.blocks.0.deepstack`, whose values there are of size 1e0"
        );
        let values =
            [("text.blocks.0.resid_post", &[2.5, -0.5][..]), ("text.blocks.1.resid_pre", &[2.5, -0.25])];
        assert_eq!(
            run(&values).unwrap_err(),
            "`text.blocks.1.resid_pre` is off by 2.5e-1 at [0, 1] from `text.blocks.0.resid_post`, which it should equal"
        );
    }

    /// A state of 4000 beside one of 1: measured against it, the other might be off by 4 percent.
    #[test]
    fn a_massive_activation_excuses_nothing_beside_it() {
        let sum = |mid: f32| {
            run(&[
                ("text.blocks.0.resid_pre", &[4000.0, 1.0]),
                ("text.blocks.0.attn_out", &[0.5, 0.5]),
                ("text.blocks.0.resid_mid", &[4000.5, mid]),
            ])
        };
        assert_eq!(sum(1.5), Ok(()));
        let said = sum(1.51).unwrap_err();
        assert!(said.contains("at [0, 1] from") && said.ends_with("of size 1.5e0"), "{said}");
        let said = run(&[
            ("text.blocks.0.resid_post", &[4000.0, 1.0]),
            ("text.blocks.1.resid_pre", &[4000.0, 1.01]),
        ]);
        assert!(said.unwrap_err().contains("at [0, 1] from"));
    }

    /// 1457 and 1456.5 are neighbours of e^0.5 : 1; and an infinite score is no mask.
    #[test]
    fn large_scores_pass_and_infinite_ones_do_not() {
        let share = 0.5_f32.exp() / (0.5_f32.exp() + 1.0);
        let pass = |scores: &'static [f32], pattern: &'static [f32]| {
            run(&[("text.blocks.0.attn.scores", scores), ("text.blocks.0.attn.pattern", pattern)])
        };
        let pattern: &'static [f32] = vec![share, 1.0 - share, 0.0].leak();
        assert_eq!(pass(&[1457.0, 1456.5, f32::MIN], pattern), Ok(()));
        assert!(pass(&[1457.0, 1456.0, f32::MIN], pattern).unwrap_err().contains("from the softmax"));
        let said = pass(&[f32::INFINITY, 1456.5, f32::MIN], pattern).unwrap_err();
        assert_eq!(said, "`text.blocks.0.attn.scores` holds inf at [0, 0], where a finite number belongs");
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
