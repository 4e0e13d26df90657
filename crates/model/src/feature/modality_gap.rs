//! Modality gap: do pictures and words lie in the same region of the space they are compared in, and how narrow is each region?
//!
//! # Idea
//! With `x_i` what is read of the picture of case `i`, and `y_i` of its words, each brought to length one,
//!
//! ```text
//! gap  = mean_i x_i - mean_i y_i                              cone of pictures = mean over i < j of cos(x_i, x_j)
//! x_i(t) = (x_i - t gap) / |x_i - t gap|,  y_i(t) = (y_i + t gap) / |y_i + t gap|
//! ```
//!
//! A gap that is as long as the two kinds are apart says that what kind a vector is of decides where it lies, before what it shows does.
//! Moved towards one another (`t` to 1/2) the kinds overlap, and it is seen whether their likeness was hidden behind the gap.
//!
//! # In and out
//! In: [`ManyCases`], at least two. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `gap` | concept | none | `length` of the gap; `shuffled`, the mean of the same where rows are told apart by chance (below); `longest shuffled` |
//! | `p` | | probability | of a gap that long by chance: `(1 + shuffled ones at least that long) / (1 + draws)` |
//! | `cone` | concept | cosine | means of cosines: of two different `pictures`, of two different `words`, of a picture with the words of its own case (`matched`) and of other cases (`unmatched`) |
//! | `separability` | concept | ratio | of held-out rows: `accuracy` of telling the kinds apart by a linear function; `shuffled accuracy`, learned from rows whose kinds were shuffled; `majority`, the share of the commoner kind |
//! | `shifted` | step, concept | as below | for every shift `t`: `gap`, its length then; `words of a picture`, the share of pictures whose own words are the most alike to them; `picture of words`; `chance`, one in as many as there are cases |
//! | `largest dimensions` | feature, concept | ratio | the dimensions with most of the gap, largest first: `share` of its square, and `random`, the share of the dimension of that rank in a direction drawn by chance |
//! | `gap by dimension` | feature | none | the gap itself |
//! | `lengths` | concept | activation | mean length of `pictures` and `words` as they were read |
//! | `rows` | concept | count | `cases`, rows of `pictures` and of `words`, `dimensions` |
//! | `cautions` | rank | text | that some gap of shuffled kinds is as long; that there are fewer rows than dimensions; that half of the gap lies in one dimension |
//!
//! Where rows are positions, none of which belongs to another, `cone` has `between` (pictures with words, all pairs) in place of the last two, and
//! `shifted` has the gap alone. Of several words that are exactly as alike to a picture, each counts for its share. All numbers are made in
//! double precision.
//!
//! Draws: draw `k` of the shuffles takes all rows, pictures first, in the order `drawn_order(rows, seed.at(k))`, and calls the first of them, as many as there are pictures, pictures. Random direction
//! `k` is `direction(dimensions, seed.at(2^32 + k))`. Rows are held out by `held_out(groups, share, seed)`; what is left, pictures first, has its kinds shuffled by `drawn_order(rows left, seed.at(2^33))`: row `j` is
//! given the kind of row `order[j]`. A row is called words where their probability is the larger one.
//!
//! # Settings
//! - `pictures`, `words`: the sites, of rows of one length. By default `vision.projected` and `text.projected` of a dual encoder; of others
//!   `text.input`, where image features stand between the words. Of a site with positions of a prompt `pictures` reads those that show a picture, and
//!   `words` those that hold words; of a tower `pictures` reads the patches; of other sites all rows are read.
//! - `rows`: `cases`: one row for each case: of a site with positions the mean over them, of others the first (a dual encoder's first
//!   picture, and first caption); or `positions`, each of them.
//! - `normalised`: yes. Without it the gap, its dimensions and what tells the kinds apart are those of rows as they are; `cone` and `shifted` are left
//!   out.
//! - `shifts`: 0, 0.25, 0.5. At 1/2 both kinds have come half the way.
//! - `draws`: 20 shuffles and random directions. `top`: 10 dimensions. `seed`: 0.
//! - `c`: 1, the inverse strength of the penalty of the linear function (logistic regression with intercepts, as
//!   [`linear_probe`](crate::linear_probe)); `held_out`: 0.2 of the groups of cases: both rows of a case are learned from, or neither.
//!
//! # Cost
//! One pass for each case, which ends at the later site. Then, of `n` cases and `d` dimensions, `2 n^2 d` operations for each shift and
//! `4 n d` for each step of two searches. Memory: 24 bytes for each number of a row. Telling the cost encodes every case.
//!
//! # Errors
//! Making: [`AnalysisError::Setting`] for no draws, shifts or numbers that are not finite. Running: [`AnalysisError::Input`] for fewer than
//! two cases, sites of other lengths, a row without length, a case without pictures or words; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - A few dimensions with large values make a gap that no function of the model need notice: see `largest dimensions`, and the caution.
//! - With fewer rows than dimensions any two kinds can be told apart by a linear function on the rows it is learned from; so only held-out rows are
//!   counted. See `shuffled accuracy`.
//! - The gap is there before training: two networks with other weights lie in other cones (Liang et al. 2022). It is no sign that training failed, and
//!   closing it need not help: see `shifted`.
//! - Means over patches are narrower than the patches are. Use `rows` = `positions`.
//!
//! # Agreement
//! NumPy and scikit-learn on transformers' vectors of `clip-a` and `siglip-a`: largest difference 1e-6. Identities tested: a vector added
//! to all pictures moves the gap by it; orthogonal maps of both kinds change neither gap nor cone; kinds with the same rows have no gap.
//!
//! # Reference
//! Liang, Zhang, Kwon, Yeung, Zou: Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning. NeurIPS 2022.
//! <https://arxiv.org/abs/2203.02053>. Shuffled rows, and random directions beside the dimensions, are ours.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, ManyCases};
//! use mmlens_model::ModalityGap;
//! # fn explain(subject: &dyn mmlens_core::Subject, data: &ManyCases) -> Result<(), mmlens_core::AnalysisError> {
//! let finding = ModalityGap::default().run(subject, data)?;
//! println!("{:?}", finding.table("cone")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit, largest};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Copies, Cost, Leaf, ManyCases, On, Part, Plan, Point,
    Seed, Site, Subject, groups, held_out, kind,
};
use mmlens_engine::{
    Classed, Held, Limits, Logistic, Matrix, Positions, Progress, direction, dot, drawn_order, projected,
    row_count, row_width, rows_at,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::check::{above_zero, at_least_one, at_most, input, not_finite, setting, share};
use crate::layer::cka::RowsOf;

/// What this method is.
pub const CARD: Card = Card {
    id: "modality-gap",
    short: "gap",
    name: "Modality gap and cone",
    question: "Do pictures and words lie in the same region of the space they are compared in?",
    citation: "Liang, Zhang, Kwon, Yeung, Zou: Mind the Gap. NeurIPS 2022. https://arxiv.org/abs/2203.02053",
    leaf: Leaf::Feature,
    cost: "1 forward for each case",
    needs: &[Capability::OneSpace],
    misleads: &[
        "A few dimensions with large values make a gap that no function of the model need notice.",
        "With fewer rows than dimensions any two kinds can be told apart on the rows learned from.",
        "The gap is there before training: closing it need not help.",
    ],
    first: false,
};

/// A dimension with this share of the gap is cautioned of.
const DOMINANT: f64 = 0.5;
/// The most steps of a search, and the gradient at which it ends.
const SEARCH: Limits = Limits { steps: 1000, gradient: 1e-8 };
/// Which items of a seed the draws of directions and of kinds are.
const DIRECTIONS: u64 = 1 << 32;
const KINDS: u64 = 1 << 33;

/// What is compared, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The site of pictures; without it what is compared by a dual encoder, or what enters the language model.
    pub pictures: Option<Site>,
    /// That of words.
    pub words: Option<Site>,
    /// What a row is.
    pub rows: RowsOf,
    /// Whether rows are brought to length one.
    pub normalised: bool,
    /// How far both kinds are moved towards one another, in gaps.
    pub shifts: Vec<f64>,
    /// How many shuffles and random directions.
    pub draws: usize,
    /// How many dimensions are named.
    pub top: usize,
    /// The inverse strength of the penalty.
    pub c: f64,
    /// The share of the groups that is held out.
    pub held_out: f64,
    /// The seed of every draw.
    pub seed: Seed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pictures: None,
            words: None,
            rows: RowsOf::Cases,
            normalised: true,
            shifts: vec![0.0, 0.25, 0.5],
            draws: 20,
            top: 10,
            c: 1.0,
            held_out: 0.2,
            seed: Seed(0),
        }
    }
}

/// The modality gap with checked settings.
#[derive(Debug, Clone, Default)]
pub struct ModalityGap {
    settings: Settings,
}

/// Where both kinds are read, and how wide their rows are.
struct Places {
    asked: Vec<(Site, Positions)>,
    width: usize,
}

/// Rows of one kind, and the group of each.
#[derive(Default)]
struct Kind {
    values: Vec<f64>,
    groups: Vec<u64>,
}

impl Analysis for ModalityGap {
    type Input = ManyCases;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        at_least_one(&CARD, "draws", settings.draws)?;
        if let Some(shift) = settings.shifts.iter().find(|shift| !shift.is_finite()) {
            return Err(setting(&CARD, "shifts", shift, "all must be finite"));
        }
        at_most(&CARD, "top", settings.top)?;
        above_zero(&CARD, "c", settings.c)?;
        share(&CARD, "held_out", settings.held_out)?;
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, input: &ManyCases) -> Result<Cost, AnalysisError> {
        let (subject, places) = (on.subject(), self.places(on)?);
        let (mut forward, mut widest, mut numbers) = (0, 0, 0);
        for index in 0..input.len() {
            let inputs = on.encode(&input.data().case(index)?.sample)?;
            forward += inputs.rows();
            widest = u64::max(widest, subject.need(&inputs, &places.plan()?, Copies::ONE)?.bytes); // no NaN: whole numbers
            for (site, positions) in &places.asked {
                numbers += match self.settings.rows {
                    RowsOf::Cases => places.width,
                    RowsOf::Positions => places.width * row_count((on, CARD.id), &inputs, *site, positions)?,
                };
            }
        }
        Ok(Cost::rows(forward).taking(widest + 24 * numbers as u64, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, input: &ManyCases) -> Result<Answer, AnalysisError> {
        let Settings { rows: of, normalised, draws, seed, .. } = self.settings;
        let places = self.places(on)?;
        if input.len() < 2 {
            return Err(crate::check::input(
                &CARD,
                "at least two cases",
                format!("there are {}", input.len()),
            ));
        }
        let paired = of == RowsOf::Cases;
        let shifts = if normalised { self.settings.shifts.as_slice() } else { &[] };
        let mut progress = Progress::new(on.watch(), CARD.id, input.len() + draws + 2 + shifts.len());
        let [pictures, words] = self.read(on, input, &places, &mut progress)?;
        let groups = [pictures.groups, words.groups];
        let read = [pictures.values, words.values].map(|values| Matrix::new(values, places.width));
        let [pictures, words] = read;
        let raw = [pictures?, words?];
        let lengths = raw.each_ref().map(|kind| mean(kind.rows().map(|row| dot(row, row).sqrt())));
        let [pictures, words] = match normalised {
            false => raw,
            true => {
                let [pictures, words] = raw;
                [lengthened(pictures, "pictures")?, lengthened(words, "words")?]
            }
        };
        let gap = apart(&pictures, &words);
        let length = dot(&gap, &gap).sqrt();

        let all = Matrix::new([pictures.values(), words.values()].concat(), places.width)?;
        let mut shuffled = Vec::with_capacity(draws);
        for draw in 0..draws {
            let order = drawn_order(all.len(), seed.at(draw as u64));
            let (first, second) = order.split_at(pictures.len());
            let gap = apart(&all.chosen(first), &all.chosen(second));
            shuffled.push(dot(&gap, &gap).sqrt());
            progress.advance(1)?;
        }
        let longer = shuffled.iter().filter(|own| **own >= length).count();
        let longest = largest(&shuffled).map_err(|own| not_finite(&CARD, "shuffled", own))?;
        let concepts = |names: &[&str]| Axis::names(Role::Concept, names.iter().copied());
        let table = |name: &str, unit, axes, values: Vec<f64>| {
            Labelled::numbers(name, unit, axes, values.into_iter().map(|value| value as f32).collect())
        };
        let mut tables = vec![
            table(
                "gap",
                Unit::None,
                vec![concepts(&["length", "shuffled", "longest shuffled"])],
                vec![length, mean(shuffled.iter().copied()), longest],
            )?,
            Labelled::scalar("p", Unit::Probability, (1 + longer) as f32 / (1 + draws) as f32),
        ];
        if normalised {
            let (names, values) = cone(&pictures, &words, paired);
            tables.push(table("cone", Unit::Cosine, vec![concepts(&names)], values)?);
        }
        let told = self.told_apart(&all, (&groups, pictures.len()), &mut progress)?;
        let names = ["accuracy", "shuffled accuracy", "majority"];
        tables.push(table("separability", Unit::Ratio, vec![concepts(&names)], told.to_vec())?);
        if !shifts.is_empty() {
            let mut values = Vec::new();
            for shift in shifts {
                values.extend(shifted(&pictures, &words, &gap, *shift, paired)?);
                progress.advance(1)?;
            }
            let names: &[&str] = match paired {
                true => &["gap", "words of a picture", "picture of words", "chance"],
                false => &["gap"],
            };
            let steps = Axis::names(Role::Step, shifts.iter().map(ToString::to_string));
            tables.push(table("shifted", Unit::None, vec![steps, concepts(names)], values)?);
        }
        let (named, values) = self.dimensions(&gap);
        let axes = vec![
            Axis::names(Role::Feature, named.iter().map(ToString::to_string)),
            concepts(&["share", "random"]),
        ];
        tables.push(table("largest dimensions", Unit::Ratio, axes, values.clone())?);
        let count = Axis::count(Role::Feature, places.width);
        tables.push(table("gap by dimension", Unit::None, vec![count], gap)?.aside());
        let axes = vec![concepts(&["pictures", "words"])];
        tables.push(table("lengths", Unit::Activation, axes, lengths.to_vec())?.aside());
        let counts = [input.len(), pictures.len(), words.len(), places.width];
        let axes = vec![concepts(&["cases", "pictures", "words", "dimensions"])];
        tables.push(table("rows", Unit::Count, axes, counts.map(|count| count as f64).to_vec())?.aside());

        let [first, second] = [0, 1].map(|at| places.asked.get(at).map(|(site, _)| *site));
        Ok(Answer::new(tables, places.asked.iter().map(|(site, _)| *site))
            .against("rows whose kinds are shuffled")
            .seeded(seed)
            .cautioned(by_chance(length, longest, (longer, draws)))
            .cautioned(cautions(all.len(), places.width, named.first().zip(values.first())))
            .settled("pictures", json!(first))
            .settled("words", json!(second)))
    }
}

impl Places {
    fn plan(&self) -> Result<Plan, AnalysisError> {
        Ok(self.asked.iter().try_fold(Plan::new(), |plan, (site, _)| plan.read(*site))?)
    }
}

impl ModalityGap {
    /// Where both kinds are read.
    fn places(&self, on: &On<'_>) -> Result<Places, AnalysisError> {
        let subject = on.subject();
        let own = |asked: Option<Site>, part, positions: Positions| -> Result<_, AnalysisError> {
            let site = asked.unwrap_or_else(|| usual(subject, part));
            let (width, suits) = row_width((on, CARD.id), site, &positions)?;
            Ok((site, if suits { positions } else { Positions::All }, width))
        };
        let (pictures, shown, wide) = own(self.settings.pictures, Part::Vision, Positions::Pictures)?;
        let (words, said, width) = own(self.settings.words, Part::Text, Positions::Words)?;
        if wide != width {
            let found = format!("rows of `{pictures}` have {wide} numbers, those of `{words}` {width}");
            return Err(input(&CARD, "two sites in one space", found));
        }
        Ok(Places { asked: vec![(pictures, shown), (words, said)], width })
    }

    /// The rows of both kinds.
    fn read(
        &self,
        on: &On<'_>,
        input: &ManyCases,
        places: &Places,
        progress: &mut Progress<'_>,
    ) -> Result<[Kind; 2], AnalysisError> {
        let mut kinds = [Kind::default(), Kind::default()];
        for (index, group) in groups(input.data())?.into_iter().enumerate() {
            let inputs = on.encode(&input.data().case(index)?.sample)?;
            let held: usize = kinds.iter().map(|kind| 24 * kind.values.len()).sum();
            let need = on.subject().need(&inputs, &places.plan()?, Copies::ONE)?;
            on.memory().hold(CARD.id, held as u64, need)?;
            for (kind, held) in kinds.iter_mut().zip(rows_at((on, CARD.id), &inputs, &places.asked)?) {
                let before = kind.values.len();
                kind.values.extend(self.rows_of(&held));
                let rows = (kind.values.len() - before) / places.width.max(1);
                kind.groups.extend(std::iter::repeat_n(group, rows));
            }
            progress.advance(1)?;
        }
        Ok(kinds)
    }

    /// What a case gives of a site.
    fn rows_of(&self, held: &Held) -> Vec<f64> {
        let all = held.values.iter().map(|value| f64::from(*value));
        // Rows with positions are those of one picture or prompt; others are pictures and prompts themselves.
        let placed = held.prompt || held.shows.iter().any(|shows| shows.patch().is_some());
        match (self.settings.rows, placed) {
            (RowsOf::Positions, _) => all.collect(),
            (RowsOf::Cases, false) => all.take(held.width).collect(),
            (RowsOf::Cases, true) => {
                let mut sums = vec![0.0; held.width];
                for row in held.values.chunks(held.width.max(1)) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                }
                let n = held.places.len().max(1) as f64;
                sums.into_iter().map(|sum| sum / n).collect()
            }
        }
    }

    /// How well the kinds are told apart on held-out rows: learned as they are, and shuffled; and the share of the commoner.
    fn told_apart(
        &self,
        all: &Matrix,
        (groups, pictures): (&[Vec<u64>; 2], usize),
        progress: &mut Progress<'_>,
    ) -> Result<[f64; 3], AnalysisError> {
        let groups = groups.concat();
        let out = held_out(&groups, self.settings.held_out, self.settings.seed);
        let out = out.ok_or_else(|| input(&CARD, "at least two groups of cases", "there is one"))?;
        let labels: Vec<usize> = (0..all.len()).map(|at| usize::from(at >= pictures)).collect();
        let kept: Vec<usize> = (0..all.len()).filter(|at| out.get(*at) == Some(&false)).collect();
        let held: Vec<usize> = (0..all.len()).filter(|at| out.get(*at) == Some(&true)).collect();
        let label = |at: &usize| labels.get(*at).copied().unwrap_or(0);
        let own: Vec<usize> = kept.iter().map(label).collect();
        let order = drawn_order(own.len(), self.settings.seed.at(KINDS));
        let shuffled: Vec<usize> = order.iter().filter_map(|at| own.get(*at).copied()).collect();
        let mut found = [0.0; 3];
        for (to, labels) in found.iter_mut().zip([own, shuffled]) {
            let rows = Classed {
                values: all.chosen(&kept).values().to_vec(),
                width: all.width(),
                labels,
                classes: 2,
            };
            let (model, _) = Logistic::fit(CARD.id, &rows, self.settings.c, SEARCH, &mut |_| Ok(()))?;
            let said = |at: &usize| {
                let logs = model.log_probabilities(all.row(*at));
                usize::from(logs.get(1) > logs.first())
            };
            *to = held.iter().filter(|at| said(at) == label(at)).count() as f64 / held.len().max(1) as f64;
            progress.advance(1)?;
        }
        let words = held.iter().map(label).sum::<usize>();
        found[2] = words.max(held.len() - words) as f64 / held.len().max(1) as f64;
        Ok(found)
    }

    /// The dimensions with most of the gap, and, for each, its share and that of a random direction's dimension of that rank.
    fn dimensions(&self, gap: &[f64]) -> (Vec<usize>, Vec<f64>) {
        let shares = |vector: &[f64]| -> Vec<(usize, f64)> {
            let square = dot(vector, vector);
            let share = |(at, x): (usize, &f64)| (at, if square > 0.0 { x * x / square } else { 0.0 });
            let mut shares: Vec<(usize, f64)> = vector.iter().enumerate().map(share).collect();
            shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))); // no NaN: of finite rows
            shares.truncate(self.settings.top);
            shares
        };
        let own = shares(gap);
        let mut random = vec![0.0; own.len()];
        for draw in 0..self.settings.draws {
            let drawn = direction(gap.len(), self.settings.seed.at(DIRECTIONS + draw as u64));
            random.iter_mut().zip(shares(&drawn)).for_each(|(sum, (_, share))| *sum += share);
        }
        let draws = self.settings.draws as f64;
        let values =
            own.iter().zip(random).flat_map(|((_, share), random)| [*share, random / draws]).collect();
        (own.into_iter().map(|(at, _)| at).collect(), values)
    }
}

/// Where a kind of rows is read, if nothing else was asked for.
fn usual(subject: &dyn Subject, part: Part) -> Site {
    if kind::compares(subject) { projected(part) } else { Site::of(Part::Text, Point::Input) }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

fn lengthened(rows: Matrix, kind: &str) -> Result<Matrix, AnalysisError> {
    rows.normalised().map_err(|row| {
        input(
            &CARD,
            "rows that have a length, or `normalised` = false",
            format!("row {row} of the {kind} is zero"),
        )
    })
}

/// The mean of some rows less that of others.
fn apart(pictures: &Matrix, words: &Matrix) -> Vec<f64> {
    pictures.mean().iter().zip(words.mean()).map(|(a, b)| a - b).collect()
}

/// Means of cosines within the kinds and between them.
fn cone(pictures: &Matrix, words: &Matrix, paired: bool) -> (Vec<&'static str>, Vec<f64>) {
    // Of all pairs of n rows of length one the cosines sum to the square of their sum, of which n are those of rows with themselves.
    let sums =
        [pictures, words].map(|rows| rows.mean().iter().map(|x| x * rows.len() as f64).collect::<Vec<_>>());
    let own = |rows: &Matrix, sum: &[f64]| {
        let n = rows.len() as f64;
        if n > 1.0 { (dot(sum, sum) - n) / (n * (n - 1.0)) } else { 1.0 }
    };
    let [of_pictures, of_words] = &sums;
    let all = dot(of_pictures, of_words);
    let n = pictures.len() as f64;
    let mut values = vec![own(pictures, of_pictures), own(words, of_words)];
    match paired {
        false => {
            values.push(all / (n * words.len() as f64));
            (vec!["pictures", "words", "between"], values)
        }
        true => {
            let matched: f64 = pictures.rows().zip(words.rows()).map(|(x, y)| dot(x, y)).sum();
            values.extend([matched / n, (all - matched) / (n * (n - 1.0))]);
            (vec!["pictures", "words", "matched", "unmatched"], values)
        }
    }
}

/// What is left of the gap where both kinds are moved towards one another, and how often the most alike is the own.
fn shifted(
    pictures: &Matrix,
    words: &Matrix,
    gap: &[f64],
    by: f64,
    paired: bool,
) -> Result<Vec<f64>, AnalysisError> {
    let moved = |rows: &Matrix, by: f64, kind| {
        let way: Vec<f64> = gap.iter().map(|x| by * x).collect();
        lengthened(rows.clone().less(&way), kind)
    };
    let (pictures, words) = (moved(pictures, by, "pictures")?, moved(words, -by, "words")?);
    let left = apart(&pictures, &words);
    let mut found = vec![dot(&left, &left).sqrt()];
    if paired {
        found.extend([
            most_alike(&pictures, &words),
            most_alike(&words, &pictures),
            1.0 / pictures.len() as f64,
        ]);
    }
    Ok(found)
}

/// The share of rows whose most alike row of the others has their own number; of several that are exactly as alike each counts for its share.
fn most_alike(rows: &Matrix, others: &Matrix) -> f64 {
    let own = rows.rows().enumerate().map(|(at, row)| {
        let likeness: Vec<f64> = others.rows().map(|other| dot(row, other)).collect();
        let most = likeness.iter().copied().fold(f64::NEG_INFINITY, f64::max); // no NaN: of finite rows
        let alike = likeness.iter().filter(|own| **own == most).count();
        if likeness.get(at) == Some(&most) { 1.0 / alike as f64 } else { 0.0 }
    });
    mean(own)
}

/// That rows told apart by chance lie as far apart, by `longer` of the draws.
fn by_chance(length: f64, longest: f64, (longer, draws): (usize, usize)) -> Option<Caution> {
    let p = (1 + longer) as f64 / (1 + draws) as f64;
    (longer > 0).then(|| {
        let text = format!(
            "the gap is {length:.3} long, and {longer} of {draws} of shuffled kinds are as long or longer, up to {longest:.3} (p = {p:.2}): pictures and words lie no farther apart than such rows do"
        );
        Caution::new(CautionKind::Chance, p as f32, text)
    })
}

/// What speaks against taking the gap at its word.
fn cautions(rows: usize, width: usize, largest: Option<(&usize, &f64)>) -> Vec<Caution> {
    let mut said = Vec::new();
    if rows < width {
        let text = format!(
            "{rows} rows of {width} dimensions: a linear function tells any two kinds of so few apart on the rows that it is learned from; see the \
             accuracy that shuffled kinds give"
        );
        said.push(Caution::new(CautionKind::FewRows, rows as f32, text));
    }
    if let Some((dimension, share)) = largest.filter(|(_, share)| **share >= DOMINANT) {
        let text = format!(
            "{:.0} % of the square of the gap lies in dimension {dimension} of {width}",
            100.0 * share
        );
        said.push(Caution::new(CautionKind::OneDirection, *share as f32, text));
    }
    said
}
