//! What is explained: one number of every row, made of the output or of what sites hold.

mod custom;
mod output;
mod reading;

use std::fmt;

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use mmlens_finding::Unit;
use serde::{Deserialize, Serialize};

pub use custom::Custom;
pub(crate) use output::Kept;
pub use output::{Output, Pairs};
pub(crate) use reading::Rows;
pub use reading::{Reading, Unreadable};

use crate::{HookError, LogitSelection, Selector, Site, SiteSpec};

/// Which of the asked positions of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// The last position, where the next token is decided.
    Last,
    /// A position counted from the start of the (padded) sequence. The inputs must ask for all positions.
    At(usize),
}

impl Position {
    /// Its index in a row of so many positions.
    pub(crate) fn index(self, len: usize) -> Result<usize, HookError> {
        let index = match self {
            Self::Last => len.saturating_sub(1),
            Self::At(index) => index,
        };
        if index < len { Ok(index) } else { Err(HookError::Objective { what: "position", index, len }) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("the last position"),
            Self::At(i) => write!(f, "position {i}"),
        }
    }
}

/// How a token is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Its logit; of several tokens the sum.
    Logit,
    /// The natural logarithm of its probability; of several tokens the sum: that of all of them, one after the other.
    #[default]
    LogProbability,
    /// Its probability; of several tokens the product.
    Probability,
}

impl Measure {
    /// What it is measured in.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::Logit => Unit::Logit,
            Self::LogProbability => Unit::LogProbability,
            Self::Probability => Unit::Probability,
        }
    }

    /// A token by this measure.
    #[must_use]
    pub const fn of(self, at: Position, token: u32) -> Objective {
        match self {
            Self::Logit => Objective::Logit { at, token },
            Self::LogProbability => Objective::LogProbability { at, token },
            Self::Probability => Objective::Probability { at, token },
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logit => "logit",
            Self::LogProbability => "log-probability",
            Self::Probability => "probability",
        })
    }
}

/// The number a method explains.
///
/// Every row of a batch has its own value; token ids are those of the subject's tokenizer. It is read back from a finding, but
/// for one with a closure in it ([`Custom`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Objective {
    /// The logit of a token.
    Logit {
        /// Where.
        at: Position,
        /// Which token.
        token: u32,
    },
    /// The natural logarithm of the probability of a token.
    LogProbability {
        /// Where.
        at: Position,
        /// Which token.
        token: u32,
    },
    /// The probability of a token.
    Probability {
        /// Where.
        at: Position,
        /// Which token.
        token: u32,
    },
    /// The logit of one token minus that of another: the logarithm of how much likelier it is.
    LogitDifference {
        /// Where.
        at: Position,
        /// The token for.
        token: u32,
        /// The token against.
        against: u32,
    },
    /// Tokens that stand one after the other in the inputs, each judged by what stands before it (teacher forcing): a phrase of an
    /// answer, or all of it.
    Span {
        /// The position of the first of them, counted from the start of the (padded) sequence; at least 1. The inputs must ask
        /// for all positions.
        from: usize,
        /// The tokens.
        tokens: Vec<u32>,
        /// Their logits, log-probabilities or probabilities.
        measure: Measure,
    },
    /// The logit of each text (row) of a dual encoder and its own picture, the first that the row shows: their entry of
    /// `logits_per_image`, the cosine times the model's scale and, where there is one, plus its bias.
    Similarity,
    /// The same before scale and bias: the cosine.
    Cosine,
    /// The logit of each text and its own picture, minus that of another text and this picture: what speaks for a caption rather
    /// than for another. The other text is given by where it lies, and does not move.
    Against {
        /// The other text in the shared space, of length one ([`Pairs::texts`]).
        other: Vec<f32>,
    },
    /// One entry of `logits_per_image`, for a batch taken as a whole. It is the value of that text's row; other rows
    /// have zero. A method that repeats rows needs [`Objective::Similarity`].
    Pair {
        /// Which picture of the batch.
        image: usize,
        /// Which text.
        text: usize,
    },
    /// What a site holds: a neuron, a head, a feature direction.
    Site(Reading),
    /// The sum of others, each so many times.
    Sum(Vec<(f32, Objective)>),
    /// Any function of the output and of sites.
    Custom(Custom),
}

impl From<&Objective> for Objective {
    fn from(objective: &Objective) -> Self {
        objective.clone()
    }
}

impl From<Reading> for Objective {
    fn from(reading: Reading) -> Self {
        Self::Site(reading)
    }
}

impl From<Custom> for Objective {
    fn from(custom: Custom) -> Self {
        Self::Custom(custom)
    }
}

impl Objective {
    /// The logit of a token at the last position.
    pub const fn logit(token: u32) -> Self {
        Self::Logit { at: Position::Last, token }
    }

    /// The log-probability of a token at the last position.
    pub const fn log_probability(token: u32) -> Self {
        Self::LogProbability { at: Position::Last, token }
    }

    /// Logit of `token` minus logit of `against` at the last position.
    pub const fn logit_difference(token: u32, against: u32) -> Self {
        Self::LogitDifference { at: Position::Last, token, against }
    }

    /// The log-probability of tokens that stand in the inputs from a position on, each after what stands before it.
    pub fn span(from: usize, tokens: impl IntoIterator<Item = u32>) -> Self {
        Self::Span { from, tokens: tokens.into_iter().collect(), measure: Measure::LogProbability }
    }

    /// What it is measured in; of a sum of different units none.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Logit { .. } | Self::LogitDifference { .. } => Unit::Logit,
            Self::Similarity | Self::Against { .. } | Self::Pair { .. } => Unit::Logit,
            Self::LogProbability { .. } => Unit::LogProbability,
            Self::Probability { .. } => Unit::Probability,
            Self::Span { measure, .. } => measure.unit(),
            Self::Cosine => Unit::Cosine,
            Self::Site(_) => Unit::Activation,
            Self::Sum(terms) => {
                let mut units = terms.iter().map(|(_, term)| term.unit());
                let first = units.next().unwrap_or(Unit::None);
                if units.all(|unit| unit == first) { first } else { Unit::None }
            }
            Self::Custom(custom) => custom.unit(),
        }
    }

    /// Which positions of the output it looks at, where it looks at single ones.
    pub fn read_at(&self) -> Vec<Position> {
        match self {
            Self::Logit { at, .. }
            | Self::LogProbability { at, .. }
            | Self::Probability { at, .. }
            | Self::LogitDifference { at, .. } => vec![*at],
            Self::Span { from, tokens, .. } => places(*from, tokens).map(|(at, _)| at).collect(),
            Self::Sum(terms) => terms.iter().flat_map(|(_, term)| term.read_at()).collect(),
            Self::Custom(custom) => custom.read_at(),
            Self::Similarity | Self::Cosine | Self::Against { .. } | Self::Pair { .. } | Self::Site(_) => {
                Vec::new()
            }
        }
    }

    /// The position of the output it looks at, if it is about one alone.
    pub fn at(&self) -> Option<Position> {
        match self.read_at().as_slice() {
            [first, rest @ ..] => rest.iter().all(|at| at == first).then_some(*first),
            [] => None,
        }
    }

    /// The tokens whose score it is, in their order: one, or those of a phrase. None of other objectives.
    pub fn tokens(&self) -> &[u32] {
        match self {
            Self::Logit { token, .. }
            | Self::LogProbability { token, .. }
            | Self::Probability { token, .. }
            | Self::LogitDifference { token, .. } => std::slice::from_ref(token),
            Self::Span { tokens, .. } => tokens,
            _ => &[],
        }
    }

    /// The token it is about, if it is about one.
    pub fn token(&self) -> Option<u32> {
        match self.tokens() {
            [token] => Some(*token),
            _ => None,
        }
    }

    /// Each token of a phrase by itself, where the phrase is the sum of them: one objective for each token of two or more, by logits or
    /// log-probabilities. Of anything else none.
    pub fn by_token(&self) -> Vec<Self> {
        match self {
            Self::Span { from, tokens, measure: measure @ (Measure::Logit | Measure::LogProbability) }
                if tokens.len() > 1 =>
            {
                let one = |(at, token): (usize, &u32)| {
                    let (from, measure) = (from + at, *measure);
                    Self::Span { from, tokens: vec![*token], measure }
                };
                tokens.iter().enumerate().map(one).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The sites it looks at.
    pub fn sites(&self) -> Vec<Site> {
        match self {
            Self::Site(reading) => vec![reading.site()],
            Self::Sum(terms) => terms.iter().flat_map(|(_, term)| term.sites()).collect(),
            Self::Custom(custom) => custom.sites().to_vec(),
            _ => Vec::new(),
        }
    }

    /// The last site it looks at, if it looks at sites alone: nothing behind it matters.
    pub fn ends_at(&self) -> Option<Site> {
        let sites_alone = self.selected_logits().is_some_and(|wanted| wanted.is_none());
        self.sites().into_iter().max().filter(|_| sites_alone)
    }

    /// The only logits it looks at, which may be none; `None` if it looks at something else of the output.
    pub fn selected_logits(&self) -> Option<LogitSelection> {
        match self {
            Self::Logit { at, token } => Some(LogitSelection::tokens_at(*at, [*token])),
            Self::LogitDifference { at, token, against } => {
                Some(LogitSelection::tokens_at(*at, [*token, *against]))
            }
            Self::LogProbability { at, .. } | Self::Probability { at, .. } => Some(LogitSelection::at(*at)),
            Self::Span { from, tokens, measure } => {
                let one = |(at, token)| match measure {
                    Measure::Logit => LogitSelection::tokens_at(at, [token]),
                    _ => LogitSelection::at(at),
                };
                Some(places(*from, tokens).map(one).fold(LogitSelection::none(), |all, own| all.and(&own)))
            }
            Self::Site(_) => Some(LogitSelection::none()),
            Self::Sum(terms) => {
                let mut all = LogitSelection::none();
                for (_, term) in terms {
                    all = all.and(&term.selected_logits()?);
                }
                Some(all)
            }
            Self::Custom(custom) => custom.selected_logits(),
            Self::Similarity | Self::Cosine | Self::Against { .. } | Self::Pair { .. } => None,
        }
    }

    /// Whether it can be looked at in a pass of a subject with these sites.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`], [`HookError::NoAxis`], [`HookError::Index`], [`HookError::Unreadable`],
    /// [`HookError::NothingBefore`].
    pub(crate) fn check(&self, subject: &str, published: &[SiteSpec]) -> Result<(), HookError> {
        for site in self.sites() {
            Selector::from(site).resolve(subject, published)?;
        }
        match self {
            Self::Site(reading) => reading.check(published),
            Self::Sum(terms) => terms.iter().try_for_each(|(_, term)| term.check(subject, published)),
            Self::Span { from: 0, .. } => Err(HookError::NothingBefore(self.to_string())),
            _ => Ok(()),
        }
    }

    /// Its value for every row: `[batch]`.
    ///
    /// # Errors
    /// [`HookError::NoOutput`] if the output lacks what it needs, [`HookError::Objective`] if an index is out of range,
    /// [`HookError::NotRead`] for a site that was not kept.
    pub fn score(&self, output: &Output) -> Result<Tensor<1>, HookError> {
        match self {
            Self::Logit { at, token } => self.named(output.logit(*at, *token)),
            Self::LogProbability { at, token } => pick(log_softmax(self.named(output.at(*at))?, 1), *token),
            Self::Probability { at, token } => {
                Ok(pick(log_softmax(self.named(output.at(*at))?, 1), *token)?.exp())
            }
            Self::LogitDifference { at, token, against } => {
                Ok(self.named(output.logit(*at, *token))? - self.named(output.logit(*at, *against))?)
            }
            Self::Span { from, tokens, measure } => {
                let inner = if *measure == Measure::Logit { Measure::Logit } else { Measure::LogProbability };
                let each = places(*from, tokens).map(|(at, token)| inner.of(at, token).score(output));
                let sum = self.named(added(each)?.ok_or_else(|| HookError::NoOutput(String::new())))?;
                Ok(if *measure == Measure::Probability { sum.exp() } else { sum })
            }
            Self::Similarity => self.pairs(output).and_then(|pairs| pairs.own(&pairs.logits)),
            Self::Cosine => self.pairs(output).and_then(|pairs| pairs.own(&pairs.cosine)),
            Self::Against { other } => self.pairs(output)?.against(other),
            Self::Pair { image, text } => self.pairs(output)?.one(*image, *text),
            Self::Site(reading) => reading.score(output),
            Self::Sum(terms) => {
                let each = terms.iter().map(|(times, term)| Ok(term.score(output)?.mul_scalar(*times)));
                self.named(added(each)?.ok_or_else(|| HookError::NoOutput(String::new())))
            }
            Self::Custom(custom) => custom.score(output),
        }
    }

    fn named<T>(&self, found: Result<T, HookError>) -> Result<T, HookError> {
        found.map_err(|error| match error {
            HookError::NoOutput(_) => HookError::NoOutput(self.to_string()),
            other => other,
        })
    }

    fn pairs<'a>(&self, output: &'a Output) -> Result<&'a Pairs, HookError> {
        output.pairs.as_ref().ok_or_else(|| HookError::NoOutput(self.to_string()))
    }
}

/// Where each of some tokens in a row is decided: one position before its own.
fn places(from: usize, tokens: &[u32]) -> impl Iterator<Item = (Position, u32)> + '_ {
    tokens.iter().enumerate().map(move |(i, token)| (Position::At((from + i).saturating_sub(1)), *token))
}

/// The sum of some values; none, of none.
fn added(each: impl Iterator<Item = Result<Tensor<1>, HookError>>) -> Result<Option<Tensor<1>>, HookError> {
    let mut sum: Option<Tensor<1>> = None;
    for value in each {
        let value = value?;
        sum = Some(match sum {
            Some(sum) => sum + value,
            None => value,
        });
    }
    Ok(sum)
}

fn pick(logits: Tensor<2>, token: u32) -> Result<Tensor<1>, HookError> {
    let (index, len) = (token as usize, logits.dims()[1]);
    if index >= len {
        return Err(HookError::Objective { what: "token", index, len });
    }
    Ok(logits.narrow(1, index, 1).squeeze_dim(1))
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logit { at, token } => write!(f, "logit of token {token} at {at}"),
            Self::LogProbability { at, token } => {
                write!(f, "log-probability of token {token} at {at}")
            }
            Self::Probability { at, token } => write!(f, "probability of token {token} at {at}"),
            Self::LogitDifference { at, token, against } => {
                write!(f, "logit of token {token} minus token {against} at {at}")
            }
            Self::Span { from, tokens, measure } => {
                let many = if tokens.len() == 1 { "token" } else { "tokens" };
                write!(f, "{measure} of {} {many} from position {from}", tokens.len())
            }
            Self::Similarity => f.write_str("similarity of picture and text"),
            Self::Cosine => f.write_str("cosine of picture and text"),
            Self::Against { .. } => f.write_str("similarity of picture and text minus that of another text"),
            Self::Pair { image, text } => write!(f, "logit of picture {image} and text {text}"),
            Self::Site(reading) => write!(f, "{reading}"),
            Self::Sum(terms) => {
                for (i, (times, term)) in terms.iter().enumerate() {
                    let (sign, times) = (if *times < 0.0 { "-" } else { "+" }, times.abs());
                    match (i, sign) {
                        (0, "+") => {}
                        (0, _) => f.write_str("-")?,
                        _ => write!(f, " {sign} ")?,
                    }
                    match times {
                        1.0 => write!(f, "({term})")?,
                        _ => write!(f, "{times} ({term})")?,
                    }
                }
                Ok(())
            }
            Self::Custom(custom) => f.write_str(custom.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lens calls a log probability is one here, so that the two can be compared.
    #[test]
    fn every_objective_has_a_unit() {
        assert_eq!(Objective::logit(1).unit(), Unit::Logit);
        assert_eq!(Objective::logit_difference(1, 2).unit(), Unit::Logit);
        assert_eq!(Objective::log_probability(1).unit(), Unit::LogProbability);
        assert_eq!(Objective::LogProbability { at: Position::At(3), token: 1 }.unit(), Unit::LogProbability);
        assert_eq!(Measure::Probability.of(Position::Last, 1).unit(), Unit::Probability);
        assert_eq!(Objective::Similarity.unit(), Unit::Logit);
        assert_eq!(Objective::Pair { image: 0, text: 1 }.unit(), Unit::Logit);
        assert_eq!(Objective::Cosine.unit(), Unit::Cosine);
        let sum = |other: Objective| Objective::Sum(vec![(1.0, Objective::logit(1)), (-2.0, other)]);
        assert_eq!(sum(Objective::logit(2)).unit(), Unit::Logit);
        assert_eq!(sum(Objective::log_probability(2)).unit(), Unit::None);
    }

    #[test]
    fn objectives_are_told_in_words_and_read_back() {
        let neuron: Site = "text.blocks.1.mlp.post".parse().unwrap();
        let reading = Reading::at(neuron).within(crate::Region::all().neurons([5]).positions([7]));
        let sum = Objective::Sum(vec![
            (1.0, Objective::span(4, [7, 8])),
            (-0.5, reading.clone().into()),
            (-1.0, Objective::logit(3)),
        ]);
        assert_eq!(
            sum.to_string(),
            "(log-probability of 2 tokens from position 4) - 0.5 (`text.blocks.1.mlp.post[pos=7,neuron=5]`) - (logit of \
             token 3 at the last position)"
        );
        for objective in
            [sum, reading.along(vec![0.1, -3.5e-7]).into(), Objective::Against { other: vec![0.3] }]
        {
            let text = serde_json::to_string(&objective).unwrap();
            assert_eq!(serde_json::from_str::<Objective>(&text).unwrap(), objective, "{text}");
        }
    }

    /// A closure is told by its name, and refused by it.
    #[test]
    fn a_closure_is_not_read_back() {
        let own = Custom::new("spread", Unit::None, |output| output.logit(Position::Last, 1));
        let text = serde_json::to_string(&Objective::from(own)).unwrap();
        assert_eq!(text, r#"{"Custom":{"closure":"spread"}}"#);
        let said = serde_json::from_str::<Objective>(&text).unwrap_err().to_string();
        assert!(
            said.starts_with("the objective `spread` is a closure of the program that gave it"),
            "{said}"
        );
    }
}
