//! Does a map lie where the evidence is? Against a mask of the picture.
//!
//! # Idea
//! A mask says which pixels of the original picture are the evidence: `M`, the union of the masks that a case has of the picture. The map is painted
//! on the same pixels, `m_p` its mass on pixel `p` ([`Map::painted`](crate::Map::painted)), every number counted first as `sign` says. With `n` pixels,
//!
//! ```text
//! mass-accuracy    sum of m_p in M / sum of all m_p
//! rank-accuracy    of the |M| pixels with the largest m_p the share in M
//! top-k            of the k pixels with the largest m_p the share in M,   k = max(1, round(share n))
//! pointing-game    of the pixels at which m_p is largest the share that hits: no further than `radius` from a pixel of M, middle to middle
//! ```
//!
//! Pixels of one cell have one number, so that ties are the rule. Where they stand at the edge of the first `k`, as many as fit count with the
//! share of all of them that lies in `M`: what is had in the mean if ties are broken at random. A random map scores the share of the picture that `M`
//! is in all four (in the pointing game with a radius, the share that lies within it); a map that is the same everywhere scores that exactly.
//!
//! # In and out
//! | column | unit | meaning |
//! |---|---|---|
//! | `mass-accuracy`, `rank-accuracy`, `top-k`, `pointing-game` | ratio | as above; higher is better, 1 at best |
//!
//! # Settings
//! - `sign`: `absolute` (default), as maps of methods differ in what their signs mean; `signed` counts numbers as they are, and `positive` those above
//!   zero. A signed mass may lie outside 0 to 1.
//! - `share` of `top-k`: 0.02, about the 1000 of 224 x 224 pixels that Quantus takes.
//! - `radius` of `pointing-game`: 0 pixels of the original picture. The paper takes 15, on photographs of some 500.
//!
//! # Cost
//! No pass.
//!
//! # Errors
//! No score without a mask of the picture or with an empty one, for a mask of another size than the picture, and of mass where the map's sum
//! is zero.
//!
//! # When it misleads
//! - The mask says what a person takes for the evidence. A model may answer from elsewhere, and a map that tells so loses.
//! - Objects lie in the middle: a blob scores well on many data sets.
//! - What is large is hit by anything: read each number beside the random map's.
//!
//! # Agreement
//! Quantus 0.6 (`RelevanceMassAccuracy`, `RelevanceRankAccuracy`, `TopKIntersection`, `PointingGame`) on maps without ties, at most 1e-6. It breaks ties as
//! numpy's sorting happens to, and counts a hit if any of the largest pixels lies in the mask, so that a map that is the same everywhere always
//! hits.
//!
//! # Reference
//! Arras, Osman, Samek: CLEVR-XAI, Information Fusion 2022. <https://arxiv.org/abs/2003.07258>. Zhang et al.: Top-Down Neural Attention by Excitation
//! Backprop, IJCV 2018. <https://arxiv.org/abs/1608.00507>. Theiner et al.: Interpretable Semantic Photo Geolocation, WACV 2022.
//! <https://arxiv.org/abs/2104.14995>.

use mmlens_core::AnalysisError;
use serde::{Deserialize, Serialize};

use crate::metric::{AtHand, Better, Column, Metric, MetricCard, NoScore, Redraws, setting};
use crate::{Map, Sign};

/// The evidence, and a map on its pixels.
struct Seen {
    /// Width and height.
    size: [usize; 2],
    inside: Vec<bool>,
    values: Vec<f64>,
}

/// The size of a picture, in words.
pub(crate) fn sized(known: Option<(u32, u32)>) -> String {
    known.map_or_else(|| "has none".to_owned(), |(width, height)| format!("{width} x {height}"))
}

impl Seen {
    fn of(asked: &AtHand<'_>, map: &Map, sign: Sign) -> Result<Self, NoScore> {
        let mut own = asked.masks.iter().filter(|mask| mask.picture == asked.picture);
        let what = asked.inputs.map().called(asked.picture);
        let first =
            own.next().ok_or_else(|| NoScore::Lacks(format!("the case has no mask of the {what}")))?;
        let size = first.size;
        let mut inside = first.inside.clone();
        let known = asked.inputs.map().pictures.get(asked.picture).copied();
        let fits = |found: [usize; 2], len: usize| {
            known == Some((found[0] as u32, found[1] as u32)) && len == found[0] * found[1]
        };
        let misfit = |found: [usize; 2]| {
            let [width, height] = found;
            NoScore::Lacks(format!("a mask is {width} x {height} pixels, and the {what} {}", sized(known)))
        };
        if !fits(size, inside.len()) {
            return Err(misfit(size));
        }
        for mask in own {
            if !fits(mask.size, mask.inside.len()) {
                return Err(misfit(mask.size));
            }
            inside.iter_mut().zip(&mask.inside).for_each(|(all, own)| *all |= own);
        }
        if !inside.contains(&true) {
            return Err(NoScore::Lacks(format!("the mask of the {what} is empty")));
        }
        Ok(Self { size, inside, values: map.signed(sign).painted(asked.picture, size) })
    }

    fn marked(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// Of the `k` largest, how many lie inside; of equal ones at the edge, as many as do in the mean.
    fn hits(&self, k: usize) -> f64 {
        let mut order: Vec<(f64, bool)> =
            self.values.iter().copied().zip(self.inside.iter().copied()).collect();
        order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let (mut left, mut hits) = (k, 0.0);
        for equal in order.chunk_by(|(a, _), (b, _)| a == b) {
            let taken = equal.len().min(left); // no NaN: whole numbers
            let inside = equal.iter().filter(|(_, inside)| *inside).count();
            hits += taken as f64 * inside as f64 / equal.len() as f64;
            left -= taken;
            if left == 0 {
                break;
            }
        }
        hits
    }

    /// Of the largest, which share lies no further than a radius from what is inside.
    fn pointing(&self, radius: f64) -> f64 {
        let [width, height] = self.size;
        let largest = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: masses are finite
        let reach = radius.floor() as i64;
        let around: Vec<[i64; 2]> = (-reach..=reach)
            .flat_map(|dy| (-reach..=reach).map(move |dx| [dy, dx]))
            .filter(|[dy, dx]| ((dy * dy + dx * dx) as f64) <= radius * radius)
            .collect();
        let at = |y: i64, x: i64| {
            let there = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
            there && self.inside.get(y as usize * width + x as usize).copied().unwrap_or(false)
        };
        let (mut all, mut hits) = (0_usize, 0_usize);
        for (place, _) in self.values.iter().enumerate().filter(|(_, value)| **value == largest) {
            let (y, x) = ((place / width) as i64, (place % width) as i64);
            all += 1;
            hits += usize::from(around.iter().any(|[dy, dx]| at(y + dy, x + dx)));
        }
        hits as f64 / all as f64
    }
}

macro_rules! card {
    ($id:literal, $question:literal, $citation:literal, $misleads:literal) => {
        MetricCard {
            id: $id,
            question: $question,
            needs: "a mask of the picture",
            cost: "none",
            citation: $citation,
            misleads: &[$misleads, "A blob in the middle scores well where objects lie there."],
        }
    };
}

/// How numbers of a map count.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signed {
    /// Which way they count.
    pub sign: Sign,
}

/// The share of a map that lies in the mask.
#[derive(Debug, Clone)]
pub struct MassAccuracy(Signed);

impl Metric for MassAccuracy {
    type Settings = Signed;
    const CARD: MetricCard = card!(
        "mass-accuracy",
        "Which share of the map lies on the evidence?",
        "Arras, Osman, Samek: CLEVR-XAI. Information Fusion 2022. https://arxiv.org/abs/2003.07258",
        "A map that is spread thinly over all of the picture loses to one that is sharp and misses some of the evidence."
    );

    fn new(settings: Signed) -> Result<Self, AnalysisError> {
        Ok(Self(settings))
    }

    fn settings(&self) -> &Signed {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("mass-accuracy", Better::Higher)]
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let seen = Seen::of(asked, map, self.0.sign)?;
        let total: f64 = seen.values.iter().sum();
        if total == 0.0 {
            return Err(NoScore::Undefined("the map adds up to nothing".to_owned()));
        }
        let within: f64 =
            seen.values.iter().zip(&seen.inside).filter(|(_, inside)| **inside).map(|(v, _)| v).sum();
        Ok(vec![within / total])
    }
}

/// Of as many pixels as the mask has, those with the largest numbers, the share that lies in it.
#[derive(Debug, Clone)]
pub struct RankAccuracy(Signed);

impl Metric for RankAccuracy {
    type Settings = Signed;
    const CARD: MetricCard = card!(
        "rank-accuracy",
        "Are the largest places of the map those of the evidence?",
        "Arras, Osman, Samek: CLEVR-XAI. Information Fusion 2022. https://arxiv.org/abs/2003.07258",
        "Where the largest numbers are few, the rest of the ranks is noise."
    );

    fn new(settings: Signed) -> Result<Self, AnalysisError> {
        Ok(Self(settings))
    }

    fn settings(&self) -> &Signed {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("rank-accuracy", Better::Higher)]
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let seen = Seen::of(asked, map, self.0.sign)?;
        let marked = seen.marked();
        Ok(vec![seen.hits(marked) / marked as f64])
    }
}

/// How many pixels count, and how.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopSettings {
    /// Which share of the picture's pixels.
    pub share: f64,
    /// Which way numbers count.
    pub sign: Sign,
}

impl Default for TopSettings {
    fn default() -> Self {
        Self { share: 0.02, sign: Sign::default() }
    }
}

/// Of the largest pixels the share that lies in the mask.
#[derive(Debug, Clone)]
pub struct TopK(TopSettings);

impl Metric for TopK {
    type Settings = TopSettings;
    const CARD: MetricCard = card!(
        "top-k",
        "Do the few largest places of the map lie on the evidence?",
        "Theiner, Mueller-Budack, Ewerth: Interpretable Semantic Photo Geolocation. WACV 2022. https://arxiv.org/abs/2104.14995",
        "What becomes of all but the largest places is not looked at."
    );

    fn new(settings: TopSettings) -> Result<Self, AnalysisError> {
        match settings.share > 0.0 && settings.share <= 1.0 {
            true => Ok(Self(settings)),
            false => Err(setting(&Self::CARD, "share", settings.share, "it must lie above 0, up to 1")),
        }
    }

    fn settings(&self) -> &TopSettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("top-k", Better::Higher)]
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        let seen = Seen::of(asked, map, self.0.sign)?;
        // no NaN: a checked share
        let k = ((self.0.share * seen.values.len() as f64).round() as usize).max(1);
        Ok(vec![seen.hits(k) / k as f64])
    }
}

/// How far off still hits, and how numbers count.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PointingSettings {
    /// Pixels of the original picture.
    pub radius: f64,
    /// Which way numbers count.
    pub sign: Sign,
}

/// Whether the largest pixel lies in the mask.
#[derive(Debug, Clone)]
pub struct PointingGame(PointingSettings);

impl Metric for PointingGame {
    type Settings = PointingSettings;
    const CARD: MetricCard = card!(
        "pointing-game",
        "Does the map's largest place lie on the evidence?",
        "Zhang et al.: Top-Down Neural Attention by Excitation Backprop. IJCV 2018. https://arxiv.org/abs/1608.00507",
        "One place decides: a single outlier makes a hit or a miss."
    );

    fn new(settings: PointingSettings) -> Result<Self, AnalysisError> {
        match (0.0..=4096.0).contains(&settings.radius) {
            true => Ok(Self(settings)),
            false => Err(setting(&Self::CARD, "radius", settings.radius, "it must lie between 0 and 4096")),
        }
    }

    fn settings(&self) -> &PointingSettings {
        &self.0
    }

    fn columns(&self, _: Redraws<'_>) -> Vec<Column> {
        vec![Column::new("pointing-game", Better::Higher)]
    }

    fn scores(&self, asked: &AtHand<'_>, map: &Map) -> Result<Vec<f64>, NoScore> {
        Ok(vec![Seen::of(asked, map, self.0.sign)?.pointing(self.0.radius)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(size: [usize; 2], inside: &[usize], values: &[f64]) -> Seen {
        Seen {
            size,
            inside: (0..values.len()).map(|i| inside.contains(&i)).collect(),
            values: values.to_vec(),
        }
    }

    #[test]
    fn ties_at_the_edge_count_as_they_would_in_the_mean() {
        // 9 is taken and lies inside; of the three 5s one fits, and one of three lies inside.
        let some = seen([4, 1], &[0, 2], &[9.0, 5.0, 5.0, 5.0]);
        assert!((some.hits(2) - (1.0 + 1.0 / 3.0)).abs() < 1e-12);
        assert_eq!(some.hits(4), 2.0);
        // The same everywhere: two of four pixels lie inside.
        assert_eq!(seen([4, 1], &[0, 2], &[1.0; 4]).hits(2), 1.0);
        assert_eq!(seen([4, 1], &[0, 2], &[1.0; 4]).pointing(0.0), 0.5);
    }

    #[test]
    fn a_near_miss_hits_within_the_radius() {
        let mut values = [0.0; 25];
        values[24] = 1.0;
        // The evidence is the middle, (2, 2); the largest lies at (4, 4), the root of 8 away.
        let some = seen([5, 5], &[12], &values);
        assert_eq!([some.pointing(0.0), some.pointing(2.8), some.pointing(2.83)], [0.0, 0.0, 1.0]);
        // No wrapping round the edge: the last of a row is not beside the first of the next.
        let mut values = [0.0; 25];
        values[4] = 1.0;
        assert_eq!(seen([5, 5], &[5], &values).pointing(1.0), 0.0);
    }

    #[test]
    fn settings_are_checked() {
        let said = TopK::new(TopSettings { share: 0.0, ..TopSettings::default() }).unwrap_err().to_string();
        assert_eq!(said, "top-k: share = 0, but it must lie above 0, up to 1");
        let said =
            PointingGame::new(PointingSettings { radius: f64::NAN, ..Default::default() }).unwrap_err();
        assert_eq!(said.to_string(), "pointing-game: radius = NaN, but it must lie between 0 and 4096");
    }
}
