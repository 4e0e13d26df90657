//! What was learned: a direction as a method of single cases, as a way to write, and as a standing edit.

use std::sync::Arc;

use mmlens_core::check::{at_least_one, at_most, input, setting};
use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit};
use mmlens_core::{
    Alteration, Analysis, AnalysisError, Answer, AnyTensor, AxisName, Card, Case, Change, Cost, Fitted,
    HookError, Inputs, On, Part, Parts, Plan, Point, Position, Region, Seed, Site, Subject, device, kind,
};
use mmlens_engine::{Edit, Metric, Progress, Sweep, direction, dot, one_row, published};
use mmlens_files::Doubles;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::caa::CARD;
use crate::decoding::{Branch, Contrast, Decoder, Divergence, Form, Pass, Rule};

/// How a direction changes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Way {
    /// Added, so many times.
    #[default]
    Add,
    /// The row is turned towards it and keeps its length.
    Turn,
}

/// At which positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Applied {
    /// From the last of the prompt on.
    #[default]
    Spoken,
    /// At all of them.
    Everywhere,
}

/// What was learned of two classes. It is written into every finding, bit for bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// What is steered.
    pub site: Site,
    /// The mean of one class less that of the other.
    pub direction: Vec<f64>,
    /// How it changes a row.
    pub form: Way,
    /// At which positions.
    pub applied: Applied,
    /// How often it is added where an answer is written.
    pub strength: f32,
    /// How often in the passes over a case.
    pub strengths: Vec<f32>,
    /// How many random directions.
    pub draws: usize,
    /// The seed of every draw.
    pub seed: Seed,
    /// How many variants share a pass.
    pub rows: usize,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            site: Site::block(Part::Text, 0, Point::ResidPost),
            direction: Vec::new(),
            form: Way::default(),
            applied: Applied::default(),
            strength: 1.0,
            strengths: vec![-2.0, -1.0, -0.5, 0.5, 1.0, 2.0],
            draws: 5,
            seed: Seed(0),
            rows: 16,
        }
    }
}

/// A direction to steer by.
#[derive(Debug, Clone)]
pub struct Steering {
    learned: Learned,
}

/// A row turned towards a direction of length one: `|x| n(n(x) + c d)`. Rows of no length, and those turned into nothing, stay as they are.
fn turned(x: AnyTensor, towards: &[f64], by: f64) -> Result<AnyTensor, HookError> {
    let width = towards.len().max(1);
    let mut values = x.to_values()?;
    for row in values.chunks_mut(width) {
        let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if length == 0.0 {
            continue;
        }
        let mixed: Vec<f64> = row.iter().zip(towards).map(|(x, d)| f64::from(*x) / length + by * d).collect();
        let whole = dot(&mixed, &mixed).sqrt();
        if whole > 0.0 {
            row.iter_mut().zip(mixed).for_each(|(x, mixed)| *x = (length * mixed / whole) as f32);
        }
    }
    x.filled(values)
}

impl Steering {
    /// The standing edit that adds the direction `strength` times at all positions. `--edit SITE=add:FILE#direction*NUMBER` reads the same from the file that it is saved in.
    ///
    /// # Errors
    /// [`AnalysisError::Setting`] for a direction that turns: an edit adds.
    pub fn alteration(&self) -> Result<Alteration, AnalysisError> {
        if self.learned.form != Way::Add {
            return Err(setting(&CARD, "form", "turn", "a standing edit adds"));
        }
        let change = self.change(&self.learned.direction, self.learned.strength)?;
        Ok(Alteration::new(self.learned.site, Region::all(), change)?)
    }

    /// The change of rows by a direction, so many times.
    fn change(&self, along: &[f64], strength: f32) -> Result<Change, HookError> {
        match self.learned.form {
            Way::Add => {
                let values = along.iter().map(|x| *x as f32 * strength).collect();
                Ok(Change::Add(AnyTensor::from_values(values, &[1, 1, along.len()], &device::host())?))
            }
            Way::Turn => {
                let length = dot(along, along).sqrt();
                let towards: Vec<f64> = along.iter().map(|x| x / length).collect();
                let by = f64::from(strength);
                Ok(Change::With(Arc::new(move |x| turned(x, &towards, by))))
            }
        }
    }

    /// That a site has a row as long as the direction for each position of the decoder.
    fn suits(&self, subject: &dyn Subject) -> Result<(), AnalysisError> {
        let Learned { site, direction, .. } = &self.learned;
        let spec = published(subject, *site)?;
        let axes: Vec<AxisName> = spec.axes.iter().map(|(axis, _)| *axis).collect();
        let width = spec.axes.last().and_then(|(_, len)| *len);
        if site.part() != Part::Text || axes[..] != [AxisName::Batch, AxisName::Pos, AxisName::DModel] {
            let found = format!("`{site}` has {}", spec.describe());
            return Err(input(&CARD, "a site with a row for each position of the decoder", found));
        }
        match width {
            Some(width) if width != direction.len() => {
                let found = format!("{width}, where the direction has {}", direction.len());
                Err(input(&CARD, "rows of the length of its direction", found))
            }
            _ => Ok(()),
        }
    }

    /// Positions of a case that are steered. Where an encoder of its own reads the words, all positions of the decoder are spoken.
    fn region(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Region, AnalysisError> {
        match self.learned.applied {
            Applied::Everywhere => Ok(Region::all()),
            Applied::Spoken if kind::reads_apart(subject) => Ok(Region::all()),
            Applied::Spoken => {
                one_row(CARD.id, inputs)?;
                let len = inputs.positions();
                let pads = inputs.pads.first().copied().unwrap_or(0);
                let spoken = match inputs.map().reply() {
                    reply if reply.is_empty() => len,
                    reply => reply.start + pads,
                };
                Ok(Region::all().positions(spoken.saturating_sub(1)..len))
            }
        }
    }

    /// The direction, then random ones of its length.
    fn directions(&self) -> Vec<Vec<f64>> {
        let Learned { direction: own, draws, seed, .. } = &self.learned;
        let length = dot(own, own).sqrt();
        let random = |draw| direction(own.len(), seed.at(draw)).into_iter().map(|x| x * length).collect();
        std::iter::once(own.clone()).chain((0..*draws as u64).map(random)).collect()
    }

    fn variants(&self) -> usize {
        self.learned.strengths.len() * (1 + self.learned.draws)
    }
}

impl Decoder for Steering {
    fn contrast(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Contrast, AnalysisError> {
        self.suits(subject)?;
        let Learned { site, direction, applied, strength, .. } = &self.learned;
        let mut own = Branch::plain(inputs.clone());
        if *strength != 0.0 {
            let change = self.change(direction, *strength)?;
            let (site, last) = (*site, inputs.positions().saturating_sub(1));
            let spoken = *applied == Applied::Spoken && !kind::reads_apart(subject);
            own.plan = Some(Arc::new(move |pass: Pass<'_>| {
                // Rows are padded on the left: the last position is the last of every row.
                let region = match spoken && pass.prompt {
                    true => Region::all().positions([last]),
                    false => Region::all(),
                };
                Plan::new().change(site, region, change.clone())
            }));
        }
        let rule =
            Rule { strength: 0.0, form: Form::Logits, plausible: 0.0, divergence: Divergence::default() };
        Ok(Contrast { own, beside: Vec::new(), early: None, rule })
    }
}

impl Analysis for Steering {
    type Input = Case;
    type Settings = Learned;
    const CARD: Card = CARD;

    fn new(learned: Learned) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "rows", learned.rows)?;
        at_least_one(&CARD, "draws", learned.draws)?;
        at_most(&CARD, "draws", learned.draws)?;
        at_least_one(&CARD, "strengths", learned.strengths.len())?;
        at_most(&CARD, "strengths", learned.strengths.len())?;
        let strengths = learned.strengths.iter().map(|strength| ("strengths", strength));
        for (name, strength) in strengths.chain([("strength", &learned.strength)]) {
            if !strength.is_finite() {
                return Err(setting(&CARD, name, strength, "it must be finite"));
            }
        }
        let square = dot(&learned.direction, &learned.direction);
        if learned.direction.is_empty() {
            return Err(setting(&CARD, "direction", "none", "there must be one: it has to be learned"));
        }
        if !(square.is_finite() && square > 0.0) {
            return Err(setting(&CARD, "direction", square, "its square must be finite and above zero"));
        }
        Ok(Self { learned })
    }

    fn settings(&self) -> &Learned {
        &self.learned
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let inputs = on.encode(&case.sample)?;
        let row = on.row(case, &inputs, &[])?;
        let at_once = row.bytes.saturating_mul(self.learned.rows.min(self.variants()) as u64);
        let passes = case.settling() + 1 + self.variants();
        Ok(Cost::rows(passes * inputs.rows()).taking(at_once, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let Learned { site, strengths, draws, rows, .. } = &self.learned;
        self.suits(on.subject())?;
        let (inputs, objective) = on.open(case)?;
        let region = self.region(on.subject(), &inputs)?;
        let mut variants = Vec::with_capacity(self.variants());
        for along in self.directions() {
            for strength in strengths {
                // Nothing is changed by nothing, to the bit: adding zero makes another number of minus zero.
                let edit = match *strength == 0.0 {
                    true => None,
                    false => Some(Edit::new(*site, self.change(&along, *strength)?).within(region.clone())),
                };
                variants.push(Vec::from_iter(edit));
            }
        }
        let mut progress = Progress::new(on.watch(), CARD.id, variants.len());
        let sweep = Sweep::of(vec![Axis::count(Role::Step, variants.len())], variants)?
            .measure(Metric::from(&objective))
            .measure(Metric::Divergence { at: Position::Last });
        let memory = on.memory().at_most(at_least_one(&CARD, "rows", *rows)?);
        let swept = sweep.run(on.subject(), &inputs, &memory, &mut progress)?;
        let [changed, moved] = swept.measured.as_slice() else { return Err(HookError::NoObjective.into()) };
        let (whole, unit) = (changed.unedited, objective.unit());
        let changes: Vec<f32> = changed.values.iter().map(|value| value - whole).collect();
        let [changes, moved] = [&changes, &moved.values].map(|values| values.split_at(strengths.len()));
        let mean = |(own, drawn): (&[f32], &[f32])| -> Vec<f32> {
            let of = |at: usize| {
                let all = drawn.iter().skip(at).step_by(strengths.len());
                all.map(|value| f64::from(*value)).sum::<f64>() / *draws as f64
            };
            own.iter().copied().chain((0..own.len()).map(|at| of(at) as f32)).collect()
        };
        let p = changes.0.iter().enumerate().map(|(at, own)| {
            let drawn = changes.1.iter().skip(at).step_by(strengths.len());
            (1 + drawn.filter(|change| change.abs() >= own.abs()).count()) as f32 / (1 + draws) as f32
        });
        let named = || Axis::names(Role::Step, strengths.iter().map(f32::to_string));
        let pair = || vec![Axis::names(Role::Concept, ["direction", "random directions"]), named()];
        let drawn = || vec![Axis::count(Role::Method, *draws), named()];
        let cautions = self.cautions(changes.0, &mean(changes)[strengths.len()..]);
        let tables = vec![
            Labelled::numbers("change", unit, pair(), mean(changes))?,
            Labelled::numbers("p", Unit::Probability, vec![named()], p.collect())?,
            Labelled::numbers("divergence", Unit::Nat, pair(), mean(moved))?,
            Labelled::scalar("objective", unit, whole),
            Labelled::numbers("random changes", unit, drawn(), changes.1.to_vec())?.aside(),
        ];
        Ok(Answer::new(tables, [*site])
            .explaining(&objective)
            .against("random directions of the same length")
            .seeded(self.learned.seed)
            .cautioned(cautions))
    }
}

impl Steering {
    /// That the direction does no more than chance, where it is strongest.
    fn cautions(&self, own: &[f32], random: &[f32]) -> Vec<Caution> {
        let size = |(at, _): &(usize, &f32)| self.learned.strengths.get(*at).map_or(0.0, |s| s.abs());
        let strongest = own.iter().enumerate().max_by(|a, b| size(a).total_cmp(&size(b))); // no NaN: strengths are checked
        let Some((at, own)) = strongest else { return Vec::new() };
        let (random, strength) =
            (random.get(at).copied().unwrap_or(0.0), self.learned.strengths.get(at).copied().unwrap_or(0.0));
        if own.abs() > random.abs() {
            return Vec::new();
        }
        let text = format!(
            "at strength {strength} the direction changes the objective by {own:.2e}, random ones of its length by {random:.2e} in the mean: the case does not follow it"
        );
        vec![Caution::new(CautionKind::NoBetter, own.abs() - random.abs(), text)]
    }
}

/// The name of the tensor in a file.
const DIRECTION: &str = "direction";

/// All that is learned but its numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    site: Site,
    form: Way,
    applied: Applied,
    strength: f32,
    strengths: Vec<f32>,
    draws: usize,
    seed: Seed,
    rows: usize,
}

impl Fitted for Steering {
    fn parts(&self) -> Result<Parts, AnalysisError> {
        let Learned { site, direction, form, applied, strength, strengths, draws, seed, rows } =
            &self.learned;
        let tensor = Doubles { shape: vec![direction.len()], values: direction.clone() };
        let about = json!({
            "site": site, "form": form, "applied": applied, "strength": strength, "strengths": strengths,
            "draws": draws, "seed": seed, "rows": rows
        });
        Ok(Parts { tensors: [(DIRECTION.to_owned(), tensor)].into(), about: about.to_string() })
    }

    fn of(parts: Parts) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let Parts { mut tensors, about } = parts;
        let About { site, form, applied, strength, strengths, draws, seed, rows } =
            mmlens_files::parse_json(about.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let tensor =
            tensors.remove(DIRECTION).ok_or_else(|| wrong(format!("there is no tensor `{DIRECTION}`")))?;
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!("a tensor `{name}` has no meaning")));
        }
        let [_] = tensor.shape[..] else {
            return Err(wrong(format!("`{DIRECTION}` is {:?}, expected 1 axis", tensor.shape)));
        };
        let direction = tensor.values;
        Self::new(Learned { site, direction, form, applied, strength, strengths, draws, seed, rows })
    }
}
