//! The search by beams: `generate(num_beams=n, do_sample=False)` of transformers, in its order and its `f32` arithmetic.
//!
//! Every prompt has `n` answers on their way. At each step every one of them is continued by every token; the best continuations by the
//! sum of log-probabilities go on, and of the best `n` those that have ended are kept apart, by that sum divided by their
//! length to the power of the penalty. A prompt is done when what is on its way cannot be expected to become better than the worst of
//! `n` that have ended.

use super::{Generated, Text, Writing};
use crate::{HookError, Plans, SubjectError};

/// What keeps a candidate from being chosen, and what an empty place is worth.
const NEVER: f32 = -1e9;

/// A search by beams (Lowerre 1976), as transformers has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beams {
    /// Answers that are written side by side for each prompt: `num_beams`, at least 2.
    pub beams: usize,
    /// The power of the length by which the sum of log-probabilities is divided: `length_penalty`. Above 0 longer answers gain.
    pub length_penalty: f64,
    /// Whether a prompt is done once `beams` answers to it have ended, `early_stopping`; otherwise when, at the present length,
    /// none of those on their way is better than the worst of them.
    pub early_stopping: bool,
}

impl Beams {
    /// So many beams, with transformers' defaults: a penalty of 1, no early stopping.
    pub fn new(beams: usize) -> Self {
        Self { beams, length_penalty: 1.0, early_stopping: false }
    }

    /// What a sum of log-probabilities of so many tokens is divided by.
    fn length(&self, tokens: usize) -> f32 {
        (tokens as f64).powf(self.length_penalty) as f32
    }
}

/// An answer on its way, or one that is kept.
#[derive(Debug, Clone, Default)]
struct Beam {
    tokens: Vec<u32>,
    probabilities: Vec<f32>,
    score: f32,
    ended: bool,
}

/// A continuation of a beam.
struct Candidate {
    beam: Beam,
    /// The beam it continues.
    from: usize,
    /// Whether nothing can follow it.
    hit: bool,
}

/// The search for the answer to one prompt.
struct Search {
    prompt: Text,
    /// The most tokens, as they are asked for and as positions allow.
    most: usize,
    running: Vec<Beam>,
    kept: Vec<Beam>,
    improvable: bool,
    done: bool,
}

/// The `n` highest, the highest first; of equal ones the first.
fn best<T>(mut list: Vec<T>, n: usize, score: impl Fn(&T) -> f32) -> Vec<T> {
    list.sort_by(|a, b| score(b).total_cmp(&score(a)));
    list.truncate(n);
    list
}

/// The logarithm of a softmax, computed in `f64`.
fn log_softmax(logits: &[f32]) -> Vec<f32> {
    // no NaN: the logits were looked at
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    let all = highest + sum.ln();
    logits.iter().map(|logit| (f64::from(*logit) - all) as f32).collect()
}

impl Search {
    fn new(how: &Beams, prompt: Text, most: usize) -> Self {
        // All beams begin alike, so that at first one alone is continued.
        let place = |score| Beam { score, ..Beam::default() };
        let running = (0..how.beams).map(|beam| place(if beam == 0 { 0.0 } else { NEVER })).collect();
        let kept = vec![place(NEVER); how.beams];
        Self { prompt, most, running, kept, improvable: true, done: most == 0 }
    }

    /// A beam's whole text.
    fn text(&self, beam: &Beam) -> Text {
        Text { ids: [self.prompt.ids.as_slice(), &beam.tokens].concat(), pad: self.prompt.pad }
    }

    /// The best continuations, the best first. `scores` are the log-probabilities behind each beam, as they were changed, `shares`
    /// the model's own probabilities.
    fn candidates(
        &self,
        (scores, shares): (&[Vec<f32>], &[Vec<f32>]),
        ends: &[u32],
    ) -> Result<Vec<Candidate>, HookError> {
        let many = self.running.len() * (1 + ends.len()).max(2);
        let mut all: Vec<(f32, usize, usize)> = Vec::new();
        for (from, (beam, scores)) in self.running.iter().zip(scores).enumerate() {
            all.extend(scores.iter().enumerate().map(|(token, score)| (score + beam.score, from, token)));
        }
        let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        if many < all.len() {
            all.select_nth_unstable_by(many, order);
            all.truncate(many);
        }
        all.sort_by(order);
        let candidate = |(score, from, token): (f32, usize, usize)| {
            let len = shares.get(from).map_or(0, Vec::len);
            let missing = HookError::Objective { what: "token", index: token, len };
            let share = shares.get(from).and_then(|row| row.get(token)).ok_or(missing.clone())?;
            let mut beam = self.running.get(from).cloned().ok_or(missing)?;
            beam.tokens.push(token as u32);
            beam.probabilities.push(*share);
            (beam.score, beam.ended) = (score, ends.contains(&(token as u32)));
            let hit = beam.ended || beam.tokens.len() >= self.most;
            Ok(Candidate { beam, from, hit })
        };
        all.into_iter().map(candidate).collect()
    }

    /// Goes on with the best continuations; says which beam each of them continues.
    fn go_on(&mut self, how: &Beams, candidates: Vec<Candidate>) -> Vec<usize> {
        let length = how.length(candidates.first().map_or(1, |one| one.beam.tokens.len()));
        let dead = candidates.iter().all(|one| one.hit);
        // An answer that has ended has its place among those that are kept.
        let full = how.early_stopping && self.kept.iter().all(|beam| beam.ended);
        let mut kept = std::mem::take(&mut self.kept);
        for (at, one) in candidates.iter().enumerate() {
            let counts = one.hit && at < how.beams;
            let mut beam = one.beam.clone();
            beam.score /= length;
            for against in [full, !self.improvable, !counts] {
                beam.score += if against { NEVER } else { 0.0 };
            }
            beam.ended = counts;
            kept.push(beam);
        }
        self.kept = best(kept, how.beams, |beam| beam.score);
        let mut going = candidates;
        going.iter_mut().filter(|one| one.hit).for_each(|one| one.beam.score += NEVER);
        let going = best(going, how.beams, |one| one.beam.score);
        let highest = going.first().map_or(NEVER, |one| one.beam.score) / length;
        let least = self.kept.last().map_or(NEVER, |beam| beam.score);
        self.improvable &= self.kept.iter().any(|beam| highest > if beam.ended { least } else { NEVER });
        let full = how.early_stopping && self.kept.iter().all(|beam| beam.ended);
        self.done = dead || full || !self.improvable;
        let from = going.iter().map(|one| one.from).collect();
        self.running = going.into_iter().map(|one| one.beam).collect();
        from
    }
}

impl Writing<'_, '_> {
    /// The best answer to every prompt. The rows of the session are the beams of the prompts that are not done.
    pub(super) fn search(&mut self, how: &Beams, plans: &Plans) -> Result<Vec<Generated>, SubjectError> {
        let max_new = self.how.max_new;
        let ends = if self.how.stop_at_end { self.rules.ends.clone() } else { Vec::new() };
        let room = self.most();
        let most = room.iter().map(|room| room.map_or(max_new, |room| room.min(max_new)));
        let prompts = self.rules.texts.iter().cloned().zip(most);
        let mut searches: Vec<Search> =
            prompts.map(|(prompt, most)| Search::new(how, prompt, most)).collect();
        let beams: Vec<usize> =
            (0..searches.len()).flat_map(|row| std::iter::repeat_n(row, how.beams)).collect();
        self.session.keep(&beams)?;
        let mut living: Vec<usize> = (0..searches.len()).collect();
        for step in 0..max_new {
            let names: Vec<usize> =
                living.iter().flat_map(|row| std::iter::repeat_n(*row, how.beams)).collect();
            let mut said = self.said(&names, step)?.into_iter();
            let (mut next, mut kept, mut left) = (Vec::new(), Vec::new(), Vec::new());
            for (at, row) in living.iter().copied().enumerate() {
                let Some(search) = searches.get_mut(row) else { continue };
                let (mut scores, mut shares) = (Vec::new(), Vec::new());
                for (beam, said) in search.running.iter().zip(said.by_ref()) {
                    let mut own = log_softmax(&said.scores);
                    self.changed((row, step), &search.text(beam), &mut own)?;
                    scores.push(own);
                    shares.push(said.shares);
                }
                let from = search.go_on(how, search.candidates((&scores, &shares), &ends)?);
                if !search.done {
                    left.push(row);
                    kept.extend(from.iter().map(|beam| at * how.beams + beam));
                    next.extend(search.running.iter().filter_map(|beam| beam.tokens.last()));
                }
            }
            if step + 1 == max_new || left.is_empty() {
                break;
            }
            self.session.keep(&kept)?;
            self.step(&next, plans.at(step + 1))?;
            living = left;
        }
        Ok(searches.into_iter().map(|search| search.answer(&ends, max_new)).collect())
    }
}

impl Search {
    /// The best answer that has ended, or was as long as it may be.
    fn answer(self, ends: &[u32], max_new: usize) -> Generated {
        let Some(best) = self.kept.into_iter().next() else { return Generated::default() };
        let ended = best.tokens.last().is_some_and(|token| ends.contains(token));
        let last_position = !ended && best.tokens.len() < max_new && best.tokens.len() == self.most;
        let Beam { tokens, probabilities, score, .. } = best;
        Generated { tokens, probabilities, ended, last_position, score: Some(score), text: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens, of which 1 ends. At first 0 has the probability 0.6 and 1 has 0.4; behind 0 they have 0.3 and 0.7.
    fn search(length_penalty: f64) -> (Vec<u32>, f32) {
        let how = Beams { beams: 2, length_penalty, early_stopping: false };
        let mut search = Search::new(&how, Text::default(), 2);
        let ln = |shares: [f32; 2]| shares.map(f32::ln).to_vec();
        for shares in [[0.6, 0.4], [0.3, 0.7]] {
            let rows = vec![ln(shares); 2];
            let found = search.candidates((&rows, &rows), &[1]).unwrap();
            search.go_on(&how, found);
        }
        let best = search.answer(&[1], 2);
        (best.tokens, best.score.unwrap())
    }

    #[test]
    fn a_penalty_of_the_length_decides_between_a_short_and_a_long_answer() {
        // [1] has 0.4; [0, 1] has 0.6 x 0.7 = 0.42, so without a penalty the longer one wins by little.
        let (tokens, score) = search(0.0);
        assert_eq!(tokens, [0, 1]);
        assert!((score - 0.42_f32.ln()).abs() < 1e-6, "{score}");
        // By the mean of a token it wins by more: ln 0.42 / 2 against ln 0.4.
        let (tokens, score) = search(1.0);
        assert_eq!(tokens, [0, 1]);
        assert!((score - 0.42_f32.ln() / 2.0).abs() < 1e-6, "{score}");
        // Length is against it: 2 ln 0.42 against ln 0.4.
        let (tokens, score) = search(-1.0);
        assert_eq!(tokens, [1]);
        assert!((score - 0.4_f32.ln()).abs() < 1e-6, "{score}");
    }
}
