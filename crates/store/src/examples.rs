//! Rows of a store, to learn from.

use mmlens_core::finding::Provenance;
use mmlens_core::{AnalysisError, Cases, Examples, Recorded, Rows, Site, SubjectError};
use serde_json::json;

use crate::{Manifest, Store, StoreError};

/// What errors about rows name.
const METHOD: &str = "recorded activations";

impl Store {
    /// Some rows of a site with the classes and groups of a data set: that which was recorded, by its name.
    ///
    /// Rows of one sample are of its class and group; a sample without a group is one of its own. The kind of a row is its token, where
    /// it has one, and else its group.
    ///
    /// # Errors
    /// As [`Store::read`], [`StoreError::Another`] for a data set of another name, [`AnalysisError::Input`] for a sample without a label.
    ///
    /// # Cost
    /// Memory: the rows.
    pub fn examples(&self, site: &str, rows: &[u64], data: &dyn Cases) -> Result<Examples, StoreError> {
        let Manifest { data: recorded, .. } = self.manifest();
        if recorded != data.name() {
            let (found, asked) = (format!("{recorded:?}"), format!("{:?}", data.name()));
            return Err(StoreError::Another { path: self.folder().to_owned(), field: "data", found, asked });
        }
        let (mut labels, mut groups, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        let of_cases = mmlens_core::groups(data)?;
        for row in self.labels(rows)? {
            let sample = row.sample as usize;
            let group = of_cases.get(sample).copied().ok_or_else(|| no_case(data, row.sample))?;
            labels.push(data.label(sample)?.ok_or_else(|| AnalysisError::Input {
                method: "examples",
                needs: "a label for every case".into(),
                found: format!("case {sample} of `{}` has none", data.name()),
            })?);
            groups.push(group);
            kinds.push(Examples::kind(row.token, group));
        }
        let made = self.made(site);
        let examples = Examples::new(data.name(), self.read(site, rows)?, data.classes().to_vec(), labels)?;
        Ok(examples.grouped(groups)?.of_kinds(kinds)?.made(made))
    }

    fn made(&self, site: &str) -> Provenance {
        let Manifest { subject, weights_hash, alterations, kernels, .. } = self.manifest();
        Provenance {
            weights_hash: weights_hash.clone(),
            alterations: alterations.clone(),
            sites: vec![site.to_owned()],
            kernels: kernels.clone(),
            ..Provenance::new("examples", subject.clone())
        }
    }

    /// The store with the classes and groups of the data set that was recorded, case by case.
    pub fn labelled<'a>(&'a self, data: &'a dyn Cases) -> Labelled<'a> {
        Labelled { store: self, data }
    }
}

/// A store beside the data set that was recorded, which knows the class of each case.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    store: &'a Store,
    data: &'a dyn Cases,
}

/// So many labels are held at once.
const LABELS: usize = 1 << 16;

/// Rows of one site.
struct Column<'a> {
    store: &'a Store,
    site: String,
    width: usize,
    /// Who knows the groups of the cases; none, where every case stands for itself.
    data: Option<&'a dyn Cases>,
}

impl<'a> Column<'a> {
    fn of(store: &'a Store, site: Site, data: Option<&'a dyn Cases>) -> Result<Self, AnalysisError> {
        let site = site.to_string();
        let width = store.manifest().column(&site).map_err(refused)?.width();
        Ok(Self { store, site, width, data })
    }
}

impl Rows for Column<'_> {
    fn data(&self) -> &str {
        &self.store.manifest().data
    }

    fn provenance(&self) -> Provenance {
        self.store.made(&self.site)
    }

    /// Of the hashes of the shards, which stand in the journal.
    fn hash(&self) -> Result<String, AnalysisError> {
        let shards: Vec<&str> = self.store.shards().iter().map(|shard| shard.sha256.as_str()).collect();
        Ok(mmlens_files::sha256(json!([self.site, shards]).to_string()))
    }

    fn len(&self) -> usize {
        self.store.len() as usize
    }

    fn width(&self) -> usize {
        self.width
    }

    /// Rows of one sample are of one group: that of the case, where somebody knows it.
    fn groups(&self) -> Result<Vec<u64>, AnalysisError> {
        let known = self.data.map(mmlens_core::groups).transpose()?;
        let mut groups = Vec::with_capacity(self.len());
        for from in (0..self.store.len()).step_by(LABELS) {
            let rows: Vec<u64> = (from..self.store.len().min(from + LABELS as u64)).collect();
            for row in self.store.labels(&rows).map_err(refused)? {
                groups.push(match (&known, self.data) {
                    (Some(known), Some(data)) => {
                        *known.get(row.sample as usize).ok_or_else(|| no_case(data, row.sample))?
                    }
                    _ => row.sample,
                });
            }
        }
        Ok(groups)
    }

    fn read(&self, rows: &[usize]) -> Result<Vec<f32>, AnalysisError> {
        let rows: Vec<u64> = rows.iter().map(|row| *row as u64).collect();
        self.store.read(&self.site, &rows).map_err(refused)
    }
}

/// A row of a case that the data set does not have.
fn no_case(data: &dyn Cases, case: u64) -> SubjectError {
    SubjectError::NoCase { data: data.name().to_owned(), index: case as usize, len: data.len() }
}

/// What a store says, as an error of what learns from it.
fn refused(error: StoreError) -> AnalysisError {
    AnalysisError::Input {
        method: METHOD,
        needs: "a store that can be read".into(),
        found: error.to_string(),
    }
}

impl Recorded for Store {
    fn data(&self) -> &str {
        &self.manifest().data
    }

    fn rows(&self, site: Site) -> Result<Box<dyn Rows + '_>, AnalysisError> {
        Ok(Box::new(Column::of(self, site, None)?))
    }

    fn examples(&self, _site: Site) -> Result<Examples, AnalysisError> {
        let needs =
            "the class of every case, which a store does not hold: the cases, with their labels".into();
        let found = format!("only what was recorded of `{}` is there", self.manifest().data);
        Err(AnalysisError::Input { method: METHOD, needs, found })
    }
}

impl Recorded for Labelled<'_> {
    fn data(&self) -> &str {
        Recorded::data(self.store)
    }

    fn rows(&self, site: Site) -> Result<Box<dyn Rows + '_>, AnalysisError> {
        Ok(Box::new(Column::of(self.store, site, Some(self.data))?))
    }

    fn examples(&self, site: Site) -> Result<Examples, AnalysisError> {
        let rows: Vec<u64> = (0..self.store.len()).collect();
        self.store.examples(&site.to_string(), &rows, self.data).map_err(refused)
    }
}
