//! Which vector instructions the kernels are computed with: numbers are the same, bit for bit, on one of these paths alone.

use std::fmt;
use std::str::FromStr;

/// A way to compute on a CPU. Each sums in an order of its own, and rounds products apart or fused: results of two of them
/// differ in the last digits.
///
/// Products of activations with one another (in attention and in backward passes) are those of the crate `gemm`, which takes
/// the best the processor has, whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// `none`: what every processor of the architecture has.
    Portable,
    /// `avx2`: AVX2 and FMA.
    Avx2,
    /// `avx512`: AVX-512, as x86-64-v4 has it.
    Avx512,
}

/// Why a path was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No path is called so.
    #[error("`{found}` is no path of the kernels; expected one of `none`, `avx2`, `avx512`")]
    Unknown {
        /// What was given.
        found: String,
    },
    /// A path that this processor, or this build, does not have.
    #[error("the kernels cannot take `{asked}`: this processor and this build have up to `{best}`")]
    NotThere {
        /// The path asked for.
        asked: Path,
        /// The best there is.
        best: Path,
    },
    /// Something was computed before.
    #[error(
        "the kernels cannot take `{asked}`: they have computed on `{taken}`, and a process keeps to one path"
    )]
    Taken {
        /// The path asked for.
        asked: Path,
        /// The path taken.
        taken: Path,
    },
}

impl Path {
    /// The path this process computes on: the one it was told to take ([`Path::take`]), or else the best there is.
    pub fn taken() -> Self {
        #[cfg(feature = "flex")]
        return crate::fast::simd::Level::taken().path();
        #[cfg(not(feature = "flex"))]
        Self::Portable
    }

    /// The best that this processor and this build have.
    pub fn best() -> Self {
        #[cfg(feature = "flex")]
        return crate::fast::simd::Level::best().path();
        #[cfg(not(feature = "flex"))]
        Self::Portable
    }

    /// Makes this process compute on this path from now on, so that it repeats what another machine computed, within
    /// rounding. To be called before anything is computed.
    ///
    /// # Errors
    /// [`PathError::NotThere`], and [`PathError::Taken`] if another path is in use.
    pub fn take(self) -> Result<(), PathError> {
        let best = Self::best();
        if self > best {
            return Err(PathError::NotThere { asked: self, best });
        }
        #[cfg(feature = "flex")]
        crate::fast::simd::Level::take(self);
        match Self::taken() {
            taken if taken == self => Ok(()),
            taken => Err(PathError::Taken { asked: self, taken }),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "none",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let all = [Self::Portable, Self::Avx2, Self::Avx512];
        let found = || PathError::Unknown { found: text.to_owned() };
        all.into_iter().find(|path| path.to_string() == text).ok_or_else(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{Path, PathError};

    #[test]
    fn paths_have_names() {
        for path in [Path::Portable, Path::Avx2, Path::Avx512] {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        let said = "sse".parse::<Path>().unwrap_err().to_string();
        assert_eq!(said, "`sse` is no path of the kernels; expected one of `none`, `avx2`, `avx512`");
    }

    #[test]
    fn a_process_keeps_to_one_path() {
        let best = Path::best();
        assert_eq!((Path::taken(), best.take()), (best, Ok(())));
        if best > Path::Portable {
            let refused = Path::Portable.take().unwrap_err();
            assert_eq!(refused, PathError::Taken { asked: Path::Portable, taken: best });
            let said = refused.to_string();
            assert!(said.starts_with("the kernels cannot take `none`: they have computed on `avx"), "{said}");
        }
        if best < Path::Avx512 {
            let said = Path::Avx512.take().unwrap_err().to_string();
            assert!(said.contains("`avx512`: this processor and this build have up to"), "{said}");
        }
    }
}
