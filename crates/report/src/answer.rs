//! What of a finding is drawn over pictures, and what of it stands on a page.

use std::borrow::Cow;

use mmlens_finding::{Axis, CAUTIONS, Finding, Labelled, Labels, Role, TableError, top};

use crate::ReportError;
use crate::by_token::{self, ByToken, Shown};

/// The answer of a finding as a map over pictures.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Where the numbers come from, in words.
    pub from: String,
    /// One table, or one for each picture or tile.
    pub tables: Vec<Labelled>,
}

/// The answer of a finding as a map over pictures: its first quantity, of several layers the one at which the values of places of
/// the picture have the largest standard deviation, and of several heads there the one at which they have. `None` if it says nothing of places: tables of words, of heads, of routes.
#[must_use]
pub fn drawn(finding: &Finding) -> Option<Drawn> {
    let tables = finding.answer();
    let first = tables.first()?;
    let quantity = first.quantity();
    if first.as_numbers().is_none() || !first.axes().iter().any(in_picture) {
        return None;
    }
    let mut from = format!("`{quantity}`");
    let mut tables: Vec<Labelled> = tables.into_iter().cloned().collect();
    for role in [Role::Layer, Role::Head] {
        let first = tables.first()?;
        let Some(axis) = first.axis_of(role) else { continue };
        let at = widest(first, axis);
        let name = first.axes().get(axis)?.label(at).unwrap_or_default();
        from += &if name.parse::<usize>().is_ok() { format!(", {role} {name}") } else { format!(", {name}") };
        tables = tables.iter().map(|table| table.slice(axis, at).ok()).collect::<Option<_>>()?;
    }
    Some(Drawn { from, tables })
}

/// Whether an axis holds places of a picture.
fn in_picture(axis: &Axis) -> bool {
    match &axis.labels {
        Labels::Tokens(tokens) => tokens.iter().any(|token| token.patch.is_some()),
        Labels::Patches(_) | Labels::Spans { .. } => true,
        _ => false,
    }
}

/// Where along an axis the values of places of a picture have the largest standard deviation: the first such, where several do.
#[must_use]
pub(crate) fn widest(table: &Labelled, axis: usize) -> usize {
    let len = table.axes().get(axis).map_or(0, Axis::len);
    let spreads: Vec<f32> = (0..len).map(|at| spread(table, axis, at).unwrap_or(0.0)).collect();
    // Of a table without numbers, the first.
    top(&spreads).ok().flatten().unwrap_or(0)
}

/// The standard deviation of the numbers of patches at one place along an axis.
#[expect(clippy::cast_possible_truncation, reason = "a spread of f32")]
fn spread(table: &Labelled, axis: usize, at: usize) -> Option<f32> {
    let slice = table.slice(axis, at).ok()?;
    let tokens = slice.axes().iter().position(|axis| matches!(axis.labels, Labels::Tokens(_)));
    let slice = match tokens.and_then(|place| Some((place, &slice.axes().get(place)?.labels))) {
        Some((place, Labels::Tokens(tokens))) => {
            let patch = |at: &usize| tokens.get(*at).is_some_and(|token| token.patch.is_some());
            slice.select(place, &(0..tokens.len()).filter(patch).collect::<Vec<_>>()).ok()?
        }
        _ => slice,
    };
    let values = slice.as_numbers().filter(|values| !values.is_empty())?;
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    Some((squares / count).sqrt() as f32)
}

/// The tables of a finding that stand on a page, each with what says it by answer token: not those that stand aside or say at each
/// position what its axis says anyway, nor cautions, which have a place of their own; of tokens no patches where all of these are zero.
///
/// # Errors
/// [`ReportError::ByToken`], [`ReportError::Table`].
pub(crate) fn shown<'a>(finding: &'a Finding, answer: &[String]) -> Result<Vec<Shown<'a>>, ReportError> {
    let stands = |table: &&Labelled| {
        !(table.is_aside() || table.name() == CAUTIONS || by_token::belongs(table) || repeats_its_axis(table))
    };
    let shown = |table: &'a Labelled| {
        let found = by_token::by_token(finding, table)?;
        let by_token = found.and_then(|by_token| {
            let from = by_token::place_in(answer, by_token.axes().first()?)?;
            Some(ByToken { table: Cow::Borrowed(by_token), from })
        });
        let elsewhere = found.is_some() && by_token.is_none();
        Ok(Shown { elsewhere, ..without_idle_patches(table, by_token)? })
    };
    finding.tables().iter().filter(stands).map(shown).collect()
}

fn repeats_its_axis(table: &Labelled) -> bool {
    let (Some(texts), [axis]) = (table.as_texts(), table.axes()) else { return false };
    texts.iter().enumerate().all(|(i, text)| axis.label(i).as_ref() == Some(text))
}

fn without_idle_patches<'a>(
    table: &'a Labelled,
    by_token: Option<ByToken<'a>>,
) -> Result<Shown<'a>, TableError> {
    let (Some(values), [Axis { labels: Labels::Tokens(tokens), .. }]) = (table.as_numbers(), table.axes())
    else {
        return Ok(Shown { table: Cow::Borrowed(table), by_token, elsewhere: false });
    };
    let (patches, words): (Vec<usize>, Vec<usize>) =
        (0..tokens.len()).partition(|i| tokens.get(*i).is_some_and(|token| token.patch.is_some()));
    let idle = |values: &[f32]| patches.iter().all(|i| values.get(*i) == Some(&0.0));
    let each = by_token.as_ref().and_then(|by_token| by_token.table.as_numbers()).unwrap_or_default();
    if words.is_empty() || !idle(values) || !each.chunks(tokens.len()).all(idle) {
        return Ok(Shown { table: Cow::Borrowed(table), by_token, elsewhere: false });
    }
    let of_words = |ByToken { table, from }: ByToken<'a>| {
        table.select(1, &words).map(|table| ByToken { table: Cow::Owned(table), from })
    };
    let by_token = by_token.map(of_words);
    Ok(Shown {
        table: Cow::Owned(table.select(0, &words)?),
        by_token: by_token.transpose()?,
        elsewhere: false,
    })
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{
        Axis, Finding, Labelled, Labels, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit,
    };

    use super::{drawn, shown};

    fn patch(col: usize) -> TokenLabel {
        let bbox = [col as f32, 0.0, col as f32 + 1.0, 1.0];
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col, bbox };
        TokenLabel::new("<image>", Modality::Image).with_patch(patch)
    }

    /// What is shown of a finding of one table.
    fn only(table: Labelled) -> Option<Labelled> {
        let finding = Finding::new(Provenance::new("m", "toy"), vec![table]).unwrap();
        shown(&finding, &[]).unwrap().pop().map(|shown| shown.table.into_owned())
    }

    #[test]
    fn patches_without_a_share_are_left_out() {
        let tokens = vec![patch(0), TokenLabel::new("red", Modality::Text)];
        let table = |values| {
            Labelled::numbers("tokens", Unit::Logit, vec![Axis::tokens(tokens.clone())], values).unwrap()
        };
        let of = |table: &Labelled| only(table.clone()).unwrap();
        let words = of(&table(vec![0.0, 0.5]));
        assert_eq!((words.shape(), words.get(&[0])), (vec![1], Some(0.5)));
        let all = table(vec![0.1, 0.5]);
        assert_eq!(of(&all), all);
    }

    /// Patches whose shares cancel out over the answer have some at its tokens.
    #[test]
    fn patches_that_cancel_out_are_kept() {
        let tokens = vec![patch(0), TokenLabel::new("red", Modality::Text)];
        let words = ["A", "ring"].map(|word| TokenLabel::new(word, Modality::Text)).to_vec();
        let answer = Axis::new(Role::Answer, Labels::Tokens(words));
        let of = |share: f32| {
            let whole =
                Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(tokens.clone())], vec![0.0, 0.5]);
            let axes = vec![answer.clone(), Axis::tokens(tokens.clone())];
            let each =
                Labelled::numbers("t by answer token", Unit::Logit, axes, vec![share, 0.2, -share, 0.3]);
            let tables = vec![whole.unwrap(), each.unwrap().aside()];
            let finding = Finding::new(Provenance::new("m", "toy"), tables).unwrap();
            let shown = shown(&finding, &["A".to_owned(), "ring".to_owned()]).unwrap();
            (shown[0].table.shape(), shown[0].by_token.as_ref().unwrap().table.shape())
        };
        assert_eq!(of(0.1), (vec![2], vec![2, 2]));
        assert_eq!(of(0.0), (vec![1], vec![2, 1]));
    }

    #[test]
    fn what_stands_aside_or_repeats_its_axis_is_not_shown() {
        let tokens = || vec![Axis::names(Role::Token, ["a", "red"])];
        let texts = |second: &str| {
            Labelled::texts("corrupted tokens", tokens(), vec!["a".to_owned(), second.to_owned()]).unwrap()
        };
        assert!(only(texts("red")).is_none());
        assert!(only(texts("blue")).is_some());
        assert!(only(texts("blue").aside()).is_none());
        assert!(only(texts("blue").renamed("cautions")).is_none());
    }

    /// Words apart count for nothing, however much they differ.
    #[test]
    fn the_layer_is_the_one_that_tells_patches_apart() {
        let tokens = vec![patch(0), patch(1), TokenLabel::new("red", Modality::Text)];
        let axes = vec![Axis::count(Role::Layer, 3), Axis::tokens(tokens)];
        let values = vec![0.1, 0.2, 9.0, 0.1, 0.7, 0.0, 0.3, 0.4, -5.0];
        let table = Labelled::numbers("target", Unit::Probability, axes, values).unwrap();
        let finding = Finding::new(Provenance::new("logit-lens", "toy"), vec![table]).unwrap();
        let drawn = drawn(&finding).unwrap();
        assert_eq!(drawn.from, "`target`, layer 1");
        assert_eq!(drawn.tables[0].as_numbers(), Some(&[0.1, 0.7, 0.0][..]));
    }

    /// One value far out is less of a spread than two groups apart: standard deviation, not range.
    #[test]
    fn the_spread_is_the_standard_deviation() {
        let axes = vec![Axis::count(Role::Layer, 2), Axis::tokens((0..8).map(patch).collect())];
        // 1 of 8 at 1: sd sqrt(1/8 * 7/8) = 0.331; 4 of 8 at 0.8: sd 0.4
        let values = [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.8, 0.8, 0.8, 0.8, 0.0, 0.0, 0.0, 0.0]];
        let table = Labelled::numbers("t", Unit::Ratio, axes, values.concat()).unwrap();
        let finding = Finding::new(Provenance::new("m", "toy"), vec![table]).unwrap();
        assert_eq!(drawn(&finding).unwrap().from, "`t`, layer 1");
    }

    /// Of heads in layers one head of one layer is drawn: that of the layer at which patches differ most, not the first.
    #[test]
    fn one_head_of_one_layer_is_drawn() {
        let axes = vec![
            Axis::names(Role::Layer, ["3", "5"]),
            Axis::count(Role::Head, 2),
            Axis::tokens(vec![patch(0), patch(1)]),
        ];
        let values = vec![0.0, 0.1, 0.2, 0.0, 0.5, 0.4, 0.0, 0.9];
        let table = Labelled::numbers("attn.z", Unit::Ratio, axes, values).unwrap();
        let drawn = drawn(&Finding::new(Provenance::new("m", "toy"), vec![table]).unwrap()).unwrap();
        assert_eq!(drawn.from, "`attn.z`, layer 5, head 1");
        assert_eq!(drawn.tables[0].as_numbers(), Some(&[0.0, 0.9][..]));
    }

    #[test]
    fn words_and_heads_are_no_map() {
        let of = |axes: Vec<Axis>, count| {
            let table = Labelled::numbers("t", Unit::Logit, axes, vec![1.0; count]).unwrap();
            drawn(&Finding::new(Provenance::new("m", "toy"), vec![table]).unwrap()).is_some()
        };
        assert!(!of(vec![Axis::names(Role::Token, ["a", "red"])], 2));
        assert!(!of(vec![Axis::count(Role::Layer, 2), Axis::count(Role::Head, 2)], 4));
        assert!(of(vec![Axis::tokens(vec![patch(0)])], 1));
    }
}
