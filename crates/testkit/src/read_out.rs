//! What leaves the last block of a part, read out by itself.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, Inputs, Part, Plan, Point, Site, Subject, SubjectError, device, kind};

use crate::contract::{Checked, ROUNDING, computed, refused, text, values};

/// Of every part that [`kind::reads_out`] speaks for: the states that leave its last block are read out as what the pass gives, at every
/// position or at the one that is pooled. Of every other part: nothing is, and the error names subject and part.
pub(crate) fn read_out_is_output(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    for part in Part::ALL {
        let held = match kind::reads_out(subject, part) {
            Ok(space) => held(subject, inputs, part, space),
            Err(_) => silent(subject, part),
        };
        held.map_err(|breach| format!("`{}`: {breach}", part.name()))?;
    }
    Ok(())
}

/// One state of zeros.
fn zeros(width: usize) -> Result<AnyTensor, String> {
    AnyTensor::from_values(vec![0.0; width], &[1, width], &device::host()).map_err(text)
}

fn width(subject: &dyn Subject, part: Part) -> usize {
    subject.anatomy().iter().find(|anatomy| anatomy.part == part).map_or(1, |anatomy| anatomy.d_model)
}

fn silent(subject: &dyn Subject, part: Part) -> Checked {
    match subject.read_out(part, zeros(width(subject, part))?) {
        Err(SubjectError::NoReadOut { subject: own, part: of, .. })
            if own == subject.name() && of == part =>
        {
            Ok(())
        }
        Err(error) => Err(format!("what cannot be read out gives `{error}`")),
        Ok(_) => Err("it is read out, and ends in neither logits nor a projection".to_owned()),
    }
}

fn held(subject: &dyn Subject, inputs: &Inputs, part: Part, space: kind::Space) -> Checked {
    let last = kind::blocks(subject, part).checked_sub(1).ok_or("it is read out, and has no block")?;
    let [stream, added] = [Point::ResidPost, Point::Deepstack].map(|point| Site::block(part, last, point));
    if !kind::has(subject, stream) || !computed(inputs, part) {
        return Ok(());
    }
    let (end, added) = (space.site(part), Some(added).filter(|site| kind::has(subject, *site)));
    let mut sites = [Some(stream), Some(end), added].into_iter().flatten();
    let plan = sites.try_fold(Plan::new().to_output(), Plan::read).map_err(text)?;
    let trace = subject.run(&inputs.clone().all_logits(), plan).map_err(text)?;
    let mut states: Tensor<3> = trace.tensor(stream).map_err(text)?;
    if let Some(added) = added {
        states = states + trace.tensor::<3>(added).map_err(text)?;
    }
    let [rows, positions, width] = states.dims();
    refused("states of another width", || subject.read_out(part, zeros_of(width + 1)?))?;
    let edited = subject
        .edited()
        .iter()
        .any(|site| site.part() == part && *site > stream && site.point() != Point::Deepstack);
    let said = match subject.read_out(part, states.reshape([rows * positions, width]).into()) {
        // What an edit behind the last block does may depend on where a state stood.
        Err(SubjectError::NoReadOut { .. }) if edited => return Ok(()),
        said => values(&said.map_err(text)?)?,
    };
    let given = values(trace.get(end).map_err(text)?)?;
    if space == kind::Space::Words {
        return ROUNDING.check(&format!("`{stream}`, read out"), &said, &given).map(|_| ()).map_err(text);
    }
    pooled(&format!("`{stream}`, read out"), rows, &said, &given)?;
    let Some(pairs) = trace.output().pairs.as_ref().filter(|_| space == kind::Space::Shared) else {
        return Ok(());
    };
    let unit = if part == Part::Vision { &pairs.images } else { &pairs.texts };
    let wide = given.len() / rows.max(1);
    let scaled = |row: &[f32]| {
        let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|value| (f64::from(*value) / length) as f32).collect::<Vec<f32>>()
    };
    let scaled: Vec<f32> = said.chunks(wide.max(1)).flat_map(scaled).collect();
    pooled(&format!("`{stream}`, read out and brought to length one"), rows, &scaled, &values(unit)?)
}

fn zeros_of(width: usize) -> Result<AnyTensor, SubjectError> {
    Ok(AnyTensor::from_values(vec![0.0; width], &[1, width], &device::host())?)
}

/// That in every row one of its positions says what the pass says of the row.
fn pooled(what: &str, rows: usize, said: &[f32], given: &[f32]) -> Checked {
    let wide = (given.len() / rows.max(1)).max(1);
    let each = said.len() / rows.max(1);
    if given.is_empty() || !each.is_multiple_of(wide) {
        return Err(format!("{what}: {} numbers, of rows of {wide}", said.len()));
    }
    for (row, wanted) in given.chunks(wide).enumerate() {
        let own = said.get(row * each..(row + 1) * each).unwrap_or_default();
        if !own.chunks(wide).any(|one| ROUNDING.check(what, one, wanted).is_ok()) {
            return Err(format!("{what}: no position of row {row} gives what the pass gives"));
        }
    }
    Ok(())
}
