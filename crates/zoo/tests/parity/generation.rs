//! Generation with plans, of every family: what is read at a step is what a pass over the whole sequence has there, an
//! edit does what it does to that pass, and continuations share their prompt.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::finding::Tolerance;
use mmlens_core::{
    AxisName, Change, Generated, Generation, Generator, Inputs, Part, Place, Plan, Plans, Point, Region,
    Sampling, Seed, SiteSpec, Steps, SubjectError, Trace,
};
use proptest::prelude::*;

use super::every::{Opened, alike, every, of_those, read, said};
use super::identities::begins_an_answer;

/// The same arithmetic on another shape: f32 rounding.
const ROUNDING: Tolerance = Tolerance::relative(1e-4);
const TOKENS: usize = 4;

fn greedy() -> Generation {
    Generation { max_new: TOKENS, sampling: Sampling::Greedy, stop_at_end: false }
}

fn generate(folder: &Opened, inputs: &Inputs, plans: &Plans) -> (Vec<Generated>, BTreeMap<usize, Trace>) {
    Generator::new(&greedy()).plans(plans).write(folder.subject.as_ref(), inputs).unwrap()
}

/// Sites that every step passes.
fn passed(folder: &Opened) -> Vec<&SiteSpec> {
    let sites = folder.subject.sites().iter();
    sites.filter(|spec| spec.site.part() == Part::Text && spec.site.point() != Point::Deepstack).collect()
}

/// A prompt and the answer so far. `None` where the answer holds a placeholder, which in a prompt stands for a picture.
fn longer(folder: &Opened, inputs: &Inputs, tokens: &[u32]) -> Option<Inputs> {
    let said = begins_an_answer(folder).into_iter().chain(tokens.iter().copied());
    let whole = inputs.clone().with(|batch| batch.ids[0].extend(said)).unwrap();
    folder.subject.run(&whole, Plan::new()).is_ok().then_some(whole)
}

/// The values of the last position, and their shape.
fn last(spec: &SiteSpec, trace: &Trace) -> (Vec<usize>, Vec<f32>) {
    let x = trace.get(spec.site).unwrap();
    let (mut dims, values) = (x.dims(), x.to_values().unwrap());
    let Some(axis) = spec.axis(AxisName::Pos).or(spec.axis(AxisName::Query)) else { return (dims, values) };
    let inner: usize = dims[axis + 1..].iter().product();
    let rows = values.chunks(dims[axis] * inner);
    let last = rows.flat_map(|row| &row[(dims[axis] - 1) * inner..]).copied().collect();
    dims[axis] = 1;
    (dims, last)
}

#[test]
fn what_a_step_reads_is_what_a_whole_pass_has_at_its_last_position() {
    let tried = of_those(2, Opened::generates, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        prop_assume!(inputs.rows() == 1);
        let sites = passed(folder);
        let plans = Plans::new().during(Steps::Every, read(&sites));
        let (made, traces) = generate(folder, &inputs, &plans);
        let mut compared = 0;
        prop_assert_eq!(traces.keys().copied().collect::<Vec<_>>(), (0..TOKENS).collect::<Vec<_>>());
        for (step, trace) in &traces {
            let Some(whole) = longer(folder, &inputs, &made[0].tokens[..*step]) else { break };
            let whole = folder.subject.run(&whole, read(&sites)).unwrap();
            for spec in &sites {
                alike(spec, 0, &last(spec, trace), &last(spec, &whole))?;
                compared += 1;
            }
        }
        prop_assert!(compared >= sites.len() && !sites.is_empty());
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders generate");
}

#[test]
fn an_edit_at_some_steps_is_that_edit_at_their_positions() {
    let tried = of_those(2, Opened::generates, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        let place = "text.blocks.0.mlp_out";
        prop_assume!(inputs.rows() == 1);
        // Behind a question that is read apart, the stream of the answer has its first token alone.
        let apart = begins_an_answer(folder).is_some();
        let prompt = if apart { 1 } else { inputs.positions() };
        let zero = |region| Plan::new().change(place, region, Change::Zero).unwrap();
        for (steps, from, to) in [
            (Steps::Every, 0, usize::MAX),
            (Steps::Prompt, 0, prompt),
            (Steps::Answer, prompt, usize::MAX),
            (Steps::At(vec![2]), prompt + 1, prompt + 2),
        ] {
            let plans = Plans::new()
                .during(steps.clone(), zero(Region::all()))
                .during(Steps::At(vec![TOKENS - 1]), Plan::new().read("text.final_norm").unwrap());
            let (made, traces) = generate(folder, &inputs, &plans);
            let whole = longer(folder, &inputs, &made[0].tokens[..TOKENS - 1]);
            prop_assume!(whole.is_some());
            let whole = whole.unwrap();
            let edited = from..to.min(if apart { TOKENS } else { whole.positions() });
            let plan = zero(Region::all().positions(edited)).to_output();
            let whole = folder.subject.run(&whole, plan).unwrap();
            let logits = said(&whole);
            let step = said(&traces[&(TOKENS - 1)]);
            let same = ROUNDING.check("logits", &step, &logits[logits.len() - step.len()..]);
            prop_assert!(same.is_ok(), "{:?}: {:?}", steps, same);
        }
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders generate");
}

/// Continuations of several prompts lie side by side, each going on from its own.
#[test]
fn continuations_of_several_prompts_stay_with_theirs() {
    let mut tried = 0;
    for folder in every().into_iter().filter(Opened::generates) {
        let singles: Vec<Inputs> =
            folder.samples.iter().take(2).map(|sample| folder.subject.encode(sample).unwrap()).collect();
        // Rows of one picture each, or pictures of one size.
        let Ok(both) = Inputs::batch(&singles, folder.subject.pad()) else { continue };
        let two = Plans::new().copies(NonZeroUsize::new(2).unwrap());
        if both.rows() != 2 {
            continue;
        }
        let (made, _) = generate(&folder, &both, &two);
        for (row, single) in singles.iter().enumerate() {
            let (alone, _) = generate(&folder, single, &Plans::new());
            for copy in &made[2 * row..2 * row + 2] {
                assert_eq!(copy.tokens, alone[0].tokens, "{} row {row}", folder.name);
                ROUNDING.check(&folder.name, &copy.probabilities, &alone[0].probabilities).unwrap();
            }
            tried += 1;
        }
    }
    assert!(tried >= 8, "only {tried} prompts were batched");
}

#[test]
fn continuations_share_one_prompt_and_go_their_own_ways() {
    let folders: Vec<Opened> = every().into_iter().filter(Opened::generates).collect();
    assert!(folders.len() >= 15, "only {} folders generate", folders.len());
    for folder in folders {
        let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
        let three = Plans::new().copies(NonZeroUsize::new(3).unwrap());
        let (alone, _) = generate(&folder, &inputs, &Plans::new());
        let place = "text.blocks.0.resid_post";
        // Only the second continuation is changed, and only after the prompt.
        let flip = Plan::new().change(place, Region::all().rows([1]), Change::Scale(-1.0)).unwrap();
        let plans = three
            .clone()
            .during(Steps::Every, Plan::new().read(place).unwrap())
            .during(Steps::Answer, flip.read("text.final_norm").unwrap());
        let (made, traces) = generate(&folder, &inputs, &plans);
        assert_eq!(made.len(), 3 * inputs.rows(), "{}", folder.name);
        let rows = |step: usize| traces[&step].get(place.parse().unwrap()).unwrap().dims()[0];
        assert_eq!((rows(0), rows(1)), (inputs.rows(), 3 * inputs.rows()), "{}", folder.name);
        for copy in [&made[0], &made[2]] {
            assert_eq!((&copy.tokens, &copy.text), (&alone[0].tokens, &alone[0].text), "{}", folder.name);
            ROUNDING.check(&folder.name, &copy.probabilities, &alone[0].probabilities).unwrap();
        }
        let x = traces[&1].get(place.parse().unwrap()).unwrap();
        let (dims, values) = (x.dims(), x.to_values().unwrap());
        let row = |r: usize| &values[r * dims[2]..(r + 1) * dims[2]];
        let flipped: Vec<f32> = row(1).iter().map(|value| -value).collect();
        Tolerance::absolute(1e-5).check(&folder.name, &flipped, row(0)).unwrap();

        let draw = Sampling::Draw { temperature: 3.0, top_p: 1.0, seed: Seed(3) };
        let how = Generation { sampling: draw, max_new: 6, ..greedy() };
        let (drawn, _) = Generator::new(&how).plans(&three).write(folder.subject.as_ref(), &inputs).unwrap();
        assert!(drawn[0].tokens != drawn[1].tokens || drawn[1].tokens != drawn[2].tokens, "{}", folder.name);
    }
}

/// A closure that panics while an answer is written is an error with its place, of every family, and the next answer is whole.
#[test]
fn a_panic_in_a_step_is_an_error_with_its_place() {
    let place = "text.blocks.0.resid_post";
    let folders: Vec<Opened> = every().into_iter().filter(Opened::generates).collect();
    assert!(folders.len() >= 15, "only {} folders generate", folders.len());
    for folder in folders {
        let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
        let (before, _) = generate(&folder, &inputs, &Plans::new());
        for steps in [Steps::Prompt, Steps::At(vec![2])] {
            let panics = Plan::new().edit(place, |_| panic!("a fault of mine")).unwrap();
            let plans = Plans::new().during(steps, panics);
            let error =
                Generator::new(&greedy()).plans(&plans).write(folder.subject.as_ref(), &inputs).unwrap_err();
            let SubjectError::Broken { place: at, reason, .. } = &error else {
                panic!("{}: {error}", folder.name)
            };
            assert_eq!((*at, reason.as_str()), (Place::Edit(place.parse().unwrap()), "a fault of mine"));
        }
        let (after, _) = generate(&folder, &inputs, &Plans::new());
        assert_eq!(before, after, "{}", folder.name);
    }
}

#[test]
fn what_generation_cannot_do_is_refused() {
    let folders = every();
    let folder = folders.iter().find(|folder| folder.name == "llava-a").unwrap();
    let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
    let refuse = |plans: &Plans| {
        Generator::new(&greedy())
            .plans(plans)
            .write(folder.subject.as_ref(), &inputs)
            .unwrap_err()
            .to_string()
    };
    let read = |place: &str| Plan::new().read(place).unwrap();
    let said = refuse(&Plans::new().during(Steps::At(vec![9]), read("text.embed")));
    assert_eq!(said, "something is planned at step 9, but the answer took 4 steps (0 to 3)");
    let said = refuse(&Plans::new().during(Steps::Answer, read("vision.features")));
    assert!(said.contains("`vision.features` was planned but the forward pass never reached it"), "{said}");
    let said = refuse(&Plans::new().during(Steps::Every, read("text.blocks.99.resid_pre")));
    assert!(said.contains("text.blocks.99.resid_pre"), "{said}");
}
