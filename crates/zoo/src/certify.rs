//! Whether a subject computes what a reference says: the parity certificate.
//!
//! A reference is one safetensors file of `oracles/trace.py` or `oracles/make_traces.py`: values of transformers under the
//! names of sites, and in its metadata the samples they belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmlens_core::{
    AnyTensor, AxisName, Clip, Generation, HookError, Inputs, Objective, Picture, Plan, Sample, Sampling,
    Site, SiteSpec, Subject, SubjectError, Trace, Words,
};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde_json::Value;

/// Largest error allowed of activations and logits, over the largest absolute value.
pub const ACTIVATIONS: f32 = 1e-4;
/// The same of gradients.
pub const GRADIENTS: f32 = 1e-3;
/// The same of normalised pixels.
pub const PIXELS: f32 = 1e-6;

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
    /// The subject refused.
    #[error(transparent)]
    Subject(#[from] SubjectError),
}

impl From<HookError> for CertifyError {
    fn from(error: HookError) -> Self {
        Self::Subject(error.into())
    }
}

/// One value of the reference and the subject's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The site, `grad.` and the site, or `logits`, `pixel_values`, `input_ids`, `generated`.
    pub name: String,
    /// The largest absolute error; for ids, how many differ.
    pub error: f32,
    /// The largest absolute value of the reference.
    pub largest: f32,
    /// Where the largest error is.
    pub at: Vec<usize>,
    /// The largest error allowed, over the largest value; ids must be equal.
    pub bound: f32,
    /// Whether it is within the bound.
    pub passed: bool,
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
    /// Whether everything is within its bound, and there was something.
    pub fn passed(&self) -> bool {
        !self.compared.is_empty() && self.compared.iter().all(|c| c.passed)
    }
}

struct Reference {
    path: PathBuf,
    about: Value,
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    ids: BTreeMap<String, (Vec<usize>, Vec<i64>)>,
}

impl Reference {
    fn read(path: &Path) -> Result<Self, CertifyError> {
        let fail = |reason: String| CertifyError::File { path: path.display().to_string(), reason };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let about = header.metadata().as_ref().and_then(|m| m.get("about"));
        let about = about.ok_or_else(|| fail("its metadata has no `about`: it is no trace".to_owned()))?;
        let about = serde_json::from_str(about).map_err(|e| fail(format!("`about`: {e}")))?;
        let (mut floats, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?.tensors() {
            let (shape, data) = (view.shape().to_vec(), view.data());
            match view.dtype() {
                Dtype::F32 => {
                    let (values, _) = data.as_chunks::<4>();
                    floats.insert(name, (shape, values.iter().map(|b| f32::from_le_bytes(*b)).collect()));
                }
                Dtype::I64 => {
                    let (values, _) = data.as_chunks::<8>();
                    ids.insert(name, (shape, values.iter().map(|b| i64::from_le_bytes(*b)).collect()));
                }
                other => return Err(fail(format!("`{name}` is {other:?}, expected F32 or I64"))),
            }
        }
        Ok(Self { path: path.to_owned(), about, floats, ids })
    }

    fn wrong(&self, field: &str, reason: impl Into<String>) -> CertifyError {
        CertifyError::Reference {
            path: self.path.display().to_string(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    fn samples(&self, pictures: &Path) -> Result<Vec<Sample>, CertifyError> {
        let rows = self.about.get("rows").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| self.wrong("about", "it names no rows"))?;
        rows.iter().map(|row| self.sample(row, pictures)).collect()
    }

    fn sample(&self, row: &Value, pictures: &Path) -> Result<Sample, CertifyError> {
        let list = |name: &str| row.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let picture = |name: &Value| {
            let name =
                name.as_str().ok_or_else(|| self.wrong("rows", format!("{name} is no picture's name")))?;
            let plain = pictures.join(name);
            let path = if plain.is_file() { plain } else { pictures.join(format!("{name}.png")) };
            Ok::<_, CertifyError>(Picture::open(path)?)
        };
        let words = match (text("ask"), text("prompt"), row.get("texts")) {
            (Some(ask), ..) => Words::Ask(ask),
            (_, Some(prompt), _) => Words::Prompt(prompt),
            (_, _, Some(texts)) => Words::Texts(
                serde_json::from_value(texts.clone()).map_err(|e| self.wrong("texts", e.to_string()))?,
            ),
            _ => Words::Nothing,
        };
        let shown: Result<_, _> = list("images").iter().map(picture).collect();
        let mut sample = Sample::new(shown?, words);
        for (i, frames) in list("videos").iter().enumerate() {
            let frames = frames.as_array().map(Vec::as_slice).unwrap_or_default();
            let frames: Result<_, CertifyError> = frames.iter().map(|f| Ok(picture(f)?.image)).collect();
            let fps = row.get("fps").and_then(Value::as_f64);
            sample.clips.push(Clip { name: format!("clip {i}"), frames: frames?, fps });
        }
        Ok(sample)
    }
}

/// The samples a reference belongs to. Names of pictures are as in [`certify`].
///
/// # Errors
/// [`CertifyError`] for a reference or picture that cannot be read.
pub fn samples(path: &Path, pictures: &Path) -> Result<Vec<Sample>, CertifyError> {
    Reference::read(path)?.samples(pictures)
}

/// Holds a subject against a reference. Names of pictures are those of files in a folder, with or without `.png`.
///
/// Padded positions and masked scores are left out. Bounds: [`ACTIVATIONS`], [`GRADIENTS`], [`PIXELS`]; ids and greedy
/// tokens must be equal.
///
/// # Errors
/// [`CertifyError`] for a reference that cannot be read or a subject that refuses; a value that differs is no error.
///
/// # Cost
/// One forward pass, one backward if there are gradients, and generation if there are tokens.
pub fn certify(subject: &dyn Subject, path: &Path, pictures: &Path) -> Result<Certificate, CertifyError> {
    let reference = Reference::read(path)?;
    let singles: Result<Vec<Inputs>, _> =
        reference.samples(pictures)?.iter().map(|sample| subject.encode(sample)).collect();
    let inputs = Inputs::batch(&singles?, subject.pad())?.ask_all();
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
    let (trace, alike) = pass(subject, &inputs, &reference, &specs)?;
    for (name, theirs) in &reference.floats {
        let site = name.strip_prefix("grad.").unwrap_or(name);
        let place = || site.parse::<Site>();
        let output = trace.output();
        let pairs = || output.pairs.clone().ok_or(HookError::NoOutput(name.clone()));
        let (ours, bound) = match name.as_str() {
            "pixel_values" => (inputs.pixels.clone().ok_or(HookError::NoOutput(name.clone()))?, PIXELS),
            "logits" => (output.logits.clone().ok_or(HookError::NoOutput(name.clone()))?, ACTIVATIONS),
            "image_embeds" => (pairs()?.images, ACTIVATIONS),
            "text_embeds" => (pairs()?.texts, ACTIVATIONS),
            "logits_per_image" => (pairs()?.logits, ACTIVATIONS),
            _ if name.starts_with("grad.") && alike => (trace.grad(place()?)?.clone(), GRADIENTS),
            _ if specs.contains_key(name) => (trace.get(place()?)?.clone(), ACTIVATIONS),
            _ => {
                out.left_out.push(name.clone());
                continue;
            }
        };
        // Where a tower attends within windows, transformers has no pattern outside of them, and so no gradient.
        let seen =
            reference.floats.get(site).filter(|_| name.starts_with("grad.") && site.ends_with(".pattern"));
        let spec = specs.get(if site == "logits" { "text.logits" } else { site }).copied();
        out.compared.push(compare(
            name,
            &ours,
            theirs,
            seen.map(|(_, x)| x.as_slice()),
            spec,
            &inputs,
            bound,
        )?);
    }
    if let Some((shape, theirs)) = reference.ids.get("generated") {
        out.compared.push(generated(subject, &inputs, shape, theirs)?);
    }
    Ok(out)
}

/// Every value of the reference read or differentiated; and whether all rows have one target, without which gradients cannot
/// be compared.
fn pass(
    subject: &dyn Subject,
    inputs: &Inputs,
    reference: &Reference,
    specs: &BTreeMap<String, &SiteSpec>,
) -> Result<(Trace, bool), CertifyError> {
    let targets = reference.ids.get("target").map(|(_, ids)| ids.as_slice()).unwrap_or_default();
    let first = targets.first().copied();
    let alike = first.is_some() && targets.iter().all(|t| Some(*t) == first);
    let mut plan = Plan::new().to_output();
    for name in reference.floats.keys() {
        match name.strip_prefix("grad.") {
            Some(site) if alike => plan = plan.grad(site)?,
            None if specs.contains_key(name) => plan = plan.read(name.as_str())?,
            _ => {}
        }
    }
    let differentiated = reference.floats.keys().any(|name| name.starts_with("grad."));
    if let (Some(target), true) = (first, alike && differentiated) {
        let token = u32::try_from(target).map_err(|_| reference.wrong("target", format!("{target}")))?;
        // What is differentiated: the logit of a token, or of the first picture and a text.
        plan = plan.objective(match reference.floats.contains_key("logits_per_image") {
            true => Objective::Pair { image: 0, text: token as usize },
            false => Objective::logit(token),
        });
    }
    Ok((subject.run(inputs, plan)?, alike))
}

fn ids(inputs: &Inputs, shape: &[usize], theirs: &[i64]) -> Compared {
    let mut found = Compared {
        name: "input_ids".to_owned(),
        error: 0.0,
        largest: theirs.iter().copied().max().unwrap_or(0) as f32,
        at: Vec::new(),
        bound: 0.0,
        passed: shape == [inputs.rows(), inputs.positions()],
    };
    for (row, (ours, theirs)) in inputs.ids.iter().zip(theirs.chunks(inputs.positions().max(1))).enumerate() {
        let real = inputs.pads[row]..inputs.positions() - inputs.tails[row];
        for (p, (a, b)) in ours.iter().zip(theirs).enumerate() {
            if real.contains(&p) && i64::from(*a) != *b {
                if found.at.is_empty() {
                    found.at = vec![row, p];
                }
                found.error += 1.0;
                found.passed = false;
            }
        }
    }
    found
}

fn generated(
    subject: &dyn Subject,
    inputs: &Inputs,
    shape: &[usize],
    theirs: &[i64],
) -> Result<Compared, CertifyError> {
    let length = shape.get(1).copied().unwrap_or(0);
    let how = Generation { max_new: length, sampling: Sampling::Greedy, stop_at_end: true };
    let rows = subject.generate(inputs, &how)?;
    let mut found = Compared {
        name: "generated".to_owned(),
        error: 0.0,
        largest: theirs.iter().copied().max().unwrap_or(0) as f32,
        at: Vec::new(),
        bound: 0.0,
        passed: shape.first() == Some(&rows.len()),
    };
    let pad = i64::from(subject.pad());
    for (row, (ours, theirs)) in rows.iter().zip(theirs.chunks(length.max(1))).enumerate() {
        for (i, theirs) in theirs.iter().enumerate() {
            let ours = ours.tokens.get(i).map_or(pad, |token| i64::from(*token));
            if ours != *theirs {
                if found.at.is_empty() {
                    found.at = vec![row, i];
                }
                found.error += 1.0;
                found.passed = false;
            }
        }
    }
    Ok(found)
}

fn compare(
    name: &str,
    ours: &AnyTensor,
    (shape, theirs): &(Vec<usize>, Vec<f32>),
    seen: Option<&[f32]>,
    spec: Option<&SiteSpec>,
    inputs: &Inputs,
    bound: f32,
) -> Result<Compared, HookError> {
    let mut found =
        Compared { name: name.to_owned(), error: 0.0, largest: 0.0, at: Vec::new(), bound, passed: false };
    if ours.dims() != *shape {
        found.error = f32::INFINITY;
        found.at = ours.dims();
        return Ok(found);
    }
    for (i, (a, b)) in ours.to_values()?.iter().zip(theirs).enumerate() {
        let hidden = seen.is_some_and(|seen| seen.get(i) == Some(&0.0));
        if hidden || *b <= -1e30 {
            continue;
        }
        let at = place(i, shape);
        if spec.is_some_and(|spec| padded(spec, &at, shape, inputs)) {
            continue;
        }
        let error = if a.is_finite() { (a - b).abs() } else { f32::INFINITY };
        found.largest = found.largest.max(b.abs());
        if error > found.error || found.at.is_empty() {
            (found.error, found.at) = (error, at);
        }
    }
    found.passed = found.error <= bound * found.largest;
    Ok(found)
}

fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place = vec![0; shape.len()];
    for (slot, len) in place.iter_mut().zip(shape).rev() {
        *slot = index % len.max(&1);
        index /= len.max(&1);
    }
    place
}

/// Whether an entry lies at a position that is padding.
fn padded(spec: &SiteSpec, at: &[usize], shape: &[usize], inputs: &Inputs) -> bool {
    let Some(row) = spec.axis(AxisName::Batch).and_then(|axis| at.get(axis)) else { return false };
    let (Some(pad), Some(tail)) = (inputs.pads.get(*row), inputs.tails.get(*row)) else { return false };
    [AxisName::Pos, AxisName::Query, AxisName::Key].into_iter().filter_map(|axis| spec.axis(axis)).any(
        |axis| {
            let own = spec.axes.get(axis).is_some_and(|(_, fixed)| fixed.is_none());
            let (at, len) = (at.get(axis).copied().unwrap_or(0), shape.get(axis).copied().unwrap_or(0));
            // Patches that cross-attention looks at, and answers behind a question, are no positions of the row.
            own && len == inputs.positions() && (at < *pad || at + tail >= len && *tail > 0)
        },
    )
}
