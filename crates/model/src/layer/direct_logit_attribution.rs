//! Direct logit attribution: how much of the answer's logit does each head, each MLP and the embedding write by itself?
//!
//! # Idea
//! What the last norm reads is a sum: `x = embedding + sum over layers of (attention + MLP)`. A norm is not linear, but with its
//! scale `s` held at what it is in this pass it is: with gain `g`, unembedding `u` of the target and `C` the subtraction of the mean
//! (layer norm; nothing for RMS norm), a term `c` of the sum has
//!
//! ```text
//! share(c) = u . ( g * C(c) / s ),     logit = sum of shares + u . (bias of the norm) + bias of the unembedding
//! ```
//!
//! Attention is the sum of its heads and an MLP that of its neurons, `z W_O` and `post W_down` by parts, so that their shares add up
//! in turn. For a difference of two logits, `u` is the difference of both. Of a phrase the shares of its tokens are added, each at the
//! position that decides it. A log-probability is its logit less what depends on all other tokens: its logit is shared out.
//!
//! A tower is asked in the same way where its states are read out: the class logits of a classifier, at its class token; and of a dual encoder how well
//! picture and caption fit. There `u` is what the projection makes of the caption's vector, divided by the length of the picture's, which is held too:
//!
//! ```text
//! share(c) = scale / |e| (W^T t) . ( g * C(c) / s ),     e = W norm(x) the picture's vector, t the caption's, of length one
//! ```
//!
//! Of its text tower the same holds with the parts exchanged: shares are those at the position whose vector the caption is, and the other of two captions is a
//! constant, `the other caption`.
//!
//! A tower before a language model has no logit of its own, and what its heads write passes through attention and MLPs that are not linear: it is refused.
//! There [`attribution_patching`](super::attribution_patching) scores heads, with the same `part`.
//!
//! # In and out
//! In: a [`Case`] of one row, whose objective is a logit, a log-probability, those of a phrase, or a difference of two logits; of a dual encoder a similarity,
//! a cosine or one caption against another. Units are those of the objective. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `layers` | layer, component | logit | what attention and MLP of each layer write; `deepstack` where a tower adds to the stream behind it |
//! | `heads` | layer, head | logit | what each head writes |
//! | `outside the layers` | component | logit | the embedding at the position read (an image position: its feature; of a tower its class token with its position), learned `positions`, biases |
//! | `logit` | | logit | what is shared out, before the cap of Gemma 2; of a cosine it is called `cosine` |
//! | `gap` | | logit | `logit` less `layers` and `outside the layers`: rounding |
//! | `objective` | | logit | what the model says, behind its cap |
//! | `log-probability` | | log probability | what was asked for, where that is one |
//! | `biases` | layer, component | logit | biases of attention's output and of the MLP's: what their heads and neurons leave over |
//! | `neurons` | neuron | logit | the neurons of largest share, as `layer.neuron` |
//!
//! Shares are those at the position where the answer is read, of a tower at its class token, of the row's first picture. What other positions hold arrives there through
//! heads.
//!
//! # Settings
//! - `part`: the one that the answer is given by: by default the language model, of a dual encoder the image tower, or the
//!   text tower where attention pools the patches (SigLIP), and the tower where there is no other.
//! - `by_head`: true.
//! - `neurons`: 0. So many neurons, those of largest share of either sign in all layers.
//!
//! # Cost
//! One forward pass, of a text tower one before it that finds the position; of which one position is kept at each layer; for each layer products of one vector with `W_O`, and with
//! `W_down` if neurons are asked for. Peak memory: that of the pass.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for an objective that is no logit (no similarity), a case of several rows, a part that shows no weights, is not read out or
//! whose stream is no running sum, a tower that is not read at a class token, a standing edit of the stream, or of what heads (neurons) add up to while these are asked
//! for; [`AnalysisError::Subject`] for a target outside the vocabulary; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - It sees what is written for the logit, not what other layers make of it: a head that matters through later heads has no share
//!   (Wang et al. 2023, "Interpretability in the Wild").
//! - Later layers may erase what earlier ones write; shares of both signs then cancel, and ablating either changes little (McGrath
//!   et al. 2023, "The Hydra Effect").
//! - The scale is held: a term that changes it for all others is not told so. Where every vocabulary entry moves alike, the softmax
//!   does not see it: prefer the difference of two logits.
//! - Gemma 2 norms what attention and MLP write before it is added. That scale is held, too, so that heads add up; a large
//!   head shrinks the others through it. Its cap bends the logit behind everything shown here.
//!
//! # Agreement
//! Direct computation in torch 2.15 with the weights as published, in double precision, on `llava-a`, `gemma2-a` and `gpt2-a`: every
//! layer, head and neuron; largest difference relative to the largest value 1.6e-6 for neurons, 3.3e-7 for heads, 1.1e-6 for
//! layers; so in the towers of `clip-a` and `vit-a`, 6.0e-7 at most. Identities tested in every decoder and in towers: shares sum to the logit; heads and bias to attention; neurons and bias to the MLP.
//!
//! # Reference
//! Elhage et al.: A Mathematical Framework for Transformer Circuits. 2021.
//! <https://transformer-circuits.pub/2021/framework/index.html>; nostalgebraist 2020 for the read-out. TransformerLens folds the
//! gain and centres the weights first; here they are used as published, which gives the same shares but for the mean over the
//! vocabulary that centring takes off the unembedding.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::{DirectLogitAttribution, direct_logit_attribution::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let shares = DirectLogitAttribution::new(Settings { neurons: 10, ..Settings::default() })?;
//! let finding = shares.run(subject, case)?;
//! println!("{:?}", finding.table("heads")?.get(&[1, 3]));
//! # Ok(())
//! # }
//! ```

mod sought;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mmlens_core::finding::{Axis, Labelled, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Case, Copies, Cost, HookError, Inputs,
    Leaf, Need, Objective, On, Part, Plan, Point, Site, Subject, Trace, WeightKind, kind,
};
use mmlens_engine::{Progress, Projection, Pulled, Spoken, numbers, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{input, passes_of_reading};
use sought::{ReadOut, Sought, Stream, said};

/// What this method is.
pub const CARD: Card = Card {
    id: "direct-logit-attribution",
    short: "dla",
    name: "Direct logit attribution",
    question: "How much of the answer's logit does each head, each MLP and the embedding write by itself?",
    citation: "Elhage et al.: A Mathematical Framework for Transformer Circuits. 2021. https://transformer-circuits.pub/2021/framework/index.html",
    leaf: Leaf::Layer,
    cost: "1 forward, 1 product with each output projection",
    needs: &[Capability::DirectShares],
    misleads: &[
        "It sees what is written for the logit, not what later layers make of it.",
        "Shares of both signs cancel where later layers erase what earlier ones write.",
        "The scale of the last norm is held at what it is in this pass.",
        "Much of a logit is what every token is given: without a logit difference it says little.",
    ],
    first: false,
};

/// What is shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the one that the answer is given by.
    pub part: Option<Part>,
    /// Whether attention is taken apart into heads.
    pub by_head: bool,
    /// How many neurons, those of largest share.
    pub neurons: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part: None, by_head: true, neurons: 0 }
    }
}

/// Direct logit attribution with its settings.
#[derive(Debug, Clone, Default)]
pub struct DirectLogitAttribution {
    settings: Settings,
}

impl Analysis for DirectLogitAttribution {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        one_row(CARD.id, &inputs)?;
        let plan = Plan::new().objective(on.form(case, &inputs)?);
        let stream = Stream::of(on.subject(), &inputs, self.settings.part)?;
        let sites = self.sites(on.subject(), &stream);
        let need = taken(on, &inputs, &plan, &sites)?;
        let objective = on.form(case, &inputs)?;
        let found = if stream.class.is_none() { passes_of_reading(on.subject(), &objective) } else { 0 };
        Ok(Cost::rows(case.settling() + 1 + found).taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        one_row(CARD.id, &inputs)?;
        let stream = Stream::of(subject, &inputs, self.settings.part)?;
        let Sought { logits, places, log } = Sought::of(subject, &inputs, &stream, &objective)?;
        self.unedited(subject, &stream)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + stream.layers * places.len());
        let mut sites = self.sites(subject, &stream);
        let at: Vec<usize> = places.iter().map(|(at, _)| *at).collect();
        let (states, trace) = states(on, &inputs, &stream, (&logits, &objective), (&sites, &at))?;
        progress.advance(1)?;
        let mut each = Vec::with_capacity(places.len());
        for (states, (at, target)) in states.iter().zip(&places) {
            let end = ReadOut::new(subject, &stream, (target, &logits), &trace, &states.stream(&stream)?)?;
            each.push(self.shares(subject, &stream, (states, *at), end, &mut progress)?);
        }
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let unit = logits.unit();
        let whole = self.tables(Shares::sum(&each), unit, said(&logits, &trace)?);
        let of_token = |(own, token): (&Shares, &Objective)| {
            let logit = Sought::of(subject, &inputs, &stream, token)?.logits;
            self.tables(own.clone(), unit, said(&logit, &trace)?)
        };
        let tokens = each.iter().zip(spoken.objectives()).map(of_token);
        let mut tables = spoken.with_each(std::iter::once(whole).chain(tokens))?;
        if log {
            // Of which the logits are what can be shared out.
            tables.push(Labelled::scalar("log-probability", Unit::LogProbability, said(&objective, &trace)?));
        }
        sites.extend(stream.compared());
        let answer = Answer::new(tables, sites).explaining(&logits);
        Ok(answer.settled("part", json!(stream.part)))
    }
}

impl DirectLogitAttribution {
    /// What every part of the pass adds to the logits of some tokens at one position.
    fn shares(
        &self,
        subject: &dyn Subject,
        stream: &Stream,
        (states, at): (&States, usize),
        end: ReadOut,
        progress: &mut Progress<'_>,
    ) -> Result<Shares, AnalysisError> {
        let mut written = Written::default();
        for layer in 0..stream.layers {
            let site = |point| stream.at(layer, point);
            let [attention, mlp] = [Point::AttnOut, Point::MlpOut].map(site);
            written.layers.extend([end.share(states.get(attention)?), end.share(states.get(mlp)?)]);
            if states.has(site(Point::Deepstack)) {
                written.deepstack.insert(layer, end.share(states.get(site(Point::Deepstack))?));
            }
            let mut biases = [None, None];
            if self.settings.by_head {
                let (z, pulled) = pulled(subject, states, (site(Point::Z), attention), &end)?;
                let width = z.len().checked_div(heads(subject, stream.part)).unwrap_or(0).max(1);
                let each = z.chunks(width).zip(pulled.along.chunks(width));
                written.heads.extend(each.map(|(z, along)| product(along, z)));
                biases[0] = pulled.constant;
            }
            if self.settings.neurons > 0 {
                let (post, pulled) = pulled(subject, states, (site(Point::MlpPost), mlp), &end)?;
                let each = post.iter().zip(&pulled.along).enumerate();
                written.neurons.extend(each.map(|(i, (post, d))| (layer, i, f64::from(*post) * d)));
                biases[1] = pulled.constant;
            }
            written.biases.push(biases);
            progress.advance(1)?;
        }
        let outside = outside(subject, stream.part, (states, at), &end)?;
        Ok(Shares { written, outside, logit: end.logit })
    }

    /// What is read of the pass: every term of the sum, the sum itself, and what heads and neurons are made of.
    fn sites(&self, subject: &dyn Subject, stream: &Stream) -> Vec<Site> {
        let mut sites = vec![Site::of(stream.part, Point::Input)];
        for layer in 0..stream.layers {
            let mut points = vec![Point::AttnOut, Point::MlpOut];
            points.extend(self.settings.by_head.then_some(Point::Z));
            points.extend((self.settings.neurons > 0).then_some(Point::MlpPost));
            points.extend((layer + 1 == stream.layers).then_some(Point::ResidPost));
            points.push(Point::Deepstack);
            let own = points.into_iter().map(|point| stream.at(layer, point));
            sites.extend(own.filter(|site| site.point() != Point::Deepstack || kind::has(subject, *site)));
        }
        sites.sort_unstable();
        sites
    }

    /// That the terms read are those that were summed: no standing edit lies between.
    fn unedited(&self, subject: &dyn Subject, stream: &Stream) -> Result<(), AnalysisError> {
        let (heads, neurons) = (self.settings.by_head, self.settings.neurons > 0);
        for site in subject.edited().iter().filter(|site| site.part() == stream.part) {
            let needs = match site.point() {
                Point::ResidPre | Point::ResidMid | Point::ResidPost | Point::FinalNorm => {
                    "a stream without standing edits"
                }
                Point::AttnOut | Point::Result if heads => {
                    "heads that add up to what attention writes, or `by_head` = false"
                }
                Point::MlpOut if neurons => "neurons that add up to what the MLP writes, or `neurons` = 0",
                _ => continue,
            };
            let found = match needs {
                "a stream without standing edits" => format!("`{site}` has one"),
                _ => format!("`{site}` has a standing edit"),
            };
            return Err(input(&CARD, needs, found));
        }
        Ok(())
    }

    fn tables(&self, shares: Shares, unit: Unit, said: f32) -> Result<Vec<Labelled>, AnalysisError> {
        let Shares { written, outside, logit } = shares;
        let Written { layers: shares, deepstack, heads, biases, mut neurons } = written;
        let layers = biases.len();
        let layer = || Axis::count(Role::Layer, layers);
        let components = |names: &[&str]| Axis::names(Role::Concept, names.iter().copied());
        let table = |name: &str, axes, values: Vec<f64>| {
            Labelled::numbers(name, unit, axes, values.into_iter().map(|v| v as f32).collect::<Vec<_>>())
        };
        let sum: f64 = shares.iter().chain(deepstack.values()).sum::<f64>()
            + outside.iter().map(|(_, share)| share).sum::<f64>();
        let mut names = vec!["attention", "MLP"];
        let mut values = shares;
        if !deepstack.is_empty() {
            names.push("deepstack");
            let rows = values.chunks(2).enumerate();
            values = rows
                .flat_map(|(layer, row)| {
                    // A layer behind which nothing is added adds nothing.
                    row.iter().copied().chain([deepstack.get(&layer).copied().unwrap_or(0.0)])
                })
                .collect();
        }
        let mut tables = vec![table("layers", vec![layer(), components(&names)], values)?];
        if self.settings.by_head {
            let head = Axis::count(Role::Head, heads.len().checked_div(layers).unwrap_or(0));
            tables.push(table("heads", vec![layer(), head], heads)?);
        }
        let (names, values): (Vec<_>, Vec<_>) = outside.into_iter().unzip();
        tables.push(table("outside the layers", vec![components(&names)], values)?);
        let name = if unit == Unit::Cosine { "cosine" } else { "logit" };
        tables.push(Labelled::scalar(name, unit, logit as f32));
        tables.push(Labelled::scalar("gap", unit, (logit - sum) as f32));
        tables.push(Labelled::scalar("objective", unit, said));
        if biases.iter().flatten().any(Option::is_some) {
            // A product without a bias adds nothing beside its heads or neurons.
            let values = biases.iter().flatten().map(|bias| bias.unwrap_or(0.0)).collect();
            tables.push(table("biases", vec![layer(), components(&["attention", "MLP"])], values)?.aside());
        }
        if self.settings.neurons > 0 {
            neurons.sort_by(|(.., a), (.., b)| b.abs().total_cmp(&a.abs())); // no NaN: states are finite
            neurons.truncate(self.settings.neurons);
            let names = neurons.iter().map(|(layer, neuron, _)| format!("{layer}.{neuron}"));
            let axis = Axis::names(Role::Neuron, names);
            tables.push(
                table("neurons", vec![axis], neurons.iter().map(|(.., share)| *share).collect())?.aside(),
            );
        }
        Ok(tables)
    }
}

/// What is added to the logits of some tokens.
#[derive(Clone)]
struct Shares {
    written: Written,
    /// What is in the sum beside the layers.
    outside: Vec<(&'static str, f64)>,
    logit: f64,
}

impl Shares {
    /// Those of several tokens together.
    fn sum(each: &[Self]) -> Self {
        let empty = Self { written: Written::default(), outside: Vec::new(), logit: 0.0 };
        let Some((first, others)) = each.split_first() else { return empty };
        let mut sum = first.clone();
        for other in others {
            sum.written.add(&other.written);
            sum.outside.iter_mut().zip(&other.outside).for_each(|((_, all), (_, own))| *all += own);
            sum.logit += other.logit;
        }
        sum
    }
}

/// Shares of what is written, layer after layer.
#[derive(Clone, Default)]
struct Written {
    /// Attention, MLP.
    layers: Vec<f64>,
    /// By the layer behind which something is added.
    deepstack: BTreeMap<usize, f64>,
    heads: Vec<f64>,
    /// Of attention and MLP, where they are taken apart.
    biases: Vec<[Option<f64>; 2]>,
    /// Layer, neuron, share.
    neurons: Vec<(usize, usize, f64)>,
}

impl Written {
    /// Adds what is written at another position of the same pass.
    fn add(&mut self, other: &Self) {
        let add = |all: &mut [f64], own: &[f64]| all.iter_mut().zip(own).for_each(|(all, own)| *all += own);
        add(&mut self.layers, &other.layers);
        add(&mut self.heads, &other.heads);
        for (layer, share) in &other.deepstack {
            *self.deepstack.entry(*layer).or_insert(0.0) += share;
        }
        for (all, own) in self.biases.iter_mut().flatten().zip(other.biases.iter().flatten()) {
            *all = all.zip(*own).map(|(all, own)| all + own);
        }
        self.neurons.iter_mut().zip(&other.neurons).for_each(|((.., all), (.., own))| *all += own);
    }
}

/// States of a position read, by the site where they stood.
struct States(BTreeMap<Site, Vec<f32>>);

impl States {
    fn has(&self, site: Site) -> bool {
        self.0.contains_key(&site)
    }

    fn get(&self, site: Site) -> Result<&[f32], HookError> {
        self.0.get(&site).map(Vec::as_slice).ok_or(HookError::NotRead(site))
    }

    /// What the last norm reads.
    fn stream(&self, of: &Stream) -> Result<Vec<f32>, HookError> {
        let last = |point| of.at(of.layers.saturating_sub(1), point);
        let mut stream = self.get(last(Point::ResidPost))?.to_vec();
        if self.has(last(Point::Deepstack)) {
            let added = self.get(last(Point::Deepstack))?;
            stream.iter_mut().zip(added).for_each(|(x, added)| *x += added);
        }
        Ok(stream)
    }
}

/// What the sites hold at some positions, in a pass to both objectives.
fn states(
    on: &On<'_>,
    inputs: &Inputs,
    stream: &Stream,
    (logits, objective): (&Objective, &Objective),
    (sites, at): (&[Site], &[usize]),
) -> Result<(Vec<States>, Trace), AnalysisError> {
    let kept = Arc::new(Mutex::new(BTreeMap::<(usize, Site), AnyTensor>::new()));
    let mut plan = Plan::new().objective(logits).also(objective);
    if let Some(site) = stream.compared() {
        plan = plan.read(site)?;
    }
    let picture = stream.class.map(|(picture, _)| picture);
    for &site in sites {
        let (kept, at) = (kept.clone(), at.to_vec());
        plan = plan.edit(site, move |x| {
            let own = picture.map_or_else(|| Ok(x.clone()), |picture| x.rows(picture, 1))?;
            for (place, at) in at.iter().enumerate() {
                let state = own.part(1, *at, 1)?;
                kept.lock().unwrap_or_else(PoisonError::into_inner).insert((place, site), state);
            }
            Ok(x)
        })?;
    }
    on.memory().hold(CARD.id, 0, taken(on, inputs, &plan, sites)?)?;
    let trace = on.subject().run(inputs, plan)?;
    let mut states: Vec<States> = at.iter().map(|_| States(BTreeMap::new())).collect();
    let held = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
    for ((place, site), x) in held {
        let own = states.get_mut(place).ok_or(HookError::NotRead(site))?;
        own.0.insert(site, x.finite_values(site)?);
    }
    Ok((states, trace))
}

/// What the pass takes: a state of one position keeps the values of all.
fn taken(on: &On<'_>, inputs: &Inputs, plan: &Plan, sites: &[Site]) -> Result<Need, HookError> {
    let need = on.subject().need(inputs, plan, Copies::ONE)?;
    Ok(need.and(numbers(on.subject(), inputs, sites)?))
}

/// What a product reads at the position, and the direction of the logit taken back through it.
fn pulled<'a>(
    subject: &dyn Subject,
    states: &'a States,
    (from, to): (Site, Site),
    end: &ReadOut,
) -> Result<(&'a [f32], Pulled), AnalysisError> {
    let read = states.get(from)?;
    let lacking = || {
        let found = format!("none is linear between `{from}` and `{to}`");
        input(&CARD, "the weights of output projections", found)
    };
    let projection = Projection::between(subject, from, to)?.ok_or_else(lacking)?;
    let pulled = projection.pulled(read, end.along())?.ok_or_else(lacking)?;
    Ok((read, pulled))
}

/// What is in the sum beside the layers, and what is added behind it.
fn outside(
    subject: &dyn Subject,
    part: Part,
    (states, at): (&States, usize),
    end: &ReadOut,
) -> Result<Vec<(&'static str, f64)>, AnalysisError> {
    let entered = Site::of(part, Point::Input);
    let table = subject.weights().iter().find(|spec| {
        spec.kind == WeightKind::Table && spec.writes.as_ref().is_some_and(|port| port.site == entered)
    });
    let whole = end.share(states.get(entered)?);
    let mut all = vec![("embedding", whole)];
    if let Some(table) = table {
        let learned = end.share(&subject.weight(&table.name)?.rows(at, 1)?.to_values()?);
        all = vec![("embedding", whole - learned), ("positions", learned)];
    }
    all.extend(end.biases.iter().copied());
    Ok(all)
}

fn heads(subject: &dyn Subject, part: Part) -> usize {
    subject.anatomy().iter().find(|own| own.part == part).map_or(0, |own| own.heads)
}

fn product(along: &[f64], term: &[f32]) -> f64 {
    along.iter().zip(term).map(|(d, x)| d * f64::from(*x)).sum()
}
