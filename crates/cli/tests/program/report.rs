//! `mmlens report`: one page of findings of several runs.

use std::fs;
use std::path::Path;

use crate::support::{Said, findings, mmlens, model, picture};

fn report(findings: &[&Path], out: &Path, more: &[&str]) -> Said {
    let files = findings.iter().map(|file| file.to_str().unwrap());
    mmlens(
        ["report"]
            .into_iter()
            .chain(files)
            .chain(["--out", out.to_str().unwrap()])
            .chain(more.iter().copied()),
    )
}

#[test]
fn several_runs_are_on_one_page_with_each_picture_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = findings(folder.path(), "first", "ig,occlusion", &["--set", "ig.steps=8"]);
    let second = findings(folder.path(), "second", "ig", &["--set", "ig.steps=4"]);
    let (ig, other) = (first.join("ig.safetensors"), second.join("ig.safetensors"));
    let occlusion = first.join("occlusion.safetensors");
    let page = folder.path().join("page.html");
    let said = report(&[&ig, &other, &occlusion], &page, &["--json"]).json();
    assert_eq!(
        (said["findings"].as_array().unwrap().len(), said["pictures"].as_array().unwrap().len()),
        (3, 1)
    );
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<figure class=\"picture\"").count(), 1);
    assert!(html.contains("Red?") && html.ends_with("</html>\n"));
    // What is there twice is told apart by its file.
    for (number, file) in [(1, &ig), (2, &other)] {
        assert!(html.contains(&format!("<h2>Integrated gradients {number}</h2>")), "{number}");
        assert!(html.contains(&format!(", {}</p>", file.display())), "{}", file.display());
    }
    assert!(!html.contains(&occlusion.display().to_string()));
}

#[test]
fn findings_about_other_pictures_lie_on_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = findings(folder.path(), "first", "occlusion", &[]).join("occlusion.safetensors");
    let tall = tempfile::tempdir().unwrap();
    let (shown, out) = (tall.path().join("tall.png"), tall.path().join("out"));
    fs::copy(picture("tall"), &shown).unwrap();
    let args = ["explain", &model("llava-a"), "--ask", "Red?", "--method", "occlusion"];
    let files = ["--image", shown.to_str().unwrap(), "--out", out.to_str().unwrap()];
    mmlens(args.iter().chain(&files)).cautioned();
    let second = out.join("occlusion.safetensors");
    let page = folder.path().join("page.html");
    report(&[&first, &second], &page, &[]).well();
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<figure class=\"picture\"").count(), 2);
}

#[test]
fn a_picture_that_is_not_what_it_was_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let finding = findings(folder.path(), "out", "occlusion", &[]).join("occlusion.safetensors");
    let (shown, page) = (folder.path().join("square.png"), folder.path().join("page.html"));
    let elsewhere = folder.path().join("elsewhere.png");
    fs::rename(&shown, &elsewhere).unwrap();
    let gone = report(&[&finding], &page, &[]).refused();
    let begins = format!("{}: its picture `square.png` is not what it was: ", finding.display());
    let ends = "; `--image FILE` names it where it lies now, `--no-pictures` leaves it out";
    assert!(
        gone.starts_with(&begins) && gone.contains(&shown.display().to_string()) && gone.ends_with(ends),
        "{gone}"
    );
    fs::copy(picture("tall"), &shown).unwrap();
    let other = report(&[&finding], &page, &[]).refused();
    assert!(
        other.starts_with(&format!("{begins}{} has pixels ", shown.display())) && other.ends_with(ends),
        "{other}"
    );
    assert!(!page.exists());
    let stray = report(&[&finding], &page, &["--image", shown.to_str().unwrap()]).refused();
    let expected = "no finding is about this picture; they are about square.png";
    assert_eq!(stray, format!("`--image {}`: {expected}", shown.display()));
    let pictures =
        |page: &Path| fs::read_to_string(page).unwrap().matches("<figure class=\"picture\"").count();
    report(&[&finding], &page, &["--image", elsewhere.to_str().unwrap()]).well();
    assert_eq!(pictures(&page), 1);
    report(&[&finding], &page, &["--no-pictures"]).well();
    assert_eq!(pictures(&page), 0);
    // Not over what is read.
    let said = report(&[&finding], &finding, &["--no-pictures"]).refused();
    assert!(said.ends_with("which is read here"), "{said}");
}

/// A map that knows of no frame lies on the first of its clip, whichever finding comes first.
#[test]
fn frames_of_a_clip_are_shown_and_must_be_what_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (film, out) = (folder.path().join("film"), folder.path().join("out"));
    fs::create_dir(&film).unwrap();
    for frame in 0..4 {
        fs::copy(picture(&format!("clip-{frame}")), film.join(format!("{frame}.png"))).unwrap();
    }
    let args = ["explain", &model("qwen3-vl-a"), "--ask", "Red?", "--method", "occlusion,logit-lens"];
    let files = ["--video", film.to_str().unwrap(), "--fps", "3", "--out", out.to_str().unwrap()];
    let said = mmlens(args.iter().chain(&files));
    assert_eq!(said.code, Some(0), "{said:?}");
    let (occlusion, lens) = (out.join("occlusion.safetensors"), out.join("logit-lens.safetensors"));
    let page = folder.path().join("page.html");
    for findings in [[&occlusion, &lens], [&lens, &occlusion]] {
        let findings = findings.map(std::path::PathBuf::as_path);
        let said = report(&findings, &page, &["--json"]).json();
        assert_eq!(said["pictures"].as_array().unwrap().len(), 1);
        let html = fs::read_to_string(&page).unwrap();
        for frame in [0, 2] {
            assert_eq!(html.matches(&format!("<figcaption>film, frame {frame} ")).count(), 1, "{frame}");
        }
    }
    fs::copy(picture("clip-4"), film.join("2.png")).unwrap();
    let said = report(&[&lens], &page, &[]).refused();
    let why = format!("{} shows other frames; `--no-pictures` leaves it out", film.display());
    assert_eq!(said, format!("{}: its clip `film` is not what it was: {why}", lens.display()));
}
