//! What every session must keep, checked through the traits alone.

#![allow(clippy::panic, reason = "an edit that panics is among what is checked")]

use mmlens_core::{
    AnyTensor, Change, HookError, Inputs, Objective, Part, Plan, Point, Region, Session, SessionError, Site,
    Subject, SubjectError,
};
use mmlens_finding::Tolerance;

use crate::contract::{Check, Checked, ROUNDING, broken, output, text, values};

/// Everything a subject breaks of the contract of its sessions on these inputs, in words; nothing, if it keeps it.
///
/// Token by token is one pass over the whole; a branch goes its own way; steps that were taken back, and steps that failed, have
/// never been, to the bit; rows that are kept say what they say alone; a plan holds for its own pass and what it changes
/// stays in what was read; what a session cannot do is an error that says so, and the session goes on.
pub fn session_breaches(subject: &dyn Subject, inputs: &Inputs) -> Vec<String> {
    let checks: [(&str, Check); 7] = [
        ("token by token", one_by_one),
        ("branches", branches),
        ("steps back", back),
        ("rows", rows),
        ("plans", plans),
        ("steps that fail", failures),
        ("refusals", refusals),
    ];
    broken(&checks, subject, inputs)
}

/// The site that a plan of the contract changes.
fn place() -> Site {
    // What enters the first block is in its keys, so that later steps read it, whatever number of blocks there is.
    Site::block(Part::Text, 0, Point::ResidPre)
}

/// Tokens for the rows of a step, others for another `path`; no placeholder is among them.
fn tokens(rows: usize, step: usize, path: usize) -> Vec<u32> {
    (0..rows).map(|row| ((5 * path + 3 * step + 2 * row) % 20 + 1) as u32).collect()
}

fn begun<'a>(subject: &'a dyn Subject, inputs: &Inputs) -> Result<Box<dyn Session + 'a>, String> {
    subject.begin(inputs, Plan::new()).map_err(text)
}

/// Takes so many steps of a path.
fn go(session: &mut dyn Session, steps: usize, path: usize) -> Checked {
    for _ in 0..steps {
        let next = tokens(session.rows(), session.steps(), path);
        session.step(&next, Plan::new()).map_err(text)?;
    }
    Ok(())
}

fn bits(x: &AnyTensor) -> Result<Vec<u32>, String> {
    Ok(values(x)?.into_iter().map(f32::to_bits).collect())
}

fn same(what: &str, a: &dyn Session, b: &[u32]) -> Checked {
    if bits(a.logits())? == b { Ok(()) } else { Err(format!("{what}: other bits")) }
}

fn unlike(what: &str, a: &dyn Session, b: &[u32]) -> Checked {
    if bits(a.logits())? == b { Err(format!("{what}: the same bits")) } else { Ok(()) }
}

/// At every step the logits of a pass over the prompt and what was written since.
fn one_by_one(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let mut session = begun(subject, inputs)?;
    let mut whole = inputs.clone();
    let begun = subject.rules(inputs).map_err(text)?.texts;
    whole = whole
        .with(|batch| {
            for (ids, text) in batch.ids.iter_mut().zip(begun) {
                // What is written may be apart from what was read.
                if !ids.ends_with(&text.ids) {
                    ids.extend(text.ids);
                }
            }
        })
        .map_err(text)?;
    for step in 0..4 {
        let dims = session.logits().dims();
        if dims.len() != 2 || dims.first() != Some(&inputs.rows()) {
            return Err(format!("logits of shape {dims:?} for {} rows", inputs.rows()));
        }
        let (found, wanted) = (values(session.logits())?, output(subject, &whole)?);
        // A cache adds up in another order.
        Tolerance::either(1e-5, 1e-4).check(&format!("step {step}"), &found, &wanted).map_err(text)?;
        let next = tokens(inputs.rows(), step, 0);
        session.step(&next, Plan::new()).map_err(text)?;
        whole = whole
            .with(|batch| batch.ids.iter_mut().zip(&next).for_each(|(ids, token)| ids.push(*token)))
            .map_err(text)?;
        if session.written().iter().zip(&whole.ids).any(|(own, ids)| !ids.ends_with(own)) {
            return Err("what is said to be written is not".to_owned());
        }
    }
    Ok(())
}

fn branches(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let mut alone = begun(subject, inputs)?;
    go(alone.as_mut(), 4, 0)?;
    let alone = bits(alone.logits())?;
    let mut session = begun(subject, inputs)?;
    go(session.as_mut(), 2, 0)?;
    let mut branch = session.fork();
    go(branch.as_mut(), 3, 1)?;
    go(session.as_mut(), 2, 0)?;
    same("the stem after its branch went on", session.as_ref(), &alone)?;
    let mut twig = branch.fork();
    drop(session);
    branch.back(3).map_err(text)?;
    go(branch.as_mut(), 2, 0)?;
    same("the branch, taken back to where it began", branch.as_ref(), &alone)?;
    twig.back(5).map_err(text)?;
    go(twig.as_mut(), 4, 0)?;
    same("a branch of the branch, taken back to the prompt", twig.as_ref(), &alone)
}

fn back(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let mut session = begun(subject, inputs)?;
    let mut known = vec![bits(session.logits())?];
    for _ in 0..5 {
        go(session.as_mut(), 1, 0)?;
        known.push(bits(session.logits())?);
    }
    // Every number of steps, forwards again, and another way in between.
    for steps in 0..=5 {
        session.back(steps).map_err(text)?;
        if session.steps() != 5 - steps || session.written().iter().any(|row| row.len() != 5 - steps) {
            return Err(format!("{} steps are left of 5 without {steps}", session.steps()));
        }
        same("where it was before", session.as_ref(), &known[5 - steps])?;
        go(session.as_mut(), 2, 1)?;
        unlike("another way", session.as_ref(), &known[(7 - steps).min(5)])?;
        session.back(2).map_err(text)?;
        for known in &known[6 - steps..] {
            go(session.as_mut(), 1, 0)?;
            same("forwards again", session.as_ref(), known)?;
        }
    }
    session.settle();
    match session.back(1) {
        Err(SubjectError::Session(SessionError::Back { asked: 1, taken: 0 })) => {}
        other => return Err(format!("a step before it was settled was taken back: {other:?}")),
    }
    go(session.as_mut(), 1, 0)?;
    session.back(1).map_err(text)?;
    same("behind where it was settled", session.as_ref(), &known[5])
}

/// Copies of the rows go their own ways; those that are kept say what they say alone.
fn rows(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let all = inputs.rows();
    let mut together = begun(subject, &inputs.repeat(3))?;
    let own = |session: &dyn Session, path| tokens(all, session.steps(), path);
    let paths = |session: &dyn Session, paths: &[usize]| -> Vec<u32> {
        paths.iter().flat_map(|path| own(session, *path)).collect()
    };
    for _ in 0..2 {
        let next = paths(together.as_ref(), &[0, 1, 2]);
        together.step(&next, Plan::new()).map_err(text)?;
    }
    let mut alone = Vec::new();
    for path in 0..3 {
        let mut session = begun(subject, inputs)?;
        go(session.as_mut(), 2, path)?;
        alone.push(session);
    }
    let copy = |n: usize| n * all..(n + 1) * all;
    let kept: Vec<usize> = copy(2).chain(copy(0)).chain(copy(2)).collect();
    together.keep(&kept).map_err(text)?;
    let check = |what: &str, together: &dyn Session, alone: &[Box<dyn Session + '_>]| -> Checked {
        let wanted = alone.iter().map(|session| values(session.logits())).collect::<Result<Vec<_>, _>>()?;
        // Other rows beside them are another order of summation.
        ROUNDING.check(what, &values(together.logits())?, &wanted.concat()).map(|_| ()).map_err(text)
    };
    let mut alone = [2, 0, 2].map(|path: usize| alone[path].fork());
    check("kept", together.as_ref(), &alone)?;
    // The copies of one row part from here.
    let ways = [2, 0, 1];
    let next = paths(together.as_ref(), &ways);
    together.step(&next, Plan::new()).map_err(text)?;
    for (session, path) in alone.iter_mut().zip(ways) {
        go(session.as_mut(), 1, path)?;
    }
    check("a step after", together.as_ref(), &alone)?;
    // Back beyond where rows were given up, and put in another order since, they are those that were kept.
    together.keep(&copy(1).chain(copy(0)).chain(copy(2)).collect::<Vec<_>>()).map_err(text)?;
    alone.swap(0, 1);
    check("in another order", together.as_ref(), &alone)?;
    together.back(2).map_err(text)?;
    for session in &mut alone {
        session.back(2).map_err(text)?;
    }
    check("steps back", together.as_ref(), &alone)?;
    let before = bits(together.logits())?;
    together.keep(&(0..3 * all).collect::<Vec<_>>()).map_err(text)?;
    same("all rows kept", together.as_ref(), &before)?;
    together.keep(&[3 * all - 1]).map_err(text)?;
    if (together.rows(), together.written().len()) != (1, 1) {
        return Err(format!("{} rows where one was kept", together.rows()));
    }
    go(together.as_mut(), 1, 0)
}

fn plans(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let flip = || -> Result<Plan, HookError> {
        Plan::new().change(place(), Region::all(), Change::Scale(-1.0))?.read(place())
    };
    let mut session = begun(subject, inputs)?;
    let mut other = session.fork();
    go(session.as_mut(), 1, 0)?;
    let plain = bits(session.logits())?;
    let next = tokens(inputs.rows(), 0, 0);
    let trace = other.step(&next, flip().map_err(text)?).map_err(text)?;
    let read = trace.get(place()).map_err(text)?.dims();
    if read.get(..2) != Some(&[inputs.rows(), 1]) {
        return Err(format!("a step passes positions of shape {read:?}"));
    }
    unlike("a step that was changed", other.as_ref(), &plain)?;
    let said = trace.output().logits.as_ref().ok_or("a step without output")?;
    same("the output of the step", other.as_ref(), &bits(said)?)?;
    // What was changed is what later steps read.
    go(session.as_mut(), 1, 0)?;
    go(other.as_mut(), 1, 0)?;
    unlike("the step after one that was changed", other.as_ref(), &bits(session.logits())?)?;
    session.back(1).map_err(text)?;
    other.back(2).map_err(text)?;
    go(other.as_mut(), 1, 0)?;
    same("the same step without its change", other.as_ref(), &plain)?;
    // A plan of the beginning comes back once, and holds for the prompt alone.
    let mut begun = subject.begin(inputs, flip().map_err(text)?).map_err(text)?;
    let first = begun.begun().ok_or("the beginning brought nothing back")?;
    if begun.begun().is_some() || first.get(place()).is_err() {
        return Err("what the beginning brought back is not what its plan says".to_owned());
    }
    go(begun.as_mut(), 1, 0)?;
    unlike("behind a prompt that was changed", begun.as_ref(), &plain)
}

fn failures(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let mut session = begun(subject, inputs)?;
    go(session.as_mut(), 2, 0)?;
    let here = bits(session.logits())?;
    let mut ahead = session.fork();
    go(ahead.as_mut(), 1, 0)?;
    let ahead = bits(ahead.logits())?;
    let last = subject.sites().iter().rfind(|spec| spec.site.point() == Point::ResidPost);
    let last = last.map_or_else(place, |spec| spec.site);
    let panics = |at: Site| Plan::new().edit(at, |_| panic!("a fault of the test"));
    let nowhere = Site::block(Part::Text, 999, Point::ResidPost);
    let next = tokens(inputs.rows(), 2, 0);
    let attempts = [
        (next.clone(), panics(place()).map_err(text)?),
        (next.clone(), panics(last).map_err(text)?),
        (next.clone(), Plan::new().read(nowhere).map_err(text)?),
        (next.clone(), Plan::new().read("vision.pixels").map_err(text)?),
        (vec![u32::MAX; inputs.rows()], Plan::new()),
    ];
    for (i, (tokens, plan)) in attempts.into_iter().enumerate() {
        match session.step(&tokens, plan) {
            Err(SubjectError::Session(error)) => return Err(format!("attempt {i}: {error}")),
            Err(SubjectError::Hook(_) | SubjectError::Broken { .. } | SubjectError::Sample { .. }) => {}
            Err(other) => return Err(format!("attempt {i}: {other}")),
            Ok(_) => return Err(format!("attempt {i} went through")),
        }
        if session.steps() != 2 {
            return Err(format!("attempt {i} was counted as a step"));
        }
        same("after a step that failed", session.as_ref(), &here)?;
        go(session.as_mut(), 1, 0)?;
        same("the step after one that failed", session.as_ref(), &ahead)?;
        session.back(1).map_err(text)?;
    }
    Ok(())
}

fn refusals(subject: &dyn Subject, inputs: &Inputs) -> Checked {
    let mut session = begun(subject, inputs)?;
    let rows = session.rows();
    let refused = |what: &str, found: Result<(), SubjectError>, wanted: SessionError| match found {
        Err(SubjectError::Session(error)) if error == wanted => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    };
    refused("back", session.back(1), SessionError::Back { asked: 1, taken: 0 })?;
    refused("no rows", session.keep(&[]), SessionError::NoRows)?;
    refused("a row", session.keep(&[0, rows]), SessionError::Row { row: rows, rows })?;
    let short = session.step(&tokens(rows - 1, 0, 0), Plan::new()).map(|_| ());
    refused("tokens", short, SessionError::Tokens { found: rows - 1, rows })?;
    let next = tokens(rows, 0, 0);
    let grad = Plan::new().grad(place()).map_err(text)?.objective(Objective::logit(0));
    let grads = [session.step(&next, grad.clone()).map(|_| ()), subject.begin(inputs, grad).map(|_| ())];
    for found in grads {
        if !matches!(&found, Err(SubjectError::Hook(HookError::Generating("gradients")))) {
            return Err(format!("gradients: {found:?}"));
        }
    }
    go(session.as_mut(), 1, 0)
}
