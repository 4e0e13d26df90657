//! Dictionaries as SAELens keeps them: `cfg.json` and `sae_weights.safetensors` in a folder.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mmlens_core::{HookError, Part, Point, Site};
use mmlens_files::{JsonError, Numbers, TensorError, parse_json, read, read_floats, write_tensors};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Dictionary, Kept, Of, Weights};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
/// The most bytes of a config.
const MOST_CONFIG: u64 = 1 << 20;
/// Where a site of ours stands among the metadata, since the names of TransformerLens know of text alone.
const SITE: &str = "mmlens_site";
const HASH: &str = "mmlens_weights";
/// Fields of a config that change nothing of what a dictionary computes.
const HARMLESS: [&str; 3] = ["device", "dtype", "sae_lens_version"];

/// Why a dictionary cannot be had, or not be used there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A config that is none.
    #[error("{}: {error}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which field, what was found, and what is expected.
        error: JsonError,
    },
    /// A dictionary that computes something that is not offered.
    #[error("{}: `{field}` is {found}, and {expected} is offered", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// What is offered.
        expected: &'static str,
    },
    /// Tensors that cannot be had.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// A tensor that is missing, or of another shape.
    #[error("{}: `{name}` is {found}, expected {expected:?}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, or that it is not there.
        found: String,
        /// The shape that the config says.
        expected: Vec<usize>,
    },
    /// What is wrong with the numbers of a folder.
    #[error("{}: {error}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        error: Box<Self>,
    },
    /// Numbers that do not fit together.
    #[error("of a dictionary `{what}` is {found}, expected {expected}")]
    Numbers {
        /// Which.
        what: &'static str,
        /// What was found.
        found: String,
        /// What is expected.
        expected: String,
    },
    /// A dictionary that does not say which site it is of.
    #[error("the dictionary does not say which site it is of: name it, as in SITE=FOLDER")]
    NoSite,
    /// A site whose rows are others than those of the dictionary.
    #[error("`{site}` is {axes}, and the dictionary is of rows of {width} numbers")]
    Width {
        /// The site.
        site: Site,
        /// Its axes.
        axes: String,
        /// Numbers of a row of the dictionary.
        width: usize,
    },
    /// A site that has a dictionary already, or is one of a dictionary.
    #[error("`{site}` cannot have a dictionary: {reason}")]
    Taken {
        /// The site.
        site: Site,
        /// Why not.
        reason: &'static str,
    },
    /// A site that a model does not have.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// `cfg.json`.
#[derive(Debug, Deserialize)]
struct Config {
    architecture: String,
    d_in: usize,
    d_sae: usize,
    k: Option<usize>,
    #[serde(default = "yes")]
    apply_b_dec_to_input: bool,
    #[serde(default)]
    rescale_acts_by_decoder_norm: bool,
    #[serde(default = "none")]
    normalize_activations: String,
    #[serde(default = "none")]
    reshape_activations: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

const fn yes() -> bool {
    true
}

fn none() -> String {
    "none".to_owned()
}

impl Dictionary {
    /// Opens the folder of a dictionary as SAELens 6 writes it.
    ///
    /// # Errors
    /// [`DictionaryError`] for files that cannot be read, other architectures, activations that are scaled first, tensors of another
    /// shape; each names the file and the field.
    ///
    /// # Memory
    /// The file of weights, of at most 4 GiB, and its numbers.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, DictionaryError> {
        let (path, weights) = (folder.as_ref().join(CONFIG), folder.as_ref().join(WEIGHTS));
        let text = read(&path, MOST_CONFIG)
            .map_err(|source| DictionaryError::Read { path: path.clone(), source })?;
        let config: Config =
            parse_json(&text).map_err(|error| DictionaryError::Config { path: path.clone(), error })?;
        let unsupported = |field: &str, found: String, expected: &'static str| {
            Err(DictionaryError::Unsupported { path: path.clone(), field: field.to_owned(), found, expected })
        };
        if config.normalize_activations != "none" {
            return unsupported("normalize_activations", config.normalize_activations, "`none`");
        }
        if !["none", "hook_z"].contains(&config.reshape_activations.as_str()) {
            return unsupported("reshape_activations", config.reshape_activations, "`none` or `hook_z`");
        }
        if let Some((field, value)) =
            config.others.iter().find(|(field, _)| !HARMLESS.contains(&field.as_str()))
        {
            return unsupported(field, value.to_string(), "no such field");
        }
        let mut tensors = read_floats(&weights)?;
        let (width, features) = (config.d_in, config.d_sae);
        let mut take = |name: &str, expected: Vec<usize>| match tensors.remove(name) {
            Some(Numbers { shape, values }) if shape == expected => Ok(values),
            other => {
                let found =
                    other.map_or_else(|| "not there".to_owned(), |other| format!("{:?}", other.shape));
                Err(DictionaryError::Tensor { path: weights.clone(), name: name.to_owned(), found, expected })
            }
        };
        let kept = match (config.architecture.as_str(), config.k) {
            ("standard", _) => Kept::Positive,
            ("topk", Some(k)) => Kept::Largest(k),
            ("topk", None) => return unsupported("k", "not there".to_owned(), "a number of features"),
            ("jumprelu", _) => Kept::Above(take("threshold", vec![features])?),
            (other, _) => {
                return unsupported("architecture", format!("`{other}`"), "`standard`, `topk` or `jumprelu`");
            }
        };
        if config.rescale_acts_by_decoder_norm && !matches!(kept, Kept::Largest(_)) {
            return unsupported("rescale_acts_by_decoder_norm", "true".to_owned(), "that of `topk` alone");
        }
        let own = Weights {
            width,
            features,
            encoder: take("W_enc", vec![width, features])?,
            encoder_bias: take("b_enc", vec![features])?,
            decoder: take("W_dec", vec![features, width])?,
            decoder_bias: take("b_dec", vec![width])?,
        };
        if let Some(name) = tensors.keys().next() {
            return unsupported(name, "a tensor".to_owned(), "none of that name");
        }
        let text = |name: &str| config.metadata.get(name).and_then(Value::as_str).map(str::to_owned);
        let site = match (text(SITE), text("hook_name")) {
            (Some(site), _) => Some(site.parse()?),
            (None, Some(hook)) => of_hook(&hook),
            (None, None) => None,
        };
        let of = Of { site, model: text("model_name"), weights: text(HASH) };
        let how = (config.apply_b_dec_to_input, config.rescale_acts_by_decoder_norm);
        Self::made(own, kept, how, of).map_err(|error| {
            let folder = folder.as_ref().to_owned();
            DictionaryError::Folder { folder, error: Box::new(error) }
        })
    }

    /// The files of its folder: their names and bytes. SAELens 6 opens them.
    ///
    /// # Errors
    /// What cannot be written as JSON or tensors.
    pub fn files(&self) -> io::Result<[(&'static str, Vec<u8>); 2]> {
        let Of { site, model, weights } = &self.of;
        let metadata: BTreeMap<&str, Option<String>> = [
            (SITE, site.map(|site| site.to_string())),
            (HASH, weights.clone()),
            ("model_name", model.clone()),
            ("hook_name", site.and_then(hook_of)),
            ("sae_lens_version", Some("6.0.0".to_owned())),
        ]
        .into();
        let metadata: BTreeMap<_, _> = metadata.into_iter().filter(|(_, value)| value.is_some()).collect();
        let mut config = json!({
            "d_in": self.width(),
            "d_sae": self.features(),
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": self.centred,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": metadata,
            "architecture": match &self.kept {
                Kept::Positive => "standard",
                Kept::Largest(_) => "topk",
                Kept::Above(_) => "jumprelu",
            },
        });
        if let (Kept::Largest(k), Some(config)) = (&self.kept, config.as_object_mut()) {
            config.insert("k".to_owned(), json!(k));
            config.insert("rescale_acts_by_decoder_norm".to_owned(), json!(self.by_length));
        }
        let Weights { width, features, encoder, encoder_bias, decoder, decoder_bias } = &self.weights;
        let (width, features) = (*width, *features);
        let mut tensors = vec![
            ("W_enc", Floats(vec![width, features], encoder)),
            ("b_enc", Floats(vec![features], encoder_bias)),
            ("W_dec", Floats(vec![features, width], decoder)),
            ("b_dec", Floats(vec![width], decoder_bias)),
        ];
        if let Kept::Above(thresholds) = &self.kept {
            tensors.push(("threshold", Floats(vec![features], thresholds)));
        }
        let mut bytes = Vec::new();
        write_tensors(&mut bytes, tensors, &BTreeMap::new())?;
        Ok([(CONFIG, (serde_json::to_string_pretty(&config)? + "\n").into_bytes()), (WEIGHTS, bytes)])
    }
}

/// A tensor of F32.
struct Floats<'a>(Vec<usize>, &'a [f32]);

impl safetensors::View for Floats<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.1.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.1.len()
    }
}

/// Names that TransformerLens has for points of blocks.
const HOOKS: [(&str, Point); 9] = [
    ("hook_resid_pre", Point::ResidPre),
    ("hook_resid_mid", Point::ResidMid),
    ("hook_resid_post", Point::ResidPost),
    ("hook_attn_out", Point::AttnOut),
    ("hook_mlp_in", Point::MlpIn),
    ("hook_mlp_out", Point::MlpOut),
    ("attn.hook_z", Point::Z),
    ("mlp.hook_pre", Point::MlpPre),
    ("mlp.hook_post", Point::MlpPost),
];

/// The site that a name of TransformerLens means: `blocks.3.hook_resid_post`.
fn of_hook(name: &str) -> Option<Site> {
    let (block, point) = name.strip_prefix("blocks.")?.split_once('.')?;
    let (_, point) = HOOKS.iter().find(|(hook, _)| *hook == point)?;
    Some(Site::block(Part::Text, block.parse().ok()?, *point))
}

/// The name of TransformerLens for a site, if it has one.
fn hook_of(site: Site) -> Option<String> {
    let (hook, _) = HOOKS.iter().find(|(_, point)| *point == site.point())?;
    let block = site.block_index().filter(|_| site.part() == Part::Text)?;
    Some(format!("blocks.{block}.{hook}"))
}
