//! The list of planted mistakes, `xtask/mutations/*.toml`, and what is stale in it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::splice;

/// Where the lists lie, below the root.
pub(crate) const FOLDER: &str = "xtask/mutations";
/// How many mistakes of its own each method has at least.
const PER_METHOD: usize = 2;

/// A plausible way to compute a wrong number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mistake {
    /// What it is called.
    pub(crate) id: String,
    /// The source it stands in, from the root.
    pub(crate) file: String,
    /// What is wrong, in words.
    pub(crate) about: String,
    /// Text of the source, whatever its white space: an expression, or a statement with its semicolon.
    pub(crate) right: String,
    /// What stands in its place when the mistake is planted: an expression of the same type, or statements.
    pub(crate) wrong: String,
    /// Text that occurs once and before it; for a `right` that occurs more than once, it is the next after this.
    pub(crate) after: Option<String>,
    /// Which tests are to notice it: `CRATE/TARGET`, and words that their names contain one of.
    pub(crate) tests: Vec<String>,
}

/// What a source is given whichever mistake is planted, so that it can ask which one is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scaffold {
    pub(crate) file: String,
    /// Text of the source, whatever its white space.
    pub(crate) at: String,
    /// What stands in its place.
    pub(crate) with: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    mistake: Vec<Mistake>,
    #[serde(default)]
    scaffold: Vec<Scaffold>,
}

/// Every list, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) scaffolds: Vec<Scaffold>,
}

/// A test target and what the names of its tests contain, if not all of them are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tests {
    /// The folder below `crates`.
    pub(crate) krate: String,
    /// `lib`, `bin`, or the name of a file or folder in `tests`.
    pub(crate) target: String,
    pub(crate) names: Vec<String>,
}

impl Mistake {
    /// The number that the planted source asks for. It depends on the name alone, so that a longer list builds no more than it must.
    pub(crate) fn number(&self) -> u32 {
        self.id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    /// The tests that are to notice it.
    pub(crate) fn tests(&self) -> Result<Vec<Tests>, String> {
        if self.tests.is_empty() {
            return Err("no tests are named".to_owned());
        }
        self.tests.iter().map(|text| Tests::read(text)).collect()
    }

    /// Where it stands in its source.
    pub(crate) fn place(&self, source: &str) -> Result<Range<usize>, String> {
        splice::place(source, &self.right, self.after.as_deref())
    }
}

impl Tests {
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (krate, target) = words
            .next()
            .and_then(|first| first.split_once('/'))
            .ok_or_else(|| format!("`{text}` names no tests; expected `CRATE/TARGET NAME...`"))?;
        let names = words.map(str::to_owned).collect();
        Ok(Self { krate: krate.to_owned(), target: target.to_owned(), names })
    }

    /// Whether there is such a target.
    fn exist(&self, root: &Path) -> bool {
        let krate = root.join("crates").join(&self.krate);
        match self.target.as_str() {
            "lib" => krate.join("src/lib.rs").is_file(),
            "bin" => krate.join("src/main.rs").is_file(),
            target => {
                krate.join(format!("tests/{target}.rs")).is_file()
                    || krate.join(format!("tests/{target}/main.rs")).is_file()
            }
        }
    }
}

impl List {
    /// Reads every list of the workspace.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let folder = root.join(FOLDER);
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
        files.sort();
        let mut list = Self::default();
        for file in files {
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let written: Written = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
            list.mistakes.extend(written.mistake);
            list.scaffolds.extend(written.scaffold);
        }
        Ok(list)
    }

    /// The mistakes whose name contains one of these words, or all of them if there are none.
    pub(crate) fn chosen(&self, words: &[&str]) -> Result<Vec<&Mistake>, String> {
        let is_there = |word: &str| self.mistakes.iter().any(|mistake| mistake.id.contains(word));
        if let Some(unknown) = words.iter().find(|word| !is_there(word)) {
            return Err(format!("no mistake is called `{unknown}`; `cargo xtask mutate --list` names all"));
        }
        let named = |mistake: &&Mistake| words.is_empty() || words.iter().any(|w| mistake.id.contains(*w));
        Ok(self.mistakes.iter().filter(named).collect())
    }

    /// What is stale or incomplete, one line each. `methods` are the sources that hold a method, from the root.
    pub(crate) fn faults(&self, root: &Path, methods: &[String]) -> Result<Vec<String>, String> {
        let mut faults = Vec::new();
        let (mut ids, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        let mut places: BTreeMap<&str, Vec<(Range<usize>, &str)>> = BTreeMap::new();
        for mistake in &self.mistakes {
            let id = mistake.id.as_str();
            let mut fault = |text: String| faults.push(format!("{FOLDER}: `{id}`: {text}"));
            if ids.insert(id, ()).is_some() {
                fault("the name is taken".to_owned());
            } else if let Some(other) = numbers.insert(mistake.number(), id) {
                fault(format!("its number is that of `{other}`: give it another name"));
            }
            if mistake.about.trim().is_empty() {
                fault("it does not say what is wrong".to_owned());
            }
            match mistake.tests() {
                Ok(tests) => {
                    let absent = tests.iter().filter(|tests| !tests.exist(root));
                    absent.for_each(|t| fault(format!("there is no test target `{}/{}`", t.krate, t.target)));
                }
                Err(text) => fault(text),
            }
            match fs::read_to_string(root.join(&mistake.file)) {
                Ok(source) => match mistake.place(&source) {
                    Ok(place) => places.entry(&mistake.file).or_default().push((place, id)),
                    Err(text) => fault(format!("{}: {text}", mistake.file)),
                },
                Err(error) => fault(format!("{}: {error}", mistake.file)),
            }
        }
        for scaffold in &self.scaffolds {
            let source = fs::read_to_string(root.join(&scaffold.file)).unwrap_or_default();
            match splice::place(&source, &scaffold.at, None) {
                Ok(place) => places.entry(&scaffold.file).or_default().push((place, "a scaffold")),
                Err(text) => faults.push(format!("{FOLDER}: a scaffold: {}: {text}", scaffold.file)),
            }
        }
        for (file, mut places) in places {
            places.sort_by_key(|(place, _)| (place.start, place.end));
            for pair in places.windows(2) {
                if let [(a, first), (b, second)] = pair
                    && a != b
                    && b.start < a.end
                {
                    faults.push(format!("{FOLDER}: `{first}` and `{second}` overlap in {file}"));
                }
            }
        }
        for mistake in &self.mistakes {
            let right = mistake.right.trim();
            let whole =
                !right.starts_with("let ") && !right.starts_with(['.', '&', '?']) && !right.ends_with('{');
            if !whole {
                let id = &mistake.id;
                faults.push(format!("{FOLDER}: `{id}`: `{right}` is neither an expression nor a statement that others do without"));
            }
        }
        for file in methods {
            // A method is its file, and the folder of the same name.
            let folder = file.strip_suffix(".rs").map(|stem| format!("{stem}/"));
            let of_it = |mistake: &&Mistake| {
                mistake.file == *file
                    || folder.as_ref().is_some_and(|folder| mistake.file.starts_with(folder))
            };
            let own = self.mistakes.iter().filter(of_it).count();
            if own < PER_METHOD {
                faults.push(format!(
                    "{file}: a method has {PER_METHOD} planted mistakes in {FOLDER}, this one {own}"
                ));
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(id: &str, right: &str) -> Mistake {
        let tests = vec!["model/lens sums".to_owned()];
        let (file, about) = ("crates/model/src/lens.rs".to_owned(), "the wrong sign".to_owned());
        let (right, wrong) = (right.to_owned(), "a - b".to_owned());
        Mistake { id: id.to_owned(), file, about, right, wrong, after: None, tests }
    }

    /// What is said of a list about a crate of one source and one test target.
    fn said(name: &str, mistakes: Vec<Mistake>) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("mmlens-mutate-{}-{name}", std::process::id()));
        for folder in ["crates/model/src/lens", "crates/model/tests"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let source = "fn sum() { a + b }\nfn twice() { c + c }\nfn again() { c + c }\n";
        fs::write(root.join("crates/model/src/lens.rs"), source).unwrap();
        fs::write(root.join("crates/model/src/lens/part.rs"), "fn part() { d + d }\n").unwrap();
        fs::write(root.join("crates/model/tests/lens.rs"), "").unwrap();
        let list = List { mistakes, scaffolds: Vec::new() };
        let said = list.faults(&root, &["crates/model/src/lens.rs".to_owned()]).unwrap();
        fs::remove_dir_all(root).unwrap();
        said
    }

    #[test]
    fn what_has_its_place_passes() {
        let next = Mistake { after: Some("fn again".to_owned()), ..mistake("b", "c + c") };
        assert_eq!(said("whole", vec![mistake("a", "a +\n  b"), next]), Vec::<String>::new());
    }

    #[test]
    fn what_is_stale_is_named() {
        let gone = said("gone", vec![mistake("a", "a * b"), mistake("b", "a + b")]);
        assert_eq!(
            gone,
            ["xtask/mutations: `a`: crates/model/src/lens.rs: `a * b` occurs 0 times, expected once"]
        );
        let twice = said("twice", vec![mistake("a", "c + c"), mistake("b", "a + b")]);
        assert_eq!(
            twice,
            ["xtask/mutations: `a`: crates/model/src/lens.rs: `c + c` occurs 2 times, expected once"]
        );
        let across = said("across", vec![mistake("a", "a + b"), mistake("b", "{ a + b")]);
        assert_eq!(across, ["xtask/mutations: `b` and `a` overlap in crates/model/src/lens.rs"]);
        let moved = Mistake { tests: vec!["model/gone".to_owned()], ..mistake("a", "a + b") };
        let said = said("target", vec![moved, mistake("b", "a + b")]);
        assert_eq!(said, ["xtask/mutations: `a`: there is no test target `model/gone`"]);
    }

    #[test]
    fn what_can_be_planted_is_an_expression() {
        let said = said("let", vec![mistake("a", "fn twice() {"), mistake("b", "a + b")]);
        assert_eq!(
            said,
            [
                "xtask/mutations: `a`: `fn twice() {` is neither an expression nor a statement that others do without"
            ]
        );
    }

    #[test]
    fn a_method_has_two_of_its_own() {
        let fault =
            "crates/model/src/lens.rs: a method has 2 planted mistakes in xtask/mutations, this one 1";
        assert_eq!(said("one", vec![mistake("a", "a + b")]), [fault]);
        let file = "crates/model/src/lens/part.rs".to_owned();
        let part = Mistake { file, ..mistake("b", "d + d") };
        assert_eq!(said("two", vec![mistake("a", "a + b"), part]), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_chosen_by_a_part_of_their_name() {
        let list =
            List { mistakes: vec![mistake("lens-a", ""), mistake("lens-b", "")], scaffolds: Vec::new() };
        let names = |words: &[&str]| -> Vec<String> {
            list.chosen(words).unwrap().iter().map(|mistake| mistake.id.clone()).collect()
        };
        assert_eq!(names(&["s-b"]), ["lens-b"]);
        assert_eq!(names(&[]), ["lens-a", "lens-b"]);
        assert_eq!(
            list.chosen(&["lens", "x"]).unwrap_err(),
            "no mistake is called `x`; `cargo xtask mutate --list` names all"
        );
    }
}
