//! Two models side by side over the same pictures, one asked a question and one given a caption.

#[path = "../../../../examples/side_by_side/compare.rs"]
mod compare;

use mmlens::core::burn::tensor::Device;
use mmlens::engine::Positions;
use mmlens::model::cka::{RowsOf, Settings};
use mmlens::prelude::*;
use mmlens::zoo::shipped;

/// Each is told the scenes in its own words; both towers see the same patches of the same pictures.
#[test]
fn a_clip_and_a_llava_lay_out_the_same_scenes() {
    let (clip, llava) =
        (shipped::shapes_clip(&Device::default()).unwrap(), shipped::shapes(&Device::default()).unwrap());
    let (named, hashed) = (llava.name().to_owned(), llava.weights_hash());
    let scenes = compare::scenes(llava, 24).unwrap();
    let tower = ["vision.blocks.*.resid_post"];
    let finding = compare::compare(&clip, &scenes, &tower, &tower, Settings::default()).unwrap();
    let beside = finding.provenance.input.clone().unwrap().beside.unwrap();
    assert_eq!((finding.provenance.subject.as_str(), beside.subject), (clip.name(), named));
    assert_eq!((finding.provenance.weights_hash, beside.weights_hash), (clip.weights_hash(), hashed));
    let patches = Settings { rows: RowsOf::Positions, positions: Positions::Pictures, ..Settings::default() };
    let against = [tower[0], "text.blocks.0.resid_post"];
    let finding = compare::compare(&clip, &scenes, &tower, &against, patches.clone()).unwrap();
    // 64 patches of each scene, in either tower and in the decoder.
    assert_eq!(finding.table("rows").unwrap().as_numbers().unwrap(), [24.0, 1536.0, 1.0]);
    let mean = |table: &str| {
        let values = finding.table(table).unwrap().as_numbers().unwrap();
        values.iter().sum::<f32>() / values.len() as f32
    };
    // Both see where objects are; what chance gives of 1536 rows is next to nothing.
    assert!(mean("cka") > 0.1 && mean("shuffled").abs() < 0.01, "{} {}", mean("cka"), mean("shuffled"));
    // With their class tokens, the towers have one place more than the decoder shows.
    let all = Settings { positions: Positions::All, ..patches };
    let said = compare::compare(&clip, &scenes, &tower, &against, all).unwrap_err().to_string();
    assert!(said.starts_with("cka needs rows that correspond one to one, but case 0 has 65 at"), "{said}");
}
