//! A small decoder on `ndarray` alone: another engine behind `Subject`.
//!
//! `Activation` is implemented for `ArrayD<f32>`, so a value crosses to Burn only at a site that a plan reads or edits.
//! What such a subject cannot do is take gradients: methods that need them say so.

use std::sync::Arc;

use mmlens::prelude::*;
use ndarray::{Array2, Array3, ArrayD, ArrayView2, Axis as Dim, Ix3, Ix4, s};

const WIDTH: usize = 12;
const HEADS: usize = 3;
const HEAD: usize = WIDTH / HEADS;
const NEURONS: usize = 16;
const BLOCKS: usize = 2;
const LETTERS: usize = 27;
const POSITIONS: usize = 32;

/// Letters in, the next letter out.
pub(crate) struct Letters {
    seed: Seed,
    embed: Array2<f32>,
    places: Array2<f32>,
    blocks: Vec<Block>,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
}

/// Query, key, value and output, up and down.
struct Block {
    qkv: [Array2<f32>; 3],
    o: Array2<f32>,
    up: Array2<f32>,
    down: Array2<f32>,
}

impl Letters {
    pub(crate) fn new(seed: Seed) -> Self {
        let mut count = 0;
        let mut matrix = |rows: usize, cols: usize| {
            let own = seed.at(count);
            count += 1;
            let scale = 2.0 / (rows as f32).sqrt();
            Array2::from_shape_fn((rows, cols), |(r, c)| (own.at((r * cols + c) as u64).unit() - 0.5) * scale)
        };
        let (embed, places) = (matrix(LETTERS, WIDTH) * 3.0, matrix(POSITIONS, WIDTH));
        let blocks = (0..BLOCKS).map(|_| Block {
            qkv: [matrix(WIDTH, WIDTH), matrix(WIDTH, WIDTH), matrix(WIDTH, WIDTH)],
            o: matrix(WIDTH, WIDTH),
            up: matrix(WIDTH, NEURONS),
            down: matrix(NEURONS, WIDTH),
        });
        let blocks = blocks.collect();
        let text = Anatomy {
            part: Part::Text,
            blocks: BLOCKS,
            heads: HEADS,
            kv_heads: HEADS,
            d_model: WIDTH,
            d_head: HEAD,
            d_mlp: NEURONS,
            made_for: None,
        };
        Self { seed, embed, places, blocks, sites: sites(), anatomy: vec![text] }
    }

    /// What stands at a site, as the run leaves it.
    fn at(run: &mut Run, site: Site, x: Array3<f32>) -> Result<Array3<f32>, HookError> {
        let dims = x.shape().to_vec();
        let given = x.len();
        let x = run.at(site, x.into_dyn())?;
        x.into_dimensionality::<Ix3>().map_err(|_| HookError::Values { dims, given })
    }

    fn block(
        &self,
        i: usize,
        x: Array3<f32>,
        pads: &[usize],
        run: &mut Run,
    ) -> Result<Array3<f32>, HookError> {
        let site = |point| Site::block(Part::Text, i, point);
        let block = &self.blocks[i];
        let x = Self::at(run, site(Point::ResidPre), x)?;
        let (rows, length) = (x.shape()[0], x.shape()[1]);
        let mut mixed = ArrayD::<f32>::zeros(vec![rows, length, HEADS, HEAD]);
        let normed = norm(&x);
        let [q, k, v] = [0, 1, 2].map(|j| times(&normed, &block.qkv[j]));
        for (row, pad) in pads.iter().enumerate().take(rows) {
            for head in 0..HEADS {
                let own = s![row, .., head * HEAD..(head + 1) * HEAD];
                let mut scores = q.slice(own).dot(&k.slice(own).t()) / (HEAD as f32).sqrt();
                for ((query, key), score) in scores.indexed_iter_mut() {
                    // Padding sees itself alone.
                    if key != query && (key > query || key < *pad || query < *pad) {
                        *score = f32::NEG_INFINITY;
                    }
                }
                for mut weights in scores.rows_mut() {
                    // no NaN: one that is passed by here makes the sum NaN, and with it the row.
                    let top = weights.fold(f32::NEG_INFINITY, |top, score| top.max(*score));
                    weights.mapv_inplace(|score| (score - top).exp());
                    let sum = weights.sum();
                    weights /= sum;
                }
                mixed.slice_mut(s![row, .., head, ..]).assign(&scores.dot(&v.slice(own)));
            }
        }
        let mixed = run.at(site(Point::Z), mixed)?;
        let given = mixed.len();
        let bad = || HookError::Values { dims: vec![rows, length, HEADS, HEAD], given };
        let mixed = mixed.into_dimensionality::<Ix4>().map_err(|_| bad())?;
        let mixed = mixed.to_shape((rows, length, WIDTH)).map_err(|_| bad())?.to_owned();
        let x = &x + &Self::at(run, site(Point::AttnOut), times(&mixed, &block.o))?;
        let x = Self::at(run, site(Point::ResidMid), x)?;
        let neurons = Self::at(run, site(Point::MlpPre), times(&norm(&x), &block.up))?;
        let neurons = Self::at(run, site(Point::MlpPost), neurons.mapv(|value| value.max(0.0)))?;
        let x = &x + &Self::at(run, site(Point::MlpOut), times(&neurons, &block.down))?;
        Self::at(run, site(Point::ResidPost), x)
    }

    fn refuse(reason: impl Into<String>) -> SubjectError {
        SubjectError::Sample { subject: "letters".to_owned(), reason: reason.into() }
    }
}

impl Subject for Letters {
    fn name(&self) -> &str {
        "letters"
    }

    fn weights_hash(&self) -> String {
        format!("seed:{}", self.seed.value())
    }

    fn device(&self) -> String {
        "ndarray".to_owned()
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        let (Words::Prompt(text) | Words::Question(text)) = &sample.words else {
            return Err(Self::refuse("it takes one prompt"));
        };
        if text.is_empty() || !sample.pictures.is_empty() || !sample.clips.is_empty() {
            return Err(Self::refuse("it takes letters, and nothing to look at"));
        }
        let mut map = TokenMap { text: text.clone(), ..TokenMap::default() };
        let mut ids = Vec::new();
        for (at, letter) in text.char_indices() {
            let id = self.tokens(&letter.to_string())?[0];
            let end = at + letter.len_utf8();
            map.tokens.push(TokenLabel::new(letter, Modality::Text).with_id(id).with_bytes(at, end));
            ids.push(id);
        }
        Inputs::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(map)],
            ..Batch::default()
        })
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let (rows, length) = (inputs.rows(), inputs.positions());
        if length == 0 || length > POSITIONS {
            return Err(Self::refuse(format!("{length} positions, not 1 to {POSITIONS}")));
        }
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, state) => {
                let state = ArrayD::from_tensor(state)?.into_dimensionality::<Ix3>();
                (block, state.map_err(|e| Self::refuse(e.to_string()))?)
            }
            _ => {
                let mut x = Array3::<f32>::zeros((rows, length, WIDTH));
                for (row, ids) in inputs.ids.iter().enumerate() {
                    for (at, id) in ids.iter().enumerate() {
                        let id = *id as usize;
                        if id >= LETTERS {
                            return Err(Self::refuse(format!("token {id}, not 0 to {}", LETTERS - 1)));
                        }
                        x.slice_mut(s![row, at, ..]).assign(&self.embed.row(id));
                    }
                }
                let mut x = Self::at(run, Site::of(Part::Text, Point::Embed), x)?;
                for (row, pad) in inputs.pads.iter().enumerate() {
                    for at in *pad..length {
                        let mut own = x.slice_mut(s![row, at, ..]);
                        own += &self.places.row(at - pad);
                    }
                }
                (0, Self::at(run, Site::of(Part::Text, Point::Input), x)?)
            }
        };
        for i in first..BLOCKS {
            if run.done() {
                return Ok(Output::default());
            }
            x = self.block(i, x, &inputs.pads, run)?;
        }
        if run.done() {
            return Ok(Output::default());
        }
        let asked = if inputs.logits_at == LogitsAt::Last { length - 1 } else { 0 };
        let logits = times(&norm(&x.slice(s![.., asked.., ..]).to_owned()), &self.embed.t().to_owned());
        let logits = Self::at(run, Site::of(Part::Text, Point::Logits), logits)?;
        Ok(Output::of_logits(logits.into_dyn().into_tensor()))
    }

    /// Of the text, the part it has: the last norm, and each letter's embedding.
    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let states = kind::readable(self, part, states)?;
        let states = ArrayD::from_tensor(states.unsqueeze_dim::<3>(0).into())?.into_dimensionality::<Ix3>();
        let states = states.map_err(|error| Self::refuse(error.to_string()))?;
        let logits = times(&norm(&states), &self.embed.t().to_owned());
        Ok(logits.index_axis_move(Dim(0), 0).into_dyn().into_tensor())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect())
    }

    fn token(&self, id: u32) -> String {
        u8::try_from(id)
            .ok()
            .filter(|id| *id < 26)
            .map_or_else(|| " ".to_owned(), |id| char::from(b'a' + id).into())
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        let id = |letter: char| match letter {
            'a'..='z' => Ok(u32::from(letter) - u32::from('a')),
            ' ' => Ok(26),
            other => Err(Self::refuse(format!("`{other}` is no small letter and no space"))),
        };
        text.chars().map(id).collect()
    }
}

/// Every position over the root of its mean square.
fn norm(x: &Array3<f32>) -> Array3<f32> {
    let mean = x.mapv(|value| value * value).mean_axis(Dim(2)).unwrap_or_default();
    x / &mean.mapv(|mean| (mean + 1e-6).sqrt()).insert_axis(Dim(2))
}

/// `[a, b, d]` times `[d, e]`.
fn times(x: &Array3<f32>, weight: &Array2<f32>) -> Array3<f32> {
    let mut out = Array3::zeros((x.shape()[0], x.shape()[1], weight.ncols()));
    for (own, mut out) in x.outer_iter().zip(out.outer_iter_mut()) {
        let own: ArrayView2<'_, f32> = own;
        out.assign(&own.dot(weight));
    }
    out
}

fn sites() -> Vec<SiteSpec> {
    use AxisName::{Batch, DHead, DModel, Head, Neuron, Pos, Vocab};
    let stream = vec![(Batch, None), (Pos, None), (DModel, Some(WIDTH))];
    let heads = vec![(Batch, None), (Pos, None), (Head, Some(HEADS)), (DHead, Some(HEAD))];
    let neurons = vec![(Batch, None), (Pos, None), (Neuron, Some(NEURONS))];
    let mut sites: Vec<SiteSpec> = [Point::Embed, Point::Input]
        .map(|point| SiteSpec::new(Site::of(Part::Text, point), stream.clone()))
        .to_vec();
    for i in 0..BLOCKS {
        let points = [
            (Point::ResidPre, &stream),
            (Point::Z, &heads),
            (Point::AttnOut, &stream),
            (Point::ResidMid, &stream),
            (Point::MlpPre, &neurons),
            (Point::MlpPost, &neurons),
            (Point::MlpOut, &stream),
            (Point::ResidPost, &stream),
        ];
        sites.extend(
            points.map(|(point, axes)| SiteSpec::new(Site::block(Part::Text, i, point), axes.clone())),
        );
    }
    let logits = [(Batch, None), (Pos, None), (Vocab, Some(LETTERS))];
    sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
    sites
}
