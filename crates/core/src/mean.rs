//! Means over what is alike: words among words, patches among patches, parts of recordings among themselves; for pixels the picture's
//! own colour, for a log-mel spectrogram the mean of each filter.
//!
//! Left out of every mean, and left as they are, are positions that hold what no output reads: padding, and at `text.embed`
//! those whose vectors features of pictures and recordings replace. A baseline's mean of words is that of the prompt: an answer behind it has no part in
//! it, and stays as it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_finding::Modality;

use crate::tensor::with_rank;
use crate::{
    AnyTensor, AxisName, Entries, Grid, HookError, Inputs, Part, Point, Site, SiteSpec, TokenMap,
    TowerPosition, View,
};

/// What a position carries. Means are taken over positions that carry the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Words, and the markers around them; of a tower, its class token.
    Words,
    /// A part of a picture or clip.
    Picture,
    /// A part of a recording.
    Sound,
}

impl Content {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Picture => "pictures",
            Self::Sound => "sound",
        }
    }
}

impl From<Modality> for Content {
    fn from(modality: Modality) -> Self {
        match modality {
            Modality::Image | Modality::Video => Self::Picture,
            Modality::Audio => Self::Sound,
            _ => Self::Words,
        }
    }
}

/// Positions that share a mean: those of one prompt, or of one picture or recording, that carry the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    /// The row of the batch, or the entry of a tower's batch.
    owner: usize,
    content: Content,
}

/// What each position of a value carries, `[first axis, position]`; `None` for those that are left out.
///
/// # Errors
/// [`HookError::NoMean`] for a site without positions behind its first axis.
pub fn contents(
    spec: &SiteSpec,
    dims: &[usize],
    inputs: Option<&Inputs>,
) -> Result<Vec<Option<Content>>, HookError> {
    let members = members(spec, dims, inputs)?;
    Ok(members.into_iter().map(|member| member.map(|member| member.content)).collect())
}

fn members(
    spec: &SiteSpec,
    dims: &[usize],
    inputs: Option<&Inputs>,
) -> Result<Vec<Option<Member>>, HookError> {
    let at = spec.axis(AxisName::Pos).filter(|at| *at > 0 && !spec.site.point().is_entrance());
    let (Some(at), Some((_, fixed))) = (at, spec.axes.first()) else { return Err(no_mean(spec)) };
    let [rows, length] = [0, at].map(|axis| dims.get(axis).copied().unwrap_or(0));
    // Of a length the model fixes are the positions of a tower that cross-attention looks at.
    let crossed = matches!(spec.site.point(), Point::CrossK | Point::CrossV)
        && spec.axes.get(at).is_some_and(|(_, length)| length.is_some());
    let words = matches!(spec.site.part(), Part::Text | Part::Encoder) && !crossed;
    let tower = || tower_behind(spec, inputs);
    Ok(match inputs {
        Some(inputs) if words => prompts(spec.site, inputs, rows, length),
        Some(inputs) => match inputs.entries(tower()) {
            Some(entries) if spec.tower().is_some() && *fixed == Some(1) && !entries.grids.is_empty() => {
                packed(entries, sort(tower()), length)
            }
            _ => towers(inputs, tower(), spec.tower().is_some(), rows, length),
        },
        None => {
            let content = if words { Content::Words } else { sort(tower()) };
            let row = |owner| std::iter::repeat_n(Some(Member { owner, content }), length);
            (0..rows).flat_map(row).collect()
        }
    })
}

/// The tower whose positions stand at a site that is not of prompts: that of its part or its first axis, else the one that has something to compute.
fn tower_behind(spec: &SiteSpec, inputs: Option<&Inputs>) -> Part {
    let own = Part::TOWERS.into_iter().find(|part| *part == spec.site.part());
    let used = || inputs.and_then(|inputs| inputs.towers().next());
    own.or_else(|| spec.tower()).or_else(used).unwrap_or(Part::Vision)
}

/// What the positions of a tower carry.
fn sort(tower: Part) -> Content {
    if tower == Part::Audio { Content::Sound } else { Content::Picture }
}

/// Positions of prompts. A pass over the last of them alone brings no others.
fn prompts(site: Site, inputs: &Inputs, rows: usize, length: usize) -> Vec<Option<Member>> {
    let whole = inputs.positions();
    let before = whole.saturating_sub(length);
    // Where the features of pictures take the places of these vectors later, nobody reads them.
    let replaced = site.part() == Part::Text && site.point() == Point::Embed;
    // Padding that attention sees says nothing until it has looked at words.
    let fresh = match site.block_index() {
        None => matches!(site.point(), Point::Embed | Point::Input),
        Some(block) => block == 0 && site.point() == Point::ResidPre,
    };
    let of_row = |owner: usize| {
        let count = |padding: &[usize]| padding.get(owner).copied().unwrap_or(0);
        let (pad, tail) = (count(&inputs.pads), count(&inputs.tails));
        let map = inputs.maps.get(owner);
        (0..length).map(move |i| {
            let position = before + i;
            if length == whole && (position < pad || position + tail >= whole) {
                return None;
            }
            let place = position.saturating_sub(pad);
            if fresh && map.is_some_and(|map| map.padding.contains(&place)) {
                return None;
            }
            let label = map.and_then(|map| map.tokens.get(place));
            let content = label.map_or(Content::Words, |label| label.modality.into());
            (!replaced || content == Content::Words).then_some(Member { owner, content })
        })
    };
    (0..rows).flat_map(of_row).collect()
}

/// Where the answer of every row stands at a site that holds positions of prompts.
fn answers(spec: &SiteSpec, inputs: &Inputs, length: usize) -> Vec<Range<usize>> {
    if spec.site.part() != Part::Text || length != inputs.positions() {
        return Vec::new();
    }
    let of_row = |(map, pad): (&Arc<TokenMap>, &usize)| {
        let reply = map.reply();
        reply.start + pad..reply.end + pad
    };
    inputs.maps.iter().zip(&inputs.pads).map(of_row).collect()
}

/// Positions of a tower to which all entries are one sequence.
fn packed(entries: &Entries, content: Content, length: usize) -> Vec<Option<Member>> {
    let of_entry =
        |(owner, own): (usize, Range<usize>)| std::iter::repeat_n(Some(Member { owner, content }), own.len());
    entries.in_sequence(length).into_iter().enumerate().flat_map(of_entry).collect()
}

/// Positions of a tower that looks at entries one by one, or of what looks at its positions from outside.
fn towers(inputs: &Inputs, tower: Part, by_entry: bool, rows: usize, length: usize) -> Vec<Option<Member>> {
    let owners = inputs.entries(tower).map(Entries::owners).unwrap_or_default();
    let of_row = |owner: usize| {
        let (row, entry) = if by_entry {
            owners.get(owner).copied().flatten().unwrap_or((usize::MAX, 0))
        } else {
            (owner, 0)
        };
        let labels = inputs.maps.get(row).and_then(|map| map.tower(tower, entry, length));
        let content = move |at: usize| match labels.as_ref().and_then(|labels| labels.get(at)) {
            Some(TowerPosition::Padding) => None,
            Some(TowerPosition::Class) => Some(Content::Words),
            _ => Some(sort(tower)),
        };
        (0..length).map(move |at| content(at).map(|content| Member { owner, content }))
    };
    (0..rows).flat_map(of_row).collect()
}

/// A value with every position replaced by the mean over those of its own row (picture, recording) that carry the same. Pixels become
/// the mean colour of their picture, spectrograms the means of their filters, except where a processor put something around.
///
/// # Errors
/// [`HookError::NoMean`] for a site without positions, [`HookError::NoMeans`] for entries of a tower whose means the inputs
/// do not tell, [`HookError::Read`].
///
/// # Cost
/// The values pass through the host once.
pub(crate) fn own_means(spec: &SiteSpec, value: &AnyTensor, inputs: &Inputs) -> Result<AnyTensor, HookError> {
    if spec.site.point().is_entrance() {
        return entered(spec, value, inputs);
    }
    let dims = value.dims();
    let members = members(spec, &dims, Some(inputs))?;
    let at = spec.axis(AxisName::Pos).unwrap_or(0);
    let length = dims.get(at).copied().unwrap_or(1).max(1);
    let between: usize = dims.iter().take(at).skip(1).product();
    let inner: usize = dims.iter().skip(at + 1).product::<usize>().max(1);
    let answers = answers(spec, inputs, length);
    // Where a run of coordinates stands: at which position, and at which place between that axis and the first.
    let place = |run: usize| {
        let (row, across) = (run / (between * length).max(1), run / length % between.max(1));
        let said = answers.get(row).is_some_and(|answer| answer.contains(&(run % length)));
        (members.get(row * length + run % length).copied().flatten().filter(|_| !said), across * inner)
    };
    let mut values = value.to_values()?;
    let mut sums: BTreeMap<Member, (Vec<f64>, usize)> = BTreeMap::new();
    for (run, own) in values.chunks(inner).enumerate() {
        let (Some(member), from) = place(run) else { continue };
        let (sum, count) = sums.entry(member).or_insert_with(|| (vec![0.0; between * inner], 0));
        *count += usize::from(from == 0);
        for (sum, value) in sum.iter_mut().skip(from).zip(own) {
            *sum += f64::from(*value);
        }
    }
    for (run, own) in values.chunks_mut(inner).enumerate() {
        let (Some(member), from) = place(run) else { continue };
        let Some((sum, count)) = sums.get(&member) else { continue };
        for (value, sum) in own.iter_mut().zip(sum.iter().skip(from)) {
            *value = (sum / (*count).max(1) as f64) as f32;
        }
    }
    value.filled(values)
}

/// What a tower is given, as the means of it. What lies on no part of the original, since a processor padded it, stays.
fn entered(spec: &SiteSpec, value: &AnyTensor, inputs: &Inputs) -> Result<AnyTensor, HookError> {
    let (site, tower) = (spec.site, spec.site.part());
    let own = inputs.entries(tower).ok_or_else(|| no_mean(spec))?;
    let entries = own.len();
    if own.means.len() != entries {
        return Err(HookError::NoMeans { site, found: own.means.len(), entries });
    }
    let mut values = value.to_values()?;
    match *value.dims() {
        // Each patch holds its numbers channel by channel.
        [patches, numbers] if !own.grids.is_empty() => {
            let sizes = own.grids.iter().map(Grid::patches);
            let channels = own.means.first().map_or(0, Vec::len);
            if sizes.clone().sum::<usize>() != patches || numbers.checked_rem(channels) != Some(0) {
                return Err(no_mean(spec));
            }
            let of_patch = own.means.iter().zip(sizes).flat_map(|(own, size)| std::iter::repeat_n(own, size));
            for (patch, means) in values.chunks_mut(numbers.max(1)).zip(of_patch) {
                for (channel, level) in patch.chunks_mut((numbers / channels).max(1)).zip(means) {
                    channel.fill(*level);
                }
            }
        }
        [n, 3, height, width] if n == entries => pictures(inputs, own, &mut values, [height, width]),
        [n, mels, frames] if n == entries && own.means.iter().all(|means| means.len() == mels) => {
            recordings(inputs, own, &mut values, [mels, frames]);
        }
        _ => return Err(no_mean(spec)),
    }
    value.filled(values)
}

/// Whether a row or column of what a tower is given lies on the original.
fn shown(spans: Option<&Vec<[f32; 2]>>, at: usize) -> bool {
    spans.and_then(|spans| spans.get(at)).is_none_or(|[from, to]| from < to)
}

/// The view of each entry.
fn views<'a>(inputs: &'a Inputs, own: &Entries, tower: Part) -> Vec<Option<&'a View>> {
    let view = |owner: Option<(usize, usize)>| {
        owner.and_then(|(row, own)| inputs.maps.get(row)?.views_of(tower).get(own))
    };
    own.owners().into_iter().map(view).collect()
}

fn pictures(inputs: &Inputs, own: &Entries, values: &mut [f32], [height, width]: [usize; 2]) {
    let views = views(inputs, own, Part::Vision);
    let each = values.chunks_mut((3 * height * width).max(1)).zip(&own.means).zip(views);
    for ((picture, colour), view) in each {
        for (channel, level) in picture.chunks_mut((height * width).max(1)).zip(colour) {
            for (y, line) in channel.chunks_mut(width.max(1)).enumerate() {
                if !shown(view.map(|view| &view.rows), y) {
                    continue;
                }
                for (x, pixel) in line.iter_mut().enumerate() {
                    if shown(view.map(|view| &view.cols), x) {
                        *pixel = *level;
                    }
                }
            }
        }
    }
}

fn recordings(inputs: &Inputs, own: &Entries, values: &mut [f32], [mels, frames]: [usize; 2]) {
    let views = views(inputs, own, Part::Audio);
    for ((sound, means), view) in values.chunks_mut((mels * frames).max(1)).zip(&own.means).zip(views) {
        for (filter, mean) in sound.chunks_mut(frames.max(1)).zip(means) {
            for (at, value) in filter.iter_mut().enumerate() {
                if shown(view.map(|view| &view.cols), at) {
                    *value = *mean;
                }
            }
        }
    }
}

/// A value with every position replaced by the mean over the whole batch of those that carry the same; what
/// a tower is given as [`own_means`] has it; of a site that has one value for each row or picture, the mean over these.
///
/// # Errors
/// [`HookError::NoMean`] for sites of attention, whose keys are not alike from row to row; as [`own_means`] for what a tower is given.
pub(crate) fn batch_means(
    spec: &SiteSpec,
    x: AnyTensor,
    inputs: Option<&Inputs>,
) -> Result<AnyTensor, HookError> {
    if spec.site.point().is_entrance() {
        let inputs = inputs.ok_or(HookError::NoMeans { site: spec.site, found: 0, entries: 1 })?;
        return entered(spec, &x, inputs);
    }
    let has = |axis| spec.axis(axis).is_some();
    if !has(AxisName::Pos) {
        return match has(AxisName::Query) || has(AxisName::Key) {
            true => Err(no_mean(spec)),
            false => with_rank!(x, x => AnyTensor::new(x.zeros_like() + x.mean_dim(0))),
        };
    }
    let contents = contents(spec, &x.dims(), inputs)?;
    let present: BTreeSet<Content> = contents.iter().flatten().copied().collect();
    let at = spec.axis(AxisName::Pos).unwrap_or(0);
    present.into_iter().try_fold(x, |x, content| {
        let count = contents.iter().filter(|own| **own == Some(content)).count();
        with_rank!(x, x => {
            let mask = mask(&x, at, &contents, content);
            let sum = x.clone().mask_fill(mask.clone().bool_not(), 0.0).sum_dim(0).sum_dim(at);
            let dims = x.dims();
            AnyTensor::new(x.mask_where(mask, sum.div_scalar(count as f32).expand(dims)))
        })
    })
}

/// As [`batch_means`], but every row, and every picture, by itself: rows do not mix.
///
/// # Errors
/// [`HookError::NoMean`] for a site without positions, as [`own_means`] for what a tower is given.
pub(crate) fn row_means(
    spec: &SiteSpec,
    x: AnyTensor,
    inputs: Option<&Inputs>,
) -> Result<AnyTensor, HookError> {
    if spec.site.point().is_entrance() {
        return batch_means(spec, x, inputs);
    }
    let dims = x.dims();
    let members = members(spec, &dims, inputs)?;
    let at = spec.axis(AxisName::Pos).unwrap_or(0);
    let rows = dims.first().copied().unwrap_or(0);
    // All pictures of a packed tower lie in one row; of others every row is an owner of its own.
    let alike = |member: &Member| (if rows == 1 { member.owner } else { 0 }, member.content);
    let present: BTreeSet<(usize, Content)> = members.iter().flatten().map(alike).collect();
    present.into_iter().try_fold(x, |x, own| {
        let chosen: Vec<bool> = members.iter().map(|m| m.as_ref().map(alike) == Some(own)).collect();
        with_rank!(x, x => mean_in_rows(x, at, chosen))
    })
}

/// A value with some positions replaced by their mean in each row.
fn mean_in_rows<const D: usize>(x: Tensor<D>, at: usize, chosen: Vec<bool>) -> AnyTensor {
    let (dims, device) = (x.dims(), x.device().without_autodiff());
    // Of a row without any nothing is replaced.
    let count = |row: &[bool]| row.iter().filter(|chosen| **chosen).count().max(1) as f32;
    let counts: Vec<f32> = chosen.chunks(dims.get(at).copied().unwrap_or(1).max(1)).map(count).collect();
    let mask = chosen_of(&x, at, chosen);
    let shape: [usize; D] = std::array::from_fn(|axis| if axis == 0 { dims[axis] } else { 1 });
    let counts = Tensor::<D>::from_data(TensorData::new(counts, shape), &device);
    let sum = x.clone().mask_fill(mask.clone().bool_not(), 0.0).sum_dim(at);
    AnyTensor::new(x.mask_where(mask, (sum / counts).expand(dims)))
}

/// A value with every position replaced by what is given for what it carries.
///
/// # Errors
/// [`HookError::NoMean`] for a site without positions, [`HookError::NoneOf`] where nothing is given for what one of the
/// `chosen` positions carries, [`HookError::Operand`].
pub(crate) fn filled(
    spec: &SiteSpec,
    x: AnyTensor,
    given: &BTreeMap<Content, AnyTensor>,
    chosen: Option<&[usize]>,
    inputs: Option<&Inputs>,
) -> Result<AnyTensor, HookError> {
    let (dims, site) = (x.dims(), spec.site);
    let contents = contents(spec, &dims, inputs)?;
    let at = spec.axis(AxisName::Pos).unwrap_or(0);
    let length = dims.get(at).copied().unwrap_or(1).max(1);
    let within = |i: usize| chosen.is_none_or(|chosen| chosen.contains(&(i % length)));
    let missing = contents
        .iter()
        .enumerate()
        .filter(|(i, _)| within(*i))
        .find_map(|(_, own)| own.filter(|content| !given.contains_key(content)));
    if let Some(content) = missing {
        return Err(HookError::NoneOf { site, content: content.name() });
    }
    given.iter().try_fold(x, |x, (content, value)| {
        let shape = value.dims();
        if shape.len() != dims.len() || shape.iter().zip(&dims).any(|(own, len)| own != len && *own != 1) {
            return Err(HookError::Operand { site, holds: dims.clone(), given: shape, verb: "set" });
        }
        let value = value.beside(&x)?;
        with_rank!(x, x => {
            let mask = mask(&x, at, &contents, *content);
            let value = x.zeros_like() + value.rank_of(site)?;
            Ok(AnyTensor::new(x.mask_where(mask, value)))
        })?
    })
}

/// Which entries of a value stand at positions that carry something.
fn mask<const D: usize>(
    x: &Tensor<D>,
    at: usize,
    contents: &[Option<Content>],
    content: Content,
) -> Tensor<D, Bool> {
    chosen_of(x, at, contents.iter().map(|own| *own == Some(content)).collect())
}

/// Which entries of a value stand at some positions, `[first axis, position]`.
fn chosen_of<const D: usize>(x: &Tensor<D>, at: usize, own: Vec<bool>) -> Tensor<D, Bool> {
    let dims = x.dims();
    let shape: [usize; D] = std::array::from_fn(|axis| if axis == 0 || axis == at { dims[axis] } else { 1 });
    let device = x.device().without_autodiff();
    Tensor::<D, Bool>::from_data(TensorData::new(own, shape), &device).expand(dims)
}

fn no_mean(spec: &SiteSpec) -> HookError {
    HookError::NoMean { site: spec.site, axes: spec.describe() }
}
