//! What writes to the residual stream of a part, a decoder or a tower, and what reads it: the nodes between which a circuit has its edges.

use std::fmt;
use std::str::FromStr;

use mmlens_core::{AxisName, HookError, Part, Point, Site, Subject};
use serde::{Deserialize, Serialize};

/// What writes to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Sender {
    /// What enters the first block.
    Input,
    /// A head.
    Head {
        /// Its block.
        layer: usize,
        /// Its number.
        head: usize,
    },
    /// An MLP.
    Mlp {
        /// Its block.
        layer: usize,
    },
    /// What a deeper layer of the tower adds after a block.
    Deepstack {
        /// The block.
        layer: usize,
    },
}

/// What reads the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Receiver {
    /// The queries of a head.
    Query {
        /// Its block.
        layer: usize,
        /// Its number.
        head: usize,
    },
    /// The keys of a KV head.
    Key {
        /// Its block.
        layer: usize,
        /// Its number among the KV heads.
        head: usize,
    },
    /// The values of a KV head.
    Value {
        /// Its block.
        layer: usize,
        /// Its number among the KV heads.
        head: usize,
    },
    /// An MLP.
    Mlp {
        /// Its block.
        layer: usize,
    },
    /// The last norm and the unembedding.
    Logits,
    /// Of a tower: what reads what leaves it, the connector or the last norm and what follows.
    Out,
}

impl Sender {
    /// How many attention layers and MLPs stand before it has written.
    fn written(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Head { layer, .. } => 2 * layer + 1,
            Self::Mlp { layer } | Self::Deepstack { layer } => 2 * layer + 2,
        }
    }

    /// The block it stands in: block 0 for the input.
    pub fn layer(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Head { layer, .. } | Self::Mlp { layer } | Self::Deepstack { layer } => layer,
        }
    }
}

impl Receiver {
    /// Whether something a sender writes can reach it directly.
    pub fn receives(self, sender: Sender) -> bool {
        let read = match self {
            Self::Query { layer, .. } | Self::Key { layer, .. } | Self::Value { layer, .. } => 2 * layer,
            Self::Mlp { layer } => 2 * layer + 1,
            Self::Logits | Self::Out => usize::MAX,
        };
        sender.written() <= read
    }

    /// The block it stands in, if in one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Query { layer, .. }
            | Self::Key { layer, .. }
            | Self::Value { layer, .. }
            | Self::Mlp { layer } => Some(layer),
            Self::Logits | Self::Out => None,
        }
    }

    /// Its number among the heads of its block, if it belongs to one.
    pub fn head(self) -> Option<usize> {
        match self {
            Self::Query { head, .. } | Self::Key { head, .. } | Self::Value { head, .. } => Some(head),
            Self::Mlp { .. } | Self::Logits | Self::Out => None,
        }
    }

    /// Where it reads its own copy of the stream; the logits, and what lies behind a tower, read what leaves the last block.
    pub fn site(self, of: &Circuit) -> Site {
        let (layer, point) = match self {
            Self::Query { layer, .. } => (layer, Point::QIn),
            Self::Key { layer, .. } => (layer, Point::KIn),
            Self::Value { layer, .. } => (layer, Point::VIn),
            Self::Mlp { layer } => (layer, Point::MlpIn),
            Self::Logits | Self::Out => (of.layers.saturating_sub(1), Point::ResidPost),
        };
        Site::block(of.part, layer, point)
    }

    /// The stream that its copy is one of.
    pub fn stream(self, of: &Circuit) -> Site {
        let (layer, point) = match self {
            Self::Query { layer, .. } | Self::Key { layer, .. } | Self::Value { layer, .. } => {
                (layer, Point::ResidPre)
            }
            Self::Mlp { layer } => (layer, Point::ResidMid),
            Self::Logits | Self::Out => (of.layers.saturating_sub(1), Point::ResidPost),
        };
        Site::block(of.part, layer, point)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Head { layer, head } => write!(f, "{layer}.h{head}"),
            Self::Mlp { layer } => write!(f, "{layer}.mlp"),
            Self::Deepstack { layer } => write!(f, "{layer}.deepstack"),
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query { layer, head } => write!(f, "{layer}.q{head}"),
            Self::Key { layer, head } => write!(f, "{layer}.k{head}"),
            Self::Value { layer, head } => write!(f, "{layer}.v{head}"),
            Self::Mlp { layer } => write!(f, "{layer}.mlp"),
            Self::Logits => f.write_str("logits"),
            Self::Out => f.write_str("out"),
        }
    }
}

/// A text that names no node of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no {kind} of a circuit; they are called like {like}")]
pub struct NoNode {
    found: String,
    kind: &'static str,
    like: &'static str,
}

/// The block of a node, and what follows its dot.
fn in_block(text: &str) -> Option<(usize, &str)> {
    let (layer, rest) = text.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

impl FromStr for Sender {
    type Err = NoNode;

    fn from_str(text: &str) -> Result<Self, NoNode> {
        let node = || {
            if text == "input" {
                return Some(Self::Input);
            }
            let (layer, rest) = in_block(text)?;
            match rest {
                "mlp" => Some(Self::Mlp { layer }),
                "deepstack" => Some(Self::Deepstack { layer }),
                _ => Some(Self::Head { layer, head: rest.strip_prefix('h')?.parse().ok()? }),
            }
        };
        let (found, like) = (|| text.to_owned(), "`input`, `0.h3`, `0.mlp`");
        node().ok_or_else(|| NoNode { found: found(), kind: "sender", like })
    }
}

impl FromStr for Receiver {
    type Err = NoNode;

    fn from_str(text: &str) -> Result<Self, NoNode> {
        let node = || {
            match text {
                "logits" => return Some(Self::Logits),
                "out" => return Some(Self::Out),
                _ => {}
            }
            let (layer, rest) = in_block(text)?;
            if rest == "mlp" {
                return Some(Self::Mlp { layer });
            }
            let (kind, head) = rest.split_at_checked(1)?;
            let head = head.parse().ok()?;
            match kind {
                "q" => Some(Self::Query { layer, head }),
                "k" => Some(Self::Key { layer, head }),
                "v" => Some(Self::Value { layer, head }),
                _ => None,
            }
        };
        let (found, like) =
            (|| text.to_owned(), "`1.q3`, `1.k0`, `1.v0`, `1.mlp`, `logits`, of a tower `out`");
        node().ok_or_else(|| NoNode { found: found(), kind: "receiver", like })
    }
}

impl TryFrom<String> for Sender {
    type Error = NoNode;

    fn try_from(text: String) -> Result<Self, NoNode> {
        text.parse()
    }
}

impl From<Sender> for String {
    fn from(node: Sender) -> Self {
        node.to_string()
    }
}

impl TryFrom<String> for Receiver {
    type Error = NoNode;

    fn try_from(text: String) -> Result<Self, NoNode> {
        text.parse()
    }
}

impl From<Receiver> for String {
    fn from(node: Receiver) -> Self {
        node.to_string()
    }
}

/// A part of a subject as senders and receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    /// Which.
    pub part: Part,
    /// Number of blocks, of those that are read from outside ([`Subject::read_behind`]).
    pub layers: usize,
    /// Query heads in each.
    pub heads: usize,
    /// KV heads in each.
    pub kv_heads: usize,
    /// Blocks after which a layer of the tower is added.
    pub deep: Vec<usize>,
}

impl Circuit {
    /// A part of a subject, up to the last block behind which it is read.
    ///
    /// # Errors
    /// [`HookError::NoSuchSite`] if it lacks a place where a sender writes or a receiver reads.
    pub fn of(subject: &dyn Subject, part: Part) -> Result<Self, HookError> {
        let spec = |site: Site| {
            let found = subject.sites().iter().find(|spec| spec.site == site);
            found.ok_or_else(|| HookError::NoSuchSite {
                subject: subject.name().to_owned(),
                asked: site.to_string(),
                nearest: None,
            })
        };
        // A subject without blocks lacks those of its first one.
        let layers = subject.read_behind(part).last().copied().unwrap_or(0).max(1);
        let needed = [
            Point::ResidPre,
            Point::QIn,
            Point::KIn,
            Point::VIn,
            Point::Q,
            Point::K,
            Point::V,
            Point::Z,
            Point::AttnOut,
            Point::ResidMid,
            Point::MlpIn,
            Point::MlpOut,
            Point::ResidPost,
        ];
        for layer in 0..layers {
            for point in needed {
                spec(Site::block(part, layer, point))?;
            }
        }
        let heads = |point| {
            let spec = spec(Site::block(part, 0, point))?;
            let len = spec.axis(AxisName::Head).and_then(|at| spec.axes.get(at)).and_then(|(_, len)| *len);
            let axis = AxisName::Head.name().to_owned();
            len.ok_or_else(|| HookError::NoAxis { site: spec.site, axes: spec.describe(), axis })
        };
        let deep = |layer: &usize| spec(Site::block(part, *layer, Point::Deepstack)).is_ok();
        Ok(Self {
            part,
            layers,
            heads: heads(Point::QIn)?,
            kv_heads: heads(Point::KIn)?,
            deep: (0..layers).filter(deep).collect(),
        })
    }

    /// Every sender of some blocks, in the order of a pass; the input comes with block 0.
    pub fn senders(&self, layers: std::ops::Range<usize>) -> Vec<Sender> {
        let input = layers.contains(&0).then_some(Sender::Input);
        let block = |layer: usize| {
            let heads = (0..self.heads).map(move |head| Sender::Head { layer, head });
            let deep = self.deep.contains(&layer).then_some(Sender::Deepstack { layer });
            heads.chain([Sender::Mlp { layer }]).chain(deep)
        };
        input.into_iter().chain(layers.flat_map(block)).collect()
    }

    /// Every receiver of some blocks, in the order of a pass; the logits, or what reads a tower, come with the last block.
    pub fn receivers(&self, layers: std::ops::Range<usize>) -> Vec<Receiver> {
        let end = if self.part == Part::Text { Receiver::Logits } else { Receiver::Out };
        let end = (layers.end == self.layers && !layers.is_empty()).then_some(end);
        let block = |layer: usize| {
            let queries = (0..self.heads).map(move |head| Receiver::Query { layer, head });
            let keys = (0..self.kv_heads).map(move |head| Receiver::Key { layer, head });
            let values = (0..self.kv_heads).map(move |head| Receiver::Value { layer, head });
            queries.chain(keys).chain(values).chain([Receiver::Mlp { layer }])
        };
        layers.flat_map(block).chain(end).collect()
    }
}

#[cfg(test)]
mod tests {
    use mmlens_core::Part;

    use super::{Circuit, Receiver, Sender};

    #[test]
    fn edges_lead_forwards() {
        let circuit = Circuit { part: Part::Text, layers: 2, heads: 4, kv_heads: 2, deep: vec![0] };
        let (senders, receivers) = (circuit.senders(0..2), circuit.receivers(0..2));
        assert_eq!((senders.len(), receivers.len()), (1 + 2 * 5 + 1, 2 * (4 + 2 + 2 + 1) + 1));
        let received =
            |receiver: Receiver| senders.iter().filter(|sender| receiver.receives(**sender)).count();
        // the input alone; the heads beside it; block 0 and what is added after it; all
        assert_eq!(received(Receiver::Key { layer: 0, head: 1 }), 1);
        assert_eq!(received(Receiver::Mlp { layer: 0 }), 5);
        assert_eq!(received(Receiver::Query { layer: 1, head: 3 }), 7);
        assert_eq!(received(Receiver::Logits), 12);
        let names: Vec<String> = senders.iter().map(Sender::to_string).collect();
        assert_eq!(names[..7], ["input", "0.h0", "0.h1", "0.h2", "0.h3", "0.mlp", "0.deepstack"]);
        assert_eq!(receivers[4].to_string(), "0.k0");
        let tower = Circuit { part: Part::Vision, deep: Vec::new(), ..circuit.clone() };
        let (last, other) = (tower.receivers(0..2).pop().unwrap(), receivers.last().unwrap());
        assert_eq!((last, *other), (Receiver::Out, Receiver::Logits));
        assert_eq!((last.to_string().parse(), other.to_string().parse()), (Ok(last), Ok(*other)));
        let ends = [last.site(&tower), other.site(&circuit)].map(|site| site.to_string());
        assert_eq!(ends, ["vision.blocks.1.resid_post", "text.blocks.1.resid_post"]);
    }
}
