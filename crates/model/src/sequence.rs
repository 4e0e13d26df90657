//! The positions of a part: those of a prompt, or a tower's own, picture by picture or recording by recording.

use mmlens_core::finding::{Axis, Labels, Modality};
use mmlens_core::{
    AnalysisError, AxisName, Capability, Card, Inputs, Part, Point, Region, Site, SiteSpec, Subject, TokenMap,
};
use mmlens_engine::{Positions, label, one_row};

use crate::check::{given, input};

/// The positions of a part in a pass over one case.
pub(crate) struct Sequence<'a> {
    card: &'a Card,
    map: &'a TokenMap,
    tower: Option<Tower>,
}

/// A tower, which has a sequence of its own for every picture, tile or recording, or one for all that it packs.
struct Tower {
    part: Part,
    /// The axis of these, and how many there are; `None` where all are one sequence.
    apart: Option<(AxisName, usize)>,
    /// Positions of each.
    length: usize,
    /// Whether each is a class token, or padding behind a recording, where that is known.
    class: Option<Vec<bool>>,
    /// Whether recordings end at other positions, so that `class` is of the first alone.
    uneven: bool,
}

impl<'a> Sequence<'a> {
    /// Of the part of a site: a language model that reads words itself, an encoder of words, a tower that is shown pictures.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for others, for a case of several rows, and for a site without positions.
    pub(crate) fn of(
        card: &'a Card,
        subject: &dyn Subject,
        inputs: &'a Inputs,
        site: Site,
    ) -> Result<Self, AnalysisError> {
        Capability::Blocks(site.part()).check(card, subject)?;
        let map = one_row(card.id, inputs)?;
        let tower = match site.part() {
            Part::Text => {
                Capability::OwnWords.check(card, subject)?;
                None
            }
            Part::Encoder => None,
            _ => Some(Tower::of(card, subject, inputs, site)?),
        };
        Ok(Self { card, map, tower })
    }

    /// Of a part, by its stream.
    pub(crate) fn of_part(
        card: &'a Card,
        subject: &dyn Subject,
        inputs: &'a Inputs,
        part: Part,
    ) -> Result<Self, AnalysisError> {
        Self::of(card, subject, inputs, Site::block(part, 0, Point::ResidPre))
    }

    /// What the positions of the prompt are.
    pub(crate) fn map(&self) -> &'a TokenMap {
        self.map
    }

    /// Whether it is that of a tower.
    pub(crate) fn is_tower(&self) -> bool {
        self.tower.is_some()
    }

    /// Whether a class token stands among the positions of a tower, where that is known.
    pub(crate) fn has_class(&self) -> Option<bool> {
        let tower = self.tower.as_ref()?;
        Some(tower.class.as_ref()?.contains(&true) && tower.part != Part::Audio)
    }

    /// The positions that are asked for, ascending, each once. Of a tower they are those of each picture: [`Positions::Pictures`] and [`Positions::Recordings`] its patches
    /// without a class token or padding, [`Positions::Last`] the class token; words are none of them.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for none, for one that is not there, and for what a tower does not have.
    pub(crate) fn chosen(&self, positions: &Positions) -> Result<Vec<usize>, AnalysisError> {
        let Some(tower) = &self.tower else { return positions.chosen(self.card.id, self.map) };
        let of_class = |wanted: bool| {
            if tower.uneven {
                let needs = "recordings of one length, or positions of their tower by number";
                return Err(input(self.card, needs, "they end at different positions"));
            }
            let none = || input(self.card, "a tower whose patches are told apart", "the sample does not say");
            let class = tower.class.as_ref().ok_or_else(none)?;
            Ok::<Vec<usize>, AnalysisError>(
                (0..tower.length).filter(|at| class.get(*at) == Some(&wanted)).collect(),
            )
        };
        let mut chosen: Vec<usize> = match positions {
            Positions::All => (0..tower.length).collect(),
            Positions::At(some) => some.clone(),
            Positions::Pictures | Positions::Recordings => of_class(false)?,
            Positions::Last => match of_class(true)? {
                none if none.is_empty() || tower.part == Part::Audio => {
                    return Err(input(
                        self.card,
                        "a tower with a class token, for `last`",
                        "this one has none",
                    ));
                }
                class => class,
            },
            other => {
                let needs = "positions of a tower: `all`, `pictures` (its patches), `last` (its class token) or some by number";
                return Err(input(self.card, needs, format!("`{other}` was asked for")));
            }
        };
        chosen.sort_unstable();
        chosen.dedup();
        match chosen.last() {
            None => Err(input(self.card, "at least one position", "none of the tower was named")),
            Some(past) if *past >= tower.length => {
                let found = format!("position {past} was asked for of {}", tower.length);
                Err(input(self.card, "positions that the tower has", found))
            }
            Some(_) => Ok(chosen),
        }
    }

    /// Some positions of every picture, counted through all of them: where they lie in a value `[pictures, positions, ...]`.
    pub(crate) fn rows(&self, chosen: &[usize]) -> Vec<usize> {
        match &self.tower {
            None => chosen.to_vec(),
            Some(tower) => {
                let of = |picture: usize| chosen.iter().map(move |at| picture * tower.length + at);
                (0..tower.entries()).flat_map(of).collect()
            }
        }
    }

    /// The same as an axis.
    pub(crate) fn axis(&self, chosen: &[usize]) -> Axis {
        match &self.tower {
            None => label::token_axis_at(self.map, chosen),
            Some(tower) => label::tower_axis_at(self.map, tower.part, tower.entries(), tower.length, chosen),
        }
    }

    /// The same as parts of a site, each position of each picture by itself.
    pub(crate) fn regions(&self, chosen: &[usize]) -> Vec<Region> {
        let apart = self.tower.as_ref().and_then(|tower| tower.apart);
        let of = |entry: usize| {
            chosen.iter().map(move |position| {
                let region = Region::all().positions([*position]);
                apart.map_or(region.clone(), |(axis, _)| region.of(axis, [entry]))
            })
        };
        (0..apart.map_or(1, |(_, entries)| entries)).flat_map(of).collect()
    }
}

impl Tower {
    fn of(card: &Card, subject: &dyn Subject, inputs: &Inputs, site: Site) -> Result<Self, AnalysisError> {
        given(card, inputs, site.part())?;
        let dims = subject.dims(inputs, site)?;
        let spec = SiteSpec::among(subject.sites(), site)?;
        let length = spec.axis(AxisName::Pos).and_then(|at| dims.get(at)).copied();
        let length =
            length.ok_or_else(|| input(card, "points with positions", format!("`{site}` has none")))?;
        let apart = spec.apart().zip(dims.first().copied());
        let (part, entries) = (label::tower_of(spec, inputs.map()), apart.map_or(1, |(_, entries)| entries));
        let class = |entry| match label::tower_axis(inputs.map(), part, entry, entries, length).labels {
            Labels::Tokens(tokens) => {
                Some(tokens.iter().map(|token| token.modality == Modality::Special).collect())
            }
            Labels::Patches(patches) => Some(vec![false; patches.len()]),
            _ => None,
        };
        let first: Option<Vec<bool>> = class(0);
        let uneven = part == Part::Audio && (1..entries).any(|entry| class(entry) != first);
        Ok(Self { part, apart, length, class: first, uneven })
    }

    fn entries(&self) -> usize {
        self.apart.map_or(1, |(_, entries)| entries)
    }
}
