//! The toy's weights by name.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, AxisName, Part, Point, Port, Site, WeightSpec};

use super::{BLOCKS, HEAD, HEADS, NEURONS, Toy, VOCAB, WIDTH};

const STREAM: [(AxisName, usize); 1] = [(AxisName::DModel, WIDTH)];
const BY_HEAD: [(AxisName, usize); 2] = [(AxisName::Head, HEADS), (AxisName::DHead, HEAD)];
const INNER: [(AxisName, usize); 1] = [(AxisName::Neuron, NEURONS)];
const WORDS: [(AxisName, usize); 1] = [(AxisName::Vocab, VOCAB)];

pub(super) fn weights() -> Vec<WeightSpec> {
    let port = |site| Some(Port::at(site));
    let outside = |point| Site::of(Part::Text, point);
    let table = [WORDS[0], STREAM[0]];
    let mut all = vec![WeightSpec::table("text.embed", table, Port::at(outside(Point::Embed)))];
    for i in 0..BLOCKS {
        let own = |name: &str, (gives, given): (&[_], &[_]), from, to| {
            let at = |point| port(Site::block(Part::Text, i, point));
            WeightSpec::product(format!("text.blocks.{i}.{name}"), (gives, given), at(from), at(to))
        };
        all.extend([
            own("attn.q", (&BY_HEAD, &STREAM), Point::ResidPre, Point::Q),
            own("attn.k", (&BY_HEAD, &STREAM), Point::ResidPre, Point::K),
            own("attn.v", (&BY_HEAD, &STREAM), Point::ResidPre, Point::V),
            own("attn.o", (&STREAM, &BY_HEAD), Point::Z, Point::AttnOut),
            own("mlp.up", (&INNER, &STREAM), Point::MlpIn, Point::MlpPre),
            own("mlp.down", (&STREAM, &INNER), Point::MlpPost, Point::MlpOut),
        ]);
    }
    let last = Site::block(Part::Text, BLOCKS - 1, Point::ResidPost);
    all.push(WeightSpec::product(
        "text.unembed",
        (&WORDS, &STREAM),
        port(last),
        port(outside(Point::Logits)),
    ));
    all
}

impl Toy {
    /// A weight of [`weights`], by its name.
    pub(super) fn named(&self, name: &str) -> Option<AnyTensor> {
        let spec = self.weights.iter().find(|spec| spec.name == name)?;
        let stored: &Tensor<2> = match name.strip_prefix("text.blocks.").and_then(|rest| rest.split_once('.'))
        {
            None if name == "text.embed" => return Some(self.embed.clone().into()),
            None => &self.unembed,
            Some((block, own)) => {
                let block = self.blocks.get(block.parse::<usize>().ok()?)?;
                match own {
                    "attn.q" => &block.q,
                    "attn.k" => &block.k,
                    "attn.v" => &block.v,
                    "attn.o" => &block.o,
                    "mlp.up" => &block.up,
                    _ => &block.down,
                }
            }
        };
        // The toy keeps its weights as what they are given times what they give.
        let weight = stored.clone().transpose();
        Some(match spec.dims()[..] {
            [a, b, c] => weight.reshape([a, b, c]).into(),
            _ => weight.into(),
        })
    }
}
