//! Where cases are run: a folder of its own, and what cases share.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Device;
use mmlens_core::Subject;
use mmlens_zoo::OpenOptions;
use tempfile::TempDir;

/// A folder that goes when it is dropped, with copies of checkpoints in it, and models that are opened once.
pub struct Room {
    folder: TempDir,
    copied: RefCell<BTreeMap<String, PathBuf>>,
    subjects: RefCell<BTreeMap<String, &'static dyn Subject>>,
    /// Which of the samples each checkpoint takes.
    takes: RefCell<BTreeMap<String, usize>>,
    store: OnceCell<PathBuf>,
}

impl Room {
    /// An empty one, in memory where the system has a folder for that.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn new() -> anyhow::Result<Self> {
        let shared = Path::new("/dev/shm");
        let folder = match shared.is_dir() {
            true => tempfile::tempdir_in(shared),
            false => tempfile::tempdir(),
        };
        Ok(Self {
            folder: folder.context("a folder for the cases")?,
            copied: RefCell::default(),
            subjects: RefCell::default(),
            takes: RefCell::default(),
            store: OnceCell::new(),
        })
    }

    /// Its folder. A refusal names it, or a file in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in it with these bytes.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A copy of a checkpoint, made once.
    pub(crate) fn copy(&self, name: &str) -> anyhow::Result<PathBuf> {
        if let Some(copy) = self.copied.borrow().get(name) {
            return Ok(copy.clone());
        }
        let (from, to) = (mmlens_testkit::checkpoint(name), self.path().join(name));
        copy(&from, &to)?;
        self.copied.borrow_mut().insert(name.to_owned(), to.clone());
        Ok(to)
    }

    /// A checkpoint as it is, opened once and kept as long as the process lives.
    pub(crate) fn subject(&self, name: &str) -> anyhow::Result<&'static dyn Subject> {
        if let Some(subject) = self.subjects.borrow().get(name) {
            return Ok(*subject);
        }
        let folder = mmlens_testkit::checkpoint(name);
        let subject = OpenOptions::new(&Device::flex()).self_check(false).open(folder)?;
        let subject: &'static dyn Subject = Box::leak(subject);
        self.subjects.borrow_mut().insert(name.to_owned(), subject);
        Ok(subject)
    }

    /// The number of the first sample that a checkpoint takes.
    pub(crate) fn takes(
        &self,
        name: &str,
        find: impl FnOnce(&dyn Subject) -> anyhow::Result<usize>,
    ) -> anyhow::Result<usize> {
        if let Some(number) = self.takes.borrow().get(name) {
            return Ok(*number);
        }
        let number = find(self.subject(name)?)?;
        self.takes.borrow_mut().insert(name.to_owned(), number);
        Ok(number)
    }

    /// A store, made once.
    pub(crate) fn store(&self, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<&Path> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let path = self.path().join("store");
        make(&path)?;
        Ok(self.store.get_or_init(|| path))
    }
}

/// Copies the files of a folder.
pub(crate) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let to = to.join(entry.file_name());
            // Fixtures may be read-only; what is copied is written over.
            fs::write(&to, fs::read(entry.path())?).with_context(|| to.display().to_string())?;
        }
    }
    Ok(())
}
