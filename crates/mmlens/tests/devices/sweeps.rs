//! A packed sweep is its variants one by one, and the same on every device.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use mmlens::core::finding::{Axis, Role, Tolerance};
use mmlens::core::{
    Inputs, Memory, Objective, Part, Picture, Plan, Point, Position, Sample, Site, Subject, Trace, Unwatched,
    device,
};
use mmlens::engine::{Edit, Metric, Progress, Sweep};
use mmlens_testkit::{checkpoint, picture};

/// Another order of summation in f32, of logits about 1 in size.
pub(crate) const ROUNDING: Tolerance = Tolerance::either(1e-5, 1e-5);

const BLOCKS: usize = 2;
const HEADS: usize = 2;

/// A model of pictures and words with two blocks, each with at least two heads.
pub(crate) fn opened(device: &Device) -> (Box<dyn Subject>, Inputs) {
    let subject = mmlens::zoo::open(checkpoint("llava-a"), device).unwrap();
    let inputs = subject.encode(&sample("square")).unwrap();
    (subject, inputs)
}

pub(crate) fn sample(name: &str) -> Sample {
    Sample::ask(Picture::open(picture(name)).unwrap(), "Red?")
}

/// What another picture leaves in the streams of the decoder.
pub(crate) fn other(subject: &dyn Subject) -> Trace {
    let inputs = subject.encode(&sample("tall")).unwrap();
    subject.run(&inputs, Plan::new().read("text.blocks.*.resid_pre").unwrap()).unwrap()
}

/// Heads to zero and positions from another picture, in every block: edits of one row of many.
pub(crate) fn sweep(positions: usize, other: &Trace) -> Sweep {
    let axes = vec![Axis::count(Role::Layer, BLOCKS), Axis::count(Role::Token, positions + HEADS)];
    let stream = |block| Site::block(Part::Text, block, Point::ResidPre);
    let patches: Vec<Edit> = (0..BLOCKS).map(|block| Edit::patch(stream(block), other).unwrap()).collect();
    let sweep = Sweep::over(axes, move |at| {
        vec![match at[1].checked_sub(positions) {
            Some(head) => Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([head]),
            None => patches[at[0]].clone().positions([at[1]]),
        }]
    });
    sweep.measure(Objective::logit(4)).measure(Metric::Divergence { at: Position::Last })
}

pub(crate) fn at_most(rows: usize) -> Memory {
    Memory::default().at_most(NonZeroUsize::new(rows).unwrap())
}

/// The values of both metrics, and of the pass without edits.
pub(crate) fn swept(subject: &dyn Subject, inputs: &Inputs, sweep: &Sweep, memory: &Memory) -> Vec<f32> {
    let found = sweep.run(subject, inputs, memory, &mut Progress::new(&Unwatched, "sweep", sweep.len()));
    values(found.unwrap())
}

pub(crate) fn values(found: mmlens::engine::Swept) -> Vec<f32> {
    found.measured.into_iter().flat_map(|m| std::iter::once(m.unedited).chain(m.values)).collect()
}

pub(crate) fn hold(device: &Device) {
    let (subject, inputs) = opened(device);
    let sweep = sweep(inputs.positions(), &other(subject.as_ref()));
    let packed = swept(subject.as_ref(), &inputs, &sweep, &at_most(64));
    let single = swept(subject.as_ref(), &inputs, &sweep, &at_most(1));
    ROUNDING.check("packed and one by one", &packed, &single).unwrap();
    let (subject, inputs) = opened(&device::host());
    let here = swept(subject.as_ref(), &inputs, &sweep, &at_most(64));
    ROUNDING.check("here and on the CPU", &packed, &here).unwrap();
    let moved = packed.iter().filter(|value| (**value - packed[0]).abs() > 1e-3).count();
    assert!(moved > packed.len() / 4, "the edits change little: {packed:?}");
}
