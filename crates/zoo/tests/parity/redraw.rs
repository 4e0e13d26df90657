//! Weights drawn anew: those of the parts that were named, and no others.

use std::collections::BTreeSet;

use burn::tensor::Device;
use mmlens_core::{Part, Plan, Seed, Subject};
use mmlens_zoo::{OpenOptions, Opening, Redraw, shipped};

use super::every::every;

fn bits(subject: &dyn Subject) -> Vec<(String, Vec<u32>)> {
    let of =
        |name: &str| subject.weight(name).unwrap().to_values().unwrap().iter().map(|v| v.to_bits()).collect();
    subject.weights().iter().map(|spec| (spec.name.clone(), of(&spec.name))).collect()
}

/// Of every family: the published weights of other parts keep every bit, those of the part change.
#[test]
fn the_weights_of_a_part_are_those_that_are_published_under_its_name() {
    let mut parts_seen = BTreeSet::new();
    let mut refused = 0;
    for folder in every() {
        // A part that it does not have is refused, not passed by.
        let sites = folder.subject.sites();
        for part in Part::ALL.iter().filter(|part| sites.iter().all(|spec| spec.site.part() != **part)) {
            let redraw = Redraw::of([*part], Seed(1));
            let opened = OpenOptions::new(&Device::flex()).redraw(redraw).open(&folder.folder);
            let said = opened.err().unwrap_or_else(|| panic!("{}: {}", folder.name, part.name())).to_string();
            assert!(said.contains(&format!("the part `{}`", part.name())), "{said}");
            refused += 1;
        }
        for (name, redraw) in Redraw::each(folder.subject.as_ref(), Seed(1)) {
            let opened = OpenOptions::new(&Device::flex()).redraw(redraw).open(&folder.folder);
            assert!(opened.is_ok(), "{}: {name}: {:?}", folder.name, opened.err());
        }
        let before = bits(folder.subject.as_ref());
        let parts: BTreeSet<Part> = Part::ALL
            .iter()
            .copied()
            .filter(|part| folder.subject.weights().iter().any(|w| w.is_in(*part)))
            .collect();
        for part in parts {
            let redraw = Redraw::of([part], Seed(1));
            let opened = OpenOptions::new(&Device::flex()).redraw(redraw).open(&folder.folder).unwrap();
            let mut changed = 0;
            for ((name, old), (_, new)) in before.iter().zip(bits(opened.as_ref())) {
                let own = name.split('.').next() == Some(part.name());
                assert!(own || *old == new, "{}: {name} changed with {}", folder.name, part.name());
                changed += usize::from(*old != new);
            }
            assert!(changed > 0, "{}: nothing of {} changed", folder.name, part.name());
            assert_ne!(opened.weights_hash(), folder.subject.weights_hash());
            parts_seen.insert((part, changed > 1));
        }
    }
    assert!(parts_seen.len() >= 2 && refused > 0, "{parts_seen:?}");
}

/// The whole of a shipped model: it runs, and answers something else; the same seed gives the same bits, another others.
#[test]
fn a_shipped_model_forgets_and_still_runs() {
    let device = Device::flex();
    for name in shipped::names() {
        let open = |seed: Option<u64>| {
            let redraw = seed.map(|seed| Redraw::all(Seed(seed)));
            let on = Opening::from(&device);
            let on = redraw.as_ref().map_or(on, |redraw| on.redrawn(redraw));
            shipped::named(name, on).unwrap().unwrap()
        };
        let (own, one, same, other) = (open(None), open(Some(1)), open(Some(1)), open(Some(2)));
        assert_eq!(bits(one.as_ref()), bits(same.as_ref()));
        assert_ne!(bits(one.as_ref()), bits(other.as_ref()));
        assert!(one.weights_hash().ends_with("all drawn anew by seed 1"), "{}", one.weights_hash());
        let changed = bits(own.as_ref()).iter().zip(bits(one.as_ref())).filter(|(a, b)| *a != b).count();
        assert!(changed * 2 > own.weights().len(), "{name}: {changed}");
        let grey = || mmlens_core::Picture::new("grey", image::RgbImage::new(64, 64));
        let sample = match name {
            "shapes-clip" => mmlens_core::Sample::captions(grey(), ["a red circle"]),
            "tones-qwen2-audio" => {
                let hum = (0..48_000).map(|at| (at as f32 * 0.1).sin() * 0.1).collect();
                let hum = mmlens_core::sound::Sound::new("hum", hum, 16_000).unwrap();
                mmlens_core::Sample::hear(hum, "what pitch is the sound ?")
            }
            _ => mmlens_core::Sample::ask(grey(), "what colour is the circle?"),
        };
        let inputs = one.encode(&sample).unwrap();
        one.run(&inputs, Plan::new().to_output()).unwrap();
    }
}
