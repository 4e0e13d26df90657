//! Which connections between heads and MLPs carry the answer: who speaks to whom?
//!
//! # Idea
//! Heads and MLPs write to the residual stream, and each later head (its query, key and value apart), each later MLP and the
//! logits read the sum. Let `u` write `w`, and let `v` read a copy `x_v` of the stream of its own, before the norm in front
//! of it. Putting what `u` writes in the clean run into that copy alone changes the objective `f`, to first order, by
//!
//! ```text
//! edge(u, v) = (w_clean - w_corrupted) . df/dx_v        summed over positions
//! ```
//!
//! The gradient is that through `v` alone and contains the derivative of the norm.
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `edges` | concept, concept | objective | sender, receiver; zero where the sender comes later |
//! | `senders` | concept | objective | sum over the receivers: what attribution patching gives the sender |
//! | `receivers` | concept | objective | sum over the senders |
//! | `strongest` | concept | objective | the edges of largest absolute value, in their order |
//! | `clean`, `corrupted` | | objective | `f` of both runs |
//!
//! Senders are `input` (what enters block 0), heads `0.h3`, MLPs `0.mlp`, and what a tower adds after a block
//! (`0.deepstack`). Receivers are `1.q3`, `1.k0`, `1.v0` (grouped attention: the KV heads), `1.mlp` and `logits`;
//! of a tower the last of them is `out`, which stands for all that reads what leaves it: the connector and the words behind it, or the last norm and the projection or the
//! classifier. Positions are summed over, of a tower those of all its pictures and tiles.
//!
//! # Settings
//! - `part`: by default the language model, `text`, and the tower where there is none, its stream is no running sum, or an encoder of its own reads
//!   the words; or a part by its name. Of a tower the blocks that an answer is read from (of a LLaVA all but the last).
//! - `between`: [`Between::Corrupted`]; with [`Between::Path`] this is EAP-IG, the gradient averaged over places between both
//!   prompts, which the authors find more faithful; [`Between::Clean`] is the original's choice.
//! - `top`: 20 edges in `strongest`.
//! - `blocks`: 8. So many blocks' senders, and so many blocks' receivers, are held at once, or fewer, as memory allows
//!   ([`On::within`](mmlens_core::On::within)).
//! - `rows`: 4 places of a path share a pass, or fewer; one of a tower that packs its pictures into one sequence. Along a path into a tower the words stay those
//!   of the corrupted prompt.
//!
//! # Cost
//! Two forward passes; for every `blocks` blocks, `n` of them, one forward and backward pass (`steps` along a path) and up to
//! `2 n` forward passes of `blocks` blocks. Peak memory: `blocks x (2 heads + 2 kv_heads + 2)` copies of the stream, and what
//! a backward pass keeps of them.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no blocks, edges or rows. Running: [`AnalysisError::Input`] for prompts of
//! different length or with pictures at different positions, several rows, a part whose heads do not add up to
//! what attention adds to the stream (a norm follows, as in Gemma 2), whose stream is no running sum or one with cross-attention, a tower without a picture, or one that is read behind
//! several of its blocks, whose stream has readers in the middle that no copy is given to (of these [`attribution_patching`](super::attribution_patching) scores nodes);
//! [`AnalysisError::Subject`] for a subject without the sites; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - It is a first-order guess, worst where attention is saturated; without a path the gradient may vanish there (Hanna et
//!   al. 2024; Kramár et al. 2024, "AtP*"). Check strong edges by path patching.
//! - An edge's score holds with all other edges corrupted (or clean): edges that back each other up look weak.
//! - Many weak edges in sum can carry more than the strongest: a circuit found by the largest scores must be tested for
//!   faithfulness (Syed et al. 2024).
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a` (6 heads, 2 KV heads), in which every reader is given a copy of the stream:
//! gradients at either run and along a path of 5 places: largest difference relative to the largest edge 1.1e-6; in its tower 1.5e-6. Identities
//! tested, in decoders and towers: the edges out of a sender sum to its score by attribution patching; on a straight subject an edge is what
//! path patching gives; the same for any `blocks` and `rows`.
//!
//! # Reference
//! Syed, Rager, Conmy: Attribution Patching Outperforms Automated Circuit Discovery. BlackboxNLP 2024.
//! <https://arxiv.org/abs/2310.10348>; Hanna, Pezzelle, Belinkov: Have Faith in Faithfulness. COLM 2024.
//! <https://arxiv.org/abs/2403.17806>. There scores have the sign of a loss; here a positive one speaks for the clean
//! answer.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_model::{EdgeAttribution, edge_attribution::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = EdgeAttribution::new(Settings::default())?.run(subject, pair)?;
//! println!("{:?}", finding.table("strongest")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::finding::{Axis, Labelled, Mismatch, Role, Tolerance};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Copies, Cost, HookError, Inputs, Leaf,
    Memory, Need, On, Pair, Part, Plan, Point, Site, Subject, Trace,
};
use mmlens_engine::{
    Between, Circuit, Contrast, OpenPair, Progress, Prompts, Receiver, Sender, Stacked, as_vector, batches,
    by_head, feeds, less, numbers, products, score, summed,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{at_least_one, input, part_of_sums};
use crate::sequence::Sequence;

/// What this method is.
pub const CARD: Card = Card {
    id: "edge-attribution",
    short: "edges",
    name: "Edge attribution patching",
    question: "Which connections between heads and MLPs carry the answer: who speaks to whom?",
    citation: "Syed, Rager, Conmy: Attribution Patching Outperforms Automated Circuit Discovery. BlackboxNLP 2024. https://arxiv.org/abs/2310.10348",
    leaf: Leaf::Layer,
    cost: "2 forward + (forward + backward) for every 8 blocks; along a path, steps times the latter",
    needs: &[
        Capability::AnyBlocks,
        Capability::AnyRunningSum,
        Capability::AnyPlainHeads,
        Capability::Gradients,
    ],
    misleads: &[
        "It is a first-order guess, worst where attention is saturated.",
        "Edges that back each other up look weak.",
        "A circuit of the strongest edges must be tested for faithfulness.",
    ],
    first: false,
};

/// How edges are scored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, its stream is no running sum, or there is none, the tower.
    pub part: Option<Part>,
    /// Where gradients are taken.
    pub between: Between,
    /// How many edges stand in `strongest`.
    pub top: usize,
    /// How many blocks are held at once.
    pub blocks: usize,
    /// How many places of a path share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { part: None, between: Between::default(), top: 20, blocks: 8, rows: 4 }
    }
}

/// Edge attribution patching with checked settings.
#[derive(Debug, Clone)]
pub struct EdgeAttribution {
    settings: Settings,
    top: NonZeroUsize,
    blocks: NonZeroUsize,
    rows: NonZeroUsize,
}

impl EdgeAttribution {
    /// How many blocks are held at once.
    fn held(&self, on: &On<'_>, opened: &OpenPair, circuit: &Circuit) -> Result<NonZeroUsize, AnalysisError> {
        let memory = on.memory().at_most(self.rows);
        let most = self.blocks.min(NonZeroUsize::new(circuit.layers).unwrap_or(NonZeroUsize::MIN));
        memory.most(CARD.id, 0, most, |count| Self::need(on, opened, circuit, count, 1))
    }

    /// What so many layers take, with so many places between both runs in a pass.
    fn need(
        on: &On<'_>,
        opened: &OpenPair,
        circuit: &Circuit,
        count: usize,
        rows: usize,
    ) -> Result<Need, HookError> {
        let (subject, inputs, part) = (on.subject(), &opened.corrupted, circuit.part);
        let numbers = |sites: &[Site]| numbers(subject, inputs, sites);
        let stream = numbers(&[Site::block(part, 0, Point::ResidPre)])?;
        let fed = numbers(&feeds(subject, part))?;
        let received = sites_of(circuit, &circuit.receivers(0..count));
        let asked = numbers(&received)?;
        let mut back = Plan::new().objective(&opened.objective);
        for site in &received {
            back = back.grad(*site)?;
        }
        let (mut forth, mut written) = (Plan::new(), stream);
        for site in writing(part, &(0..count)) {
            forth = forth.read(site)?;
            written += numbers(&[site])?;
        }
        let starts = 2 * (circuit.layers.div_ceil(count) * stream + fed);
        let back =
            subject.need(inputs, &back, Stacked::of(inputs, part).copies(rows))?.and(2 * (fed + asked));
        // Both runs' values, their differences, and these once more as one matrix.
        let forth = subject.need(inputs, &forth, Copies::ONE)?.and(2 * asked + 3 * written);
        let more = if forth.bytes > back.bytes { forth } else { back };
        Ok(more.and(starts))
    }
}

impl Analysis for EdgeAttribution {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let top = at_least_one(&CARD, "top", settings.top)?;
        let blocks = at_least_one(&CARD, "blocks", settings.blocks)?;
        let rows = at_least_one(&CARD, "rows", settings.rows)?;
        Ok(Self { settings, top, blocks, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let opened = OpenPair::new(&CARD, on, pair)?;
        let circuit = one_stream(&CARD, on.subject(), &opened.clean, self.settings.part, PLAIN)?;
        let chunks = circuit.layers.div_ceil(self.held(on, &opened, &circuit)?.get());
        let nodes = self.settings.between.nodes().len();
        let whole = pair.clean.settling() + 2;
        let (count, rows) = (circuit.layers.div_ceil(chunks.max(1)), nodes.clamp(1, self.rows.get()));
        let need = Self::need(on, &opened, &circuit, count, rows)?;
        let cost = Cost::rows(whole + nodes * chunks + chunks * (chunks + 1)).with_gradients(nodes * chunks);
        Ok(cost.taking(need.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let opened = OpenPair::new(&CARD, on, pair)?;
        let circuit = one_stream(&CARD, subject, &opened.clean, self.settings.part, PLAIN)?;
        let (part, between, memory) = (circuit.part, self.settings.between, on.memory().at_most(self.rows));
        let held = self.held(on, &opened, &circuit)?;
        let chunks: Vec<Range<usize>> = batches(circuit.layers, held).collect();
        let pairs = chunks.len() * (chunks.len() + 1) / 2;
        let steps = between.nodes().len() * chunks.len() + pairs;
        let mut progress = Progress::new(on.watch(), CARD.id, 2 + steps);
        let prompts = Prompts { part, clean: &opened.clean, corrupted: &opened.corrupted };
        let starts: Vec<Site> =
            chunks.iter().map(|chunk| Site::block(part, chunk.start, Point::ResidPre)).collect();
        let read = (starts.as_slice(), &[][..]);
        let objective = &opened.objective;
        let runs = Contrast::run(subject, prompts, objective, read, between, &memory, &mut progress)?;
        let (senders, receivers) = (circuit.senders(0..circuit.layers), circuit.receivers(0..circuit.layers));
        let mut edges: BTreeMap<(Sender, Receiver), f32> = BTreeMap::new();
        for (last, to) in chunks.iter().enumerate() {
            let received = circuit.receivers(to.clone());
            let grads = Self::received_gradients(&circuit, &received, &runs, &memory, &mut progress)?;
            for from in chunks.iter().take(last + 1) {
                let spoken = circuit.senders(from.clone());
                let written = written(subject, &circuit, from, &runs, prompts)?;
                let scores = products(&written, &grads)?;
                if scores.len() != spoken.len() * received.len() {
                    let dims = vec![spoken.len(), received.len()];
                    return Err(HookError::Values { dims, given: scores.len() }.into());
                }
                for (sender, row) in spoken.iter().zip(scores.chunks(received.len().max(1))) {
                    let of = received.iter().zip(row).filter(|(receiver, _)| receiver.receives(*sender));
                    edges.extend(of.map(|(receiver, score)| ((*sender, *receiver), *score)));
                }
                progress.advance(1)?;
            }
        }
        let unit = opened.objective.unit();
        let axis = |names: Vec<String>| Axis::names(Role::Concept, names);
        let from = axis(senders.iter().map(Sender::to_string).collect());
        let to = axis(receivers.iter().map(Receiver::to_string).collect());
        let each =
            senders.iter().flat_map(|sender| receivers.iter().map(move |receiver| (*sender, *receiver)));
        // Zero where the receiver does not hear the sender: there is no edge.
        let value = |edge: (Sender, Receiver)| match edges.get(&edge) {
            Some(value) => Ok(*value),
            None if !edge.1.receives(edge.0) => Ok(0.0),
            None => Err(HookError::Values { dims: vec![senders.len(), receivers.len()], given: edges.len() }),
        };
        let values: Vec<f32> = each.map(value).collect::<Result<_, _>>()?;
        let shape = [senders.len(), receivers.len()];
        let sum = |kept: usize| summed(&values, &shape, &[kept]);
        let (by_sender, by_receiver) = (sum(0)?, sum(1)?);
        let mut ranked: Vec<(&(Sender, Receiver), &f32)> = edges.iter().collect();
        ranked.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        ranked.truncate(self.top.get());
        let strongest = axis(ranked.iter().map(|((from, to), _)| format!("{from} to {to}")).collect());
        let (at_clean, at_corrupted) = (score(&runs.clean)?, score(&runs.corrupted)?);
        let cautions = opened.caution(at_clean, at_corrupted);
        let tables = vec![
            Labelled::numbers("edges", unit, vec![from.clone(), to.clone()], values)?,
            Labelled::numbers("senders", unit, vec![from], by_sender)?,
            Labelled::numbers("receivers", unit, vec![to], by_receiver)?,
            Labelled::numbers("strongest", unit, vec![strongest], ranked.iter().map(|(_, v)| **v).collect())?,
            Labelled::scalar("clean", unit, at_clean),
            Labelled::scalar("corrupted", unit, at_corrupted),
        ];
        let answer = Answer::new(tables, sites_of(&circuit, &receivers)).settled("part", json!(part));
        Ok(answer.explaining(&opened.objective).against(pair.difference()).cautioned(cautions))
    }
}

impl EdgeAttribution {
    /// The gradient at every receiver's own copy of the stream, as vectors in the order of the receivers.
    fn received_gradients(
        circuit: &Circuit,
        receivers: &[Receiver],
        runs: &Contrast<'_>,
        memory: &Memory,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<AnyTensor>, AnalysisError> {
        let sites = sites_of(circuit, receivers);
        let grads = runs.gradients(&sites, memory, progress)?;
        let vector = |site: &Site| {
            let grad = grads.get(site).ok_or(HookError::NoGradient(*site))?;
            if grad.rank() == 4 { by_head(grad) } else { as_vector(grad) }
        };
        // Sites come in the order of a pass, as the receivers do, all heads of one together.
        Ok(sites.iter().map(vector).collect::<Result<_, _>>()?)
    }
}

/// Each site of some receivers once, in their order.
fn sites_of(circuit: &Circuit, receivers: &[Receiver]) -> Vec<Site> {
    let mut sites: Vec<Site> = receivers.iter().map(|receiver| receiver.site(circuit)).collect();
    sites.dedup();
    sites
}

/// What is added to the stream is what heads give.
const PLAIN: &[fn(Part) -> Capability] = &[Capability::PlainHeads];

/// A part of a subject (the language model, or where it has none of its own the tower), if heads and MLPs alone write to its stream.
pub(crate) fn one_stream(
    card: &Card,
    subject: &dyn Subject,
    inputs: &Inputs,
    asked: Option<Part>,
    needs: &[fn(Part) -> Capability],
) -> Result<Circuit, AnalysisError> {
    let part = part_of_sums(card, subject, asked, needs)?;
    // That it has positions in this case: words of its own, or pictures.
    Sequence::of_part(card, subject, inputs, part)?;
    let crossed = |site: Site| site.part() == part && site.point() == Point::CrossOut;
    if let Some(spec) = subject.sites().iter().find(|spec| crossed(spec.site)) {
        return Err(input(
            card,
            "a decoder without cross-attention",
            format!("this one has `{}`", spec.site),
        ));
    }
    match subject.read_behind(part).as_slice() {
        [depth] if *depth > 0 => {}
        [_, _, ..] => {
            let found = format!("this one is read behind {:?} of them", subject.read_behind(part));
            return Err(input(
                card,
                "a part that is read behind one of its blocks, the last that counts",
                found,
            ));
        }
        _ => return Err(input(card, "a part with blocks that an answer is read from", "none is read here")),
    }
    // What is written arrives as it is, unless it is changed on its way.
    let carries = |site: &&Site| match site.point() {
        Point::ResidPre => site.block_index() != Some(0),
        point => matches!(
            point,
            Point::QIn
                | Point::KIn
                | Point::VIn
                | Point::AttnOut
                | Point::ResidMid
                | Point::MlpIn
                | Point::ResidPost
        ),
    };
    let edited = subject.edited().iter().filter(|site| site.part() == part).find(carries);
    if let Some(site) = edited {
        return Err(input(card, "a stream without standing edits", format!("`{site}` has one")));
    }
    Ok(Circuit::of(subject, part)?)
}

/// Where the senders of some blocks write, and what attention adds in all.
fn writing(part: Part, layers: &Range<usize>) -> impl Iterator<Item = Site> + use<> {
    let points = [Point::Result, Point::AttnOut, Point::MlpOut];
    layers.clone().flat_map(move |layer| points.map(|point| Site::block(part, layer, point)))
}

/// What the senders of some blocks write, clean less corrupted, as vectors in their order.
fn written(
    subject: &dyn Subject,
    circuit: &Circuit,
    layers: &Range<usize>,
    runs: &Contrast<'_>,
    prompts: Prompts<'_>,
) -> Result<Vec<AnyTensor>, AnalysisError> {
    let at = |layer, point| Site::block(circuit.part, layer, point);
    let pass = |inputs: &Inputs, run: &Trace| -> Result<Trace, AnalysisError> {
        let mut plan = Plan::new().resume(run.state(circuit.part, layers.start)?);
        for site in writing(circuit.part, layers) {
            plan = plan.read(site)?;
        }
        Ok(subject.run(inputs, plan)?)
    };
    let (clean, corrupted) = (pass(prompts.clean, &runs.clean)?, pass(prompts.corrupted, &runs.corrupted)?);
    let apart = |site| less(clean.get(site)?, corrupted.get(site)?);
    let mut vectors = Vec::new();
    if layers.contains(&0) {
        let site = at(0, Point::ResidPre);
        vectors.push(as_vector(&less(runs.clean.get(site)?, runs.corrupted.get(site)?)?)?);
    }
    for layer in layers.clone() {
        let heads = apart(at(layer, Point::Result))?;
        add_up(layer, &heads, &apart(at(layer, Point::AttnOut))?)?;
        vectors.push(by_head(&heads)?);
        vectors.push(as_vector(&apart(at(layer, Point::MlpOut))?)?);
        if circuit.deep.contains(&layer) {
            let site = at(layer, Point::Deepstack);
            vectors.push(as_vector(&less(runs.clean.get(site)?, runs.corrupted.get(site)?)?)?);
        }
    }
    Ok(vectors)
}

/// That heads, `[1, pos, head, d]` or `[image, pos, head, d]`, sum to what attention adds to the stream.
fn add_up(layer: usize, heads: &AnyTensor, added: &AnyTensor) -> Result<(), AnalysisError> {
    let sums = summed(&heads.to_values()?, &heads.dims(), &[0, 1, 3])?;
    let what = format!("in block {layer}, heads beside what attention adds");
    // A norm behind the sum changes it many times over; rounding, by a millionth.
    let found = match Tolerance::relative(1e-2).check(&what, &sums, &added.to_values()?) {
        Ok(_) => return Ok(()),
        Err(error @ Mismatch::Apart { .. }) => format!("{error}: a norm seems to follow"),
        Err(error) => error.to_string(),
    };
    Err(input(&CARD, "a part whose heads add up to what attention adds to the stream", found))
}
