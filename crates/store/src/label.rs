//! What a row is of: columns of numbers beside the activations.

use mmlens_core::finding::{Modality, PatchLabel, TokenLabel};

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// Which sample of the data set.
    pub sample: u64,
    /// Which position of its prompt (padding not counted) or tower; which picture of the sample, in a store of pictures.
    pub position: u32,
    /// The token, where the row is a position of a prompt.
    pub token: Option<u32>,
    /// What the position carries.
    pub modality: Modality,
    /// Where on a picture, if it is a part of one.
    pub patch: Option<PatchLabel>,
}

impl Label {
    pub(crate) fn token(sample: u64, position: usize, label: &TokenLabel) -> Self {
        let (token, modality, patch) = (label.id, label.modality, label.patch);
        Self { sample, position: position as u32, token, modality, patch }
    }

    pub(crate) fn other(sample: u64, position: usize, modality: Modality, patch: Option<PatchLabel>) -> Self {
        Self { sample, position: position as u32, token: None, modality, patch }
    }
}

const MODALITIES: [Modality; 5] =
    [Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::Special];

/// Labels as columns. `-1` and `NaN` stand for what there is not.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub(crate) sample: Vec<i64>,
    pub(crate) position: Vec<i32>,
    pub(crate) token: Vec<i64>,
    pub(crate) modality: Vec<u8>,
    /// Image, tile, frame, row, column.
    pub(crate) patch: Vec<i32>,
    pub(crate) bbox: Vec<f32>,
}

/// Numbers of a patch: image, tile, frame, row, column.
pub(crate) const PATCH: usize = 5;

impl Labels {
    pub(crate) fn len(&self) -> usize {
        self.sample.len()
    }

    pub(crate) fn push(&mut self, label: &Label) {
        self.sample.push(label.sample as i64);
        self.position.push(label.position as i32);
        self.token.push(label.token.map_or(-1, i64::from));
        let modality = MODALITIES.iter().position(|m| *m == label.modality);
        self.modality.push(modality.unwrap_or(usize::from(u8::MAX)) as u8);
        let patch =
            label.patch.map_or([-1; PATCH], |p| [p.image, p.tile, p.frame, p.row, p.col].map(|i| i as i32));
        self.patch.extend(patch);
        self.bbox.extend(label.patch.map_or([f32::NAN; 4], |p| p.bbox));
    }

    /// One row; `None` if there is none, or its modality is none.
    pub(crate) fn get(&self, row: usize) -> Option<Label> {
        let patch = self.patch.get(row * PATCH..(row + 1) * PATCH)?;
        let bbox = self.bbox.get(row * 4..(row + 1) * 4)?;
        let patch = match *patch {
            [image, tile, frame, row, col] if image >= 0 => Some(PatchLabel {
                image: image as usize,
                tile: tile as usize,
                frame: frame as usize,
                row: row as usize,
                col: col as usize,
                bbox: bbox.try_into().ok()?,
            }),
            _ => None,
        };
        Some(Label {
            sample: *self.sample.get(row)? as u64,
            position: *self.position.get(row)? as u32,
            token: u32::try_from(*self.token.get(row)?).ok(),
            modality: *MODALITIES.get(usize::from(*self.modality.get(row)?))?,
            patch,
        })
    }
}
