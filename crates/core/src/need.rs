//! What a pass takes of memory, told from shapes before it is made.

use std::borrow::Cow;

use crate::{
    Anatomy, AxisName, Held, HookError, Inputs, LogitSelection, LogitsAt, Part, Point, Site, SiteSpec, Strip,
};

/// How many copies of the inputs share a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// So many rows for each of the inputs.
    pub times: usize,
    /// Whether each copy has pictures and recordings of its own; else all have the same, which are computed once.
    pub entries: bool,
}

impl Copies {
    /// The inputs as they are.
    pub const ONE: Self = Self { times: 1, entries: false };

    /// Copies as [`Inputs::repeat`] makes them.
    pub fn rows(times: usize) -> Self {
        Self { times, entries: false }
    }

    /// Copies as [`Inputs::repeat_entries`] makes them.
    pub fn entries(times: usize) -> Self {
        Self { times, entries: true }
    }
}

/// What a pass takes at most beside the weights and its inputs, in f32: what is computed at its worst moment, and whatever it
/// keeps. It is meant to be more than is used, by at most a factor of two and a half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Bytes.
    pub bytes: u64,
    /// Where most of them are taken.
    pub at: Site,
}

impl Need {
    /// The same with so many numbers more, in f32.
    #[must_use]
    pub fn and(self, numbers: usize) -> Self {
        Self { bytes: self.bytes.saturating_add(4 * numbers as u64), ..self }
    }
}

/// Numbers that are there at a time, by where they belong.
#[derive(Debug, Default)]
struct Ledger {
    all: f64,
    most: f64,
    at: Option<Site>,
}

impl Ledger {
    fn add(&mut self, site: Site, numbers: f64) {
        self.all += numbers;
        if self.at.is_none() || numbers > self.most {
            (self.most, self.at) = (numbers, Some(site));
        }
    }

    /// The larger of two that are not there at once.
    fn or(self, other: Self) -> Self {
        if other.all > self.all { other } else { self }
    }

    fn and(mut self, other: Self) -> Self {
        self.all += other.all;
        if other.most > self.most || self.at.is_none() {
            (self.most, self.at) = (other.most, other.at);
        }
        self
    }
}

/// The sizes of a part in a pass.
struct Extent<'a> {
    anatomy: &'a Anatomy,
    /// Rows, pictures or recordings.
    count: f64,
    /// Positions that are computed.
    length: f64,
    /// Positions that are attended to.
    keys: f64,
    /// The blocks that are computed.
    blocks: std::ops::Range<usize>,
    gated: bool,
}

impl Extent<'_> {
    /// Scores that are there at a time.
    fn pairs(&self, held: Held) -> f64 {
        let (heads, keys) = (self.anatomy.heads as f64, self.keys);
        let queries = match held {
            Held::Nothing => return 0.0,
            Held::Whole => self.length,
            _ => {
                let some = Strip::queries_of(self.count as usize, self.anatomy.heads, keys as usize);
                self.length.min(some as f64)
            }
        };
        self.count * heads * queries * keys
    }
}

/// What a pass is made of, as far as it takes memory.
pub(crate) struct Planned<'a> {
    pub(crate) published: Cow<'a, [SiteSpec]>,
    /// Those of them that a decorator computes.
    pub(crate) spliced: Vec<Site>,
    pub(crate) anatomy: &'a [Anatomy],
    /// Whether attention holds scores for some queries at a time only, when nobody looks at them.
    pub(crate) fused: bool,
    pub(crate) inputs: &'a Inputs,
    pub(crate) copies: Copies,
    /// Planned sites: whether read, differentiated, or anything else.
    pub(crate) sites: Vec<(Site, Asks)>,
    /// Where it goes on, from how many numbers of one copy, and of how many positions.
    pub(crate) resume: Option<(Site, usize, usize)>,
    /// Positions before those, whose keys and values are known.
    pub(crate) past: usize,
    /// Whether it runs to the output.
    pub(crate) output: bool,
    pub(crate) wanted: Option<LogitSelection>,
}

/// What is asked of a site, beside an edit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asks {
    /// Whether the plan asks for the site; else edits stand there, which keep no pass from ending.
    pub(crate) planned: bool,
    pub(crate) read: bool,
    pub(crate) grad: bool,
    /// Of scores or weights, how much must be there at a time.
    pub(crate) held: Held,
}

impl Planned<'_> {
    pub(crate) fn need(&self) -> Result<Need, HookError> {
        let mut kept = Ledger::default();
        let first_tap = self.sites.iter().filter(|(_, asks)| asks.grad).map(|(site, _)| *site).min();
        for (site, asks) in &self.sites {
            let numbers = self.numbers(*site)?;
            if asks.read {
                kept.add(*site, numbers);
            }
            if asks.grad {
                kept.add(*site, numbers);
            }
            if self.spliced.contains(site) {
                kept.add(*site, SPLICED * numbers);
            }
        }
        if let Some((site, numbers, _)) = self.resume {
            kept.add(site, (numbers * self.copies.times) as f64);
        }
        let mut worst = Ledger::default();
        for extent in self.extents() {
            let part = extent.anatomy.part;
            let stream = |block| Site::block(part, block, Point::ResidPre);
            let tracked = first_tap.map(|tap| {
                let from = extent.blocks.clone().find(|block| stream(*block + 1) > tap);
                from.unwrap_or(extent.blocks.end)..extent.blocks.end
            });
            worst = worst.or(self.moment(&extent, tracked.is_some()));
            for block in tracked.unwrap_or(0..0) {
                kept = kept.and(self.tape(&extent, block));
            }
            if part.entrance().is_some() {
                // What it hands on waits for the words.
                let last = extent.blocks.end.saturating_sub(1);
                let site = Site::block(part, last, Point::ResidPost);
                kept.add(site, extent.count * extent.length * extent.anatomy.d_model as f64);
            }
        }
        for part in self.inputs.towers().filter(|part| self.computes(*part)) {
            let (Some(site), Some(values)) =
                (part.entrance(), self.inputs.entries(part).and_then(|own| own.values.as_ref()))
            else {
                continue;
            };
            // Cut into patches or windows, and their products.
            let given = (values.dims().iter().product::<usize>() * self.times(true)) as f64;
            kept.add(site, given);
            let mut entered = Ledger::default();
            entered.add(site, 2.0 * given);
            worst = worst.or(entered);
        }
        if self.output {
            worst = worst.or(self.logits());
        }
        let all = kept.and(worst);
        let at = all.at.unwrap_or(Site::of(Part::Text, Point::Input));
        Ok(Need { bytes: (4.0 * all.all * SLACK) as u64 + FLOOR, at })
    }

    /// Whether what a tower is given is computed.
    fn computes(&self, tower: Part) -> bool {
        self.resume.is_none_or(|(site, ..)| site.part() != tower && site.part().entrance().is_some())
    }

    /// How many copies there are, of entries of towers or of rows.
    fn times(&self, entries: bool) -> usize {
        if entries && !self.copies.entries { 1 } else { self.copies.times }
    }

    /// The tower whose entries a part computes: a tower its own; a connector those of the axes of its sites, or of the one that has something
    /// to compute.
    fn tower(&self, part: Part) -> Option<Part> {
        match part {
            Part::Vision | Part::Audio => Some(part),
            Part::Connector => {
                let published = self.published.iter().filter(|spec| spec.site.part() == part);
                let own = published.filter_map(SiteSpec::tower).next();
                Some(own.or_else(|| self.inputs.towers().next()).unwrap_or(Part::Vision))
            }
            Part::Encoder | Part::Text => None,
        }
    }

    /// The parts that are computed.
    fn extents(&self) -> Vec<Extent<'_>> {
        let last = match self.output {
            true => None,
            false => self.sites.iter().filter(|(_, asks)| asks.planned).map(|(site, _)| *site).max(),
        };
        let mut extents = Vec::new();
        for anatomy in self.anatomy {
            let part = anatomy.part;
            let from = match self.resume {
                Some((site, ..)) if site.part().follows(part) => continue,
                Some((site, ..)) if site.part() == part => site.block_index().unwrap_or(0),
                _ => 0,
            };
            let until = match last {
                Some(site) if site.part() < part => continue,
                Some(site) if site.part() == part => match site.block_index() {
                    Some(block) => block + 1,
                    None if site.before_blocks() => 0,
                    None => anatomy.blocks,
                },
                _ => anatomy.blocks,
            };
            let (count, length) = self.extent(part);
            if count == 0 || length == 0 {
                continue;
            }
            let gate = Site::block(part, 0, Point::MlpGate);
            let past = if part == Part::Text { self.past } else { 0 };
            extents.push(Extent {
                anatomy,
                count: count as f64,
                length: length as f64,
                keys: (length + past) as f64,
                blocks: from..until.max(from),
                gated: self.published.iter().any(|spec| spec.site == gate),
            });
        }
        extents
    }

    /// Rows, pictures or recordings of a part, and positions of each.
    fn extent(&self, part: Part) -> (usize, usize) {
        let Some(own) = self.tower(part).and_then(|tower| self.inputs.entries(tower)) else {
            let resumed = self.resume.filter(|(site, ..)| site.part() == part).map(|(.., length)| length);
            return (self.inputs.rows() * self.copies.times, resumed.unwrap_or(self.inputs.positions()));
        };
        let copies = self.times(true);
        if !own.grids.is_empty() {
            let patches = own.grids.iter().map(crate::Grid::patches);
            // All entries are one sequence, of which attention sees one at a time.
            return (copies, patches.sum());
        }
        let fixed = |spec: &SiteSpec| {
            let pos = spec.axis(AxisName::Pos)?;
            spec.axes.get(pos)?.1.filter(|_| spec.site.part() == part)
        };
        let length = self.published.iter().find_map(fixed).unwrap_or(self.inputs.positions());
        (own.len() * copies, length)
    }

    /// The lengths of a site.
    pub(crate) fn dims(&self, site: Site) -> Result<Vec<usize>, HookError> {
        let spec = SiteSpec::among(&self.published, site)?;
        let part = site.part();
        let (count, length) = self.extent(part);
        if part.entrance() == Some(site) {
            let values = self.inputs.entries(part).and_then(|own| own.values.as_ref());
            let mut dims = values.map_or_else(Vec::new, crate::AnyTensor::dims);
            if let Some(first) = dims.first_mut() {
                *first *= self.times(true);
            }
            return Ok(dims);
        }
        let asked = match self.inputs.logits_at {
            LogitsAt::Last => 1,
            LogitsAt::All => self.inputs.positions(),
        };
        // Cross-attention looks at what the tower gives.
        let seen = || self.extent(self.inputs.towers().next().unwrap_or(Part::Vision)).1;
        let across = (Point::CrossQ..=Point::CrossResult).contains(&site.point());
        let len = |(axis, fixed): &(AxisName, Option<usize>)| match (axis, fixed) {
            (_, Some(len)) => *len,
            (axis, None) if *axis == AxisName::Batch || axis.tower().is_some() => count,
            (AxisName::Pos, None) if site.point() == Point::Logits => asked,
            (AxisName::Pos, None) if matches!(site.point(), Point::CrossK | Point::CrossV) => seen(),
            (AxisName::Key, None) if across => seen(),
            (AxisName::Key, None) => length + if part == Part::Text { self.past } else { 0 },
            _ => length,
        };
        Ok(spec.axes.iter().map(len).collect())
    }

    /// Numbers that a site holds.
    fn numbers(&self, site: Site) -> Result<f64, HookError> {
        let numbers = self.dims(site)?.iter().map(|len| *len as f64).product::<f64>();
        // All entries of a packed tower are one, as many copies as there are.
        let part = site.part();
        let packed = self.inputs.entries(part).is_some_and(|own| !own.grids.is_empty());
        Ok(if packed && !site.point().is_entrance() { numbers * self.extent(part).0 as f64 } else { numbers })
    }

    fn asked_of(&self, part: Part, block: usize, points: &[Point]) -> bool {
        self.sites.iter().any(|(site, _)| {
            site.part() == part && site.block_index() == Some(block) && points.contains(&site.point())
        })
    }

    /// How much of a block's scores and weights is there at a time.
    fn held(&self, part: Part, block: usize) -> Held {
        let points = [Point::Scores, Point::Pattern, Point::CrossScores, Point::CrossPattern];
        let own = self.sites.iter().filter(|(site, _)| {
            site.part() == part && site.block_index() == Some(block) && points.contains(&site.point())
        });
        own.map(|(_, asks)| asks.held).max().unwrap_or(Held::Nothing)
    }

    /// The worst moment within a block, of all blocks of a part.
    fn moment(&self, extent: &Extent<'_>, tracked: bool) -> Ledger {
        let a = extent.anatomy;
        let n = extent.count * extent.length;
        let [d, m] = [a.d_model, a.d_mlp].map(|width| n * width as f64);
        let heads = |heads: usize| n * (heads * a.d_head) as f64;
        let blocks = extent.blocks.clone();
        let explicit = blocks.clone().max_by_key(|block| self.held(a.part, *block));
        let held = explicit.map_or(Held::Nothing, |block| self.held(a.part, block));
        let copied = |block: usize| {
            let points = [Point::QIn, Point::KIn, Point::VIn, Point::Result];
            points.iter().filter(|point| self.asked_of(a.part, block, &[**point])).count()
        };
        let copied = blocks.clone().map(copied).max().unwrap_or(0) as f64;
        let at = |point| Site::block(a.part, explicit.unwrap_or(blocks.start), point);
        let pairs = extent.pairs(held.max(if self.fused { Held::Nothing } else { Held::Whole }));
        // The stream, what was normed of it, and what is turned for a product.
        let backward = if tracked { 1.5 } else { 1.0 };
        let mut attention = Ledger::default();
        attention.add(at(Point::Z), 3.0 * d + backward * (2.0 * heads(a.heads) + 2.0 * heads(a.kv_heads)));
        // Keys and values of the positions before, joined with those behind.
        let joined = extent.count * (extent.keys - extent.length) * (a.kv_heads * a.d_head) as f64;
        attention.add(at(Point::KRot), 4.0 * joined);
        if pairs > 0.0 {
            let spread = if a.heads == a.kv_heads { 0.0 } else { 2.0 * heads(a.heads) };
            attention.add(at(Point::Scores), 3.0 * pairs + spread);
        }
        attention.add(at(Point::Result), 3.0 * copied * a.heads as f64 * d);
        let mut mlp = Ledger::default();
        mlp.add(at(Point::MlpPost), 3.0 * d + backward * 2.0 * m);
        attention.or(mlp)
    }

    /// What a backward pass keeps of a block.
    fn tape(&self, extent: &Extent<'_>, block: usize) -> Ledger {
        let a = extent.anatomy;
        let n = extent.count * extent.length;
        let heads = |heads: usize| n * (heads * a.d_head) as f64;
        let d = n * a.d_model as f64;
        let at = |point| Site::block(a.part, block, point);
        let mut tape = Ledger::default();
        tape.add(at(Point::ResidPre), 2.0 * d);
        tape.add(at(Point::Q), heads(a.heads) + 2.0 * heads(a.kv_heads));
        let branches = if extent.gated { 2.0 } else { 1.0 };
        tape.add(at(Point::MlpPre), branches * n * a.d_mlp as f64);
        let pairs = extent.pairs(Held::Whole);
        if !self.fused || self.held(a.part, block) > Held::Nothing {
            tape.add(at(Point::Scores), 2.0 * pairs);
        }
        if !self.fused {
            // What plain operations keep beside: normed values, the parts of a curve.
            tape.add(at(Point::MlpPre), 3.0 * d + 3.0 * n * a.d_mlp as f64);
        }
        for point in [Point::QIn, Point::KIn, Point::VIn, Point::Result] {
            if self.asked_of(a.part, block, &[point]) {
                tape.add(at(point), a.heads as f64 * d);
            }
        }
        tape
    }

    fn logits(&self) -> Ledger {
        let site = Site::of(Part::Text, Point::Logits);
        let spec = self.published.iter().find(|spec| spec.axis(AxisName::Vocab).is_some());
        let vocab = spec.and_then(|spec| spec.axes.get(spec.axis(AxisName::Vocab)?)?.1).unwrap_or(0);
        let (positions, tokens) = match (&self.wanted, self.inputs.logits_at) {
            (Some(wanted), _) => wanted.lengths(),
            (None, LogitsAt::Last) => (1, None),
            (None, LogitsAt::All) => (self.inputs.positions(), None),
        };
        let rows = (self.inputs.rows() * self.copies.times * positions) as f64;
        let mut logits = Ledger::default();
        // Beside them their exponentials, and a copy on the host.
        logits.add(spec.map_or(site, |spec| spec.site), 5.0 * rows * tokens.unwrap_or(vocab) as f64);
        logits
    }
}

/// What a decorator computes beside each of its values: before a nonlinearity, which of them are kept, by how much they were changed,
/// and the products of these.
const SPLICED: f64 = 5.0;

/// Smaller things: rotations, indices, what is cut out and put back.
const SLACK: f64 = 1.1;

/// What each of a few threads holds for a product, however small the pass.
const FLOOR: u64 = 1 << 20;
