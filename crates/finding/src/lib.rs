//! Labelled values with axes, units and provenance: what every mmlens analysis returns.
//!
//! A [`Finding`] is a list of tables and the [`Provenance`] that says how they came to be. A table is a [`Labelled`]:
//! a name, a [`Unit`], one [`Axis`] per dimension and row-major [`Values`]. All of it lives on the host, so that a
//! saved finding opens without a model, a device or a tensor library.
//!
//! ```
//! use mmlens_finding::{Axis, Finding, Labelled, Provenance, Role, Unit};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let words = Axis::names(Role::Token, ["a", "red", "square"]);
//! let table = Labelled::numbers("attribution", Unit::Logit, vec![words], vec![0.1, 0.9, -0.2])?;
//! assert_eq!(table.get(&[1]), Some(0.9));
//!
//! let finding = Finding::new(Provenance::new("occlusion", "shapes-vlm"), vec![table])?;
//! let again = Finding::from_bytes(&finding.to_bytes()?)?;
//! assert_eq!(again, finding);
//! # Ok(())
//! # }
//! ```

mod axis;
mod caution;
mod compare;
mod comparison;
mod difference;
mod error;
mod file;
mod finding;
mod finite;
mod fixed;
mod labelled;
mod long;
mod provenance;
mod record;
mod scale;
mod select;
mod sentences;
mod tolerance;
mod unit;

pub use axis::{Axis, HeardPlace, HeardSpans, HeardUnit, Labels, Modality, PatchLabel, Role, TokenLabel};
pub use caution::{CAUTIONS, Caution, CautionKind};
pub use comparison::{
    Compared, Comparison, Largest, Numbers, Outcome, Place, SharedAxis, Texts, correlation, ranks,
};
pub use difference::Difference;
pub use error::{FileError, FindingError, TableError};
pub use file::{FORMAT, FORMAT_VERSION, MOST_BYTES};
pub use finding::Finding;
pub use finite::{NotFinite, finite, largest, top};
pub use fixed::fixed;
pub use labelled::{BY_TOKEN, Labelled, Values};
pub use long::{Cell, Cells, Column, Long};
pub use provenance::Provenance;
pub use record::{
    BesideRecord, ClipRecord, DataRecord, InputRecord, PictureRecord, RecordingRecord, ReplyRecord,
    SampleRecord, Source, WordsRecord,
};
pub use scale::{SoundScale, span};
pub use select::Entry;
pub use tolerance::{Against, Gap, LEAST, MASKED, Mismatch, Tolerance};
pub use unit::Unit;
