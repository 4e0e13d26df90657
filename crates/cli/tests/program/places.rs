//! `--layer`, `--head`, `--site`: where methods look.

use mmlens::core::finding::Finding;

use crate::support::{mmlens, model, picture};

#[test]
fn the_options_say_where_every_method_looks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (llava, square, other) = (model("llava-a"), picture("square"), picture("rgba"));
    let explain = |more: &[&str]| {
        let fixed = ["explain", &llava, "--image", &square, "--ask", "Red?", "--corrupted-image", &other];
        mmlens(fixed.iter().chain(&["--out", out.to_str().unwrap()]).chain(more))
    };
    let found = |name: &str| Finding::load(out.join(format!("{name}.safetensors"))).unwrap();

    // Without a method named: those that go through layers.
    explain(&["--layer", "1-2", "--max-new", "1"]).cautioned();
    for (name, table) in [("patching", "resid_pre"), ("attribution", "attn.z/heads"), ("knockout", "change")]
    {
        let found = found(name);
        let table = found.table(table).unwrap();
        let at = table.axis_of(mmlens::core::finding::Role::Layer).unwrap();
        let labels: Vec<_> = (0..2).map(|layer| table.axes()[at].label(layer).unwrap()).collect();
        assert_eq!((table.axes()[at].len(), labels), (2, vec!["1".to_owned(), "2".to_owned()]), "{name}");
    }
    assert!(!out.join("ig.safetensors").exists());

    explain(&["--head", "all", "--method", "patching", "--max-new", "1"]).cautioned();
    let patched = found("patching");
    let shape = patched.table("attn.z").unwrap().shape();
    assert_eq!((shape.len(), shape[0]), (3, 3));

    let site = ["--site", "text.blocks.1.mlp_out", "--method", "ig,patching", "--max-new", "1"];
    explain(&site).cautioned();
    assert!(found("ig").table("text.blocks.1.mlp_out/tokens").is_ok());
    assert_eq!(found("patching").table("mlp_out").unwrap().shape()[0], 1);

    // Routes, nodes and shares of the tower, whose last block nothing reads.
    let part = ["--set", "knockout.part=\"vision\"", "--set", "edges.part=\"vision\""];
    let methods = ["--method", "knockout,edges", "--max-new", "1"];
    explain(&[&part[..], &methods[..]].concat()).cautioned();
    let cut = found("knockout");
    assert_eq!(cut.table("change").unwrap().axes()[0].label(0).unwrap(), "patches to class token");
    let edges = found("edges");
    let receivers = edges.table("receivers").unwrap();
    assert_eq!(receivers.axes()[0].label(receivers.len() - 1).unwrap(), "out");
    explain(&["--site", "vision.blocks.1.mlp_out", "--method", "attribution", "--max-new", "1"]).cautioned();
    let scored = found("attribution");
    assert_eq!(scored.table("mlp_out").unwrap().shape(), [1, 26]);
    assert_eq!(scored.provenance.settings["part"], "vision");

    let refused = |more: &[&str]| explain(more).refused();
    assert_eq!(
        refused(&["--layer", "1", "--method", "ig"]),
        "`--layer` is nothing to ig; `mmlens methods ID` tells what a method has"
    );
    assert!(refused(&["--layer", "9", "--method", "patching"]).contains("layers = 9, of 3"));
    assert!(refused(&["--head", "9", "--method", "patching"]).contains("heads = 9, of "));
    let said = explain(&["--layer", "2-1"]);
    assert_eq!(
        (said.code, said.err.contains("a range leads from a number to a larger one")),
        (Some(2), true)
    );
    let said = explain(&["--site", "text.blocks.1.mlp_uot"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
fn a_dry_run_tells_what_many_cases_would_take() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["square", "rgba"] {
        std::fs::copy(picture(name), folder.path().join(format!("{name}.png"))).unwrap();
    }
    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let out = folder.path().join("out");
    let (llava, cases) = (model("llava-a"), folder.path().to_str().unwrap().to_owned());
    let run = |more: &[&str]| {
        let fixed =
            ["explain", &llava, "--cases", &cases, "--ask", "Red?", "--method", "occlusion", "--dry-run"];
        mmlens(fixed.iter().chain(&["--out", out.to_str().unwrap()]).chain(more))
    };
    let said = run(&[]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("broken") && said.err.contains("1 of 3 cases failed"), "{}", said.err);
    assert!(
        said.out.contains(" for 2 cases, up to ") && said.out.contains("no method was run"),
        "{}",
        said.out
    );
    let lines = run(&["--json"]).out;
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let told = lines.iter().find(|line| line["case"] == "square.png").unwrap();
    assert_eq!(told["methods"][0]["method"], "occlusion");
    assert!(lines.iter().any(|line| line.get("error").is_some()));
    assert!(!out.exists());
}

/// What cannot look there is told with the reason, and so is what stands as given or was cut off.
#[test]
fn what_is_left_out_and_what_stands_as_given_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let explain = |model: &str, more: &[&str]| {
        let fixed = ["explain", model, "--json", "--out", out.to_str().unwrap()];
        let said = mmlens(fixed.iter().chain(more));
        assert_eq!(said.code, Some(0), "{}", said.err);
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap()
    };
    let (llava, square) = (model("llava-a"), picture("square"));
    let said = explain(&llava, &["--image", &square, "--ask", "Red?", "--layer", "1", "--max-new", "1"]);
    let left: Vec<&str> =
        said["left_out"].as_array().unwrap().iter().map(|own| own["method"].as_str().unwrap()).collect();
    assert!(left.contains(&"ig") && left.contains(&"rollout"), "{left:?}");
    assert!(said["left_out"][0]["reason"].as_str().unwrap().starts_with("`--layer` is nothing to "));
    let notes = said["notes"].to_string();
    assert!(notes.contains("cut off after 1 token,"), "{notes}");
    // A site of a tower, in a first look: what looks at words alone is left out.
    let said = explain(&model("vit-a"), &["--image", &square, "--site", "vision.blocks.0.mlp_out"]);
    let made: Vec<&str> =
        said["findings"].as_array().unwrap().iter().map(|own| own["method"].as_str().unwrap()).collect();
    assert!(made.contains(&"ig"), "{made:?}");
}

/// Tokens of an answer are walked with places of their own, however many the whole needs; and one answer rather than another is read as
/// the model reads it, whatever space it begins with.
#[test]
fn answers_are_walked_and_contrasted_as_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |more: &[&str]| {
        let said = mmlens(["explain"].iter().chain(more).chain(&["--out", out.to_str().unwrap()]));
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.out
    };
    let llama = model("llama-a");
    run(&[&llama, "--prompt", "The opposite of hot is", "--answer", "up", "--method", "ig"]);
    let found = Finding::load(out.join("ig.safetensors")).unwrap();
    assert!(found.find("path").is_some() && found.find("path by answer token").is_none());
    let (llava, square) = (model("llava-a"), picture("square"));
    let ask = [
        llava.as_str(),
        "--image",
        &square,
        "--ask",
        "what is red ?",
        "--answer",
        "red one",
        "--versus",
        "a one",
    ];
    let said = run(&[&ask[..], &["--method", "occlusion"]].concat());
    let explained = said.lines().find(|line| line.starts_with("explained")).unwrap();
    assert!(!explained.contains("token 2 of the answer"), "{explained}");
}
