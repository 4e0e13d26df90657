//! The methods that `mmlens explain` offers: one row each, everything else follows from it.
//!
//! What stands for a picture that is not there is the same in all of them: its own mean colour. On the shapes world that
//! finds the evidence better than the colour that normalisation makes zero, by 1.3 times (integrated gradients) and 1.6
//! times (occlusion). For words of a prompt it is their mean; for a caption that is compared with a picture it is zero, since the
//! mean of its words, with all of them in it, fits the picture as well as the caption does.

use clap::builder::PossibleValue;
use mmlens::core::{
    Analysis, AnalysisError, Baseline, Card, Case, Pair, Part, Point, Site, Subject, Watch, Words,
};
use mmlens::engine::{End, Memory, Positions};
use mmlens::finding::{Axis, Finding, FindingError, Labelled, Labels, Role, TableError, top};
use mmlens::model::{
    ActivationPatching, AttentionKnockout, AttentionRollout, AttributionPatching, IntegratedGradients,
    LogitLens, Occlusion, activation_patching, attention_knockout, attention_rollout, attribution_patching,
    integrated_gradients, logit_lens, occlusion,
};
use mmlens::report::Guide;

use crate::input::is_dual;

/// What the methods are run on.
pub(crate) struct Question {
    /// What is explained.
    pub(crate) case: Case,
    /// The sample that leads to another answer, or why there is none.
    pub(crate) corrupted: Result<mmlens::core::Sample, &'static str>,
    /// What each method may take at once.
    pub(crate) memory: Memory,
}

impl Question {
    /// The case and the corrupted sample, for a method that compares them.
    fn pair(&self, card: &Card) -> Result<Pair, AnalysisError> {
        let corrupted = self.corrupted.clone().map_err(|reason| AnalysisError::Input {
            method: card.id,
            needs: "a corrupted sample",
            found: reason.to_owned(),
        })?;
        Ok(Pair { clean: self.case.clone(), corrupted })
    }

    /// Pictures and clips.
    fn pictures(&self) -> usize {
        self.case.sample.pictures.len() + self.case.sample.clips.len()
    }
}

type Run = fn(&dyn Subject, &Question, &dyn Watch) -> Result<Finding, AnalysisError>;

/// A method, with what the program knows of its finding.
pub(crate) struct Method {
    /// Its name on the command line and in file names.
    pub(crate) name: &'static str,
    pub(crate) card: &'static Card,
    /// Whether it compares with the corrupted sample.
    pub(crate) compares: bool,
    run: Run,
    /// The table that is drawn over the picture, if one says something of places.
    heat: Option<&'static str>,
    /// Which of its layers, where it has some.
    layer: fn(&Labelled) -> usize,
    /// The tables on the page. The others are in the file: single coordinates, or the same in another unit.
    page: &'static [&'static str],
}

/// Every method, in the order in which they are run and shown.
pub(crate) static METHODS: [Method; 7] = [
    Method {
        name: "ig",
        card: &integrated_gradients::CARD,
        compares: false,
        run: |subject, question, watch| {
            let sites = [
                (question.pictures() > 0).then_some(Site::of(Part::Vision, Point::Pixels)),
                // The words: an encoder of their own reads them, or the language model does.
                Some(match read_apart(subject) {
                    true => Site::of(Part::Encoder, Point::Embed),
                    false => Site::of(Part::Text, Point::Embed),
                }),
            ];
            let there = |site: &Site| subject.sites().iter().any(|spec| spec.site == *site);
            let sites = sites.into_iter().flatten().filter(there);
            let compared = is_dual(subject);
            let baseline = |site: Site| match site.point() {
                Point::Embed if compared => Baseline::Zero,
                _ => Baseline::Mean,
            };
            let along = sites.map(|site| End::new(site, baseline(site))).collect();
            // Beside words, pixels need more nodes than alone: a gap of one part in a hundred instead of ten.
            let settings = integrated_gradients::Settings { along, steps: 128, ..Default::default() };
            let method = IntegratedGradients::new(settings)?.within(question.memory);
            method.run_watched(subject, &question.case, watch)
        },
        heat: Some("vision.pixels/picture"),
        layer: |_| 0,
        page: &[
            "vision.pixels/picture",
            "text.embed/tokens",
            "encoder.embed/tokens",
            "by site",
            "path",
            "objective",
            "objective at baseline",
            "completeness gap",
            "relative completeness gap",
        ],
    },
    Method {
        name: "occlusion",
        card: &occlusion::CARD,
        compares: false,
        run: |subject, question, watch| {
            let mut settings = occlusion::Settings { pixels: Baseline::Mean, ..Default::default() };
            if question.pictures() == 0 {
                settings.picture = None;
            }
            if question.case.sample.words == Words::Nothing || read_apart(subject) {
                settings.words = None;
            }
            Occlusion::new(settings)?.within(question.memory).run_watched(subject, &question.case, watch)
        },
        heat: Some("picture"),
        layer: |_| 0,
        page: &["picture", "tokens", "objective"],
    },
    Method {
        name: "rollout",
        card: &attention_rollout::CARD,
        compares: false,
        run: |subject, question, watch| {
            AttentionRollout::default().within(question.memory).run_watched(subject, &question.case, watch)
        },
        heat: Some("picture through the tower"),
        layer: |_| 0,
        page: &["tokens", "picture through the tower", "by modality", "outside the patches"],
    },
    Method {
        name: "logit-lens",
        card: &logit_lens::CARD,
        compares: false,
        run: |subject, question, watch| {
            let method = LogitLens::new(logit_lens::Settings::default())?.within(question.memory);
            method.run_watched(subject, &question.case, watch)
        },
        heat: Some("target"),
        layer: clearest,
        page: &["words", "probabilities", "target"],
    },
    Method {
        name: "patching",
        card: &activation_patching::CARD,
        compares: true,
        run: |subject, question, watch| {
            let pair = question.pair(&activation_patching::CARD)?;
            ActivationPatching::new(activation_patching::Settings::default())?
                .within(question.memory)
                .run_watched(subject, &pair, watch)
        },
        heat: Some("resid_pre"),
        // What enters the first block: which patches bring the answer back.
        layer: |_| 0,
        page: &["resid_pre", "clean", "corrupted", "corrupted tokens"],
    },
    Method {
        name: "attribution",
        card: &attribution_patching::CARD,
        compares: true,
        run: |subject, question, watch| {
            let pair = question.pair(&attribution_patching::CARD)?;
            AttributionPatching::new(attribution_patching::Settings::default())?
                .within(question.memory)
                .run_watched(subject, &pair, watch)
        },
        heat: Some("resid_pre"),
        // What enters the first block.
        layer: |_| 0,
        page: &["resid_pre", "attn.z/heads", "mlp_out", "clean", "corrupted"],
    },
    Method {
        name: "knockout",
        card: &attention_knockout::CARD,
        compares: false,
        run: |subject, question, watch| {
            let mut settings = attention_knockout::Settings::default();
            if question.pictures() == 0 {
                settings.edges.retain(|edges| edges.keys != Positions::Pictures);
            }
            AttentionKnockout::new(settings)?.within(question.memory).run_watched(
                subject,
                &question.case,
                watch,
            )
        },
        heat: None,
        layer: |_| 0,
        page: &["change", "probability change", "pairs", "objective", "probability"],
    },
];

/// Whether words are read by an encoder of their own.
fn read_apart(subject: &dyn Subject) -> bool {
    subject.anatomy().iter().any(|anatomy| anatomy.part == Part::Encoder)
}

/// The layer whose patches differ most.
fn clearest(table: &Labelled) -> usize {
    let [layers, tokens] = table.axes() else { return 0 };
    let patches: Vec<usize> = match &tokens.labels {
        Labels::Tokens(tokens) => {
            (0..tokens.len()).filter(|i| tokens.get(*i).is_some_and(|t| t.patch.is_some())).collect()
        }
        _ => Vec::new(),
    };
    let spread = |layer: usize| {
        let values = || patches.iter().filter_map(|token| table.get(&[layer, *token]));
        // no NaN: a finding's numbers are finite
        values().fold(f32::MIN, f32::max) - values().fold(f32::MAX, f32::min) // no NaN: the same
    };
    let spreads: Vec<f32> = (0..layers.len()).map(spread).collect();
    // Which layer is shown first; of a table without numbers, the first.
    top(&spreads).ok().flatten().unwrap_or(0)
}

/// Whether an axis holds tokens, none of which is a patch.
fn wordy(axis: &Axis) -> bool {
    match &axis.labels {
        Labels::Tokens(tokens) => tokens.iter().all(|token| token.patch.is_none()),
        _ => false,
    }
}

/// Whether a table of texts says at each position what its axis says anyway.
fn repeats_its_axis(table: &Labelled) -> bool {
    let (Some(texts), [axis]) = (table.as_texts(), table.axes()) else { return false };
    texts.iter().enumerate().all(|(i, text)| axis.label(i).as_ref() == Some(text))
}

/// A table over tokens, without those of pictures where all of them are zero.
fn without_idle_patches(table: &Labelled) -> Result<Labelled, TableError> {
    let (Some(values), [Axis { labels: Labels::Tokens(tokens), .. }]) = (table.as_numbers(), table.axes())
    else {
        return Ok(table.clone());
    };
    let (patches, words): (Vec<usize>, Vec<usize>) =
        (0..tokens.len()).partition(|i| tokens.get(*i).is_some_and(|token| token.patch.is_some()));
    if patches.iter().any(|i| values.get(*i) != Some(&0.0)) {
        return Ok(table.clone());
    }
    table.select(0, &words)
}

/// A heat map to be drawn over pictures.
pub(crate) struct Heat {
    /// Where the numbers come from, in words.
    pub(crate) from: String,
    /// One table, or one for each picture or tile.
    pub(crate) tables: Vec<Labelled>,
}

impl Method {
    pub(crate) fn run(
        &self,
        subject: &dyn Subject,
        question: &Question,
        watch: &dyn Watch,
    ) -> Result<Finding, AnalysisError> {
        (self.run)(subject, question, watch)
    }

    /// How it is to be read.
    pub(crate) fn guide(&self) -> Guide {
        let Card { id, question, misleads, .. } = *self.card;
        let misleads = misleads.iter().map(|when| (*when).to_owned()).collect();
        Guide { method: id.to_owned(), question: question.to_owned(), misleads }
    }

    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name || method.card.id == name)
    }

    /// How the command line presents it.
    pub(crate) fn value(&self) -> PossibleValue {
        let value = PossibleValue::new(self.name).help(self.card.question);
        if self.card.id == self.name { value } else { value.alias(self.card.id) }
    }

    /// What of a finding is shown on a page, `target` being how the page calls the token that is explained.
    pub(crate) fn on_page(&self, finding: &Finding, id: u32, target: &str) -> Result<Finding, FindingError> {
        let mut provenance = finding.provenance.clone();
        let named = format!("token {id} (“{target}”)");
        provenance.objective = provenance.objective.map(|text| text.replace(&format!("token {id}"), &named));
        let shown = finding.tables().iter().filter(|table| self.page.contains(&table.quantity().as_str()));
        let tables = shown.filter(|table| !repeats_its_axis(table)).map(without_idle_patches);
        Finding::new(provenance, tables.collect::<Result<_, _>>()?)
    }

    /// What of a finding is drawn over the pictures of the sample.
    pub(crate) fn heat(&self, finding: &Finding) -> Option<Heat> {
        let heat = self.heat?;
        let tables: Vec<&Labelled> =
            finding.tables().iter().filter(|table| table.quantity() == heat).collect();
        let first = tables.first()?;
        // Of words alone nothing can be drawn over a picture.
        if first.axes().iter().any(wordy) {
            return None;
        }
        let layers = first.axis_of(Role::Layer).and_then(|axis| Some((axis, first.axes().get(axis)?)));
        let Some((axis, layers)) = layers else {
            return Some(Heat { from: format!("`{heat}`"), tables: tables.into_iter().cloned().collect() });
        };
        let layer = (self.layer)(first);
        let name = layers.label(layer).unwrap_or_default();
        let name = if name == layer.to_string() { format!("layer {layer}") } else { name };
        let of_layer = tables.iter().map(|table| table.slice(axis, layer).ok());
        Some(Heat { from: format!("`{heat}`, {name}"), tables: of_layer.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mmlens::finding::{Modality, PatchLabel, TokenLabel, Unit};
    use mmlens::model;

    use super::*;

    #[test]
    fn every_method_of_the_library_is_offered() {
        let offered: BTreeSet<&str> = METHODS.iter().map(|method| method.card.id).collect();
        // A pass for every edge, and hundreds of names on each axis: for those who ask in code.
        let apart = ["edge-attribution", "path-patching"];
        let listed = model::METHODS.iter().map(|card| card.id).filter(|id| !apart.contains(id));
        assert_eq!(offered, listed.collect());
        for method in &METHODS {
            for name in [method.name, method.card.id] {
                assert_eq!(Method::of(name).map(|m| m.name), Some(method.name));
            }
        }
    }

    #[test]
    fn patches_without_a_share_are_left_out() {
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, 1.0, 1.0] };
        let tokens = vec![
            TokenLabel::new("<image>", Modality::Image).with_patch(patch),
            TokenLabel::new("red", Modality::Text),
        ];
        let table = |values| {
            Labelled::numbers("tokens", Unit::Logit, vec![Axis::tokens(tokens.clone())], values).unwrap()
        };
        let words = without_idle_patches(&table(vec![0.0, 0.5])).unwrap();
        assert_eq!((words.shape(), words.get(&[0])), (vec![1], Some(0.5)));
        let all = table(vec![0.1, 0.5]);
        assert_eq!(without_idle_patches(&all).unwrap(), all);
    }

    #[test]
    fn the_map_of_a_lens_is_of_the_layer_that_tells_patches_apart() {
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col: 0, bbox: [0.0, 0.0, 1.0, 1.0] };
        let patch = TokenLabel::new("<image>", Modality::Image).with_patch(patch);
        let tokens = vec![patch.clone(), patch, TokenLabel::new("red", Modality::Text)];
        let axes = vec![Axis::count(Role::Layer, 3), Axis::tokens(tokens)];
        // the patches are 0.1, 0.5 and 0.2 apart; the word, which is no patch, is far from them in the first layer
        let values = vec![0.1, 0.2, 9.0, 0.5, 0.0, 0.1, 0.3, 0.1, 0.2];
        assert_eq!(clearest(&Labelled::numbers("target", Unit::Probability, axes, values).unwrap()), 1);
    }

    #[test]
    fn the_same_words_again_are_left_out() {
        let axis = Axis::names(Role::Token, ["is", "it"]);
        let texts = |words: [&str; 2]| {
            Labelled::texts("corrupted tokens", vec![axis.clone()], words.map(str::to_owned).to_vec())
                .unwrap()
        };
        assert!(repeats_its_axis(&texts(["is", "it"])) && !repeats_its_axis(&texts(["is", "red"])));
    }
}
