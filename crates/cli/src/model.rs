//! Opening the model that the command line names.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use mmlens::core::{DeviceName, Subject, caught};
use mmlens::zoo;
use mmlens::zoo::hub::HubError;
use mmlens::zoo::{Opening, Redraw};

use crate::refusal::Refusal;

/// Which model.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// A folder as Hugging Face lays them out, a hub id (org/name, org/name@revision) that is in the local cache, or a
    /// model that ships inside: shapes-llava (without MODEL, this one) or shapes-clip, trained on scenes of coloured
    /// shapes, or tones-qwen2-audio, trained on recordings of tones.
    model: Option<String>,
    /// The same, as an option.
    #[arg(long = "model", value_name = "MODEL", conflicts_with = "model", id = "named")]
    named: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
}

/// How a model is opened.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpenArgs {
    /// Opens the model without looking it over: whether every site is reached, numbers are finite, attention weights sum to
    /// one, and the stream is the sum of what was written to it.
    #[arg(long)]
    no_self_check: bool,
    /// Where it computes: flex (this machine's CPU), ndarray, wgpu, wgpu:INDEX, remote:ws://HOST:PORT; those beside flex
    /// as far as this build has them. A server may ask for a token, taken from MMLENS_DEVICE_TOKEN.
    #[arg(long, value_name = "NAME", default_value_t)]
    device: DeviceName,
}

impl OpenArgs {
    /// The model of this name; without one the model that ships inside.
    pub(crate) fn subject(&self, model: Option<&str>) -> Result<Box<dyn Subject>> {
        self.subject_with(model, None)
    }

    /// The same, with weights drawn anew.
    fn subject_with(&self, model: Option<&str>, redraw: Option<Redraw>) -> Result<Box<dyn Subject>> {
        let device = self.device.open(token().as_deref())?;
        let on = Opening::from(&device);
        let on = redraw.as_ref().map_or(on, |redraw| on.redrawn(redraw));
        let Some(model) = model else {
            return Ok(Box::new(zoo::shipped::shapes(on)?));
        };
        if let Some(shipped) = zoo::shipped::named(model, on) {
            return Ok(shipped?);
        }
        let folder = locate(model)?;
        let options = zoo::OpenOptions::new(&device).self_check(!self.no_self_check);
        let options = match redraw {
            Some(redraw) => options.redraw(redraw),
            None => options,
        };
        let opened = match &self.device {
            DeviceName::Flex => options.open(folder),
            // Weights are brought there, and Burn panics where a device cannot say that it has died.
            other => caught(|| options.open(folder))
                .map_err(|panic| Refusal::Died { device: other.to_string(), reason: panic.message })?,
        };
        let broken = matches!(opened, Err(zoo::ZooError::SelfCheck(_)));
        let hint = if broken { " (`--no-self-check` opens it all the same)" } else { "" };
        opened.with_context(|| format!("cannot open `{model}`{hint}"))
    }
}

impl ModelArgs {
    pub(crate) fn open(&self) -> Result<Box<dyn Subject>> {
        self.open.subject(self.model.as_ref().or(self.named.as_ref()).map(String::as_str))
    }

    /// Another model, opened as this one is, and its folder if it does not ship inside.
    pub(crate) fn beside(&self, model: &str) -> Result<(Box<dyn Subject>, Option<PathBuf>)> {
        Ok((self.open.subject(Some(model))?, folder_of(Some(model))?))
    }

    /// Another model, to be opened as this one is.
    pub(crate) fn other(&self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), named: None, open: self.open.clone() }
    }

    /// The same model with weights drawn anew.
    pub(crate) fn open_redrawn(&self, redraw: Redraw) -> Result<Box<dyn Subject>> {
        self.open.subject_with(self.model.as_ref().or(self.named.as_ref()).map(String::as_str), Some(redraw))
    }

    /// The folder of the model, if it does not ship inside: what is written must not be one of its files.
    pub(crate) fn folder(&self) -> Result<Option<PathBuf>> {
        folder_of(self.model.as_ref().or(self.named.as_ref()).map(String::as_str))
    }

    /// What the model was called; nothing, for the one that is opened without a name.
    pub(crate) fn named(&self) -> Option<String> {
        self.model.as_ref().or(self.named.as_ref()).cloned()
    }

    /// What was checked of the family of the model, against transformers.
    pub(crate) fn checked(&self) -> Result<Option<zoo::families::Checked>> {
        let kind = match self.model.as_ref().or(self.named.as_ref()) {
            None => "llava".to_owned(),
            Some(model) => match zoo::shipped::model_type(model) {
                Some(kind) => kind.to_owned(),
                None => zoo::model_type(locate(model)?)?,
            },
        };
        Ok(zoo::families::checked_of(&kind)?)
    }
}

/// The folder of a model, if it does not ship inside.
pub(crate) fn folder_of(model: Option<&str>) -> Result<Option<PathBuf>> {
    match model {
        Some(model) if zoo::shipped::model_type(model).is_none() => Ok(Some(locate(model)?)),
        _ => Ok(None),
    }
}

#[cfg(not(feature = "download"))]
fn locate(model: &str) -> Result<PathBuf, HubError> {
    zoo::hub::locate(model)
}

/// What is not in the cache is fetched, file by file.
#[cfg(feature = "download")]
fn locate(model: &str) -> Result<PathBuf, HubError> {
    zoo::hub::obtain(model, |file| crate::print::note(&format!("fetching {file} of {model}")))
}

/// What servers of devices ask for.
pub(crate) fn token() -> Option<String> {
    std::env::var("MMLENS_DEVICE_TOKEN").ok().filter(|token| !token.is_empty())
}

/// Refuses a value that an option does not have.
pub(crate) fn supported(option: &'static str, found: &str, supported: &[&str]) -> Result<(), Refusal> {
    if supported.contains(&found) {
        return Ok(());
    }
    Err(Refusal::Option { option, found: found.to_owned(), supported: supported.join(", ") })
}
