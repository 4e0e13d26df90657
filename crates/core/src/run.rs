//! One pass: carrying out a plan while a model computes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::change::{apply, check_axes};
use crate::need::{Asks, Planned};
use crate::objective::{Kept, Rows};
use crate::plan::{Act, ChangeFn, Stood, known};
use crate::strip::ScanFn;
use crate::tap::{OnGrad, Taken, tap_any};
use crate::{
    Activation, Anatomy, AnyTensor, AxisName, Change, Copies, Held, HookError, Inputs, LogitSelection,
    Objective, Output, Part, Place, Plan, Point, Reading, Region, Site, SiteSpec, Splice, State, Strip,
    Subject, SubjectError, Trace, Unreadable, caught,
};

#[derive(Default)]
struct Work {
    /// Whether the plan asks for it; else there are standing edits alone, which nobody waits for.
    planned: bool,
    edits: Vec<(Region, Change)>,
    read: bool,
    keep: bool,
    grad: bool,
    grad_edits: Vec<ChangeFn>,
    scans: Vec<ScanFn>,
}

impl Work {
    fn takes_gradient(&self) -> bool {
        self.grad || !self.grad_edits.is_empty()
    }

    fn held(&self) -> Held {
        let whole = self.read || self.keep || self.grad || !self.grad_edits.is_empty();
        let edits = self.edits.iter().map(|(_, change)| change.held());
        edits.max().unwrap_or(Held::Seen).max(if whole { Held::Whole } else { Held::Seen })
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("planned", &self.work.keys()).field("reached", &self.reached).finish()
    }
}

/// A plan under way. A model calls [`Run::at`] once at each of its sites.
pub struct Run {
    work: BTreeMap<Site, Work>,
    specs: BTreeMap<Site, SiteSpec>,
    reached: BTreeSet<Site>,
    taken: BTreeMap<Site, AnyTensor>,
    kept: BTreeMap<Site, Kept>,
    grads: Taken,
    faults: Arc<Mutex<Option<HookError>>>,
    objective: Option<Objective>,
    resume: Option<State>,
    output: bool,
    wanted: Option<LogitSelection>,
    past: Vec<(AnyTensor, AnyTensor)>,
    splices: Vec<Splice>,
    /// Where the pass is, should it break off.
    place: Place,
    /// Where the gradients are, should they.
    backward: Arc<Mutex<Place>>,
    /// What the pass is over, where an edit has to know.
    inputs: Option<Inputs>,
}

impl Run {
    /// Checks a plan against the sites a subject publishes.
    ///
    /// # Errors
    /// An unknown site, an axis a site does not have, a site before the place of resumption, gradients without an
    /// objective.
    pub fn start(plan: Plan, subject: &str, published: &[SiteSpec]) -> Result<Self, HookError> {
        let published = extended(published, &plan.splices);
        let published: &[SiteSpec] = &published;
        let mut work: BTreeMap<Site, Work> = BTreeMap::new();
        let mut specs = BTreeMap::new();
        let mut reads = false;
        for (selector, act) in &plan.acts {
            for site in selector.resolve(subject, published)? {
                let entry = work.entry(site).or_default();
                entry.planned = true;
                match act {
                    Act::Read => entry.read = true,
                    Act::Keep => entry.keep = true,
                    Act::Grad => entry.grad = true,
                    Act::GradEdit(change) => entry.grad_edits.push(change.0.clone()),
                    Act::Edit { region, change } => entry.edits.push((region.clone(), change.clone())),
                    Act::Scan(scan) => entry.scans.push(scan.0.clone()),
                }
                reads |= matches!(act, Act::Read | Act::Keep | Act::Grad | Act::Scan(_));
            }
        }
        if let Some(objective) = &plan.objective {
            objective.check(subject, published)?;
            for site in objective.sites() {
                let entry = work.entry(site).or_default();
                (entry.planned, entry.keep, reads) = (true, true, true);
            }
        }
        if !work.is_empty() {
            specs.extend(published.iter().map(|s| (s.site, s.clone())));
        }
        for (site, entry) in &work {
            let spec = specs.get(site).ok_or(HookError::Unpublished(*site))?;
            for (region, _) in &entry.edits {
                check_axes(spec, region)?;
            }
            let pairs = [AxisName::Query, AxisName::Key].map(|axis| (axis, spec.axis(axis)));
            if let (false, Some((axis, _))) =
                (entry.scans.is_empty(), pairs.iter().find(|(_, at)| at.is_none()))
            {
                let (axes, axis) = (spec.describe(), axis.name().to_owned());
                return Err(HookError::NoAxis { site: *site, axes, axis });
            }
        }
        if let Some(state) = &plan.resume {
            if state.site.point() != Point::ResidPre || !published.iter().any(|s| s.site == state.site) {
                return Err(HookError::NoResume(state.site));
            }
            if let Some(site) = work.keys().find(|s| **s < state.site) {
                return Err(HookError::BeforeResume { site: *site, resume: state.site });
            }
            let kept = work.iter().find(|(site, entry)| entry.keep && site.part() == state.site.part());
            if let (false, Some((site, _))) = (plan.past.is_empty(), kept) {
                let reading = Reading::at(*site).to_string();
                return Err(HookError::Unreadable { reading, why: Unreadable::SomePositions });
            }
        }
        if plan.objective.is_none() && work.values().any(Work::takes_gradient) {
            return Err(HookError::NoObjective);
        }
        let nothing = plan.selected_logits().is_some_and(|wanted| wanted.is_none());
        let asked = plan.objective.is_some() || plan.wanted.is_some();
        let output = plan.output || if asked { !nothing } else { !reads };
        // Logits that are read or changed are all needed.
        let wanted = plan.selected_logits().filter(|_| work.keys().all(|site| site.point() != Point::Logits));
        let mut run = Self {
            work,
            specs,
            reached: BTreeSet::new(),
            taken: BTreeMap::new(),
            kept: BTreeMap::new(),
            grads: Taken::default(),
            faults: Arc::default(),
            objective: plan.objective,
            resume: plan.resume,
            output,
            wanted,
            past: plan.past,
            splices: plan.splices,
            place: Place::Start,
            backward: backward(),
            inputs: None,
        };
        run.stand(plan.standing, published)?;
        Ok(run)
    }

    /// Makes standing edits before those that are there, wherever the pass comes to their sites. Nobody waits for them: they
    /// do not keep a pass from ending. A state from which the pass goes on holds those at its own site already.
    ///
    /// # Errors
    /// A site that is not published, an axis it does not have.
    pub(crate) fn stand(&mut self, standing: Vec<Stood>, published: &[SiteSpec]) -> Result<(), HookError> {
        let held = self.resume.as_ref().map(|state| state.site);
        for Stood { site, region, change } in standing.into_iter().rev() {
            if Some(site) == held {
                continue;
            }
            check_axes(SiteSpec::among(published, site)?, &region)?;
            self.work.entry(site).or_default().edits.insert(0, (region, change));
            if site.point() == Point::Logits {
                self.wanted = None;
            }
        }
        if self.specs.is_empty() && !self.work.is_empty() {
            self.specs.extend(published.iter().map(|spec| (spec.site, spec.clone())));
        }
        Ok(())
    }

    /// Over these inputs, which tell what each position is, and which rows show which pictures and play which recordings. Without them an edit that asks takes
    /// every position of the language model for a word, and every position of a tower for a patch.
    #[must_use]
    pub fn over(mut self, inputs: &Inputs) -> Self {
        let asks = |(_, change): &(Region, Change)| matches!(change, Change::Mean | Change::Fill(_));
        if self.work.values().any(|work| work.keep || work.edits.iter().any(asks)) {
            self.inputs = Some(inputs.clone());
        }
        self
    }

    /// A run that asks for nothing, for passes outside any plan.
    pub fn idle() -> Self {
        Self {
            work: BTreeMap::new(),
            specs: BTreeMap::new(),
            reached: BTreeSet::new(),
            taken: BTreeMap::new(),
            kept: BTreeMap::new(),
            grads: Taken::default(),
            faults: Arc::default(),
            objective: None,
            resume: None,
            output: true,
            wanted: None,
            past: Vec::new(),
            splices: Vec::new(),
            place: Place::Start,
            backward: backward(),
            inputs: None,
        }
    }

    /// With places that a decorator computes behind sites of the model, for a run that was started by the decorator's own sites.
    pub fn splice(&mut self, splices: impl IntoIterator<Item = Splice>) {
        self.splices.extend(splices);
    }

    /// Passes a value through a site: edits and reads happen here, or nothing does.
    ///
    /// # Errors
    /// A site that is not published or was reached before, a shape that is not the published one, an edit that fails.
    #[inline]
    pub fn at<A: Activation>(&mut self, site: Site, x: A) -> Result<A, HookError> {
        self.place = Place::Behind(site);
        if self.work.is_empty() {
            return Ok(x);
        }
        self.visit(site, x)
    }

    /// Computes a pass and ends it; a panic on the way is an error that says how far it had come.
    ///
    /// # Errors
    /// What the pass or [`Run::finish`] says; [`SubjectError::Broken`].
    pub fn carry_out<S: Subject + ?Sized, E: From<SubjectError>>(
        mut self,
        subject: &S,
        pass: impl FnOnce(&mut Self) -> Result<Output, E>,
    ) -> Result<Trace, E> {
        let output = self.guarded(subject, pass)?;
        let backward = self.backward.clone();
        caught(|| self.finish(output)).map_or_else(
            |panic| {
                let place = *backward.lock().unwrap_or_else(PoisonError::into_inner);
                Err(SubjectError::broken(subject, place, panic.message).into())
            },
            |trace| trace.map_err(|error| SubjectError::from(error).into()),
        )
    }

    /// Computes with this run, without ending it; a panic is an error that says how far it had come.
    ///
    /// # Errors
    /// What the pass says; [`SubjectError::Broken`].
    pub fn guarded<T, S: Subject + ?Sized, E: From<SubjectError>>(
        &mut self,
        subject: &S,
        pass: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        caught(|| pass(self))
            .unwrap_or_else(|panic| Err(SubjectError::broken(subject, self.place, panic.message).into()))
    }

    fn visit<A: Activation>(&mut self, site: Site, x: A) -> Result<A, HookError> {
        let spec = self.specs.get(&site).ok_or(HookError::Unpublished(site))?;
        let dims = x.dims();
        if !spec.fits(&dims) {
            return Err(HookError::Shape { site, published: spec.describe(), found: dims });
        }
        if !self.reached.insert(site) {
            return Err(HookError::Revisited(site));
        }
        let Some(work) = self.work.get(&site) else { return self.behind(site, x) };
        self.place = Place::Edit(site);
        let mut x = x.into_tensor();
        for (region, change) in &work.edits {
            x = apply(spec, x, region, change, self.inputs.as_ref(), None)?;
            let to = x.dims();
            if to != dims {
                return Err(HookError::Reshaped { site, from: dims, to });
            }
        }
        if let (false, [rows, _, queries, keys]) = (work.scans.is_empty(), dims.as_slice()) {
            let (strip, plain) = (Strip::whole([*rows, *queries, *keys]), x.clone().plain());
            work.scans.iter().try_for_each(|scan| scan(&strip, &plain))?;
        }
        self.place = Place::Behind(site);
        if work.read {
            self.taken.insert(site, x.clone().plain());
        }
        if work.grad || !work.grad_edits.is_empty() {
            x = tap_any(x, &self.on_grad(site, work))?;
        }
        if work.keep {
            let rows = Rows::of(spec, &dims, self.inputs.as_ref());
            self.kept.insert(site, Kept { spec: spec.clone(), value: x.clone(), rows });
        }
        self.behind(site, A::from_tensor(x)?)
    }

    /// What goes on from a site, through the places behind it that a decorator computes.
    fn behind<A: Activation>(&mut self, site: Site, x: A) -> Result<A, HookError> {
        if !self.splices.iter().any(|splice| self.is_wanted(splice, site)) {
            return Ok(x);
        }
        let own: Vec<Splice> =
            self.splices.iter().filter(|splice| self.is_wanted(splice, site)).cloned().collect();
        let (from, mut x) = (x.dims(), x.into_tensor());
        for splice in own {
            x = splice.compute(self, x)?;
            let to = x.dims();
            if to != from {
                return Err(HookError::Reshaped { site, from, to });
            }
        }
        A::from_tensor(x)
    }

    /// Whether a splice stands behind a site, and something is planned in it.
    fn is_wanted(&self, splice: &Splice, site: Site) -> bool {
        splice.behind() == site && splice.specs().iter().any(|spec| self.work.contains_key(&spec.site))
    }

    fn on_grad(&self, site: Site, work: &Work) -> OnGrad {
        let (edits, keep) = (work.grad_edits.clone(), work.grad);
        let (grads, faults, backward) = (self.grads.clone(), self.faults.clone(), self.backward.clone());
        Arc::new(move |grad| {
            let now_at = |place| *backward.lock().unwrap_or_else(PoisonError::into_inner) = place;
            now_at(Place::Gradient(site));
            if keep {
                grads.lock().unwrap_or_else(PoisonError::into_inner).push((site, grad.clone().plain()));
            }
            edits.iter().fold(grad, |grad, edit| {
                let from = grad.dims();
                now_at(Place::GradientEdit(site));
                let changed = edit(grad.clone());
                now_at(Place::Gradient(site));
                let fault = match changed {
                    Ok(changed) if changed.dims() == from => return changed,
                    Ok(changed) => HookError::Reshaped { site, from, to: changed.dims() },
                    Err(fault) => fault,
                };
                faults.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
                grad
            })
        })
    }

    /// Whether anything is planned at a site. A model computes what is expensive only if so.
    #[inline]
    pub fn wants(&self, site: Site) -> bool {
        let behind = || self.splices.iter().any(|splice| self.is_wanted(splice, site));
        !self.work.is_empty() && (self.work.contains_key(&site) || behind())
    }

    /// How much of scores or weights must be there at a time, for what is planned at some sites. A model that holds no more
    /// passes them by [`Run::at_strip`], else by [`Run::at`].
    pub fn held(&self, sites: impl IntoIterator<Item = Site>) -> Held {
        let planned = sites.into_iter().filter_map(|site| self.work.get(&site));
        planned.map(Work::held).max().unwrap_or(Held::Nothing)
    }

    /// As [`Run::at`], for some rows and queries of scores or weights, `[row, head, query, key]`; to be called for all of them, in
    /// their order. The site is reached with the last.
    ///
    /// # Errors
    /// As [`Run::at`].
    pub fn at_strip<A: Activation>(&mut self, site: Site, strip: &Strip, x: A) -> Result<A, HookError> {
        if self.work.is_empty() {
            return Ok(x);
        }
        let spec = self.specs.get(&site).ok_or(HookError::Unpublished(site))?;
        let dims = x.dims();
        if !spec.fits(&dims) {
            return Err(HookError::Shape { site, published: spec.describe(), found: dims });
        }
        if self.reached.contains(&site) {
            return Err(HookError::Revisited(site));
        }
        self.place = Place::Behind(site);
        let [rows, queries, _] = strip.of;
        if (strip.rows.end, strip.queries.end) == (rows, queries) {
            self.reached.insert(site);
        }
        let Some(work) = self.work.get(&site) else { return Ok(x) };
        self.place = Place::Edit(site);
        let mut x = x.into_tensor();
        for (region, change) in &work.edits {
            if let Some((region, change)) = change.of_strip(spec, region, strip)? {
                x = apply(spec, x, &region, &change, self.inputs.as_ref(), Some(strip))?;
            }
        }
        let plain = x.clone().plain();
        work.scans.iter().try_for_each(|scan| scan(strip, &plain))?;
        self.place = Place::Behind(site);
        A::from_tensor(x)
    }

    /// The only logits that are needed of the output; `None` if all are that the inputs ask for. A model may compute no
    /// more than these. It then passes no site of logits, and makes its output with [`Run::output`].
    #[inline]
    pub fn selected_logits(&self) -> Option<&LogitSelection> {
        self.wanted.as_ref()
    }

    /// The output of logits `[batch, asked, vocab]` or, where only some are [wanted](Run::selected_logits), of
    /// `[batch, positions, tokens]`, both in the order of [`LogitSelection`].
    ///
    /// # Errors
    /// [`HookError::Unwanted`] for another number of positions or tokens than are wanted.
    pub fn output(&self, logits: impl Into<AnyTensor>) -> Result<Output, HookError> {
        match &self.wanted {
            None => Ok(Output::of_logits(logits)),
            Some(wanted) => Output::of_wanted(logits, wanted.clone()),
        }
    }

    /// Whether anything is planned in a block.
    pub fn wants_block(&self, part: Part, block: usize) -> bool {
        self.work.keys().any(|site| site.part() == part && site.block_index() == Some(block))
    }

    /// Whether gradients are taken at some site.
    pub fn takes_gradients(&self) -> bool {
        self.work.values().any(Work::takes_gradient)
    }

    /// Whether nothing later is wanted, so that the pass can end here.
    #[inline]
    pub fn done(&self) -> bool {
        !self.output && self.planned_sites().all(|site| self.reached.contains(site))
    }

    /// Whether nothing is wanted but what stands in the blocks of a part, so that the pass ends in one of them.
    pub fn ends_in_blocks(&self, part: Part) -> bool {
        !self.output && self.planned_sites().all(|site| site.part() == part && site.block_index().is_some())
    }

    fn planned_sites(&self) -> impl Iterator<Item = &Site> {
        self.work.iter().filter(|(_, work)| work.planned).map(|(site, _)| site)
    }

    /// Whether the pass resumes inside or after this part, and if inside, at which block and from what state.
    pub fn resume(&self, part: Part) -> Resume {
        match &self.resume {
            Some(state) if state.site.part() == part => {
                Resume::At(state.site.block_index().unwrap_or(0), state.hidden.clone())
            }
            Some(state) if state.site.part().follows(part) => Resume::Later,
            _ => Resume::No,
        }
    }

    /// Keys and values of the positions before those of the state from which the pass goes on, for its block and every one
    /// after it; none if the state has all positions.
    pub fn past(&self) -> &[(AnyTensor, AnyTensor)] {
        &self.past
    }

    /// What it is made of, as far as it takes memory.
    pub(crate) fn planned<'a>(
        &self,
        (anatomy, published): (&'a [Anatomy], &'a [SiteSpec]),
        fused: bool,
        inputs: &'a Inputs,
        copies: Copies,
    ) -> Planned<'a> {
        let asks = |(site, work): (&Site, &Work)| {
            let grad = work.grad || !work.grad_edits.is_empty();
            let read = work.read || work.keep;
            (*site, Asks { planned: work.planned, read, grad, held: work.held() })
        };
        let numbers = |state: &State| {
            let dims = state.hidden.dims();
            (state.site, dims.iter().product(), dims.get(1).copied().unwrap_or(0))
        };
        Planned {
            published: extended(published, &self.splices),
            spliced: self.splices.iter().flat_map(Splice::specs).map(|spec| spec.site).collect(),
            anatomy,
            fused,
            inputs,
            copies,
            sites: self.work.iter().map(asks).collect(),
            resume: self.resume.as_ref().map(numbers),
            past: known(&self.past),
            output: self.output,
            wanted: self.wanted.clone(),
        }
    }

    /// Ends the pass: takes the gradients and hands over what was read.
    ///
    /// # Errors
    /// A planned site that was never reached, an objective the output cannot answer or that is no number for some row, a
    /// gradient that never came.
    pub fn finish(self, output: Output) -> Result<Trace, HookError> {
        if let Some(site) = self.planned_sites().find(|site| !self.reached.contains(site)) {
            return Err(HookError::NeverReached(*site));
        }
        let output = output.keeping(self.kept);
        let mut scores = None;
        if let Some(objective) = &self.objective {
            let value = objective.score(&output)?;
            if self.work.values().any(|w| w.grad || !w.grad_edits.is_empty()) {
                if let Some(site) = self.work.iter().find(|(_, w)| w.grad).map(|(s, _)| *s)
                    && !value.is_tracked()
                {
                    return Err(HookError::NoGradient(site));
                }
                if value.is_tracked() {
                    *self.backward.lock().unwrap_or_else(PoisonError::into_inner) = Place::Gradients;
                    value.clone().sum().backward();
                }
            }
            scores = Some(AnyTensor::new(value.without_autodiff()).finite_values(objective)?);
        }
        if let Some(fault) = self.faults.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        let grads: BTreeMap<Site, AnyTensor> =
            self.grads.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        if let Some(site) = self.work.iter().find(|(s, w)| w.grad && !grads.contains_key(s)).map(|(s, _)| *s)
        {
            return Err(HookError::NoGradient(site));
        }
        Ok(Trace { taken: self.taken, grads, scores, output: output.plain() })
    }
}

/// Published sites with the places of splices among them.
fn extended<'a>(published: &'a [SiteSpec], splices: &[Splice]) -> Cow<'a, [SiteSpec]> {
    match splices {
        [] => Cow::Borrowed(published),
        splices => Cow::Owned(Splice::among(published, splices)),
    }
}

fn backward() -> Arc<Mutex<Place>> {
    Arc::new(Mutex::new(Place::Objective))
}

/// Where a part starts its work in a resumed pass.
#[derive(Debug, Clone)]
pub enum Resume {
    /// From its input.
    No,
    /// At a block, from a saved state.
    At(usize, AnyTensor),
    /// Not at all: the pass goes on in a later part.
    Later,
}
