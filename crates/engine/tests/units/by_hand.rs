//! Parts of an input hidden by hand: what units are compared with.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_core::{AnyTensor, AxisName, Change, HookError, Inputs, Plan, Region, Selector, Site};
use mmlens_engine::Windows;

/// Row `i` of the batch takes the values of `other` at the positions `places[i]`.
pub(crate) fn put(
    mut plan: Plan,
    site: Site,
    places: Vec<Vec<usize>>,
    other: &AnyTensor,
) -> Result<Plan, HookError> {
    for (row, places) in places.into_iter().enumerate() {
        plan = plan.change(site, Region::all().rows([row]).positions(places), Change::Set(other.clone()))?;
    }
    Ok(plan)
}

/// In row `i` of the batch nobody but the position itself attends to the positions `places[i]`.
pub(crate) fn unattended(mut plan: Plan, scores: &str, places: Vec<Vec<usize>>) -> Result<Plan, HookError> {
    let selector: Selector = scores.parse()?;
    for (row, places) in places.into_iter().enumerate() {
        let edges = Region::all().rows([row]).of(AxisName::Key, places);
        plan = plan.change(selector.clone(), edges, Change::MaskOthers)?;
    }
    Ok(plan)
}

/// The picture `[1, channel, height, width]` behind a range of windows: in copy `i` the pixels of window `range.start + i` are those
/// of the baseline.
pub(crate) fn hide(
    windows: &Windows,
    picture: &AnyTensor,
    baseline: &AnyTensor,
    range: Range<usize>,
) -> AnyTensor {
    let [1, channels, height, width] = *picture.dims() else { panic!("{:?}", picture.dims()) };
    let copies = range.len();
    let mut hidden = vec![false; copies * height * width];
    for (copy, index) in range.enumerate() {
        let across = windows.cols().len();
        let (rows, cols) = (&windows.rows()[index / across], &windows.cols()[index % across]);
        for row in rows.clone() {
            let from = (copy * height + row) * width;
            hidden[from + cols.start..from + cols.end].fill(true);
        }
    }
    let [picture, baseline]: [Tensor<4>; 2] =
        [picture, baseline].map(|x| x.clone().rank_of("a picture").unwrap());
    let hidden = TensorData::new(hidden, [copies, 1, height, width]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &picture.device());
    let wide = [copies, channels, height, width];
    picture.expand(wide).mask_where(hidden.expand(wide), baseline.expand(wide)).into()
}

/// One row for each of `variants`, all of the prompt of `inputs` (one row), with the variant in the place of its picture `entry`.
pub(crate) fn show(inputs: &Inputs, entry: usize, variants: AnyTensor) -> Inputs {
    let copies = variants.dims()[0];
    let pixels: Tensor<4> = inputs.seen.values.clone().unwrap().rank_of("pictures").unwrap();
    let pictures = pixels.dims()[0];
    let repeated = inputs.repeat(copies).with(|batch| {
        for (row, images) in batch.seen.of_rows.iter_mut().enumerate() {
            images.iter_mut().filter(|i| **i == entry).for_each(|i| *i = pictures + row);
        }
        if let Some(colour) = inputs.seen.means.get(entry) {
            batch.seen.means = inputs
                .seen
                .means
                .iter()
                .cloned()
                .chain(std::iter::repeat_n(colour.clone(), copies))
                .collect();
        }
        batch.seen.values = Some(Tensor::cat(vec![pixels, variants.rank_of("pictures").unwrap()], 0).into());
    });
    repeated.unwrap()
}
