//! Rotary position embedding (Su et al. 2021) and the ways its frequencies are stretched for longer contexts.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_kernels::rotate;
use serde::Deserialize;
use serde_json::Value;

/// A rope setting that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RopeError {
    /// A kind not known here.
    #[error(
        "rope type `{0}` is not supported; supported are default, linear, dynamic, llama3, yarn, longrope, proportional"
    )]
    Kind(String),
    /// A kind that lacks one of its parameters.
    #[error("rope type `{kind}` needs `{field}`")]
    Missing {
        /// The kind.
        kind: String,
        /// The parameter.
        field: &'static str,
    },
    /// A number that makes no frequencies.
    #[error("rope type `{kind}`: `{field}` = {found}, expected a number above 0")]
    Number {
        /// The kind.
        kind: String,
        /// The parameter.
        field: &'static str,
        /// What it says.
        found: f64,
    },
    /// A parameter that is null.
    #[error("rope type `{kind}`: `{field}` = null, expected a value, or no such field")]
    Null {
        /// The kind.
        kind: String,
        /// The parameter.
        field: &'static str,
    },
    /// Parameters that are not of the expected form.
    #[error("the rope parameters cannot be read: {0}")]
    Form(String),
}

/// How frequencies follow from the head width.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeKind {
    /// `theta^(-2i/d)`.
    Default,
    /// Divided by a factor (Chen et al. 2023).
    Linear {
        /// The stretch.
        factor: f64,
    },
    /// The base grows with the sequence beyond the trained length (NTK-aware scaling).
    Dynamic {
        /// The stretch.
        factor: f64,
    },
    /// Low frequencies are stretched, high ones kept, with a smooth passage (LLaMA 3.1).
    Llama3 {
        /// The stretch.
        factor: f64,
        /// Wavelengths longer than the old context over this are stretched.
        low: f64,
        /// Wavelengths shorter than the old context over this are kept.
        high: f64,
        /// The context of the first training.
        original: f64,
    },
    /// A ramp between stretched and kept frequencies, and a temperature (Peng et al. 2023).
    Yarn {
        /// The stretch.
        factor: f64,
        /// Multiplies cosine and sine.
        attention: f64,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which it is stretched.
        beta_slow: f64,
        /// The context of the first training.
        original: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
    /// A stretch for every frequency: one set up to the old context, another for sequences beyond it, and a temperature
    /// (LongRoPE; Ding et al. 2024).
    LongRope {
        /// Up to the old context.
        short: Vec<f32>,
        /// Beyond it.
        long: Vec<f32>,
        /// Multiplies cosine and sine.
        attention: f64,
        /// The context of the first training.
        original: f64,
    },
    /// The first frequencies turn, the others stand still.
    Proportional {
        /// How many turn.
        turning: usize,
        /// The stretch.
        factor: f64,
    },
}

/// Rotary settings of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies.
    pub theta: f64,
    /// Width of a head.
    pub width: usize,
    /// The longest trained sequence.
    pub max_positions: usize,
    /// How they are stretched.
    pub kind: RopeKind,
    /// Which frequency turns with which of three positions, where there are three.
    pub sections: Option<Sections>,
}

/// How frequencies are shared among the positions in time, rows and columns (M-RoPE; Wang et al. 2024).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    /// Frequencies for each.
    pub lengths: [usize; 3],
    /// Whether they take turns (Qwen3-VL) instead of following one another.
    pub interleaved: bool,
}

impl Sections {
    /// 0 for time, 1 for rows, 2 for columns.
    fn axis(&self, frequency: usize) -> usize {
        let [time, rows, cols] = self.lengths;
        match self.interleaved {
            true if frequency % 3 == 1 && frequency < 3 * rows => 1,
            true if frequency % 3 == 2 && frequency < 3 * cols => 2,
            true => 0,
            false if frequency < time => 0,
            false if frequency < time + rows => 1,
            false => 2,
        }
    }
}

fn truncated() -> bool {
    true
}

fn null_is_false<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(false))
}

#[derive(Debug, Default, Deserialize)]
struct Raw {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    #[serde(default = "truncated", deserialize_with = "null_is_false")]
    truncate: bool,
    partial_rotary_factor: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    mrope_section: Option<Vec<usize>>,
    mrope_interleaved: Option<bool>,
}

impl Raw {
    fn name(&self) -> String {
        self.rope_type.clone().or_else(|| self.kind.clone()).unwrap_or_else(|| "default".to_owned())
    }

    fn kind(&self, width: usize, trained: f64) -> Result<RopeKind, RopeError> {
        let name = self.name();
        let missing = |field| RopeError::Missing { kind: name.clone(), field };
        let need = |value: Option<f64>, field| value.ok_or_else(|| missing(field));
        let partial = self.partial_rotary_factor.unwrap_or(1.0);
        if partial != 1.0 && name != "proportional" {
            return Err(RopeError::Kind(format!("{name} with partial_rotary_factor")));
        }
        let original = self.original_max_position_embeddings.unwrap_or(trained);
        Ok(match name.as_str() {
            "default" | "mrope" => RopeKind::Default,
            "linear" => RopeKind::Linear { factor: need(self.factor, "factor")? },
            "dynamic" => RopeKind::Dynamic { factor: need(self.factor, "factor")? },
            "llama3" => RopeKind::Llama3 {
                factor: need(self.factor, "factor")?,
                low: need(self.low_freq_factor, "low_freq_factor")?,
                high: need(self.high_freq_factor, "high_freq_factor")?,
                original,
            },
            "yarn" => {
                let factor = self.factor.unwrap_or(trained / original);
                let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
                let attention =
                    self.attention_factor.unwrap_or_else(|| match (self.mscale, self.mscale_all_dim) {
                        (Some(m), Some(all)) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
                        _ => scale(1.0),
                    });
                RopeKind::Yarn {
                    factor,
                    attention,
                    beta_fast: self.beta_fast.filter(|beta| *beta != 0.0).unwrap_or(32.0),
                    beta_slow: self.beta_slow.filter(|beta| *beta != 0.0).unwrap_or(1.0),
                    original,
                    truncate: self.truncate,
                }
            }
            "longrope" => {
                let list = |list: &Option<Vec<f64>>, field| match list.as_deref() {
                    None => Err(missing(field)),
                    Some(list) if list.len() == width / 2 => Ok(list.iter().map(|f| *f as f32).collect()),
                    Some(list) => Err(RopeError::Form(format!(
                        "{field} has {} numbers, one for each of {} frequencies is needed",
                        list.len(),
                        width / 2
                    ))),
                };
                let factor = self.factor.unwrap_or(trained / original);
                let tempered = || match factor > 1.0 {
                    true => (1.0 + factor.ln() / original.ln()).sqrt(),
                    false => 1.0,
                };
                RopeKind::LongRope {
                    short: list(&self.short_factor, "short_factor")?,
                    long: list(&self.long_factor, "long_factor")?,
                    attention: self.attention_factor.unwrap_or_else(tempered),
                    original,
                }
            }
            "proportional" => RopeKind::Proportional {
                turning: ((partial.clamp(0.0, 1.0) * width as f64) as usize) / 2,
                factor: self.factor.unwrap_or(1.0),
            },
            other => return Err(RopeError::Kind(other.to_owned())),
        })
    }

    /// Parameters that transformers does not take as null. Null is an attention factor or a bound that is not set, a `factor`
    /// that follows from the lengths, and no truncation.
    fn present(&self, given: &Value) -> Result<(), RopeError> {
        let name = self.name();
        let factor = matches!(name.as_str(), "yarn" | "longrope");
        let fields = [
            "rope_type",
            "type",
            "rope_theta",
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
            "partial_rotary_factor",
            "short_factor",
            "long_factor",
        ];
        let null = |field: &&&str| given.get(**field).is_some_and(Value::is_null);
        match fields.iter().filter(|field| !(factor && **field == "factor")).find(null) {
            Some(field) => Err(RopeError::Null { kind: name, field }),
            None => Ok(()),
        }
    }

    /// Numbers that would make frequencies that are none.
    fn check(&self, theta: f64) -> Result<(), RopeError> {
        let lists = |list: &Option<Vec<f64>>| list.clone().unwrap_or_default();
        let numbers = [
            ("rope_theta", Some(theta)),
            ("factor", self.factor),
            ("low_freq_factor", self.low_freq_factor),
            ("high_freq_factor", self.high_freq_factor),
            ("original_max_position_embeddings", self.original_max_position_embeddings),
            ("attention_factor", self.attention_factor),
        ];
        let short = lists(&self.short_factor).into_iter().map(|x| ("short_factor", Some(x)));
        let long = lists(&self.long_factor).into_iter().map(|x| ("long_factor", Some(x)));
        for (field, number) in numbers.into_iter().chain(short).chain(long) {
            if let Some(found) = number.filter(|x| !(x.is_finite() && *x > 0.0)) {
                return Err(RopeError::Number { kind: self.name(), field, found });
            }
        }
        Ok(())
    }
}

impl RopeConfig {
    /// Reads `rope_parameters` of newer configs or `rope_scaling` with a `rope_theta` beside it of older ones.
    ///
    /// # Errors
    /// A kind not known here, or one that lacks a parameter.
    pub fn read(
        parameters: Option<&Value>,
        theta: Option<f64>,
        width: usize,
        max_positions: usize,
    ) -> Result<Self, RopeError> {
        let raw: Raw = match parameters {
            None | Some(Value::Null) => Raw::default(),
            Some(value) => {
                let nested = value.as_object().and_then(|map| map.iter().find(|(_, v)| v.is_object()));
                if let Some((name, _)) = nested {
                    return Err(RopeError::Kind(format!("{name}, one of several by the kind of block")));
                }
                let raw: Raw =
                    mmlens_files::parse_value(value).map_err(|e| RopeError::Form(e.to_string()))?;
                raw.present(value)?;
                raw
            }
        };
        let theta = raw.rope_theta.or(theta).unwrap_or(10_000.0);
        let kind = raw.kind(width, max_positions as f64)?;
        raw.check(theta)?;
        let sections = match raw.mrope_section.as_deref() {
            None => None,
            Some(&[t, h, w]) if t.saturating_add(h).saturating_add(w) == width / 2 => {
                Some(Sections { lengths: [t, h, w], interleaved: raw.mrope_interleaved.unwrap_or(false) })
            }
            Some(other) => {
                let said =
                    format!("mrope_section {other:?} must be three numbers that add up to {}", width / 2);
                return Err(RopeError::Form(said));
            }
        };
        let config = Self { theta, width, max_positions, kind, sections };
        config.turns(&raw.name())?;
        Ok(config)
    }

    /// Refuses numbers that are well each for itself and make no angle together, such as two bounds that are one.
    fn turns(&self, name: &str) -> Result<(), RopeError> {
        for length in [1, self.max_positions, self.max_positions.saturating_mul(2)] {
            let (frequencies, scale) = self.frequencies(length);
            let farthest = self.max_positions as f32;
            if let Some(found) = frequencies.into_iter().find(|f| !(f * farthest).is_finite()) {
                return Err(RopeError::Form(format!(
                    "rope type `{name}`: a frequency of {found} over {} positions is no angle",
                    self.max_positions
                )));
            }
            if !(scale.is_finite() && scale > 0.0) {
                return Err(RopeError::Form(format!(
                    "rope type `{name}`: cosine and sine are multiplied by {scale}, expected a number above 0"
                )));
            }
        }
        Ok(())
    }

    /// One frequency for each pair of coordinates, for a sequence of a given length, and what multiplies cosine
    /// and sine.
    pub fn frequencies(&self, length: usize) -> (Vec<f32>, f32) {
        let half = self.width / 2;
        let plain = |theta: f64| -> Vec<f32> {
            (0..half)
                .map(|i| {
                    let exponent = (2 * i) as f32 / self.width as f32;
                    1.0 / (theta as f32).powf(exponent)
                })
                .collect()
        };
        match &self.kind {
            RopeKind::Default => (plain(self.theta), 1.0),
            RopeKind::Linear { factor } => {
                (plain(self.theta).iter().map(|f| f / *factor as f32).collect(), 1.0)
            }
            RopeKind::Dynamic { factor } => {
                let (length, trained, width) =
                    (length.max(self.max_positions) as f64, self.max_positions as f64, self.width as f64);
                let grown = factor * length / trained - (factor - 1.0);
                (plain(self.theta * grown.powf(width / (width - 2.0))), 1.0)
            }
            &RopeKind::Llama3 { factor, low, high, original } => {
                let stretch = |f: f32| {
                    let wavelength = 2.0 * PI / f64::from(f);
                    if wavelength > original / low {
                        f / factor as f32
                    } else if wavelength < original / high {
                        f
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        ((1.0 - smooth) * f64::from(f) / factor + smooth * f64::from(f)) as f32
                    }
                };
                (plain(self.theta).into_iter().map(stretch).collect(), 1.0)
            }
            &RopeKind::Yarn { factor, attention, beta_fast, beta_slow, original, truncate } => {
                let width = self.width as f64;
                let dimension =
                    |turns: f64| width * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut from, mut to) = (dimension(beta_fast), dimension(beta_slow));
                if truncate {
                    (from, to) = (from.floor(), to.ceil());
                }
                (from, to) = (from.max(0.0), to.min(width - 1.0));
                if from == to {
                    to += 0.001;
                }
                let blend = |(i, f): (usize, f32)| {
                    let kept = 1.0 - ((i as f64 - from) / (to - from)).clamp(0.0, 1.0) as f32;
                    f / factor as f32 * (1.0 - kept) + f * kept
                };
                (plain(self.theta).into_iter().enumerate().map(blend).collect(), attention as f32)
            }
            RopeKind::LongRope { short, long, attention, original } => {
                let stretch = if length as f64 > *original { long } else { short };
                let stretched = plain(self.theta).into_iter().zip(stretch).map(|(f, by)| f / by);
                (stretched.collect(), *attention as f32)
            }
            RopeKind::Proportional { turning, factor } => {
                let turn = |(i, f): (usize, f32)| if i < *turning { f / *factor as f32 } else { 0.0 };
                (plain(self.theta).into_iter().enumerate().map(turn).collect(), 1.0)
            }
        }
    }

    /// Cosines and sines for the positions of a batch, `[batch, pos, 1, width / 2]` each.
    pub fn rotation(&self, positions: &[Vec<usize>], device: &Device) -> Rotation {
        let longest = positions.iter().flatten().max().map_or(0, |p| p + 1);
        let (frequencies, scale) = self.frequencies(longest);
        let (b, p) = (positions.len(), positions.first().map_or(0, Vec::len));
        let angles =
            positions.iter().flatten().flat_map(|pos| frequencies.iter().map(move |f| *pos as f32 * f));
        Rotation::of(angles, [b, p, frequencies.len()], scale, device)
    }

    /// As [`Self::rotation`], for positions in time, rows and columns. Without sections every frequency turns with time.
    pub fn rotation_in_space(&self, positions: &[Vec<[usize; 3]>], device: &Device) -> Rotation {
        let longest = positions.iter().flatten().flatten().max().map_or(0, |p| p + 1);
        let (frequencies, scale) = self.frequencies(longest);
        let axis = |i: usize| self.sections.as_ref().map_or(0, |s| s.axis(i));
        let (b, p) = (positions.len(), positions.first().map_or(0, Vec::len));
        let frequencies: Vec<(usize, f32)> =
            frequencies.into_iter().enumerate().map(|(i, f)| (axis(i), f)).collect();
        let angles = positions
            .iter()
            .flatten()
            .flat_map(|pos| frequencies.iter().map(move |(axis, f)| pos[*axis] as f32 * f));
        Rotation::of(angles, [b, p, frequencies.len()], scale, device)
    }
}

/// Cosines and sines for the positions of a batch.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rotation {
    /// From angles, `[batch or 1, pos, width / 2]` row by row; `scale` multiplies cosine and sine.
    pub fn of(
        angles: impl IntoIterator<Item = f32>,
        [b, p, half]: [usize; 3],
        scale: f32,
        device: &Device,
    ) -> Self {
        let turned = angles.into_iter().map(|a| (a.cos() * scale, a.sin() * scale));
        let (cos, sin): (Vec<f32>, Vec<f32>) = turned.unzip();
        let tensor = |values| Tensor::from_data(TensorData::new(values, [b, p, 1, half]), device);
        Self { cos: tensor(cos), sin: tensor(sin) }
    }

    /// Rotates `[batch, pos, head, width]`, pairing coordinate `i` with `i + width / 2`.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        rotate(x, self.cos.clone(), self.sin.clone())
    }
}
