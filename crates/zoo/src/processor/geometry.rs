//! Where a processed picture lies on the original: the way back for boxes and heat maps.

/// A box in pixels: columns from `left` to `right`, rows from `top` to `bottom`, edges counted from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBox {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

/// How one picture was resized, cropped and padded.
///
/// "Original" is the picture upright, as it was given to the processor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    x: AxisMap,
    y: AxisMap,
}

/// One direction: `processed = (original + before) * scale + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AxisMap {
    /// Pixels of the original.
    pub(super) original: usize,
    /// Pixels of the processed picture.
    pub(super) processed: usize,
    /// Padding before the picture, in its own pixels.
    pub(super) before: usize,
    /// Processed pixels for each original one.
    pub(super) scale: f64,
    /// Padding (or, below zero, what was cropped) before the resized picture.
    pub(super) shift: f64,
}

impl AxisMap {
    fn forward(&self, at: f64) -> f64 {
        (at + self.before as f64) * self.scale + self.shift
    }

    fn back(&self, at: f64) -> f64 {
        (at - self.shift) / self.scale - self.before as f64
    }

    fn extents(&self) -> Vec<[f32; 2]> {
        let edge = |at: usize| self.back(at as f64).clamp(0.0, self.original as f64) as f32;
        (0..self.processed).map(|at| [edge(at), edge(at + 1)]).collect()
    }
}

impl Geometry {
    pub(super) fn new(x: AxisMap, y: AxisMap) -> Self {
        Self { x, y }
    }

    /// Width and height of the original.
    #[must_use]
    pub fn original(&self) -> (usize, usize) {
        (self.x.original, self.y.original)
    }

    /// Width and height of the processed picture.
    #[must_use]
    pub fn processed(&self) -> (usize, usize) {
        (self.x.processed, self.y.processed)
    }

    /// A box of the processed picture as a box of the original, cut to it. `None` where it covers padding alone.
    #[must_use]
    pub fn to_original(&self, area: PixelBox) -> Option<PixelBox> {
        let unbound = PixelBox {
            left: self.x.back(area.left),
            top: self.y.back(area.top),
            right: self.x.back(area.right),
            bottom: self.y.back(area.bottom),
        };
        unbound.within(self.original())
    }

    /// A box of the original as a box of the processed picture, cut to it. `None` where it was cropped away.
    #[must_use]
    pub fn to_processed(&self, area: PixelBox) -> Option<PixelBox> {
        let unbound = PixelBox {
            left: self.x.forward(area.left),
            top: self.y.forward(area.top),
            right: self.x.forward(area.right),
            bottom: self.y.forward(area.bottom),
        };
        unbound.within(self.processed())
    }

    /// For every row of the processed picture, its extent in rows of the original; empty for padding.
    #[must_use]
    pub fn rows(&self) -> Vec<[f32; 2]> {
        self.y.extents()
    }

    /// For every column of the processed picture, its extent in columns of the original; empty for padding.
    #[must_use]
    pub fn cols(&self) -> Vec<[f32; 2]> {
        self.x.extents()
    }
}

impl PixelBox {
    /// The part within a picture, if there is any.
    fn within(self, (width, height): (usize, usize)) -> Option<Self> {
        let (width, height) = (width as f64, height as f64);
        let cut = Self {
            left: self.left.clamp(0.0, width),
            top: self.top.clamp(0.0, height),
            right: self.right.clamp(0.0, width),
            bottom: self.bottom.clamp(0.0, height),
        };
        (cut.left < cut.right && cut.top < cut.bottom).then_some(cut)
    }
}
