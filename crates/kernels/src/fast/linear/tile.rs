//! Tiles of sums in registers, for the two levels that have fused multiplication.

use std::arch::x86_64::*;
use std::ops::Range;

use super::columns::Columns;
use super::{Level, Rows};

/// What a tile is computed from: some rows of both factors, and a stretch of them.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) x: Rows<'a>,
    pub(super) weight: Rows<'a>,
    pub(super) from: usize,
    pub(super) length: usize,
    /// Added where the stretch is the first.
    pub(super) bias: Option<&'a [f32]>,
}

/// Rows of `x` and of the weight that make a tile.
pub(super) fn sizes(level: Level) -> (usize, usize) {
    if level == Level::V4 { (v4::HIGH, v4::WIDE) } else { (v3::HIGH, v3::WIDE) }
}

/// All tiles of some rows and columns. Levels without fused multiplication compute nothing.
pub(super) fn run(level: Level, tiles: &Tiles<'_>, rows: Range<usize>, out: &mut Columns<'_>) {
    let best = Level::best();
    if level == Level::V4 && best >= Level::V4 {
        // SAFETY: the processor has what it is compiled for, as `Level::best` found out.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v4::run(tiles, rows, out) };
    }
    if level == Level::V3 && best >= Level::V3 {
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v3::run(tiles, rows, out) };
    }
    let _ = (tiles, rows, out, best);
}

/// One level: its registers, how it loads and multiplies, and how large its tiles are.
macro_rules! level {
    ($name:ident, $features:literal, $lanes:literal, $high:literal, $wide:literal,
     $zero:ident, $load:ident, $fused:ident, $fold:path, [$(($m:literal, $n:literal)),*]) => {
            mod $name {
            use std::arch::x86_64::*;
            use std::ops::Range;

            use super::{Columns, Tiles};

            const LANES: usize = $lanes;
            pub(super) const HIGH: usize = $high;
            pub(super) const WIDE: usize = $wide;

            /// Sums of products of `M` rows with `N` rows, all of one length.
            #[inline]
            #[target_feature(enable = $features)]
            fn tile<const M: usize, const N: usize>(x: [&[f32]; M], w: [&[f32]; N]) -> [[f32; N]; M] {
                let length = x[0].len();
                assert!(x.iter().all(|x| x.len() == length) && w.iter().all(|w| w.len() == length));
                let mut sums = [[$zero(); N]; M];
                let mut at = 0;
                while at + LANES <= length {
                    let mut ws = [$zero(); N];
                    for n in 0..N {
                        // SAFETY: `at + LANES` is within the row, whose length was asserted.
                        #[allow(unsafe_code, reason = "a register is loaded from a slice")]
                        unsafe { ws[n] = $load(w[n].as_ptr().add(at)) };
                    }
                    for m in 0..M {
                        // SAFETY: as above.
                        #[allow(unsafe_code, reason = "a register is loaded from a slice")]
                        let xs = unsafe { $load(x[m].as_ptr().add(at)) };
                        for n in 0..N {
                            sums[m][n] = $fused(xs, ws[n], sums[m][n]);
                        }
                    }
                    at += LANES;
                }
                let mut out = [[0.0; N]; M];
                for m in 0..M {
                    for n in (0..N).step_by(4) {
                        let half = |j: usize| if n + j < N { $fold(sums[m][n + j]) } else { _mm256_setzero_ps() };
                        let four = super::sums_of_four([half(0), half(1), half(2), half(3)]);
                        for j in n..N.min(n + 4) {
                            out[m][j] = four[j - n];
                        }
                    }
                    for n in 0..N {
                        out[m][n] += x[m][at..].iter().zip(&w[n][at..]).map(|(x, w)| x * w).sum::<f32>();
                    }
                }
                out
            }

            #[target_feature(enable = $features)]
            pub(super) fn run(tiles: &Tiles<'_>, rows: Range<usize>, out: &mut Columns<'_>) {
                let Tiles { x, weight, from, length, bias } = *tiles;
                let add = from > 0;
                let columns = out.columns();
                for column in columns.clone().step_by(WIDE) {
                    for row in rows.clone().step_by(HIGH) {
                        let size = (HIGH.min(rows.end - row), WIDE.min(columns.end - column));
                        match size {
                            $(($m, $n) => {
                                let w = weight.cut::<$n>(column, from, length);
                                let mut sums = tile::<$m, $n>(x.cut::<$m>(row, from, length), w);
                                if let Some(bias) = bias.filter(|_| !add) {
                                    let bias = &bias[column..column + $n];
                                    for sums in &mut sums {
                                        sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                                    }
                                }
                                out.put(row, column, sums, add);
                            })*
                            _ => {}
                        }
                    }
                }
            }
        }
    };
}

level!(
    v4,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    4,
    6,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_fmadd_ps,
    super::halves,
    [
        (4, 6),
        (4, 5),
        (4, 4),
        (4, 3),
        (4, 2),
        (4, 1),
        (3, 6),
        (3, 5),
        (3, 4),
        (3, 3),
        (3, 2),
        (3, 1),
        (2, 6),
        (2, 5),
        (2, 4),
        (2, 3),
        (2, 2),
        (2, 1),
        (1, 6),
        (1, 5),
        (1, 4),
        (1, 3),
        (1, 2),
        (1, 1)
    ]
);

level!(
    v3,
    "avx2,fma",
    8,
    3,
    4,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_fmadd_ps,
    super::all,
    [(3, 4), (3, 3), (3, 2), (3, 1), (2, 4), (2, 3), (2, 2), (2, 1), (1, 4), (1, 3), (1, 2), (1, 1)]
);

/// The two halves of a register added.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn halves(x: __m512) -> __m256 {
    _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x))
}

/// A register that is no wider.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn all(x: __m256) -> __m256 {
    x
}

/// The sum of the lanes of each of four registers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sums_of_four([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
    let mut out = [0.0; 4];
    // SAFETY: there is room for the four lanes.
    #[allow(unsafe_code, reason = "a register is stored to an array")]
    unsafe {
        _mm_storeu_ps(out.as_mut_ptr(), sums);
    }
    out
}
