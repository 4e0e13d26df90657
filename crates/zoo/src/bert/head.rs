//! From states to words: a product, the nonlinearity, a norm, then the unembedding with a bias.

use burn::tensor::Tensor;
use mmlens_core::{AxisName, Part, Point, Port, Site, WeightSpec};

use super::StackConfig;
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Act, Linear, Named, Norm, named};

/// The head.
#[derive(Debug, Clone)]
pub struct WordHead {
    dense: Linear,
    act: Act,
    norm: Norm,
    decoder: Linear,
    tied: bool,
}

impl WordHead {
    /// Takes the weights below a prefix such as `cls.predictions`; the unembedding is `words`, where it is tied. The bias is
    /// kept under one name or two.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen; a tied unembedding or bias that is kept twice, and differs.
    pub fn take(
        config: &StackConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
        words: Option<&Tensor<2>>,
    ) -> Result<Self, ZooError> {
        let (d, vocab) = (config.d_model, config.vocab);
        let at = |name: &str| format!("{prefix}.{name}");
        let own = at("decoder.weight");
        let (table, tied) = match words {
            Some(words) if weights.has(&own) => {
                // Both are there: where they differ, each is its own, as the file says.
                let own: Tensor<2> = weights.take(&own, [vocab, d])?;
                let same = !weights.compares()
                    && own.dims() == words.dims()
                    && own.clone().equal(words.clone()).all().into_scalar::<bool>();
                (if same { words.clone() } else { own }, same)
            }
            Some(words) => (words.clone(), true),
            None => (weights.take(&own, [vocab, d])?, false),
        };
        // Where they are tied, either name will do; else the unembedding's own is what counts.
        let (own, other) = (at("decoder.bias"), at("bias"));
        let (first, second) = if weights.has(&own) { (own, other) } else { (other, own) };
        let bias: Tensor<1> = weights.take(&first, [vocab])?;
        if weights.has(&second) {
            let twin: Tensor<1> = weights.take(&second, [vocab])?;
            if words.is_some() && !weights.compares() && !twin.equal(bias.clone()).all().into_scalar::<bool>()
            {
                return Err(ZooError::Value {
                    field: second,
                    found: "other numbers".to_owned(),
                    expected: format!("those of `{first}`, with which it is tied"),
                });
            }
        }
        Ok(Self {
            dense: Linear::take(weights, &at("transform.dense"), d, d, true)?,
            act: config.act,
            norm: Norm::layer(weights, &at("transform.LayerNorm"), d, config.eps)?,
            decoder: Linear::of(weights, table, Some(bias)),
            tied,
        })
    }

    /// Its weights by name: the product that reads the last states, the norm behind the nonlinearity, and the unembedding, which is the
    /// embedding where they are tied. What lies between them is at no site.
    pub(crate) fn named(&self) -> Vec<Named> {
        use AxisName::{DModel, Vocab};
        let at = |point| Some(Port::at(Site::of(Part::Text, point)));
        let ([vocab, d], name) = (self.decoder.weight().dims(), |name: &str| format!("text.head.{name}"));
        let stream = (&[(DModel, d)][..], &[(DModel, d)][..]);
        let spec = WeightSpec::product(name("dense"), stream, at(Point::FinalNorm), None);
        let mut all: Vec<Named> = named::product(&self.dense, spec).collect();
        all.extend(named::norm(&self.norm, name("norm"), DModel, None, None));
        let axes = (&[(Vocab, vocab)][..], &[(DModel, d)][..]);
        let spec = WeightSpec::product("text.unembed", axes, None, at(Point::Logits));
        let spec = if self.tied { spec.tied("text.embed") } else { spec };
        all.extend(named::product(&self.decoder, spec));
        all
    }

    /// `[..., d]` to `[..., vocab]`, or to some tokens, which must lie within the vocabulary.
    pub fn say<const D: usize>(&self, x: Tensor<D>, tokens: Option<&[u32]>) -> Tensor<D> {
        let x = self.norm.apply(self.act.apply(self.dense.apply(x)));
        match tokens {
            Some(tokens) => self.decoder.only(tokens).apply(x),
            None => self.decoder.apply(x),
        }
    }
}
