//! What speaks against taking a finding at its word.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Axis, Finding, Labelled, Role, TableError, Unit};

/// What the table of the sentences of [cautions](Finding::cautions) is called.
pub const CAUTIONS: &str = "cautions";
/// What the tables of their kinds and numbers are called, which stand aside.
const KINDS: &str = "caution kinds";
const NUMBERS: &str = "caution numbers";

/// Something that speaks against taking a finding at its word: of which kind it is, a number, and a sentence that says both.
#[derive(Debug, Clone, PartialEq)]
pub struct Caution {
    /// What kind it is of.
    pub kind: CautionKind,
    /// How far it goes; what it counts, its kind says.
    pub number: f32,
    /// In words.
    pub text: String,
}

/// What a caution is about, and what its number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CautionKind {
    /// Contributions do not add up to what they share out; by which share of it.
    Gap,
    /// What is explained is nearly the same with the input and without it, or in both runs; by how much it differs.
    SmallDifference,
    /// What is explained is larger without the input, or in the corrupted run; by how much.
    Reversed,
    /// Nearly all lies on one token that says nothing; which share.
    Sink,
    /// Nothing differs between the input and what stands for its absence; how many values were compared.
    NothingMoved,
    /// The largest effect is no larger than rounding; the effect.
    Rounding,
    /// What is explained is not what the model would say; how many tokens it finds likelier.
    Unlikely,
    /// One caption alone, with nothing that it could fit better than; its cosine.
    NotContrasted,
    /// Too few rows for what is measured; how many.
    FewRows,
    /// One direction holds most of what varies; which share.
    OneDirection,
    /// Positions that are left with nothing to look at but themselves; how many.
    LeftAlone,
    /// Words that a model has no token for; how many.
    UnknownWords,
    /// Answers that are none of those that are looked for; which share.
    Unread,
    /// Answers that were cut off; which share.
    CutOff,
    /// Chance finds about as much; how much of it, as a share.
    Chance,
    /// What random draws do not settle: of an average its standard error as a share of it, of a choice the share that goes.
    Unsteady,
    /// No better than what costs or sees nothing: a trivial answer, rows or directions drawn by chance; by how much better.
    NoBetter,
    /// A search that stopped before its end; after how many steps.
    NotConverged,
    /// Features that are active nowhere; which share of all.
    DeadFeatures,
    /// What is explained is a probability that is all but one: gradients there say how little is left; how much is left of one.
    Saturated,
    /// Numbers of both signs cancel where they are averaged; which share of their magnitudes is left.
    Cancelled,
    /// A simple model was put in the place of the model, and fits it badly; the share of the variance it explains.
    PoorFit,
    /// Items of a data set about which a model was asked without a picture; how many.
    NoPicture,
    /// A sequence that is longer than the model was made for; how many positions it has.
    Beyond,
    /// A recording of which next to nothing is heard; the root mean square around its mean, or the share of its channels' power that is left.
    Unheard,
    /// What stands for the absence of a part is louder than the part; of which share of the parts.
    Louder,
    /// Some other thing.
    Other,
}

impl CautionKind {
    const ALL: [Self; 27] = [
        Self::Gap,
        Self::SmallDifference,
        Self::Reversed,
        Self::Sink,
        Self::NothingMoved,
        Self::Rounding,
        Self::Unlikely,
        Self::NotContrasted,
        Self::FewRows,
        Self::OneDirection,
        Self::LeftAlone,
        Self::UnknownWords,
        Self::Unread,
        Self::CutOff,
        Self::Chance,
        Self::Unsteady,
        Self::NoBetter,
        Self::NotConverged,
        Self::DeadFeatures,
        Self::Saturated,
        Self::Cancelled,
        Self::PoorFit,
        Self::NoPicture,
        Self::Beyond,
        Self::Unheard,
        Self::Louder,
        Self::Other,
    ];

    /// The kind in lower-case words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::SmallDifference => "small-difference",
            Self::Reversed => "reversed",
            Self::Sink => "sink",
            Self::NothingMoved => "nothing-moved",
            Self::Rounding => "rounding",
            Self::Unlikely => "unlikely",
            Self::NotContrasted => "not-contrasted",
            Self::FewRows => "few-rows",
            Self::OneDirection => "one-direction",
            Self::LeftAlone => "left-alone",
            Self::UnknownWords => "unknown-words",
            Self::Unread => "unread",
            Self::CutOff => "cut-off",
            Self::Chance => "chance",
            Self::Unsteady => "unsteady",
            Self::NoBetter => "no-better",
            Self::NotConverged => "not-converged",
            Self::DeadFeatures => "dead-features",
            Self::Saturated => "saturated",
            Self::Cancelled => "cancelled",
            Self::PoorFit => "poor-fit",
            Self::NoPicture => "no-picture",
            Self::Beyond => "beyond",
            Self::Unheard => "unheard",
            Self::Louder => "louder",
            Self::Other => "other",
        }
    }
}

impl Caution {
    /// A caution of a kind with its number, in words.
    pub fn new(kind: CautionKind, number: f32, text: impl Into<String>) -> Self {
        Self { kind, number, text: text.into() }
    }

    /// Cautions as the tables that a finding has of them: none of none.
    ///
    /// # Errors
    /// None that a list of cautions can raise.
    pub fn tables(cautions: &[Self]) -> Result<Vec<Labelled>, TableError> {
        if cautions.is_empty() {
            return Ok(Vec::new());
        }
        let ranks = || vec![Axis::count(Role::Rank, cautions.len())];
        let texts = cautions.iter().map(|caution| caution.text.clone()).collect();
        let kinds = cautions.iter().map(|caution| caution.kind.name().to_owned()).collect();
        let numbers = cautions.iter().map(|caution| caution.number).collect();
        Ok(vec![
            Labelled::texts(CAUTIONS, ranks(), texts)?,
            Labelled::texts(KINDS, ranks(), kinds)?.aside(),
            Labelled::numbers(NUMBERS, Unit::None, ranks(), numbers)?.aside(),
        ])
    }

    /// Whether a table is one of those that hold cautions.
    #[must_use]
    pub fn is_table(name: &str) -> bool {
        [CAUTIONS, KINDS, NUMBERS].contains(&name)
    }
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Finding {
    /// What speaks against taking this at its word.
    pub fn cautions(&self) -> Vec<Caution> {
        let texts = |name| self.find(name).and_then(Labelled::as_texts).unwrap_or_default();
        let (kinds, numbers) = (texts(KINDS), self.find(NUMBERS).and_then(Labelled::as_numbers));
        let one = |(at, text): (usize, &String)| {
            let named =
                kinds.get(at).and_then(|own| CautionKind::ALL.into_iter().find(|kind| kind.name() == own));
            // Of a file without kinds the sentence alone is known.
            let number = numbers.and_then(|all| all.get(at)).copied().unwrap_or(f32::NAN);
            Caution { kind: named.unwrap_or(CautionKind::Other), number, text: text.clone() }
        };
        texts(CAUTIONS).iter().enumerate().map(one).collect()
    }
}
