use std::sync::Arc;

use mmlens_core::finding::{Labels, Modality, Role, Tolerance};
use mmlens_core::{Baseline, Inputs, Objective, Part, Plan, Point, Sample, Seed, Site, Subject, Words};
use mmlens_engine::{Absent, Coalition, Hiding, Positions, Segments, UnitError, Units, Windows, shapley};
use mmlens_testkit::Toy;
use proptest::prelude::*;

use super::by_hand::{hide, put, show, unattended};
use super::{every, measured, one_by_one, pixels, score};
use crate::{ROUNDING, objective, painted};

fn sample(words: &str) -> Sample {
    let pictures = (0..words.matches('#').count()).map(|i| painted(i as u32)).collect();
    Sample::prompt(pictures, words)
}

const ENTERED: Site = Site::block(mmlens_core::Part::Text, 0, Point::ResidPre);

/// What stands for absent units by hand: windows of the pixels, and vectors put in.
fn by_hand(toy: &Toy, inputs: &Inputs, cells: &[usize], words: &[usize]) -> f32 {
    let windows = Windows::grid([8, 8], [2, 2]);
    let whole = inputs.seen.values.clone().unwrap();
    let grey = Baseline::Mean.at(&toy.sites()[0], &whole, inputs).unwrap();
    let mut shown = whole.clone();
    for cell in cells {
        shown = hide(&windows, &shown, &grey, *cell..cell + 1);
    }
    let variant = show(inputs, 0, shown);
    let zero = inputs
        .seen
        .values
        .as_ref()
        .unwrap()
        .shaped(vec![0.0; inputs.positions() * 6], &[1, inputs.positions(), 6]);
    let plan = put(Plan::new(), ENTERED, vec![words.to_vec()], &zero.unwrap()).unwrap();
    score(toy, &variant, plan, objective())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cells and words, absent together in any number, are what is hidden by hand; packed or not.
    #[test]
    fn a_coalition_is_what_is_hidden_by_hand(seed in 0..99_u64, numbers in prop::collection::vec(0..128_u64, 1..9), rows in 1..6_usize) {
        let toy = Toy::curved(seed);
        let sample = sample("#ab cd");
        let inputs = toy.encode(&sample).unwrap();
        let cells = Units::cells(&inputs, 0, [2, 2]).unwrap().instead(Baseline::Mean);
        // Each letter of the toy is a token: positions 4 and 5 spell `ab`, 7 and 8 `cd`.
        let words = Units::words(&inputs, &Positions::Words).unwrap();
        let position = Units::tokens(&inputs, &Positions::At(vec![6])).unwrap();
        let hiding = Hiding::new(&toy, &sample, &inputs, cells.and(words).and(position)).unwrap();
        let some: Vec<Coalition> = numbers.iter().map(|number| Coalition::numbered(7, *number)).collect();
        let wanted: Vec<f32> = some.iter().map(|coalition| {
            let cells: Vec<usize> = coalition.absent().filter(|unit| *unit < 4).collect();
            let words = [(4, vec![4, 5]), (5, vec![7, 8]), (6, vec![6])];
            let words = words.into_iter().filter(|(unit, _)| !coalition.has(*unit)).flat_map(|(_, own)| own);
            by_hand(&toy, &inputs, &cells, &words.collect::<Vec<_>>())
        }).collect();
        ROUNDING.check("coalitions", &measured(&hiding, objective(), &some, rows), &wanted).unwrap();
        ROUNDING.check("one by one", &one_by_one(&toy, &hiding, objective(), &some), &wanted).unwrap();
    }

    /// On a toy whose logits are affine in its pixels, cells hidden one by one add up to all hidden at once, and Shapley values are those drops.
    #[test]
    fn what_is_affine_adds_up(seed in 0..99_u64) {
        let toy = Toy::straight(seed);
        let sample = sample("#ab");
        let inputs = toy.encode(&sample).unwrap();
        let cells = Units::cells(&inputs, 0, [2, 3]).unwrap().instead(Absent::Blur { sigma: 2.0 });
        let hiding = Hiding::new(&toy, &sample, &inputs, cells).unwrap();
        let one_out = (0..6).map(|unit| Coalition::all(6).without(unit));
        let some: Vec<Coalition> = [Coalition::all(6), Coalition::none(6)].into_iter().chain(one_out).collect();
        let found = measured(&hiding, objective(), &some, 3);
        let drops: Vec<f32> = found[2..].iter().map(|hidden| found[0] - hidden).collect();
        let close = Tolerance::either(1e-4, 1e-4);
        close.check("sum", &[drops.iter().sum::<f32>()], &[found[0] - found[1]]).unwrap();
        let shares = shapley::exact(6, |some| Ok::<_, mmlens_core::AnalysisError>(measured(&hiding, objective(), some, 5)));
        close.check("shares", &shares.unwrap().values, &drops).unwrap();
    }
}

/// Windows of processed pixels are hidden as `Windows` hides them, bit for bit: what occlusion is made of.
#[test]
fn windows_are_those_of_occlusion() {
    let toy = Toy::curved(3);
    let sample = sample("#a#b");
    let inputs = toy.encode(&sample).unwrap();
    for entry in 0..2 {
        let windows = Windows::sliding([8, 8], [3, 4], [2, 3]);
        let whole = inputs.seen.values.clone().unwrap();
        let grey = Baseline::Mean.at(&toy.sites()[0], &whole, &inputs).unwrap();
        let units = Units::windows(&inputs, Part::Vision, entry, &windows).unwrap().instead(Baseline::Mean);
        assert_eq!(units.len(), windows.len());
        let hiding = Hiding::new(&toy, &sample, &inputs, units).unwrap();
        let n = windows.len();
        let some: Vec<Coalition> = (0..n).map(|unit| Coalition::all(n).without(unit)).collect();
        let [own, grey] = [&whole, &grey].map(|x| x.rows(entry, 1).unwrap());
        let shown = show(&inputs, entry, hide(&windows, &own, &grey, 0..n));
        let wanted = toy.run(&shown, Plan::new().objective(objective())).unwrap().scores().unwrap().to_vec();
        assert_eq!(measured(&hiding, objective(), &some, n), wanted);
        let (alone, _) = hiding.only(&some[4]).unwrap();
        let one = show(&inputs, entry, hide(&windows, &own, &grey, 4..5));
        assert_eq!((pixels(&alone), &alone.seen.of_rows), (pixels(&one), &one.seen.of_rows));
    }
}

/// Words that nobody attends to, in a toy that does not go on from its past.
#[test]
fn an_unattended_word_is_knocked_out() {
    let toy = Toy::curved(5);
    let sample = sample("#ab cd");
    let inputs = toy.encode(&sample).unwrap();
    let words = Units::words(&inputs, &Positions::Words).unwrap().instead(Absent::Unattended);
    let names: Vec<&str> = words.iter().map(mmlens_engine::Unit::name).collect();
    assert_eq!(names, ["ab", "cd"]);
    let hiding = Hiding::new(&toy, &sample, &inputs, words).unwrap();
    let found = measured(&hiding, objective(), &every(2), 4);
    let hidden = [vec![4, 5, 7, 8], vec![7, 8], vec![4, 5], vec![]].into_iter().map(|places| {
        let plan = unattended(Plan::new(), "text.blocks.*.attn.scores", vec![places]).unwrap();
        score(&toy, &inputs, plan, objective())
    });
    ROUNDING.check("unattended", &found, &hidden.collect::<Vec<_>>()).unwrap();
}

/// Another sample's words stand at the same positions, its picture in the same cells: with none of the case left it is the other sample.
#[test]
fn without_any_unit_another_sample_is_left() {
    let toy = Toy::curved(5);
    let (own, other) = (sample("#abcd"), Sample::prompt(vec![painted(9)], "#wxyz"));
    let inputs = toy.encode(&own).unwrap();
    let instead = Absent::Other(Arc::new(other.clone()));
    let cells = Units::cells(&inputs, 0, [4, 2]).unwrap().instead(instead.clone());
    let words = Units::words(&inputs, &Positions::Words).unwrap().instead(instead);
    let n = cells.len() + words.len();
    let hiding = Hiding::new(&toy, &own, &inputs, cells.and(words)).unwrap();
    let found = measured(&hiding, objective(), &[Coalition::none(n), Coalition::all(n)], 2);
    let whole = |sample: &Sample| score(&toy, &toy.encode(sample).unwrap(), Plan::new(), objective());
    ROUNDING.check("samples", &found, &[whole(&other), whole(&own)]).unwrap();
    assert_ne!(found[0], found[1]);
}

/// What has not changed is computed once: the tower for words, and a picture whose neighbour is hidden.
#[test]
fn what_coalitions_share_is_computed_once() {
    let toy = Toy::curved(5);
    let sample = sample("#ab#cd");
    let inputs = toy.encode(&sample).unwrap();
    let words = Units::words(&inputs, &Positions::Words).unwrap();
    let units = words.and(Units::cells(&inputs, 1, [2, 2]).unwrap());
    let hiding = Hiding::new(&toy, &sample, &inputs, units).unwrap();
    let n = hiding.units().len();
    let looked = |some: &[Coalition]| {
        let before = toy.work().pictures;
        measured(&hiding, objective(), some, 3);
        toy.work().pictures - before
    };
    // Two pictures without edits, and none for words.
    let (one, other) = (Coalition::all(n).without(0), Coalition::all(n).without(1));
    assert_eq!(looked(&[one.clone(), other.clone(), one.clone().without(1)]), 2);
    // Three times the second one beside two of the case's own.
    let cells = [2, 3, 4].map(|cell| one.clone().without(cell));
    assert_eq!(looked(&cells), 2 + 2 + 3);
    assert_eq!(looked(&[one, other, cells[0].clone(), cells[1].clone()]), 2 + 2 + 2);
}

#[test]
fn segments_and_boxes_lie_on_the_original() {
    let toy = Toy::curved(1);
    // Twice as wide as the toy sees: each of its pixels is two columns.
    let image = image::RgbImage::from_fn(16, 8, |x, y| image::Rgb([(x * 9) as u8, (y * 20) as u8, 7]));
    let sample = Sample::prompt(vec![mmlens_core::Picture::new("wide", image)], "#a");
    let inputs = toy.encode(&sample).unwrap();
    let left = Units::boxes(&inputs, 0, &[("left", [0.0, 0.0, 4.0, 8.0])]).unwrap();
    let labels = (0..16 * 8).map(|i| u32::from(i % 16 >= 4) * 7).collect();
    let segments = Segments::new(16, 8, labels).unwrap();
    let both = Units::segments(&inputs, 0, &segments).unwrap();
    assert_eq!(both.iter().map(mmlens_engine::Unit::name).collect::<Vec<_>>(), ["segment 0", "segment 7"]);
    let Labels::Patches(patches) = both.axis().labels else { panic!("{:?}", both.axis()) };
    assert_eq!((patches[0].bbox, patches[1].bbox), ([0.0, 0.0, 4.0, 8.0], [4.0, 0.0, 16.0, 8.0]));
    let shown = |units: Units| {
        let n = units.len();
        pixels(
            &Hiding::new(&toy, &sample, &inputs, units)
                .unwrap()
                .only(&Coalition::all(n).without(0))
                .unwrap()
                .0,
        )
    };
    let (own, boxed) = (pixels(&inputs), shown(left));
    assert_eq!(boxed, shown(both));
    // Two of eight columns are zero.
    let wanted: Vec<f32> = own.iter().enumerate().map(|(i, v)| if i % 8 < 2 { 0.0 } else { *v }).collect();
    assert_eq!(boxed, wanted);
    let mask = image::RgbImage::from_fn(16, 8, |x, _| image::Rgb([0, 1, u8::from(x > 3)]));
    let mask = Segments::of_mask(&mask.into()).unwrap();
    assert_eq!((mask.labels()[0], mask.labels()[4]), (256, 257));
    assert_eq!(shown(Units::segments(&inputs, 0, &mask).unwrap()), boxed);
}

#[test]
fn units_are_labelled_for_findings() {
    let toy = Toy::curved(1);
    let inputs = toy.encode(&sample("#ab")).unwrap();
    let cells = Units::cells(&inputs, 0, [2, 4]).unwrap();
    let [rows, cols] = cells.grid_axes().unwrap();
    assert_eq!((rows.role, cols.role, rows.len(), cols.len()), (Role::Row, Role::Column, 2, 4));
    assert_eq!(
        cols.labels,
        Labels::Spans { image: 0, spans: vec![[0.0, 2.0], [2.0, 4.0], [4.0, 6.0], [6.0, 8.0]], heard: None }
    );
    // Thirds of eight pixels end at pixels, where those lie that are hidden.
    let [rows, _] = Units::cells(&inputs, 0, [3, 1]).unwrap().grid_axes().unwrap();
    assert_eq!(
        rows.labels,
        Labels::Spans { image: 0, spans: vec![[0.0, 3.0], [3.0, 5.0], [5.0, 8.0]], heard: None }
    );
    assert_eq!(cells.axis().role, Role::Patch);
    assert_eq!(cells.iter().nth(5).unwrap().label().patch.unwrap().bbox, [2.0, 4.0, 4.0, 8.0]);
    let joint = cells.and(Units::words(&inputs, &Positions::Words).unwrap());
    assert!(joint.grid_axes().is_none());
    assert_eq!((joint.of_modality(Modality::Text), joint.of_modality(Modality::Image).len()), (vec![8], 8));
    let Labels::Tokens(labels) = joint.axis().labels else { panic!("{:?}", joint.axis()) };
    assert_eq!((labels[8].text.as_str(), labels[8].bytes), ("ab", Some((1, 3))));
    assert_eq!(Units::patches(&inputs).unwrap().len(), 4);
    let whole =
        Units::all_pictures(&inputs).unwrap().and(Units::all_words(&inputs, &Positions::Words).unwrap());
    assert_eq!(whole.iter().map(mmlens_engine::Unit::name).collect::<Vec<_>>(), ["pictures", "words"]);
}

#[test]
fn what_fits_no_unit_is_refused() {
    let toy = Toy::curved(1);
    let sample = sample("#ab");
    let inputs = toy.encode(&sample).unwrap();
    let cells = || Units::cells(&inputs, 0, [2, 2]).unwrap();
    let words = || Units::words(&inputs, &Positions::Words).unwrap();
    let said = |units: Units| Hiding::new(&toy, &sample, &inputs, units).unwrap_err().to_string();
    assert_eq!(
        said(cells().instead(Absent::Mask)),
        "the mask token cannot stand in the place of a part of a picture"
    );
    assert_eq!(
        said(cells().instead(Absent::Unattended)),
        "a word that nobody attends to cannot stand in the place of a part of a picture"
    );
    assert_eq!(
        said(words().instead(Absent::Blur { sigma: 2.0 })),
        "a blur of 2 pixels cannot stand in the place of a word"
    );
    let road = Absent::Road { noise: 0.01, seed: Seed(3) };
    assert_eq!(
        said(words().instead(road)),
        "noisy linear interpolation (noise 0.01, seed 3) cannot stand in the place of a word"
    );
    assert_eq!(
        said(cells().and(words()).instead(Baseline::Zero)),
        "a baseline cannot stand in the place of parts of pictures and words at once"
    );
    assert_eq!(
        said(words().instead(Absent::Mask)),
        "`curved toy` has no token that stands for a missing word"
    );
    assert_eq!(said(cells().instead(Absent::Blur { sigma: 0.0 })), "sigma = 0, expected a number above 0");
    let other = |words: &str| Absent::Other(Arc::new(super::toy::sample(words)));
    assert_eq!(
        said(words().instead(other("#abc"))),
        "another sample: 1 rows of 7 positions, this sample has 1 row of 6 positions"
    );
    assert_eq!(
        said(cells().instead(other("ab"))),
        "another sample: 0 pictures and clips of [] frames, this sample has 1 pictures and clips of [] frames"
    );

    let none = |found: Result<Units, UnitError>| found.unwrap_err().to_string();
    assert_eq!(none(Units::cells(&inputs, 1, [2, 2])), "there is no picture 1 among 1");
    assert_eq!(
        none(Units::cells(&inputs, 0, [0, 2])),
        "grid = 0 x 2 cells, expected at least one row and one column"
    );
    assert_eq!(
        none(Units::cells(&inputs, 0, [9, 2])),
        "the model is given no pixel of image 0 row 4 column 0"
    );
    assert_eq!(
        none(Units::boxes(&inputs, 0, &[("speck", [0.1, 0.1, 0.2, 0.2])])),
        "the model is given no pixel of speck"
    );
    assert_eq!(none(Units::frames(&inputs, 0)), "the sample has no clip of several frames");
    assert_eq!(none(Units::words(&inputs, &Positions::At(vec![9]))), "there is no position 9 among 6");
    assert_eq!(
        none(Units::words(&inputs, &Positions::At(vec![0]))),
        "the sample has no words among these positions"
    );
    let small = Segments::new(2, 2, vec![0; 4]).unwrap();
    assert_eq!(
        none(Units::segments(&inputs, 0, &small)),
        "segments of (2, 2) pixels for a picture of (8, 8) (width, height)"
    );
    assert!(Segments::new(2, 2, vec![0; 3]).is_err());
    let beyond = Windows::grid([9, 8], [2, 2]);
    assert_eq!(
        none(Units::windows(&inputs, Part::Vision, 0, &beyond)),
        "the model is given no pixel of rows 4–9, columns 0–4"
    );
    let blind = toy.encode(&Sample::new(Vec::new(), Words::Prompt("ab".to_owned()))).unwrap();
    assert_eq!(none(Units::cells(&blind, 0, [2, 2])), "the sample has no picture");
    let two = inputs.repeat(2);
    assert!(none(Units::cells(&two, 0, [2, 2])).contains("2 rows, 6 of 6 positions"));

    let hiding = Hiding::new(&toy, &sample, &inputs, cells()).unwrap();
    assert!(hiding.only(&Coalition::all(5)).is_err());
    let error = UnitError::Nothing("words").of("kernel-shap").to_string();
    assert_eq!(
        error,
        "kernel-shap needs a sample with units that can be absent as asked, but the sample has no words"
    );
}

/// Only the mask decides what a place is filled with: pixels that are left are the picture's own.
#[test]
fn interpolation_fills_what_is_absent_and_nothing_else() {
    let toy = Toy::curved(1);
    let sample = sample("#ab");
    let inputs = toy.encode(&sample).unwrap();
    let units = Units::cells(&inputs, 0, [4, 4]).unwrap().instead(Absent::Road { noise: 0.0, seed: Seed(0) });
    let hiding = Hiding::new(&toy, &sample, &inputs, units).unwrap();
    let own = pixels(&inputs);
    let some = Coalition::all(16).without(5).without(6);
    let found = pixels(&hiding.only(&some).unwrap().0);
    // Cells 5 and 6 of 2 x 2 pixels: rows 2 and 3, columns 2 to 5.
    for (i, (found, own)) in found.iter().zip(&own).enumerate() {
        let (y, x) = (i / 8 % 8, i % 8);
        assert_eq!(found != own, (2..4).contains(&y) && (2..6).contains(&x), "{i}: {found} {own}");
    }
    let objective = Objective::logit(4);
    let some = [some, Coalition::none(16), Coalition::all(16)];
    ROUNDING
        .check(
            "road",
            &measured(&hiding, &objective, &some, 2),
            &one_by_one(&toy, &hiding, &objective, &some),
        )
        .unwrap();
}
