use std::sync::{Arc, Mutex};

use mmlens_core::Memory;
use mmlens_core::finding::{Axis, Role};
use mmlens_core::{AnyTensor, Change, Sample, Subject, Unwatched};
use mmlens_engine::{Edit, Progress, Sweep};
use mmlens_testkit::{Rewired, Toy};

use crate::{objective, rows, site};

/// What happened, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Made,
    /// A pass of so many rows.
    Pass(usize),
}

/// Every pass is preceded by the making of its own variants and no others.
#[test]
fn variants_are_made_when_their_pass_is_due() {
    let toy = Toy::curved(1);
    let inputs = toy.encode(&Sample::prompt(Vec::new(), "abcdef")).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let watched = Rewired::new(&toy, move |inputs, run| {
        seen.lock().unwrap().push(Event::Pass(inputs.rows()));
        toy_pass(inputs, run)
    });
    let log = events.clone();
    let sweep = Sweep::over(vec![Axis::count(Role::Sample, 40)], move |at| {
        log.lock().unwrap().push(Event::Made);
        vec![Edit::scale(site(["text.input", "text.blocks.1.mlp_out"][at[0] % 2]), at[0] as f32)]
    });
    assert!(events.lock().unwrap().is_empty());
    let memory = Memory::default().at_most(rows(3));
    let mut progress = Progress::new(&Unwatched, "sweep", 40);
    let found = sweep.measure(objective()).run(&watched, &inputs, &memory, &mut progress).unwrap();
    assert_eq!(found.measured[0].values.len(), 40);
    let events = events.lock().unwrap();
    let passes: Vec<usize> = (0..events.len()).filter(|i| events[*i] != Event::Made).collect();
    // One without edits; then two kinds of twenty each, three at a time.
    assert_eq!(passes.len(), 1 + 7 + 7);
    // Between the pass without edits and the first with, all are looked at once more, to see what they need.
    for pair in passes[1..].windows(2) {
        let Event::Pass(rows) = events[pair[1]] else { panic!("no pass") };
        assert_eq!(pair[1] - pair[0] - 1, rows);
    }
}

fn toy_pass(
    inputs: &mmlens_core::Inputs,
    run: &mut mmlens_core::Run,
) -> Result<mmlens_core::Output, mmlens_core::SubjectError> {
    Toy::curved(1).forward(inputs, run)
}

/// Says how many of its kind there are.
struct Alive(Arc<Mutex<(usize, usize)>>);

impl Alive {
    fn new(count: &Arc<Mutex<(usize, usize)>>) -> Self {
        let mut counted = count.lock().unwrap();
        counted.0 += 1;
        // no NaN: whole numbers
        if counted.0 > counted.1 {
            counted.1 = counted.0;
        }
        drop(counted);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

/// Edits that are functions go alone: never is another there, but for one beside it while the sweep is planned.
#[test]
fn no_more_than_a_pack_of_variants_is_there() {
    let toy = Toy::curved(1);
    let inputs = toy.encode(&Sample::prompt(Vec::new(), "abcdef")).unwrap();
    let count = Arc::new(Mutex::new((0, 0)));
    let counted = count.clone();
    let sweep = Sweep::over(vec![Axis::count(Role::Sample, 30)], move |_| {
        let alive = Alive::new(&counted);
        let edit = move |x: AnyTensor| {
            let _ = &alive;
            Ok(x)
        };
        vec![Edit::new(site("text.blocks.0.mlp_out"), Change::With(Arc::new(edit)))]
    });
    let mut progress = Progress::new(&Unwatched, "sweep", 30);
    sweep.measure(objective()).run(&toy, &inputs, &Memory::default(), &mut progress).unwrap();
    let (left, most) = *count.lock().unwrap();
    assert!(left == 0 && (1..=2).contains(&most), "{left} left, {most} at most");
}
