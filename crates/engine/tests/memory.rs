//! What a sweep takes at most, counted allocation by allocation, against its budget.
//!
//! The allocator counts for the whole process: a binary of its own, and one test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::path::Path;

use burn::tensor::Device;
use mmlens_core::finding::{Axis, Role};
use mmlens_core::{
    AnalysisError, Inputs, Memory, Objective, Part, Picture, Plan, Point, Position, Sample, Site, Subject,
    Unwatched,
};
use mmlens_engine::{Coalition, Edit, Hiding, Metric, Progress, Sweep, Units};
use mmlens_testkit::{checkpoint, picture};
use mmlens_zoo::checkpoint::SaveSettings;
use peak_alloc::PeakAlloc;

#[path = "../../zoo/tests/support/llama.rs"]
mod llama;

use llama::Llama;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

/// What a sweep of some variants comes to, and what it takes at most, beside what is there before.
fn peak(
    subject: &dyn Subject,
    inputs: &Inputs,
    sweep: &Sweep,
    memory: &Memory,
) -> (Result<(), AnalysisError>, f64) {
    COUNTED.reset_peak_usage();
    let before = COUNTED.current_usage();
    let mut progress = Progress::new(&Unwatched, "sweep", sweep.len());
    let done = sweep.run(subject, inputs, memory, &mut progress).map(|_| ());
    (done, (COUNTED.peak_usage() - before) as f64)
}

/// The least budget that is not refused.
fn least(subject: &dyn Subject, inputs: &Inputs, sweep: &Sweep) -> u64 {
    let mut budget = 1;
    loop {
        match peak(subject, inputs, sweep, &Memory::bytes(budget)).0 {
            Err(AnalysisError::Memory { need, .. }) if need > budget => budget = need,
            other => return other.map(|()| budget).unwrap(),
        }
    }
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
    let all = || Metric::Divergence { at: Position::Last };
    let cases: [(&str, &dyn Subject, &Inputs, Edit, Metric); 7] = [
        (
            "stream",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::ResidPre)).positions([3]),
            logit(),
        ),
        (
            "a late position",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::ResidPre)).positions([80]),
            logit(),
        ),
        ("head", middling.as_ref(), &long, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all()),
        (
            "scores",
            middling.as_ref(),
            &long,
            Edit::cut(at(Part::Text, Point::Scores), vec![9], vec![1, 2]),
            logit(),
        ),
        (
            "what each head writes",
            middling.as_ref(),
            &long,
            Edit::zero(at(Part::Text, Point::Result)).heads([2]),
            logit(),
        ),
        ("small", small.as_ref(), &seen, Edit::zero(at(Part::Text, Point::Z)).heads([1]), all()),
        ("small tower", small.as_ref(), &seen, Edit::zero(at(Part::Vision, Point::Z)).heads([1]), logit()),
    ];
    for (name, subject, inputs, edit, metric) in cases {
        subject.run(inputs, Plan::new()).unwrap(); // Whatever is made once, such as threads.
        let sweep =
            Sweep::over(vec![Axis::count(Role::Sample, 40)], move |_| vec![edit.clone()]).measure(metric);
        let tight = least(subject, inputs, &sweep);
        for times in [1, 8] {
            let budget = times * tight;
            let bounded = Memory::bytes(budget).at_most(NonZeroUsize::new(1000).unwrap());
            let (done, taken) = peak(subject, inputs, &sweep, &bounded);
            done.unwrap();
            let share = taken / budget as f64;
            println!("{name}: {share:.2} of a budget of {budget} bytes");
            // More would break the promise. Much less would waste what was given: the estimate counts what attention and an MLP
            // compute as if it were there at once, and a few things for all that could be done with them.
            // A mebibyte is for what every pass takes, however small; of the small subject all variants fit at once.
            let used = if budget > 4 << 20 && !name.starts_with("small") { 0.3 } else { 0.0 };
            assert!((used..=1.0).contains(&share), "{name}: {share} of a budget of {budget} bytes");
        }
    }
    more_take_no_more(small.as_ref(), &seen, shown_sample());
}

fn shown_sample() -> Sample {
    let shown = vec![Picture::open(picture("square")).unwrap()];
    Sample::prompt(shown, format!("<image>{}", "abcdefgh".repeat(5)))
}

/// Variants are made pack by pack: hundreds of coalitions take no more than a few, and so do edits with values of their own.
fn more_take_no_more(subject: &dyn Subject, inputs: &Inputs, sample: Sample) {
    let memory = Memory::default().at_most(NonZeroUsize::new(4).unwrap());
    let cells = Units::cells(inputs, 0, [3, 4]).unwrap();
    let hiding = Hiding::new(subject, &sample, inputs, cells).unwrap();
    let of_coalitions = |count: u64| {
        let some: Vec<Coalition> = (0..count).map(|number| Coalition::numbered(12, number)).collect();
        COUNTED.reset_peak_usage();
        let before = COUNTED.current_usage();
        let mut progress = Progress::new(&Unwatched, "hiding", some.len());
        hiding.measure(&[Objective::logit(3).into()], &some, &memory, &mut progress).unwrap();
        (COUNTED.peak_usage() - before) as f64
    };
    let site = Site::block(Part::Text, 0, Point::ResidPre);
    let stream = subject.run(inputs, Plan::new().read(site).unwrap()).unwrap().get(site).unwrap().clone();
    let of_edits = |count: usize| {
        let (like, dims) = (stream.clone(), stream.dims());
        let sweep = Sweep::over(vec![Axis::count(Role::Sample, count)], move |at| {
            let values = vec![at[0] as f32; dims.iter().product()];
            vec![Edit::set(site, like.filled(values).unwrap())]
        });
        peak(subject, inputs, &sweep.measure(Objective::logit(3)), &memory).1
    };
    for (what, few, many) in
        [("coalitions", of_coalitions(16), of_coalitions(400)), ("edits", of_edits(16), of_edits(400))]
    {
        // What every variant leaves: a score, and where it departs.
        assert!(many < 1.1 * few + 4e4, "{what}: {few} bytes of 16, {many} of 400");
    }
}
