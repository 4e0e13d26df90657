//! What variants share is computed once, and no more than is looked at.

use burn::tensor::Device;
use mmlens_core::finding::{Tolerance, Unit};
use mmlens_core::{
    AnyTensor, AxisName, Change, Objective, Part, Picture, Plan, Point, Position, Region, Sample, Site,
    Subject,
};
use mmlens_engine::{Edit, Metric};
use mmlens_testkit::{Rewired, Toy, Work, checkpoint, picture};

use super::{TOKEN, at_most, inputs, measured, site};

/// Pictures are seen once, blocks run from where a variant departs, and no logit is computed that is not looked at.
#[test]
fn nothing_shared_is_computed_twice() {
    let toy = Toy::curved(11);
    let case = inputs(&toy, "#a#b"); // ten positions
    let (positions, pictures, blocks) = (case.positions(), 2, 2);
    let counted = |variants: Vec<Edit>, metric: Metric| {
        let before = toy.work();
        let edits = variants.into_iter().map(|edit| vec![edit]).collect();
        measured(&toy, &case, edits, &at_most(4), vec![metric]);
        let after = toy.work();
        Work {
            pictures: after.pictures - before.pictures,
            recordings: after.recordings - before.recordings,
            blocks: after.blocks - before.blocks,
            logits: after.logits - before.logits,
        }
    };
    let each = |place: &str| -> Vec<Edit> {
        let zero = |position| Edit::zero(site(place)).positions([position]);
        (0..positions).map(zero).collect()
    };
    // The unedited pass, then every variant from its block on; one token's logit each.
    for (place, left) in [
        ("text.input", 2),
        ("text.blocks.0.attn_out", 2),
        ("text.blocks.1.resid_pre", 1),
        ("text.blocks.1.mlp_out", 1),
    ] {
        let work = counted(each(place), Objective::logit(TOKEN).into());
        let wanted =
            Work { pictures, recordings: 0, blocks: blocks + left * positions, logits: 1 + positions };
        assert_eq!(work, wanted, "{place}");
    }
    // Two tokens; a vocabulary; everything, for whoever may look at everything.
    let vocab = toy.vocabulary();
    for (metric, each_row) in [
        (Objective::logit_difference(TOKEN, 7).into(), 2),
        (Metric::Rank { at: Position::Last, token: TOKEN }, vocab),
        (
            Metric::of("first", Unit::Logit, |o| AnyTensor::new(o.logit(Position::Last, 0)?).to_values()),
            vocab,
        ),
    ] {
        let work = counted(each("text.blocks.1.resid_mid"), metric);
        assert_eq!(work.logits, (1 + positions) * each_row);
    }
    // Pictures that are edited are seen again, for each variant; token vectors once in a pass of four.
    let shown =
        (0..6).map(|row| Edit::zero(site("vision.pixels")).within(Region::all().of(AxisName::Height, [row])));
    let work = counted(shown.collect(), Objective::logit(TOKEN).into());
    assert_eq!((work.pictures, work.blocks), (pictures * 7, blocks * 7));
    let work = counted(each("text.embed"), Objective::logit(TOKEN).into());
    assert_eq!(
        (work.pictures, work.blocks),
        (pictures * (1 + positions.div_ceil(4)), blocks * (1 + positions))
    );
}

/// A pass that only reads ends at what it reads.
#[test]
fn a_pass_ends_once_nothing_later_is_wanted() {
    let toy = Toy::curved(12);
    let case = inputs(&toy, "#ab");
    for (place, blocks) in [("text.input", 0), ("text.blocks.0.mlp_out", 1), ("text.blocks.1.resid_pre", 2)] {
        let before = toy.work();
        toy.run(&case, Plan::new().read(place).unwrap()).unwrap();
        let after = toy.work();
        assert_eq!((after.blocks - before.blocks, after.logits), (blocks, before.logits), "{place}");
    }
}

/// Positions behind the first that a variant changes are computed alone, with keys and values of the unedited pass before them:
/// patches, keys, neurons, cut edges at any position, with full attention, windows, and positions in space.
#[test]
fn positions_before_a_change_are_not_computed_again() {
    for (name, shown) in [
        ("llama-a", 0),
        ("gpt2-a", 0),
        ("gemma2-a", 0),
        ("mistral-a", 0),
        ("qwen3-a", 0),
        ("qwen2.5-vl-a", 1),
    ] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let subject = subject.as_ref();
        assert!(subject.resumes_from_suffix(), "{name}");
        let eye = if shown == 1 { "<|vision_start|><|image_pad|><|vision_end|>" } else { "" };
        let encode = |words: &str| {
            let pictures = (0..shown).map(|_| Picture::open(picture("tiny")).unwrap()).collect();
            subject.encode(&Sample::prompt(pictures, format!("{eye}{words}"))).unwrap().all_logits()
        };
        let (case, other) = (encode("Is it red or not?"), encode("So we may ask it."));
        let n = case.positions().min(other.positions());
        let last = case.positions() - 1;
        let at = |block, point| Site::block(Part::Text, block, point);
        let patched = Edit::patch(
            at(1, Point::ResidMid),
            &subject
                .run(
                    &case,
                    Plan::new()
                        .read("text.blocks.1.resid_mid")
                        .unwrap()
                        .change("text.input", Region::all(), Change::Scale(0.5))
                        .unwrap(),
                )
                .unwrap(),
        )
        .unwrap();
        let mut variants: Vec<Vec<Edit>> = Vec::new();
        for p in 0..n {
            variants.push(vec![patched.clone().positions([p])]);
            variants.push(vec![Edit::scale(at(0, Point::ResidPre), -1.0).positions([p, last])]);
            variants.push(vec![Edit::zero(at(1, Point::V)).within(Region::all().positions([p]).heads([0]))]);
            variants.push(vec![
                Edit::zero(at(0, Point::MlpPost)).within(Region::all().positions([p]).neurons([0, 2])),
            ]);
            variants.push(vec![Edit::cut(at(1, Point::Scores), vec![p], vec![0, p / 2])]);
            variants.push(vec![
                Edit::scale(at(0, Point::Z), 0.5).within(Region::all().positions([p]).heads([1])),
                Edit::zero(at(1, Point::Pattern))
                    .within(Region::all().of(AxisName::Query, [p]).of(AxisName::Key, [0])),
            ]);
        }
        let objectives =
            [Objective::logit(3), Objective::LogProbability { at: Position::At(last - 1), token: 5 }];
        for count in [1, 2] {
            let metrics: Vec<Metric> = objectives.iter().take(count).map(Into::into).collect();
            let found = measured(subject, &case, variants.clone(), &at_most(7), metrics);
            // Altered, it does not go on from some positions alone.
            let whole = Rewired::new(subject, |inputs, run| subject.forward(inputs, run));
            for (v, edits) in variants.iter().enumerate() {
                for (objective, found) in objectives.iter().zip(&found) {
                    // One variant alone, of which all positions are computed.
                    let single =
                        measured(&whole, &case, vec![edits.clone()], &at_most(1), vec![objective.into()]);
                    let loose = Tolerance::either(1e-5, 1e-5);
                    loose.check(&format!("{name} {v} {objective}"), &found[v..=v], &single[0]).unwrap();
                }
            }
        }
    }
}
