//! A subject small enough to reckon by hand: `resid_pre` doubles, `mlp_out` is added, the logits are the last position.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::*;

/// How the toy may break its own table of sites.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    Twice,
    Unpublished,
    OtherShape,
    Skips,
    Panics,
}

pub(crate) struct Toy {
    pub(crate) fault: Fault,
    sites: Vec<SiteSpec>,
}

pub(crate) const WIDTH: usize = 3;

impl Toy {
    pub(crate) fn new(fault: Fault) -> Self {
        use AxisName::{Batch, DModel, Head, Key, Pos, Query, Vocab};
        let stream = [(Batch, None), (Pos, None), (DModel, Some(WIDTH))];
        let mut sites = vec![SiteSpec::new(Site::of(Part::Text, Point::Input), stream)];
        for block in 0..2 {
            let pairs = [(Batch, None), (Head, Some(1)), (Query, None), (Key, None)];
            sites.push(SiteSpec::new(Site::block(Part::Text, block, Point::ResidPre), stream));
            sites.push(SiteSpec::new(Site::block(Part::Text, block, Point::Scores), pairs));
            sites.push(SiteSpec::new(Site::block(Part::Text, block, Point::Pattern), pairs));
            sites.push(SiteSpec::new(Site::block(Part::Text, block, Point::MlpOut), stream));
            sites.push(SiteSpec::new(Site::block(Part::Text, block, Point::ResidPost), stream));
        }
        let logits = [(Batch, None), (Pos, None), (Vocab, Some(WIDTH))];
        sites.push(SiteSpec::new(Site::of(Part::Text, Point::Logits), logits));
        Self { fault, sites }
    }

    /// Rows of two positions, filled from ids.
    pub(crate) fn inputs(rows: &[[u32; 2]]) -> Inputs {
        Inputs::new(Batch {
            ids: rows.iter().map(|r| r.to_vec()).collect(),
            pads: vec![0; rows.len()],
            tails: vec![0; rows.len()],
            maps: rows.iter().map(|_| Arc::default()).collect(),
            ..Batch::default()
        })
        .unwrap()
    }
}

pub(crate) fn device() -> Device {
    Device::flex()
}

impl Subject for Toy {
    fn name(&self) -> &str {
        "toy"
    }

    fn weights_hash(&self) -> String {
        "none".to_owned()
    }

    fn device(&self) -> String {
        "flex".to_owned()
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &[]
    }

    fn encode(&self, _: &Sample) -> Result<Inputs, SubjectError> {
        Ok(Self::inputs(&[[1, 2]]))
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        let values: Vec<f32> = inputs
            .ids
            .iter()
            .flatten()
            .flat_map(|id| (0..WIDTH).map(move |i| *id as f32 + i as f32))
            .collect();
        let x = Tensor::<3>::from_data(TensorData::new(values, [inputs.rows(), 2, WIDTH]), &device());
        let (first, mut x) = match run.resume(Part::Text) {
            Resume::At(block, state) => (block, state.rank_of::<3>("state")?),
            _ => (0, run.at(Site::of(Part::Text, Point::Input), x)?),
        };
        for block in first..2 {
            if run.done() {
                return Ok(Output::default());
            }
            let site = |point| Site::block(Part::Text, block, point);
            x = run.at(site(Point::ResidPre), x)?;
            let scores =
                run.at(site(Point::Scores), x.clone().matmul(x.clone().transpose()).unsqueeze_dim::<4>(1))?;
            let pattern = run.at(site(Point::Pattern), burn::tensor::activation::softmax(scores, 3))?;
            let mixed = pattern.squeeze_dim::<3>(1).matmul(x.clone());
            let out = run.at(site(Point::MlpOut), mixed.mul_scalar(0.5))?;
            let next = x + out;
            match self.fault {
                Fault::Twice => {
                    run.at(site(Point::MlpOut), next.clone())?;
                }
                Fault::Unpublished => {
                    run.at(site(Point::AttnOut), next.clone())?;
                }
                Fault::OtherShape => {
                    run.at(site(Point::ResidPost), next.clone().narrow(2, 0, 2))?;
                }
                Fault::Skips => {
                    x = next;
                    continue;
                }
                Fault::Panics => assert!(block == 0, "block {block} gave up"),
                Fault::None => {}
            }
            x = run.at(site(Point::ResidPost), next)?;
        }
        if run.done() {
            return Ok(Output::default());
        }
        let length = x.dims()[1];
        let last = if inputs.logits_at == LogitsAt::Last { x.narrow(1, length - 1, 1) } else { x };
        Ok(Output::of_logits(run.at(Site::of(Part::Text, Point::Logits), last)?))
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(format!("{ids:?}"))
    }

    fn token(&self, id: u32) -> String {
        id.to_string()
    }

    fn tokens(&self, _: &str) -> Result<Vec<u32>, SubjectError> {
        Ok(Vec::new())
    }
}
