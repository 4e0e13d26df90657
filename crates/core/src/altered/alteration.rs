//! One edit that stands: where, in which part of it, and what, in words too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmlens_files::sha256;

use crate::{AnyTensor, Change, HookError, Region, Selector, Unfit};

/// The largest number of an edit that stands, in size: a norm squares what it reads, and makes zeros, in silence, of a state whose squares are infinite.
pub(super) const LARGEST: f32 = 1e12;

/// An edit that stands in an [`Altered`](crate::Altered) subject. In words it is `SITE[AXIS=INDICES,...]=CHANGE`, as
/// [`Alteration::parse`] reads it; of a value its shape and the first digits of the SHA-256 of its numbers are told.
#[derive(Debug, Clone)]
pub struct Alteration {
    places: Selector,
    region: Region,
    change: Change,
    words: String,
    file: Option<PathBuf>,
    /// Of a closure made from numbers, what tells these.
    print: Option<String>,
}

impl Alteration {
    /// A change of a region of every site a selector fits.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse, [`HookError::Standing`] for a closure, which is to have a name
    /// ([`Alteration::named`]), [`HookError::Large`] for numbers above 1e12 in size, [`HookError::Read`] if a value cannot be read.
    pub fn new<S>(places: S, region: Region, change: Change) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        let places = places.try_into()?;
        let what = match &change {
            Change::Zero => "zero".to_owned(),
            Change::Scale(by) => {
                moderate([*by])?;
                format!("scale:{by}")
            }
            Change::Add(value) => format!("add:{}", fingerprint(value)?),
            Change::Set(value) => format!("set:{}", fingerprint(value)?),
            Change::Mean => "mean".to_owned(),
            Change::Fill(given) => {
                let of = |(content, value): (&crate::Content, &AnyTensor)| {
                    Ok(format!("{} {}", content.name(), fingerprint(value)?))
                };
                let given: Result<Vec<String>, HookError> = given.iter().map(of).collect();
                format!("fill:{}", given?.join(", "))
            }
            Change::Mask => "mask".to_owned(),
            Change::MaskOthers => "mask others".to_owned(),
            Change::With(_) => {
                let (site, edit) = (places.to_string(), worded(&places, &region, "closure"));
                return Err(HookError::Standing { place: site, edit, unfit: Unfit::Nameless });
            }
        };
        Ok(Self { words: worded(&places, &region, &what), places, region, change, file: None, print: None })
    }

    /// A change by a closure, which findings tell by a name. It is given one row, or picture, at a time, `[1, ...]`, and keeps
    /// its shape.
    ///
    /// # Errors
    /// [`HookError::Syntax`] if the selector does not parse, [`HookError::Standing`] for an empty name.
    pub fn named<S>(
        places: S,
        region: Region,
        name: &str,
        change: impl Fn(AnyTensor) -> Result<AnyTensor, HookError> + Send + Sync + 'static,
    ) -> Result<Self, HookError>
    where
        S: TryInto<Selector>,
        HookError: From<S::Error>,
    {
        let places = places.try_into()?;
        let words = worded(&places, &region, name.trim());
        if name.trim().is_empty() {
            return Err(HookError::Standing {
                place: places.to_string(),
                edit: words,
                unfit: Unfit::Nameless,
            });
        }
        Ok(Self { words, places, region, change: Change::With(Arc::new(change)), file: None, print: None })
    }

    /// A change by a closure that is made from numbers: told by `what`, and by `print` beside the words that it was written in.
    pub(super) fn told(
        places: Selector,
        region: Region,
        change: Change,
        what: String,
        print: String,
    ) -> Self {
        Self {
            words: worded(&places, &region, &what),
            places,
            region,
            change,
            file: None,
            print: Some(print),
        }
    }

    /// The same, told as it was written, and the file it was read from.
    pub(super) fn written(mut self, what: &str, file: Option<PathBuf>) -> Result<Self, HookError> {
        let told = match (&self.change, &self.print) {
            (Change::Add(value) | Change::Set(value), _) => format!("{what} {}", fingerprint(value)?),
            (_, Some(print)) => format!("{what} {print}"),
            (_, None) => what.to_owned(),
        };
        (self.words, self.file) = (worded(&self.places, &self.region, &told), file);
        Ok(self)
    }

    /// The sites it is made at.
    pub fn places(&self) -> &Selector {
        &self.places
    }

    /// Which part of them.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The file that its value was read from, if from one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is done there.
    pub fn change(&self) -> &Change {
        &self.change
    }
}

impl fmt::Display for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Refuses numbers that are too large. What is infinite or no number is not silent: it is found in what comes of it.
pub(super) fn moderate(numbers: impl IntoIterator<Item = f32>) -> Result<(), HookError> {
    match numbers.into_iter().find(|number| number.is_finite() && number.abs() > LARGEST) {
        Some(found) => Err(HookError::Large { found, most: LARGEST }),
        None => Ok(()),
    }
}

fn worded(places: &Selector, region: &Region, what: &str) -> String {
    format!("{places}{region}={what}")
}

/// `[1, 1, 6] sha256 0123456789ab`.
fn fingerprint(value: &AnyTensor) -> Result<String, HookError> {
    let values = value.to_values()?;
    moderate(values.iter().copied())?;
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    Ok(format!("{:?} sha256 {}", value.dims(), sha256(&bytes).chars().take(12).collect::<String>()))
}
