//! Parts of an image's embedding: which heads, which patches, which layers make a picture fit a caption?
//!
//! # Idea
//! What a dual encoder makes of a picture is read off the class token, whose stream is a sum `x = x_0 + sum_l (attn_l + mlp_l)`, and `attn_l` a sum over
//! heads and over the tokens each attends to. With the scale `s` of the last norm held at what it is for this picture all that follows is affine:
//!
//! ```text
//! e = P (g (x - mean x) / s + b)                    t(term) = u . P (g (term - mean term)) / (s |e|)
//! head h, token k:  term = A[h, k] W_O[h] v[h, k]   cos(e, u) = sum of t over all terms + u . P b / |e|
//! ```
//!
//! with `u` the caption's vector of length one, `A` the weights with which the class token attends, `v` the values (biases included).
//!
//! # In and out
//! In: a [`Case`] with one picture and one or more captions, each a row of the tables. Out:
//!
//! | table | axes | unit | meaning |
//! |---|---|---|---|
//! | `heads` | concept, layer, head | cosine | what each head adds to the cosine with a caption (without the output bias) |
//! | `heads against the others` | concept, layer, head | cosine | the same less the mean of the other captions; with two or more of them |
//! | `layers` | concept, layer, concept | cosine | `attention` (output bias included), `MLP` |
//! | `outside the layers` | concept, concept | cosine | `input` (class token and position, as they enter the first block), `bias of the last norm` (and of the projection, where there is one) |
//! | `patches` | concept, token | cosine | what all heads of the chosen layers add by attending to each token; with `by_token` |
//! | `patches by layer` | concept, layer, token | cosine | the same, layer by layer; with `by_token` |
//! | `cosine`, `gap` | concept | cosine | of the picture with each caption; less the sum of all above |
//! | `random` | layer, head | cosine | the root mean square of what a head adds to the cosine with a direction drawn by chance: its length over the square root of the dimensions, exactly |
//! | `biases` | concept, layer | cosine | what the output biases of attention add |
//! | `cautions` | rank | text | that the terms do not add up; that there is a single caption; that no head adds more than the largest of as many normal draws would be: what each adds is measured in what it adds to a direction of that length drawn by chance, and the largest of `n` draws lies about `sqrt(2 ln n)` away |
//!
//! Layers that were not chosen stand in `layers` all the same, so that `layers` and `outside the layers` add up to `cosine`.
//!
//! # Settings
//! - `layers`: all, or some by number ([`Indices`]): those taken apart by head and token.
//! - `captions`: none, beside those of the case. `mmlens explain` names here all that it was given.
//! - `by_token`: yes. Whether heads are taken apart by what they attend to, which takes a second pass.
//!
//! # Cost
//! One forward pass, and a second with explicit attention if `by_token`. Then products with each output projection and the projection into the shared space, in double precision.
//! Peak memory: what heads, attention and MLPs of all layers hold.
//!
//! # Errors
//! Running: [`AnalysisError::Input`] for a subject that pools by attention (SigLIP: an MLP behind the pooling is no sum over terms) or shares no space, several pictures, standing edits between
//! the terms and their sum; [`AnalysisError::Setting`] for a layer past the end; [`AnalysisError::Memory`]; [`AnalysisError::Cancelled`].
//!
//! # When it misleads
//! - It sees what is written for the embedding, not what later layers make of it: a head may matter through others alone (Gandelsman et al. 2024 find direct effects
//!   in the last four layers).
//! - The scale of the norm is held at what it is: without a term it would be another.
//! - Much of a cosine is what any caption is given: pictures and captions lie in cones of their own ([`modality_gap`](crate::modality_gap)). Give a second caption and read
//!   `heads against the others`.
//! - Values at a patch hold what earlier layers gathered there, from elsewhere too (registers; Darcet et al. 2024). `patches` says where it was read.
//!
//! # Agreement
//! NumPy on transformers' states and weights of `clip-a`: largest difference 1e-6. Identities tested: all terms add up to the cosine, whatever is shown; tokens add up to their heads, heads
//! and biases to their layers; captions in another order are the same in that order.
//!
//! # Reference
//! Gandelsman, Efros, Steinhardt: Interpreting CLIP's Image Representation via Text-Based Decomposition. ICLR 2024. <https://arxiv.org/abs/2310.05916>. There the biases and the mean that the norm
//! takes off are spread evenly over all terms; here biases stand by themselves and each term is centred, so that no term depends on how many there are.
//!
//! # Example
//! ```no_run
//! use mmlens_core::{Analysis, Case, Picture, Sample, Words};
//! use mmlens_model::EmbeddingParts;
//! # fn explain(clip: &dyn mmlens_core::Subject) -> Result<(), Box<dyn std::error::Error>> {
//! let texts = Words::Texts(vec!["a red circle".to_owned(), "a blue circle".to_owned()]);
//! let case = Case::new(Sample::new(vec![Picture::open("scene.png")?], texts));
//! let finding = EmbeddingParts::default().run(clip, &case)?;
//! println!("{:?}", finding.table("heads against the others")?.as_numbers());
//! # Ok(())
//! # }
//! ```

use mmlens_core::finding::{Axis, Caution, CautionKind, Labelled, Role, Unit, fixed, largest};
use mmlens_core::{
    Analysis, AnalysisError, Answer, Capability, Card, Case, Copies, Cost, Inputs, Leaf, Objective, On, Part,
    Point, Site, Words, caution,
};
use mmlens_engine::{Indices, Looks, Matrix, Progress, dot, label, looks, numbers, projected};
use serde::{Deserialize, Serialize};

use super::tower_sum::{Class, Reader, in_block};
use crate::check::{input, not_finite};

/// What this method is.
pub const CARD: Card = Card {
    id: "embedding-parts",
    short: "parts",
    name: "Decomposition of the image representation",
    question: "Which heads, which patches, which layers make a picture fit a caption?",
    citation: "Gandelsman, Efros, Steinhardt: Interpreting CLIP's Image Representation via Text-Based Decomposition. ICLR 2024. https://arxiv.org/abs/2310.05916",
    leaf: Leaf::Feature,
    cost: "1 forward, and 1 with explicit attention",
    needs: &[
        Capability::SharedSpace,
        Capability::Blocks(Part::Vision),
        Capability::ReadOut(Part::Vision),
        Capability::Weights(Part::Vision),
    ],
    misleads: &[
        "It sees what is written for the embedding, not what later layers make of it.",
        "The scale of the last norm is held at what it is in this pass.",
        "Much of a cosine is what any caption is given.",
    ],
    first: false,
};

/// What is taken apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which layers are taken apart by head and token.
    pub layers: Indices,
    /// Whether heads are taken apart by what they attend to.
    pub by_token: bool,
    /// Captions beside those of the case. One that the case has already is not taken twice.
    pub captions: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { layers: Indices::All, by_token: true, captions: Vec::new() }
    }
}

/// The decomposition with its settings.
#[derive(Debug, Clone, Default)]
pub struct EmbeddingParts {
    settings: Settings,
}

/// What the terms of one layer add, caption by caption.
#[derive(Default)]
struct Layer {
    /// `[caption, head]`.
    heads: Vec<f64>,
    /// `[caption, token]`.
    tokens: Vec<f64>,
    /// `[caption]`.
    biases: Vec<f64>,
    /// `[head]`.
    random: Vec<f64>,
}

impl Analysis for EmbeddingParts {
    type Input = Case;
    type Settings = Settings;
    const CARD: Card = CARD;

    fn new(settings: Settings) -> Result<Self, AnalysisError> {
        Ok(Self { settings })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn cost(&self, on: &On<'_>, case: &Case) -> Result<Cost, AnalysisError> {
        let sample = case.sample.beside_captions(&self.settings.captions);
        let (subject, inputs) = (on.subject(), on.encode(&sample)?);
        let reader = Reader::of(&CARD, subject)?;
        reader.one_picture(&inputs)?;
        let mut sites = reader.sites(self.settings.by_token);
        sites.push(projected(Part::Text));
        let need = subject.need(&inputs, &Reader::plan(&sites)?, Copies::ONE)?.bytes;
        let passes = 1 + usize::from(self.settings.by_token);
        Ok(Cost::rows(passes * inputs.rows()).taking(need, on.memory().budget()))
    }

    fn answer(&self, on: &On<'_>, case: &Case) -> Result<Answer, AnalysisError> {
        let (subject, by_token) = (on.subject(), self.settings.by_token);
        let sample = case.sample.beside_captions(&self.settings.captions);
        let Words::Texts(texts) = &sample.words else {
            return Err(input(&CARD, "captions", "the sample has none"));
        };
        let inputs = on.encode(&sample)?;
        let reader = Reader::of(&CARD, subject)?;
        let layers = self.settings.layers.chosen(CARD.id, "layers", reader.layers)?;
        let mut progress = Progress::new(on.watch(), CARD.id, 1 + usize::from(by_token) + layers.len());
        let class = reader.read(on, &inputs, Some(projected(Part::Text)), (by_token, 0))?;
        progress.advance(1)?;
        let captions = captions(&class, reader.constant.len())?;
        let along: Vec<Vec<f64>> = captions.rows().map(|u| reader.along(&class, u)).collect();
        let seen = match by_token {
            false => Vec::new(),
            true => {
                let kept = 4 * numbers(subject, &inputs, &reader.sites(true))? as u64;
                let patterns: Vec<Site> =
                    layers.iter().map(|layer| in_block(*layer, Point::Pattern)).collect();
                let memory = on.memory().less(kept);
                let seen = looks(subject, &inputs, &patterns, &[0], (&memory, CARD.id))?;
                progress.advance(1)?;
                seen
            }
        };
        let mut each = Vec::with_capacity(layers.len());
        for (place, layer) in layers.iter().enumerate() {
            each.push(taken_apart(&reader, &class, *layer, &along, seen.get(place))?);
            progress.advance(1)?;
        }
        let mut written = Vec::new();
        for layer in 0..reader.layers {
            for point in [Point::AttnOut, Point::MlpOut] {
                let term = class.state(in_block(layer, point))?;
                written.push(along.iter().map(|along| dot(along, &term)).collect::<Vec<f64>>());
            }
        }
        let entered = class.state(Site::of(Part::Vision, Point::Input))?;
        let outside: Vec<[f64; 2]> = along
            .iter()
            .zip(captions.rows())
            .map(|(along, u)| [dot(along, &entered), dot(u, &reader.constant) / class.length])
            .collect();
        let cosines: Vec<f64> = captions.rows().map(|u| dot(u, &class.embedding) / class.length).collect();
        let sums = |at: usize| -> f64 {
            let written: f64 = written.iter().filter_map(|own| own.get(at)).sum();
            written + outside.get(at).map_or(0.0, |own| own.iter().sum())
        };
        let gaps: Vec<f64> = cosines.iter().enumerate().map(|(at, cosine)| cosine - sums(at)).collect();
        let tables = Tables { texts, layers: &layers, reader: &reader, inputs: &inputs };
        let tables = tables.all(&each, &written, &outside, (&cosines, &gaps))?;
        let of_cosine = |(gap, cosine): (&f64, &f64)| gap / cosine.abs().max(f64::from(f32::MIN_POSITIVE));
        let shares: Vec<f64> = gaps.iter().zip(&cosines).map(of_cosine).collect();
        let relative = largest(&shares).map_err(|own| not_finite(&CARD, "gap", own))?;
        let mut sites = reader.sites(by_token);
        sites.push(projected(Part::Text));
        Ok(Answer::new(tables, sites)
            .explaining(&Objective::Cosine)
            .against("directions drawn by chance")
            .cautioned(caution::gap(relative, caution::GAP, "", ""))
            .cautioned(alone(texts, &cosines))
            .cautioned(no_head(&captions, &each)))
    }
}

/// The captions, each a row of length one.
fn captions(class: &Class, width: usize) -> Result<Matrix, AnalysisError> {
    let rows = Matrix::new(class.all(projected(Part::Text))?, width)?;
    rows.normalised()
        .map_err(|row| input(&CARD, "captions whose vectors have a length", format!("caption {row} is zero")))
}

/// What the heads of a layer, and the tokens that they attend to, add to the cosine with each caption.
fn taken_apart(
    reader: &Reader<'_>,
    class: &Class,
    layer: usize,
    along: &[Vec<f64>],
    seen: Option<&Looks>,
) -> Result<Layer, AnalysisError> {
    let (heads, width) = reader.heads;
    let (output, bias) = reader.output(layer)?;
    let z = class.state(in_block(layer, Point::Z))?;
    let mut found = Layer::default();
    let values = match seen {
        Some(_) => class.all(in_block(layer, Point::V))?,
        None => Vec::new(),
    };
    for along in along {
        // The direction, taken back through the output projection.
        let mut back = vec![0.0; heads * width];
        for (row, x) in output.rows().zip(along) {
            back.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * w);
        }
        found
            .heads
            .extend(z.chunks(width.max(1)).zip(back.chunks(width.max(1))).map(|(z, back)| dot(z, back)));
        found.biases.push(bias.as_ref().map_or(0.0, |bias| dot(bias, along)));
        let Some(looks) = seen else { continue };
        let pattern = looks.of(0, 0);
        let each = heads * width;
        for (token, value) in values.chunks(each.max(1)).enumerate() {
            let share = |head: usize| {
                let weight = pattern.get(head * looks.keys + token).copied().unwrap_or(f32::NAN);
                let range = head * width..(head + 1) * width;
                let (v, back) = (value.get(range.clone()), back.get(range));
                f64::from(weight) * dot(v.unwrap_or_default(), back.unwrap_or_default())
            };
            found.tokens.push((0..heads).map(share).sum());
        }
    }
    let root = (reader.constant.len() as f64).sqrt();
    for (head, z) in z.chunks(width.max(1)).enumerate() {
        let own = |row: &[f64]| dot(row.get(head * width..(head + 1) * width).unwrap_or_default(), z);
        let term: Vec<f64> = output.rows().map(own).collect();
        let written = reader.projected(class, &term);
        found.random.push(dot(&written, &written).sqrt() / root);
    }
    Ok(found)
}

/// What the tables are made for.
struct Tables<'a> {
    texts: &'a [String],
    layers: &'a [usize],
    reader: &'a Reader<'a>,
    inputs: &'a Inputs,
}

impl Tables<'_> {
    fn all(
        &self,
        each: &[Layer],
        written: &[Vec<f64>],
        outside: &[[f64; 2]],
        (cosines, gaps): (&[f64], &[f64]),
    ) -> Result<Vec<Labelled>, AnalysisError> {
        let captions = self.texts.len();
        let caption = || Axis::names(Role::Concept, self.texts.iter().map(String::as_str));
        let layer = || Indices::axis(Role::Layer, self.layers, self.reader.layers);
        let concepts = |names: &[&str]| Axis::names(Role::Concept, names.iter().copied());
        let table = |name: &str, axes, values: Vec<f64>| {
            Labelled::numbers(
                name,
                Unit::Cosine,
                axes,
                values.into_iter().map(|value| value as f32).collect(),
            )
        };
        // From layers, each by caption, to captions, each by layer.
        let turned = |of: &dyn Fn(&Layer) -> &[f64]| -> Vec<f64> {
            let row = |caption: usize, own: &Layer| {
                let all = of(own);
                let each = all.len() / captions.max(1);
                all.get(caption * each..(caption + 1) * each).unwrap_or_default().to_vec()
            };
            (0..captions).flat_map(|caption| each.iter().flat_map(move |own| row(caption, own))).collect()
        };
        let heads = turned(&|own| &own.heads);
        let by_head = || vec![caption(), layer(), Axis::count(Role::Head, self.reader.heads.0)];
        let mut tables = vec![table("heads", by_head(), heads.clone())?];
        if captions > 1 {
            let each = heads.len() / captions;
            let total: Vec<f64> = (0..each).map(|at| heads.iter().skip(at).step_by(each).sum()).collect();
            let against = heads.chunks(each.max(1)).flat_map(|own| {
                own.iter().zip(&total).map(|(own, all)| own - (all - own) / (captions - 1) as f64)
            });
            tables.push(table("heads against the others", by_head(), against.collect())?);
        }
        let by_layer =
            (0..captions).flat_map(|at| written.iter().filter_map(move |own| own.get(at).copied()));
        let axes =
            vec![caption(), Axis::count(Role::Layer, self.reader.layers), concepts(&["attention", "MLP"])];
        tables.push(table("layers", axes, by_layer.collect())?);
        let axes = vec![caption(), concepts(&["input", "bias of the last norm"])];
        tables.push(table("outside the layers", axes, outside.concat())?);
        let tokens = each.first().map_or(0, |own| own.tokens.len() / captions.max(1));
        if tokens > 0 {
            let all = turned(&|own| &own.tokens);
            let token = || label::tower_axis(self.inputs.map(), Part::Vision, 0, 1, tokens);
            let of_caption = all.chunks((tokens * self.layers.len()).max(1));
            let sum = |own: &[f64]| -> Vec<f64> {
                (0..tokens).map(|at| own.iter().skip(at).step_by(tokens).sum()).collect()
            };
            tables.push(table("patches", vec![caption(), token()], of_caption.flat_map(sum).collect())?);
            tables.push(table("patches by layer", vec![caption(), layer(), token()], all)?.aside());
        }
        tables.push(table("cosine", vec![caption()], cosines.to_vec())?);
        tables.push(table("gap", vec![caption()], gaps.to_vec())?);
        let axes = vec![layer(), Axis::count(Role::Head, self.reader.heads.0)];
        tables.push(
            table("random", axes, each.iter().flat_map(|own| own.random.iter().copied()).collect())?.aside(),
        );
        tables.push(table("biases", vec![caption(), layer()], turned(&|own| &own.biases))?.aside());
        Ok(tables)
    }
}

/// That no head adds more to a caption (of several: against the others) than the largest of as many draws would be, if the direction were drawn by chance.
fn no_head(captions: &Matrix, each: &[Layer]) -> Option<Caution> {
    let (count, mut largest, mut n) = (captions.len(), 0.0_f64, 0);
    let others = (count - 1).max(1) as f64;
    for caption in 0..count {
        let less = |own: f64, all: f64| if count > 1 { own - (all - own) / others } else { own };
        let all = captions.mean();
        let along: Vec<f64> =
            captions.row(caption).iter().zip(&all).map(|(u, mean)| less(*u, mean * count as f64)).collect();
        let length = dot(&along, &along).sqrt();
        for own in each {
            let heads = own.random.len();
            for (head, random) in own.random.iter().enumerate() {
                let all: f64 = own.heads.iter().skip(head).step_by(heads).sum();
                let added = less(own.heads.get(caption * heads + head).copied().unwrap_or(0.0), all);
                if random * length > 0.0 {
                    largest = largest.max(added.abs() / (random * length)); // no NaN: finite states
                }
                n += 1;
            }
        }
    }
    // What two captions are given against one another is the same but for the sign.
    let n = if count == 2 { n / 2 } else { n };
    let chance = caution::largest_of_draws(n);
    (n > 1 && largest <= chance).then(|| {
        let text = format!(
            "the head that adds most adds {largest:.2} times what it adds to a direction drawn by chance, and the largest of {n} normal draws lies about {chance:.2} away: no head stands out"
        );
        Caution::new(CautionKind::NoBetter, (largest - chance) as f32, text)
    })
}

/// That there is no other caption to compare with.
fn alone(texts: &[String], cosines: &[f64]) -> Option<Caution> {
    let ([_], [cosine]) = (texts, cosines) else { return None };
    let text = format!(
        "a single caption: much of its cosine of {} is what any caption is given; give another, and read `heads against the others`",
        fixed(*cosine, 3)
    );
    Some(Caution::new(CautionKind::NotContrasted, *cosine as f32, text))
}
