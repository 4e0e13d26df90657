//! The weights of parts, by names that are the same in every family.

use burn::tensor::Tensor;
use mmlens_core::{AnyTensor, AxisName, Part, Point, Port, Site, Through, WeightSpec};

use super::{Block, Linear, Mlp, Norm, Norms};

/// A weight as it is published, and the tensor as it is stored: of the same values, in row-major order.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its name, its axes and its place.
    pub spec: WeightSpec,
    /// The stored tensor.
    pub stored: AnyTensor,
}

impl Named {
    /// A weight under its name.
    pub fn new(spec: WeightSpec, stored: impl Into<AnyTensor>) -> Self {
        Self { spec, stored: stored.into() }
    }

    /// The weight in the shape that is published; `None` if the stored one has another number of values.
    pub fn shaped(&self) -> Option<AnyTensor> {
        let dims = self.spec.dims();
        match (self.stored.rank(), self.stored.clone()) {
            (1, stored) => Some(stored).filter(|stored| stored.dims() == dims),
            (_, stored) => {
                let [rows, cols] = stored.dims()[..] else { return None };
                let stored: Tensor<2> = stored.typed()?;
                match *dims.as_slice() {
                    [a, b] if [a, b] == [rows, cols] => Some(stored.into()),
                    [a, b, c] if a * b * c == rows * cols => Some(stored.reshape([a, b, c]).into()),
                    _ => None,
                }
            }
        }
    }
}

/// A product and its bias, if it has one.
pub(crate) fn product(linear: &Linear, spec: WeightSpec) -> impl Iterator<Item = Named> {
    let bias = linear.bias().cloned().map(|bias| {
        let own = spec.bias();
        // Stored flat; a bias of heads is seen by head.
        match own.dims()[..] {
            [heads, width] => Named::new(own, bias.reshape([heads, width])),
            _ => Named::new(own, bias),
        }
    });
    [Named::new(spec, linear.weight().clone())].into_iter().chain(bias)
}

/// The gain of a norm and its bias, if it has one. Gemma's gain is what multiplies: one more than its files hold.
pub(crate) fn norm(
    norm: &Norm,
    name: String,
    axis: AxisName,
    reads: Option<Port>,
    writes: Option<Port>,
) -> impl Iterator<Item = Named> + use<> {
    let (gain, bias, how) = match norm {
        Norm::Layer { weight, bias, eps } => (weight, Some(bias.clone()), (true, *eps)),
        Norm::Rms { weight, eps } => (weight, None, (false, *eps)),
    };
    let spec = WeightSpec::gain(name, how, (axis, gain.dims()[0]), reads, writes);
    let bias = bias.map(|bias| Named::new(spec.bias(), bias));
    [Named::new(spec, gain.clone())].into_iter().chain(bias)
}

/// Two products with a nonlinearity between them, of a connector: what they are called, where the first reads, and the sites before the
/// nonlinearity, behind it and behind the second.
pub(crate) fn two_layers(
    (up, down): (&Linear, &Linear),
    at: impl Fn(&str) -> String,
    reads: Port,
    [pre, post, out]: [Site; 3],
) -> Vec<Named> {
    use AxisName::{DModel, Neuron};
    let ([neurons, wide], width) = (up.weight().dims(), down.weight().dims()[0]);
    let neurons = [(Neuron, neurons)];
    let first = (&neurons[..], &[(DModel, wide)][..]);
    let first = WeightSpec::product(at("up"), first, Some(reads), Some(Port::at(pre)));
    let second = (&[(DModel, width)][..], &neurons[..]);
    let second = WeightSpec::product(at("down"), second, Some(Port::at(post)), Some(Port::at(out)));
    product(up, first).chain(product(down, second)).collect()
}

impl Block {
    /// Its weights; `rotary` says whether it is given a rotation, and `seen` which site holds what the keys and values of its
    /// cross-attention read: one entry for each row.
    pub fn named(&self, (part, index): (Part, usize), rotary: bool, seen: Option<Site>) -> Vec<Named> {
        use AxisName::{DHead, DModel, Head, Neuron};
        let at = |name: &str| format!("{}.blocks.{index}.{name}", part.name());
        let site = |point| Site::block(part, index, point);
        let plain = |point| Some(Port::at(site(point)));
        let normed = |point, name: &str| Some(Port::through(site(point), Through::Norm(at(name))));
        let (before, after) = match &self.norms {
            Norms::Pre { .. } => (true, false),
            Norms::Around { .. } => (true, true),
            Norms::Post { .. } => (false, false),
        };
        let reads = |point, name| if before { normed(point, name) } else { plain(point) };
        let writes = |point, name| if after { normed(point, name) } else { plain(point) };
        let (shape, d) = (self.attn.shape, self.attn.o.weight().dims()[0]);
        let heads = |heads| [(Head, heads), (DHead, shape.width)];
        let (stream, neurons) = ([(DModel, d)], [(Neuron, self.mlp.neurons())]);
        let mut all = Vec::new();
        let mut norms = |own: &Norm, name: &str, axis, from: Option<Point>, to: Option<Point>| {
            all.extend(norm(own, at(name), axis, from.and_then(plain), to.and_then(plain)));
        };
        match &self.norms {
            Norms::Pre { attn, mlp } => {
                norms(attn, "attn.norm", DModel, Some(Point::ResidPre), None);
                norms(mlp, "mlp.norm", DModel, Some(Point::MlpIn), None);
            }
            Norms::Around { attn, mlp } => {
                norms(&attn.0, "attn.norm", DModel, Some(Point::ResidPre), None);
                norms(&attn.1, "attn.post_norm", DModel, None, Some(Point::AttnOut));
                norms(&mlp.0, "mlp.norm", DModel, Some(Point::MlpIn), None);
                norms(&mlp.1, "mlp.post_norm", DModel, None, Some(Point::MlpOut));
            }
            Norms::Post { attn, mlp } => {
                norms(attn, "attn.norm", DModel, Some(Point::ResidMid), Some(Point::NormalizedResidMid));
                norms(mlp, "mlp.norm", DModel, Some(Point::ResidPost), Some(Point::NormalizedResidPost));
            }
        }
        if let Some((own, _)) = &self.cross {
            match before {
                true => norms(own, "cross.norm", DModel, Some(Point::ResidMid), None),
                false => norms(
                    own,
                    "cross.norm",
                    DModel,
                    Some(Point::ResidCross),
                    Some(Point::NormalizedResidCross),
                ),
            }
        }
        if let Some((q, k)) = &self.attn.norms {
            let to = |point| (!rotary).then_some(point);
            norms(q, "attn.q_norm", DHead, Some(Point::Q), to(Point::QRot));
            norms(k, "attn.k_norm", DHead, Some(Point::K), to(Point::KRot));
        }
        let own = [
            (&self.attn.q, "attn.q", shape.heads, Point::Q),
            (&self.attn.k, "attn.k", shape.kv_heads, Point::K),
            (&self.attn.v, "attn.v", shape.kv_heads, Point::V),
        ];
        for (linear, name, count, to) in own {
            let read = reads(Point::ResidPre, "attn.norm");
            let spec = WeightSpec::product(at(name), (&heads(count), &stream), read, plain(to));
            all.extend(product(linear, spec));
        }
        let written = writes(Point::AttnOut, "attn.post_norm");
        let axes = (&stream[..], &heads(shape.heads)[..]);
        all.extend(product(&self.attn.o, WeightSpec::product(at("attn.o"), axes, plain(Point::Z), written)));
        if let Some((_, cross)) = &self.cross {
            let axes = [(Head, cross.shape.heads), (DHead, cross.shape.width)];
            let context = [(DModel, cross.k.weight().dims()[1])];
            let from = || seen.map(Port::at);
            let stream_in = match before {
                true => normed(Point::ResidMid, "cross.norm"),
                false => plain(Point::NormalizedResidMid),
            };
            let mut across = |linear: &Linear, name: &str, (gives, given): (&[_], &[_]), read, to| {
                all.extend(product(linear, WeightSpec::product(at(name), (gives, given), read, plain(to))));
            };
            across(&cross.q, "cross.q", (&axes, &stream), stream_in, Point::CrossQ);
            across(&cross.k, "cross.k", (&axes, &context), from(), Point::CrossK);
            across(&cross.v, "cross.v", (&axes, &context), from(), Point::CrossV);
            across(&cross.o, "cross.o", (&stream, &axes), plain(Point::CrossZ), Point::CrossOut);
        }
        let mut inner = |linear: &Linear, name: &str, to| {
            let read = reads(Point::MlpIn, "mlp.norm");
            let spec = WeightSpec::product(at(name), (&neurons, &stream), read, plain(to));
            all.extend(product(linear, spec));
        };
        let down = match &self.mlp {
            Mlp::Plain { up, down, .. } => {
                inner(up, "mlp.up", Point::MlpPre);
                down
            }
            Mlp::Gated { gate, up, down, .. } => {
                inner(gate, "mlp.gate", Point::MlpGate);
                inner(up, "mlp.up", Point::MlpPre);
                down
            }
        };
        let written = writes(Point::MlpOut, "mlp.post_norm");
        let spec = WeightSpec::product(at("mlp.down"), (&stream, &neurons), plain(Point::MlpPost), written);
        all.extend(product(down, spec));
        all
    }
}
