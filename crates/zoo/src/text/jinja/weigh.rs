//! What a value costs, with all that is nested in it.
//!
//! minijinja charges for the items of a list, not for what is in them. A list that holds another twice, which holds
//! another twice, and so on, is small, and yet comparing or writing it takes for ever; a namespace can hold itself.

use minijinja::value::ObjectRepr;
use minijinja::{Error, ErrorKind, State, Value};

/// The deepest that values are nested.
const DEEPEST: usize = 100;
/// Bytes of text that one step pays for, as minijinja has it.
pub(super) const BYTES_A_STEP: usize = 64;
/// What a value costs beside its text, as minijinja has it: two are a step.
pub(super) const A_VALUE: usize = 32;

/// The value, paid for with all that is nested in it.
///
/// # Errors
/// [`ErrorKind::OutOfFuel`], or a value that is nested too deeply.
pub(super) fn weigh(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.as_object().is_some() {
        weight(state, &value)?;
    }
    Ok(value)
}

/// The value, its items paid for without what is in them.
///
/// # Errors
/// [`ErrorKind::OutOfFuel`].
pub(super) fn count(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if value.as_object().is_some() {
        pay(state, value.len().unwrap_or(0).saturating_mul(A_VALUE))?;
    }
    Ok(value)
}

/// What a value costs, paid.
///
/// # Errors
/// As [`weigh`].
pub(super) fn weight(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    let mut scale = Scale { state, owed: 0, paid: 0 };
    scale.put(value, 0)?;
    scale.pay()?;
    Ok(scale.paid)
}

/// Pays for so many bytes.
///
/// # Errors
/// [`ErrorKind::OutOfFuel`].
pub(super) fn pay(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_A_STEP) as u64)
}

struct Scale<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    owed: usize,
    paid: usize,
}

impl Scale<'_, '_, '_> {
    fn put(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.owed += A_VALUE + value.as_str().map_or(0, str::len);
        if self.owed >= BYTES_A_STEP * BYTES_A_STEP {
            self.pay()?;
        }
        let Some(object) = value.as_object() else { return Ok(()) };
        if depth == DEEPEST {
            let problem = format!("a value is nested more than {DEEPEST} deep, or holds itself");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        match object.repr() {
            ObjectRepr::Map => {
                for (key, item) in object.try_iter_pairs().into_iter().flatten() {
                    self.put(&key, depth + 1)?;
                    self.put(&item, depth + 1)?;
                }
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                for item in object.try_iter().into_iter().flatten() {
                    self.put(&item, depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pay(&mut self) -> Result<(), Error> {
        self.paid += self.owed;
        pay(self.state, std::mem::take(&mut self.owed))
    }
}
