//! Matrix products with stored weights.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_kernels::{lay_out, linear};

use crate::ZooError;
use crate::checkpoint::WeightSource;

/// `x Wᵗ + b`, with the weight as published, `[out, in]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl Linear {
    /// Takes `NAME.weight` and, if asked, `NAME.bias`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        weights: &mut impl WeightSource,
        name: &str,
        input: usize,
        output: usize,
        bias: bool,
    ) -> Result<Self, ZooError> {
        let weight = weights.take(&format!("{name}.weight"), [output, input])?;
        let bias = if bias { Some(weights.take(&format!("{name}.bias"), [output])?) } else { None };
        Ok(Self { weight, bias })
    }

    /// Takes `NAME.weight`, kept as `[in, out]`, and `NAME.bias` (GPT-2's `Conv1D`). The weight is copied, once.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take_transposed(
        weights: &mut impl WeightSource,
        name: &str,
        input: usize,
        output: usize,
    ) -> Result<Self, ZooError> {
        let weight: Tensor<2> = weights.take(&format!("{name}.weight"), [input, output])?;
        let weight = weights.made(weight, [output, input], |weight| lay_out(weight.transpose()));
        Ok(Self { weight, bias: Some(weights.take(&format!("{name}.bias"), [output])?) })
    }

    /// From tensors that were taken; else as [`Linear::new`].
    pub fn of(weights: &impl WeightSource, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let shape = weight.dims();
        Self { weight: weights.made(weight, shape, lay_out), bias }
    }

    /// Parts of equal size of a product that was kept in one, such as queries, keys and values.
    pub fn split<const N: usize>(&self) -> [Self; N] {
        let part = self.weight.dims()[0] / N;
        std::array::from_fn(|i| Self {
            weight: self.weight.clone().narrow(0, i * part, part),
            bias: self.bias.clone().map(|bias| bias.narrow(0, i * part, part)),
        })
    }

    /// From tensors at hand. A weight that is a transposed view is copied, so that products read it in order.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight: lay_out(weight), bias }
    }

    /// The same product for some of its outputs alone, in this order. They must be there; the caller checks.
    #[must_use]
    pub fn only(&self, outputs: &[u32]) -> Self {
        let chosen: Vec<i64> = outputs.iter().map(|i| i64::from(*i)).collect();
        let chosen = TensorData::new(chosen, [outputs.len()]);
        let chosen = Tensor::<1, Int>::from_data(chosen, &self.weight.device());
        Self {
            weight: self.weight.clone().select(0, chosen.clone()),
            bias: self.bias.clone().map(|bias| bias.select(0, chosen)),
        }
    }

    /// The weight, `[out, in]`.
    pub fn weight(&self) -> &Tensor<2> {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Tensor<1>> {
        self.bias.as_ref()
    }

    /// `[..., in]` to `[..., out]`. Leading axes are folded, so that the weight is passed as a view and never copied.
    pub fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.clone(), self.bias.clone())
    }
}

/// A table of token vectors, `[vocab, d]`.
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Tensor<2>,
}

impl Embedding {
    /// Takes `NAME.weight`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        weights: &mut impl WeightSource,
        name: &str,
        vocab: usize,
        width: usize,
    ) -> Result<Self, ZooError> {
        Ok(Self { table: weights.take(&format!("{name}.weight"), [vocab, width])? })
    }

    /// From a table at hand, `[vocab, d]`.
    pub fn new(table: Tensor<2>) -> Self {
        Self { table }
    }

    /// The table.
    pub fn table(&self) -> &Tensor<2> {
        &self.table
    }

    /// `[b, p]` ids to `[b, p, d]`. Ids must lie within the vocabulary; the caller checks.
    pub fn apply(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, p] = ids.dims();
        let d = self.table.dims()[1];
        self.table.clone().select(0, ids.reshape([b * p])).reshape([b, p, d])
    }
}
