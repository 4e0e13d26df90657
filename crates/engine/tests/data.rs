//! A sweep over a data set: what single sweeps give, whatever happens to the process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mmlens_core::finding::{Axis, Role, Unit};
use mmlens_core::{
    AnalysisError, AnyTensor, Case, Cases, Inputs, Memory, Objective, Output, Part, Point, Position, Sample,
    Site, Subject, Unwatched, Watch, from_fn,
};
use mmlens_engine::{DataSwept, Edit, Metric, Progress, Sweep, sweep_data};
use mmlens_testkit::{Toy, kill_again_and_again};

fn sample(i: usize) -> Sample {
    let words: String = "abcdefgh".chars().cycle().skip(i).take(2 + i % 4).collect();
    Sample::prompt(vec![], words)
}

fn words(count: usize) -> impl Cases {
    from_fn("words", count, |i| Ok(Case::new(sample(i))))
}

/// Every head of every block, of prompts of different lengths.
fn heads_of(toy: &Toy, case: &Case) -> Result<(Inputs, Sweep), AnalysisError> {
    let inputs = toy.encode(&case.sample)?;
    let axes = vec![Axis::count(Role::Layer, 2), Axis::count(Role::Head, 2)];
    let heads = |at: &[usize]| vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]])];
    let sweep = Sweep::over(axes, heads)
        .measure(Objective::logit(4))
        .measure(Metric::Divergence { at: Position::Last });
    Ok((inputs, sweep))
}

fn swept(toy: &Toy, count: usize, journal: Option<&Path>, watch: &dyn Watch) -> Result<DataSwept, String> {
    let mut heads = |case: &Case| heads_of(toy, case);
    sweep_data(toy, "every head", &words(count), &mut heads, &Memory::default(), journal, watch)
        .map_err(|e| e.to_string())
}

#[test]
fn cases_are_what_they_are_alone() {
    let toy = Toy::curved(1);
    let all = swept(&toy, 7, None, &Unwatched).unwrap();
    assert_eq!(all.cases(), 7);
    for i in 0..7 {
        let (inputs, sweep) = heads_of(&toy, &words(7).case(i).unwrap()).unwrap();
        let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
        let alone = sweep.run(&toy, &inputs, &Memory::default(), &mut progress).unwrap();
        for (m, measured) in alone.measured.iter().enumerate() {
            let (values, unedited) = all.values(m).unwrap();
            assert_eq!((&values[i * 4..(i + 1) * 4], unedited[i]), (&measured.values[..], measured.unedited));
        }
    }
    let tables = all.tables().unwrap();
    let named = |name: &str| tables.iter().find(|t| t.name() == name).unwrap();
    let logit = Metric::from(Objective::logit(4)).name();
    assert_eq!(named(&logit).shape(), [7, 2, 2]);
    let column: f32 = (0..7).map(|i| named(&logit).get(&[i, 1, 0]).unwrap()).sum();
    let mean = named(&format!("{logit}/mean")).get(&[1, 0]).unwrap();
    assert!((mean - column / 7.0).abs() < 1e-6, "{mean} {column}");
}

/// What was no number is none when it is read back, and no number of its own.
#[test]
fn what_is_no_number_stays_none() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.jsonl");
    let toy = Toy::curved(1);
    // Below zero, there is no root of a logit.
    let root = |output: &Output| {
        let logits = AnyTensor::new(output.logit(Position::Last, 4)?).to_values()?;
        Ok(logits.into_iter().map(f32::sqrt).collect())
    };
    let swept = |count: usize| {
        let mut blocks_of = |case: &Case| {
            let inputs = toy.encode(&case.sample)?;
            let axes = vec![Axis::count(Role::Layer, 2)];
            let blocks =
                |at: &[usize]| vec![Edit::scale(Site::block(Part::Text, at[0], Point::MlpOut), -3.0)];
            Ok((inputs, Sweep::over(axes, blocks).measure(Metric::of("root", Unit::None, root))))
        };
        let memory = Memory::default();
        sweep_data(&toy, "roots", &words(count), &mut blocks_of, &memory, Some(&journal), &Unwatched).unwrap()
    };
    let (made, read) = (swept(8), swept(8));
    let all = |swept: &DataSwept| {
        let (values, unedited) = swept.values(0).unwrap();
        [values, unedited].concat()
    };
    let (made, read) = (all(&made), all(&read));
    assert!(made.iter().any(|v| v.is_nan()) && made.iter().any(|v| v.is_finite()), "{made:?}");
    for (a, b) in made.iter().zip(&read) {
        assert!(a == b || (a.is_nan() && b.is_nan()), "{a} became {b}");
    }
}

/// Sweeps when another test tells it to: that test kills it.
#[test]
fn child() {
    let Ok(journal) = std::env::var("MMLENS_SWEEP_CHILD") else { return };
    struct Slow;
    impl Watch for Slow {
        fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
            std::thread::sleep(Duration::from_millis(2));
            ControlFlow::Continue(())
        }
    }
    swept(&Toy::curved(1), 60, Some(Path::new(&journal)), &Slow).unwrap();
}

#[test]
fn a_sweep_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.jsonl");
    let killed = |job: usize| folder.path().join(format!("{job}.jsonl"));
    let toy = Toy::curved(1);
    let uninterrupted = swept(&toy, 60, Some(&whole), &Unwatched).unwrap();
    let start = |job| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child"]).env("MMLENS_SWEEP_CHILD", killed(job));
        command
    };
    // What has been entered is what it would be without a kill.
    let expected = std::fs::read(&whole).unwrap();
    let look = |job| {
        let found = std::fs::read(killed(job)).unwrap_or_default();
        assert!(expected.starts_with(&found), "job {job}: {}", String::from_utf8_lossy(&found));
    };
    kill_again_and_again(Duration::from_millis(120), start, look, |job| {
        assert_eq!(expected, std::fs::read(killed(job)).unwrap(), "job {job}");
        // Nothing is left to be swept: the journal alone gives the result.
        let read = swept(&toy, 60, Some(&killed(job)), &Unwatched).unwrap();
        for metric in 0..2 {
            let bits = |swept: &DataSwept| {
                swept.values(metric).unwrap().0.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(bits(&read), bits(&uninterrupted));
        }
    });
}

#[test]
fn a_journal_is_written_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sweep.jsonl");
    let (toy, mut said) = (Toy::curved(1), String::new());
    let mut nested = |case: &Case| {
        if said.is_empty() {
            said = swept(&toy, 2, Some(&journal), &Unwatched).unwrap_err();
        }
        heads_of(&toy, case)
    };
    let memory = Memory::default();
    sweep_data(&toy, "every head", &words(2), &mut nested, &memory, Some(&journal), &Unwatched).unwrap();
    assert_eq!(said, format!("{}: another process writes to it", journal.display()));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("sweep.jsonl");
    struct Until(usize);
    impl Watch for Until {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done < self.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }
    let toy = Toy::curved(1);
    let said = swept(&toy, 5, Some(&journal), &Until(3)).unwrap_err();
    assert_eq!(said, "sweep over a data set was cancelled after 3 of 5");
    assert_eq!(
        swept(&toy, 5, Some(&journal), &Unwatched).unwrap(),
        swept(&toy, 5, None, &Unwatched).unwrap()
    );
    assert_eq!(
        swept(&toy, 2, Some(&journal), &Unwatched).unwrap(),
        swept(&toy, 2, None, &Unwatched).unwrap()
    );
    let said = swept(&Toy::curved(2), 5, Some(&journal), &Unwatched).unwrap_err();
    assert!(said.contains("line 1: a sweep about `every head` in `words` of"), "{said}");
    assert_eq!(
        swept(&toy, 0, None, &Unwatched).unwrap_err(),
        "sweep over a data set: cases = 0, but at least one case"
    );

    // Another budget or other rows move the last digits.
    let mut heads = |case: &Case| heads_of(&toy, case);
    let other = Memory::bytes(1 << 29).at_most(NonZeroUsize::new(7).unwrap());
    let said = sweep_data(&toy, "every head", &words(9), &mut heads, &other, Some(&journal), &Unwatched);
    let said = said.unwrap_err();
    let wanted = "line 1: a sweep within 4294967296 bytes and 64 rows a pass; expected a sweep within 536870912 bytes \
                  and 7 rows a pass";
    assert!(said.to_string().ends_with(wanted), "{said}");

    // Of the same sweep over other data.
    let others = from_fn("others", 9, |i| Ok(Case::new(sample(i))));
    let memory = Memory::default();
    let said = sweep_data(&toy, "every head", &others, &mut heads, &memory, Some(&journal), &Unwatched);
    let said = said.unwrap_err().to_string();
    assert!(said.contains("a sweep about `every head` in `words` of"), "{said}");
    assert!(said.contains("expected one about `every head` in `others` of"), "{said}");

    let mut i = 0;
    let mut unlike = |case: &Case| {
        let inputs = toy.encode(&case.sample)?;
        i += 1;
        let heads = vec![Axis::count(Role::Head, i)];
        let zero = |at: &[usize]| vec![Edit::zero(Site::block(Part::Text, 0, Point::Z)).heads([at[0]])];
        Ok((inputs, Sweep::over(heads, zero).measure(Objective::logit(4))))
    };
    let said = sweep_data(&toy, "x", &words(2), &mut unlike, &memory, None, &Unwatched).unwrap_err();
    assert!(said.to_string().starts_with("case 1 sweeps"), "{said}");

    // A head that was changed is of nothing that the cases sweep: the file is to be named, also where it has no case yet.
    let text = std::fs::read_to_string(&journal).unwrap();
    let other = folder.path().join("other.jsonl");
    let mut head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    head["axes"].as_array_mut().unwrap().pop().unwrap();
    std::fs::write(&other, format!("{head}\n")).unwrap();
    let said = swept(&toy, 2, Some(&other), &Unwatched).unwrap_err();
    assert!(said.starts_with(&format!("{} line 1: a sweep of logit of token 4", other.display())), "{said}");
    assert!(said.contains("; expected case 0 sweeps logit of token 4"), "{said}");

    std::fs::write(&journal, text.replace("\"case\":3", "\"case\":9")).unwrap();
    let said = swept(&toy, 9, Some(&journal), &Unwatched).unwrap_err();
    assert!(
        said.contains("line 5: case 9 or other numbers; expected case 3 with 2 metrics of 4 values"),
        "{said}"
    );
}
