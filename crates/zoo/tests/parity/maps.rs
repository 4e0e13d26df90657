//! The token map, of every family: pixels to positions and back, words to positions and back, and as many positions as the
//! processors of transformers make.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::{DynamicImage, Rgb, RgbImage};
use mmlens_core::finding::{Modality, PatchLabel};
use mmlens_core::{Clip, Picture, Sample, Seed, TokenMap, Words};
use proptest::prelude::*;
use serde::Deserialize;

use super::every::{Opened, every, of_those};
use super::fixtures;

/// A picture of noise, so that no two patches are alike.
fn noise(width: u32, height: u32, seed: u64) -> Picture {
    let level = |x: u32, y: u32, c: u64| (Seed(seed).at(u64::from(x * 4099 + y)).at(c).unit() * 255.0) as u8;
    let image =
        RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
    Picture::new("noise", image)
}

/// Where the patches of a picture are: in positions, or, where no position shows a picture, in the tower alone.
fn patches(map: &TokenMap, image: usize) -> Vec<&PatchLabel> {
    let shown = map.tokens.iter().filter_map(|token| token.patch.as_ref());
    let labels: Vec<&PatchLabel> = shown.filter(|patch| patch.image == image).collect();
    match labels.is_empty() {
        true => map.patches.iter().filter(|patch| patch.image == image).collect(),
        false => labels,
    }
}

fn within(bbox: [f32; 4], [x, y]: [f32; 2]) -> bool {
    bbox[0] <= x && x <= bbox[2] && bbox[1] <= y && y <= bbox[3]
}

/// Pictures of any size, several of them. Every patch lies on its picture and is found by its own box; of a box, every point
/// that any patch shows is shown by one of the patches that cover the box, and each of those touches it.
#[test]
fn boxes_and_tokens_agree() {
    let seeing = |folder: &Opened| folder.samples.iter().any(|sample| !sample.pictures.is_empty());
    let tried = of_those(8, seeing, |folder, varied| {
        let mut sample = folder.sample(&varied[0]);
        prop_assume!(!sample.pictures.is_empty());
        let number = varied[1].number;
        let size = |i: u64| 1 + (number >> (8 * i) & 0x5f) as u32;
        sample.pictures = (0..sample.pictures.len() as u64)
            .map(|i| noise(size(2 * i % 6), size((2 * i + 1) % 6), number ^ i))
            .collect();
        let inputs = folder.encoded(&sample)?;
        let map = inputs.map();
        let mut looked = 0;
        for (image, picture) in sample.pictures.iter().enumerate() {
            let patches = patches(map, image);
            if patches.is_empty() && matches!(sample.words, Words::Texts(_)) {
                continue; // dual encoders label the patches of their first picture
            }
            prop_assert!(!patches.is_empty(), "picture {} has no patches", image);
            looked += 1;
            let (width, height) = (picture.image.width() as f32, picture.image.height() as f32);
            for patch in &patches {
                let [x0, y0, x1, y1] = patch.bbox;
                prop_assert!(x0 <= x1 && y0 <= y1 && x0 > -1e-2 && y0 > -1e-2, "{:?}", patch.bbox);
                prop_assert!(
                    x1 < width + 1e-2 && y1 < height + 1e-2,
                    "{:?} in {}x{}",
                    patch.bbox,
                    width,
                    height
                );
            }
            for position in map.picture(image) {
                let bbox = map.tokens[position].patch.as_ref().unwrap().bbox;
                prop_assert!(map.tokens[position].modality == Modality::Image);
                if bbox[2] - bbox[0] > 1e-3 && bbox[3] - bbox[1] > 1e-3 {
                    prop_assert!(map.covering(image, bbox).contains(&position));
                }
            }
            if map.picture(image).is_empty() {
                continue;
            }
            let share = |i: u64| Seed(number).at(i).unit();
            let (a, b) = (share(1) * width, share(2) * width);
            let (c, d) = (share(3) * height, share(4) * height);
            let bbox = [a.min(b), c.min(d), a.max(b), c.max(d)];
            let covering = map.covering(image, bbox);
            let boxes: Vec<[f32; 4]> =
                covering.iter().map(|p| map.tokens[*p].patch.as_ref().unwrap().bbox).collect();
            for b in &boxes {
                prop_assert!(b[0] < bbox[2] && bbox[0] < b[2] && b[1] < bbox[3] && bbox[1] < b[3]);
            }
            for i in 0..16 {
                let point = [
                    bbox[0] + share(10 + 2 * i) * (bbox[2] - bbox[0]),
                    bbox[1] + share(11 + 2 * i) * (bbox[3] - bbox[1]),
                ];
                let shown = patches.iter().any(|patch| within(patch.bbox, point));
                let found = boxes.iter().any(|bbox| within(*bbox, point));
                prop_assert!(!shown || found, "{:?} in {:?} of {}x{}", point, bbox, width, height);
            }
        }
        prop_assert!(looked > 0);
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders see pictures");
}

/// Every written byte of a prompt belongs to a token, and by some bytes those tokens are found that share one with them, and no
/// others.
#[test]
fn bytes_and_tokens_agree() {
    let prompted = |folder: &Opened| folder.samples.iter().any(|s| matches!(s.words, Words::Prompt(_)));
    let tried = of_those(6, prompted, |folder, varied| {
        let sample = folder.sample(&varied[0]);
        prop_assume!(matches!(sample.words, Words::Prompt(_)));
        let Words::Prompt(prompt) = &sample.words else { unreachable!("looked at above") };
        let inputs = folder.encoded(&sample)?;
        let map = inputs.map();
        // One byte after the other, as the labels say.
        let sharing = |from: usize, to: usize| -> Vec<usize> {
            let shares = |(a, b): (usize, usize)| (from..to).any(|byte| (a..b).contains(&byte));
            (0..map.tokens.len()).filter(|p| map.tokens[*p].bytes.is_some_and(shares)).collect()
        };
        let mut written = 0;
        prop_assert_eq!(map.tokens.len(), inputs.ids[0].len());
        let mut covered = vec![false; prompt.len()];
        for (position, (label, id)) in map.tokens.iter().zip(&inputs.ids[0]).enumerate() {
            prop_assert_eq!(label.id, Some(*id));
            let Some((from, to)) = label.bytes else { continue };
            prop_assert!(from <= to && to <= prompt.len());
            covered[from..to].iter_mut().for_each(|byte| *byte = true);
            prop_assert!(from == to || sharing(from, to).contains(&position));
            prop_assert_eq!(map.bytes(from, to), sharing(from, to), "bytes {}..{}", from, to);
            written += usize::from(from < to);
            // A token that can be read stands where its bytes are, unless a processor wrote it in the place of a clip.
            let piece =
                label.text.trim_start_matches(['Ġ', '▁', '#']).trim_end_matches("</w>").to_lowercase();
            let own = prompt.get(from..to).filter(|own| own.is_ascii() && from < to && !own.contains('<'));
            if let (Some(own), true) = (own, piece.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
                prop_assert!(own.to_lowercase().contains(&piece), "{:?} at {:?} of {:?}", piece, own, prompt);
            }
        }
        prop_assert!(written > 0, "no token was written: {:?}", prompt);
        let place = |i: u64| Seed(varied[1].number).at(i).value() as usize % (prompt.len() + 1);
        for i in 0..8 {
            let (from, to) = (place(2 * i).min(place(2 * i + 1)), place(2 * i).max(place(2 * i + 1)));
            prop_assert_eq!(map.bytes(from, to), sharing(from, to), "bytes {}..{}", from, to);
        }
        if sample.pictures.is_empty() && sample.clips.is_empty() && sample.recordings.is_empty() {
            let bare: Vec<u8> = prompt.bytes().zip(&covered).filter(|(_, c)| !**c).map(|(b, _)| b).collect();
            prop_assert!(bare.iter().all(u8::is_ascii_whitespace), "{:?} in {:?}", bare, prompt);
        }
        Ok(())
    });
    assert!(tried >= 15, "only {tried} folders are prompted");
}

/// What `oracles/counts.py` wrote of one prompt.
#[derive(Debug, Deserialize)]
struct Counted {
    pictures: Vec<(u32, u32)>,
    /// Frames, width, height.
    clips: Vec<(u32, u32, u32)>,
    prompt: String,
    length: Option<usize>,
    #[serde(default)]
    tokens: Vec<Option<u32>>,
    shown: Option<usize>,
}

/// Sizes, tiles, frames and numbers of pictures at random: what a processor of transformers refuses is refused, and of the
/// rest it makes as many positions.
#[test]
fn positions_are_as_many_as_processors_make() {
    let text = std::fs::read(fixtures().join("counts/cases.json")).unwrap();
    let mut all: BTreeMap<String, Vec<Counted>> = serde_json::from_slice(&text).unwrap();
    let (mut encoded_cases, mut refused) = (0, 0);
    for folder in every() {
        for case in all.remove(&folder.name).unwrap_or_default() {
            let black = |width, height| Arc::new(DynamicImage::from(RgbImage::new(width, height)));
            let picture = |(w, h): &(u32, u32)| Picture {
                image: black(*w, *h),
                ..Picture::new("black", DynamicImage::default())
            };
            let clip = |(frames, w, h): &(u32, u32, u32)| {
                Clip::new("black", (0..*frames).map(|_| black(*w, *h)).collect(), Some(2.0))
            };
            let sample = Sample::prompt(case.pictures.iter().map(picture).collect(), case.prompt.clone())
                .with_clips(case.clips.iter().map(clip).collect());
            let encoded = folder.subject.encode(&sample);
            let Some(length) = case.length else {
                let said = encoded.err().map(|error| error.to_string());
                assert!(said.is_some_and(|said| said.len() > 20), "{}: {case:?}", folder.name);
                refused += 1;
                continue;
            };
            let inputs = encoded.unwrap_or_else(|error| panic!("{}: {case:?}: {error}", folder.name));
            assert_eq!(inputs.positions(), length, "{}: {case:?}", folder.name);
            let shown = inputs.ids[0].iter().filter(|id| case.tokens.contains(&Some(**id))).count();
            assert_eq!(Some(shown), case.shown, "{}: {case:?}", folder.name);
            assert_eq!(inputs.map().len(), length, "{}: {case:?}", folder.name);
            encoded_cases += 1;
        }
    }
    assert!(encoded_cases > 50 && refused > 0, "{encoded_cases} encoded, {refused} refused");
    assert!(all.is_empty(), "{:?} is no folder", all.keys());
}
