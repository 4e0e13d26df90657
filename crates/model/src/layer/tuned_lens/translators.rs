//! Affine maps, one for each depth: what a state would be at the last layer.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use mmlens_core::{AnalysisError, AnyTensor, HookError, Point, Site, device};
use mmlens_files::{Doubles, sha256};

use super::CARD;

/// An affine map for each depth in front of the last layer: before block 0, then behind each block but the last.
///
/// A state `h` becomes `h + A h + b`, as the published code has it: `A` and `b` of zero leave it as it is.
#[derive(Debug, Clone)]
pub struct Translators {
    width: usize,
    depths: Vec<Translator>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Translator {
    /// `[d_model, d_model]`, out and in; `None` where only a bias was learned.
    pub(super) weight: Option<Tensor<2>>,
    /// `[d_model]`.
    pub(super) bias: Tensor<1>,
}

impl Translator {
    /// A state for each row, `[rows, d_model]`.
    pub(super) fn apply(&self, states: Tensor<2>) -> Tensor<2> {
        let moved = states.clone() + self.bias.clone().unsqueeze();
        match &self.weight {
            Some(weight) => moved + states.matmul(weight.clone().transpose()),
            None => moved,
        }
    }
}

/// Which depth a stream is read at, counted from before block 0.
fn depth(site: Site) -> usize {
    match (site.point(), site.block_index()) {
        (Point::ResidPost, Some(block)) => block + 1,
        _ => 0,
    }
}

/// What tensors are called: as in the published files.
pub(super) fn names(depth: usize) -> [String; 2] {
    ["weight", "bias"].map(|what| format!("{depth}.{what}"))
}

impl Translators {
    pub(super) fn new(width: usize, depths: Vec<Translator>) -> Self {
        Self { width, depths }
    }

    /// Numbers of a state.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many depths there are: as many as blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.depths.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.depths.is_empty()
    }

    /// States as they would be at the last layer, `[rows, d_model]`; those of the last layer as they are.
    ///
    /// # Errors
    /// [`HookError::Rank`] for states of another rank, [`HookError::Values`] for another width.
    pub fn translated(&self, site: Site, states: AnyTensor) -> Result<AnyTensor, HookError> {
        let Some(own) = self.depths.get(depth(site)) else { return Ok(states) };
        let found = states.dims().last().copied().unwrap_or(0);
        if found != self.width {
            return Err(HookError::Values { dims: vec![self.width], given: found });
        }
        let beside = |x: AnyTensor| x.beside(&states);
        let weight =
            own.weight.clone().map(|weight| beside(weight.into())?.rank_of("a translator")).transpose()?;
        let bias = beside(own.bias.clone().into())?.rank_of("a translator")?;
        Ok(Translator { weight, bias }.apply(states.rank_of(site)?).into())
    }

    /// All numbers, by their names in the published files.
    pub(super) fn tensors(&self) -> Result<BTreeMap<String, Doubles>, HookError> {
        let mut tensors = BTreeMap::new();
        for (depth, Translator { weight, bias }) in self.depths.iter().enumerate() {
            let [weights, biases] = names(depth);
            if let Some(weight) = weight {
                tensors.insert(weights, doubles(&weight.clone().into())?);
            }
            tensors.insert(biases, doubles(&bias.clone().into())?);
        }
        Ok(tensors)
    }

    /// Translators of numbers by their names; they lie on the host.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for names that are missing or one too many, and shapes that do not fit together.
    pub(super) fn of(mut tensors: BTreeMap<String, Doubles>) -> Result<Self, AnalysisError> {
        let wrong = |reason: String| AnalysisError::Settings { method: CARD.id, reason };
        let (mut depths, mut width) = (Vec::new(), None);
        loop {
            let [weights, biases] = names(depths.len());
            let Some(bias) = tensors.remove(&biases) else { break };
            let wide = *width.get_or_insert(bias.values.len());
            if bias.shape != [wide] || wide == 0 {
                return Err(wrong(format!("`{biases}` is {:?}, expected [{wide}]", bias.shape)));
            }
            let weight = tensors.remove(&weights);
            if let Some(weight) = weight.as_ref().filter(|weight| weight.shape != [wide, wide]) {
                return Err(wrong(format!("`{weights}` is {:?}, expected [{wide}, {wide}]", weight.shape)));
            }
            let weight = weight.map(|weight| floats(&weight)?.rank_of(&weights)).transpose()?;
            depths.push(Translator { weight, bias: floats(&bias)?.rank_of(&biases)? });
        }
        match (tensors.keys().next(), width) {
            (Some(name), _) => {
                Err(wrong(format!("a tensor `{name}` has no meaning behind {} depths", depths.len())))
            }
            (None, None) => Err(wrong("there is no tensor `0.bias`".to_owned())),
            (None, Some(width)) => Ok(Self { width, depths }),
        }
    }

    /// SHA-256 of all numbers by their names, in hexadecimal digits.
    pub(super) fn hash(&self) -> Result<String, HookError> {
        let mut hash = String::new();
        for (name, tensor) in self.tensors()? {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            hash = sha256(format!("{hash}{name}{}", sha256(bytes)));
        }
        Ok(hash)
    }
}

/// Numbers of single precision, none of which is lost.
pub(super) fn doubles(x: &AnyTensor) -> Result<Doubles, HookError> {
    let values = x.finite_values("a translator")?.into_iter().map(f64::from).collect();
    Ok(Doubles { shape: x.dims(), values })
}

/// The same back, on the host.
pub(super) fn floats(x: &Doubles) -> Result<AnyTensor, HookError> {
    AnyTensor::from_values(x.values.iter().map(|value| *value as f32).collect(), &x.shape, &device::host())
}
