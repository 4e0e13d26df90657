//! Where a model lies on this machine: a folder, or a hub id in the local Hugging Face cache. Nothing is downloaded, but
//! by `obtain` with the feature `download`.
//!
//! The cache is laid out as `huggingface_hub` does it: `models--ORG--NAME/refs/REVISION` holds the name of a folder in
//! `models--ORG--NAME/snapshots`, whose files are links into `models--ORG--NAME/blobs`.
//!
//! ```no_run
//! let folder = mmlens_zoo::hub::locate("llava-hf/llava-1.5-7b-hf")?;
//! # Ok::<(), mmlens_zoo::hub::HubError>(())
//! ```

#[cfg(feature = "download")]
mod download;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[cfg(feature = "download")]
pub use download::{Hub, obtain};

/// The revision that is meant when none is named.
const MAIN: &str = "main";

/// Why a model was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a folder nor the shape of a hub id.
    #[error("there is no folder `{text}`, and it is not a hub id: {reason}")]
    NotAnId {
        /// What was given.
        text: String,
        /// Why it is none.
        reason: &'static str,
    },
    /// No variable says where the cache is, nor where home is.
    #[error("no Hugging Face cache: none of {} is set", VARIABLES.join(", "))]
    NoCache,
    /// The model is not in the cache.
    #[error(
        "`{id}` is neither a folder nor in the local Hugging Face cache (looked for {}); nothing is downloaded here, \
         fetch it first: hf download {}{}",
        at.display(), id.name, id.revision_option()
    )]
    NotCached {
        /// The model.
        id: HubId,
        /// The folder that is not there.
        at: PathBuf,
    },
    /// The model is in the cache, but not this revision of it.
    #[error(
        "the cache holds `{}`, but not its revision `{}` (looked for {}); it has {}; fetch it: hf download {}{}",
        id.name, id.revision, at.display(), list(have), id.name, id.revision_option()
    )]
    NoRevision {
        /// The model.
        id: HubId,
        /// What is not there.
        at: PathBuf,
        /// The revisions that are.
        have: Vec<String>,
    },
    /// No connection to a hub can be set up.
    #[cfg(feature = "download")]
    #[error("no connection to {endpoint} can be set up: {reason}")]
    Connection {
        /// The server.
        endpoint: String,
        /// What went wrong.
        reason: String,
    },
    /// The hub did not give what was asked for.
    #[cfg(feature = "download")]
    #[error("`{id}` could not be downloaded from {endpoint}: {what}: {reason}")]
    Download {
        /// The model.
        id: HubId,
        /// The server.
        endpoint: String,
        /// A file, or the list of them.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// The cache could not be written.
    #[cfg(feature = "download")]
    #[error(transparent)]
    Write(#[from] mmlens_files::WriteError),
    /// The system refused.
    #[error("{}: could not be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The variables that decide where the cache is, the first that is set winning.
const VARIABLES: [&str; 5] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"];

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The name of a model on the hub: `org/name`, or `org/name@revision`; of the oldest models, which have no organisation,
/// `name` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    name: String,
    revision: String,
}

impl HubId {
    /// `org/name`, or `name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A branch, a tag or a commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The folder of the model inside the cache.
    fn folder(&self) -> String {
        format!("models--{}", self.name.replace('/', "--"))
    }

    fn revision_option(&self) -> String {
        if self.revision == MAIN { String::new() } else { format!(" --revision {}", self.revision) }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.revision == MAIN {
            f.write_str(&self.name)
        } else {
            write!(f, "{}@{}", self.name, self.revision)
        }
    }
}

impl FromStr for HubId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let fail = |reason| HubError::NotAnId { text: text.to_owned(), reason };
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let plain = |part: &str| {
            let inside = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            inside && !part.is_empty() && !part.starts_with('.') && !part.ends_with('.')
        };
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            [_] | [_, _]
                if parts.iter().all(|part| plain(part)) && !name.contains("--") && !name.contains("..") => {}
            [_, _] => return Err(fail("letters, digits, `-`, `_` and `.` make up `org/name`")),
            _ => return Err(fail("a hub id is `org/name`")),
        }
        // A revision may hold slashes (`refs/pr/1`), but must stay inside the folder of the model.
        if !revision.split('/').all(plain) {
            return Err(fail("the revision after `@` is a branch, a tag or a commit"));
        }
        Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
    }
}

/// The local cache of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubCache {
    root: PathBuf,
}

impl HubCache {
    /// The cache in a folder, the one that holds `models--*`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache that the environment names: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    /// [`HubError::NoCache`] if there is not even a home.
    pub fn of_environment() -> Result<Self, HubError> {
        Self::of(|variable| std::env::var_os(variable))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = set("HOME").or_else(|| set("USERPROFILE"));
        let full = |path: PathBuf| {
            let path = match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path,
            };
            path.to_str().map_or_else(|| path.clone(), |text| expanded(text, &variable).into())
        };
        set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|path| path.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("huggingface/hub")))
            .or_else(|| home.as_ref().map(|home| home.join(".cache/huggingface/hub")))
            .map(|root| Self { root: full(root) })
            .ok_or(HubError::NoCache)
    }

    /// The folder of a model's files.
    ///
    /// # Errors
    /// [`HubError::NotCached`], [`HubError::NoRevision`], or [`HubError::Read`].
    pub fn find(&self, id: &HubId) -> Result<PathBuf, HubError> {
        let model = self.root.join(id.folder());
        if !model.is_dir() && !id.name.contains('/') {
            // So it was hardly meant.
            return Err(HubError::NotAnId { text: id.to_string(), reason: "a hub id is `org/name`" });
        }
        if !model.is_dir() {
            return Err(HubError::NotCached { id: id.clone(), at: model });
        }
        let pointer = model.join("refs").join(&id.revision);
        let commit = match mmlens_files::read_text(&pointer, MOST_POINTER) {
            Ok(commit) => commit.trim().to_owned(),
            // No branch or tag of that name: it may be a commit itself.
            Err(source) if source.kind() == io::ErrorKind::NotFound => id.revision.clone(),
            Err(source) => return Err(HubError::Read { path: pointer, source }),
        };
        let snapshots = model.join("snapshots");
        let inside = is_plain(&commit);
        let folder = if inside { snapshots.join(&commit) } else { pointer };
        if inside && folder.is_dir() {
            return Ok(folder);
        }
        let mut have = names(&model.join("refs"), true)?;
        have.extend(names(&snapshots, false)?);
        Err(HubError::NoRevision { id: id.clone(), at: folder, have })
    }
}

/// The most bytes of a pointer: it names a commit.
const MOST_POINTER: u64 = 1 << 12;

/// Whether a name is that of something in a folder, whatever else a pointer or a server may say.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// A path with `$NAME` and `${NAME}` replaced, as Python's `expandvars` does it: what is not set stays.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<OsString>) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let braced = after[1..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, behind) = braced.unwrap_or_else(|| {
            let end = after[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            after[1..].split_at(end.unwrap_or(after.len() - 1))
        });
        match variable(name).and_then(|value| value.into_string().ok()) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&after[..after.len() - behind.len()]),
        }
        rest = behind;
    }
    out + rest
}

/// The names in a folder, sorted, those in its folders too if it is `deep`; none if there is no such folder.
fn names(folder: &Path, deep: bool) -> Result<Vec<String>, HubError> {
    let failed = |source| HubError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if deep && entry.path().is_dir() {
            found.extend(names(&entry.path(), deep)?.into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// The folder of a model: `model` itself if it is there, else where the local cache keeps the hub id `model`.
///
/// # Errors
/// [`HubError`].
pub fn locate(model: &str) -> Result<PathBuf, HubError> {
    let folder = Path::new(model);
    if folder.exists() {
        return Ok(folder.to_owned());
    }
    let id = model.parse()?;
    HubCache::of_environment()?.find(&id)
}

/// The hub id of a folder that lies in a cache: `.../models--ORG--NAME/snapshots/COMMIT`.
#[must_use]
pub fn id_of(folder: &Path) -> Option<String> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    let name = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(name.replacen("--", "/", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123abcd";

    /// A cache with one model, `org/tiny-llava`, of one revision.
    fn cache() -> (tempfile::TempDir, HubCache) {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models--org--tiny-llava");
        fs::create_dir_all(model.join("snapshots").join(COMMIT)).unwrap();
        fs::create_dir_all(model.join("refs/refs/pr")).unwrap();
        fs::write(model.join("refs/main"), COMMIT).unwrap();
        fs::write(model.join("refs/refs/pr/1"), format!("{COMMIT}\n")).unwrap();
        fs::write(model.join("refs/gone"), "feedface").unwrap();
        fs::write(model.join("refs/evil"), "../../..").unwrap();
        let cache = HubCache::at(folder.path());
        (folder, cache)
    }

    fn id(text: &str) -> HubId {
        text.parse().unwrap()
    }

    #[test]
    fn a_revision_leads_to_its_snapshot() {
        let (folder, cache) = cache();
        let snapshot = folder.path().join("models--org--tiny-llava/snapshots").join(COMMIT);
        for text in ["org/tiny-llava", "org/tiny-llava@refs/pr/1", "org/tiny-llava@0123abcd"] {
            assert_eq!(cache.find(&id(text)).unwrap(), snapshot, "{text}");
        }
        assert_eq!(id_of(&snapshot).as_deref(), Some("org/tiny-llava"));
        assert_eq!(id_of(folder.path()), None);
    }

    #[test]
    fn what_is_missing_is_said_with_where_and_how() {
        let (folder, cache) = cache();
        let root = folder.path().display();
        assert_eq!(
            cache.find(&id("org/other")).unwrap_err().to_string(),
            format!(
                "`org/other` is neither a folder nor in the local Hugging Face cache (looked for {root}/models--org--other); \
                 nothing is downloaded here, fetch it first: hf download org/other"
            )
        );
        let model = format!("{root}/models--org--tiny-llava");
        let have = format!("it has evil, gone, main, refs/pr/1, {COMMIT}");
        assert_eq!(
            cache.find(&id("org/tiny-llava@v2")).unwrap_err().to_string(),
            format!(
                "the cache holds `org/tiny-llava`, but not its revision `v2` (looked for {model}/snapshots/v2); {have}; \
                 fetch it: hf download org/tiny-llava --revision v2"
            )
        );
        let gone = cache.find(&id("org/tiny-llava@gone")).unwrap_err().to_string();
        assert!(gone.contains(&format!("{model}/snapshots/feedface")), "{gone}");
        // A pointer that leads out of the cache is not followed.
        assert!(matches!(cache.find(&id("org/tiny-llava@evil")), Err(HubError::NoRevision { .. })));
    }

    #[test]
    fn only_ids_are_ids() {
        for text in [
            "",
            "na me",
            "a/b/c",
            "/abs",
            "../up",
            "a/..",
            "org/na me",
            "org/",
            "org/a--b",
            "o/n@",
            "o/n@../x",
        ] {
            let error = text.parse::<HubId>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("there is no folder `{text}`, and it is not a hub id: ")),
                "{error}"
            );
        }
        assert_eq!(id("org/name@v1.0").to_string(), "org/name@v1.0");
        assert_eq!(id("org/name").to_string(), "org/name");
    }

    /// What huggingface_hub left in its cache and where it looks for it (`oracles/hub_cache.py`).
    fn theirs() -> serde_json::Value {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures/hub/cache.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    fn list<'a>(value: &'a serde_json::Value, name: &str) -> &'a [serde_json::Value] {
        value[name].as_array().unwrap()
    }

    #[test]
    fn the_environment_names_the_cache_as_huggingface_hub_has_it() {
        let of = |set: &serde_json::Value| {
            let value = |name: &str| {
                let home = (name == "HOME").then_some("/home/me");
                set[name].as_str().or(home).map(OsString::from)
            };
            HubCache::of(value).unwrap().root.display().to_string()
        };
        let theirs = theirs();
        assert_eq!(list(&theirs, "caches").len(), 11);
        for case in list(&theirs, "caches") {
            assert_eq!(of(&case["set"]), case["cache"].as_str().unwrap(), "{}", case["set"]);
        }
        assert_eq!(of(&serde_json::json!({"HF_HUB_CACHE": ""})), "/home/me/.cache/huggingface/hub");
        assert_eq!(
            HubCache::of(|_| None).unwrap_err().to_string(),
            "no Hugging Face cache: none of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME is set"
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_huggingface_hub_left_is_found() {
        let (folder, theirs) = (tempfile::tempdir().unwrap(), theirs());
        for entry in list(&theirs, "files") {
            let path = folder.path().join(entry["path"].as_str().unwrap());
            match (entry["text"].as_str(), entry["link"].as_str()) {
                (Some(text), _) => fs::write(path, text).unwrap(),
                (_, Some(to)) => std::os::unix::fs::symlink(to, path).unwrap(),
                _ => fs::create_dir(path).unwrap(),
            }
        }
        let cache = HubCache::at(folder.path());
        assert_eq!(list(&theirs, "asked").len(), 4);
        for asked in list(&theirs, "asked") {
            let (model, revision) = (asked["model"].as_str().unwrap(), asked["revision"].as_str().unwrap());
            let found = cache.find(&id(&format!("{model}@{revision}"))).unwrap();
            assert_eq!(found, folder.path().join(asked["folder"].as_str().unwrap()));
            assert_eq!(fs::read_to_string(found.join("model.safetensors")).unwrap(), "weights");
            assert_eq!(id_of(&found).as_deref(), Some(model));
        }
        // Of `tiny`, only a commit was downloaded.
        let said = cache.find(&id("tiny")).unwrap_err().to_string();
        assert!(said.starts_with("the cache holds `tiny`, but not its revision `main`"), "{said}");
        let said = cache.find(&id("nowhere")).unwrap_err().to_string();
        assert_eq!(said, "there is no folder `nowhere`, and it is not a hub id: a hub id is `org/name`");
    }

    #[test]
    fn a_folder_comes_first() {
        let (folder, _) = cache();
        let path = folder.path().to_str().unwrap();
        assert_eq!(locate(path).unwrap(), folder.path());
    }
}
