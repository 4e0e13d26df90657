//! What every subject and every analysis must keep, checked through the traits alone.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mmlens_core::{
    AnalysisError, Anatomy, AnyAnalysis, AnyTensor, Batch, Change, Given, HookError, Inputs, Integrity,
    LogitSelection, Objective, On, Part, Plan, Point, Position, Region, Run, Site, State, Subject,
    SubjectError, Trace, Watch, device,
};
use mmlens_finding::{Finding, Labelled, Tolerance};

use crate::counted::Counted;
use crate::looked::{objectives_share_a_pass, sites_are_objectives};
use crate::read_out::read_out_is_output;

/// Another order of summation in f32, on values of any size.
pub(crate) const ROUNDING: Tolerance = Tolerance::either(1e-6, 1e-5);

/// Everything a subject breaks of its contract on these inputs, in words; nothing, if it keeps it.
///
/// An empty plan changes no bit; every published site is reached once, in order, with its published shape;
/// writing back what was read changes no bit; the residual stream is what its parts add up to; attention
/// weights are the softmax of the scores; what leaves the last block behind which a part is read matters, and what lies behind it does not; what leaves the last block of a part is read out as what the pass gives, or not at all; a pass resumes at every block of the language model, and from half of the positions where it says so; rows do not mix; an
/// objective has the same value and gradient whether the logits it looks at are computed alone or among all; what a site
/// holds is an objective, for each row its own; bad inputs
/// and bad plans are errors, never panics.
pub fn subject_breaches(subject: &dyn Subject, inputs: &Inputs) -> Vec<String> {
    let checks: [(&str, Check); 15] = [
        ("table of sites", table),
        ("empty plan", empty_plan),
        ("reading every site", read_all),
        ("reading one site", read_each),
        ("writing back", write_back),
        ("identities", identities),
        ("where parts are read", read_behind),
        ("reading out", read_out_is_output),
        ("resuming", resuming),
        ("rows", rows),
        ("logits that are selected", selected),
        ("sites as objectives", sites_are_objectives),
        ("objectives that share a pass", objectives_share_a_pass),
        ("bad inputs", bad_inputs),
        ("bad plans", bad_plans),
    ];
    broken(&checks, subject, inputs)
}

/// The checks that do not hold, and what each says.
pub(crate) fn broken(checks: &[(&str, Check)], subject: &dyn Subject, inputs: &Inputs) -> Vec<String> {
    let mut breaches = Vec::new();
    for (name, check) in checks {
        match catch_unwind(AssertUnwindSafe(|| check(subject, inputs))) {
            Ok(Ok(())) => {}
            Ok(Err(breach)) => breaches.push(format!("{name}: {breach}")),
            Err(_) => breaches.push(format!("{name}: panicked")),
        }
    }
    breaches
}

/// Everything an analysis breaks of its contract on this input, in words; nothing, if it keeps it.
///
/// It gives the same finding twice; the finding survives a file; its provenance is complete; its first table is the answer; a
/// watcher can cancel it and is told the truth about how far it came; it takes as many rows as it said that it would; the
/// subject answers afterwards as before.
pub fn analysis_breaches(
    analysis: &dyn AnyAnalysis,
    subject: &dyn Subject,
    given: &Given,
    probe: &Inputs,
) -> Vec<String> {
    let (mut breaches, card) = (Vec::new(), analysis.card());
    let run = || catch_unwind(AssertUnwindSafe(|| analysis.run_given(&On::new(subject), given)));
    let before = output(subject, probe);
    let (first, second) = match (run(), run()) {
        (Ok(Ok(first)), Ok(Ok(second))) => (first, second),
        (Ok(Err(error)), _) | (_, Ok(Err(error))) => return vec![format!("it failed: {error}")],
        _ => return vec!["it panicked".to_owned()],
    };
    if first != second {
        breaches.push("two runs differ".to_owned());
    }
    match first.to_bytes().and_then(|bytes| Finding::from_bytes(&bytes)) {
        Ok(again) if again == first => {}
        Ok(_) => breaches.push("the finding changes on its way through a file".to_owned()),
        Err(error) => breaches.push(format!("the finding does not survive a file: {error}")),
    }
    if first.tables().is_empty() {
        breaches.push("the finding has no table".to_owned());
    }
    for table in first.tables() {
        if table.as_numbers().is_some_and(|numbers| numbers.iter().any(|n| !n.is_finite())) {
            breaches.push(format!("the table `{}` holds a value that is not finite", table.name()));
        }
    }
    let made = &first.provenance;
    // What passes nothing through a subject looks at no site.
    let passes = analysis.cost(&On::new(subject), given).map_or(true, |cost| cost.forward > 0);
    let missing = [
        ("method", made.method != card.id),
        ("settings", made.settings.is_empty()),
        ("subject", made.subject != subject.name()),
        ("weights hash", made.weights_hash != subject.weights_hash()),
        ("alterations", made.alterations != subject.alterations()),
        ("sites", passes && made.sites.is_empty()),
        ("dtype", made.dtype != subject.dtype()),
        ("device", made.device != subject.device()),
        ("version", made.version.is_empty()),
    ];
    for (field, _) in missing.iter().filter(|(_, missing)| *missing) {
        breaches.push(format!("provenance lacks its {field}"));
    }
    match analysis.run_given(&On::new(subject).watched(&Impatient), given) {
        Err(AnalysisError::Cancelled { method, done, total })
            if method == card.id && 0 < done && done <= total => {}
        Err(error) => breaches.push(format!("cancelling gives `{error}`")),
        Ok(_) => breaches.push("it cannot be cancelled".to_owned()),
    }
    let count = Count::default();
    if analysis.run_given(&On::new(subject).watched(&count), given).is_ok() {
        breaches.extend(count.breach());
    }
    if first.tables().first().is_some_and(Labelled::is_aside) {
        breaches.push("its answer stands aside".to_owned());
    }
    breaches.extend(dear(analysis, subject, given).err());
    if !matches!((before, output(subject, probe)), (Ok(a), Ok(b)) if a == b) {
        breaches.push("the subject answers differently afterwards".to_owned());
    }
    breaches
}

/// That it takes no more rows than it said, and not much less than half of them: how many blocks a tower uses is found on the way.
fn dear(analysis: &dyn AnyAnalysis, subject: &dyn Subject, given: &Given) -> Checked {
    let said = |error: &dyn std::fmt::Display| format!("its cost cannot be told: {error}");
    let cost = analysis.cost(&On::new(subject), given).map_err(|error| said(&error))?;
    let counted = Counted::new(subject);
    analysis.run_given(&On::new(&counted), given).map_err(|error| said(&error))?;
    let taken = counted.rows();
    let budget = mmlens_core::Memory::default().budget();
    if cost.bytes == 0 || cost.bytes > budget {
        return Err(format!("it says that it takes {} bytes of {budget}", cost.bytes));
    }
    let blocks: usize = subject.anatomy().iter().map(|anatomy| anatomy.blocks).sum();
    match taken <= cost.forward && cost.forward <= 2 * taken + blocks as u64 {
        true => Ok(()),
        false => Err(format!("it took {taken} rows, and had said {}", cost.forward)),
    }
}

struct Impatient;

impl Watch for Impatient {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[derive(Default)]
struct Count(std::sync::Mutex<Vec<(usize, usize)>>);

impl Watch for Count {
    fn step(&self, _: &'static str, done: usize, total: usize) -> ControlFlow<()> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((done, total));
        ControlFlow::Continue(())
    }
}

impl Count {
    fn breach(&self) -> Option<String> {
        let steps = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let rises = steps.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 == w[1].1);
        let ends = steps.last().is_some_and(|(done, total)| done == total);
        (!rises || !ends).then(|| format!("its steps are {steps:?}"))
    }
}

pub(crate) type Checked = Result<(), String>;

pub(crate) type Check = fn(&dyn Subject, &Inputs) -> Result<(), String>;

pub(crate) fn text(error: impl ToString) -> String {
    error.to_string()
}

pub(crate) fn values(x: &AnyTensor) -> Result<Vec<f32>, String> {
    x.to_values().map_err(text)
}

pub(crate) fn output(subject: &dyn Subject, inputs: &Inputs) -> Result<Vec<f32>, String> {
    let trace = subject.run(inputs, Plan::new()).map_err(text)?;
    answer(trace.output())
}

fn answer(output: &mmlens_core::Output) -> Result<Vec<f32>, String> {
    let mut all = output.logits.as_ref().map(values).transpose()?.unwrap_or_default();
    if output.pairs.is_some() {
        // Of a table of pictures and texts, what belongs to each row.
        let own = Objective::Similarity.score(output).map_err(text)?;
        all.extend(values(&AnyTensor::new(own))?);
    }
    if all.is_empty() { Err("the pass has no output".to_owned()) } else { Ok(all) }
}

/// Whether a part has something to compute.
pub(crate) fn computed(inputs: &Inputs, part: Part) -> bool {
    match part {
        Part::Connector => inputs.towers().next().is_some(),
        part => inputs.entries(part).is_none_or(|own| !own.is_empty()),
    }
}

fn reached(subject: &dyn Subject, inputs: &Inputs) -> Vec<Site> {
    let shown = |site: &Site| computed(inputs, site.part());
    subject.sites().iter().map(|spec| spec.site).filter(shown).collect()
}

fn everything(subject: &dyn Subject, inputs: &Inputs) -> Result<Plan, String> {
    let mut plan = Plan::new().to_output();
    for site in reached(subject, inputs) {
        plan = plan.read(site).map_err(text)?;
    }
    Ok(plan)
}

fn table(subject: &dyn Subject, _: &Inputs) -> Checked {
    let sites: Vec<Site> = subject.sites().iter().map(|spec| spec.site).collect();
    for pair in sites.windows(2) {
        // Points of a model's own behind one point stand in the order in which they are published.
        let [one, other] =
            [pair[0], pair[1]].map(|site| (site.part(), site.block_index(), site.point().front()));
        let siblings = one == other && one.2.is_some() && pair[0] != pair[1];
        if pair[0] >= pair[1] && !siblings {
            return Err(format!("`{}` stands before `{}`", pair[0], pair[1]));
        }
    }
    for site in sites {
        let again: Site = site.to_string().parse().map_err(text)?;
        if again != site {
            return Err(format!("`{site}` reads back as `{again}`"));
        }
    }
    for anatomy in subject.anatomy() {
        let blocks = subject
            .sites()
            .iter()
            .filter(|s| s.site.part() == anatomy.part)
            .filter_map(|s| s.site.block_index());
        let blocks = blocks.max().map_or(0, |last| last + 1);
        if blocks != anatomy.blocks {
            return Err(format!(
                "the {} part has {} blocks, its sites {blocks}",
                anatomy.part.name(),
                anatomy.blocks
            ));
        }
    }
    Ok(())
}

fn empty_plan(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let plain = answer(&subject.forward(inputs, &mut Run::idle()).map_err(text)?.plain())?;
    for _ in 0..2 {
        if output(subject, inputs)? != plain {
            return Err("the output differs from the pass without a plan".to_owned());
        }
    }
    Ok(())
}

fn read_all(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let trace = subject.run(inputs, everything(subject, inputs)?).map_err(text)?;
    for (site, value) in trace.values() {
        let spec =
            subject.sites().iter().find(|s| s.site == site).ok_or(format!("`{site}` is not published"))?;
        if !spec.fits(&value.dims()) {
            return Err(format!("`{site}` is {:?}, published as {}", value.dims(), spec.describe()));
        }
        if values(value)?.iter().any(|v| v.is_nan()) {
            return Err(format!("`{site}` holds a NaN"));
        }
    }
    let count = trace.values().count();
    let wanted = reached(subject, inputs).len();
    if count != wanted {
        return Err(format!("{count} of {wanted} sites were read"));
    }
    ROUNDING.check("output", &answer(trace.output())?, &output(subject, inputs)?).map(|_| ()).map_err(text)
}

/// A site read alone, in a pass that may end there and may take another path, has the same value.
fn read_each(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let whole = subject.run(inputs, everything(subject, inputs)?).map_err(text)?;
    for (site, value) in whole.values() {
        let alone = subject.run(inputs, Plan::new().read(site).map_err(text)?).map_err(text)?;
        let alone = values(alone.get(site).map_err(text)?)?;
        ROUNDING.check(&site.to_string(), &alone, &values(value)?).map_err(text)?;
    }
    Ok(())
}

fn write_back(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    for site in reached(subject, inputs) {
        let read = Plan::new().read(site).map_err(text)?.to_output();
        let trace = subject.run(inputs, read).map_err(text)?;
        let own = trace.get(site).map_err(text)?.clone();
        let back = Plan::new().set(site, own).map_err(text)?;
        let again = subject.run(inputs, back).map_err(text)?;
        if answer(again.output())? != answer(trace.output())? {
            return Err(format!("writing its own value to `{site}` changes the output"));
        }
    }
    Ok(())
}

/// What a point holds by definition: the residual stream from its parts, weights from scores.
fn identities(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let trace = subject.run(inputs, everything(subject, inputs)?).map_err(text)?;
    let mut integrity = Integrity::of(subject);
    trace.values().try_for_each(|(site, value)| integrity.see(site, value)).map_err(text)
}

/// That a part is read behind the last block that it says, and not behind any later one.
fn read_behind(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let whole = output(subject, inputs)?;
    for anatomy in subject.anatomy().iter().filter(|a| computed(inputs, a.part)) {
        let (part, depths) = (anatomy.part, subject.read_behind(anatomy.part));
        let ascending = depths.windows(2).all(|two| matches!(two, [a, b] if a < b));
        let Some(last) = depths.last().filter(|last| ascending && **last <= anatomy.blocks) else {
            return Err(format!("`{}` is read behind {depths:?} of {} blocks", part.name(), anatomy.blocks));
        };
        for block in last.saturating_sub(1)..anatomy.blocks {
            let site = Site::block(part, block, Point::ResidPost);
            let zero = Plan::new().change(site, Region::all(), Change::Zero).map_err(text)?;
            let without = answer(subject.run(inputs, zero).map_err(text)?.output())?;
            if (without == whole) != (block >= *last) {
                let matters = if block < *last { "changes nothing" } else { "changes the answer" };
                return Err(format!("read behind {depths:?}, but without `{site}` that {matters}"));
            }
        }
    }
    Ok(())
}

fn resuming(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let whole = output(subject, inputs)?;
    for anatomy in subject.anatomy().iter().filter(|a| computed(inputs, a.part)) {
        for block in 0..anatomy.blocks {
            let site = Site::block(anatomy.part, block, Point::ResidPre);
            let trace = subject.run(inputs, Plan::new().read(site).map_err(text)?).map_err(text)?;
            let state = trace.state(anatomy.part, block).map_err(text)?;
            match subject.run(inputs, Plan::new().resume(state)) {
                Ok(resumed) => {
                    let what = format!("resuming at `{site}`");
                    ROUNDING.check(&what, &answer(resumed.output())?, &whole).map_err(text)?;
                    if anatomy.part == Part::Text && subject.resumes_from_suffix() && inputs.rows() == 1 {
                        let behind = behind(subject, inputs, anatomy, block)?;
                        ROUNDING.check(&format!("{what}, half of it"), &behind, &whole).map_err(text)?;
                    }
                }
                // A tower may refuse: several of its depths may be read. The language model may not.
                Err(SubjectError::Hook(HookError::ResumesBehind { .. })) if anatomy.part != Part::Text => {}
                Err(error) => return Err(format!("`{site}`: {error}")),
            }
        }
    }
    Ok(())
}

/// What a pass says that goes on at a block from the second half of the positions alone.
fn behind(
    subject: &dyn Subject,
    inputs: &Inputs,
    anatomy: &Anatomy,
    block: usize,
) -> Result<Vec<f32>, String> {
    let published = |site: &Site| subject.sites().iter().any(|spec| spec.site == *site);
    let at = |block, point| Site::block(Part::Text, block, point);
    let keys = |block| Some(at(block, Point::KRot)).filter(published).unwrap_or(at(block, Point::K));
    let mut plan = Plan::new().read(at(block, Point::ResidPre)).map_err(text)?;
    for later in block..anatomy.blocks {
        plan = plan.read(keys(later)).and_then(|plan| plan.read(at(later, Point::V))).map_err(text)?;
    }
    let trace = subject.run(inputs, plan).map_err(text)?;
    let half = inputs.positions() / 2;
    let known = |site| trace.get(site)?.part(1, 0, half);
    let past = (block..anatomy.blocks).map(|later| Ok((known(keys(later))?, known(at(later, Point::V))?)));
    let past: Result<Vec<_>, HookError> = past.collect();
    let State { site, hidden } = trace.state(Part::Text, block).map_err(text)?;
    let hidden = hidden.part(1, half, inputs.positions() - half).map_err(text)?;
    let inputs = inputs.clone().last_logits();
    let plan = Plan::new().resume_behind(State { site, hidden }, past.map_err(text)?);
    answer(subject.run(&inputs, plan).map_err(text)?.output())
}

fn rows(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let one = output(subject, inputs)?;
    let wanted = [one.clone(), one.clone(), one].concat();
    let shared = output(subject, &inputs.repeat(3))?;
    ROUNDING.check("copies that share their pictures", &shared, &wanted).map_err(text)?;
    let own = output(subject, &inputs.repeat_entries(3).map_err(text)?)?;
    ROUNDING.check("copies with pictures of their own", &own, &wanted).map_err(text)?;
    let trace = subject.run(&inputs.clone().all_logits(), Plan::new()).map_err(text)?;
    let Some(logits) = &trace.output().logits else { return Ok(()) };
    let (asked, vocab, all) = (logits.dims()[1], logits.dims()[2], values(logits)?);
    let lasts: Vec<f32> = all.chunks(asked * vocab).flat_map(|r| r[(asked - 1) * vocab..].to_vec()).collect();
    let asked = inputs.clone().last_logits();
    ROUNDING.check("the last of all positions", &lasts, &output(subject, &asked)?).map(|_| ()).map_err(text)
}

/// Some logits alone, or all: the same values, and the same gradients where there are any.
fn selected(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let inputs = inputs.clone().all_logits();
    let whole = subject.run(&inputs, Plan::new()).map_err(text)?;
    let Some(logits) = &whole.output().logits else { return Ok(()) };
    let (asked, vocab) = (logits.dims()[1], logits.dims()[2] as u32);
    let part = subject.anatomy().last().map_or(Part::Text, |anatomy| anatomy.part);
    let stream = Site::block(part, 0, Point::ResidPre);
    let score = |plan: Plan, objective: &Objective| {
        let trace = subject.run(&inputs, plan.objective(objective)).map_err(text)?;
        Ok::<_, String>(trace.scores().map_err(text)?.to_vec())
    };
    let grad = |plan: Plan, objective: &Objective| -> Result<Vec<f32>, SubjectError> {
        let trace = subject.run(&inputs, plan.grad(stream)?.objective(objective))?;
        Ok(trace.grad(stream)?.to_values()?)
    };
    for at in [Position::Last, Position::At(asked / 2)] {
        let (token, against) = (vocab / 2, vocab - 1);
        for objective in [
            Objective::Logit { at, token },
            Objective::LogitDifference { at, token, against },
            Objective::LogProbability { at, token },
            Objective::Probability { at, token },
        ] {
            let (some, all) = (score(Plan::new(), &objective)?, score(Plan::new().to_output(), &objective)?);
            ROUNDING.check(&objective.to_string(), &some, &all).map_err(text)?;
            if subject.sites().iter().all(|spec| spec.site != stream) {
                // Without a block there is no stream.
                continue;
            }
            match grad(Plan::new().to_output(), &objective) {
                Ok(all) => {
                    let what = format!("gradient of the {objective}");
                    let some = grad(Plan::new(), &objective).map_err(text)?;
                    ROUNDING.check(&what, &some, &all).map_err(text)?;
                }
                // An engine may have no gradients.
                Err(SubjectError::Hook(HookError::NoGradient(_) | HookError::NoTap(_))) => {}
                Err(error) => return Err(format!("gradient of the {objective}: {error}")),
            }
        }
    }
    // Probabilities at one position and a logit at another, in one pass.
    let both = LogitSelection::at(Position::Last).and(&LogitSelection::tokens_at(Position::At(0), [0]));
    let some = subject.run(&inputs, Plan::new().select_logits(both)).map_err(text)?;
    let last = |trace: &Trace| values(&AnyTensor::new(trace.output().at(Position::Last).map_err(text)?));
    ROUNDING.check("the last position of two", &last(&some)?, &last(&whole)?).map_err(text)?;
    let first =
        |trace: &Trace| values(&AnyTensor::new(trace.output().logit(Position::At(0), 0).map_err(text)?));
    ROUNDING.check("a token of the first", &first(&some)?, &first(&whole)?).map(|_| ()).map_err(text)
}

pub(crate) fn refused<T>(what: &str, attempt: impl FnOnce() -> Result<T, SubjectError>) -> Checked {
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(_)) => Err(format!("{what} is accepted")),
        Err(_) => Err(format!("{what} panics")),
    }
}

fn bad_inputs(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    // Refused where they are built, or by the subject.
    let with = |change: &dyn Fn(&mut Batch)| inputs.clone().with(change);
    let pixels =
        |dims: &[usize]| inputs.seen.values.as_ref()?.shaped(vec![0.0; dims.iter().product()], dims).ok();
    let mut cases = vec![
        ("no rows", with(&|i| i.ids.clear())),
        ("more token maps than rows", with(&|i| i.maps.push(i.maps[0].clone()))),
        ("a picture that is not there", with(&|i| i.seen.of_rows = vec![vec![99]; i.ids.len()])),
        (
            "rows of different length",
            with(&|i| {
                let mut longer = i.ids[0].clone();
                longer.push(0);
                i.ids.push(longer);
                i.pads.push(0);
                i.maps.push(i.maps[0].clone());
                for own in [&mut i.seen, &mut i.heard] {
                    own.of_rows.extend(own.of_rows.first().cloned());
                }
            }),
        ),
    ];
    match inputs.positions() {
        // A classifier of pictures takes no words.
        0 => cases.push(("words without a meaning", with(&|i| i.ids.iter_mut().for_each(|ids| ids.push(0))))),
        _ => cases.extend([
            ("a row without positions", with(&|i| i.ids.iter_mut().for_each(Vec::clear))),
            ("a token outside the vocabulary", with(&|i| i.ids[0][0] = u32::MAX)),
            ("nothing but padding", with(&|i| i.pads[0] = i.ids[0].len())),
        ]),
    }
    if inputs.seen.values.is_some() {
        cases.push(("placeholders without a picture", with(&|i| i.seen.of_rows[0].clear())));
        cases.push(("a picture without its placeholders", with(&|i| i.seen.of_rows[0].push(0))));
        cases.push(("pictures that were taken away", with(&|i| i.seen.values = None)));
        cases.push(("pictures of another size", with(&|i| i.seen.values = pixels(&[1, 3, 2, 2]))));
        cases.push(("pictures of another rank", with(&|i| i.seen.values = pixels(&[3, 8, 8]))));
        cases.push(("pictures of two channels", with(&|i| i.seen.values = pixels(&[1, 2, 30, 30]))));
    }
    if let Some(heard) = &inputs.heard.values {
        let mel = |dims: &[usize]| heard.shaped(vec![0.0; dims.iter().product()], dims).ok();
        cases.push(("placeholders without a recording", with(&|i| i.heard.of_rows[0].clear())));
        cases.push(("a recording that is not there", with(&|i| i.heard.of_rows[0].push(99))));
        cases.push(("recordings that were taken away", with(&|i| i.heard.values = None)));
        cases.push(("spectrograms of another size", with(&|i| i.heard.values = mel(&[1, 2, 3]))));
        cases.push(("spectrograms of another rank", with(&|i| i.heard.values = mel(&[3, 8]))));
    }
    for (what, bad) in cases {
        refused(what, || subject.run(&bad?, Plan::new()))?;
    }
    Ok(())
}

fn bad_plans(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    // The part that has the last word.
    let part = subject.anatomy().last().map_or(Part::Text, |anatomy| anatomy.part);
    let nowhere = Site::block(part, 60_000, Point::ResidPre);
    let stream = Site::block(part, 0, Point::ResidPre);
    let small = AnyTensor::from_values(vec![0.0; 2], &[1, 2], &device::host()).map_err(text)?;
    let run = |plan: Result<Plan, HookError>| subject.run(inputs, plan?);
    refused("a site that is not there", || run(Plan::new().read(nowhere)))?;
    refused("a value of another shape", || run(Plan::new().set(stream, small.clone())))?;
    refused("a position past the end", || {
        run(Plan::new().change(stream, Region::all().positions([usize::MAX]), Change::Zero))
    })?;
    refused("an axis that is not there", || {
        run(Plan::new().change(stream, Region::all().heads([0]), Change::Zero))
    })?;
    refused("an edit that reshapes", || {
        let small = small.clone();
        run(Plan::new().edit(stream, move |_| Ok(small.clone())))
    })?;
    refused("an edit that fails", || {
        run(Plan::new().edit(stream, move |_| Err(HookError::Edit { site: stream, reason: "no".to_owned() })))
    })?;
    refused("a gradient of nothing", || run(Plan::new().grad(stream)))?;
    refused("an objective outside the vocabulary", || {
        run(Ok(Plan::new().objective(Objective::logit(u32::MAX))))
    })?;
    refused("resuming from a state of another shape", || {
        run(Ok(Plan::new().resume(State { site: stream, hidden: small.clone() })))
    })?;
    refused("resuming where no block begins", || {
        let site = Site::of(part, Point::Logits);
        run(Ok(Plan::new().resume(State { site, hidden: small.clone() })))
    })?;
    refused("a site before the place of resumption", || {
        let late = Site::block(part, 1, Point::ResidPre);
        let trace = subject.run(inputs, Plan::new().read(late)?)?;
        let state = trace.state(part, 1)?;
        run(Plan::new().resume(state).read(stream))
    })
}
