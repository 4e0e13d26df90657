//! Methods and filters that make more than they are given, or take longer than they are charged for: paid for before.

use minijinja::filters;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, Value};

use super::weigh::{A_VALUE, pay, weight};

/// The most places that a format is told to fill.
const WIDEST: usize = 1 << 12;

/// As minijinja's, which see for what there is.
///
/// # Errors
/// What the method reports, or [`ErrorKind::OutOfFuel`].
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str().filter(|_| value.kind() == ValueKind::String) {
        match name {
            "format" => format(state, text, args)?,
            "split" => {
                let pieces = match args.first().and_then(Value::as_str) {
                    Some(separator) => text.matches(separator).count(),
                    None => text.split_whitespace().count(),
                };
                pay(state, pieces.saturating_mul(A_VALUE))?;
            }
            "splitlines" => pay(state, text.lines().count().saturating_mul(A_VALUE))?,
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Every field may name any of the values, and fill as many places as it says.
fn format(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<(), Error> {
    let mut bytes = 0_usize;
    for arg in args {
        bytes = bytes.saturating_add(weight(state, arg)?);
    }
    bytes = bytes.saturating_mul(text.matches('{').count());
    for number in text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()) {
        let places = number.parse().unwrap_or(usize::MAX);
        if places > WIDEST {
            let problem = format!("a format of {places} places, expected at most {WIDEST}");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        bytes = bytes.saturating_add(places);
    }
    pay(state, bytes)
}

/// The filter `format`: every field may name any of the values.
///
/// # Errors
/// As [`method`].
pub(super) fn printf(
    state: &mut State<'_, '_>,
    text: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let mut bytes = 0_usize;
    for arg in args.iter() {
        bytes = bytes.saturating_add(weight(state, arg)?);
    }
    pay(state, bytes.saturating_mul(text.as_str().map_or(0, |text| text.matches('%').count())))?;
    filters::format(state, text, args)
}

/// The filter `sum`: texts and lists are copied with every addition.
///
/// # Errors
/// As [`method`].
#[allow(clippy::needless_pass_by_value, reason = "filters own their arguments")]
pub(super) fn sum(
    state: &State<'_, '_>,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let first = start.clone().or(options.peek("start").ok());
    if first.is_some_and(|first| !first.is_number()) {
        let items = values.len().unwrap_or(0);
        pay(state, items.saturating_mul(weight(state, &values)?))?;
    }
    filters::sum(state, values, attribute, start, options)
}
