//! The blocks of a tower, as far as somebody asks for their states.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use mmlens_core::{HookError, Part, Point, Resume, Run, Site};

use super::{Block, Masking};
use crate::ZooError;

/// Blocks of a tower from its `input` on: the hidden states asked for, in that order. 0 is what enters block 0, `i` what leaves
/// block `i - 1`. The pass goes as far as the last of them (and further, where a plan wants a site there); `None` if it ended
/// before. If the run resumes in a block, `x` is not used but for its shape.
///
/// # Errors
/// Whatever a site reports; a pass that resumes behind a state asked for.
pub fn encode(
    part: Part,
    blocks: &[Block],
    x: Tensor<3>,
    masking: &Masking,
    layers: &[usize],
    run: &mut Run,
) -> Result<Option<Vec<Tensor<3>>>, ZooError> {
    let (first, mut x) = match run.resume(part) {
        Resume::At(block, hidden) => {
            let hidden: Tensor<3> = hidden.rank_of("the saved state")?;
            let (found, want) = (hidden.dims(), x.dims());
            if found != want {
                return Err(ZooError::State { found: found.to_vec(), expected: want.to_vec() });
            }
            (block, hidden)
        }
        _ => (0, run.at(Site::of(part, Point::Input), x)?),
    };
    let behind = layers.iter().copied().find(|layer| *layer < first).map(|layer| {
        let resume = Site::block(part, first, Point::ResidPre);
        HookError::ResumesBehind { resume, layer }
    });
    if let (Some(behind), false) = (&behind, run.ends_in_blocks(part)) {
        return Err(behind.clone().into());
    }
    let mut states = BTreeMap::new();
    let wanted = (0..blocks.len()).rev().find(|i| run.wants_block(part, *i));
    let last = layers.iter().copied().chain(wanted.map(|i| i + 1)).max().unwrap_or(0);
    for (i, block) in blocks.iter().enumerate().take(last).skip(first) {
        if run.done() {
            return Ok(None);
        }
        if layers.contains(&i) {
            states.insert(i, x.clone());
        }
        x = block.forward(x, (part, i), None, masking, None, run)?;
    }
    if run.done() {
        return Ok(None);
    }
    if let Some(behind) = behind {
        return Err(behind.into());
    }
    states.insert(last.max(first), x);
    let state = |layer: &usize| {
        states.get(layer).cloned().ok_or_else(|| ZooError::Value {
            field: "hidden state of the tower".to_owned(),
            found: layer.to_string(),
            expected: format!("at most {}", blocks.len()),
        })
    };
    layers.iter().map(state).collect::<Result<_, _>>().map(Some)
}
