//! Places in a model: how they are named, ordered and published.

use std::fmt;
use std::str::FromStr;

use mmlens_finding::MASKED;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{HookError, OwnPoint};

/// The parts a multimodal model is made of, in the order data passes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The image tower.
    Vision,
    /// The audio tower.
    Audio,
    /// What carries features of towers into the language model.
    Connector,
    /// A text encoder that the language model attends to.
    Encoder,
    /// The language model, or the text tower.
    Text,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Audio, Self::Connector, Self::Encoder, Self::Text];

    /// Those that are given something beside words: towers.
    pub const TOWERS: [Self; 2] = [Self::Vision, Self::Audio];

    /// Where what a tower is given enters it; none for a part that is no tower.
    pub const fn entrance(self) -> Option<Site> {
        match self {
            Self::Vision => Some(Site::of(self, Point::Pixels)),
            Self::Audio => Some(Site::of(self, Point::Mel)),
            Self::Connector | Self::Encoder | Self::Text => None,
        }
    }

    /// Whether it takes what another part gives, so that a pass that begins in it needs nothing of that one. Towers take nothing of one
    /// another.
    pub fn follows(self, other: Self) -> bool {
        self > other && !(self.entrance().is_some() && other.entrance().is_some())
    }

    /// Its name in a site.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Connector => "connector",
            Self::Encoder => "encoder",
            Self::Text => "text",
            Self::Audio => "audio",
        }
    }

    /// Its name in plain words.
    pub fn plain(self) -> &'static str {
        match self {
            Self::Vision => "image tower",
            Self::Connector => "connector",
            Self::Encoder => "text encoder",
            Self::Text => "text model",
            Self::Audio => "audio tower",
        }
    }
}

macro_rules! points {
    ($($variant:ident $name:literal $plain:literal $stage:ident $doc:literal,)*) => {
        /// What is found at a place. Order is the order of a pass.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Point {
            $(#[doc = $doc] $variant,)*
            /// One that a model publishes beside these, right behind one of them ([`Point::own`]).
            Own(OwnPoint),
        }

        /// Where the points stand in a pass.
        #[derive(Clone, Copy)]
        enum Place { $($variant,)* }

        impl Point {
            /// Every point that models share.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in a site.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Own(own) => own.name() }
            }

            /// What it holds, in a few words; a point of one's own has its name alone.
            pub fn plain(self) -> &'static str {
                match self { $(Self::$variant => $plain,)* Self::Own(own) => own.name() }
            }

            /// What it holds, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* Self::Own(own) => own.meaning() }
            }

            /// Its place in [`Point::ALL`]; of one's own that of the point in front of it.
            pub(crate) fn place(self) -> usize {
                match self { $(Self::$variant => Place::$variant as usize,)* Self::Own(own) => own.place() }
            }

            /// Whether what a tower is given enters it here.
            pub fn is_entrance(self) -> bool {
                matches!(self, Self::Pixels | Self::Mel)
            }

            /// Whether it lies inside a block.
            pub fn in_block(self) -> bool {
                self.stage() == Stage::Block
            }

            pub(crate) fn stage(self) -> Stage {
                match self { $(Self::$variant => Stage::$stage,)* Self::Own(own) => own.front().stage() }
            }
        }
    };
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let listed = Self::ALL.iter().copied().find(|point| point.name() == text);
        let own = || Self::named(&text).filter(|point| point.front().is_some());
        listed.or_else(own).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no point")))
    }
}

/// Where in a part a point lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Before,
    Block,
    After,
}

points! {
    Pixels "pixels" "pixels" Before "The picture as the tower is given it.",
    Mel "mel" "log-mel spectrogram" Before "The log-mel spectrogram as the tower is given it, the lowest filter first.",
    Embed "embed" "embeddings" Before "Token or patch embedding, before positions are added.",
    Input "input" "input of the blocks" Before "What enters block 0 (text: after features of pictures and recordings took their places).",
    ResidPre "resid_pre" "incoming residual stream" Block "Residual stream entering the block.",
    QIn "attn.q_in" "input of the queries" Block "The stream as each head's query reads it, before the norm in front: a copy for every head.",
    KIn "attn.k_in" "input of the keys" Block "The stream as each head's key reads it, before the norm in front (KV heads).",
    VIn "attn.v_in" "input of the values" Block "The stream as each head's value reads it, before the norm in front (KV heads).",
    Q "attn.q" "queries" Block "Queries, before rotary.",
    K "attn.k" "keys" Block "Keys, before rotary (KV heads).",
    V "attn.v" "values" Block "Values (KV heads).",
    QRot "attn.q_rot" "rotated queries" Block "Queries after rotary.",
    KRot "attn.k_rot" "rotated keys" Block "Keys after rotary (KV heads).",
    Scores "attn.scores" "attention scores" Block "Attention scores: scaled and masked, before softmax.",
    Pattern "attn.pattern" "attention weights" Block "Attention weights, after softmax.",
    Z "attn.z" "head outputs" Block "Per-head mix of values.",
    Result "attn.result" "head contributions" Block "Per-head contribution to the residual stream (without the output bias).",
    AttnOut "attn_out" "attention output" Block "What attention adds to the residual stream.",
    ResidMid "resid_mid" "residual stream after attention" Block "Residual stream between attention and MLP: the sum, before a norm behind it.",
    NormalizedResidMid "normalized_resid_mid" "normalized stream after attention" Block "Of post-norm blocks: `resid_mid` after its norm, which is what goes on.",
    CrossQ "cross.q" "cross-attention queries" Block "Queries of cross-attention.",
    CrossK "cross.k" "cross-attention keys" Block "Keys of cross-attention, one for each position attended to.",
    CrossV "cross.v" "cross-attention values" Block "Values of cross-attention, one for each position attended to.",
    CrossScores "cross.scores" "cross-attention scores" Block "Cross-attention scores: scaled and masked, before softmax.",
    CrossPattern "cross.pattern" "cross-attention weights" Block "Cross-attention weights, after softmax.",
    CrossZ "cross.z" "cross-attention head outputs" Block "Per-head mix of cross-attention's values.",
    CrossResult "cross.result" "cross-attention head contributions" Block "Per-head contribution of cross-attention to the residual stream (without the output bias).",
    CrossOut "cross_out" "cross-attention output" Block "What cross-attention adds to the residual stream.",
    ResidCross "resid_cross" "residual stream after cross-attention" Block "Residual stream between cross-attention and MLP.",
    NormalizedResidCross "normalized_resid_cross" "normalized stream after cross-attention" Block "Of post-norm blocks: `resid_cross` after its norm, which is what goes on.",
    MlpIn "mlp_in" "input of the MLP" Block "The stream as the MLP reads it, before the norm in front.",
    MlpGate "mlp.gate" "MLP gate" Block "Gate branch of a gated MLP, before the nonlinearity.",
    MlpPre "mlp.pre" "neurons before activation" Block "Neurons before the nonlinearity (gated MLP: the linear branch).",
    MlpPost "mlp.post" "neurons" Block "Neurons as the down projection sees them.",
    MlpOut "mlp_out" "MLP output" Block "What the MLP adds to the residual stream.",
    ResidPost "resid_post" "outgoing residual stream" Block "Residual stream leaving the block: the sum, before a norm behind it.",
    NormalizedResidPost "normalized_resid_post" "normalized outgoing stream" Block "Of post-norm blocks: `resid_post` after its norm, which enters the next block.",
    Deepstack "deepstack" "added image features" Block "What is added to the residual stream after the block, from a deeper layer of the tower.",
    Features "features" "features" After "What leaves the tower for the connector.",
    In "in" "input of the connector" After "Features of neighbours side by side, as the first product of the connector is given them.",
    Pre "pre" "connector neurons before activation" After "Neurons of the connector before the nonlinearity.",
    Post "post" "connector neurons" After "Neurons of the connector as its second product sees them.",
    Out "out" "output" After "What leaves the connector, in the language model's width.",
    FinalNorm "final_norm" "after the last norm" After "After the last norm.",
    PoolPattern "pool.pattern" "pooling weights" After "Weights with which positions are pooled into one vector, where attention does it.",
    Pooled "pooled" "pooled vector" After "One vector for the whole input.",
    Projected "projected" "vector in the shared space" After "The pooled vector in the shared space.",
    Logits "logits" "logits" After "Unembedding, at the asked positions; of a classifier, one number for each class.",
}

/// A place in a model: `part.point` or `part.blocks.i.point`.
///
/// Sites are ordered as a pass reaches them.
///
/// ```
/// use mmlens_core::Site;
/// let site: Site = "text.blocks.3.attn.pattern".parse()?;
/// assert_eq!(site.to_string(), "text.blocks.3.attn.pattern");
/// let wrong = "text.blocks.3.attn.patern".parse::<Site>().unwrap_err();
/// assert!(wrong.to_string().contains("did you mean `attn.pattern`?"));
/// # Ok::<(), mmlens_core::HookError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site {
    part: Part,
    block: Option<u16>,
    point: Point,
}

impl Site {
    /// `part.point`, a place outside the blocks. A point that belongs to a block is put into block 0.
    pub const fn of(part: Part, point: Point) -> Self {
        Self { part, block: None, point }
    }

    /// `part.blocks.i.point`.
    pub const fn block(part: Part, block: usize, point: Point) -> Self {
        Self { part, block: Some(block as u16), point }
    }

    /// The part it lies in.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The block it lies in, if any.
    pub fn block_index(&self) -> Option<usize> {
        self.block.map(usize::from)
    }

    /// What is found there.
    pub fn point(&self) -> Point {
        self.point
    }

    /// Its name in plain words.
    ///
    /// ```
    /// let site: mmlens_core::Site = "text.blocks.3.attn.z".parse()?;
    /// assert_eq!(site.plain(), "text model block 3, head outputs");
    /// # Ok::<(), mmlens_core::HookError>(())
    /// ```
    pub fn plain(&self) -> String {
        let (part, point) = (self.part.plain(), self.point.plain());
        match self.block {
            Some(block) => format!("{part} block {block}, {point}"),
            None => format!("{part}, {point}"),
        }
    }

    /// Whether it lies before the blocks of its part.
    pub fn before_blocks(&self) -> bool {
        self.point.stage() == Stage::Before
    }

    /// Whether a value can stand here: a finite number, or, in attention scores, one that is masked.
    pub fn admits(&self, value: f32) -> bool {
        let masked = matches!(self.point, Point::Scores | Point::CrossScores) && f64::from(value) <= MASKED;
        value.is_finite() || masked
    }

    fn key(&self) -> (Part, Stage, Option<u16>, Point) {
        (self.part, self.point.stage(), self.block, self.point)
    }
}

impl PartialOrd for Site {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Site {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => write!(f, "{}.blocks.{block}.{}", self.part.name(), self.point.name()),
            None => write!(f, "{}.{}", self.part.name(), self.point.name()),
        }
    }
}

impl From<Site> for String {
    fn from(site: Site) -> Self {
        site.to_string()
    }
}

impl TryFrom<String> for Site {
    type Error = HookError;

    fn try_from(text: String) -> Result<Self, HookError> {
        text.parse()
    }
}

impl FromStr for Site {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, HookError> {
        let fail = |reason: &str, nearest: Option<String>| HookError::Syntax {
            text: text.to_owned(),
            reason: reason.to_owned(),
            nearest,
        };
        let (part, rest) = text
            .split_once('.')
            .ok_or_else(|| fail("a site is `part.point` or `part.blocks.i.point`", None))?;
        let part = Part::ALL.into_iter().find(|p| p.name() == part).ok_or_else(|| {
            let names = Part::ALL.map(Part::name);
            fail(&format!("`{part}` is no part; parts are {}", names.join(", ")), closest(part, names))
        })?;
        let (block, name) = match rest.strip_prefix("blocks.") {
            None => (None, rest),
            Some(rest) => {
                let (index, name) =
                    rest.split_once('.').ok_or_else(|| fail("a block needs a point", None))?;
                let index =
                    index.parse::<u16>().map_err(|_| fail(&format!("`{index}` is no block number"), None))?;
                (Some(index), name)
            }
        };
        let point = Point::named(name).ok_or_else(|| {
            fail(&format!("`{name}` is no point"), closest(name, Point::ALL.iter().map(|p| p.name())))
        })?;
        match (block, point.stage()) {
            (None, Stage::Block) => Err(fail(
                &format!("`{name}` lies inside a block"),
                Some(format!("{}.blocks.0.{name}", part.name())),
            )),
            (Some(_), Stage::Before | Stage::After) => Err(fail(
                &format!("`{name}` lies outside the blocks"),
                Some(format!("{}.{name}", part.name())),
            )),
            _ => Ok(Self { part, block, point }),
        }
    }
}

/// The candidate most like a text, if any is similar at all: what was meant, where a name is none.
#[must_use]
pub fn closest<S: AsRef<str>>(text: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(text, c.as_ref()), c))
        .filter(|(score, _)| *score > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0)) // no NaN: it is not above 0.6
        .map(|(_, c)| c.as_ref().to_owned())
}

/// The axes an activation can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AxisName {
    /// One prompt of the batch.
    Batch,
    /// One picture (or tile) of the batch.
    Image,
    /// One recording of the batch.
    Clip,
    /// Position in the sequence.
    Pos,
    /// Colour channel.
    Channel,
    /// Pixel row.
    Height,
    /// Pixel column.
    Width,
    /// Mel filter of a spectrogram, the lowest first.
    Mel,
    /// Frame of a spectrogram.
    Frame,
    /// Attention head (for keys and values: KV head).
    Head,
    /// Coordinate within a head.
    DHead,
    /// Coordinate of the residual stream.
    DModel,
    /// Query position.
    Query,
    /// Key position.
    Key,
    /// Neuron of an MLP.
    Neuron,
    /// Token of the vocabulary.
    Vocab,
    /// Expert of a mixture.
    Expert,
    /// Feature of a dictionary.
    Feature,
}

impl AxisName {
    /// The tower whose entries it counts: pictures or recordings.
    pub const fn tower(self) -> Option<Part> {
        match self {
            Self::Image => Some(Part::Vision),
            Self::Clip => Some(Part::Audio),
            _ => None,
        }
    }

    /// Every axis.
    pub const ALL: [Self; 18] = [
        Self::Batch,
        Self::Image,
        Self::Clip,
        Self::Pos,
        Self::Channel,
        Self::Height,
        Self::Width,
        Self::Mel,
        Self::Frame,
        Self::Head,
        Self::DHead,
        Self::DModel,
        Self::Query,
        Self::Key,
        Self::Neuron,
        Self::Vocab,
        Self::Expert,
        Self::Feature,
    ];

    /// Its name in print.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Image => "image",
            Self::Clip => "clip",
            Self::Pos => "pos",
            Self::Channel => "channel",
            Self::Height => "height",
            Self::Width => "width",
            Self::Mel => "mel",
            Self::Frame => "frame",
            Self::Head => "head",
            Self::DHead => "d_head",
            Self::DModel => "d_model",
            Self::Query => "query",
            Self::Key => "key",
            Self::Neuron => "neuron",
            Self::Vocab => "vocab",
            Self::Expert => "expert",
            Self::Feature => "feature",
        }
    }
}

/// A published site: its axes, and the length of those the model fixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteSpec {
    /// The place.
    pub site: Site,
    /// Each axis with its length, or `None` where the input decides.
    pub axes: Vec<(AxisName, Option<usize>)>,
}

impl SiteSpec {
    /// A site with its axes.
    pub fn new(site: Site, axes: impl IntoIterator<Item = (AxisName, Option<usize>)>) -> Self {
        Self { site, axes: axes.into_iter().collect() }
    }

    /// The one of a site, among those that are published.
    ///
    /// # Errors
    /// [`HookError::Unpublished`].
    pub fn among(published: &[Self], site: Site) -> Result<&Self, HookError> {
        published.iter().find(|spec| spec.site == site).ok_or(HookError::Unpublished(site))
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// Where an axis stands.
    pub fn axis(&self, name: AxisName) -> Option<usize> {
        self.axes.iter().position(|(a, _)| *a == name)
    }

    /// The tower whose entries are counted along its first axis; none for a site of prompts.
    pub fn tower(&self) -> Option<Part> {
        self.axes.first().and_then(|(axis, _)| axis.tower())
    }

    /// The axis of entries of a tower, where it comes first and each entry has a place of its own there.
    pub fn apart(&self) -> Option<AxisName> {
        self.axes
            .first()
            .filter(|(axis, fixed)| axis.tower().is_some() && fixed.is_none())
            .map(|(axis, _)| *axis)
    }

    /// Whether a value of these lengths can stand here.
    pub fn fits(&self, dims: &[usize]) -> bool {
        dims.len() == self.axes.len()
            && self.axes.iter().zip(dims).all(|((_, fixed), len)| fixed.is_none_or(|f| f == *len))
    }

    /// `[batch, pos, d_model=96]`.
    pub fn describe(&self) -> String {
        let axes: Vec<String> = self
            .axes
            .iter()
            .map(|(axis, len)| match len {
                Some(len) => format!("{}={len}", axis.name()),
                None => axis.name().to_owned(),
            })
            .collect();
        format!("[{}]", axes.join(", "))
    }
}
