//! What a value is compared with.

use std::fmt;

use crate::tensor::with_rank;
use crate::{AnyTensor, AxisName, HookError, SiteSpec};

/// The value that stands for "not there" at a site.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Baseline {
    /// Zero in the site's own space. For pixels, which are normalised, this is the mean colour, not black.
    #[default]
    Zero,
    /// One number everywhere.
    Constant(f32),
    /// The mean over positions (for pixels: over the picture, per channel) of the value itself.
    Mean,
    /// A given value; each length equals the site's or is 1.
    Given(AnyTensor),
}

impl Baseline {
    /// The baseline for a value read at a site, in its shape.
    ///
    /// # Errors
    /// [`HookError::Operand`] if a given value does not fit.
    pub fn at(&self, spec: &SiteSpec, value: &AnyTensor) -> Result<AnyTensor, HookError> {
        let dims = value.dims();
        match self {
            Self::Zero => with_rank!(value.clone(), x => AnyTensor::new(x.zeros_like())),
            Self::Constant(c) => with_rank!(value.clone(), x => AnyTensor::new(x.full_like(*c))),
            Self::Mean => {
                let over: Vec<usize> = [AxisName::Pos, AxisName::Height, AxisName::Width]
                    .iter()
                    .filter_map(|a| spec.axis(*a))
                    .collect();
                with_rank!(value.clone(), x => {
                    let mean = over.iter().fold(x.clone(), |m, axis| m.mean_dim(*axis));
                    AnyTensor::new(x.zeros_like() + mean)
                })
            }
            Self::Given(given) => {
                let shape = given.dims();
                if shape.len() != dims.len() || shape.iter().zip(&dims).any(|(g, d)| g != d && *g != 1) {
                    return Err(HookError::Operand {
                        site: spec.site,
                        holds: dims,
                        given: shape,
                        verb: "set",
                    });
                }
                let site = spec.site;
                with_rank!(value.clone(), x => {
                    let given = given.clone().rank_of(site)?;
                    Ok(AnyTensor::new(x.zeros_like() + given))
                })?
            }
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zero"),
            Self::Constant(c) => write!(f, "constant {c}"),
            Self::Mean => f.write_str("mean over positions"),
            Self::Given(x) => write!(f, "given value of shape {:?}", x.dims()),
        }
    }
}
