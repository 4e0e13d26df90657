//! One change of a sweep: where, which part of it, and to what.

use std::collections::BTreeMap;

use mmlens_core::{
    AnalysisError, AnyTensor, AxisName, Change, Content, HookError, Inputs, Plan, Point, Region, Seed,
    Selector, Site, SiteSpec, Subject, Trace, contents,
};

use super::{Entry, of_copy};

/// A change of the chosen part of one or more sites.
#[derive(Debug, Clone)]
pub struct Edit {
    places: Selector,
    region: Region,
    change: Change,
    /// Whether copies of one case in a batch cannot disturb one another.
    by_row: bool,
}

impl Edit {
    /// Any change of a whole site.
    pub fn new(places: impl Into<Selector>, change: Change) -> Self {
        // A closure or a mean may look at all rows.
        let by_row = !matches!(change, Change::With(_) | Change::Mean);
        Self { places: places.into(), region: Region::all(), change, by_row }
    }

    /// To zero.
    pub fn zero(places: impl Into<Selector>) -> Self {
        Self::new(places, Change::Zero)
    }

    /// Multiplied by a number.
    pub fn scale(places: impl Into<Selector>, by: f32) -> Self {
        Self::new(places, Change::Scale(by))
    }

    /// With a value added; each of its lengths equals the site's or is 1.
    pub fn add(places: impl Into<Selector>, value: impl Into<AnyTensor>) -> Self {
        Self::new(places, Change::Add(value.into()))
    }

    /// Replaced by a value; each of its lengths equals the site's or is 1.
    pub fn set(places: impl Into<Selector>, value: impl Into<AnyTensor>) -> Self {
        Self::new(places, Change::Set(value.into()))
    }

    /// Attention scores to minus infinity: the edges are cut.
    pub fn mask(places: impl Into<Selector>) -> Self {
        Self::new(places, Change::Mask)
    }

    /// Attention edges from keys to queries cut: their scores become minus infinity, so that the remaining weights
    /// still sum to one. A position keeps its edge to itself, so that no query is left with nothing.
    ///
    /// The site has axes `[batch, head, query, key]`; positions count padding.
    pub fn cut(site: Site, queries: Vec<usize>, keys: Vec<usize>) -> Self {
        let edges = Region::all().of(AxisName::Query, queries).of(AxisName::Key, keys);
        Self::new(site, Change::MaskOthers).within(edges)
    }

    /// Replaced by what another run had there.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if that run did not read the site.
    pub fn patch(site: Site, from: &Trace) -> Result<Self, HookError> {
        Ok(Self::set(site, from.get(site)?.clone()))
    }

    /// Replaced by what one of several other runs had there, drawn by the seed.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if there are none, or the one drawn did not read the site.
    pub fn resample(site: Site, from: &[Trace], seed: Seed) -> Result<Self, HookError> {
        let drawn = (seed.unit() * from.len() as f32) as usize;
        let from = from.get(drawn.min(from.len().saturating_sub(1))).ok_or(HookError::NotRead(site))?;
        Self::patch(site, from)
    }

    /// With normal noise added, the same for a seed.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if the trace, which gives shape and device, did not read the site.
    pub fn noise(site: Site, like: &Trace, deviation: f32, seed: Seed) -> Result<Self, HookError> {
        let x = like.get(site)?;
        let values =
            (0..x.dims().iter().product()).map(|i: usize| deviation * normal(seed.at(i as u64))).collect();
        Ok(Self::add(site, x.filled(values)?))
    }

    /// Only in some heads; where the site has the heads of keys and values (`attn.k`, `attn.v`), in some of these.
    #[must_use]
    pub fn heads(mut self, heads: impl IntoIterator<Item = usize>) -> Self {
        self.region = self.region.heads(heads);
        self
    }

    /// Only at some positions: one, a span, or the patches of a part of a picture
    /// ([`TokenMap::covering`](mmlens_core::TokenMap::covering)).
    #[must_use]
    pub fn positions(mut self, positions: impl IntoIterator<Item = usize>) -> Self {
        self.region = self.region.positions(positions);
        self
    }

    /// Only some neurons.
    #[must_use]
    pub fn neurons(mut self, neurons: impl IntoIterator<Item = usize>) -> Self {
        self.region = self.region.neurons(neurons);
        self
    }

    /// Only in a region, which must not name rows of the batch: every variant is a row of its own.
    #[must_use]
    pub fn within(mut self, region: Region) -> Self {
        self.region = region;
        self
    }

    /// Planned for a case by itself.
    ///
    /// # Errors
    /// [`HookError`] as [`Plan::change`].
    pub(crate) fn whole(self, plan: Plan) -> Result<Plan, HookError> {
        plan.change(self.places, self.region, self.change)
    }

    /// Where it applies.
    pub fn places(&self) -> &Selector {
        &self.places
    }

    /// Whether copies of one case in a batch cannot disturb one another.
    pub(super) fn by_row(&self) -> bool {
        self.by_row
    }

    /// The first position of a site that it changes; 0 where it does not say.
    pub(super) fn first(&self, spec: &SiteSpec) -> usize {
        let own = sequence(spec).and_then(|(_, axis)| self.region.indices(axis));
        own.and_then(|own| own.iter().min().copied()).unwrap_or(0)
    }

    /// Its region in a pass over the positions from one on.
    fn behind(&self, spec: &SiteSpec, region: Region, from: usize) -> Region {
        match (sequence(spec), from) {
            (Some((_, axis)), 1..) => match self.region.indices(axis) {
                Some(own) => region.of(axis, own.iter().map(|index| index.saturating_sub(from))),
                None => region,
            },
            _ => region,
        }
    }

    /// Planned for one copy of several in a batch that starts at an entry, with the positions from one on; each copy has one
    /// row of the case.
    pub(super) fn planned(
        &self,
        mut plan: Plan,
        published: &[SiteSpec],
        entry: Entry,
        (copies, copy): (usize, usize),
        case: &Inputs,
        from: usize,
    ) -> Result<Plan, HookError> {
        if copies == 1 && entry == Entry::Alone {
            return plan.change(self.places.clone(), self.region.clone(), self.change.clone());
        }
        for spec in published.iter().filter(|spec| self.places.matches(&spec.site)) {
            let region = self.behind(spec, of_copy(spec, &self.region, copy, case), from);
            let change = self.of_copies(spec, copies, (case.positions(), from))?;
            plan = plan.change(entry.place(spec.site), region, change)?;
        }
        Ok(plan)
    }

    /// A value for every picture or recording of the case stands for those of every copy; of one for all positions, those are taken that
    /// the pass computes.
    fn of_copies(
        &self,
        spec: &SiteSpec,
        copies: usize,
        (positions, from): (usize, usize),
    ) -> Result<Change, HookError> {
        if let (Some((at, _)), 1.., Change::Add(value) | Change::Set(value)) =
            (sequence(spec), from, &self.change)
        {
            let own = match value.dims().get(at) {
                Some(length) if *length == positions => value.part(at, from, positions - from)?,
                _ => value.clone(),
            };
            return Ok(if matches!(self.change, Change::Add(_)) {
                Change::Add(own)
            } else {
                Change::Set(own)
            });
        }
        let entries = spec.tower().is_some();
        let several = |value: &AnyTensor| entries && value.dims().first().is_some_and(|n| *n > 1);
        Ok(match &self.change {
            Change::Add(value) if several(value) => Change::Add(value.repeat_rows(copies)?),
            Change::Set(value) if several(value) => Change::Set(value.repeat_rows(copies)?),
            change => change.clone(),
        })
    }
}

/// Where a site of the language model has its positions, one for each of the sequence, and what the axis is called.
fn sequence(spec: &SiteSpec) -> Option<(usize, AxisName)> {
    let whole = spec.site.point() != Point::Logits;
    let axis = |name| spec.axis(name).filter(|_| whole).map(|at| (at, name));
    axis(AxisName::Query).or_else(|| axis(AxisName::Pos))
}

/// Mean activations over a reference set, to put in the place of what a site holds.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Of sites with positions one for everything that these carry; of others one for all rows or pictures.
    means: BTreeMap<Site, BTreeMap<Option<Content>, AnyTensor>>,
}

/// What is added up of a site.
struct Sum {
    total: Vec<f64>,
    count: usize,
    /// Of its shape and on its device.
    like: AnyTensor,
}

impl Reference {
    /// The mean of some sites over many inputs: over all rows (or pictures) and positions, words apart from patches, `[1, 1, ...]`
    /// with the other axes kept. Padding is left out, and at `text.embed` positions whose vectors image features replace.
    ///
    /// # Errors
    /// Whatever a pass reports; [`HookError::Values`] for values of other widths from input to input,
    /// [`HookError::NoMean`] for the pixels of a tower that is given patches.
    ///
    /// # Cost
    /// One pass for each input, which ends at the last site asked for.
    pub fn mean(subject: &dyn Subject, places: &Selector, inputs: &[Inputs]) -> Result<Self, AnalysisError> {
        let mut sums: BTreeMap<Site, BTreeMap<Option<Content>, Sum>> = BTreeMap::new();
        for input in inputs {
            let trace = subject.run(input, Plan::new().read(places.clone())?)?;
            for (site, value) in trace.values() {
                let spec = SiteSpec::among(subject.sites(), site)?;
                add(sums.entry(site).or_default(), spec, value, input)?;
            }
        }
        let mean = |Sum { total, count, like }: Sum| {
            like.filled(total.into_iter().map(|total| (total / count as f64) as f32).collect())
        };
        let of_site = |sums: BTreeMap<Option<Content>, Sum>| {
            sums.into_iter().map(|(content, sum)| Ok((content, mean(sum)?))).collect::<Result<_, HookError>>()
        };
        let means = sums.into_iter().map(|(site, sums)| Ok((site, of_site(sums)?)));
        Ok(Self { means: means.collect::<Result<_, HookError>>()? })
    }

    /// A site replaced by its mean: every position by that of what it carries.
    ///
    /// # Errors
    /// [`HookError::NotRead`] if the set has no mean of it; in the pass [`HookError::NoneOf`] where the set has nothing of what
    /// a position carries.
    pub fn at(&self, site: Site) -> Result<Edit, HookError> {
        let means = self.means.get(&site).ok_or(HookError::NotRead(site))?;
        if let Some(whole) = means.get(&None) {
            return Ok(Edit::set(site, whole.clone()));
        }
        let own = |(content, mean): (&Option<Content>, &AnyTensor)| Some(((*content)?, mean.clone()));
        Ok(Edit::new(site, Change::Fill(means.iter().filter_map(own).collect())))
    }
}

/// Adds one value up, position by position.
fn add(
    sums: &mut BTreeMap<Option<Content>, Sum>,
    spec: &SiteSpec,
    value: &AnyTensor,
    input: &Inputs,
) -> Result<(), HookError> {
    let (dims, values) = (value.dims(), value.to_values()?);
    let at = spec.axis(AxisName::Pos);
    let positions = match at {
        Some(_) => contents(spec, &dims, Some(input))?.into_iter().map(|own| own.map(Some)).collect(),
        None => vec![Some(None); dims.first().copied().unwrap_or(0)],
    };
    let length = at.map_or(1, |at| dims.get(at).copied().unwrap_or(1)).max(1);
    // Coordinates behind the positions, and axes between them and the first.
    let inner: usize = dims.iter().skip(at.unwrap_or(0) + 1).product::<usize>().max(1);
    let between: usize = dims.iter().take(at.unwrap_or(0)).skip(1).product::<usize>().max(1);
    let kept = |axis: usize| axis > 0 && Some(axis) != at;
    let shape: Vec<usize> =
        dims.iter().enumerate().map(|(axis, len)| if kept(axis) { *len } else { 1 }).collect();
    for (run, own) in values.chunks(inner).enumerate() {
        let (row, across) = (run / (between * length), run / length % between);
        let Some(content) = positions.get(row * length + run % length).copied().flatten() else { continue };
        let wide = between * inner;
        let sum = match sums.entry(content) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let like = value.shaped(vec![0.0; wide], &shape)?;
                slot.insert(Sum { total: vec![0.0; wide], count: 0, like })
            }
        };
        if sum.total.len() != wide {
            return Err(HookError::Values { dims: shape, given: sum.total.len() });
        }
        sum.count += usize::from(across == 0);
        for (total, value) in sum.total.iter_mut().skip(across * inner).zip(own) {
            *total += f64::from(*value);
        }
    }
    Ok(())
}

/// A draw of the normal distribution (Box and Muller 1958) that depends on the seed alone.
fn normal(seed: Seed) -> f32 {
    let (radius, angle) = (1.0 - seed.at(0).unit(), seed.at(1).unit());
    (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use mmlens_core::{Change, Plan, Sample, Seed, Subject};
    use mmlens_testkit::Toy;

    use super::Edit;

    /// Of `n` draws the mean is off by `d / sqrt(n)` and the variance by `sqrt(2 / n)` of itself, one standard error: bounds are
    /// four of them. Within one deviation lie 0.6827 of a normal distribution, within two 0.9545.
    #[test]
    fn noise_is_normal_and_of_the_deviation_asked_for() {
        let (toy, deviation) = (Toy::curved(1), 3.0_f64);
        let inputs = toy.encode(&Sample::prompt(Vec::new(), "abcdefghij")).unwrap();
        let site = "text.input".parse().unwrap();
        let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
        let mut drawn = Vec::new();
        for seed in 0..200 {
            let edit = Edit::noise(site, &trace, deviation as f32, Seed(seed)).unwrap();
            let Change::Add(noise) = edit.change else { panic!("{:?}", edit.change) };
            assert_eq!(noise.dims(), [1, 10, 6]);
            drawn.extend(noise.to_values().unwrap().into_iter().map(f64::from));
        }
        let n = drawn.len() as f64; // 200 seeds of 60 values
        let mean = drawn.iter().sum::<f64>() / n;
        let variance = drawn.iter().map(|x| x * x).sum::<f64>() / n;
        let within = |bound: f64| drawn.iter().filter(|x| x.abs() < bound).count() as f64 / n;
        assert!(mean.abs() < 4.0 * deviation / n.sqrt(), "{mean}");
        assert!((variance / deviation.powi(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "{variance}");
        for (deviations, share) in [(1.0, 0.6827), (2.0, 0.9545_f64)] {
            let error = (share * (1.0 - share) / n).sqrt();
            assert!((within(deviations * deviation) - share).abs() < 4.0 * error, "{deviations}");
        }
    }
}
