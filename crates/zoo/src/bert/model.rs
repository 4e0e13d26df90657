//! The network: a stack that looks both ways, and a head of words or a pooler behind it.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    Anatomy, AxisName, Batch, Inputs, Part, Point, Port, Run, Site, SiteSpec, Through, WeightSpec,
};

use super::{BertConfig, Stack, Tokens, WordHead};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Linear, Named, Padding, Reach, named, selected_logits, selected_states};

/// The network.
#[derive(Debug, Clone)]
pub struct BertModel {
    /// Embeddings and blocks.
    pub text: Stack,
    head: Option<WordHead>,
    pooler: Option<Linear>,
}

impl BertModel {
    /// Takes all weights. A pooler is taken where nothing but states is said and the file has one.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: &BertConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let stack = &config.stack;
        let text = Stack::take(stack.clone(), Part::Text, weights, "bert")?;
        let words = config.tied.then(|| text.words().clone());
        let head = match config.masked_lm {
            true => Some(WordHead::take(stack, weights, "cls.predictions", words.as_ref())?),
            false => None,
        };
        let pooler = match !config.masked_lm && weights.has("bert.pooler.dense.weight") {
            true => Some(Linear::take(weights, "bert.pooler.dense", stack.d_model, stack.d_model, true)?),
            false => None,
        };
        Ok(Self { text, head, pooler })
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Batch, DModel, Pos, Vocab};
        let (mut sites, config) = (self.text.sites(), self.text.config());
        if self.pooler.is_some() {
            let pooled = [(Batch, None), (DModel, Some(config.d_model))];
            sites.push(SiteSpec::new(Site::of(Part::Text, Point::Pooled), pooled));
        }
        if self.head.is_some() {
            let logits = [(Batch, None), (Pos, None), (Vocab, Some(config.vocab))];
            sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        }
        sites
    }

    /// The sizes of its stack.
    pub fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.text.anatomy()]
    }

    /// Its weights by name: those of its stack, and the head's or the pooler's. The pooler reads one position alone.
    pub(crate) fn named(&self) -> Vec<Named> {
        let mut all = self.text.named(None);
        all.extend(self.head.iter().flat_map(WordHead::named));
        if let Some(pooler) = &self.pooler {
            let stream = [(AxisName::DModel, self.text.config().d_model)];
            // `cap tanh(x / cap)` with a cap of one.
            let to = Port::through(Site::of(Part::Text, Point::Pooled), Through::Cap(1.0));
            let spec = WeightSpec::product("text.pooler", (&stream, &stream), None, Some(to));
            all.extend(named::product(pooler, spec));
        }
        all
    }

    /// Logits, `[batch, asked, vocab]`; `None` if the pass ended before or there is no head. The last position is the last
    /// of the row, padding included.
    ///
    /// # Errors
    /// Whatever a site reports; tokens or positions there are not.
    pub fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let Batch { ids, pads, tails, .. } = &**inputs;
        let tokens = Tokens { ids, padding: Padding { pads, tails }, reach: Reach::Both };
        let Some(x) = self.text.forward(tokens, None, None, run)? else { return Ok(None) };
        if let Some(pooler) = &self.pooler {
            let first = first_of(x.clone(), pads);
            run.at(Site::of(Part::Text, Point::Pooled), pooler.apply(first).tanh())?;
        }
        let Some(head) = &self.head else { return Ok(None) };
        let x = selected_states(x, inputs.logits_at, run)?;
        Ok(Some(selected_logits(x, self.text.config().vocab, run, |x, tokens| head.say(x, tokens))?))
    }

    /// What the states behind the last block's sum would say, `[rows, d]` to `[rows, vocab]`: the last norm and the head.
    pub fn unembed(&self, states: Tensor<2>) -> Option<Tensor<2>> {
        self.head.as_ref().map(|head| head.say(self.text.last_norm().apply(states), None))
    }
}

/// The first real position of each row, of `[batch, pos, d]`.
pub(crate) fn first_of(x: Tensor<3>, pads: &[usize]) -> Tensor<2> {
    let [rows, length, d] = x.dims();
    if pads.iter().all(|pad| *pad == 0) {
        return x.narrow(1, 0, 1).squeeze_dim(1);
    }
    let device = x.device().without_autodiff();
    let places: Vec<i64> = pads.iter().enumerate().map(|(row, pad)| (row * length + pad) as i64).collect();
    let count = [places.len()];
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, count), &device);
    x.reshape([rows * length, d]).select(0, places)
}
