//! Encoders of text: padding on either side, what stands behind a mask, the lens, what they refuse.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::bert::{TextEncoder, open_bert};

const ALL: [&str; 3] = ["bert-a", "bert-b", "bert-old"];
const TEXTS: [&str; 3] = ["a [MASK] circle", "größer: 円", "Two GREEN squares, isn't it? [MASK]"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn open(name: &str) -> TextEncoder {
    open_bert(&fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

fn everything(subject: &dyn Subject) -> Plan {
    subject.sites().iter().fold(Plan::new().to_output(), |plan, spec| plan.read(spec.site).unwrap())
}

/// What a site holds at the real positions of a row, masked scores apart.
fn real(spec: &SiteSpec, x: &AnyTensor, inputs: &Inputs, row: usize) -> Vec<f32> {
    let x = x.rows(row, 1).unwrap();
    let (dims, values) = (x.dims(), x.to_values().unwrap());
    let within = inputs.pads[row]..inputs.positions() - inputs.tails[row];
    let shown = |flat: &usize| {
        let (mut rest, mut shown) = (*flat, true);
        for ((axis, _), len) in spec.axes.iter().zip(&dims).rev() {
            let places = [AxisName::Pos, AxisName::Query, AxisName::Key];
            shown &= !places.contains(axis) || within.contains(&(rest % len));
            rest /= len;
        }
        shown
    };
    (0..values.len()).filter(shown).map(|flat| values[flat]).collect()
}

#[test]
fn padding_on_either_side_changes_nothing() {
    for name in ALL {
        let subject = open(name);
        let singles =
            TEXTS.map(|text| subject.encode(&Sample::prompt(Vec::new(), text)).unwrap().all_logits());
        let left = Inputs::batch(&singles, subject.pad()).unwrap();
        let words = Words::Texts(TEXTS.map(str::to_owned).to_vec());
        let right = subject.encode(&Sample::new(Vec::new(), words)).unwrap().all_logits();
        assert!(left.pads[0] > 0 && right.tails[0] == left.pads[0] && right.pads[0] == 0);
        let run = |inputs: &Inputs| subject.run(inputs, everything(&subject)).unwrap();
        let (left_trace, right_trace) = (run(&left), run(&right));
        for (row, single) in singles.iter().enumerate() {
            let alone = run(single);
            for spec in subject.sites() {
                let (dims, ours) = (
                    alone.get(spec.site).unwrap().dims(),
                    real(spec, alone.get(spec.site).unwrap(), single, 0),
                );
                for (inputs, trace) in [(&left, &left_trace), (&right, &right_trace)] {
                    let theirs = real(spec, trace.get(spec.site).unwrap(), inputs, row);
                    // the same arithmetic on another shape: f32 rounding
                    let what = format!("{name} {} row {row}", spec.site);
                    spec.tolerance(&dims, 1e-4).check(&what, &theirs, &ours).unwrap();
                }
            }
        }
    }
}

#[test]
fn what_leaves_the_last_block_says_what_the_model_says() {
    for name in ["bert-a", "bert-old"] {
        let subject = open(name);
        let inputs = subject.encode(&Sample::prompt(Vec::new(), TEXTS[0])).unwrap().all_logits();
        let last = Site::block(Part::Text, subject.anatomy()[0].blocks - 1, Point::ResidPost);
        let trace = subject.run(&inputs, Plan::new().read(last).unwrap().to_output()).unwrap();
        let states = trace.tensor::<3>(last).unwrap().squeeze_dim::<2>(0);
        let said = subject.read_out(Part::Text, states.into()).unwrap().to_values().unwrap();
        let logits = trace.output().logits.clone().unwrap().to_values().unwrap();
        Tolerance::absolute(1e-5).check(name, &said, &logits).unwrap();
    }
    let bare = open("bert-b");
    let states = AnyTensor::from_values(vec![0.0; 18], &[1, 18], &Device::flex()).unwrap();
    assert_eq!(
        bare.read_out(Part::Text, states).unwrap_err().to_string(),
        "`model` cannot read out states of its part `text`: it ends in states, with neither logits nor a projection into a \
         shared space"
    );
}

#[test]
fn a_body_without_a_head_has_states_and_no_answer() {
    let subject = open("bert-b");
    let inputs = subject.encode(&Sample::prompt(Vec::new(), "Größe")).unwrap();
    let trace = subject.run(&inputs, everything(&subject)).unwrap();
    assert!(trace.output().logits.is_none());
    let pooled = trace.get("text.pooled".parse().unwrap()).unwrap();
    assert_eq!(pooled.dims(), [1, 18]);
    let error = subject.run(&inputs, Plan::new().objective(Objective::logit(0))).unwrap_err().to_string();
    assert!(error.contains("logit of token 0"), "{error}");
}

#[test]
fn what_it_cannot_take_is_refused() {
    let subject = open("bert-a");
    assert_eq!(subject.mask().map(|id| subject.token(id)).as_deref(), Some("[MASK]"));
    let refused = |words: Words| subject.encode(&Sample::new(Vec::new(), words)).unwrap_err().to_string();
    assert!(refused(Words::Nothing).contains("give at least one"));
    assert!(refused(Words::Question("What?".to_owned())).contains("no chat template"));
    let long = refused(Words::Prompt("a ".repeat(60)));
    assert!(long.contains("makes 62 tokens of") && long.contains("expected 1 to 40"), "{long}");
    let picture = Picture::open(fixtures().join("pictures/square.png")).unwrap();
    let error = subject.encode(&Sample::prompt(vec![picture], "a")).unwrap_err().to_string();
    assert!(error.contains("sees no pictures"), "{error}");
}
