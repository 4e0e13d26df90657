//! Units that are parts of recordings: stretches of time, bands of frequencies, boxes of both, whole recordings.
//!
//! What `cells` and `windows` are to pictures they are to recordings too: a recording is the picture behind all clips.

use mmlens_core::Inputs;
use mmlens_core::finding::{Modality, PatchLabel, TokenLabel};

use super::parts::{Seen, whole};
use super::{UnitError, Units};

/// A part of a recording: its name (what it is, if empty), from when to when in seconds, and from which to which frequency in Hz; `None` for
/// all of them.
pub type HeardBox<'a> = (&'a str, Option<[f64; 2]>, Option<[f64; 2]>);

impl Units {
    /// Stretches of a recording, in seconds, with all frequencies. `recording` is counted among recordings. A frame belongs to the
    /// stretch in which its middle lies; where stretches follow one another, each frame belongs to one.
    ///
    /// # Errors
    /// [`UnitError::Setting`] for a stretch that ends before it begins, [`UnitError::Unseen`] for one without a frame,
    /// [`UnitError::Nothing`] or [`UnitError::None`] without such a recording, [`UnitError::Rows`].
    pub fn stretches(inputs: &Inputs, recording: usize, seconds: &[[f64; 2]]) -> Result<Self, UnitError> {
        let boxes: Vec<HeardBox<'_>> = seconds.iter().map(|own| ("", Some(*own), None)).collect();
        Self::heard(inputs, recording, &boxes)
    }

    /// As many stretches of a recording as asked for, equally long, from its beginning to its end.
    ///
    /// # Errors
    /// As [`Units::stretches`].
    pub fn even_stretches(inputs: &Inputs, recording: usize, parts: usize) -> Result<Self, UnitError> {
        if parts == 0 {
            let found = "0 stretches".to_owned();
            return Err(UnitError::Setting { setting: "stretches", found, expected: "at least one" });
        }
        Self::cells(inputs, image(inputs, recording)?, [1, parts])
    }

    /// Bands of a recording, in Hz, through all its time. A filter belongs to the band in which its peak lies, the lower end left out.
    ///
    /// # Errors
    /// [`UnitError::Unseen`] for a band without a filter, and as [`Units::stretches`].
    pub fn bands(inputs: &Inputs, recording: usize, hertz: &[[f64; 2]]) -> Result<Self, UnitError> {
        let boxes: Vec<HeardBox<'_>> = hertz.iter().map(|own| ("", None, Some(*own))).collect();
        Self::heard(inputs, recording, &boxes)
    }

    /// Boxes with names in the time and frequencies of a recording. They may overlap.
    ///
    /// # Errors
    /// As [`Units::stretches`] and [`Units::bands`].
    pub fn heard(inputs: &Inputs, recording: usize, boxes: &[HeardBox<'_>]) -> Result<Self, UnitError> {
        let image = image(inputs, recording)?;
        let seen = Seen::of(inputs)?;
        let extent = seen.extent(image)?;
        let heard = seen.map.sound(image).ok_or(UnitError::Nothing("recording"))?;
        let unit = |(col, (name, seconds, hertz)): (usize, &HeardBox<'_>)| {
            let ordered = |own: &Option<[f64; 2]>| own.is_none_or(|[from, to]| from < to);
            if !ordered(seconds) || !ordered(hertz) {
                let found = format!("{seconds:?} s, {hertz:?} Hz");
                let expected = "a beginning before the end";
                return Err(UnitError::Setting { setting: "parts of recordings", found, expected });
            }
            let [x0, y0, x1, y1] = extent;
            let [x0, x1] = seconds.map_or([x0, x1], |own| heard.scale.columns(own).map(f64::from));
            let [y0, y1] = hertz.map_or([y0, y1], |own| heard.scale.rows(own).map(f64::from));
            let bbox = [x0, y0, x1, y1];
            let patch = PatchLabel { col, ..whole(image, bbox) };
            let name = if name.is_empty() { seen.map.label(patch).text } else { (*name).to_owned() };
            seen.boxed(name, patch, bbox)
        };
        Ok(Self::of(boxes.iter().enumerate().map(unit).collect::<Result<_, _>>()?))
    }

    /// Each recording as a whole, without the padding behind it.
    ///
    /// # Errors
    /// As [`Units::stretches`].
    pub fn recordings(inputs: &Inputs) -> Result<Self, UnitError> {
        let seen = Seen::of(inputs)?;
        let first = image(inputs, 0)?;
        let unit = |image: usize| {
            let extent = seen.extent(image)?;
            seen.boxed(format!("recording {}", image - first), whole(image, extent), extent)
        };
        Ok(Self::of((first..seen.map.pictures.len()).map(unit).collect::<Result<_, _>>()?))
    }

    /// All recordings as one unit: a whole modality.
    ///
    /// # Errors
    /// As [`Units::stretches`].
    pub fn all_recordings(inputs: &Inputs) -> Result<Self, UnitError> {
        Ok(Self::recordings(inputs)?.joined(TokenLabel::new("recordings", Modality::Audio)))
    }
}

/// Which picture a recording is.
fn image(inputs: &Inputs, recording: usize) -> Result<usize, UnitError> {
    let map = inputs.map();
    match map.sounds.len() {
        0 => Err(UnitError::Nothing("recording")),
        len if recording >= len => Err(UnitError::None { what: "recording", index: recording, len }),
        _ => Ok(map.first_sound() + recording),
    }
}
