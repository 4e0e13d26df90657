//! `mmlens explain --job`: the same as with options, or refused at its line.

use std::fs;
use std::path::Path;

use mmlens::finding::Finding;

use crate::support::{Said, args, mmlens, model, picture};

const ASK: &str = "What colour is the square?";

/// A job file of this text in a folder, beside a picture and a model that it names as seen from there.
fn job(folder: &Path, text: &str) -> String {
    fs::copy(picture("square"), folder.join("square.png")).unwrap();
    fs::copy(picture("wide"), folder.join("wide.png")).unwrap();
    let file = folder.join("job.toml");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn explain(job: &str, more: &[&str]) -> Said {
    mmlens(args(&["explain", "--job", job]).into_iter().chain(args(more)))
}

fn finding(folder: &Path, name: &str) -> Finding {
    Finding::load(folder.join(format!("{name}.safetensors"))).unwrap()
}

/// Every kind of key: a text, a list, a number, a switch, a file, settings.
const WHOLE: &str = r#"
# Why this answer?
model = "MODEL"
image = "square.png"
ask = "What colour is the square?"
method = ["ig", "rollout", "occlusion"]
edit = ["text.blocks.0.attn.z[head=1]=zero"]
memory = "1GiB"
out = "found"
no-self-check = true
json = false

[ig]
steps = 6
rule = "midpoint"

[occlusion]
picture = { grid = { rows = 3, cols = 2 } }
words = "null"
"#;

#[test]
fn a_job_finds_what_its_options_find() {
    let folder = tempfile::tempdir().unwrap();
    let text = WHOLE.replace("MODEL", &model("llava-a"));
    let file = job(folder.path(), &text);
    explain(&file, &[]).cautioned();
    let (square, out) = (folder.path().join("square.png"), folder.path().join("options"));
    let options = [
        "explain",
        &model("llava-a"),
        "--image",
        square.to_str().unwrap(),
        "--ask",
        ASK,
        "--method",
        "ig,rollout,occlusion",
        "--edit",
        "text.blocks.0.attn.z[head=1]=zero",
        "--memory",
        "1GiB",
        "--no-self-check",
        "--set",
        "ig.steps=6",
        "--set",
        "ig.rule=midpoint",
        "--set",
        "occlusion.picture={\"grid\":{\"rows\":3,\"cols\":2}}",
        "--set",
        "occlusion.words=null",
        "--out",
        out.to_str().unwrap(),
    ];
    mmlens(options).cautioned();
    for name in ["ig", "rollout", "occlusion"] {
        let (of_job, of_options) = (finding(&folder.path().join("found"), name), finding(&out, name));
        assert_eq!(of_job.differences(&of_options), [], "{name}");
        assert_eq!(of_job.to_bytes().unwrap(), of_options.to_bytes().unwrap(), "{name}");
    }
    let settings = finding(&out, "ig").provenance.settings;
    assert_eq!((&settings["steps"], &settings["rule"]), (&6.into(), &"midpoint".into()));
}

/// Where both say something the command line wins: of an option, of one that excludes it, and of a single setting.
#[test]
fn the_command_line_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = job(folder.path(), &WHOLE.replace("MODEL", &model("llava-b")));
    let out = folder.path().join("mine");
    let wide = folder.path().join("wide.png");
    let more = [
        "--model",
        &model("llava-a"),
        "--image",
        wide.to_str().unwrap(),
        "--prompt",
        "<image>Red?",
        "--method",
        "ig",
        "--set",
        "integrated-gradients.steps=3",
        "--out",
        out.to_str().unwrap(),
    ];
    explain(&file, &more).cautioned();
    assert!(!folder.path().join("found").exists() && !out.join("rollout.safetensors").exists());
    let made = finding(&out, "ig").provenance;
    assert_eq!((&made.settings["steps"], &made.settings["rule"]), (&3.into(), &"midpoint".into()));
    let sample = made.input.clone().unwrap().sample;
    assert_eq!((sample.pictures.len(), sample.pictures[0].name.as_str()), (1, "wide.png"));
    assert!(format!("{:?}", sample.words).contains("<image>Red?"), "{:?}", sample.words);
    assert!(made.subject.contains("llava-a") || made.model == Some(model("llava-a")), "{made:?}");
    // A model by its place is no other thing.
    let at = mmlens([
        "explain",
        &model("llava-a"),
        "--job",
        &file,
        "--method",
        "rollout",
        "--out",
        out.to_str().unwrap(),
    ]);
    at.well();
    assert_eq!(finding(&out, "rollout").provenance.model, Some(model("llava-a")));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        let file = job(folder.path(), text);
        let said = explain(&file, &[]).refused();
        said.strip_prefix(&file).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    for (text, said) in [
        ("\nimag = \"a.png\"", ", line 2: `imag` is no option of `mmlens explain` (did you mean `image`?)"),
        ("job = \"a.toml\"", ", line 1: `job` is no option of `mmlens explain`"),
        ("ask = \"a\"\nask = \"b\"", ", line 2: duplicate key"),
        ("ask = ", ", line 1: "),
        ("ask = [\"a\", \"b\"]", ", line 1: `ask` is a list, expected a text or a number"),
        ("ask = 1979-05-27", ", line 1: `ask` is the date 1979-05-27, expected a text or a number"),
        ("image = [\"a.png\",\n  true]", ", line 1: `image` is a list, expected a list of texts"),
        ("\n\njson = \"yes\"", ", line 3: `json` is the text `yes`, expected true or false"),
        ("[igs]\nsteps = 3", ", line 1: `[igs]` is no method (did you mean `ig`?)"),
        (
            "[ig]\nrule = \"midpoint\"\nstesp = 3",
            ", line 3: `stesp` is no setting of `ig` (did you mean `steps`?)",
        ),
        (
            "[ig]\nrule = \"midpoint\"\nsteps = 0",
            ", line 3: `steps`: integrated-gradients: steps = 0, but it needs 1 to 4096",
        ),
        ("[ig]\nsteps = nan", ", line 2: `steps` is the number nan, expected a text, a number"),
        (
            "method = \"lemon\"\nask = \"a\"\nout = \"o\"",
            ", line 1: `method`: invalid value 'lemon' for '--method",
        ),
        (
            "out = \"o\"\nask = \"a\"\nprompt = \"b\"",
            ", line 2: `ask`: the argument '--ask <QUESTION>' cannot be used with",
        ),
        (
            "out = \"o\"\nmemory = \"1x\"\nask = \"a\"",
            ", line 2: `memory`: invalid value '1x' for '--memory <SIZE>'",
        ),
    ] {
        let found = refused(text);
        assert!(found.starts_with(said), "{text}: {found}");
    }
    let none = mmlens(["explain", "--job", "/nowhere/job.toml"]).refused();
    assert!(none.starts_with("/nowhere/job.toml: "), "{none}");
}

/// What the job leaves out is asked for as without a job, and with its file.
#[test]
fn what_is_missing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = job(folder.path(), "ask = \"what is it?\"");
    let said = explain(&file, &[]).refused();
    assert!(said.starts_with(&file) && said.contains("--out <FOLDER>"), "{said}");
}

/// What the options of a job need and nobody gives is told with the file.
#[test]
fn what_a_job_lacks_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.toml");
    std::fs::write(&file, "prompt = \"a\"\nfps = 2.5\nfrom = 0.25\n").unwrap();
    let file = file.display().to_string();
    let said = mmlens(["explain", "--job", &file, "--out", "out"]).refused();
    assert!(said.contains(&file) && said.contains("--video") && said.contains("--audio"), "{said}");
}
