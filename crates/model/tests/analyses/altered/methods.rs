//! Every method under standing edits: what it tells is what it tells of a model made so, and its contract holds.

use std::collections::BTreeMap;

use mmlens_core::finding::Finding;
use mmlens_core::{AnalysisError, Capability, Case, Given, Method, On, Sample, Subject};
use mmlens_model::METHODS;
use mmlens_testkit::{Toy, analysis_breaches};

use super::{ROUNDING, under};
use crate::support::{alone, llava, many, painted, settings, shown};

type Found = Result<Finding, AnalysisError>;

/// Every method on one case and one pair, by the id of its card, and what it breaks of its contract.
fn every_method(
    subject: &dyn Subject,
    clean: &Sample,
    corrupted: &Sample,
) -> BTreeMap<&'static str, (Found, Vec<String>)> {
    let given = Given::new(Case::new(clean.clone())).unwrap().against(corrupted.clone()).over(many(clean));
    let probe = subject.encode(clean).unwrap();
    let one = |method: &Method| {
        let made = method.make(settings(method).swap_remove(0)).unwrap();
        let found = made.run_given(&On::new(subject), &given);
        let breaches = match &found {
            Ok(_) => analysis_breaches(made.as_ref(), subject, &given, &probe),
            Err(_) => Vec::new(),
        };
        (method.card.id, (found, breaches))
    };
    of_words().map(one).collect()
}

/// Every method that a model of words alone can be asked.
fn of_words() -> impl Iterator<Item = &'static Method> {
    METHODS.iter().filter(|method| alone(method) && !method.card.needs.contains(&Capability::SharedSpace))
}

#[test]
fn without_edits_no_bit_of_any_finding_changes() {
    let toy = Toy::curved(2);
    let of = |picture: u32, words: &str| Sample::prompt(vec![painted(picture)], words);
    let on_toy: (&dyn Subject, _, _) = (&toy, of(1, "#abc"), of(2, "#xbz"));
    let on_llava: (&dyn Subject, _, _) =
        (llava("llava-a"), shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
    for (subject, clean, corrupted) in [on_toy, on_llava] {
        let bare = every_method(subject, &clean, &corrupted);
        let empty = every_method(&under(subject, &[]), &clean, &corrupted);
        assert_eq!(bare.len(), of_words().count());
        for (id, (finding, _)) in bare {
            assert_eq!(empty[id].0.as_ref().unwrap(), &finding.unwrap(), "{id}");
        }
    }
}

/// A head whose weights are zero writes what a head whose mix of values is zeroed does: a model without standing edits, held
/// against one with them, method by method and number by number.
#[test]
fn every_method_tells_of_an_ablated_head_what_it_tells_of_a_model_without_it() {
    for (block, head) in [(0, 1), (1, 0)] {
        let (toy, without) = (Toy::curved(4), Toy::curved(4).without_head(block, head));
        let ablated = under(&toy, &[&format!("text.blocks.{block}.attn.z[head={head}]=zero")]);
        let of = |picture: u32, words: &str| Sample::prompt(vec![painted(picture)], words);
        let (clean, corrupted) = (of(1, "#abc"), of(2, "#xbz"));
        let wanted = every_method(&without, &clean, &corrupted);
        let plain = every_method(&toy, &clean, &corrupted);
        let mut unmoved = Vec::new();
        for (id, (finding, breaches)) in every_method(&ablated, &clean, &corrupted) {
            assert!(breaches.is_empty(), "{id}:\n{}", breaches.join("\n"));
            let (finding, wanted) = (finding.unwrap(), wanted[id].0.as_ref().unwrap());
            assert_eq!(finding.provenance.alterations, ablated.alterations());
            for table in wanted.tables() {
                let found = finding.table(table.name()).unwrap();
                assert_eq!(found.axes(), table.axes(), "{id} {}", table.name());
                let (Some(numbers), Some(wanted)) = (found.as_numbers(), table.as_numbers()) else {
                    continue;
                };
                ROUNDING.check(&format!("{id} {}", table.name()), numbers, wanted).unwrap();
            }
            if plain[id].0.as_ref().unwrap().tables() == finding.tables() {
                unmoved.push(id);
            }
        }
        // What sees attention weights alone sees no difference where those behind the head do not change.
        let mut weights = vec!["attention-maps", "attention-rollout", "head-measures", "attention-by-depth"];
        // Counts of positions beyond bounds, and states in front of all heads.
        weights.extend(["sinks-over-cases", "modality-gap"]);
        assert!(unmoved.iter().all(|id| weights.contains(id)), "{unmoved:?}");
    }
}

#[test]
fn every_method_keeps_its_contract_under_edits_of_all_kinds() {
    let subject = llava("llava-a");
    let texts = [
        "vision.pixels=scale:0.5",
        "vision.blocks.1.attn.z[head=2]=zero",
        "connector.out[image=0]=scale:0.9",
        "text.blocks.1.attn.z[head=3]=zero",
        "text.blocks.1.mlp.post[neuron=0..4]=zero",
        "text.blocks.2.mlp_out[pos=3,4]=mean",
        "text.logits=scale:0.5",
    ];
    let altered = under(subject, &texts);
    let (clean, corrupted) = (shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
    for (id, (finding, breaches)) in every_method(&altered, &clean, &corrupted) {
        assert_eq!(finding.unwrap().provenance.alterations, texts, "{id}");
        assert!(breaches.is_empty(), "{id}:\n{}", breaches.join("\n"));
    }
    // What is written to a stream that is changed on its way does not arrive as it is.
    let scaled = under(subject, &["text.blocks.1.resid_mid=scale:0.5"]);
    for (id, (finding, breaches)) in every_method(&scaled, &clean, &corrupted) {
        assert!(breaches.is_empty(), "{id}:\n{}", breaches.join("\n"));
        match id {
            "edge-attribution" | "path-patching" | "direct-logit-attribution" => assert_eq!(
                finding.unwrap_err().to_string(),
                format!("{id} needs a stream without standing edits, but `text.blocks.1.resid_mid` has one")
            ),
            _ => assert_eq!(finding.unwrap().provenance.alterations, scaled.alterations(), "{id}"),
        }
    }
}
