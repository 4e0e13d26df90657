//! Starts workers, watches the clock, tells what went wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use mmlens_fuzz::{Room, TARGETS, Target, mutate};

/// How much, and of what.
#[derive(Args)]
pub(crate) struct Settings {
    /// The targets; all, if none is named.
    targets: Vec<String>,
    /// Cases of each target.
    #[arg(long, default_value_t = 1000)]
    cases: u64,
    /// Another seed gives other cases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Where what goes wrong is saved.
    #[arg(long, default_value = "target/fuzz")]
    out: PathBuf,
    /// Print refusals too, one of each kind.
    #[arg(long)]
    refusals: bool,
}

/// What went wrong, in one way.
struct Fault {
    kind: String,
    text: String,
    case: u64,
    times: u64,
}

#[derive(Default)]
struct Tally {
    cases: u64,
    accepted: u64,
    refused: u64,
    faults: BTreeMap<String, Fault>,
    refusals: BTreeMap<String, (u64, String)>,
}

impl Tally {
    fn fault(&mut self, kind: &str, case: u64, text: &str) {
        let key = format!("{kind} {}", shape(text));
        let new = || Fault { kind: kind.to_owned(), text: text.to_owned(), case, times: 0 };
        self.faults.entry(key).or_insert_with(new).times += 1;
    }

    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.accepted += other.accepted;
        self.refused += other.refused;
        for (key, fault) in other.faults {
            let times = fault.times;
            self.faults.entry(key).or_insert(Fault { times: 0, ..fault }).times += times;
        }
        for (key, (times, text)) in other.refusals {
            self.refusals.entry(key).or_insert((0, text)).0 += times;
        }
    }
}

/// A text without what differs from case to case: numbers and what is quoted.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = None;
    for c in text.chars() {
        match quoted {
            Some(end) if c == end => quoted = None,
            Some(_) => {}
            None if c == '`' || c == '"' => quoted = Some(c),
            None if c == '[' => quoted = Some(']'),
            None if c.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            None => out.push(c),
        }
        if out.len() > 160 {
            break;
        }
    }
    out
}

impl Settings {
    pub(crate) fn run(&self) -> anyhow::Result<bool> {
        let asked: Vec<&'static Target> = match self.targets.is_empty() {
            true => TARGETS.iter().collect(),
            false => self.targets.iter().map(|name| crate::find(name)).collect::<anyhow::Result<_>>()?,
        };
        let mut well = true;
        for target in asked {
            let started = Instant::now();
            let tally = self.target(target)?;
            println!(
                "{:17} {} cases in {:.0} s: {} accepted, {} refused, {} faults",
                target.name,
                tally.cases,
                started.elapsed().as_secs_f64(),
                tally.accepted,
                tally.refused,
                tally.faults.len()
            );
            if self.refusals {
                for (times, text) in tally.refusals.values() {
                    println!("    {times:6}  {text}");
                }
            }
            for fault in tally.faults.values() {
                let file = self.save(target, fault)?;
                println!("  {} ({} times): {}\n    {}", fault.kind, fault.times, fault.text, file.display());
            }
            well &= tally.faults.is_empty();
        }
        Ok(well)
    }

    fn target(&self, target: &'static Target) -> anyhow::Result<Tally> {
        let jobs = self.jobs.max(1);
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let (seed, cases) = (self.seed, self.cases);
                thread::spawn(move || watched(target, seed, job, jobs, cases))
            })
            .collect();
        let mut all = Tally::default();
        for worker in workers {
            all.add(worker.join().map_err(|_| anyhow::anyhow!("a watcher panicked"))??);
        }
        Ok(all)
    }

    /// Writes the input of a fault, made again from its number.
    fn save(&self, target: &Target, fault: &Fault) -> anyhow::Result<PathBuf> {
        let room = Room::new()?;
        let bytes = mutate(target.format, &target.seeds(&room)?, self.seed, fault.case, target.limits.input);
        let folder = self.out.join(target.name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let file = folder.join(format!("{}-{}-{}", fault.kind, self.seed, fault.case));
        fs::write(&file, bytes).with_context(|| file.display().to_string())?;
        Ok(file)
    }
}

/// Cases `first`, `first + step`, ... below `end`, in as many processes as it takes.
fn watched(target: &Target, seed: u64, first: u64, step: u64, end: u64) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut next = first;
    while next < end {
        let Started { mut child, lines, said } = start(target, seed, next, step, end)?;
        let mut at = None;
        let ended = loop {
            let patience = Duration::from_secs(target.limits.seconds + if at.is_none() { 60 } else { 0 });
            match lines.recv_timeout(patience) {
                Ok(line) => {
                    if let Some(case) = entered(&mut tally, &line)? {
                        at = Some(case);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
                Err(RecvTimeoutError::Disconnected) => break Some(child.wait()?),
            }
        };
        let case = match (at, ended) {
            (_, Some(status)) if status.success() => return Ok(tally),
            (None, _) => anyhow::bail!("{}: the worker did not come to its first case", target.name),
            (Some(case), None) => {
                tally.fault("hang", case, &format!("more than {} s", target.limits.seconds));
                case
            }
            (Some(case), Some(status)) if status.code() == Some(2) => {
                anyhow::bail!("{}: the worker failed at case {case}", target.name)
            }
            (Some(case), Some(status)) => {
                let said = said.recv().unwrap_or_default();
                tally.fault("death", case, &format!("{status}: {said}"));
                case
            }
        };
        next = case + step;
    }
    Ok(tally)
}

/// What a line of a worker says, entered; the case it has begun.
fn entered(tally: &mut Tally, line: &str) -> anyhow::Result<Option<u64>> {
    let mut words = line.splitn(3, ' ');
    let (word, case) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let case: u64 = case.parse().with_context(|| format!("the worker said `{line}`"))?;
    let text = words.next().unwrap_or_default();
    match word {
        "at" => {
            tally.cases += 1;
            return Ok(Some(case));
        }
        "ok" => tally.accepted += 1,
        "no" | "nameless" => {
            tally.refused += 1;
            tally.refusals.entry(shape(text)).or_insert((0, text.to_owned())).0 += 1;
            // Names of Rust's types say nothing to a user.
            if word == "nameless" || text.contains("struct Raw") {
                tally.fault("message", case, text);
            }
        }
        "panic" => tally.fault("panic", case, text),
        _ => anyhow::bail!("the worker said `{line}`"),
    }
    Ok(None)
}

/// A worker, what it tells, and in the end the first line of what the system had it say.
struct Started {
    child: Child,
    lines: Receiver<String>,
    said: Receiver<String>,
}

fn start(target: &Target, seed: u64, first: u64, step: u64, end: u64) -> anyhow::Result<Started> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["worker", target.name, "--seed", &seed.to_string(), "--first", &first.to_string()])
        .args(["--step", &step.to_string(), "--end", &end.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("RAYON_NUM_THREADS", "1")
        .spawn()
        .context("a worker")?;
    let out = child.stdout.take().context("a worker's output")?;
    let errors = child.stderr.take().context("a worker's errors")?;
    let ((to, lines), (to_last, said)) = (channel(), channel());
    thread::spawn(move || each_line(out).try_for_each(|line| to.send(line)));
    thread::spawn(move || {
        let all: Vec<String> = each_line(errors).take(1000).collect();
        to_last.send(all.into_iter().find(|line| !line.trim().is_empty()).unwrap_or_default())
    });
    Ok(Started { child, lines, said })
}

fn each_line(from: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(from).lines().map_while(Result::ok)
}
