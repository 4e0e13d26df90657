//! Bad input: a clear message and exit code 1, or the right result; never a panic.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::support::{args, command, copy, mmlens, model, picture};

/// What `ask` says about a damaged checkpoint.
fn ask(folder: &Path) -> String {
    mmlens(["ask", folder.to_str().unwrap(), "--ask", "Is it red?", "--image", &picture("square")]).refused()
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// The message holds each of these, in this order.
fn assert_holds(message: &str, parts: &[&str]) {
    let mut rest = message;
    for part in parts {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("no `{part}` in `{message}`"));
        rest = after;
    }
}

#[test]
fn a_file_cut_short() {
    let folder = copy("llava-a");
    let file = folder.path().join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    for kept in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, whole.get(..kept).unwrap()).unwrap();
        let message = ask(folder.path());
        assert_holds(&message, &["cannot open `", "model.safetensors: "]);
    }
}

#[test]
fn threads_without_number_are_not_started() {
    for count in ["8000", "two"] {
        let told = command().env("RAYON_NUM_THREADS", count).args(["sites"]).output().unwrap();
        assert_eq!(told.status.code(), Some(1));
        let message = String::from_utf8(told.stderr).unwrap();
        assert_holds(
            &message,
            &["RAYON_NUM_THREADS: found `", count, "expected a number of threads up to 512"],
        );
    }
}

#[test]
fn a_checkpoint_that_lacks_something() {
    for (file, parts) in [
        ("config.json", ["config.json: could not be read", "No such file"]),
        ("tokenizer.json", ["tokenizer.json", "No such file"]),
        ("model.safetensors", ["no `model.safetensors`", "found "]),
        ("processor_config.json", ["no image processor", "preprocessor_config.json"]),
    ] {
        let folder = copy("llava-a");
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_holds(&ask(folder.path()), &parts);
    }
    let folder = copy("llava-a");
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    assert_holds(&ask(folder.path()), &["no chat template", "give the whole prompt"]);
}

#[test]
fn a_config_that_cannot_be() {
    let folder = copy("llava-a");
    let config = folder.path().join("config.json");
    let whole = fs::read(&config).unwrap();
    let said = |change: &dyn Fn(&mut Value)| {
        fs::write(&config, &whole).unwrap();
        edit(&config, change);
        ask(folder.path())
    };
    let heads = said(&|c| c["vision_config"]["num_attention_heads"] = 3.into());
    assert_holds(&heads, &["`vision_config.num_attention_heads` = 3", "a divisor of hidden_size = 20"]);
    let groups = said(&|c| c["text_config"]["num_key_value_heads"] = 4.into());
    assert_holds(
        &groups,
        &["`text_config.num_key_value_heads` = 4", "a divisor of ", "num_attention_heads = 6"],
    );
    let blocks = said(&|c| c["text_config"]["num_hidden_layers"] = 1_000_000.into());
    assert_holds(&blocks, &["`text_config.num_hidden_layers` = 1000000, expected 1 to 4096"]);
    let none = said(&|c| c["text_config"]["hidden_size"] = 0.into());
    assert_holds(&none, &["`text_config.hidden_size` = 0, expected 1 to"]);
    assert_holds(&said(&|c| c["vision_config"]["patch_size"] = 0.into()), &["patch_size` = 0", "1 to"]);
    let wide = said(&|c| c["text_config"]["hidden_size"] = 25.into());
    assert_holds(&wide, &["do not fit the model", "has [331, 24], expected [331, 25]"]);
    let text = said(&|c| c["text_config"]["hidden_size"] = "wide".into());
    assert_holds(&text, &["`text_config.hidden_size` = string \"wide\"", "expected usize"]);
    let kind = said(&|c| c["model_type"] = "t5".into());
    assert_holds(&kind, &["config.json: `model_type`: `t5` is not supported; supported: llava"]);
    fs::write(&config, "{").unwrap();
    assert_holds(&ask(folder.path()), &["config.json:1:", "EOF"]);
}

#[test]
fn weights_that_are_no_numbers() {
    let folder = copy("llava-a");
    let file = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[header..].as_chunks_mut::<4>().0.iter_mut().step_by(97) {
        *value = f32::NAN.to_le_bytes();
    }
    fs::write(&file, &bytes).unwrap();
    assert_holds(
        &ask(folder.path()),
        &["`--no-self-check` opens it all the same", "the self-check failed: `vision.", "holds NaN at ["],
    );
    let path = folder.path().to_str().unwrap();
    let image = picture("square");
    let asked = ["ask", path, "--no-self-check", "--ask", "Is it red?", "--image", &image];
    let said = mmlens(asked).refused();
    assert_holds(&said, &["gives logits that are no numbers", "`text.logits of token 0` holds NaN at [0, "]);
    let (explain, out) = (&["explain", "--image", &image][..], folder.path().join("out"));
    let told = ["--no-self-check", "--ask", "Is it red?", "--out", out.to_str().unwrap(), path];
    let said = mmlens(explain.iter().chain(&told)).refused();
    assert_holds(&said, &["`text.logits of token 0` holds NaN at [0, ", "where a finite number belongs"]);
}

/// A trace is refused with the first site that holds no number, in the order of the pass; allowed, it says where they are.
#[test]
fn traces_that_hold_no_numbers() {
    let folder = copy("llava-a");
    let file = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = weights.tensor("language_model.model.layers.1.mlp.down_proj.bias").unwrap();
    let at = bias.data().as_ptr() as usize - bytes.as_ptr() as usize + 4 * 5;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    let target = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().to_str().unwrap(), target.path().join("out.safetensors"));
    let trace = |more: &[&str]| {
        let told = ["trace", path, "--no-self-check", "--prompt", "Hi there", "--out", out.to_str().unwrap()];
        mmlens(told.iter().chain(more))
    };
    let said = trace(&[]).refused();
    assert_holds(
        &said,
        &["`--allow-nan` writes them all the same", ": `logits` holds NaN at [0, 0, 0], where"],
    );
    let reads = ["--read", "text.blocks.*.*", "--read", "text.blocks.*.*.*", "--read", "text.*"];
    let said = trace(&reads).refused();
    assert_holds(&said, &[": `text.blocks.1.mlp_out` holds NaN at [0, 0, 5], where a finite number belongs"]);
    // Nothing before holds any: no scores are refused for their masks.
    trace(&["--read", "text.blocks.0.attn.scores", "--generate", "2"]).refused();
    assert!(!out.exists());

    let allowed: Vec<&str> = reads.iter().copied().chain(["--allow-nan", "--json"]).collect();
    let written = trace(&allowed).json();
    let odd = |name: &str| written["tensors"][name]["not_finite"].as_str().map(str::to_owned);
    assert_eq!(odd("text.blocks.1.mlp_out").as_deref(), Some("NaN at [0, 0, 5]"));
    assert_eq!(odd("logits").as_deref(), Some("NaN at [0, 0, 0]"));
    assert_eq!((odd("text.blocks.1.resid_mid"), odd("text.blocks.0.attn.scores")), (None, None));
    // Among logits that are no numbers none is the highest.
    assert!(written["tensors"]["target"].is_null() && out.exists());
    assert!(trace(&["--allow-nan"]).well().contains("NaN at [0, 0, 0]"));
}

#[test]
fn a_tokenizer_that_is_no_json() {
    let folder = copy("llava-a");
    let file = folder.path().join("tokenizer.json");
    let text = fs::read_to_string(&file).unwrap();
    for (from, to) in
        [("\"decoder\": {", "\"decoder\": { 1: "), ("\"type\": \"ByteLevel\"", "\"type\": \"Byte\nLevel\"")]
    {
        assert!(text.contains(from));
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        assert_holds(&ask(folder.path()), &["tokenizer.json:"]);
    }
}

#[test]
fn pictures_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    let whole = fs::read(picture("square")).unwrap();
    let ask = |file: &Path| {
        mmlens(["ask", &model("llava-a"), "--ask", "Is it red?", "--image", file.to_str().unwrap()]).refused()
    };
    for kept in [0, 8, 40, whole.len() / 2] {
        fs::write(&broken, &whole[..kept]).unwrap();
        assert_holds(&ask(&broken), &["broken.png: "]);
    }
    fs::write(&broken, "this is a text").unwrap();
    assert_holds(&ask(&broken), &["broken.png: ", "Invalid PNG signature"]);
    assert_holds(&ask(&folder.path().join("none.png")), &["none.png: No such file"]);
    assert_holds(
        &ask(folder.path()),
        &[folder.path().to_str().unwrap(), "it is a folder, expected a regular file"],
    );
    // A name that would steer the terminal is shown, not sent.
    let steering = folder.path().join("\u{1b}[2J.png");
    assert_holds(&ask(&steering), &["\\u{1b}[2J.png: No such file"]);
}

#[test]
fn pictures_of_odd_sizes_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    for (width, height) in [(1, 1), (20_000, 3), (3, 20_000)] {
        let file = folder.path().join(format!("{width}x{height}.png"));
        RgbImage::from_fn(width, height, |x, y| Rgb([(x % 251) as u8, (y % 241) as u8, 9]))
            .save(&file)
            .unwrap();
        for name in crate::support::MODELS {
            let said = mmlens([
                "ask",
                &model(name),
                "--ask",
                "Is it red?",
                "--image",
                file.to_str().unwrap(),
                "--json",
            ]);
            assert!(!said.json()["tokens"].as_array().unwrap().is_empty(), "{name} {width}x{height}");
        }
    }
}

#[test]
fn words_that_do_not_fit() {
    let (a, square) = (model("llava-a"), picture("square"));
    let trace = |more: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.safetensors");
        let fixed = args(&["trace", &a, "--out", out.to_str().unwrap()]);
        let said = mmlens(fixed.into_iter().chain(args(more))).refused();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a refused trace leaves nothing");
        said
    };
    assert_holds(&trace(&["--prompt", ""]), &["the prompt is empty"]);
    assert_holds(&trace(&["--ask", "  "]), &["the question is empty"]);
    let none = trace(&["--prompt", "Is it?", "--image", &square]);
    assert_holds(&none, &["the prompt has 0 picture placeholders (`<image>`), but 1 pictures were given"]);
    let many = trace(&["--prompt", "<image><image>Same?", "--image", &square]);
    assert_holds(&many, &["the prompt has 2 picture placeholders (`<image>`), but 1 pictures were given"]);
    let captions = trace(&["--text", "a red square", "--text", "a circle"]);
    assert_holds(&captions, &["`--text` is for dual encoders", "takes `--ask` or `--prompt`"]);
    let dtype = trace(&["--prompt", "Hi", "--dtype", "bf16"]);
    assert_eq!(dtype, "`--dtype bf16` is not supported; supported: f32");
    let id = trace(&["--prompt", "Hi", "--grad", "text.input", "--target", "331"]);
    assert_holds(&id, &["token 331", "331"]);
    let unused = trace(&["--prompt", "Hi", "--target", "4000000000"]);
    assert_holds(&unused, &["token 4000000000", "331"]);
}

/// Every command that opens a model takes a device, and says of one that it cannot open why.
#[test]
fn devices_that_are_not_there() {
    let square = picture("square");
    let commands: [&[&str]; 4] = [
        &["ask", "--image", &square, "--ask", "Hi"],
        &["sites"],
        &["explain", "--image", &square, "--ask", "Hi", "--out", "/nowhere"],
        &["trace", "--prompt", "Hi", "--out", "/nowhere"],
    ];
    for command in commands {
        let on = |device: &str| mmlens(command.iter().copied().chain(["--device", device]));
        let unknown = on("cuda");
        assert_eq!(unknown.code, Some(2));
        assert_holds(&unknown.err, &["`cuda` is no device", "`flex`", "`remote:ws://HOST:PORT`"]);
        // Nothing listens there, or the build knows no such device.
        let said = on("remote:ws://127.0.0.1:9").refused();
        let parts = match cfg!(feature = "remote") {
            true => ["`remote:ws://127.0.0.1:9` cannot be used", "reached"],
            false => ["`remote:ws://127.0.0.1:9` is not in this build", "the feature `remote`"],
        };
        assert_holds(&said, &parts);
    }
    let ask = ["ask", "--image", &square, "--ask", "What colour is it?"];
    assert_eq!(mmlens(ask.iter().chain(&["--device", "flex"])).well(), mmlens(ask).well());
}

#[test]
fn sites_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let trace = |option: &str, site: &str| {
        let fixed =
            ["trace", &model("llava-a"), "--prompt", "Hi", "--out", out.to_str().unwrap(), option, site];
        mmlens(fixed).refused()
    };
    for option in ["--read", "--grad"] {
        assert_holds(
            &trace(option, "text.blocks.0.atn_out"),
            &["`atn_out` is no point", "did you mean `attn_out`?"],
        );
        assert_holds(
            &trace(option, "text.blocks.3.attn_out"),
            &["no site `text.blocks.3.attn_out`", "did you mean"],
        );
        assert_holds(&trace(option, "txt.input"), &["`txt` is no part", "did you mean `text`?"]);
        assert_holds(&trace(option, "text.attn_out"), &["lies inside a block", "text.blocks.0.attn_out"]);
        assert_holds(&trace(option, "vision.**"), &["`vision.**` is not a site or selector"]);
        assert_holds(&trace(option, ""), &["not a site or selector"]);
        // There is no picture in this prompt, so its sites are never reached.
        assert_holds(&trace(option, "vision.pixels"), &["`vision.pixels`", "never reached"]);
    }
}

#[test]
fn places_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("not/there/out.safetensors");
    let said =
        mmlens(["trace", &model("llava-a"), "--prompt", "Hi", "--out", out.to_str().unwrap()]).refused();
    assert_holds(&said, &["cannot write ", "not/there/out.safetensors", "No such file"]);
    let said =
        mmlens(["trace", &model("llava-a"), "--prompt", "Hi", "--out", folder.path().to_str().unwrap()]);
    assert_holds(&said.refused(), &["cannot write ", "directory"]);
}

#[test]
fn models_that_are_not_there() {
    let nowhere = mmlens(["sites", "nowhere"]).refused();
    assert_eq!(nowhere, "there is no folder `nowhere`, and it is not a hub id: a hub id is `org/name`");
    let cache = tempfile::tempdir().unwrap();
    let ask = |id: &str| {
        let output =
            command().env("HF_HUB_CACHE", cache.path()).args(["sites", id, "--json"]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, _, said) = ask("org/tiny");
    assert_eq!(code, Some(1));
    let looked = cache.path().join("models--org--tiny");
    assert_holds(&said, &["`org/tiny` is neither", looked.to_str().unwrap(), "hf download org/tiny"]);
    // As the hub's own program lays it out.
    let snapshots = looked.join("snapshots");
    fs::create_dir_all(looked.join("refs")).unwrap();
    fs::create_dir_all(&snapshots).unwrap();
    fs::write(looked.join("refs/main"), "0a1b2c").unwrap();
    assert_holds(&ask("org/tiny").2, &["not its revision `main`", "0a1b2c", "it has main"]);
    let snapshot = snapshots.join("0a1b2c");
    fs::create_dir(&snapshot).unwrap();
    for entry in fs::read_dir(model("llava-b")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), snapshot.join(entry.file_name())).unwrap();
    }
    let (code, sites, _) = ask("org/tiny");
    assert_eq!((code, sites), (Some(0), mmlens(["sites", &model("llava-b"), "--json"]).well()));
    // It is called by its id, not by its commit.
    let folder = snapshot.to_str().unwrap();
    let said = mmlens(["ask", folder, "--ask", "Is it?", "--json"]).json();
    assert_eq!(said["model"], "org/tiny");
}

#[test]
fn draws_out_of_range() {
    let ask = |more: &[&str]| {
        let fixed = args(&["ask", &model("llava-a"), "--ask", "Is it red?", "--image", &picture("square")]);
        mmlens(fixed.into_iter().chain(args(more)))
    };
    assert_holds(&ask(&["--temperature=-1"]).refused(), &["`temperature` = -1", "above 0"]);
    assert_holds(&ask(&["--temperature", "nan"]).refused(), &["`temperature` = NaN"]);
    assert_holds(&ask(&["--top-p", "1.5"]).refused(), &["`top_p` = 1.5", "at most 1"]);
    assert_holds(&ask(&["--top-p", "0"]).refused(), &["`top_p` = 0"]);
}

#[test]
fn a_command_line_that_says_nothing_is_a_usage_error() {
    let a = model("llava-a");
    for words in [
        &["ask", &a][..],
        &["trace", &a, "--out", "x"],
        &["trace", &a, "--ask", "a", "--prompt", "b", "--out", "x"],
        &["trace", &a, "--ask", "a", "--out", "x", "--target", "red"],
        &["ask", &a, "--ask", "a", "--seed", "1"],
        &["ask", &a, "--ask", "a", "--max-new", "0"],
        &["unknown"],
        &[],
    ] {
        let said = mmlens(words);
        assert_eq!(said.code, Some(2), "{words:?}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
    assert_eq!(mmlens(["--help"]).code, Some(0));
    assert_eq!(mmlens(["--version"]).well(), format!("mmlens {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let mut child = command()
        .args(["sites", &model("llava-a"), "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
