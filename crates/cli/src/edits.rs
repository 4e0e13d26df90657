//! Edits that stand while a command runs.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use mmlens::core::{Alteration, Altered, Inputs, Part, Site, Subject};
use mmlens::engine::{Dictionary, WithDictionary};

use crate::print;
use crate::refusal::Refusal;

/// What is changed in the model.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Changes the model in every pass, SITE[AXIS=INDICES,...]=CHANGE: `text.blocks.2.attn.z[head=1]=zero`. Repeat it for several,
    /// which are made in their order. Axes are those that `mmlens sites` lists, indices `1`, `1,3` or `0..4`; without brackets all
    /// of the site is changed. Changes: `zero`, `mean`, `scale:0.5`, `add:FILE#TENSOR`, `add:FILE#TENSOR*3`, `set:FILE#TENSOR`,
    /// `without:FILE#TENSOR`, `away:FILE#TENSOR*1` (a safetensors file, as `mmlens trace` and `mmlens fit` write them). More in docs/edits.md.
    #[arg(long = "edit", value_name = "EDIT", value_parser = Alteration::parse)]
    edits: Vec<Alteration>,
    /// A sparse dictionary, FOLDER or SITE=FOLDER: one that `mmlens fit sae` wrote, or SAELens. Its features are then sites, `SITE.sae.features`, and what they miss
    /// `SITE.sae.error`, to be read, edited and explained. Without an edit the model says the same, bit by bit. Repeat it for several sites. More in docs/sae.md.
    #[arg(long = "dictionary", value_name = "[SITE=]FOLDER")]
    dictionaries: Vec<Placed>,
}

/// A dictionary, and the site where it is, if that is not the one it is of.
#[derive(Debug, Clone)]
struct Placed {
    site: Option<Site>,
    folder: PathBuf,
}

impl FromStr for Placed {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let named = text.split_once('=').and_then(|(site, folder)| Some((site.parse().ok()?, folder)));
        Ok(match named {
            Some((site, folder)) => Self { site: Some(site), folder: folder.into() },
            None => Self { site: None, folder: text.into() },
        })
    }
}

/// A model with the dictionary of a folder; `hash` holds the first digits of that which is meant, if it is known.
pub(crate) fn with_dictionary(
    subject: Box<dyn Subject>,
    (site, folder): (Option<Site>, &Path),
    hash: Option<&str>,
) -> Result<Box<dyn Subject>> {
    let named = || folder.display().to_string();
    let dictionary = Dictionary::open(folder).with_context(|| format!("--dictionary {}", named()))?;
    if let Some(hash) = hash.filter(|hash| !dictionary.hash().starts_with(hash)) {
        return Err(Refusal::OtherDictionary { folder: folder.to_owned(), hash: hash.to_owned() }.into());
    }
    let with = WithDictionary::new(subject, Arc::new(dictionary), site, Some(folder));
    Ok(Box::new(with.with_context(|| format!("--dictionary {}", named()))?))
}

impl EditArgs {
    /// The subject with the edits.
    pub(crate) fn of(&self, mut subject: Box<dyn Subject>) -> Result<Altered<Box<dyn Subject>>> {
        for Placed { site, folder } in &self.dictionaries {
            subject = with_dictionary(subject, (*site, folder), None)?;
        }
        Ok(Altered::new(subject, self.edits.clone())?)
    }

    /// The files that values are read from.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.edits.iter().filter_map(|edit| edit.file().map(Into::into));
        files.chain(self.dictionaries.iter().map(|placed| placed.folder.clone()))
    }

    /// Refuses edits of what is not there: of pictures and recordings, where there are none.
    pub(crate) fn suited(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<()> {
        let none = |part: Part| match part {
            Part::Connector => inputs.towers().next().is_none(),
            part => inputs.entries(part).is_some_and(mmlens::core::Entries::is_empty),
        };
        match subject.edited().iter().find(|site| none(site.part())) {
            Some(site) => Err(Refusal::NothingEdited { site: *site }.into()),
            None => Ok(()),
        }
    }

    /// The edits in words, one a line.
    pub(crate) fn tell(&self) -> Result<()> {
        self.edits
            .iter()
            .try_for_each(|edit| print::line(format!("edited     {}", print::visible(&edit.to_string()))))
    }
}
