//! Polls, descriptions and other questions, and what is made of them in different ways.

use std::time::Instant;

use anyhow::{Context, Result};
use mmlens::data::benchmark::{Answer, Chair, Item, Part, Scorer, Tally, YesNo};
use mmlens::data::shapes::{Kind, Named, Poll, Question, SIDE, Scene, Split, Thing, World};
use mmlens::inference::{Caa, Decoder, Decoding, Steering, caa};
use mmlens::prelude::*;
use serde_json::{Value, json};

/// Where answers are steered.
const SITE: &str = "text.blocks.2.resid_post";
/// Things that are asked of a scene, and as many that are not there.
const THINGS: usize = 3;

/// Polls and descriptions of test scenes.
pub(crate) struct Polls {
    scenes: Vec<(Scene, Vec<Item>)>,
    /// Questions of other kinds.
    others: Vec<(usize, Question)>,
    chair: Chair,
}

impl Polls {
    pub(crate) fn new(count: usize) -> Self {
        let world = World::new(7);
        let named = Named::of(&world, 4000);
        let enough = (0..).map(|id| world.scene(Split::Test, id)).filter(|s| s.things().len() >= THINGS);
        let polled = |scene: Scene| {
            let items = Poll::ALL.iter().flat_map(|poll| scene.poll(*poll, &named, THINGS)).collect();
            (scene, items)
        };
        let scenes: Vec<(Scene, Vec<Item>)> = enough.take(count).map(polled).collect();
        let kinds = [Kind::Colour, Kind::Size, Kind::Location, Kind::Count];
        let other = |(at, (scene, _)): (usize, &(Scene, Vec<Item>))| {
            let asked = kinds.iter().filter_map(|kind| scene.ask(*kind, &mut scene.rng(9)));
            asked.map(|question| (at, question)).collect::<Vec<_>>()
        };
        let others = scenes.iter().enumerate().flat_map(other).collect();
        Self { scenes, others, chair: Chair::new(&Thing::words()) }
    }
}

fn sample(scene: &Scene, text: &str, blank: bool) -> Sample {
    let image = if blank {
        image::RgbImage::from_pixel(SIDE as u32, SIDE as u32, image::Rgb([70; 3]))
    } else {
        scene.render()
    };
    Sample::ask(Picture::new(format!("test {}", scene.id), image), text.to_owned())
}

/// One way to answer.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    decoder: Option<(&'static str, Value)>,
    /// How strongly it is steered away from yes, and whether by a random direction.
    steered: Option<(f32, bool)>,
    blank: bool,
    /// Passes for a token.
    passes: &'static str,
}

impl Way {
    const PLAIN: Self = Self { name: "plain", decoder: None, steered: None, blank: false, passes: "1" };

    fn by(name: &'static str, decoder: &'static str, settings: Value, passes: &'static str) -> Self {
        Self { name, decoder: Some((decoder, settings)), passes, ..Self::PLAIN }
    }

    fn steered(name: &'static str, strength: f32, random: bool) -> Self {
        Self { name, steered: Some((strength, random)), ..Self::PLAIN }
    }
}

/// All ways that are compared.
pub(crate) fn ways() -> Vec<Way> {
    vec![
        Way { name: "plain, a blank picture", blank: true, ..Way::PLAIN },
        Way::PLAIN,
        Way::by("vcd", "vcd", json!({}), "2"),
        Way::by("vcd, noise up to 999", "vcd", json!({ "noise": 999 }), "2"),
        Way::by("pai", "pai", json!({}), "2"),
        Way::by("pai, alpha 0.5, gamma 1.5", "pai", json!({ "gamma": 1.5, "alpha": 0.5 }), "2"),
        Way::by("dola, textbook", "dola", json!({}), "1"),
        Way::by("dola, reference", "dola", json!({ "variant": "reference" }), "1"),
        Way::steered("caa, strength 0.5", 0.5, false),
        Way::steered("caa, strength 1", 1.0, false),
        Way::steered("a random direction, strength 1", 1.0, true),
    ]
}

/// The direction from what is there to what is missed: questions about things of either kind, of scenes of the training split, at the position where the answer is
/// decided.
pub(crate) fn fitted(subject: &dyn Subject) -> Result<Steering> {
    let world = World::new(11);
    let (mut cases, mut labels, mut groups) = (Vec::new(), Vec::new(), Vec::new());
    for id in 0..100 {
        let scene = world.scene(Split::Train, id);
        let (there, missed) = (scene.things(), scene.missed());
        for (thing, label) in missed.into_iter().map(|t| (t, 0)).chain(there.into_iter().map(|t| (t, 1))) {
            cases.push(Case::new(sample(&scene, &thing.asked(), false)));
            labels.push(label);
            groups.push(id);
        }
    }
    let count = cases.len();
    let data = from_fn("missed and there", count, move |index| Ok(cases[index].clone()));
    let data = Annotated::new(data, ["missed", "there"], labels)?.grouped(groups)?;
    let settings = caa::Settings { site: SITE.parse()?, ..caa::Settings::default() };
    Ok(Caa::new(settings)?.learn(&On::new(subject), &data, Seed(1))?.fitted)
}

fn steering(of: &Steering, strength: f32, random: Option<u64>) -> Result<Steering> {
    let mut learned = Analysis::settings(of).clone();
    if let Some(draw) = random {
        let length = mmlens::engine::dot(&learned.direction, &learned.direction).sqrt();
        let drawn = mmlens::engine::direction(learned.direction.len(), Seed(draw));
        learned.direction = drawn.into_iter().map(|x| x * length).collect();
    }
    learned.strength = strength;
    Ok(Steering::new(learned)?)
}

fn write(
    subject: &dyn Subject,
    decoder: Option<&dyn Decoder>,
    asked: &Sample,
    max_new: usize,
) -> Result<Generated> {
    let inputs = subject.encode(asked)?;
    let how = Generation { max_new, ..Generation::default() };
    let said = match decoder {
        Some(decoder) => decoder.write(subject, &inputs, &how)?,
        None => subject.generate(&inputs, &how)?,
    };
    said.into_iter().next().context("an answer")
}

/// Counts of one way, over all models.
pub(crate) struct Told {
    name: &'static str,
    passes: &'static str,
    polls: Tally,
    captions: Tally,
    /// Of each model the accuracy of the random poll less that of the adversarial one.
    pub(crate) apart: Vec<f64>,
    tokens: usize,
    seconds: f64,
}

fn figure(part: &Part, name: &str) -> String {
    let Some(figure) = part.figures.iter().find(|figure| figure.name == name) else { return "-".to_owned() };
    match (figure.value, figure.interval) {
        (Some(value), Some([low, high])) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        (Some(value), None) => format!("{value:.3}"),
        _ => "-".to_owned(),
    }
}

impl Told {
    pub(crate) const HEAD: &'static str = "| way | accuracy, random | popular | adversarial | by seed, random less adversarial | F1, adversarial | share of yes, random | adversarial | CHAIRi | CHAIRs | recall | words | passes a token | ms a token |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            passes: "",
            polls: Tally::default(),
            captions: Tally::default(),
            apart: Vec::new(),
            tokens: 0,
            seconds: 0.0,
        }
    }

    /// Asks a model everything.
    pub(crate) fn add(&mut self, asked: &Polls, subject: &dyn Subject, way: &Way, seed: usize) -> Result<()> {
        self.passes = way.passes;
        let decoder: Option<Box<dyn Decoder>> = match (&way.decoder, way.steered) {
            (Some((name, settings)), _) => Some(Decoding::called(name)?.make(settings.clone())?),
            (None, Some((strength, random))) => {
                Some(Box::new(steering(&fitted(subject)?, strength, random.then_some(3))?))
            }
            (None, None) => None,
        };
        let mut own = Tally::default();
        let started = Instant::now();
        for (scene, items) in &asked.scenes {
            for item in items {
                let question = item.question.as_deref().context("a question")?;
                let said = write(subject, decoder.as_deref(), &sample(scene, question, way.blank), 1)?;
                self.tokens += said.tokens.len();
                let verdict = YesNo.judge(item, &Answer::text(said.text.trim()))?;
                own.add(item, &verdict);
                let item = Item { group: format!("{seed} {}", item.group), ..item.clone() };
                self.polls.add(&item, &verdict);
            }
            let item = scene.to_describe();
            let question = item.question.clone().context("a question")?;
            let said = write(subject, decoder.as_deref(), &sample(scene, &question, way.blank), 48)?;
            self.tokens += said.tokens.len();
            let verdict = asked.chair.judge(&item, &Answer::text(Thing::in_words(&said.text)))?;
            let item = Item { group: format!("{seed} {}", item.group), ..item };
            self.captions.add(&item, &verdict);
        }
        self.seconds += started.elapsed().as_secs_f64();
        let parts = own.scores(&YesNo, Seed(0));
        let accuracy = |poll: Poll| {
            let part = parts.iter().find(|part| part.task == poll.name());
            part.and_then(|part| part.figures.first()?.value).context("an accuracy")
        };
        self.apart.push(accuracy(Poll::Random)? - accuracy(Poll::Adversarial)?);
        Ok(())
    }

    pub(crate) fn line(&self) -> Result<String> {
        let polls = self.polls.scores(&YesNo, Seed(0));
        let of = |poll: Poll, name: &str| {
            polls
                .iter()
                .find(|part| part.task == poll.name())
                .map_or("-".to_owned(), |part| figure(part, name))
        };
        let captions = self.captions.scores(&Chair::new(&Thing::words()), Seed(0));
        let all = captions.first().context("descriptions")?;
        let apart: Vec<String> = self.apart.iter().map(|apart| format!("{apart:.3}")).collect();
        let mut cells = vec![self.name.to_owned()];
        cells.extend(Poll::ALL.iter().map(|poll| of(*poll, "accuracy")));
        cells.push(apart.join(", "));
        cells.push(of(Poll::Adversarial, "F1"));
        cells.extend([Poll::Random, Poll::Adversarial].map(|poll| of(poll, "yes ratio")));
        cells.extend(["CHAIRi", "CHAIRs", "recall", "words"].map(|name| figure(all, name)));
        cells.push(self.passes.to_owned());
        cells.push(format!("{:.1}", 1000.0 * self.seconds / self.tokens as f64));
        Ok(format!("| {} |", cells.join(" | ")))
    }
}

/// The direction and random ones of its length at several strengths: what becomes of the polls, and of questions that are not about what is there.
pub(crate) fn sweep(
    asked: &Polls,
    models: &[Box<dyn Subject>],
    directions: &[Steering],
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, random) in [("from there to missed", None), ("random", Some(3)), ("random", Some(4))] {
        for strength in [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0] {
            if random.is_some() && strength == 0.0 {
                continue;
            }
            let (mut polls, mut right, mut all) = (Tally::default(), 0, 0);
            for (seed, (model, direction)) in models.iter().zip(directions).enumerate() {
                let decoder = steering(direction, strength, random)?;
                for (scene, items) in &asked.scenes {
                    for item in items.iter().filter(|item| item.task.as_deref() != Some("popular")) {
                        let question = item.question.as_deref().context("a question")?;
                        let said = write(model.as_ref(), Some(&decoder), &sample(scene, question, false), 1)?;
                        let verdict = YesNo.judge(item, &Answer::text(said.text.trim()))?;
                        polls
                            .add(&Item { group: format!("{seed} {}", item.group), ..item.clone() }, &verdict);
                    }
                }
                for (at, question) in &asked.others {
                    let scene = &asked.scenes[*at].0;
                    let said =
                        write(model.as_ref(), Some(&decoder), &sample(scene, &question.text, false), 4)?;
                    right += usize::from(said.text.trim() == question.answer);
                    all += 1;
                }
            }
            let parts = polls.scores(&YesNo, Seed(0));
            let of = |poll: Poll, name: &str| {
                let part = parts.iter().find(|part| part.task == poll.name());
                part.map_or("-".to_owned(), |part| figure(part, name))
            };
            lines.push(format!(
                "| {strength} | {name} | {} | {} | {} | {:.3} of {all} |",
                of(Poll::Adversarial, "yes ratio"),
                of(Poll::Adversarial, "accuracy"),
                of(Poll::Random, "accuracy"),
                right as f64 / f64::from(u32::try_from(all)?),
            ));
        }
    }
    Ok(lines)
}
