//! One shard: rows gathered in memory, written at once, read back piece by piece.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::{bf16, f16};
use mmlens_files::{Target, write_tensors};
use safetensors::tensor::{Dtype, Metadata, TensorView};
use sha2::{Digest, Sha256};

use crate::label::{Labels, PATCH};
use crate::{Column, Precision, Shard, StoreError};

/// Names of the columns of labels.
const ROWS: [&str; 6] =
    ["rows.sample", "rows.position", "rows.token", "rows.modality", "rows.patch", "rows.box"];
/// Longer than the header of any shard: a store has hundreds of sites, not a million.
const MOST_HEADER: u64 = 1 << 26;

/// Rows on their way to disk.
#[derive(Debug)]
pub(crate) struct Gathered {
    precision: Precision,
    /// Bytes of each column, in the order of the manifest.
    columns: Vec<Vec<u8>>,
    pub(crate) labels: Labels,
}

impl Gathered {
    pub(crate) fn new(columns: usize, precision: Precision) -> Self {
        Self { precision, columns: vec![Vec::new(); columns], labels: Labels::default() }
    }

    /// More values of a column; the first of them that is finite, but not in this precision.
    pub(crate) fn push(&mut self, column: usize, values: &[f32]) -> Option<f32> {
        let bytes = self.columns.get_mut(column)?;
        match self.precision {
            Precision::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Precision::Bf16 => bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
            Precision::F16 => {
                bytes.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
                return values.iter().copied().find(|v| v.is_finite() && !f16::from_f32(*v).is_finite());
            }
        }
        None
    }

    /// Writes the file: complete under its name, or not there at all.
    pub(crate) fn write(
        &self,
        folder: &Path,
        columns: &[Column],
        number: usize,
        (from, to): (u64, u64),
    ) -> Result<Shard, StoreError> {
        let rows = self.labels.len();
        let path = folder.join(Shard::name(number));
        let fail = |e: safetensors::SafeTensorError| StoreError::broken(&path, e, "a safetensors file");
        let dtype = match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::F16 => Dtype::F16,
        };
        let labels = self.labels.bytes();
        let mut views: Vec<(String, TensorView<'_>)> = Vec::new();
        for (column, bytes) in columns.iter().zip(&self.columns) {
            let shape = std::iter::once(rows).chain(column.shape.iter().copied()).collect();
            views.push((column.site.clone(), TensorView::new(dtype, shape, bytes).map_err(fail)?));
        }
        for (name, (dtype, shape, bytes)) in ROWS.iter().zip(&labels) {
            views.push(((*name).to_owned(), TensorView::new(*dtype, shape.clone(), bytes).map_err(fail)?));
        }
        let mut sum = Sum { bytes: 0, hash: Sha256::new() };
        let about = [("samples".to_owned(), format!("{from}..{to}"))].into();
        Target::new(&path)?.write(|file| write_tensors(&mut Summed(file, &mut sum), views, &about))?;
        Ok(Shard {
            file: Shard::name(number),
            rows: rows as u64,
            from,
            to,
            bytes: sum.bytes,
            sha256: hexadecimal(&sum.hash.finalize()),
        })
    }
}

/// What has been written so far.
struct Sum {
    bytes: u64,
    hash: Sha256,
}

/// Counts and hashes what passes.
struct Summed<'a>(&'a mut dyn Write, &'a mut Sum);

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.bytes += written as u64;
        self.1.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Labels {
    fn bytes(&self) -> [(Dtype, Vec<usize>, Vec<u8>); 6] {
        let rows = self.len();
        [
            (Dtype::I64, vec![rows], self.sample.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Dtype::I32, vec![rows], self.position.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Dtype::I64, vec![rows], self.token.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Dtype::U8, vec![rows], self.modality.clone()),
            (Dtype::I32, vec![rows, PATCH], self.patch.iter().flat_map(|v| v.to_le_bytes()).collect()),
            (Dtype::F32, vec![rows, 4], self.bbox.iter().flat_map(|v| v.to_le_bytes()).collect()),
        ]
    }
}

/// A shard on disk, opened: where each column lies in the file.
#[derive(Debug)]
pub(crate) struct Opened {
    path: std::path::PathBuf,
    file: File,
    /// Where tensors begin.
    start: u64,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, u64)>,
}

impl Opened {
    pub(crate) fn new(folder: &Path, shard: &Shard) -> Result<Self, StoreError> {
        let path = folder.join(&shard.file);
        let (mut file, about) = mmlens_files::open(&path).map_err(StoreError::io(&path))?;
        let bytes = about.len();
        if bytes != shard.bytes {
            return Err(StoreError::broken(
                &path,
                format!("{bytes} bytes"),
                format!("{} bytes", shard.bytes),
            ));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(StoreError::io(&path))?;
        let length = u64::from_le_bytes(length);
        if length > MOST_HEADER.min(bytes) {
            return Err(StoreError::broken(
                &path,
                format!("a header of {length} bytes"),
                "a safetensors file",
            ));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(StoreError::io(&path))?;
        let header: Metadata = mmlens_files::parse_json(&header)
            .map_err(|e| StoreError::broken(&path, e, "a safetensors header"))?;
        let data = header.data_len() as u64;
        if data.checked_add(8 + length) != Some(bytes) {
            let wanted = format!("8 bytes, a header of {length} and {data} of data");
            return Err(StoreError::broken(&path, format!("{bytes} bytes"), wanted));
        }
        let tensors = header
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, (info.dtype, info.shape.clone(), info.data_offsets.0 as u64)));
        Ok(Self { tensors: tensors.collect(), start: 8 + length, path, file })
    }

    /// The bytes of `count` rows of a column from row `first` on.
    fn rows(
        &mut self,
        name: &str,
        expected: (&[Dtype], &[usize]),
        first: u64,
        count: u64,
    ) -> Result<(Dtype, Vec<u8>), StoreError> {
        let (dtypes, row) = expected;
        let (dtype, shape, offset) = self.tensors.get(name).ok_or_else(|| {
            StoreError::broken(&self.path, format!("no tensor `{name}`"), "one of each column")
        })?;
        let rows = shape.first().copied().unwrap_or(0) as u64;
        let end = first.saturating_add(count);
        if !dtypes.contains(dtype) || shape.get(1..) != Some(row) || end > rows {
            let found = format!("`{name}` of {dtype:?} {shape:?}");
            let wanted = format!("rows {first} to {end} of {dtypes:?} {row:?}");
            return Err(StoreError::broken(&self.path, found, wanted));
        }
        let width = (row.iter().product::<usize>() * dtype.bitsize() / 8) as u64;
        let mut bytes = vec![0; (count * width) as usize];
        let at = SeekFrom::Start(self.start + offset + first * width);
        let read = self.file.seek(at).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(StoreError::io(&self.path))?;
        Ok((*dtype, bytes))
    }

    /// Adds `count` rows of a site to `out`.
    pub(crate) fn values(
        &mut self,
        column: &Column,
        precision: Precision,
        first: u64,
        count: u64,
        out: &mut Vec<f32>,
    ) -> Result<(), StoreError> {
        let dtype = match precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::F16 => Dtype::F16,
        };
        let (_, bytes) = self.rows(&column.site, (&[dtype], &column.shape), first, count)?;
        let (pairs, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        match precision {
            Precision::F32 => out.extend(fours.iter().map(|b| f32::from_le_bytes(*b))),
            Precision::Bf16 => out.extend(pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
            Precision::F16 => out.extend(pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        }
        Ok(())
    }

    /// The labels of some rows.
    pub(crate) fn labels(&mut self, first: u64, count: u64) -> Result<Labels, StoreError> {
        let [sample, position, token, modality, patch, bbox] = ROWS;
        let long = |bytes: Vec<u8>| bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
        let int = |bytes: Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let float =
            |bytes: Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(Labels {
            sample: long(self.rows(sample, (&[Dtype::I64], &[]), first, count)?.1),
            position: int(self.rows(position, (&[Dtype::I32], &[]), first, count)?.1),
            token: long(self.rows(token, (&[Dtype::I64], &[]), first, count)?.1),
            modality: self.rows(modality, (&[Dtype::U8], &[]), first, count)?.1,
            patch: int(self.rows(patch, (&[Dtype::I32], &[PATCH]), first, count)?.1),
            bbox: float(self.rows(bbox, (&[Dtype::F32], &[4]), first, count)?.1),
        })
    }
}

/// That a file is what was written.
pub(crate) fn verify(folder: &Path, shard: &Shard) -> Result<(), StoreError> {
    let path = folder.join(&shard.file);
    let (mut file, _) = mmlens_files::open(&path).map_err(StoreError::io(&path))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut piece).map_err(StoreError::io(&path))?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
    }
    let found = hexadecimal(&hash.finalize());
    if found != shard.sha256 {
        return Err(StoreError::broken(&path, format!("SHA-256 {found}"), &shard.sha256));
    }
    Ok(())
}
