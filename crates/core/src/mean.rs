//! Means over what is alike: words among words, patches among patches, and for pixels the picture's own colour.
//!
//! Left out of every mean, and left as they are, are positions that hold what no output reads: padding, and at `text.embed`
//! those whose vectors image features replace. A baseline's mean of words is that of the prompt: an answer behind it has no part in
//! it, and stays as it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Tensor, TensorData};
use mmlens_finding::Modality;

use crate::tensor::with_rank;
use crate::{AnyTensor, AxisName, Grid, HookError, Inputs, Part, Point, Site, SiteSpec, TokenMap};

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

/// Positions that share a mean: those of one prompt, or of one picture, that carry the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    /// The row of the batch, or the entry of the pixel batch.
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
    let at = spec.axis(AxisName::Pos).filter(|at| *at > 0 && spec.site.point() != Point::Pixels);
    let (Some(at), Some((first, fixed))) = (at, spec.axes.first()) else { return Err(no_mean(spec)) };
    let [rows, length] = [0, at].map(|axis| dims.get(axis).copied().unwrap_or(0));
    // Of a length the model fixes are the patches that cross-attention looks at.
    let crossed = matches!(spec.site.point(), Point::CrossK | Point::CrossV)
        && spec.axes.get(at).is_some_and(|(_, length)| length.is_some());
    let words = matches!(spec.site.part(), Part::Text | Part::Encoder) && !crossed;
    Ok(match inputs {
        Some(inputs) if words => prompts(spec.site, inputs, rows, length),
        Some(inputs) if *first == AxisName::Image && *fixed == Some(1) && !inputs.grids.is_empty() => {
            packed(inputs, length)
        }
        Some(inputs) => towers(inputs, *first == AxisName::Image, rows, length),
        None => {
            let content = if words { Content::Words } else { Content::Picture };
            let row = |owner| std::iter::repeat_n(Some(Member { owner, content }), length);
            (0..rows).flat_map(row).collect()
        }
    })
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

/// Positions of a tower to which all pictures are one sequence.
fn packed(inputs: &Inputs, length: usize) -> Vec<Option<Member>> {
    let of_entry = |(owner, own): (usize, Range<usize>)| {
        std::iter::repeat_n(Some(Member { owner, content: Content::Picture }), own.len())
    };
    inputs.in_sequence(length).into_iter().enumerate().flat_map(of_entry).collect()
}

/// Positions of a tower that looks at pictures one by one, or of what looks at its positions from outside.
fn towers(inputs: &Inputs, by_picture: bool, rows: usize, length: usize) -> Vec<Option<Member>> {
    let owners = owners(inputs);
    let of_row = |owner: usize| {
        let (row, entry) = if by_picture {
            owners.get(owner).copied().flatten().unwrap_or((usize::MAX, 0))
        } else {
            (owner, 0)
        };
        let labels = inputs.maps.get(row).and_then(|map| map.tower(entry, length));
        let content = move |at: usize| match labels.as_ref().and_then(|labels| labels.get(at)) {
            Some(None) => Content::Words,
            _ => Content::Picture,
        };
        (0..length).map(move |at| Some(Member { owner, content: content(at) }))
    };
    (0..rows).flat_map(of_row).collect()
}

/// For each entry of the pixel batch the first row that shows it, and which of the row's own it is.
pub(crate) fn owners(inputs: &Inputs) -> Vec<Option<(usize, usize)>> {
    let mut owners = vec![None; inputs.pictures()];
    for (row, images) in inputs.images.iter().enumerate() {
        for (own, entry) in images.iter().enumerate() {
            if let Some(slot @ None) = owners.get_mut(*entry) {
                *slot = Some((row, own));
            }
        }
    }
    owners
}

/// A value with every position replaced by the mean over those of its own row (or picture) that carry the same. Pixels become
/// the mean colour of their picture, except where a processor put something around it.
///
/// # Errors
/// [`HookError::NoMean`] for a site without positions, [`HookError::NoColours`] for pixels of pictures whose colour the inputs
/// do not tell, [`HookError::Read`].
///
/// # Cost
/// The values pass through the host once.
pub(crate) fn own_means(spec: &SiteSpec, value: &AnyTensor, inputs: &Inputs) -> Result<AnyTensor, HookError> {
    if spec.site.point() == Point::Pixels {
        return colours(spec, value, inputs);
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

/// Pixels of the mean colour of their picture. What lies on no part of the original, since a processor padded it, stays.
fn colours(spec: &SiteSpec, value: &AnyTensor, inputs: &Inputs) -> Result<AnyTensor, HookError> {
    let entries = inputs.pictures();
    if inputs.colours.len() != entries {
        return Err(HookError::NoColours { found: inputs.colours.len(), entries });
    }
    let mut values = value.to_values()?;
    match *value.dims() {
        // Each patch holds its numbers channel by channel.
        [patches, numbers] if !inputs.grids.is_empty() && numbers.is_multiple_of(3) => {
            let sizes = inputs.grids.iter().map(Grid::patches);
            if sizes.clone().sum::<usize>() != patches {
                return Err(no_mean(spec));
            }
            let of_patch =
                inputs.colours.iter().zip(sizes).flat_map(|(own, size)| std::iter::repeat_n(own, size));
            for (patch, colour) in values.chunks_mut(numbers.max(1)).zip(of_patch) {
                for (channel, level) in patch.chunks_mut((numbers / 3).max(1)).zip(colour) {
                    channel.fill(*level);
                }
            }
        }
        [n, 3, height, width] if n == entries => {
            let owners = owners(inputs);
            for (entry, picture) in values.chunks_mut((3 * height * width).max(1)).enumerate() {
                let owner = owners.get(entry).copied().flatten();
                let view = owner.and_then(|(row, own)| inputs.maps.get(row)?.views.get(own));
                let shown = |spans: Option<&Vec<[f32; 2]>>, at: usize| {
                    spans.and_then(|spans| spans.get(at)).is_none_or(|[from, to]| from < to)
                };
                let colour = inputs.colours.get(entry).copied().unwrap_or_default();
                for (channel, level) in picture.chunks_mut((height * width).max(1)).zip(colour) {
                    for (y, line) in channel.chunks_mut(width.max(1)).enumerate() {
                        if !shown(view.map(|view| &view.rows), y) {
                            continue;
                        }
                        for (x, pixel) in line.iter_mut().enumerate() {
                            if shown(view.map(|view| &view.cols), x) {
                                *pixel = level;
                            }
                        }
                    }
                }
            }
        }
        _ => return Err(no_mean(spec)),
    }
    value.filled(values)
}

/// A value with every position replaced by the mean over the whole batch of those that carry the same; pixels as
/// [`own_means`] has them; of a site that has one value for each row or picture, the mean over these.
///
/// # Errors
/// [`HookError::NoMean`] for sites of attention, whose keys are not alike from row to row; as [`own_means`] for pixels.
pub(crate) fn batch_means(
    spec: &SiteSpec,
    x: AnyTensor,
    inputs: Option<&Inputs>,
) -> Result<AnyTensor, HookError> {
    if spec.site.point() == Point::Pixels {
        let inputs = inputs.ok_or(HookError::NoColours { found: 0, entries: 1 })?;
        return colours(spec, &x, inputs);
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
/// [`HookError::NoMean`] for a site without positions, as [`own_means`] for pixels.
pub(crate) fn row_means(
    spec: &SiteSpec,
    x: AnyTensor,
    inputs: Option<&Inputs>,
) -> Result<AnyTensor, HookError> {
    if spec.site.point() == Point::Pixels {
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
