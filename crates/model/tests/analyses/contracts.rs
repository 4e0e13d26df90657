//! Every row of `METHODS` keeps the contract of analyses, on every tiny subject.

use std::collections::BTreeSet;

use mmlens_core::{Analysis, Case, Pair, Point, Sample, Subject};
use mmlens_model::activation_patching::{self, ActivationPatching};
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_model::occlusion::{self, Occlusion};
use mmlens_model::{
    AttentionKnockout, AttentionRollout, AttributionPatching, EdgeAttribution, METHODS, PathPatching,
    attention_knockout, attribution_patching, edge_attribution, path_patching,
};
use mmlens_testkit::{Toy, analysis_breaches};

use crate::support::{llava, painted, shown};

fn keeps<A: Analysis>(analysis: &A, subject: &dyn Subject, input: &A::Input, probe: &Sample) -> &'static str {
    let probe = subject.encode(probe).unwrap();
    let breaches = analysis_breaches(analysis, subject, input, &probe);
    assert!(breaches.is_empty(), "{} on {}:\n{}", analysis.card().id, subject.name(), breaches.join("\n"));
    analysis.card().id
}

fn all(subject: &dyn Subject, clean: &Sample, corrupted: &Sample) {
    let case = Case::new(clean.clone());
    let pair = Pair { clean: case.clone(), corrupted: corrupted.clone() };
    let gradients =
        IntegratedGradients::new(integrated_gradients::Settings { steps: 4, rows: 3, ..Default::default() });
    let hidden = occlusion::Settings {
        picture: Some(occlusion::Cover::Grid { rows: 3, cols: 2 }),
        ..Default::default()
    };
    let points = vec![Point::ResidPre, Point::AttnOut, Point::MlpOut];
    let patching = ActivationPatching::new(activation_patching::Settings { points, ..Default::default() });
    let kept = BTreeSet::from([
        keeps(&gradients.unwrap(), subject, &case, clean),
        keeps(&Occlusion::new(hidden).unwrap(), subject, &case, clean),
        keeps(&AttentionRollout::default(), subject, &case, clean),
        keeps(&LogitLens::new(logit_lens::Settings::default()).unwrap(), subject, &case, clean),
        keeps(&patching.unwrap(), subject, &pair, clean),
        keeps(
            &AttributionPatching::new(attribution_patching::Settings::default()).unwrap(),
            subject,
            &pair,
            clean,
        ),
        keeps(&EdgeAttribution::new(edge_attribution::Settings::default()).unwrap(), subject, &pair, clean),
        keeps(&PathPatching::new(path_patching::Settings::default()).unwrap(), subject, &pair, clean),
        keeps(
            &AttentionKnockout::new(attention_knockout::Settings::default()).unwrap(),
            subject,
            &case,
            clean,
        ),
    ]);
    let listed: BTreeSet<&str> = METHODS.iter().map(|card| card.id).collect();
    assert_eq!(kept, listed);
}

#[test]
fn on_the_toys() {
    for toy in [Toy::curved(2), Toy::straight(2)] {
        let of = |picture: u32, words: &str| Sample::prompt(vec![painted(picture)], words);
        all(&toy, &of(1, "#abc"), &of(2, "#xbz"));
    }
}

#[test]
fn on_llava() {
    all(llava("llava-a"), &shown(&["square"], "<image>Red?"), &shown(&["tall"], "<image>Red?"));
}

#[test]
fn on_llava_with_the_class_token() {
    all(llava("llava-b"), &shown(&["square"], "<image>Red?"), &shown(&["tall"], "<image>Red?"));
}

#[test]
fn on_llava_with_several_feature_layers() {
    all(llava("llava-multi"), &shown(&["square"], "<image>Red?"), &shown(&["tall"], "<image>Red?"));
}

#[test]
fn cards_are_complete() {
    for card in METHODS {
        for text in [card.name, card.question, card.citation, card.cost, card.needs] {
            assert!(!text.is_empty(), "{card:?}");
        }
        assert!(
            card.citation.contains("https://") && card.question.ends_with('?') && card.misleads.len() > 1,
            "{card:?}"
        );
    }
}
