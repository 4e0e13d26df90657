//! Decoding by several branches: the model's own, others that see or do something else, and a rule that weighs them.
//!
//! | file | idea |
//! |---|---|
//! | `rule` | [`Rule`]: scores of the next token, of what the model's own branch and another say; which tokens can come |
//! | `branches` | [`Branches`]: several sessions as one, stepping together; [`Branch`]: other inputs or another plan, with a cache of its own; [`Early`]: the own stream read out before a block |
//! | `pictures` | inputs whose pictures are noised, or gone |
//! | `followed` | what a decoder makes of an answer, token by token |
//! | [`vcd`], [`pai`], [`dola`] | decoders, each a method too |
//!
//! A [`Decoder`] says which branches and which rule; it writes greedily, by drawing or by a search by beams, for any number of rows, and on a
//! subject with standing edits, which all branches have.
//!
//! ```
//! use mmlens_core::{Analysis, Generation, Picture, Sample, Subject};
//! use mmlens_inference::{Decoder, Vcd, vcd::Settings};
//! let subject = mmlens_testkit::Toy::curved(1);
//! let grey = Picture::new("grey", image::RgbImage::from_pixel(8, 8, image::Rgb([90; 3])));
//! let inputs = subject.encode(&Sample::prompt(vec![grey], "#ab"))?;
//! let decoder = Vcd::new(Settings { alpha: 0.5, ..Settings::default() })?;
//! let answers = decoder.write(&subject, &inputs, &Generation { max_new: 4, ..Generation::default() })?;
//! assert_eq!(answers[0].tokens.len(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod branches;
pub mod dola;
mod followed;
pub mod pai;
mod pictures;
pub mod rule;
pub mod vcd;

use std::fmt;
use std::sync::Arc;

use mmlens_core::{
    Analysis, AnalysisError, AnyAnalysis, Card, Generated, Generation, Generator, Inputs, NoMethod, Plan,
    Session, Subject, closest,
};
use mmlens_files::parse_value;
use serde_json::Value;

pub use branches::{Branch, Branches, Contrast, Early, Pass, PassPlan, ReadOut};
pub use pictures::{kept_of_signal, noised, without_pictures};
pub use rule::{Divergence, Form, RowScores, Rule};

/// A way to decode: which branches there are, and what is made of them. It is a method too, with a card and settings.
pub trait Decoder: AnyAnalysis {
    /// Its branches for some prompts, and its rule.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for prompts, or a subject, without what it contrasts; [`AnalysisError::Setting`] for layers that the
    /// subject does not have.
    fn contrast(&self, subject: &dyn Subject, inputs: &Inputs) -> Result<Contrast, AnalysisError>;

    /// Reads some prompts, as a session that is stepped by whoever holds it.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for a subject that lacks what the card needs; as [`Decoder::contrast`] and [`Branches::begin`].
    fn begin<'a>(&self, subject: &'a dyn Subject, inputs: &Inputs) -> Result<Branches<'a>, AnalysisError> {
        self.card().allows(subject)?;
        let contrast = self.contrast(subject, inputs)?;
        Ok(Branches::begin(subject, Arc::new(contrast), Plan::new())?)
    }

    /// Writes an answer for every row. Probabilities of its tokens are those of the scores by which it chose.
    ///
    /// # Errors
    /// As [`Decoder::begin`] and [`Generator::write`].
    fn write(
        &self,
        subject: &dyn Subject,
        inputs: &Inputs,
        how: &Generation,
    ) -> Result<Vec<Generated>, AnalysisError> {
        self.card().allows(subject)?;
        let contrast = Arc::new(self.contrast(subject, inputs)?);
        let begin = |_: &Inputs, plan: Plan| {
            Ok(Box::new(Branches::begin(subject, contrast, plan)?) as Box<dyn Session + '_>)
        };
        Ok(Generator::new(how).through(begin).write(subject, inputs)?.0)
    }
}

/// A row of the table of decoders: one that is made from settings by name.
#[derive(Clone, Copy)]
pub struct Decoding {
    /// What it is.
    pub card: Card,
    make: fn(Value) -> Result<Box<dyn Decoder>, AnalysisError>,
}

impl fmt::Debug for Decoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.card.id)
    }
}

/// Every decoder.
pub static DECODERS: &[Decoding] =
    &[Decoding::of::<vcd::Vcd>(), Decoding::of::<pai::Pai>(), Decoding::of::<dola::Dola>()];

impl Decoding {
    /// The row of a decoder.
    #[must_use]
    pub const fn of<D: Decoder + Analysis>() -> Self {
        Self {
            card: D::CARD,
            make: |settings| {
                let settings: D::Settings = parse_value(&settings).map_err(|error| {
                    AnalysisError::Settings { method: D::CARD.id, reason: error.to_string() }
                })?;
                Ok(Box::new(D::new(settings)?))
            },
        }
    }

    /// The decoder, made from settings by name; what is not named has its default.
    ///
    /// # Errors
    /// [`AnalysisError::Settings`] for a name that is no setting, or a value of another kind, and whatever [`Analysis::new`] says.
    pub fn make(&self, settings: Value) -> Result<Box<dyn Decoder>, AnalysisError> {
        (self.make)(settings)
    }

    /// The decoder that is called so, by its id or its short name.
    ///
    /// # Errors
    /// [`NoMethod`], with the closest name.
    pub fn called(name: &str) -> Result<&'static Self, NoMethod> {
        let is = |row: &&Self| row.card.id == name || row.card.short == name;
        DECODERS.iter().find(is).ok_or_else(|| {
            let names = DECODERS.iter().flat_map(|row| [row.card.short, row.card.id]);
            NoMethod { asked: name.to_owned(), nearest: closest(name, names) }
        })
    }
}
