//! Sets of positions by kind, and random ones like them.

use mmlens_core::finding::{Axis, Labels, Modality, PatchLabel, TokenLabel};
use mmlens_core::{
    AnalysisError, AxisName, Card, Inputs, Mask, Part, Region, Seed, Site, SiteSpec, Subject, TokenMap,
};
use mmlens_engine::{Positions, label, one_row};
use serde::{Deserialize, Serialize};

use super::super::sinks::Bound;
use super::super::sinks::measured::median;
use crate::check::{given, input};

/// Some positions of a part, chosen before the input is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Tokens {
    /// Those that show pictures.
    Pictures,
    /// The words of the question ([`Positions::Question`]) that are no markers.
    Question,
    /// Markers of the model: begin, end, separators, templates, a tower's class token; not the positions that the answer is read at.
    Markers,
    /// Those that show pictures and whose states, where they are replaced, are as long as this.
    Registers(Bound),
    /// The patches that touch a box.
    Box(Place),
    /// The patches of the picture that do not touch it.
    Outside(Place),
    /// The patches that touch a region that the data set knows of, all of them or those of one name; over many cases.
    Masked(Option<String>),
    /// The patches that touch none.
    Unmasked,
    /// The tokens of a phrase of the prompt ([`Positions::Phrase`]).
    Phrase(String),
    /// The tokens that share a byte with a range of the prompt: the first, and the one behind the last.
    Bytes(usize, usize),
    /// These, by number; of a tower in each of its pictures.
    At(Vec<usize>),
}

/// A box on a picture of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Which picture.
    #[serde(default)]
    pub image: usize,
    /// x0, y0, x1, y1 in pixels of the original picture.
    pub bbox: [f32; 4],
    /// So many pixels wider on every side.
    #[serde(default)]
    pub buffer: f32,
}

impl Place {
    fn touches(&self, patch: &PatchLabel) -> bool {
        let ([x0, y0, x1, y1], b, more) = (self.bbox, patch.bbox, self.buffer);
        patch.image == self.image
            && b[0] < x1 + more
            && x0 - more < b[2]
            && b[1] < y1 + more
            && y0 - more < b[3]
    }
}

/// The positions of a part: of every row or picture, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Spots {
    labels: Vec<TokenLabel>,
    /// How many there are of each picture, where the site holds pictures one by one.
    each: Option<usize>,
    axis: Axis,
    /// How many of them are of the input: behind these stands an answer.
    given: usize,
}

impl Spots {
    /// Those of a site.
    pub(crate) fn of(
        card: &Card,
        subject: &dyn Subject,
        inputs: &Inputs,
        site: Site,
    ) -> Result<Self, AnalysisError> {
        if matches!(site.part(), Part::Text | Part::Encoder) {
            let map = one_row(card.id, inputs)?;
            let given = map.prompt().end;
            return Ok(Self { labels: map.tokens.clone(), each: None, axis: label::token_axis(map), given });
        }
        given(card, inputs, site.part())?;
        let (spec, dims) = (SiteSpec::among(subject.sites(), site)?, subject.dims(inputs, site)?);
        let at = |axis| spec.axis(axis).and_then(|at| dims.get(at).copied());
        let (entries, len) = (spec.apart().and_then(at), at(AxisName::Pos));
        let len = len.ok_or_else(|| input(card, "a part with positions", format!("`{site}` has none")))?;
        let whole: Vec<usize> = (0..len).collect();
        let tower = label::tower_of(spec, inputs.map());
        let axis = label::tower_axis_at(inputs.map(), tower, entries.unwrap_or(1), len, &whole);
        let labels = match &axis.labels {
            Labels::Tokens(tokens) => tokens.clone(),
            Labels::Patches(patches) => {
                let label = |patch: &PatchLabel| {
                    TokenLabel::new(format!("{patch}"), Modality::Image).with_patch(*patch)
                };
                patches.iter().map(label).collect()
            }
            _ => {
                let modality = if tower == Part::Audio { Modality::Audio } else { Modality::Image };
                (0..axis.len()).map(|at| TokenLabel::new(at.to_string(), modality)).collect()
            }
        };
        Ok(Self { given: labels.len(), labels, each: entries.map(|_| len), axis })
    }

    pub(crate) fn axis(&self) -> &Axis {
        &self.axis
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Those of the input that show pictures, or the others; an answer behind it is none of them.
    pub(crate) fn all(&self, picture: bool) -> Vec<usize> {
        (0..self.given).filter(|at| self.is_picture(*at) == picture).collect()
    }

    fn is_picture(&self, at: usize) -> bool {
        self.labels.get(at).is_some_and(|own| own.modality.is_perceived())
    }

    /// Which of them a set holds, in ascending order. `norms` are those of the states, `read` where the answer is read.
    pub(crate) fn chosen(
        &self,
        card: &Card,
        tokens: &Tokens,
        (map, masks): (&TokenMap, &[Mask]),
        (norms, read): (&[f64], &[usize]),
    ) -> Result<Vec<usize>, AnalysisError> {
        let patch = |at: &usize| self.labels.get(*at).and_then(|own| own.patch.as_ref());
        let filter = |is: &dyn Fn(&usize) -> bool| (0..self.given).filter(is).collect::<Vec<_>>();
        let marker = |at: &usize| self.labels.get(*at).is_some_and(|own| own.modality == Modality::Special);
        let in_mask = |patch: &PatchLabel, name: Option<&String>| {
            masks
                .iter()
                .filter(|mask| name.is_none_or(|name| *name == mask.name))
                .any(|mask| touches(mask, patch))
        };
        if let (Tokens::Masked(_) | Tokens::Unmasked, true) = (tokens, masks.is_empty()) {
            return Err(input(card, "regions of the pictures, which a data set has", "there are none"));
        }
        Ok(match tokens {
            Tokens::Pictures => filter(&|at| self.is_picture(*at)),
            Tokens::Question if self.each.is_some() || map.len() != self.len() => Vec::new(),
            Tokens::Question => {
                let question = Positions::Question.of(map).unwrap_or_default();
                question.into_iter().filter(|at| !marker(at)).collect()
            }
            Tokens::Markers => filter(&|at| marker(at) && !read.contains(at)),
            Tokens::Registers(bound) => {
                let bound = match bound {
                    Bound::Above(bound) => f64::from(*bound),
                    Bound::Median(times) => {
                        let shown = (0..self.len()).filter(|at| self.is_picture(*at));
                        f64::from(*times) * median(shown.filter_map(|at| norms.get(at).copied()).collect())
                    }
                };
                filter(&|at| self.is_picture(*at) && norms.get(*at).is_some_and(|norm| *norm >= bound))
            }
            Tokens::Box(place) => filter(&|at| patch(at).is_some_and(|own| place.touches(own))),
            Tokens::Outside(place) => {
                filter(&|at| patch(at).is_some_and(|own| own.image == place.image && !place.touches(own)))
            }
            Tokens::Masked(name) => filter(&|at| patch(at).is_some_and(|own| in_mask(own, name.as_ref()))),
            Tokens::Unmasked => filter(&|at| patch(at).is_some_and(|own| !in_mask(own, None))),
            Tokens::Phrase(_) if self.each.is_some() || map.len() != self.len() => {
                return Err(input(card, "a part that reads words, for a phrase", "this one does not"));
            }
            Tokens::Phrase(phrase) => Positions::Phrase(phrase.clone()).chosen(card.id, map)?,
            Tokens::Bytes(from, to) => filter(&|at| {
                let shares = |(a, b): (usize, usize)| a.max(*from) < b.min(*to);
                self.labels.get(*at).and_then(|own| own.bytes).is_some_and(shares)
            }),
            Tokens::At(numbers) => {
                let each = self.each.unwrap_or(self.given).max(1);
                if let Some(past) = numbers.iter().find(|own| **own >= each) {
                    let found = format!("position {past} was asked for of {each}");
                    return Err(input(card, "positions that the input has", found));
                }
                filter(&|at| numbers.contains(&(at % each)))
            }
        })
    }

    /// A random set of as many positions of each of the two kinds, pictures and others, as a set has; those where the answer is read are
    /// drawn only as far as there are no others. Each is in it with the same chance.
    pub(crate) fn like(&self, set: &[usize], read: &[usize], seed: Seed) -> Vec<usize> {
        let mut drawn = Vec::with_capacity(set.len());
        for kind in [true, false] {
            let wanted = set.iter().filter(|at| self.is_picture(**at) == kind).count();
            drawn.extend(self.pool(kind, read, seed).into_iter().take(wanted));
        }
        drawn.sort_unstable();
        drawn
    }

    /// The positions of a kind in a random order, those where the answer is read last.
    fn pool(&self, kind: bool, read: &[usize], seed: Seed) -> Vec<usize> {
        let mut pool = self.all(kind);
        pool.sort_by_cached_key(|at| (read.contains(at), seed.at(*at as u64).value(), *at));
        pool
    }

    /// Whether a random set like a set can be another.
    pub(crate) fn has_others(&self, set: &[usize], read: &[usize]) -> bool {
        let free = |at: &usize| !set.contains(at) && !read.contains(at);
        [true, false]
            .into_iter()
            .any(|kind| set.iter().any(|at| self.is_picture(*at) == kind) && self.all(kind).iter().any(free))
    }

    /// Positions as regions of a site, picture by picture, with the positions of all that are not among them.
    pub(crate) fn regions(&self, set: &[usize]) -> Vec<(Option<usize>, Vec<usize>)> {
        if set.is_empty() {
            return Vec::new();
        }
        let Some(each) = self.each.filter(|each| *each > 0) else { return vec![(None, set.to_vec())] };
        let of = |entry: usize| set.iter().filter(|at| **at / each == entry).map(|at| at % each).collect();
        let regions = (0..self.len() / each).map(|entry| (Some(entry), of(entry)));
        regions.filter(|(_, own): &(_, Vec<usize>)| !own.is_empty()).collect()
    }

    /// The two kinds, pictures and others.
    pub(crate) fn kinds(&self, set: &[usize]) -> [Vec<usize>; 2] {
        [true, false].map(|kind| set.iter().copied().filter(|at| self.is_picture(*at) == kind).collect())
    }

    /// How many of each picture.
    pub(crate) fn each(&self) -> usize {
        self.each.unwrap_or(self.len())
    }
}

/// The region of some positions of a picture.
pub(crate) fn region(entry: Option<usize>, axis: AxisName, positions: Vec<usize>) -> Region {
    let region = Region::all().of(axis, positions);
    match entry {
        Some(entry) => region.of(AxisName::Image, [entry]),
        None => region,
    }
}

/// Whether a pixel of a region lies in a patch, wholly or in part.
fn touches(mask: &Mask, patch: &PatchLabel) -> bool {
    let ([wide, high], [x0, y0, x1, y1]) = (mask.size, patch.bbox);
    let range = |from: f32, to: f32, len: usize| {
        (from.max(0.0).floor() as usize)..(to.ceil().max(0.0) as usize).min(len)
    }; // no NaN: a box
    let inside = |x: usize, y: usize| mask.inside.get(y * wide + x).copied().unwrap_or(false);
    mask.picture == patch.image && range(y0, y1, high).any(|y| range(x0, x1, wide).any(|x| inside(x, y)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn spots() -> Spots {
        let patch = |col: usize| {
            let bbox = [col as f32 * 8.0, 0.0, col as f32 * 8.0 + 8.0, 8.0];
            let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col, bbox };
            TokenLabel::new("<image>", Modality::Image).with_patch(patch)
        };
        let word = |text: &str, from: usize| TokenLabel::new(text, Modality::Text).with_bytes(from, from + 2);
        let labels = [
            vec![TokenLabel::new("<s>", Modality::Special)],
            (0..6).map(patch).collect(),
            vec![word("ab", 7), word("cd", 9), word("ef", 11)],
        ]
        .concat();
        Spots { axis: Axis::tokens(labels.clone()), given: labels.len(), labels, each: None }
    }

    fn chosen(tokens: Tokens, masks: &[Mask]) -> Vec<usize> {
        let spots = spots();
        let map = TokenMap { tokens: spots.labels.clone(), ..TokenMap::default() };
        let norms = [9.0, 1.0, 1.0, 5.0, 1.0, 1.0, 2.0, 7.0, 7.0, 7.0];
        spots.chosen(&super::super::CARD, &tokens, (&map, masks), (&norms, &[9])).unwrap()
    }

    #[test]
    fn sets_hold_what_they_say() {
        assert_eq!(chosen(Tokens::Pictures, &[]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(chosen(Tokens::Question, &[]), [7, 8]);
        assert_eq!(chosen(Tokens::Markers, &[]), [0]);
        // Of the pictures' norms 1, 1, 5, 1, 1, 2 the median is 1.
        assert_eq!(chosen(Tokens::Registers(Bound::Median(2.0)), &[]), [3, 6]);
        assert_eq!(chosen(Tokens::Registers(Bound::Above(4.0)), &[]), [3]);
        let place = |buffer| Place { image: 0, bbox: [8.0, 2.0, 15.0, 5.0], buffer };
        assert_eq!(chosen(Tokens::Box(place(0.0)), &[]), [2]);
        assert_eq!(chosen(Tokens::Box(place(1.5)), &[]), [1, 2, 3]);
        assert_eq!(chosen(Tokens::Outside(place(0.0)), &[]), [1, 3, 4, 5, 6]);
        assert_eq!(chosen(Tokens::Bytes(8, 10), &[]), [7, 8]);
        assert_eq!(chosen(Tokens::At(vec![4, 2]), &[]), [2, 4]);
        // One pixel of the third patch.
        let mut inside = vec![false; 48 * 8];
        inside[3 * 48 + 17] = true;
        let masks = [Mask { name: "it".to_owned(), picture: 0, size: [48, 8], inside }];
        assert_eq!(chosen(Tokens::Masked(None), &masks), [3]);
        assert_eq!(chosen(Tokens::Masked(Some("other".to_owned())), &masks), Vec::<usize>::new());
        assert_eq!(chosen(Tokens::Unmasked, &masks), [1, 2, 4, 5, 6]);
    }

    /// As many of each kind, never where the answer is read while there are others, each equally often.
    #[test]
    fn random_sets_are_like_the_set() {
        let spots = spots();
        let mut counts = [0_usize; 10];
        for seed in 0..3000 {
            let drawn = spots.like(&[1, 2, 7], &[9], Seed(seed));
            assert_eq!(spots.kinds(&drawn).map(|own| own.len()), [2, 1]);
            drawn.iter().for_each(|at| counts[*at] += 1);
        }
        // Two of six patches: 1000 of 3000, with a deviation of 26; one of three others.
        assert!(counts[1..7].iter().all(|count| count.abs_diff(1000) < 110), "{counts:?}");
        assert!([0, 7, 8].iter().all(|at| counts[*at].abs_diff(1000) < 110), "{counts:?}");
        assert_eq!(counts[9], 0);
        assert!(spots.has_others(&[1, 2], &[9]) && !spots.has_others(&[1, 2, 3, 4, 5, 6], &[9]));
        assert!(!spots.has_others(&[0, 7, 8], &[9]));
    }

    /// Nothing of an answer is taken away, drawn, or in a mean.
    #[test]
    fn an_answer_is_none_of_them() {
        let spots = Spots { given: 8, ..spots() };
        assert_eq!((spots.all(true), spots.all(false)), ((1..7).collect(), vec![0, 7]));
        assert!((0..200).all(|seed| spots.like(&[0], &[7], Seed(seed)) == [0]));
        assert!(!spots.has_others(&[0], &[7]));
        let of = |tokens| {
            let map = TokenMap { tokens: spots.labels.clone(), answer: Some(8), ..TokenMap::default() };
            spots.chosen(&super::super::CARD, &tokens, (&map, &[]), (&[1.0; 10], &[7]))
        };
        assert_eq!(of(Tokens::Bytes(7, 13)).unwrap(), [7]);
        assert!(of(Tokens::Phrase("none".to_owned())).is_err());
        let said = of(Tokens::At(vec![8])).unwrap_err().to_string();
        assert!(
            said.ends_with("needs positions that the input has, but position 8 was asked for of 8"),
            "{said}"
        );
    }

    #[test]
    fn pictures_have_regions_of_their_own() {
        let spots = Spots { each: Some(5), ..spots() };
        assert_eq!(spots.regions(&[1, 4, 7]), [(Some(0), vec![1, 4]), (Some(1), vec![2])]);
        assert_eq!(Spots { each: None, ..spots }.regions(&[1, 7]), [(None, vec![1, 7])]);
    }
}
