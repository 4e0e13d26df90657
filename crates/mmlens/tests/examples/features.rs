//! What the directions of the shipped CLIP's embeddings stand for, on scenes whose objects are known.

#[path = "../../../../examples/features/look.rs"]
mod look;

use mmlens::core::Fit;
use mmlens::core::burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::zoo::shipped;
use mmlens_testkit::numbers;

#[test]
fn the_space_that_pictures_and_captions_share_is_read() {
    let clip = shipped::shapes_clip(&Device::default()).unwrap();
    let scenes = look::scenes(40);
    let data = look::captioned(&scenes).unwrap();

    // Kinds that can be told apart, a gap that no shuffle has, and captions nearer to their own pictures than to others.
    let gap = look::gap(&clip, &data).unwrap();
    let [length, _, longest] = numbers(&gap, "gap")[..] else { panic!() };
    assert!(length > longest, "{length} {longest}");
    let [.., matched, unmatched] = numbers(&gap, "cone")[..] else { panic!() };
    assert!(matched > unmatched + 0.1, "{matched} {unmatched}");
    let retrieved = gap.table("shifted").unwrap().get(&[0, 1]).unwrap();
    assert!(retrieved > 0.5, "{retrieved}");

    // The right caption fits better, and parts say why to the last digit.
    let parts = look::parts(&clip, &scenes[0]).unwrap();
    assert!(numbers(&parts, "gap").iter().all(|gap| gap.abs() < 1e-6));
    let cosine = numbers(&parts, "cosine");
    assert!(cosine[0] > cosine[1], "{cosine:?}");

    // The scene, its caption, what is wrong with the other; and the scene with six concepts.
    let size = |png: &[u8]| {
        let drawn = image::load_from_memory(png).unwrap();
        (drawn.width(), drawn.height())
    };
    assert_eq!(size(&look::patches(&scenes[0], &parts).unwrap()), (3 * 128, 128));
    let learned = look::concepts().unwrap().learn(&On::new(&clip), data.data(), Seed(0)).unwrap();
    assert_eq!(size(&look::amounts(&clip, &scenes[0], &learned.fitted).unwrap()), (7 * 128, 128));

    // Texts of the list explain more than texts drawn from it.
    let span = look::span(&clip, &data, 3).unwrap();
    let total = |table: &str| numbers(&span, table).iter().sum::<f32>();
    assert!(
        total("variance explained") > total("random texts")
            && total("principal components") >= total("variance explained")
    );

    // The first object named is there, more often than that of another scene.
    let objects = look::objects(&clip, &data).unwrap();
    let [own, other] = look::true_of(&objects, &scenes).unwrap();
    assert!(own > 20 && own > 2 * other, "{own} {other}");
}
