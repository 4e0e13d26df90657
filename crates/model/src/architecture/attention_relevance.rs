//! Attention relevance: along which attention did words and patches come to matter for *this* answer?
//!
//! # Idea
//! [`attention_rollout`](crate::attention_rollout) follows where attention looks, whatever is asked. Here a weight counts as far as it raises the objective: with `A` the weights of a
//! layer's heads and `G` their gradients,
//!
//! ```text
//! E = mean over heads of (G * A)+                 R <- R + E R,  from R = I,  layer by layer
//! ```
//!
//! Row `i` of `R - I` says how relevant each position is to position `i`. That of the position the answer is read at says it of the answer. Where words `s` look at patches `q` from
//! outside (cross-attention), they are kept apart, and behind the layers among words
//!
//! ```text
//! R_sq <- R_sq + E_ss R_sq,     then     R_sq <- R_sq + N(R_ss)^T E_sq N(R_qq),     N(R) = rownorm(R - I) + I
//! ```
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `picture through the tower` | patch | none | what image positions of a language model have, carried on through the tower (`r R` of its layers) |
//! | `picture` | patch | none | what image positions have, each on its own patch; what patches have that words look at from outside; of a tower that ends in one vector (CLIP, SigLIP, ViT) what its patches have for it |
//! | `tokens` | token | none | how relevant each position is to the one that the answer is read at |
//! | `by modality` | concept | none | sums by kind: text, image, special markers; not of two towers, which share no sum |
//! | `outside the patches` | | none | what of a picture's ends on a class token; of a recording `outside the recording`, what ends on padding behind it |
//! | `objective` | | objective | `f(x)` |
//! | `cautions` | rank | text | nearly all on the first token or a marker, no weight that raises the objective, a saturated probability |
//!
//! Numbers have no unit: the rules add effects on the objective to ones. They are zero or above, and add up to nothing; compare them within a finding alone. Of a phrase the row is the mean over
//! the positions that decide its tokens. Several pictures and tiles have tables of their own: `picture through the tower/0` and so on; `picture` holds all positions of the prompt.
//!
//! # Settings
//! - `last`: of each part so many of the last blocks that are read; by default all. The published notebook for CLIP takes one.
//!
//! # Cost
//! One forward pass with explicit attention and one backward pass; one more forward and backward for
//! every token of an answer that is explained by itself. All weights of the blocks and their gradients are held at once: `8 L H P^2` bytes for `L` layers of `H` heads over `P` positions, and
//! `L P^2` operations for a row, as it is carried instead of multiplying layers.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no blocks. Running: [`AnalysisError::Input`] for a case of several rows, a subject without attention, one whose words an encoder of its own reads, a tower
//! that ends in one vector without class token or attention, image positions that lie on no patch of the tower; [`AnalysisError::Subject`] for weights that do not reach the objective;
//! [`AnalysisError::Memory`], [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - What lowers the objective is cut off at every layer: two effects that cancel leave the one that helps. It says nothing of what speaks against an answer.
//! - Values, MLPs and norms have no part in it: a position that is looked at and holds nothing counts, and what an MLP makes of a position is laid to the position (Kobayashi et al. 2020, "Attention is Not Only a Weight").
//! - With causal attention early positions gather relevance through many paths; nine tenths on the first token are spoken of.
//! - A gradient of a saturated probability is nearly zero; take a logit.
//!
//! # Agreement
//! By the rules in NumPy, with weights and gradients of transformers, on `llava-a` (decoder, and through the tower), `clip-a` (both towers, all layers and the last), `blip-a` and `blip-itm`
//! (cross-attention): largest difference relative to the largest value 6.0e-6. Identities tested: with one layer it is the mean over heads of `(G * A)+`, on any subject; nothing flows backwards in a
//! causal model; twice the objective gives twice of one layer.
//!
//! # Reference
//! Chefer, Gur, Wolf: Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers. ICCV 2021. <https://arxiv.org/abs/2103.15679>. For decoders
//! that look at patches through a connector, and on through the tower: Ben Melech Stan et al.: LVLM-Interpret. 2024. <https://arxiv.org/abs/2404.03118>; which tower blocks count is told by what is read,
//! and pooling by attention (SigLIP) is one more layer of it: both ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::AttentionRelevance;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttentionRelevance::default().run(subject, case)?;
//! println!("{:?}", finding.table("tokens")?.largest(3)?);
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Labelled, Modality, PatchLabel, Role, Unit};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Copies, Cost, HookError, Inputs, Leaf,
    Objective, On, Part, Plan, Point, Site, Subject, TokenMap, Trace, caution,
};
use mmlens_engine::{Crossing, Layers, Positions, Progress, Spoken, Taken, label, numbers, one_row};
use serde::{Deserialize, Serialize};

use crate::check::{at_least_one, blocks_read, input, passes_of_reading, read_from};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-relevance",
    short: "relevance",
    name: "Attention relevance",
    question: "Along which attention did words and patches come to matter for this answer?",
    citation: "Chefer, Gur, Wolf: Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers. ICCV 2021. https://arxiv.org/abs/2103.15679",
    leaf: Leaf::Architecture,
    cost: "1 forward with explicit attention + 1 backward, 1 to 2 of the tower",
    needs: &[Capability::Gradients, Capability::OwnWords, Capability::Attention, Capability::Answer],
    misleads: &[
        "What lowers the objective is cut off at every layer.",
        "Values, MLPs and norms have no part in it.",
        "Early positions gather relevance; the first token is often a sink.",
    ],
    first: false,
};

/// Which blocks count.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of each part so many of the last blocks that are read; `None` for all.
    pub last: Option<usize>,
}

/// Attention relevance with checked settings.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionRelevance {
    settings: Settings,
}

/// Where weights are read.
struct Places {
    text: Vec<Site>,
    cross: Vec<Site>,
    /// Of each tower that has something to compute.
    towers: Vec<(Part, Vec<Site>)>,
    pool: Option<Site>,
}

impl Places {
    fn all(&self) -> Vec<Site> {
        let towers = self.towers.iter().map(|(_, sites)| sites);
        towers.chain([&self.text, &self.cross]).flatten().copied().chain(self.pool).collect()
    }
}

/// How relevant some patches are.
struct Pictured {
    tower: Part,
    name: String,
    patches: Vec<PatchLabel>,
    values: Vec<f64>,
    /// What ends on a class token, or on padding behind a recording.
    outside: Option<f64>,
}

/// What is relevant.
struct Relevant {
    pictures: Vec<Pictured>,
    words: Option<Vec<f64>>,
    /// Whether words and patches are relevant to the same.
    together: bool,
}

fn patterns(subject: &dyn Subject, part: Part, point: Point) -> Vec<Site> {
    let own = |site: &Site| site.part() == part && site.point() == point;
    subject.sites().iter().map(|spec| spec.site).filter(own).collect()
}

/// Weights of every site times their gradients: for each site, one of every row.
fn taken(trace: &Trace, sites: &[Site]) -> Result<Vec<Vec<Taken>>, HookError> {
    sites.iter().map(|site| Taken::of(trace.get(*site)?, trace.grad(*site)?)).collect()
}

/// The layers of one row.
fn of_row(layers: &[Vec<Taken>], row: usize) -> Vec<Taken> {
    layers.iter().filter_map(|rows| rows.get(row).cloned()).collect()
}

impl AttentionRelevance {
    /// Where weights are read, of towers in those blocks that are read.
    fn places(&self, subject: &dyn Subject, inputs: &Inputs) -> Places {
        let last = |mut sites: Vec<Site>| match self.settings.last {
            Some(last) => sites.split_off(sites.len().saturating_sub(last)),
            None => sites,
        };
        let tower = |part: Part| {
            let mut sites = patterns(subject, part, Point::Pattern);
            sites.truncate(blocks_read(subject, part));
            (part, last(sites))
        };
        let seen = !inputs.seen.is_empty();
        let pool = patterns(subject, Part::Vision, Point::PoolPattern).pop().filter(|_| seen);
        Places {
            text: last(patterns(subject, Part::Text, Point::Pattern)),
            cross: last(patterns(subject, Part::Text, Point::CrossPattern)),
            towers: inputs.towers().map(tower).collect(),
            pool,
        }
    }
}

/// Where the patches of a tower lie, entry by entry, in the order of the prompt; refused where it cannot be told.
fn lying(
    map: &TokenMap,
    tower: Part,
    entries: usize,
    positions: usize,
) -> Result<Vec<Vec<Option<PatchLabel>>>, AnalysisError> {
    let place = |place: usize| label::tower_positions(map, tower, place, entries, positions);
    let found = || format!("the tower has {entries} times {positions}");
    let none = || input(&CARD, "positions of the tower that lie on the picture or recording", found());
    (0..entries).map(|at| place(at).ok_or_else(none)).collect()
}

/// What positions of a prompt have that show what a tower is given, as shares of the positions of the tower that they show: a patch that is merged from several shares alike.
fn handed_on(
    map: &TokenMap,
    tower: Part,
    words: &[f64],
    lies: &[Vec<Option<PatchLabel>>],
) -> Result<Vec<Vec<f64>>, AnalysisError> {
    let mut shares: Vec<Vec<f64>> = lies.iter().map(|own| vec![0.0; own.len()]).collect();
    // A class token that the language model is shown, too, comes before the patches of its picture.
    let bare = |at: &usize| map.tokens.get(*at).is_some_and(|token| token.patch.is_none());
    let bare: Vec<usize> = Positions::Pictures.of(map).unwrap_or_default().into_iter().filter(bare).collect();
    let classes = lies.iter().all(|own| own.first().is_some_and(Option::is_none));
    if classes && bare.len() == lies.len() {
        for (own, at) in shares.iter_mut().zip(&bare) {
            let share = words.get(*at).copied().unwrap_or(f64::NAN);
            own.iter_mut().take(1).for_each(|slot| *slot = share);
        }
    }
    for (token, share) in map.tokens.iter().zip(words) {
        let heard = |patch: &PatchLabel| map.sound(patch.image).is_some() == (tower == Part::Audio);
        let Some(patch) = token.patch.filter(heard) else { continue };
        let inside = |own: &PatchLabel| {
            let [x0, y0, x1, y1] = own.bbox.map(f64::from);
            let (x, y) = (f64::midpoint(x0, x1), f64::midpoint(y0, y1));
            let [left, top, right, bottom] = patch.bbox.map(f64::from);
            (own.image, own.tile, own.frame) == (patch.image, patch.tile, patch.frame)
                && (left..right).contains(&x)
                && (top..bottom).contains(&y)
        };
        let places = lies.iter().enumerate().flat_map(|(entry, own)| {
            let inner = own.iter().enumerate().filter(|(_, patch)| patch.as_ref().is_some_and(inside));
            inner.map(move |(at, _)| (entry, at))
        });
        let places: Vec<(usize, usize)> = places.collect();
        if places.is_empty() {
            let found = format!("{patch} lies on none of them");
            return Err(input(&CARD, "image positions that lie on patches of the tower", found));
        }
        for (entry, at) in &places {
            if let Some(slot) = shares.get_mut(*entry).and_then(|own| own.get_mut(*at)) {
                *slot += share / places.len() as f64;
            }
        }
    }
    Ok(shares)
}

/// The patches of an entry with what they have, and what lies outside.
fn pictured(tower: Part, name: String, lies: &[Option<PatchLabel>], values: &[f64]) -> Pictured {
    let own = lies.iter().zip(values).filter_map(|(patch, value)| Some(((*patch)?, *value)));
    let (patches, on): (Vec<PatchLabel>, Vec<f64>) = own.unzip();
    let bare = lies.iter().zip(values).filter(|(patch, _)| patch.is_none()).map(|(_, value)| *value);
    let bare: Vec<f64> = bare.collect();
    let outside = (!bare.is_empty()).then(|| bare.iter().sum());
    Pictured { tower, name, patches, values: on, outside }
}

/// What a tower is given, in a word.
fn called(tower: Part) -> &'static str {
    if tower == Part::Audio { "recording" } else { "picture" }
}

/// A name for one of several.
fn numbered(name: &str, at: usize, of: usize) -> String {
    if of > 1 { format!("{name}/{at}") } else { name.to_owned() }
}

/// The mean of some rows, which there must be.
fn mean(rows: &[Vec<f64>]) -> Result<Vec<f64>, HookError> {
    let first = rows.first().ok_or(HookError::NoObjective)?;
    let sum = |at: usize| rows.iter().filter_map(|row| row.get(at)).sum::<f64>() / rows.len() as f64;
    Ok((0..first.len()).map(sum).collect())
}

/// Of one vector that a tower ends in: what its patches have for it.
fn pooled(
    map: &TokenMap,
    layers: &[Vec<Taken>],
    pool: Option<&Vec<Taken>>,
) -> Result<Vec<Pictured>, AnalysisError> {
    let first = layers.first().or(pool).ok_or(HookError::NoObjective)?;
    let (entries, positions) = (first.len(), first.first().map_or(0, |own| own.keys));
    let lies = lying(map, Part::Vision, entries, positions)?;
    let mut all = Vec::with_capacity(entries);
    for (entry, own) in lies.iter().enumerate() {
        let (rows, class) = (of_row(layers, entry), own.first().is_some_and(Option::is_none));
        let values = match (pool.and_then(|pool| pool.get(entry)), class) {
            // What pools looks at the last layer from outside.
            (Some(pool), _) => Layers(&rows).carry(pool.carry(&vec![1.0; pool.queries])),
            (None, true) => {
                let mut start = vec![0.0; positions];
                start.iter_mut().take(1).for_each(|own| *own = 1.0);
                let mut carried = Layers(&rows).carry(start);
                carried.iter_mut().take(1).for_each(|own| *own -= 1.0);
                carried
            }
            (None, false) => {
                let found = "this one has neither a class token nor attention that pools";
                return Err(input(&CARD, "a tower that says what its one vector is made of", found));
            }
        };
        all.push(pictured(Part::Vision, numbered("picture", entry, entries), own, &values));
    }
    Ok(all)
}

/// What is relevant to what is read at some positions.
fn relevant(
    trace: &Trace,
    places: &Places,
    (inputs, map): (&Inputs, &TokenMap),
    read: &[usize],
) -> Result<Relevant, AnalysisError> {
    let towers = places.towers.iter().map(|(part, sites)| Ok((*part, taken(trace, sites)?)));
    let towers: Vec<(Part, Vec<Vec<Taken>>)> = towers.collect::<Result<_, HookError>>()?;
    let own =
        |part: Part| towers.iter().find(|(other, _)| *other == part).map(|(_, layers)| layers.as_slice());
    let vision = own(Part::Vision).unwrap_or_default();
    let pool = places.pool.map(|site| Taken::of(trace.get(site)?, trace.grad(site)?)).transpose()?;
    let text = of_row(&taken(trace, &places.text)?, 0);
    let shows = !Positions::perceived(map).of(map).unwrap_or_default().is_empty();
    let seen = towers.iter().any(|(_, layers)| !layers.is_empty()) || pool.is_some();
    if !places.cross.is_empty() {
        let across = of_row(&taken(trace, &places.cross)?, 0);
        let (part, layers) = towers.first().map_or((Part::Vision, &[][..]), |(part, layers)| (*part, layers));
        let tower = of_row(layers, 0);
        let patches = across.first().map_or(0, |own| own.keys);
        let mut crossing = Crossing::new(map.len(), patches, Layers(&tower));
        for (among, across) in text.iter().zip(&across) {
            crossing.among(among);
            crossing.across(across);
        }
        let none = |at: usize| HookError::Objective { what: "position", index: at, len: map.len() };
        let rows = read.iter().map(|at| crossing.of(*at).ok_or_else(|| none(*at)));
        let (words, seen): (Vec<_>, Vec<_>) = rows.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let lies = lying(map, part, 1, patches)?.concat();
        let pictures = vec![pictured(part, called(part).to_owned(), &lies, &mean(&seen)?)];
        return Ok(Relevant { pictures, words: Some(mean(&words)?), together: true });
    }
    let mut words = None;
    if !text.is_empty() {
        let row = |at: &usize| {
            let mut start = vec![0.0; map.len()];
            let none = HookError::Objective { what: "position", index: *at, len: map.len() };
            *start.get_mut(*at).ok_or(none)? = 1.0;
            let mut carried = Layers(&text).carry(start);
            carried.iter_mut().skip(*at).take(1).for_each(|own| *own -= 1.0);
            Ok(carried)
        };
        words = Some(mean(&read.iter().map(row).collect::<Result<Vec<_>, HookError>>()?)?);
    }
    let mut pictures = Vec::new();
    match (&words, shows, seen) {
        (Some(words), true, true) => {
            for (tower, layers) in towers.iter().filter(|(_, layers)| !layers.is_empty()) {
                let first = layers.first().ok_or(HookError::NoObjective)?;
                let (entries, positions) = (first.len(), first.first().map_or(0, |own| own.keys));
                let lies = lying(map, *tower, entries, positions)?;
                let shares = handed_on(map, *tower, words, &lies)?;
                let order = inputs.entries(*tower).map_or(&[][..], |own| own.of_row(0));
                for (place, (own, shares)) in lies.iter().zip(shares).enumerate() {
                    // Where all entries are one sequence, it is the first and only one.
                    let entry = if entries == 1 { 0 } else { order.get(place).copied().unwrap_or(place) };
                    let carried = Layers(&of_row(layers, entry)).carry(shares);
                    let name = format!("{} through the tower", called(*tower));
                    pictures.push(pictured(*tower, numbered(&name, place, entries), own, &carried));
                }
            }
        }
        (_, false, true) if own(Part::Vision).is_some() || pool.is_some() => {
            pictures = pooled(map, vision, pool.as_ref())?;
        }
        _ => {}
    }
    for tower in Part::TOWERS {
        let Some(words) = words.as_ref().filter(|_| shows) else { continue };
        let heard = |patch: &PatchLabel| map.sound(patch.image).is_some() == (tower == Part::Audio);
        let shown = |patch: Option<PatchLabel>| patch.filter(heard);
        let own =
            map.tokens.iter().zip(words).filter_map(|(token, value)| Some((shown(token.patch)?, *value)));
        let (patches, values): (Vec<PatchLabel>, Vec<f64>) = own.unzip();
        if !patches.is_empty() {
            pictures.push(Pictured { tower, name: called(tower).to_owned(), patches, values, outside: None });
        }
    }
    Ok(Relevant { pictures, words, together: shows || !seen })
}

impl Relevant {
    fn tables(&self, map: &TokenMap, (unit, value): (Unit, f32)) -> Result<Vec<Labelled>, AnalysisError> {
        let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
        let (mut tables, mut outside) = (Vec::new(), Vec::new());
        for own in &self.pictures {
            let axes = vec![label::patch_axis(map, own.patches.clone())];
            tables.push(Labelled::numbers(own.name.clone(), Unit::None, axes, narrow(&own.values))?);
            let name = own.name.rsplit_once('/').map_or_else(String::new, |(_, at)| format!("/{at}"));
            let place = if own.tower == Part::Audio { "recording" } else { "patches" };
            let told =
                |value: f64| Labelled::scalar(format!("outside the {place}{name}"), Unit::None, value as f32);
            outside.extend(own.outside.map(told));
        }
        if let Some(words) = &self.words {
            tables.push(Labelled::numbers(
                "tokens",
                Unit::None,
                vec![label::token_axis(map)],
                narrow(words),
            )?);
            if self.together {
                let mut kinds: BTreeMap<Modality, f64> = BTreeMap::new();
                for (token, value) in map.tokens.iter().zip(words) {
                    *kinds.entry(token.modality).or_default() += value;
                }
                // Patches that are looked at from outside are no positions among the words.
                let apart = map.tokens.iter().all(|token| token.patch.is_none());
                let modality = if map.sounds.is_empty() { Modality::Image } else { Modality::Audio };
                for own in self.pictures.iter().filter(|_| apart) {
                    *kinds.entry(modality).or_default() +=
                        own.values.iter().sum::<f64>() + own.outside.unwrap_or(0.0);
                }
                let names =
                    Axis::names(Role::Concept, kinds.keys().map(|kind| format!("{kind:?}").to_lowercase()));
                let sums: Vec<f64> = kinds.into_values().collect();
                tables.push(Labelled::numbers("by modality", Unit::None, vec![names], narrow(&sums))?);
            }
        }
        tables.extend(outside);
        tables.push(Labelled::scalar("objective", unit, value));
        Ok(tables)
    }
}

impl Analysis for AttentionRelevance {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        settings.last.map(|last| at_least_one(&CARD, "last", last)).transpose()?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let (subject, inputs) = (on.subject(), on.encode(&case.sample)?);
        let objective = on.form(case, &inputs)?;
        let places = self.places(subject, &inputs);
        let times = 1 + on.each(case, &objective).len();
        let read = passes_of_reading(subject, &objective);
        let cost = Cost::rows(case.settling() + read + times);
        let sites = places.all();
        let taken = 4 * 4 * numbers(subject, &inputs, &sites)? as u64;
        let row = on.row(case, &inputs, &sites)?.bytes.saturating_add(taken);
        Ok(cost.with_gradients(times).taking(row, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let subject = on.subject();
        let (inputs, objective) = on.open(case)?;
        let map = one_row(CARD.id, &inputs)?;
        let places = self.places(subject, &inputs);
        let sites = places.all();
        if sites.is_empty() {
            return Err(input(
                &CARD,
                "a subject with attention",
                "no part that the sample enters publishes it",
            ));
        }
        let read = match places.text.is_empty() {
            true => Vec::new(),
            false => read_from(&CARD, subject, &inputs, &objective)?,
        };
        let spoken = Spoken::of(on, case, &inputs, &objective)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + spoken.objectives().len());
        let mut found = |objective: &Objective, read: &[usize]| -> Result<(f32, Relevant), AnalysisError> {
            let mut plan = Plan::new().objective(objective);
            for site in &sites {
                plan = plan.read(*site)?.grad(*site)?;
            }
            // Weights and gradients, on the way to the host once more, and what is made of them.
            let kept = 4 * 4 * numbers(subject, &inputs, &sites)? as u64;
            on.memory().hold(CARD.id, kept, subject.need(&inputs, &plan, Copies::ONE)?)?;
            let trace = subject.run(&inputs, plan)?;
            let value = *trace.scores()?.first().ok_or(HookError::NoObjective)?;
            let relevant = relevant(&trace, &places, (&inputs, map), read)?;
            progress.advance(1)?;
            Ok((value, relevant))
        };
        let unit = objective.unit();
        let (value, whole) = found(&objective, &read)?;
        let mut each = Vec::with_capacity(spoken.objectives().len());
        for own in spoken.objectives() {
            let read = read_from(&CARD, subject, &inputs, own)?;
            let (value, own) = found(own, &read)?;
            each.push(own.tables(map, (unit, value)));
        }
        let tables = spoken.with_each(std::iter::once(whole.tables(map, (unit, value))).chain(each))?;
        let words: Vec<f32> = whole.words.iter().flatten().map(|value| *value as f32).collect();
        let shown = whole.pictures.iter().flat_map(|own| own.values.iter().map(|value| *value as f32));
        let all: Vec<f32> = words.iter().copied().chain(shown).collect();
        let zero = caution::nothing(&all, "relevances");
        let sink =
            caution::sink(&words, &map.tokens, ": attention rests there where there is nothing to be taken");
        let cautions = caution::saturated(&objective, value).into_iter().chain(zero).chain(sink);
        Ok(Answer::new(tables, sites).explaining(&objective).cautioned(cautions))
    }
}
