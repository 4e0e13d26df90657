//! What a value is compared with.

use serde::{Deserialize, Serialize};

use crate::mean::own_means;
use crate::tensor::with_rank;
use crate::{AnyTensor, HookError, Inputs, Part, Point, Site, SiteSpec};

/// The value that stands for "not there" at a site.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Baseline {
    /// Zero in the site's own space. For pixels, which are normalised, this is the mean colour of the processor, not black; in a log-mel
    /// spectrogram as Whisper takes it, 40 dB below full scale, not silence.
    #[default]
    Zero,
    /// One number everywhere.
    Constant(f32),
    /// The mean of what is alike, in the sample itself.
    ///
    /// - Pixels: of each picture its own mean colour, over all of the original picture (of a clip, over all its frames), as
    ///   the processor would give it to the tower. All tiles of a picture have the same. What a processor put around the
    ///   picture is no part of it and stays as it is.
    /// - Log-mel spectrograms: of each recording the mean of every filter, over the frames of the sound. Frames of padding are no
    ///   part of it and stay as they are.
    /// - Other sites with positions: the mean over positions of the same prompt (in a tower: of the same picture or recording), words among
    ///   words, patches among patches, parts of a recording among themselves ([`Content`](crate::Content)). Padding is left out and
    ///   stays as it is, and so do, at `text.embed`, positions whose vectors features of pictures and recordings replace.
    Mean,
    /// A given value; each length equals the site's or is 1. A finding keeps it as a table of its own.
    Given(#[serde(with = "host")] AnyTensor),
}

impl Baseline {
    /// The baseline for a value read at a site in a pass over these inputs, in its shape.
    ///
    /// # Errors
    /// [`HookError::Operand`] if a given value does not fit; for a mean [`HookError::NoMean`] at a site without positions
    /// and [`HookError::NoMeans`] where a tower is given what the inputs tell no means of.
    ///
    /// # Cost
    /// For a mean, the value passes through the host once.
    pub fn at(&self, spec: &SiteSpec, value: &AnyTensor, inputs: &Inputs) -> Result<AnyTensor, HookError> {
        let dims = value.dims();
        match self {
            Self::Zero => with_rank!(value.clone(), x => AnyTensor::new(x.zeros_like())),
            Self::Constant(c) => with_rank!(value.clone(), x => AnyTensor::new(x.full_like(*c))),
            Self::Mean => own_means(spec, value, inputs),
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
                    let given = given.beside(value)?.rank_of(site)?;
                    Ok(AnyTensor::new(x.zeros_like() + given))
                })?
            }
        }
    }

    /// What it is at a site, in words, as findings tell it.
    pub fn describe(&self, site: Site) -> String {
        match self {
            Self::Zero => "zero".to_owned(),
            Self::Constant(c) => format!("constant {c}"),
            Self::Mean => match (site.part(), site.point()) {
                (_, Point::Pixels) => "each picture's own mean colour",
                (_, Point::Mel) => "each recording's own mean of every filter",
                (Part::Text | Part::Encoder, Point::Embed) => "mean over the words",
                (Part::Text | Part::Encoder, _) => {
                    "mean over positions that carry the same, words or pictures"
                }
                (Part::Audio, _) => "mean over the positions of each recording",
                _ => "mean over the patches of each picture",
            }
            .to_owned(),
            Self::Given(x) => format!("given value of shape {:?}", x.dims()),
        }
    }
}

/// A tensor as settings hold it: its shape and its values.
mod host {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::{AnyTensor, device};

    #[derive(Serialize, Deserialize)]
    struct Host {
        shape: Vec<usize>,
        values: Vec<f32>,
    }

    pub(super) fn serialize<S: Serializer>(value: &AnyTensor, to: S) -> Result<S::Ok, S::Error> {
        let values = value.to_values().map_err(S::Error::custom)?;
        Host { shape: value.dims(), values }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<AnyTensor, D::Error> {
        let Host { shape, values } = Host::deserialize(from)?;
        AnyTensor::from_values(values, &shape, &device::host()).map_err(D::Error::custom)
    }
}
