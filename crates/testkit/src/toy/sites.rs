//! Where the toy can be read and changed.

use mmlens_core::{AxisName, Part, Point, Site, SiteSpec};

use super::{BLOCKS, HEAD, HEADS, NEURONS, PATCHES, SIDE, VOCAB, WIDTH};

pub(super) fn sites() -> Vec<SiteSpec> {
    use AxisName::{
        Batch, Channel, DHead, DModel, Head, Height, Image, Key, Neuron, Pos, Query, Vocab, Width,
    };
    let pixels = [(Image, None), (Channel, Some(3)), (Height, Some(SIDE)), (Width, Some(SIDE))];
    let seen = [(Image, None), (Pos, Some(PATCHES)), (DModel, Some(WIDTH))];
    let stream = vec![(Batch, None), (Pos, None), (DModel, Some(WIDTH))];
    let pairs = vec![(Batch, None), (Head, Some(HEADS)), (Query, None), (Key, None)];
    let neurons = vec![(Batch, None), (Pos, None), (Neuron, Some(NEURONS))];
    let heads = vec![(Batch, None), (Pos, None), (Head, Some(HEADS)), (DHead, Some(HEAD))];
    let wide = vec![(Batch, None), (Pos, None), (Head, Some(HEADS)), (DModel, Some(WIDTH))];
    let mut sites = vec![
        SiteSpec::new(Site::of(Part::Vision, Point::Pixels), pixels),
        SiteSpec::new(Site::of(Part::Vision, Point::Features), seen),
        SiteSpec::new(Site::of(Part::Connector, Point::Out), seen),
        SiteSpec::new(Site::of(Part::Text, Point::Embed), stream.clone()),
        SiteSpec::new(Site::of(Part::Text, Point::Input), stream.clone()),
    ];
    for i in 0..BLOCKS {
        let points = [
            (Point::ResidPre, stream.clone()),
            (Point::QIn, wide.clone()),
            (Point::KIn, wide.clone()),
            (Point::VIn, wide.clone()),
            (Point::Q, heads.clone()),
            (Point::K, heads.clone()),
            (Point::V, heads.clone()),
            (Point::Scores, pairs.clone()),
            (Point::Pattern, pairs.clone()),
            (Point::Z, heads.clone()),
            (Point::Result, wide.clone()),
            (Point::AttnOut, stream.clone()),
            (Point::ResidMid, stream.clone()),
            (Point::MlpIn, stream.clone()),
            (Point::MlpPre, neurons.clone()),
            (Point::MlpPost, neurons.clone()),
            (Point::MlpOut, stream.clone()),
            (Point::ResidPost, stream.clone()),
        ];
        sites.extend(points.map(|(point, axes)| SiteSpec::new(Site::block(Part::Text, i, point), axes)));
    }
    sites.push(SiteSpec::new(
        Site::of(Part::Text, Point::Logits),
        [(Batch, None), (Pos, None), (Vocab, Some(VOCAB))],
    ));
    sites
}
