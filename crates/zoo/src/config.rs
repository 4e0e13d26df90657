//! Checks of config values, made before the tensor library meets them.

use crate::ZooError;

/// No more than this is believed of any size in a config.
const LARGEST: usize = 1 << 24;

/// No more blocks than this: a million of them would be looked for in vain for minutes.
const MOST_BLOCKS: usize = 1 << 12;

/// A size must be above zero, and not absurd.
pub(crate) fn positive(field: &str, value: usize) -> Result<(), ZooError> {
    within(field, value, LARGEST)
}

/// So must a number of blocks.
pub(crate) fn blocks(field: &str, value: usize) -> Result<(), ZooError> {
    within(field, value, MOST_BLOCKS)
}

fn within(field: &str, value: usize, most: usize) -> Result<(), ZooError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let (field, found) = (field.to_owned(), value.to_string());
    Err(ZooError::Value { field, found, expected: format!("1 to {most}") })
}

/// One size must divide another.
pub(crate) fn divides(field: &str, divisor: usize, of: &str, value: usize) -> Result<(), ZooError> {
    match value.checked_rem(divisor) {
        Some(0) => Ok(()),
        _ => Err(ZooError::Value {
            field: field.to_owned(),
            found: divisor.to_string(),
            expected: format!("a divisor of {of} = {value}"),
        }),
    }
}
