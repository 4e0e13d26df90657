//! Long work in batches: how far it has come, and how it is cut.

use std::num::NonZeroUsize;
use std::ops::Range;

use mmlens_core::{AnalysisError, HookError, Watch, step};

/// How far a method has come. Every step is reported, and may be the last.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    watch: &'a dyn Watch,
    method: &'static str,
    done: usize,
    total: usize,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} of {}", self.method, self.done, self.total)
    }
}

impl<'a> Progress<'a> {
    /// Nothing of `total` steps is done.
    pub fn new(watch: &'a dyn Watch, method: &'static str, total: usize) -> Self {
        Self { watch, method, done: 0, total }
    }

    /// Some more steps are done.
    ///
    /// # Errors
    /// [`AnalysisError::Cancelled`] if the watcher wants no more.
    pub fn advance(&mut self, steps: usize) -> Result<(), AnalysisError> {
        self.done += steps;
        step(self.watch, self.method, self.done, self.total)
    }

    /// The method at work.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Steps done.
    pub fn done(&self) -> usize {
        self.done
    }
}

/// `0 .. items`, cut into ranges of at most `rows`.
pub fn batches(items: usize, rows: NonZeroUsize) -> impl Iterator<Item = Range<usize>> {
    (0..items).step_by(rows.get()).map(move |from| from..items.min(from + rows.get()))
}

/// The items of a range.
///
/// # Errors
/// [`HookError::Values`] for a range beyond them: less than was asked for is never taken for all of it.
pub fn of_range<T>(items: &[T], range: Range<usize>) -> Result<&[T], HookError> {
    let (end, given) = (range.end, items.len());
    items.get(range).ok_or(HookError::Values { dims: vec![end], given })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::ops::ControlFlow;

    use mmlens_core::Watch;

    use super::{Progress, batches, of_range};

    struct Until(usize);

    impl Watch for Until {
        fn step(&self, _: &'static str, done: usize, _: usize) -> ControlFlow<()> {
            if done < self.0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }

    #[test]
    fn batches_cover_every_item_once() {
        assert_eq!(of_range(&[1, 2, 3], 1..3).unwrap(), [2, 3]);
        let said = of_range(&[1, 2, 3], 2..4).unwrap_err().to_string();
        assert_eq!(said, "3 values cannot fill a tensor of shape [4]");
        let of = |items, rows| batches(items, NonZeroUsize::new(rows).unwrap()).collect::<Vec<_>>();
        assert_eq!(of(7, 3), [0..3, 3..6, 6..7]);
        assert_eq!(of(6, 3), [0..3, 3..6]);
        assert_eq!(of(2, 5), vec![0..2]);
        assert!(of(0, 5).is_empty());
    }

    #[test]
    fn a_watcher_ends_the_work() {
        let mut progress = Progress::new(&Until(5), "sweep", 9);
        assert!(progress.advance(3).is_ok());
        assert_eq!(progress.advance(3).unwrap_err().to_string(), "sweep was cancelled after 6 of 9");
    }
}
