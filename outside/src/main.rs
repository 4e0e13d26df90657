//! What a program can do that depends on `mmlens` alone: each part checks what it says.
//!
//! ```text
//! cargo run --manifest-path outside/Cargo.toml
//! ```

mod method;
mod subject;

use std::error::Error;

use mmlens::prelude::*;

use method::{Share, ShareSettings};
use subject::Mixture;

type Done = Result<(), Box<dyn Error>>;

pub(crate) fn main() -> Done {
    let device = Device::flex();
    let shapes = mmlens::zoo::shipped::shapes(&device)?;
    let picture = Picture::from_bytes("scene.png", include_bytes!("../../docs/pictures/scene.png"))?;
    let sample = Sample::ask(picture, "what colour is the triangle?");
    reads_an_edit_and_a_gradient(&shapes, &sample)?;
    stock_methods(&shapes, &sample)?;
    a_method_of_its_own(&shapes, &sample)?;
    a_subject_of_its_own()?;
    a_steered_answer(&shapes, &sample)?;
    a_sweep_with_its_own_metric(&shapes, &sample)?;
    a_fitted_probe()?;
    println!("all of it works");
    Ok(())
}

fn check(what: &str, right: bool) -> Done {
    println!("{} {what}", if right { "yes" } else { "NO " });
    if right { Ok(()) } else { Err(what.into()) }
}

fn reads_an_edit_and_a_gradient(subject: &dyn Subject, sample: &Sample) -> Done {
    let inputs = subject.encode(sample)?;
    let token = top_token(subject, &inputs)?;
    check("the triangle is yellow", subject.token(token) == "yellow")?;
    let plan = || -> Result<Plan, HookError> {
        Plan::new()
            .read("text.blocks.*.resid_post")?
            .grad("vision.pixels")
            .map(|p| p.objective(Objective::logit(token)))
    };
    let whole = subject.run(&inputs, plan()?)?;
    let cut = subject
        .run(&inputs, plan()?.change("text.blocks.1.attn.z", Region::all().heads([2]), Change::Zero)?)?;
    let (before, after) = (whole.scores()?[0], cut.scores()?[0]);
    let gradient = whole.grad("vision.pixels".parse()?)?.to_values()?;
    check(
        "a head counts, and pixels have a gradient",
        before != after && gradient.iter().any(|g| *g != 0.0),
    )?;
    let first = whole.get("text.blocks.0.resid_post".parse()?)?.to_values()?;
    let same = cut.get("text.blocks.0.resid_post".parse()?)?.to_values()?;
    check("what lies before the edit is as it was", first == same)
}

fn stock_methods(subject: &dyn Subject, sample: &Sample) -> Done {
    use mmlens::model::{
        IntegratedGradients, LogitLens, Occlusion, integrated_gradients, logit_lens, occlusion,
    };
    let case = Case::new(sample.clone());
    let ig =
        IntegratedGradients::new(integrated_gradients::Settings { steps: Some(64), ..Default::default() })?;
    let cells = occlusion::Settings {
        picture: Some(occlusion::Cover::Grid { rows: 4, cols: 4 }),
        ..Default::default()
    };
    let lens = LogitLens::new(logit_lens::Settings { top: 3, ..Default::default() })?;
    let (ig, drops) = (ig.run(subject, &case)?, Occlusion::new(cells)?.run(subject, &case)?);
    let gap = ig.table("relative completeness gap")?.as_scalar().ok_or("no gap")?;
    check("contributions add up", gap < 0.05)?;
    let map = drops.table("picture")?.to_array().ok_or("no numbers")?;
    check("tables are arrays", map.shape() == [4, 4])?;
    let words = lens.run(subject, &case)?;
    let last = words.table("words")?.as_texts().and_then(|words| words.iter().rev().nth(2).cloned());
    check("the lens ends in the answer", last.as_deref() == Some("yellow"))?;
    // The same through the table, by name, and several at once.
    let given = Given::new(case)?;
    let named = METHODS.iter().find(|method| method.is_called("ig")).ok_or("no ig")?;
    let again =
        named.make(mmlens::serde_json::json!({ "steps": 64 }))?.run_given(&On::new(subject), &given)?;
    check("a method by name gives the same bits", again.differences(&ig).is_empty())?;
    let all: Vec<Finding> =
        explain(&Method::first(METHODS)?, On::new(subject), &given).collect::<Result<_, _>>()?;
    check("a first look takes several", all.len() > 3)
}

fn a_method_of_its_own(subject: &dyn Subject, sample: &Sample) -> Done {
    let mine = Share::new(ShareSettings { block: 0, ..ShareSettings::default() })?;
    let finding = mine.run(subject, &Case::new(sample.clone()))?;
    let shares = finding.table("share")?.as_numbers().ok_or("no numbers")?;
    check("a method of its own", shares.iter().all(|share| (0.0..=1.0).contains(share)))?;
    let row = Method::of::<Share>();
    let settings = mmlens::serde_json::to_value(&finding.provenance.settings)?;
    let made = row.make(settings)?;
    let again = made.run_given(&On::new(subject), &Given::new(Case::new(sample.clone()))?)?;
    check("its settings read back", again.differences(&finding).is_empty())
}

fn a_subject_of_its_own() -> Done {
    let mixture = Mixture::new()?;
    let inputs = mixture.encode(&Sample::text("abdc"))?;
    let router = "text.blocks.0.mlp_in.moe.router";
    let trace = mixture.run(&inputs, Plan::new().read(router)?)?;
    let shares = trace.get(router.parse()?)?.to_values()?;
    check(
        "a router's shares sum to one",
        shares.chunks(2).all(|pair| (pair[0] + pair[1] - 1.0).abs() < 1e-6),
    )?;
    let one = Alteration::parse("text.blocks.0.mlp_in.moe.router[expert=0]=zero")?;
    let altered = Altered::new(&mixture, [one])?;
    let plan = || Plan::new().to_output();
    let logits = |subject: &dyn Subject| -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(AnyTensor::new(subject.run(&inputs, plan())?.output().at(Position::Last)?).to_values()?)
    };
    check("without an expert it says something else", logits(&mixture)? != logits(&altered)?)?;
    let case = Case { sample: Sample::text("abdc"), target: Target::Token(3) };
    let along = Some(vec![mmlens::engine::End::new(router.parse()?, Baseline::Zero)]);
    let settings =
        mmlens::model::integrated_gradients::Settings { along, steps: Some(128), ..Default::default() };
    let found = mmlens::model::IntegratedGradients::new(settings)?.run(&mixture, &case)?;
    let gap = found.table("completeness gap")?.as_scalar().ok_or("no gap")?;
    check("a stock method goes to its own site", gap.abs() < 1e-4)?;
    // Which words decide what the router gives the second expert at the last of them.
    let last = Region::all().positions([inputs.positions() - 1]).of(AxisName::Expert, [1]);
    let share = Objective::from(Reading::at(router.parse()?).within(last));
    let case = Case { target: Target::Objective(share), ..case };
    let entered = "text.blocks.0.resid_pre".parse()?;
    let along = Some(vec![mmlens::engine::End::new(entered, Baseline::Zero)]);
    let settings =
        mmlens::model::integrated_gradients::Settings { along, steps: Some(128), ..Default::default() };
    let found = mmlens::model::IntegratedGradients::new(settings)?.run(&mixture, &case)?;
    let scalar = |name: &str| -> Result<f32, Box<dyn Error>> {
        Ok(found.table(name)?.as_scalar().ok_or("no scalar")?)
    };
    let (value, gap) = (scalar("objective")?, scalar("completeness gap")?);
    check("a router is an objective", Some(&value) == shares.last() && gap.abs() < 1e-4)
}

fn a_steered_answer(subject: &dyn Subject, sample: &Sample) -> Done {
    let inputs = subject.encode(sample)?;
    let site = "text.blocks.2.resid_post";
    let other = subject.encode(&Sample {
        words: Words::Question("what shape is left of the circle?".to_owned()),
        ..sample.clone()
    })?;
    let last = |inputs: &Inputs| -> Result<AnyTensor, Box<dyn Error>> {
        let trace = subject.run(inputs, Plan::new().read(site)?)?;
        Ok(trace.get(site.parse()?)?.part(1, inputs.positions() - 1, 1)?)
    };
    let direction: Tensor<3> = last(&other)?.rank_of(site)? - last(&inputs)?.rank_of(site)?;
    let steer = Alteration::new(site, Region::all(), Change::Add(AnyTensor::new(direction.mul_scalar(4.0))))?;
    let steered = Altered::new(subject, [steer])?;
    let how = Generation { max_new: 4, ..Generation::default() };
    let texts = [subject.generate(&inputs, &how)?, steered.generate(&inputs, &how)?];
    let [plain, changed] = texts.map(|rows| rows.into_iter().map(|row| row.text).collect::<String>());
    println!("    `{}` becomes `{}`", plain.trim(), changed.trim());
    check("an answer that is steered is another", plain != changed)
}

/// Whether a text begins with `a`, read off the stream of the model of one's own.
fn a_fitted_probe() -> Done {
    use mmlens::model::linear_probe::{LinearProbe, Probe, Settings};
    let mixture = Mixture::new()?;
    let text = |i: usize| format!("{}{}", ["a", "c"][i % 2], ["b", "d", "e"][i % 3]);
    let data = from_fn("texts", 30, |i| Ok(Case { sample: Sample::text(text(i)), target: Target::Token(0) }));
    let data = Annotated::new(data, ["a", "c"], (0..30).map(|i| i % 2).collect())?;
    let settings = Settings {
        site: "text.blocks.0.resid_post".parse()?,
        positions: mmlens::engine::Positions::At(vec![0]),
        ..Settings::default()
    };
    let learned = LinearProbe::new(settings)?.learn(&On::new(&mixture), &data, Seed(1))?;
    println!("    {}", learned.ended);
    let scores = learned.finding.table("scores")?.as_numbers().ok_or("no scores")?;
    check("a probe tells the first letter", scores.first() == Some(&1.0))?;
    let file = std::env::temp_dir().join(format!("outside-probe-{}.safetensors", std::process::id()));
    learned.fitted.save(&file)?;
    let again = Probe::load(&file)?;
    std::fs::remove_file(&file)?;
    let case = Case { sample: Sample::text("ab"), target: Target::Token(0) };
    let (one, two) = (learned.fitted.run(&mixture, &case)?, again.run(&mixture, &case)?);
    check("a probe that was saved and loaded says the same", one.differences(&two).is_empty())
}

fn a_sweep_with_its_own_metric(subject: &dyn Subject, sample: &Sample) -> Done {
    let inputs = subject.encode(sample)?;
    let sizes = subject.anatomy().iter().find(|part| part.part == Part::Text).ok_or("no language model")?;
    let axes = vec![
        mmlens::finding::Axis::count(Role::Layer, sizes.blocks),
        mmlens::finding::Axis::count(Role::Head, sizes.heads),
    ];
    let entropy = Metric::of("entropy", Unit::Nat, |output| {
        let logits = AnyTensor::new(output.at(Position::Last)?);
        let width = logits.dims()[1];
        let row = |row: &[f32]| {
            // no NaN: one would be in the sum, too
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let shares: Vec<f64> = row.iter().map(|l| f64::from(l - most).exp()).collect();
            let sum: f64 = shares.iter().sum();
            shares.iter().map(|p| -(p / sum) * (p / sum).max(1e-300).ln()).sum::<f64>() as f32
        };
        Ok(logits.to_values()?.chunks(width).map(row).collect())
    });
    let zeroed = |at: &[usize]| vec![Edit::zero(Site::block(Part::Text, at[0], Point::Z)).heads([at[1]])];
    let sweep = Sweep::over(axes, zeroed).measure(entropy);
    let mut progress = Progress::new(&Unwatched, "heads", sweep.len());
    let swept = sweep.run(subject, &inputs, &Memory::default(), &mut progress)?;
    let measured = swept.measured.first().ok_or("nothing measured")?;
    check(
        "a sweep measures what it is told",
        measured.values.len() == sizes.blocks * sizes.heads && measured.values.iter().all(|e| *e >= 0.0),
    )
}
