//! What becomes of an answer if something is taken off the rows of a site.

use mmlens_core::finding::{Axis, Caution, CautionKind, Role, Unit};
use mmlens_core::{AnalysisError, Card, Case, Copies, HookError, Inputs, Objective, On, Plan, Site, caution};
use mmlens_engine::{Edit, Held, Matrix, Metric, Progress, Sweep, label};

use crate::check::at_least_one;

/// Where something is taken off, and how many variants share a pass.
pub(super) struct Place<'a> {
    pub(super) card: &'a Card,
    pub(super) site: Site,
    pub(super) rows: usize,
}

/// What an answer loses.
pub(super) struct Lost {
    pub(super) objective: Objective,
    /// The objective with nothing taken off.
    pub(super) whole: f32,
    /// That less the objective of each variant.
    pub(super) lost: Vec<f64>,
}

impl Place<'_> {
    /// Passes it takes: one for the value of the site, one with nothing taken off, one for each variant, and those that settle what is explained.
    pub(super) fn passes(case: &Case, variants: usize) -> usize {
        if variants == 0 { 0 } else { case.settling() + 2 + variants }
    }

    /// Of every variant what the answer loses if its rows are taken off those that were read.
    pub(super) fn lost(
        &self,
        (on, case): (&On<'_>, &Case),
        held: &Held,
        off: &[Matrix],
        progress: &mut Progress<'_>,
    ) -> Result<Lost, AnalysisError> {
        let (subject, site, id) = (on.subject(), self.site, self.card.id);
        let (inputs, objective) = on.open(case)?;
        let plan = Plan::new().read(site)?;
        on.memory().hold(id, 0, subject.need(&inputs, &plan, Copies::ONE)?)?;
        let value = subject.run(&inputs, plan)?.get(site)?.clone();
        let own = value.to_values()?;
        let mut variants = Vec::with_capacity(off.len());
        for off in off {
            let (mut values, given) = (own.clone(), own.len());
            for (place, row) in held.places.iter().zip(off.rows()) {
                let from = place * held.width;
                let to = values.get_mut(from..from + held.width);
                let to = to.ok_or(HookError::Values { dims: vec![place + 1, held.width], given })?;
                to.iter_mut().zip(row).for_each(|(x, off)| *x = (f64::from(*x) - off) as f32);
            }
            variants.push(vec![Edit::set(site, value.filled(values)?)]);
        }
        let kept = 4 * (own.len() * (1 + variants.len())) as u64;
        let memory = on.memory().at_most(at_least_one(self.card, "rows", self.rows)?).less(kept);
        let sweep = Sweep::of(vec![Axis::count(Role::Step, variants.len())], variants)?;
        let swept = sweep.measure(Metric::from(&objective)).run(subject, &inputs, &memory, progress)?;
        let measured = swept.measured.first().ok_or(HookError::NoObjective)?;
        let whole = f64::from(measured.unedited);
        let lost = measured.values.iter().map(|score| whole - f64::from(*score)).collect();
        Ok(Lost { objective, whole: measured.unedited, lost })
    }
}

/// What rows are, as an axis.
pub(super) fn shown(inputs: &Inputs, held: &Held) -> Axis {
    let patches: Option<Vec<_>> = held.shows.iter().map(|shows| shows.patch().copied()).collect();
    match (held.prompt, patches) {
        (true, _) => label::token_axis_at(inputs.map(), &held.places),
        (false, Some(patches)) => Axis::patches(patches),
        (false, None) => Axis::count(Role::Sample, held.places.len()),
    }
}

/// What speaks against taking a change for that of what was taken off: that it is rounding, or that directions drawn by chance, `drawn`, change the objective as much.
pub(super) fn cautions(own: f32, drawn: &[f32], (unit, whole): (Unit, f32)) -> Option<Caution> {
    if let Some(rounding) = caution::rounding(&[own], (unit, whole), "changes") {
        return Some(rounding);
    }
    let most = drawn.iter().map(|change| change.abs()).max_by(f32::total_cmp)?; // no NaN: finite scores
    let as_large = drawn.iter().filter(|change| change.abs() >= own.abs()).count();
    let p = (1 + as_large) as f32 / (1 + drawn.len()) as f32;
    (as_large > 0).then(|| {
        let text = format!(
            "{as_large} of {} draws of random directions change the objective as much or more, by up to {most:.3}, and this by {:.3} (p = {p:.2}): that it is these directions does not follow",
            drawn.len(),
            own.abs()
        );
        Caution::new(CautionKind::Chance, p, text)
    })
}
