//! Scenes: splits, the planted bias, occlusion, and pictures against masks.

use std::collections::BTreeSet;

use mmlens_data::shapes::{
    Cell, Colour, MOST_HIDDEN, Object, SIDE, Scene, Shape, Size, Split, UnknownSplit, World,
};
use proptest::prelude::*;

fn scenes(world: World, split: Split, count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(move |index| world.scene(split, index))
}

/// Where every object is, in cells of 8 pixels, written out: the content that splits may not share.
fn content(scene: &Scene) -> Vec<(Shape, Colour, Size, u32, u32)> {
    let mut content: Vec<_> = scene
        .objects
        .iter()
        .map(|object| {
            let (x, y) = object.centre;
            (object.shape, object.colour, object.size, (x / 8.0) as u32, (y / 8.0) as u32)
        })
        .collect();
    content.sort_unstable();
    content
}

#[test]
fn splits_share_no_scene_even_across_seeds() {
    let of = |split: Split, seeds: &[u64]| -> BTreeSet<_> {
        let worlds = seeds.iter().map(|&seed| World::new(seed).with_bias(seed % 2 == 0));
        worlds.flat_map(|world| scenes(world, split, 4000)).map(|scene| content(&scene)).collect()
    };
    let (train, validation, test) =
        (of(Split::Train, &[0, 1]), of(Split::Validation, &[2]), of(Split::Test, &[0, 3]));
    assert!(train.is_disjoint(&validation));
    assert!(train.is_disjoint(&test));
    assert!(validation.is_disjoint(&test));
    assert!(train.len() > 6000 && test.len() > 6000, "{} and {} different scenes", train.len(), test.len());
}

#[test]
fn the_key_decides_the_split() {
    for &split in Split::ALL {
        for scene in scenes(World::new(8), split, 500) {
            assert_eq!(Split::of_key(scene.key), split);
            assert_eq!((scene.split, scene.seed), (split, 8));
        }
    }
}

#[test]
fn counts_sizes_shapes_and_colours_are_even() {
    for &split in Split::ALL {
        let scenes: Vec<Scene> = scenes(World::new(1), split, 8000).collect();
        for count in 1..=4 {
            let rate = scenes.iter().filter(|scene| scene.objects.len() == count).count() as f64 / 8000.0;
            assert!((rate - 0.25).abs() < 0.02, "{split}: {count} objects in {rate}");
        }
        let objects: Vec<&Object> = scenes.iter().flat_map(|scene| &scene.objects).collect();
        let share = |fits: &dyn Fn(&Object) -> bool| {
            objects.iter().filter(|object| fits(object)).count() as f64 / objects.len() as f64
        };
        // about 20,000 objects; every combination is 1 in 96, that is 208 +- 14
        for &shape in Shape::ALL {
            for &colour in Colour::ALL {
                for &size in Size::ALL {
                    let rate = share(&|object| {
                        object.shape == shape && object.colour == colour && object.size == size
                    });
                    assert!((rate * 96.0 - 1.0).abs() < 0.3, "{split}: {size} {colour} {shape} {rate}");
                }
            }
        }
    }
}

/// In scenes of two objects or more: how often there is a ring where there is a star, and how often there is
/// a cross beside the first red object.
fn co_occurrence(world: World, split: Split) -> (f64, f64) {
    let (mut stars, mut rings, mut reds, mut crosses) = (0.0, 0.0, 0.0, 0.0);
    for scene in scenes(world, split, 20_000).filter(|scene| scene.objects.len() > 1) {
        let has = |shape| scene.objects.iter().any(|object| object.shape == shape);
        if has(Shape::Star) {
            stars += 1.0;
            rings += f64::from(u8::from(has(Shape::Ring)));
        }
        if let Some(red) = scene.objects.iter().position(|object| object.colour == Colour::Red) {
            reds += 1.0;
            let beside = |(index, object): (usize, &Object)| index != red && object.shape == Shape::Cross;
            crosses += f64::from(u8::from(scene.objects.iter().enumerate().any(beside)));
        }
    }
    (rings / stars, crosses / reds)
}

#[test]
fn the_bias_is_planted_in_training_only_and_can_be_switched_off() {
    let biased = World::new(2).with_bias(true);
    // Without bias, over 2 to 4 objects: a star is there at 1 - (5/6)^n = .306, .421, .518, and with it a
    // ring at 1 - ((5/6)^n - (4/6)^n) / (1 - (5/6)^n) = .182, .330, .450; weighted, 0.344. A red object is
    // there at 1 - (7/8)^n = .234, .330, .414, and beside it a cross at 1 - (5/6)^(n-1) = .167, .306, .421;
    // weighted, 0.321. With bias a ring is brought to three in four of the stars without: 0.344 + 0.656 x
    // 0.75 = 0.836. A cross would come to 0.830 if there were always room; some objects are stars or rings
    // and stay. Measured: 0.68.
    let (ring, cross) = co_occurrence(biased, Split::Train);
    assert!((ring - 0.836).abs() < 0.02, "a ring where there is a star: {ring}");
    assert!((cross - 0.68).abs() < 0.02, "a cross beside a red object: {cross}");
    let unbiased =
        [(biased, Split::Validation), (biased, Split::Test), (biased.with_bias(false), Split::Train)];
    for (world, split) in unbiased {
        let (ring, cross) = co_occurrence(world, split);
        assert!((ring - 0.344).abs() < 0.02, "{split}: a ring where there is a star: {ring}");
        assert!((cross - 0.321).abs() < 0.02, "{split}: a cross beside a red object: {cross}");
    }
    for &split in &[Split::Validation, Split::Test] {
        assert_eq!(biased.scene(split, 3), biased.with_bias(false).scene(split, 3));
    }
}

#[test]
fn the_bias_starves_no_combination_and_no_pair() {
    let scenes: Vec<Scene> = scenes(World::new(2).with_bias(true), Split::Train, 20_000).collect();
    let objects: Vec<&Object> = scenes.iter().flat_map(|scene| &scene.objects).collect();
    for &shape in Shape::ALL {
        for &colour in Colour::ALL {
            for &size in Size::ALL {
                let fits = |object: &&&Object| {
                    object.shape == shape && object.colour == colour && object.size == size
                };
                let rate = objects.iter().filter(fits).count() as f64 / objects.len() as f64;
                assert!(rate * 96.0 > 0.6, "{size} {colour} {shape}: {rate}");
            }
        }
        let pairs = scenes.iter().filter(|scene| {
            let has = |shape| scene.objects.iter().any(|object| object.shape == shape);
            has(shape) && has(Shape::Star)
        });
        assert!(pairs.count() > 400, "a star with a {shape}");
    }
}

#[test]
fn the_same_item_is_the_same_scene() {
    let world = World::new(77).with_bias(true);
    for index in [0, 1, 12_345, u64::MAX] {
        let scene = world.scene(Split::Train, index);
        assert_eq!(scene, world.scene(Split::Train, index));
        assert_eq!(scene.render(), world.scene(Split::Train, index).render());
        assert_ne!(scene.objects, World::new(78).with_bias(true).scene(Split::Train, index).objects);
        assert_ne!(scene.objects, world.scene(Split::Train, index ^ 1).objects);
    }
}

/// Pinned when the world was first drawn. A change here changes what every model has learned: say so in the
/// changelog, and train anew.
#[test]
fn the_world_is_the_one_that_models_were_trained_on() {
    let sum = |world: World, split: Split| {
        scenes(world, split, 50).fold(0xCBF2_9CE4_8422_2325_u64, |sum, scene| {
            let mut rng = scene.rng(0);
            let texts: Vec<String> = mmlens_data::shapes::Kind::ALL
                .iter()
                .filter_map(|&kind| scene.ask(kind, &mut rng))
                .map(|question| question.text + &question.answer)
                .collect();
            let bytes = scene.render().into_raw().into_iter().chain(texts.concat().into_bytes());
            bytes.fold(sum, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
        })
    };
    let world = World::new(0).with_bias(true);
    let sums = Split::ALL.iter().map(|&split| format!("{:016x}", sum(world, split))).collect::<Vec<_>>();
    assert_eq!(sums, ["a06728c725e63b0c", "6b2a94ed92e994cc", "a659b789124b239c"]);
}

fn check_geometry(scene: &Scene) {
    let side = SIDE as f32;
    for (index, object) in scene.objects.iter().enumerate() {
        let (x, y) = object.centre;
        assert!(x - object.radius >= 1.0 && x + object.radius <= side - 1.0);
        assert!(y - object.radius >= 1.0 && y + object.radius <= side - 1.0);
        assert!(match object.size {
            Size::Small => (5.5..6.7).contains(&object.radius),
            Size::Large => (10.3..11.9).contains(&object.radius),
        });
        assert!(object.hidden <= MOST_HIDDEN, "{} hidden", object.hidden);
        let alone = scene.objects.len() - 1;
        let mut bare = scene.clone();
        for other in (0..=alone).rev().filter(|&other| other != index) {
            bare = bare.without(other);
        }
        assert_eq!(bare.objects[0].hidden, 0.0);
        // whole pixels follow the area up to the pixels along the edge of what covers it
        let (seen, whole) = (f64::from(object.mask.count()), f64::from(bare.objects[0].mask.count()));
        assert!(1.0 - seen / whole <= 1.0 / 3.0 + 0.12, "{seen} of {whole} pixels");
        assert!(seen >= 24.0, "{object:?}");
        assert_eq!(object.bbox, object.mask.bbox());
        for (x, y) in object.mask.pixels() {
            assert!(
                (object.bbox[0]..object.bbox[2]).contains(&x)
                    && (object.bbox[1]..object.bbox[3]).contains(&y)
            );
        }
        for other in &scene.objects[..index] {
            assert_eq!(object.mask.overlap(&other.mask), 0, "masks overlap");
        }
    }
}

#[test]
fn objects_lie_within_the_picture_and_stay_visible() {
    for &split in Split::ALL {
        scenes(World::new(4), split, 2000).for_each(|scene| check_geometry(&scene));
    }
}

/// Who is on top at a point, by the formulas.
fn top(scene: &Scene, point: (f64, f64)) -> Option<usize> {
    (0..scene.objects.len()).rev().find(|&index| crate::support::inside(&scene.objects[index], point))
}

#[test]
fn masks_pictures_and_hidden_parts_agree_with_the_formulas() {
    let (mut pixels, mut odd) = (0, 0);
    for scene in scenes(World::new(6), Split::Train, 300) {
        let labels = scene.labels();
        let picture = scene.render();
        let mut seen = [0_u32; 4];
        let mut whole = [0_u32; 4];
        for (x, y, pixel) in picture.enumerate_pixels() {
            let mut parts = [0_u32; 5];
            for sample in 0..16 {
                let at = |cell: u32, sub: u32| f64::from(cell) + (f64::from(sub) + 0.5) / 4.0;
                let point = (at(x, sample % 4), at(y, sample / 4));
                let top = top(&scene, point);
                parts[top.unwrap_or(4)] += 1;
                if let Some(top) = top {
                    seen[top] += 1;
                }
                for (index, object) in scene.objects.iter().enumerate() {
                    whole[index] += u32::from(crate::support::inside(object, point));
                }
            }
            pixels += 1;
            let label = usize::from(labels.get_pixel(x, y).0[0]);
            // half and half goes to the later object
            let expected = (0..4).rev().find(|&index| parts[index] >= 8).map_or(0, |index| index + 1);
            odd += usize::from(label != expected);
            for channel in 0..3 {
                let mixed: f64 = (0..5)
                    .map(|index| {
                        let own =
                            scene.objects.get(index).map_or(scene.background, |object| object.rgb[channel]);
                        f64::from(own) * f64::from(parts[index]) / 16.0
                    })
                    .sum();
                // 4 for the grain, 1 for each rounding; a sample on the very edge may fall to either side: 16
                // more
                let off = (f64::from(pixel.0[channel]) - mixed).abs();
                assert!(off <= 6.0 + 16.0, "pixel {x} {y} of scene {}: off by {off}", scene.id);
                odd += usize::from(off > 6.0);
            }
        }
        for (index, object) in scene.objects.iter().enumerate() {
            let hidden = 1.0 - f64::from(seen[index]) / f64::from(whole[index]);
            assert!((hidden - f64::from(object.hidden)).abs() < 0.01, "{hidden} and {}", object.hidden);
        }
    }
    // samples that lie on an edge to the last bit of f32
    assert!(odd * 10_000 < pixels, "{odd} of {pixels} pixels differ");
}

#[test]
fn a_pixel_of_a_mask_shows_the_colour_of_its_object() {
    for scene in scenes(World::new(9), Split::Train, 500) {
        let picture = scene.render();
        for object in &scene.objects {
            let apart = |a: [u8; 3], b: [u8; 3]| {
                a.iter().zip(b).map(|(&a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>().sqrt()
            };
            let others = scene.objects.iter().map(|other| other.rgb).chain([[scene.background; 3]]);
            // no NaN: distances of whole numbers
            let furthest = others.map(|other| apart(object.rgb, other)).fold(0.0, f64::max);
            for (x, y) in object.mask.pixels() {
                // Half of the pixel or more is the object's, so at most half the way to another colour; grain
                // and rounding add up to 6 a channel.
                let off = apart(picture.get_pixel(x, y).0, object.rgb);
                assert!(off <= furthest / 2.0 + 6.0 * 3_f64.sqrt(), "pixel {x} {y} is {off} off {object:?}");
            }
        }
    }
}

#[test]
fn colours_are_nearest_to_their_own_name_by_far() {
    for object in scenes(World::new(9), Split::Train, 2000).flat_map(|scene| scene.objects) {
        let far = |colour: Colour| {
            let pairs = object.rgb.iter().zip(colour.rgb());
            pairs.map(|(&a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>().sqrt()
        };
        let own = far(object.colour);
        let others = Colour::ALL.iter().filter(|&&colour| colour != object.colour);
        // no NaN: distances of whole numbers
        let next = others.map(|&colour| far(colour)).fold(f64::MAX, f64::min);
        assert!(own < 18.0 && next > 60.0, "{}: {own} from its own, {next} from the next", object.colour);
    }
}

#[test]
fn objects_of_one_colour_never_touch() {
    for scene in scenes(World::new(9), Split::Train, 2000) {
        for (index, one) in scene.objects.iter().enumerate() {
            for other in scene.objects[..index].iter().filter(|other| other.colour == one.colour) {
                let apart = (one.centre.0 - other.centre.0).hypot(one.centre.1 - other.centre.1);
                assert!(apart > one.radius + other.radius + 1.9);
            }
        }
    }
}

#[test]
fn an_edit_changes_nothing_else() {
    let world = World::new(21);
    for scene in scenes(world, Split::Test, 200) {
        let last = scene.objects.len() - 1;
        let object = &scene.objects[last];
        let colour = if object.colour == Colour::Red { Colour::Blue } else { Colour::Red };
        let edited = scene.recoloured(last, colour);
        assert_eq!(edited.objects[last].colour, colour);
        assert_eq!(edited.objects[last].mask, object.mask);
        assert_eq!(edited.objects[..last], scene.objects[..last]);
        let (before, after) = (scene.render(), edited.render());
        for (x, y, pixel) in before.enumerate_pixels() {
            let near = object.bbox[0].saturating_sub(1)..=object.bbox[2];
            if !near.contains(&x) {
                assert_eq!(pixel, after.get_pixel(x, y));
            }
        }
        assert_eq!(scene.without(last).objects.len(), last);
        assert_eq!(scene.moved(last, object.centre), scene);
        assert_eq!(scene.reshaped(last, Shape::Ring).objects[last].shape, Shape::Ring);
        assert_eq!(scene.without(99), scene);
        let gone = scene.moved(last, (-40.0, f32::NAN));
        assert_eq!(gone.objects[last].mask.count(), 0);
        assert_eq!(gone.objects[last].bbox, [0; 4]);
        assert_eq!(gone.render(), scene.without(last).render());
    }
}

#[test]
fn a_short_buffer_takes_whole_pixels() {
    let scene = World::new(1).scene(Split::Train, 0);
    let whole = scene.render().into_raw();
    let mut long = vec![7; whole.len() + 5];
    scene.render_into(&mut long);
    assert_eq!(long[..whole.len()], whole);
    assert_eq!(long[whole.len()..], [7; 5]);
    let mut short = vec![7; 64 * 3 * 40 + 2];
    scene.render_into(&mut short);
    assert_eq!(short[..64 * 3 * 40], whole[..64 * 3 * 40]);
    assert_eq!(short[64 * 3 * 40..], [7; 2]);
}

#[test]
fn names_are_read_back() {
    assert_eq!("validation".parse(), Ok(Split::Validation));
    let unknown: Result<Split, UnknownSplit> = "tset".parse();
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "unknown split \"tset\": expected train, validation or test"
    );
    for &cell in Cell::ALL {
        assert_eq!(Cell::from_word(cell.word()), Some(cell));
    }
    assert_eq!(Shape::from_word("sphere"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn geometry_holds_for_any_seed(seed: u64, index: u64, split in 0..3_usize, bias: bool) {
        let scene = World::new(seed).with_bias(bias).scene(Split::ALL[split], index);
        prop_assert!((1..=4).contains(&scene.objects.len()));
        prop_assert_eq!(Split::of_key(scene.key), Split::ALL[split]);
        check_geometry(&scene);
    }
}

/// A word means the colour that people call so: which of red, green and blue shine, and which do not, in what is drawn of it.
#[test]
fn colours_look_as_they_are_called() {
    let shine = |word: &str| match word {
        "red" => [true, false, false],
        "green" => [false, true, false],
        "blue" => [false, false, true],
        "yellow" => [true, true, false],
        "purple" => [true, false, true],
        "cyan" => [false, true, true],
        "white" => [true, true, true],
        "orange" => [true, false, false],
        other => panic!("what colour is {other}?"),
    };
    let mut seen = BTreeSet::new();
    for scene in scenes(World::new(5), Split::Train, 400) {
        let picture = scene.render();
        for object in scene.objects.iter().filter(|object| object.shape == Shape::Square) {
            let (x, y) = object.centre;
            let hidden = scene.objects.iter().filter(|other| {
                let [x0, y0, x1, y1] = other.bbox.map(|edge| edge as f32);
                (x0..x1).contains(&x) && (y0..y1).contains(&y)
            });
            if hidden.count() > 1 {
                continue;
            }
            let drawn = picture.get_pixel(x as u32, y as u32).0;
            let (word, most) = (object.colour.word(), drawn.into_iter().max().unwrap());
            let shines = drawn.map(|level| f32::from(level) > 0.72 * f32::from(most));
            assert_eq!(shines, shine(word), "{word} is drawn as {drawn:?}");
            // Orange lies between red and yellow, and is neither.
            if word == "orange" {
                assert!(drawn[1] > drawn[2] && f32::from(drawn[1]) > 0.35 * f32::from(drawn[0]), "{drawn:?}");
            }
            if word == "red" {
                assert!(f32::from(drawn[1]) < 0.35 * f32::from(drawn[0]), "{drawn:?}");
            }
            assert_eq!(Colour::from_word(word), Some(object.colour));
            seen.insert(word);
        }
    }
    assert_eq!(seen.len(), Colour::ALL.len(), "{seen:?}");
}
