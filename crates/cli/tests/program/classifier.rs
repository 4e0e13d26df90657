//! Classifiers on the command line: the likeliest classes, why, and what is refused.

use mmlens::finding::Finding;

use crate::support::{args, fixtures, mmlens, model, picture};

#[test]
fn the_likeliest_classes_are_told_for_each_picture() {
    let vit = model("vit-a");
    let said =
        mmlens(["ask", &vit, "--image", &picture("wide"), "--image", &picture("tall"), "--json"]).json();
    let pictures = said["pictures"].as_array().unwrap();
    assert_eq!(pictures.len(), 2);
    for one in pictures {
        let shares: Vec<f64> =
            one["classes"].as_array().unwrap().iter().map(|c| c["probability"].as_f64().unwrap()).collect();
        assert_eq!(shares.len(), 5);
        assert!(
            shares.windows(2).all(|pair| pair[0] >= pair[1]) && shares.iter().sum::<f64>() < 1.0,
            "{shares:?}"
        );
        // A softmax: shares are to one another as the exponentials of logits.
        for pair in one["classes"].as_array().unwrap().windows(2) {
            let apart = pair[0]["logit"].as_f64().unwrap() - pair[1]["logit"].as_f64().unwrap();
            let ratio = pair[0]["probability"].as_f64().unwrap() / pair[1]["probability"].as_f64().unwrap();
            assert!((ratio / apart.exp() - 1.0).abs() < 1e-4, "{pair:?}");
        }
    }
    // the target of `trace-wide.safetensors`
    assert_eq!(pictures[0]["classes"][0]["id"], 3);
    assert_eq!(pictures[0]["classes"][0]["text"], "green triangle");
    let plain = mmlens(["ask", &vit, "--image", &picture("wide")]).well();
    assert_eq!(plain.lines().count(), 5);
    assert!(plain.lines().next().unwrap().ends_with("green triangle"), "{plain}");
}

#[test]
fn a_class_is_explained_on_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let (vit, wide) = (model("vit-a"), picture("wide"));
    for (target, id) in [(&[][..], 3), (&["--target", "red circle"], 0), (&["--target", "6"], 6)] {
        let fixed = args(&["explain", &vit, "--image", &wide, "--out", out, "--json"]);
        let said: serde_json::Value =
            serde_json::from_str(&mmlens(fixed.into_iter().chain(args(target))).out).unwrap();
        assert_eq!(said["explained"]["id"], id);
        let methods: Vec<&str> =
            said["findings"].as_array().unwrap().iter().map(|f| f["method"].as_str().unwrap()).collect();
        assert_eq!(
            methods,
            ["ig", "occlusion", "attention", "rollout", "logit-lens", "patching", "attribution", "knockout"]
        );
        for written in said["findings"].as_array().unwrap() {
            let finding = Finding::load(written["finding"].as_str().unwrap()).unwrap();
            if written["method"] != "rollout" && written["method"] != "attention" {
                let objective = format!("logit of token {id} at the last position");
                assert_eq!(finding.provenance.objective, Some(objective));
            }
            if written["method"] == "knockout" {
                assert!(written["heat_maps"][0].is_null(), "what cutting does lies on no picture");
                continue;
            }
            let map = image::open(written["heat_maps"][0]["file"].as_str().unwrap()).unwrap();
            assert_eq!((map.width(), map.height()), (47, 31), "at the size of the picture");
        }
        let ig = Finding::load(folder.path().join("ig.safetensors")).unwrap();
        let gap = ig.table("relative completeness gap").unwrap().as_scalar().unwrap();
        assert!(gap < 1e-2, "{gap}");
    }
}

#[test]
fn a_trace_of_a_classifier_is_that_of_its_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let words = args(&["trace", &model("vit-a"), "--image", &picture("square"), "--json"]);
    let more = args(&["--read", "vision.logits", "--read", "vision.pooled", "--grad", "vision.pixels"]);
    let out = out.display().to_string();
    let said = mmlens(words.into_iter().chain(more).chain(args(&["--out", &out]))).json();
    let mut names: Vec<&String> = said["tensors"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["grad.vision.pixels", "logits", "pixel_values", "target", "vision.logits", "vision.pooled"]
    );
    assert_eq!(said["tensors"]["logits"]["shape"], serde_json::json!([1, 1, 7]));
    let against = fixtures().join("vit-a/trace-batch.safetensors").display().to_string();
    let pictures = fixtures().join("pictures").display().to_string();
    let said = mmlens(["certify", &model("vit-a"), "--against", &against, "--pictures", &pictures]).well();
    assert!(said.contains("vision.blocks.2.resid_post") && !said.contains("DIFFERS"), "{said}");
    let sites = mmlens(["sites", &model("vit-a")]).well();
    assert!(sites.contains("vision.logits") && sites.contains("[image, vocab=7]"), "{sites}");
}

#[test]
fn what_a_classifier_cannot_do_is_refused_by_name() {
    let (vit, wide) = (model("vit-a"), picture("wide"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let traced = folder.path().join("traced").display().to_string();
    for (words, said) in [
        (vec!["ask", &vit, "--image", &wide, "--ask", "What?"], "it classifies pictures and takes no words"),
        (vec!["ask", &vit, "--image", &wide, "--text", "a"], "`--text` is for dual encoders"),
        (
            vec!["explain", &vit, "--image", &wide, "--target", "blue square", "--out", &out],
            "the classes [1, 5] are all called `blue square`",
        ),
        (vec!["explain", &vit, "--image", &wide, "--target", "7", "--out", &out], "token 7"),
        (
            vec!["trace", &vit, "--image", &wide, "--generate", "2", "--out", &traced],
            "does not offer generation",
        ),
        (
            vec!["explain", &vit, "--image", &wide, "--method", "values", "--out", &out],
            "value-vectors needs a language model with blocks, but this subject has none",
        ),
    ] {
        let refused = mmlens(args(&words)).refused();
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
    let llava = mmlens(["ask", &model("llava-a"), "--image", &wide]).refused();
    assert!(llava.contains("it needs a prompt or a question"), "{llava}");
    let clip = mmlens(["ask", &model("clip-a"), "--image", &wide]).refused();
    assert!(clip.contains("give `--text`"), "{clip}");
}
