//! Names are the field's: words of a private vocabulary, under which nobody would search, name nothing.

use std::fs;
use std::path::Path;

use crate::nan::sources;

/// What no type, function, module or constant is called, and what it is called instead.
const WORDS: [(&str, &str); 13] = [
    ("Asked", "say what is selected, such as `LogitsAt`, `PartSettings`"),
    ("AskedArgs", "`QuestionArgs`"),
    ("Wanted", "`LogitSelection`"),
    ("wanted", "`selected_logits`"),
    ("wanting", "`select_logits`"),
    ("asks", "`read_at`, the positions that are read"),
    ("Glance", "`CheckInputs`"),
    ("glance", "`check_inputs`"),
    ("glimpse", "`small_inputs`"),
    ("look_over", "`self_check`"),
    ("goes_on", "`resumes_from_suffix`"),
    ("ask_all", "`all_logits`"),
    ("ask_last", "`last_logits`"),
];

/// What stands before a name that is given.
const GIVES: [&str; 9] = ["fn", "struct", "enum", "trait", "type", "mod", "const", "static", "union"];

/// Every definition under such a name, one line each, and how many files there are. Tests name their helpers as they like.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let files: Vec<_> = sources(root, &["crates", "examples", "benches", "outside", "xtask"])?
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests"))
        .collect();
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(file).display();
        let line = |(line, (word, better)): (usize, (&str, &str))| {
            format!("{shown}:{line}: `{word}` is a word of our own; {better}")
        };
        faults.extend(found(&text).into_iter().map(line));
    }
    Ok((faults, files.len()))
}

/// The lines, counted from 1, on which such a name is given.
fn found(text: &str) -> Vec<(usize, (&'static str, &'static str))> {
    let named = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        let mut words =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let mut before = words.next()?;
        for word in words {
            if GIVES.contains(&before)
                && let Some(found) = WORDS.iter().find(|(name, _)| *name == word)
            {
                return Some(*found);
            }
            before = word;
        }
        None
    };
    (1..).zip(text.lines()).filter_map(|(at, line)| named(line).map(|found| (at, found))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_found_and_uses_are_not() {
        let text = "pub(crate) fn NAME(&self) {}\nlet wanted = asked(x);\npub KIND Asked {\n// fn NAME\nfn NAME_value() {}\n";
        let text = text.replace("NAME", "glimpse").replace("KIND", "enum");
        let lines: Vec<_> = found(&text).into_iter().map(|(line, (word, _))| (line, word)).collect();
        assert_eq!(lines, [(1, "glimpse"), (3, "Asked")]);
    }
}
