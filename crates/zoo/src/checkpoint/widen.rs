//! Elements of any floating type, widened (or narrowed) to `f32` as they are read.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Elements converted at a time; also what one thread takes.
const CHUNK: usize = 1 << 16;

/// The element types [`to_f32`] takes, in words.
pub(super) const FLOATS: &str = "F32, F16, BF16 or F64";

/// The bytes of little-endian elements as `f32`; `None` if `dtype` is no plain floating type.
///
/// `bytes` need not be aligned. Beyond a few chunks, the work is shared among threads.
pub(super) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(convert(bytes, |from: &[[u8; 4]], to| {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = f32::from_le_bytes(from);
            }
        })),
        Dtype::F16 => Some(convert(bytes, |from: &[[u8; 2]], to| {
            let mut halves = [f16::ZERO; 256];
            for (to, from) in to.chunks_mut(256).zip(from.chunks(256)) {
                let halves = &mut halves[..from.len()];
                for (half, &from) in halves.iter_mut().zip(from) {
                    *half = f16::from_le_bytes(from);
                }
                halves.convert_to_f32_slice(to);
            }
        })),
        Dtype::BF16 => Some(convert(bytes, |from: &[[u8; 2]], to| {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = f32::from_bits(u32::from(u16::from_le_bytes(from)) << 16);
            }
        })),
        Dtype::F64 => Some(convert(bytes, |from: &[[u8; 8]], to| {
            for (to, &from) in to.iter_mut().zip(from) {
                #[allow(clippy::cast_possible_truncation, reason = "narrowing is what is asked for")]
                let narrow = f64::from_le_bytes(from) as f32;
                *to = narrow;
            }
        })),
        _ => None,
    }
}

/// The bytes of little-endian integers as `i64`; `None` for other types, or a value that does not fit.
pub(super) fn to_i64(bytes: &[u8], dtype: Dtype) -> Option<Vec<i64>> {
    match dtype {
        Dtype::BOOL | Dtype::U8 => Some(bytes.iter().map(|&byte| i64::from(byte)).collect()),
        Dtype::I8 => Some(bytes.iter().map(|&byte| i64::from(byte.cast_signed())).collect()),
        Dtype::I16 => Some(pieces(bytes).iter().map(|&x| i64::from(i16::from_le_bytes(x))).collect()),
        Dtype::U16 => Some(pieces(bytes).iter().map(|&x| i64::from(u16::from_le_bytes(x))).collect()),
        Dtype::I32 => Some(pieces(bytes).iter().map(|&x| i64::from(i32::from_le_bytes(x))).collect()),
        Dtype::U32 => Some(pieces(bytes).iter().map(|&x| i64::from(u32::from_le_bytes(x))).collect()),
        Dtype::I64 => Some(pieces(bytes).iter().map(|&x| i64::from_le_bytes(x)).collect()),
        Dtype::U64 => pieces(bytes).iter().map(|&x| i64::try_from(u64::from_le_bytes(x)).ok()).collect(),
        _ => None,
    }
}

/// The values as `bf16`, each rounded to the nearest (ties to even), little endian.
pub(super) fn to_bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
}

fn pieces<const N: usize>(bytes: &[u8]) -> &[[u8; N]] {
    bytes.as_chunks().0
}

fn convert<const N: usize>(bytes: &[u8], step: impl Fn(&[[u8; N]], &mut [f32]) + Sync) -> Vec<f32> {
    let from = pieces::<N>(bytes);
    let mut to = vec![0.0; from.len()];
    if from.len() <= 4 * CHUNK {
        step(from, &mut to);
    } else {
        to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| step(from, to));
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_exactly() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let narrow = to_f32(&all, Dtype::F16).unwrap();
        let brain = to_f32(&all, Dtype::BF16).unwrap();
        for bits in 0..=u16::MAX {
            let (a, b) = (narrow[usize::from(bits)], brain[usize::from(bits)]);
            let (c, d) = (f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32());
            assert!(a.to_bits() == c.to_bits() || (a.is_nan() && c.is_nan()), "f16 {bits:#06x}");
            assert!(b.to_bits() == d.to_bits() || (b.is_nan() && d.is_nan()), "bf16 {bits:#06x}");
        }
    }

    #[test]
    fn large_and_unaligned_input() {
        let values: Vec<f32> = (0..5 * CHUNK as u32 + 3).map(|i| i as f32 * 0.5).collect();
        let mut bytes = vec![0u8];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        assert_eq!(to_f32(&bytes[1..], Dtype::F32).unwrap(), values);
        let wide: Vec<u8> = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
        assert_eq!(to_f32(&wide, Dtype::F64).unwrap(), values);
    }

    #[test]
    fn integers() {
        assert_eq!(to_i64(&[255, 1], Dtype::I8), Some(vec![-1, 1]));
        assert_eq!(to_i64(&(-7i64).to_le_bytes(), Dtype::I64), Some(vec![-7]));
        assert_eq!(to_i64(&u64::MAX.to_le_bytes(), Dtype::U64), None);
        assert_eq!(to_i64(&[0; 4], Dtype::F32), None);
    }
}
