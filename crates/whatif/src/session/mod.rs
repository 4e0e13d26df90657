//! A session: a model, a sample, a present state, and requests that change and ask it.

mod lines;
mod map;
mod parts;
mod told;

use std::collections::BTreeSet;
use std::fmt;

use mmlens_core::{
    Alteration, Altered, AnyTensor, Copies, HookError, Inputs, Memory, Method, Part, Plan, Region, Sample,
    Shared, Subject, Unwatched, Watch, device,
};
use mmlens_engine::{Coalition, Hiding, Units};

use crate::asked::{Answered, ask};
use crate::refusal::{Kind, Of, Refusal};
use crate::reply::{Difference, Reply};
use crate::request::{Request, Top};
use crate::shown::Shown;
use crate::state::{Change, State, Steered};
use crate::words;

use parts::no_words;

/// The most edits that stand at once.
const MOST_EDITS: usize = 64;
/// The most bytes of an edit.
const MOST_EDIT: usize = 1 << 10;
/// The most characters of an edit's name.
const MOST_NAME: usize = 64;
/// The most bytes of a question.
const MOST_QUESTION: usize = 1 << 13;
/// The most bytes that are written in the place of a word.
const MOST_WORD: usize = 256;
/// The most that are told of what is likely.
const MOST_TOP: usize = 100;
/// The most numbers of a table that is told.
const MOST_NUMBERS: usize = 1 << 18;
/// The most rows and the most columns of cells.
const MOST_SIDE: usize = 64;
/// The most tokens of an answer.
const MOST_TOKENS: usize = 1 << 10;
/// So many changes are remembered, the latest ones.
const REMEMBERED: usize = 256;
/// So many answers and encoded samples are kept, the latest ones.
const KEPT: usize = 16;

/// What a session is begun with, beside model and sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Rows and columns of the cells of every picture: 1 to 64 of each.
    pub grid: [usize; 2],
    /// The most tokens of an answer: 1 to 1024, or fewer where the checkpoint says so.
    pub max_new: usize,
    /// What the passes of a method may take at once.
    pub memory: Memory,
    /// The most rows that a method may pass through the model.
    pub most_rows: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grid: [8, 8], max_new: 64, memory: Memory::default(), most_rows: 1 << 16 }
    }
}

/// A direction to steer by.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// What requests call it.
    pub name: String,
    /// Its coordinates, along the last axis of the sites where it is added.
    pub values: Vec<f32>,
}

/// The model under a state.
type Under<'a> = Shown<Altered<&'a dyn Subject>>;

/// A session.
pub struct WhatIf<'a> {
    subject: &'a dyn Subject,
    methods: &'a [Method],
    settings: Settings,
    directions: Vec<Direction>,
    sample: Sample,
    first: State,
    state: State,
    before: Vec<State>,
    /// What the subject makes of samples under states.
    encoded: Vec<(State, Inputs)>,
    /// What the first state says, and others.
    untouched: Option<Answered>,
    asked: Vec<(State, Answered)>,
    shared: Option<(State, Shared)>,
}

impl fmt::Debug for WhatIf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, state) = (self.subject.name(), &self.state);
        f.debug_struct("WhatIf").field("model", &name).field("state", state).finish()
    }
}

impl<'a> WhatIf<'a> {
    /// A session about a sample, with these methods for `map`.
    ///
    /// # Errors
    /// A [`Refusal`] for settings that cannot be, a sample that holds an answer, or one that the subject does not take.
    pub fn begin(
        subject: &'a dyn Subject,
        sample: Sample,
        methods: &'a [Method],
        settings: Settings,
    ) -> Result<Self, Refusal> {
        let Settings { grid, max_new, .. } = settings;
        if grid.iter().any(|side| !(1..=MOST_SIDE).contains(side)) {
            let found = format!("{} x {}", grid[0], grid[1]);
            let expected = format!("expected 1 to {MOST_SIDE} rows and columns");
            return Err(Refusal::new(Kind::Request, "grid", found, expected));
        }
        if !(1..=MOST_TOKENS).contains(&max_new) {
            let expected = format!("expected 1 to {MOST_TOKENS} tokens");
            return Err(Refusal::new(Kind::Request, "max_new", max_new, expected));
        }
        sample.unanswered(subject.name()).of("sample", "an answer")?;
        let first = State::new(sample.words.clone());
        let mut session = Self {
            subject,
            methods,
            settings,
            directions: Vec::new(),
            sample,
            state: first.clone(),
            first,
            before: Vec::new(),
            encoded: Vec::new(),
            untouched: None,
            asked: Vec::new(),
            shared: None,
        };
        session.check(&session.first.clone(), "sample", "the sample")?;
        Ok(session)
    }

    /// With directions to steer by.
    #[must_use]
    pub fn directions(self, directions: Vec<Direction>) -> Self {
        Self { directions, ..self }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Carries out a request; a refused one leaves everything as it was.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn request(&mut self, request: Request, watch: &dyn Watch) -> Result<Reply, Refusal> {
        match request {
            Request::Describe {} => self.describe(),
            Request::Ask { top } => {
                let top = counted(top)?;
                let (state, subject) = (self.state.clone(), self.subject);
                Ok(Reply::Answered(Box::new(self.asked(&state, watch)?.top(subject, top))))
            }
            Request::Difference { top } => {
                let (top, state, subject) = (counted(top)?, self.state.clone(), self.subject);
                let after = self.asked(&state, watch)?;
                let before = self.untouched(watch)?;
                Ok(Reply::Difference(Box::new(Difference::of(subject, &before, &after, top))))
            }
            Request::Map { method, settings } => self.map(&method, settings, watch),
            Request::Hide { picture, cells, region, words, picture_fill, word_fill } => {
                let (cells, words) = self.parts(picture, &cells, region, &words)?;
                let mut next = self.state.clone();
                if cells.is_empty() && words.is_empty() && picture_fill.is_none() && word_fill.is_none() {
                    let expected = "expected cells, a region that holds some, words, or a fill";
                    return Err(Refusal::new(Kind::Request, "do", "hide", expected));
                }
                if !cells.is_empty() {
                    next.cells.entry(picture).or_default().extend(cells);
                }
                next.struck.extend(words);
                next.picture_fill = picture_fill.unwrap_or(next.picture_fill);
                next.word_fill = word_fill.unwrap_or(next.word_fill);
                self.change(next, "do", "hide")
            }
            Request::Show { picture, cells, region, words, all } => {
                let mut next = self.state.clone();
                if all {
                    (next.cells, next.struck) = Default::default();
                    return self.change(next, "all", all);
                }
                let (cells, words) = self.parts(picture, &cells, region, &words)?;
                if cells.is_empty() && words.is_empty() {
                    let expected = "expected cells, a region that holds some, words, or all";
                    return Err(Refusal::new(Kind::Request, "do", "show", expected));
                }
                if let Some(hidden) = next.cells.get_mut(&picture) {
                    hidden.retain(|cell| !cells.contains(cell));
                }
                next.cells.retain(|_, hidden| !hidden.is_empty());
                next.struck.retain(|word| !words.contains(word));
                self.change(next, "do", "show")
            }
            Request::Replace { word, by } => self.replace(word, &by),
            Request::Question { text } => {
                if text.len() > MOST_QUESTION {
                    return Err(Refusal::size(
                        "text",
                        format_args!("{} bytes", text.len()),
                        MOST_QUESTION,
                        "bytes",
                    ));
                }
                let words = self.state.with_text(text.clone()).ok_or_else(|| {
                    Refusal::new(
                        Kind::Model,
                        "text",
                        &text,
                        "this sample has no one text that another could replace",
                    )
                })?;
                let next = State { words, struck: BTreeSet::new(), ..self.state.clone() };
                self.change(next, "text", text)
            }
            Request::Edit { name, edit } => {
                self.written(&edit)?;
                self.put(name, Change::Edit(edit.clone()), "edit", &edit)
            }
            Request::Steer { name, direction, site, strength } => {
                if !strength.is_finite() {
                    return Err(Refusal::new(
                        Kind::Request,
                        "strength",
                        strength,
                        "expected a finite number",
                    ));
                }
                self.direction(&direction)?;
                let steered = Steered { direction, site: site.clone(), strength };
                self.put(name, Change::Steer(steered), "site", &site)
            }
            Request::Unedit { names, all } => {
                let mut next = self.state.clone();
                let known = |name: &&String| !next.edits.iter().any(|(own, _)| own == *name);
                if let Some(name) = names.iter().find(known) {
                    let own: Vec<&str> = next.edits.iter().map(|(name, _)| name.as_str()).collect();
                    let expected = format!("no edit is called so; edits are {own:?}");
                    return Err(Refusal::new(Kind::Missing, "names", name, expected));
                }
                next.edits.retain(|(name, _)| !all && !names.contains(name));
                self.change(next, "names", format_args!("{names:?}"))
            }
            Request::Aim { aim } => {
                let next = State { aim, ..self.state.clone() };
                self.change(next, "aim", "an aim")
            }
            Request::Undo {} => {
                let Some(before) = self.before.pop() else {
                    return Err(Refusal::new(Kind::Missing, "do", "undo", "there is no change to take back"));
                };
                self.state = before;
                Ok(Reply::State(Box::new(self.now()?)))
            }
            Request::Reset {} => self.change(self.first.clone(), "do", "reset"),
        }
    }

    /// A state in the place of the present one, if the model takes it.
    fn change(&mut self, next: State, field: &str, found: impl ToString) -> Result<Reply, Refusal> {
        self.check(&next, field, &found.to_string())?;
        if next != self.state {
            if self.before.len() >= REMEMBERED {
                self.before.remove(0);
            }
            self.before.push(std::mem::replace(&mut self.state, next));
        }
        Ok(Reply::State(Box::new(self.now()?)))
    }

    /// Whether a state can be asked, as far as it is known before a pass.
    fn check(&mut self, state: &State, field: &str, found: &str) -> Result<(), Refusal> {
        let inputs = self
            .encode(state)
            .map_err(|refusal| Refusal::new(refusal.kind, field, found, refusal.expected))?;
        let subject = self.under(state, &inputs, (field, found))?;
        let none = |part: Part| match part {
            Part::Connector => inputs.towers().next().is_none(),
            part => inputs.entries(part).is_some_and(mmlens_core::Entries::is_empty),
        };
        let own =
            subject.edited().iter().find(|site| none(site.part()) && !self.subject.edited().contains(site));
        if let Some(site) = own {
            let expected = match site.part() {
                Part::Audio => format!("`{site}` is of recordings, and no recording is heard"),
                _ => format!("`{site}` is of pictures, and no picture is shown"),
            };
            return Err(Refusal::new(Kind::Model, field, found, expected));
        }
        subject.need(&inputs, &Plan::new().to_output(), Copies::ONE).of(field, found)?;
        Ok(())
    }

    fn sample(&self, state: &State) -> Sample {
        Sample { words: state.words.clone(), ..self.sample.clone() }
    }

    /// The sample of a state as the model takes it, made once.
    fn encode(&mut self, state: &State) -> Result<Inputs, Refusal> {
        if let Some((_, inputs)) = self.encoded.iter().find(|(own, _)| own.shows_as(state)) {
            return Ok(inputs.clone());
        }
        let shown = Shown::new(self.subject, &state.cells, self.settings.grid, state.picture_fill);
        let inputs = shown.encode(&self.sample(state)).of("do", "encode")?;
        keep(&mut self.encoded, (state.clone(), inputs.clone()));
        Ok(inputs)
    }

    /// The model under a state.
    fn under(
        &self,
        state: &State,
        inputs: &Inputs,
        (field, found): (&str, &str),
    ) -> Result<Under<'a>, Refusal> {
        let mut all = Vec::new();
        if !state.struck.is_empty() {
            let units = words::units(inputs).of(field, found)?;
            let units = units.map(|units: Units| units.instead(state.word_fill));
            let units = units.ok_or_else(|| no_words(field, found))?;
            let present =
                state.struck.iter().fold(Coalition::all(units.len()), |some, word| some.without(*word));
            let sample = self.sample(state);
            let hiding = Hiding::new(self.subject, &sample, inputs, units).of(field, found)?;
            all.extend(hiding.standing(&present).of(field, found)?);
        }
        for (_, change) in &state.edits {
            all.push(match change {
                Change::Edit(text) => Alteration::parse(text).of(field, found)?,
                Change::Steer(steered) => self.steered(steered).of(field, found)?,
            });
        }
        let altered = Altered::new(self.subject, all).of(field, found)?;
        Ok(Shown::new(altered, &state.cells, self.settings.grid, state.picture_fill))
    }

    fn direction(&self, name: &str) -> Result<&Direction, Refusal> {
        self.directions.iter().find(|own| own.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.directions.iter().map(|own| own.name.as_str()).collect();
            let expected = match names.is_empty() {
                true => "the session was begun without directions".to_owned(),
                false => format!("expected one of {}", names.join(", ")),
            };
            Refusal::new(Kind::Missing, "direction", name, expected)
        })
    }

    fn steered(&self, steered: &Steered) -> Result<Alteration, HookError> {
        let own = self.directions.iter().find(|own| own.name == steered.direction);
        let values: Vec<f32> = own.map_or_else(Vec::new, |own| own.values.clone());
        let values: Vec<f32> = values.into_iter().map(|value| value * steered.strength).collect();
        let dims = [values.len()];
        let value = AnyTensor::from_values(values, &dims, &device::host())?;
        value.finite_values("the direction")?;
        Alteration::new(steered.site.as_str(), Region::all(), mmlens_core::Change::Add(value))
    }

    /// Refuses an edit that is too long, or names a file: what a request says opens none.
    fn written(&self, edit: &str) -> Result<(), Refusal> {
        if edit.len() > MOST_EDIT {
            return Err(Refusal::size("edit", format_args!("{} bytes", edit.len()), MOST_EDIT, "bytes"));
        }
        if edit.contains('#') {
            let expected =
                "a request opens no files: give a direction when the session is begun, and `steer` by it";
            return Err(Refusal::new(Kind::Request, "edit", edit, expected));
        }
        Ok(())
    }

    fn put(
        &mut self,
        name: Option<String>,
        change: Change,
        field: &str,
        found: &str,
    ) -> Result<Reply, Refusal> {
        let mut next = self.state.clone();
        let name = name.unwrap_or_else(|| next.free_name());
        if name.is_empty() || name.chars().count() > MOST_NAME {
            let expected = format!("expected 1 to {MOST_NAME} characters");
            return Err(Refusal::new(Kind::Request, "name", name, expected));
        }
        next.put(name, change);
        if next.edits.len() > MOST_EDITS {
            return Err(Refusal::size(field, next.edits.len(), MOST_EDITS, "edits"));
        }
        self.change(next, field, found)
    }

    /// What the model says under a state, asked once.
    fn asked(&mut self, state: &State, watch: &dyn Watch) -> Result<Answered, Refusal> {
        if state.says_as(&self.first) {
            return self.untouched(watch);
        }
        if let Some((_, asked)) = self.asked.iter().find(|(own, _)| own.says_as(state)) {
            return Ok(asked.clone());
        }
        let first = self.untouched(watch)?.first;
        let asked = self.passed(state, Some(&first), watch)?;
        keep(&mut self.asked, (state.clone(), asked.clone()));
        Ok(asked)
    }

    fn untouched(&mut self, watch: &dyn Watch) -> Result<Answered, Refusal> {
        if let Some(asked) = &self.untouched {
            return Ok(asked.clone());
        }
        let asked = self.passed(&self.first.clone(), None, watch)?;
        self.untouched = Some(asked.clone());
        Ok(asked)
    }

    fn passed(
        &mut self,
        state: &State,
        first: Option<&crate::asked::Scored>,
        watch: &dyn Watch,
    ) -> Result<Answered, Refusal> {
        let inputs = self.encode(state)?;
        let subject = self.under(state, &inputs, ("do", "ask"))?;
        ask(&subject, &self.sample(state), &inputs, first, self.settings.max_new, watch)
    }

    /// As [`WhatIf::request`], watched by nobody.
    ///
    /// # Errors
    /// As there.
    pub fn now_do(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.request(request, &Unwatched)
    }
}

fn counted(Top(top): Top) -> Result<usize, Refusal> {
    match top {
        1..=MOST_TOP => Ok(top),
        _ => Err(Refusal::new(Kind::Size, "top", top, format_args!("expected 1 to {MOST_TOP}"))),
    }
}

/// Keeps the latest ones.
fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push(one);
}
