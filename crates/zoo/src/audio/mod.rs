//! Audio towers: Whisper's (Radford et al. 2023) and Qwen2-Audio's, which is laid out like it.
//!
//! One network, driven by [`AudioConfig`]; it follows `WhisperEncoder` and `Qwen2AudioEncoder` of transformers. Two convolutions over
//! three frames each, with GELU behind, go over the spectrogram, the second over two frames at a time; sinusoids are added, as files
//! hold them; pre-norm blocks follow, without a bias in their keys, and a norm.
//!
//! `audio.mel` is the log-mel spectrogram, `[clip, mel, frame]`, the lowest filter first; `audio.embed` what leaves the convolutions,
//! before positions are added; `audio.input` what enters block 0; `audio.final_norm` the output of the last norm. Whisper attends to the
//! padding behind a sound as to the sound. Qwen2-Audio does not, and makes one position of two, by their mean, before the last norm: a
//! last one without a second is left out.

mod config;
mod hearing;

use burn::tensor::Tensor;
use mmlens_core::{Anatomy, AxisName, Part, Point, Port, Resume, Run, Site, SiteSpec, WeightSpec};

pub use config::AudioConfig;
pub(crate) use hearing::frames_of;
pub use hearing::{Heard, Hearing};

use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{
    Attention, AttentionShape, Block, Linear, Masking, Mlp, Named, Norm, Padding, Reach, encode, named,
};
use config::STRIDE;

/// Frames that a convolution sees at a time.
const KERNEL: usize = 3;
/// Of the layer norms, which no config names.
pub(crate) const EPS: f64 = 1e-5;

/// The tower.
#[derive(Debug, Clone)]
pub struct AudioTower {
    config: AudioConfig,
    /// Both as products of what they see, frame by frame.
    convolutions: [Linear; 2],
    positions: Tensor<2>,
    blocks: Vec<Block>,
    norm: Norm,
}

impl AudioTower {
    /// Takes the tower's weights below a prefix such as `model.encoder`.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: AudioConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let at = |name: &str| format!("{prefix}.{name}");
        let d = config.d_model;
        let convolutions =
            [convolution(weights, &at("conv1"), config.mels, d)?, convolution(weights, &at("conv2"), d, d)?];
        let positions = weights.take(&at("embed_positions.weight"), [config.positions, d])?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            let shape = AttentionShape::plain(config.heads, d / config.heads);
            blocks.push(block(weights, &at(&format!("layers.{i}")), shape, config.neurons, config.act)?);
        }
        let norm = Norm::layer(weights, &at("layer_norm"), d, EPS)?;
        Ok(Self { config, convolutions, positions, blocks, norm })
    }

    /// Its config.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Audio,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: c.d_model,
            d_head: c.d_model / c.heads,
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Clip, DModel, Frame, Mel, Pos};
        let c = &self.config;
        let at = |point| Site::of(Part::Audio, point);
        let mel = [(Clip, None), (Mel, Some(c.mels)), (Frame, Some(c.frames()))];
        let stream = |positions| [(Clip, None), (Pos, Some(positions)), (DModel, Some(c.d_model))];
        let mut sites = vec![
            SiteSpec::new(at(Point::Mel), mel),
            SiteSpec::new(at(Point::Embed), stream(c.positions)),
            SiteSpec::new(at(Point::Input), stream(c.positions)),
        ];
        for (i, block) in self.blocks.iter().enumerate() {
            sites.extend(block.sites(Part::Audio, i, c.d_model, Clip, false));
        }
        sites.push(SiteSpec::new(at(Point::FinalNorm), stream(c.tokens())));
        sites
    }

    /// The weights of its blocks by name, and its last norm where it reads a site.
    pub(crate) fn named(&self) -> Vec<Named> {
        let at = |point| Site::of(Part::Audio, point);
        let (d, positions) = (self.config.d_model, self.config.positions);
        let axes = [(AxisName::Pos, positions), (AxisName::DModel, d)];
        let spec = WeightSpec::table("audio.positions", axes, Port::at(at(Point::Input)));
        let mut all = vec![Named::new(spec, self.positions.clone())];
        let blocks = self.blocks.iter().enumerate();
        all.extend(blocks.flat_map(|(i, block)| block.named((Part::Audio, i), false, None)));
        // Pooling lies between the last block and the norm.
        let last = self.blocks.len().checked_sub(1).filter(|_| !self.config.pooled);
        let last = last.map(|last| Port::at(Site::block(Part::Audio, last, Point::ResidPost)));
        let (name, written) = ("audio.final_norm".to_owned(), Some(Port::at(at(Point::FinalNorm))));
        all.extend(named::norm(&self.norm, name, AxisName::DModel, last, written));
        all
    }

    /// The same tower for recordings of at most so many positions, with those of the first: what is enough to look it over. Nothing that
    /// a whole recording says can be said of it.
    pub(crate) fn cropped(&self, positions: usize) -> Self {
        let positions = positions.min(self.config.positions);
        let config = AudioConfig { positions, ..self.config.clone() };
        Self { config, positions: self.positions.clone().narrow(0, 0, positions), ..self.clone() }
    }

    /// Of spectrograms, `[clip, mel, frame]`, the output of the last norm, `[clip, pos, d]`; `None` if the pass ended before. `frames` says
    /// of each how many of its frames are of the sound: what lies behind is not attended to where the config says so.
    ///
    /// # Errors
    /// Spectrograms of another size; whatever a site reports.
    pub fn forward(
        &self,
        mel: Tensor<3>,
        frames: &[usize],
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let Some(x) = self.blocks(mel, frames, run)? else { return Ok(None) };
        let x = if self.config.pooled { pooled(x) } else { x };
        let x = run.at(Site::of(Part::Audio, Point::FinalNorm), self.norm.apply(x))?;
        Ok((!run.done()).then_some(x))
    }

    /// What leaves the last block.
    fn blocks(&self, mel: Tensor<3>, frames: &[usize], run: &mut Run) -> Result<Option<Tensor<3>>, ZooError> {
        let c = &self.config;
        let want = [mel.dims()[0], c.mels, c.frames()];
        if mel.dims() != want || frames.len() != want[0] {
            return Err(ZooError::Mel { found: mel.dims().to_vec(), expected: want.to_vec() });
        }
        let device = mel.device().without_autodiff();
        let x = match run.resume(Part::Audio) {
            Resume::At(..) => Tensor::zeros([want[0], c.positions, c.d_model], &device),
            _ => {
                let mel = run.at(Site::of(Part::Audio, Point::Mel), mel)?;
                let x = run.at(Site::of(Part::Audio, Point::Embed), self.embed(mel))?;
                x + self.positions.clone().unsqueeze()
            }
        };
        let behind: Vec<usize> = match c.pooled {
            true => frames.iter().map(|frames| c.positions - c.heard(*frames)).collect(),
            false => Vec::new(),
        };
        let masking = match behind.iter().any(|tail| *tail > 0) {
            true => Masking::seen(Reach::Both, Padding { pads: &[], tails: &behind }, 0, c.positions),
            false => Masking::none(),
        };
        let states = encode(Part::Audio, &self.blocks, x, &masking, &[c.blocks], run)?;
        Ok(states.and_then(|mut states| states.pop()).filter(|_| !run.done()))
    }

    /// `[clip, mel, frame]` to `[clip, pos, d]`.
    fn embed(&self, mel: Tensor<3>) -> Tensor<3> {
        let gelu = crate::parts::Act::Gelu;
        let [first, second] = &self.convolutions;
        let x = gelu.apply(first.apply(windows(mel.swap_dims(1, 2), 1)));
        gelu.apply(second.apply(windows(x, STRIDE)))
    }
}

/// What a convolution sees at every step, `[clip, frame, d]` to `[clip, step, three frames of d]`: the frame before, the frame and the one
/// behind it, silence of zeros at both ends.
fn windows(x: Tensor<3>, stride: usize) -> Tensor<3> {
    let [clips, frames, d] = x.dims();
    let end = || Tensor::<3>::zeros([clips, 1, d], &x.device());
    let padded = Tensor::cat(vec![end(), x.clone(), end()], 1);
    let steps = frames / stride;
    let seen = |at: usize| {
        // With both ends there are two frames more than steps, so that the last of three begins inside.
        let own = padded.clone().narrow(1, at / stride * stride, steps * stride);
        own.reshape([clips, steps, stride, d]).narrow(2, at % stride, 1).reshape([clips, steps, d])
    };
    Tensor::cat((0..KERNEL).map(seen).collect(), 2)
}

/// The means of two positions each; a last one without a second is left out.
fn pooled(x: Tensor<3>) -> Tensor<3> {
    let [clips, positions, d] = x.dims();
    let pairs = x.narrow(1, 0, positions / 2 * 2).reshape([clips, positions / 2, 2, d]);
    pairs.mean_dim(2).squeeze_dim(2)
}

/// `NAME.weight`, kept as `[out, in, frame]`, as a product of the frames one after the other, and `NAME.bias`. The weight is copied, once.
fn convolution(
    weights: &mut impl WeightSource,
    name: &str,
    input: usize,
    output: usize,
) -> Result<Linear, ZooError> {
    let kernel: Tensor<3> = weights.take(&format!("{name}.weight"), [output, input, KERNEL])?;
    let seen = KERNEL * input;
    let kernel =
        weights.made(kernel, [output, seen], |kernel| kernel.swap_dims(1, 2).reshape([output, seen]));
    let bias = Some(weights.take(&format!("{name}.bias"), [output])?);
    Ok(Linear::of(weights, kernel, bias))
}

/// Attention below `prefix`, as Whisper has it: without a bias in the keys.
pub(crate) fn attention(
    weights: &mut impl WeightSource,
    prefix: &str,
    shape: AttentionShape,
) -> Result<Attention, ZooError> {
    let (d, at) = (shape.heads * shape.width, |name: &str| format!("{prefix}.{name}"));
    Ok(Attention {
        q: Linear::take(weights, &at("q_proj"), d, d, true)?,
        k: Linear::take(weights, &at("k_proj"), d, d, false)?,
        v: Linear::take(weights, &at("v_proj"), d, d, true)?,
        o: Linear::take(weights, &at("out_proj"), d, d, true)?,
        norms: None,
        shape,
    })
}

/// A pre-norm block below `prefix`, without cross-attention.
pub(crate) fn block(
    weights: &mut impl WeightSource,
    prefix: &str,
    shape: AttentionShape,
    neurons: usize,
    act: crate::parts::Act,
) -> Result<Block, ZooError> {
    let (d, at) = (shape.heads * shape.width, |name: &str| format!("{prefix}.{name}"));
    Ok(Block::pre_norm(
        Norm::layer(weights, &at("self_attn_layer_norm"), d, EPS)?,
        attention(weights, &at("self_attn"), shape)?,
        Norm::layer(weights, &at("final_layer_norm"), d, EPS)?,
        Mlp::Plain {
            up: Linear::take(weights, &at("fc1"), d, neurons, true)?,
            down: Linear::take(weights, &at("fc2"), neurons, d, true)?,
            act,
        },
    ))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn frames(values: &[f32]) -> Tensor<3> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len(), 1]), &Device::flex())
    }

    #[test]
    fn a_convolution_sees_the_frame_between_its_neighbours() {
        let seen =
            |stride| windows(frames(&[1.0, 2.0, 3.0, 4.0]), stride).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(seen(1), [0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 3.0, 4.0, 0.0]);
        assert_eq!(seen(2), [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_position_without_a_second_is_left_out() {
        let means = pooled(frames(&[1.0, 3.0, 5.0, 8.0, 9.0])).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(means, [2.0, 6.5]);
    }
}
