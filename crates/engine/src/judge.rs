//! How well texts fit a sample, as a subject judges them: captions, answers, classes, by whatever it says of them.

use mmlens_core::check::input;
use mmlens_core::{
    AnalysisError, AnyTensor, Card, Copies, HookError, Inputs, Need, Objective, On, Part, Plan, Point, Reply,
    Sample, Subject, SubjectError, Words, kind,
};

use crate::{Absent, Coalition, Hiding, Positions, Units, aim};

/// A pass, and what is looked at in it.
#[derive(Debug, Clone)]
pub struct Pass {
    sample: Sample,
    inputs: Inputs,
    looks: Vec<Objective>,
}

impl Pass {
    /// A pass over a sample, encoded so that the output is there wherever something is looked at.
    #[must_use]
    pub fn new(sample: Sample, inputs: Inputs, looks: Vec<Objective>) -> Self {
        Self { sample, inputs, looks }
    }

    /// What is passed through the subject.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Looks at something more, over inputs that ask for enough of the output; which look it is.
    fn joined(&mut self, inputs: Inputs, look: Objective) -> usize {
        self.inputs = inputs;
        self.looks.push(look);
        self.looks.len() - 1
    }

    fn plan(&self, plan: Plan) -> Plan {
        self.looks.iter().fold(plan, Plan::also)
    }

    /// What it takes.
    ///
    /// # Errors
    /// As [`Subject::need`].
    pub fn need(&self, subject: &dyn Subject) -> Result<Need, HookError> {
        subject.need(&self.inputs, &self.plan(Plan::new()), Copies::ONE)
    }

    /// What is looked at: for each look the value of every row. Where words are hidden, nobody attends to them.
    ///
    /// # Errors
    /// [`AnalysisError::Memory`]; whatever hiding words or the pass reports.
    pub fn made(&self, card: &Card, on: &On<'_>, hidden: bool) -> Result<Vec<Vec<f32>>, AnalysisError> {
        let subject = on.subject();
        on.memory().hold(card.id, 0, self.need(subject)?)?;
        let trace = match hidden {
            false => subject.run(&self.inputs, self.plan(Plan::new()))?,
            true => {
                let words =
                    Units::all_words(&self.inputs, &Positions::Question).map_err(|e| e.of(card.id))?;
                let words = words.instead(Absent::Unattended);
                let hiding = Hiding::new(subject, &self.sample, &self.inputs, words);
                let (inputs, plan) = hiding.map_err(|e| e.of(card.id))?.only(&Coalition::none(1))?;
                subject.run(&inputs, self.plan(plan))?
            }
        };
        let look = |look: &Objective| {
            Ok(AnyTensor::new(look.score(trace.output())?).finite_values(format!("the {look}"))?)
        };
        self.looks.iter().map(look).collect()
    }
}

/// Which texts the rows of a look of a pass judge: `texts[pass][look][row]`.
type Places = Vec<Vec<Vec<usize>>>;

/// Passes that judge texts about a sample.
#[derive(Debug, Clone)]
pub struct Judged {
    passes: Vec<Pass>,
    places: Places,
    /// How many tokens each text has, of subjects that write them.
    counts: Option<Vec<usize>>,
    /// Whether the first pass is over the sample without an answer.
    bare: bool,
    texts: usize,
}

impl Judged {
    /// Passes over a sample that judge texts:
    ///
    /// - a dual encoder judges its own captions, which must be as many, by their similarity;
    /// - a subject that says classes, by the log-probability of the class of that name; one that answers questions by a decoder of its own, by that
    ///   of the text as the next token;
    /// - any other, by the log-probability of all tokens of the text behind the words.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for other captions than texts, a sample of several rows, and texts that the subject cannot say; whatever encoding reports.
    pub fn answers(
        card: &Card,
        on: &On<'_>,
        sample: &Sample,
        texts: &[String],
    ) -> Result<Self, AnalysisError> {
        let subject = on.subject();
        let bare = Sample { reply: None, ..sample.clone() };
        if kind::compares(subject) {
            let own = if let Words::Texts(own) = &sample.words { own.len() } else { 0 };
            if own != texts.len() {
                let found = format!("a sample has {own}, and there are {} classes", texts.len());
                return Err(input(card, "as many captions as classes, in their order", found));
            }
            return Self::rows(on, bare, Objective::Similarity, texts.len());
        }
        let (mut looks, mut behind, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let prompt = on.encode(&bare)?;
        if prompt.rows() != 1 {
            return Err(input(card, "a single text", format!("there are {}", prompt.rows())));
        }
        for (at, text) in texts.iter().enumerate() {
            if kind::classifies(subject) || kind::reads_apart(subject) {
                let token = aim::token(subject, text)
                    .map_err(|error| input(card, "classes that the subject can say", error.to_string()))?;
                looks.push((at, Objective::log_probability(token)));
                continue;
            }
            let answered = bare.clone().answered(Reply::Text(text.clone()));
            let inputs = on.encode(&answered).map_err(|error| match error {
                SubjectError::Sample { .. } => {
                    input(card, "texts that the subject can say", error.to_string())
                }
                other => other.into(),
            })?;
            let (row, reply) = (inputs.ids.concat(), inputs.map().reply());
            let start = reply.start + inputs.pads.first().copied().unwrap_or(0);
            let (before, own) = row.split_at_checked(start).ok_or(HookError::NoObjective)?;
            counts.push(own.len());
            match own {
                [token] if *before == prompt.ids.concat() => {
                    looks.push((at, Objective::log_probability(*token)));
                }
                tokens => {
                    let span = Objective::span(start, tokens.iter().copied());
                    behind.push((at, Pass::new(answered, inputs.all_logits(), vec![span])));
                }
            }
        }
        let (first, looks): (Vec<Vec<usize>>, Vec<Objective>) =
            looks.into_iter().map(|(at, look)| (vec![at], look)).unzip();
        let counts = (counts.len() == texts.len()).then_some(counts);
        let mut judged = Self { counts, texts: texts.len(), ..Self::none() };
        if !looks.is_empty() {
            judged.bare = true;
            judged.passes.push(Pass::new(bare, prompt, looks));
            judged.places.push(first);
        }
        for (at, pass) in behind {
            judged.passes.push(pass);
            judged.places.push(vec![vec![at]]);
        }
        Ok(judged)
    }

    /// Nothing is judged.
    #[must_use]
    pub fn none() -> Self {
        Self { passes: Vec::new(), places: Vec::new(), counts: None, bare: false, texts: 0 }
    }

    /// Passes over a sample that judge captions of its pictures, whatever its words: rows of a subject that looks at texts one by one, dual encoders by similarity and those
    /// that say whether a text fits by how much likelier that is than not, at most so many to a pass; others as [answers](Self::answers).
    ///
    /// # Errors
    /// As [answers](Self::answers).
    pub fn captions(
        card: &Card,
        on: &On<'_>,
        sample: &Sample,
        texts: &[String],
        rows: usize,
    ) -> Result<Self, AnalysisError> {
        let look = match (kind::compares(on.subject()), fitting(on.subject())) {
            (true, _) => Objective::Similarity,
            (false, Some([token, against])) => Objective::logit_difference(token, against),
            (false, None) => return Self::answers(card, on, sample, texts),
        };
        let mut judged = Self { texts: texts.len(), ..Self::none() };
        for (part, some) in texts.chunks(rows.max(1)).enumerate() {
            let sample = Sample { words: Words::Texts(some.to_vec()), reply: None, ..sample.clone() };
            let from = part * rows;
            judged.passes.push(Pass::new(sample.clone(), on.encode(&sample)?, vec![look.clone()]));
            judged.places.push(vec![(from..from + some.len()).collect()]);
        }
        Ok(judged)
    }

    /// Looks at an objective of a sample as well, over inputs that ask for enough of the output: in the pass over the sample without an answer, if it holds none and there is
    /// one. Which look of which pass it is.
    pub fn join(&mut self, sample: &Sample, inputs: Inputs, objective: Objective) -> [usize; 2] {
        match self.passes.first_mut() {
            Some(first) if self.bare && sample.reply.is_none() => [0, first.joined(inputs, objective)],
            _ => {
                self.passes.push(Pass::new(sample.clone(), inputs, vec![objective]));
                [self.passes.len() - 1, 0]
            }
        }
    }

    /// The passes, in order.
    #[must_use]
    pub fn passes(&self) -> &[Pass] {
        &self.passes
    }

    /// Rows that pass through the subject.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.passes.iter().map(|pass| pass.inputs.rows()).sum()
    }

    /// Whether a subject says of texts, one by one, whether they fit its picture.
    #[must_use]
    pub fn says_whether_a_text_fits(subject: &dyn Subject) -> bool {
        fitting(subject).is_some()
    }

    /// How many tokens each text has; `None` of subjects that do not write them.
    #[must_use]
    pub fn counts(&self) -> Option<&[usize]> {
        self.counts.as_deref()
    }

    /// One pass in which each row is a caption that the sample holds.
    fn rows(on: &On<'_>, sample: Sample, look: Objective, texts: usize) -> Result<Self, AnalysisError> {
        let inputs = on.encode(&sample)?;
        let places = vec![vec![(0..texts).collect()]];
        let passes = vec![Pass::new(sample, inputs, vec![look])];
        Ok(Self { passes, places, counts: None, bare: true, texts })
    }

    /// The value of each text, of what the passes gave.
    ///
    /// # Errors
    /// [`HookError::NoObjective`] for a text of which nothing was given.
    pub fn values(&self, found: &[Vec<Vec<f32>>]) -> Result<Vec<f32>, HookError> {
        let mut values = vec![None; self.texts];
        for (places, found) in self.places.iter().zip(found) {
            for (places, found) in places.iter().zip(found) {
                for (place, value) in places.iter().zip(found) {
                    if let Some(own) = values.get_mut(*place) {
                        *own = Some(*value);
                    }
                }
            }
        }
        values.into_iter().map(|value| value.ok_or(HookError::NoObjective)).collect()
    }
}

/// The classes "match" and "no match", of a subject that says classes of texts.
fn fitting(subject: &dyn Subject) -> Option<[u32; 2]> {
    let reads = kind::publishes(subject, Part::Text, Point::Embed) && kind::classifies(subject);
    let class = |name: &str| aim::token(subject, name).ok();
    if reads { Some([class("match")?, class("no match")?]) } else { None }
}
