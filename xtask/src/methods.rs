//! Methods are complete: each card is a row of its crate's `METHODS`, and each has its page and its oracle.
//!
//! Read from the sources as text, so that it costs nothing. A method `logit_lens` has an oracle if a function of its crate's tests
//! uses `LogitLens` and opens a fixture `methods/NAME`. Without one, its page says why, in a line `No oracle: REASON`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A card found in a source file.
#[derive(Debug, PartialEq)]
struct Card {
    /// `logit_lens::CARD`.
    path: String,
    /// `logit-lens`.
    id: String,
}

/// The headings of a method's page.
const HEADINGS: [&str; 9] = [
    "Idea",
    "In and out",
    "Settings",
    "Cost",
    "Errors",
    "When it misleads",
    "Agreement",
    "Reference",
    "Example",
];

/// What is wrong with the methods, one line each, and how many there are.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let fixtures = names_in(&root.join("oracles/fixtures/methods"))?;
    let (mut faults, mut ids) = (Vec::new(), BTreeMap::new());
    for krate in folders(&root.join("crates"))? {
        let sources = texts(&krate.join("src"))?;
        let tests = texts(&krate.join("tests"))?;
        let tests: Vec<&str> = tests.iter().chain(&sources).flat_map(|(_, text)| functions(text)).collect();
        let (mut rows, mut cards) = (Vec::new(), Vec::new());
        for (file, text) in &sources {
            let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
            rows.extend(table(text).into_iter().map(|row| (row, shown.clone())));
            for card in self::cards(&module(file), text) {
                if let Some(other) = ids.insert(card.id.clone(), shown.clone()) {
                    faults.push(format!("{shown}: the id `{}` is taken by {other}", card.id));
                }
                let gaps = HEADINGS.iter().filter(|heading| !text.contains(&format!("//! # {heading}\n")));
                faults.extend(gaps.map(|heading| format!("{shown}: the page has no `# {heading}`")));
                let fault = oracle(&fixtures, &type_of(&module(file)), text, &tests).err();
                faults.extend(fault.map(|fault| format!("{shown}: {fault}")));
                cards.push((card, shown.clone()));
            }
        }
        for (card, shown) in &cards {
            if !rows.iter().any(|(row, _)| names(row, &card.path)) {
                faults.push(format!("{shown}: `{}` is no row of its crate's METHODS or FITS", card.path));
            }
        }
        for (row, shown) in &rows {
            if !cards.iter().any(|(card, _)| names(row, &card.path)) {
                faults.push(format!(
                    "{shown}: METHODS or FITS has the row `{row}`, but no card of that name was found"
                ));
            }
        }
    }
    Ok((faults, ids.len()))
}

/// The sources that hold a method, from the root.
pub(crate) fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for krate in folders(&root.join("crates"))? {
        let sources = texts(&krate.join("src"))?;
        let with_card = sources.iter().filter(|(file, text)| !cards(&module(file), text).is_empty());
        files
            .extend(with_card.map(|(file, _)| file.strip_prefix(root).unwrap_or(file).display().to_string()));
    }
    Ok(files)
}

/// Whether a row such as `layer::logit_lens::LogitLens` means the card `logit_lens::CARD`.
fn names(row: &str, card: &str) -> bool {
    let module = |path: &str| path.rsplit("::").nth(1).map(str::to_owned);
    module(row).is_some() && module(row) == module(card)
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

/// The rows of the tables of methods, and of what learns before it is one, if the file has them.
fn table(text: &str) -> Vec<String> {
    ["methods", "fits"].iter().flat_map(|name| rows(text, name)).collect()
}

fn rows(text: &str, name: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once(&format!("\nmmlens_core::{name}! {{")) else { return Vec::new() };
    let body = rest.split_once('}').map_or(rest, |(body, _)| body);
    let plain: String = body.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    plain
        .split(',')
        .map(|row| row.trim().trim_start_matches('&').to_owned())
        .filter(|row| !row.is_empty())
        .collect()
}

/// `LogitLens` for `logit_lens`.
fn type_of(module: &str) -> String {
    let capital =
        |word: &str| word.chars().next().map(|c| c.to_uppercase().to_string() + &word[c.len_utf8()..]);
    module.split('_').filter_map(capital).collect()
}

/// That a test compares a method with a fixture, or that its page says why not.
fn oracle(fixtures: &[String], method: &str, page: &str, functions: &[&str]) -> Result<(), String> {
    let uses = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == method);
    let opened: Vec<&str> =
        functions.iter().filter(|text| uses(text)).flat_map(|text| opened(text)).collect();
    if let Some(absent) =
        opened.iter().find(|name| !fixtures.iter().any(|fixture| fixture.starts_with(**name)))
    {
        return Err(format!(
            "a test of `{method}` opens the fixture `methods/{absent}`, which does not exist"
        ));
    }
    let reason = page.lines().find_map(|line| line.split_once("No oracle:")).map(|(_, reason)| reason.trim());
    if opened.is_empty() && reason.is_none_or(str::is_empty) {
        return Err(format!(
            "`{method}` has no oracle: no test that uses it opens a fixture `methods/NAME`, \
             and its page has no line `No oracle: REASON`"
        ));
    }
    Ok(())
}

/// The names of the fixtures a function opens: all of each, or what comes before the first placeholder.
fn opened(function: &str) -> Vec<&str> {
    let names = function.split("\"methods/").skip(1);
    names.filter_map(|rest| rest.split(['"', '{']).next()).filter(|name| !name.is_empty()).collect()
}

/// The functions of a file that stand at its margin or in its module of tests.
fn functions(text: &str) -> Vec<&str> {
    let mut starts: Vec<usize> =
        ["\nfn ", "\n    fn "].iter().flat_map(|mark| text.match_indices(mark)).map(|(at, _)| at).collect();
    starts.push(text.len());
    starts.sort_unstable();
    starts.windows(2).filter_map(|pair| text.get(*pair.first()?..*pair.last()?)).collect()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn names_in(folder: &Path) -> Result<Vec<String>, String> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(entries(folder)?.into_iter().filter_map(name).collect())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Every Rust file below a folder, with its text; none, if there is no such folder.
fn texts(folder: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(texts(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            found.push((path, text));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    const TABLE: &str =
        "mod layer;\nmmlens_core::methods! {\n    // layers\n    layer::logit_lens::LogitLens,\n}\n";
    const TEST: &str = "#[test]\nfn agrees() {\n    let oracle = Oracle::open(\"methods/logit-lens\");\n    LogitLens::new();\n}\n";
    const FILE: &str = "crates/model/src/layer/logit_lens.rs";

    /// A method's file: a page with these lines besides its headings, and its card.
    fn page(lines: &str) -> String {
        let headings: String = HEADINGS.iter().map(|heading| format!("//! # {heading}\n")).collect();
        format!("{headings}//! {lines}\npub const CARD: Card = Card {{\n    id: \"logit-lens\",\n}};\n")
    }

    /// What is said of a workspace of one method and one fixture, `logit-lens.safetensors`.
    fn said(name: &str, page: &str, table: &str, test: &str) -> Vec<String> {
        let root = env::temp_dir().join(format!("mmlens-xtask-{}-{name}", std::process::id()));
        let (krate, fixtures) = (root.join("crates/model"), root.join("oracles/fixtures/methods"));
        for folder in [&krate.join("src/layer"), &krate.join("tests"), &fixtures] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(root.join(FILE), page).unwrap();
        fs::write(krate.join("src/lib.rs"), table).unwrap();
        fs::write(krate.join("tests/oracles.rs"), test).unwrap();
        fs::write(fixtures.join("logit-lens.safetensors"), "").unwrap();
        let (said, methods) = faults(&root).unwrap();
        fs::remove_dir_all(root).unwrap();
        assert_eq!(methods, 1);
        said
    }

    #[test]
    fn a_method_that_a_test_compares_with_a_fixture_passes() {
        assert_eq!(said("passes", &page(""), TABLE, TEST), Vec::<String>::new());
        let part = TEST.replace("\"methods/logit-lens\"", "&format!(\"methods/logit-{case}\")");
        assert_eq!(said("part", &page(""), TABLE, &part), Vec::<String>::new());
    }

    #[test]
    fn a_fixture_that_another_method_is_compared_with_is_none() {
        let none = "`LogitLens` has no oracle: no test that uses it opens a fixture `methods/NAME`, \
                    and its page has no line `No oracle: REASON`";
        let other = TEST.replace("LogitLens", "TunedLogitLens");
        assert_eq!(said("other", &page(""), TABLE, &other), [format!("{FILE}: {none}")]);
        let apart = TEST.replace("    LogitLens", "}\nfn runs() {\n    LogitLens");
        assert_eq!(said("apart", &page(""), TABLE, &apart), [format!("{FILE}: {none}")]);
    }

    #[test]
    fn a_fixture_that_does_not_exist_is_named() {
        let test = TEST.replace("methods/logit-lens", "methods/lens");
        let fault = "a test of `LogitLens` opens the fixture `methods/lens`, which does not exist";
        assert_eq!(said("absent", &page(""), TABLE, &test), [format!("{FILE}: {fault}")]);
    }

    #[test]
    fn a_reason_stands_for_an_oracle_if_there_is_one() {
        assert_eq!(said("reason", &page("No oracle: no library has it"), TABLE, ""), Vec::<String>::new());
        assert_eq!(said("mute", &page("No oracle: "), TABLE, "").len(), 1);
    }

    #[test]
    fn a_page_has_all_its_headings() {
        let short = page("").replace("//! # Cost\n", "");
        assert_eq!(said("short", &short, TABLE, TEST), [format!("{FILE}: the page has no `# Cost`")]);
    }

    #[test]
    fn cards_and_rows_belong_together() {
        let none = "\nmmlens_core::methods! {}";
        let fault = "`logit_lens::CARD` is no row of its crate's METHODS or FITS";
        assert_eq!(said("no-row", &page(""), none, TEST), [format!("{FILE}: {fault}")]);
        let both = TABLE.replace('}', "    layer::tuned_lens::TunedLens,\n}");
        let fault =
            "METHODS or FITS has the row `layer::tuned_lens::TunedLens`, but no card of that name was found";
        assert_eq!(said("no-card", &page(""), &both, TEST), [format!("crates/model/src/lib.rs: {fault}")]);
    }

    #[test]
    fn rows_are_matched_by_whole_names() {
        assert!(names("layer::logit_lens::LogitLens", "logit_lens::CARD"));
        assert!(!names("LogitLens", "logit_lens::CARD"));
        assert!(!names("layer::my_logit_lens::LogitLens", "logit_lens::CARD"));
        assert_eq!(module(Path::new("src/layer/mod.rs")), "layer");
        assert_eq!(type_of("logit_lens"), "LogitLens");
    }
}
