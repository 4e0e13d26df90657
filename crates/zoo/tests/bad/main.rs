//! Files that are made to do harm: each is refused with its name and what is wrong, in bounded time and memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod files;
mod templates;
mod tokenizers;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is waited for: many times what any case takes, even where other tests run beside it.
const LONGEST: Duration = Duration::from_secs(60);

/// Held by each test from its start: memory is counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one case in a thread of its own; at most so many MiB may be allocated meanwhile.
fn within<T: Send + 'static>(what: &str, mebibytes: f32, case: impl FnOnce() -> T + Send + 'static) -> T {
    let before = MEMORY.current_usage_as_mb();
    MEMORY.reset_peak_usage();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(case()));
    let value = receive.recv_timeout(LONGEST).unwrap_or_else(|ended| panic!("{what}: {ended}"));
    let peak = MEMORY.peak_usage_as_mb() - before;
    assert!(peak < mebibytes, "{what} took {peak} MiB, expected less than {mebibytes}");
    value
}

/// A copy of the folder of a small model.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures").join(name).join("model")
}
