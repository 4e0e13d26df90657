//! Sessions: their contract on every subject that has them, what they cost, and methods that hold two side by side.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use burn::tensor::Device;
use mmlens_core::{
    AnyTensor, Beams, Change, Generation, Generator, Inputs, Part, Plan, Plans, Region, Sample, Sampling,
    Seed, SessionError, Steps, Subject, SubjectError, Words,
};
use mmlens_finding::{Tolerance, top};
use mmlens_testkit::{Rewired, Toy, Work, fixtures, session_breaches};
use mmlens_zoo::certify;

use super::open;

fn keeps_in_session(subject: &dyn Subject, inputs: &Inputs) {
    let breaches = session_breaches(subject, inputs);
    assert!(breaches.is_empty(), "{}:\n{}", subject.name(), breaches.join("\n"));
}

fn toys() -> [Toy; 2] {
    [Toy::curved(3), Toy::straight(4)]
}

/// Rows of different lengths, one without a picture.
fn rows(toy: &Toy) -> Inputs {
    let sample = |pictures: &[&str], words: &str| {
        toy.encode(&Sample::prompt(pictures.iter().map(|p| open(p)).collect(), words)).unwrap()
    };
    let samples = [sample(&["square"], "#what"), sample(&["wide", "tall"], "a#b#c"), sample(&[], "abc")];
    Inputs::batch(&samples, 0).unwrap()
}

#[test]
fn sessions_of_the_toys_keep_their_contract() {
    for toy in toys() {
        keeps_in_session(&toy, &rows(&toy));
        keeps_in_session(&toy, &toy.encode(&Sample::prompt(Vec::new(), "a")).unwrap());
    }
}

/// Every fixture folder whose model generates: one prompt, and two of different lengths where they fit together.
#[test]
fn sessions_of_every_checkpoint_keep_their_contract() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("model/config.json").exists());
    folders.sort();
    let (mut held, mut padded) = (0, 0);
    for folder in folders {
        let subject = mmlens_zoo::open(folder.join("model"), &Device::default()).unwrap();
        let traces = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut traces: Vec<PathBuf> =
            traces.filter(|path| path.extension().is_some_and(|kind| kind == "safetensors")).collect();
        traces.sort();
        let samples =
            traces.iter().flat_map(|path| certify::samples(path, &fixtures().join("pictures")).unwrap());
        let singles: Vec<Inputs> = samples.take(3).map(|sample| subject.encode(&sample).unwrap()).collect();
        if let Err(SubjectError::Unsupported { .. }) = subject.begin(&singles[0], Plan::new()) {
            continue;
        }
        keeps_in_session(subject.as_ref(), &singles[0]);
        held += 1;
        if let Ok(batch) = Inputs::batch(&singles, subject.pad())
            && batch.rows() > 1
        {
            keeps_in_session(subject.as_ref(), &batch);
            padded += usize::from(batch.pads.iter().any(|pad| *pad > 0));
        }
    }
    assert!(held >= 15 && padded >= 5, "{held} folders, {padded} of them padded");
}

/// The token with the highest logit, of every row.
fn highest(logits: &AnyTensor) -> Vec<u32> {
    let (vocab, values) = (logits.dims()[1], logits.to_values().unwrap());
    values.chunks(vocab).map(|row| top(row).unwrap().unwrap() as u32).collect()
}

#[test]
fn greedy_decoding_is_a_loop_of_three_lines() {
    for toy in toys() {
        let inputs = rows(&toy);
        let mut session = toy.begin(&inputs, Plan::new()).unwrap();
        for _ in 0..6 {
            let next = highest(session.logits());
            session.step(&next, Plan::new()).unwrap();
        }
        let how = Generation { max_new: 6, ..Generation::default() };
        let rows = toy.generate(&inputs, &how).unwrap();
        let tokens: Vec<Vec<u32>> = rows.into_iter().map(|row| row.tokens).collect();
        assert_eq!(session.written(), tokens);
    }
}

/// Contrastive decoding (as VCD has it): what the model says with the picture, less what it says with another one in its place.
#[test]
fn two_sessions_are_weighed_against_each_other() {
    let toy = Toy::curved(5);
    let shown = |name| toy.encode(&Sample::prompt(vec![open(name)], "#what")).unwrap();
    let contrastive = |inputs: &Inputs, other: &Inputs, by: f32| {
        let mut clear = toy.begin(inputs, Plan::new()).unwrap();
        let mut blurred = toy.begin(other, Plan::new()).unwrap();
        for _ in 0..6 {
            let (a, b) = (clear.logits().to_values().unwrap(), blurred.logits().to_values().unwrap());
            let weighed: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (1.0 + by) * a - by * b).collect();
            let next = [top(&weighed).unwrap().unwrap() as u32];
            clear.step(&next, Plan::new()).unwrap();
            blurred.step(&next, Plan::new()).unwrap();
        }
        clear.written()[0].clone()
    };
    let greedy = |inputs: &Inputs| {
        let how = Generation { max_new: 6, ..Generation::default() };
        toy.generate(inputs, &how).unwrap().remove(0).tokens
    };
    let (clear, blurred) = (shown("square"), shown("tall"));
    // Against itself, or by nothing, it is greedy decoding; against another picture it is not.
    assert_eq!(contrastive(&clear, &blurred, 0.0), greedy(&clear));
    assert_eq!(contrastive(&clear, &clear, 1.0), greedy(&clear));
    assert_ne!(contrastive(&clear, &blurred, 5.0), greedy(&clear));
    // The same as a change of scores, with the other session at its side.
    let mut other = toy.begin(&blurred, Plan::new()).unwrap();
    let against = |upcoming: mmlens_core::Upcoming<'_>, scores: &mut [f32]| {
        if upcoming.step > 0 {
            other.step(&upcoming.text[upcoming.text.len() - 1..], Plan::new())?;
        }
        let blurred = other.logits().to_values()?;
        scores.iter_mut().zip(blurred).for_each(|(score, b)| *score = 6.0 * *score - 5.0 * b);
        Ok(())
    };
    let how = Generation { max_new: 6, ..Generation::default() };
    let (rows, _) = Generator::new(&how).scores(against).write(&toy, &clear).unwrap();
    assert_eq!(rows[0].tokens, contrastive(&clear, &blurred, 5.0));
}

/// DoLa: the last layer against an earlier one, of the same pass.
#[test]
fn layers_of_one_step_are_weighed_against_each_other() {
    let toy = Toy::curved(5);
    let inputs = toy.encode(&Sample::prompt(vec![open("square")], "#what")).unwrap();
    let early = "text.blocks.0.resid_post";
    let plan = || Plan::new().read(early).unwrap();
    let mut session = toy.begin(&inputs, plan()).unwrap();
    let mut trace = session.begun().unwrap();
    let mut differed = 0;
    for _ in 0..6 {
        let state = trace.get(early.parse().unwrap()).unwrap();
        let (pos, d) = (state.dims()[1], state.dims()[2]);
        let state = state.part(1, pos - 1, 1).unwrap().to_values().unwrap();
        let state = AnyTensor::from_values(state, &[1, d], &mmlens_core::device::host()).unwrap();
        let early = toy.read_out(Part::Text, state).unwrap().to_values().unwrap();
        let late = session.logits().to_values().unwrap();
        let weighed: Vec<f32> = late.iter().zip(&early).map(|(late, early)| late - early).collect();
        let next = top(&weighed).unwrap().unwrap() as u32;
        differed += usize::from(next != highest(session.logits())[0]);
        trace = session.step(&[next], plan()).unwrap();
    }
    assert!(differed > 0 && session.written()[0].len() == 6);
}

fn between(before: Work, after: Work) -> usize {
    after.blocks - before.blocks
}

const BLOCKS: usize = 2;

#[test]
fn rows_that_have_ended_cost_nothing() {
    let toy = Toy::curved(3);
    let inputs = rows(&toy);
    let free = Generation { max_new: 12, sampling: Sampling::Greedy, stop_at_end: false };
    let all = toy.generate(&inputs, &free).unwrap();
    // An end that comes at different steps.
    let first = |row: usize, id: u32| all[row].tokens.iter().position(|own| *own == id);
    let end = (0..27)
        .find(|id| (0..3).map(|row| first(row, *id)).collect::<std::collections::BTreeSet<_>>().len() == 3);
    let toy = Toy::curved(3).ending(end);
    let before = toy.work();
    let rows = toy.generate(&inputs, &Generation { stop_at_end: true, ..free.clone() }).unwrap();
    let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
    assert!(lengths.iter().any(|length| *length < 12) && lengths[0] != lengths[1], "{lengths:?}");
    for (row, whole) in rows.iter().zip(&all) {
        assert_eq!(row.tokens, whole.tokens[..row.tokens.len()]);
        Tolerance::either(1e-6, 1e-5)
            .check("probabilities", &row.probabilities, &whole.probabilities[..row.tokens.len()])
            .unwrap();
    }
    // A row is in one pass for each of its tokens: the prompt's, and one for each token but the last.
    assert_eq!(between(before, toy.work()), BLOCKS * lengths.iter().sum::<usize>());
    let before = toy.work();
    toy.generate(&inputs, &free).unwrap();
    assert_eq!(between(before, toy.work()), BLOCKS * 3 * 12);
    // The pictures are looked at once, however many continuations there are, and a branch and steps back cost no pass.
    let before = toy.work();
    let four = Plans::new().copies(NonZeroUsize::new(4).unwrap());
    Generator::new(&free).plans(&four).write(&toy, &inputs).unwrap();
    assert_eq!(toy.work().pictures - before.pictures, 3);
    assert_eq!(between(before, toy.work()), BLOCKS * (3 + 4 * 3 * 11));
    let before = toy.work();
    let mut session = toy.begin(&inputs, Plan::new()).unwrap();
    session.step(&[1, 2, 3], Plan::new()).unwrap();
    let mut branch = session.fork();
    branch.back(1).unwrap();
    branch.keep(&[2, 2, 0, 1]).unwrap();
    assert_eq!(between(before, toy.work()), BLOCKS * 3 * 2);
}

#[test]
fn beams_of_a_prompt_that_is_done_cost_nothing() {
    let toy = Toy::curved(3).ending(0..9);
    let inputs = rows(&toy);
    let beams = Beams { early_stopping: true, ..Beams::new(3) };
    let how = Generation { max_new: 12, sampling: Sampling::Beams(beams), stop_at_end: true };
    let passes = |rows: &Inputs| {
        let before = toy.work();
        let made = toy.generate(rows, &how).unwrap();
        (between(before, toy.work()), made)
    };
    let (together, made) = passes(&inputs);
    let singles = [("square", "#what"), ("", "abc")].map(|(picture, words)| {
        let pictures = if picture.is_empty() { Vec::new() } else { vec![open(picture)] };
        toy.encode(&Sample::prompt(pictures, words)).unwrap()
    });
    let mut alone = 0;
    for (row, single) in [(0, &singles[0]), (2, &singles[1])] {
        let (cost, own) = passes(single);
        assert_eq!(own[0].tokens, made[row].tokens);
        alone += cost;
    }
    let sample = Sample::prompt(vec![open("wide"), open("tall")], "a#b#c");
    let (cost, own) = passes(&toy.encode(&sample).unwrap());
    assert_eq!(own[0].tokens, made[1].tokens);
    assert_eq!(together, alone + cost);
    assert!(together < BLOCKS * (3 + 3 * 3 * 11), "{together}");
}

/// Once as many answers have ended as there are beams, a search that is to stop early goes on no further.
#[test]
fn an_early_stop_of_beams_costs_fewer_passes() {
    let (mut early, mut late) = (0, 0);
    for seed in 0..8 {
        let toy = Toy::curved(seed).ending(0..9);
        let inputs = rows(&toy);
        for early_stopping in [true, false] {
            // Longer answers are so much better that none of those on their way is beyond hope.
            let beams = Beams { early_stopping, length_penalty: 4.0, ..Beams::new(2) };
            let how = Generation { max_new: 12, sampling: Sampling::Beams(beams), stop_at_end: true };
            let before = toy.work();
            toy.generate(&inputs, &how).unwrap();
            *(if early_stopping { &mut early } else { &mut late }) += between(before, toy.work());
        }
    }
    assert!(3 * early < 2 * late, "{early} and {late}");
}

/// Plans name rows by the number of the answer, whichever answers have ended.
#[test]
fn a_plan_finds_its_row_when_others_have_ended() {
    let toy = Toy::curved(3);
    let inputs = rows(&toy);
    let free = Generation { max_new: 8, sampling: Sampling::Greedy, stop_at_end: false };
    let place = "text.blocks.0.resid_post";
    let plans = |row: usize| {
        let flip = Plan::new().change(place, Region::all().rows([row]), Change::Scale(-1.0)).unwrap();
        Plans::new().during(Steps::Answer, flip).during(Steps::Every, Plan::new().read(place).unwrap())
    };
    let write = |toy: &Toy, how: &Generation, row| {
        Generator::new(how).plans(&plans(row)).write(toy, &inputs).unwrap()
    };
    let mut held = 0;
    for row in 0..3 {
        let (whole, _) = write(&toy, &free, row);
        for end in 0..26 {
            let toy = Toy::curved(3).ending([end]);
            let (made, traces) = write(&toy, &Generation { stop_at_end: true, ..free.clone() }, row);
            for (own, whole) in made.iter().zip(&whole) {
                assert_eq!(own.tokens, whole.tokens[..own.tokens.len()], "end {end}, row {row}");
            }
            // Its rows are those of the answers that have a token at this step.
            for (step, trace) in traces {
                let living = made.iter().filter(|own| own.tokens.len() > step).count();
                assert_eq!(trace.get(place.parse().unwrap()).unwrap().dims()[0], living);
                held += usize::from(living < 3);
            }
        }
    }
    assert!(held > 20, "{held}");
    let error = Generator::new(&free).plans(&plans(3)).write(&toy, &inputs).unwrap_err();
    assert_eq!(error.to_string(), "`text.blocks.0.resid_post`: batch 3 is out of range, there are 3");
}

#[test]
fn a_change_of_scores_is_made_before_the_choice() {
    let toy = Toy::curved(3);
    let inputs = rows(&toy);
    let draw = Sampling::Draw { temperature: 1.5, top_p: 1.0, seed: Seed(2) };
    for sampling in [Sampling::Greedy, draw, Sampling::Beams(Beams::new(3))] {
        let how = Generation { max_new: 8, sampling, stop_at_end: true };
        let plain = toy.generate(&inputs, &how).unwrap();
        let never = plain[0].tokens[0];
        let mut seen = Vec::new();
        let forbid = |upcoming: mmlens_core::Upcoming<'_>, scores: &mut [f32]| {
            assert_eq!(upcoming.text.len(), inputs.positions() + upcoming.step);
            seen.push((upcoming.row, upcoming.step));
            scores[never as usize] = f32::NEG_INFINITY;
            Ok(())
        };
        let (made, _) = Generator::new(&how).scores(forbid).write(&toy, &inputs).unwrap();
        assert!(made.iter().all(|row| !row.tokens.contains(&never) && row.tokens.len() == 8));
        assert!(seen.contains(&(2, 7)) && seen.iter().all(|(row, step)| *row < 3 && *step < 8));
        let spoil = |_: mmlens_core::Upcoming<'_>, scores: &mut [f32]| {
            scores[4] = f32::NAN;
            Ok(())
        };
        let error = Generator::new(&how).scores(spoil).write(&toy, &inputs).unwrap_err().to_string();
        assert!(error.starts_with("`changed scores of token 0` holds NaN at [0, 4]"), "{error}");
        let stop = |_: mmlens_core::Upcoming<'_>, _: &mut [f32]| {
            Err(SubjectError::Batch { reason: "enough".to_owned() })
        };
        let error = Generator::new(&how).scores(stop).write(&toy, &inputs).unwrap_err();
        assert_eq!(error, SubjectError::Batch { reason: "enough".to_owned() });
    }
}

#[test]
fn what_a_search_does_not_offer_is_refused() {
    let toy = Toy::curved(3);
    let inputs = rows(&toy);
    let said = |beams: Beams, plans: &Plans| {
        let how = Generation { max_new: 3, sampling: Sampling::Beams(beams), stop_at_end: true };
        Generator::new(&how).plans(plans).write(&toy, &inputs).unwrap_err().to_string()
    };
    let none = Plans::new();
    assert_eq!(
        said(Beams::new(1), &none),
        "`curved toy` cannot generate: `beams` = 1, expected at least 2 (greedy decoding is one beam)"
    );
    let odd = Beams { length_penalty: f64::NAN, ..Beams::new(2) };
    assert_eq!(
        said(odd, &none),
        "`curved toy` cannot generate: `length_penalty` = NaN, expected a finite number"
    );
    assert_eq!(
        said(Beams::new(2), &Plans::new().copies(NonZeroUsize::new(2).unwrap())),
        "`curved toy` cannot generate: a search by beams has no continuations beside the best"
    );
    let flip = Plan::new().change("text.embed", Region::all().rows([0]), Change::Zero).unwrap();
    assert_eq!(
        said(Beams::new(2), &Plans::new().during(Steps::Answer, flip)),
        "`curved toy` cannot generate: a plan names rows, which a search by beams reorders from step to step"
    );
}

/// A plan that names no rows holds for every beam.
#[test]
fn a_search_carries_out_plans() {
    let toy = Toy::curved(3);
    let inputs = rows(&toy);
    let how = Generation { max_new: 4, sampling: Sampling::Beams(Beams::new(2)), stop_at_end: true };
    let place = "text.blocks.1.mlp_out";
    let zero = Plan::new().change(place, Region::all(), Change::Zero).unwrap().read(place).unwrap();
    let plans = Plans::new().during(Steps::Every, zero);
    let (made, traces) = Generator::new(&how).plans(&plans).write(&toy, &inputs).unwrap();
    let rows: Vec<usize> =
        traces.values().map(|trace| trace.get(place.parse().unwrap()).unwrap().dims()[0]).collect();
    assert_eq!(rows, [3, 6, 6, 6]);
    // The same as a search in a model without that layer.
    let without = Rewired::new(&toy, |inputs, run| toy.forward(inputs, run));
    assert!(without.begin(&inputs, Plan::new()).is_err());
    assert_ne!(made, toy.generate(&inputs, &how).unwrap());
}

#[test]
fn what_does_not_generate_has_no_session() {
    let subject = mmlens_zoo::open(fixtures().join("vit-a/model"), &Device::default()).unwrap();
    let inputs = subject.encode(&Sample::new(vec![open("square")], Words::Nothing)).unwrap();
    let error = subject.begin(&inputs, Plan::new()).map(|_| ()).unwrap_err();
    assert!(matches!(&error, SubjectError::Unsupported { what, .. } if what == "generation"), "{error}");
}

/// A model whose positions were learned takes tokens up to the last of them, and then says so.
#[test]
fn a_session_ends_with_the_positions_of_its_model() {
    let subject = mmlens_zoo::open(fixtures().join("gpt2-a/model"), &Device::default()).unwrap();
    let prompts = ["Go on", "the cat, the dog and the cat"];
    let singles = prompts.map(|text| subject.encode(&Sample::prompt(Vec::new(), text)).unwrap());
    let batch = Inputs::batch(&singles, subject.pad()).unwrap();
    let mut session = subject.begin(&batch, Plan::new()).unwrap();
    let room = session.room().unwrap().to_vec();
    assert_eq!(room[0] - room[1], singles[1].positions() - singles[0].positions());
    for _ in 0..room[1] {
        session.step(&[1, 2], Plan::new()).unwrap();
    }
    let error = session.step(&[1, 2], Plan::new()).unwrap_err();
    assert_eq!(error, SubjectError::Session(SessionError::NoRoom { row: 1 }));
    assert_eq!(error.to_string(), "row 1 cannot go on: it has taken the model's last position");
    session.keep(&[0]).unwrap();
    session.step(&[1], Plan::new()).unwrap();
    session.back(2).unwrap();
    assert_eq!(session.room().unwrap(), [room[0] - room[1] + 1]);
}
