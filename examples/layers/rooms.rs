//! One question, looked at by the methods of the room.

#[path = "../strip.rs"]
mod strip;

use std::fmt::Write as _;

use anyhow::{Context, Result};
use image::DynamicImage;
use mmlens::core::Fit;
use mmlens::core::burn::tensor::Device;
use mmlens::data::shapes::{Colour, Kind, ShapesCases, Split, World};
use mmlens::engine::{Indices, Positions};
use mmlens::finding::fixed;
use mmlens::model::activation_patching::{self, ActivationPatching, Places};
use mmlens::model::causal_tracing::{self, CausalTracing};
use mmlens::model::layer_skipping::{self, LayerSkipping};
use mmlens::model::tuned_lens::{self, TunedLens};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

/// What was found.
pub(crate) struct Rooms {
    pub(crate) text: String,
    /// Files by name.
    pub(crate) pictures: Vec<(&'static str, Vec<u8>)>,
    /// Of the tuned lens, depth by depth: the logit lens, itself, a constant.
    pub(crate) divergence: Vec<[f32; 3]>,
    /// The largest share of a semantic pair that one layer of the MLPs brings back, and of two neighbours.
    pub(crate) recovered: [f32; 2],
}

/// Draws of noise.
const DRAWS: usize = 4;

pub(crate) fn rooms() -> Result<Rooms> {
    let subject = shipped::shapes(&Device::default())?;
    let (scene, question) = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 1).scene(0)?;
    let object = *question.evidence.first().context("an object")?;
    let word = scene.objects.get(object).context("an object")?.shape.word();
    let picture = Picture::new("scene", DynamicImage::from(scene.render()));
    let sample = Sample::ask(picture, question.text.as_str());
    let answer = *subject.tokens(&question.answer)?.first().context("an answer")?;
    let case = Case { sample: sample.clone(), target: Target::Token(answer) };
    let mut text = format!("{} {}\n", question.text, question.answer);

    let skipped = LayerSkipping::new(layer_skipping::Settings::default())?.run(&subject, &case)?;
    writeln!(text, "\nwithout a layer the logit of `{}` changes by", question.answer)?;
    writeln!(text, "  {}", listed(numbers(&skipped, "change")?))?;

    let mut trace = |corrupted: Positions, title: &str| -> Result<Finding> {
        let settings = causal_tracing::Settings {
            corrupted: Some(corrupted),
            points: vec![Point::ResidPost],
            draws: DRAWS,
            ..Default::default()
        };
        let found = CausalTracing::new(settings)?.run(&subject, &case)?;
        let total = found.table("total effect")?.as_scalar().context("a number")?;
        writeln!(
            text,
            "\nnoise on {title} takes {total:.3} of its probability; the stream that brings most of it back"
        )?;
        let table = found.table("resid_post")?;
        for layer in 0..table.shape().first().copied().unwrap_or(0) {
            let (at, value) = best(table, layer)?;
            let name = table.axes().get(1).and_then(|axis| axis.label(at)).unwrap_or_default();
            writeln!(text, "  behind block {layer}: {value:.3} at position {at} `{name}`")?;
        }
        Ok(found)
    };
    trace(Positions::Phrase(word.to_owned()), &format!("the word `{word}`"))?;
    let seen = trace(Positions::Pictures, "the picture")?;

    let other = Colour::ALL.iter().find(|own| own.word() != question.answer).context("another colour")?;
    let edited = Picture::new("recoloured", DynamicImage::from(scene.recoloured(object, *other).render()));
    let corrupted = Sample { pictures: vec![edited], ..sample.clone() };
    let against = *subject.tokens(other.word())?.first().context("another answer")?;
    let target = Target::Objective(Objective::logit_difference(answer, against));
    let pair = Pair { clean: Case { sample, target }, corrupted };
    let mut recovered = [0.0; 2];
    writeln!(
        text,
        "\nthe same scene with that object {other}: what the MLPs bring back of `{}` over `{other}`, all positions",
        question.answer
    )?;
    for (slot, window) in recovered.iter_mut().zip([1, 2]) {
        let settings = activation_patching::Settings {
            points: vec![Point::MlpOut],
            places: Places::Together,
            window,
            ..Default::default()
        };
        let found = ActivationPatching::new(settings)?.run(&subject, &pair)?;
        let values = numbers(&found, "mlp_out")?;
        writeln!(text, "  window {window}: {}", listed(values))?;
        *slot = values.iter().copied().fold(f32::NEG_INFINITY, f32::max); // no NaN: a finding's numbers are finite
    }

    let data = ShapesCases::new(World::new(7), Split::Train, Kind::Colour, 40);
    let settings = tuned_lens::Settings { steps: 25, batch: 6, ..Default::default() };
    let learned = TunedLens::new(settings)?.learn(&On::new(&subject), &data, Seed(1))?;
    let table = learned.finding.table("divergence")?;
    let divergence: Vec<[f32; 3]> =
        table.as_numbers().context("numbers")?.chunks_exact(3).map(|own| [own[0], own[1], own[2]]).collect();
    writeln!(text, "\nwhat is missed of the last layer, in nats: logit lens, tuned lens, a constant")?;
    for (depth, [logit, tuned, constant]) in divergence.iter().enumerate() {
        writeln!(text, "  depth {depth}: {logit:.3} {tuned:.3} {constant:.3}")?;
    }
    let lens = learned.fitted.showing(|own| (own.positions, own.layers) = (Positions::Last, Indices::All))?;
    let shown = lens.run(&subject, &case)?;
    let words = shown.table("words")?;
    let said: Vec<&str> = (0..words.shape()[0])
        .map(|depth| words.get_text(&[depth, 0, 0]))
        .collect::<Option<_>>()
        .context("words")?;
    writeln!(text, "at the last position it would say, depth by depth: {}", said.join(", "))?;

    let pictures = vec![("tracing.png", drawn(&scene.render(), &seen)?)];
    Ok(Rooms { text, pictures, divergence, recovered })
}

/// The picture, and beside it for each layer what the patches bring back.
fn drawn(scene: &image::RgbImage, found: &Finding) -> Result<Vec<u8>> {
    let table = found.table("resid_post")?;
    let layers = table.shape().first().copied().unwrap_or(0);
    let mut panels = vec![scene.clone()];
    for layer in 0..layers {
        panels.push(strip::over(scene, &table.slice(0, layer)?)?);
    }
    strip::png(&panels, panels.len(), 2)
}

fn numbers<'a>(found: &'a Finding, table: &str) -> Result<&'a [f32]> {
    found.table(table)?.as_numbers().context("a table of numbers")
}

fn listed(values: &[f32]) -> String {
    values.iter().map(|value| fixed(*value, 3)).collect::<Vec<_>>().join(" ")
}

/// The place of a layer where most is brought back.
fn best(table: &Labelled, layer: usize) -> Result<(usize, f32)> {
    let wide = table.shape().get(1).copied().unwrap_or(0);
    let row = &table.as_numbers().context("numbers")?[layer * wide..(layer + 1) * wide];
    let at = mmlens::finding::top(row)?.context("a position")?;
    Ok((at, row[at]))
}
