//! The folder of one run: its files, and a manifest of them that is written last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::read::other;
use crate::target::{same, sync, with_ending};
use crate::{Journal, PARTIAL, Target, WriteError, open, parse_json, read};

/// What files belong to a whole run.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Where the files of a run lie until all of them are whole.
pub(crate) const UNFINISHED: &str = "mmlens-unfinished";
/// In that folder: the settings, and each file once it is whole.
pub(crate) const JOURNAL: &str = "files.jsonl";
/// Of the manifest and the journal.
const FORMAT: u32 = 1;

/// Why the files of a run cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder could not be made.
    #[error("cannot make {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than a folder has that name, or that of a folder above it.
    #[error("cannot write into {}: {} is {found}, expected a folder or nothing", folder.display(), there.display())]
    NotAFolder {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        there: PathBuf,
        /// The kind of it.
        found: &'static str,
    },
    /// The folder is one that the run reads.
    #[error("cannot write into {}: it is {}, which is read here", folder.display(), input.display())]
    Input {
        /// The folder.
        folder: PathBuf,
        /// The same folder, as it is read.
        input: PathBuf,
    },
    /// Another process, or this one, writes into the folder.
    #[error("{} is being written into by another run", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// A manifest or a journal that is not one.
    #[error("{}: {found}; expected {expected}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// A name that a file of a run cannot have.
    #[error("`{found}` is no name for a file of a run")]
    Name {
        /// The name.
        found: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The system refused something else.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their hash, in hexadecimal digits.
    pub sha256: String,
}

/// `manifest.json`: what a whole run wrote, and with what settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// Version of mmlens.
    pub version: String,
    /// All that decides what the files hold.
    pub settings: BTreeMap<String, Value>,
    /// The files, by name.
    pub files: Vec<Entry>,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// The first: what run it is, without files.
    Run(Manifest),
    /// A file that is whole.
    Whole(Entry),
}

/// A folder while a run writes into it.
///
/// Files are written aside, into the folder `mmlens-unfinished`, and moved to their places by [`RunFolder::finish`], which
/// brings them to disk and then writes `manifest.json`. Until then the folder holds what it held before. Files of those names are replaced,
/// and files of the run that was there before, as its manifest has them, are removed; nothing else in the folder is touched. A run that was cut off is gone on with if it is begun again with the same settings, and
/// dropped if it is begun with others.
#[derive(Debug)]
pub struct RunFolder {
    folder: PathBuf,
    aside: PathBuf,
    journal: Journal,
    manifest: Manifest,
    inputs: Vec<PathBuf>,
    /// Whole files of the run that was cut off.
    kept: BTreeMap<String, Entry>,
    written: BTreeMap<String, Entry>,
    /// Where work under way keeps what it has.
    scratch: Option<PathBuf>,
    ended: bool,
}

/// A run that failed before any of its files was whole leaves nothing; else it can be gone on with.
impl Drop for RunFolder {
    fn drop(&mut self) {
        let under_way = self.scratch.as_ref().is_some_and(|file| file.exists());
        if !self.ended && !under_way && self.kept.is_empty() && self.written.is_empty() {
            // Whatever made it fail is what matters.
            let _ = self.leave();
        }
    }
}

impl RunFolder {
    /// Begins a run, or goes on with one of the same settings. `settings` must hold all that decides what the files hold;
    /// `inputs` are the files and folders that the run reads.
    ///
    /// # Errors
    /// [`RunError::Folder`], [`RunError::Input`], [`RunError::Busy`], [`RunError::Broken`] for a `manifest.json` of something
    /// else, [`RunError::Io`].
    pub fn begin(
        folder: impl AsRef<Path>,
        settings: BTreeMap<String, Value>,
        inputs: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, RunError> {
        let folder = folder.as_ref().to_owned();
        let inputs: Vec<PathBuf> = inputs.into_iter().collect();
        Self::free(&folder, &inputs)?;
        let fail = |source| RunError::Folder { folder: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(fail)?;
        read_manifest(&folder)?;
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings,
            files: Vec::new(),
        };
        let aside = folder.join(UNFINISHED);
        if let Ok(place) = aside.canonicalize() {
            let within = |input: &&PathBuf| input.canonicalize().is_ok_and(|input| input.starts_with(&place));
            if let Some(input) = inputs.iter().find(within) {
                return Err(RunError::Input { folder: aside, input: input.clone() });
            }
        }
        let (journal, lines) = Self::resume(&folder, &aside)?;
        let of_this_run = matches!(lines.first(), Some(Line::Run(found)) if *found == manifest);
        let mut run = Self {
            folder,
            aside,
            journal,
            manifest,
            inputs,
            kept: BTreeMap::new(),
            written: BTreeMap::new(),
            scratch: None,
            ended: false,
        };
        if of_this_run {
            for line in lines {
                if let Line::Whole(entry) = line
                    && run.found(&entry).is_some()
                {
                    run.kept.insert(entry.name.clone(), entry);
                }
            }
        } else {
            drop_aside(&run.aside)?;
            run.journal.keep(0).map_err(io(&run.aside.join(JOURNAL)))?;
            let head = run.manifest.clone();
            run.enter(&Line::Run(head))?;
        }
        Ok(run)
    }

    /// That a folder may be written into: it is none of those that are read, and is a folder or not there yet. Nothing is made.
    ///
    /// # Errors
    /// [`RunError::NotAFolder`], [`RunError::Input`].
    pub fn free<P: AsRef<Path>>(
        folder: impl AsRef<Path>,
        inputs: impl IntoIterator<Item = P>,
    ) -> Result<(), RunError> {
        let folder = folder.as_ref();
        let above = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
        for there in above {
            // What leads through a file, or cannot be looked at, is told of the next folder above, or as the folder is made.
            let Ok(found) = fs::metadata(there) else { continue };
            if found.is_dir() {
                break;
            }
            let (folder, there) = (folder.to_owned(), there.to_owned());
            let found = other(found.file_type()).unwrap_or("a file");
            return Err(RunError::NotAFolder { folder, there, found });
        }
        match inputs.into_iter().find(|input| same(folder, input.as_ref())) {
            Some(input) => {
                Err(RunError::Input { folder: folder.to_owned(), input: input.as_ref().to_owned() })
            }
            None => Ok(()),
        }
    }

    /// The journal, held by this process, with its lines.
    fn resume(folder: &Path, aside: &Path) -> Result<(Journal, Vec<Line>), RunError> {
        let path = aside.join(JOURNAL);
        // Once more, if another run ends between the two steps and takes the folder away.
        for _ in 0..16 {
            match fs::create_dir(aside) {
                Ok(()) => sync(aside).map_err(io(aside))?,
                Err(there) if there.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(aside)(error)),
            }
            let linked = [aside, &path].into_iter().find(|path| path.is_symlink());
            if let Some(path) = linked.map(Path::to_owned) {
                return Err(RunError::Broken { path, found: "a link".to_owned(), expected: "no link" });
            }
            match Journal::open(&path) {
                Ok((journal, lines)) => return Ok((journal, parse(&path, &lines)?)),
                Err(held) if held.kind() == io::ErrorKind::WouldBlock => break,
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io(&path)(error)),
            }
        }
        Err(RunError::Busy { folder: folder.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// A file that the run of the same settings had written when it was cut off, if it is whole.
    pub fn kept(&self, name: &str) -> Option<PathBuf> {
        self.found(self.kept.get(name)?)
    }

    /// Where a file is as it was entered: aside, or in its place if it was moved before the run was cut off.
    fn found(&self, entry: &Entry) -> Option<PathBuf> {
        [self.aside(&entry.name), self.folder.join(&entry.name)]
            .into_iter()
            .find(|path| is_whole(path, entry))
    }

    fn aside(&self, name: &str) -> PathBuf {
        with_ending(&self.aside.join(name))
    }

    /// Writes a file, whole or not at all, and says where it will lie once the run is finished.
    ///
    /// # Errors
    /// [`RunError::Name`]; [`RunError::Write`] for a link, a folder or a device of that name, or one of the inputs;
    /// [`RunError::Io`] for what the system says, such as of a full disk.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, RunError> {
        let place = self.place(name)?;
        let entry = Entry { name: name.to_owned(), bytes: bytes.len() as u64, sha256: sha256(bytes) };
        if self.kept.get(name) != Some(&entry) || self.found(&entry).is_none() {
            let aside = self.aside(name);
            remove(&aside)?;
            File::create_new(&aside)
                .and_then(|mut file| file.write_all(bytes))
                .map_err(|source| WriteError::Io { path: aside.clone(), source })?;
            self.enter(&Line::Whole(entry.clone()))?;
        }
        self.written.insert(name.to_owned(), entry);
        Ok(place)
    }

    /// Where a file would lie.
    ///
    /// # Errors
    /// As [`RunFolder::write`], if it may not lie there.
    pub fn place(&self, name: &str) -> Result<PathBuf, RunError> {
        if !is_plain(name) || [MANIFEST, UNFINISHED, JOURNAL].contains(&name) || name.ends_with(PARTIAL) {
            return Err(RunError::Name { found: name.to_owned() });
        }
        let place = self.folder.join(name);
        if place.is_symlink() {
            return Err(WriteError::NotAFile { path: place, found: "a link" }.into());
        }
        Target::new(&place)?.apart_from(&self.inputs)?;
        Ok(place)
    }

    /// A file for work under way to keep what it has, so that a run of the same settings goes on from there. It is gone when the run
    /// is whole, or another is begun in its place.
    pub fn scratch(&mut self) -> &Path {
        let file = self.aside("under-way");
        self.scratch.insert(file)
    }

    /// Moves the files to their places and writes the manifest: the run is whole from then on.
    ///
    /// # Errors
    /// [`RunError::Write`], [`RunError::Io`]. The run can be begun again.
    pub fn finish(mut self) -> Result<Manifest, RunError> {
        for (name, entry) in &self.written {
            let (from, to) = (self.aside(name), self.place(name)?);
            match File::open(&from) {
                Err(none) if none.kind() == io::ErrorKind::NotFound && is_whole(&to, entry) => {}
                file => {
                    file.and_then(|file| file.sync_all()).map_err(io(&from))?;
                    fs::rename(&from, &to).map_err(io(&to))?;
                }
            }
        }
        self.remove_old()?;
        let path = self.folder.join(MANIFEST);
        sync(&path).map_err(io(&self.folder))?;
        let manifest = Manifest { files: self.written.values().cloned().collect(), ..self.manifest.clone() };
        let text = serde_json::to_string_pretty(&manifest).map_err(|e| io(&path)(e.into()))?;
        Target::new(&path)?
            .apart_from(&self.inputs)?
            .write(|file| file.write_all((text + "\n").as_bytes()))?;
        self.ended = true;
        self.leave()?;
        Ok(manifest)
    }

    /// Removes what another run left here that this one did not write again. What somebody changed since, or this run reads, stays.
    fn remove_old(&self) -> Result<(), RunError> {
        let Some(old) = read_manifest(&self.folder)? else { return Ok(()) };
        for entry in old.files.iter().filter(|entry| !self.written.contains_key(&entry.name)) {
            let file = self.folder.join(&entry.name);
            let read = || self.inputs.iter().any(|input| same(&file, input));
            if is_whole(&file, entry) && !read() {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// The manifest that a run left in a folder, if there is one; whether its files are as it says was not looked at.
    ///
    /// # Errors
    /// As [`RunFolder::whole`].
    pub fn manifest(folder: impl AsRef<Path>) -> Result<Option<Manifest>, RunError> {
        read_manifest(folder.as_ref())
    }

    /// The manifest of a run of these settings that is whole in a folder: every file as it was written. What that run left aside,
    /// if it was cut off behind its manifest, is removed.
    ///
    /// # Errors
    /// [`RunError::Broken`] for a `manifest.json` of something else, [`RunError::Io`].
    pub fn whole(
        folder: impl AsRef<Path>,
        settings: &BTreeMap<String, Value>,
    ) -> Result<Option<Manifest>, RunError> {
        let folder = folder.as_ref();
        let own = |found: &Manifest| {
            found.version == env!("CARGO_PKG_VERSION")
                && found.settings == *settings
                && found.files.iter().all(|entry| is_whole(&folder.join(&entry.name), entry))
        };
        let whole = read_manifest(folder)?.filter(own);
        if let Some(manifest) = &whole {
            Self::tidied(folder, manifest);
        }
        Ok(whole)
    }

    /// Removes what the run of a manifest left aside. A run is whole whatever lies there: what cannot be removed stays.
    fn tidied(folder: &Path, manifest: &Manifest) {
        let aside = folder.join(UNFINISHED);
        let own = |lines: &[Line]| {
            let same = |run: &Manifest| run.settings == manifest.settings && run.version == manifest.version;
            matches!(lines.first(), Some(Line::Run(run)) if same(run))
        };
        let path = aside.join(JOURNAL);
        if path.is_file()
            && let Ok((journal, lines)) = Self::resume(folder, &aside)
            && own(&lines)
        {
            let _ = drop_aside(&aside).and_then(|()| remove(&path));
            drop(journal);
        }
        if aside.is_dir() && !aside.is_symlink() {
            // It goes if nothing is in it.
            let _ = fs::remove_dir(&aside);
        }
    }

    /// Removes all that is aside.
    fn leave(&self) -> Result<(), RunError> {
        drop_aside(&self.aside)?;
        let gone =
            fs::remove_file(self.aside.join(JOURNAL)).and_then(|()| match fs::remove_dir(&self.aside) {
                // Somebody keeps something there.
                Err(full) if full.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                gone => gone,
            });
        gone.and_then(|()| sync(&self.aside)).map_err(io(&self.aside))
    }

    fn enter(&mut self, line: &Line) -> Result<(), RunError> {
        let path = self.aside.join(JOURNAL);
        let text = serde_json::to_string(line).map_err(|e| io(&path)(e.into()))?;
        self.journal.append(&text).map_err(io(&path))
    }
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Option<Manifest>, RunError> {
    let path = folder.join(MANIFEST);
    let broken =
        |found: String| RunError::Broken { path: path.clone(), found, expected: "the manifest of a run" };
    let text = match read(&path, MOST_MANIFEST) {
        Err(none) if none.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(io(&path))?,
    };
    let manifest: Manifest = parse_json(&text).map_err(|e| broken(e.to_string()))?;
    if manifest.format != FORMAT {
        return Err(broken(format!("format {}", manifest.format)));
    }
    match manifest.files.iter().find(|entry| !is_plain(&entry.name)) {
        Some(entry) => Err(broken(format!("a file `{}`", entry.name))),
        None => Ok(Some(manifest)),
    }
}

/// Removes the files aside: their names end as no name of somebody else does.
fn drop_aside(aside: &Path) -> Result<(), RunError> {
    for entry in fs::read_dir(aside).map_err(io(aside))? {
        let file = entry.map_err(io(aside))?.path();
        if file.to_string_lossy().ends_with(PARTIAL) {
            remove(&file)?;
        }
    }
    Ok(())
}

/// The most bytes of a manifest: a run has dozens of files.
const MOST_MANIFEST: u64 = 1 << 26;

/// Removes a file, if it is there.
///
/// # Errors
/// [`RunError::Io`].
pub fn remove(file: &Path) -> Result<(), RunError> {
    match fs::remove_file(file) {
        Err(none) if none.kind() == io::ErrorKind::NotFound => Ok(()),
        gone => gone.map_err(io(file)),
    }
}

fn parse(path: &Path, lines: &[String]) -> Result<Vec<Line>, RunError> {
    let broken = |line: usize, found: &dyn std::fmt::Display| RunError::Broken {
        path: path.to_owned(),
        found: format!("line {}: {found}", line + 1),
        expected: "the journal of a run",
    };
    let mut parsed = Vec::new();
    for (at, text) in lines.iter().enumerate() {
        let line: Line = parse_json(text.as_bytes()).map_err(|e| broken(at, &e))?;
        let expected = match &line {
            Line::Run(_) => at == 0,
            Line::Whole(entry) => at > 0 && is_plain(&entry.name),
        };
        if !expected {
            return Err(broken(at, text));
        }
        parsed.push(line);
    }
    Ok(parsed)
}

/// Whether a name is that of a file in the folder itself.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

/// Whether a file is there as it was entered.
pub(crate) fn is_whole(path: &Path, entry: &Entry) -> bool {
    let length = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == entry.bytes);
    length && sha256_of(path).is_ok_and(|found| found == entry.sha256)
}

/// The SHA-256 of a regular file, in hexadecimal digits, read piece by piece.
///
/// # Errors
/// As [`open`], and what the system says as it is read.
pub fn sha256_of(path: impl AsRef<Path>) -> io::Result<String> {
    let ((mut file, _), mut hash, mut piece) = (open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hexadecimal(&Sha256::digest(bytes.as_ref()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> RunError + '_ {
    |source| RunError::Io { path: path.to_owned(), source }
}
