//! A panic of a decoder over the contents of a file, as a value.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many calls of [`caught`] this thread is inside of.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// What was said in a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (a panic)")]
pub struct Panicked {
    /// Its message.
    pub message: String,
}

/// No message is longer: it may quote the file.
const LONGEST: usize = 300;

/// Does some work, and gives a panic of this thread as an error instead of printing it (with `RUST_BACKTRACE` set it is
/// printed all the same). The first call puts a hook before the one that is set, which it hands every other panic to.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |fault| {
            if INSIDE.get() == 0 || std::env::var_os("RUST_BACKTRACE").is_some() {
                before(fault);
            }
        }));
    });
    INSIDE.set(INSIDE.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    result.map_err(|said| Panicked { message: message(said.as_ref()) })
}

fn message(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<String>().map(String::as_str);
    let text = text.or(said.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(caught(|| 3), Ok(3));
        let said = caught(|| -> u8 { panic!("no {}", "luck") }).unwrap_err();
        assert_eq!(said.to_string(), "no luck (a panic)");
        let long = caught(|| panic!("{}", "x".repeat(1000))).unwrap_err();
        assert_eq!(long.message.len(), LONGEST);
    }
}
