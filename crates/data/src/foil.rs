//! Foils: texts that differ from a true one in exactly what a rule says.
//!
//! A rule has sets of words, or phrases, that exclude one another: colours, sizes, "left of" and "right of". A foil of a text has one place
//! where one of them stood, and another of the same set there. Nothing else differs but the article before it, where "a" must be "an".
//!
//! ```
//! use mmlens_data::foil::Rules;
//! let rules: Rules = toml::from_str("[[rule]]\nname = \"colour\"\nsets = [[\"red\", \"orange\", \"blue\"]]")?;
//! let foils: Vec<String> = rules.foils("A red cat").into_iter().map(|foil| foil.text).collect();
//! assert_eq!(foils, ["An orange cat", "A blue cat"]);
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! # When it misleads
//! A rule knows words and no picture: with two cats, a red one and a blue one, "the blue cat" is a foil of "the red cat" and may be as true.
//! Foils of the shapes world can be told by [`Caption::holds`](crate::shapes::Caption::holds). Articles go by letters: "an hour" is none of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mmlens_files::{parse_json, read_text};
use serde::{Deserialize, Deserializer, Serialize};

use crate::shapes::{Colour, Direction, Shape, Size};

/// Rules by which texts are made false, each with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    rule: Vec<Rule>,
}

/// A rule: sets of words that exclude one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it changes.
    pub name: String,
    /// Each word, or phrase of words with single spaces between them, is exchanged for every other of its set.
    pub sets: Vec<Vec<String>>,
}

/// A text that differs from another in what a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foil {
    /// The text.
    pub text: String,
    /// The name of the rule.
    pub rule: String,
    /// What stood there, as it stood.
    pub was: String,
    /// What stands there now.
    pub now: String,
    /// Where it stood in the other text, in bytes.
    pub at: usize,
}

/// Rules that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A file that cannot be read.
    #[error("{}: {source}", file.display())]
    Unread {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds no rules.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A rule that cannot be.
    #[error("the rule `{rule}`: {reason}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Files of rules beyond this are none.
const MOST_BYTES: u64 = 4 << 20;

impl Rules {
    /// Rules, checked.
    ///
    /// # Errors
    /// [`RulesError::Rule`] for two rules of one name, a set of fewer than two, a word that comes twice in a rule, and one that is empty or has other
    /// spaces than single ones between its words.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RulesError> {
        let mut names = BTreeSet::new();
        for rule in &rules {
            let wrong = |reason: String| Err(RulesError::Rule { rule: rule.name.clone(), reason });
            if !names.insert(&rule.name) {
                return wrong("there are two of that name".to_owned());
            }
            if rule.sets.is_empty() {
                return wrong("it has no set of words".to_owned());
            }
            let mut seen = BTreeSet::new();
            for set in &rule.sets {
                if set.len() < 2 {
                    return wrong(format!(
                        "a set has {} words, and it takes two to exchange them",
                        set.len()
                    ));
                }
                for word in set {
                    if word.split(' ').any(|part| part.is_empty() || part.contains(char::is_whitespace)) {
                        return wrong(format!(
                            "`{word}` is no word, and no words with single spaces between them"
                        ));
                    }
                    if !seen.insert(word.to_lowercase()) {
                        return wrong(format!("`{word}` comes twice"));
                    }
                }
            }
        }
        Ok(Self { rule: rules })
    }

    /// Rules from a file: TOML with `[[rule]]` tables, or JSON of the same form (`.json`).
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn open(file: impl AsRef<Path>) -> Result<Self, RulesError> {
        let file = file.as_ref();
        let text = read_text(file, MOST_BYTES)
            .map_err(|source| RulesError::Unread { file: file.to_owned(), source })?;
        let unfit = |reason: String| RulesError::File { file: file.to_owned(), reason };
        match file.extension().is_some_and(|own| own == "json") {
            true => parse_json(text.as_bytes()).map_err(|error| unfit(error.to_string())),
            false => toml::from_str(&text).map_err(|error| unfit(error.to_string())),
        }
    }

    /// What can be said otherwise of the shapes world: colours, shapes, sizes, directions, counts up to four, and whether something is there.
    #[must_use]
    pub fn shapes() -> Self {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let rule = |name: &str, sets: Vec<Vec<String>>| Rule { name: name.to_owned(), sets };
        let of = |word: fn(Direction) -> &'static str, some: [Direction; 2]| words(&some.map(word));
        Self {
            rule: vec![
                rule("colour", vec![Colour::ALL.iter().map(|own| own.word().to_owned()).collect()]),
                rule(
                    "shape",
                    vec![
                        Shape::ALL.iter().map(|own| own.word().to_owned()).collect(),
                        Shape::ALL.iter().map(|own| own.plural().to_owned()).collect(),
                    ],
                ),
                rule("size", vec![Size::ALL.iter().map(|own| own.word().to_owned()).collect()]),
                rule(
                    "relation",
                    vec![
                        of(Direction::word, [Direction::Left, Direction::Right]),
                        of(Direction::word, [Direction::Above, Direction::Below]),
                    ],
                ),
                rule("count", vec![words(&["0", "1", "2", "3", "4"])]),
                rule("existence", vec![words(&["yes", "no"]), words(&["there is a", "there is no"])]),
            ],
        }
    }

    /// The rules.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.rule.iter()
    }

    /// Every foil of a text, each text once: by rule, by set, by where it stands, by what stands there instead.
    ///
    /// Words are whole ones, large or small: no letter, digit or underscore on either side. Of phrases that begin at one place the longest counts. What takes the place of a word with a
    /// capital begins with one.
    pub fn foils(&self, text: &str) -> Vec<Foil> {
        let mut seen: BTreeSet<String> = [text.to_owned()].into();
        let all = self.rule.iter().flat_map(|rule| rule.foils(text));
        all.filter(|foil| seen.insert(foil.text.clone())).collect()
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::shapes()
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            rule: Vec<Rule>,
        }
        let Unchecked { rule } = Unchecked::deserialize(deserializer)?;
        Self::new(rule).map_err(serde::de::Error::custom)
    }
}

impl Rule {
    fn foils(&self, text: &str) -> Vec<Foil> {
        let mut foils = Vec::new();
        for set in &self.sets {
            for (at, _) in text.char_indices() {
                let here = set.iter().filter(|word| stands(text, at, word));
                let Some(was) = here.max_by_key(|word| word.len()) else { continue };
                for now in set.iter().filter(|other| *other != was) {
                    foils.push(self.foil(text, (at, was), now));
                }
            }
        }
        foils
    }

    /// The text with another word at a place where one stands.
    fn foil(&self, text: &str, (at, was): (usize, &str), now: &str) -> Foil {
        let (before, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let stood = rest.get(..was.len()).unwrap_or_default();
        let behind = rest.get(was.len()..).unwrap_or_default();
        let large = stood.chars().next().is_some_and(char::is_uppercase);
        let now = if large { capital(now) } else { now.to_owned() };
        let before = with_article(before, stood, &now);
        let (was, rule) = (stood.to_owned(), self.name.clone());
        Foil { text: format!("{before}{now}{behind}"), rule, was, now, at }
    }
}

/// Whether a word stands at a place of a text as a whole word, large or small.
fn stands(text: &str, at: usize, word: &str) -> bool {
    let (Some(before), Some(rest)) = (text.get(..at), text.get(at..)) else { return false };
    let (Some(own), Some(behind)) = (rest.get(..word.len()), rest.get(word.len()..)) else { return false };
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    own.to_lowercase() == word.to_lowercase() && !before.ends_with(inside) && !behind.starts_with(inside)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What stands before a word that is exchanged: with "an" before a vowel, where there was the article that goes before the other.
fn with_article(before: &str, was: &str, now: &str) -> String {
    let vowel = |word: &str| word.starts_with(|c: char| "aeiouAEIOU".contains(c));
    let article = |word: &str| if vowel(word) { "an" } else { "a" };
    let whole = |head: &str| !head.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let own = before.strip_suffix(' ').and_then(|head| {
        let start = head.len().checked_sub(article(was).len())?;
        let (head, own) = head.split_at_checked(start)?;
        (own.to_lowercase() == article(was) && whole(head)).then_some((head, own))
    });
    match own {
        Some((head, own)) if article(was) != article(now) => {
            let large = own.starts_with(char::is_uppercase);
            let new = if large { capital(article(now)) } else { article(now).to_owned() };
            format!("{head}{new} ")
        }
        _ => before.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Rule, Rules};

    fn rules(sets: &[&[&str]]) -> Rules {
        let sets = sets.iter().map(|set| set.iter().map(|word| (*word).to_owned()).collect()).collect();
        Rules::new(vec![Rule { name: "own".to_owned(), sets }]).unwrap()
    }

    fn texts(rules: &Rules, text: &str) -> Vec<String> {
        rules.foils(text).into_iter().map(|foil| foil.text).collect()
    }

    #[test]
    fn one_place_is_changed_at_a_time() {
        let colours = rules(&[&["red", "blue", "orange"]]);
        assert_eq!(
            texts(&colours, "a red cat, an orange dog"),
            [
                "a blue cat, an orange dog",
                "an orange cat, an orange dog",
                "a red cat, a red dog",
                "a red cat, a blue dog"
            ]
        );
        let foil = &colours.foils("Two (Red) ones")[0];
        assert_eq!((foil.was.as_str(), foil.now.as_str(), foil.at), ("Red", "Blue", 5));
        assert_eq!(foil.text, "Two (Blue) ones");
        // No parts of words, and no article that was none of this word.
        assert!(texts(&colours, "a bored redder man's infrared_red").is_empty());
        assert_eq!(
            texts(&rules(&[&["red", "orange"]]), "banana red, An orange"),
            ["banana orange, An orange", "banana red, A red"]
        );
        assert_eq!(texts(&rules(&[&["old", "new"]]), "an old; a old"), ["a new; a old", "an old; a new"]);
    }

    #[test]
    fn phrases_are_taken_whole_and_the_longest_first() {
        let own = rules(&[&["there is", "there is no", "here is"]]);
        assert_eq!(texts(&own, "there is no cat"), ["there is cat", "here is cat"]);
        assert_eq!(texts(&rules(&[&["left of", "right of"]]), "left  of, left of"), ["left  of, right of"]);
        // Letters of more than one byte.
        assert_eq!(texts(&rules(&[&["größe", "farbe"]]), "Die Größe é"), ["Die Farbe é"]);
    }

    #[test]
    fn the_world_of_shapes_has_six_rules() {
        let all = Rules::shapes();
        assert_eq!(Rules::new(all.iter().cloned().collect()).unwrap(), all);
        let by = |text: &str| {
            let mut count = std::collections::BTreeMap::new();
            all.foils(text).into_iter().for_each(|foil| *count.entry(foil.rule).or_insert(0) += 1);
            count.into_iter().collect::<Vec<_>>()
        };
        let of = |pairs: &[(&str, usize)]| {
            pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>()
        };
        assert_eq!(by("a large red circle"), of(&[("colour", 7), ("shape", 5), ("size", 1)]));
        assert_eq!(by("is the star left of the ring ?"), of(&[("relation", 1), ("shape", 10)]));
        assert_eq!(
            (by("2"), by("yes"), by("how many stars are there ?")),
            (of(&[("count", 4)]), of(&[("existence", 1)]), of(&[("shape", 5)]))
        );
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let said = |sets: &[&[&str]]| {
            let sets = sets.iter().map(|set| set.iter().map(|word| (*word).to_owned()).collect()).collect();
            Rules::new(vec![Rule { name: "own".to_owned(), sets }]).unwrap_err().to_string()
        };
        assert_eq!(said(&[]), "the rule `own`: it has no set of words");
        assert_eq!(said(&[&["red"]]), "the rule `own`: a set has 1 words, and it takes two to exchange them");
        assert_eq!(said(&[&["red", "Red"]]), "the rule `own`: `Red` comes twice");
        assert_eq!(
            said(&[&["red", "dark  red"]]),
            "the rule `own`: `dark  red` is no word, and no words with single spaces between them"
        );
        let twice = "{\"rule\": [{\"name\": \"a\", \"sets\": [[\"x\", \"y\"]]}, {\"name\": \"a\", \"sets\": [[\"x\", \"y\"]]}]}";
        let error = serde_json::from_str::<Rules>(twice).unwrap_err().to_string();
        assert!(error.starts_with("the rule `a`: there are two of that name"), "{error}");
    }

    #[test]
    fn rules_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let (toml, json) = (folder.path().join("rules.toml"), folder.path().join("rules.json"));
        std::fs::write(&toml, "[[rule]]\nname = \"pets\"\nsets = [[\"cat\", \"dog\"]]\n").unwrap();
        std::fs::write(&json, "{\"rule\": [{\"name\": \"pets\", \"sets\": [[\"cat\", \"dog\"]]}]}").unwrap();
        assert_eq!(Rules::open(&toml).unwrap(), Rules::open(&json).unwrap());
        assert_eq!(texts(&Rules::open(&toml).unwrap(), "a Cat"), ["a Dog"]);
        std::fs::write(&toml, "[[rule]]\nname = 3\n").unwrap();
        let said = Rules::open(&toml).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{}: ", toml.display())), "{said}");
        assert!(Rules::open(folder.path().join("none.toml")).is_err());
    }
}
