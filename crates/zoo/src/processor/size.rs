//! How large a picture becomes, in the arithmetic of transformers.

/// What the field `size` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Exactly so, whatever the proportions.
    Exactly {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// The shorter edge gets this length; proportions are kept.
    ShortestEdge(usize),
    /// The shorter edge gets this length unless the longer one would exceed its own; proportions are kept.
    Edges {
        /// The shorter edge.
        shortest: usize,
        /// The most the longer edge may have.
        longest: usize,
    },
    /// As large as fits; proportions are kept.
    Within {
        /// The most rows.
        height: usize,
        /// The most columns.
        width: usize,
    },
}

impl Size {
    /// Height and width for a picture of `height` x `width`, both positive. A result may be zero.
    pub(super) fn of(self, height: usize, width: usize) -> (usize, usize) {
        let (long, short) = (height.max(width) as f64, height.min(width) as f64);
        match self {
            Self::Exactly { height, width } => (height, width),
            Self::ShortestEdge(edge) => {
                let far = truncated(edge as f64 * long / short);
                if width <= height { (far, edge) } else { (edge, far) }
            }
            Self::Edges { shortest, longest } => {
                let limit = longest as f64;
                let exact = (long / short * shortest as f64 > limit).then_some(limit * short / long);
                let edge = exact.map_or(shortest, |exact| truncated(exact.round_ties_even()));
                let (h, w) = (height as f64, width as f64);
                let factor = exact.unwrap_or(edge as f64);
                if height.min(width) == edge {
                    (height, width)
                } else if width < height {
                    (truncated(factor * h / w), edge)
                } else {
                    (edge, truncated(factor * w / h))
                }
            }
            Self::Within { height: most_height, width: most_width } => {
                let (h, w) = (height as f64, width as f64);
                let scale = (most_height as f64 / h).min(most_width as f64 / w);
                (truncated(h * scale), truncated(w * scale))
            }
        }
    }
}

/// Towards zero; what is beyond every picture becomes the largest number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn truncated(x: f64) -> usize {
    x as usize
}
