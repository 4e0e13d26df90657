//! What a session answers, as JSON has it.

use std::collections::BTreeMap;

use mmlens_core::finding::Axis;
use mmlens_core::{Anatomy, Subject};
use mmlens_engine::distribution::{divergence, largest};
use serde::Serialize;

use crate::asked::{Answered, Told};
use crate::request::Aimed;
use crate::state::{PictureFill, Steered, WordFill};

/// The version of the schema, which every reply tells.
pub const VERSION: u64 = 1;

/// What a request brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// Of `describe`.
    Described(Box<Described>),
    /// Of `ask`.
    Answered(Box<Answered>),
    /// Of `difference`.
    Difference(Box<Difference>),
    /// Of `map`.
    Mapped(Box<Mapped>),
    /// Of every request that changes something: the state after it.
    State(Box<Now>),
}

/// The model, the sample in its parts, and what can be asked of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Described {
    /// What the model is called.
    pub model: String,
    /// The hash of its weights.
    pub weights: String,
    /// What was changed in it before the session.
    pub alterations: Vec<String>,
    /// Its parts and their sizes.
    pub anatomy: Vec<Anatomy>,
    /// Its sites, with the length of each axis, where it is fixed.
    pub sites: Vec<SiteTold>,
    /// Rows and columns of the cells of every picture.
    pub grid: [usize; 2],
    /// Pictures with their cells.
    pub pictures: Vec<PictureTold>,
    /// Methods that `map` takes.
    pub methods: Vec<MethodTold>,
    /// Directions that `steer` takes.
    pub directions: Vec<String>,
    /// The present state.
    pub state: Now,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteTold {
    /// Its name.
    pub site: String,
    /// Its axes.
    pub axes: String,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PictureTold {
    /// What it is called.
    pub name: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `[x0, y0, x1, y1]` of each of its cells, in pixels of the original picture.
    pub cells: Vec<[f32; 4]>,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodTold {
    /// Its short name.
    pub method: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// The question that it answers.
    pub question: &'static str,
}

/// The present state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Now {
    /// The question or prompt as it stands, if there is one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The words that can be struck.
    pub words: Vec<Part>,
    /// Hidden cells, by picture.
    pub hidden: BTreeMap<usize, Vec<usize>>,
    /// What stands in their place.
    pub picture_fill: PictureFill,
    /// What stands in the place of struck words.
    pub word_fill: WordFill,
    /// Edits in the order in which they are made.
    pub edits: Vec<EditTold>,
    /// What of the answer methods explain.
    pub aim: Aimed,
    /// How many changes `undo` takes back.
    pub changes: usize,
    /// What findings under this state name as changed.
    pub alterations: Vec<String>,
}

/// A word.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// The word.
    pub text: String,
    /// The positions of its tokens.
    pub positions: Vec<usize>,
    /// Whether it is struck.
    pub struck: bool,
    /// Whether it can be replaced: words that the template wrote cannot.
    pub own: bool,
}

/// An edit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EditTold {
    /// What it is called.
    pub name: String,
    /// As it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<String>,
    /// By which direction, where, how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steer: Option<Steered>,
}

/// The first table of what a method found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mapped {
    /// The method's short name.
    pub method: String,
    /// What was explained, in words, with its value.
    pub explained: String,
    /// The answer under the present state.
    pub answer: String,
    /// The name of the table.
    pub table: String,
    /// What its numbers are.
    pub quantity: String,
    /// Its axes with their labels.
    pub axes: Vec<Axis>,
    /// Its numbers, row-major.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Vec<f32>>,
    /// Its texts, row-major.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub texts: Option<Vec<String>>,
    /// What speaks against taking it at its word.
    pub cautions: Vec<String>,
}

/// The present state beside the first one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The answer of the first state.
    pub before: String,
    /// That of the present one.
    pub after: String,
    /// Whether the two are the same.
    pub same: bool,
    /// The Kullback-Leibler divergence of the first state's distribution over the first token (class, caption) from the present one's, in
    /// nats; nothing where captions stand each for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f64>,
    /// Probabilities of the likeliest of either, those of the first state first.
    pub likely: Vec<Change>,
    /// Log-probabilities of the first state's answer, token by token.
    pub tokens: Vec<Change>,
    /// Of all of that answer.
    pub log_probability: [f64; 2],
}

/// A number before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Of which token, class or caption.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Under the first state.
    pub before: f64,
    /// Under the present one.
    pub after: f64,
    /// What the second has more.
    pub change: f64,
}

impl Change {
    fn new(id: u32, text: String, before: f64, after: f64) -> Self {
        Self { id, text, before, after, change: after - before }
    }
}

impl Difference {
    pub(crate) fn of(subject: &dyn Subject, before: &Answered, after: &Answered, top: usize) -> Self {
        let places = |asked: &Answered| -> Vec<usize> {
            largest(&asked.logs, top).into_iter().map(|(place, _)| place).collect()
        };
        let mut ids = places(before);
        for id in places(after) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let share = |asked: &Answered, id: usize| asked.logs.get(id).map(|log| log.exp());
        let likely = ids.into_iter().filter_map(|id| {
            let name = before.name(subject, id as u32);
            Some(Change::new(id as u32, name, share(before, id)?, share(after, id)?))
        });
        let both = before.first.tokens.iter().zip(&after.first.tokens);
        let tokens = both.map(|(own, other): (&Told, &Told)| {
            Change::new(own.id, own.text.clone(), own.log_probability, other.log_probability)
        });
        let whole: f64 = before.logs.iter().map(|log| log.exp()).sum();
        Self {
            before: before.answer.clone(),
            after: after.answer.clone(),
            same: before.answer == after.answer,
            divergence: ((whole - 1.0).abs() < 1e-6).then(|| divergence(&before.logs, &after.logs)),
            likely: likely.collect(),
            tokens: tokens.collect(),
            log_probability: [before.first.log_probability, after.first.log_probability],
        }
    }
}
