//! Dual encoders: each side moves while the other is as it was given, and a word that fits speaks for its picture.

use burn::tensor::Device;
use mmlens::data::shapes::{Detail, Split, World};
use mmlens::engine::End;
use mmlens::finding::Tolerance;
use mmlens::model::{IntegratedGradients, integrated_gradients};
use mmlens::prelude::*;

use crate::{case, gradients, noise, numbers, opened, scored, showing, site};

#[test]
fn each_side_is_complete_by_itself() {
    for name in ["clip-a", "clip-b", "siglip-a", "siglip-2"] {
        let subject = opened(name);
        let subject = subject.as_ref();
        let words = Words::Texts(vec!["a red circle".to_owned()]);
        let sample = Sample::new(vec![noise(46, 31, [100, 150, 60], 2)], words);
        let case = case(subject, sample);
        let both = gradients(&["vision.pixels", "text.embed"], 64).run(subject, &case).unwrap();
        let paths = Axis::names(Role::Concept, ["vision.pixels", "text.embed"]);
        let sums = numbers(&both, "by site");
        let objective = numbers(&both, "objective")[0];
        for (at, side) in ["vision.pixels", "text.embed"].into_iter().enumerate() {
            let gap = both.table("completeness gap").unwrap();
            assert_eq!(gap.axes(), std::slice::from_ref(&paths), "{name}");
            let change = objective - numbers(&both, "objective at baseline")[at];
            let gap = gap.as_numbers().unwrap()[at];
            assert!((sums[at] - change - gap).abs() < 1e-4, "{name} {side}");
            assert!(gap.abs() < 2e-2 * change.abs().max(0.1), "{name} {side}: gap {gap} of {change}");
            // Alone it is the same, since the other side does not move.
            let alone = gradients(&[side], 64).run(subject, &case).unwrap();
            for table in [side, "objective at baseline"] {
                let (alone, own) = (numbers(&alone, table), numbers(&both, table));
                let own = if own.len() == alone.len() { own } else { &own[at..=at] };
                let what = format!("{name} {side} {table}");
                Tolerance::absolute(1e-5).check(&what, alone, own).unwrap();
            }
            let steps = both.table("path").unwrap();
            assert_eq!((steps.shape(), &steps.axes()[0]), (vec![2, 64], &paths), "{name}");
        }
        let told = both.provenance.baseline.unwrap();
        assert_eq!(
            told,
            "vision.pixels: each picture's own mean colour; text.embed: mean over the words; each alone, while the other is as \
             it was given",
            "{name}"
        );
    }
}

/// SigLIP reads what fills a caption up: it is no word, and stays where it is.
#[test]
fn what_fills_a_caption_up_is_no_word() {
    let subject = opened("siglip-a");
    let subject = subject.as_ref();
    let case = case(subject, showing("siglip-a", vec![noise(30, 30, [90, 90, 90], 4)]).unwrap());
    let (inputs, _) = case.open(subject).unwrap();
    let map = inputs.map();
    let words: Vec<usize> = (0..map.len()).filter(|at| !map.padding.contains(at)).collect();
    assert!(map.padding.len() > 10 && words.len() > 3, "{:?}", map.padding);
    let found = gradients(&["text.embed"], 4).run(subject, &case).unwrap();
    let shares = numbers(&found, "text.embed/tokens");
    assert!(map.padding.iter().all(|at| shares[*at] == 0.0));
    assert!(words.iter().any(|at| shares[*at] != 0.0));
    // Every word at the mean of words, the rest as it is.
    let place = site("text.embed");
    let trace = subject.run(&inputs, Plan::new().read(place).unwrap()).unwrap();
    let own = trace.get(place).unwrap();
    let mut values = own.to_values().unwrap();
    let wide = own.dims()[2];
    for d in 0..wide {
        let mean = words.iter().map(|at| f64::from(values[at * wide + d])).sum::<f64>() / words.len() as f64;
        words.iter().for_each(|at| values[at * wide + d] = mean as f32);
    }
    let wanted = scored(subject, &case, Plan::new().set(place, own.filled(values).unwrap()).unwrap());
    let at = numbers(&found, "objective at baseline")[0];
    assert!((at - wanted).abs() < 1e-5 * wanted.abs().max(1.0), "{at} {wanted}");
}

/// True captions of scenes of one object: colour and shape speak for the picture, and so does the caption as a whole. From zero:
/// the mean of a caption's own words still has all of them in it.
#[test]
fn a_word_that_fits_counts_for_its_caption() {
    let subject = mmlens::zoo::shipped::shapes_clip(&Device::flex()).unwrap();
    let world = World::new(7);
    let scenes = (0..).map(|i| world.scene(Split::Test, i)).filter(|scene| scene.objects.len() == 1);
    let ends = [("vision.pixels", Baseline::Mean), ("text.embed", Baseline::Zero)];
    let along = ends.map(|(name, baseline)| End::new(site(name), baseline)).to_vec();
    let settings =
        integrated_gradients::Settings { along: Some(along), steps: Some(128), ..Default::default() };
    let method = IntegratedGradients::new(settings).unwrap();
    let (mut speak, mut words) = (0, 0);
    for scene in scenes.take(16) {
        let caption = scene.caption(Detail::Full).to_string();
        let picture = Picture::new("scene", scene.render());
        let sample = Sample::new(vec![picture], Words::Texts(vec![caption.clone()]));
        let case = Case { sample, target: Target::Objective(Objective::Similarity) };
        let found = method.run(&subject, &case).unwrap();
        let table = found.table("text.embed/tokens").unwrap();
        let Labels::Tokens(tokens) = &table.axes()[0].labels else { panic!() };
        let (object, shares) = (&scene.objects[0], table.as_numbers().unwrap());
        for word in [object.colour.word(), object.shape.word()] {
            let at = tokens.iter().position(|token| token.text.trim() == word).unwrap();
            speak += usize::from(shares[at] > 0.0);
            words += 1;
        }
        let sums = numbers(&found, "by site");
        println!("{caption}: {sums:.1?}, gaps {:.3?}", numbers(&found, "relative completeness gap"));
        assert!(sums.iter().all(|sum| *sum > 0.0), "{caption}: {sums:?}");
        // A norm follows, and a path from zero turns sharply where it begins.
        assert!(numbers(&found, "relative completeness gap").iter().all(|gap| *gap < 0.05), "{caption}");
    }
    println!("{speak} of {words} words speak for their caption");
    assert!(words == 32 && speak >= 30, "{speak} of {words}");
}
