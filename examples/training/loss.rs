//! Losses, and the helper that names what each patch of a tower shows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use mmlens::data::shapes::{SIDE, Scene};
use mmlens::prelude::AnyTensor;
use mmlens::zoo::checkpoint::WeightSource;

/// Side of a patch of the towers.
const PATCH: usize = 8;
const GRID: usize = SIDE / PATCH;
/// A patch shows an object if so many of its 64 pixels belong to it.
const SHOWS: u32 = 10;

const PATCH_HEAD: &str = "helper.patch";
/// Classes of the patch helper: shapes, colours, sizes, each with "none".
const CLASSES: [usize; 3] = [7, 9, 3];

/// For every patch: shape, colour, size of the object it shows, each plus one; zeros where there is none.
pub(crate) fn shown(scene: &Scene) -> impl Iterator<Item = [u8; 3]> + use<> {
    let mut counts = vec![BTreeMap::<usize, u32>::new(); GRID * GRID];
    for (i, object) in scene.objects.iter().enumerate() {
        for (x, y) in object.mask.pixels() {
            *counts[y as usize / PATCH * GRID + x as usize / PATCH].entry(i).or_default() += 1;
        }
    }
    let objects = scene.objects.clone();
    counts.into_iter().map(move |count| {
        let most = count.into_iter().max_by_key(|(_, n)| *n).filter(|(_, n)| *n >= SHOWS);
        most.map_or([0; 3], |(i, _)| {
            let o = &objects[i];
            [o.shape as u8 + 1, o.colour as u8 + 1, o.size as u8 + 1]
        })
    })
}

/// Names shape, colour and size of the object under each patch from the patches of a tower, `[picture, patch, d]`.
pub(crate) fn patch_loss(
    weights: &mut impl WeightSource,
    features: Tensor<3>,
    shown: &[[u8; 3]],
    device: &Device,
) -> Result<Tensor<1>> {
    let [n, p, d] = features.dims();
    let all: usize = CLASSES.iter().sum();
    let weight: Tensor<2> = weights.take(&format!("{PATCH_HEAD}.weight"), [all, d])?;
    let bias: Tensor<1> = weights.take(&format!("{PATCH_HEAD}.bias"), [all])?;
    let logits = features.reshape([n * p, d]).matmul(weight.transpose()) + bias.unsqueeze();
    let mut start = 0;
    let mut losses = Vec::new();
    for (i, classes) in CLASSES.into_iter().enumerate() {
        let labels: Vec<usize> = shown.iter().map(|l| usize::from(l[i])).collect();
        losses.push(cross_entropy(logits.clone().narrow(1, start, classes), &labels, device));
        start += classes;
    }
    losses.into_iter().reduce(|a, b| a + b).ok_or_else(|| anyhow!("no classes"))
}

/// Draws the weights of the patch helper.
pub(crate) fn patch_head(weights: &mut impl WeightSource, d: usize) -> Result<()> {
    let all: usize = CLASSES.iter().sum();
    let _: Tensor<2> = weights.take(&format!("{PATCH_HEAD}.weight"), [all, d])?;
    let _: Tensor<1> = weights.take(&format!("{PATCH_HEAD}.bias"), [all])?;
    Ok(())
}

/// The mean over rows of minus the log-probability of each row's class.
pub(crate) fn cross_entropy(logits: Tensor<2>, classes: &[usize], device: &Device) -> Tensor<1> {
    let index: Vec<i64> = classes.iter().map(|c| *c as i64).collect();
    let index = Tensor::<2, Int>::from_data(TensorData::new(index, [classes.len(), 1]), device);
    log_softmax(logits, 1).gather(1, index).mean().neg()
}

pub(crate) fn scalar(x: Tensor<1>) -> Result<f32> {
    AnyTensor::new(x.without_autodiff()).to_values()?.first().copied().context("a loss has no value")
}
