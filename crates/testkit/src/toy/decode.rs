//! The toy, token by token.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{
    AnyTensor, Decode, Decoding, Inputs, LogitsAt, Part, Plan, Point, Run, Session, Site, SubjectError,
};

use super::Toy;

/// Keys and values of each block, `[batch, head, pos, d_head]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache(Vec<(Tensor<4>, Tensor<4>)>);

impl Cache {
    pub(super) fn positions(&self) -> usize {
        self.0.first().map_or(0, |(k, _)| k.dims()[2])
    }

    /// Appends a block's new keys and values; gives all of them.
    pub(super) fn extend(&mut self, block: usize, k: Tensor<4>, v: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let all = match self.0.get(block).cloned() {
            Some((own_k, own_v)) => (Tensor::cat(vec![own_k, k], 2), Tensor::cat(vec![own_v, v], 2)),
            None => (k, v),
        };
        match self.0.get_mut(block) {
            Some(slot) => *slot = all.clone(),
            None => self.0.push(all.clone()),
        }
        all
    }
}

#[derive(Clone)]
struct Written<'a> {
    toy: &'a Toy,
    pads: Vec<usize>,
    prompt: usize,
    cache: Cache,
}

impl Decode for Written<'_> {
    fn go_on(&mut self, tokens: &[u32], run: &mut Run) -> Result<Option<AnyTensor>, SubjectError> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|token| vec![*token]).collect();
        let x = self.toy.words(&ids, run)?;
        let x = run.at(Site::of(Part::Text, Point::Input), x)?;
        let logits = self.toy.go_through(x, (0, &self.pads), Some(&mut self.cache), LogitsAt::Last, run)?;
        Ok(logits.map(AnyTensor::new))
    }

    fn cut(&mut self, steps: usize) -> bool {
        let positions = self.prompt + steps;
        for (k, v) in &mut self.cache.0 {
            (*k, *v) = (k.clone().narrow(2, 0, positions), v.clone().narrow(2, 0, positions));
        }
        true
    }

    fn keep(&mut self, rows: &[usize]) {
        let index: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let data = TensorData::new(index, [rows.len()]);
        let index = Tensor::<1, Int>::from_data(data, &self.toy.device);
        for (k, v) in &mut self.cache.0 {
            (*k, *v) = (k.clone().select(0, index.clone()), v.clone().select(0, index.clone()));
        }
        self.pads = rows.iter().map(|row| self.pads[*row]).collect();
    }
}

impl Toy {
    pub(super) fn decoding(
        &self,
        inputs: &Inputs,
        plan: Plan,
    ) -> Result<Box<dyn Session + '_>, SubjectError> {
        let session = Decoding::begin(self, inputs, plan, None, |prompt, run| {
            let mut cache = Cache::default();
            let Some(logits) = self.pass(prompt, Some(&mut cache), run)? else { return Ok(None) };
            let (pads, prompt) = (prompt.pads.clone(), prompt.positions());
            Ok(Some((logits.into(), Written { toy: self, pads, prompt, cache })))
        })?;
        Ok(Box::new(session))
    }
}
