//! `mmlens record`: a bank of texts, and activations of cases to learn from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mmlens::finding::Finding;
use mmlens::store::Store;

use crate::support::{Said, mmlens, model, picture};

fn record(out: &Path, more: &[&str]) -> Said {
    let name = model("llava-a");
    let fixed = ["record", name.as_str(), "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(more))
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect()
}

const TEXTS: &str = "Is it red\n\n  left of a square\nthe picture is big \nwhat is it\nRed? Big?\n";

/// Neighbours in a bank, as `mmlens explain` finds them.
fn searched(bank: &Path, out: &Path) -> Finding {
    let (name, shown) = (model("llava-a"), picture("square"));
    let fixed = ["explain", name.as_str(), "--image", shown.as_str(), "--ask", "Red?", "--method", "latent"];
    let own = ["--bank", bank.to_str().unwrap(), "--set", "latent.top=3", "--out", out.to_str().unwrap()];
    mmlens(fixed.iter().chain(&own)).cautioned();
    Finding::load(out.join("latent.safetensors")).unwrap()
}

/// A bank that was recorded gives what its texts give, is recorded once, in shards that the memory holds, and is not taken for that of another file.
#[test]
fn a_bank_is_recorded_once_and_gives_what_its_texts_give() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, bank) = (folder.path().join("texts.txt"), folder.path().join("bank"));
    fs::write(&texts, TEXTS).unwrap();
    let from = ["--texts", texts.to_str().unwrap()];
    let told = record(&bank, &[&from[..], &["--json"]].concat()).json();
    assert_eq!((told["samples"].as_u64(), told["shards"].as_u64()), (Some(5), Some(1)));
    let sites: Vec<&str> =
        told["sites"].as_array().unwrap().iter().map(|site| site.as_str().unwrap()).collect();
    assert_eq!(
        sites,
        [
            "text.blocks.0.resid_pre",
            "text.blocks.0.resid_post",
            "text.blocks.1.resid_post",
            "text.blocks.2.resid_post"
        ]
    );
    let before = contents(&bank);
    let said = record(&bank, &from).well();
    assert!(
        said.starts_with("data      texts.txt sha256 ") && said.contains("rows of text.blocks.0.resid_pre"),
        "{said}"
    );
    assert_eq!(contents(&bank), before, "nothing is recorded twice");

    let (of_texts, of_bank) =
        (searched(&texts, &folder.path().join("a")), searched(&bank, &folder.path().join("b")));
    let told = |found: &Finding, table: &str| found.table(table).unwrap().as_texts().unwrap().to_vec();
    for table in ["words", "contexts", "depths"] {
        assert_eq!(told(&of_texts, table), told(&of_bank, table), "{table}");
    }
    let counts = |found: &Finding| found.table("bank").unwrap().as_numbers().unwrap().to_vec();
    // Texts pass through the model, what was recorded does not; there are as many states.
    assert_eq!(
        (counts(&of_texts)[0], counts(&of_bank)[0], counts(&of_bank)[1]),
        (5.0, 0.0, counts(&of_texts)[1])
    );

    // As many rows a shard as a quarter of so little memory holds, and all there are.
    let small = folder.path().join("small");
    let told = record(&small, &[&from[..], &["--memory", "16KB", "--json"]].concat()).json();
    assert!(told["shards"].as_u64().unwrap() > 1, "{told}");
    let (one, other) = (Store::open(&bank).unwrap(), Store::open(&small).unwrap());
    let rows: Vec<u64> = (0..one.len()).collect();
    assert_eq!(one.len(), other.len());
    for site in sites {
        assert_eq!(one.read(site, &rows).unwrap(), other.read(site, &rows).unwrap());
    }

    // Another file is another recording, and a search of it is made anew.
    fs::write(&texts, TEXTS.replace("big", "red")).unwrap();
    let said = record(&bank, &from).refused();
    assert!(said.contains("holds another recording: `data` is"), "{said}");
    let other = searched(&texts, &folder.path().join("a"));
    assert_ne!(told_of(&other), told_of(&of_texts));
}

fn told_of(found: &Finding) -> Vec<String> {
    found.table("contexts").unwrap().as_texts().unwrap().to_vec()
}

#[test]
fn cases_are_recorded_to_be_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let (data, store, out) =
        (folder.path().join("data"), folder.path().join("store"), folder.path().join("sae"));
    fs::create_dir(&data).unwrap();
    for name in ["square", "wide", "tall", "tiny"] {
        fs::copy(picture(name), data.join(format!("{name}.png"))).unwrap();
    }
    let (site, cases) = ("text.blocks.1.resid_post", data.to_str().unwrap());
    let more = [
        "--cases",
        cases,
        "--ask",
        "Red?",
        "--read",
        site,
        "--only",
        "image",
        "--precision",
        "bf16",
        "--json",
    ];
    let told = record(&store, &more).json();
    // 25 patches of each picture.
    assert_eq!((told["rows"].as_u64(), told["precision"].as_str()), (Some(100), Some("bf16")));
    let set = format!("sae.site={site}");
    let fixed = ["fit", "sae", "--store", store.to_str().unwrap(), "--set", &set, "--json"];
    let own = [
        "--set",
        "sae.features=24",
        "--set",
        "sae.k=2",
        "--set",
        "sae.passes=2",
        "--out",
        out.to_str().unwrap(),
    ];
    let told = mmlens(fixed.iter().chain(&own)).json();
    assert_eq!(told["method"], "sae");
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (folder.path().join("texts.txt"), folder.path().join("out"));
    let from = ["--texts", texts.to_str().unwrap()];
    fs::write(&texts, "\n \n").unwrap();
    assert_eq!(
        record(&out, &from).refused(),
        "there is nothing to record: give --texts FILE with a text on a line, or --cases"
    );
    fs::write(&texts, b"ab\n\xff\n").unwrap();
    let said = record(&out, &from).refused();
    assert!(said.contains("texts.txt: line 2: "), "{said}");
    fs::write(&texts, "ab\n").unwrap();
    let said = record(&out, &[&from[..], &["--read", "text.blocks.*.resid_pots"]].concat());
    assert!(said.code != Some(0) && said.err.contains("resid_post"), "{said:?}");
    let said = record(&out, &[&from[..], &["--read", "text.blocks.0.attn.pattern"]].concat()).refused();
    assert!(said.contains("cannot be recorded"), "{said}");
    let (name, shown) = (model("llava-a"), picture("square"));
    let fixed = ["explain", name.as_str(), "--image", shown.as_str(), "--ask", "Red?", "--method", "rollout"];
    let own = ["--bank", texts.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let said = mmlens(fixed.iter().chain(&own)).refused();
    assert_eq!(said, "`--bank` is nothing to rollout; `mmlens methods ID` tells what a method has");
}
