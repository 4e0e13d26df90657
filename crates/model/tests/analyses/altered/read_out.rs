//! States are read out with the edits that stand behind them, or not at all.

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Part, Picture, Plan, Point, Sample, Site, Subject, Words,
    kind,
};
use mmlens_model::logit_lens::{self, LogitLens};
use mmlens_testkit::{Toy, checkpoint, picture};

use super::{ROUNDING, under};
use crate::support::{llava, painted, shown, site};

#[test]
fn the_lens_says_what_the_model_would() {
    let toy = Toy::curved(9);
    let inputs = toy.encode(&Sample::prompt(vec![painted(1)], "#abc")).unwrap();
    let altered = under(&toy, &["text.blocks.1.mlp_out=scale:2", "text.logits[vocab=2,5]=scale:-1"]);
    let last = site("text.blocks.1.resid_post");
    let trace =
        altered.run(&inputs.clone().all_logits(), Plan::new().read(last).unwrap().to_output()).unwrap();
    let states = trace.get(last).unwrap().clone().rank_of::<3>("states").unwrap().squeeze_dim::<2>(0);
    let said = altered.read_out(Part::Text, states.clone().into()).unwrap().to_values().unwrap();
    ROUNDING.check("lens", &said, &trace.output().logits.clone().unwrap().to_values().unwrap()).unwrap();
    let refused = |texts: &[&str]| {
        under(&toy, texts).read_out(Part::Text, states.clone().into()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&["text.logits[pos=1]=zero"]),
        "`curved toy` cannot read out states of its part `text`: `text.logits[pos=1]=zero` is made at some positions or \
         pictures, and a state is at none"
    );
    let llava = llava("llava-a");
    let normed = under(llava, &["text.final_norm=scale:2"]);
    let lens = LogitLens::new(logit_lens::Settings::default()).unwrap();
    let said = lens.run(&normed, &Case::new(shown(&["square"], "<image>Red?"))).unwrap_err().to_string();
    assert_eq!(
        said,
        "logit-lens needs states of its part `text` that can be read out, but `text.final_norm=scale:2` stands between its \
         last block and `text.logits`"
    );
}

/// As of a language model: what is edited in the shared space, or of class logits, is; what is edited on the way is refused.
#[test]
fn towers_are_read_out_with_their_edits() {
    let shown = |name: &str, words: Words| {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let sample = Sample::new(vec![Picture::open(picture("wide")).unwrap()], words);
        let inputs = subject.encode(&sample).unwrap();
        (subject, inputs)
    };
    let caption = || Words::Texts(vec!["a red circle".to_owned()]);
    let blip = Words::Prompt("a photo of".to_owned());
    for (name, words, part, given, end, between) in [
        ("clip-a", caption(), Part::Vision, "scale:-2", "vision.projected", "vision.pooled"),
        ("clip-a", caption(), Part::Text, "zero", "text.projected", "text.final_norm"),
        ("siglip-a", caption(), Part::Text, "scale:3", "text.projected", "text.pooled"),
        ("vit-a", Words::Nothing, Part::Vision, "scale:-2", "vision.logits", "vision.final_norm"),
        ("blip-a", blip, Part::Text, "scale:2", "text.logits", "text.blocks.1.normalized_resid_post"),
    ] {
        let (subject, inputs) = shown(name, words);
        let last = kind::blocks(subject.as_ref(), part) - 1;
        let last = Site::block(part, last, Point::ResidPost);
        let trace = subject.run(&inputs, Plan::new().read(last).unwrap()).unwrap();
        let states = trace.tensor::<3>(last).unwrap();
        let states: AnyTensor = states.clone().narrow(0, 0, 1).squeeze_dim::<2>(0).into();
        let [plain, edited] = [&[][..], &[format!("{end}={given}")][..]].map(|edits| {
            let edits = edits.iter().map(|edit| Alteration::parse(edit).unwrap());
            Altered::new(&subject, edits)
                .unwrap()
                .read_out(part, states.clone())
                .unwrap()
                .to_values()
                .unwrap()
        });
        let by: f32 = given.strip_prefix("scale:").map_or(0.0, |by| by.parse().unwrap());
        let wanted: Vec<f32> = plain.iter().map(|value| value * by).collect();
        assert!(plain.iter().any(|value| *value != 0.0), "{name}");
        Tolerance::EXACT.check(name, &edited, &wanted).unwrap();
        let edit = format!("{between}=scale:2");
        let altered = Altered::new(&subject, [Alteration::parse(&edit).unwrap()]).unwrap();
        assert_eq!(
            altered.read_out(part, states).unwrap_err().to_string(),
            format!(
                "`{}` cannot read out states of its part `{}`: `{edit}` stands between its last block and `{end}`",
                subject.name(),
                part.name()
            )
        );
    }
    let (subject, inputs) = shown("clip-a", caption());
    let width = subject.anatomy()[0].d_model;
    let state = AnyTensor::from_values(vec![1.0; width], &[1, width], &Device::default()).unwrap();
    let altered =
        Altered::new(&subject, [Alteration::parse("vision.projected[image=0]=zero").unwrap()]).unwrap();
    altered.run(&inputs, Plan::new()).unwrap();
    assert_eq!(
        altered.read_out(Part::Vision, state).unwrap_err().to_string(),
        "`model` cannot read out states of its part `vision`: `vision.projected[image=0]=zero` is made at some positions or \
         pictures, and a state is at none"
    );
}
