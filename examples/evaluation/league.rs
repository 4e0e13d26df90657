//! Methods beside baselines on the shapes world, where it is known which object each answer rests on.

#[path = "../strip.rs"]
mod strip;

use std::path::Path;

use anyhow::{Context, Result};
use mmlens::core::{Cases, Mask, SubjectError};
use mmlens::data::shapes::{Detail, Kind, Mentioned, SIDE, ShapesCases, Split, World};
use mmlens::engine::End;
use mmlens::evaluation::{
    AnyMetric, Contestant, EdgeFilter, Evaluation, EvaluationSettings, Explainer, METRICS, Map, Models,
    RandomMap, Redrawn, Redraws, Side, Sign,
};
use mmlens::finding::Unit;
use mmlens::model::{
    AttentionRollout, IntegratedGradients, KernelShap, Occlusion, integrated_gradients, kernel_shap,
    occlusion,
};
use mmlens::prelude::*;
use mmlens::serde_json::{Value, json};
use mmlens::zoo::{Opening, Redraw, shipped};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Three methods and the metrics that cost little.
    Glance,
    /// All of both.
    Whole,
}

/// Questions about one object, or captions of it, and the pixels of the object.
struct Evidence {
    name: String,
    kinds: Vec<ShapesCases>,
    count: usize,
    captions: bool,
}

impl Evidence {
    /// Questions about the colour, shape, size and place of an object in turn; of captions "a red circle", of an object that colour questions are
    /// about.
    fn new(world: u64, count: usize, captions: bool) -> Self {
        let all = if captions {
            vec![Kind::Colour]
        } else {
            vec![Kind::Colour, Kind::Shape, Kind::Size, Kind::Location]
        };
        let each = count.div_ceil(all.len());
        let kinds = all
            .into_iter()
            .map(|kind| ShapesCases::new(World::new(world), Split::Test, kind, each))
            .collect();
        let what = if captions { "captions" } else { "questions" };
        Self { name: format!("shapes {world}, test, {what} about one object"), kinds, count, captions }
    }

    fn at(&self, index: usize) -> Result<(&ShapesCases, usize), SubjectError> {
        let none = || SubjectError::NoCase { data: self.name.clone(), index, len: self.count };
        let kind =
            self.kinds.get(index % self.kinds.len()).filter(|_| index < self.count).ok_or_else(none)?;
        Ok((kind, index / self.kinds.len()))
    }
}

impl Cases for Evidence {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.count
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let (kind, at) = self.at(index)?;
        let case = kind.case(at)?;
        if !self.captions {
            return Ok(case);
        }
        let (scene, question) = kind.scene(at)?;
        let object = question.evidence.first().and_then(|object| scene.objects.get(*object));
        let missing =
            || SubjectError::Annotation { data: self.name.clone(), reason: "no evidence".to_owned() };
        let caption = Mentioned::of(object.ok_or_else(missing)?, Detail::ColourAndShape).to_string();
        let sample = Sample { words: Words::Texts(vec![caption]), ..case.sample };
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let (kind, at) = self.at(index)?;
        kind.masks(at)
    }

    fn hash(&self) -> Result<String, SubjectError> {
        let each: Vec<String> = self.kinds.iter().map(Cases::hash).collect::<Result<_, _>>()?;
        Ok(mmlens::files::sha256(json!([self.name, self.count, each]).to_string()))
    }
}

/// On the picture alone, against its mean colour.
fn contestants(decoder: bool, extent: Extent) -> Result<Vec<Contestant>> {
    let along = vec![End::new(Site::of(Part::Vision, Point::Pixels), Baseline::Mean)];
    let path = integrated_gradients::Settings {
        along: Some(along),
        steps: Some(if extent == Extent::Whole { 50 } else { 16 }),
        rows: 25,
        ..Default::default()
    };
    let hide = occlusion::Settings { words: None, pixels: Baseline::Mean, rows: 64, ..Default::default() };
    let mut all = vec![
        Contestant::new("integrated gradients", Box::new(IntegratedGradients::new(path)?)),
        Contestant::new("occlusion, 8 x 8", Box::new(Occlusion::new(hide)?)),
    ];
    if extent == Extent::Whole {
        let game = kernel_shap::Settings { words: None, samples: 128, rows: 64, ..Default::default() };
        all.push(Contestant::new("Kernel SHAP, 4 x 4", Box::new(KernelShap::new(game)?)));
    }
    if decoder {
        all.push(
            Contestant::new("rollout, decoder", Box::new(AttentionRollout::default())).with_table("picture"),
        );
    }
    let through = Contestant::new("rollout, through the tower", Box::new(AttentionRollout::default()));
    all.push(through.with_table("picture through the tower"));
    Ok(all)
}

fn metrics(extent: Extent) -> Result<Vec<Box<dyn AnyMetric>>> {
    let cheap = ["mass-accuracy", "rank-accuracy", "pointing-game", "deletion", "sparseness"];
    let left_out = ["agreement", "independent-randomisation"];
    let asked = |id: &&str| match extent {
        Extent::Glance => cheap.contains(id),
        Extent::Whole => !left_out.contains(id),
    };
    let settings = |id: &str| -> Value {
        match (id, extent) {
            ("sensitivity", _) => json!({ "draws": 2 }),
            ("deletion", Extent::Glance) => json!({ "steps": 8 }),
            _ => json!({}),
        }
    };
    let rows = METRICS.iter().filter(|row| asked(&row.card.id));
    Ok(rows.map(|row| row.make(settings(row.card.id))).collect::<Result<_, _>>()?)
}

/// A shipped model, or one like it with weights drawn anew.
fn open(model: &str, redraw: Option<Redraw>) -> Result<Box<dyn Subject>> {
    let device = Device::flex();
    let on = Opening::from(&device);
    let on = redraw.as_ref().map_or(on, |redraw| on.redrawn(redraw));
    Ok(shipped::named(model, on).ok_or_else(|| anyhow::anyhow!("`{model}` does not ship inside"))??)
}

/// Maps of the first case, in two rows: the scene, integrated gradients, occlusion, the edge filter; below the pixels of what the answer rests on, both methods on the model
/// with random weights, a random map.
pub(crate) fn maps() -> Result<Vec<u8>> {
    let (subject, random) = (open("shapes-llava", None)?, open("shapes-llava", Some(Redraw::all(Seed(0))))?);
    let data = Evidence::new(7, 1, false);
    let (kind, at) = data.at(0)?;
    let (scene, case) = (kind.scene(at)?.0.render(), data.case(0)?);
    let evidence = data.masks(0)?.into_iter().next().context("a mask")?;
    let mut marked = scene.clone();
    for (pixel, inside) in marked.pixels_mut().zip(&evidence.inside) {
        *pixel = image::Rgb([if *inside { 255 } else { 0 }; 3]);
    }
    let [on, on_random] = [&subject, &random].map(|subject| On::new(subject.as_ref()));
    let over = |map: &Map| strip::over(&scene, &painted(map)?);
    let (mut above, mut below) = (vec![scene.clone()], vec![marked]);
    for own in contestants(false, Extent::Glance)?.iter().take(2) {
        for (on, row) in [(&on, &mut above), (&on_random, &mut below)] {
            let finding = own.method.run_given(on, &Given::new(case.clone())?)?;
            row.push(over(&Map::of(&finding, Side::Pictures, None)?)?);
        }
    }
    above.push(over(&EdgeFilter { picture: 0 }.map(&on, &case, Side::Pictures)?)?);
    let random = RandomMap { seed: Seed(0), grid: [8, 8], picture: 0 };
    below.push(over(&random.map(&on, &case, Side::Pictures)?)?);
    let columns = above.len();
    strip::png(&[above, below].concat(), columns, 2)
}

/// A map's mass on each pixel, without signs, as a table of rows and columns.
fn painted(map: &Map) -> Result<Labelled> {
    let values = map.signed(Sign::Absolute).painted(0, [SIDE, SIDE]);
    let edges = |role| Axis::spans(role, 0, (0..SIDE).map(|at| [at as f32, (at + 1) as f32]).collect());
    let values = values.into_iter().map(|value| value as f32).collect();
    Ok(Labelled::numbers("map", Unit::None, vec![edges(Role::Row), edges(Role::Column)], values)?)
}

/// The scores of a shipped model's explanations on some cases; `journal` keeps what is done.
pub(crate) fn scores(
    model: &str,
    (cases, extent): (usize, Extent),
    journal: Option<&Path>,
    watch: &dyn Watch,
) -> Result<Finding> {
    let open = |redraw| open(model, redraw);
    let subject = open(None)?;
    let captions = mmlens::core::kind::compares(subject.as_ref());
    let data = Evidence::new(7, cases, captions);
    let random = open(Some(Redraw::all(Seed(0))))?;
    let steps = Redraw::cascade(subject.as_ref(), Seed(0));
    let steps = steps.into_iter().map(|(name, redraw)| Ok((name, open(Some(redraw))?)));
    let steps: Vec<(String, Box<dyn Subject>)> = steps.collect::<Result<_>>()?;
    let cascade: Vec<Redrawn<'_>> =
        steps.iter().map(|(name, subject)| Redrawn { name, subject: subject.as_ref() }).collect();
    let models = Models { random: random.as_ref(), redraws: Redraws { cascade: &cascade, each: &[] } };
    let evaluation = Evaluation::new(EvaluationSettings::default(), metrics(extent)?)?;
    let on = On::new(subject.as_ref()).watched(watch);
    Ok(evaluation.run(&on, &data, &contestants(!captions, extent)?, models, journal)?)
}
