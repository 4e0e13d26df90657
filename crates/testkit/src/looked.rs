//! What a site holds, as an objective.

use mmlens_core::{
    AnyTensor, AxisName, HookError, Inputs, Objective, Plan, Reading, Region, SiteSpec, Subject,
    SubjectError, Unreadable,
};
use mmlens_finding::Tolerance;

use crate::contract::{Checked, ROUNDING, text, values};

/// Another order of summation, seen at single entries, some of which are small differences of larger numbers.
const CANCELLED: Tolerance = Tolerance::either(5e-6, 1e-4);

/// Long sums of both signs.
const SUMS: Tolerance = Tolerance::either(1e-4, 1e-4);

/// At every site one entry of every row, and a direction over the last axis: the values are those that are read, their gradient
/// is where they lie, a pass ends with them, and rows side by side, each with pictures of its own, have the values they have alone;
/// where pictures of several rows lie in one sequence without positions (scores, of queries and keys), they are refused.
pub(crate) fn sites_are_objectives(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    for spec in subject.sites() {
        one_site(subject, inputs, spec).map_err(|breach| format!("`{}`: {breach}", spec.site))?;
    }
    Ok(())
}

fn one_site(subject: &dyn Subject, inputs: &Inputs, spec: &SiteSpec) -> Checked {
    let trace = match subject.run(inputs, Plan::new().read(spec.site).map_err(text)?) {
        // A part that these inputs have nothing for.
        Err(SubjectError::Hook(HookError::NeverReached(_))) => return Ok(()),
        read => read.map_err(text)?,
    };
    let read = trace.get(spec.site).map_err(text)?;
    let dims = read.dims();
    let Some(own) = rows(spec, inputs) else { return Ok(()) };
    // The last entry along every axis but that of rows.
    let by_rows = own.first().is_some_and(Option::is_some);
    let mut region = Region::all();
    for ((axis, _), len) in spec.axes.iter().zip(&dims).skip(usize::from(by_rows)) {
        region = region.of(*axis, [len - 1]);
    }
    let inner: usize = dims.iter().skip(usize::from(by_rows)).product();
    let places: Vec<usize> = own.iter().map(|own| (own.unwrap_or(0) + 1) * inner - 1).collect();
    if let (Some(axis), Some(own)) = (spec.apart(), spec.tower().and_then(|tower| inputs.entries(tower))) {
        let shown = own.of_row(0).len();
        region = region.of(axis, [shown - 1]);
    }
    let reading = Reading::at(spec.site).within(region.clone());
    let all = values(read)?;
    let mut plan = Plan::new().objective(reading.clone());
    if subject.differentiable() {
        plan = plan.grad(spec.site).map_err(text)?;
    }
    let trace = subject.run(inputs, plan).map_err(text)?;
    let found = trace.scores().map_err(text)?.to_vec();
    let wanted: Vec<f32> = places.iter().map(|place| all[*place]).collect();
    ROUNDING.check("one entry", &found, &wanted).map_err(text)?;
    if subject.differentiable() {
        let mut wanted = vec![0.0; all.len()];
        places.iter().for_each(|place| wanted[*place] += 1.0);
        if values(trace.grad(spec.site).map_err(text)?)? != wanted {
            return Err("the gradient of one entry is not one there, and zero elsewhere".to_owned());
        }
    }
    // Behind the last block little is left, and a model need not stop.
    let early = spec.site.block_index().is_some() || spec.site.before_blocks();
    if early && (trace.output().logits.is_some() || trace.output().pairs.is_some()) {
        return Err("the pass went on behind what is looked at".to_owned());
    }
    let Some((last, _)) = spec.axes.last() else { return Ok(()) };
    let length = dims.last().copied().unwrap_or_default();
    let direction: Vec<f32> = (0..length).map(|i| (i as f32 * 1.3).cos()).collect();
    let mut along = Region::all();
    for (axis, indices) in spec.axes.iter().filter_map(|(axis, _)| Some((*axis, region.indices(*axis)?))) {
        if axis != *last {
            along = along.of(axis, indices.iter().copied());
        }
    }
    // Scores that attention must not see are no numbers to add.
    if *last != AxisName::Key {
        let objective: Objective = Reading::at(spec.site).within(along).along(direction.clone()).into();
        let trace = subject.run(inputs, Plan::new().objective(objective)).map_err(text)?;
        let along = |place: &usize| {
            let vector = &all[place + 1 - length..=*place];
            let products = vector.iter().zip(&direction).map(|(x, d)| f64::from(*x) * f64::from(*d));
            products.sum::<f64>() as f32
        };
        let wanted: Vec<f32> = places.iter().map(along).collect();
        let found = trace.scores().map_err(text)?;
        SUMS.check("along a direction", found, &wanted).map_err(text)?;
    }
    let packed = inputs.repeat_entries(2).map_err(text)?;
    let twice = subject.run(&packed, Plan::new().objective(reading));
    if !by_rows && spec.axis(AxisName::Pos).is_none() {
        return match twice {
            Err(SubjectError::Hook(HookError::Unreadable { why: Unreadable::NoRows { .. }, .. })) => Ok(()),
            other => {
                Err(format!("rows side by side: {:?}", other.map(|trace| trace.scores().map(<[_]>::to_vec))))
            }
        };
    }
    let twice = twice.map_err(text)?;
    let wanted = [wanted.clone(), wanted].concat();
    CANCELLED.check("side by side", twice.scores().map_err(text)?, &wanted).map(|_| ()).map_err(text)
}

/// For each row which entry of the first axis is its own, `None` if the first axis is none of rows; nothing where the values of
/// several rows lie in one sequence.
fn rows(spec: &SiteSpec, inputs: &Inputs) -> Option<Vec<Option<usize>>> {
    match spec.axes.first() {
        Some((AxisName::Batch, None)) => Some((0..inputs.rows()).map(Some).collect()),
        Some((axis, None)) if axis.tower().is_some() => {
            let own = &inputs.entries(axis.tower()?)?.of_rows;
            let shown = own.first()?.len();
            let last = |own: &Vec<usize>| own.last().copied().filter(|_| own.len() == shown).map(Some);
            own.iter().map(last).collect()
        }
        _ => (inputs.rows() == 1).then(|| vec![None]),
    }
}

/// The same number of several objectives that share a pass as of each by itself.
pub(crate) fn objectives_share_a_pass(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let inputs = inputs.clone().all_logits();
    let Some(spec) = subject.sites().iter().rev().find(|spec| spec.axis(AxisName::Pos).is_some()) else {
        return Ok(());
    };
    let site = Reading::at(spec.site).within(Region::all().positions([0]));
    let answers = subject.run(&inputs, Plan::new()).map_err(text)?;
    let own = match &answers.output().logits {
        Some(_) => vec![Objective::logit(1), Objective::log_probability(0)],
        None => vec![Objective::Similarity, Objective::Cosine],
    };
    let sum = own.iter().cloned().chain([site.into()]).map(|objective| (0.5, objective)).collect();
    let all: Vec<Objective> = own.into_iter().chain([Objective::Sum(sum)]).collect();
    let alone = |objective: &Objective| {
        let trace = subject.run(&inputs, Plan::new().objective(objective)).map_err(text)?;
        Ok::<_, String>(trace.scores().map_err(text)?.to_vec())
    };
    let plan = all.iter().fold(Plan::new(), Plan::also);
    let trace = subject.run(&inputs, plan).map_err(text)?;
    for objective in &all {
        let together = AnyTensor::new(objective.score(trace.output()).map_err(text)?);
        ROUNDING.check(&objective.to_string(), &values(&together)?, &alone(objective)?).map_err(text)?;
    }
    let each: Vec<Vec<f32>> = all[..2].iter().map(alone).collect::<Result<_, _>>()?;
    let last = alone(&all[2])?;
    let held = trace.output().kept(spec.site).map_err(text)?;
    let first = held.part(spec.axis(AxisName::Pos).unwrap_or(0), 0, 1).map_err(text)?;
    let per_row = first.dims().iter().product::<usize>() / inputs.rows().max(1);
    for (row, held) in values(&first)?.chunks(per_row.max(1)).enumerate().take(inputs.rows()) {
        let held: f64 = held.iter().map(|x| f64::from(*x)).sum();
        let wanted = 0.5 * (f64::from(each[0][row]) + f64::from(each[1][row]) + held);
        SUMS.check("a sum", &last[row..=row], &[wanted as f32]).map_err(text)?;
    }
    Ok(())
}
