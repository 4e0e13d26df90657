//! Methods are complete: each card is a row of its crate's `METHODS`, and each has an oracle or says why not.
//!
//! Read from the sources as text, so that it costs nothing. An oracle is a fixture named for the method,
//! `oracles/fixtures/methods/ID.safetensors` or `ID-WHAT.safetensors`, or one that the method's page names by its path, or
//! that its test opens, in the same file or in `tests/FILE.rs` of the crate. Without one, the page has a line
//! `No oracle: REASON`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A card found in a source file.
#[derive(Debug, PartialEq)]
struct Card {
    /// `logit_lens::CARD`.
    path: String,
    id: String,
}

/// What is wrong with the methods, one line each, and how many there are.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let (mut faults, mut ids) = (Vec::new(), BTreeMap::new());
    for krate in folders(&root.join("crates"))? {
        let (mut rows, mut cards) = (Vec::new(), Vec::new());
        for file in sources(&krate.join("src"))? {
            let text = read(&file)?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            rows.extend(table(&text).into_iter().map(|row| (row, shown.clone())));
            for card in self::cards(&module(&file), &text) {
                if let Some(other) = ids.insert(card.id.clone(), shown.clone()) {
                    faults.push(format!("{shown}: the id `{}` is taken by {other}", card.id));
                }
                let tests = krate.join("tests").join(module(&file)).with_extension("rs");
                let tests = fs::read_to_string(tests).unwrap_or_default();
                faults.extend(
                    oracle(root, &card.id, &text, &tests).err().map(|fault| format!("{shown}: {fault}")),
                );
                cards.push((card, shown.clone()));
            }
        }
        for (card, shown) in &cards {
            if !rows.iter().any(|(row, _)| names(row, &card.path)) {
                faults.push(format!("{shown}: `{}` is no row of its crate's METHODS", card.path));
            }
        }
        for (row, shown) in &rows {
            if !cards.iter().any(|(card, _)| names(row, &card.path)) {
                faults.push(format!(
                    "{shown}: METHODS has the row `{row}`, but no card of that name was found"
                ));
            }
        }
    }
    Ok((faults, ids.len()))
}

/// Whether a row such as `layer::logit_lens::CARD` means the card `logit_lens::CARD`.
fn names(row: &str, card: &str) -> bool {
    let name = card.rsplit("::").next().unwrap_or(card);
    row == name || row == card || row.strip_suffix(card).is_some_and(|before| before.ends_with("::"))
}

/// The name of the module a file holds.
fn module(file: &Path) -> String {
    let stem =
        |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match stem(file).as_str() {
        "mod" => file.parent().map(stem).unwrap_or_default(),
        other => other.to_owned(),
    }
}

/// The cards a file defines: `const NAME: Card = Card { id: "...", ... }`.
fn cards(module: &str, text: &str) -> Vec<Card> {
    let define = |(at, _): (usize, &str)| {
        let name = text[..at].rsplit([' ', '\n']).next()?;
        let id = text[at..].split_once("id: \"")?.1.split_once('"')?.0;
        Some(Card { path: format!("{module}::{name}"), id: id.to_owned() })
    };
    text.match_indices(": Card = Card {").filter_map(define).collect()
}

/// The rows of a `METHODS` table, if the file has one.
fn table(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("const METHODS:") else { return Vec::new() };
    let Some((_, rest)) = rest.split_once("= &[") else { return Vec::new() };
    let body = rest.split_once("];").map_or(rest, |(body, _)| body);
    let plain: String = body.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    plain
        .split(',')
        .map(|row| row.trim().trim_start_matches('&').to_owned())
        .filter(|row| !row.is_empty())
        .collect()
}

/// That a method has an oracle, or a page that says why not.
fn oracle(root: &Path, id: &str, page: &str, tests: &str) -> Result<(), String> {
    let folder = root.join("oracles/fixtures");
    let mut named: Vec<String> = after(page, "oracles/fixtures/");
    named.extend(
        [page, tests].iter().flat_map(|text| after(text, "\"methods/")).map(|name| format!("methods/{name}")),
    );
    if let Some(absent) = named.iter().find(|name| !begins(&folder, name)) {
        return Err(format!("it names the fixture `{absent}`, which does not exist"));
    }
    let reason = page.lines().find_map(|line| line.split_once("No oracle:")).map(|(_, reason)| reason.trim());
    let name = id.replace('_', "-");
    let own = [".safetensors", "-"].iter().any(|rest| begins(&folder, &format!("methods/{name}{rest}")));
    if own || !named.is_empty() || reason.is_some_and(|reason| !reason.is_empty()) {
        return Ok(());
    }
    Err(format!(
        "`{id}` has no oracle: expected oracles/fixtures/methods/{name}.safetensors or {name}-*.safetensors, the path of \
         another fixture on its page, or a line `No oracle: REASON`"
    ))
}

/// Whether something of this name, or whose name begins so, exists in a folder.
fn begins(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let (Some(parent), Some(stem)) = (path.parent(), path.file_name()) else { return false };
    let files = fs::read_dir(parent).into_iter().flatten().flatten();
    files
        .map(|file| file.file_name())
        .any(|file| file.to_string_lossy().starts_with(&*stem.to_string_lossy()))
}

/// What follows a mark in a text, as far as it can be a path.
fn after(text: &str, mark: &str) -> Vec<String> {
    let path = |(at, _): (usize, &str)| {
        let rest = &text[at + mark.len()..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))).unwrap_or(rest.len());
        rest[..end].trim_end_matches(['.', '/']).to_owned()
    };
    text.match_indices(mark).map(path).filter(|path| !path.is_empty()).collect()
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Every Rust file below a folder.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    const PAGE: &str =
        "//! Lens.\npub const CARD: Card = Card {\n    id: \"logit-lens\",\n    name: \"Logit lens\",\n};\n";

    /// A workspace of one crate with one method, with a page and a table.
    fn workspace(name: &str, page: &str, table: &str) -> PathBuf {
        let root = env::temp_dir().join(format!("mmlens-xtask-{}-{name}", std::process::id()));
        let source = root.join("crates/model/src/layer");
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(root.join("oracles/fixtures/methods")).unwrap();
        fs::write(source.join("logit_lens.rs"), page).unwrap();
        fs::write(root.join("crates/model/src/lib.rs"), table).unwrap();
        root
    }

    fn said(name: &str, page: &str, table: &str, fixtures: &[&str]) -> Vec<String> {
        let root = workspace(name, page, table);
        for fixture in fixtures {
            fs::write(root.join("oracles/fixtures/methods").join(fixture), "").unwrap();
        }
        let (said, methods) = faults(&root).unwrap();
        fs::remove_dir_all(root).unwrap();
        assert_eq!(methods, 1);
        said
    }

    const TABLE: &str =
        "pub const METHODS: &[&Card] = &[\n    // layers\n    &layer::logit_lens::CARD,\n];\n";

    #[test]
    fn a_fixture_of_the_methods_name_is_an_oracle() {
        assert_eq!(said("exact", PAGE, TABLE, &["logit-lens.safetensors"]), Vec::<String>::new());
        assert_eq!(said("part", PAGE, TABLE, &["logit-lens-late.safetensors"]), Vec::<String>::new());
        let other = said("other", PAGE, TABLE, &["logit-lenses.safetensors"]);
        assert!(
            other[0].starts_with("crates/model/src/layer/logit_lens.rs: `logit-lens` has no oracle"),
            "{other:?}"
        );
    }

    #[test]
    fn a_page_may_name_a_fixture_that_exists() {
        let page = format!("//! See `oracles/fixtures/methods/lens.safetensors`.\n{PAGE}");
        assert_eq!(said("named", &page, TABLE, &["lens.safetensors"]), Vec::<String>::new());
        let fault = "it names the fixture `methods/lens.safetensors`, which does not exist";
        assert_eq!(
            said("absent", &page, TABLE, &[]),
            [format!("crates/model/src/layer/logit_lens.rs: {fault}")]
        );
    }

    #[test]
    fn a_test_may_open_one() {
        let page = format!("{PAGE}let oracle = Oracle::open(\"methods/lens-{{case}}\");");
        assert_eq!(said("opened", &page, TABLE, &["lens-late.safetensors"]), Vec::<String>::new());
        assert_eq!(said("unopened", &page, TABLE, &["tuned-lens.safetensors"]).len(), 1);
        assert!(oracle(Path::new("."), "lens", "", "Oracle::open(\"methods/none\")").is_err());
    }

    #[test]
    fn a_reason_stands_for_an_oracle_if_there_is_one() {
        let page = |reason: &str| format!("//! No oracle:{reason}\n{PAGE}");
        assert_eq!(said("reason", &page(" no library has it"), TABLE, &[]), Vec::<String>::new());
        assert_eq!(said("mute", &page(" "), TABLE, &[]).len(), 1);
    }

    #[test]
    fn cards_and_rows_belong_together() {
        let fixtures = ["logit-lens.safetensors"];
        assert_eq!(
            said("no-row", PAGE, "pub const METHODS: &[Card] = &[];", &fixtures),
            ["crates/model/src/layer/logit_lens.rs: `logit_lens::CARD` is no row of its crate's METHODS"]
        );
        let both = "pub const METHODS: &[Card] = &[logit_lens::CARD, tuned_lens::CARD];";
        assert_eq!(
            said("no-card", PAGE, both, &fixtures),
            [
                "crates/model/src/lib.rs: METHODS has the row `tuned_lens::CARD`, but no card of that name was found"
            ]
        );
    }

    #[test]
    fn rows_are_matched_by_whole_names() {
        assert!(names("layer::logit_lens::CARD", "logit_lens::CARD"));
        assert!(names("CARD", "logit_lens::CARD"));
        assert!(!names("layer::my_logit_lens::CARD", "logit_lens::CARD"));
        assert_eq!(module(Path::new("src/layer/mod.rs")), "layer");
    }
}
