//! What does one head tell another directly, and does the answer depend on it?
//!
//! # Idea
//! Two prompts of equal length, one of which everything is frozen to (the base), the other giving what is put in. To see
//! what goes from a sender `u` (the input, a head, an MLP) straight to a receiver `v` (a head's query, key or value, an MLP,
//! the logits; of a tower what reads what leaves it):
//!
//! 1. run the base with `u` holding what it has in the other run, and every other head and MLP held to its value in the base;
//!    keep the stream that `v` reads there;
//! 2. run the base with `v` reading that stream, and everything after computed.
//!
//! ```text
//! effect(u, v) = f_2 - f_base
//! ```
//!
//! Only the direct path from `u` to `v` has changed; whatever `v` does next has its way. This is exact, not a first-order guess.
//!
//! # In and out
//! In: a [`Pair`]; the objective is settled by the clean case. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `effect` | concept, concept | objective | sender, receiver; zero where the sender comes later |
//! | `clean`, `corrupted` | | objective | `f` of both runs |
//!
//! Names are those of edge attribution, of a tower `out` in the place of `logits`. With receivers taken together, `effect` has the axis of senders alone.
//!
//! # Settings
//! - `part`: by default the language model, `text`, and the tower where there is none, its stream is no running sum, or an encoder of its own reads
//!   the words; or a part by its name. What is put into a tower is all that its pictures and tiles hold; the words stay those of the base.
//! - `senders`: all; or these.
//! - `receivers`: each of all ([`Receivers::All`]), each of these, or several at once ([`Receivers::Together`]), which all read
//!   what step 1 gave them.
//! - `frozen`: to [`Frozen::Clean`], with a corrupted value put in, as Wang et al. have it; the effect on a clean answer is
//!   then negative. [`Frozen::Corrupted`] puts clean values into the corrupted run, as activation patching does.
//! - `mlps`: [`Mlps::Frozen`], so that the path is direct; [`Mlps::Computed`] lets MLPs between pass on what they are sent,
//!   as Wang et al. do.
//! - `rows`: 16 variants share a pass, or fewer, as memory allows ([`On::within`](mmlens_core::On::within)).
//!
//! # Cost
//! Two passes, one for each sender from its block on, and one for each edge from the receiver's block on, in batches; none
//! for the logits (the end of a tower), which step 1 answers. The tower only where it is patched (a subject whose tower feeds later blocks runs it for those), one variant
//! at a time where it packs its pictures into one sequence.
//! Peak memory: the base's streams, and two streams of every block for `rows` variants.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no senders or receivers, one twice, the logits (`out`) together with others, no
//! rows. Running: [`AnalysisError::Input`] for prompts of different length or with pictures at different positions, several
//! rows, a node the part does not have, cross-attention, a tower without a picture, or one that is read behind several of its blocks (of these
//! [`activation_patching`](super::activation_patching) with `part` puts whole states back); [`AnalysisError::Subject`] for a subject without the
//! sites; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A receiver with several weak senders may need all of them at once; each alone shows little (Wang et al. 2023 on backup
//!   heads; McGrath et al. 2023, "The Hydra Effect").
//! - Streams that mix two runs are none the model was trained on (Zhang, Nanda 2024, "Towards Best Practices of Activation
//!   Patching").
//! - Under grouped attention a KV head serves several heads: a key's effect is that of the whole group.
//!
//! # Agreement
//! Direct computation in torch 2.15 on `llava-a` (6 heads, 2 KV heads), in which the receiver's query, key or value is held to
//! what step 1 gave it, MLPs frozen and computed: largest difference relative to the largest effect 2.9e-6; in its tower 6.2e-6.
//! Identities tested: on a straight subject the paths into a reader sum to what follows from its reading the other run's
//! stream, and an edge is what edge attribution says; an equal pair has no effects; out of a tower's last MLP the only path is the whole of what it writes; the same for any `rows`.
//!
//! # Reference
//! Wang, Variengien, Conmy, Shlegeris, Steinhardt: Interpretability in the Wild: a Circuit for Indirect Object
//! Identification in GPT-2 Small. ICLR 2023, appendix B. <https://arxiv.org/abs/2211.00593>. There MLPs are computed.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Pair};
//! use mmlens_engine::Sender;
//! use mmlens_model::{PathPatching, path_patching::Settings};
//! # fn explain(subject: &dyn mmlens_core::Subject, pair: &Pair) -> Result<(), mmlens_core::AnalysisError> {
//! let senders = Some(vec![Sender::Head { layer: 0, head: 2 }]);
//! let finding = PathPatching::new(Settings { senders, ..Settings::default() })?.run(subject, pair)?;
//! println!("{:?}", finding.table("effect")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use mmlens_core::finding::{Axis, Labelled, Role};
use mmlens_core::{
    Analysis, AnalysisError, Answer, AnyTensor, Capability, Card, Change, Copies, Cost, HookError, Inputs,
    Leaf, Memory, Objective, On, Pair, Part, Plan, Point, Region, Site, Subject, Trace,
};
use mmlens_engine::{
    Circuit, OpenPair, Progress, Receiver, Sender, Stacked, Start, feeds, held, numbers, of_range, reshaped,
    score, sweep,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::edge_attribution::one_stream;
use crate::check::{at_least_one, input, setting};

/// What this method is.
pub const CARD: Card = Card {
    id: "path-patching",
    short: "paths",
    name: "Path patching",
    question: "What does one head tell another directly, and does the answer depend on it?",
    citation: "Wang, Variengien, Conmy, Shlegeris, Steinhardt: Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2 Small. ICLR 2023. https://arxiv.org/abs/2211.00593",
    leaf: Leaf::Layer,
    cost: "2 forward + senders x forward from the sender's block + edges x forward from the receiver's block, in batches",
    needs: &[Capability::AnyBlocks, Capability::AnyRunningSum],
    misleads: &[
        "A receiver with several weak senders may need all of them at once.",
        "Streams that mix two runs are none the model was trained on.",
        "Under grouped attention a key's effect is that of the whole group.",
    ],
    first: false,
};

/// Which receivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Receivers {
    /// Each that the part has.
    #[default]
    All,
    /// Each of these.
    Each(Vec<Receiver>),
    /// These at once.
    Together(Vec<Receiver>),
}

/// Which run everything else is frozen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frozen {
    /// The clean one; corrupted values are put in.
    #[default]
    Clean,
    /// The corrupted one; clean values are put in.
    Corrupted,
}

/// What MLPs between sender and receiver do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mlps {
    /// They are held to the base, as the heads are.
    #[default]
    Frozen,
    /// They are computed.
    Computed,
}

/// Which paths.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where an encoder of its own reads the words, its stream is no running sum, or there is none, the tower.
    pub part: Option<Part>,
    /// Which senders; all if none are named.
    pub senders: Option<Vec<Sender>>,
    /// Which receivers.
    pub receivers: Receivers,
    /// What everything else is frozen to.
    pub frozen: Frozen,
    /// What MLPs between do.
    pub mlps: Mlps,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            part: None,
            senders: None,
            receivers: Receivers::default(),
            frozen: Frozen::default(),
            mlps: Mlps::default(),
            rows: 16,
        }
    }
}

/// Path patching with checked settings.
#[derive(Debug, Clone)]
pub struct PathPatching {
    settings: Settings,
    rows: NonZeroUsize,
}

impl PathPatching {
    /// What speaks.
    fn senders(&self, circuit: &Circuit) -> Vec<Sender> {
        self.settings.senders.clone().unwrap_or_else(|| circuit.senders(0..circuit.layers))
    }

    /// Receivers that are patched at once, one variant of each sender after the other.
    fn groups(&self, circuit: &Circuit) -> Vec<Vec<Receiver>> {
        match &self.settings.receivers {
            Receivers::All => circuit.receivers(0..circuit.layers).into_iter().map(|one| vec![one]).collect(),
            Receivers::Each(some) => some.iter().map(|one| vec![*one]).collect(),
            Receivers::Together(some) => vec![some.clone()],
        }
    }
}

fn once<T: Ord + std::fmt::Display>(name: &'static str, nodes: &[T]) -> Result<(), AnalysisError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = nodes.iter().find(|node| !seen.insert(*node)) {
        return Err(setting(&CARD, name, format!("`{twice}` twice"), "each is named once"));
    }
    if nodes.is_empty() {
        return Err(setting(&CARD, name, "none", "there must be one"));
    }
    Ok(())
}

impl Analysis for PathPatching {
    type Input = Pair;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        let Settings { senders, receivers, rows, .. } = &settings;
        if let Some(senders) = senders {
            once("senders", senders)?;
        }
        match receivers {
            Receivers::All => {}
            Receivers::Each(some) => once("receivers", some)?,
            Receivers::Together(some) => {
                once("receivers", some)?;
                if let Some(end) = some.iter().find(|own| own.layer().is_none()) {
                    let reason = "what is read at the end is settled before anything together with it";
                    return Err(setting(&CARD, "receivers", format!("`{end}` together with others"), reason));
                }
            }
        }
        let rows = at_least_one(&CARD, "rows", *rows)?;
        Ok(Self { settings, rows })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, pair: &Pair) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&pair.clean.sample)?);
        let circuit = one_stream(&CARD, subject, &inputs, self.settings.part, &[])?;
        let senders = self.senders(&circuit);
        let groups = self.groups(&circuit);
        // What the logits read is settled by step 1.
        let receives = |sender: &Sender, group: &[Receiver]| {
            group.iter().any(|v| v.layer().is_some() && v.receives(*sender))
        };
        let edges =
            senders.iter().map(|sender| groups.iter().filter(|group| receives(sender, group)).count());
        let cost = Cost::rows(pair.clean.settling() + 2 + senders.len() + edges.sum::<usize>());
        let row = on.row(&pair.clean, &inputs, &[])?.bytes;
        // Beside the passes both runs, and what the senders of one tell.
        let blocks = (0..circuit.layers).flat_map(|layer| {
            [Point::ResidPre, Point::Z, Point::MlpOut].map(|point| Site::block(circuit.part, layer, point))
        });
        let kept: Vec<Site> = feeds(subject, circuit.part).into_iter().chain(blocks).collect();
        let kept = 4 * numbers(subject, &inputs, &kept)? as u64;
        let rows = self.rows.get() as u64;
        Ok(cost.taking(rows.saturating_mul(row + kept).saturating_add(2 * kept), on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, pair: &Pair) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let opened = OpenPair::new(&CARD, on, pair)?;
        let circuit = one_stream(&CARD, subject, &opened.clean, self.settings.part, &[])?;
        let senders = self.senders(&circuit);
        let groups = self.groups(&circuit);
        there(&senders, &circuit.senders(0..circuit.layers))?;
        there(&groups.concat(), &circuit.receivers(0..circuit.layers))?;
        let (base, other) = match self.settings.frozen {
            Frozen::Clean => (&opened.clean, &opened.corrupted),
            Frozen::Corrupted => (&opened.corrupted, &opened.clean),
        };
        let work = Work::new(self, on, &circuit, base, other, &opened.objective)?;
        let received = |sender: &Sender, group: &[Receiver]| {
            let received: Vec<Receiver> = group.iter().copied().filter(|v| v.receives(*sender)).collect();
            (!received.is_empty()).then_some(received)
        };
        let edges =
            senders.iter().flat_map(|u| groups.iter().filter(move |group| received(u, group).is_some()));
        let mut progress = Progress::new(on.watch(), CARD.id, senders.len() + edges.count());
        let mut effects = vec![0.0; senders.len() * groups.len()];
        // Senders of one block leave its state together.
        let mut order: Vec<usize> = (0..senders.len()).collect();
        order.sort_by_key(|at| senders.get(*at).map(|sender| (sender.layer(), *sender == Sender::Input)));
        let alike = |a: &usize, b: &usize| {
            let key = |at: &usize| senders.get(*at).map(|sender| (sender.layer(), *sender == Sender::Input));
            key(a) == key(b)
        };
        for some in order.chunk_by(alike).flat_map(|block| block.chunks(work.sent.get())) {
            let own: Vec<Sender> = some.iter().filter_map(|at| senders.get(*at).copied()).collect();
            let sent = work.send(&own)?;
            progress.advance(own.len())?;
            let mut variants = Vec::new();
            for (row, (place, sender)) in some.iter().zip(&own).enumerate() {
                for (number, group) in groups.iter().enumerate() {
                    let Some(received) = received(sender, group) else { continue };
                    let slot = place * groups.len() + number;
                    variants.push(Variant { row, received, slot });
                }
            }
            for (slot, effect) in work.receive(&sent, variants, &mut progress)? {
                if let Some(value) = effects.get_mut(slot) {
                    *value = effect;
                }
            }
        }
        let unit = opened.objective.unit();
        let axis = |names: Vec<String>| Axis::names(Role::Concept, names);
        let mut axes = vec![axis(senders.iter().map(Sender::to_string).collect())];
        if !matches!(self.settings.receivers, Receivers::Together(_)) {
            axes.push(axis(groups.iter().flatten().map(Receiver::to_string).collect()));
        }
        let (clean, corrupted) = match self.settings.frozen {
            Frozen::Clean => (work.whole, work.other_whole),
            Frozen::Corrupted => (work.other_whole, work.whole),
        };
        let tables = vec![
            Labelled::numbers("effect", unit, axes, effects)?,
            Labelled::scalar("clean", unit, clean),
            Labelled::scalar("corrupted", unit, corrupted),
        ];
        let mut sites: Vec<Site> = groups.iter().flatten().map(|v| v.site(&circuit)).collect();
        sites.sort_unstable();
        sites.dedup();
        let cautions = opened.caution(clean, corrupted);
        let answer = Answer::new(tables, sites).explaining(&opened.objective).against(pair.difference());
        Ok(answer.cautioned(cautions).settled("part", json!(circuit.part)))
    }
}

/// That a part has these nodes.
fn there<T: PartialEq + std::fmt::Display>(asked: &[T], all: &[T]) -> Result<(), AnalysisError> {
    match asked.iter().find(|node| !all.contains(node)) {
        Some(absent) => {
            let ends = all.first().zip(all.last()).map_or(String::new(), |(a, b)| format!("{a} to {b}"));
            Err(input(&CARD, "nodes that the part has", format!("`{absent}` is none of {ends}")))
        }
        None => Ok(()),
    }
}

/// One variant of step 2: these receivers read what step 1 gave them in a row.
struct Variant {
    row: usize,
    received: Vec<Receiver>,
    /// Where its effect belongs.
    slot: usize,
}

/// Both runs, and what all passes share.
struct Work<'a> {
    mlps: Mlps,
    stacked: Stacked,
    memory: Memory,
    subject: &'a dyn Subject,
    circuit: &'a Circuit,
    inputs: &'a Inputs,
    objective: Objective,
    base: Trace,
    other: Trace,
    whole: f32,
    other_whole: f32,
    /// Senders that share a pass of step 1.
    sent: NonZeroUsize,
}

/// What step 1 gave: for every sender a row.
struct Sent {
    trace: Trace,
}

impl<'a> Work<'a> {
    fn new(
        method: &PathPatching,
        on: &On<'a>,
        circuit: &'a Circuit,
        inputs: &'a Inputs,
        other: &Inputs,
        objective: &Objective,
    ) -> Result<Self, AnalysisError> {
        let (subject, mlps, part) = (on.subject(), method.settings.mlps, circuit.part);
        let stacked = Stacked::of(inputs, part);
        let memory = stacked.within(on.memory().at_most(method.rows));
        let mut plan = Plan::new().objective(objective);
        for site in feeds(subject, part) {
            plan = plan.read(site)?;
        }
        for layer in 0..circuit.layers {
            for point in [Point::Z, Point::MlpOut] {
                plan = plan.read(Site::block(part, layer, point))?;
            }
        }
        let hold =
            |inputs, plan: &Plan, kept| memory.hold(CARD.id, kept, subject.need(inputs, plan, Copies::ONE)?);
        hold(other, &plan, 0)?;
        let other = subject.run(other, plan.clone())?;
        for layer in 0..circuit.layers {
            plan = plan.read(Site::block(part, layer, Point::ResidPre))?;
        }
        hold(inputs, &plan, held(&other))?;
        let base = subject.run(inputs, plan)?;
        let (whole, other_whole) = (score(&base)?, score(&other)?);
        let sent = NonZeroUsize::MIN;
        let mut work = Self {
            mlps,
            stacked,
            memory,
            subject,
            circuit,
            inputs,
            objective: objective.clone(),
            base,
            other,
            whole,
            other_whole,
            sent,
        };
        // Half of what is left is for what senders tell, half for the passes in which it is received.
        let kept = work.kept() + memory.less(work.kept()).left() / 2;
        let (one, plan) = work.sending(&[Sender::Input])?;
        work.sent = memory.rows(CARD.id, kept, |times| subject.need(&one, &plan, stacked.copies(times)))?;
        Ok(work)
    }

    /// Bytes of both runs.
    fn kept(&self) -> u64 {
        held(&self.base) + held(&self.other)
    }

    /// Step 1 for some senders of one block, a row each: they hold what they have in the other run, everything else is frozen.
    fn send(&self, senders: &[Sender]) -> Result<Sent, AnalysisError> {
        let (inputs, plan) = self.sending(senders)?;
        Ok(Sent { trace: self.subject.run(&inputs, plan)? })
    }

    fn sending(&self, senders: &[Sender]) -> Result<(Inputs, Plan), AnalysisError> {
        let (layers, rows) = (self.circuit.layers, senders.len());
        let first = senders.first().ok_or_else(|| input(&CARD, "senders", "there are none"))?;
        let source = if *first == Sender::Input { &self.other } else { &self.base };
        let first = first.layer();
        let (inputs, mut plan) =
            Start::block(self.inputs, source, (self.circuit.part, first))?.copies(rows)?;
        plan = plan.objective(&self.objective);
        let at = |layer, point| Site::block(self.circuit.part, layer, point);
        let row = |row: usize| self.stacked.region(row);
        let set =
            |run: &Trace, site| Ok::<_, HookError>(Change::Set(self.stacked.in_each(run.get(site)?, rows)?));
        for layer in first..layers {
            let (z, mlp) = (at(layer, Point::Z), at(layer, Point::MlpOut));
            plan = plan.change(z, Region::all(), set(&self.base, z)?)?;
            if self.mlps == Mlps::Frozen {
                plan = plan.change(mlp, Region::all(), set(&self.base, mlp)?)?;
            }
            for point in [Point::ResidPre, Point::ResidMid] {
                plan = plan.read(at(layer, point))?;
            }
        }
        plan = plan.read(at(layers - 1, Point::ResidPost))?;
        for (own, sender) in senders.iter().enumerate() {
            let (site, region) = match *sender {
                Sender::Head { layer, head } => (at(layer, Point::Z), row(own).heads([head])),
                Sender::Mlp { layer } => (at(layer, Point::MlpOut), row(own)),
                Sender::Deepstack { layer } => (at(layer, Point::Deepstack), row(own)),
                _ => continue,
            };
            plan = plan.change(site, region, set(&self.other, site)?)?;
        }
        Ok((inputs, plan))
    }

    /// Step 2: the effect of every variant.
    fn receive(
        &self,
        sent: &Sent,
        variants: Vec<Variant>,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<(usize, f32)>, AnalysisError> {
        let (mut effects, mut blocks) = (Vec::new(), BTreeMap::<usize, Vec<Variant>>::new());
        let effect = |score: f32| (f64::from(score) - f64::from(self.whole)) as f32;
        let scores = sent.trace.scores()?;
        for variant in variants {
            match variant.received.iter().filter_map(|receiver| receiver.layer()).min() {
                Some(block) => blocks.entry(block).or_default().push(variant),
                None => {
                    let score = scores.get(variant.row).copied();
                    let given = scores.len();
                    let score = score.ok_or(HookError::Values { dims: vec![variant.row + 1], given })?;
                    effects.push((variant.slot, effect(score)));
                    progress.advance(1)?;
                }
            }
        }
        for (block, variants) in blocks {
            let start = Start::block(self.inputs, &self.base, (self.circuit.part, block))?;
            let subject = self.subject;
            let plan = |some: &[Variant]| -> Result<(Inputs, Plan), HookError> {
                let (inputs, mut plan) = start.copies(some.len())?;
                for (row, variant) in some.iter().enumerate() {
                    for receiver in &variant.received {
                        let stream = sent.trace.get(receiver.stream(self.circuit))?;
                        let stream = self.stacked.of_copy(stream, variant.row)?;
                        let stream = self.stacked.in_each(&stream, some.len())?;
                        plan = self.read_instead(plan, *receiver, row, stream)?;
                    }
                }
                Ok((inputs, plan))
            };
            // What each variant changes, all of it in one row: no pass changes more.
            let (one, mut all) = start.copies(1)?;
            for receiver in variants.iter().flat_map(|variant| &variant.received).collect::<BTreeSet<_>>() {
                let site = receiver.site(self.circuit);
                all = all.change(site, Region::all(), Change::Zero)?;
            }
            let all = all.objective(&self.objective);
            let kept = self.kept() + held(&sent.trace);
            let rows = self
                .memory
                .rows(CARD.id, kept, |times| subject.need(&one, &all, self.stacked.copies(times)))?;
            let scores = sweep(subject, &self.objective, variants.len(), rows, progress, |range| {
                Ok(plan(of_range(&variants, range)?)?)
            })?;
            effects.extend(variants.iter().zip(scores).map(|(variant, score)| (variant.slot, effect(score))));
        }
        Ok(effects)
    }

    /// A receiver reads this stream, `[1, pos, d]` or `[image, pos, d]`, in a row.
    fn read_instead(
        &self,
        plan: Plan,
        receiver: Receiver,
        row: usize,
        stream: AnyTensor,
    ) -> Result<Plan, HookError> {
        let (region, dims) = (self.stacked.region(row), stream.dims());
        let (region, stream) = match (receiver.head(), dims.as_slice()) {
            (Some(head), [pictures, positions, width]) => {
                let dims = [*pictures, *positions, 1, *width];
                (region.heads([head]), AnyTensor::from(reshaped(stream, dims)?))
            }
            _ => (region, stream),
        };
        plan.change(receiver.site(self.circuit), region, Change::Set(stream))
    }
}
