//! What methods settle and refuse alike.

use std::collections::BTreeSet;
use std::ops::Range;

pub(crate) use mmlens_core::check::{
    above_zero, at_least_one, at_most, input, not_below_zero, setting, share,
};
use mmlens_core::finding::NotFinite;
use mmlens_core::kind::Space;
use mmlens_core::{
    AnalysisError, AxisName, Capability, Card, Case, HookError, Inputs, Objective, On, Part, Plan, Point,
    Position, Site, SiteSpec, Subject, kind,
};
use mmlens_engine::{End, Positions, Spoken, numbers, one_row};

/// A number of a table that is none.
pub(crate) fn not_finite(card: &Card, table: &str, NotFinite { at, found }: NotFinite) -> AnalysisError {
    let (method, table) = (card.id.to_owned(), table.to_owned());
    AnalysisError::NotFinite { method, table, at: format!("value {at}"), found: found as f32 }
}

/// Points that lie in blocks, each once, at least one.
pub(crate) fn points_of_blocks(card: &Card, points: &[Point]) -> Result<(), AnalysisError> {
    let wrong = |found: String, expected| Err(setting(card, "points", found, expected));
    if points.is_empty() {
        return wrong("none".to_owned(), "there must be one");
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = points.iter().find(|point| !seen.insert(**point)) {
        return wrong(format!("`{}` twice", twice.name()), "a point is named once");
    }
    match points.iter().find(|point| !point.in_block()) {
        Some(outside) => wrong(format!("`{}`", outside.name()), "a point must lie in a block"),
        None => Ok(()),
    }
}

/// Sites that move from baselines, named as `along` or `sites`: at least one, each once, by one of both.
pub(crate) fn ends_named(
    card: &Card,
    along: Option<&[End]>,
    sites: Option<&[Site]>,
) -> Result<(), AnalysisError> {
    if along.is_some() && sites.is_some() {
        return Err(setting(card, "sites", "beside `along`", "one of them says what moves"));
    }
    if along.is_some_and(<[End]>::is_empty) || sites.is_some_and(<[Site]>::is_empty) {
        return Err(setting(card, "along", "no site", "a path needs at least one"));
    }
    let mut seen = BTreeSet::new();
    let ends = along.unwrap_or_default().iter().map(|end| end.site);
    let moved = ends.chain(sites.unwrap_or_default().iter().copied());
    if let Some(twice) = moved.into_iter().find(|site| !seen.insert(*site)) {
        return Err(setting(card, "along", format!("`{twice}` twice"), "a site moves once"));
    }
    Ok(())
}

/// Where what a sample holds enters: its pictures, its recordings and its words, but for what comes behind an objective.
pub(crate) fn entered(subject: &dyn Subject, inputs: &Inputs, objective: &Objective) -> Vec<Site> {
    let given = inputs.towers().filter_map(Part::entrance);
    let ended = objective.ends_at();
    let matters = |site: &Site| ended.is_none_or(|last| *site <= last);
    let all = given.chain([kind::words_enter(subject)]);
    all.filter(|site| kind::has(subject, *site)).filter(matters).collect()
}

/// That a part has something to compute: a tower its pictures or recordings, a connector those of some tower.
pub(crate) fn given(card: &Card, inputs: &Inputs, part: Part) -> Result<(), AnalysisError> {
    let (needs, missing) = match part {
        Part::Vision => ("a picture", inputs.seen.is_empty()),
        Part::Audio => ("a recording", inputs.heard.is_empty()),
        Part::Connector => ("a picture or a recording", inputs.towers().next().is_none()),
        Part::Encoder | Part::Text => return Ok(()),
    };
    if missing { Err(input(card, needs, "the sample has none")) } else { Ok(()) }
}

/// Layers around one, cut off at both ends of the model: an even window reaches one layer further back.
pub(crate) fn window_around(layer: usize, wide: usize, layers: usize) -> Range<usize> {
    layer.saturating_sub(wide / 2)..layers.min(layer + wide.div_ceil(2))
}

/// How many of some sites fit into half of the memory, at least one: the passes of a sweep have the other half.
pub(crate) fn fit_at_once(on: &On<'_>, inputs: &Inputs, sites: &[Site]) -> Result<usize, AnalysisError> {
    let sizes: Vec<usize> =
        sites.iter().map(|site| numbers(on.subject(), inputs, &[*site])).collect::<Result<_, HookError>>()?;
    // In numbers of four bytes.
    let half = on.memory().left() / 8;
    let mut so_far = 0;
    let fit = sizes.iter().take_while(|size| {
        so_far += **size as u64;
        so_far <= half
    });
    Ok(fit.count().max(1))
}

/// The one position that an answer is read at, as [`read_from`].
pub(crate) fn read_at(
    card: &Card,
    subject: &dyn Subject,
    inputs: &Inputs,
    objective: &Objective,
) -> Result<usize, AnalysisError> {
    match read_from(card, subject, inputs, objective)?.as_slice() {
        [at] => Ok(*at),
        _ => {
            let found = format!("this one is the {objective}");
            Err(input(card, "an objective that looks at one position of the output", found))
        }
    }
}

/// Where a text tower holds what it pools, before and after: it says an answer by the vector of one of its positions.
fn pooled(subject: &dyn Subject) -> Option<[Site; 2]> {
    let sites = [Point::FinalNorm, Point::Pooled].map(|point| Site::of(Part::Text, point));
    sites.iter().all(|site| kind::has(subject, *site)).then_some(sites)
}

/// Passes in which [`read_from`] finds its positions.
pub(crate) fn passes_of_reading(subject: &dyn Subject, objective: &Objective) -> usize {
    use Objective::{Against, Cosine, Pair, Similarity};
    let pooled = pooled(subject).is_some();
    match (objective, objective.read_at().as_slice()) {
        (_, [Position::Last]) | (Against { .. } | Cosine | Pair { .. } | Similarity, []) => {
            usize::from(pooled)
        }
        _ => 0,
    }
}

/// The positions that an answer is read at: those of its objective, or the last. A text tower says it by what it pools: the vector
/// of that position (one pass).
pub(crate) fn read_from(
    card: &Card,
    subject: &dyn Subject,
    inputs: &Inputs,
    objective: &Objective,
) -> Result<Vec<usize>, AnalysisError> {
    use Objective::{Against, Cosine, Pair, Similarity};
    let last = inputs.positions().saturating_sub(1);
    let place = |at: &Position| if let Position::At(at) = at { *at } else { last };
    match (objective, objective.read_at().as_slice()) {
        (_, [Position::Last]) | (Against { .. } | Cosine | Pair { .. } | Similarity, []) => {}
        (_, []) => {
            let found = format!("this one is the {objective}");
            return Err(input(card, "an objective that looks at positions of the output", found));
        }
        (_, asks) => {
            let mut read: Vec<usize> = asks.iter().map(place).collect();
            read.sort_unstable();
            read.dedup();
            return Ok(read);
        }
    }
    let Some([normed, pooled]) = pooled(subject) else { return Ok(vec![last]) };
    let trace = subject.run(inputs, Plan::new().read(normed)?.read(pooled)?)?;
    let (all, one) = (trace.get(normed)?.to_values()?, trace.get(pooled)?.to_values()?);
    let found = all.chunks(one.len().max(1)).position(|vector| vector == one);
    found
        .map(|at| vec![at])
        .ok_or_else(|| input(card, "a text tower that pools one of its positions", "this one does not"))
}

/// The positions that were asked for, [`Positions::Last`] for those that the answer is read at, and its tokens one by one, which
/// only those say.
pub(crate) fn positions_read(
    card: &Card,
    on: &On<'_>,
    case: &Case,
    (inputs, objective): (&Inputs, &Objective),
    positions: &Positions,
) -> Result<(Vec<usize>, Spoken), AnalysisError> {
    match positions {
        Positions::Last => {
            let read = read_from(card, on.subject(), inputs, objective)?;
            Ok((read, Spoken::of(on, case, inputs, objective)?))
        }
        other => Ok((other.chosen(card.id, one_row(card.id, inputs)?)?, Spoken::none())),
    }
}

/// Parts that methods look at where none was asked for: the first that has what is needed.
pub(crate) const PARTS: [Part; 3] = [Part::Text, Part::Vision, Part::Audio];

/// The part that was asked for, or the first that reads the words itself, or pictures, or recordings.
fn first_part(
    subject: &dyn Subject,
    asked: Option<Part>,
    words: bool,
    fits: impl Fn(Part) -> bool,
) -> Option<Part> {
    let words = words && Capability::OwnWords.lacking(subject).is_none();
    let own = |part: &Part| fits(*part) && (*part != Part::Text || words);
    asked.or_else(|| PARTS.into_iter().find(own))
}

/// A part whose blocks publish attention weights: the one asked for, or the language model where it looks at words itself and is
/// not compared with pictures, or the tower.
pub(crate) fn part_with_attention(
    card: &Card,
    subject: &dyn Subject,
    asked: Option<Part>,
) -> Result<Part, AnalysisError> {
    let looks = |part: Part| kind::has(subject, Site::block(part, 0, Point::Pattern));
    let part = first_part(subject, asked, !kind::compares(subject), looks);
    part.filter(|part| looks(*part))
        .ok_or_else(|| input(card, "a part with attention", none_here(asked.is_some(), looks)))
}

/// A part that has neurons, or the point at which they are looked at (which may hold features of a dictionary): the one asked for, or the language
/// model where it reads words itself, or the tower.
pub(crate) fn part_with_neurons(
    card: &Card,
    subject: &dyn Subject,
    (asked, point): (Option<Part>, Point),
) -> Result<Part, AnalysisError> {
    let own = point.front().is_some();
    let fits = |part: Part| {
        kind::publishes(subject, part, point) || (!own && kind::publishes(subject, part, Point::MlpPost))
    };
    first_part(subject, asked, true, fits)
        .filter(|part| fits(*part))
        .ok_or_else(|| input(card, "a part with neurons", none_here(asked.is_some(), fits)))
}

/// What is said of a part that does not fit, and which do.
fn none_here(asked: bool, fits: impl Fn(Part) -> bool) -> String {
    let others: Vec<&str> = PARTS.into_iter().filter(|part| fits(*part)).map(Part::name).collect();
    match (asked, others.is_empty()) {
        (false, _) => "this one publishes none".to_owned(),
        (true, true) => "that part publishes none".to_owned(),
        (true, false) => format!("that part publishes none, but `{}`", others.join("`, `")),
    }
}

/// The part that was asked for, or the language model where it has blocks of its own, or the tower. Whether it has blocks is for
/// [`Capability::Blocks`] to say.
pub(crate) fn part_with_blocks(subject: &dyn Subject, asked: Option<Part>) -> Part {
    first_part(subject, asked, true, |part| kind::blocks(subject, part) > 0).unwrap_or(Part::Text)
}

/// A part whose stream is one running sum that is read in one place, and that has what else is needed: the one asked for, or the language model where it reads words
/// itself and fits, or the tower.
pub(crate) fn part_of_sums(
    card: &Card,
    subject: &dyn Subject,
    asked: Option<Part>,
    needs: &[fn(Part) -> Capability],
) -> Result<Part, AnalysisError> {
    let one = |part| kind::blocks(subject, part) > 0 && subject.read_behind(part).len() == 1;
    let sum = |part| one(part) && Capability::RunningSum(part).lacking(subject).is_none();
    let fits = |part| sum(part) && needs.iter().all(|need| need(part).lacking(subject).is_none());
    let part = first_part(subject, asked, true, fits).unwrap_or(Part::Text);
    Capability::Blocks(part).check(card, subject)?;
    Capability::RunningSum(part).check(card, subject)?;
    needs.iter().try_for_each(|need| need(part).check(card, subject))?;
    Ok(part)
}

/// The part that was asked for, or the first whose states can be read out, of a dual encoder its tower; and what they are read out as.
pub(crate) fn part_read_out(
    card: &Card,
    subject: &dyn Subject,
    asked: Option<Part>,
) -> Result<(Part, Space), AnalysisError> {
    let order = if kind::compares(subject) { [Part::Vision, Part::Text, Part::Audio] } else { PARTS };
    let reads = |part: &Part| kind::reads_out(subject, *part).is_ok();
    let part = asked.or_else(|| order.into_iter().find(reads)).unwrap_or(Part::Text);
    let space = kind::reads_out(subject, part).map_err(|reason| unread(card, part, reason))?;
    Capability::Blocks(part).check(card, subject)?;
    Ok((part, space))
}

/// That states of a part cannot be read out.
pub(crate) fn unread(card: &Card, part: Part, reason: impl Into<String>) -> AnalysisError {
    input(card, Capability::ReadOut(part).describe(), reason)
}

/// Of a part the blocks that reach an answer: up to the last behind which it is read.
pub(crate) fn blocks_read(subject: &dyn Subject, part: Part) -> usize {
    subject.read_behind(part).last().copied().unwrap_or(0)
}

/// How many heads a site has.
pub(crate) fn heads_at(
    card: &Card,
    subject: &dyn Subject,
    inputs: &Inputs,
    site: Site,
) -> Result<usize, AnalysisError> {
    let at = SiteSpec::among(subject.sites(), site)?.axis(AxisName::Head);
    let none = || input(card, "points that have heads", format!("`{}` has none", site.point().name()));
    let at = at.ok_or_else(none)?;
    subject.dims(inputs, site)?.get(at).copied().ok_or_else(none)
}
