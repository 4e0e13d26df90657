//! The towers: patches of all pictures and clips in one packed sequence.
//!
//! Activations are `[1, patches, d]`, in the order of the processor's patches, those of all pictures one after the other;
//! `vision.pixels` is `[patches, values of a patch]`. A patch attends within its frame or window alone, and what lies
//! outside is zero in `attn.pattern`. transformers computes Qwen2.5-VL's blocks in the order of windows; here the order
//! stays that of the pixels.

use burn::tensor::Tensor;
use mmlens_core::{Anatomy, AxisName, Grid, HookError, Part, Point, Resume, Run, Site, SiteSpec};

use super::grid::{self, Place};
use super::merger::EPS;
use super::{QwenKind, QwenTowerConfig, rotary};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::parts::{Attention, AttentionShape, Block, Linear, Masking, Mlp, Named, Norm};

/// A tower.
#[derive(Debug, Clone)]
pub struct QwenTower {
    config: QwenTowerConfig,
    patches: Linear,
    table: Option<Tensor<2>>,
    blocks: Vec<Block>,
}

/// What a tower gives.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What leaves the last block, `[1, patches, d]`.
    pub last: Tensor<3>,
    /// What leaves the blocks of [`QwenTowerConfig::deep`], in that order.
    pub deep: Vec<Tensor<3>>,
}

impl QwenTower {
    /// Takes the tower's weights below a prefix.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(
        config: QwenTowerConfig,
        weights: &mut impl WeightSource,
        prefix: &str,
    ) -> Result<Self, ZooError> {
        let d = config.d_model;
        let at = |name: &str| format!("{prefix}.{name}");
        let shape = [d, config.channels, config.frames, config.patch, config.patch];
        let kernel: Tensor<5> = weights.take(&at("patch_embed.proj.weight"), shape)?;
        let bias = match config.kind {
            QwenKind::Three => Some(weights.take(&at("patch_embed.proj.bias"), [d])?),
            _ => None,
        };
        let table = match config.table {
            Some((_, rows)) => Some(weights.take(&at("pos_embed.weight"), [rows, d])?),
            None => None,
        };
        let mut blocks = Vec::with_capacity(config.blocks);
        for i in 0..config.blocks {
            blocks.push(block(&config, weights, &at(&format!("blocks.{i}")))?);
        }
        let values = config.values();
        let kernel = weights.made(kernel, [d, values], |kernel| kernel.reshape([d, values]));
        let patches = Linear::of(weights, kernel, bias);
        Ok(Self { config, patches, table, blocks })
    }

    /// Its config.
    pub fn config(&self) -> &QwenTowerConfig {
        &self.config
    }

    /// Its sizes.
    pub fn anatomy(&self) -> Anatomy {
        let c = &self.config;
        Anatomy {
            part: Part::Vision,
            blocks: c.blocks,
            heads: c.heads,
            kv_heads: c.heads,
            d_model: c.d_model,
            d_head: c.d_head(),
            d_mlp: c.neurons,
            made_for: None,
        }
    }

    /// Its sites up to the last block, in the order of a pass.
    pub fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{Channel, DModel, Image, Pos};
        let d = self.config.d_model;
        let stream = [(Image, Some(1)), (Pos, None), (DModel, Some(d))];
        let pixels = [(Pos, None), (Channel, Some(self.config.values()))];
        let mut sites = vec![
            SiteSpec::new(Site::of(Part::Vision, Point::Pixels), pixels),
            SiteSpec::new(Site::of(Part::Vision, Point::Embed), stream),
            SiteSpec::new(Site::of(Part::Vision, Point::Input), stream),
        ];
        for (i, block) in self.blocks.iter().enumerate() {
            // All pictures of a batch are one sequence.
            let one = |(axis, len)| (axis, if axis == Image { Some(1) } else { len });
            let sites_of = block.sites(Part::Vision, i, d, Image, true).into_iter();
            sites.extend(sites_of.map(|spec| SiteSpec::new(spec.site, spec.axes.into_iter().map(one))));
        }
        sites
    }

    /// The weights of its blocks by name.
    pub(crate) fn named(&self) -> Vec<Named> {
        let blocks = self.blocks.iter().enumerate();
        blocks.flat_map(|(i, block)| block.named((Part::Vision, i), true, None)).collect()
    }

    /// Patches of pictures and clips of these sizes, `[patches, values]`, to what leaves the tower; `None` if the pass
    /// ended before.
    ///
    /// # Errors
    /// Whatever a site reports; sizes that do not fit the pixels; a pass that resumes behind a state that is read.
    pub fn forward(
        &self,
        pixels: Tensor<2>,
        grids: &[Grid],
        run: &mut Run,
    ) -> Result<Option<Looked>, ZooError> {
        grid::check(grids, &pixels.dims(), &self.config)?;
        let device = pixels.device().without_autodiff();
        let places = grid::places(grids, self.config.merge);
        let reads = self.config.deep();
        let (first, mut x) = match run.resume(Part::Vision) {
            Resume::At(block, hidden) => {
                let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
                let found = hidden.dims();
                let want = [1, places.len(), self.config.d_model];
                // A batch of states is packed as its pictures are.
                if found.iter().product::<usize>() != want.iter().product::<usize>() || found[2] != want[2] {
                    return Err(ZooError::State { found: found.to_vec(), expected: want.to_vec() });
                }
                (block, hidden.reshape(want))
            }
            _ => {
                let pixels = run.at(Site::of(Part::Vision, Point::Pixels), pixels)?;
                let x = self.patches.apply(pixels).unsqueeze_dim::<3>(0);
                let mut x = run.at(Site::of(Part::Vision, Point::Embed), x)?;
                if let (Some(table), Some((side, _))) = (&self.table, self.config.table) {
                    x = x + rotary::learned(table, side, &places, &device).unsqueeze_dim::<3>(0);
                }
                (0, run.at(Site::of(Part::Vision, Point::Input), x)?)
            }
        };
        let behind = reads.iter().find(|(layer, _)| *layer < first).map(|(layer, _)| {
            let resume = Site::block(Part::Vision, first, Point::ResidPre);
            HookError::ResumesBehind { resume, layer: layer + 1 }
        });
        if let (Some(behind), false) = (&behind, run.ends_in_blocks(Part::Vision)) {
            return Err(behind.clone().into());
        }
        let rotation = rotary::turn(&places, self.config.theta, self.config.d_head(), &device);
        let (frames, windows) = maskings(&self.config, &places);
        let mut deep = Vec::with_capacity(reads.len());
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            if run.done() {
                return Ok(None);
            }
            let masking = if self.config.windowed(i) { &windows } else { &frames };
            x = block.forward(x, (Part::Vision, i), Some(&rotation), masking, None, run)?;
            if reads.iter().any(|(layer, _)| *layer == i) {
                deep.push(x.clone());
            }
        }
        if run.done() {
            return Ok(None);
        }
        match behind {
            Some(behind) => Err(behind.into()),
            None => Ok(Some(Looked { last: x, deep })),
        }
    }

    /// How many entries of scores its attention computes for pictures and clips of these sizes, in all blocks and heads: where no
    /// scores are asked for, the pairs of patches that see one another.
    pub fn visits(&self, grids: &[Grid]) -> u64 {
        let c = &self.config;
        let patches = grids.iter().map(Grid::patches).sum();
        let shape = [1, patches, patches];
        let (frames, windows) = maskings(c, &grid::places(grids, c.merge));
        let of = |block| if c.windowed(block) { &windows } else { &frames };
        (0..c.blocks).map(|block| c.heads as u64 * of(block).visits(shape)).sum()
    }
}

/// Who attends to whom in a frame, and in a window.
fn maskings(config: &QwenTowerConfig, places: &[Place]) -> (Masking, Masking) {
    let frames: Vec<usize> = places.iter().map(|p| p.frame).collect();
    let windows = match &config.windows {
        Some(w) => Masking::groups(&grid::windows(places, w.side * config.merge)),
        None => Masking::none(),
    };
    (Masking::groups(&frames), windows)
}

fn block(config: &QwenTowerConfig, weights: &mut impl WeightSource, prefix: &str) -> Result<Block, ZooError> {
    let at = |name: &str| format!("{prefix}.{name}");
    let (d, neurons, act) = (config.d_model, config.neurons, config.act);
    let norm = |name: &str, weights: &mut _| match config.kind {
        QwenKind::TwoFive => Norm::rms(weights, &at(name), d, EPS),
        _ => Norm::layer(weights, &at(name), d, EPS),
    };
    let before = norm("norm1", weights)?;
    let middle = norm("norm2", weights)?;
    let [q, k, v] = Linear::take(weights, &at("attn.qkv"), d, 3 * d, true)?.split();
    let o = Linear::take(weights, &at("attn.proj"), d, d, true)?;
    let plain = |weights: &mut _, first: &str, second: &str| {
        Ok::<_, ZooError>(Mlp::Plain {
            up: Linear::take(weights, &at(first), d, neurons, true)?,
            down: Linear::take(weights, &at(second), neurons, d, true)?,
            act,
        })
    };
    let mlp = match config.kind {
        QwenKind::Two => plain(weights, "mlp.fc1", "mlp.fc2")?,
        QwenKind::Three => plain(weights, "mlp.linear_fc1", "mlp.linear_fc2")?,
        QwenKind::TwoFive => Mlp::Gated {
            gate: Linear::take(weights, &at("mlp.gate_proj"), d, neurons, true)?,
            up: Linear::take(weights, &at("mlp.up_proj"), d, neurons, true)?,
            down: Linear::take(weights, &at("mlp.down_proj"), neurons, d, true)?,
            act,
        },
    };
    let shape = AttentionShape::plain(config.heads, config.d_head());
    Ok(Block::pre_norm(before, Attention { q, k, v, o, norms: None, shape }, middle, mlp))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::Windows;
    use super::*;
    use crate::parts::Act;

    fn tower(windows: Option<Windows>) -> QwenTower {
        let config = QwenTowerConfig {
            kind: QwenKind::TwoFive,
            d_model: 8,
            blocks: 4,
            heads: 2,
            neurons: 8,
            act: Act::named("act", "silu").unwrap(),
            out: 8,
            channels: 3,
            patch: 14,
            frames: 2,
            merge: 2,
            theta: 1e4,
            windows,
            table: None,
            deepstack: Vec::new(),
            per_second: None,
        };
        let patches = Linear::new(Tensor::zeros([8, config.values()], &Device::flex()), None);
        QwenTower { config, patches, table: None, blocks: Vec::new() }
    }

    fn grid(rows: usize, cols: usize) -> Grid {
        Grid { frames: 1, rows, cols, seconds: None }
    }

    /// Pictures side by side, and the copies that a path packs into a pass, cost what they cost one by one: counted in entries of
    /// scores, with windows and without.
    #[test]
    fn scores_grow_with_the_pictures() {
        for windows in [None, Some(Windows { side: 4, full: vec![1, 3] })] {
            let tower = tower(windows);
            let one = tower.visits(&[grid(60, 60)]);
            for pictures in [2, 4, 8] {
                assert_eq!(tower.visits(&vec![grid(60, 60); pictures]), pictures as u64 * one);
            }
            let path = [grid(60, 44), grid(10, 16)];
            for rows in [2, 8, 32] {
                assert_eq!(tower.visits(&path.repeat(rows)), rows as u64 * tower.visits(&path));
            }
        }
    }

    /// 3600 patches see one another in two blocks of two heads. In the others, 60 patches are seven windows of 8 and one of 4 on
    /// each side: windows of 64, 32 and 16 patches.
    #[test]
    fn scores_are_those_of_pairs_that_see_one_another() {
        let windows = Windows { side: 4, full: vec![1, 3] };
        let squares = 49 * 64 * 64 + 14 * 32 * 32 + 16 * 16;
        let want = 2 * (2 * 3600 * 3600 + 2 * squares);
        assert_eq!(tower(Some(windows)).visits(&[grid(60, 60)]), want);
        assert_eq!(tower(None).visits(&[grid(60, 60)]), 2 * 4 * 3600 * 3600);
    }
}
