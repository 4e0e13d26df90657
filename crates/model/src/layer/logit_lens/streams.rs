//! Which streams a lens reads, at which places, and how many of them at a time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::finding::{Axis, Labels, Modality, Role, TokenLabel};
use mmlens_core::kind::Space;
use mmlens_core::{
    AnalysisError, AnyTensor, Card, Copies, HookError, Inputs, LogitSelection, Need, On, Output, Part, Plan,
    Point, Position, Site, Subject, TokenMap,
};
use mmlens_engine::{Indices, Positions, Progress, batches, label, of_range, states_at};

use super::Settings;
use crate::check::input;

/// The streams of a part, and the places that are looked at.
pub(in crate::layer) struct Streams {
    card: &'static Card,
    pub(in crate::layer) part: Part,
    pub(in crate::layer) space: Space,
    /// Before block 0, and after every block.
    pub(in crate::layer) sites: Vec<Site>,
    /// Places that are shown together: of one prompt, or of one picture.
    pub(in crate::layer) groups: Vec<Group>,
    /// Numbers of a state, and of what it is read out as.
    widths: [usize; 2],
}

/// Some positions of one prompt, or of one picture in a tower.
pub(in crate::layer) struct Group {
    /// What they are.
    pub(in crate::layer) axis: Axis,
    /// Where they stand among the positions of all rows or pictures, one after the other.
    places: Vec<usize>,
}

/// How much is held at a time.
pub(in crate::layer) struct Limits {
    /// Places whose streams are held.
    held: NonZeroUsize,
    /// Places that are read out.
    rows: NonZeroUsize,
}

/// The states of some places at every layer.
pub(in crate::layer) struct Held<'a> {
    states: &'a BTreeMap<Site, AnyTensor>,
    range: Range<usize>,
    /// How many places come before them.
    pub(in crate::layer) first: usize,
    /// What the pass gave.
    pub(in crate::layer) output: &'a Output,
}

impl Held<'_> {
    /// How many there are.
    pub(in crate::layer) fn len(&self) -> usize {
        self.range.len()
    }

    /// The states at one layer, `[places, d_model]`.
    pub(in crate::layer) fn at(&self, site: Site) -> Result<AnyTensor, HookError> {
        self.states.get(&site).ok_or(HookError::NotRead(site))?.rows(self.range.start, self.range.len())
    }
}

impl Streams {
    pub(in crate::layer) fn of(
        card: &'static Card,
        subject: &dyn Subject,
        inputs: &Inputs,
        (part, space): (Part, Space),
        Settings { positions, layers, .. }: &Settings,
    ) -> Result<Self, AnalysisError> {
        let after = |site: &Site| site.part() == part && site.point() == Point::ResidPost;
        let mut sites: Vec<Site> = subject.sites().iter().map(|spec| spec.site).filter(after).collect();
        let chosen = layers.chosen(card.id, "layers", sites.len())?;
        match layers {
            Indices::All => sites.insert(0, Site::block(part, 0, Point::ResidPre)),
            _ => {
                let last = sites.last().copied();
                sites.retain(|site| {
                    Some(*site) == last || site.block_index().is_some_and(|block| chosen.contains(&block))
                });
            }
        }
        let last = |site: Site| Ok::<_, HookError>(subject.dims(inputs, site)?.last().copied().unwrap_or(1));
        let widths = [last(Site::block(part, 0, Point::ResidPre))?, last(space.site(part))?];
        let groups = match part {
            Part::Text => prompts(card, inputs, positions),
            _ => {
                let dims = subject.dims(inputs, Site::block(part, 0, Point::ResidPre))?;
                let [entries, len, _] = dims[..] else {
                    let found = format!("its stream is of shape {dims:?}");
                    return Err(input(card, "a tower that sees one picture after the other", found));
                };
                pictures(card, inputs, positions, part, (entries, len))
            }
        }?;
        Ok(Self { card, part, space, sites, groups, widths })
    }

    /// How many places are looked at.
    pub(in crate::layer) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.places.len()).sum()
    }

    /// Which of the places looked at is this position of the only prompt.
    pub(in crate::layer) fn place(&self, position: usize) -> Option<usize> {
        let mut places = self.groups.iter().flat_map(|group| &group.places);
        places.position(|place| *place == position)
    }

    /// Before block 0, and behind blocks by their numbers: the depths at which the streams are read.
    pub(in crate::layer) fn depths(&self) -> Axis {
        let name = |site: &Site| match (site.point(), site.block_index()) {
            (Point::ResidPost, Some(block)) => format!("after block {block}"),
            _ => "before block 0".to_owned(),
        };
        Axis::names(Role::Layer, self.sites.iter().map(name))
    }

    /// How many passes it takes.
    pub(in crate::layer) fn passes(&self, limits: &Limits) -> usize {
        self.count().div_ceil(limits.held.get())
    }

    /// A name of a table for each group.
    pub(in crate::layer) fn name(&self, what: &str, group: usize) -> String {
        if self.groups.len() > 1 { format!("{what}/{group}") } else { what.to_owned() }
    }

    /// How much fits in memory, where so many bytes are said of every state.
    pub(in crate::layer) fn limits(
        &self,
        (on, inputs): (&On<'_>, &Inputs),
        rows: NonZeroUsize,
        said: usize,
    ) -> Result<Limits, AnalysisError> {
        let (subject, memory) = (on.subject(), on.memory().at_most(rows));
        let [width, given] = self.widths;
        let floor = Need { bytes: 0, at: self.space.site(self.part) };
        // What every place says: a reading, and the tables made of them.
        let said = self.sites.len() * self.count() * said;
        // What a state is read out as on the device and the host, as logarithms in double precision, that of the last layer, and
        // its order.
        let read = |rows: usize| floor.and(8 * rows * given + 4 * given + said);
        let pass = subject.need(inputs, &self.passing(&[], &Kept::default())?, Copies::ONE)?;
        let most = NonZeroUsize::new(self.count()).unwrap_or(NonZeroUsize::MIN);
        let held = memory.most(self.card.id, 0, most, |count| {
            let (pass, look) = (pass.and(said), read(1));
            let more = if pass.bytes > look.bytes { pass } else { look };
            Ok(more.and(self.sites.len() * count * width))
        })?;
        let kept = 4 * (self.sites.len() * held.get() * width) as u64;
        let rows = memory.rows(self.card.id, kept, |rows| Ok(read(rows)))?;
        Ok(Limits { held, rows })
    }

    /// Looks at all places, some at a time.
    pub(in crate::layer) fn each(
        &self,
        (on, inputs): (&On<'_>, &Inputs),
        limits: &Limits,
        look: impl FnMut(&Held<'_>) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let mut progress = Progress::new(on.watch(), self.card.id, self.count());
        self.each_told((on, inputs), limits, look, |count| progress.advance(count))
    }

    /// The same, where somebody else is told how many places were looked at.
    pub(in crate::layer) fn each_told(
        &self,
        (on, inputs): (&On<'_>, &Inputs),
        limits: &Limits,
        mut look: impl FnMut(&Held<'_>) -> Result<(), AnalysisError>,
        mut tell: impl FnMut(usize) -> Result<(), AnalysisError>,
    ) -> Result<(), AnalysisError> {
        let places: Vec<usize> = self.groups.iter().flat_map(|group| group.places.iter().copied()).collect();
        for held in batches(places.len(), limits.held) {
            let some = of_range(&places, held.clone())?;
            let kept = Kept::default();
            let trace = on.subject().run(inputs, self.passing(some, &kept)?)?;
            let states = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
            for range in batches(some.len(), limits.rows) {
                let (first, count) = (held.start + range.start, range.len());
                look(&Held { states: &states, range, first, output: trace.output() })?;
                tell(count)?;
            }
        }
        Ok(())
    }

    /// A pass in which the states of some places are kept, and the others are not.
    fn passing(&self, places: &[usize], kept: &Kept) -> Result<Plan, HookError> {
        let mut plan = match self.space {
            Space::Shared => Plan::new().to_output(),
            // The last logit is as little of the output as there is.
            _ => Plan::new().select_logits(LogitSelection::tokens_at(Position::Last, [0])),
        };
        for &site in &self.sites {
            let (kept, places) = (kept.clone(), places.to_vec());
            plan = plan.edit(site, move |x| {
                let states = states_at(&x, &places)?;
                kept.lock().unwrap_or_else(PoisonError::into_inner).insert(site, states);
                Ok(x)
            })?;
        }
        Ok(plan)
    }
}

/// States by the site where they stood.
type Kept = Arc<Mutex<BTreeMap<Site, AnyTensor>>>;

/// Positions of every prompt.
fn prompts(card: &'static Card, inputs: &Inputs, positions: &Positions) -> Result<Vec<Group>, AnalysisError> {
    let group = |(row, (map, pad)): (usize, (&Arc<TokenMap>, &usize))| {
        let chosen = positions.chosen(card.id, map)?;
        let axis = label::token_axis_at(map, &chosen);
        let places = chosen.into_iter().map(|at| row * inputs.positions() + pad + at).collect();
        Ok(Group { axis, places })
    };
    inputs.maps.iter().zip(&inputs.pads).enumerate().map(group).collect()
}

/// Positions of every picture in a tower.
fn pictures(
    card: &'static Card,
    inputs: &Inputs,
    positions: &Positions,
    part: Part,
    (entries, len): (usize, usize),
) -> Result<Vec<Group>, AnalysisError> {
    if !matches!(positions, Positions::All | Positions::Pictures | Positions::Recordings | Positions::At(_)) {
        let found = format!("`{positions}` was asked for of its part `{}`", part.name());
        return Err(input(card, "positions of a tower: `all`, `pictures` or some by number", found));
    }
    let group = |entry: usize| {
        let whole = label::tower_axis(inputs.map(), part, entry, entries, len);
        let shown = |at| TokenLabel::new(whole.label(at).unwrap_or_default(), Modality::Image);
        // A class token is among the positions, and shows no picture.
        let tokens = match &whole.labels {
            Labels::Tokens(tokens) => tokens.clone(),
            _ => (0..len).map(shown).collect(),
        };
        // What is padded behind a recording shows nothing, and nothing is learned of it.
        let heard = part == Part::Audio && *positions == Positions::All;
        let positions = if heard { &Positions::Recordings } else { positions };
        let chosen = positions.chosen(card.id, &TokenMap { tokens, ..TokenMap::default() })?;
        let axis = match &whole.labels {
            Labels::Tokens(tokens) => Axis::tokens(of(tokens, &chosen)),
            Labels::Patches(patches) => Axis::patches(of(patches, &chosen)),
            _ => Axis::names(Role::Patch, chosen.iter().map(ToString::to_string)),
        };
        Ok(Group { axis, places: chosen.into_iter().map(|at| entry * len + at).collect() })
    };
    (0..entries).map(group).collect()
}

fn of<T: Clone>(all: &[T], chosen: &[usize]) -> Vec<T> {
    chosen.iter().filter_map(|at| all.get(*at).cloned()).collect()
}
