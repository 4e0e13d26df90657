//! A file that is written as a whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::read::other;

/// What the name of a file ends with while it is written.
pub const PARTIAL: &str = ".mmlens-partial";

/// What the system calls it too.
const FOLDER: &str = "a directory";

/// Why a file was not written. What was there before is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Something else than a regular file has that name.
    #[error("cannot write {}: it is {found}, expected a regular file or nothing", path.display())]
    NotAFile {
        /// The place.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A link that leads nowhere.
    #[error("cannot write {}: it is a link to {}, where nothing is", path.display(), to.display())]
    DeadLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// The file is one that is read in the same run.
    #[error("cannot write {}: it is {}, which is read here", path.display(), input.display())]
    Input {
        /// The place.
        path: PathBuf,
        /// The same file, as it is read.
        input: PathBuf,
    },
    /// The folder of the file is one that is read in the same run.
    #[error("cannot write {}: it would lie in {}, which is read here", path.display(), input.display())]
    Inside {
        /// The place.
        path: PathBuf,
        /// The folder, as it is read.
        input: PathBuf,
    },
    /// The file is the program that runs.
    #[error("cannot write {}: it is this program", path.display())]
    Program {
        /// The place.
        path: PathBuf,
    },
    /// The file is write-protected.
    #[error("cannot write {}: the file there is write-protected", path.display())]
    Protected {
        /// The place.
        path: PathBuf,
    },
    /// Another process, or this one, is writing the same file.
    #[error("cannot write {}: it is being written already ({})", path.display(), partial.display())]
    Busy {
        /// The place.
        path: PathBuf,
        /// The file that is being filled.
        partial: PathBuf,
    },
    /// The system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The place.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A place where a file may be written.
///
/// The file is filled under another name in the same folder (its own with [`PARTIAL`] behind it), brought to disk and renamed,
/// and the folder is brought to disk. A process that is killed, a full disk or a failure leaves what was there before, and
/// at most that other file, which the next writing of the same target takes over. A link is followed: the file that it
/// leads to is replaced, the link stays. Permissions of a replaced file are kept.
#[derive(Debug, Clone)]
pub struct Target {
    /// As it was given.
    asked: PathBuf,
    /// Without links.
    file: PathBuf,
}

impl Target {
    /// Looks at a place, and writes nothing yet.
    ///
    /// # Errors
    /// [`WriteError::NotAFile`] for a folder, a device, a FIFO or a socket, [`WriteError::DeadLink`], [`WriteError::Program`], [`WriteError::Protected`],
    /// [`WriteError::Io`] for a folder that is not there.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, WriteError> {
        let asked = path.as_ref().to_owned();
        let fail = |source| WriteError::Io { path: asked.clone(), source };
        let ends_open = asked.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        let (Some(name), false) = (asked.file_name(), ends_open) else {
            return Err(WriteError::NotAFile { path: asked, found: FOLDER });
        };
        let folder = match asked.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = match fs::symlink_metadata(&asked) {
            Err(none) if none.kind() == io::ErrorKind::NotFound => {
                folder.canonicalize().map_err(fail)?.join(name)
            }
            Err(error) => return Err(fail(error)),
            Ok(there) if there.is_symlink() => match asked.canonicalize() {
                Err(none) if none.kind() == io::ErrorKind::NotFound => {
                    let to = fs::read_link(&asked).unwrap_or_default();
                    return Err(WriteError::DeadLink { path: asked, to });
                }
                file => file.map_err(fail)?,
            },
            Ok(_) => folder.canonicalize().map_err(fail)?.join(name),
        };
        let target = Self { asked, file };
        target.check()?;
        match std::env::current_exe() {
            Ok(program) if same(&target.file, &program) => Err(WriteError::Program { path: target.asked }),
            _ => Ok(target),
        }
    }

    /// That it is none of the files that are read: the same file under whatever name, through whatever links. Of a folder
    /// the files in it are meant, and nothing new is written there either, as into the folder of a model.
    ///
    /// # Errors
    /// [`WriteError::Input`], [`WriteError::Inside`].
    pub fn apart_from<P: AsRef<Path>>(self, inputs: impl IntoIterator<Item = P>) -> Result<Self, WriteError> {
        // What lies where the file is filled would be removed.
        let own = [self.file.clone(), with_ending(&self.file)];
        let own: Vec<&PathBuf> = own.iter().filter(|file| file.exists()).collect();
        let is_own = |path: &Path| own.iter().any(|file| same(file, path));
        let folder = self.file.parent().unwrap_or(Path::new("."));
        for input in inputs {
            let input = input.as_ref();
            let inside = fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut files = std::iter::once(input.to_owned()).chain(inside);
            if !own.is_empty()
                && let Some(input) = files.find(|path| is_own(path))
            {
                return Err(WriteError::Input { path: self.asked, input });
            }
            if same(folder, input) {
                return Err(WriteError::Inside { path: self.asked, input: input.to_owned() });
            }
        }
        Ok(self)
    }

    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.asked
    }

    /// Writes the file: `fill` is given what to write to.
    ///
    /// # Errors
    /// [`WriteError::Busy`] while another process writes it; [`WriteError::Io`] with what the system or `fill` says; as
    /// [`Target::new`], if something else stands there by now.
    pub fn write(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), WriteError> {
        self.check()?;
        let partial = with_ending(&self.file);
        let fail = |source| WriteError::Io { path: self.asked.clone(), source };
        let file = self.begin(&partial)?;
        let filled = (|| {
            let mut out = BufWriter::with_capacity(1 << 20, &file.0);
            fill(&mut out)?;
            out.flush()?;
            drop(out);
            if let Ok(before) = fs::metadata(&self.file) {
                file.0.set_permissions(before.permissions())?;
            }
            file.0.sync_all()
        })();
        let written = filled.map_err(fail).and_then(|()| {
            self.check()?;
            fs::rename(&partial, &self.file).map_err(fail)
        });
        if written.is_err() {
            // The error that matters is the one above.
            let _ = fs::remove_file(&partial);
        }
        written?;
        sync(&self.file).map_err(fail)
    }

    /// The other file, empty, new and held by this process alone.
    fn begin(&self, partial: &Path) -> Result<Held, WriteError> {
        let fail = |source| WriteError::Io { path: self.asked.clone(), source };
        let busy = || WriteError::Busy { path: self.asked.clone(), partial: partial.to_owned() };
        // Each turn that does not end it has removed what a killed process left, or lost it to somebody else.
        for _ in 0..16 {
            match File::options().write(true).create_new(true).open(partial) {
                Ok(file) => {
                    if let Some(file) = Held::new(file).map_err(fail)?
                        && file.is_at(partial).map_err(fail)?
                    {
                        return Ok(file);
                    }
                    // Somebody took it for one that was left behind, and is removing it.
                }
                Err(there) if there.kind() == io::ErrorKind::AlreadyExists => {
                    let found = match fs::symlink_metadata(partial) {
                        Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                        found => found.map_err(fail)?.file_type(),
                    };
                    if let Some(found) = other(found) {
                        return Err(WriteError::NotAFile { path: partial.to_owned(), found });
                    }
                    let file = match File::options().write(true).open(partial) {
                        Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                        file => file.map_err(fail)?,
                    };
                    let file = Held::new(file).map_err(fail)?.ok_or_else(busy)?;
                    if file.is_at(partial).map_err(fail)? {
                        fs::remove_file(partial).map_err(fail)?;
                    }
                }
                Err(error) => return Err(fail(error)),
            }
        }
        Err(busy())
    }

    fn check(&self) -> Result<(), WriteError> {
        match fs::symlink_metadata(&self.file) {
            Err(none) if none.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(WriteError::Io { path: self.asked.clone(), source }),
            Ok(there) => match other(there.file_type()) {
                Some(_) if there.is_dir() => {
                    Err(WriteError::NotAFile { path: self.asked.clone(), found: FOLDER })
                }
                Some(found) => Err(WriteError::NotAFile { path: self.asked.clone(), found }),
                None if there.permissions().readonly() => {
                    Err(WriteError::Protected { path: self.asked.clone() })
                }
                None => Ok(()),
            },
        }
    }
}

/// Writes bytes as one file, whole or not at all: see [`Target`].
///
/// # Errors
/// As [`Target::new`] and [`Target::write`].
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), WriteError> {
    Target::new(path)?.write(|file| file.write_all(bytes.as_ref()))
}

/// The name of a file while it is written.
pub(crate) fn with_ending(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// So that a file that was made, renamed or removed is so after a crash of the system as well.
pub(crate) fn sync(file: &Path) -> io::Result<()> {
    match file.parent() {
        // Not every system offers it for folders.
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}

/// A file that one process holds. It is let go explicitly: a child that is being started by another thread has a copy of the
/// file for a moment, and would hold it for as long.
#[derive(Debug)]
pub(crate) struct Held(pub(crate) File);

impl Held {
    /// None, if another process holds it, or this one.
    pub(crate) fn new(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a path, itself and not what it links to, is still this file.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let (there, own) = match fs::symlink_metadata(path) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(false),
            there => (there?, self.0.metadata()?),
        };
        #[cfg(unix)]
        return Ok(inode(&there) == inode(&own));
        #[cfg(not(unix))]
        Ok(there.is_file() && there.len() == own.len())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing it does the same, if a little later.
        let _ = self.0.unlock();
    }
}

/// Whether two paths lead to one file or folder, through links of either kind.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (fs::metadata(a), fs::metadata(b)) {
        return inode(&a) == inode(&b);
    }
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(unix)]
fn inode(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_a_child_does_not_hold_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let open = || File::options().write(true).create(true).truncate(false).open(&path).unwrap();
        let held = Held::new(open()).unwrap().unwrap();
        let _of_a_child = held.0.try_clone().unwrap();
        assert!(Held::new(open()).unwrap().is_none());
        drop(held);
        assert!(Held::new(open()).unwrap().is_some());
    }
}
