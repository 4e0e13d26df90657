//! Multimodal neurons: which neurons turn what is seen into a word, and where in the picture do they fire?
//!
//! # Idea
//! With `a[l, u, i]` what neuron `u` of layer `l` holds at position `i`, `w[l, u]` its value vector, `U[c]` the row of the unembedding that reads
//! word `c`, and `i(c)` the position at which `c` is decided,
//!
//! ```text
//! by weights:   score[l, u] = sum over words c explained of a[l, u, i(c)] (w[l, u] . U[c])
//! by gradients: score[l, u] = sum over positions i that show a picture of a[l, u, i] df / da[l, u, i],    f: what is explained
//! map[i]        = mean over the `top` neurons of largest score of a[l, u, i], at positions that show a picture
//! ```
//!
//! Of a difference of two logits the second word counts with a minus. Neurons are ranked by their score, of equal ones the earlier first.
//!
//! # In and out
//! In: a [`Case`] with a picture. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `map` | token | activation | where in the picture the neurons fire |
//! | `mask` | token | ratio | 1 where `map` is above its 0.95 quantile (between two values in proportion) |
//! | `scores` | neuron | logit, or that of the objective | of the `top` neurons, `layer.neuron` |
//! | `words`, `logits` | neuron, rank | text, logit | the words each writes, and their logits per unit of activation |
//! | `says it` | neuron | ratio | 1 where a word explained is among these |
//! | `score` | layer, neuron | logit, or that of the objective | of all |
//! | `share of the top`, `even share` | | ratio | what the `top` neurons have of the sum of all scores above zero; were these alike, `top` over their number |
//! | `map of others` | token | activation | that of as many other neurons of the same layers, drawn by chance |
//!
//! # Settings
//! - `by`: `weights`; `gradients` sees what later layers make of a neuron too.
//! - `layers`: all, or some by number ([`Indices`]); `top`: 10 neurons; `words`: 10.
//! - `fold`: `none`, as the reference; `norm`, with the gain of the last norm ([`Fold`]). It concerns `by` weights, and the words.
//! - `seed`: 0, of other neurons.
//!
//! # Cost
//! One pass that settles the likeliest token, where that is explained; by weights one to the last of the layers (more where not all fit
//! at once), by gradients one with its gradient; then one more of the same for the maps. Memory: by gradients twice what the
//! neurons of all layers chosen hold.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no neurons or words. Running: [`AnalysisError::Input`] for a subject without pictures, gradients, where
//! they are asked for, or weights of its language model, a sample without a picture, an objective that is no logit, log-probability or
//! difference of logits; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A large score is large for many words: see `words`, and the score for another word.
//! - Neurons of the last layers win by weights, since nothing comes behind them that could undo what they write.
//! - Where neurons fire is where the stream is long, for any of them: compare `map` with `map of others`; a caution says when they agree.
//! - Positions of a decoder that show a picture have seen all patches before them.
//!
//! # Agreement
//! torch on transformers' `llava-a` and `smolvlm-a` (a picture in tiles), with autograd for gradients: ranked neurons equal, scores and maps within 3e-6 of the largest. Identities
//! tested: by weights, scores of all neurons of all layers are what their MLPs' outputs add to the logit, read without the last norm; the score
//! for a difference is the difference of scores.
//!
//! # Reference
//! Pan et al.: Finding and Editing Multi-Modal Neurons in Pre-Trained Transformers. ACL Findings 2024. <https://arxiv.org/abs/2311.07470>
//! (by weights, the mask at 95 %); Schwettmann et al.: Multimodal Neurons in Pretrained Text-Only Transformers. ICCV Workshops 2023.
//! <https://arxiv.org/abs/2308.01544> (by gradients). There maps are smoothed to the size of the picture; here they are what patches have.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::MultimodalNeurons;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = MultimodalNeurons::default().run(subject, case)?;
//! println!("{:?}", finding.table("words")?.as_texts());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Copies, Cost, HookError, Inputs, Leaf, Listed,
    Objective, On, Part, Plan, Point, Seed, Site, Subject,
};
use mmlens_engine::distribution::largest;
use mmlens_engine::{
    Fold, Indices, NeuronAt, Neurons, Positions, Progress, Unembedding, label, one_row, quantile, shuffled,
};
use serde::{Deserialize, Serialize};

use super::written::{Written, value_vectors};
use crate::check::{at_least_one, input};

/// What this method is.
pub const CARD: Card = Card {
    id: "multimodal-neurons",
    short: "multimodal",
    name: "Multimodal neurons",
    question: "Which neurons turn what is seen into a word, and where in the picture do they fire?",
    citation: "Pan et al.: Finding and Editing Multi-Modal Neurons in Pre-Trained Transformers. ACL Findings 2024. https://arxiv.org/abs/2311.07470",
    leaf: Leaf::Neuron,
    cost: "2 forward; by gradients 1 forward and 1 backward",
    needs: &[
        Capability::Neurons,
        Capability::Perception,
        Capability::Blocks(Part::Text),
        Capability::RunningSum(Part::Text),
        Capability::ReadOut(Part::Text),
        Capability::Unembedding,
    ],
    misleads: &[
        "A large score is large for many words.",
        "By weights neurons of the last layers win, since nothing behind them undoes what they write.",
        "Any neurons may fire there: compare with the map of others.",
    ],
    first: false,
};

/// Maps that agree more than this with those of other neurons are cautioned of.
const ALIKE: f64 = 0.9;
/// The quantile above which a map is masked.
const MASKED: f64 = 0.95;

/// What a score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// What the neuron writes for the word.
    #[default]
    Weights,
    /// What is explained gains by it at the picture.
    Gradients,
}

/// How neurons are found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What a score is made of.
    pub by: By,
    /// In which layers.
    pub layers: Indices,
    /// How many neurons.
    pub top: usize,
    /// How many words of each.
    pub words: usize,
    /// What becomes of a value vector in front of the unembedding.
    pub fold: Fold,
    /// The seed of other neurons.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { by: By::Weights, layers: Indices::All, top: 10, words: 10, fold: Fold::None, seed: Seed(0) }
    }
}

/// Multimodal neurons with checked settings.
#[derive(Debug, Clone, Default)]
pub struct MultimodalNeurons {
    settings: Settings,
}

/// Words explained, each with the position at which it is decided, counted among those that the answer is read at, and its sign.
type Terms = Vec<(usize, u32, f64)>;

impl Analysis for MultimodalNeurons {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "top", settings.top)?;
        at_least_one(&CARD, "words", settings.words)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let written = Written::of(&CARD, on, case, &self.settings.layers)?;
        let inputs = written.inputs(on)?;
        terms(written.objective())?;
        let cases = std::slice::from_ref(case);
        let all = 0..written.neurons.layers().len();
        let maps = self.pictured(on, &inputs)?;
        let maps = maps.cost((on, CARD.id), &Listed::new("case", cases), &[(all, 0)])?;
        let scores = match self.settings.by {
            By::Weights => written.cost(on)?,
            By::Gradients => {
                let need = on.subject().need(
                    &inputs,
                    &self.gradients(&written, written.objective())?,
                    Copies::ONE,
                )?;
                Cost::rows(1).with_gradients(1).taking(need.bytes, on.memory().budget())
            }
        };
        Ok(Cost {
            forward: scores.forward + maps.forward + case.settling() as u64,
            backward: scores.backward,
            bytes: scores.bytes.max(maps.bytes), // no NaN: whole numbers
        })
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, Settings { by, top, .. }) = (on.subject(), self.settings.clone());
        let written = Written::of(&CARD, on, case, &self.settings.layers)?;
        let (inputs, objective) = on.open(case)?;
        let terms = terms(&objective)?;
        let pictured = self.pictured(on, &inputs)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 2);
        let scores: Vec<Vec<f64>> = match by {
            By::Weights => {
                let held = written.rows(on, &mut progress)?;
                self.by_weights(subject, &written, (&held, &terms))?
            }
            By::Gradients => {
                let scores = self.by_gradients(on, &written, (&inputs, &objective))?;
                progress.advance(1)?;
                scores
            }
        };
        let scores = scores.concat();
        let neurons = &written.neurons;
        let best: Vec<usize> = largest(&scores, top).into_iter().map(|(unit, _)| unit).collect();
        let others = self.others(neurons, &best);
        let maps = maps(on, case, (&pictured, [&best, &others]), &mut progress)?;
        let unit = if by == By::Weights { Unit::Logit } else { objective.unit() };
        let found = Found { scores, best, maps, unit, terms };
        let tables = self.tables(subject, &inputs, neurons, &found)?;
        let caution = alike(&found.maps);
        let answer = Answer::new(tables, neurons.sites().iter().copied()).explaining(&objective);
        Ok(answer.seeded(self.settings.seed).cautioned(caution))
    }
}

struct Found {
    /// Of every neuron, layer after layer.
    scores: Vec<f64>,
    best: Vec<usize>,
    /// Of the best, and of others.
    maps: [Vec<f64>; 2],
    unit: Unit,
    terms: Terms,
}

/// The logits that an objective is the sum of.
fn terms(objective: &Objective) -> Result<Terms, AnalysisError> {
    match objective {
        Objective::Logit { token, .. } | Objective::LogProbability { token, .. } => {
            Ok(vec![(0, *token, 1.0)])
        }
        Objective::LogitDifference { token, against, .. } => Ok(vec![(0, *token, 1.0), (0, *against, -1.0)]),
        Objective::Span { tokens, measure, .. } if *measure != mmlens_core::Measure::Probability => {
            Ok(tokens.iter().enumerate().map(|(at, token)| (at, *token, 1.0)).collect())
        }
        _ => {
            let needs = "an objective that is a logit, a log-probability, or a difference of two logits";
            Err(input(&CARD, needs, format!("this one is the {objective}")))
        }
    }
}

impl MultimodalNeurons {
    /// The neurons where the prompt shows pictures, or plays recordings.
    fn pictured(&self, on: &On<'_>, inputs: &Inputs) -> Result<Neurons, AnalysisError> {
        let map = one_row(CARD.id, inputs)?;
        let positions = Positions::perceived(map);
        positions.chosen(CARD.id, map)?;
        Neurons::of((on, CARD.id), (Part::Text, Point::MlpPost), &self.settings.layers, &positions)
    }

    fn by_weights(
        &self,
        subject: &dyn Subject,
        written: &Written<'_>,
        (held, terms): (&[Vec<f32>], &Terms),
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let width = written.neurons.width();
        let unembedding = unembedding(subject)?;
        let mut scores = Vec::new();
        for (layer, rows) in written.neurons.layers().iter().zip(held) {
            let vectors = value_vectors(&CARD, subject, *layer)?;
            let mut own = vec![0.0; width];
            for (place, token, sign) in terms {
                let reader = unembedding.reader(*token as usize, self.settings.fold)?;
                let row = rows.get(place * width..(place + 1) * width);
                let row = row.ok_or(HookError::Values { dims: vec![place + 1, width], given: rows.len() })?;
                let along = vectors.along(&reader)?;
                for (score, (held, along)) in own.iter_mut().zip(row.iter().zip(along)) {
                    *score += sign * f64::from(*held) * f64::from(along);
                }
            }
            scores.push(own);
        }
        Ok(scores)
    }

    fn gradients(&self, written: &Written<'_>, objective: &Objective) -> Result<Plan, HookError> {
        let plan = Plan::new().objective(objective);
        written.neurons.sites().iter().try_fold(plan, |plan, site| plan.read(*site)?.grad(*site))
    }

    fn by_gradients(
        &self,
        on: &On<'_>,
        written: &Written<'_>,
        (inputs, objective): (&Inputs, &Objective),
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let subject = on.subject();
        Capability::Gradients.check(&CARD, subject)?;
        let plan = self.gradients(written, objective)?;
        on.memory().hold(CARD.id, 0, subject.need(inputs, &plan, Copies::ONE)?)?;
        let trace = subject.run(inputs, plan)?;
        let map = one_row(CARD.id, inputs)?;
        let places = Positions::perceived(map).chosen(CARD.id, map)?;
        let width = written.neurons.width();
        let one = |site: Site| -> Result<Vec<f64>, AnalysisError> {
            let (held, gradient) =
                (trace.get(site)?.finite_values(site)?, trace.grad(site)?.finite_values(site)?);
            let mut own = vec![0.0; width];
            for place in &places {
                let rows = held.iter().zip(&gradient).skip(place * width).take(width);
                own.iter_mut().zip(rows).for_each(|(sum, (a, d))| *sum += f64::from(*a) * f64::from(*d));
            }
            Ok(own)
        };
        written.neurons.sites().iter().map(|site| one(*site)).collect()
    }

    /// As many other neurons, of each layer as many as there are of the best.
    fn others(&self, neurons: &Neurons, best: &[usize]) -> Vec<usize> {
        let (width, mut others) = (neurons.width().max(1), Vec::new());
        for layer in 0..neurons.layers().len() {
            let own = best.iter().filter(|unit| **unit / width == layer).count();
            let free = shuffled(width, self.settings.seed.at(layer as u64)).into_iter();
            let free = free.map(|neuron| layer * width + neuron).filter(|unit| !best.contains(unit));
            others.extend(free.take(own));
        }
        others
    }

    fn tables(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        neurons: &Neurons,
        found: &Found,
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let Settings { words, fold, .. } = self.settings;
        let Found { scores, best, maps: [map, others], unit, terms } = found;
        let token_map = one_row(CARD.id, inputs)?;
        let places = Positions::perceived(token_map).chosen(CARD.id, token_map)?;
        let seen = label::token_axis_at(token_map, &places);
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let mut sorted = narrow(map);
        sorted.sort_unstable_by(f32::total_cmp); // no NaN: what is read is finite
        let above = quantile(&sorted, MASKED).unwrap_or(f64::INFINITY);
        let mask =
            narrow(map).into_iter().map(|value| if f64::from(value) > above { 1.0 } else { 0.0 }).collect();
        let names: Vec<NeuronAt> = best.iter().map(|unit| neurons.named(*unit)).collect();
        let axis = Axis::names(Role::Neuron, names.iter().map(ToString::to_string));
        let unembedding = unembedding(subject)?;
        let count = unembedding.words().min(words);
        let (mut said, mut logits, mut says) = (Vec::new(), Vec::new(), Vec::new());
        for at in &names {
            let vector = value_vectors(&CARD, subject, at.layer)?.some(&[at.neuron])?;
            let row: Vec<f64> = unembedding.logits(&vector, fold)?.into_iter().map(f64::from).collect();
            let own = largest(&row, words);
            let named =
                |word: usize| terms.iter().any(|(_, token, sign)| *token as usize == word && *sign > 0.0);
            says.push(if own.iter().any(|(word, _)| named(*word)) { 1.0 } else { 0.0 });
            said.extend(own.iter().map(|(word, _)| subject.token(*word as u32)));
            logits.extend(own.iter().map(|(_, logit)| *logit as f32));
        }
        let positive: Vec<f64> = scores.iter().copied().filter(|score| *score > 0.0).collect();
        let total: f64 = positive.iter().sum();
        let of = |unit: &usize| scores.get(*unit).copied().unwrap_or(0.0);
        let top: f64 = best.iter().map(of).filter(|score| *score > 0.0).sum();
        let share = if total > 0.0 { top / total } else { 0.0 };
        let even = best.len().min(positive.len()) as f64 / positive.len().max(1) as f64;
        let ranked = vec![axis.clone(), Axis::count(Role::Rank, count)];
        let table = |name: &str, unit, axes, values| Labelled::numbers(name, unit, axes, values);
        let best: Vec<f64> = best.iter().map(of).collect();
        Ok(vec![
            table("map", Unit::Activation, vec![seen.clone()], narrow(map))?,
            table("scores", *unit, vec![axis.clone()], narrow(&best))?,
            Labelled::texts("words", ranked.clone(), said)?,
            table("logits", Unit::Logit, ranked, logits)?,
            table("says it", Unit::Ratio, vec![axis], says)?,
            Labelled::scalar("share of the top", Unit::Ratio, share as f32),
            Labelled::scalar("even share", Unit::Ratio, even as f32),
            table("map of others", Unit::Activation, vec![seen.clone()], narrow(others))?,
            table("mask", Unit::Ratio, vec![seen], mask)?.aside(),
            table("score", *unit, neurons.axes().to_vec(), narrow(scores))?.aside(),
        ])
    }
}

fn unembedding(subject: &dyn Subject) -> Result<Unembedding, AnalysisError> {
    let lacking = || {
        input(
            &CARD,
            "the weights that read the stream",
            "there is no unembedding behind the last norm among them",
        )
    };
    Unembedding::of(subject)?.ok_or_else(lacking)
}

/// What neurons hold in the mean at the positions that show pictures, of each of some groups.
fn maps(
    on: &On<'_>,
    case: &Case,
    (pictured, groups): (&Neurons, [&[usize]; 2]),
    progress: &mut Progress<'_>,
) -> Result<[Vec<f64>; 2], AnalysisError> {
    let (width, cases) = (pictured.width(), std::slice::from_ref(case));
    let mut maps: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let all = (0..pictured.layers().len(), 0);
    pictured.scan((on, CARD.id), &Listed::new("case", cases), all, progress, &mut |_, layer, held| {
        for (map, group) in maps.iter_mut().zip(groups) {
            map.resize(held.places.len(), 0.0);
            let own = group.iter().filter(|unit| **unit / width == layer).map(|unit| unit % width);
            for neuron in own {
                let values = held.values.iter().skip(neuron).step_by(width);
                map.iter_mut().zip(values).for_each(|(sum, x)| *sum += f64::from(*x) / group.len() as f64);
            }
        }
        Ok(())
    })?;
    Ok(maps)
}

/// That other neurons have much the same map.
fn alike([map, others]: &[Vec<f64>; 2]) -> Option<Caution> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (a, b) = (mean(map), mean(others));
    let product = |x: &[f64], (y, of): (&[f64], f64), own: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - own) * (y - of)).sum()
    };
    let (both, one, two) =
        (product(map, (others, b), a), product(map, (map, a), a), product(others, (others, b), b));
    let correlation = both / (one * two).sqrt();
    (correlation > ALIKE).then(|| {
        let text = format!(
            "other neurons of the same layers have much the same map (a correlation of {correlation:.2}): where they fire says little of these"
        );
        Caution::new(CautionKind::Chance, correlation as f32, text)
    })
}
