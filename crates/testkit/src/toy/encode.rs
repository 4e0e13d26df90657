//! What the toy makes of pictures and letters.

use std::sync::Arc;

use image::RgbImage;
use mmlens_core::{
    AnyTensor, Batch, Entries, Inputs, Listened, LogitsAt, Reply, Sample, Subject as _, SubjectError,
    TokenMap, View, Words,
};
use mmlens_finding::{Modality, PatchLabel, TokenLabel};

use super::ears::{FRAMES, MELS, POOLED};
use super::{GRID, PATCH, PATCHES, PLACEHOLDER, SIDE, Toy};

/// The labels of a recording's positions, of which there are so many.
fn map_sound(map: &mut TokenMap, own: &Listened) -> usize {
    let (wide, high) = own.size();
    map.pictures.push((wide, high));
    map.sounds.push(own.heard.clone());
    map.views.push(own.view.clone());
    let positions = (wide as usize).div_ceil(POOLED);
    for col in 0..positions {
        let [from, to] = [col * POOLED, ((col + 1) * POOLED).min(wide as usize)];
        let bbox = [from as f32, 0.0, to as f32, high as f32];
        let patch = PatchLabel { image: own.view.image, tile: 0, frame: 0, row: 0, col, bbox };
        map.tokens.push(TokenLabel::new("~", Modality::Audio).with_id(PLACEHOLDER).with_patch(patch));
    }
    positions
}

impl Toy {
    /// The recordings of a sample as its ears take them.
    fn heard(&self, sample: &Sample, text: &str) -> Result<Vec<Listened>, SubjectError> {
        let (count, places) = (sample.recordings.len(), text.matches('~').count());
        let Some(ears) = &self.ears else {
            sample.unheard(self.name())?;
            return Ok(Vec::new());
        };
        let early = text.find('~').zip(text.rfind('#')).is_some_and(|(heard, seen)| heard < seen);
        if count != places || early {
            let reason = format!(
                "the prompt `{text}` does not go with {count} recordings: `~` stands for each, behind all pictures"
            );
            return Err(self.refuse(reason));
        }
        let first = sample.pictures.len();
        let each = sample.recordings.iter().enumerate();
        each.map(|(at, sound)| self.listened(ears, sound, first + at)).collect()
    }

    fn entries(&self, heard: &[Listened]) -> Result<Entries, SubjectError> {
        if heard.is_empty() {
            return Ok(Entries::default());
        }
        let values = heard.iter().flat_map(|own| own.mel.values.iter().copied()).collect();
        Ok(Entries {
            values: Some(AnyTensor::from_values(values, &[heard.len(), MELS, FRAMES], &self.device)?),
            grids: Vec::new(),
            means: heard.iter().map(|own| own.means.clone()).collect(),
            of_rows: vec![(0..heard.len()).collect()],
        })
    }

    pub(super) fn encoded(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        let text = match &sample.words {
            Words::Prompt(text) => text.clone(),
            Words::Question(text) => {
                let (pictures, recordings) = (sample.pictures.len(), sample.recordings.len());
                format!("{}{}{text}", "#".repeat(pictures), "~".repeat(recordings))
            }
            Words::Texts(_) | Words::Nothing => return Err(self.refuse("it takes one prompt")),
        };
        if text.is_empty() || text.matches('#').count() != sample.pictures.len() {
            return Err(self
                .refuse(format!("the prompt `{text}` does not go with {} pictures", sample.pictures.len())));
        }
        let (mut ids, mut image) = (Vec::new(), 0);
        let mut map = TokenMap { text: text.clone(), ..TokenMap::default() };
        let heard = self.heard(sample, &text)?;
        let mut recordings = heard.iter();
        for (at, letter) in text.char_indices() {
            if let Some(own) = recordings.as_slice().first().filter(|_| letter == '~') {
                recordings.next();
                let positions = map_sound(&mut map, own);
                ids.extend(std::iter::repeat_n(PLACEHOLDER, positions));
                continue;
            }
            if letter == '#' {
                let (wide, high) =
                    (sample.pictures[image].image.width(), sample.pictures[image].image.height());
                let spans = |length: u32| -> Vec<[f32; 2]> {
                    let step = length as f32 / SIDE as f32;
                    (0..SIDE).map(|i| [i as f32 * step, (i + 1) as f32 * step]).collect()
                };
                let (rows, cols) = (spans(high), spans(wide));
                for i in 0..PATCHES {
                    let (row, col) = (i / GRID, i % GRID);
                    let (from, to) =
                        ([col * PATCH, row * PATCH], [(col + 1) * PATCH - 1, (row + 1) * PATCH - 1]);
                    let bbox = [cols[from[0]][0], rows[from[1]][0], cols[to[0]][1], rows[to[1]][1]];
                    let patch = PatchLabel { image, tile: 0, frame: 0, row, col, bbox };
                    map.tokens
                        .push(TokenLabel::new("#", Modality::Image).with_id(PLACEHOLDER).with_patch(patch));
                    ids.push(PLACEHOLDER);
                }
                map.pictures.push((wide, high));
                map.views.push(View { image, rows, cols });
                image += 1;
            } else {
                let id = u32::from(letter) % PLACEHOLDER;
                let label = TokenLabel::new(letter, Modality::Text).with_id(id);
                map.tokens.push(label.with_bytes(at, at + letter.len_utf8()));
                ids.push(id);
            }
        }
        let mut pixels = Vec::new();
        for picture in &sample.pictures {
            let rgb = picture.image.to_rgb8();
            for channel in 0..3 {
                for i in 0..SIDE * SIDE {
                    let (x, y) = (
                        (i % SIDE) as u32 * rgb.width() / SIDE as u32,
                        (i / SIDE) as u32 * rgb.height() / SIDE as u32,
                    );
                    pixels.push(f32::from(rgb.get_pixel(x, y).0[channel]) / 127.5 - 1.0);
                }
            }
        }
        let dims = [sample.pictures.len(), 3, SIDE, SIDE];
        let pixels =
            if image == 0 { None } else { Some(AnyTensor::from_values(pixels, &dims, &self.device)?) };
        let inputs = Inputs::new(Batch {
            ids: vec![ids],
            pads: vec![0],
            tails: vec![0],
            maps: vec![Arc::new(map)],
            seen: Entries {
                values: pixels,
                grids: Vec::new(),
                means: sample.pictures.iter().map(|picture| colour(&picture.image.to_rgb8())).collect(),
                of_rows: vec![(0..image).collect()],
            },
            heard: self.entries(&heard)?,
            logits_at: LogitsAt::Last,
        })?;
        let reply = match &sample.reply {
            None => return Ok(inputs),
            Some(Reply::Text(text)) => text.chars().map(|letter| u32::from(letter) % PLACEHOLDER).collect(),
            Some(Reply::Tokens(tokens)) => tokens.clone(),
        };
        match reply.iter().find(|token| **token >= PLACEHOLDER) {
            Some(token) => Err(self.refuse(format!("token {token} of the answer is none"))),
            None => inputs.answered(&reply, |token| TokenLabel::new(self.token(token), Modality::Text)),
        }
    }
}

/// The mean colour of a picture, scaled as its pixels are.
fn colour(picture: &RgbImage) -> Vec<f32> {
    let of = |channel: usize| {
        let levels = picture.pixels().map(|pixel| f64::from(pixel.0[channel]));
        (levels.sum::<f64>() / f64::from(picture.width() * picture.height()) / 127.5 - 1.0) as f32
    };
    (0..3).map(of).collect()
}
