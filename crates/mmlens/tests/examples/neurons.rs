//! Neurons of the built-in LLaVA: what they mark, and whether it needs them.

#[path = "../../../../examples/neurons/look.rs"]
mod look;

use mmlens::core::burn::tensor::Device;
use mmlens::prelude::*;
use mmlens::report::Page;
use mmlens::zoo::shipped;

#[test]
fn neurons_mark_concepts_and_answers_need_those_that_tell_them_apart() {
    let subject = shipped::shapes(&Device::default()).unwrap();
    let findings = look::look(&subject, 24).unwrap();
    let [marks, fires, tells, needs] = findings.as_slice() else { panic!("four findings") };
    let one = |finding: &Finding, table: &str| finding.table(table).unwrap().as_scalar().unwrap();
    // More detectors, and more selective neurons, than chance gives.
    let mean = |finding: &Finding, table: &str| {
        let values = finding.table(table).unwrap().as_numbers().unwrap();
        values.iter().sum::<f32>() / values.len() as f32
    };
    assert!(one(marks, "found") > one(marks, "shuffled mean"), "{}", one(marks, "found"));
    assert!(mean(marks, "iou") > mean(marks, "shuffled iou"), "{}", mean(marks, "iou"));
    // So few questions do not tell selective neurons from chance, and the finding says so.
    assert!(one(tells, "found") > one(tells, "shuffled mean"), "{}", one(tells, "found"));
    assert!(tells.cautions().iter().any(|caution| caution.kind == CautionKind::Chance));
    assert_eq!(fires.table("crops").unwrap().shape(), [6, 8, 32, 32, 3]);
    let drawn = image::load_from_memory(&look::crops(fires).unwrap()).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (6 * 64, 4 * 64));
    assert!((1..=12).contains(&needs.table("group").unwrap().len()));
    let page =
        Page { title: "Neurons".into(), findings: findings.clone(), ..Page::default() }.html().unwrap();
    assert_eq!(page.matches("<img alt=\"Crops ").count(), 48);
}
