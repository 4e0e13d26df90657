//! Panics as values: of libraries over the contents of a file, of a pass, of a user's closure.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many calls of [`caught`] this thread is inside of.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    /// Where it last panicked inside of one.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What was said in a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (a panic at {place})")]
pub struct Panicked {
    /// Its message.
    pub message: String,
    /// The file of its source, and the line.
    pub place: String,
}

/// Does some work, and gives a panic of this thread as an error, in place of what the panic hook would print (it does so all
/// the same where `RUST_BACKTRACE` is set).
///
/// What the work holds by reference must make sense afterwards, whatever it was doing, or be of no account.
///
/// The first call puts a hook before the one that is set, which it hands every other panic to.
///
/// # Errors
/// [`Panicked`].
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |fault| {
            if !noted(fault) || std::env::var_os("RUST_BACKTRACE").is_some() {
                before(fault);
            }
        }));
    });
    INSIDE.set(INSIDE.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    result.map_err(|said| {
        // A panic of another thread, handed on to this one, was noted there.
        let place = PLACE.take().unwrap_or_else(|| "a place in another thread".to_owned());
        Panicked { message: message(said.as_ref()), place }
    })
}

/// Notes where a panic is, if this thread catches it.
fn noted(fault: &PanicHookInfo<'_>) -> bool {
    if INSIDE.get() == 0 {
        return false;
    }
    let place = fault.location().map(|at| format!("{}:{}", in_its_crate(at.file()), at.line()));
    PLACE.replace(place);
    true
}

/// The part of a path from the crate on: `image-0.25.10/src/lib.rs`.
fn in_its_crate(path: &str) -> &str {
    let before = path.rfind("/src/").map_or(path, |end| &path[..end]);
    before.rfind('/').map_or(path, |start| &path[start + 1..])
}

/// No message is longer: it may quote the file.
const LONGEST: usize = 300;

fn message(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<String>().map(String::as_str);
    let text = text.or(said.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_place() {
        assert_eq!(caught(|| 3), Ok(3));
        let said = caught(|| -> u8 { panic!("no {}", "luck") }).unwrap_err();
        assert_eq!(said.message, "no luck");
        assert!(said.place.starts_with("files/src/caught.rs:"), "{said}");
        // An inner one leaves the outer as it was.
        let said = caught(|| {
            let _ = caught(|| panic!("inner"));
            panic!("outer");
        });
        assert_eq!(said.unwrap_err().message, "outer");
        let long = caught(|| panic!("{}", "x".repeat(1000))).unwrap_err();
        assert_eq!(long.message.len(), LONGEST);
        let place = in_its_crate("/a/registry/src/index-1/image-0.2/src/codecs/gif.rs");
        assert_eq!(place, "image-0.2/src/codecs/gif.rs");
    }
}
