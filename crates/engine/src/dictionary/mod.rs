//! A sparse dictionary: directions in a space of activations, and how much of each an activation holds.
//!
//! With `c` = 1 if the decoder's bias is taken off what comes in, else 0, and `n_j` the length of direction `j` if features are scaled by
//! it, else 1:
//!
//! ```text
//! pre_j = ((x - c b_dec) W_enc + b_enc)_j n_j        [features]
//! f = act(pre)         ReLU: max(pre, 0); TopK: that of the k largest, of equal ones the first, 0 elsewhere; JumpReLU: where pre > threshold
//! x^ = sum_j f_j / n_j W_dec[j] + b_dec              [width]
//! ```
//!
//! These are the architectures `standard`, `topk` and `jumprelu` of SAELens, whose files are read and written ([`Dictionary::open`]).
//! [`WithDictionary`] publishes `f`, and what `x^` misses, as sites of a model.

mod files;
mod subject;

use std::sync::OnceLock;

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::{AnyTensor, HookError, Site};
use mmlens_files::sha256;
use mmlens_kernels::linear;

pub use files::DictionaryError;
pub use subject::{WithDictionary, dictionary_of};

/// Which features of a dictionary are kept.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Kept {
    /// All that are above zero.
    Positive,
    /// Of so many that are largest those above zero.
    Largest(usize),
    /// Those above a threshold of their own, and above zero.
    Above(Vec<f32>),
}

/// The numbers of a dictionary, row-major.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    /// Numbers of an activation.
    pub width: usize,
    /// Directions.
    pub features: usize,
    /// `[width, features]`.
    pub encoder: Vec<f32>,
    /// `[features]`.
    pub encoder_bias: Vec<f32>,
    /// `[features, width]`.
    pub decoder: Vec<f32>,
    /// `[width]`.
    pub decoder_bias: Vec<f32>,
}

/// What is known of a dictionary beside its numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Of {
    /// The site whose activations it is of.
    pub site: Option<Site>,
    /// The model, by its name.
    pub model: Option<String>,
    /// The hash of the model's weights.
    pub weights: Option<String>,
}

/// A sparse dictionary.
#[derive(Debug, Clone)]
pub struct Dictionary {
    weights: Weights,
    kept: Kept,
    /// Whether the decoder's bias is taken off what comes in.
    centred: bool,
    /// Whether features are scaled by the lengths of their directions.
    by_length: bool,
    of: Of,
    /// On the device where it was used last.
    placed: OnceLock<Placed>,
}

/// The numbers where they are used.
#[derive(Debug, Clone)]
struct Placed {
    /// `[features, width]`.
    encoder: Tensor<2>,
    encoder_bias: Tensor<1>,
    /// `[width, features]`.
    decoder: Tensor<2>,
    decoder_bias: Tensor<2>,
    lengths: Option<Tensor<2>>,
    thresholds: Option<Tensor<2>>,
}

impl PartialEq for Dictionary {
    fn eq(&self, other: &Self) -> bool {
        (&self.weights, &self.kept, self.centred, self.by_length, &self.of)
            == (&other.weights, &other.kept, other.centred, other.by_length, &other.of)
    }
}

impl Dictionary {
    /// One that takes the decoder's bias off what comes in, and whose features are not scaled.
    ///
    /// # Errors
    /// [`DictionaryError::Numbers`] for numbers that are not as many as the lengths say, or not finite; for `k` that is none of the features.
    pub fn new(weights: Weights, kept: Kept, of: Of) -> Result<Self, DictionaryError> {
        Self::made(weights, kept, (true, false), of)
    }

    fn made(
        weights: Weights,
        kept: Kept,
        (centred, by_length): (bool, bool),
        of: Of,
    ) -> Result<Self, DictionaryError> {
        let Weights { width, features, .. } = weights;
        let wrong = |what: &'static str, found: String, expected: String| {
            Err(DictionaryError::Numbers { what, found, expected })
        };
        if width == 0 || features == 0 {
            return wrong(
                "its size",
                format!("{features} features of {width} numbers"),
                "one at least".into(),
            );
        }
        let all = width.saturating_mul(features);
        let named: [(&'static str, &[f32], usize); 4] = [
            ("W_enc", &weights.encoder, all),
            ("b_enc", &weights.encoder_bias, features),
            ("W_dec", &weights.decoder, all),
            ("b_dec", &weights.decoder_bias, width),
        ];
        let thresholds: &[f32] = if let Kept::Above(thresholds) = &kept { thresholds } else { &[] };
        let own = (!thresholds.is_empty() || matches!(kept, Kept::Above(_))).then_some((
            "threshold",
            thresholds,
            features,
        ));
        for (what, values, expected) in named.into_iter().chain(own) {
            if values.len() != expected {
                return wrong(what, format!("{} numbers", values.len()), format!("{expected}"));
            }
            if let Some((at, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return wrong(what, format!("{value} at {at}"), "finite numbers".into());
            }
        }
        if let Kept::Largest(k) = kept
            && !(1..=features).contains(&k)
        {
            return wrong("k", k.to_string(), format!("1 to {features}"));
        }
        if by_length && let Some(at) = lengths(&weights).iter().position(|length| *length == 0.0) {
            return wrong("W_dec", format!("direction {at} of length 0"), "directions to scale by".into());
        }
        Ok(Self { weights, kept, centred, by_length, of, placed: OnceLock::new() })
    }

    /// Its numbers.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Which features are kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What it is of.
    pub fn of(&self) -> &Of {
        &self.of
    }

    /// Numbers of an activation.
    pub fn width(&self) -> usize {
        self.weights.width
    }

    /// Features it has.
    pub fn features(&self) -> usize {
        self.weights.features
    }

    /// SHA-256 of its numbers and of how they are used, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let Weights { width, features, encoder, encoder_bias, decoder, decoder_bias } = &self.weights;
        let (how, thresholds): (String, &[f32]) = match &self.kept {
            Kept::Positive => ("relu".to_owned(), &[]),
            Kept::Largest(k) => (format!("top {k}"), &[]),
            Kept::Above(thresholds) => ("jump".to_owned(), thresholds),
        };
        let all = [encoder, encoder_bias, decoder, decoder_bias].map(Vec::as_slice);
        let bytes: Vec<u8> =
            all.into_iter().chain([thresholds]).flatten().flat_map(|value| value.to_le_bytes()).collect();
        let how = format!("{width} {features} {how} {} {}", self.centred, self.by_length);
        sha256(format!("{}{how}", sha256(bytes)))
    }

    /// The numbers beside a tensor: there already, or brought there.
    fn beside(&self, x: &Tensor<2>) -> Placed {
        let device = x.device().without_autodiff();
        match self.placed.get() {
            Some(placed) if placed.encoder.device() == device => placed.clone(),
            Some(_) => self.on(&device),
            None => self.placed.get_or_init(|| self.on(&device)).clone(),
        }
    }

    fn on(&self, device: &Device) -> Placed {
        let Weights { width, features, .. } = self.weights;
        let matrix = |values: &[f32], rows: usize, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, columns]), device)
        };
        Placed {
            encoder: matrix(&turned(&self.weights.encoder, features), features, width),
            encoder_bias: Tensor::from_data(
                TensorData::new(self.weights.encoder_bias.clone(), [features]),
                device,
            ),
            decoder: matrix(&turned(&self.weights.decoder, width), width, features),
            decoder_bias: matrix(&self.weights.decoder_bias, 1, width),
            lengths: self.by_length.then(|| matrix(&lengths(&self.weights), 1, features)),
            thresholds: match &self.kept {
                Kept::Above(thresholds) => Some(matrix(thresholds, 1, features)),
                _ => None,
            },
        }
    }

    /// The features of activations: `[rows, width]` to `[rows, features]`. Gradients flow through the features that are kept.
    ///
    /// # Errors
    /// [`HookError::Read`] if the device cannot hand values over, [`HookError::Values`] for another width.
    pub fn encode(&self, x: Tensor<2>) -> Result<Tensor<2>, HookError> {
        let [rows, width] = x.dims();
        if width != self.width() {
            return Err(HookError::Values { dims: vec![rows, self.width()], given: rows * width });
        }
        let own = self.beside(&x);
        let x = if self.centred { x - own.decoder_bias } else { x };
        let pre = linear(x, own.encoder, Some(own.encoder_bias));
        let pre = match own.lengths {
            Some(lengths) => pre * lengths,
            None => pre,
        };
        match (&self.kept, own.thresholds) {
            (Kept::Largest(k), _) => {
                let plain = AnyTensor::new(pre.clone()).plain();
                let mask = plain.filled(largest(plain.to_values()?, self.features(), *k))?;
                Ok(relu(pre) * mask.rank_of::<2>("which features are kept")?)
            }
            (_, Some(thresholds)) => {
                let above = pre.clone().without_autodiff().greater(thresholds).float();
                Ok(relu(pre) * above)
            }
            _ => Ok(relu(pre)),
        }
    }

    /// What so much of each direction adds up to, without the bias: `[rows, features]` to `[rows, width]`.
    pub fn combine(&self, features: Tensor<2>) -> Tensor<2> {
        let own = self.beside(&features);
        let features = match own.lengths {
            Some(lengths) => features / lengths,
            None => features,
        };
        linear(features, own.decoder, None)
    }

    /// The activations that features stand for: `[rows, features]` to `[rows, width]`.
    pub fn decode(&self, features: Tensor<2>) -> Tensor<2> {
        let bias = self.beside(&features).decoder_bias;
        self.combine(features) + bias
    }
}

/// Rows of so many numbers, turned into columns.
fn turned(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).copied()).collect()
}

/// The length of each direction.
fn lengths(weights: &Weights) -> Vec<f32> {
    let length = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
    weights.decoder.chunks_exact(weights.width.max(1)).map(length).collect()
}

/// One for the `k` largest of each row, of equal ones the first; zero for the others.
fn largest(mut values: Vec<f32>, width: usize, k: usize) -> Vec<f32> {
    for row in values.chunks_exact_mut(width.max(1)) {
        let kept = top_places(row, k);
        row.fill(0.0);
        for at in kept {
            if let Some(value) = row.get_mut(at) {
                *value = 1.0;
            }
        }
    }
    values
}

/// Where the `k` largest of some numbers stand, of equal ones the first, in ascending order of their places.
pub fn top_places(row: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    if k < row.len() {
        let value = |at: &usize| row.get(*at).copied().unwrap_or(f32::NEG_INFINITY);
        order.select_nth_unstable_by(k, |a, b| value(b).total_cmp(&value(a)).then(a.cmp(b)));
        order.truncate(k);
        order.sort_unstable();
    }
    order
}
