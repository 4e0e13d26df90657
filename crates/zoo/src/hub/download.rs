//! Fetching a model from the hub into the local cache, by way of the `hf-hub` crate.
//!
//! What is fetched is what is read here: the JSON, Jinja and text files at the top of the repository, and its safetensors
//! weights. Files that are in the cache already are not fetched again; a download that broke off is resumed.

use std::fs;
use std::path::PathBuf;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use mmlens_files::write;

use super::{HubCache, HubError, HubId, is_plain};
use crate::checkpoint::read_json;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const HUGGING_FACE: &str = "https://huggingface.co";

/// A hub and the cache it is fetched into.
#[derive(Debug)]
pub struct Hub {
    api: Api,
    endpoint: String,
    cache: HubCache,
}

/// A model at one commit, and its folder in the cache.
struct Pinned {
    api: ApiRepo,
    folder: PathBuf,
}

impl Hub {
    /// The hub that the environment names: `HF_ENDPOINT`, or Hugging Face's; with the token of `HF_TOKEN`, or of the file
    /// `token` beside the cache, if there is one.
    ///
    /// # Errors
    /// [`HubError::NoCache`], or [`HubError::Connection`] if no connection can be set up.
    pub fn of_environment() -> Result<Self, HubError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| HUGGING_FACE.to_owned());
        Self::new(&endpoint, HubCache::of_environment()?, set("HF_TOKEN"))
    }

    /// A hub at an address. Without a token, that of the file `token` beside the cache is used, if there is one.
    ///
    /// # Errors
    /// [`HubError::Connection`] if no connection can be set up.
    pub fn new(endpoint: &str, cache: HubCache, token: Option<String>) -> Result<Self, HubError> {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let mut builder = ApiBuilder::from_cache(Cache::new(cache.root.clone()))
            .with_endpoint(endpoint.clone())
            .with_progress(false)
            .with_retries(3)
            .with_user_agent("mmlens", env!("CARGO_PKG_VERSION"));
        if token.is_some() {
            builder = builder.with_token(token);
        }
        let api = builder.build().map_err(|error| {
            let (endpoint, reason) = (endpoint.clone(), error.to_string());
            HubError::Connection { endpoint, reason }
        })?;
        Ok(Self { api, endpoint, cache })
    }

    /// Fetches what is missing of a model, and says in which folder it lies. All files are of the one commit that the
    /// revision names when the download begins; `watch` is told of each before it is fetched.
    ///
    /// # Errors
    /// [`HubError::Download`] with the file that failed; [`HubError::Read`] for a cache that cannot be written.
    pub fn fetch(&self, id: &HubId, watch: impl Fn(&str)) -> Result<PathBuf, HubError> {
        let named =
            |revision: &str| Repo::with_revision(id.name.clone(), RepoType::Model, revision.to_owned());
        let list = "the list of its files";
        let info = self.api.repo(named(&id.revision)).info().map_err(|e| self.failed(id, list, &e))?;
        let commit = info.sha;
        if !is_plain(&commit) {
            return Err(self.refused(id, list, format!("`{commit}` is no commit")));
        }
        let folder = self.cache.root.join(id.folder()).join("snapshots").join(&commit);
        let repo = Pinned { api: self.api.repo(named(&commit)), folder };
        let here: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        let read = |name: &&String| {
            let plain = is_plain(&name.replace('.', "-"));
            let told = [".json", ".jinja", ".txt"].iter().any(|end| name.ends_with(end));
            plain && told && *name != INDEX
        };
        for file in here.iter().filter(read) {
            watch(file);
            self.file(id, &repo, file)?;
        }
        for file in self.weights(id, &repo, &here)? {
            watch(&file);
            self.file(id, &repo, &file)?;
        }
        let pointer = self.cache.root.join(id.folder()).join("refs").join(&id.revision);
        if id.revision != commit {
            let made = pointer.parent().map_or(Ok(()), fs::create_dir_all);
            made.map_err(|source| HubError::Read { path: pointer.clone(), source })?;
            write(&pointer, &commit)?;
        }
        Ok(repo.folder)
    }

    /// The files that hold the weights; the index is fetched to learn them.
    fn weights(&self, id: &HubId, repo: &Pinned, here: &[String]) -> Result<Vec<String>, HubError> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let has = |name: &str| here.iter().any(|file| file == name);
        if has(WEIGHTS) {
            return Ok(vec![WEIGHTS.to_owned()]);
        }
        if !has(INDEX) {
            let reason = format!("it has neither {WEIGHTS} nor {INDEX}");
            return Err(self.refused(id, "its weights", reason));
        }
        let index: Index = read_json(self.file(id, repo, INDEX)?)
            .map_err(|error| self.refused(id, INDEX, error.to_string()))?;
        let mut shards: Vec<String> = index.weight_map.into_values().collect();
        shards.sort();
        shards.dedup();
        match shards.iter().find(|shard| !has(shard)) {
            Some(shard) => {
                Err(self.refused(id, INDEX, format!("it names `{shard}`, which the hub does not have")))
            }
            None => Ok(shards),
        }
    }

    fn file(&self, id: &HubId, repo: &Pinned, name: &str) -> Result<PathBuf, HubError> {
        let here = repo.folder.join(name);
        if here.exists() {
            return Ok(here);
        }
        repo.api.download(name).map_err(|error| self.failed(id, name, &error))
    }

    fn failed(&self, id: &HubId, what: &str, error: &ApiError) -> HubError {
        self.refused(id, what, error.to_string())
    }

    fn refused(&self, id: &HubId, what: &str, reason: String) -> HubError {
        HubError::Download { id: id.clone(), endpoint: self.endpoint.clone(), what: what.to_owned(), reason }
    }
}

/// As [`super::locate`], but what is not in the cache, or not all of it, is fetched first; not where `HF_HUB_OFFLINE` says
/// so. `watch` is told of each file before it is fetched.
///
/// # Errors
/// [`HubError`].
pub fn obtain(model: &str, watch: impl Fn(&str)) -> Result<PathBuf, HubError> {
    let found = super::locate(model);
    let whole = |folder: &PathBuf| folder.join("config.json").exists() && weighs(folder);
    let offline = std::env::var("HF_HUB_OFFLINE")
        .is_ok_and(|on| matches!(on.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"));
    match &found {
        Ok(folder) if std::path::Path::new(model).exists() || whole(folder) => found,
        Err(HubError::NotCached { id, .. } | HubError::NoRevision { id, .. }) if !offline => {
            Hub::of_environment()?.fetch(id, watch)
        }
        Ok(_) if !offline => Hub::of_environment()?.fetch(&model.parse()?, watch),
        _ => found,
    }
}

/// Whether the weights are there: one file, or every shard of the index.
fn weighs(folder: &std::path::Path) -> bool {
    folder.join(WEIGHTS).exists() || crate::checkpoint::Checkpoint::open(folder).is_ok()
}
