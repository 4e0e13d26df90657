//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a tower for pictures of any size and clips, a merger, a Qwen decoder. The network alone.
//!
//! Follows the `*ForConditionalGeneration` classes of transformers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens_core::{Anatomy, AxisName, Batch, Grid, Inputs, Part, Point, Resume, Run, Site, SiteSpec};

use super::merger::Merger;
use super::positions::RowPlan;
use super::{QwenTower, QwenVlConfig};
use crate::ZooError;
use crate::checkpoint::WeightSource;
use crate::decoder::{Decoder, Sequence};
use crate::parts::{KvCache, Named};
use crate::vlm::{CheckInputs, Network, resumed};

/// The network.
#[derive(Debug, Clone)]
pub struct QwenVlModel {
    config: QwenVlConfig,
    /// The tower.
    pub vision: QwenTower,
    merger: Merger,
    /// One for each block the tower is read at, in the order of a pass.
    deep: Vec<Merger>,
    text: Decoder,
}

/// What the decoder is given of pictures and clips.
#[derive(Debug, Clone)]
pub struct SeenByQwen {
    /// In the places of the placeholders, `[1, positions, d]`.
    pub out: Tensor<3>,
    /// Behind the decoder's first blocks, the same shape each.
    pub deep: Vec<Tensor<3>>,
}

impl QwenVlModel {
    /// Takes all weights, by the names newer checkpoints have.
    ///
    /// # Errors
    /// A tensor that is missing or misshapen.
    pub fn take(config: QwenVlConfig, weights: &mut impl WeightSource) -> Result<Self, ZooError> {
        let prefix = "model.visual";
        let tower = &config.vision;
        let vision = QwenTower::take(tower.clone(), weights, prefix)?;
        let merger = Merger::take(tower, weights, prefix)?;
        let mut deep = Vec::with_capacity(tower.deepstack.len());
        for (_, index) in tower.deep() {
            deep.push(Merger::deep(tower, weights, prefix, index)?);
        }
        let text = Decoder::take(config.text.clone(), weights, "model.language_model", "lm_head")?;
        Ok(Self { config, vision, merger, deep, text })
    }

    /// Its config.
    pub fn config(&self) -> &QwenVlConfig {
        &self.config
    }

    /// Pictures and clips in the decoder's width; `None` if the pass ended before.
    ///
    /// # Errors
    /// Whatever a site reports; sizes that do not fit the pixels.
    pub fn see(&self, inputs: &Inputs, run: &mut Run) -> Result<Option<SeenByQwen>, ZooError> {
        let Some(pixels) = &inputs.seen.values else { return Ok(None) };
        let pixels = pixels.clone().rank_of("vision.pixels")?;
        let Some(looked) = self.vision.forward(pixels, &inputs.seen.grids, run)? else { return Ok(None) };
        let features = run.at(Site::of(Part::Vision, Point::Features), looked.last)?;
        let mut deep = Vec::with_capacity(self.deep.len());
        for (i, (merger, x)) in self.deep.iter().zip(looked.deep).enumerate() {
            if run.done() {
                return Ok(None);
            }
            let Some(own) = merger.forward(x, Some(i), run)? else { return Ok(None) };
            deep.push(own);
        }
        if run.done() {
            return Ok(None);
        }
        let Some(out) = self.merger.forward(features, None, run)? else { return Ok(None) };
        Ok((!run.done()).then_some(SeenByQwen { out, deep }))
    }

    fn plans(&self, inputs: &Inputs) -> Result<Vec<RowPlan>, ZooError> {
        let rows = inputs.ids.iter().zip(&inputs.pads).zip(&inputs.seen.of_rows).enumerate();
        rows.map(|(row, ((ids, pad), images))| {
            RowPlan::new(&self.config, (row, ids, *pad), images, &inputs.seen.grids)
        })
        .collect()
    }

    /// Token vectors with what is seen in the places of the placeholders, `[batch, pos, d]`.
    fn fill(words: Tensor<3>, seen: &Tensor<3>, plans: &[RowPlan], device: &Device) -> Tensor<3> {
        let [b, p, d] = words.dims();
        let sources = plans.iter().flat_map(|plan| &plan.sources).enumerate();
        let index = sources.map(|(own, source)| source.map_or(own, |s| b * p + s) as i64).collect::<Vec<_>>();
        let n = seen.dims()[1];
        let all = Tensor::cat(vec![words.reshape([b * p, d]), seen.clone().reshape([n, d])], 0);
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [b * p]), device);
        all.select(0, index).reshape([b, p, d])
    }
}

impl Network for QwenVlModel {
    fn sites(&self) -> Vec<SiteSpec> {
        use AxisName::{DModel, Image, Pos};
        let stream = |d: usize| [(Image, Some(1)), (Pos, None), (DModel, Some(d))];
        let mut sites = self.vision.sites();
        let wide = self.config.vision.d_model;
        sites.push(SiteSpec::new(Site::of(Part::Vision, Point::Features), stream(wide)));
        sites.extend(self.deep.iter().enumerate().flat_map(|(i, merger)| merger.sites(Some(i))));
        sites.extend(self.merger.sites(None));
        sites.extend(self.text.sites_with_deepstack(self.deep.len()));
        sites
    }

    fn anatomy(&self) -> Vec<Anatomy> {
        vec![self.vision.anatomy(), self.text.anatomy()]
    }

    fn seen_behind(&self) -> Option<Vec<usize>> {
        let tower = &self.config.vision;
        let mut behind: Vec<usize> = tower.deep().into_iter().map(|(block, _)| block + 1).collect();
        behind.push(tower.blocks);
        behind.dedup();
        Some(behind)
    }

    fn text(&self) -> &Decoder {
        &self.text
    }

    fn named(&self) -> Vec<Named> {
        let mut all = self.vision.named();
        all.extend(self.deep.iter().enumerate().flat_map(|(i, merger)| merger.named(Some(i))));
        all.extend(self.merger.named(None));
        all.extend(self.text.named(self.deep.len()));
        all
    }

    /// Not where something is added to the stream behind a block.
    fn resumes_from_suffix(&self) -> bool {
        self.deep.is_empty()
    }

    /// A picture of one position.
    fn check_inputs(&self, device: &Device) -> Result<CheckInputs, ZooError> {
        let merge = self.config.vision.merge;
        let pixels = [merge * merge, self.config.vision.values()];
        let visual = [self.config.image_token, self.config.video_token];
        let mut check_inputs = CheckInputs::at(self.clone(), (&visual, 1), &pixels, device)?;
        let grids = vec![Grid { frames: 1, rows: merge, cols: merge, seconds: None }];
        check_inputs.inputs = check_inputs.inputs.with(|batch| batch.seen.grids = grids)?;
        Ok(check_inputs)
    }

    fn forward(
        &self,
        inputs: &Inputs,
        cache: Option<&mut KvCache>,
        device: &Device,
        run: &mut Run,
    ) -> Result<Option<Tensor<3>>, ZooError> {
        let Batch { ids, pads, logits_at, .. } = &**inputs;
        if inputs.seen.values.is_none() && !inputs.seen.grids.is_empty() {
            let patches = inputs.seen.grids.iter().map(Grid::patches).sum();
            let expected = vec![patches, self.config.vision.values()];
            return Err(ZooError::Pixels { found: Vec::new(), expected });
        }
        let plans = self.plans(inputs)?;
        let positions: Vec<_> = plans.iter().map(|plan| plan.positions.clone()).collect();
        let d = self.config.text.d_model;
        let shape = resumed(inputs, d, device, run);
        let seen = match (&inputs.seen.values, &shape) {
            (None, _) => None,
            // What is added behind later blocks is needed still; before the decoder such a pass has standing edits alone.
            (Some(_), Some(_)) => match run.resume(Part::Text) {
                Resume::At(block, _) if block < self.deep.len() => self.see(inputs, run)?,
                _ => None,
            },
            (Some(_), None) => match self.see(inputs, run)? {
                None => return Ok(None),
                seen => seen,
            },
        };
        let deepstack: Vec<Tensor<3>> = match &seen {
            // Without pictures nothing is added, which is written out for those who ask.
            None if (0..self.deep.len()).any(|i| run.wants(Site::block(Part::Text, i, Point::Deepstack))) => {
                vec![Tensor::zeros([inputs.rows(), inputs.positions(), d], device); self.deep.len()]
            }
            None => Vec::new(),
            Some(seen) => {
                let nothing = || Tensor::zeros([inputs.rows(), inputs.positions(), d], device);
                seen.deep.iter().map(|deep| Self::fill(nothing(), deep, &plans, device)).collect()
            }
        };
        let shown = !inputs.seen.grids.is_empty();
        let sequence = Sequence {
            pads,
            logits_at: *logits_at,
            positions: shown.then_some(positions.as_slice()),
            deepstack: &deepstack,
        };
        if let Some(shape) = shape {
            return self.text.forward(shape, sequence, cache, run);
        }
        let words = run.at(Site::of(Part::Text, Point::Embed), self.text.embed(ids, device)?)?;
        let x = match &seen {
            None => words,
            Some(seen) => Self::fill(words, &seen.out, &plans, device),
        };
        self.text.forward(x, sequence, cache, run)
    }
}
