//! The masks of a data set, patch by patch: areas in pixels, from which every overlap follows.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_core::finding::PatchLabel;
use mmlens_core::{AnalysisError, Cases, Mask, On, Seed};
use mmlens_engine::{Neurons, Shows, rows_shown, shuffled};

use super::CARD;
use crate::check::input;

/// A picture of a case: the rows that show it, and what of each lies in the masks.
struct Pictured {
    /// Of each row its number among all, and its pixels.
    rows: Vec<(usize, u32)>,
    /// Concepts, each with its pixels in every row.
    concepts: Vec<(usize, Vec<u32>)>,
    categories: BTreeSet<usize>,
}

/// The masks of a data set.
pub(super) struct Masks {
    names: Vec<String>,
    categories: Vec<String>,
    /// Of each concept its category.
    of: Vec<usize>,
    pictures: Vec<Pictured>,
    /// The first row of each case, and how many there are.
    first: Vec<usize>,
    rows: usize,
    /// Of each row its picture, and its place among the rows of that.
    places: Vec<Option<(usize, usize)>>,
    /// Pixels of each concept.
    areas: Vec<u64>,
}

/// How much of each concept a set of rows covers.
pub(super) struct Overlap {
    iou: Vec<f64>,
}

impl Overlap {
    /// The concept with the largest IoU, the first of equal ones; `None` where all are zero.
    pub(super) fn best(&self) -> Option<(usize, f64)> {
        self.best_of(|_| true)
    }

    /// The same among some.
    pub(super) fn best_of(&self, among: impl Fn(usize) -> bool) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (concept, iou) in self.iou.iter().enumerate().filter(|(concept, _)| among(*concept)) {
            // no NaN: shares of counts
            if *iou > best.map_or(0.0, |(_, most)| most) {
                best = Some((concept, *iou));
            }
        }
        best
    }

    /// Of every concept.
    pub(super) fn every(&self) -> impl Iterator<Item = f64> + '_ {
        self.iou.iter().copied()
    }
}

/// The category of a concept by its name.
fn category(name: &str) -> &str {
    name.split_once(": ").map_or("", |(category, _)| category)
}

impl Masks {
    /// Those of a data set, for rows that show patches.
    pub(super) fn of(on: &On<'_>, data: &dyn Cases, neurons: &Neurons) -> Result<Self, AnalysisError> {
        let site = neurons.sites().first().copied();
        let site = site.ok_or_else(|| input(&CARD, "a layer", "there is none"))?;
        let (mut read, mut names) = (Vec::new(), BTreeSet::new());
        let (mut first, mut rows) = (Vec::new(), 0);
        for index in 0..data.len() {
            let (sample, masks) = (data.case(index)?.sample, data.masks(index)?);
            let inputs = on.subject().encode(&sample)?;
            let (_, shows) = rows_shown((on, CARD.id), &inputs, site, neurons.positions())?;
            names.extend(masks.iter().map(|mask| mask.name.clone()));
            first.push(rows);
            for (at, picture) in sample.pictures.iter().enumerate() {
                let size = [picture.image.width() as usize, picture.image.height() as usize];
                let own: Vec<&Mask> = masks.iter().filter(|mask| mask.picture == at).collect();
                if let Some(other) =
                    own.iter().find(|mask| mask.size != size || mask.inside.len() != size[0] * size[1])
                {
                    let found = format!(
                        "`{}` of case {index} has {:?} and {} pixels, and its picture {size:?}",
                        other.name,
                        other.size,
                        other.inside.len()
                    );
                    return Err(input(&CARD, "masks of the size of their pictures", found));
                }
                // Of clips every frame has patches, and none of them lies on a picture.
                let patches = shows
                    .iter()
                    .enumerate()
                    .filter_map(|(row, shows)| Some((rows + row, Shows::patch(shows)?)));
                let patches: Vec<(usize, &PatchLabel)> =
                    patches.filter(|(_, patch)| patch.image == at && sample.clips.is_empty()).collect();
                if !patches.is_empty() {
                    read.push(areas(size, &patches, &own));
                }
            }
            rows += shows.len();
        }
        let names: Vec<String> = names.into_iter().collect();
        if names.is_empty() {
            return Err(input(&CARD, "a data set with masks", format!("`{}` has none", data.name())));
        }
        let categories: Vec<String> =
            names.iter().map(|name| category(name).to_owned()).collect::<BTreeSet<_>>().into_iter().collect();
        let place = |all: &[String], name: &str| all.iter().position(|own| own == name).unwrap_or(all.len());
        let of: Vec<usize> = names.iter().map(|name| place(&categories, category(name))).collect();
        let mut pictures = Vec::new();
        let mut places = vec![None; rows];
        let mut totals = vec![0_u64; names.len()];
        for (own, concepts) in read {
            for (at, (row, _)) in own.iter().enumerate() {
                if let Some(slot) = places.get_mut(*row) {
                    *slot = Some((pictures.len(), at));
                }
            }
            let concepts: Vec<(usize, Vec<u32>)> =
                concepts.into_iter().map(|(name, areas)| (place(&names, &name), areas)).collect();
            for (concept, areas) in &concepts {
                if let Some(total) = totals.get_mut(*concept) {
                    *total += areas.iter().map(|area| u64::from(*area)).sum::<u64>();
                }
            }
            let categories = concepts.iter().filter_map(|(concept, _)| of.get(*concept).copied()).collect();
            pictures.push(Pictured { rows: own, concepts, categories });
        }
        Ok(Self { names, categories, of, pictures, first, rows, places, areas: totals })
    }

    pub(super) fn concepts(&self) -> &[String] {
        &self.names
    }

    pub(super) fn categories(&self) -> &[String] {
        &self.categories
    }

    /// The category of a concept.
    pub(super) fn category(&self, concept: usize) -> Option<usize> {
        self.of.get(concept).copied()
    }

    /// Pixels of each concept.
    pub(super) fn areas(&self) -> &[u64] {
        &self.areas
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// The number of the first row of a case among all.
    pub(super) fn first_row(&self, case: usize) -> usize {
        self.first.get(case).copied().unwrap_or(self.rows)
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> u64 {
        let each = |own: &Pictured| own.rows.len() * (40 + 4 * own.concepts.len());
        self.pictures.iter().map(|own| each(own) as u64).sum()
    }

    /// The masks of which picture stand beside each, drawn among those that are cut in the same way.
    pub(super) fn shuffled(&self, seed: Seed) -> Vec<usize> {
        let mut alike: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
        for (at, own) in self.pictures.iter().enumerate() {
            alike.entry(own.rows.iter().map(|(_, pixels)| *pixels).collect()).or_default().push(at);
        }
        let mut others: Vec<usize> = (0..self.pictures.len()).collect();
        for (group, own) in alike.values().enumerate() {
            let order = shuffled(own.len(), seed.at(group as u64));
            for (at, from) in own.iter().zip(order) {
                if let (Some(slot), Some(from)) = (others.get_mut(*at), own.get(from)) {
                    *slot = *from;
                }
            }
        }
        others
    }

    /// What some rows cover of each concept, where the masks beside each picture are those of `beside`.
    pub(super) fn overlap(&self, above: &[usize], beside: &[usize]) -> Overlap {
        let mut inside = vec![0_u64; self.names.len()];
        let mut marked = vec![0_u64; self.categories.len()];
        for row in above {
            let Some((picture, at)) = self.places.get(*row).copied().flatten() else { continue };
            let masks = beside.get(picture).and_then(|other| self.pictures.get(*other));
            let own = self.pictures.get(picture).and_then(|own| own.rows.get(at));
            let (Some(masks), Some((_, pixels))) = (masks, own) else { continue };
            for category in &masks.categories {
                if let Some(area) = marked.get_mut(*category) {
                    *area += u64::from(*pixels);
                }
            }
            for (concept, areas) in &masks.concepts {
                if let (Some(sum), Some(area)) = (inside.get_mut(*concept), areas.get(at)) {
                    *sum += u64::from(*area);
                }
            }
        }
        let iou = inside.iter().zip(&self.areas).zip(&self.of).map(|((inside, area), category)| {
            let union = marked.get(*category).copied().unwrap_or(0) + area - inside;
            if union > 0 { *inside as f64 / union as f64 } else { 0.0 }
        });
        Overlap { iou: iou.collect() }
    }
}

/// Concepts by name, each with its pixels in every row.
type Concepts = Vec<(String, Vec<u32>)>;

/// The pixels of every row of a picture, and how many of them lie in each concept.
fn areas(
    [width, height]: [usize; 2],
    patches: &[(usize, &PatchLabel)],
    masks: &[&Mask],
) -> (Vec<(usize, u32)>, Concepts) {
    let size = |at: usize| {
        patches.get(at).map_or(0.0, |(_, patch)| {
            let [x0, y0, x1, y1] = patch.bbox;
            f64::from(x1 - x0) * f64::from(y1 - y0)
        })
    };
    // Large ones first, and of equal ones the later, so that what is painted last stays.
    let mut order: Vec<usize> = (0..patches.len()).collect();
    order.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(b.cmp(a))); // no NaN: boxes on a picture
    let mut owner: Vec<Option<usize>> = vec![None; width * height];
    // The pixels whose centre lies from one edge to the other.
    let span = |low: f32, high: f32, most: usize| {
        let edge = |at: f32| ((f64::from(at) - 0.5).ceil().max(0.0) as usize).min(most); // no NaN: boxes on a picture
        edge(low)..edge(high)
    };
    for at in order {
        let Some((_, patch)) = patches.get(at) else { continue };
        let [x0, y0, x1, y1] = patch.bbox;
        let across = span(x0, x1, width);
        for y in span(y0, y1, height) {
            let row = owner.get_mut(y * width + across.start..y * width + across.end);
            row.into_iter().flatten().for_each(|slot| *slot = Some(at));
        }
    }
    let mut pixels = vec![0_u32; patches.len()];
    let mut concepts: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut unions: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for mask in masks {
        let union = unions.entry(&mask.name).or_insert_with(|| vec![false; width * height]);
        union.iter_mut().zip(&mask.inside).for_each(|(all, own)| *all |= own);
    }
    for name in unions.keys() {
        concepts.insert(name, vec![0; patches.len()]);
    }
    for (pixel, own) in owner.iter().enumerate() {
        let Some(own) = own else { continue };
        if let Some(count) = pixels.get_mut(*own) {
            *count += 1;
        }
        for (areas, inside) in concepts.values_mut().zip(unions.values()) {
            if let (Some(area), Some(true)) = (areas.get_mut(*own), inside.get(pixel)) {
                *area += 1;
            }
        }
    }
    let rows = patches.iter().zip(pixels).map(|((row, _), pixels)| (*row, pixels)).collect();
    (rows, concepts.into_iter().map(|(name, areas)| (name.to_owned(), areas)).collect())
}
