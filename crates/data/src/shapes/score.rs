//! Scores: how many answers are exactly right, and which objects a description names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::describe::{Phrase, parse_description};
use super::question::{Kind, Question};
use super::scene::Scene;
use crate::score::Score;

/// Scores by kind of question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// Exact matches of each kind asked; for descriptions, the same objects in the same order.
    pub exact: BTreeMap<Kind, Score>,
    /// Descriptions that name every object and no other, in any order.
    pub named: Score,
}

impl Scores {
    /// Scores one answer, and says whether it matched exactly. Runs of white space count as one space.
    pub fn record(&mut self, scene: &Scene, question: &Question, answer: &str) -> bool {
        let right = answer.split_whitespace().eq(question.answer.split_whitespace());
        self.exact.entry(question.kind).or_default().count(right);
        if question.kind == Kind::Describe {
            self.named.count(names_every_object(answer, scene));
        }
        right
    }

    /// All kinds taken together.
    pub fn total(&self) -> Score {
        self.exact
            .values()
            .fold(Score::default(), |sum, score| Score { n: sum.n + score.n, right: sum.right + score.right })
    }
}

/// What a description gets right and wrong, each phrase as often as it occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Objects named.
    pub right: Vec<Phrase>,
    /// Objects not named.
    pub missing: Vec<Phrase>,
    /// Phrases that are true of no object left: hallucinations.
    pub invented: Vec<Phrase>,
}

/// Compares a description with a scene, phrase by phrase and in any order; `None` if it cannot be read as a
/// description.
pub fn compare_description(description: &str, scene: &Scene) -> Option<Described> {
    let mut missing: Vec<Phrase> = scene.objects.iter().map(Phrase::of).collect();
    let mut compared = Described::default();
    for phrase in parse_description(description)? {
        match missing.iter().position(|&other| other == phrase) {
            Some(index) => compared.right.push(missing.remove(index)),
            None => compared.invented.push(phrase),
        }
    }
    compared.missing = missing;
    Some(compared)
}

/// Whether a description names every object of the scene and no other, in any order.
pub fn names_every_object(description: &str, scene: &Scene) -> bool {
    compare_description(description, scene)
        .is_some_and(|compared| compared.missing.is_empty() && compared.invented.is_empty())
}
