//! Neurons over data sets: against NumPy, SciPy and torch, against identities, and against what was planted.

mod ablation;
mod dissection;
mod exemplars;
mod lape;
mod planted;
mod selectivity;
mod words;
mod writer;

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Annotated, Case, Cases, ManyCases, Part, Plan, Point, Sample, Site, Subject, Words, from_fn,
};
use mmlens_testkit::{Oracle, checkpoint};

use crate::support::{llava, numbers, shown};

/// Activations in f32, whose sums are grouped in another way.
pub(crate) const ROUNDING: Tolerance = Tolerance::either(1e-6, 1e-5);

const PICTURES: [&str; 4] = ["square", "wide", "tall", "tiny"];
const PROMPTS: [&str; 5] =
    ["<image>Red?", "<image>Big?", "<image>Is it big", "<image>left of a", "<image>it"];

/// The cases of the oracle with their classes, `a` for the first two pictures.
fn cases(with_words: bool) -> ManyCases {
    let case = move |i: usize| {
        let sample = shown(&[PICTURES[i % 4]], PROMPTS[i / 4]);
        Ok(Case::new(match with_words {
            true => sample,
            false => Sample::new(sample.pictures, Words::Texts(vec!["a".to_owned()])),
        }))
    };
    let labels = (0..18).map(|i| usize::from(i % 4 > 1)).collect();
    ManyCases::over(Annotated::new(from_fn("questions", 18, case), ["a", "b"], labels).unwrap()).unwrap()
}

/// The two checkpoints of the oracle: what is looked at of each, its cases, and the part.
fn each(mut look: impl FnMut(&str, &dyn Subject, &ManyCases, Part)) {
    look("llava-a", llava("llava-a"), &cases(true), Part::Text);
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap();
    look("clip-a", clip.as_ref(), &cases(false), Part::Vision);
}

/// Which positions the oracle looks at.
fn positions(part: Part) -> &'static str {
    if part == Part::Text { "question" } else { "all" }
}

fn agree(found: &Finding, table: &str, oracle: &Oracle, name: &str, within: Tolerance) {
    let wanted = oracle.array(name).unwrap();
    assert_eq!(found.table(table).unwrap().shape(), wanted.dims, "{name}");
    let gap = within.check(name, numbers(found, table), &wanted.values).unwrap();
    println!("{name}: {:.1e} of {:.1e}", gap.absolute, gap.scale);
}

/// Words of letters in two classes.
fn letters(count: usize) -> impl Cases + Send + Clone {
    let text =
        |i: usize| ["abc", "dea", "bcab", "fb", "gga", "habhh", "ccc", "dbf", "ac", "hd"][i % 10].to_owned();
    let data = from_fn("letters", count, move |i| {
        Ok(Case::new(Sample::text(format!("{}{}", text(i), text(i / 10)))))
    });
    Annotated::new(data, ["one", "other"], (0..count).map(|i| (i / 2) % 2).collect()).unwrap()
}

/// What the neurons of a layer hold in a case, row by row.
fn held(subject: &dyn Subject, data: &dyn Cases, case: usize, layer: usize, point: Point) -> Vec<Vec<f32>> {
    let inputs = subject.encode(&data.case(case).unwrap().sample).unwrap();
    let site = Site::block(Part::Text, layer, point);
    let trace = subject.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
    let value = trace.get(site).unwrap();
    let width = *value.dims().last().unwrap();
    value.to_values().unwrap().chunks(width).map(<[f32]>::to_vec).collect()
}
