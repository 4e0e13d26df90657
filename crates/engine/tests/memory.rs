//! What a sweep takes at most, counted allocation by allocation, against its budget.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::Path;

use burn::tensor::Device;
use mmlens_core::finding::{Axis, Role};
use mmlens_core::{Ask, Inputs, Objective, Part, Picture, Plan, Point, Sample, Site, Subject, Unwatched};
use mmlens_engine::{Demand, Edit, Memory, Metric, Progress, Sweep};
use mmlens_testkit::{checkpoint, picture};
use mmlens_zoo::checkpoint::SaveSettings;
use peak_alloc::PeakAlloc;

#[path = "../../zoo/tests/support/llama.rs"]
mod llama;

use llama::Llama;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// What a sweep of some variants takes at most, beside what is there before.
fn peak(subject: &dyn Subject, inputs: &Inputs, sweep: &Sweep, memory: &Memory) -> f64 {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    sweep.run(subject, inputs, memory, &mut progress).unwrap();
    (COUNTED.peak_usage() - before) as f64
}

#[test]
fn a_sweep_keeps_within_its_budget_and_makes_use_of_it() {
    let folder = tempfile::tempdir().unwrap();
    // Some 9 million weights.
    let size = Llama { width: 320, neurons: 896, layers: 6, heads: 5 };
    size.write(folder.path(), &SaveSettings::new());
    let open = |path: &Path| mmlens_zoo::open(path, &Device::flex()).unwrap();
    let (middling, small) = (open(folder.path()), open(&checkpoint("llava-a")));
    let text = |letters: usize| "abcdefgh".repeat(letters).chars().take(letters).collect::<String>();
    let long = middling.encode(&Sample::prompt(Vec::new(), text(96))).unwrap();
    let shown = vec![Picture::open(picture("square")).unwrap()];
    let seen = small.encode(&Sample::prompt(shown, format!("<image>{}", text(40)))).unwrap();
    let at = |part, point| Site::block(part, 0, point);
    let logit = || Metric::from(Objective::logit(3));
    let all = || Metric::Divergence { at: Ask::Last };
    let plain = Demand::default();
    let cases: [(&str, &dyn Subject, &Inputs, Edit, Metric, Demand); 6] = [
        (
            "stream",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::ResidPre)).positions([3]),
            logit(),
            plain,
        ),
        ("head", middling.as_ref(), &long, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all(), plain),
        (
            "scores",
            middling.as_ref(),
            &long,
            Edit::cut(at(Part::Text, Point::Scores), vec![9], vec![1, 2]),
            logit(),
            Demand { scores: true, ..plain },
        ),
        (
            "what each head writes",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::Result)).heads([2]),
            logit(),
            Demand { heads: 1, ..plain },
        ),
        ("small", small.as_ref(), &seen, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all(), plain),
        (
            "small tower",
            small.as_ref(),
            &seen,
            Edit::zero(at(Part::Vision, Point::Z)).heads([1]),
            logit(),
            Demand { pictures: true, ..plain },
        ),
    ];
    for (name, subject, inputs, edit, metric, demand) in cases {
        subject.run(inputs, Plan::new()).unwrap(); // Whatever is made once, such as threads.
        let rows_in = |bytes: f64| {
            Memory::bytes(bytes as u64).at_most(NonZeroUsize::MAX).rows(subject, inputs, demand).get()
        };
        // What one variant is said to need: a budget over the variants that it holds.
        let ample = 2_f64.powi(40);
        let each = ample / rows_in(ample) as f64;
        let budget = 16.0 * each;
        let bounded = Memory::bytes(budget as u64).at_most(NonZeroUsize::new(1000).unwrap());
        let sweep = Sweep::over(vec![Axis::count(Role::Sample, 40)], |_| vec![edit.clone()]).measure(metric);
        let share = peak(subject, inputs, &sweep, &bounded) / budget;
        // More would break the promise. Much less would waste what was given: the estimate counts everything that attention
        // or an MLP computes as if it were there at once, of which the kernels hold a half to two thirds; scores and copies
        // for every head are counted for all that could be done with them.
        let least = if demand == plain { 0.4 } else { 0.25 };
        assert!((least..=1.0).contains(&share), "{name}: {share} of a budget of {budget} bytes");
    }
}
