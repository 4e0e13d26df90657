//! Generation with plans, of every family: what is read at a step is what a pass over the whole sequence has there, an
//! edit does what it does to that pass, and continuations share their prompt.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use mmlens_core::{
    AxisName, Change, Generated, Generation, Inputs, Part, Place, Plan, Plans, Point, Region, Sampling, Seed,
    SiteSpec, Steps, SubjectError, Trace,
};
use proptest::prelude::*;

use super::every::{Opened, every, of_every, off, read, said};
use super::identities::begins_an_answer;

/// The same arithmetic on another shape: f32 rounding.
const ROUNDING: f32 = 1e-4;
const TOKENS: usize = 4;

fn greedy() -> Generation {
    Generation { max_new: TOKENS, sampling: Sampling::Greedy, stop_at_end: false }
}

/// `None` for a model that does not generate.
fn generate(
    folder: &Opened,
    inputs: &Inputs,
    plans: &Plans,
) -> Option<(Vec<Generated>, BTreeMap<usize, Trace>)> {
    match folder.subject.generate_with(inputs, &greedy(), plans) {
        Err(SubjectError::Unsupported { .. }) => None,
        made => Some(made.unwrap()),
    }
}

/// Sites that every step passes.
fn passed(folder: &Opened) -> Vec<&SiteSpec> {
    let sites = folder.subject.sites().iter();
    sites.filter(|spec| spec.site.part() == Part::Text && spec.site.point() != Point::Deepstack).collect()
}

/// A prompt and the answer so far. `None` where the answer holds a placeholder, which in a prompt stands for a picture.
fn longer(folder: &Opened, inputs: &Inputs, tokens: &[u32]) -> Option<Inputs> {
    let mut whole = inputs.clone();
    whole.ids[0].extend(begins_an_answer(folder).into_iter().chain(tokens.iter().copied()));
    folder.subject.run(&whole, Plan::new()).is_ok().then_some(whole)
}

/// The values of the last position.
fn last(spec: &SiteSpec, trace: &Trace) -> Vec<f32> {
    let x = trace.get(spec.site).unwrap();
    let (dims, values) = (x.dims(), x.to_values().unwrap());
    let Some(axis) = spec.axis(AxisName::Pos).or(spec.axis(AxisName::Query)) else { return values };
    let inner: usize = dims[axis + 1..].iter().product();
    let rows = values.chunks(dims[axis] * inner);
    // Masked scores are minus infinity.
    rows.flat_map(|row| &row[(dims[axis] - 1) * inner..]).map(|v| v.max(-1e30)).collect()
}

#[test]
fn what_a_step_reads_is_what_a_whole_pass_has_at_its_last_position() {
    of_every(2, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        if inputs.rows() > 1 {
            return Ok(());
        }
        let sites = passed(folder);
        let plans = Plans::new().during(Steps::Every, read(&sites));
        let Some((made, traces)) = generate(folder, &inputs, &plans) else { return Ok(()) };
        prop_assert_eq!(traces.keys().copied().collect::<Vec<_>>(), (0..TOKENS).collect::<Vec<_>>());
        for (step, trace) in &traces {
            let Some(whole) = longer(folder, &inputs, &made[0].tokens[..*step]) else { break };
            let whole = folder.subject.run(&whole, read(&sites)).unwrap();
            for spec in &sites {
                let off = off(&last(spec, trace), &last(spec, &whole));
                prop_assert!(off < ROUNDING, "{} at step {}: {:e}", spec.site, step, off);
            }
        }
        Ok(())
    });
}

#[test]
fn an_edit_at_some_steps_is_that_edit_at_their_positions() {
    of_every(2, |folder, varied| {
        let inputs = folder.inputs(&varied[0]);
        let place = "text.blocks.0.mlp_out";
        if inputs.rows() > 1 || !folder.subject.sites().iter().any(|spec| spec.site.to_string() == place) {
            return Ok(());
        }
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
            let Some((made, traces)) = generate(folder, &inputs, &plans) else { return Ok(()) };
            let Some(whole) = longer(folder, &inputs, &made[0].tokens[..TOKENS - 1]) else { return Ok(()) };
            let edited = from..to.min(if apart { TOKENS } else { whole.positions() });
            let plan = zero(Region::all().positions(edited)).to_output();
            let whole = folder.subject.run(&whole, plan).unwrap();
            let logits = said(&whole);
            let step = said(&traces[&(TOKENS - 1)]);
            let off = off(&step, &logits[logits.len() - step.len()..]);
            prop_assert!(off < ROUNDING, "{:?}: {:e}", steps, off);
        }
        Ok(())
    });
}

/// Continuations of several prompts lie side by side, each going on from its own.
#[test]
fn continuations_of_several_prompts_stay_with_theirs() {
    let mut tried = 0;
    for folder in every() {
        let singles: Vec<Inputs> =
            folder.samples.iter().take(2).map(|sample| folder.subject.encode(sample).unwrap()).collect();
        // Rows of one picture each, or pictures of one size.
        let Ok(both) = Inputs::batch(&singles, folder.subject.pad()) else { continue };
        let two = Plans::new().copies(NonZeroUsize::new(2).unwrap());
        let (2, Some((made, _))) = (both.rows(), generate(&folder, &both, &two)) else { continue };
        for (row, single) in singles.iter().enumerate() {
            let (alone, _) = generate(&folder, single, &Plans::new()).unwrap();
            for copy in &made[2 * row..2 * row + 2] {
                assert_eq!(copy.tokens, alone[0].tokens, "{} row {row}", folder.name);
                assert!(off(&copy.probabilities, &alone[0].probabilities) < ROUNDING, "{}", folder.name);
            }
            tried += 1;
        }
    }
    assert!(tried >= 8, "only {tried} prompts were batched");
}

#[test]
fn continuations_share_one_prompt_and_go_their_own_ways() {
    for folder in every() {
        let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
        let three = Plans::new().copies(NonZeroUsize::new(3).unwrap());
        let Some((alone, _)) = generate(&folder, &inputs, &Plans::new()) else { continue };
        let place = "text.blocks.0.resid_post";
        // Only the second continuation is changed, and only after the prompt.
        let flip = Plan::new().change(place, Region::all().rows([1]), Change::Scale(-1.0)).unwrap();
        let plans = three
            .clone()
            .during(Steps::Every, Plan::new().read(place).unwrap())
            .during(Steps::Answer, flip.read("text.final_norm").unwrap());
        let (made, traces) = generate(&folder, &inputs, &plans).unwrap();
        assert_eq!(made.len(), 3 * inputs.rows(), "{}", folder.name);
        let rows = |step: usize| traces[&step].get(place.parse().unwrap()).unwrap().dims()[0];
        assert_eq!((rows(0), rows(1)), (inputs.rows(), 3 * inputs.rows()), "{}", folder.name);
        for copy in [&made[0], &made[2]] {
            assert_eq!((&copy.tokens, &copy.text), (&alone[0].tokens, &alone[0].text), "{}", folder.name);
            assert!(off(&copy.probabilities, &alone[0].probabilities) < ROUNDING, "{}", folder.name);
        }
        let x = traces[&1].get(place.parse().unwrap()).unwrap();
        let (dims, values) = (x.dims(), x.to_values().unwrap());
        let row = |r: usize| &values[r * dims[2]..(r + 1) * dims[2]];
        assert!(row(1).iter().zip(row(0)).all(|(a, b)| (a + b).abs() < 1e-5), "{}", folder.name);

        let draw = Sampling::Draw { temperature: 3.0, top_p: 1.0, seed: Seed(3) };
        let how = Generation { sampling: draw, max_new: 6, ..greedy() };
        let (drawn, _) = folder.subject.generate_with(&inputs, &how, &three).unwrap();
        assert!(drawn[0].tokens != drawn[1].tokens || drawn[1].tokens != drawn[2].tokens, "{}", folder.name);
    }
}

/// A closure that panics while an answer is written is an error with its place, of every family, and the next answer is whole.
#[test]
fn a_panic_in_a_step_is_an_error_with_its_place() {
    let place = "text.blocks.0.resid_post";
    for folder in every() {
        let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
        let Some((before, _)) = generate(&folder, &inputs, &Plans::new()) else { continue };
        for steps in [Steps::Prompt, Steps::At(vec![2])] {
            let panics = Plan::new().edit(place, |_| panic!("a fault of mine")).unwrap();
            let plans = Plans::new().during(steps, panics);
            let error = folder.subject.generate_with(&inputs, &greedy(), &plans).unwrap_err();
            let SubjectError::Broken { place: at, reason, .. } = &error else {
                panic!("{}: {error}", folder.name)
            };
            assert_eq!((*at, reason.as_str()), (Place::Edit(place.parse().unwrap()), "a fault of mine"));
        }
        let (after, _) = generate(&folder, &inputs, &Plans::new()).unwrap();
        assert_eq!(before, after, "{}", folder.name);
    }
}

#[test]
fn what_generation_cannot_do_is_refused() {
    let folders = every();
    let folder = folders.iter().find(|folder| folder.name == "llava-a").unwrap();
    let inputs = folder.subject.encode(&folder.samples[0]).unwrap();
    let refuse =
        |plans: &Plans| folder.subject.generate_with(&inputs, &greedy(), plans).unwrap_err().to_string();
    let read = |place: &str| Plan::new().read(place).unwrap();
    let said = refuse(&Plans::new().during(Steps::At(vec![9]), read("text.embed")));
    assert_eq!(said, "something is planned at step 9, but the answer took 4 steps (0 to 3)");
    let said = refuse(&Plans::new().during(Steps::Answer, read("vision.features")));
    assert!(said.contains("`vision.features` was planned but the forward pass never reached it"), "{said}");
    let said = refuse(&Plans::new().during(Steps::Every, read("text.blocks.99.resid_pre")));
    assert!(said.contains("text.blocks.99.resid_pre"), "{said}");
}
