//! Maps of the same pictures side by side: of two models, of two methods, of both.
//!
//! # Idea
//! A logit of one model is not a logit of another, and a gradient is no share. So every map is painted on one grid over the picture, each number counted as its `sign` says, and divided by
//! the sum of all magnitudes: what is compared is where a map has its mass. Of two such maps `a` and `b`, with cells of all pictures in one list
//!
//! ```text
//! rank correlation = Spearman(a, b)
//! shared mass      = sum of min(|a|, |b|) where both have the same sign
//! top overlap      = |A and B| / |A or B|,   A, B: the cells with the highest `top` share of values, rounded to whole cells, at least one
//! ```
//!
//! Masses are ranked in steps of a millionth of the largest, so that equal sums are equal. What chance gives is no zero: maps are smooth, so that any two of them agree somewhere. Beside every number
//! stands what 95 % of shifts of the second map over the picture, round its edges, by every number of rows and columns, do not exceed (linear between ranks): its own smoothness in other places.
//! (Their mean would say nothing: of rank correlations over one picture it is the same for all maps, `-r / (cells - 1)`.)
//!
//! # In and out
//! In: findings about the same pictures or recordings that hold maps ([`Map::of`]); a recording is looked at as a picture, its spectrogram, of which the grid has equal parts of its columns and
//! rows. Out, a finding:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `rank correlation`, `shared mass`, `top overlap` | method, method | ratio | of every map with every other |
//! | `rank correlation of shifted`, ... | method, method | ratio | what 95 % of all shifts of the second do not exceed |
//! | `shifted that agree as much` | method, method | ratio | the share of shifts whose rank correlation is as high |
//! | `NAME` (`NAME/1` on the second picture) | row, column | ratio | each map on the common scale |
//! | `cautions` | rank | text | pairs whose ranks agree no more than those of shifted ones, or that share no more mass than these; a map that is zero, or has its mass in fewer cells than are its top; maps of different answers |
//!
//! A pair without a number, since a map does not vary, has none (NaN).
//!
//! # When it misleads
//! - Maps that agree may be wrong together: two models, or methods, that find edges agree. Compare with an edge filter ([`EdgeFilter`](crate::EdgeFilter)).
//! - Maps of different answers are maps of different questions.
//! - Ranks count cells of next to no mass like any others: maps that mark different objects on the same plain ground agree in ranks, and share no mass. Look at both.
//! - Coarse maps look alike on a fine grid, and fine ones on a coarse one: look at `rows` and `cols`.
//!
//! # Agreement
//! SciPy 1.17's `spearmanr` and NumPy on drawn maps: 1e-12. Identities tested: a map and itself are wholly alike; scaling and, for ranks, any rising function change nothing; the order of the two
//! does not matter; a map and its shift are found among the shifts.
//!
//! # Source
//! Rank correlation and top-k overlap of explanations: Krishna, Han, Gu, Pombra, Jabbari, Wu, Lakkaraju: The Disagreement Problem in Explainable Machine Learning. TMLR 2024.
//! <https://arxiv.org/abs/2202.01602>. Shifts as chance: Fortin, Dale: Spatial Analysis, 2005 (toroidal shifts of one map against another).

use std::collections::BTreeSet;

use mmlens_core::finding::{
    Axis, Caution, CautionKind, Finding, FindingError, Labelled, Provenance, Role, SoundScale, TableError,
    Unit,
};
use mmlens_engine::quantile;
use serde::{Deserialize, Serialize};

use crate::alike::in_steps;
use crate::{Map, NoMap, Side, Sign, rank_correlation};

/// On which grid maps are compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComparisonSettings {
    /// Cells one above the other.
    pub rows: usize,
    /// Cells side by side.
    pub cols: usize,
    /// Which way numbers of a map count.
    pub sign: Sign,
    /// Which share of the cells is the top of a map.
    pub top: f64,
}

impl Default for ComparisonSettings {
    fn default() -> Self {
        Self { rows: 16, cols: 16, sign: Sign::Absolute, top: 0.1 }
    }
}

/// The most cells on a side: every shift is tried.
const MOST: usize = 64;
/// Of shifts no more than this may agree as much.
const CHANCE: f64 = 0.05;

/// The tables of how far maps agree, each of every map with every other.
pub const TABLES: [&str; 7] = [
    "rank correlation",
    "shared mass",
    "top overlap",
    "rank correlation of shifted",
    "shared mass of shifted",
    "top overlap of shifted",
    "shifted that agree as much",
];

/// Whether a finding holds a map of a picture.
#[must_use]
pub fn has_map(finding: &Finding) -> bool {
    Map::of(finding, Side::Pictures, None).is_ok()
}

/// A map that takes part.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// What it is called, once each.
    pub name: &'a str,
    /// What holds it.
    pub finding: &'a Finding,
}

/// Maps that cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoComparison {
    /// Fewer than two.
    #[error("{found} maps to compare, where there must be two or more")]
    Few {
        /// How many there are.
        found: usize,
    },
    /// Two of the same name.
    #[error("two maps are called `{name}`")]
    Twice {
        /// The name.
        name: String,
    },
    /// A setting outside of what it may be.
    #[error("{setting} = {found}: {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A finding that is about other pictures than the first.
    #[error("`{name}` is about {found}, and `{first}` about {expected}")]
    Pictures {
        /// The finding.
        name: String,
        /// What it is about.
        found: String,
        /// The first of all.
        first: String,
        /// What that is about.
        expected: String,
    },
    /// A finding whose spectrogram of a recording has other frequencies than that of the first.
    #[error("`{name}` looks at `{recording}` over other frequencies than `{first}`")]
    Scale {
        /// The finding.
        name: String,
        /// The recording.
        recording: String,
        /// The first of all.
        first: String,
    },
    /// A finding that holds no map of pictures.
    #[error("`{name}`: {source}")]
    Map {
        /// The finding.
        name: String,
        /// Why not.
        source: NoMap,
    },
    /// Names that no table can have.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Names that a finding cannot have beside those of its other tables.
    #[error(transparent)]
    Finding(#[from] FindingError),
}

/// A map on the grid, picture by picture.
struct OnGrid {
    cells: Vec<f64>,
}

/// How alike two maps are.
#[derive(Debug, Clone, Copy)]
struct Alike {
    ranks: Option<f64>,
    mass: Option<f64>,
    top: Option<f64>,
}

/// A picture of a finding, or a recording, which is looked at as one.
#[derive(Clone, Copy)]
struct Picture<'a> {
    /// Its number among pictures, clips and recordings.
    image: usize,
    name: &'a str,
    sha256: &'a str,
    /// Width and height, in what the finding counts places in.
    size: [u32; 2],
    /// Of a recording, what columns and rows stand for.
    scale: Option<&'a SoundScale>,
}

/// What maps of a finding may lie on: its pictures, and its recordings where it says how they are looked at.
fn pictures(finding: &Finding) -> Vec<Picture<'_>> {
    let Some(input) = &finding.provenance.input else { return Vec::new() };
    let sample = &input.sample;
    let seen = sample.pictures.iter().enumerate().map(|(image, own)| Picture {
        image,
        name: &own.name,
        sha256: &own.sha256,
        size: own.size,
        scale: None,
    });
    let before = sample.pictures.len() + sample.clips.len();
    let heard = sample.recordings.iter().enumerate().filter_map(|(at, own)| {
        let scale = own.scale.as_ref()?;
        let size = [own.frames?, u32::try_from(scale.rows_all()).ok()?];
        let (name, sha256) = (own.name.as_str(), own.sha256.as_str());
        Some(Picture { image: before + at, name, sha256, size, scale: Some(scale) })
    });
    seen.chain(heard).collect()
}

fn told(pictures: &[Picture<'_>]) -> String {
    match pictures {
        [] => "no picture and no recording".to_owned(),
        some => {
            let name =
                |own: &Picture<'_>| format!("`{}` ({})", own.name, own.sha256.get(..8).unwrap_or(own.sha256));
            some.iter().map(name).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Whether cells of a grid lie on the same of both: of pictures they do, of recordings where both spectrograms have the same frequencies, with as
/// many filters or others, from end to end. Where they begin and end in time is half a column's matter.
fn alike_in_size(a: &Picture<'_>, b: &Picture<'_>) -> bool {
    match (a.scale, b.scale) {
        (None, None) => a.size == b.size,
        (Some(a), Some(b)) => {
            let parts = |scale: &SoundScale| -> Vec<f64> {
                let rows = scale.rows_all() as f32;
                (0..=4).map(|part| scale.hertz_of([0.0, rows * part as f32 / 4.0])[0]).collect()
            };
            // Whose filters are more lie closer to the line through their peaks.
            parts(a).iter().zip(parts(b)).all(|(a, b)| (a - b).abs() <= 0.02 * a.max(b).max(1.0)) // no NaN: scales are finite
        }
        _ => false,
    }
}

impl ComparisonSettings {
    fn checked(&self) -> Result<(), NoComparison> {
        let wrong = |setting, found: String, expected: &str| {
            Err(NoComparison::Setting { setting, found, expected: expected.to_owned() })
        };
        for (name, side) in [("rows", self.rows), ("cols", self.cols)] {
            if side == 0 || side > MOST {
                return wrong(name, side.to_string(), "there are from 1 to 64 cells on a side");
            }
        }
        if !(self.top > 0.0 && self.top < 1.0) {
            return wrong("top", self.top.to_string(), "it is a share between 0 and 1");
        }
        Ok(())
    }

    /// How many cells are the top of a map.
    fn highest(&self, cells: usize) -> usize {
        ((self.top * cells as f64).round() as usize).clamp(1, cells.max(1))
    }

    fn on_grid(&self, map: &Map, pictures: &[Picture<'_>]) -> OnGrid {
        let mut cells = Vec::new();
        for own in pictures {
            let size = own.size.map(|side| side as usize);
            cells.extend(map.on_grid(own.image, size, [self.rows, self.cols]));
        }
        let total: f64 = cells.iter().map(|cell| cell.abs()).sum();
        if total > 0.0 {
            cells.iter_mut().for_each(|cell| *cell /= total);
        }
        OnGrid { cells }
    }

    /// The cells shifted round the edges of every picture.
    fn shifted(&self, cells: &[f64], [down, across]: [usize; 2]) -> Vec<f64> {
        let each = self.rows * self.cols;
        let from = |at: usize| {
            let (picture, row, col) = (at / each, at % each / self.cols, at % self.cols);
            picture * each + (row + down) % self.rows * self.cols + (col + across) % self.cols
        };
        (0..cells.len()).map(|at| cells.get(from(at)).copied().unwrap_or_default()).collect()
    }

    fn alike(&self, a: &[f64], b: &[f64]) -> Alike {
        let zero = |cells: &[f64]| cells.iter().all(|cell| *cell == 0.0);
        if zero(a) || zero(b) {
            return Alike { ranks: None, mass: None, top: None };
        }
        let shared = |(a, b): (&f64, &f64)| if a * b > 0.0 { a.abs().min(b.abs()) } else { 0.0 };
        let count = self.highest(a.len());
        let (top, other) = (highest(a, count), highest(b, count));
        let both = top.intersection(&other).count();
        Alike {
            ranks: rank_correlation(&in_steps(a), &in_steps(b)),
            mass: Some(a.iter().zip(b).map(shared).sum()),
            top: Some(both as f64 / (2 * count - both) as f64),
        }
    }
}

/// The places of the highest values; of equals the first.
fn highest(cells: &[f64], count: usize) -> BTreeSet<usize> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    let value = |at: &usize| cells.get(*at).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.cmp(b)));
    order.into_iter().take(count).collect()
}

/// What maps of the same pictures have in common, on a common scale.
///
/// # Errors
/// [`NoComparison`].
///
/// # Cost
/// No pass. Of `n` maps and `c` cells `n^2 c` rank correlations of `c` numbers.
pub fn compare(maps: &[Shown<'_>], settings: &ComparisonSettings) -> Result<Finding, NoComparison> {
    settings.checked()?;
    let [first, _, ..] = maps else { return Err(NoComparison::Few { found: maps.len() }) };
    let mut names = BTreeSet::new();
    if let Some(twice) = maps.iter().find(|map| !names.insert(map.name)) {
        return Err(NoComparison::Twice { name: twice.name.to_owned() });
    }
    let shown = pictures(first.finding);
    for map in maps {
        let own = pictures(map.finding);
        let (name, other) = (map.name.to_owned(), first.name.to_owned());
        let same = |(a, b): (&Picture<'_>, &Picture<'_>)| a.sha256 == b.sha256;
        if own.is_empty() || own.len() != shown.len() || !own.iter().zip(&shown).all(same) {
            let (found, expected) = (told(&own), told(&shown));
            return Err(NoComparison::Pictures { name, found, first: other, expected });
        }
        if let Some((own, _)) = own.iter().zip(&shown).find(|(a, b)| !alike_in_size(a, b)) {
            return Err(NoComparison::Scale { name, recording: own.name.to_owned(), first: other });
        }
    }
    let on_grid = |map: &Shown<'_>| {
        let of = Map::of(map.finding, Side::Pictures, None);
        let of = of.map_err(|source| NoComparison::Map { name: map.name.to_owned(), source })?;
        Ok(settings.on_grid(&of.signed(settings.sign), &pictures(map.finding)))
    };
    let grids: Vec<OnGrid> = maps.iter().map(on_grid).collect::<Result<_, NoComparison>>()?;
    let pairs = Pairs::of(&grids, settings);
    let mut tables = pairs.tables(maps)?;
    for (map, grid) in maps.iter().zip(&grids) {
        for (at, (cells, own)) in grid.cells.chunks(settings.rows * settings.cols).zip(&shown).enumerate() {
            let name = if shown.len() > 1 { format!("{}/{at}", map.name) } else { map.name.to_owned() };
            let values = cells.iter().map(|cell| *cell as f32).collect();
            tables.push(Labelled::numbers(name, Unit::Ratio, settings.axes(own), values)?);
        }
    }
    let cautions =
        [zeros(maps, &grids), few(maps, &grids, settings), answers(maps), pairs.cautions(maps)].concat();
    tables.extend(Caution::tables(&cautions)?);
    Ok(Finding::new(provenance(maps, settings), tables)?)
}

impl ComparisonSettings {
    fn axes(&self, own: &Picture<'_>) -> Vec<Axis> {
        let [width, height] = own.size;
        let spans = |role, cells: usize, length: u32| {
            let edge = |at: usize| (at as f64 * f64::from(length) / cells as f64) as f32;
            let spans = (0..cells).map(|at| [edge(at), edge(at + 1)]).collect();
            match own.scale {
                Some(scale) => Axis::heard(role, own.image, spans, scale),
                None => Axis::spans(role, own.image, spans),
            }
        };
        vec![spans(Role::Row, self.rows, height), spans(Role::Column, self.cols, width)]
    }
}

/// That of the first map, of all models: nothing was run.
fn provenance(maps: &[Shown<'_>], settings: &ComparisonSettings) -> Provenance {
    let models: BTreeSet<&str> = maps.iter().map(|map| map.finding.provenance.subject.as_str()).collect();
    let made = Provenance::new("comparison", models.into_iter().collect::<Vec<_>>().join(", "));
    let of: Vec<String> = maps
        .iter()
        .map(|map| {
            let Provenance { method, subject, weights_hash, .. } = &map.finding.provenance;
            format!("{}: {method} on {subject} ({})", map.name, weights_hash.get(..8).unwrap_or(weights_hash))
        })
        .collect();
    let made = made.with_setting("of", of).with_setting("top", settings.top);
    let made = made.with_setting("rows", settings.rows).with_setting("cols", settings.cols);
    let sign = serde_json::to_value(settings.sign).unwrap_or_default();
    let input = maps.first().and_then(|map| map.finding.provenance.input.clone());
    Provenance {
        input,
        baseline: Some("every map shifted over the picture".to_owned()),
        ..made.with_setting("sign", sign)
    }
}

fn zeros(maps: &[Shown<'_>], grids: &[OnGrid]) -> Vec<Caution> {
    let empty = maps.iter().zip(grids).filter(|(_, grid)| grid.cells.iter().all(|cell| *cell == 0.0));
    let said = empty.map(|(map, grid)| {
        let text = format!("`{}` is zero everywhere: it is like no other", map.name);
        Caution::new(CautionKind::NothingMoved, grid.cells.len() as f32, text)
    });
    said.collect()
}

/// Nearly all of a map's mass.
const NEARLY: f64 = 0.99;

/// Maps with nearly all of their mass in fewer cells than are their top: the rest of the top is of cells that hardly differ.
fn few(maps: &[Shown<'_>], grids: &[OnGrid], settings: &ComparisonSettings) -> Vec<Caution> {
    let mut said = Vec::new();
    for (map, grid) in maps.iter().zip(grids) {
        let mut masses: Vec<f64> = grid.cells.iter().map(|cell| cell.abs()).collect();
        masses.sort_by(|a, b| b.total_cmp(a));
        let top = settings.highest(masses.len());
        let sums = masses.iter().scan(0.0, |sum, mass| {
            *sum += mass;
            Some(*sum)
        });
        // As many as it takes to have nearly all.
        let held = sums.take_while(|sum| *sum < NEARLY).count() + 1;
        if held < top && masses.first().is_some_and(|most| *most > 0.0) {
            let text = format!(
                "`{}` has nearly all of its mass in {held} of {} cells, and {top} are its top: overlaps are of cells that mean nothing",
                map.name,
                masses.len()
            );
            said.push(Caution::new(CautionKind::Other, held as f32, text));
        }
    }
    said
}

fn answers(maps: &[Shown<'_>]) -> Vec<Caution> {
    let all: BTreeSet<&str> =
        maps.iter().filter_map(|map| map.finding.provenance.answer.as_deref()).collect();
    if all.len() < 2 {
        return Vec::new();
    }
    let said: Vec<String> = all.iter().map(|answer| format!("“{answer}”")).collect();
    let text = format!(
        "the maps are of different answers ({}): where they differ, the answers may",
        said.join(", ")
    );
    vec![Caution::new(CautionKind::Other, all.len() as f32, text)]
}

/// Every map with every other, and with all shifts of it.
struct Pairs {
    own: Vec<Alike>,
    shifted: Vec<Alike>,
    /// The share of shifts whose ranks agree as much.
    reached: Vec<Option<f64>>,
}

impl Pairs {
    fn of(grids: &[OnGrid], settings: &ComparisonSettings) -> Self {
        let (mut own, mut shifted, mut reached) = (Vec::new(), Vec::new(), Vec::new());
        let rows = 0..settings.rows;
        let moves: Vec<[usize; 2]> =
            rows.flat_map(|down| (0..settings.cols).map(move |across| [down, across])).skip(1).collect();
        for (at, a) in grids.iter().enumerate() {
            for (other, b) in grids.iter().enumerate() {
                // A pair is the same from either side: its shifts are those of one against the other.
                if other < at {
                    let mirror = other * grids.len() + at;
                    own.extend(own.get(mirror).copied());
                    shifted.extend(shifted.get(mirror).copied());
                    reached.extend(reached.get(mirror).copied());
                    continue;
                }
                let here = settings.alike(&a.cells, &b.cells);
                let all: Vec<Alike> = moves
                    .iter()
                    .map(|by| settings.alike(&a.cells, &settings.shifted(&b.cells, *by)))
                    .collect();
                let most = |pick: fn(&Alike) -> Option<f64>| {
                    let mut some: Vec<f64> = all.iter().filter_map(pick).collect();
                    some.sort_by(f64::total_cmp);
                    quantile(&some, 1.0 - CHANCE)
                };
                shifted.push(Alike {
                    ranks: most(|own| own.ranks),
                    mass: most(|own| own.mass),
                    top: most(|own| own.top),
                });
                reached.push(here.ranks.filter(|_| !all.is_empty()).map(|ranks| {
                    let as_much = |own: &&Alike| own.ranks.is_some_and(|other| other >= ranks);
                    all.iter().filter(as_much).count() as f64 / all.len() as f64
                }));
                own.push(here);
            }
        }
        Self { own, shifted, reached }
    }

    fn tables(&self, maps: &[Shown<'_>]) -> Result<Vec<Labelled>, TableError> {
        let axis = || Axis::names(Role::Method, maps.iter().map(|map| map.name));
        let table = |name: &str, values: Vec<Option<f64>>| {
            let values = values.into_iter().map(|value| value.map_or(f32::NAN, |value| value as f32));
            Labelled::numbers(name, Unit::Ratio, vec![axis(), axis()], values.collect())
        };
        let each = |alike: &[Alike]| {
            let of = |pick: fn(&Alike) -> Option<f64>| alike.iter().map(pick).collect::<Vec<_>>();
            [of(|own| own.ranks), of(|own| own.mass), of(|own| own.top)]
        };
        let columns = each(&self.own).into_iter().chain(each(&self.shifted)).chain([self.reached.clone()]);
        let tables = TABLES.iter().zip(columns).map(|(name, values)| table(name, values));
        let tables = tables.collect::<Result<_, _>>()?;
        Ok(tables)
    }

    fn cautions(&self, maps: &[Shown<'_>]) -> Vec<Caution> {
        let mut said = Vec::new();
        for (at, a) in maps.iter().enumerate() {
            for (other, b) in maps.iter().enumerate().skip(at + 1) {
                let pair = at * maps.len() + other;
                let reached = self.reached.get(pair).copied().flatten();
                if let Some(share) = reached.filter(|share| *share > CHANCE) {
                    let text = format!(
                        "`{}` and `{}` agree no more than by chance: {:.0} % of all shifts of one over the other agree as much",
                        a.name,
                        b.name,
                        100.0 * share
                    );
                    said.push(Caution::new(CautionKind::Chance, share as f32, text));
                }
                let mass = |all: &[Alike]| all.get(pair).and_then(|own| own.mass);
                if let Some((own, shifted)) =
                    mass(&self.own).zip(mass(&self.shifted)).filter(|(own, shifted)| own <= shifted)
                {
                    let text = format!(
                        "`{}` and `{}` share {own:.3} of their mass, no more than by chance: of shifts of one over the other one in twenty shares {shifted:.3} or more. They need not mark the same places, whatever their ranks say",
                        a.name, b.name,
                    );
                    said.push(Caution::new(CautionKind::Chance, own as f32, text));
                }
            }
        }
        said
    }
}
