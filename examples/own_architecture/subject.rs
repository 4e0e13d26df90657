//! The network as a subject: letters and pictures in, sites and the next letter out.

use std::sync::Arc;

use burn::tensor::Device;
use mmlens::core::finding::PatchLabel;
use mmlens::core::{ColourError, Entries, TokenMap, View, mean_colour};
use mmlens::prelude::*;
use mmlens::zoo::ZooError;

use super::network::{Drawn, GRID, Network, PLACEHOLDER, POSITIONS, SIDE, VOCAB};

/// A small model of letters and pictures.
pub(crate) struct Own {
    network: Network,
    seed: Seed,
    device: Device,
    sites: Vec<SiteSpec>,
    anatomy: Vec<Anatomy>,
}

impl Own {
    /// With weights drawn from a seed.
    pub(crate) fn drawn(seed: Seed, device: &Device) -> Result<Self, ZooError> {
        let network = Network::take(&mut Drawn { seed, device: device.clone() })?;
        let (sites, anatomy) = (network.sites(), network.anatomy());
        Ok(Self { network, seed, device: device.clone(), sites, anatomy })
    }

    fn refuse(&self, reason: impl Into<String>) -> SubjectError {
        SubjectError::Sample { subject: self.name().to_owned(), reason: reason.into() }
    }

    fn failed(&self, error: ZooError) -> SubjectError {
        match error {
            ZooError::Hook(error) => error.into(),
            other => self.refuse(other.to_string()),
        }
    }
}

impl Subject for Own {
    fn name(&self) -> &str {
        "own-architecture"
    }

    fn weights_hash(&self) -> String {
        format!("seed:{}", self.seed.value())
    }

    fn device(&self) -> String {
        mmlens::core::device::kind(&self.device)
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn anatomy(&self) -> &[Anatomy] {
        &self.anatomy
    }

    /// One prompt of small letters, spaces and one `#` for each picture.
    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        sample.unanswered(self.name())?;
        sample.unheard(self.name())?;
        let Words::Prompt(text) = &sample.words else { return Err(self.refuse("it takes one prompt")) };
        let mut pictures = sample.pictures.iter().enumerate();
        let (mut ids, mut pixels) = (Vec::new(), Vec::new());
        let mut map = TokenMap { text: text.clone(), ..TokenMap::default() };
        for (at, letter) in text.char_indices() {
            let id = match letter {
                '#' => PLACEHOLDER,
                'a'..='z' => letter as u32 - 'a' as u32,
                ' ' => PLACEHOLDER - 1,
                other => return Err(self.refuse(format!("`{other}` is no small letter, space or #"))),
            };
            if id < PLACEHOLDER {
                let label = TokenLabel::new(letter, Modality::Text).with_id(id);
                map.tokens.push(label.with_bytes(at, at + 1));
                ids.push(id);
                continue;
            }
            let (image, picture) = pictures.next().ok_or_else(|| self.refuse("a # without a picture"))?;
            let (wide, high) = (picture.image.width(), picture.image.height());
            let small = image::imageops::thumbnail(&picture.image.to_rgb8(), SIDE as u32, SIDE as u32);
            for channel in 0..3 {
                pixels.extend(small.pixels().map(|pixel| f32::from(pixel.0[channel]) / 127.5 - 1.0));
            }
            // Each position's square on the original picture.
            let spans = |length: u32, parts: usize| -> Vec<[f32; 2]> {
                let step = length as f32 / parts as f32;
                (0..parts).map(|i| [i as f32 * step, (i + 1) as f32 * step]).collect()
            };
            for (row, down) in spans(high, GRID).into_iter().enumerate() {
                for (col, across) in spans(wide, GRID).into_iter().enumerate() {
                    let bbox = [across[0], down[0], across[1], down[1]];
                    let patch = PatchLabel { image, tile: 0, frame: 0, row, col, bbox };
                    let label = TokenLabel::new("#", Modality::Image).with_id(PLACEHOLDER);
                    map.tokens.push(label.with_patch(patch));
                    ids.push(PLACEHOLDER);
                }
            }
            map.pictures.push((wide, high));
            map.views.push(View { image, rows: spans(high, SIDE), cols: spans(wide, SIDE) });
        }
        if pictures.next().is_some() || ids.is_empty() || ids.len() > POSITIONS {
            let found = format!("{} pictures and {} positions", sample.pictures.len(), ids.len());
            return Err(
                self.refuse(format!("{found}; it takes one # for each, and 1 to {POSITIONS} of these"))
            );
        }
        let count = map.views.len();
        let scaled = |mean: [f64; 3]| mean.map(|level| (level / 127.5 - 1.0) as f32).to_vec();
        let colour = |picture: &Picture| Ok(scaled(mean_colour([picture.image.as_ref()])?));
        let colours: Result<Vec<Vec<f32>>, ColourError> = sample.pictures.iter().map(colour).collect();
        let colours = colours.map_err(|error| self.refuse(error.to_string()))?;
        let pixels = match count {
            0 => None,
            _ => Some(AnyTensor::from_values(pixels, &[count, 3, SIDE, SIDE], &self.device)?),
        };
        Inputs::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(map)],
            seen: Entries {
                values: pixels,
                grids: Vec::new(),
                means: colours,
                of_rows: vec![(0..count).collect()],
            },
            heard: Entries::default(),
            logits_at: LogitsAt::Last,
        })
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        if !(1..=POSITIONS).contains(&inputs.positions()) {
            return Err(self.refuse(format!("{} positions, not 1 to {POSITIONS}", inputs.positions())));
        }
        if let Some(id) = inputs.ids.iter().flatten().find(|id| **id as usize >= VOCAB) {
            return Err(self.refuse(format!("token {id} is outside the vocabulary of {VOCAB}")));
        }
        match self.network.forward(inputs, &self.device, run).map_err(|error| self.failed(error))? {
            Some(logits) => Ok(run.output(logits)?),
            None => Ok(Output::default()),
        }
    }

    fn read_out(&self, part: Part, states: AnyTensor) -> Result<AnyTensor, SubjectError> {
        Ok(self.network.unembed(kind::readable(self, part, states)?).into())
    }

    fn decode(&self, ids: &[u32]) -> Result<String, SubjectError> {
        Ok(ids.iter().map(|id| self.token(*id)).collect())
    }

    fn token(&self, id: u32) -> String {
        match u8::try_from(id) {
            Ok(id) if id < 26 => char::from(b'a' + id).to_string(),
            Ok(26) => " ".to_owned(),
            _ => "#".to_owned(),
        }
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, SubjectError> {
        Ok(self.encode(&Sample::prompt(Vec::new(), text))?.ids.concat())
    }
}
