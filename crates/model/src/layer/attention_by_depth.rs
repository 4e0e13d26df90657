//! Attention by depth: who looks at whom in each layer, how evenly, and how far?
//!
//! # Idea
//! With `A[l, h, q, k]` the attention weights, and the positions of a prompt of kinds (pictures, words, markers),
//!
//! ```text
//! shares[l, F, T]  = mean over h and over q in F of the sum over k in T of A[l, h, q, k]
//! entropy[l, h]    = mean over q of -sum over k of A ln A
//! distance[l, h]   = mean over q of  sum over k of A |q - k|
//! ```
//!
//! Beside each stands what attention would have that lies evenly over the positions a query sees (with a weight above zero in some
//! head): where the picture is long and comes first, even attention falls on it, too.
//!
//! # In and out
//! In: a [`Case`] of one row. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `shares` | layer, query, key | ratio | how much a kind of positions (query) gives to each kind (key); rows sum to one |
//! | `entropy` | layer, head | nat | how evenly a head looks |
//! | `distance` | layer, head | count | how many positions away |
//! | `even shares` | layer, query, key | ratio | the same of even attention |
//! | `even entropy`, `even distance` | layer | nat, count | the same |
//! | `cautions` | rank | text | nearly all on markers, or on the first position; shares that are those of even attention |
//!
//! # Settings
//! - `part`: the language model; where it has no attention, or an encoder of its own reads the words, the tower ([`Part`]). Of a tower
//!   the kinds are `image` and, where it has a class token, `special`; several pictures are taken together.
//! - `layers`: all, or some by number ([`Indices`]).
//!
//! # Cost
//! One forward pass with explicit attention, some queries at a time; nothing of the size of a pattern is held.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject or part without attention, or a sample of several rows; [`AnalysisError::Setting`] for a layer
//! past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - Weights are not contributions, and a first token that serves as a sink is counted as a marker or a word that is looked at: where markers or the
//!   first position have nine tenths of all attention, it is spoken of.
//! - Means over queries hide the few at which something happens; [`attention_maps`](crate::token::attention_maps) has them one by one.
//! - Early queries of a causal decoder see little, so that their entropy is small whatever they do: compare with `even entropy`. Shares that lie within 0.05
//!   of those of even attention in every layer say how many positions of each kind there are, and are spoken of.
//!
//! # Agreement
//! NumPy on transformers' weights of `llava-a`'s language model and of `clip-a`'s tower: largest difference relative to the largest value 3.2e-7. Identities tested: rows of
//! `shares` sum to one; even attention has what stands as even; the same whether a pattern comes at once or query by query.
//!
//! # Reference
//! Aflalo et al.: VL-InterpreT. CVPR 2022. <https://arxiv.org/abs/2203.17247> (shares between modalities by layer); Zhang et al.: From
//! Redundancy to Relevance. NAACL 2025. <https://arxiv.org/abs/2406.06579>; Clark et al.: What Does BERT Look At? BlackboxNLP 2019.
//! <https://arxiv.org/abs/1906.04341> (entropy). What even attention has is ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case};
//! use mmlens_model::AttentionByDepth;
//! # fn explain(subject: &dyn mmlens_core::Subject, case: &Case) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = AttentionByDepth::default().run(subject, case)?;
//! println!("{:?}", finding.table("shares")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Labels, Modality, Role, Unit, largest};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Cost, Inputs, Leaf, On, Part, Point, Site,
    Subject, caution, kind,
};
use mmlens_engine::{Gaze, Indices, Kinds, Progress, gazes, label, one_row};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{given, input, not_finite, part_with_attention};

/// What this method is.
pub const CARD: Card = Card {
    id: "attention-by-depth",
    short: "depth",
    name: "Attention by depth",
    question: "Who looks at whom in each layer, how evenly, and how far?",
    citation: "Aflalo et al.: VL-InterpreT: An Interactive Visualization Tool for Interpreting Vision-Language Transformers. CVPR 2022. https://arxiv.org/abs/2203.17247",
    leaf: Leaf::Layer,
    cost: "1 forward with explicit attention",
    needs: &[Capability::Attention],
    misleads: &[
        "Weights are not contributions; a sink is looked at without being used.",
        "Means over queries hide the few at which something happens.",
        "Early queries see little: compare with even attention.",
    ],
    first: false,
};

/// Of what.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of which part; `None` for the language model, or where it does not look at words itself, the tower.
    pub part: Option<Part>,
    /// In which layers.
    pub layers: Indices,
}

/// Attention by depth with checked settings.
#[derive(Debug, Clone, Default)]
pub struct AttentionByDepth {
    settings: Settings,
}

impl Analysis for AttentionByDepth {
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
        let cost = Cost::rows(inputs.rows());
        Ok(cost.taking(on.row(case, &inputs, &[])?.bytes, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, part) = (on.subject(), part_with_attention(&CARD, on.subject(), self.settings.part)?);
        let inputs = on.encode(&case.sample)?;
        let each = kinds(subject, &inputs, part)?;
        let mut all = each.clone();
        all.sort_unstable();
        all.dedup();
        let number = |kind: &Modality| all.iter().position(|own| own == kind).unwrap_or(0);
        let kinds = Kinds { of: each.iter().map(number).collect(), count: all.len() };
        let of = kind::blocks(subject, part);
        let layers = self.settings.layers.chosen(CARD.id, "layers", of)?;
        let sites: Vec<Site> = layers.iter().map(|layer| Site::block(part, *layer, Point::Pattern)).collect();
        let mut progress = Progress::new(on.watch(), CARD.id, 1);
        let seen = gazes(subject, &inputs, &sites, &kinds, (&on.memory(), CARD.id))?;
        progress.advance(1)?;
        let names = || all.iter().map(|kind| format!("{kind:?}").to_lowercase());
        let layer = Indices::axis(Role::Layer, &layers, of);
        let heads = seen.first().map_or(0, |[own, _]| own.entropy.len());
        let by_head = vec![layer.clone(), Axis::count(Role::Head, heads)];
        let between = vec![layer.clone(), Axis::names(Role::Query, names()), Axis::names(Role::Key, names())];
        let table = |name: &str, unit, axes: &[Axis], of: fn(&[Gaze; 2]) -> &[f64]| {
            let values = seen.iter().flat_map(of).map(|value| *value as f32).collect();
            Labelled::numbers(name, unit, axes.to_vec(), values)
        };
        let layer = [layer];
        let tables = vec![
            table("shares", Unit::Ratio, &between, |[own, _]| &own.shares)?,
            table("entropy", Unit::Nat, &by_head, |[own, _]| &own.entropy)?,
            table("distance", Unit::Count, &by_head, |[own, _]| &own.distance)?,
            table("even shares", Unit::Ratio, &between, |[_, even]| &even.shares)?,
            table("even entropy", Unit::Nat, &layer, |[_, even]| &even.entropy)?,
            table("even distance", Unit::Count, &layer, |[_, even]| &even.distance)?,
        ];
        let rests = rests(&seen, (&each, &all));
        let said = rests.into_iter().chain(even_throughout(&seen, all.len())?);
        Ok(Answer::new(tables, sites).cautioned(said).settled("part", json!(part)))
    }
}

/// Shares that differ from those of even attention by less than this in every layer tell how many positions there are of each kind.
const EVEN: f64 = 0.05;

/// That nearly all attention rests on markers, or else on the first position, in the mean over layers.
fn rests(seen: &[[Gaze; 2]], (each, all): (&[Modality], &[Modality])) -> Option<Caution> {
    let layers = seen.len().max(1) as f64;
    let queries = |kind: &Modality| each.iter().filter(|own| *own == kind).count() as f64;
    let marker = all.iter().position(|kind| *kind == Modality::Special);
    let on_markers = |gaze: &Gaze| -> f64 {
        let to = |(from, row): (&Modality, &[f64])| {
            queries(from) * marker.and_then(|marker| row.get(marker)).copied().unwrap_or(0.0)
        };
        all.iter().zip(gaze.shares.chunks(all.len().max(1))).map(to).sum::<f64>() / each.len().max(1) as f64
    };
    let mean = |of: &dyn Fn(&Gaze) -> f64| seen.iter().map(|[own, _]| of(own)).sum::<f64>() / layers;
    let (markers, first) = (mean(&on_markers), mean(&|gaze| gaze.first));
    let (share, whom) = if markers >= first { (markers, "markers") } else { (first, "the first position") };
    // Of markers alone, or of a single position, there is nothing else to look at.
    let others = each.len() > 1 && each.iter().any(|kind| *kind != Modality::Special);
    (others && share > caution::SINK).then(|| {
        let text = format!(
            "{:.0} % of all attention lies on {whom}, in the mean over layers, heads and queries: it rests there where there is nothing to fetch, and \
             shares of other kinds are of what is left",
            100.0 * share
        );
        Caution::new(CautionKind::Sink, share as f32, text)
    })
}

/// That shares are those of even attention in every layer.
fn even_throughout(seen: &[[Gaze; 2]], kinds: usize) -> Result<Option<Caution>, AnalysisError> {
    let apart = seen.iter().flat_map(|[own, even]| own.shares.iter().zip(&even.shares));
    let apart: Vec<f64> = apart.map(|(own, even)| own - even).collect();
    let most = largest(&apart).map_err(|own| not_finite(&CARD, "share", own))?;
    Ok((kinds > 1 && most < EVEN).then(|| {
        let text = format!(
            "in every layer shares lie within {most:.3} of those of even attention: they say how many positions of each kind there are"
        );
        Caution::new(CautionKind::NoBetter, most as f32, text)
    }))
}

/// Of what kind each position is.
fn kinds(subject: &dyn Subject, inputs: &Inputs, part: Part) -> Result<Vec<Modality>, AnalysisError> {
    if part == Part::Text {
        let map = one_row(CARD.id, inputs)?;
        return Ok(map.tokens.iter().map(|token| token.modality).collect());
    }
    given(&CARD, inputs, part)?;
    let dims = subject.dims(inputs, Site::block(part, 0, Point::Pattern))?;
    let [entries, _, len, _] = dims[..] else {
        return Err(input(&CARD, "a part whose attention has heads, queries and keys", format!("{dims:?}")));
    };
    let of = |entry| match label::tower_axis(inputs.map(), part, entry, entries, len).labels {
        Labels::Tokens(tokens) => tokens.into_iter().map(|token| token.modality).collect(),
        _ => vec![Modality::Image; len],
    };
    let first: Vec<Modality> = of(0);
    match part == Part::Audio && (1..entries).any(|entry| of(entry) != first) {
        true => Err(input(&CARD, "recordings of one length", "they end at different positions")),
        false => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::{CautionKind, Modality};
    use mmlens_engine::Gaze;

    use super::{even_throughout, rests};

    fn layer(shares: &[f64], first: f64) -> [Gaze; 2] {
        let gaze = |shares: &[f64], first| Gaze { shares: shares.to_vec(), first, ..Gaze::default() };
        [gaze(shares, first), gaze(&[0.5, 0.5, 0.5, 0.5], 0.4)]
    }

    /// Three words and a marker: what the marker has in the mean over queries, or what the first position has, above nine tenths.
    #[test]
    fn what_rests_is_told_with_its_share() {
        let each = [Modality::Text, Modality::Text, Modality::Text, Modality::Special];
        let all = [Modality::Text, Modality::Special];
        let kind = |seen: &[[Gaze; 2]]| rests(seen, (&each, &all)).map(|own| (own.kind, own.number));
        // (3 x 0.92 + 1.0) / 4 of the marker in one layer.
        let one = [layer(&[0.08, 0.92, 0.0, 1.0], 0.05)];
        let (found, number) = kind(&one).unwrap();
        assert!(found == CautionKind::Sink && (number - 0.94).abs() < 1e-6, "{number}");
        assert_eq!(kind(&[one[0].clone(), layer(&[0.5, 0.5, 0.0, 1.0], 0.05)]), None);
        let first = [layer(&[1.0, 0.0, 1.0, 0.0], 0.95)];
        assert_eq!(kind(&first), Some((CautionKind::Sink, 0.95)));
        assert_eq!(kind(&[layer(&[1.0, 0.0, 1.0, 0.0], 0.85)]), None);
        assert_eq!(rests(&first, (&each[..1], &all[..1])), None);
        assert_eq!(even_throughout(&first, 2).unwrap(), None);
        let even = even_throughout(&[layer(&[0.52, 0.48, 0.46, 0.54], 0.4)], 2).unwrap().unwrap();
        assert!(even.kind == CautionKind::NoBetter && (even.number - 0.04).abs() < 1e-6, "{even:?}");
        assert_eq!(even_throughout(&[layer(&[0.5, 0.5, 0.5, 0.5], 0.4)], 1).unwrap(), None);
        assert!(even_throughout(&[layer(&[f64::NAN, 0.5, 0.5, 0.5], 0.4)], 2).is_err());
    }
}
