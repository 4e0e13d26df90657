//! What `preprocessor_config.json` says of a log-mel spectrogram: every field that changes a number is used, or refused by name.

use std::path::{Path, PathBuf};

use mmlens_files::{Fields as Object, JsonError};
use serde_json::{Map, Value};

use crate::sound::{HIGHEST_RATE, LOWEST_RATE, MOST_LEVEL, MOST_SAMPLES};

/// The class of transformers whose settings are read. Qwen2-Audio has it too.
const CLASS: &str = "WhisperFeatureExtractor";
/// Where it is named.
const CLASS_FIELD: &str = "feature_extractor_type";
/// The most bytes of the file: older ones have the filters written out.
const MOST_BYTES: u64 = 1 << 21;
/// The most mel filters.
const MOST_MELS: usize = 1024;
/// The longest window, in samples.
const MOST_WINDOW: usize = 1 << 14;

/// Fields on which no number depends: who wrote the file, and `mel_filters`, which transformers computes anew whatever stands
/// there.
const HARMLESS: [&str; 9] = [
    CLASS_FIELD,
    "processor_class",
    "auto_map",
    "transformers_version",
    "model_input_names",
    "return_tensors",
    "device",
    "return_attention_mask",
    "mel_filters",
];

/// How a sound becomes a log-mel spectrogram. The default is Whisper's.
#[derive(Debug, Clone, PartialEq)]
pub struct LogMelSettings {
    /// How many mel filters: `feature_size`. 80; 128 for Qwen2-Audio and Whisper large-v3.
    pub mels: usize,
    /// The rate that sounds must have, in Hz: `sampling_rate`. 16000.
    pub rate: u32,
    /// From one frame to the next, in samples: `hop_length`. 160, which is 10 ms.
    pub hop: usize,
    /// How long the window of a frame is, in samples: `n_fft`. 400, which is 25 ms. An even number.
    pub window: usize,
    /// To how many seconds sounds are padded: `chunk_length`. 30.
    pub seconds: usize,
    /// What stands behind the sound: `padding_value`. 0, silence.
    pub padding: f32,
}

impl Default for LogMelSettings {
    fn default() -> Self {
        Self { mels: 80, rate: 16000, hop: 160, window: 400, seconds: 30, padding: 0.0 }
    }
}

/// Why no spectrogram is made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MelError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("{}: {source}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: JsonError,
    },
    /// Settings of another class.
    #[error("{}: the feature extractor is {found}, expected {CLASS}", file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// The class there.
        found: String,
    },
    /// A setting that is not what it should be.
    #[error("{}`{field}` is {found}, expected {expected}", file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default())]
    Field {
        /// The file, if it comes from one.
        file: Option<PathBuf>,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A field that is not known here and may change numbers.
    #[error("{}: the field `{field}` ({found}) is not supported", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
    },
    /// A sound at another rate.
    #[error("{name}: its rate is {found} Hz, expected {expected}: resample it with `Sound::at`")]
    Rate {
        /// Which sound.
        name: String,
        /// Its rate.
        found: u32,
        /// The rate of the settings.
        expected: u32,
    },
    /// A sound that is too long.
    #[error(
        "{name}: it is {found} s long, expected at most {most}: long form is not supported, take a part of it (`--from` and `--to`; in Rust \
         `Sound::between`)"
    )]
    Long {
        /// Which sound.
        name: String,
        /// How long it is, in seconds.
        found: f64,
        /// How long it may be.
        most: usize,
    },
}

impl LogMelSettings {
    /// Reads a `preprocessor_config.json`, or the part `feature_extractor` of a `processor_config.json`.
    ///
    /// What is left out has the default of transformers. `dither` must be 0 (it adds noise), `padding_side` `right`,
    /// `do_normalize` false; `n_samples` and `nb_max_frames` must be what follows from the others. `return_attention_mask` changes
    /// nothing: the mask always comes with the spectrogram.
    ///
    /// # Errors
    /// [`MelError::Io`], [`MelError::Json`], [`MelError::Kind`] for another class, [`MelError::Field`] for a field that is not
    /// what it should be, [`MelError::Unsupported`] for one that is not known.
    pub fn read(file: impl AsRef<Path>) -> Result<Self, MelError> {
        let file = file.as_ref();
        let bytes = mmlens_files::read(file, MOST_BYTES)
            .map_err(|source| MelError::Io { file: file.to_owned(), source })?;
        Self::from_json(file, &bytes)
    }

    /// The same from the bytes of such a file, which errors call `file`.
    ///
    /// # Errors
    /// As [`LogMelSettings::read`].
    pub fn from_json(file: impl AsRef<Path>, bytes: &[u8]) -> Result<Self, MelError> {
        let file = file.as_ref();
        let fields: Map<String, Value> = mmlens_files::parse_json(bytes)
            .map_err(|source| MelError::Json { file: file.to_owned(), source })?;
        match (fields.get("feature_extractor_type"), fields.get("feature_extractor")) {
            (None, Some(Value::Object(inner))) => Self::of(file, inner),
            _ => Self::of(file, &fields),
        }
    }

    fn of(file: &Path, fields: &Map<String, Value>) -> Result<Self, MelError> {
        let mut fields = Fields { file, object: Object::new(fields, &HARMLESS) };
        let class = fields.object.look(CLASS_FIELD);
        if class.and_then(Value::as_str) != Some(CLASS) {
            let found = class.map_or_else(|| "not named".to_owned(), |_| fields.object.found(CLASS_FIELD));
            return Err(MelError::Kind { file: file.to_owned(), found });
        }
        let usual = Self::default();
        let rate = fields.count("sampling_rate", usual.rate as usize)?;
        let rate = u32::try_from(rate);
        let rates = || format!("{LOWEST_RATE} to {HIGHEST_RATE}");
        let settings = Self {
            mels: fields.count("feature_size", usual.mels)?,
            rate: rate.map_err(|_| fields.complain("sampling_rate", rates()))?,
            hop: fields.count("hop_length", usual.hop)?,
            window: fields.count("n_fft", usual.window)?,
            seconds: fields.count("chunk_length", usual.seconds)?,
            padding: fields.number("padding_value", 0.0)? as f32,
        };
        settings.check(Some(file))?;
        if fields.number("dither", 0.0)? != 0.0 {
            return Err(fields.complain("dither", "0: it adds noise"));
        }
        if fields.get("padding_side").is_some_and(|side| side.as_str() != Some("right")) {
            return Err(fields.complain("padding_side", "\"right\""));
        }
        if fields.get("do_normalize").is_some_and(|value| *value != Value::Bool(false)) {
            return Err(fields.complain("do_normalize", "false"));
        }
        for (field, follows) in [("n_samples", settings.samples()), ("nb_max_frames", settings.frames())] {
            if fields.count(field, follows)? != follows {
                return Err(fields.complain(field, format!("{follows}, which follows from the other fields")));
            }
        }
        fields.nothing_else()?;
        Ok(settings)
    }

    /// How many samples a sound has when it is padded.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.seconds.saturating_mul(self.rate as usize)
    }

    /// How many frames a spectrogram has.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.samples().checked_div(self.hop).unwrap_or(0)
    }

    /// Refuses what makes no spectrogram, or one too large.
    pub(crate) fn check(&self, file: Option<&Path>) -> Result<(), MelError> {
        let file = file.map(Path::to_owned);
        let fail = |field: &str, found: String, expected: String| {
            Err(MelError::Field { file: file.clone(), field: field.to_owned(), found, expected })
        };
        let within =
            |field: &str, found: usize, least: usize, most: usize| match (least..=most).contains(&found) {
                true => Ok(()),
                false => fail(field, found.to_string(), format!("{least} to {most}")),
            };
        within("feature_size", self.mels, 1, MOST_MELS)?;
        within("sampling_rate", self.rate as usize, LOWEST_RATE as usize, HIGHEST_RATE as usize)?;
        within("n_fft", self.window, 2, MOST_WINDOW)?;
        if self.window % 2 == 1 {
            return fail("n_fft", self.window.to_string(), "an even number".to_owned());
        }
        within("chunk_length", self.seconds, 1, MOST_SAMPLES / self.rate as usize)?;
        within("hop_length", self.hop, 1, self.samples())?;
        if self.samples() <= self.window / 2 {
            let expected = "less than twice the samples of `chunk_length` seconds".to_owned();
            return fail("n_fft", self.window.to_string(), expected);
        }
        if self.frames().saturating_mul(self.mels) > MOST_SAMPLES {
            let expected = format!("a spectrogram of at most {MOST_SAMPLES} values");
            return fail("hop_length", self.hop.to_string(), expected);
        }
        if !(-MOST_LEVEL..=MOST_LEVEL).contains(&self.padding) {
            let expected = format!("a number from -{MOST_LEVEL} to {MOST_LEVEL}");
            return fail("padding_value", self.padding.to_string(), expected);
        }
        Ok(())
    }
}

/// The fields of the file.
struct Fields<'a> {
    file: &'a Path,
    object: Object<'a>,
}

impl<'a> Fields<'a> {
    /// A field, unless it is absent or null.
    fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.object.get(field)
    }

    fn complain(&self, field: &str, expected: impl Into<String>) -> MelError {
        let found = self.object.found(field);
        let (file, field) = (Some(self.file.to_owned()), field.to_owned());
        MelError::Field { file, field, found, expected: expected.into() }
    }

    fn count(&mut self, field: &'static str, usual: usize) -> Result<usize, MelError> {
        let Some(value) = self.get(field) else { return self.left_out(field, usual) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.complain(field, "a whole number"))
    }

    fn number(&mut self, field: &'static str, usual: f64) -> Result<f64, MelError> {
        let Some(value) = self.get(field) else { return self.left_out(field, usual) };
        value.as_f64().ok_or_else(|| self.complain(field, "a number"))
    }

    /// A field that is left out has a default; one that is null has none.
    fn left_out<T>(&self, field: &str, usual: T) -> Result<T, MelError> {
        match self.object.is_null(field) {
            true => Err(self.complain(field, "to be given, or to be left out for its default")),
            false => Ok(usual),
        }
    }

    /// Refuses what was not looked at.
    fn nothing_else(&self) -> Result<(), MelError> {
        match self.object.left_over() {
            None => Ok(()),
            Some((field, found)) => {
                let (file, field) = (self.file.to_owned(), field.to_owned());
                Err(MelError::Unsupported { file, field, found })
            }
        }
    }
}
