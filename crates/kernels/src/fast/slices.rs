//! Slices in chunks, over all cores.

use rayon::prelude::*;

/// What one task does at a time: 64 KiB, a part of a core's cache.
pub(crate) const CHUNK: usize = 1 << 14;

/// Below so many values, one core is done before another is awake.
const FEW: usize = 4 * CHUNK;

/// `f(out)`, a chunk at a time.
pub(crate) fn each(out: &mut [f32], f: impl Fn(&mut [f32]) + Sync + Send) {
    if out.len() < FEW {
        return f(out);
    }
    out.par_chunks_mut(CHUNK).for_each(f);
}

/// `f(x, out)`, a chunk at a time.
pub(crate) fn zip(x: &[f32], out: &mut [f32], f: impl Fn(&[f32], &mut [f32]) + Sync) {
    if out.len() < FEW {
        return f(x, out);
    }
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| f(x, out));
}

/// `f(x, y, a, b)` with two outputs, a chunk at a time.
pub(crate) fn zip22(
    x: &[f32],
    y: &[f32],
    a: &mut [f32],
    b: &mut [f32],
    f: impl Fn(&[f32], &[f32], &mut [f32], &mut [f32]) + Sync,
) {
    if a.len() < FEW {
        return f(x, y, a, b);
    }
    let inputs = x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK));
    let outputs = a.par_chunks_mut(CHUNK).zip(b.par_chunks_mut(CHUNK));
    outputs.zip(inputs).for_each(|((a, b), (x, y))| f(x, y, a, b));
}

/// How many rows of a width make a task.
pub(crate) fn rows(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}

/// `f(first row, rows)` for so many rows of a width at a time.
pub(crate) fn each_rows(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let many = rows(width);
    if out.len() < FEW || width == 0 {
        return f(0, out);
    }
    out.par_chunks_mut(many * width).enumerate().for_each(|(i, rows)| f(i * many, rows));
}

/// `f(first row, rows of x, rows)` for so many rows of a width at a time.
pub(crate) fn zip_rows(
    x: &[f32],
    out: &mut [f32],
    width: usize,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    let many = rows(width);
    if out.len() < FEW || width == 0 {
        return f(0, x, out);
    }
    let chunks = out.par_chunks_mut(many * width).zip(x.par_chunks(many * width));
    chunks.enumerate().for_each(|(i, (out, x))| f(i * many, x, out));
}
