//! A sweep spread over copies of a model is the sweep on one of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Rgb, RgbImage};
use mmlens_core::finding::{Axis, Role, Unit};
use mmlens_core::{
    AnalysisError, AnyTensor, Change, HookError, Inputs, Memory, Objective, Part, Picture, Point, Position,
    Sample, Site, Subject, Unwatched, Watch,
};
use mmlens_engine::{Edit, Metric, Progress, Sweep};
use mmlens_testkit::Toy;

fn inputs(toy: &Toy, words: &str) -> Inputs {
    let image =
        RgbImage::from_fn(8, 8, |x, y| Rgb([0, 1, 2].map(|c| ((x * 31 + y * 57 + c * 91) % 256) as u8)));
    let pictures = words.matches('#').map(|_| Picture::new("painted", image.clone())).collect();
    toy.encode(&Sample::prompt(pictures, words)).unwrap()
}

/// Every block, position and head, each cut off alone; few in a pass, so that there are many passes to hand out.
fn sweep() -> (Sweep, Memory) {
    let axes = vec![Axis::count(Role::Layer, 2), Axis::count(Role::Token, 11), Axis::count(Role::Head, 2)];
    let sweep = Sweep::over(axes, |at| {
        vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).positions([at[1]]).heads([at[2]])]
    });
    let sweep = sweep.measure(Objective::logit(4)).measure(Metric::Divergence { at: Position::Last });
    (sweep, Memory::default().at_most(NonZeroUsize::new(3).unwrap()))
}

#[test]
fn spread_over_copies_it_is_what_one_gives() {
    let (sweep, memory) = sweep();
    let toys = [Toy::curved(5), Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a#bc"));
    let alone = sweep
        .run(&toys[0], &cases[0], &memory, &mut Progress::new(&Unwatched, "sweep", sweep.len()))
        .unwrap();
    for copies in 1..=3 {
        let copies: Vec<(&dyn Subject, &Inputs)> =
            toys.iter().zip(&cases).take(copies).map(|(toy, case)| (toy as &dyn Subject, case)).collect();
        let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
        let spread = sweep.run_over(&copies, &memory, &mut progress).unwrap();
        assert_eq!(progress.done(), sweep.len());
        assert_eq!(spread.axes, alone.axes);
        for (spread, alone) in spread.measured.iter().zip(&alone.measured) {
            assert_eq!(spread.unedited, alone.unedited);
            assert_eq!(spread.values, alone.values);
        }
    }
}

/// Of two passes without edits and two packs, the later two wait until all four have begun.
#[test]
fn copies_work_at_the_same_time() {
    let (_, memory) = sweep();
    let begun = std::sync::Arc::new(AtomicUsize::new(0));
    let meet = {
        let begun = begun.clone();
        Metric::of("a meeting", Unit::Count, move |output| {
            let place = begun.fetch_add(1, Ordering::SeqCst);
            let rows = AnyTensor::new(output.at(Position::Last)?).dims()[0];
            for _ in 0..10_000 {
                if place < 2 || begun.load(Ordering::SeqCst) >= 4 {
                    return Ok(vec![1.0; rows]);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Err(HookError::Read("the other never came".to_owned()))
        })
    };
    let sweep = Sweep::over(vec![Axis::count(Role::Layer, 2)], |at| {
        vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z))]
    });
    let sweep = sweep.measure(meet);
    let toys = [Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a"));
    let copies: [(&dyn Subject, &Inputs); 2] = [(&toys[0], &cases[0]), (&toys[1], &cases[1])];
    sweep.run_over(&copies, &memory, &mut Progress::new(&Unwatched, "sweep", 2)).unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 4);
}

/// An edit that fails on one copy ends the work of all, and is what is reported.
#[test]
fn an_error_of_one_ends_all() {
    let (sweep, memory) = sweep();
    let sweep = sweep.measure(Metric::of("a fault", Unit::Count, |output| {
        let values = AnyTensor::new(output.at(Position::Last)?).to_values()?;
        let rows = AnyTensor::new(output.at(Position::Last)?).dims()[0];
        if rows > 1 {
            Err(HookError::Read(format!("{} values of {rows} rows", values.len())))
        } else {
            Ok(vec![0.0])
        }
    }));
    let toys = [Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a#bc"));
    let copies: [(&dyn Subject, &Inputs); 2] = [(&toys[0], &cases[0]), (&toys[1], &cases[1])];
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    let error = sweep.run_over(&copies, &memory, &mut progress).unwrap_err().to_string();
    assert!(error.contains("of 3 rows"), "{error}");
    assert_eq!(progress.done(), 0);
}

/// A device that panics is an error that says what it said.
#[test]
fn a_device_that_breaks_off_is_an_error() {
    let (sweep, memory) = sweep();
    let sweep = sweep.measure(Metric::of("a broken device", Unit::Count, |output| {
        let rows = AnyTensor::new(output.at(Position::Last)?).dims()[0];
        assert!(rows == 1, "the cable was pulled");
        Ok(vec![0.0])
    }));
    let toys = [Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a#bc"));
    let copies: [(&dyn Subject, &Inputs); 2] = [(&toys[0], &cases[0]), (&toys[1], &cases[1])];
    let error = sweep.run_over(&copies, &memory, &mut Progress::new(&Unwatched, "sweep", sweep.len()));
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "`curved toy` on flex broke off in a metric: the cable was pulled");
    let alone = sweep.run(&toys[0], &cases[0], &memory, &mut Progress::new(&Unwatched, "sweep", sweep.len()));
    assert_eq!(alone.unwrap_err().to_string(), error);
}

/// So is a user's edit that panics, on one copy and on several, with the site; and the copies can be swept again.
#[test]
fn an_edit_that_panics_is_an_error_with_its_site() {
    let (whole, memory) = sweep();
    let site = Site::block(Part::Text, 1, Point::MlpOut);
    let sweep = Sweep::over(vec![Axis::count(Role::Layer, 4)], move |at| {
        let at = at[0];
        let edit = move |x: AnyTensor| if at == 3 { panic!("variant {at}") } else { Ok(x) };
        vec![Edit::new(site, Change::With(Arc::new(edit)))]
    });
    let sweep = sweep.measure(Objective::logit(4));
    let toys = [Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a#bc"));
    let copies: [(&dyn Subject, &Inputs); 2] = [(&toys[0], &cases[0]), (&toys[1], &cases[1])];
    let progress = || Progress::new(&Unwatched, "sweep", whole.len());
    let before = whole.run(&toys[0], &cases[0], &memory, &mut progress()).unwrap();
    let alone = sweep.run(&toys[0], &cases[0], &memory, &mut progress()).unwrap_err().to_string();
    let spread = sweep.run_over(&copies, &memory, &mut progress()).unwrap_err().to_string();
    assert_eq!(alone, "`curved toy` on flex broke off in the edit at `text.blocks.1.mlp_out`: variant 3");
    assert_eq!(spread, alone);
    let after = whole.run_over(&copies, &memory, &mut progress()).unwrap();
    for (before, after) in before.measured.iter().zip(&after.measured) {
        assert_eq!(before.values, after.values);
    }
}

struct Impatient;

impl Watch for Impatient {
    fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
        if done < 9 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[test]
fn a_watcher_stops_all() {
    let (sweep, memory) = sweep();
    let toys = [Toy::curved(5), Toy::curved(5)];
    let cases = toys.each_ref().map(|toy| inputs(toy, "#a#bc"));
    let copies: [(&dyn Subject, &Inputs); 2] = [(&toys[0], &cases[0]), (&toys[1], &cases[1])];
    let mut progress = Progress::new(&Impatient, "sweep", sweep.len());
    let error = sweep.run_over(&copies, &memory, &mut progress).unwrap_err();
    assert!(matches!(error, AnalysisError::Cancelled { total: 44, .. }), "{error}");
    assert!(progress.done() < sweep.len());
}

#[test]
fn copies_that_are_none_are_refused() {
    let (sweep, memory) = sweep();
    let (toy, other) = (Toy::curved(5), Toy::curved(6));
    let (case, others, longer) = (inputs(&toy, "#a#bc"), inputs(&other, "#a#bc"), inputs(&toy, "#a#bcd"));
    let refused = |copies: &[(&dyn Subject, &Inputs)]| {
        let found = sweep.run_over(copies, &memory, &mut Progress::new(&Unwatched, "sweep", sweep.len()));
        found.unwrap_err().to_string()
    };
    assert!(refused(&[]).contains("no devices"));
    assert!(refused(&[(&toy, &case), (&other, &others)]).contains("copy 1 is `curved toy`"));
    assert!(refused(&[(&toy, &case), (&toy, &longer)]).contains("copy 1 is given another case"));
}
