//! What must hold between runs of one dual encoder: pairs alone, in a table, in a padded batch, resumed.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::DualEncoder;
use mmlens_zoo::clip::open_clip;

const ALL: [&str; 6] = ["clip-a", "clip-b", "clip-old", "siglip-a", "siglip-2", "siglip-old"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn open(name: &str) -> DualEncoder {
    open_clip(&fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

fn sample(pictures: &[&str], texts: &[&str]) -> Sample {
    let open = |name: &&str| Picture::open(fixtures().join(format!("pictures/{name}.png"))).unwrap();
    let words = Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    Sample::new(pictures.iter().map(open).collect(), words)
}

fn everything(subject: &dyn Subject) -> Plan {
    subject.sites().iter().fold(Plan::new().to_output(), |plan, spec| plan.read(spec.site).unwrap())
}

/// The same arithmetic on another shape: f32 rounding.
fn alike(what: &str, spec: &SiteSpec, theirs: &[f32], ours: &AnyTensor) {
    let tolerance = spec.tolerance(&ours.dims(), 1e-4);
    tolerance.check(&format!("{what} at {}", spec.site), theirs, &ours.to_values().unwrap()).unwrap();
}

/// What stands at the real positions of one row: padding is cut off both ends of every axis that has it.
fn cut(x: &AnyTensor, dims: &[usize], pad: usize) -> Vec<f32> {
    let (large, all) = (x.dims(), x.to_values().unwrap());
    let shift: Vec<usize> = dims.iter().zip(&large).map(|(s, l)| if l > s { pad } else { 0 }).collect();
    (0..dims.iter().product::<usize>())
        .map(|flat| {
            let (mut rest, mut index, mut stride) = (flat, 0, 1);
            for axis in (0..dims.len()).rev() {
                index += (rest % dims[axis] + shift[axis]) * stride;
                rest /= dims[axis];
                stride *= large[axis];
            }
            all[index]
        })
        .collect()
}

const PAIRS: [(&str, &str); 3] =
    [("square", "ring"), ("tall", "¿Où est 円? a cat isn't here"), ("tiny", "a photo of a RED circle")];

#[test]
fn pairs_of_a_padded_batch_equal_single_runs_at_every_site() {
    for name in ALL {
        let subject = open(name);
        let singles = PAIRS.map(|(picture, text)| subject.encode(&sample(&[picture], &[text])).unwrap());
        let batch = Inputs::batch(&singles, subject.pad()).unwrap();
        let together = subject.run(&batch, everything(&subject).objective(Objective::Similarity)).unwrap();
        for (row, single) in singles.iter().enumerate() {
            let alone = subject.run(single, everything(&subject).objective(Objective::Similarity)).unwrap();
            for spec in subject.sites() {
                let ours = alone.get(spec.site).unwrap();
                let theirs = together.get(spec.site).unwrap().rows(row, 1).unwrap();
                let theirs = cut(&theirs, &ours.dims(), batch.pads[row]);
                alike(&format!("{name} row {row}"), spec, &theirs, ours);
            }
            let (a, b) = (together.scores().unwrap()[row], alone.scores().unwrap()[0]);
            Tolerance::either(1e-4, 1e-4).check(&format!("{name} row {row}"), &[a], &[b]).unwrap();
        }
    }
}

#[test]
fn texts_padded_on_the_right_equal_texts_alone() {
    for name in ALL {
        let subject = open(name);
        let texts = PAIRS.map(|(_, text)| text);
        let table = subject.encode(&sample(&["square"], &texts)).unwrap();
        let together = subject.run(&table, everything(&subject)).unwrap();
        for (row, text) in texts.iter().enumerate() {
            let single = subject.encode(&sample(&["square"], &[text])).unwrap();
            assert_eq!(table.tails[row], table.positions() - single.positions(), "{name}");
            let alone = subject.run(&single, everything(&subject)).unwrap();
            for spec in subject.sites().iter().filter(|spec| spec.site.part() == Part::Text) {
                let ours = alone.get(spec.site).unwrap();
                let theirs = cut(&together.get(spec.site).unwrap().rows(row, 1).unwrap(), &ours.dims(), 0);
                alike(&format!("{name} row {row}"), spec, &theirs, ours);
            }
        }
    }
}

#[test]
fn every_objective_reads_the_table_as_it_says() {
    for (name, bias) in [("clip-a", 0.0), ("siglip-a", -0.7)] {
        let subject = open(name);
        let inputs = subject.encode(&sample(&["wide", "square"], &["a cat", "a red circle"])).unwrap();
        let score = |objective| {
            let trace = subject.run(&inputs, Plan::new().objective(objective)).unwrap();
            (trace.scores().unwrap().to_vec(), trace.output().pairs.clone().unwrap())
        };
        let (own, pairs) = score(Objective::Similarity);
        let logits = pairs.logits.to_values().unwrap();
        assert_eq!(own, logits[..2], "each text with the first picture");
        let (cosine, _) = score(Objective::Cosine);
        // the fixture's scale is exp(1.3)
        for (logit, cosine) in own.iter().zip(&cosine) {
            assert!((logit - (cosine * 1.3_f32.exp() + bias)).abs() < 1e-5, "{name}: {logit} {cosine}");
        }
        assert_eq!(score(Objective::Pair { image: 1, text: 1 }).0, [0.0, logits[3]]);
        let shares = pairs.probabilities().unwrap().to_values().unwrap();
        assert!(name != "clip-a" || (shares[0] + shares[1] - 1.0).abs() < 1e-6, "{shares:?}");
        for (image, text, said) in [(2, 0, "image 2"), (0, 2, "text 2")] {
            let plan = Plan::new().objective(Objective::Pair { image, text });
            assert!(subject.run(&inputs, plan).unwrap_err().to_string().contains(said));
        }
    }
}

#[test]
fn the_end_of_a_text_is_where_the_config_says() {
    let (first, largest) = (open("clip-a"), open("clip-b"));
    let (extra, end) = (551, 550);
    assert_eq!(first.model().text.read_at(&[549, 7, end, extra, end], 0), 2);
    assert_eq!(first.model().text.read_at(&[end, 549, 7, 8, 9], 1), 1, "a text without an end");
    assert_eq!(largest.model().text.read_at(&[5, 3, 9, 9, 0], 0), 2);
    assert_eq!(open("siglip-a").model().text.read_at(&[5, 3, 1, 1], 0), 3);
}

#[test]
fn samples_it_cannot_take_are_refused() {
    let subject = open("clip-a");
    let refused = |sample: Sample| subject.encode(&sample).unwrap_err().to_string();
    assert!(refused(sample(&["square"], &[])).contains("give at least one of each"));
    assert!(refused(sample(&[], &["a"])).contains("give at least one of each"));
    assert!(refused(Sample::prompt(Vec::new(), "a")).contains("give texts"));
    let long = refused(sample(&["square"], &[&"a ".repeat(40)]));
    assert!(long.contains("makes 42 tokens of") && long.contains("expected 1 to 41"), "{long}");
    let inputs = subject.encode(&sample(&["square"], &["a"])).unwrap();
    let inputs = inputs.with(|batch| batch.seen.of_rows[0] = vec![0, 0]).unwrap();
    assert!(subject.run(&inputs, Plan::new()).unwrap_err().to_string().contains("twice"));
}
