//! `cargo xtask mutate`: plausible mistakes, planted one at a time, each of which some test must notice.
//!
//! The list is in `xtask/mutations`. All mistakes are built at once into a copy of the workspace, each behind a question at
//! run time, so that trying one costs no more than running the tests that are to notice it. The sources know nothing of it.

mod copy;
pub(crate) mod list;
mod splice;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::copy::{Built, Copy};
use self::list::{List, Mistake, Tests};
use self::trial::{Ran, Trial};
use crate::methods;

/// The share of mistakes, in percent, that must be noticed.
const GOAL: usize = 90;
/// What a run without mistakes may take.
const LONGEST: Duration = Duration::from_mins(20);
/// What a run with a mistake may take at least; it may take ten times as long as without one.
const SHORTEST: Duration = Duration::from_mins(1);

/// What is asked on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    /// Parts of the names of mistakes; all of them, if none.
    pub(crate) words: Vec<&'a str>,
    /// What its own tests do not notice is tried on every test.
    pub(crate) all: bool,
    /// Tell the results as JSON.
    pub(crate) json: bool,
    /// Tell the list alone.
    pub(crate) list: bool,
}

impl<'a> Options<'a> {
    /// Reads what stands behind `mutate`.
    pub(crate) fn read(words: &[&'a str]) -> Result<Self, String> {
        let mut asked = Self::default();
        for word in words {
            match *word {
                "--all" => asked.all = true,
                "--json" => asked.json = true,
                "--list" => asked.list = true,
                word if word.starts_with('-') => return Err(format!("`{word}` is no option of mutate")),
                word => asked.words.push(word),
            }
        }
        Ok(asked)
    }
}

/// What became of a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// By these tests, or by how the program ended.
    Noticed(Vec<String>),
    /// Its tests pass. Whether one came past it.
    Missed { met: bool },
    /// It does not compile: what the compiler says.
    Refused(String),
    /// A test that is named for it is not there.
    Untried(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noticed(tests) => {
                let first = tests.first().map_or("", String::as_str);
                match tests.len() {
                    0 | 1 => write!(f, "noticed by {first}"),
                    n => write!(f, "noticed by {first} and {} more", n - 1),
                }
            }
            Self::Missed { met: true } => f.write_str("NOT NOTICED: its tests come past it and pass"),
            Self::Missed { met: false } => f.write_str("NOT NOTICED: none of its tests comes past it"),
            Self::Refused(said) => write!(f, "DOES NOT BUILD: {said}"),
            Self::Untried(why) => write!(f, "NOT TRIED: {why}"),
        }
    }
}

/// What is stale or missing in the list, and how long it is.
pub(crate) fn faults(root: &Path) -> Result<(Vec<String>, usize), String> {
    let list = List::read(root)?;
    Ok((list.faults(root, &methods::files(root)?)?, list.mistakes.len()))
}

/// Plants mistakes and runs their tests; whether enough are noticed.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]
pub(crate) fn run(root: &Path, asked: &Options<'_>) -> Result<bool, String> {
    let list = List::read(root)?;
    let chosen = list.chosen(&asked.words)?;
    if asked.list {
        for mistake in chosen {
            println!("{:32} {}: {}", mistake.id, mistake.file, mistake.about);
        }
        return Ok(true);
    }
    let stale = list.faults(root, &[])?;
    if !stale.is_empty() {
        return Err(stale.join("\n"));
    }
    let say = |text: String| if asked.json { eprintln!("{text}") } else { println!("{text}") };
    let started = Instant::now();
    let copy = Copy::new(root, &list)?;
    let built = copy.build(&say)?;
    say(format!("{} mistakes built in {} s", list.mistakes.len(), started.elapsed().as_secs()));

    let bench = Bench::new(&copy, built, &chosen, asked.all)?;
    for (tests, sound) in &bench.sound {
        for name in &sound.ran.failed {
            say(format!("without any mistake, {}/{} {name} fails", tests.0, tests.1));
        }
        if let Some(how) = &sound.ran.broken {
            say(format!("without any mistake, {}/{}: {how}", tests.0, tests.1));
        }
    }
    let mut results = Vec::with_capacity(chosen.len());
    for mistake in chosen {
        let begun = Instant::now();
        let outcome = bench.try_one(mistake, asked.all)?;
        say(format!("{:32} {outcome} ({:.1} s)", mistake.id, begun.elapsed().as_secs_f64()));
        results.push((mistake, outcome));
    }
    let noticed = results.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Noticed(_))).count();
    let sound = bench.sound.values().all(|sound| sound.ran.failed.is_empty() && sound.ran.broken.is_none());
    let share = 100.0 * noticed as f64 / results.len().max(1) as f64;
    say(format!(
        "\n{noticed} of {} mistakes are noticed, {share:.1} % (goal {GOAL} %), in {} s{}",
        results.len(),
        started.elapsed().as_secs(),
        if sound { "" } else { "; without any mistake, tests fail" },
    ));
    if asked.json {
        println!("{:#}", told(&results, noticed));
    }
    Ok(sound && enough(noticed, results.len()))
}

/// Whether so many of all reach the goal.
fn enough(noticed: usize, all: usize) -> bool {
    100 * noticed >= GOAL * all
}

fn told(results: &[(&Mistake, Outcome)], noticed: usize) -> Value {
    let one = |(mistake, outcome): &(&Mistake, Outcome)| {
        let (word, tests) = match outcome {
            Outcome::Noticed(tests) => ("noticed", tests.clone()),
            Outcome::Missed { .. } => ("not noticed", Vec::new()),
            Outcome::Refused(_) => ("does not build", Vec::new()),
            Outcome::Untried(_) => ("not tried", Vec::new()),
        };
        let Mistake { id, file, about, .. } = mistake;
        json!({"id": id, "file": file, "about": about, "outcome": word, "by": tests, "said": outcome.to_string()})
    };
    let all: Vec<Value> = results.iter().map(one).collect();
    json!({"goal": GOAL, "noticed": noticed, "of": results.len(), "mistakes": all})
}

/// A run without any mistake, and how long it took.
struct Sound {
    ran: Ran,
    took: Duration,
}

/// The test programs, and how they are without mistakes.
struct Bench<'a> {
    copy: &'a Copy<'a>,
    built: Built,
    sound: BTreeMap<(String, String), Sound>,
}

impl<'a> Bench<'a> {
    /// Runs without a mistake what is to notice these, or everything.
    fn new(copy: &'a Copy<'a>, built: Built, mistakes: &[&Mistake], all: bool) -> Result<Self, String> {
        let mut wanted: BTreeMap<(String, String), Option<BTreeSet<String>>> = BTreeMap::new();
        for tests in mistakes.iter().map(|mistake| mistake.tests()).collect::<Result<Vec<_>, _>>()?.concat() {
            let names = wanted.entry((tests.krate, tests.target)).or_insert_with(|| Some(BTreeSet::new()));
            match tests.names.is_empty() {
                true => *names = None,
                false => names.iter_mut().for_each(|own| own.extend(tests.names.iter().cloned())),
            }
        }
        if all {
            wanted = built.programs.keys().map(|key| (key.clone(), None)).collect();
        }
        let mut bench = Self { copy, built, sound: BTreeMap::new() };
        for (key, names) in wanted {
            let names: Vec<String> = names.into_iter().flatten().collect();
            let begun = Instant::now();
            let Some(ran) = bench.ran(&key, &names, 0, LONGEST)? else { continue };
            bench.sound.insert(key, Sound { ran, took: begun.elapsed() });
        }
        Ok(bench)
    }

    /// A run of a test program, if it was built.
    fn ran(
        &self,
        key: &(String, String),
        names: &[String],
        planted: u32,
        limit: Duration,
    ) -> Result<Option<Ran>, String> {
        let Some(program) = self.built.programs.get(key) else { return Ok(None) };
        let folder = self.copy.folder().join("crates").join(&key.0);
        Ok(Some(Trial { program, folder, names, planted, limit }.run(&self.copy.scratch())?))
    }

    fn try_one(&self, mistake: &Mistake, all: bool) -> Result<Outcome, String> {
        if let Some(said) = self.built.refused.get(&mistake.id) {
            return Ok(Outcome::Refused(said.clone()));
        }
        let mut tests = mistake.tests()?;
        if all {
            let every = self.built.programs.keys();
            tests.extend(every.map(|(krate, target)| Tests {
                krate: krate.clone(),
                target: target.clone(),
                names: Vec::new(),
            }));
        }
        // Scripts cannot say that they were met.
        let mut met = !mistake.file.ends_with(".rs");
        let mut untried = None;
        for Tests { krate, target, names } in tests {
            let shown = format!("{krate}/{target}");
            let key = (krate, target);
            let Some(sound) = self.sound.get(&key) else {
                untried = Some(format!("no test program {shown} was built"));
                continue;
            };
            let limit = SHORTEST.max(10 * sound.took);
            let Some(ran) = self.ran(&key, &names, mistake.number(), limit)? else { continue };
            if ran.tests == 0 && ran.broken.is_none() {
                untried = Some(format!("no test of {shown} is called {}", names.join(" or ")));
            }
            met |= ran.met;
            let by = noticing(&shown, &ran, &sound.ran);
            if !by.is_empty() {
                return Ok(Outcome::Noticed(by));
            }
        }
        Ok(untried.map_or(Outcome::Missed { met }, Outcome::Untried))
    }
}

/// What fails with a mistake and not without.
fn noticing(shown: &str, ran: &Ran, sound: &Ran) -> Vec<String> {
    let failed = ran.failed.iter().filter(|name| !sound.failed.contains(name));
    let mut by: Vec<String> = failed.map(|name| format!("{shown} {name}")).collect();
    if let (Some(how), None) = (&ran.broken, &sound.broken) {
        by.push(format!("{shown}: {how}"));
    }
    by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_names_are_told_apart() {
        let asked = Options::read(&["lens", "--json", "--all"]).unwrap();
        assert_eq!(asked, Options { words: vec!["lens"], all: true, json: true, list: false });
        assert_eq!(Options::read(&["--fast"]).unwrap_err(), "`--fast` is no option of mutate");
    }

    #[test]
    fn what_fails_anyway_notices_nothing() {
        let ran = |failed: &[&str], broken: Option<&str>| Ran {
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
            broken: broken.map(str::to_owned),
            ..Ran::default()
        };
        let sound = ran(&["flaky"], None);
        assert_eq!(noticing("a/b", &ran(&["flaky"], None), &sound), Vec::<String>::new());
        assert_eq!(noticing("a/b", &ran(&["flaky", "sums"], None), &sound), ["a/b sums"]);
        assert_eq!(noticing("a/b", &ran(&[], Some("it ended")), &sound), ["a/b: it ended"]);
        assert!(noticing("a/b", &ran(&[], Some("it ended")), &ran(&[], Some("it ended"))).is_empty());
    }

    #[test]
    fn the_goal_is_a_share_of_all() {
        assert!(enough(9, 10) && enough(100, 100) && !enough(89, 100) && !enough(9, 11));
    }

    #[test]
    fn outcomes_are_told() {
        let noticed = Outcome::Noticed(vec!["a/b sums".to_owned(), "a/b adds".to_owned()]);
        assert_eq!(noticed.to_string(), "noticed by a/b sums and 1 more");
        let mistake = Mistake {
            id: "sign".to_owned(),
            file: "f.rs".to_owned(),
            about: "the sign".to_owned(),
            right: String::new(),
            wrong: String::new(),
            after: None,
            tests: Vec::new(),
        };
        let told = told(&[(&mistake, noticed), (&mistake, Outcome::Missed { met: false })], 1);
        assert_eq!((&told["noticed"], &told["of"]), (&json!(1), &json!(2)));
        assert_eq!(told["mistakes"][1]["said"], "NOT NOTICED: none of its tests comes past it");
    }
}
