//! Self-consistency: which answer do most draws give, and how many agree?
//!
//! # Idea
//! Of one prompt `n` answers are drawn, each with a chain of thought before it if the prompt asks for one. What each says in the end votes:
//!
//! ```text
//! answer = arg max over a of  votes(a),    agreement = votes(answer) / n
//! ```
//!
//! Many ways of thinking lead to a right answer, wrong ones part; and the agreement is a confidence that costs draws alone.
//!
//! # In and out
//! In: a [`Case`] of one row; an answer that it holds is not looked at. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `agreement` | | ratio | share of the votes that the answer has |
//! | `lead` | | ratio | that less the share of the next |
//! | `votes` | concept | count | of each answer, the most first; of equal ones the one that was drawn first |
//! | `share of the greedy answer` | | ratio | the share of the votes that go to what the model says greedily |
//! | `answer` | | texts | what most say |
//! | `greedy answer` | | texts | what the model says greedily |
//! | `answers` | sample | texts | aside: whole answers, as drawn |
//!
//! Answers are the same if their words are: lower case, without punctuation and articles ([`clusters::normalised`](super::clusters::normalised)).
//!
//! # Settings
//! - `draws`: as of [`semantic_entropy`](super::semantic_entropy). The paper draws 40 at temperature 0.5 to 0.7, of models that think before they answer.
//! - `after`: none; or a text: what stands behind its last occurrence is the answer, such as `"answer is"`. A draw without it votes for `no answer`.
//!
//! # Cost
//! The prompt once, `(samples + 1) x (max_new - 1)` steps at most. Memory as of [`semantic_entropy`](super::semantic_entropy).
//!
//! # Errors
//! Making: as of [`semantic_entropy`](super::semantic_entropy), and for an empty `after`. Running: too.
//!
//! # When it misleads
//! - Agreement is no truth: a bias that all draws share is a majority (Wang et al. 2023, section 3.4, report it as calibrated on arithmetic; that does not carry over).
//! - With answers of many words every draw is alone, and the first of them wins. The finding says so, and where two lead alike.
//! - At a low temperature draws are one draw: agreement is high by construction. Compare `share of the greedy answer`.
//!
//! # Agreement
//! transformers 5.23 and NumPy on `llava-a` and `llama-b` (words alone, the greedy answer not the most frequent one), twelve answers drawn from the same numbers: answers, votes, agreement and lead equal. Identities tested: votes sum to the draws; near temperature zero agreement is 1 and the answer is the greedy one; another order of the same
//! draws changes no count.
//!
//! # Reference
//! Wang, Wei, Schuurmans, Le, Chi, Narang, Chowdhery, Zhou: Self-Consistency Improves Chain of Thought Reasoning in Language Models. ICLR 2023. <https://arxiv.org/abs/2203.11171>. Votes are unweighted, as in
//! the paper's majority vote.
//!
//! # Example
//! ```
//! use mmlens_core::{Analysis, Case, Sample};
//! use mmlens_inference::{SelfConsistency, self_consistency::{Draws, Settings}};
//! let draws = Draws { samples: 5, max_new: 1, ..Draws::default() };
//! let method = SelfConsistency::new(Settings { draws, ..Settings::default() })?;
//! let finding = method.run(&mmlens_testkit::Toy::curved(1), &Case::new(Sample::text("ab")))?;
//! println!("{:?}", finding.table("votes")?.as_numbers());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, HookError, Leaf, On, Part, Point, Site,
};
use serde::{Deserialize, Serialize};

use super::clusters::normalised;
pub use super::drawn::Draws;
use super::semantic_entropy::{Clustered, cautions};
use mmlens_core::check::setting;

/// What this method is.
pub const CARD: Card = Card {
    id: "self-consistency",
    short: "self-consistency",
    name: "Self-consistency",
    question: "Which answer do most draws give, and how many agree?",
    citation: "Wang et al.: Self-Consistency Improves Chain of Thought Reasoning in Language Models. ICLR 2023. https://arxiv.org/abs/2203.11171",
    leaf: Leaf::Inference,
    cost: "1 forward, (samples + 1) x tokens steps",
    needs: &[Capability::Generation],
    misleads: &[
        "Agreement is no truth: a bias that all draws share is a majority.",
        "With answers of many words every draw is alone.",
        "At a low temperature draws are one draw.",
    ],
    first: false,
};

/// What draws vote for that have no answer.
const NONE: &str = "no answer";

/// How answers are drawn and read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many, and how.
    pub draws: Draws,
    /// Behind the last occurrence of this the answer stands; `None` where all of a draw is one.
    pub after: Option<String>,
}

/// Self-consistency with checked settings.
#[derive(Debug, Clone)]
pub struct SelfConsistency {
    settings: Settings,
}

impl SelfConsistency {
    /// What a draw says in the end.
    fn said(&self, text: &str) -> String {
        match &self.settings.after {
            None => text.trim().to_owned(),
            Some(mark) => text.rsplit_once(mark.as_str()).map_or(NONE, |(_, said)| said).trim().to_owned(),
        }
    }
}

impl Analysis for SelfConsistency {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.draws.checked(&CARD)?;
        if settings.after.as_ref().is_some_and(String::is_empty) {
            return Err(setting(&CARD, "after", "an empty text", "it must have a letter, or be left out"));
        }
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        self.settings.draws.cost(&CARD, on, &case.sample, true)
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let mut answers = self.settings.draws.answers(&CARD, on, &case.sample, true)?;
        let greedy = answers.pop().ok_or_else(|| HookError::NoOutput("an answer".to_owned()))?;
        let texts: Vec<String> = answers.iter().map(|answer| self.said(&answer.text)).collect();
        let greedy = self.said(&greedy.text);
        let clusters = Clustered::new(&texts);
        let share = |at: usize| clusters.shares.get(at).copied().unwrap_or(0.0);
        let alike = texts.iter().filter(|text| normalised(text) == normalised(&greedy)).count();
        let winner = clusters.of.iter().position(|cluster| *cluster == 0).and_then(|at| texts.get(at));
        let votes: Vec<f32> = (0..clusters.shares.len())
            .map(|at| clusters.of.iter().filter(|own| **own == at).count() as f32)
            .collect();
        let ratio = |name: &str, value: f64| Labelled::scalar(name, Unit::Ratio, value as f32);
        let concepts = vec![Axis::names(Role::Concept, clusters.names.iter().map(String::as_str))];
        let whole: Vec<String> = answers.iter().map(|answer| answer.text.clone()).collect();
        let samples = vec![Axis::count(Role::Sample, whole.len())];
        let mut cautions = cautions(&answers, clusters.shares.len());
        if clusters.shares.len() > 1 && clusters.shares.len() < texts.len() && share(0) == share(1) {
            let most = votes.first().copied().unwrap_or(0.0);
            let text = format!("two answers have {most} votes each: the one that was drawn first is told");
            cautions.push(Caution::new(CautionKind::SmallDifference, 0.0, text));
        }
        let tables = vec![
            ratio("agreement", share(0)),
            ratio("lead", share(0) - share(1)),
            Labelled::numbers("votes", Unit::Count, concepts, votes)?,
            ratio("share of the greedy answer", alike as f64 / texts.len() as f64),
            Labelled::texts("answer", Vec::new(), vec![winner.cloned().unwrap_or_default()])?,
            Labelled::texts("greedy answer", Vec::new(), vec![greedy])?,
            Labelled::texts("answers", samples, whole)?.aside(),
        ];
        let answer = Answer::new(tables, [Site::of(Part::Text, Point::Logits)]);
        Ok(answer.seeded(self.settings.draws.seed).cautioned(cautions))
    }
}
