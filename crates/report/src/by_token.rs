//! The answer token by token: tables that say of every token of the answer what another table says of all of it.

use std::borrow::Cow;

use mmlens_finding::{Axis, BY_TOKEN, Finding, Labelled, Labels, Role};

use crate::ReportError;

/// A table that is shown, with the one that says it by answer token.
#[derive(Clone)]
pub(crate) struct Shown<'a> {
    pub(crate) table: Cow<'a, Labelled>,
    pub(crate) by_token: Option<ByToken<'a>>,
    /// Whether there is such a table, but its tokens are not told apart in the answer of the page.
    pub(crate) elsewhere: bool,
}

/// A table with an axis of answer tokens in front of those of the table it belongs to.
#[derive(Clone)]
pub(crate) struct ByToken<'a> {
    pub(crate) table: Cow<'a, Labelled>,
    /// Which token of the answer its first one is.
    pub(crate) from: usize,
}

/// The table of a finding that says by answer token what this one says of the whole answer.
///
/// # Errors
/// [`ReportError::ByToken`] for one of that name whose axes are not those of the table behind the tokens of the answer.
pub(crate) fn by_token<'a>(finding: &'a Finding, of: &Labelled) -> Result<Option<&'a Labelled>, ReportError> {
    let Some(table) = finding.find(&format!("{}{BY_TOKEN}", of.name())) else { return Ok(None) };
    let list = |axes: &[Axis]| axes.iter().map(ToString::to_string).collect::<Vec<_>>();
    match table.axes().split_first() {
        Some((first, rest)) if is_answer(first) && rest == of.axes() && table.as_numbers().is_some() => {
            Ok(Some(table))
        }
        _ => Err(ReportError::ByToken {
            table: table.name().to_owned(),
            found: list(table.axes()),
            expected: list(of.axes()),
        }),
    }
}

/// Whether a table belongs to another, which it says by answer token.
pub(crate) fn belongs(table: &Labelled) -> bool {
    table.name().ends_with(BY_TOKEN) && table.axes().first().is_some_and(is_answer)
}

fn is_answer(axis: &Axis) -> bool {
    axis.role == Role::Answer && matches!(axis.labels, Labels::Tokens(_))
}

/// The tokens of the answers that findings speak of one by one: those of the first, where a page was given no answer.
pub(crate) fn spoken_of(findings: &[Finding]) -> Vec<String> {
    let tables = findings.iter().flat_map(Finding::tables);
    let axis = tables.filter(|table| belongs(table)).find_map(|table| table.axes().first());
    axis.map_or_else(Vec::new, texts)
}

/// Where in an answer the tokens of an axis stand: nowhere, if they are not in it, or in several places. A space in front of a
/// token counts for nothing, since not everybody who names a token keeps it.
pub(crate) fn place_in(answer: &[String], axis: &Axis) -> Option<usize> {
    let tokens = texts(axis);
    if tokens.is_empty() {
        return None;
    }
    let same = |part: &[String]| part.iter().zip(&tokens).all(|(a, b)| a.trim_start() == b.trim_start());
    let mut places = answer.windows(tokens.len()).enumerate().filter(|(_, part)| same(part));
    let (from, _) = places.next()?;
    places.next().is_none().then_some(from)
}

fn texts(axis: &Axis) -> Vec<String> {
    (0..axis.len()).filter_map(|at| axis.label(at)).collect()
}

#[cfg(test)]
mod tests {
    use mmlens_finding::{Axis, Finding, Labelled, Labels, Modality, Provenance, Role, TokenLabel, Unit};

    use super::{belongs, by_token, place_in};

    fn answer(texts: &[&str]) -> Axis {
        let tokens = texts.iter().map(|text| TokenLabel::new(*text, Modality::Text)).collect();
        Axis::new(Role::Answer, Labels::Tokens(tokens))
    }

    #[test]
    fn the_table_by_token_has_one_axis_more_in_front() {
        let table = |name: &str, axes: Vec<Axis>| {
            let len = axes.iter().map(Axis::len).product();
            Labelled::numbers(name, Unit::Logit, axes, vec![0.0; len]).unwrap()
        };
        let layers = || Axis::count(Role::Layer, 3);
        let found = |axes| {
            let tables = vec![table("t", vec![layers()]), table("t by answer token", axes).aside()];
            let finding = Finding::new(Provenance::new("m", "s"), tables).unwrap();
            let of = finding.tables()[0].clone();
            by_token(&finding, &of).map(|found| found.is_some_and(belongs)).map_err(|fault| fault.to_string())
        };
        assert_eq!(found(vec![answer(&["a", "b"]), layers()]), Ok(true));
        let wrong = "table `t by answer token` has axes [\"layer[3]\", \"answer[1]\"]; tokens of the answer and then \
                     [\"layer[3]\"] were expected";
        assert_eq!(found(vec![layers(), answer(&["a"])]), Err(wrong.to_owned()));
    }

    #[test]
    fn tokens_are_found_where_they_stand_once() {
        let words = ["A", " red", " ring", ",", " red"].map(str::to_owned);
        assert_eq!(place_in(&words, &answer(&["A", " red", " ring", ",", " red"])), Some(0));
        assert_eq!(place_in(&words, &answer(&[" red", " ring"])), Some(1));
        assert_eq!(place_in(&words, &answer(&["red", "ring"])), Some(1));
        assert_eq!(place_in(&words, &answer(&[" red"])), None);
        assert_eq!(place_in(&words, &answer(&[" blue"])), None);
        assert_eq!(place_in(&words, &answer(&[])), None);
    }
}
