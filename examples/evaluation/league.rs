//! Methods beside baselines on the shapes world and the tones world, where it is known which object or sound each answer rests on.

#[path = "../strip.rs"]
mod strip;

use std::path::Path;

use anyhow::{Context, Result};
use mmlens::core::{Cases, Mask, SubjectError};
use mmlens::data::shapes::{Detail, Kind, Mentioned, SIDE, ShapesCases, Split, World};
use mmlens::data::tones;
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

/// Data sets in turn: the first case of each, then the second of each.
struct InTurn {
    name: String,
    all: Vec<Box<dyn Cases>>,
    count: usize,
}

impl InTurn {
    fn at(&self, index: usize) -> Result<(&dyn Cases, usize), SubjectError> {
        let none = || SubjectError::NoCase { data: self.name.clone(), index, len: self.count };
        let own = self.all.get(index % self.all.len()).filter(|_| index < self.count).ok_or_else(none)?;
        Ok((own.as_ref(), index / self.all.len()))
    }
}

impl Cases for InTurn {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.count
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let (own, at) = self.at(index)?;
        own.case(at)
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        let (own, at) = self.at(index)?;
        own.masks(at)
    }

    fn hash(&self) -> Result<String, SubjectError> {
        let each: Vec<String> = self.all.iter().map(|own| own.hash()).collect::<Result<_, _>>()?;
        Ok(mmlens::files::sha256(json!([self.name, self.count, each]).to_string()))
    }
}

/// Captions "a red circle" of the object that a question about colours is about.
struct Captions(ShapesCases);

impl Cases for Captions {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn case(&self, index: usize) -> Result<Case, SubjectError> {
        let (scene, question) = self.0.scene(index)?;
        let object = question.evidence.first().and_then(|object| scene.objects.get(*object));
        let missing =
            || SubjectError::Annotation { data: self.0.name().to_owned(), reason: "no evidence".to_owned() };
        let caption = Mentioned::of(object.ok_or_else(missing)?, Detail::ColourAndShape).to_string();
        let sample = Sample { words: Words::Texts(vec![caption]), ..self.0.case(index)?.sample };
        Ok(Case { sample, target: Target::Objective(Objective::Similarity) })
    }

    fn masks(&self, index: usize) -> Result<Vec<Mask>, SubjectError> {
        self.0.masks(index)
    }

    fn hash(&self) -> Result<String, SubjectError> {
        self.0.hash()
    }
}

/// Cases of the world that a model knows, each about one object or sound, with the places of that.
///
/// Of pictures questions about the colour, shape, size and place of an object; of captions such of an object that questions about colours are about; of
/// recordings questions about the pitch, timbre, length and loudness of a sound.
fn evidence(model: &str, count: usize) -> Result<InTurn> {
    let (seed, name) = (7, |world: &str, what: &str| format!("{world} 7, test, {what}"));
    let shapes = |kind, count| ShapesCases::new(World::new(seed), Split::Test, kind, count);
    let each = count.div_ceil(4);
    Ok(match model {
        "shapes-clip" => InTurn {
            name: name("shapes", "captions about one object"),
            all: vec![Box::new(Captions(shapes(Kind::Colour, count)))],
            count,
        },
        "tones-qwen2-audio" => {
            use tones::Kind::{Length, Loudness, Pitch, Timbre};
            let of = |kind| -> Result<Box<dyn Cases>> {
                let (world, listening) = (tones::World::new(seed), tones::listening()?);
                Ok(Box::new(tones::TonesCases::new(world, tones::Split::Test, kind, each, listening)))
            };
            let all = [Pitch, Timbre, Length, Loudness].into_iter().map(of).collect::<Result<_>>()?;
            InTurn { name: name("tones", "questions about one sound"), all, count }
        }
        _ => {
            let of = |kind| -> Box<dyn Cases> { Box::new(shapes(kind, each)) };
            let all = [Kind::Colour, Kind::Shape, Kind::Size, Kind::Location].into_iter().map(of).collect();
            InTurn { name: name("shapes", "questions about one object"), all, count }
        }
    })
}

/// On the picture alone, against its mean colour; on the recording alone, against the means of its filters and silence.
fn contestants(model: &str, extent: Extent) -> Result<Vec<Contestant>> {
    let heard = model == "tones-qwen2-audio";
    let entrance = match heard {
        true => Site::of(Part::Audio, Point::Mel),
        false => Site::of(Part::Vision, Point::Pixels),
    };
    let along = vec![End::new(entrance, Baseline::Mean)];
    let path = integrated_gradients::Settings {
        along: Some(along),
        steps: Some(if extent == Extent::Whole { 50 } else { 16 }),
        rows: 25,
        ..Default::default()
    };
    let hide = occlusion::Settings { words: None, pixels: Baseline::Mean, rows: 64, ..Default::default() };
    let mut all = vec![Contestant::new("integrated gradients", Box::new(IntegratedGradients::new(path)?))];
    if heard {
        // Bands of equally many filters, by stretches of a tenth of a second.
        let cells = occlusion::Cover::Grid { rows: 8, cols: 30 };
        let by = |sounds| occlusion::Settings { picture: Some(cells), sounds, ..hide.clone() };
        let means = occlusion::Hush::Replace(Baseline::Mean);
        for (name, sounds) in [("silence", occlusion::Hush::Silence), ("means", means)] {
            let method = Box::new(Occlusion::new(by(sounds))?);
            all.push(Contestant::new(format!("occlusion, 8 x 30, {name}"), method));
        }
    } else {
        all.push(Contestant::new("occlusion, 8 x 8", Box::new(Occlusion::new(hide)?)));
    }
    if extent == Extent::Whole {
        let game = kernel_shap::Settings { words: None, samples: 128, rows: 64, ..Default::default() };
        let method = Box::new(KernelShap::new(game)?);
        all.push(Contestant::new("Kernel SHAP, 4 x 4", method));
    }
    if model == "shapes-llava" {
        let rollout = Contestant::new("rollout, decoder", Box::new(AttentionRollout::default()));
        all.push(rollout.with_table("picture"));
    }
    let through = Contestant::new("rollout, through the tower", Box::new(AttentionRollout::default()));
    let what = if heard { "recording" } else { "picture" };
    all.push(through.with_table(format!("{what} through the tower")));
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
    let data = ShapesCases::new(World::new(7), Split::Test, Kind::Colour, 1);
    let (scene, case) = (data.scene(0)?.0.render(), data.case(0)?);
    let evidence = data.masks(0)?.into_iter().next().context("a mask")?;
    let mut marked = scene.clone();
    for (pixel, inside) in marked.pixels_mut().zip(&evidence.inside) {
        *pixel = image::Rgb([if *inside { 255 } else { 0 }; 3]);
    }
    let [on, on_random] = [&subject, &random].map(|subject| On::new(subject.as_ref()));
    let over = |map: &Map| strip::over(&scene, &painted(map)?);
    let (mut above, mut below) = (vec![scene.clone()], vec![marked]);
    for own in contestants("shapes-clip", Extent::Glance)?.iter().take(2) {
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
    let data = evidence(model, cases)?;
    let random = open(Some(Redraw::all(Seed(0))))?;
    let steps = Redraw::cascade(subject.as_ref(), Seed(0));
    let steps = steps.into_iter().map(|(name, redraw)| Ok((name, open(Some(redraw))?)));
    let steps: Vec<(String, Box<dyn Subject>)> = steps.collect::<Result<_>>()?;
    let cascade: Vec<Redrawn<'_>> =
        steps.iter().map(|(name, subject)| Redrawn { name, subject: subject.as_ref() }).collect();
    let models = Models { random: random.as_ref(), redraws: Redraws { cascade: &cascade, each: &[] } };
    let evaluation = Evaluation::new(EvaluationSettings::default(), metrics(extent)?)?;
    let on = On::new(subject.as_ref()).watched(watch);
    Ok(evaluation.run(&on, &data, &contestants(model, extent)?, models, journal)?)
}
