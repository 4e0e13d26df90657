//! Words as units: maps of tokens on whole words.

use burn::tensor::Device;
use mmlens_core::{Analysis, On, Sample, Target};
use mmlens_evaluation::perturbation::CurveSettings;
use mmlens_evaluation::{Deletion, Instead, Map, Metric, Over, Place, Redraws, Side};
use mmlens_model::{Occlusion, occlusion};
use mmlens_testkit::checkpoint;
use mmlens_zoo::open;

use super::{At, Known, There};

/// Each word has the sum of what its tokens have, and a curve of words begins with the whole text and ends without any.
#[test]
fn a_word_has_what_its_tokens_have() {
    let model = open(checkpoint("llama-a"), &Device::default()).unwrap();
    let at = At::new(&model, Sample::text("the red ring"), Target::Top);
    let settings = occlusion::Settings { picture: None, ..Default::default() };
    let finding = Occlusion::new(settings).unwrap().run_on(&On::new(&model), &at.case).unwrap();
    let map = Map::of(&finding, Side::Words, None).unwrap();
    let units = Over::Words.units(&at.inputs, 0).unwrap();
    let words = map.on(&units);
    // Tokens of nothing but spaces are part of no word.
    let text = &at.inputs.map().text;
    let says =
        |place: &Place| matches!(place, Place::Bytes { from, to } if !text[*from..*to].trim().is_empty());
    let own: f64 = map.places().iter().filter(|(place, _)| says(place)).map(|(_, value)| value).sum();
    assert!(words.len() > 1 && (words.iter().sum::<f64>() - own).abs() < 1e-9, "{words:?} {own}");
    let there = There(map);
    let known = Known::default();
    let asked = at.asked(&there, &known, Redraws::default());
    let settings = CurveSettings {
        over: Over::Words,
        instead: Instead::Unattended,
        normalise: false,
        ..CurveSettings::default()
    };
    let deletion = Deletion::new(settings).unwrap();
    assert_eq!(deletion.side(), Side::Words);
    // Every word is a step; one more pass unedited, and one for words that are replaced.
    assert_eq!(deletion.cost(&asked), Ok(words.len() as u64 + 2));
    assert!(deletion.scores(&asked, &there.0).unwrap()[0].is_finite());
}
