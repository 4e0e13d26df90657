//! Where the toy can be read and changed.

use mmlens_core::{AxisName, Part, Point, Site, SiteSpec};

use super::{BLOCKS, HEAD, HEADS, NEURONS, PATCHES, SIDE, VOCAB, WIDTH};

pub(super) fn sites() -> Vec<SiteSpec> {
    use AxisName::{Batch, Channel, DModel, Height, Image, Pos, Vocab, Width};
    let pixels = [(Image, None), (Channel, Some(3)), (Height, Some(SIDE)), (Width, Some(SIDE))];
    let seen = [(Image, None), (Pos, Some(PATCHES)), (DModel, Some(WIDTH))];
    let stream = vec![(Batch, None), (Pos, None), (DModel, Some(WIDTH))];
    let mut sites = vec![
        SiteSpec::new(Site::of(Part::Vision, Point::Pixels), pixels),
        SiteSpec::new(Site::of(Part::Vision, Point::Features), seen),
        SiteSpec::new(Site::of(Part::Connector, Point::Out), seen),
        SiteSpec::new(Site::of(Part::Text, Point::Embed), stream.clone()),
        SiteSpec::new(Site::of(Part::Text, Point::Input), stream.clone()),
    ];
    for i in 0..BLOCKS {
        sites.extend(block(Part::Text, i, Batch, None));
    }
    sites.push(SiteSpec::new(
        Site::of(Part::Text, Point::Logits),
        [(Batch, None), (Pos, None), (Vocab, Some(VOCAB))],
    ));
    sites
}

/// The sites of a block of a part, over entries along an axis with so many positions each.
pub(super) fn block(part: Part, i: usize, along: AxisName, length: Option<usize>) -> Vec<SiteSpec> {
    use AxisName::{DHead, DModel, Head, Key, Neuron, Pos, Query};
    let stream = vec![(along, None), (Pos, length), (DModel, Some(WIDTH))];
    let pairs = vec![(along, None), (Head, Some(HEADS)), (Query, length), (Key, length)];
    let neurons = vec![(along, None), (Pos, length), (Neuron, Some(NEURONS))];
    let heads = vec![(along, None), (Pos, length), (Head, Some(HEADS)), (DHead, Some(HEAD))];
    let wide = vec![(along, None), (Pos, length), (Head, Some(HEADS)), (DModel, Some(WIDTH))];
    let points = [
        (Point::ResidPre, stream.clone()),
        (Point::QIn, wide.clone()),
        (Point::KIn, wide.clone()),
        (Point::VIn, wide.clone()),
        (Point::Q, heads.clone()),
        (Point::K, heads.clone()),
        (Point::V, heads.clone()),
        (Point::Scores, pairs.clone()),
        (Point::Pattern, pairs),
        (Point::Z, heads),
        (Point::Result, wide),
        (Point::AttnOut, stream.clone()),
        (Point::ResidMid, stream.clone()),
        (Point::MlpIn, stream.clone()),
        (Point::MlpPre, neurons.clone()),
        (Point::MlpPost, neurons),
        (Point::MlpOut, stream.clone()),
        (Point::ResidPost, stream),
    ];
    points.into_iter().map(|(point, axes)| SiteSpec::new(Site::block(part, i, point), axes)).collect()
}
