//! Products of many rows: rows of `x` lie across the lanes of registers, each number of the weight is multiplied with all of them.
//!
//! `x` is turned into panels once, two registers wide; the weight is read as it lies, some rows of it at a time. Sums are kept in
//! registers, and turned as they are written.

use std::arch::x86_64::*;

use super::columns::Columns;
use super::{Level, Rows};

/// Length of the sums between two visits to the result: some rows of the weight of that length fit a core's first cache.
const DEPTH: usize = 512;

/// Panels whose stretch of that length fits a core's second cache.
const PANELS: usize = 8;

/// `x` in panels, `[panels, input, lanes]`.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) input: usize,
}

/// Lanes of a panel, and rows of the weight that are multiplied with it at a time.
pub(super) fn sizes(level: Level) -> (usize, usize) {
    if level == Level::V4 { (v4::WIDTH, v4::STRIP) } else { (v3::WIDTH, v3::STRIP) }
}

/// Turns up to a panel's width of rows into a panel. Levels without fused multiplication turn nothing.
pub(super) fn turn(level: Level, x: Rows<'_>, first: usize, rows: usize, panel: &mut [f32]) {
    let best = Level::best();
    if level == Level::V4 && best >= Level::V4 {
        // SAFETY: the processor has what it is compiled for, as `Level::best` found out.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v4::turn(x, first, rows, panel) };
    }
    if level == Level::V3 && best >= Level::V3 {
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v3::turn(x, first, rows, panel) };
    }
}

/// Some columns of the result, for all rows. Levels without fused multiplication compute nothing.
pub(super) fn run(
    level: Level,
    x: Panels<'_>,
    weight: Rows<'_>,
    bias: Option<&[f32]>,
    out: &mut Columns<'_>,
) {
    let best = Level::best();
    if level == Level::V4 && best >= Level::V4 {
        // SAFETY: the processor has what it is compiled for, as `Level::best` found out.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v4::run(x, weight, bias, out) };
    }
    if level == Level::V3 && best >= Level::V3 {
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "a function with target features is called")]
        return unsafe { v3::run(x, weight, bias, out) };
    }
}

/// One level: its registers, and how many rows of the weight are multiplied at a time.
macro_rules! level {
    ($name:ident, $features:literal, $lanes:literal, $strip:literal,
     $zero:ident, $load:ident, $store:ident, $store_first:path, $all:ident, $plus:ident, $fused:ident, $turn:path) => {
        mod $name {
            use std::arch::x86_64::*;

            use super::{Columns, DEPTH, PANELS, Panels, Rows};

            const LANES: usize = $lanes;
            pub(super) const WIDTH: usize = 2 * LANES;
            pub(super) const STRIP: usize = $strip;

            #[target_feature(enable = $features)]
            pub(super) fn turn(x: Rows<'_>, first: usize, rows: usize, panel: &mut [f32]) {
                let input = panel.len() / WIDTH;
                for half in 0..2 {
                    let from = first + half * LANES;
                    let there = rows.saturating_sub(half * LANES).min(LANES);
                    for at in (0..input).step_by(LANES) {
                        let wide = LANES.min(input - at);
                        let mut square = [$zero(); LANES];
                        for (i, to) in square.iter_mut().enumerate().take(there) {
                            let start = (from + i) * x.stride + at;
                            let part = &x.data[start..start + wide];
                            let mut line = [0.0; LANES];
                            let line = if wide == LANES {
                                part
                            } else {
                                line[..wide].copy_from_slice(part);
                                &line
                            };
                            // SAFETY: it has as many floats as the register.
                            #[allow(unsafe_code, reason = "a register is loaded from an array")]
                            unsafe {
                                *to = $load(line.as_ptr())
                            };
                        }
                        let square = $turn(square);
                        for (j, line) in square.iter().enumerate().take(wide) {
                            let to = &mut panel[(at + j) * WIDTH + half * LANES..][..LANES];
                            // SAFETY: the slice has as many floats as the register.
                            #[allow(unsafe_code, reason = "a register is stored to a slice")]
                            unsafe {
                                $store(to.as_mut_ptr(), *line)
                            };
                        }
                    }
                }
            }

            /// Adds the products of a panel with rows of the weight to `sums`, `[STRIP, V, LANES]`, or begins them.
            #[inline]
            #[target_feature(enable = $features)]
            fn sum<const V: usize>(panel: &[f32], strip: [&[f32]; STRIP], sums: &mut [f32], add: bool) {
                let length = panel.len() / WIDTH;
                assert!(V <= 2 && sums.len() >= STRIP * V * LANES);
                assert!(strip.iter().all(|row| row.len() >= length));
                let mut registers = [[$zero(); V]; STRIP];
                if add {
                    for n in 0..STRIP {
                        for v in 0..V {
                            // SAFETY: there are that many sums, as was asserted.
                            #[allow(unsafe_code, reason = "a register is loaded from a slice")]
                            unsafe {
                                registers[n][v] = $load(sums.as_ptr().add((n * V + v) * LANES))
                            };
                        }
                    }
                }
                for at in 0..length {
                    let mut xs = [$zero(); V];
                    for v in 0..V {
                        // SAFETY: `length` lines of `WIDTH` floats lie in the panel.
                        #[allow(unsafe_code, reason = "a register is loaded from a slice")]
                        unsafe {
                            xs[v] = $load(panel.as_ptr().add(at * WIDTH + v * LANES))
                        };
                    }
                    for n in 0..STRIP {
                        // SAFETY: the row is no shorter than the panel, as was asserted.
                        #[allow(unsafe_code, reason = "bounds were asserted before the loop")]
                        let w = $all(unsafe { *strip[n].as_ptr().add(at) });
                        for v in 0..V {
                            registers[n][v] = $fused(w, xs[v], registers[n][v]);
                        }
                    }
                }
                for n in 0..STRIP {
                    for v in 0..V {
                        // SAFETY: there are that many sums, as was asserted.
                        #[allow(unsafe_code, reason = "a register is stored to a slice")]
                        unsafe {
                            $store(sums.as_mut_ptr().add((n * V + v) * LANES), registers[n][v])
                        };
                    }
                }
            }

            /// Writes sums, `[STRIP, V, LANES]`, to rows and columns that begin at a place.
            #[inline]
            #[target_feature(enable = $features)]
            fn put<const V: usize>(
                sums: &[f32],
                bias: &[f32; LANES],
                [row, column]: [usize; 2],
                [rows, columns]: [usize; 2],
                out: &mut Columns<'_>,
            ) {
                assert!(sums.len() >= STRIP * V * LANES && rows <= V * LANES && columns <= STRIP);
                let (start, width) = (out.at([row, column], [rows, columns]), out.width());
                // SAFETY: the array has as many floats as the register.
                #[allow(unsafe_code, reason = "a register is loaded from an array")]
                let bias = unsafe { $load(bias.as_ptr()) };
                for half in 0..V {
                    let mut square = [$zero(); LANES];
                    for (n, to) in square.iter_mut().enumerate().take(STRIP) {
                        // SAFETY: there are that many sums, as was asserted.
                        #[allow(unsafe_code, reason = "a register is loaded from a slice")]
                        unsafe {
                            *to = $load(sums.as_ptr().add((n * V + half) * LANES))
                        };
                    }
                    let square = $turn(square);
                    let there = rows.saturating_sub(half * LANES).min(LANES);
                    for (j, line) in square.iter().enumerate().take(there) {
                        // SAFETY: `at` has answered for these rows and columns, which are written by us alone.
                        #[allow(unsafe_code, reason = "columns of a matrix are no slice")]
                        unsafe {
                            $store_first(start.add((half * LANES + j) * width), columns, $plus(*line, bias));
                        }
                    }
                }
            }

            #[target_feature(enable = $features)]
            pub(super) fn run(x: Panels<'_>, weight: Rows<'_>, bias: Option<&[f32]>, out: &mut Columns<'_>) {
                let Panels { data, rows, input } = x;
                let columns = out.columns();
                let depth = input.div_ceil(input.div_ceil(DEPTH).max(1));
                let mut sums = vec![0.0; columns.len().div_ceil(STRIP) * PANELS * STRIP * WIDTH];
                let panels = rows.div_ceil(WIDTH);
                for first in (0..panels).step_by(PANELS) {
                    for from in (0..input).step_by(depth) {
                        let length = depth.min(input - from);
                        let last = from + length == input;
                        let strips =
                            columns.clone().step_by(STRIP).zip(sums.chunks_mut(PANELS * STRIP * WIDTH));
                        for (column, sums) in strips {
                            let wide = STRIP.min(columns.end - column);
                            // Past the last row, it stands in for those that are not there.
                            let strip = std::array::from_fn(|n| {
                                let start = (column + n.min(wide - 1)) * weight.stride + from;
                                &weight.data[start..start + length]
                            });
                            let mut added = [0.0; LANES];
                            if let Some(bias) = bias {
                                added[..wide].copy_from_slice(&bias[column..column + wide]);
                            }
                            let many = first..panels.min(first + PANELS);
                            for (panel, sums) in many.zip(sums.chunks_mut(STRIP * WIDTH)) {
                                let start = (panel * input + from) * WIDTH;
                                let part = &data[start..start + length * WIDTH];
                                let there = WIDTH.min(rows - panel * WIDTH);
                                let place = [panel * WIDTH, column];
                                if there > LANES {
                                    sum::<2>(part, strip, sums, from > 0);
                                    if last {
                                        put::<2>(sums, &added, place, [there, wide], out);
                                    }
                                } else {
                                    sum::<1>(part, strip, sums, from > 0);
                                    if last {
                                        put::<1>(sums, &added, place, [there, wide], out);
                                    }
                                }
                            }
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
    12,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    super::store_first16,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps,
    super::turned16
);

level!(
    v3,
    "avx2,fma",
    8,
    6,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    super::store_first8,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps,
    super::turned8
);

/// Stores the first lanes of a register.
///
/// # Safety
/// So many floats may be written there; there are no more than lanes.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "a register is stored where there is no slice")]
unsafe fn store_first16(to: *mut f32, many: usize, register: __m512) {
    // SAFETY: lanes that the mask leaves out are not written.
    unsafe { _mm512_mask_storeu_ps(to, ((1_u32 << many) - 1) as u16, register) };
}

/// Stores the first lanes of a register.
///
/// # Safety
/// So many floats may be written there; there are no more than lanes.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code, reason = "a register is stored where there is no slice")]
unsafe fn store_first8(to: *mut f32, many: usize, register: __m256) {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(many as i32), lanes);
    // SAFETY: lanes that the mask leaves out are not written.
    unsafe { _mm256_maskstore_ps(to, mask, register) };
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn turned16(rows: [__m512; 16]) -> [__m512; 16] {
    let low = |a, b| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    let high = |a, b| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    // Of every four rows: in quarter `q` of register `4 i + j`, column `4 q + j` of rows `4 i` to `4 i + 3`.
    let mut fours = rows;
    for i in (0..16).step_by(4) {
        let (a, b) = (_mm512_unpacklo_ps(rows[i], rows[i + 1]), _mm512_unpackhi_ps(rows[i], rows[i + 1]));
        let (c, d) =
            (_mm512_unpacklo_ps(rows[i + 2], rows[i + 3]), _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]));
        fours[i] = low(a, c);
        fours[i + 1] = high(a, c);
        fours[i + 2] = low(b, d);
        fours[i + 3] = high(b, d);
    }
    // Quarters 0 and 2 of two registers, or 1 and 3 of them.
    let even = |a, b| _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
    let odd = |a, b| _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
    let mut columns = rows;
    for j in 0..4 {
        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
        let (ab, cd) = (even(a, b), even(c, d));
        columns[j] = even(ab, cd);
        columns[8 + j] = odd(ab, cd);
        let (ab, cd) = (odd(a, b), odd(c, d));
        columns[4 + j] = even(ab, cd);
        columns[12 + j] = odd(ab, cd);
    }
    columns
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn turned8(rows: [__m256; 8]) -> [__m256; 8] {
    let low = |a, b| _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
    let high = |a, b| _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)));
    let mut fours = rows;
    for i in (0..8).step_by(4) {
        let (a, b) = (_mm256_unpacklo_ps(rows[i], rows[i + 1]), _mm256_unpackhi_ps(rows[i], rows[i + 1]));
        let (c, d) =
            (_mm256_unpacklo_ps(rows[i + 2], rows[i + 3]), _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]));
        fours[i] = low(a, c);
        fours[i + 1] = high(a, c);
        fours[i + 2] = low(b, d);
        fours[i + 3] = high(b, d);
    }
    let mut columns = rows;
    for j in 0..4 {
        columns[j] = _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]);
        columns[4 + j] = _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]);
    }
    columns
}
