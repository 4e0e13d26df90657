//! Edits that stand while a command runs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use mmlens::core::{Alteration, Altered, Inputs, Part, Subject};

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
}

impl EditArgs {
    /// The subject with the edits.
    pub(crate) fn of(&self, subject: Box<dyn Subject>) -> Result<Altered<Box<dyn Subject>>> {
        Ok(Altered::new(subject, self.edits.clone())?)
    }

    /// The files that values are read from.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = PathBuf> {
        self.edits.iter().filter_map(|edit| edit.file().map(Into::into))
    }

    /// Refuses edits of what is not there: of pictures, where none is shown.
    pub(crate) fn suited(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<()> {
        let seen = |part| matches!(part, Part::Vision | Part::Connector);
        let unseen = subject.edited().iter().find(|site| seen(site.part()) && inputs.pixels.is_none());
        match unseen {
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
