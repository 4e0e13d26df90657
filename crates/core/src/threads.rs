//! A whole pass on the threads that compute it.

/// Runs a pass on one of the threads among which operations on `flex` are divided; on another device, where it is called.
///
/// An operation that is called from any other thread wakes one of them and waits until it is woken in turn, every time.
/// Called from one of them it is begun at once. With two threads this saves about a tenth of a pass.
///
/// While a thread waits for the others it may begin another pass. What holds a lock while it computes, such as an edit, must
/// not be shared between passes that run at the same time.
///
/// `device` is what [`Subject::device`](crate::Subject::device) says.
pub fn among_threads<T: Send>(device: &str, pass: impl FnOnce() -> T + Send) -> T {
    #[cfg(feature = "flex")]
    if device == "flex" {
        return rayon::scope(|_| pass());
    }
    let _ = device;
    pass()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_on_flex_is_among_the_threads_that_compute() {
        let place = || rayon::current_thread_index();
        assert!(place().is_none());
        assert!(among_threads("flex", place).is_some());
        assert!(among_threads("flex", || among_threads("flex", || place() == place())));
        assert!(among_threads("wgpu", place).is_none());
    }
}
