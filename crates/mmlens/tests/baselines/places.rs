//! Where a label says that a patch lies, there are the pixels that its position sees: rows and columns, tiles, merged patches.

use image::Rgb;
use mmlens::finding::{PatchLabel, top};
use mmlens::prelude::*;

use crate::{ASIDE, ASKED, case, flat, opened, picture, showing, site};

/// Wider than high, and higher than wide; neither is a whole number of patches.
const SIZES: [(u32, u32); 2] = [(110, 68), (62, 118)];

/// For every entry and position of a value `[entry, position, d]`, how far it is from another.
fn moved(before: &[f32], after: &[f32], dims: &[usize]) -> Vec<Vec<f64>> {
    let wide: usize = dims[2..].iter().product();
    let each: Vec<f64> = before
        .chunks(wide)
        .zip(after.chunks(wide))
        .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum())
        .collect();
    assert!(each.iter().all(|off| off.is_finite()));
    each.chunks(dims[1]).map(<[f64]>::to_vec).collect()
}

fn most(moved: &[f64]) -> usize {
    top(moved).unwrap().unwrap()
}

/// The patches that are shown at positions of the prompt, or of the tower, where no position shows any.
fn labels(map: &TokenMap) -> Vec<(usize, PatchLabel)> {
    let shown: Vec<_> =
        map.tokens.iter().enumerate().filter_map(|(at, token)| Some((at, token.patch?))).collect();
    if shown.is_empty() { map.patches.iter().copied().enumerate().collect() } else { shown }
}

#[test]
fn a_position_sees_the_pixels_of_its_box() {
    for name in ASKED.into_iter().chain(ASIDE) {
        let subject = opened(name);
        for (width, height) in SIZES {
            looked_at(name, subject.as_ref(), (width, height));
        }
    }
}

fn looked_at(name: &str, subject: &dyn Subject, (width, height): (u32, u32)) {
    let embed = site("vision.embed");
    let open = |image| case(subject, showing(name, vec![image]).unwrap()).open(subject).unwrap().0;
    let read = |inputs: &Inputs| {
        let trace = subject.run(inputs, Plan::new().read(embed).unwrap()).unwrap();
        let value = trace.get(embed).unwrap();
        (value.to_values().unwrap(), value.dims())
    };
    let plain = open(flat(width, height, [90, 90, 90]));
    let (before, dims) = read(&plain);
    let map = plain.map();
    let labels = labels(map);
    let asked = map.tokens.iter().any(|token| token.patch.is_some());
    let packed = !plain.seen.grids.is_empty();
    let area = |(_, p): &(usize, PatchLabel)| (p.bbox[2] - p.bbox[0]) * (p.bbox[3] - p.bbox[1]);
    let areas: Vec<f32> = labels.iter().map(area).collect();
    let largest = areas[top(&areas).unwrap().unwrap()];
    let mut looked = 0;
    for (at, patch) in &labels {
        let [x0, y0, x1, y1] = patch.bbox;
        // What the edge cuts off shows little of itself.
        if (x1 - x0) * (y1 - y0) < 0.2 * largest && patch.tile == 0 || (x1 - x0) < 2.0 || (y1 - y0) < 2.0 {
            continue;
        }
        let (x, y) = (f64::from(x0 + x1) / 2.0, f64::from(y0 + y1) / 2.0);
        let (wide, high) = (f64::from(x1 - x0) / 5.0, f64::from(y1 - y0) / 5.0);
        let inside =
            |at: u32, middle: f64, reach: f64| (f64::from(at) + 0.5 - middle).abs() <= reach.max(0.5 + 1e-3);
        let marked = image::RgbImage::from_fn(width, height, |px, py| {
            Rgb(if inside(px, x, wide) && inside(py, y, high) { [250; 3] } else { [90; 3] })
        });
        let (after, _) = read(&open(picture(marked)));
        let moved = moved(&before, &after, &dims);
        let entry = if packed { 0 } else { patch.tile };
        let seen = most(&moved[entry]);
        let what = format!("{name} {width} x {height}, {patch}, box {:?}", patch.bbox);
        if !asked {
            let class = dims[1] - labels.len();
            assert_eq!(seen, at + class, "{what}");
        } else {
            assert_eq!(carried(subject, &plain, entry, (seen, dims[1])), *at, "{what}: seen at {seen}");
        }
        looked += 1;
    }
    assert!(2 * looked >= labels.len().min(16), "{name}: only {looked} of {} patches", labels.len());
}

/// The position of the prompt at which a position of the tower arrives.
fn carried(subject: &dyn Subject, inputs: &Inputs, entry: usize, (seen, length): (usize, usize)) -> usize {
    let (features, stream) = (site("vision.features"), site("text.input"));
    let trace = subject.run(inputs, Plan::new().read(features).unwrap().read(stream).unwrap()).unwrap();
    let value = trace.get(features).unwrap();
    let dims = value.dims();
    // A class token in front that is not carried on.
    let place = seen - (length - dims[1]);
    // Not the same everywhere, which a norm would take away.
    let off = (0..dims.iter().product::<usize>()).map(|i| (i * 37 % 11) as f32 / 5.0 - 1.0).collect();
    let off = value.filled(off).unwrap();
    let region = Region::all().of(AxisName::Image, [entry]).positions([place]);
    let plan = Plan::new().change(features, region, Change::Add(off)).unwrap().read(stream).unwrap();
    let after = subject.run(inputs, plan).unwrap();
    let (before, after) = (trace.get(stream).unwrap(), after.get(stream).unwrap());
    let dims = before.dims();
    most(&moved(&before.to_values().unwrap(), &after.to_values().unwrap(), &dims)[0])
}
