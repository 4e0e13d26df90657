//! Encoders of text on the command line: what may stand behind a mask, why, and what is refused.

use mmlens::finding::Finding;

use crate::support::{args, fixtures, mmlens, model};

const TEXT: &str = "The small [MASK] star is left of [MASK].";

#[test]
fn what_may_stand_behind_a_mask_is_told() {
    let said = mmlens(["ask", &model("bert-a"), "--prompt", TEXT, "--json"]).json();
    let masks = said["masks"].as_array().unwrap();
    assert_eq!((masks.len(), said["text"].as_str()), (2, Some(TEXT)));
    for mask in masks {
        let shares: Vec<f64> =
            mask["tokens"].as_array().unwrap().iter().map(|t| t["probability"].as_f64().unwrap()).collect();
        assert!(shares.len() == 5 && shares.windows(2).all(|pair| pair[0] >= pair[1]), "{shares:?}");
    }
    let plain = mmlens(["ask", &model("bert-a"), "--prompt", TEXT]).well();
    assert_eq!(plain.lines().filter(|line| line.starts_with("position ")).count(), 2);
}

#[test]
fn a_word_behind_a_mask_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let words = args(&["explain", &model("bert-a"), "--prompt", TEXT, "--out", out, "--json"]);
    let corrupted = args(&["--method", "ig,occlusion,rollout,logit-lens"]);
    let said: serde_json::Value =
        serde_json::from_str(&mmlens(words.into_iter().chain(corrupted)).out).unwrap();
    let asked = mmlens(["ask", &model("bert-a"), "--prompt", TEXT, "--json"]).json();
    let (id, at) = (&asked["masks"][0]["tokens"][0]["id"], &asked["masks"][0]["position"]);
    assert_eq!(&said["explained"]["id"], id);
    assert_eq!(said["findings"].as_array().unwrap().len(), 4);
    let finding = Finding::load(folder.path().join("ig.safetensors")).unwrap();
    assert_eq!(finding.provenance.objective, Some(format!("log-probability of token {id} at position {at}")));
    let gap = finding.table("relative completeness gap").unwrap().as_scalar().unwrap();
    assert!(gap < 1e-2, "{gap}");
}

#[test]
fn traces_and_certificates_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors").display().to_string();
    let words =
        args(&["trace", &model("bert-b"), "--text", "a", "--text", "a blue square", "--out", &out, "--json"]);
    let said = mmlens(words.into_iter().chain(args(&["--read", "text.pooled"]))).json();
    let names: Vec<&String> = said["tensors"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["input_ids", "text.pooled"]);
    assert_eq!(said["tensors"]["text.pooled"]["shape"], serde_json::json!([2, 18]));
    for name in ["bert-a", "bert-b"] {
        let against = fixtures().join(name).join("trace-texts.safetensors").display().to_string();
        let said = mmlens(["certify", &model(name), "--against", &against]).well();
        assert!(said.contains("text.blocks.1.resid_post") && !said.contains("DIFFERS"), "{said}");
    }
    let sites = mmlens(["sites", &model("bert-a")]).well();
    assert!(sites.contains("text.blocks.0..3.normalized_resid_mid"), "{sites}");
}

#[test]
fn what_an_encoder_of_text_cannot_do_is_refused_by_name() {
    let bert = model("bert-a");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let traced = folder.path().join("traced").display().to_string();
    for (words, said) in [
        (vec!["ask", &bert, "--prompt", "no mask"], "give one with `[MASK]` in it"),
        (vec!["ask", &bert, "--ask", "a [MASK]?"], "it has no chat template"),
        (vec!["ask", &bert, "--text", "[MASK]", "--text", "[MASK]"], "give one with `[MASK]` in it"),
        (
            vec!["explain", &bert, "--prompt", "[MASK]", "--target", "zebra", "--out", &out],
            "the model has no such token",
        ),
        (
            vec!["trace", &bert, "--prompt", "a", "--generate", "2", "--out", &traced],
            "does not offer generation",
        ),
    ] {
        let refused = mmlens(args(&words)).refused();
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
    let bare = mmlens(["ask", &model("bert-b"), "--prompt", "a [MASK]"]).refused();
    assert!(bare.contains("needs an output this subject does not produce"), "{bare}");
}
