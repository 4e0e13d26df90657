//! Answers of `ask` and `explain`: how long they are, where they stop, what the checkpoint makes of them.

use std::fs;

use serde_json::{Value, json};

use crate::support::{copy, fixtures, mmlens, model};

/// A prompt of 70 of `gpt2-a`'s 80 positions: bytes are its tokens where nothing merges.
const LONG: &str = "x1x2x3x4x5x6x7x8x9x0x1x2x3x4x5x6x7x8x9x0x1x2x3x4x5x6x7x8x9x0x1x2x3x4x5";

/// `gpt2-a` with other generation settings.
fn told(settings: &Value) -> tempfile::TempDir {
    let folder = copy("gpt2-a");
    fs::write(folder.path().join("generation_config.json"), settings.to_string()).unwrap();
    folder
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap()).collect()
}

#[test]
fn an_answer_stops_at_the_last_position_and_says_so() {
    let model = model("gpt2-a");
    let answer = mmlens(["ask", &model, "--prompt", LONG, "--json"]).json();
    // The last of the 11 takes no position.
    assert_eq!((ids(&answer).len(), &answer["last_position"]), (11, &json!(true)), "{answer}");
    assert_eq!(answer["ended"], false);
    let said = mmlens(["ask", &model, "--prompt", LONG]);
    assert_eq!(said.code, Some(0));
    assert_eq!(
        said.err,
        "note: the answer stops after 11 tokens at the model's last position (70 of its positions are the prompt's)\n"
    );
    let asked = mmlens(["ask", &model, "--prompt", LONG, "--max-new", "11", "--json"]).json();
    assert_eq!((ids(&asked), &asked["last_position"]), (ids(&answer), &json!(false)));

    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out").display().to_string();
    let explain = ["explain", &model, "--prompt", LONG, "--method", "logit-lens", "--out", &out];
    let said = mmlens(explain);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("note: the answer stops after 11 tokens"), "{}", said.err);
    let explained = mmlens(explain.into_iter().chain(["--json"])).json();
    assert_eq!(ids(&explained), ids(&answer));
    assert_eq!(
        (&explained["last_position"], &explained["explained"]["tokens"]),
        (&json!(true), &json!([0, 10]))
    );
}

/// The best of several beams is the oracle's; a checkpoint that asks for a search is answered for by one.
#[test]
fn beams_are_searched() {
    let cases = fs::read_to_string(fixtures().join("beams/cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    let of = |case: &&Value| case["model"] == "gpt2-a" && case["what"] == "five beams";
    let case = cases.iter().find(of).unwrap();
    let ask = |path: &str, more: &[&str]| {
        mmlens(["ask", path, "--prompt", "Go on", "--max-new", "10"].into_iter().chain(more.iter().copied()))
    };
    let answer = ask(&model("gpt2-a"), &["--beams", "5", "--json"]).json();
    assert_eq!(json!(ids(&answer)), case["tokens"][0]);
    let folder = told(&json!({"num_beams": 5, "eos_token_id": 266}));
    let path = folder.path().display().to_string();
    assert_eq!(ids(&ask(&path, &["--beams", "5", "--json"]).json()), ids(&answer));
    let said = ask(&path, &[]).refused();
    assert!(said.contains("num_beams`: `5` is not supported"), "{said}");
    for more in [&["--beams", "1"][..], &["--beams", "2", "--temperature", "1"]] {
        assert_eq!(ask(&model("gpt2-a"), more).code, Some(2));
    }
}

#[test]
fn the_token_that_is_said_first_is_explained() {
    let plain = mmlens(["ask", &model("gpt2-a"), "--prompt", "Go on", "--json"]).json();
    let first = ids(&plain)[0];
    let folder = told(&json!({"suppress_tokens": [first]}));
    let path = folder.path().display().to_string();
    let answer = mmlens(["ask", &path, "--prompt", "Go on", "--json"]).json();
    assert!(!ids(&answer).contains(&first));
    let out = folder.path().join("out").display().to_string();
    let explain = ["explain", &path, "--prompt", "Go on", "--method", "logit-lens", "--out", &out, "--json"];
    let explained = mmlens(explain).json();
    assert_eq!((ids(&explained), &explained["explained"]["tokens"]), (ids(&answer), &json!([0, 64])));
    // A suppressed token is in no answer, but why it is not can be asked.
    let first = first.to_string();
    let refused = mmlens(explain.into_iter().chain(["--target", &first])).refused();
    assert!(refused.contains(&format!("`--versus {first}` asks why it is not there")), "{refused}");
    let explained = mmlens(explain.into_iter().chain(["--versus", &first])).json();
    assert_eq!(explained["explained"]["id"], answer["tokens"][0]["id"]);
    assert!(explained["explained"]["what"].as_str().unwrap().contains("less that of"), "{explained}");
}

#[test]
fn the_checkpoint_says_how_long_an_answer_is_if_nobody_else_does() {
    let length = |settings: Value, more: &[&str]| {
        let folder = told(&settings);
        let path = folder.path().display().to_string();
        let args = ["ask", &path, "--prompt", "Go on", "--json"];
        ids(&mmlens(args.into_iter().chain(more.iter().copied())).json()).len()
    };
    assert_eq!(length(json!({}), &[]), 64);
    assert_eq!(length(json!({"max_new_tokens": 5}), &[]), 5);
    assert_eq!(length(json!({"max_new_tokens": 5}), &["--max-new", "7"]), 7);
    assert_eq!(length(json!({"max_length": 4000}), &[]), 64);

    let folder = told(&json!({"max_length": 3}));
    let path = folder.path().display().to_string();
    let said = mmlens(["ask", &path, "--prompt", "Go on there"]).refused();
    assert!(said.contains("`max_length`") && said.contains("`--max-new`"), "{said}");
    let out = folder.path().join("out").display().to_string();
    let args =
        ["explain", &path, "--prompt", "Go on there", "--method", "logit-lens", "--out", &out, "--json"];
    assert_eq!(ids(&mmlens(args).json()).len(), 1);
}

#[test]
fn settings_that_are_not_offered_are_refused_by_file_and_field() {
    let folder = told(&json!({"num_beams": 4}));
    let path = folder.path().display().to_string();
    let said = mmlens(["ask", &path, "--prompt", "Go on"]).refused();
    let file = folder.path().join("generation_config.json").display().to_string();
    assert!(said.contains(&format!("`{file}: num_beams`: `4` is not supported; supported: 1")), "{said}");
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("t.safetensors").display().to_string();
    mmlens(["trace", &path, "--prompt", "Go on", "--out", &out]).well();
}

/// Logits that are all zero give every token the same share, and the first of the vocabulary is taken, at every step.
#[test]
fn answers_and_explanations_are_those_of_the_edited_model() {
    let model = model("gpt2-a");
    let edits = ["--edit", "text.blocks.0.attn.z[head=1]=zero", "--edit", "text.logits=zero"];
    let asked = ["ask", &model, "--prompt", "Go on", "--max-new", "3", "--json"];
    let answer = mmlens(asked.into_iter().chain(edits)).json();
    assert_eq!(ids(&answer)[0], 0, "{answer}");
    assert_eq!(answer["alterations"], json!([edits[1], edits[3]]));
    let shares: Vec<f64> = answer["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["probability"].as_f64().unwrap())
        .collect();
    assert!(shares.windows(2).all(|pair| pair[0] == pair[1]), "{answer}");
    let plain = mmlens(asked).json();
    assert_eq!(plain["alterations"], json!([]));
    assert_ne!(plain["tokens"], answer["tokens"]);

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let ablated =
        ["explain", &model, "--prompt", "Go on", "--method", "logit-lens", "--out", &out, edits[0], edits[1]];
    let said = mmlens(ablated).well();
    assert!(said.contains("\nedited     text.blocks.0.attn.z[head=1]=zero\n"), "{said}");
    let finding = mmlens::finding::Finding::load(folder.path().join("out/logit-lens.safetensors")).unwrap();
    assert_eq!(finding.provenance.alterations, [edits[1]]);
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("text.blocks.0.attn.z[head=1]=zero"));
}

/// A decoder of several branches writes by its own scores: as the oracle says, with settings told in full, beside drawing, searching and edits.
#[test]
fn decoders_are_asked_by_name() {
    let llava = model("llava-a");
    let square = fixtures().join("pictures/square.png").display().to_string();
    let ask = |more: &[&str]| {
        let own = ["ask", &llava, "--image", &square, "--prompt", "<image>Red?", "--max-new", "4", "--json"];
        mmlens(own.into_iter().chain(more.iter().copied()))
    };
    let plain = ask(&[]).json();
    assert!(plain.get("decoder").is_none(), "{plain}");
    let pai = ["--decoder", "pai", "--set", "pai.from=1", "--set", "pai.alpha=0.5", "--set", "pai.gamma=1.5"];
    let answer = ask(&pai).json();
    // The first of `oracles/decoding.py`.
    assert_eq!(ids(&answer), [52, 127, 258, 284]);
    assert_eq!(answer["decoder"]["name"], "pay-attention-to-image");
    let settings = &answer["decoder"]["settings"];
    assert_eq!((&settings["from"], &settings["gamma"]), (&json!(1), &json!(1.5)));
    assert!(settings["beta"].as_f64().is_some_and(|beta| (beta - 0.1).abs() < 1e-6), "{settings}");
    let dola = ["--decoder", "contrasting-layers", "--set", "dola.layers={\"at\": [0, 1, 2]}"];
    assert_eq!(ids(&ask(&dola).json()), [52, 118, 75, 75]);
    let none = ["--decoder", "vcd", "--set", "vcd.alpha=0", "--set", "vcd.beta=0"];
    let drawn = ["--temperature", "1.5", "--seed", "3"];
    let with = ask(&none.into_iter().chain(drawn).collect::<Vec<_>>()).json();
    assert_eq!(with["tokens"], ask(&drawn).json()["tokens"]);
    let edit = ["--edit", "text.blocks.1.mlp_out=zero"];
    let edited = ask(&["--decoder", "vcd"].into_iter().chain(edit).collect::<Vec<_>>()).json();
    assert_eq!(edited["alterations"], json!(["text.blocks.1.mlp_out=zero"]));
    assert_ne!(ids(&edited), ids(&ask(&["--decoder", "vcd"]).json()));
    for (more, wanted) in [
        (
            &["--decoder", "vcd", "--set", "pai.from=0"][..],
            "`--set pai...`: this method does not run; those that do: vcd",
        ),
        (&["--decoder", "vcd", "--set", "vcd.noise=1000"], "steps are counted from 0 to 999"),
        (&["--decoder", "dola", "--set", "dola.layer=1"], "unknown field `layer`"),
    ] {
        let said = ask(more).refused();
        assert!(said.contains(wanted), "{said}");
    }
    for (more, wanted) in [
        (&["--decoder", "vdc"][..], "invalid value 'vdc'"),
        (&["--set", "vcd.alpha=1"], "--decoder <DECODER>"),
    ] {
        let said = ask(more);
        assert!(said.code == Some(2) && said.err.contains(wanted), "{said:?}");
    }
    let classes = mmlens(["ask", &model("vit-a"), "--image", &square, "--decoder", "vcd"]).refused();
    assert!(classes.contains("needs a subject that writes answers token by token"), "{classes}");
    let words = mmlens(["ask", &model("gpt2-a"), "--prompt", "Go on", "--decoder", "vcd"]).refused();
    assert!(words.contains("needs a subject that sees pictures or hears recordings"), "{words}");
}

/// Rotary positions go on where training ended: it is done, and said.
#[test]
fn more_positions_than_a_model_was_made_for_are_spoken_of() {
    let ask = |prompt: &str| mmlens(["ask", &model("llama-a"), "--prompt", prompt, "--max-new", "1"]);
    let short = ask("It is red.");
    assert_eq!((short.code, short.err.as_str()), (Some(0), ""));
    let long = ask(&[LONG, LONG].concat());
    assert_eq!(long.code, Some(0));
    assert!(long.err.contains("positions, and the model was made for 96: it has seen none"), "{}", long.err);
    // Learned positions end where they end.
    let learned = mmlens(["ask", &model("gpt2-a"), "--prompt", &[LONG, LONG].concat()]).refused();
    assert!(learned.contains("max_position_embeddings"), "{learned}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let prompt = [LONG, LONG].concat();
    let explained = mmlens([
        "explain",
        &model("llama-a"),
        "--prompt",
        &prompt,
        "--method",
        "logit-lens",
        "--out",
        out,
        "--json",
    ]);
    assert!(explained.out.contains("\"beyond\""), "{explained:?}");
}

/// Boxes are read in the format that is named, on one picture; what names none says so.
#[test]
fn boxes_of_an_answer_are_read() {
    let picture = crate::support::picture("square");
    let ask = ["ask", "--image", &picture, "--ask", "what colour is the square ?", "--boxes", "qwen2-vl"];
    let answer = mmlens(ask.into_iter().chain(["--json"])).json();
    assert_eq!(answer["boxes"], json!({ "text": answer["answer"], "spans": [] }), "{answer}");
    let said = mmlens(ask).well();
    assert_eq!(said, format!("{}\n(no boxes)\n", answer["answer"].as_str().unwrap()));
    let two = mmlens(ask.into_iter().chain(["--image", &picture])).refused();
    assert_eq!(two, "`--boxes` reads boxes on one picture; 2 are given");
    let other = mmlens(["ask", "--image", &picture, "--ask", "what ?", "--boxes", "qwen"]);
    assert!(other.code == Some(2) && other.err.contains("qwen2.5-vl"), "{}", other.err);
}
