//! The checkpoints of all fixture folders, whatever their family, and samples like those of their traces.

use std::path::PathBuf;

use burn::tensor::Device;
use mmlens_core::{
    AnyTensor, AxisName, Generation, Inputs, Part, Plan, Point, Sample, Sampling, Site, SiteSpec, Subject,
    SubjectError, Trace, Words,
};
use mmlens_zoo::ZooError;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use super::fixtures;
use mmlens_zoo::certify;

/// A folder that opens, and what its traces ask.
pub(super) struct Opened {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) subject: Box<dyn Subject>,
    pub(super) samples: Vec<Sample>,
}

/// Every fixture folder with a model. Those of a kind that is not known here yet are left out, by that error alone.
pub(super) fn every() -> Vec<Opened> {
    let mut opened = Vec::new();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for dir in names.into_iter().filter(|dir| dir.join("model/config.json").exists()) {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let subject = match mmlens_zoo::open(dir.join("model"), &Device::flex()) {
            Ok(subject) => subject,
            Err(ZooError::In { error, .. }) if matches!(&*error, ZooError::Unsupported { field, .. } if field == "model_type") =>
            {
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let mut traces: Vec<PathBuf> =
            std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        traces.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
        traces.sort();
        let pictures = fixtures().join("pictures");
        let samples: Vec<Sample> =
            traces.iter().flat_map(|path| certify::samples(path, &pictures).unwrap()).collect();
        assert!(!samples.is_empty(), "{name}: no traces");
        opened.push(Opened { name, folder: dir.join("model"), subject, samples });
    }
    assert!(opened.len() >= 22, "only {} folders open", opened.len());
    opened
}

/// Tries a property on some samples of every folder: `test` is given a folder, and numbers and words to vary its samples with.
///
/// A sample that the property says nothing of is rejected (`prop_assume!`, or [`Opened::encoded`]), and another is drawn: a folder
/// of which every sample is rejected fails.
pub(super) fn of_every(cases: u32, test: impl Fn(&Opened, &[Varied]) -> Result<(), TestCaseError>) {
    let tried = of_those(cases, |_| true, test);
    assert!(tried >= 22, "only {tried} folders");
}

/// The same of those folders that the property is about; how many they are.
pub(super) fn of_those(
    cases: u32,
    about: impl Fn(&Opened) -> bool,
    test: impl Fn(&Opened, &[Varied]) -> Result<(), TestCaseError>,
) -> usize {
    let varied = (any::<usize>(), "[a-z ]{0,3}[A-Z0-9]{1,2}([ äß円]|😀){0,3}", any::<u64>())
        .prop_map(|(which, words, number)| Varied { which, words, number });
    let folders: Vec<Opened> = every().into_iter().filter(about).collect();
    for folder in &folders {
        let config =
            Config { cases, max_global_rejects: 200, failure_persistence: None, ..Config::default() };
        let tried =
            TestRunner::new(config).run(&(varied.clone(), varied.clone()), |(a, b)| test(folder, &[a, b]));
        if let Err(error) = tried {
            panic!("{}: {error}", folder.name);
        }
    }
    folders.len()
}

/// How a sample differs from one of a trace.
#[derive(Debug, Clone)]
pub(super) struct Varied {
    pub(super) which: usize,
    pub(super) words: String,
    pub(super) number: u64,
}

impl Opened {
    pub(super) fn config(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.folder.join("config.json")).unwrap()).unwrap()
    }

    /// The `model_type`.
    pub(super) fn kind(&self) -> String {
        self.config()["model_type"].as_str().unwrap().to_owned()
    }

    /// The `model_type` of the decoder, its own or that of the one within.
    pub(super) fn decoder(&self) -> String {
        let inner = self.config()["text_config"]["model_type"].as_str().map(str::to_owned);
        inner.unwrap_or_else(|| self.kind())
    }

    /// One of the folder's samples with more words.
    pub(super) fn sample(&self, varied: &Varied) -> Sample {
        let mut sample = self.samples[varied.which % self.samples.len()].clone();
        let more = &varied.words;
        sample.words = match sample.words {
            Words::Question(text) => Words::Question(format!("{text}{more}")),
            Words::Prompt(text) => Words::Prompt(format!("{text}{more}")),
            Words::Texts(texts) => Words::Texts(texts.iter().map(|text| format!("{text}{more}")).collect()),
            Words::Nothing => Words::Nothing,
        };
        sample
    }

    /// That sample encoded, or where it is too long for the model, the trace's own.
    pub(super) fn inputs(&self, varied: &Varied) -> Inputs {
        let own = || self.subject.encode(&self.samples[varied.which % self.samples.len()]).unwrap();
        self.encoded(&self.sample(varied)).unwrap_or_else(|_| own().all_logits())
    }

    /// A sample encoded. One that is too long for the model is rejected; any other refusal is a failure.
    pub(super) fn encoded(&self, sample: &Sample) -> Result<Inputs, TestCaseError> {
        match self.subject.encode(sample) {
            Ok(inputs) => Ok(inputs.all_logits()),
            Err(error) => {
                let said = error.to_string();
                let long = ["expected 1 to", "tokens, of at most"].iter().any(|part| said.contains(part));
                prop_assert!(long, "{}", said);
                Err(TestCaseError::reject("longer than the model is"))
            }
        }
    }

    /// Whether it generates.
    pub(super) fn generates(&self) -> bool {
        let inputs = self.subject.encode(&self.samples[0]).unwrap();
        let how = Generation { max_new: 1, sampling: Sampling::Greedy, stop_at_end: false };
        !matches!(self.subject.generate(&inputs, &how), Err(SubjectError::Unsupported { .. }))
    }

    /// Whether it compares pictures with texts, each in a tower of its own.
    pub(super) fn is_dual(&self) -> bool {
        self.subject.sites().iter().any(|spec| spec.site.point() == Point::Projected)
    }

    pub(super) fn spec(&self, site: Site) -> &SiteSpec {
        self.subject.sites().iter().find(|spec| spec.site == site).unwrap()
    }

    /// The sites that a pass reaches: those of the tower only with pictures.
    pub(super) fn sites(&self, inputs: &Inputs) -> Vec<&SiteSpec> {
        let blind = |spec: &&SiteSpec| {
            let of_pictures = matches!(spec.site.part(), Part::Vision | Part::Connector);
            inputs.seen.values.is_some() || !(of_pictures || spec.site.point() == Point::Deepstack)
        };
        self.subject.sites().iter().filter(blind).collect()
    }

    /// All sites of one pass to its end.
    pub(super) fn all(&self, inputs: &Inputs) -> Trace {
        self.subject.run(inputs, read(&self.sites(inputs))).unwrap()
    }
}

/// Reads all of some sites, in a pass to its end.
pub(super) fn read(sites: &[&SiteSpec]) -> Plan {
    sites.iter().fold(Plan::new().to_output(), |plan, spec| plan.read(spec.site).unwrap())
}

/// What a pass says in the end: logits of tokens, or of pictures and texts.
pub(super) fn said(trace: &Trace) -> Vec<f32> {
    let output = trace.output();
    let logits = output.logits.as_ref().or(output.pairs.as_ref().map(|pairs| &pairs.logits));
    // A model of states alone says nothing.
    logits.map_or_else(Vec::new, |logits| logits.to_values().unwrap())
}

/// The same values of a site but for rounding, measured as [`SiteSpec::tolerance`] says.
pub(super) fn alike(
    spec: &SiteSpec,
    row: usize,
    found: &(Vec<usize>, Vec<f32>),
    wanted: &(Vec<usize>, Vec<f32>),
) -> Result<(), TestCaseError> {
    /// The same arithmetic on another shape, or in another order.
    const ROUNDING: f64 = 1e-4;
    let what = format!("{} row {row}", spec.site);
    prop_assert_eq!(&found.0, &wanted.0, "{}", what);
    spec.tolerance(&found.0, ROUNDING)
        .check(&what, &found.1, &wanted.1)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    Ok(())
}

/// One row's own values of a site: without padding, without what belongs to other rows.
pub(super) fn own(spec: &SiteSpec, x: &AnyTensor, inputs: &Inputs, row: usize) -> (Vec<usize>, Vec<f32>) {
    let dims = x.dims();
    // Pictures one after the other in one sequence: this row's patches, as shares of all.
    let seen = matches!(spec.site.part(), Part::Vision | Part::Connector);
    let joined = spec.axis(AxisName::Image).is_none_or(|axis| dims[axis] == 1);
    let apart = seen && joined && !inputs.seen.grids.is_empty();
    let patches = |image: &usize| {
        inputs.seen.grids[*image].frames * inputs.seen.grids[*image].rows * inputs.seen.grids[*image].cols
    };
    let total: usize = (0..inputs.seen.grids.len()).map(|i| patches(&i)).sum();
    let shares = |len: usize| {
        let places = inputs.seen.of_rows[row].iter().flat_map(|image| {
            let before: usize = (0..*image).map(|i| patches(&i)).sum();
            len * before / total..len * (before + patches(image)) / total
        });
        places.collect::<Vec<usize>>()
    };
    let chosen: Vec<Vec<usize>> = spec
        .axes
        .iter()
        .zip(&dims)
        .map(|((axis, fixed), len)| match axis {
            AxisName::Batch => vec![row],
            AxisName::Image if apart => vec![0],
            AxisName::Image if *len == inputs.seen.len() => inputs.seen.of_rows[row].clone(),
            AxisName::Pos | AxisName::Query | AxisName::Key if apart => shares(*len),
            // An axis of one length is no axis of the text: cross-attention has patches for keys.
            AxisName::Pos | AxisName::Query | AxisName::Key
                if !seen && fixed.is_none() && *len == inputs.positions() =>
            {
                (inputs.pads[row]..len - inputs.tails[row]).collect()
            }
            _ => (0..*len).collect(),
        })
        .collect();
    let values = x.to_values().unwrap();
    let shape: Vec<usize> = chosen.iter().map(Vec::len).collect();
    let cut = (0..shape.iter().product::<usize>()).map(|flat| {
        let (mut rest, mut index, mut stride) = (flat, 0, 1);
        for axis in (0..shape.len()).rev() {
            index += chosen[axis][rest % shape[axis]] * stride;
            rest /= shape[axis];
            stride *= dims[axis];
        }
        values[index]
    });
    (shape.clone(), cut.collect())
}
