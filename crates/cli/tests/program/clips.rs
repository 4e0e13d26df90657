//! Clips on the command line: `--video` and `--fps`.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::support::{QWEN, args, fixtures, mmlens, model, picture};
use mmlens::finding::{Finding, Tolerance};

/// The frames of a clip in a folder, under names that sort otherwise as text than as numbers.
fn film(folder: &Path, frames: &[Value]) -> String {
    let film = folder.join("film");
    fs::create_dir_all(&film).unwrap();
    for (i, frame) in frames.iter().enumerate() {
        fs::copy(picture(frame.as_str().unwrap()), film.join(format!("f{}.png", i + 8))).unwrap();
    }
    film.display().to_string()
}

/// One recorded pass that shows a clip, on the command line.
fn same(name: &str, trace: &str) {
    let bytes = fs::read(fixtures().join(name).join(trace)).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
    let row = &about["rows"][0];
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let words = if row.get("ask").is_some() { "ask" } else { "prompt" };
    let frames = row["videos"][0].as_array().unwrap();
    let mut command = args(&["trace", &model(name), &format!("--{words}"), row[words].as_str().unwrap()]);
    command.extend(args(&["--video", &film(folder.path(), frames), "--fps", &row["fps"].to_string()]));
    for image in row["images"].as_array().into_iter().flatten() {
        command.extend(args(&["--image", &picture(image.as_str().unwrap())]));
    }
    command.extend(args(&["--read", "text.final_norm", "--generate", "12", "--out", out.to_str().unwrap()]));
    mmlens(command).well();
    let ours = fs::read(&out).unwrap();
    let (ours, theirs) =
        (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&bytes).unwrap());
    for (key, bound) in
        [("input_ids", 0.0), ("generated", 0.0), ("pixel_values", 1e-6), ("text.final_norm", 1e-4)]
    {
        let (a, b) = (ours.tensor(key).unwrap(), theirs.tensor(key).unwrap());
        let b_shape = b.shape();
        assert_eq!((a.shape(), a.dtype()), (b.shape(), b.dtype()), "{name} {trace}: {key}");
        if b.dtype() == Dtype::I64 {
            assert_eq!(a.data(), b.data(), "{name} {trace}: {key}");
            continue;
        }
        let floats = |data: &[u8]| -> Vec<f32> {
            data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let (a, b) = (floats(a.data()), floats(b.data()));
        // Pixels against the largest of all, a state against the largest of its position.
        let within = match key {
            "pixel_values" => Tolerance::relative(bound),
            _ => Tolerance::relative(bound).by_row(*b_shape.last().unwrap()),
        };
        within.check(&format!("{name} {trace}: {key}"), &a, &b).unwrap();
    }
}

#[test]
fn a_folder_of_frames_is_seen_as_transformers_sees_it() {
    for name in QWEN {
        same(name, "trace-video.safetensors");
        if name.ends_with('a') {
            same(name, "trace-both.safetensors");
        }
    }
}

#[test]
fn a_clip_is_explained_frame_by_frame() {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<Value> = (0..5).map(|i| format!("clip-{i}").into()).collect();
    let (film, out) = (film(folder.path(), &frames), folder.path().join("out"));
    let mut command = args(&["explain", &model("qwen3-vl-a"), "--video", &film, "--fps", "3", "--image"]);
    command.extend(args(&[&picture("wide"), "--ask", "What?", "--method", "ig,rollout", "--json", "--out"]));
    command.push(out.display().to_string());
    let said = mmlens(command).json();
    let maps = said["findings"][0]["heat_maps"].as_array().unwrap();
    let files: Vec<&str> = maps
        .iter()
        .map(|m| Path::new(m["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap())
        .collect();
    // One map for the picture, one for the first frame of each step of the clip.
    assert_eq!(files, ["ig.png", "ig-1.png", "ig-1-2.png", "ig-1-4.png"]);
    let frame = image::open(out.join("ig-1-4.png")).unwrap();
    assert_eq!((frame.width(), frame.height()), (24, 16));
    // What the language model gives to patches is carried through the tower, none of it lost.
    let rollout = Finding::load(out.join("rollout.safetensors")).unwrap();
    let sum = |name: &str| rollout.table(name).unwrap().as_numbers().unwrap().iter().sum::<f32>();
    let (shown, carried) = (sum("picture"), sum("picture through the tower"));
    assert!(shown > 0.05 && (shown - carried).abs() < 1e-5, "{shown} {carried}");
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("film, frame 4"));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let film = film(folder.path(), &["clip-0".into(), "clip-1".into()]);
    let ask = |name: &str, more: &[&str]| {
        mmlens(args(&["ask", &model(name), "--ask", "What?"]).into_iter().chain(args(more)))
    };
    let said = ask("llava-a", &["--video", &film]).refused();
    assert!(said.contains("takes no clips, but 1 were given"), "{said}");
    let said = ask("qwen2-vl-a", &["--video", &film, "--fps", "0"]).refused();
    assert!(said.contains("0 frames in a second, expected 0.001 to 1000000"), "{said}");
    let said = ask("qwen2-vl-a", &["--video", &picture("wide")]).refused();
    assert!(said.contains("wide.png") && said.contains("a clip is a folder of frames"), "{said}");
    let said = ask("qwen3-vl-a", &["--video", &picture("clip-0"), "--fps", "1"]).refused();
    assert!(said.contains("a clip is a folder"), "{said}");
    fs::copy(picture("tall"), Path::new(&film).join("z.png")).unwrap();
    let said = ask("qwen2-vl-a", &["--video", &film]).refused();
    assert!(said.contains("frame 2 of the clip is 19 x 83, its first one 24 x 16"), "{said}");
}
