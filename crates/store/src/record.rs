//! Passing a data set through a subject, and keeping what it read.

use std::collections::BTreeSet;
use std::path::Path;

use mmlens_core::finding::Modality;
use mmlens_core::{
    Cases, HookError, Inputs, Memory, Part, Plan, Selector, Site, SiteSpec, Subject, SubjectError,
    TowerPosition, Trace, Watch, step,
};
use mmlens_files::write;

use crate::shard::Gathered;
use crate::{Column, Label, Manifest, Precision, Rows, Store, StoreError, journal, manifest};

/// What is kept of a data set.
#[derive(Debug, Clone)]
pub struct Recording {
    sites: Vec<Selector>,
    modalities: BTreeSet<Modality>,
    precision: Precision,
    batch: usize,
    shard: usize,
    memory: Option<Memory>,
}

/// A shard takes this part of the memory at most: its bytes are there once more while it is written.
const OF_MEMORY: u64 = 4;
/// Bytes of a label, about.
const LABEL: u64 = 64;

impl Recording {
    /// All rows of some sites in f32, eight samples a pass, about 65,536 rows a shard. Sites recorded together have the
    /// same kind of rows.
    pub fn new(sites: Selector) -> Self {
        Self {
            sites: vec![sites],
            modalities: BTreeSet::new(),
            precision: Precision::F32,
            batch: 8,
            shard: 1 << 16,
            memory: None,
        }
    }

    /// These sites, too.
    #[must_use]
    pub fn and(mut self, sites: Selector) -> Self {
        self.sites.push(sites);
        self
    }

    /// Shards of fewer rows, where a quarter of the memory does not hold as many.
    #[must_use]
    pub fn within(self, memory: Memory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Of the positions of prompts, only those that carry one of these.
    #[must_use]
    pub fn only(mut self, modalities: impl IntoIterator<Item = Modality>) -> Self {
        self.modalities = modalities.into_iter().collect();
        self
    }

    /// How numbers are kept.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// How many samples share a pass. Where their pictures differ in size, they must not: say 1.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for none.
    pub fn batch(self, samples: usize) -> Result<Self, StoreError> {
        positive("batch", samples)?;
        Ok(Self { batch: samples, ..self })
    }

    /// A shard ends with the batch that brings it to so many rows.
    ///
    /// # Errors
    /// [`StoreError::Setting`] for none.
    pub fn shard(self, rows: usize) -> Result<Self, StoreError> {
        positive("shard", rows)?;
        Ok(Self { shard: rows, ..self })
    }

    /// Records the samples of a data set into a folder, or those of them that are not there yet. A longer data set of the same name
    /// goes on where a shorter one ended.
    ///
    /// # Errors
    /// A folder with another recording, or of another data set by its name, one that somebody else records into; sites that cannot be recorded together;
    /// whatever a pass reports; [`mmlens_core::AnalysisError::Cancelled`], after which the same call goes on with the
    /// last complete shard.
    ///
    /// # Cost
    /// One pass for each batch, which ends at the last site. Memory: one shard.
    pub fn run(
        &self,
        subject: &dyn Subject,
        folder: impl AsRef<Path>,
        data: &dyn Cases,
        watch: &dyn Watch,
    ) -> Result<Store, StoreError> {
        let (folder, count) = (folder.as_ref(), data.len());
        let manifest = self.manifest(subject, data.name())?;
        std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let (shards, mut list) = journal::resume(folder)?;
        if folder.join(manifest::FILE).exists() {
            Manifest::read(folder)?.same(&manifest, folder)?;
        } else {
            write_manifest(folder, &manifest)?;
        }
        let mut from = shards.last().map_or(0, |shard| shard.to) as usize;
        let mut number = shards.len();
        let gathered = || Gathered::new(manifest.columns.len(), self.precision);
        let mut rows = gathered();
        let mut next = from;
        step(watch, "recording", next.min(count), count)?;
        while next < count {
            let end = count.min(next + self.batch);
            let encoded: Result<Vec<Inputs>, SubjectError> =
                (next..end).map(|i| subject.encode(&data.case(i)?.sample)).collect();
            self.pass(subject, &manifest, next, &encoded?, &mut rows)?;
            next = end;
            if rows.labels.len() >= manifest.shard || next == count {
                let shard = rows.write(folder, &manifest.columns, number, (from as u64, next as u64))?;
                journal::append(folder, &mut list, &shard)?;
                (from, number, rows) = (next, number + 1, gathered());
            }
            step(watch, "recording", next, count)?;
        }
        Store::open(folder)
    }

    /// What reads the sites.
    fn plan(&self) -> Result<Plan, HookError> {
        self.sites.iter().try_fold(Plan::new(), |plan, sites| plan.read(sites.clone()))
    }

    fn manifest(&self, subject: &dyn Subject, data: &str) -> Result<Manifest, StoreError> {
        // A selector that matches nothing is refused as a plan refuses it, with the nearest site.
        mmlens_core::Run::start(self.plan()?, subject.name(), subject.sites())?;
        let mut columns = Vec::new();
        let mut kind: Option<(Rows, String)> = None;
        for spec in subject.sites().iter().filter(|spec| self.sites.iter().any(|own| own.matches(&spec.site)))
        {
            let (rows, shape) = Rows::of(spec)?;
            let site = spec.site.to_string();
            match &kind {
                Some((first, other)) if *first != rows => {
                    let reason =
                        format!("its rows are other things than those of `{other}`; record them apart");
                    return Err(StoreError::Site { site, axes: spec.describe(), reason });
                }
                Some(_) => {}
                None => kind = Some((rows, site.clone())),
            }
            let names = spec.axes.iter().skip(spec.rank() - shape.len());
            let axes = names.map(|(axis, _)| axis.name().to_owned()).collect();
            columns.push(Column { site, shape, axes });
        }
        let Some((rows, _)) = kind else {
            return Err(StoreError::Setting {
                field: "sites",
                found: "none".to_owned(),
                expected: "at least one",
            });
        };
        if rows != Rows::Positions && !self.modalities.is_empty() {
            let found = format!("{:?}", self.modalities);
            let expected = "nothing: only positions of prompts have modalities to choose from";
            return Err(StoreError::Setting { field: "only", found, expected });
        }
        let row: u64 =
            columns.iter().map(|column: &Column| column.width() as u64 * self.precision.bytes()).sum();
        let fit = self.memory.map_or(u64::MAX, |memory| memory.budget() / OF_MEMORY / (row + LABEL));
        let shard = usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, self.shard);
        Ok(Manifest {
            format: Manifest::format(),
            subject: subject.name().to_owned(),
            weights_hash: subject.weights_hash(),
            alterations: subject.alterations().to_vec(),
            data: data.to_owned(),
            rows,
            columns,
            modalities: self.modalities.iter().copied().collect(),
            precision: self.precision,
            batch: self.batch,
            kernels: subject.kernels(),
            shard,
        })
    }

    /// One pass, and its rows.
    fn pass(
        &self,
        subject: &dyn Subject,
        manifest: &Manifest,
        first: usize,
        encoded: &[Inputs],
        rows: &mut Gathered,
    ) -> Result<(), StoreError> {
        let sites = manifest.columns.iter().map(|column| column.site.parse());
        let sites = sites.collect::<Result<Vec<Site>, _>>()?;
        let inputs = Inputs::batch(encoded, subject.pad())?.reading(sites.iter().copied());
        let trace = subject.run(&inputs, self.plan()?)?;
        // Which sample each row of the batch, and each picture, belongs to.
        let owners = |count: &dyn Fn(&Inputs) -> usize| -> Vec<u64> {
            let each = encoded.iter().zip(first as u64..);
            each.flat_map(|(one, sample)| std::iter::repeat_n(sample, count(one))).collect()
        };
        let tower = tower(subject, manifest)?;
        let (prompts, pictures) = (owners(&|one| one.rows()), owners(&|one| entries(one, tower)));
        let perceived = if tower == Part::Audio { Modality::Audio } else { Modality::Image };
        let chosen = match manifest.rows {
            Rows::Positions => self.positions(&inputs, &prompts),
            Rows::Prompts => prompts
                .iter()
                .enumerate()
                .map(|(row, sample)| (row, Label::other(*sample, row, Modality::Text, None)))
                .collect(),
            Rows::Pictures => (0..pictures.len())
                .map(|i| {
                    let own = pictures[..i].iter().filter(|sample| **sample == pictures[i]).count();
                    (i, Label::other(pictures[i], own, perceived, None))
                })
                .collect(),
            Rows::Patches => patches(manifest, &trace, encoded, first, tower)?,
        };
        for (_, label) in &chosen {
            rows.labels.push(label);
        }
        for (i, (column, site)) in manifest.columns.iter().zip(sites).enumerate() {
            let values = trace.get(site)?.to_values()?;
            let width = column.width();
            for (row, label) in &chosen {
                let (from, given) = (row * width, values.len());
                let own = values.get(from..from + width);
                let own = own.ok_or(HookError::Values { dims: vec![row + 1, width], given })?;
                if let Some((at, found)) = own.iter().enumerate().find(|(_, value)| !site.admits(**value)) {
                    let (sample, position) = (label.sample, label.position);
                    return Err(StoreError::NotFinite { site, sample, position, at, found: *found });
                }
                if let Some(beyond) = rows.push(i, own) {
                    let found = format!("f16, and `{}` holds {beyond:e}", column.site);
                    let expected = "a precision that can hold it: bf16 or f32";
                    return Err(StoreError::Setting { field: "precision", found, expected });
                }
            }
        }
        Ok(())
    }

    /// Positions that are kept, by their place in the tensor.
    fn positions(&self, inputs: &Inputs, prompts: &[u64]) -> Vec<(usize, Label)> {
        let length = inputs.positions();
        let mut chosen = Vec::new();
        for (row, map) in inputs.maps.iter().enumerate() {
            for (position, token) in map.tokens.iter().enumerate() {
                if self.modalities.is_empty() || self.modalities.contains(&token.modality) {
                    let place = row * length + inputs.pads[row] + position;
                    chosen.push((place, Label::token(prompts[row], position, token)));
                }
            }
        }
        chosen
    }
}

/// The tower that the recorded sites are of, if they are of one.
fn tower(subject: &dyn Subject, manifest: &Manifest) -> Result<Part, StoreError> {
    let Some(column) = manifest.columns.first() else { return Ok(Part::Vision) };
    let site: Site = column.site.parse()?;
    let spec = subject.sites().iter().find(|spec| spec.site == site);
    let heard = site.part() == Part::Audio || spec.and_then(SiteSpec::tower) == Some(Part::Audio);
    Ok(if heard { Part::Audio } else { Part::Vision })
}

/// How many entries a tower is given.
fn entries(inputs: &Inputs, tower: Part) -> usize {
    inputs.entries(tower).map_or(0, mmlens_core::Entries::len)
}

/// Positions of the tower, picture by picture, or recording by recording. They are labelled where a map lists the tower's patches one by one.
/// What is padded behind a recording is no row.
fn patches(
    manifest: &Manifest,
    trace: &Trace,
    encoded: &[Inputs],
    first: usize,
    tower: Part,
) -> Result<Vec<(usize, Label)>, StoreError> {
    let Some(column) = manifest.columns.first() else { return Ok(Vec::new()) };
    let dims = trace.get(column.site.parse().map_err(StoreError::from)?)?.dims();
    let lead = dims.len() - column.shape.len();
    let all: usize = dims[..lead].iter().product();
    let counts: Vec<usize> = match encoded {
        [_] => vec![all],
        // Every picture has as many positions.
        _ => {
            let pictures: usize = encoded.iter().map(|one| entries(one, tower)).sum();
            encoded.iter().map(|one| entries(one, tower) * all / pictures.max(1)).collect()
        }
    };
    let mut chosen = Vec::new();
    for (i, one) in encoded.iter().enumerate() {
        let known: Vec<TowerPosition> = match tower {
            Part::Audio => {
                let own = entries(one, tower);
                let heard = |entry| one.map().tower(tower, entry, counts[i] / own.max(1));
                (0..own).filter_map(heard).flatten().collect()
            }
            _ => one.map().patches.iter().copied().map(TowerPosition::Patch).collect(),
        };
        let modality = if tower == Part::Audio { Modality::Audio } else { Modality::Image };
        let before: usize = counts[..i].iter().sum();
        for position in 0..counts[i] {
            let listed = if known.len() == counts[i] { known.get(position).copied() } else { None };
            if listed == Some(TowerPosition::Padding) {
                continue;
            }
            let patch = listed.and_then(TowerPosition::patch);
            let label = Label::other((first + i) as u64, position, modality, patch);
            chosen.push((before + position, label));
        }
    }
    Ok(chosen)
}

fn positive(field: &'static str, value: usize) -> Result<(), StoreError> {
    match value {
        0 => Err(StoreError::Setting { field, found: "0".to_owned(), expected: "at least 1" }),
        _ => Ok(()),
    }
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = folder.join(manifest::FILE);
    let text = serde_json::to_vec_pretty(manifest).map_err(|e| StoreError::broken(&path, e, "a manifest"))?;
    Ok(write(&path, text)?)
}
