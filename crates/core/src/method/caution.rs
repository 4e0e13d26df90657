//! When what a method found is not to be taken at its word.
//!
//! Each function looks at numbers that a method has at hand and gives a [`Caution`] where they lie on the wrong side of a bound.
//! The bounds stand here, once for all methods; how often each caution comes where it should, and where it should not, is measured
//! (docs/cautions.md).

use mmlens_finding::{Caution, CautionKind, Labelled, TokenLabel, Unit, fixed, largest, top};
use mmlens_sound::Sound;

use crate::{Inputs, Objective, Part, Subject};

/// Contributions that miss more than this share of what they should add up to.
pub const GAP: f64 = 0.01;
/// One token with more than this share of all.
pub const SINK: f64 = 0.9;
/// Effects below this share of what the objective is made of are rounding: some thirty times the last bit of f32.
pub const ROUNDING: f64 = 4e-6;
/// An average whose standard error is a larger share of it is not settled by its draws.
pub const UNSTEADY: f64 = 0.5;
/// What is left of one of a probability below which gradients say little but how little is left.
pub const LEFT: f64 = 0.01;
/// An average of numbers of both signs that keeps no more than this share of their magnitudes.
pub const CANCELLED: f64 = 0.1;
/// A simple model that explains less than this share of the variance of what it stands for.
pub const FIT: f64 = 0.5;
/// What is heard in the place of a part and lies so much above it, in what audio towers are given, is louder: 10 dB, since a tenth of the power is
/// one less of its logarithm, of which that is a quarter.
pub const LOUDER: f64 = 0.25;
/// Tokens that the model finds likelier than the one that is explained.
pub const LIKELIER: usize = 10;

/// The least difference of an objective that is worth sharing out: a tenth of a nat, a hundredth of a probability or a cosine, and a
/// hundredth of its size for what has no scale of its own.
#[must_use]
pub fn least_difference(unit: Unit, size: f64) -> f64 {
    match unit {
        Unit::Logit | Unit::LogProbability | Unit::Nat => 0.1,
        Unit::Probability | Unit::Cosine | Unit::Ratio => 0.01,
        _ => 0.01 * size,
    }
}

/// That contributions do not add up: they miss more than a share of what they should.
#[must_use]
pub fn gap(relative: f64, most: f64, of: &str, hint: &str) -> Option<Caution> {
    (relative > most).then(|| {
        let text = format!(
            "contributions{of} miss what they should add up to by {:.1} % of it{hint}",
            100.0 * relative
        );
        Caution::new(CautionKind::Gap, relative as f32, text)
    })
}

/// That what is found of the tokens of an answer one by one adds up to something else than what is found of all together: by more than
/// a share of its largest value, in the tables that stand in the front.
#[must_use]
pub fn other_sum(whole: &[Labelled], each: &[Vec<Labelled>], most: f64, hint: &str) -> Option<Caution> {
    let mut worst: Option<(f64, &str)> = None;
    for table in whole.iter().filter(|table| !table.is_aside() && table.rank() > 0) {
        let own = each.iter().map(|tables| tables.iter().find(|own| own.name() == table.name()));
        let own: Option<Vec<&[f32]>> = own.map(|own| own?.as_numbers()).collect();
        let (Some(values), Some(own)) = (table.as_numbers(), own.filter(|own| !own.is_empty())) else {
            continue;
        };
        let Ok(size) = largest(values) else { continue };
        for (at, value) in values.iter().enumerate() {
            let sum: f64 = own.iter().filter_map(|own| own.get(at)).map(|own| f64::from(*own)).sum();
            let share = (sum - f64::from(*value)).abs() / size;
            // no NaN: finite scores
            if share > worst.map_or(most, |(worst, _)| worst) {
                worst = Some((share, table.name()));
            }
        }
    }
    worst.map(|(share, table)| {
        let text = format!(
            "what is found of each token adds up to something else than what is found of all, in `{table}` by {:.1} % of its largest value: \
             the tokens were looked at more closely; {hint}",
            100.0 * share
        );
        Caution::new(CautionKind::Gap, share as f32, text)
    })
}

/// That cutting edges leaves some queries nothing to look at but themselves: what becomes of them then is not what they miss of the keys.
#[must_use]
pub fn left_alone(alone: usize, of: usize, edges: &str, hint: &str) -> Caution {
    let text = format!(
        "without the edges `{edges}` {alone} of {of} positions see themselves alone: that changes the stream whatever stood at the others{hint}"
    );
    Caution::new(CautionKind::LeftAlone, alone as f32, text)
}

/// Two values of the objective, with what is explained and without it: that they barely differ, or differ the wrong way round.
/// `with` and `without` say in words where it is what.
#[must_use]
pub fn contrast(
    objective: &Objective,
    (at, with): (f32, &str),
    (other, without): (f32, &str),
) -> Option<Caution> {
    let (a, b) = (f64::from(at), f64::from(other));
    let apart = a - b;
    let least = least_difference(objective.unit(), a.abs().max(b.abs())); // no NaN: both finite
    let values = format!("the {objective} is {} {with} and {} {without}", fixed(at, 3), fixed(other, 3));
    if apart.abs() < least {
        let text =
            format!("{values}: the two barely differ, and what is made of their difference says little");
        return Some(Caution::new(CautionKind::SmallDifference, apart as f32, text));
    }
    (apart < 0.0).then(|| {
        let text = format!("{values}: it is larger without what is explained: values add up to less than zero, and what is above zero still raises it; shares of the difference have the opposite sign");
        Caution::new(CautionKind::Reversed, -apart as f32, text)
    })
}

/// That nearly all of some shares lies on one token that is a marker, or the first of all.
#[must_use]
pub fn sink(shares: &[f32], tokens: &[TokenLabel], hint: &str) -> Option<Caution> {
    let size = |share: &f32| f64::from(share.abs());
    let total: f64 = shares.iter().map(size).sum();
    let sizes: Vec<f64> = shares.iter().map(size).collect();
    let at = top(&sizes).ok()??;
    let most = *sizes.get(at)?;
    let token = tokens.get(at)?;
    let empty = at == 0 || token.modality == mmlens_finding::Modality::Special;
    let share = most / total;
    (shares.len() > 1 && empty && share > SINK).then(|| {
        let text = format!(
            "{:.0} % of all lies on `{}`, position {at}, which says nothing of the question{hint}",
            100.0 * share,
            token.text
        );
        Caution::new(CautionKind::Sink, share as f32, text)
    })
}

/// That some numbers are all exactly zero; `what` they are, in words.
#[must_use]
pub fn nothing(effects: &[f32], what: &str) -> Option<Caution> {
    (!effects.is_empty() && effects.iter().all(|effect| *effect == 0.0)).then(|| {
        let text = format!(
            "{what} are all exactly zero: nothing of what is explained was changed, or nothing reads it"
        );
        Caution::new(CautionKind::NothingMoved, effects.len() as f32, text)
    })
}

/// That effects on an objective of some unit and value are zero throughout, or no larger than rounding; `what` they are, in words.
/// Logarithms of probabilities are made of logits, which are ones or tens however near zero the difference lies; probabilities of
/// parts of one.
#[must_use]
pub fn rounding(effects: &[f32], (unit, objective): (Unit, f32), what: &str) -> Option<Caution> {
    if let Some(nothing) = nothing(effects, what) {
        return Some(nothing);
    }
    let most = largest(effects).ok().filter(|_| !effects.is_empty())?;
    let made_of = match unit {
        Unit::Logit | Unit::LogProbability | Unit::Nat => 1.0,
        Unit::Probability | Unit::Cosine | Unit::Ratio => 0.1,
        _ => 0.0,
    };
    let bound = ROUNDING * f64::from(objective.abs()).max(made_of); // no NaN: a finite score
    (most < bound).then(|| {
        let text = format!(
            "the largest of {what} is {most:.1e} of an objective of {}: that is rounding",
            fixed(objective, 3)
        );
        Caution::new(CautionKind::Rounding, most as f32, text)
    })
}

/// That an average over random draws has a standard error of more than half of it; `what` it is of, in words. Of a single draw there is none.
#[must_use]
pub fn unsteady(mean: f64, error: Option<f64>, what: &str) -> Option<Caution> {
    let share = error.filter(|error| *error > 0.0)? / mean.abs().max(f64::MIN_POSITIVE); // no NaN: finite scores
    (share > UNSTEADY).then(|| {
        let text = format!(
            "{what} is {} on average over the draws, with a standard error of {:.0} % of it: more draws are needed",
            fixed(mean, 3),
            100.0 * share
        );
        Caution::new(CautionKind::Unsteady, share as f32, text)
    })
}

/// That gradients are taken of a probability that is all but one, or of its logarithm: they are as small as what is left of one.
#[must_use]
pub fn saturated(objective: &Objective, value: f32) -> Option<Caution> {
    let probability = match objective.unit() {
        Unit::Probability => f64::from(value),
        Unit::LogProbability => f64::from(value).exp(),
        _ => return None,
    };
    let left = 1.0 - probability;
    (left < LEFT).then(|| {
        let text = format!(
            "the {objective} is that of a probability of {probability:.6}: its gradients are as small as the {left:.1e} that is left of one, and say \
             what could still raise it, not what made it so high; a logit is not saturated"
        );
        Caution::new(CautionKind::Saturated, left as f32, text)
    })
}

/// That numbers of both signs cancel where they are averaged: `left` is the magnitude of their averages, as a share of the averages of
/// their magnitudes. `what` they are, in words.
#[must_use]
pub fn cancelled(left: f64, what: &str, hint: &str) -> Option<Caution> {
    (left < CANCELLED).then(|| {
        let text = format!(
            "{what} cancel: {:.1} % of their magnitudes is left, and what is made of that says little{hint}",
            100.0 * left
        );
        Caution::new(CautionKind::Cancelled, left as f32, text)
    })
}

/// That a simple model explains less than half of the variance of what it stands for; `what` it is, in words.
#[must_use]
pub fn poor_fit(explained: f64, what: &str, hint: &str) -> Option<Caution> {
    (explained < FIT).then(|| {
        let text = format!(
            "{what} explains {:.0} % of the variance of what the model says: it is not what the model does{hint}",
            100.0 * explained
        );
        Caution::new(CautionKind::PoorFit, explained as f32, text)
    })
}

/// That the model finds many tokens likelier than the one that is explained.
#[must_use]
pub fn unlikely(token: &str, rank: usize) -> Option<Caution> {
    (rank > LIKELIER).then(|| {
        let text = format!("the model finds {rank} other tokens likelier than `{token}`: what is explained is not what it would say");
        Caution::new(CautionKind::Unlikely, rank as f32, text)
    })
}

/// That a sequence is longer than its language model was made for, which takes it all the same.
#[must_use]
pub fn beyond(subject: &dyn Subject, inputs: &Inputs) -> Option<Caution> {
    let made_for = subject.anatomy().iter().find(|own| own.part == Part::Text)?.made_for?;
    let positions = inputs.positions();
    (positions > made_for).then(|| {
        let text = format!(
            "the sequence has {positions} positions, and the model was made for {made_for}: it has seen none of the rotary positions behind them"
        );
        Caution::new(CautionKind::Beyond, positions as f32, text)
    })
}

/// That of a recording next to nothing is heard.
#[must_use]
pub fn unheard(sound: &Sound) -> Option<Caution> {
    let why = sound.unheard()?;
    Some(Caution::new(CautionKind::Unheard, why.number() as f32, format!("`{}` {why}", sound.name)))
}

/// That what is heard in the place of absent parts of recordings is louder than what it hides; of how many parts, of how many.
#[must_use]
pub fn louder([louder, of]: [usize; 2], fill: &str) -> Option<Caution> {
    (louder > 0).then(|| {
        let text = format!(
            "in {louder} of {of} parts of the recording, {fill} is at least 10 dB louder than what it hides: what they have is of a new sound, not of an absence; compare with silence"
        );
        Caution::new(CautionKind::Louder, louder as f32 / of.max(1) as f32, text)
    })
}

/// About how many deviations above the mean the largest of so many normal draws lies: `sqrt(2 ln n)`. What is the largest of as many things and
/// lies no higher stands out by chance alone.
#[must_use]
pub fn largest_of_draws(count: usize) -> f64 {
    (2.0 * (count.max(1) as f64).ln()).sqrt()
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Modality, TokenLabel};

    use super::*;

    fn kind(caution: Option<Caution>) -> Option<CautionKind> {
        caution.map(|caution| caution.kind)
    }

    #[test]
    fn cautions_come_beyond_their_bounds() {
        let logit = Objective::log_probability(3);
        let of = |a, b| kind(contrast(&logit, (a, "here"), (b, "there")));
        assert_eq!(of(-1.0, -1.05), Some(CautionKind::SmallDifference));
        assert_eq!(of(-1.0, -1.2), None);
        assert_eq!(of(-1.2, -1.0), Some(CautionKind::Reversed));
        assert_eq!(kind(gap(0.009, GAP, "", "")), None);
        assert_eq!(gap(0.02, GAP, " of ig", "").unwrap().number, 0.02);
        assert_eq!(kind(rounding(&[0.0, 0.0], (Unit::Logit, 3.0), "drops")), Some(CautionKind::NothingMoved));
        assert_eq!(
            kind(rounding(&[1e-6, 0.0], (Unit::LogProbability, -1e-5), "drops")),
            Some(CautionKind::Rounding)
        );
        assert_eq!(kind(rounding(&[1e-4, 0.0], (Unit::Logit, 3.0), "drops")), None);
        let of = |error| kind(unsteady(-0.2, error, "it"));
        assert_eq!((of(Some(0.11)), of(Some(0.09)), of(None)), (Some(CautionKind::Unsteady), None, None));
        let (log, logit) = (Objective::log_probability(3), Objective::logit(3));
        let of = |objective, value| kind(saturated(objective, value));
        assert_eq!((of(&log, -0.009), of(&log, -0.02)), (Some(CautionKind::Saturated), None));
        assert_eq!((of(&logit, 30.0), of(&logit, 0.999)), (None, None));
        assert!((saturated(&log, -0.001).unwrap().number - 0.001).abs() < 1e-6);
        assert_eq!(
            (kind(cancelled(0.09, "", "")), kind(cancelled(0.11, "", ""))),
            (Some(CautionKind::Cancelled), None)
        );
        assert_eq!(
            (kind(poor_fit(0.4, "", "")), kind(poor_fit(0.6, "", ""))),
            (Some(CautionKind::PoorFit), None)
        );
        assert_eq!((kind(unlikely("a", 10)), kind(unlikely("a", 11))), (None, Some(CautionKind::Unlikely)));
    }

    #[test]
    fn a_sink_is_the_first_token_or_a_marker() {
        let tokens = |second| {
            [
                TokenLabel::new("a", Modality::Text),
                TokenLabel::new("b", second),
                TokenLabel::new("c", Modality::Text),
            ]
        };
        let of = |shares: [f32; 3], second| kind(sink(&shares, &tokens(second), ""));
        assert_eq!(of([0.95, 0.03, 0.02], Modality::Text), Some(CautionKind::Sink));
        assert_eq!(of([0.03, 0.95, 0.02], Modality::Text), None);
        assert_eq!(of([0.03, 0.95, 0.02], Modality::Special), Some(CautionKind::Sink));
        assert_eq!(of([0.85, 0.1, 0.05], Modality::Text), None);
    }
}
