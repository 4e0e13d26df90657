//! Questions of the shapes world whose causes are known.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use mmlens::core::burn::tensor::Device;
use mmlens::data::shapes::{Edit, Kind, ShapesCases, Split, World};
use mmlens::design::{
    CausalMediation, CfVqa, Emap, ModalityEffectsOverCases, causal_mediation, cf_vqa, emap,
    modality_effects_over_cases,
};
use mmlens::engine::Positions;
use mmlens::prelude::*;
use mmlens::zoo::shipped;

/// What was found.
pub(crate) struct Causes {
    pub(crate) text: String,
    /// Mean effects of pictures, words and their interaction: of every kind of question.
    pub(crate) effects: Vec<(Kind, Vec<f32>)>,
    /// Shares of right answers, by name: of every kind.
    pub(crate) accuracy: Vec<(Kind, Vec<(String, f32)>)>,
    /// Shares of the variance of pictures, words and their interaction: of every kind.
    pub(crate) variance: Vec<(Kind, Vec<f32>)>,
    /// TE; then NIE, NDE, interaction and sum of NIE of the chosen heads, of all, and of random ones.
    pub(crate) total: f32,
    pub(crate) joint: Vec<f32>,
}

fn questions(kind: Kind, count: usize) -> Result<ManyCases> {
    Ok(ManyCases::over(ShapesCases::new(World::new(7), Split::Test, kind, count))?)
}

/// Names of the first axis, each with so many numbers.
fn named(found: &Finding, table: &str) -> Result<Vec<(String, Vec<f32>)>> {
    let table = found.table(table)?;
    let (values, axis) = (table.as_numbers().context("numbers")?, table.axes().first().context("an axis")?);
    let wide = values.len() / axis.len().max(1);
    let rows = values.chunks(wide.max(1)).enumerate();
    Ok(rows.map(|(at, row)| (axis.label(at).unwrap_or_default(), row.to_vec())).collect())
}

pub(crate) fn causes(count: usize) -> Result<Causes> {
    let subject = shipped::shapes(&Device::default())?;
    let (mut text, mut effects, mut accuracy) = (String::new(), Vec::new(), Vec::new());
    let mut additive = Vec::new();
    let often = ModalityEffectsOverCases::new(modality_effects_over_cases::Settings::default())?;
    let prior = CfVqa::new(cf_vqa::Settings::default())?;
    for kind in [Kind::Colour, Kind::Count, Kind::Existence] {
        let data = questions(kind, count)?;
        let found = often.run(&subject, &data)?;
        writeln!(text, "\n{kind}, {count} questions: effects on the log-odds of what is answered")?;
        let (means, ends) = (named(&found, "effect")?, named(&found, "interval")?);
        let flips = named(&found, "sign flips")?;
        for (((name, mean), (_, ends)), (_, flip)) in means.iter().zip(&ends).zip(&flips) {
            let value = mean.first().context("a mean")?;
            writeln!(text, "  {name:12} {value:6.2}, 95 % {ends:.2?}, by drawn signs {flip:.2?}")?;
        }
        if found.find("share").is_some() {
            for (name, share) in named(&found, "share")? {
                writeln!(text, "  share of {name:12} {share:.2?}")?;
            }
        }
        found.cautions().iter().for_each(|caution| text.push_str(&format!("  {caution}\n")));
        effects.push((kind, means.into_iter().filter_map(|(_, mean)| mean.first().copied()).collect()));

        let found = prior.run(&subject, &data)?;
        writeln!(text, "{kind}: shares of right answers")?;
        let rows = named(&found, "accuracy")?;
        let rows: Vec<(String, f32)> =
            rows.into_iter().filter_map(|(name, row)| Some((name, *row.first()?))).collect();
        for (name, right) in &rows {
            writeln!(text, "  {name:20} {right:.3}")?;
        }
        writeln!(text, "  constants {:.2?}", named(&found, "constant")?)?;
        found.cautions().iter().for_each(|caution| text.push_str(&format!("  {caution}\n")));
        accuracy.push((kind, rows));

        let found = Emap::new(emap::Settings { cases: count, ..Default::default() })?.run(&subject, &data)?;
        writeln!(text, "{kind}: right answers of an additive function")?;
        for (name, row) in named(&found, "accuracy")? {
            writeln!(text, "  {name:20} {row:.3?}")?;
        }
        writeln!(text, "  variance {:.3?}", named(&found, "variance")?)?;
        found.cautions().iter().for_each(|caution| text.push_str(&format!("  {caution}\n")));
        additive.push((kind, found.table("variance")?.as_numbers().context("numbers")?.to_vec()));
    }
    let (scene, question) = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 1).scene(0)?;
    let flips = scene.flips(&question.text);
    let made = flips.iter().find(|made| matches!(made.edit, Edit::Colour(_))).context("a new colour")?;
    let settings = causal_mediation::Settings { positions: Positions::Last, ..Default::default() };
    let found = CausalMediation::new(settings)?.run(&subject, &made.pair(&question.text))?;
    let total = found.table("total")?.as_scalar().context("a number")?;
    writeln!(
        text,
        "\n{} ({}, object {} becomes {}): TE {total:.3}",
        question.text, question.answer, made.object, made.edit
    )?;
    for (name, row) in named(&found, "joint")? {
        writeln!(text, "  {name:8} NIE, NDE, interaction, sum of NIE {row:.3?}")?;
    }
    writeln!(text, "  chosen {:?}", found.table("chosen")?.as_texts().unwrap_or_default())?;
    writeln!(text, "  p {:.3}", found.table("p")?.as_scalar().context("a number")?)?;
    for (layer, row) in named(&found, "nie")? {
        writeln!(text, "  layer {layer}: NIE of its heads {row:.2?}")?;
    }
    found.cautions().iter().for_each(|caution| text.push_str(&format!("  {caution}\n")));
    let joint = found.table("joint")?.as_numbers().context("numbers")?.to_vec();
    Ok(Causes { text, effects, accuracy, variance: additive, total, joint })
}
