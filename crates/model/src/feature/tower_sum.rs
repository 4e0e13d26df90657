//! The image representation of a dual encoder as a sum of what heads, MLPs and the input write to its class token.
//!
//! With `x` the stream of the class token behind the last block, the representation is `e = P (g (x - mean x) / s + b)`. With `s` held at
//! what it is, that is an affine map of `x`, and of every term of the sum that `x` is.

use mmlens_core::{
    AnalysisError, Card, Copies, HookError, Inputs, On, Part, Plan, Point, Site, Subject, Trace, WeightKind,
    WeightSpec, kind,
};
use mmlens_engine::{Gain, HeldGain, Matrix, dot};

use crate::check::input;

fn at(point: Point) -> Site {
    Site::of(Part::Vision, point)
}

/// A place in a block of the tower.
pub(super) fn in_block(layer: usize, point: Point) -> Site {
    Site::block(Part::Vision, layer, point)
}

/// How the class token is read, and how many terms it has.
pub(super) struct Reader<'a> {
    card: &'a Card,
    subject: &'a dyn Subject,
    gain: Gain,
    /// `P g C`, `[shared, d_model]`: what reads the stream, before it is divided by the scale of the norm.
    reads: Matrix,
    /// What the bias of the norm adds, and that of the projection, where there is one.
    pub(super) constant: Vec<f64>,
    /// Blocks of the tower.
    pub(super) layers: usize,
    /// Heads of a block, and numbers of each.
    pub(super) heads: (usize, usize),
}

/// The class token of one picture.
pub(super) struct Class {
    /// What is projected, before it is brought to length one.
    pub(super) embedding: Vec<f64>,
    /// Its length.
    pub(super) length: f64,
    /// What the last norm divides by.
    pub(super) scale: f64,
    trace: Trace,
}

impl<'a> Reader<'a> {
    /// The reader of a subject.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for weights that are not shown, or standing edits between the terms and their sum.
    pub(super) fn of(card: &'a Card, subject: &'a dyn Subject) -> Result<Self, AnalysisError> {
        let lacking =
            |what: &str| input(card, "the weights that read the class token", format!("there is no {what}"));
        let writes = |spec: &WeightSpec, site| spec.writes.as_ref().is_some_and(|port| port.site == site);
        let find = |site, product: bool| {
            let fits = move |spec: &&WeightSpec| {
                let kind = match spec.kind {
                    WeightKind::Product { .. } => product,
                    WeightKind::Gain { .. } => !product,
                    _ => false,
                };
                kind && writes(spec, site)
            };
            subject.weights().iter().find(fits)
        };
        let projection = find(at(Point::Projected), true).ok_or_else(|| lacking("projection among them"))?;
        let gain = find(at(Point::Pooled), false)
            .ok_or_else(|| lacking("norm among them that the projection reads"))?;
        let gain = Gain::of(subject, &gain.name)?;
        let weight = subject.weight(&projection.name)?;
        let width = weight.dims().last().copied().unwrap_or(0);
        let weight = Matrix::of_floats(&weight.finite_values(&projection.name)?, width)?;
        let held = gain.held_at(&vec![0.0; width])?;
        let (mut reads, mut constant) = (Vec::new(), Vec::new());
        for row in weight.rows() {
            reads.extend(held.pull(row).into_iter().map(|x| x * held.scale()));
            constant.push(held.constant(row));
        }
        let name = format!("{}.bias", projection.name);
        if subject.weights().iter().any(|spec| spec.name == name) {
            let bias = subject.weight(&name)?.finite_values(&name)?;
            constant.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += f64::from(bias));
        }
        let tower = subject.anatomy().iter().find(|own| own.part == Part::Vision);
        let (heads, of_head) = tower.map_or((0, 0), |own| (own.heads, own.d_head));
        let reads = Matrix::new(reads, width)?;
        let layers = kind::blocks(subject, Part::Vision);
        let own = Self { card, subject, gain, reads, constant, layers, heads: (heads, of_head) };
        own.unedited()?;
        Ok(own)
    }

    /// That the terms read are those that were summed: no standing edit lies between.
    fn unedited(&self) -> Result<(), AnalysisError> {
        let between = |site: &&Site| {
            let point = site.point();
            let sum = [Point::ResidPre, Point::ResidMid, Point::ResidPost, Point::AttnOut, Point::Result];
            site.part() == Part::Vision
                && (sum.contains(&point)
                    || [Point::FinalNorm, Point::Pooled, Point::Projected].contains(&point))
        };
        match self.subject.edited().iter().find(between) {
            None => Ok(()),
            Some(site) => Err(input(
                self.card,
                "terms without standing edits between them and their sum",
                format!("`{site}` has one"),
            )),
        }
    }

    /// What is read of a pass.
    pub(super) fn sites(&self, values: bool) -> Vec<Site> {
        let mut sites = vec![at(Point::Input)];
        for layer in 0..self.layers {
            let points = [Point::V, Point::Z, Point::AttnOut, Point::MlpOut];
            let wanted = points.into_iter().skip(usize::from(!values));
            sites.extend(wanted.map(|point| in_block(layer, point)));
        }
        sites.extend(self.layers.checked_sub(1).map(|last| in_block(last, Point::ResidPost)));
        sites.push(at(Point::Projected));
        sites
    }

    pub(super) fn plan(sites: &[Site]) -> Result<Plan, HookError> {
        sites.iter().try_fold(Plan::new(), |plan, site| plan.read(*site))
    }

    /// That inputs show one picture.
    pub(super) fn one_picture(&self, inputs: &Inputs) -> Result<(), AnalysisError> {
        match inputs.seen.len() {
            1 => Ok(()),
            found => Err(input(self.card, "a sample with one picture", format!("this one has {found}"))),
        }
    }

    /// One pass over a case with one picture, beside `kept` bytes.
    pub(super) fn read(
        &self,
        on: &On<'_>,
        inputs: &Inputs,
        also: Option<Site>,
        (values, kept): (bool, u64),
    ) -> Result<Class, AnalysisError> {
        self.one_picture(inputs)?;
        let mut sites = self.sites(values);
        sites.extend(also);
        let plan = Self::plan(&sites)?;
        on.memory().hold(self.card.id, kept, self.subject.need(inputs, &plan, Copies::ONE)?)?;
        let trace = self.subject.run(inputs, plan)?;
        let site = at(Point::Projected);
        let embedding: Vec<f64> = trace.get(site)?.finite_values(site)?.into_iter().map(f64::from).collect();
        let length = dot(&embedding, &embedding).sqrt();
        if length == 0.0 {
            return Err(input(self.card, "a picture whose vector has a length", "this one is zero"));
        }
        let mut class = Class { embedding, length, scale: 1.0, trace };
        let last =
            self.layers.checked_sub(1).map_or(at(Point::Input), |last| in_block(last, Point::ResidPost));
        let stream: Vec<f32> = class.state(last)?.into_iter().map(|x| x as f32).collect();
        let held: HeldGain = self.gain.held_at(&stream)?;
        class.scale = held.scale();
        Ok(class)
    }

    /// A direction of the shared space as one of the stream: its product with a term is what the term adds to the cosine with it.
    pub(super) fn along(&self, class: &Class, direction: &[f64]) -> Vec<f64> {
        let mut along = vec![0.0; self.reads.width()];
        for (row, u) in self.reads.rows().zip(direction) {
            along.iter_mut().zip(row).for_each(|(sum, x)| *sum += u * x);
        }
        along.iter_mut().for_each(|x| *x /= class.scale * class.length);
        along
    }

    /// A term in the shared space, as a share of the vector of length one.
    pub(super) fn projected(&self, class: &Class, term: &[f64]) -> Vec<f64> {
        self.reads.rows().map(|row| dot(row, term) / (class.scale * class.length)).collect()
    }

    /// What reads the heads of a block, `[heads * d_head, shared]`: the product with what a head gives is what it adds to the shared space, before the
    /// division by the scale of the norm and the length of the vector.
    pub(super) fn through(&self, output: &Matrix) -> Matrix {
        output.transposed().products(&self.reads)
    }

    /// The output projection of a block, `[d_model, heads * d_head]`, and its bias.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] for one that is not shown.
    pub(super) fn output(&self, layer: usize) -> Result<(Matrix, Option<Vec<f64>>), AnalysisError> {
        let (from, to) = (in_block(layer, Point::Z), in_block(layer, Point::AttnOut));
        let plain = |spec: &&WeightSpec| {
            spec.carries(from, to)
                && [&spec.reads, &spec.writes].into_iter().flatten().all(|port| port.through.is_none())
        };
        let spec = self.subject.weights().iter().find(plain).ok_or_else(|| {
            input(
                self.card,
                "the weights of output projections",
                format!("none is linear between `{from}` and `{to}`"),
            )
        })?;
        let (heads, of_head) = self.heads;
        let weight = self.subject.weight(&spec.name)?.finite_values(&spec.name)?;
        let name = format!("{}.bias", spec.name);
        let bias = match self.subject.weights().iter().any(|spec| spec.name == name) {
            true => {
                Some(self.subject.weight(&name)?.finite_values(&name)?.into_iter().map(f64::from).collect())
            }
            false => None,
        };
        Ok((Matrix::of_floats(&weight, heads * of_head)?, bias))
    }
}

impl Class {
    /// What a site holds of the class token, the first position.
    pub(super) fn state(&self, site: Site) -> Result<Vec<f64>, AnalysisError> {
        let first = self.trace.get(site)?.part(1, 0, 1)?;
        Ok(first.finite_values(site)?.into_iter().map(f64::from).collect())
    }

    /// All that a site holds.
    pub(super) fn all(&self, site: Site) -> Result<Vec<f64>, AnalysisError> {
        Ok(self.trace.get(site)?.finite_values(site)?.into_iter().map(f64::from).collect())
    }
}
