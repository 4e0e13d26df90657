//! One source, compiled for every level of vector instructions, chosen at run time.
//!
//! Kernels are written once, over plain slices and lanes, generic in [`Isa`]; the compiler turns them into the vector
//! instructions of the function they are inlined into. [`versions!`] makes those functions.

use std::sync::OnceLock;

use crate::Path;

/// The level of this process, once it is settled.
static TAKEN: OnceLock<Level> = OnceLock::new();

/// How a product is added to something: fused where the processor can, in two steps elsewhere.
pub(crate) trait Isa {
    /// `a * b + c`.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// One rounding, one instruction.
pub(crate) struct Fused;

impl Isa for Fused {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Two roundings, on every processor.
pub(crate) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// A level of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2 and FMA.
    V3,
    /// AVX-512, as x86-64-v4 has it.
    V4,
}

impl Level {
    /// Whether this processor has it.
    pub(crate) fn is_there(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let v3 = || std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            match self {
                Self::Portable => true,
                Self::V3 => v3(),
                Self::V4 => {
                    v3() && std::is_x86_feature_detected!("avx512f")
                        && std::is_x86_feature_detected!("avx512bw")
                        && std::is_x86_feature_detected!("avx512dq")
                        && std::is_x86_feature_detected!("avx512vl")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The best this processor has.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        let best = || [Self::V4, Self::V3].into_iter().find(|level| level.is_there());
        *BEST.get_or_init(|| best().unwrap_or(Self::Portable))
    }

    /// The level this process computes on; from the first call on it stays.
    pub(crate) fn taken() -> Self {
        *TAKEN.get_or_init(Self::best)
    }

    /// Takes a level, unless one is taken already.
    pub(crate) fn take(path: Path) {
        TAKEN.get_or_init(|| match path {
            Path::Portable => Self::Portable,
            Path::Avx2 => Self::V3.min(Self::best()),
            Path::Avx512 => Self::V4.min(Self::best()),
        });
    }

    /// What it is called outside.
    pub(crate) fn path(self) -> Path {
        match self {
            Self::Portable => Path::Portable,
            Self::V3 => Path::Avx2,
            Self::V4 => Path::Avx512,
        }
    }

    /// All that this processor has.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::V3, Self::V4].into_iter().filter(|level| level.is_there())
    }
}

/// `fn name(level, args...)` that calls `body::<Isa, Kind>(args...)`, compiled for the level.
///
/// A level this processor does not have is an undefined call, so the caller takes it from [`Level`]; this is checked.
macro_rules! versions {
    ($(#[$meta:meta])* fn $name:ident<$kind:ident: $bound:path>($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? = $body:path;) => {
        $(#[$meta])*
        pub(crate) fn $name<$kind: $bound>(level: $crate::fast::simd::Level, $($arg: $type),*) $(-> $out)? {
            use $crate::fast::simd::{Fused, Level, Portable};
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn v4<$kind: $bound>($($arg: $type),*) $(-> $out)? {
                    $body($crate::fast::simd::kind::<Fused, $kind>(), $($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn v3<$kind: $bound>($($arg: $type),*) $(-> $out)? {
                    $body($crate::fast::simd::kind::<Fused, $kind>(), $($arg),*)
                }
                if level >= Level::V4 && Level::best() >= Level::V4 {
                    // SAFETY: the processor has what `v4` is compiled for, as `Level::best` found out.
                    #[allow(unsafe_code, reason = "a function with target features is called")]
                    return unsafe { v4::<$kind>($($arg),*) };
                }
                if level >= Level::V3 && Level::best() >= Level::V3 {
                    // SAFETY: the processor has what `v3` is compiled for, as `Level::best` found out.
                    #[allow(unsafe_code, reason = "a function with target features is called")]
                    return unsafe { v3::<$kind>($($arg),*) };
                }
            }
            let _ = level;
            $body($crate::fast::simd::kind::<Portable, $kind>(), $($arg),*)
        }
    };
}
pub(crate) use versions;

/// Tells a kernel its types, as a value, so that one macro serves kernels of any signature.
pub(crate) struct Kind<I, K>(std::marker::PhantomData<(I, K)>);

#[inline(always)]
pub(crate) fn kind<I, K>() -> Kind<I, K> {
    Kind(std::marker::PhantomData)
}

/// Lanes that a sum or a maximum is taken over: enough for one register of AVX-512 or two of AVX2.
pub(crate) const LANES: usize = 16;

/// The sum of `f(x[i], y[i])`.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], y: &[f32], f: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (x_rest, y_rest) = (xs.remainder(), ys.remainder());
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = f(*x, *y, *lane);
        }
    }
    let mut rest = 0.0;
    for (x, y) in x_rest.iter().zip(y_rest) {
        rest = f(*x, *y, rest);
    }
    lanes.iter().sum::<f32>() + rest
}

/// The largest value, leaving out what is no number.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *x);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| greater(a, *b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_level_is_there() {
        assert!(Level::best().is_there());
        assert!(Level::all().all(|level| level <= Level::best()));
        assert!(Level::all().any(|level| level == Level::Portable));
    }

    #[test]
    fn sums_and_maxima_count_the_rest() {
        for n in 0..40_usize {
            let x: Vec<f32> = (0..n).map(|i| ((i * 7) % 11) as f32 - 4.0).collect();
            let sum = sum_of(&x, &x, |x, y, acc| x * y + acc);
            assert_eq!(sum, x.iter().map(|x| x * x).sum::<f32>());
            // no NaN: whole numbers
            assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
        assert_eq!(largest(&[f32::NAN, 1.0, f32::NAN]), 1.0);
    }
}
