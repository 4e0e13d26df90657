//! Where a model lies on this machine: a folder, or a hub id in the local Hugging Face cache. Nothing is downloaded.
//!
//! The cache is laid out as `huggingface_hub` does it: `models--ORG--NAME/refs/REVISION` holds the name of a folder in
//! `models--ORG--NAME/snapshots`.
//!
//! ```no_run
//! let folder = mmlens_zoo::hub::locate("llava-hf/llava-1.5-7b-hf")?;
//! # Ok::<(), mmlens_zoo::hub::HubError>(())
//! ```

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

/// The name of a model on the hub: `org/name`, or `org/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    name: String,
    revision: String,
}

impl HubId {
    /// `org/name`.
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
        match name.split('/').collect::<Vec<_>>().as_slice() {
            [org, model] if plain(org) && plain(model) && !name.contains("--") && !name.contains("..") => {}
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
        let full = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
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
        if !model.is_dir() {
            return Err(HubError::NotCached { id: id.clone(), at: model });
        }
        let pointer = model.join("refs").join(&id.revision);
        let commit = match fs::read_to_string(&pointer) {
            Ok(commit) => commit.trim().to_owned(),
            // No branch or tag of that name: it may be a commit itself.
            Err(source) if source.kind() == io::ErrorKind::NotFound => id.revision.clone(),
            Err(source) => return Err(HubError::Read { path: pointer, source }),
        };
        let snapshots = model.join("snapshots");
        let inside =
            !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let folder = if inside { snapshots.join(&commit) } else { pointer };
        if inside && folder.is_dir() {
            return Ok(folder);
        }
        let mut have = names(&model.join("refs"))?;
        have.extend(names(&snapshots)?);
        Err(HubError::NoRevision { id: id.clone(), at: folder, have })
    }
}

/// The names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, HubError> {
    let failed = |source| HubError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    names.sort();
    Ok(names)
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
    let (org, model) = name.split_once("--")?;
    Some(format!("{org}/{model}"))
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
        let have = format!("it has evil, gone, main, refs, {COMMIT}");
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
            "name",
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

    #[test]
    fn the_environment_names_the_cache() {
        let of = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            HubCache::of(value).map(|cache| cache.root.display().to_string())
        };
        let home = ("HOME", "/home/me");
        assert_eq!(of(&[home]).unwrap(), "/home/me/.cache/huggingface/hub");
        assert_eq!(of(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap(), "/x/huggingface/hub");
        assert_eq!(of(&[home, ("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")]).unwrap(), "/home/me/hf/hub");
        assert_eq!(of(&[home, ("HF_HUB_CACHE", "/cache"), ("HF_HOME", "/hf")]).unwrap(), "/cache");
        assert_eq!(of(&[home, ("HF_HUB_CACHE", "")]).unwrap(), "/home/me/.cache/huggingface/hub");
        assert_eq!(
            of(&[]).unwrap_err().to_string(),
            "no Hugging Face cache: none of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, HOME is set"
        );
    }

    #[test]
    fn a_folder_comes_first() {
        let (folder, _) = cache();
        let path = folder.path().to_str().unwrap();
        assert_eq!(locate(path).unwrap(), folder.path());
    }
}
