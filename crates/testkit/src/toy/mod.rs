//! A subject of a few hundred weights, small enough to reason about and straight where it is asked to be.
//!
//! A picture of 8 x 8 pixels is cut into four patches; every letter is a token, `#` stands for a picture. Two
//! blocks of causal attention and an MLP follow, then the unembedding: no norms, no positions. The straight toy
//! attends evenly to everything before and has no nonlinearity, so that every logit is an affine function of
//! pixels and embeddings. Toys with ears hear recordings too (`ears`), for which `~` stands, behind all pictures.

mod decode;
mod ears;
mod encode;
mod sites;
mod weights;

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation::softmax};
use mmlens_core::{
    Anatomy, AnyTensor, HookError, Inputs, LogitsAt, MASKED, Output, Part, Plan, Point, Resume, Rules, Run,
    Sample, Seed, Session, Site, SiteSpec, Subject, SubjectError, WeightSpec, kind,
};

use decode::Cache;
use ears::{Ears, FEATURES};
use sites::sites;
use weights::weights;

const SIDE: usize = 8;
const PATCH: usize = 4;
const GRID: usize = SIDE / PATCH;
const PATCHES: usize = GRID * GRID;
const WIDTH: usize = 6;
const HEADS: usize = 2;
const HEAD: usize = WIDTH / HEADS;
const NEURONS: usize = 8;
const BLOCKS: usize = 2;
const VOCAB: usize = 27;
const PLACEHOLDER: u32 = 26;

/// What a toy has computed since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Passes of pictures through the tower and the connector, counted by picture.
    pub pictures: usize,
    /// Passes of recordings into their tower, counted by recording.
    pub recordings: usize,
    /// Blocks of the decoder, counted by row.
    pub blocks: usize,
    /// Logits.
    pub logits: usize,
}

/// A tiny subject.
#[derive(Debug)]
pub struct Toy {
    work: Mutex<Work>,
    name: String,
    straight: bool,
    seed: Seed,
    look: Tensor<2>,
    carry: Tensor<2>,
    embed: Tensor<2>,
    blocks: Vec<ToyBlock>,
    unembed: Tensor<2>,
    ears: Option<Ears>,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
    weights: Vec<WeightSpec>,
    ends: Vec<u32>,
    device: Device,
}

#[derive(Debug)]
struct ToyBlock {
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    o: Tensor<2>,
    up: Tensor<2>,
    down: Tensor<2>,
}

/// Draws the weights of a seed, one matrix after the other.
struct Draw {
    seed: Seed,
    next: u64,
    device: Device,
}

impl Draw {
    fn matrix(&mut self, rows: usize, cols: usize) -> Tensor<2> {
        let seed = self.seed.at(self.next);
        self.next += 1;
        let scale = 2.0 / (rows as f32).sqrt();
        let values: Vec<f32> =
            (0..rows * cols).map(|i| (seed.at(i as u64).unit() - 0.5) * 2.0 * scale).collect();
        Tensor::from_data(TensorData::new(values, [rows, cols]), &self.device)
    }

    fn block(&mut self) -> ToyBlock {
        ToyBlock {
            q: self.matrix(WIDTH, WIDTH),
            k: self.matrix(WIDTH, WIDTH),
            v: self.matrix(WIDTH, WIDTH),
            o: self.matrix(WIDTH, WIDTH),
            up: self.matrix(WIDTH, NEURONS),
            down: self.matrix(NEURONS, WIDTH),
        }
    }
}

impl Toy {
    /// A toy with a softmax and a tanh.
    pub fn curved(seed: u64) -> Self {
        Self::new(seed, false)
    }

    /// A toy whose logits are affine in pixels and embeddings.
    pub fn straight(seed: u64) -> Self {
        Self::new(seed, true)
    }

    fn new(seed: u64, straight: bool) -> Self {
        let device = mmlens_core::device::host();
        let mut draw = Draw { seed: Seed(seed), next: 0, device: device.clone() };
        let blocks = (0..BLOCKS).map(|_| draw.block()).collect();
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
        Self {
            work: Mutex::default(),
            name: if straight { "straight toy" } else { "curved toy" }.to_owned(),
            straight,
            seed: Seed(seed),
            look: draw.matrix(3 * PATCH * PATCH, WIDTH),
            carry: draw.matrix(WIDTH, WIDTH),
            embed: draw.matrix(VOCAB, WIDTH).mul_scalar(3.0),
            blocks,
            unembed: draw.matrix(WIDTH, VOCAB),
            ears: None,
            sites: sites(),
            anatomy: vec![text],
            weights: weights(),
            ends: Vec::new(),
            device,
        }
    }

    /// The same with ears.
    #[must_use]
    pub fn with_ears(mut self) -> Self {
        // Behind all weights that toys without ears have.
        let mut draw = Draw { seed: self.seed, next: 1 << 32, device: self.device.clone() };
        self.ears = Some(Ears::new(&mut draw));
        let behind = self.sites.iter().position(|spec| spec.site.part() > Part::Audio);
        self.sites.splice(behind.unwrap_or(0)..behind.unwrap_or(0), ears::sites_heard());
        self.anatomy.insert(0, ears::ANATOMY);
        self.name = format!("{} with ears", self.name);
        self
    }

    /// The same with tokens that end an answer.
    #[must_use]
    pub fn ending(self, ends: impl IntoIterator<Item = u32>) -> Self {
        Self { ends: ends.into_iter().collect(), ..self }
    }

    /// The same without what a head writes: its rows of the output projection are zero.
    #[must_use]
    pub fn without_head(mut self, block: usize, head: usize) -> Self {
        let zero = Tensor::zeros([HEAD, WIDTH], &self.device);
        let o = &mut self.blocks[block].o;
        *o = o.clone().slice_assign([head * HEAD..(head + 1) * HEAD, 0..WIDTH], zero);
        self
    }

    /// What it has computed since it was made.
    pub fn work(&self) -> Work {
        *self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worked(&self, add: impl FnOnce(&mut Work)) {
        add(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Its vocabulary.
    pub fn vocabulary(&self) -> usize {
        VOCAB
    }

    fn refuse(&self, reason: impl Into<String>) -> SubjectError {
        SubjectError::Sample { subject: self.name.clone(), reason: reason.into() }
    }

    /// Patches of the pictures, `[image, patch, d]`; `None` if the pass ended before.
    fn see(&self, pixels: AnyTensor, run: &mut Run) -> Result<Option<Tensor<3>>, SubjectError> {
        let pixels: Tensor<4> = pixels.rank_of("vision.pixels")?;
        let [n, channels, height, width] = pixels.dims();
        if [channels, height, width] != [3, SIDE, SIDE] {
            return Err(
                self.refuse(format!("pictures of {channels} x {height} x {width}, not 3 x {SIDE} x {SIDE}"))
            );
        }
        self.worked(|work| work.pictures += n);
        let pixels = run.at(Site::of(Part::Vision, Point::Pixels), pixels)?;
        let patches = pixels.reshape([n, 3, GRID, PATCH, GRID, PATCH]).permute([0, 2, 4, 1, 3, 5]);
        let patches = patches.reshape([n * PATCHES, 3 * PATCH * PATCH]);
        let seen = patches.matmul(self.look.clone()).reshape([n, PATCHES, WIDTH]);
        let seen = run.at(Site::of(Part::Vision, Point::Features), seen)?;
        Ok((!run.done()).then_some(seen))
    }

    /// What takes the places of placeholders, `[placeholder, d]`: patches of pictures, then features of recordings; `None` if the pass ended
    /// before.
    fn perceive(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Vec<Tensor<2>>>, SubjectError> {
        let seen = match inputs.seen.values.clone() {
            None => None,
            Some(pixels) => match self.see(pixels, run)? {
                None => return Ok(None),
                seen => seen,
            },
        };
        let heard = match inputs.heard.values {
            None => None,
            Some(_) => match self.listen(inputs, run)? {
                None => return Ok(None),
                heard => heard,
            },
        };
        let out = match seen {
            None => None,
            Some(seen) => Some(run.at(Site::of(Part::Connector, Point::Out), times(seen, &self.carry))?),
        };
        if run.done() {
            return Ok(None);
        }
        let flat = |x: Tensor<3>| {
            let [n, each, d] = x.dims();
            x.reshape([n * each, d])
        };
        Ok(Some(out.into_iter().chain(heard).map(flat).collect()))
    }

    /// Token vectors, `[batch, pos, d]`.
    fn words(&self, ids: &[Vec<u32>], run: &mut Run) -> Result<Tensor<3>, SubjectError> {
        let (b, p) = (ids.len(), ids.first().map_or(0, Vec::len));
        if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= VOCAB) {
            return Err(self.refuse(format!("token {id} is outside the vocabulary of {VOCAB}")));
        }
        let ids: Vec<i64> = ids.iter().flatten().map(|id| i64::from(*id)).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [b * p]), &self.device);
        let words = self.embed.clone().select(0, ids).reshape([b, p, WIDTH]);
        Ok(run.at(Site::of(Part::Text, Point::Embed), words)?)
    }

    /// Token vectors with what is perceived in the place of placeholders, `[batch, pos, d]`.
    fn read(
        &self,
        inputs: &Inputs,
        perceived: Vec<Tensor<2>>,
        run: &mut Run,
    ) -> Result<Tensor<3>, SubjectError> {
        let (b, p) = (inputs.rows(), inputs.positions());
        let words = self.words(&inputs.ids, run)?;
        let mut index: Vec<i64> = (0..(b * p) as i64).collect();
        let heard_from = b * p + inputs.seen.len() * PATCHES;
        for (row, ids) in inputs.ids.iter().enumerate() {
            let (images, clips) = (inputs.seen.of_row(row), inputs.heard.of_row(row));
            let places: Vec<usize> = (0..p).filter(|i| ids[*i] == PLACEHOLDER).collect();
            let map = inputs.maps.get(row);
            // Of each recording as many features as its map says.
            let features = |own: usize| {
                let first = map?.first_sound();
                map.map(|map| map.picture(first + own).len())
            };
            let sources =
                images.iter().flat_map(|image| (0..PATCHES).map(move |i| b * p + image * PATCHES + i));
            let heard = clips.iter().enumerate().flat_map(|(own, clip)| {
                let from = heard_from + clip * FEATURES;
                from..from + features(own).unwrap_or(FEATURES).min(FEATURES)
            });
            let sources: Vec<usize> = sources.chain(heard).collect();
            if places.len() != sources.len() {
                return Err(self.refuse(format!(
                    "{} placeholders for {} pictures and {} recordings",
                    places.len(),
                    images.len(),
                    clips.len()
                )));
            }
            for (place, source) in places.into_iter().zip(sources) {
                index[row * p + place] = source as i64;
            }
        }
        if perceived.is_empty() {
            return Ok(words);
        }
        let all = [vec![words.reshape([b * p, WIDTH])], perceived].concat();
        let all = Tensor::cat(all, 0);
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [b * p]), &self.device);
        Ok(all.select(0, index).reshape([b, p, WIDTH]))
    }

    fn block(
        &self,
        (weights, part, i): (&ToyBlock, Part, usize),
        x: Tensor<3>,
        hidden: &Tensor<4, Bool>,
        cache: Option<&mut Cache>,
        run: &mut Run,
    ) -> Result<Tensor<3>, HookError> {
        let ToyBlock { q, k, v, o, up, down } = weights;
        let site = |point| Site::block(part, i, point);
        let x = run.at(site(Point::ResidPre), x)?;
        let [b, p, _] = x.dims();
        let copies = [Point::QIn, Point::KIn, Point::VIn].map(|point| {
            run.wants(site(point)).then(|| x.clone().unsqueeze_dim::<4>(2).expand([b, p, HEADS, WIDTH]))
        });
        let mut own = [None, None, None];
        for ((slot, copies), point) in own.iter_mut().zip(copies).zip([Point::QIn, Point::KIn, Point::VIn]) {
            *slot = copies.map(|copies| run.at(site(point), copies)).transpose()?;
        }
        let heads = |weight: &Tensor<2>, own: Option<Tensor<4>>| match own {
            Some(own) => apart(own, weight),
            None => times(x.clone(), weight).reshape([b, p, HEADS, HEAD]),
        };
        let [q_own, k_own, v_own] = own;
        let q = run.at(site(Point::Q), heads(q, q_own))?.swap_dims(1, 2);
        let k = run.at(site(Point::K), heads(k, k_own))?.swap_dims(1, 2);
        let v = run.at(site(Point::V), heads(v, v_own))?.swap_dims(1, 2);
        let (k, v) = match cache {
            Some(cache) => cache.extend(i, k, v),
            None => (k, v),
        };
        let keys = k.dims()[2];
        let scores = q.matmul(k.swap_dims(2, 3)).div_scalar((HEAD as f32).sqrt());
        let scores = if self.straight { scores.mul_scalar(0.0) } else { scores };
        let scores = run
            .at(site(Point::Scores), scores.mask_fill(hidden.clone().expand([b, HEADS, p, keys]), MASKED))?;
        let pattern = run.at(site(Point::Pattern), softmax(scores, 3))?;
        let mixed = run.at(site(Point::Z), pattern.matmul(v).swap_dims(1, 2))?;
        let out = if run.wants(site(Point::Result)) {
            let each = o.clone().reshape([HEADS, HEAD, WIDTH]);
            let result = mixed.reshape([b * p, HEADS, HEAD]).swap_dims(0, 1).matmul(each);
            let result = run.at(site(Point::Result), result.swap_dims(0, 1).reshape([b, p, HEADS, WIDTH]))?;
            result.sum_dim(2).squeeze_dim(2)
        } else {
            times(mixed.reshape([b, p, WIDTH]), o)
        };
        let x = x + run.at(site(Point::AttnOut), out)?;
        let x = run.at(site(Point::ResidMid), x)?;
        let read = run.at(site(Point::MlpIn), x.clone())?;
        let neurons = run.at(site(Point::MlpPre), times(read, up))?;
        let neurons = if self.straight { neurons } else { neurons.tanh() };
        let neurons = run.at(site(Point::MlpPost), neurons)?;
        let x = x + run.at(site(Point::MlpOut), times(neurons, down))?;
        run.at(site(Point::ResidPost), x)
    }

    fn pass(
        &self,
        inputs: &Inputs,
        cache: Option<&mut Cache>,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, SubjectError> {
        let (b, p) = (inputs.rows(), inputs.positions());
        let (first, x) = match run.resume(Part::Text) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                if hidden.dims() != [b, p, WIDTH] {
                    return Err(self.refuse(format!(
                        "a state of shape {:?}, not {:?}",
                        hidden.dims(),
                        [b, p, WIDTH]
                    )));
                }
                (block, hidden)
            }
            _ => {
                let Some(perceived) = self.perceive(inputs, run)? else { return Ok(None) };
                let x = self.read(inputs, perceived, run)?;
                (0, run.at(Site::of(Part::Text, Point::Input), x)?)
            }
        };
        self.go_through(x, (first, &inputs.pads), cache, inputs.logits_at, run)
    }

    /// Through the blocks from one on, behind what is cached; `None` if the pass ended before its logits.
    fn go_through(
        &self,
        mut x: Tensor<3>,
        (first, pads): (usize, &[usize]),
        mut cache: Option<&mut Cache>,
        logits_at: LogitsAt,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, SubjectError> {
        let [b, p, _] = x.dims();
        let past = cache.as_ref().map_or(0, |cache| cache.positions());
        let keys = past + p;
        let mut hidden = Vec::with_capacity(b * p * keys);
        for pad in pads {
            let unseen =
                |query: usize, key: usize| key != query && (key > query || key < *pad || query < *pad);
            hidden.extend((0..p * keys).map(|i| unseen(past + i / keys, i % keys)));
        }
        let hidden = Tensor::from_data(TensorData::new(hidden, [b, 1, p, keys]), &self.device);
        for i in first..BLOCKS {
            if run.done() {
                return Ok(None);
            }
            self.worked(|work| work.blocks += b);
            x = self.block((&self.blocks[i], Part::Text, i), x, &hidden, cache.as_deref_mut(), run)?;
        }
        if run.done() {
            return Ok(None);
        }
        let logits = self.say(x, logits_at, run)?;
        self.worked(|work| work.logits += logits.dims().iter().product::<usize>());
        Ok(Some(logits))
    }

    /// The logits that are asked for.
    fn say(&self, x: Tensor<3>, logits_at: LogitsAt, run: &mut Run) -> Result<Tensor<3>, SubjectError> {
        let p = x.dims()[1];
        let Some(wanted) = run.selected_logits() else {
            let x = if logits_at == LogitsAt::Last { x.narrow(1, p - 1, 1) } else { x };
            return Ok(run.at(Site::of(Part::Text, Point::Logits), times(x, &self.unembed))?);
        };
        let index =
            |i: &[i64]| Tensor::<1, Int>::from_data(TensorData::new(i.to_vec(), [i.len()]), &self.device);
        let at: Vec<i64> = wanted.positions(p)?.into_iter().map(|at| at as i64).collect();
        let tokens = wanted.tokens(VOCAB)?.map(|own| own.iter().map(|t| i64::from(*t)).collect::<Vec<_>>());
        let unembed = match tokens {
            Some(tokens) => self.unembed.clone().select(1, index(&tokens)),
            None => self.unembed.clone(),
        };
        Ok(times(x.select(1, index(&at)), &unembed))
    }
}

impl Subject for Toy {
    fn name(&self) -> &str {
        &self.name
    }

    fn weights_hash(&self) -> String {
        format!("seed:{}", self.seed.value())
    }

    fn device(&self) -> String {
        mmlens_core::device::kind(&self.device)
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }

    fn weights(&self) -> &[WeightSpec] {
        &self.weights
    }

    fn weight(&self, name: &str) -> Result<AnyTensor, SubjectError> {
        self.named(name).ok_or_else(|| SubjectError::no_weight(self, name))
    }

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        self.encoded(sample)
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        if inputs.positions() == 0 {
            return Err(self.refuse("the rows have no positions".to_owned()));
        }
        Ok(match self.pass(inputs, None, run)? {
            Some(logits) => run.output(logits)?,
            None => Output::default(),
        })
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        let states = kind::readable(self, part, states)?;
        Ok(states.matmul(self.unembed.clone()).into())
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        self.decoding(inputs, plan)
    }

    fn rules(&self, inputs: &Inputs) -> Result<Rules, SubjectError> {
        Ok(Rules { ends: self.ends.clone(), ..Rules::none(inputs) })
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect())
    }

    fn token(&self, id: u32) -> String {
        match u8::try_from(id) {
            Ok(id) if u32::from(id) < PLACEHOLDER => char::from(b'a' + id).to_string(),
            _ => "#".to_owned(),
        }
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        Ok(text.chars().map(|letter| u32::from(letter) % PLACEHOLDER).collect())
    }
}

/// `[a, b, d]` times `[d, e]`.
fn times(x: Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    let ([a, b, d], e) = (x.dims(), weight.dims()[1]);
    x.reshape([a * b, d]).matmul(weight.clone()).reshape([a, b, e])
}

/// What each head reads, `[a, b, head, d]`, times its own columns of a weight.
fn apart(x: Tensor<4>, weight: &Tensor<2>) -> Tensor<4> {
    let [a, b, heads, d] = x.dims();
    let weight = weight.clone().reshape([d, heads, HEAD]).swap_dims(0, 1);
    let y = x.reshape([a * b, heads, d]).swap_dims(0, 1).matmul(weight);
    y.swap_dims(0, 1).reshape([a, b, heads, HEAD])
}
