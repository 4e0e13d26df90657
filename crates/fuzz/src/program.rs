//! Files that the program reads itself: jobs and cases.

use std::fs;

use anyhow::Context;
use mmlens_cli::files;

use crate::{Outcome, Room};

/// The most cases of a file whose pictures and recordings are read.
const MOST_CASES: usize = 16;

/// Jobs with keys of every kind, and tables of methods.
pub(crate) fn job_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = [
        r#"model = "shapes-llava"
image = ["shown.png", "other.png"]
ask = "what colour is the triangle?"
method = ["ig", "occlusion"]
edit = ["text.blocks.2.attn.z[head=1]=zero"]
memory = "2GiB"
no-self-check = true

[ig]
steps = 64

[occlusion]
picture = { grid = { rows = 8, cols = 8 } }
words = "null"
"#,
        r#"cases = "cases.jsonl"
method = "cka"
layer = [0, 1]
json = false
dry-run = true
"#,
        r#"prompt = "a b"
edit = "text.blocks.0.resid_post=add:nowhere.safetensors#v*3"
set = ["ig.steps=4", "rollout.whole=false"]
target = "a"
versus = "b"
fps = 2.5
from = 0.25
"#,
        r#"audio = "heard.wav"
to = 0x10
ask = """
two
lines"""
[lime]
samples = 1_000
[lime.kernel]
width = 0.25
"#,
    ];
    Ok(all.map(|text| text.as_bytes().to_vec()).to_vec())
}

/// Reads a job as the command line does; nothing of it is run.
pub(crate) fn job_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let read = files::job(&room.file("job.toml", bytes)?);
    Ok(read.map_or_else(|error| Outcome::Refused(format!("{error:#}")), |()| Outcome::Accepted))
}

/// Lines with every field, of which the pictures and recordings are there.
pub(crate) fn case_seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let all = [
        r#"{"id": "one", "image": "shown.png", "ask": "what is it?", "answer": "a", "span": "a", "versus": "b", "mask": ["shown.png"], "mask_levels": [0, 255], "person": "shown.png"}"#,
        r#"{"image": ["shown.png", "shown.png"], "prompt": "a b", "target": "a", "label": "x", "group": "g", "concepts": ["x", "y", "x"], "corrupted_image": ["shown.png", "shown.png"]}"#,
        r#"{"audio": "heard.wav", "from": 0.1, "to": 0.4, "ask": "what?", "corrupted_audio": "heard.wav"}"#,
        r#"{"video": "frames", "fps": 2, "text": ["a", "b"], "corrupted_text": "c"}"#,
    ];
    let lines = [&all[..], &[""]].concat().join("\n");
    Ok(all.iter().map(|line| (*line).to_owned()).chain([lines]).map(String::into_bytes).collect())
}

/// Reads a file of cases, and what the first of them name.
pub(crate) fn case_once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let path = room.file("cases.jsonl", bytes)?;
    let beside = |name: &str| room.path().join(name);
    if !beside("frames").exists() {
        fs::copy(mmlens_testkit::picture("wide"), beside("shown.png"))?;
        let heard = mmlens_testkit::fixtures().join("recordings/chirp.wav");
        fs::copy(&heard, beside("heard.wav")).with_context(|| heard.display().to_string())?;
        fs::create_dir(beside("frames"))?;
        for frame in ["0.png", "1.png"] {
            fs::copy(mmlens_testkit::picture("wide"), beside("frames").join(frame))?;
        }
    }
    Ok(match files::cases(&path, MOST_CASES) {
        Err(error) => Outcome::Refused(format!("{error:#}")),
        Ok((_, refused)) => match refused.into_iter().next() {
            None => Outcome::Accepted,
            // A file that a line names by its whole path lies elsewhere; the refusal must have that path.
            Some(said) if said.contains('/') => Outcome::Refused(format!("{}: {said}", path.display())),
            Some(said) => Outcome::Refused(said),
        },
    })
}
