//! Axes for what a site holds: positions by their tokens, pixels by their place on the original picture, frames and filters by time and
//! frequency.

use std::ops::Range;

use mmlens_core::finding::{
    Axis, Labelled, Labels, Modality, PatchLabel, Role, TableError, TokenLabel, Unit,
};
use mmlens_core::{AxisName, Part, Point, SiteSpec, TokenMap, TowerPosition};

use crate::Pool;

/// The positions of a prompt.
pub fn token_axis(map: &TokenMap) -> Axis {
    Axis::tokens(map.tokens.clone())
}

/// Some positions of a prompt, in this order.
pub fn token_axis_at(map: &TokenMap, positions: &[usize]) -> Axis {
    Axis::tokens(positions.iter().filter_map(|i| map.tokens.get(*i).cloned()).collect())
}

/// Rows and columns of the picture or recording `entry` of a tower's batch, cut into ranges of processed pixels (filters and frames), each
/// with its extent on the original.
pub fn picture_axes(
    map: &TokenMap,
    tower: Part,
    entry: usize,
    rows: &[Range<usize>],
    cols: &[Range<usize>],
) -> [Axis; 2] {
    let view = map.views_of(tower).get(entry);
    let axis = |role: Role, ranges: &[Range<usize>], pixels: Option<&Vec<[f32; 2]>>| {
        let span = |range: &Range<usize>| {
            let (first, last) = (pixels?.get(range.start)?, pixels?.get(range.end.checked_sub(1)?)?);
            Some([first[0].min(last[0]), first[1].max(last[1])])
        };
        match (view, ranges.iter().map(span).collect::<Option<Vec<_>>>()) {
            (Some(view), Some(spans)) => axis_of(map, role, view.image, spans),
            _ => Axis::count(role, ranges.len()),
        }
    };
    [axis(Role::Row, rows, view.map(|v| &v.rows)), axis(Role::Column, cols, view.map(|v| &v.cols))]
}

/// Patches of pictures, or parts of recordings, which have their time and frequencies for a name.
pub fn patch_axis(map: &TokenMap, patches: Vec<PatchLabel>) -> Axis {
    match patches.iter().any(|patch| map.sound(patch.image).is_some()) {
        true => {
            let labels = patches.into_iter().map(|patch| map.label(patch)).collect();
            Axis::new(Role::Patch, Labels::Tokens(labels))
        }
        false => Axis::patches(patches),
    }
}

/// Rows or columns with their extents on a picture, or on the spectrogram of a recording.
pub fn axis_of(map: &TokenMap, role: Role, image: usize, spans: Vec<[f32; 2]>) -> Axis {
    match map.sound(image) {
        Some(heard) => Axis::heard(role, image, spans, &heard.scale),
        None => Axis::spans(role, image, spans),
    }
}

/// Positions of a tower that is given the picture or recording `entry` of `entries`: by their patches, with a class token
/// before them where there is one position more, and padding behind a recording; else by their number.
///
/// Where the tower is given patches instead of pictures, a position is a patch, or as many as are merged into one.
pub fn tower_axis(map: &TokenMap, tower: Part, entry: usize, entries: usize, len: usize) -> Axis {
    let Some(positions) = tower_places(map, tower, entry, entries, len) else {
        return Axis::count(Role::Patch, len);
    };
    let shown = |position: &TowerPosition| position.patch().filter(|_| tower != Part::Audio);
    if let Some(patches) = positions.iter().map(shown).collect::<Option<Vec<PatchLabel>>>() {
        return Axis::patches(patches);
    }
    let label = |position: TowerPosition| match position {
        TowerPosition::Patch(patch) => map.label(patch),
        TowerPosition::Class => TokenLabel::new("class", Modality::Special),
        TowerPosition::Padding => TokenLabel::new("padding", Modality::Special),
    };
    let labels = positions.into_iter().map(label).collect();
    match tower {
        Part::Audio => Axis::new(Role::Patch, Labels::Tokens(labels)),
        _ => Axis::tokens(labels),
    }
}

/// What the positions of a tower are, as [`tower_axis`] labels them; `None` where the map does not say.
pub(crate) fn tower_places(
    map: &TokenMap,
    tower: Part,
    entry: usize,
    entries: usize,
    len: usize,
) -> Option<Vec<TowerPosition>> {
    let each = map.patches.len() / entries.max(1);
    let own = map.patches.get(entry * each..(entry + 1) * each).filter(|_| tower != Part::Audio);
    match own.and_then(|own| merged(own, len)) {
        Some(patches) => Some(patches.into_iter().map(TowerPosition::Patch).collect()),
        None => map.tower(tower, entry, len),
    }
}

/// Where the positions of a tower lie that is given the picture or recording `entry` of `entries`: a patch for each, and `None` for a class token before
/// them; `None` in all where it cannot be told.
///
/// What the token map does not say, as of tiles of which some patches are left out later, or are merged, is told by the view: a square of
/// positions lies evenly over its pixels.
pub fn tower_positions(
    map: &TokenMap,
    tower: Part,
    entry: usize,
    entries: usize,
    len: usize,
) -> Option<Vec<Option<PatchLabel>>> {
    match tower_places(map, tower, entry, entries, len) {
        Some(positions) => Some(positions.into_iter().map(TowerPosition::patch).collect()),
        None if tower == Part::Vision => in_view(map, entry, entries, len),
        None => None,
    }
}

/// A square of positions, and possibly a class token before it, over the pixels of a view.
fn in_view(map: &TokenMap, entry: usize, entries: usize, len: usize) -> Option<Vec<Option<PatchLabel>>> {
    let views = map.views_of(Part::Vision);
    let view = views.get(entry).filter(|_| entries == views.len())?;
    let side = len.isqrt();
    let (high, wide) = (view.rows.len(), view.cols.len());
    // Pixels that are left at the end, fewer than a patch has, are looked at by none.
    let even =
        |pixels: usize| pixels.checked_div(side).is_some_and(|each| pixels.checked_div(each) == Some(side));
    let before = len.checked_sub(side * side).filter(|before| *before <= 1)?;
    if !even(high) || !even(wide) {
        return None;
    }
    let tile = views.get(..entry)?.iter().filter(|other| other.image == view.image).count();
    // From the first to the last of its pixels.
    let span = |pixels: &[[f32; 2]], at: usize| {
        let each = pixels.len() / side;
        let (first, last) = (pixels.get(at * each)?, pixels.get((at + 1) * each - 1)?);
        // no NaN: extents on a picture
        Some((first[0].min(last[0]), first[1].max(last[1])))
    };
    let patch = |at: usize| {
        let (row, col) = (at / side, at % side);
        let ((y0, y1), (x0, x1)) = (span(&view.rows, row)?, span(&view.cols, col)?);
        Some(PatchLabel { image: view.image, tile, frame: 0, row, col, bbox: [x0, y0, x1, y1] })
    };
    let patches: Vec<PatchLabel> = (0..side * side).map(patch).collect::<Option<_>>()?;
    Some(std::iter::repeat_n(None, before).chain(patches.into_iter().map(Some)).collect())
}

/// Some positions of every one of `entries` pictures or recordings of a tower, one after the other, as [`tower_axis`] calls them.
pub fn tower_axis_at(map: &TokenMap, tower: Part, entries: usize, len: usize, positions: &[usize]) -> Axis {
    let (mut patches, mut tokens, mut numbers) = (Vec::new(), Vec::new(), 0);
    for entry in 0..entries {
        let own = tower_axis(map, tower, entry, entries, len);
        match own.labels {
            Labels::Patches(all) => patches.extend(positions.iter().filter_map(|at| all.get(*at).copied())),
            Labels::Tokens(all) => tokens.extend(positions.iter().filter_map(|at| all.get(*at).cloned())),
            _ => numbers += positions.len(),
        }
    }
    match entries * positions.len() {
        all if all == patches.len() => Axis::patches(patches),
        all if all == tokens.len() => Axis::tokens(tokens),
        all if all == numbers && entries == 1 => {
            Axis::names(Role::Patch, positions.iter().map(ToString::to_string))
        }
        all => Axis::count(Role::Patch, all),
    }
}

/// Patches in `len` groups of one size, each as the box around it; `None` if there are no such groups.
fn merged(patches: &[PatchLabel], len: usize) -> Option<Vec<PatchLabel>> {
    if len == 0 || patches.is_empty() || !patches.len().is_multiple_of(len) {
        return None;
    }
    let around = |group: &[PatchLabel]| {
        let first = *group.first()?;
        group.iter().skip(1).try_fold(first, |mut all, next| {
            let ([x0, y0, x1, y1], b) = (all.bbox, next.bbox);
            // no NaN: boxes on a picture
            all.bbox = [x0.min(b[0]), y0.min(b[1]), x1.max(b[2]), y1.max(b[3])];
            ((all.image, all.frame) == (next.image, next.frame)).then_some(all)
        })
    };
    let across = patches.len() / len;
    let mut groups: Vec<PatchLabel> = patches.chunks(across).map(around).collect::<Option<_>>()?;
    let side = across.isqrt();
    groups.iter_mut().for_each(|group| (group.row, group.col) = (group.row / side, group.col / side));
    Some(groups)
}

/// Tables of a value at a site, for a prompt of one row: the value itself under `name`, and where the site has
/// them, its sums for every pixel (`name/picture`, of a recording `name/spectrogram`) or position (`name/tokens`). Where a site holds
/// several pictures or recordings, each has its own: `name/0`, `name/0/picture`, and so on.
///
/// # Errors
/// [`TableError`] if the values do not fill the shape.
pub fn tables(
    name: &str,
    unit: Unit,
    spec: &SiteSpec,
    dims: &[usize],
    values: &[f32],
    map: &TokenMap,
) -> Result<Vec<Labelled>, TableError> {
    pooled(Pool::Sum, (name, unit), (spec, dims), values, map)
}

/// The same with the values of a pixel or position pooled in another way than summed.
///
/// # Errors
/// As [`tables`].
pub fn pooled(
    pool: Pool,
    (name, unit): (&str, Unit),
    (spec, dims): (&SiteSpec, &[usize]),
    values: &[f32],
    map: &TokenMap,
) -> Result<Vec<Labelled>, TableError> {
    let first = spec.axes.first().map(|(axis, _)| *axis);
    let entries = if spec.tower().is_some() { dims.first().copied().unwrap_or(0) } else { 1 };
    // Patches of all pictures, one after the other, have no axis of pictures before them.
    let outer = usize::from(first != Some(AxisName::Pos));
    let axes: Vec<AxisName> = spec.axes.iter().map(|(axis, _)| *axis).skip(outer).collect();
    let inner: Vec<usize> = dims.iter().skip(outer).copied().collect();
    let width = inner.iter().product::<usize>().max(1);
    let mut tables = Vec::new();
    for (entry, values) in values.chunks(width).enumerate() {
        let name = if entries > 1 { format!("{name}/{entry}") } else { name.to_owned() };
        let labels: Vec<Axis> = axes
            .iter()
            .zip(&inner)
            .map(|(axis, len)| label(*axis, *len, spec, map, entry, entries))
            .collect();
        let at = |wanted: AxisName| axes.iter().position(|axis| *axis == wanted);
        let kept = |places: &[usize], name: String| {
            let labels = places.iter().filter_map(|axis| labels.get(*axis).cloned()).collect();
            let sums = pool.of(values, &inner, places).map_err(|_| TableError::Count {
                table: name.clone(),
                lengths: inner.clone(),
                expected: width,
                found: values.len(),
            })?;
            Labelled::numbers(name, unit, labels, sums)
        };
        let whole = Labelled::numbers(name.clone(), unit, labels.clone(), values.to_vec())?;
        if let (Some(rows), Some(cols)) = (at(AxisName::Height), at(AxisName::Width)) {
            tables.extend([whole.aside(), kept(&[rows, cols], format!("{name}/picture"))?]);
        } else if let (Some(mels), Some(frames)) = (at(AxisName::Mel), at(AxisName::Frame)) {
            // Each of its numbers is one of the picture, whose topmost row is the highest filter.
            let lowest_first = kept(&[mels, frames], format!("{name}/spectrogram"))?;
            let rows: Vec<usize> = (0..inner.get(mels).copied().unwrap_or(0)).rev().collect();
            tables.push(lowest_first.select(0, &rows)?);
        } else if let Some(position) = at(AxisName::Pos) {
            let what = if spec.site.point() == Point::Pixels { "picture" } else { "tokens" };
            tables.extend([whole.aside(), kept(&[position], format!("{name}/{what}"))?]);
        } else {
            tables.push(whole);
        }
    }
    Ok(tables)
}

fn label(axis: AxisName, len: usize, spec: &SiteSpec, map: &TokenMap, entry: usize, entries: usize) -> Axis {
    let crossed = match axis {
        AxisName::Pos => matches!(spec.site.point(), Point::CrossK | Point::CrossV),
        AxisName::Key => matches!(spec.site.point(), Point::CrossScores | Point::CrossPattern),
        _ => false,
    };
    // Of a length the model fixes are the positions of a tower that cross-attention looks at.
    let fixed = spec.axes.iter().any(|(name, length)| *name == axis && length.is_some());
    let text = matches!(spec.site.part(), Part::Text | Part::Encoder) && !(crossed && fixed);
    let tower = tower_of(spec, map);
    let position = |role: Role| match text {
        true if map.len() == len => Axis::new(role, Labels::Tokens(map.tokens.clone())),
        true => Axis::count(role, len),
        false => Axis { role, ..tower_axis(map, tower, entry, entries, len) },
    };
    let pixels = |at: usize| {
        let one: Vec<Range<usize>> = (0..len).map(|i| i..i + 1).collect();
        let [rows, cols] = picture_axes(map, tower, entry, &one, &one);
        if at == 0 { rows } else { cols }
    };
    match axis {
        AxisName::Pos if text => position(Role::Token),
        AxisName::Pos => tower_axis(map, tower, entry, entries, len),
        AxisName::Channel if len == 3 => Axis::names(Role::Channel, ["red", "green", "blue"]),
        AxisName::Channel => Axis::count(Role::Channel, len),
        AxisName::Height | AxisName::Mel => pixels(0),
        AxisName::Width | AxisName::Frame => pixels(1),
        AxisName::Head => Axis::count(Role::Head, len),
        AxisName::Query => position(Role::Query),
        AxisName::Key => position(Role::Key),
        AxisName::Neuron => Axis::count(Role::Neuron, len),
        AxisName::Vocab => Axis::count(Role::Vocab, len),
        AxisName::Batch => Axis::count(Role::Sample, len),
        AxisName::Image | AxisName::Clip => Axis::count(Role::Image, len),
        _ => Axis::count(Role::Feature, len),
    }
}

/// The tower whose positions stand at a site that is not of prompts: its own, that of its axes, or the one that heard or saw something.
pub fn tower_of(spec: &SiteSpec, map: &TokenMap) -> Part {
    let own = Part::TOWERS.into_iter().find(|part| *part == spec.site.part());
    let used = || Part::TOWERS.into_iter().find(|part| !map.views_of(*part).is_empty());
    own.or_else(|| spec.tower()).or_else(used).unwrap_or(Part::Vision)
}

#[cfg(test)]
mod tests {
    use mmlens_core::finding::{Labels, Modality, PatchLabel, Role, TokenLabel, Unit};
    use mmlens_core::{AxisName, Part, Point, Site, SiteSpec, TokenMap, View};

    use super::{picture_axes, tables, tower_axis, tower_positions};

    fn map() -> TokenMap {
        let patch = |col: usize| {
            let bbox = [col as f32 * 10.0, 0.0, (col + 1) as f32 * 10.0, 10.0];
            let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col, bbox };
            TokenLabel::new("<image>", Modality::Image).with_patch(patch)
        };
        let tokens = vec![patch(0), patch(1), TokenLabel::new("Red?", Modality::Text)];
        let spans = |n: usize, step: f32| (0..n).map(|i| [i as f32 * step, (i + 1) as f32 * step]).collect();
        TokenMap {
            tokens,
            pictures: vec![(20, 10)],
            views: vec![View { image: 0, rows: spans(2, 5.0), cols: spans(4, 5.0) }],
            ..TokenMap::default()
        }
    }

    #[test]
    fn pixels_lie_on_the_original_picture() {
        let [rows, cols] = picture_axes(&map(), Part::Vision, 0, &[0..1, 1..2], &[0..1, 1..4]);
        assert_eq!(
            rows.labels,
            Labels::Spans { image: 0, spans: vec![[0.0, 5.0], [5.0, 10.0]], heard: None }
        );
        assert_eq!(
            cols.labels,
            Labels::Spans { image: 0, spans: vec![[0.0, 5.0], [5.0, 20.0]], heard: None }
        );
        let [rows, _] = picture_axes(&map(), Part::Vision, 1, &[0..1, 1..2], &[]);
        assert_eq!(rows.labels, Labels::Count(2));
    }

    /// Rows and columns of other sizes, so that neither can be taken for the other.
    #[test]
    fn rows_are_of_the_height_and_columns_of_the_width() {
        let spans = |n: usize, step: f32| (0..n).map(|i| [i as f32 * step, (i + 1) as f32 * step]).collect();
        let view = View { image: 3, rows: spans(3, 7.0), cols: spans(3, 2.0) };
        let map = TokenMap { views: vec![view], pictures: vec![(6, 21)], ..map() };
        let [rows, cols] = picture_axes(&map, Part::Vision, 0, &[0..1, 1..3], &[0..2, 2..3]);
        assert_eq!((rows.role, cols.role), (Role::Row, Role::Column));
        assert_eq!(
            rows.labels,
            Labels::Spans { image: 3, spans: vec![[0.0, 7.0], [7.0, 21.0]], heard: None }
        );
        assert_eq!(cols.labels, Labels::Spans { image: 3, spans: vec![[0.0, 4.0], [4.0, 6.0]], heard: None });
    }

    #[test]
    fn merged_patches_lie_around_those_they_are_made_of() {
        use AxisName::{Channel, Image, Pos};
        let patch = |i: usize| {
            let (row, col) = (i % 4 / 2, i / 4 * 2 + i % 2);
            let (x, y) = (col as f32 * 5.0, row as f32 * 4.0);
            PatchLabel { image: 0, tile: 0, frame: 0, row, col, bbox: [x, y, x + 5.0, y + 4.0] }
        };
        let map = TokenMap { patches: (0..8).map(patch).collect(), ..map() };
        let Labels::Patches(merged) = tower_axis(&map, Part::Vision, 0, 1, 2).labels else {
            panic!("no patches")
        };
        let boxes: Vec<_> = merged.iter().map(|p| (p.row, p.col, p.bbox)).collect();
        assert_eq!(boxes, [(0, 0, [0.0, 0.0, 10.0, 8.0]), (0, 1, [10.0, 0.0, 20.0, 8.0])]);
        assert_eq!(tower_axis(&map, Part::Vision, 0, 1, 5).labels, Labels::Count(5));

        let pixels = SiteSpec::new(Site::of(Part::Vision, Point::Pixels), [(Pos, None), (Channel, Some(3))]);
        let values: Vec<f32> = (0..24_u8).map(f32::from).collect();
        let found = tables("vision.pixels", Unit::Logit, &pixels, &[8, 3], &values, &map).unwrap();
        let names: Vec<&str> = found.iter().map(mmlens_core::finding::Labelled::name).collect();
        assert_eq!(names, ["vision.pixels", "vision.pixels/picture"]);
        assert_eq!((found[1].shape(), found[1].get(&[2])), (vec![8], Some(6.0 + 7.0 + 8.0)));

        let site = Site::of(Part::Connector, Point::Out);
        let out = SiteSpec::new(site, [(Image, Some(1)), (Pos, None), (AxisName::DModel, Some(2))]);
        let found = tables("out", Unit::Logit, &out, &[1, 2, 2], &[1.0, 2.0, 3.0, 4.0], &map).unwrap();
        assert_eq!((found[1].name(), found[1].as_numbers().unwrap()), ("out/tokens", &[3.0, 7.0][..]));
    }

    /// Two tiles of which the map shows no patches: each a square over its own view, the second with a class token.
    #[test]
    fn positions_that_the_map_does_not_show_lie_in_their_view() {
        let spans = |from: f32, n: usize, step: f32| {
            (0..n).map(|i| [from + i as f32 * step, from + (i + 1) as f32 * step]).collect()
        };
        let view = |from: f32| View { image: 0, rows: spans(0.0, 4, 2.0), cols: spans(from, 4, 3.0) };
        let map = TokenMap { views: vec![view(0.0), view(12.0)], ..TokenMap::default() };
        let first = tower_positions(&map, Part::Vision, 0, 2, 4).unwrap();
        let boxes: Vec<_> = first.iter().map(|p| p.map(|p| (p.tile, p.row, p.col, p.bbox))).collect();
        assert_eq!(boxes[1], Some((0, 0, 1, [6.0, 0.0, 12.0, 4.0])));
        assert_eq!(boxes[2], Some((0, 1, 0, [0.0, 4.0, 6.0, 8.0])));
        let second = tower_positions(&map, Part::Vision, 1, 2, 5).unwrap();
        assert_eq!((second[0], second[1].unwrap().tile, second[1].unwrap().bbox[0]), (None, 1, 12.0));
        for len in [3, 7, 9] {
            assert!(tower_positions(&map, Part::Vision, 0, 2, len).is_none(), "{len}");
        }
        // Of five pixels in two patches the last is left out.
        let odd = View { image: 0, rows: spans(0.0, 5, 2.0), cols: spans(0.0, 5, 3.0) };
        let odd = TokenMap { views: vec![odd], ..TokenMap::default() };
        assert_eq!(
            tower_positions(&odd, Part::Vision, 0, 1, 4).unwrap()[3].unwrap().bbox,
            [6.0, 4.0, 12.0, 8.0]
        );
    }

    #[test]
    fn every_picture_has_its_own_patches() {
        let patch = |image, col: usize| {
            let bbox = [col as f32, 0.0, col as f32 + 1.0, 1.0];
            PatchLabel { image, tile: 0, frame: 0, row: 0, col, bbox }
        };
        let patches = [0, 1].into_iter().flat_map(|image| (0..3).map(move |col| patch(image, col)));
        let map = TokenMap { patches: patches.collect(), ..map() };
        for image in [0, 1] {
            let Labels::Patches(own) = tower_axis(&map, Part::Vision, image, 2, 3).labels else {
                panic!("no patches")
            };
            assert_eq!(own, [patch(image, 0), patch(image, 1), patch(image, 2)]);
        }
    }

    #[test]
    fn pixels_are_summed_over_channels() {
        use AxisName::{Channel, Height, Image, Width};
        let site = Site::of(Part::Vision, Point::Pixels);
        let spec =
            SiteSpec::new(site, [(Image, None), (Channel, Some(3)), (Height, Some(2)), (Width, Some(4))]);
        let values: Vec<f32> = (0..24_u8).map(f32::from).collect();
        let found = tables("vision.pixels", Unit::Logit, &spec, &[1, 3, 2, 4], &values, &map()).unwrap();
        let names: Vec<&str> = found.iter().map(mmlens_core::finding::Labelled::name).collect();
        assert_eq!(names, ["vision.pixels", "vision.pixels/picture"]);
        assert_eq!(found[1].roles(), [Role::Row, Role::Column]);
        // 0 + 8 + 16 and 7 + 15 + 23
        assert_eq!((found[1].get(&[0, 0]), found[1].get(&[1, 3])), (Some(24.0), Some(45.0)));
        let twice =
            tables("p", Unit::Logit, &spec, &[2, 3, 2, 4], &[values.clone(), values].concat(), &map())
                .unwrap();
        let names: Vec<&str> = twice.iter().map(mmlens_core::finding::Labelled::name).collect();
        assert_eq!(names, ["p/0", "p/0/picture", "p/1", "p/1/picture"]);
    }

    #[test]
    fn positions_of_a_tower_are_its_patches() {
        use AxisName::{DModel, Image, Pos};
        let site = Site::block(Part::Vision, 0, Point::ResidPre);
        let spec = SiteSpec::new(site, [(Image, None), (Pos, Some(3)), (DModel, Some(1))]);
        let found = tables("x", Unit::Logit, &spec, &[1, 3, 1], &[1.0, 2.0, 3.0], &map()).unwrap();
        let Labels::Tokens(tokens) = &found[1].axes()[0].labels else { panic!("{:?}", found[1].axes()) };
        assert_eq!(tokens[0].text, "class");
        assert_eq!(tokens[2].patch.unwrap().col, 1);
    }
}
