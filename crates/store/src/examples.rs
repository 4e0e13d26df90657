//! Rows of a store, to learn from.

use mmlens_core::finding::Provenance;
use mmlens_core::{AnalysisError, Cases, Examples};

use crate::{Manifest, Store, StoreError};

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
        let Manifest { subject, weights_hash, alterations, data: recorded, kernels, .. } = self.manifest();
        if recorded != data.name() {
            let (found, asked) = (format!("{recorded:?}"), format!("{:?}", data.name()));
            return Err(StoreError::Another { path: self.folder().to_owned(), field: "data", found, asked });
        }
        let (mut labels, mut groups, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for row in self.labels(rows)? {
            let sample = row.sample as usize;
            let group = data.group(sample)?.unwrap_or(row.sample);
            labels.push(data.label(sample)?.ok_or_else(|| AnalysisError::Input {
                method: "examples",
                needs: "a label for every case".into(),
                found: format!("case {sample} of `{}` has none", data.name()),
            })?);
            groups.push(group);
            kinds.push(Examples::kind(row.token, group));
        }
        let made = Provenance {
            weights_hash: weights_hash.clone(),
            alterations: alterations.clone(),
            sites: vec![site.to_owned()],
            kernels: kernels.clone(),
            ..Provenance::new("examples", subject.clone())
        };
        let examples = Examples::new(data.name(), self.read(site, rows)?, data.classes().to_vec(), labels)?;
        Ok(examples.grouped(groups)?.of_kinds(kinds)?.made(made))
    }
}
