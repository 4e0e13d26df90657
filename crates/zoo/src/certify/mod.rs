//! Whether a subject computes what a reference says: the parity certificate.
//!
//! A reference is one safetensors file of `oracles/trace.py` or `oracles/make_traces.py`: values of transformers under the
//! names of sites, and in its metadata the samples they belong to.

mod compared;
mod reference;

use std::collections::BTreeMap;
use std::path::Path;

use mmlens_core::{HookError, Inputs, Objective, Plan, Sample, Site, SiteSpec, Subject, SubjectError, Trace};
use serde::Serialize;

use compared::{Beside, compare, generated, ids};
pub use compared::{Compared, Kind};
use reference::Reference;

/// A reference that cannot be read, or a subject that cannot be held against it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// A file that cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A reference that lacks something or holds something else.
    #[error("{path}: `{field}`: {reason}")]
    Reference {
        /// The file.
        path: String,
        /// What in it.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The subject refuses what the reference asks of it.
    #[error("{path}: {error}")]
    Subject {
        /// The reference.
        path: String,
        /// Why.
        error: SubjectError,
    },
}

/// Why a subject is not held against a reference: for the one or for the other.
#[derive(Debug)]
enum Refusal {
    Reference(CertifyError),
    Subject(SubjectError),
}

impl Refusal {
    fn of(self, path: &Path) -> CertifyError {
        match self {
            Self::Reference(error) => error,
            Self::Subject(error) => CertifyError::Subject { path: path.display().to_string(), error },
        }
    }
}

impl From<CertifyError> for Refusal {
    fn from(error: CertifyError) -> Self {
        Self::Reference(error)
    }
}

impl From<SubjectError> for Refusal {
    fn from(error: SubjectError) -> Self {
        Self::Subject(error)
    }
}

impl From<HookError> for Refusal {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Certificate {
    /// The subject.
    pub subject: String,
    /// Its weights.
    pub weights: String,
    /// The reference.
    pub reference: String,
    /// Everything the reference holds that could be compared.
    pub compared: Vec<Compared>,
    /// What it holds beside that: gradients of rows with different targets, inputs that only transformers takes.
    pub left_out: Vec<String>,
}

impl Certificate {
    /// Whether everything is within its bound, and something that the subject computes was among it.
    pub fn passed(&self) -> bool {
        self.says_something() && self.compared.iter().all(|c| c.passed)
    }

    /// Whether anything was compared that the subject computes; ids and pixels are made before.
    pub fn says_something(&self) -> bool {
        self.compared.iter().any(|c| matches!(c.kind, Kind::Activations | Kind::Gradients))
    }
}

/// The samples a reference belongs to. Names of pictures and recordings are as in [`certify`].
///
/// # Errors
/// [`CertifyError`] for a reference, picture or recording that cannot be read.
pub fn samples(path: &Path, pictures: &Path) -> Result<Vec<Sample>, CertifyError> {
    Reference::read(path)?.samples(pictures)
}

/// Holds a subject against a reference. Names of pictures and recordings are those of files in a folder, pictures with or without `.png`.
///
/// Padded positions are left out. What each value may differ by is [`Kind::bound`], measured as [`SiteSpec::tolerance`] says;
/// masked scores must be masked on both sides; ids and greedy tokens must be equal. A reference may say how far float32 itself
/// is off at a value (`rounding` in its `about`): four times that is allowed, where it is more.
///
/// # Errors
/// [`CertifyError`] for a reference that cannot be read or holds no number where one belongs, or a subject that refuses. A
/// value that differs is no error, be it NaN.
///
/// # Cost
/// One forward pass, one backward if there are gradients, and generation if there are tokens.
pub fn certify(subject: &dyn Subject, path: &Path, pictures: &Path) -> Result<Certificate, CertifyError> {
    held(subject, &Reference::read(path)?, path, pictures).map_err(|refusal| refusal.of(path))
}

fn held(
    subject: &dyn Subject,
    reference: &Reference,
    path: &Path,
    pictures: &Path,
) -> Result<Certificate, Refusal> {
    let singles: Result<Vec<Inputs>, _> =
        reference.samples(pictures)?.iter().map(|sample| subject.encode(sample)).collect();
    let inputs = Inputs::batch(&singles?, subject.pad())?.all_logits();
    let mut out = Certificate {
        subject: subject.name().to_owned(),
        weights: subject.weights_hash(),
        reference: path.display().to_string(),
        compared: Vec::new(),
        left_out: Vec::new(),
    };
    if let Some((shape, theirs)) = reference.ids.get("input_ids") {
        out.compared.push(ids(&inputs, shape, theirs));
        if out.compared.iter().any(|c| !c.passed) {
            return Ok(out); // Nothing that follows would belong to the same tokens.
        }
    }
    let specs: BTreeMap<String, &SiteSpec> =
        subject.sites().iter().map(|spec| (spec.site.to_string(), spec)).collect();
    let (trace, slopes) = pass(subject, &inputs, reference, &specs)?;
    for (name, theirs) in &reference.floats {
        let site = name.strip_prefix("grad.").unwrap_or(name);
        let place = || site.parse::<Site>();
        let output = trace.output();
        let pairs = || output.pairs.clone().ok_or(HookError::NoOutput(name.clone()));
        let (ours, kind) = match name.as_str() {
            "pixel_values" => {
                (inputs.seen.values.clone().ok_or(HookError::NoOutput(name.clone()))?, Kind::Pixels)
            }
            "input_features" => {
                (inputs.heard.values.clone().ok_or(HookError::NoOutput(name.clone()))?, Kind::Spectrograms)
            }
            "logits" => (output.logits.clone().ok_or(HookError::NoOutput(name.clone()))?, Kind::Activations),
            "image_embeds" => (pairs()?.images, Kind::Activations),
            "text_embeds" => (pairs()?.texts, Kind::Activations),
            "logits_per_image" => (pairs()?.logits, Kind::Activations),
            _ if name.starts_with("grad.") => match &slopes {
                Slopes::Taken => (trace.grad(place()?)?.clone(), Kind::Gradients),
                Slopes::Failed(fault) => {
                    out.compared.push(Compared::new(name, Kind::Gradients).failed(Vec::new(), fault.clone()));
                    continue;
                }
                Slopes::Apart => {
                    out.left_out.push(name.clone());
                    continue;
                }
            },
            "vision.pixels" if specs.contains_key(name) => (trace.get(place()?)?.clone(), Kind::Pixels),
            "audio.mel" if specs.contains_key(name) => (trace.get(place()?)?.clone(), Kind::Spectrograms),
            _ if specs.contains_key(name) => (trace.get(place()?)?.clone(), Kind::Activations),
            _ => {
                out.left_out.push(name.clone());
                continue;
            }
        };
        // Where a tower attends within windows, transformers has no pattern outside of them, and so no gradient.
        let seen =
            reference.floats.get(site).filter(|_| name.starts_with("grad.") && site.ends_with(".pattern"));
        let spec = specs.get(if site == "logits" { "text.logits" } else { site }).copied();
        let seen = seen.map(|(_, x)| x.as_slice());
        let beside = Beside { reference, inputs: &inputs, spec, seen };
        out.compared.push(compare(name, kind, &ours, theirs, &beside)?);
    }
    if let Some((shape, theirs)) = reference.ids.get("generated") {
        out.compared.push(generated(subject, &inputs, shape, theirs)?);
    }
    Ok(out)
}

/// Gradients of a pass.
enum Slopes {
    /// Those that the reference has.
    Taken,
    /// None: its rows have different targets, or it names none.
    Apart,
    /// None: what is differentiated is no number.
    Failed(String),
}

/// Every value of the reference read or differentiated.
fn pass(
    subject: &dyn Subject,
    inputs: &Inputs,
    reference: &Reference,
    specs: &BTreeMap<String, &SiteSpec>,
) -> Result<(Trace, Slopes), Refusal> {
    let targets = reference.ids.get("target").map(|(_, ids)| ids.as_slice()).unwrap_or_default();
    let first = targets.first().copied();
    let alike = first.is_some() && targets.iter().all(|t| Some(*t) == first);
    let mut reads = Plan::new().to_output();
    for name in reference.floats.keys().filter(|name| specs.contains_key(*name)) {
        reads = reads.read(name.as_str())?;
    }
    let slopes: Vec<&str> = reference.floats.keys().filter_map(|name| name.strip_prefix("grad.")).collect();
    if targets.is_empty() && !slopes.is_empty() {
        return Err(reference.wrong("target", "it names no token, and there are gradients").into());
    }
    let mut plan = reads.clone();
    if let (Some(target), true) = (first, alike && !slopes.is_empty()) {
        for site in slopes {
            plan = plan.grad(site)?;
        }
        let token = u32::try_from(target).map_err(|_| reference.wrong("target", format!("{target}")))?;
        // What is differentiated: the logit of a token, or of the first picture and a text.
        plan = plan.objective(match reference.floats.contains_key("logits_per_image") {
            true => Objective::Pair { image: 0, text: token as usize },
            false => Objective::logit(token),
        });
    }
    match subject.run(inputs, plan) {
        Ok(trace) => Ok((trace, if alike { Slopes::Taken } else { Slopes::Apart })),
        // All that is read is told all the same.
        Err(SubjectError::Hook(error @ HookError::NotFinite { .. })) => {
            Ok((subject.run(inputs, reads)?, Slopes::Failed(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}
