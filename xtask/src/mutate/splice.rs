//! Sources with mistakes in them: right and wrong side by side, and a question at run time which of them is meant.

use std::ops::Range;

/// A mistake in a source: where, its number, and what stands there when it is planted.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) at: Range<usize>,
    pub(super) number: u32,
    pub(super) wrong: &'a str,
}

/// A source with mistakes in it, and the lines (from 1) that each stands on.
#[derive(Debug, PartialEq)]
pub(super) struct Spliced {
    pub(super) text: String,
    pub(super) lines: Vec<(u32, Range<usize>)>,
}

/// The language of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Rust,
    JavaScript,
}

impl Language {
    /// By the end of a file's name.
    pub(super) fn of(file: &str) -> Result<Self, String> {
        match file.rsplit_once('.').map(|(_, end)| end) {
            Some("rs") => Ok(Self::Rust),
            Some("js") => Ok(Self::JavaScript),
            _ => Err(format!("{file}: mistakes are planted in .rs and .js")),
        }
    }
}

/// Where a snippet stands in a source, white space apart: the only place, or the first behind a place of its own.
pub(super) fn place(source: &str, right: &str, after: Option<&str>) -> Result<Range<usize>, String> {
    let shown = |snippet: &str| snippet.split_whitespace().collect::<Vec<_>>().join(" ");
    let once = |snippet: &str| match found(source, snippet).as_slice() {
        [one] => Ok(one.clone()),
        several => Err(format!("`{}` occurs {} times, expected once", shown(snippet), several.len())),
    };
    let Some(after) = after else { return once(right) };
    let behind = once(after)?.end;
    let next = found(source, right).into_iter().find(|place| place.start >= behind);
    next.ok_or_else(|| format!("`{}` does not occur behind `{}`", shown(right), shown(after)))
}

/// Every place of a snippet, white space apart.
fn found(source: &str, snippet: &str) -> Vec<Range<usize>> {
    let marks = |text: &str| -> Vec<(usize, char)> {
        text.char_indices().filter(|(_, c)| !c.is_whitespace()).collect()
    };
    let (source, snippet) = (marks(source), marks(snippet));
    if snippet.is_empty() {
        return Vec::new();
    }
    let alike = |run: &&[(usize, char)]| run.iter().zip(&snippet).all(|((_, a), (_, b))| a == b);
    let range = |run: &[(usize, char)]| {
        let (first, (last, c)) = (run.first()?.0, run.last()?);
        Some(first..last + c.len_utf8())
    };
    source.windows(snippet.len()).filter(alike).filter_map(range).collect()
}

/// A source in which each of these places asks at run time which mistake is planted. Places are alike or apart.
pub(super) fn spliced(language: Language, source: &str, places: &[Place<'_>]) -> Spliced {
    let mut places: Vec<&Place<'_>> = places.iter().collect();
    places.sort_by_key(|place| (place.at.start, place.number));
    let (mut text, mut lines, mut at) = (String::new(), Vec::new(), 0);
    for alike in places.chunk_by(|a, b| a.at == b.at) {
        let Some(range) = alike.first().map(|place| place.at.clone()) else { continue };
        let right = source.get(range.clone()).unwrap_or_default();
        text.push_str(source.get(at..range.start).unwrap_or_default());
        let from = line(&text);
        text.push_str(&choice(language, right, alike));
        lines.extend(alike.iter().map(|place| (place.number, from..line(&text) + 1)));
        at = range.end;
    }
    text.push_str(source.get(at..).unwrap_or_default());
    Spliced { text, lines }
}

/// The line on which a text ends, from 1.
fn line(text: &str) -> usize {
    text.matches('\n').count() + 1
}

fn choice(language: Language, right: &str, places: &[&Place<'_>]) -> String {
    // What ends with a semicolon is a statement.
    let statement = right.ends_with(';');
    let mut out = String::new();
    for Place { number, wrong, .. } in places {
        out += &match (language, statement) {
            (Language::Rust, true) => format!("if crate::planted({number}) {{ {wrong} }} else "),
            // In parentheses, since an `if` at the end of a block is taken for a statement.
            (Language::Rust, false) => format!("if crate::planted({number}) {{ ({wrong}) }} else "),
            (Language::JavaScript, true) => format!("if (planted({number})) {{ {wrong} }} else "),
            (Language::JavaScript, false) => format!("planted({number}) ? ({wrong}) : "),
        };
    }
    match (language, statement) {
        (_, true) => format!("{out}{{ {right} }}"),
        (Language::Rust, false) => format!("({out}{{ ({right}) }})"),
        (Language::JavaScript, false) => format!("({out}({right}))"),
    }
}

/// What the root of a crate is given: the question that its sources ask.
pub(super) const ASKED: &str = r#"
/// The number of the mistake that is planted; 0 for none.
#[allow(dead_code, unreachable_pub, reason = "not every source asks")]
pub(crate) fn planted_number() -> u32 {
    static PLANTED: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| {
        std::env::var("MMLENS_PLANTED").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
    })
}

/// Whether the mistake of this number is planted. The first time that one is met leaves a file that says so.
#[allow(dead_code, reason = "not every source asks")]
#[inline]
pub(crate) fn planted(number: u32) -> bool {
    #[cold]
    fn met() {
        static MET: std::sync::Once = std::sync::Once::new();
        MET.call_once(|| {
            if let Some(file) = std::env::var_os("MMLENS_PLANTED_MET") {
                let _ = std::fs::write(file, "");
            }
        });
    }
    let asked = planted_number() == number;
    if asked {
        met();
    }
    asked
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: &str, right: &str, number: u32, wrong: &'static str) -> Place<'static> {
        Place { at: place(source, right, None).unwrap(), number, wrong }
    }

    #[test]
    fn right_and_wrong_stand_side_by_side() {
        let source = "let x = a\n    + b;\nuse_it(x);\n";
        let places = [at(source, "a + b", 7, "a - b"), at(source, "use_it(x);", 9, "")];
        let spliced = spliced(Language::Rust, source, &places);
        assert_eq!(
            spliced.text,
            "let x = (if crate::planted(7) { (a - b) } else { (a\n    + b) });\nif crate::planted(9) {  } else { use_it(x); }\n"
        );
        assert_eq!(spliced.lines, [(7, 1..3), (9, 3..4)]);
    }

    #[test]
    fn several_mistakes_may_stand_at_one_place() {
        let places = [at("f(a)", "a", 1, "b"), at("f(a)", "a", 2, "c")];
        let rust = spliced(Language::Rust, "f(a)", &places).text;
        assert_eq!(rust, "f((if crate::planted(1) { (b) } else if crate::planted(2) { (c) } else { (a) }))");
        let script = spliced(Language::JavaScript, "f(a)", &places).text;
        assert_eq!(script, "f((planted(1) ? (b) : planted(2) ? (c) : (a)))");
        let statement = [at("f(a);", "f(a);", 1, "g(a);")];
        let script = spliced(Language::JavaScript, "f(a);", &statement).text;
        assert_eq!(script, "if (planted(1)) { g(a); } else { f(a); }");
    }

    #[test]
    fn white_space_is_no_difference() {
        assert_eq!(place("f(a,\n  é)", "a, é", None), Ok(2..9));
        assert_eq!(place("ab\nab", "ab", Some("a b\na")).unwrap_err(), "`ab` does not occur behind `a b a`");
        assert_eq!(place("x ab ab", "ab", Some("x")), Ok(2..4));
        assert_eq!(place("", "a", None).unwrap_err(), "`a` occurs 0 times, expected once");
    }
}
