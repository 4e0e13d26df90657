//! A folder that may be read and not written, and processes for which that holds.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Who has no files: `nobody`, on most systems.
const SOMEBODY: u32 = 65_534;

/// A folder that a command made here cannot write into, whoever runs the tests.
pub struct ReadOnly {
    folder: TempDir,
    /// Permissions are nothing to this user: commands run as another.
    root: bool,
}

impl ReadOnly {
    /// An empty one.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::holding(|_| ())
    }

    /// One with files in it.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn holding(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fill(folder.path());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).expect("it is this user's");
        let probe = folder.path().join("probe");
        let root = fs::write(&probe, "").is_ok();
        if root {
            fs::remove_file(&probe).expect("it was just made");
        }
        Self { folder, root }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command that may not write there.
    #[must_use]
    pub fn kept_from(&self, mut command: Command) -> Command {
        if self.root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        command
    }

    /// What is in it, sorted.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn names(&self) -> Vec<PathBuf> {
        let list = fs::read_dir(self.path()).expect("it is a folder");
        let mut names: Vec<PathBuf> =
            list.map(|entry| PathBuf::from(entry.expect("it is read").file_name())).collect();
        names.sort();
        names
    }
}

impl Default for ReadOnly {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // So that it can be removed.
        let _ = fs::set_permissions(self.path(), Permissions::from_mode(0o755));
    }
}
