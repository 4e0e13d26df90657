//! The order in which variants are run: grouped by where they depart, in stages whose states are held at once.

use std::collections::{BTreeMap, BTreeSet};

use mmlens_core::{
    AnalysisError, Copies, HookError, Inputs, Memory, Part, Plan, Point, Site, Subject, SubjectError,
};

use super::Edit;
use super::entry::{Entry, base_plan, row_axis};
use super::lazy::Variants;
use super::metric::{self, Metric};

/// Variants by where they depart from the unedited pass.
type Groups = BTreeMap<Entry, Vec<usize>>;

/// A sweep in the order in which it is run.
pub(super) struct Order<'a> {
    pub(super) variants: &'a dyn Variants,
    pub(super) metrics: &'a [Metric],
    pub(super) memory: &'a Memory,
    pub(super) method: &'static str,
    pub(super) groups: Groups,
    /// For each variant the first position that it changes.
    firsts: Vec<usize>,
    /// At least one.
    pub(super) stages: Vec<Stage>,
}

/// Groups of variants whose states are held at once, after one unedited pass.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) entries: Vec<Entry>,
    /// The block from which on keys and values are held, for variants that change late positions.
    pub(super) known: Option<usize>,
}

impl Stage {
    pub(super) fn plan(&self, subject: &dyn Subject, metrics: &[Metric]) -> Result<Plan, HookError> {
        let mut plan = metric::measuring(base_plan(self.entries.iter())?, metrics)?;
        if let Some(first) = self.known {
            for (key, value) in read_by_attention(subject, first) {
                plan = plan.read(key)?.read(value)?;
            }
        }
        Ok(plan)
    }
}

impl<'a> Order<'a> {
    pub(super) fn new(
        (variants, metrics): (&'a dyn Variants, &'a [Metric]),
        subject: &dyn Subject,
        inputs: &Inputs,
        memory: &'a Memory,
        method: &'static str,
    ) -> Result<Self, AnalysisError> {
        if inputs.rows() != 1 {
            let reason = format!("a sweep takes one case at a time, not {} rows", inputs.rows());
            return Err(SubjectError::Batch { reason }.into());
        }
        if metrics.is_empty() {
            return Err(HookError::NoObjective.into());
        }
        let (groups, firsts) = surveyed(variants, metrics, subject, inputs)?;
        let mut order = Self { variants, metrics, memory, method, groups, firsts, stages: Vec::new() };
        let mut stage = Stage::default();
        for entry in order.groups.keys() {
            let mut more = Stage { entries: [stage.entries.as_slice(), &[*entry]].concat(), known: None };
            more.known = order.late(&more.entries);
            if stage.entries.is_empty() || order.held(subject, inputs, &more)? {
                stage = more;
                continue;
            }
            order.stages.push(std::mem::replace(
                &mut stage,
                Stage { entries: vec![*entry], known: order.late(&[*entry]) },
            ));
        }
        order.stages.push(stage);
        for at in 0..order.stages.len() {
            let Some(stage) = order.stages.get(at) else { continue };
            // Without keys and values all positions are computed for every variant.
            if stage.known.is_some() && !order.held(subject, inputs, stage)? {
                let bare = Stage { entries: stage.entries.clone(), known: None };
                order.stages.splice(at..=at, [bare]);
            }
        }
        Ok(order)
    }

    /// Whether what a stage holds takes no more than half of the budget, so that variants have the other half.
    fn held(&self, subject: &dyn Subject, inputs: &Inputs, stage: &Stage) -> Result<bool, HookError> {
        let plan = stage.plan(subject, self.metrics)?;
        let with = subject.need(inputs, &plan, Copies::ONE)?;
        let bare = metric::measuring(Plan::new(), self.metrics)?;
        let without = subject.need(inputs, &bare, Copies::ONE)?;
        Ok(with.bytes.saturating_sub(without.bytes) <= self.memory.left() / 2)
    }

    /// The first block at which a variant departs that changes late positions alone.
    fn late(&self, entries: &[Entry]) -> Option<usize> {
        let late = |entry: &Entry| match entry {
            Entry::Block(Part::Text, block) => {
                let mut members = self.groups.get(entry).into_iter().flatten();
                members.any(|variant| self.first(*variant) > 0).then_some(*block)
            }
            _ => None,
        };
        entries.iter().filter_map(late).min()
    }

    pub(super) fn first(&self, variant: usize) -> usize {
        self.firsts.get(variant).copied().unwrap_or(0)
    }
}

/// The keys and values that attention reads in the decoder's blocks from one on.
pub(super) fn read_by_attention(subject: &dyn Subject, first: usize) -> impl Iterator<Item = (Site, Site)> {
    let blocks = subject.anatomy().iter().find(|a| a.part == Part::Text).map_or(0, |a| a.blocks);
    (first..blocks).map(move |block| {
        let at = |point| Site::block(Part::Text, block, point);
        let turned = subject.sites().iter().any(|spec| spec.site == at(Point::KRot));
        (at(if turned { Point::KRot } else { Point::K }), at(Point::V))
    })
}

/// Variants by where they depart from the unedited pass, and for each the first position that it changes: no later than what is
/// measured, and 0 where all must be computed. Each variant is made, looked at and dropped.
fn surveyed(
    variants: &dyn Variants,
    metrics: &[Metric],
    subject: &dyn Subject,
    inputs: &Inputs,
) -> Result<(Groups, Vec<usize>), HookError> {
    let padded = inputs.pads.iter().chain(&inputs.tails).any(|n| *n > 0);
    let latest = metric::latest(metrics, inputs).filter(|_| subject.resumes_from_suffix() && !padded);
    let looked = metric::sites(metrics);
    let mut groups = Groups::new();
    let mut firsts = Vec::with_capacity(variants.len());
    for variant in 0..variants.len() {
        let edits = variants.edits(variant);
        let entry = departure(&edits, variants.shows(variant), &looked, subject)?;
        firsts.push(latest.map_or(0, |latest| first(&edits, subject).min(latest)));
        groups.entry(entry).or_default().push(variant);
    }
    Ok((groups, firsts))
}

/// Where a variant departs from the unedited pass: no later than at the first site that is `looked` at.
fn departure(
    edits: &[Edit],
    shows: bool,
    looked: &BTreeSet<Site>,
    subject: &dyn Subject,
) -> Result<Entry, HookError> {
    let mut touched = BTreeSet::new();
    let mut packs = edits.iter().all(Edit::by_row);
    for edit in edits {
        for site in edit.places().resolve(subject.name(), subject.sites())? {
            touched.insert(site);
            packs &= subject.sites().iter().any(|spec| spec.site == site && row_axis(spec).is_some());
        }
    }
    let perceived = |site: &&Site| matches!(site.part(), Part::Vision | Part::Connector | Part::Audio);
    match (shows, touched.iter().find(perceived)) {
        (true, Some(site)) => {
            let reason = "towers are given something else; edits beside that are of words alone".to_owned();
            Err(HookError::Edit { site: *site, reason })
        }
        (true, None) if packs => Ok(Entry::Shown),
        (true, None) => {
            let reason = "beside what towers are given instead, edits must keep to their own row".to_owned();
            let site = touched.iter().next().copied().unwrap_or(Site::of(Part::Text, Point::Input));
            Err(HookError::Edit { site, reason })
        }
        (false, _) if packs => Ok(Entry::of(&touched, looked, subject.sites(), subject.edited())),
        (false, _) => Ok(Entry::Alone),
    }
}

/// The first position that edits change.
fn first(edits: &[Edit], subject: &dyn Subject) -> usize {
    let touched = |edit: &Edit| {
        let own = subject.sites().iter().filter(|spec| edit.places().matches(&spec.site));
        own.map(|spec| edit.first(spec)).min().unwrap_or(0)
    };
    edits.iter().map(touched).min().unwrap_or(0)
}
