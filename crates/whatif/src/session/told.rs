//! What a session tells of itself: model, sample, present state.

use mmlens_core::{Form, Method, SiteSpec, Subject};

use super::WhatIf;
use crate::refusal::Refusal;
use crate::reply::{Described, EditTold, MethodTold, Now, Part as Word, PictureTold, Reply, SiteTold};
use crate::state::Change;
use crate::words;

impl<'a> WhatIf<'a> {
    pub(super) fn describe(&mut self) -> Result<Reply, Refusal> {
        let inputs = self.encode(&self.first.clone())?;
        let mut pictures = Vec::new();
        let clips = self.sample.clips.iter().map(|clip| clip.name.clone());
        let recordings = self.sample.recordings.iter().map(|own| own.name.clone());
        let seen = self.sample.pictures.iter().map(|own| own.name.clone());
        let names: Vec<String> = seen.chain(clips).chain(recordings).collect();
        for (picture, (width, height)) in inputs.map().pictures.clone().into_iter().enumerate() {
            let name = names.get(picture).cloned().unwrap_or_default();
            pictures.push(PictureTold { name, width, height, cells: self.cells(picture)? });
        }
        let (subject, state) = (self.subject, self.now()?);
        let site = |spec: &SiteSpec| SiteTold { site: spec.site.to_string(), axes: spec.describe() };
        let offered = |method: &&Method| method.form == Form::OneCase && method.card.allows(subject).is_ok();
        let method = |method: &Method| MethodTold {
            method: method.card.short,
            name: method.card.name,
            question: method.card.question,
        };
        Ok(Reply::Described(Box::new(Described {
            model: subject.name().to_owned(),
            weights: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            anatomy: subject.anatomy().to_vec(),
            sites: subject.sites().iter().map(site).collect(),
            grid: self.settings.grid,
            pictures,
            methods: self.methods.iter().filter(offered).map(method).collect(),
            directions: self.directions.iter().map(|own| own.name.clone()).collect(),
            state,
        })))
    }

    pub(super) fn now(&mut self) -> Result<Now, Refusal> {
        let (words, state) = (self.words()?, self.state.clone());
        let inputs = self.encode(&state)?;
        let alterations = self.under(&state, &inputs, ("do", "describe"))?.alterations().to_vec();
        let part = |(at, word): (usize, words::Word)| Word {
            text: word.text,
            positions: word.positions,
            struck: state.struck.contains(&at),
            own: word.bytes.is_some(),
        };
        let edit = |(name, change): &(String, Change)| {
            let name = name.clone();
            match change {
                Change::Edit(edit) => EditTold { name, edit: Some(edit.clone()), steer: None },
                Change::Steer(steer) => EditTold { name, edit: None, steer: Some(steer.clone()) },
            }
        };
        Ok(Now {
            question: state.text().map(str::to_owned),
            words: words.into_iter().enumerate().map(part).collect(),
            hidden: state.cells.iter().map(|(at, cells)| (*at, cells.iter().copied().collect())).collect(),
            picture_fill: state.picture_fill,
            word_fill: state.word_fill,
            edits: state.edits.iter().map(edit).collect(),
            aim: state.aim.clone(),
            changes: self.before.len(),
            alterations,
        })
    }
}
