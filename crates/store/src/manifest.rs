//! What a store holds, and of which model.

use std::path::Path;

use mmlens_core::finding::Modality;
use serde::{Deserialize, Serialize};

use crate::{Rows, StoreError};

pub(crate) const FILE: &str = "manifest.json";
/// Of this layout.
const FORMAT: u32 = 1;
/// The most bytes of a manifest: a store has hundreds of sites, of some hundred bytes each.
const MOST_BYTES: u64 = 1 << 24;
/// The most numbers of a site in one row: 1 GiB of them.
const MOST_WIDTH: usize = 1 << 28;

/// How activations are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the nearest bfloat16: 8 bits of precision, the range of f32.
    Bf16,
    /// Rounded to the nearest half: 11 bits of precision. What is beyond 65504 becomes infinite, and is refused.
    F16,
}

impl Precision {
    /// Bytes of a number.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// One site of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The site.
    pub site: String,
    /// The lengths of one row, and what they are.
    pub shape: Vec<usize>,
    /// The names of these axes.
    pub axes: Vec<String>,
}

impl Column {
    /// Numbers in one row.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

/// `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub(crate) format: u32,
    /// The model.
    pub subject: String,
    /// Its weights.
    pub weights_hash: String,
    /// What was changed in it since it was published.
    pub alterations: Vec<String>,
    /// The data set, as the user calls it.
    pub data: String,
    /// What a row is.
    pub rows: Rows,
    /// The sites.
    pub columns: Vec<Column>,
    /// Of positions of prompts, which are kept: all, if this is empty.
    pub modalities: Vec<Modality>,
    /// How numbers are kept.
    pub precision: Precision,
    /// Samples of one pass.
    pub batch: usize,
    /// The path of the kernels, where there are several that differ in the last digits.
    #[serde(default)]
    pub kernels: Option<String>,
    /// Rows after which a shard ends, with the batch that reaches them.
    pub shard: usize,
}

impl Manifest {
    pub(crate) fn format() -> u32 {
        FORMAT
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let text = mmlens_files::read(&path, MOST_BYTES).map_err(StoreError::io(&path))?;
        let manifest: Self = mmlens_files::parse_json(&text)
            .map_err(|e| StoreError::broken(&path, e, "the manifest of a store"))?;
        if manifest.format != FORMAT {
            return Err(StoreError::broken(
                &path,
                format!("format {}", manifest.format),
                format!("format {FORMAT}"),
            ));
        }
        for (at, column) in manifest.columns.iter().enumerate() {
            let width = column.shape.iter().try_fold(1_usize, |width, len| width.checked_mul(*len));
            if width.is_none_or(|width| width > MOST_WIDTH) {
                let found = format!("field `columns.{at}.shape`: {:?}", column.shape);
                return Err(StoreError::broken(&path, found, format!("at most {MOST_WIDTH} numbers a row")));
            }
        }
        Ok(manifest)
    }

    /// That two recordings are of the same.
    pub(crate) fn same(&self, asked: &Self, path: &Path) -> Result<(), StoreError> {
        fn shown(value: &impl Serialize) -> String {
            serde_json::to_string(value).unwrap_or_default()
        }
        let fields = [
            ("subject", shown(&self.subject), shown(&asked.subject)),
            ("weights_hash", shown(&self.weights_hash), shown(&asked.weights_hash)),
            ("alterations", shown(&self.alterations), shown(&asked.alterations)),
            ("data", shown(&self.data), shown(&asked.data)),
            ("rows", shown(&self.rows), shown(&asked.rows)),
            ("columns", shown(&self.columns), shown(&asked.columns)),
            ("modalities", shown(&self.modalities), shown(&asked.modalities)),
            ("precision", shown(&self.precision), shown(&asked.precision)),
            ("batch", shown(&self.batch), shown(&asked.batch)),
            ("kernels", shown(&self.kernels), shown(&asked.kernels)),
            ("shard", shown(&self.shard), shown(&asked.shard)),
        ];
        match fields.into_iter().find(|(_, found, asked)| found != asked) {
            Some((field, found, asked)) => {
                Err(StoreError::Another { path: path.to_owned(), field, found, asked })
            }
            None => Ok(()),
        }
    }

    /// A site of the store.
    pub(crate) fn column(&self, site: &str) -> Result<&Column, StoreError> {
        self.columns.iter().find(|column| column.site == site).ok_or_else(|| StoreError::NoColumn {
            found: site.to_owned(),
            have: self.columns.iter().map(|column| column.site.clone()).collect(),
        })
    }
}
