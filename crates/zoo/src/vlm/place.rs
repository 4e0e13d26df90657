//! Picture features in the place of placeholders.

use burn::tensor::{Int, Tensor, TensorData};

use crate::ZooError;

/// Token vectors, `[batch, pos, d]`, with features, `[n, d]`, in the place of the tokens that are `visual`: the k-th of
/// them in a row becomes the feature that `sources[row][k]` names.
///
/// # Errors
/// [`ZooError::Placeholders`] if a row has another number of visual tokens than of sources.
pub fn place(
    words: Tensor<3>,
    features: Option<Tensor<2>>,
    ids: &[Vec<u32>],
    visual: &[u32],
    sources: &[Vec<usize>],
) -> Result<Tensor<3>, ZooError> {
    let [b, p, d] = words.dims();
    let mut index: Vec<i64> = (0..(b * p) as i64).collect();
    for (row, ids) in ids.iter().enumerate() {
        let sources = sources.get(row).map_or(&[][..], Vec::as_slice);
        let places: Vec<usize> =
            (0..p).filter(|i| ids.get(*i).is_some_and(|id| visual.contains(id))).collect();
        if places.len() != sources.len() {
            return Err(ZooError::Placeholders { row, found: places.len(), expected: sources.len() });
        }
        for (place, source) in places.into_iter().zip(sources) {
            if let Some(slot) = index.get_mut(row * p + place) {
                *slot = (b * p + source) as i64;
            }
        }
    }
    let Some(features) = features else { return Ok(words) };
    let device = words.device().without_autodiff();
    let all = Tensor::cat(vec![words.reshape([b * p, d]), features], 0);
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [b * p]), &device);
    Ok(all.select(0, index).reshape([b, p, d]))
}
