//! The end of a pass: the logits that are asked for, and no more.

use burn::tensor::{Int, Tensor, TensorData};
use mmlens_core::{HookError, LogitsAt, Part, Point, Run, Site};

/// Of states `[batch, pos, d]` those whose logits are needed, `[batch, selected, d]`.
///
/// # Errors
/// [`HookError::Objective`] for a position past the end.
pub fn selected_states(x: Tensor<3>, at: LogitsAt, run: &Run) -> Result<Tensor<3>, HookError> {
    let length = x.dims()[1];
    let places = match (run.selected_logits(), at) {
        (Some(wanted), _) => {
            // In a pass that goes on from some positions alone, places are counted with those before.
            let past = match run.past().first() {
                Some((known, _)) => known.clone().rank_of::<4>("known keys")?.dims()[1],
                None => 0,
            };
            let own = |index: usize| match index.checked_sub(past) {
                Some(index) => Ok(index),
                None => Err(HookError::Objective { what: "position", index, len: length }),
            };
            wanted.positions(past + length)?.into_iter().map(own).collect::<Result<_, _>>()?
        }
        (None, LogitsAt::Last) => vec![length.saturating_sub(1)],
        (None, LogitsAt::All) => return Ok(x),
    };
    Ok(match *places {
        [place] => x.narrow(1, place, 1),
        _ => {
            let places = places.into_iter().map(|place| place as i64);
            let (count, device) = (places.len(), x.device().without_autodiff());
            x.select(1, Tensor::<1, Int>::from_data(TensorData::new(places.collect(), [count]), &device))
        }
    })
}

/// What a head says of such states, at `text.logits`. Where only some logits are wanted, it says these and the site is
/// not passed: `head` is given their tokens, and gives `[batch, selected, tokens]`.
///
/// # Errors
/// Whatever the site reports; [`HookError::Objective`] for a token outside the vocabulary.
pub fn selected_logits(
    x: Tensor<3>,
    vocab: usize,
    run: &mut Run,
    head: impl FnOnce(Tensor<3>, Option<&[u32]>) -> Tensor<3>,
) -> Result<Tensor<3>, HookError> {
    match run.selected_logits() {
        Some(wanted) => Ok(head(x, wanted.tokens(vocab)?)),
        None => run.at(Site::of(Part::Text, Point::Logits), head(x, None)),
    }
}
