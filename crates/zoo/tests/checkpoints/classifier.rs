//! A classifier of pictures: classes by their labels, one row for each picture, what it refuses.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use mmlens_core::finding::Tolerance;
use mmlens_core::*;
use mmlens_zoo::vit::{ImageClassifier, open_vit};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracles/fixtures")
}

fn open(name: &str) -> ImageClassifier {
    open_vit(&fixtures().join(name).join("model"), &Device::flex()).unwrap()
}

fn shown(pictures: &[&str]) -> Sample {
    let open = |name: &&str| Picture::open(fixtures().join(format!("pictures/{name}.png"))).unwrap();
    Sample::new(pictures.iter().map(open).collect(), Words::Nothing)
}

#[test]
fn a_class_is_what_a_token_is_to_a_language_model() {
    let subject = open("vit-a");
    assert_eq!(subject.tokens("Größe, 円").unwrap(), [2]);
    assert_eq!((subject.token(2), subject.token(7)), ("Größe, 円".to_owned(), "<7>".to_owned()));
    assert_eq!(subject.decode(&[0, 6]).unwrap(), "red circle, ring");
    let refused = |label: &str| subject.tokens(label).unwrap_err().to_string();
    assert!(refused("blue square").contains("the classes [1, 5] are all called `blue square`"));
    assert!(refused("star").contains("no class is called `star`, of 7; similar: `yellow star`"));
    assert_eq!(open("vit-old").decode(&[0, 1]).unwrap(), "LABEL_0, LABEL_1");
    assert_eq!(open("vit-b").labels().len(), 3);
}

#[test]
fn pictures_are_rows_of_one_position() {
    for name in ["vit-a", "vit-b", "vit-old"] {
        let subject = open(name);
        let pictures = ["square", "wide", "tall", "tiny"];
        let logits = |inputs: &Inputs| {
            let trace = subject.run(inputs, Plan::new()).unwrap();
            let logits = trace.output().logits.clone().unwrap();
            (logits.dims(), logits.to_values().unwrap())
        };
        let classes = subject.labels().len();
        let (dims, together) = logits(&subject.encode(&shown(&pictures)).unwrap());
        assert_eq!(dims, [4, 1, classes]);
        for (picture, together) in pictures.iter().zip(together.chunks(classes)) {
            let single = subject.encode(&shown(&[picture])).unwrap();
            let apart = logits(&single).1;
            // the same arithmetic on another shape: f32 rounding
            Tolerance::absolute(1e-5).check(&format!("{name} {picture}"), &apart, together).unwrap();
            let patches = subject.model().vision.tokens() - 1;
            assert_eq!((single.map().patches.len(), single.map().len()), (patches, 0));
        }
        // Rows in another order than their pictures, and two rows of one picture.
        let order = vec![vec![2], vec![0], vec![2], vec![1]];
        let shuffle = |batch: &mut Batch| {
            (batch.ids, batch.pads, batch.tails) = (vec![Vec::new(); 4], vec![0; 4], vec![0; 4]);
            batch.maps = vec![batch.maps[0].clone(); 4];
            batch.seen.of_rows = order;
        };
        let inputs = subject.encode(&shown(&pictures)).unwrap().with(shuffle).unwrap();
        let (_, other) = logits(&inputs);
        let row = |i: usize| together[i * classes..(i + 1) * classes].to_vec();
        assert_eq!(other, [row(2), row(0), row(2), row(1)].concat());
    }
}

#[test]
fn what_it_cannot_take_is_refused() {
    let subject = open("vit-a");
    let refused = |sample: Sample| subject.encode(&sample).unwrap_err().to_string();
    assert!(refused(shown(&[])).contains("give at least one"));
    assert!(
        refused(Sample { words: Words::Question("What?".to_owned()), ..shown(&["square"]) })
            .contains("no words")
    );
    let clip = Clip::new("clip", vec![shown(&["square"]).pictures[0].image.clone()], None);
    assert!(refused(shown(&["square"]).with_clips(vec![clip])).contains("no clips"));
    let inputs = subject.encode(&shown(&["square", "wide"])).unwrap();
    let inputs = inputs.with(|batch| batch.seen.of_rows[1] = vec![0, 1]).unwrap();
    assert!(subject.run(&inputs, Plan::new()).unwrap_err().to_string().contains("a row of 2 pictures"));
    let error = subject.generate(&subject.encode(&shown(&["square"])).unwrap(), &Generation::default());
    assert!(error.unwrap_err().to_string().contains("does not offer generation"));
}
