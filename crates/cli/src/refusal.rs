//! What the program refuses beyond what the libraries do.

use std::path::PathBuf;

use mmlens::core::{HookError, Site, Subject, SubjectError};
use mmlens::engine::AimError;

/// Why the program will not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// A value of an option that is not offered.
    #[error("`--{option} {found}` is not supported; supported: {supported}")]
    Option { option: &'static str, found: String, supported: String },
    /// A device for anyone who comes by.
    #[cfg(feature = "remote-server")]
    #[error("MMLENS_DEVICE_TOKEN is not set: whoever is to compute here must know a token")]
    NoToken,
    /// A device that died while a model was opened on it.
    #[error("`{device}` broke off while the model was brought there: {reason}")]
    Died { device: String, reason: String },
    /// Captions for a model that takes none.
    #[error("`--text` is for dual encoders; `{model}` takes `--ask` or `--prompt`")]
    NoCaptions { model: String },
    /// A question for a model that takes captions.
    #[error(
        "`{model}` is a dual encoder, which compares pictures with captions: give `--text`, once for each"
    )]
    Captions { model: String },
    /// Logits that are no numbers.
    #[error(
        "`{model}` gives logits that are no numbers: its weights are damaged, or too large for f32; \
         `mmlens trace` says where they begin"
    )]
    NoNumbers { model: String },
    /// An option that means nothing to a dual encoder.
    #[error("`--{option}` is for language models; `{model}` is a dual encoder")]
    NoTokens { option: &'static str, model: String },
    /// An edit of pictures without one.
    #[error("`--edit` changes `{site}`, and no picture is shown")]
    NothingEdited { site: Site },
    /// A pass that holds values that are no numbers.
    #[error("the pass holds values that are no numbers; `--allow-nan` writes them all the same")]
    OddTrace,
    /// A case of many that cannot be read.
    #[error("{place}: {reason}")]
    Case { place: String, reason: String },
    /// Cases that failed.
    #[error("{failed} of {count} cases failed")]
    Cases { failed: usize, count: usize },
    /// As many corrupted pictures as pictures are needed, as many corrupted recordings as recordings.
    #[error("{found} `--corrupted-{what}` for {expected} `--{what}`; give one for each, in the same order")]
    Corrupted { what: &'static str, found: usize, expected: usize },
    /// A method of data sets, where there is one sample.
    #[error(
        "`--method {method}` looks at many cases together, and one sample is given here: `--cases PATH` gives many"
    )]
    NeedsData { method: &'static str },
    /// A method that says nothing of one case, where its map is scored.
    #[error(
        "`--method {method}` looks at many cases together, and what is scored is what a method says of one"
    )]
    NoMap { method: &'static str },
    /// Methods of two kinds.
    #[error(
        "`--method {method}` looks at all cases together, `--method {single}` at each by itself: one run for each kind"
    )]
    Mixed { method: &'static str, single: &'static str },
    /// What is explained of one case, for a method of many.
    #[error(
        "`--{option}` says what is explained of a case; `--method {method}` looks at all cases together, each with the `answer` that \
         its line gives, or else with what the model says"
    )]
    OfCases { option: &'static str, method: &'static str },
    /// A second model for methods that look at one.
    #[error(
        "`--beside` with `--cases` is for methods that look at many cases together, named by `--method`; `mmlens methods` lists them. \
         Without `--cases` it lays two models side by side on one input"
    )]
    Alone,
    /// A file that is not as the run left it that wrote it.
    #[error("{}: its SHA-256 is {found}, and the manifest beside it says {expected}: it was changed since", .file.display())]
    Changed { file: PathBuf, found: String, expected: String },
    /// Boxes of which nobody knows the picture.
    #[error("`--boxes` reads boxes on one picture; {pictures} are given")]
    WhichPicture { pictures: usize },
    /// Cases of a second model where there are none of the first.
    #[error("`--beside-cases` is for `--cases`: on one input both models are asked alike")]
    BesideCases,
    /// A dry run of two models.
    #[error("`--dry-run` tells of one model: leave `--beside` out, and ask for each by itself")]
    DryBeside,
    /// An answer of several tables, or of none, where one is written.
    #[error("{}: the answer is {} tables, and one is written: name it; {}", .finding.display(), .tables.len(), .tables.join(", "))]
    WhichTable { finding: PathBuf, tables: Vec<String> },
    /// A picture that is not the one that a finding is about.
    #[error(
        "{}: its picture `{picture}` is not what it was: {found}; `--image FILE` names it where it lies now, \
         `--no-pictures` leaves it out",
        .finding.display()
    )]
    OtherPicture { finding: PathBuf, picture: String, found: String },
    /// A clip that is not the one that a finding is about.
    #[error("{}: its clip `{clip}` is not what it was: {found}; `--no-pictures` leaves it out", .finding.display())]
    OtherClip { finding: PathBuf, clip: String, found: String },
    /// A recording that is not the one that a finding is about.
    #[error("{}: its recording `{recording}` is not what it was: {found}; `--no-pictures` leaves it out", .finding.display())]
    OtherRecording { finding: PathBuf, recording: String, found: String },
    /// A picture that no finding is about.
    #[error("`--image {}`: no finding is about this picture; they are about {wanted}", .image.display())]
    StrayPicture { image: PathBuf, wanted: String },
    /// A recording that no finding is about.
    #[error("`--audio {}`: no finding is about this recording; they are about {wanted}", .audio.display())]
    StrayRecording { audio: PathBuf, wanted: String },
    /// A place that a method does not look at.
    #[error("`--{option}` is nothing to {method}; `mmlens methods ID` tells what a method has")]
    NoPlace { option: &'static str, method: String },
    /// Sites that are no one point.
    #[error("`--site {sites}`: {method} looks at one point, of some layers of one part; these are others")]
    NoPoint { method: &'static str, sites: String },
    /// Sites that are no points of layers.
    #[error(
        "`--site {sites}`: {method} looks at the same points of the same layers of one part, in blocks; these are others"
    )]
    NoGrid { method: &'static str, sites: String },
    /// A layer beside a site.
    #[error("`--layer` beside `--site`: for {method} `--site` names its layer")]
    TwoPlaces { method: String },
    /// A dictionary that is not the one that a finding is about.
    #[error("{}: this dictionary is not what it was: its hash does not begin with {hash}", .folder.display())]
    OtherDictionary { folder: PathBuf, hash: String },
    /// Nothing to learn from.
    #[error("there is nothing to learn from: give --cases, --store, or both")]
    NoData,
    /// Nothing to record.
    #[error("there is nothing to record: give --texts FILE with a text on a line, or --cases")]
    NothingToRecord,
    /// A fit of which nobody knows what to record.
    #[error(
        "`--store` beside `--cases` records what the setting `site` names, and {method} has none: leave `--store` out"
    )]
    NoSite { method: String },
    /// A setting of a method that does not run.
    #[error("`--set {method}...`: this method does not run; those that do: {chosen}")]
    Unset { method: String, chosen: String },
}

/// What was made of logits; where they are no numbers, of which model, and where.
pub(crate) fn numbers<T, E: Into<AimError>>(subject: &dyn Subject, made: Result<T, E>) -> anyhow::Result<T> {
    made.map_err(|error| match error.into() {
        AimError::Subject(error @ SubjectError::Hook(HookError::NotFinite { .. })) => {
            anyhow::Error::from(error).context(Refusal::NoNumbers { model: subject.name().to_owned() })
        }
        other => other.into(),
    })
}
