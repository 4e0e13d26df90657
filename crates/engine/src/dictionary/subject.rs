//! A model with a dictionary at one of its sites: its features, and what they miss, are sites too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Tensor;
use mmlens_core::{
    AnyTensor, AxisName, Copies, Generated, Generation, Generator, HookError, Inputs, Need, Output, Plan,
    Point, Run, Selector, Session, Site, SiteSpec, Splice, Subject, SubjectError, Trace, forward_session,
    forward_subject,
};

use super::{Dictionary, DictionaryError};
use crate::{reshaped, unfolded};

const FEATURES: &str = "sae.features";
const ERROR: &str = "sae.error";
const OF_FEATURES: &str = "Features of a sparse dictionary: f = act((x - c b_dec) W_enc + b_enc).";
const OF_ERROR: &str = "What the features of a sparse dictionary miss: error = x - f W_dec - b_dec. Where both are edited to f' and error', \
                        x + (f' - f) W_dec + (error' - error) goes on.";
/// What stands between the site and the dictionary among the alterations.
const MARK: &str = ".sae=dictionary:";

/// A subject that holds another, and a dictionary of one of its sites `x`. Behind it lie two places of its own:
///
/// | site | axes | equation |
/// |---|---|---|
/// | `x.sae.features` | those of `x` that number its rows, `feature` | `f = act((x - c b_dec) W_enc + b_enc)` |
/// | `x.sae.error` | those of `x` | `e = x - f W_dec - b_dec` |
///
/// They are computed where a plan reads, changes or differentiates them, at the value that `x` has after its own edits; `x + (f' - f)
/// W_dec + (e' - e)` goes on. So nothing is changed to the last bit while `f' = f` and `e' = e`, the gradient at `f` is that of what goes on times
/// `W_dec`, that at `e` the one of what goes on, and what lies before has the gradient that it has without a dictionary. To see what the model does with the features
/// alone, set the error to zero.
pub struct WithDictionary<S> {
    inner: S,
    splice: Splice,
    sites: Vec<SiteSpec>,
    alterations: Vec<String>,
}

impl<S: Subject> WithDictionary<S> {
    /// A subject with a dictionary at the site it is of, or at another; `from` is the folder it was opened from.
    ///
    /// # Errors
    /// [`DictionaryError::NoSite`], [`DictionaryError::Width`] for a site whose rows have another length, [`DictionaryError::Taken`] for one that has a
    /// dictionary, [`DictionaryError::Hook`] for one that is not published.
    pub fn new(
        inner: S,
        dictionary: Arc<Dictionary>,
        site: Option<Site>,
        from: Option<&Path>,
    ) -> Result<Self, DictionaryError> {
        let site = site.or(dictionary.of().site).ok_or(DictionaryError::NoSite)?;
        Selector::from(site).resolve(inner.name(), inner.sites())?;
        let spec = SiteSpec::among(inner.sites(), site)?;
        if site.point().front().is_some() {
            let reason = "it is a place that stands behind another itself";
            return Err(DictionaryError::Taken { site, reason });
        }
        let lead = spec.axes.iter().take_while(|(axis, _)| numbers_rows(*axis)).count();
        let width: Option<usize> = spec.axes.iter().skip(lead).map(|(_, length)| *length).product();
        if lead == 0 || width != Some(dictionary.width()) {
            let (axes, width) = (spec.describe(), dictionary.width());
            return Err(DictionaryError::Width { site, axes, width });
        }
        let own = |path, meaning| Ok::<_, HookError>(at(site, Point::own(site.point(), path, meaning)?));
        let (features, error) = (own(FEATURES, OF_FEATURES)?, own(ERROR, OF_ERROR)?);
        if inner.sites().iter().any(|spec| spec.site == features) {
            return Err(DictionaryError::Taken { site, reason: "it has one" });
        }
        let rows = spec.axes.iter().take(lead).copied();
        let specs = vec![
            SiteSpec::new(features, rows.chain([(AxisName::Feature, Some(dictionary.features()))])),
            SiteSpec::new(error, spec.axes.iter().copied()),
        ];
        let mut alterations = inner.alterations().to_vec();
        let (named, hash) =
            (from.map(|from| from.display().to_string()).unwrap_or_default(), dictionary.hash());
        let hash: String = hash.chars().take(DIGITS).collect();
        alterations.push(format!("{site}{MARK}{named} {} features sha256 {hash}", dictionary.features()));
        let splice =
            Splice::new(site, specs, move |run, x| passed(&dictionary, (features, error, lead), run, x));
        let sites = Splice::among(inner.sites(), std::slice::from_ref(&splice));
        Ok(Self { inner, splice, sites, alterations })
    }

    /// The site of its features.
    pub fn features(&self) -> Site {
        self.splice.specs().first().map_or(self.splice.behind(), |spec| spec.site)
    }

    /// The site of what they miss.
    pub fn error(&self) -> Site {
        self.splice.specs().last().map_or(self.splice.behind(), |spec| spec.site)
    }

    fn under(&self, plan: Plan) -> Plan {
        plan.splice([self.splice.clone()])
    }
}

/// So many digits of a hash are told.
const DIGITS: usize = 12;

/// Where a dictionary stands, and the folder it is from, of a line of [`Subject::alterations`] that tells one; with the digits of its hash.
pub fn dictionary_of(alteration: &str) -> Option<(Site, PathBuf, &str)> {
    let (site, rest) = alteration.split_once(MARK)?;
    let (rest, hash) = rest.rsplit_once(" sha256 ")?;
    let (folder, _) = rest.strip_suffix(" features")?.rsplit_once(' ')?;
    Some((site.parse().ok()?, PathBuf::from(folder), hash))
}

const fn numbers_rows(axis: AxisName) -> bool {
    matches!(axis, AxisName::Batch | AxisName::Image | AxisName::Pos)
}

fn at(site: Site, point: Point) -> Site {
    match site.block_index() {
        Some(block) => Site::block(site.part(), block, point),
        None => Site::of(site.part(), point),
    }
}

/// What goes on from a value, through the features of a dictionary and what they miss.
fn passed(
    dictionary: &Dictionary,
    (features, error, lead): (Site, Site, usize),
    run: &mut Run,
    x: AnyTensor,
) -> Result<AnyTensor, HookError> {
    let dims = x.dims();
    let rows: usize = dims.iter().take(lead).product();
    let x: Tensor<2> = reshaped(x, [rows, dictionary.width()])?;
    let own = dictionary.encode(x.clone())?;
    let mut goes_on = x.clone();
    if run.wants(features) {
        let shown: Vec<usize> = dims.iter().take(lead).copied().chain([dictionary.features()]).collect();
        let after = run.at(features, unfolded(own.clone(), &shown)?)?;
        let after: Tensor<2> = reshaped(after, [rows, dictionary.features()])?;
        goes_on = goes_on + dictionary.combine(after - own.clone());
    }
    if run.wants(error) {
        let missed = x - dictionary.decode(own);
        let after = run.at(error, unfolded(missed.clone(), &dims)?)?;
        goes_on = goes_on + (reshaped::<2>(after, [rows, dictionary.width()])? - missed);
    }
    unfolded(goes_on, &dims)
}

impl<S: Subject> fmt::Debug for WithDictionary<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?}", self.inner.name(), self.splice)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Subject> Subject for WithDictionary<S> {
    forward_subject!(|own| &own.inner; name, weights_hash, dtype, device, kernels, differentiable, edited, anatomy, read_behind, weights, weight, encode,
        resumes_from_suffix, fits, read_out, longest_answer, rules, decode, token, tokens, mask, pad);

    fn alterations(&self) -> &[String] {
        &self.alterations
    }

    fn sites(&self) -> &[SiteSpec] {
        &self.sites
    }

    fn dims(&self, inputs: &Inputs, site: Site) -> Result<Vec<usize>, HookError> {
        let Some(spec) = self.splice.specs().iter().find(|spec| spec.site == site) else {
            return self.inner.dims(inputs, site);
        };
        let front = self.inner.dims(inputs, self.splice.behind())?;
        let len = |(at, (_, fixed)): (usize, &(AxisName, Option<usize>))| fixed.or(front.get(at).copied());
        let dims: Option<Vec<usize>> = spec.axes.iter().enumerate().map(len).collect();
        dims.ok_or(HookError::Unpublished(site))
    }

    fn need(&self, inputs: &Inputs, plan: &Plan, copies: Copies) -> Result<Need, HookError> {
        self.inner.need(inputs, &self.under(plan.clone()), copies)
    }

    fn run(&self, inputs: &Inputs, plan: Plan) -> Result<Trace, SubjectError> {
        self.inner.run(inputs, self.under(plan))
    }

    fn forward(&self, inputs: &Inputs, run: &mut Run) -> Result<Output, SubjectError> {
        run.splice([self.splice.clone()]);
        self.inner.forward(inputs, run)
    }

    fn generate(&self, inputs: &Inputs, how: &Generation) -> Result<Vec<Generated>, SubjectError> {
        Ok(Generator::new(how).write(self, inputs)?.0)
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        let inner = self.inner.begin(inputs, self.under(plan))?;
        Ok(Box::new(Answering { splice: &self.splice, inner }))
    }
}

/// A session whose steps have the places of the dictionary.
struct Answering<'a> {
    splice: &'a Splice,
    inner: Box<dyn Session + 'a>,
}

impl Session for Answering<'_> {
    forward_session!(|own| own.inner; rows, steps, written, room, logits, begun, back, keep, settle);

    fn step(&mut self, tokens: &[u32], plan: Plan) -> Result<Trace, SubjectError> {
        self.inner.step(tokens, plan.splice([self.splice.clone()]))
    }

    fn fork<'b>(&self) -> Box<dyn Session + 'b>
    where
        Self: 'b,
    {
        Box::new(Answering { splice: self.splice, inner: self.inner.fork() })
    }
}
