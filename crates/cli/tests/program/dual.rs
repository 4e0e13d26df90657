//! Dual encoders on the command line: which caption fits, why, and what is refused.

use std::fs;

use mmlens::data::shapes::{Detail, Split, World};
use mmlens::finding::Finding;
use serde_json::Value;

use crate::support::{DUAL, args, copy, mmlens, model, picture};

fn probabilities(picture: &Value) -> Vec<f64> {
    picture["texts"].as_array().unwrap().iter().map(|text| text["probability"].as_f64().unwrap()).collect()
}

#[test]
fn captions_share_a_picture_or_stand_for_themselves() {
    for name in DUAL {
        let (wide, tall) = (picture("wide"), picture("tall"));
        let texts = ["--text", "a red circle", "--text", "two squares", "--text", "ring"];
        let ask = args(&["ask", &model(name), "--image", &wide, "--image", &tall, "--json"]);
        let said = mmlens(ask.into_iter().chain(args(&texts))).json();
        let apart = name.starts_with("siglip");
        assert_eq!(said["each_for_itself"], apart, "{name}");
        let [first, second] = said["pictures"].as_array().unwrap().as_slice() else { panic!("{said}") };
        assert_eq!((&first["image"], &second["image"]), (&"wide.png".into(), &"tall.png".into()));
        for one in [first, second] {
            let shares = probabilities(one);
            assert_eq!(shares.len(), 3);
            assert!(apart || (shares.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{name}: {shares:?}");
            for text in one["texts"].as_array().unwrap().iter().filter(|_| apart) {
                let logit = text["logit"].as_f64().unwrap();
                assert!((text["probability"].as_f64().unwrap() - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-5);
            }
        }
        // A picture is judged alone: the other one changes nothing.
        let alone =
            mmlens(args(&["ask", "--image", &tall, "--json", &model(name)]).into_iter().chain(args(&texts)));
        let alone = probabilities(&alone.json()["pictures"][0]);
        let together = probabilities(second);
        assert!(
            alone.iter().zip(&together).all(|(a, b)| (a - b).abs() < 1e-6),
            "{name}: {alone:?} {together:?}"
        );
    }
}

#[test]
fn the_best_caption_is_explained_on_pixels_and_words() {
    for name in ["clip-a", "siglip-a"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let captions = ["--text", "a red circle", "--text", "two squares"];
        let fixed =
            args(&["explain", "--model", &model(name), "--image", &picture("wide"), "--out", out, "--json"]);
        let said = mmlens(fixed.into_iter().chain(args(&captions))).json();
        let shares: Vec<f64> =
            said["tokens"].as_array().unwrap().iter().map(|t| t["probability"].as_f64().unwrap()).collect();
        assert_eq!(said["explained"]["id"], usize::from(shares[1] > shares[0]), "{name}: {shares:?}");
        assert_eq!(said["answer"], captions[1 + 2 * usize::from(shares[1] > shares[0])]);
        let methods: Vec<&str> =
            said["findings"].as_array().unwrap().iter().map(|f| f["method"].as_str().unwrap()).collect();
        assert_eq!(methods, ["ig", "occlusion", "attention", "rollout", "logit-lens"]);
        for written in said["findings"].as_array().unwrap() {
            let finding = Finding::load(written["finding"].as_str().unwrap()).unwrap();
            if written["method"] == "logit-lens" {
                // The caption that is explained, then the other.
                let axis =
                    &finding.table(if name == "clip-a" { "cosine" } else { "cosine/0" }).unwrap().axes()[2];
                let first = if name == "clip-a" { said["answer"].as_str().unwrap() } else { "wide" };
                assert!(axis.label(0).unwrap().starts_with(first), "{name}: {axis:?}");
                assert_eq!(axis.len(), if name == "clip-a" { 2 } else { 1 });
                // A picture is drawn where its tower is read.
                assert_eq!(written["heat_maps"].as_array().unwrap().len(), usize::from(name == "clip-a"));
                if name == "siglip-a" {
                    continue;
                }
            } else if written["method"] == "rollout" {
                let shares =
                    finding.table("picture through the tower").unwrap().as_numbers().unwrap().to_vec();
                let outside = finding.table("outside the patches").unwrap().get(&[]).unwrap();
                assert_eq!(shares.len(), 16);
                assert!(
                    (shares.iter().sum::<f32>() + outside - 1.0).abs() < 1e-5,
                    "{name}: {shares:?} {outside}"
                );
                // Only CLIP has a position that is no patch.
                assert_eq!(outside > 0.0, name == "clip-a");
            } else if written["method"] != "attention" {
                assert_eq!(finding.provenance.objective.as_deref(), Some("similarity of picture and text"));
            }
            let words = match written["method"].as_str() {
                Some("ig") => "text.embed/tokens",
                Some("logit-lens") => "target",
                Some("attention") => "attention",
                _ => "tokens",
            };
            assert!(finding.table(words).unwrap().as_numbers().unwrap().iter().any(|v| *v != 0.0), "{name}");
            let map = image::open(written["heat_maps"][0]["file"].as_str().unwrap()).unwrap();
            assert_eq!((map.width(), map.height()), (47, 31), "at the size of the picture");
        }
        assert!(fs::metadata(folder.path().join("report.html")).unwrap().len() > 10_000);
        let other = ["--method", "patching", "--text", "a red circle", "--corrupted-text", "a circle red"];
        let fixed = args(&["explain", &model(name), "--image", &picture("wide"), "--out", out, "--json"]);
        let patched = mmlens(fixed.into_iter().chain(args(&other))).json();
        let finding = Finding::load(patched["findings"][0]["finding"].as_str().unwrap()).unwrap();
        let recovered = finding.table("resid_pre").unwrap().as_numbers().unwrap().to_vec();
        assert!(recovered.iter().any(|share| share.abs() > 0.1), "{name}: {recovered:?}");
    }
}

/// Captions of a scene whose truth is known: the true one fits best, and what speaks for it lies on the objects.
#[test]
fn the_shipped_dual_encoder_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(7);
    // Of one object, so that the caption's words and the picture's evidence are about the same thing.
    let scene = (0..).map(|i| world.scene(Split::Test, i)).find(|scene| scene.objects.len() == 1).unwrap();
    let file = folder.path().join("scene.png");
    scene.render().save(&file).unwrap();
    let truth = scene.caption(Detail::Full);
    let mut command = args(&["explain", "--model", "shapes-clip", "--image", file.to_str().unwrap()]);
    command.extend(args(&["--out", folder.path().join("out").to_str().unwrap(), "--json"]));
    for caption in truth.near_misses().take(5).chain([truth.clone()]) {
        command.extend(["--text".to_owned(), caption.to_string()]);
    }
    let said = mmlens(command).json();
    assert_eq!((&said["model"], &said["answer"]), (&"shapes-clip".into(), &truth.to_string().into()));
    let ig = said["findings"].as_array().unwrap().iter().find(|f| f["method"] == "ig").unwrap();
    let finding = Finding::load(ig["finding"].as_str().unwrap()).unwrap();
    let map = finding.table("vision.pixels/picture").unwrap();
    let [height, width] = map.shape()[..] else { panic!("{:?}", map.shape()) };
    assert_eq!((height, width), (64, 64));
    let [x0, y0, x1, y1] = scene.objects[0].bbox;
    let (mut inside, mut all) = (0.0, 0.0);
    for (at, value) in map.as_numbers().unwrap().iter().enumerate() {
        let (y, x) = ((at / width) as u32, (at % width) as u32);
        all += value.abs();
        if (x0..x1).contains(&x) && (y0..y1).contains(&y) {
            inside += value.abs();
        }
    }
    let share = ((x1 - x0) * (y1 - y0)) as f32 / (64.0 * 64.0);
    assert!(inside / all > 2.0 * share, "{} of the map on {share} of the picture", inside / all);
}

#[test]
fn what_a_dual_encoder_cannot_do_is_refused_by_name() {
    let (clip, wide) = (model("clip-a"), picture("wide"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let traced = folder.path().join("traced").display().to_string();
    for (words, said) in [
        (
            vec!["ask", &clip, "--image", &wide, "--ask", "What?"],
            "compares pictures with captions: give `--text`",
        ),
        (vec!["ask", &clip, "--text", "a"], "give at least one of each"),
        (
            vec!["explain", &clip, "--image", &wide, "--text", "a", "--target", "a", "--out", &out],
            "--target a: tokens of an answer mean nothing to `model`, a dual encoder",
        ),
        (
            vec!["explain", &clip, "--image", &wide, "--image", &wide, "--text", "a", "--out", &out],
            "2 pictures were given",
        ),
        (
            vec!["trace", &clip, "--image", &wide, "--text", "a", "--generate", "2", "--out", &traced],
            "`--generate` is for language models",
        ),
        (
            vec!["trace", &clip, "--image", &wide, "--text", "a", "--target", "1", "--out", &traced],
            "the objective asks for text 1, but the output has 1",
        ),
        (vec!["ask", &model("llava-a"), "--image", &wide, "--text", "a"], "`--text` is for dual encoders"),
    ] {
        let refused = mmlens(words).refused();
        assert!(refused.contains(said), "{refused}");
    }
    let long = "a ".repeat(50);
    let refused = mmlens(["ask", &clip, "--image", &wide, "--text", &long]).refused();
    assert!(refused.contains("expected 1 to 41"), "{refused}");
}

#[test]
fn checkpoints_of_another_kind_are_refused_by_name() {
    let edit = |name: &str, file: &str, from: &str, to: &str| {
        let folder = copy(name);
        let path = folder.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let folder_name = folder.path().to_str().unwrap().to_owned();
        mmlens(["ask", &folder_name, "--image", &picture("wide"), "--text", "a"]).refused()
    };
    for (name, file, from, to, said) in [
        (
            "siglip-a",
            "config.json",
            "\"model_type\": \"siglip\"",
            "\"model_type\": \"siglip2\"",
            "`siglip2` is not supported",
        ),
        (
            "siglip-a",
            "processor_config.json",
            "SiglipImageProcessor",
            "Siglip2ImageProcessor",
            "Siglip2ImageProcessor",
        ),
        (
            "siglip-a",
            "config.json",
            "\"vision_use_head\": true",
            "\"vision_use_head\": false",
            "vision_use_head",
        ),
        (
            "siglip-a",
            "tokenizer_config.json",
            "\"model_max_length\": 34",
            "\"model_max_length\": 37",
            "model_max_length",
        ),
        (
            "clip-a",
            "config.json",
            "\"hidden_act\": \"quick_gelu\"",
            "\"hidden_act\": \"relu6\"",
            "hidden_act",
        ),
        (
            "clip-a",
            "tokenizer_config.json",
            "\"backend\"",
            "\"padding_side\": \"left\", \"backend\"",
            "padding_side",
        ),
        (
            "clip-a",
            "processor_config.json",
            "\"height\": 24",
            "\"height\": 25",
            "vision_config.image_size = 24",
        ),
    ] {
        let refused = edit(name, file, from, to);
        assert!(refused.contains(said), "{name}: {refused}");
    }
}
