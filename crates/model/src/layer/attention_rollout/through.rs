//! Shares carried on through a tower: what reaches a picture's patches and a recording's positions.

use std::collections::BTreeMap;

use mmlens_core::finding::{Axis, Labelled, Labels, Modality, PatchLabel, Role, Unit};
use mmlens_core::{
    AnalysisError, HookError, Inputs, Part, Plan, Point, Site, Subject, TokenMap, TowerPosition,
};
use mmlens_engine::{Flow, Positions, label};

use super::CARD;
use crate::check::input;

/// The sum, which of no shares is zero and not minus zero.
fn total(shares: &[f32]) -> f32 {
    shares.iter().fold(0.0, |sum, share| sum + share)
}

/// Where no position of the prompt shows a picture (dual encoders, classifiers): the shares with which the tower's one vector is
/// pooled, carried through it. That is its class token or, without one, what attention pools.
pub(super) fn pooled(
    subject: &dyn Subject,
    inputs: &Inputs,
    map: &TokenMap,
    tower: &Flow<'_>,
) -> Result<Option<Vec<Labelled>>, AnalysisError> {
    let (entries, positions) = (tower.rows(), tower.positions());
    let each = map.patches.len() / entries.max(1);
    if each == 0 || !Positions::Pictures.of(map).unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let site = Site::of(Part::Vision, Point::PoolPattern);
    let pools = subject.sites().iter().any(|spec| spec.site == site);
    let weights = match (pools, positions == each + 1) {
        (true, _) => {
            let trace = subject.run(inputs, Plan::new().read(site)?)?;
            trace.get(site)?.to_values()?
        }
        (false, true) => {
            (0..entries * positions).map(|at| f32::from(u8::from(at % positions == 0))).collect()
        }
        (false, false) => return Ok(None),
    };
    let heads = (weights.len() / (entries * positions).max(1)).max(1);
    let mut tables = Vec::new();
    let mean = |own: &[f32]| {
        let at = |at: usize| own.iter().skip(at).step_by(positions).sum::<f32>() / heads as f32;
        (0..positions).map(at).collect()
    };
    let shares: Vec<Vec<f32>> = weights.chunks(heads * positions).take(entries).map(mean).collect();
    for (entry, carried) in tower.carry(&shares)?.into_iter().enumerate() {
        let name = |what: &str| if entries > 1 { format!("{what}/{entry}") } else { what.to_owned() };
        tables.extend(square(&name("vision"), map, (Part::Vision, tower), (entry, entry))?);
        let (outside, on) = carried.split_at(positions - each.min(positions));
        let patches = map.patches.iter().skip(entry * each).take(each).copied().collect();
        let axes = vec![Axis::patches(patches)];
        tables.push(Labelled::numbers(name("picture through the tower"), Unit::Ratio, axes, on.to_vec())?);
        tables.push(Labelled::scalar(name("outside the patches"), Unit::Ratio, total(outside)));
    }
    Ok(Some(tables))
}

/// The whole rollout of a tower for one picture or recording, if it was made; `place` is that among those of the prompt.
fn square(
    name: &str,
    map: &TokenMap,
    (part, tower): (Part, &Flow<'_>),
    (place, entry): (usize, usize),
) -> Result<Option<Labelled>, AnalysisError> {
    let Some(matrix) = tower.matrix(entry) else { return Ok(None) };
    let axis = label::tower_axis(map, part, place, tower.rows(), tower.positions());
    let pairs = [Role::Query, Role::Key].map(|role| Axis::new(role, axis.labels.clone())).to_vec();
    Ok(Some(Labelled::numbers(name, Unit::Ratio, pairs, matrix.to_vec())?))
}

/// Where a tower is given patches instead of pictures, the share of each: those merged into one position share alike.
fn packed(map: &TokenMap, last: &[f32], positions: usize, shown: usize) -> Option<Vec<f32>> {
    let Labels::Patches(merged) = label::tower_axis(map, Part::Vision, 0, 1, shown).labels else {
        return None;
    };
    let fits = positions == map.patches.len() && positions.is_multiple_of(shown.max(1));
    let across = fits.then(|| positions / shown.max(1))?;
    let place = |p: &PatchLabel| (p.image, p.frame, p.row, p.col);
    let labelled = map.tokens.iter().zip(last);
    let shares: BTreeMap<_, f32> =
        labelled.filter_map(|(t, share)| Some((place(&t.patch?), *share))).collect();
    let of = |p: &PatchLabel| shares.get(&place(p)).map(|share| share / across as f32);
    let each = merged.iter().map(of).collect::<Option<Vec<f32>>>()?;
    Some(each.into_iter().flat_map(|share| std::iter::repeat_n(share, across)).collect())
}

/// The shares on positions that play recordings, carried through their tower: what a position merges shares alike.
pub(super) fn recordings(
    inputs: &Inputs,
    map: &TokenMap,
    last: &[f32],
    tower: &Flow<'_>,
) -> Result<Vec<Labelled>, AnalysisError> {
    let (entries, positions) = (tower.rows(), tower.positions());
    let order = inputs.heard.of_row(0);
    let patches = |place| {
        let positions = map.tower(Part::Audio, place, positions)?;
        Some(positions.into_iter().map(TowerPosition::patch).collect())
    };
    let lies: Vec<Vec<Option<PatchLabel>>> =
        (0..order.len()).map(patches).collect::<Option<_>>().ok_or_else(|| {
            let needs = "a tower whose positions are as many frames each";
            input(&CARD, needs, format!("the tower has {positions} positions"))
        })?;
    let mut shares = vec![vec![0.0; positions]; entries];
    for (token, share) in map.tokens.iter().zip(last).filter(|(token, _)| token.modality == Modality::Audio) {
        let Some(patch) = token.patch else { continue };
        let inside = |own: &PatchLabel| {
            let middle = f64::midpoint(f64::from(own.bbox[0]), f64::from(own.bbox[2]));
            let [from, _, to, _] = patch.bbox.map(f64::from);
            own.image == patch.image && (from..to).contains(&middle)
        };
        let place = patch.image.checked_sub(map.first_sound());
        let own = place.and_then(|place| Some((lies.get(place)?, *order.get(place)?)));
        let Some((own, entry)) = own else { continue };
        let within: Vec<usize> = (0..own.len())
            .filter(|at| own.get(*at).is_some_and(|p| p.as_ref().is_some_and(inside)))
            .collect();
        let slots = shares.get_mut(entry).ok_or(HookError::Values { dims: vec![entries], given: entry })?;
        for at in &within {
            if let Some(slot) = slots.get_mut(*at) {
                *slot += share / within.len() as f32;
            }
        }
    }
    let carried = tower.carry(&shares)?;
    let mut tables = Vec::new();
    for (place, (entry, own)) in order.iter().copied().zip(&lies).enumerate() {
        let name = |what: &str| if entries > 1 { format!("{what}/{entry}") } else { what.to_owned() };
        tables.extend(square(&name("audio"), map, (Part::Audio, tower), (place, entry))?);
        let carried = carried.get(entry).ok_or(HookError::Values { dims: vec![entries], given: entry })?;
        let heard = own.iter().zip(carried).filter_map(|(patch, share)| Some(((*patch)?, *share)));
        let (patches, on): (Vec<PatchLabel>, Vec<f32>) = heard.unzip();
        let padding = own.iter().zip(carried).filter(|(patch, _)| patch.is_none()).map(|(_, share)| *share);
        let outside: Vec<f32> = padding.collect();
        let axes = vec![label::patch_axis(map, patches)];
        tables.push(Labelled::numbers(name("recording through the tower"), Unit::Ratio, axes, on)?);
        tables.push(Labelled::scalar(name("outside the recording"), Unit::Ratio, total(&outside)));
    }
    Ok(tables)
}

/// The shares on image positions, carried through the tower.
pub(super) fn pictures(
    inputs: &Inputs,
    map: &TokenMap,
    last: &[f32],
    tower: &Flow<'_>,
) -> Result<Vec<Labelled>, AnalysisError> {
    let (entries, positions) = (tower.rows(), tower.positions());
    let shown = Positions::Pictures.of(map).unwrap_or_default();
    if let Some(shares) = packed(map, last, positions, shown.len()) {
        let patches = || Axis::patches(map.patches.clone());
        let mut tables = Vec::new();
        if let Some(matrix) = tower.matrix(0) {
            let pairs = [Role::Query, Role::Key].map(|role| Axis::new(role, patches().labels)).to_vec();
            tables.push(Labelled::numbers("vision", Unit::Ratio, pairs, matrix.to_vec())?);
        }
        let carried = tower.carry(&[shares])?.concat();
        tables.push(Labelled::numbers("picture through the tower", Unit::Ratio, vec![patches()], carried)?);
        return Ok(tables);
    }
    let each = shown.len() / entries.max(1);
    let own = |place: usize| shown.iter().skip(place * each).take(each);
    let patches = |place: usize| -> Vec<PatchLabel> {
        own(place).filter_map(|at| map.tokens.get(*at).and_then(|token| token.patch)).collect()
    };
    // Each picture's positions must be its tower's patches, in their order.
    let known = |place: usize| {
        let labels = map.tower(Part::Vision, place, positions).unwrap_or_default();
        !labels.is_empty() && labels.into_iter().filter_map(TowerPosition::patch).eq(patches(place))
    };
    let extra = positions.checked_sub(each).filter(|extra| *extra <= 1 && each * entries == shown.len());
    let Some(extra) = extra.filter(|_| (0..entries).all(known)) else {
        let found = format!(
            "its tower has {positions} positions, and the prompt shows {entries} pictures in {}",
            shown.len()
        );
        return Err(input(
            &CARD,
            "a tower whose patches are the image positions, with at most a class token more",
            found,
        ));
    };
    let order = inputs.seen.of_rows.first().map_or(&[][..], Vec::as_slice);
    let mut tables = Vec::new();
    let mut shares = vec![vec![0.0; positions]; entries];
    for (place, entry) in order.iter().copied().enumerate() {
        // A class token that the language model is not shown comes before the patches, and gets no share from it.
        let given: Option<Vec<f32>> = own(place).map(|i| last.get(*i).copied()).collect();
        let given = given.ok_or(HookError::Values { dims: vec![map.len()], given: last.len() })?;
        let slot = shares.get_mut(entry);
        *slot.ok_or(HookError::Values { dims: vec![entries], given: entry })? =
            std::iter::repeat_n(0.0, extra).chain(given).collect();
    }
    let carried = tower.carry(&shares)?;
    for (place, entry) in order.iter().copied().enumerate() {
        let name = |what: &str| if entries > 1 { format!("{what}/{entry}") } else { what.to_owned() };
        tables.extend(square(&name("vision"), map, (Part::Vision, tower), (place, entry))?);
        let carried = carried.get(entry).ok_or(HookError::Values { dims: vec![entries], given: entry })?;
        let patches = patches(place);
        let before = positions - patches.len().min(positions);
        let (outside, on) = carried.split_at(before);
        let on_axis = Axis::patches(patches);
        tables.push(Labelled::numbers(
            name("picture through the tower"),
            Unit::Ratio,
            vec![on_axis],
            on.to_vec(),
        )?);
        tables.push(Labelled::scalar(name("outside the patches"), Unit::Ratio, total(outside)));
    }
    Ok(tables)
}
