//! `mmlens explain --cases` with methods that look at all cases together.

use std::fs;
use std::path::Path;

use mmlens::core::{Analysis, Case, ManyCases, Picture, Sample, from_fn};
use mmlens::finding::Finding;
use mmlens::model::Cka;
use mmlens::zoo;
use serde_json::Value;

use crate::support::{Said, mmlens, model, picture};

/// Pictures of stripes, each of another width.
fn pictures(folder: &Path) -> Vec<String> {
    let paths: Vec<String> =
        (0..6_u32).map(|at| folder.join(format!("{at}.png")).display().to_string()).collect();
    for (at, path) in paths.iter().enumerate() {
        let pixels = image::RgbImage::from_fn(24, 20, |x, y| {
            let on = (x / (at as u32 + 1) + y / 3).is_multiple_of(2);
            image::Rgb(if on { [250, 40 * at as u8, 9] } else { [10, 90, 255 - 40 * at as u8] })
        });
        pixels.save(path).unwrap();
    }
    paths
}

const SITES: &str = r#"cka.sites=["text.blocks.0.resid_post","text.blocks.1.resid_post"]"#;

fn run(model: &str, cases: &Path, out: &Path, more: &[&str]) -> Said {
    let fixed = ["explain", model, "--cases", cases.to_str().unwrap(), "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(more))
}

#[test]
fn a_method_of_many_cases_runs_over_a_folder_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let paths = pictures(&data);
    let (name, out) = (model("llava-a"), folder.path().join("out"));
    let more = ["--ask", "Is it red?", "--method", "cka", "--set", SITES];
    let told = run(&name, &data, &out, &[more.as_slice(), &["--json"]].concat()).json();
    assert_eq!((told["cases"].as_u64(), told["data"].as_str()), (Some(6), Some("data")));
    let found = Finding::load(told["findings"][0]["finding"].as_str().unwrap()).unwrap();

    // What a program finds that hands the same cases over.
    let subject = zoo::open(&name, &Default::default()).unwrap();
    let cases =
        from_fn("data", 6, move |at| Ok(Case::new(Sample::ask(Picture::open(&paths[at])?, "Is it red?"))));
    let settings =
        serde_json::from_str(&format!("{{\"sites\": {}}}", SITES.split_once('=').unwrap().1)).unwrap();
    let own = Cka::new(settings).unwrap().run(&subject, &ManyCases::over(cases).unwrap()).unwrap();
    assert_eq!(found.answer(), own.answer());
    assert_eq!(found.provenance.input.as_ref().unwrap().data, own.provenance.input.as_ref().unwrap().data);
    assert!(fs::read_to_string(told["report"].as_str().unwrap()).unwrap().contains("cka over data"));

    // The same again makes nothing twice.
    let file = out.join("cka.safetensors");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let said = run(&name, &data, &out, &more).well();
    assert!(said.contains("data       data: 6 cases") && said.contains("report"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);

    let dry = run(&name, &data, &out, &[more.as_slice(), &["--dry-run", "--json"]].concat()).json();
    assert_eq!(dry["methods"][0]["forward"], 6);
}

#[test]
fn a_second_model_stands_beside_with_words_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    pictures(&data);
    let captions = folder.path().join("captions.jsonl");
    let line = |at: usize| format!("{{\"image\": \"data/{at}.png\", \"text\": \"a red square\"}}\n");
    fs::write(&captions, (0..6).map(line).collect::<String>()).unwrap();
    let sites = [
        "--set",
        r#"cka.sites=["vision.blocks.1.resid_post"]"#,
        "--set",
        r#"cka.against=["vision.blocks.0.resid_post"]"#,
        "--set",
        "cka.positions=pictures",
    ];
    let (clip, out) = (model("clip-a"), folder.path().join("out"));
    let beside = ["--ask", "Red?", "--method", "cka", "--beside", &clip, "--json", "--beside-cases"];
    let more = [beside.as_slice(), &[captions.to_str().unwrap()], &sites].concat();
    let told = run(&model("llava-a"), &data, &out, &more).json();
    assert_eq!(told["beside"], "model");
    let found = Finding::load(told["findings"][0]["finding"].as_str().unwrap()).unwrap();
    let beside = found.provenance.input.unwrap().beside.unwrap();
    assert_eq!((beside.subject.as_str(), beside.data.unwrap().cases), ("model", 6));
}

/// A copy of a checkpoint with the numbers of some tensors half as large again.
fn trained_on(name: &str, folder: &Path, tensors: &str) -> String {
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(model(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let mut changed = 0;
    for (_, about) in header.as_object().unwrap().iter().filter(|(name, _)| name.contains(tensors)) {
        assert_eq!(about["dtype"], "F32");
        let [from, to] = [0, 1].map(|end| start + about["data_offsets"][end].as_u64().unwrap() as usize);
        for number in bytes[from..to].chunks_mut(4) {
            let value = 1.5 * f32::from_le_bytes(number.try_into().unwrap());
            number.copy_from_slice(&value.to_le_bytes());
        }
        changed += 1;
    }
    assert!(changed > 0, "no tensor is called {tensors}");
    fs::write(file, bytes).unwrap();
    folder.display().to_string()
}

/// What a training changed, and its vector as an edit.
#[test]
fn a_checkpoint_is_compared_with_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let paths = pictures(&data);
    let (name, out) = (model("llava-a"), folder.path().join("out"));
    let after =
        trained_on("llava-a", &folder.path().join("after"), "language_model.model.layers.1.mlp.down_proj");
    let more = ["--ask", "Red?", "--method", "checkpoint-diff", "--beside", &after];
    run(&name, &data, &out, &more).cautioned();
    let file = out.join("checkpoint-diff.safetensors");
    let found = Finding::load(&file).unwrap();
    let numbers = |table: &str| found.table(table).unwrap().as_numbers().unwrap().to_vec();
    let difference = numbers("difference");
    // Nothing before the block that was trained, and its own output behind it.
    assert!(difference[..5].iter().all(|x| *x == 0.0) && difference[5] > 0.0, "{difference:?}");
    let edit = format!("text.blocks.1.resid_post=add:{}#text.blocks.1.resid_post", file.display());
    let asked = |more: &[&str]| {
        let fixed = ["ask", &name, "--image", &paths[0], "--ask", "Red?", "--max-new", "1", "--json"];
        mmlens(fixed.iter().chain(more)).json()
    };
    assert_ne!(asked(&["--edit", &edit])["tokens"], asked(&[])["tokens"]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let (name, out) = (model("llava-a"), folder.path().join("out"));
    let over = |more: &[&str]| run(&name, folder.path(), &out, more).refused();
    assert_eq!(
        over(&["--ask", "Red?", "--method", "cka,ig"]),
        "`--method cka` looks at all cases together, `--method ig` at each by itself: one run for each kind"
    );
    assert!(over(&["--ask", "Red?", "--method", "cka", "--target", "yes"]).starts_with(
        "`--target` says what is explained of a case; `--method cka` looks at all cases together"
    ));
    assert!(
        over(&["--ask", "Red?", "--method", "cka", "--corrupted-ask", "Blue?"])
            .starts_with("`--corrupted-ask`")
    );
    assert!(
        over(&["--ask", "Red?", "--method", "ig", "--beside", "shapes-clip"])
            .starts_with("`--beside` with `--cases` is for methods that look at many cases together")
    );
    let one = ["explain", &name, "--image", &picture("square"), "--ask", "Red?", "--method", "cka"];
    let said = mmlens(one.into_iter().chain(["--out", out.to_str().unwrap()])).refused();
    assert_eq!(
        said,
        "`--method cka` looks at many cases together, and one sample is given here: `--cases PATH` gives many"
    );
    assert!(!out.exists());
}
