//! No search passes NaN by.
//!
//! Every comparison with NaN is false, and `max` and `min` of floats give the other value: the largest difference of two arrays, found
//! so, is that of their numbers, and one that is NaN throughout equals all others. `mmlens_finding` has the comparison that looks
//! first (`Tolerance`, `largest`, `top`); this holds the sources to it, tests and examples included.
//!
//! Types are not known here, so that integers are found as well: they have `Iterator::max` and `min`. Where no NaN can be, or where it is
//! meant to be passed by, the line says so, or the one above: `// no NaN: REASON`.

use std::fs;
use std::path::{Path, PathBuf};

/// What says that no NaN can be, followed by the reason.
const MARK: &str = "// no NaN: ";

/// Calls whose closure sees one value after the other.
const FOLDS: [&str; 8] =
    [".fold(", ".rfold(", ".try_fold(", ".reduce(", ".try_reduce(", ".scan(", ".max_by(", ".min_by("];

/// What in such a closure picks one of two values.
const PICKS: [&str; 8] = [".max(", ".min(", "partial_cmp", "total_cmp", " > ", " < ", " >= ", " <= "];

/// The same as functions.
const FUNCTIONS: [&str; 4] = ["f32::max", "f32::min", "f64::max", "f64::min"];

/// Every search that passes NaN by, one line each, and how many files there are.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let files = sources(root, &["crates", "xtask", "examples", "benches", "outside"])?;
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let shown = file.strip_prefix(root).unwrap_or(file).display();
        faults.extend(found(&text).into_iter().map(|(line, what)| format!("{shown}:{line}: {what}")));
    }
    Ok((faults, files.len()))
}

/// The Rust sources below some folders, in order.
pub(crate) fn sources(root: &Path, folders: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), String> {
    if !folder.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

/// The lines, counted from 1, on which a search passes NaN by without saying why, and how.
fn found(text: &str) -> Vec<(usize, String)> {
    let code = code(text);
    let mut all: Vec<(usize, usize, String)> = Vec::new();
    for name in FUNCTIONS {
        let whole =
            |at: &usize| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        for at in places(&code, name).filter(whole) {
            all.push((at, at, format!("`{name}` passes NaN by")));
        }
    }
    for call in FOLDS {
        for at in places(&code, call) {
            let inner = argument(&code[at + call.len() - 1..]);
            if let Some(pick) = PICKS.iter().find(|pick| inner.contains(**pick)) {
                let what = format!("`{}` inside `{call}..)` passes NaN by", pick.trim());
                all.push((at, at + call.len() + inner.len(), what));
            }
        }
    }
    for pick in [".max(", ".min("] {
        for at in places(&code, pick).filter(|at| accumulates(&code[..*at])) {
            all.push((at, at, format!("a value set to its own `{pick}..)` passes NaN by")));
        }
    }
    for at in places(&code, "partial_cmp(") {
        let from = at + "partial_cmp".len();
        let behind = from + argument(&code[from..]).len() + 2;
        if code.get(behind..).is_some_and(|rest| rest.trim_start().starts_with(".unwrap_or")) {
            all.push((at, behind, "`partial_cmp` with a default takes NaN for equal".to_owned()));
        }
    }
    for at in places(&code, "if ").filter(|at| replaces(&code[at + 3..])) {
        all.push((at, at, "a value replaced by what is larger or smaller passes NaN by".to_owned()));
    }
    let lines: Vec<&str> = text.lines().collect();
    let line = |at: usize| code[..at.min(code.len())].matches('\n').count();
    let marked = |from: usize, to: usize| {
        let near = lines.get(line(from).saturating_sub(1)..=line(to)).unwrap_or_default();
        near.iter().any(|line| line.split_once(MARK).is_some_and(|(_, why)| why.trim().len() >= 8))
    };
    let mut faults: Vec<(usize, String)> = all
        .into_iter()
        .filter(|(from, to, _)| !marked(*from, *to))
        .map(|(from, _, what)| (line(from) + 1, what))
        .collect();
    faults.sort();
    faults.dedup_by_key(|(line, _)| *line);
    faults
}

fn places<'a>(code: &'a str, what: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(what).map(|(at, _)| at)
}

/// What stands between a parenthesis, with which the text begins, and the one that closes it.
fn argument(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(1..at).unwrap_or_default();
        }
    }
    text
}

/// Whether a call on `x` ends up in the same `x`: `x = x.max(`, and not `let x = x.max(`.
fn accumulates(before: &str) -> bool {
    let Some((left, value)) = before.rsplit_once(" = ") else { return false };
    let own = |c: char| !(c.is_alphanumeric() || "_.[]*".contains(c));
    let target = left.rsplit(own).next().unwrap_or_default();
    if left[..left.len() - target.len()].ends_with("let ") {
        return false;
    }
    let value: String = value.split_whitespace().collect();
    !target.is_empty() && target.trim_start_matches('*') == value.trim_start_matches('*')
}

/// Whether one of two values that are compared is replaced by the other: `x > worst { worst = x }`, and `x > worst.error { *worst = .. }`.
fn replaces(condition: &str) -> bool {
    let Some((compared, _)) = condition.split_once('{') else { return false };
    let sides = PICKS.iter().filter(|pick| pick.starts_with(' ')).find_map(|pick| compared.split_once(pick));
    let Some((left, right)) = sides else { return false };
    let body = argument(&condition[compared.len()..]).trim_start().trim_start_matches('*');
    let Some((target, _)) = body.split_once(" = ") else { return false };
    let name = |c: char| c.is_alphanumeric() || "_.[]".contains(c);
    let own = |side: &str| {
        let side = side.trim().trim_start_matches('*');
        side == target || side.strip_prefix(target).is_some_and(|field| field.starts_with('.'))
    };
    // What is compared with a number that is written there is no search.
    let written = |side: &str| side.trim().starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if written(left) || written(right) {
        return false;
    }
    !target.is_empty() && target.chars().all(name) && (own(left) || own(right))
}

/// The text with comments and what is quoted blanked, line by line as long as before.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skipped(rest, out.chars().next_back());
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            // Byte by byte, so that places are the same.
            out.extend(rest[..skipped].bytes().map(|byte| if byte == b'\n' { '\n' } else { '_' }));
            rest = &rest[skipped..];
        }
    }
    out
}

/// The length of the comment or quotation that the text begins with; 0 if there is none.
fn skipped(text: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| {
        text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at)
    };
    if text.starts_with("//") {
        return until("\n", 0);
    }
    if text.starts_with("/*") {
        return until("*/", 2) + 2;
    }
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with('r') && !in_name {
        let hashes = text[1..].chars().take_while(|c| *c == '#').count();
        if text[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return (until(&end, 2 + hashes) + end.len()).min(text.len());
        }
    }
    if text.starts_with('"') {
        let mut escaped = false;
        for (at, c) in text.char_indices().skip(1) {
            match c {
                '"' if !escaped => return at + 1,
                _ => escaped = c == '\\' && !escaped,
            }
        }
        return text.len();
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        // A character, and no lifetime: closed behind one character, or begun with a backslash.
        let mut chars = quoted.char_indices();
        if let (Some((_, first)), Some((next, second))) = (chars.next(), chars.next()) {
            if first == '\\' {
                return until("'", 3) + 1;
            }
            if second == '\'' {
                return 1 + next + 1;
            }
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        found(text).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn every_way_of_passing_nan_by_is_found() {
        for text in [
            "let m = x.fold(0.0, f32::max);",
            "let m = x.fold(0.0f64, f64::max);",
            "let m = x.reduce(f32::min);",
            "let m = x.fold(0.0_f32, |m, v| m.max(v.abs()));",
            "let m = x.fold(0.0, |m: f64, v| f64::max(m, *v));",
            "let m = x\n    .iter()\n    .fold(f32::INFINITY, |a, b| {\n        a.min(*b)\n    });",
            "let t = x.fold((0, f32::MIN), |best, (i, v)| if *v > best.1 { (i, *v) } else { best });",
            "let t = x.reduce(|a, b| if b >= a { b } else { a });",
            "let t = x.iter().max_by(|a, b| a.partial_cmp(b).unwrap());",
            "let t = x.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));",
            "for v in x { worst = worst.max(*v); }",
            "for v in x { self.worst[i] = self.worst[i].max(*v); }",
            "for v in x { *slot = slot.max(*v); }",
            "x.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));",
            "x.sort_by(|a, b| {\n    a.partial_cmp(b)\n        .unwrap_or_else(|| Equal)\n});",
            "let m = x.fold(0.0, |m, v| m.max(v)); // no NaN: ?",
            "for v in x { if v > worst { worst = v; } }",
            "if *v <= self.least[i] {\n    self.least[i] = *v;\n}",
            "if relative > largest.error {\n    *largest = Largest { error: relative };\n}",
        ] {
            assert_eq!(lines(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_compares_no_floats_one_by_one_is_left_alone() {
        for text in [
            "let m = x.iter().max();",
            "let m = a.max(b);",
            "let m = f32::MAX - f32::MIN;",
            "let sum = x.fold(0.0, |sum, v| sum + v);",
            "let all = x.fold(Plan::new(), |plan, site| plan.read(*site));",
            "let all: Vec<Vec<f32>> = x.try_fold(Vec::new(), |all, v| -> Result<_, E> { all.and(v) })?;",
            "width = height.max(1);",
            "let width = width.max(1);",
            "let worst = other.worst.max(1);",
            "// x.fold(0.0, f32::max)",
            "/// x.fold(0.0, f32::max)",
            "/* x.fold(0.0, f32::max)\n */",
            "let text = \"x.fold(0.0, f32::max) \\\" f64::max\";",
            "let text = r#\"x.fold(0.0, \"f32::max\")\"#;",
            "let quote = ['\"', '\\'', 'f']; fn f<'a>(x: &'a str) {}",
            "if a > b { c = a; }",
            "if low > 0.0 && low < 0.5 * high { low = 0.0; }",
            "if a > worst && b { worst_of = a; }",
            "match a.partial_cmp(&b) { Some(order) => order, None => Equal }",
        ] {
            assert_eq!(lines(text), Vec::<usize>::new(), "{text}");
        }
    }

    #[test]
    fn a_reason_beside_or_above_excuses_and_only_there() {
        let text = "// no NaN: the side of a picture\n\
                    let m = x.fold(0.0, f32::max);\n\
                    let m = x.fold(0.0, f32::max);\n\
                    let m = x.fold(0.0, f32::max); // no NaN: whole numbers\n\
                    \n\
                    let m = x.fold(0.0, |a, b| {\n    a.max(b) // no NaN: whole numbers\n});\n\
                    let ä = ('ä', \"ä\");\n\
                    let m = x.fold(0.0, f32::max);";
        assert_eq!(lines(text), [3, 10]);
        let (_, what) = found("x.fold(0.0, |a, b| a.max(b))").remove(0);
        assert_eq!(what, "`.max(` inside `.fold(..)` passes NaN by");
    }
}
