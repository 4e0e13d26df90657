//! A store, opened: rows by number, in any order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmlens_core::{Order, Seed};

use crate::shard::{Opened, verify};
use crate::{Label, Manifest, Shard, StoreError, journal};

/// Recorded activations. Opening reads the manifest and the list of shards; shards are opened when they are read from.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    manifest: Manifest,
    shards: Vec<Shard>,
    /// The first row of each shard, and the number of all rows.
    starts: Vec<u64>,
    opened: RefCell<BTreeMap<usize, Opened>>,
}

/// Files kept open at once.
const OPEN: usize = 64;

/// Rows of one site.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Their numbers.
    pub rows: Vec<u64>,
    /// Their values, one row after the other.
    pub values: Vec<f32>,
}

impl Store {
    /// Opens a folder that a [`crate::Recording`] has written into, complete or not.
    ///
    /// # Errors
    /// A file that is missing, broken, or of another size than was written.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let folder = folder.as_ref().to_owned();
        let manifest = Manifest::read(&folder)?;
        let shards = journal::read(&folder)?;
        let mut starts = vec![0_u64];
        for shard in &shards {
            let path = folder.join(&shard.file);
            let bytes = mmlens_files::open(&path).map_err(StoreError::io(&path))?.1.len();
            if bytes != shard.bytes {
                let (found, wanted) = (format!("{bytes} bytes"), format!("{} bytes", shard.bytes));
                return Err(StoreError::broken(&path, found, wanted));
            }
            let row: usize = manifest.columns.iter().map(crate::Column::width).sum();
            let needed = shard.rows.checked_mul(row as u64 * manifest.precision.bytes());
            if needed.is_none_or(|needed| needed > bytes) {
                let found = format!("{bytes} bytes");
                let wanted = format!("{} rows of {row} numbers", shard.rows);
                return Err(StoreError::broken(&path, found, wanted));
            }
            let start = starts.last().copied().unwrap_or(0).checked_add(shard.rows);
            starts.push(start.ok_or_else(|| StoreError::broken(&path, "too many rows", "fewer than 2^64"))?);
        }
        Ok(Self { folder, manifest, shards, starts, opened: RefCell::default() })
    }

    /// What it holds, and of which model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its complete shards.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Rows there are.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples of the data set that are recorded.
    pub fn samples(&self) -> u64 {
        self.shards.last().map_or(0, |shard| shard.to)
    }

    /// Reads every file and compares it with the hash that was written down.
    ///
    /// # Errors
    /// The first file that differs.
    pub fn verify(&self) -> Result<(), StoreError> {
        self.shards.iter().try_for_each(|shard| verify(&self.folder, shard))
    }

    /// Some rows of a site, `[rows, ...]`, in the order asked for. Rows that follow one another are read together.
    ///
    /// # Errors
    /// A site or a row that is not there, a file that cannot be read.
    pub fn read(&self, site: &str, rows: &[u64]) -> Result<Vec<f32>, StoreError> {
        let column = self.manifest.column(site)?;
        let width = column.width();
        let mut out = vec![0.0; rows.len() * width];
        let mut piece = Vec::new();
        self.runs(rows, |shard, first, wanted| {
            piece.clear();
            shard.values(column, self.manifest.precision, first, wanted.len() as u64, &mut piece)?;
            for (at, values) in wanted.iter().zip(piece.chunks_exact(width.max(1))) {
                out[at * width..(at + 1) * width].copy_from_slice(values);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// What some rows are of.
    ///
    /// # Errors
    /// A row that is not there, a file that cannot be read.
    pub fn labels(&self, rows: &[u64]) -> Result<Vec<Label>, StoreError> {
        let mut out: Vec<Option<Label>> = vec![None; rows.len()];
        let mut broken = false;
        self.runs(rows, |shard, first, wanted| {
            let labels = shard.labels(first, wanted.len() as u64)?;
            for (i, at) in wanted.iter().enumerate() {
                out[*at] = labels.get(i);
                broken |= out[*at].is_none();
            }
            Ok(())
        })?;
        let found = out.into_iter().collect::<Option<Vec<Label>>>();
        found.ok_or_else(|| StoreError::broken(&self.folder, "a label that means nothing", "labels"))
    }

    /// All rows of a site in a random order, in batches, each row once. The order depends on the seed and the number of
    /// rows alone; [`Shuffled::skip_to`] goes on where an earlier pass stopped.
    ///
    /// # Errors
    /// A site that is not there, a batch of no rows.
    pub fn shuffled(&self, site: &str, batch: usize, seed: Seed) -> Result<Shuffled<'_>, StoreError> {
        self.manifest.column(site)?;
        if batch == 0 {
            let found = batch.to_string();
            return Err(StoreError::Setting { field: "batch", found, expected: "at least 1" });
        }
        let order = Order::new(self.len(), seed);
        Ok(Shuffled { store: self, site: site.to_owned(), batch: batch as u64, order, next: 0 })
    }

    /// Calls `read` for every stretch of rows that follow one another in a shard: the shard, the first of them in it, and
    /// where each stands in `rows`.
    fn runs(
        &self,
        rows: &[u64],
        mut read: impl FnMut(&mut Opened, u64, &[usize]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(row) = rows.iter().copied().find(|row| *row >= self.len()) {
            return Err(StoreError::NoRow { row, rows: self.len() });
        }
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        sorted.sort_by_key(|at| rows[*at]);
        let mut from = 0;
        while from < sorted.len() {
            let first = rows[sorted[from]];
            let number = self.starts.partition_point(|start| *start <= first).saturating_sub(1);
            let end = self.starts.get(number + 1).copied().unwrap_or(0);
            let run =
                sorted[from..].iter().zip(first..end).take_while(|(at, row)| rows[**at] == *row).count();
            let run = run.max(1);
            self.with(number, |shard| read(shard, first - self.starts[number], &sorted[from..from + run]))?;
            from += run;
        }
        Ok(())
    }

    fn with<T>(
        &self,
        number: usize,
        act: impl FnOnce(&mut Opened) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut opened = self.opened.borrow_mut();
        if opened.len() >= OPEN && !opened.contains_key(&number) {
            opened.pop_first();
        }
        let shard = match opened.entry(number) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let shard = self.shards.get(number);
                let shard = shard.ok_or(StoreError::NoRow { row: number as u64, rows: self.len() })?;
                slot.insert(Opened::new(&self.folder, shard)?)
            }
        };
        act(shard)
    }
}

/// Batches of rows in a random order.
#[derive(Debug)]
pub struct Shuffled<'a> {
    store: &'a Store,
    site: String,
    batch: u64,
    order: Order,
    next: u64,
}

impl Shuffled<'_> {
    /// Goes on with a batch by its number.
    #[must_use]
    pub fn skip_to(mut self, batch: u64) -> Self {
        self.next = batch.saturating_mul(self.batch).min(self.store.len());
        self
    }

    /// Batches of a whole pass, the last of which may be smaller.
    pub fn batches(&self) -> u64 {
        self.store.len().div_ceil(self.batch)
    }
}

impl Iterator for Shuffled<'_> {
    type Item = Result<Batch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.store.len().min(self.next + self.batch);
        if self.next >= end {
            return None;
        }
        let rows: Vec<u64> = (self.next..end).map(|place| self.order.at(place)).collect();
        self.next = end;
        Some(self.store.read(&self.site, &rows).map(|values| Batch { rows, values }))
    }
}
