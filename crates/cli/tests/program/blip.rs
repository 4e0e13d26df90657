//! BLIP on the command line: captions, answers and matches, why, and what is refused.

use crate::support::{args, fixtures, mmlens, model, picture};

#[test]
fn pictures_are_captioned_asked_and_matched() {
    let square = picture("square");
    let caption = mmlens(["ask", &model("blip-a"), "--image", &square, "--max-new", "12", "--json"]).json();
    // `generated` of `trace-full.safetensors`
    let reference = mmlens([
        "certify",
        &model("blip-a"),
        "--against",
        &against("blip-a", "full"),
        "--pictures",
        &pictures(),
    ]);
    assert!(reference.well().contains("generated"));
    assert_eq!(caption["tokens"].as_array().unwrap().len(), 12);
    let begun =
        mmlens(["ask", &model("blip-a"), "--image", &square, "--prompt", "a photo of", "--max-new", "3"])
            .well();
    assert!(!begun.trim().is_empty());
    let answer = args(&[
        "ask",
        &model("blip-qa"),
        "--image",
        &square,
        "--ask",
        "What colour is it?",
        "--max-new",
        "4",
    ]);
    assert!(!mmlens(answer).well().trim().is_empty());
    let texts = ["--text", "a red circle", "--text", "ring", "--json"];
    let said =
        mmlens(args(&["ask", &model("blip-itm"), "--image", &square]).into_iter().chain(args(&texts))).json();
    let rows = said["pictures"].as_array().unwrap();
    assert_eq!((&rows[0]["text"], &rows[1]["text"]), (&"a red circle".into(), &"ring".into()));
    for row in rows {
        let classes = row["classes"].as_array().unwrap();
        let sum: f64 = classes.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
        assert!(classes.len() == 2 && (sum - 1.0).abs() < 1e-5, "{classes:?}");
    }
}

fn against(name: &str, trace: &str) -> String {
    fixtures().join(name).join(format!("trace-{trace}.safetensors")).display().to_string()
}

fn pictures() -> String {
    fixtures().join("pictures").display().to_string()
}

#[test]
fn what_it_says_is_explained_on_pixels_and_words() {
    for (name, words, methods) in [
        (
            "blip-a",
            &["--prompt", "a photo of"][..],
            &["ig", "occlusion", "attention", "logit-lens", "patching", "attribution"][..],
        ),
        ("blip-a", &[], &["ig", "occlusion", "attention", "logit-lens", "patching", "attribution"]),
        (
            "blip-qa",
            &["--ask", "What colour is it?"],
            &["ig", "occlusion", "attention", "patching", "attribution", "knockout"],
        ),
        ("blip-itm", &["--text", "a red circle"], &["ig", "occlusion", "attention", "logit-lens"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let fixed = args(&["explain", &model(name), "--image", &picture("wide"), "--out", out, "--json"]);
        let said = mmlens(fixed.into_iter().chain(args(words)));
        assert_eq!(said.code, Some(0), "{name}: {}", said.err);
        let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let found: Vec<&str> =
            said["findings"].as_array().unwrap().iter().map(|f| f["method"].as_str().unwrap()).collect();
        assert_eq!(found, methods, "{name}");
        let map = image::open(said["findings"][0]["heat_maps"][0]["file"].as_str().unwrap()).unwrap();
        assert_eq!((map.width(), map.height()), (47, 31), "{name}");
    }
}

#[test]
fn traces_and_certificates() {
    for (name, trace) in [("blip-a", "batch"), ("blip-qa", "unicode"), ("blip-itm", "table")] {
        let said =
            mmlens(["certify", &model(name), "--against", &against(name, trace), "--pictures", &pictures()])
                .well();
        assert!(said.contains("text.blocks.1.cross.pattern") && !said.contains("DIFFERS"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors").display().to_string();
    let words = args(&[
        "trace",
        &model("blip-qa"),
        "--image",
        &picture("wide"),
        "--ask",
        "ring?",
        "--generate",
        "3",
        "--out",
        &out,
    ]);
    let more = args(&["--read", "encoder.blocks.0.cross.pattern", "--grad", "vision.pixels", "--json"]);
    let said = mmlens(words.into_iter().chain(more)).json();
    let names: Vec<&String> = said["tensors"].as_object().unwrap().keys().collect();
    assert!(
        names.iter().any(|name| *name == "encoder.blocks.0.cross.pattern") && names.len() == 7,
        "{names:?}"
    );
    let sites = mmlens(["sites", &model("blip-qa")]).well();
    assert!(sites.contains("text.blocks.0..2.resid_cross") && sites.contains("encoder.embed"), "{sites}");
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let wide = picture("wide");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    for (name, words, said) in [
        ("blip-a", vec!["--ask", "What?"], "it writes captions"),
        ("blip-qa", vec![], "it answers questions"),
        ("blip-itm", vec!["--ask", "What?"], "give at least one text"),
        ("blip-itm", vec!["--text", "a", "--image", &wide], "one picture, 2 were given"),
    ] {
        let fixed = args(&["ask", &model(name), "--image", &wide]);
        let refused = mmlens(fixed.into_iter().chain(args(&words))).refused();
        assert!(refused.contains(said), "{words:?}: {refused}");
    }
    let fixed = args(&["explain", &model("blip-a"), "--image", &wide, "--method", "rollout", "--out", &out]);
    let rollout = mmlens(fixed).refused();
    assert!(rollout.contains("attend to the patches from outside"), "{rollout}");
}
