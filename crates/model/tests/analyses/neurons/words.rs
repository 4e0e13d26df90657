//! What neurons write: value vectors, and multimodal neurons.

use mmlens_core::finding::{CautionKind, Finding};
use mmlens_core::{Analysis, Case, Inputs, Objective, Part, Plan, Point, Sample, Site, Subject, kind};
use mmlens_engine::{Fold, NeuronAt, Unembedding};
use mmlens_model::multimodal_neurons::{self, By, MultimodalNeurons};
use mmlens_model::value_vectors::{self, ValueVectors};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use mmlens_zoo::open;
use proptest::prelude::*;
use serde_json::json;

use super::{ROUNDING, agree};
use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, opened, question, scalar, shown};

fn values(settings: value_vectors::Settings, subject: &dyn Subject, case: &Case) -> Finding {
    ValueVectors::new(settings).unwrap().run(subject, case).unwrap()
}

/// The words of ids in a fixture.
fn said(oracle: &Oracle, name: &str, subject: &dyn Subject) -> Vec<String> {
    oracle.array(name).unwrap().ids().into_iter().map(|id| subject.token(id)).collect()
}

#[test]
fn value_vectors_read_as_in_torch() {
    let oracle = Oracle::open("methods/value-vectors").unwrap();
    let about = |field: &str| oracle.about()[field].as_u64().unwrap() as usize;
    for name in ["llava-a", "gpt2-a", "gemma2-a"] {
        let subject = open(checkpoint(name), &mmlens_core::device::host()).unwrap();
        let prompt = oracle.about()["prompt"].as_str().unwrap();
        let case = if name == "llava-a" { question() } else { Case::new(Sample::prompt(Vec::new(), prompt)) };
        for (fold, what) in [(Fold::Norm, "norm"), (Fold::None, "none")] {
            let settings = value_vectors::Settings {
                count: about("count"),
                top: about("top"),
                fold,
                ..Default::default()
            };
            let found = ValueVectors::new(settings).unwrap().run(subject.as_ref(), &case).unwrap();
            let width = subject.anatomy().iter().find(|own| own.part == Part::Text).unwrap().d_mlp;
            let chosen = oracle.array(&format!("{name}/chosen")).unwrap().ids();
            let wanted: Vec<String> = chosen
                .iter()
                .map(|unit| format!("{}.{}", *unit as usize / width, *unit as usize % width))
                .collect();
            let axis = &found.table("words").unwrap().axes()[0];
            assert_eq!(
                (0..axis.len()).map(|at| axis.label(at).unwrap()).collect::<Vec<_>>(),
                wanted,
                "{name}"
            );
            for table in ["words", "lowest words"] {
                assert_eq!(
                    found.table(table).unwrap().as_texts().unwrap(),
                    said(&oracle, &format!("{name}/{what}/{table}"), subject.as_ref()),
                    "{name} {what}"
                );
            }
            for table in ["logits", "lowest logits", "stands out"] {
                agree(&found, table, &oracle, &format!("{name}/{what}/{table}"), ROUNDING);
            }
            for table in ["activation", "length"] {
                agree(&found, table, &oracle, &format!("{name}/{table}"), ROUNDING);
            }
        }
    }
}

fn last(inputs: &Inputs, values: &[f32]) -> Vec<f32> {
    let width = values.len() / inputs.positions();
    values[values.len() - width..].to_vec()
}

proptest! {
    #![proptest_config(few())]

    /// All value vectors times what neurons hold, read as words, are the MLP's output read as words.
    #[test]
    fn value_vectors_add_up_to_the_output(seed in 0..99_u64, word in "[a-f]{2,5}", layer in 0..2_usize) {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let neurons = (0..8).map(|neuron| NeuronAt { layer, neuron }).collect();
        let settings = value_vectors::Settings { neurons: Some(neurons), top: 27, fold: Fold::None, ..Default::default() };
        let found = values(settings, &toy, &case);
        let site = Site::block(Part::Text, layer, Point::MlpOut);
        let inputs = toy.encode(&case.sample).unwrap();
        let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
        let written: Vec<f64> = last(&inputs, &trace.get(site).unwrap().to_values().unwrap()).into_iter().map(f64::from).collect();
        let wanted = Unembedding::of(&toy).unwrap().unwrap().logits(&[written], Fold::None).unwrap();
        let words = found.table("words").unwrap().as_texts().unwrap();
        for (id, wanted) in wanted.iter().enumerate() {
            let word = toy.token(id as u32);
            let sum: f32 = (0..8).map(|neuron| {
                let at = (0..27).find(|rank| words[neuron * 27 + rank] == word).unwrap();
                numbers(&found, "activation")[neuron] * numbers(&found, "logits")[neuron * 27 + at]
            }).sum();
            prop_assert!((sum - wanted).abs() < 1e-4, "{word}: {sum} {wanted}");
        }
        // From the other end they are the same, turned round.
        let turned: Vec<f32> = numbers(&found, "lowest logits").chunks(27).flat_map(|own| own.iter().rev().copied()).collect();
        prop_assert_eq!(numbers(&found, "logits"), turned);
    }

    /// Scores by weights add up to what MLPs write for the word; and a difference has the difference of scores.
    #[test]
    fn scores_add_up(seed in 0..99_u64, word in "[a-f]{2,4}", token in 0..20_u32) {
        let toy = Toy::curved(seed);
        let sample = asked(1, &word, 3).sample;
        let score = |objective: Objective| {
            let settings = multimodal_neurons::Settings { top: 3, ..Default::default() };
            let found = MultimodalNeurons::new(settings).unwrap().run(&toy, &about(sample.clone(), objective)).unwrap();
            numbers(&found, "score").to_vec()
        };
        let (one, other) = (score(Objective::logit(token)), score(Objective::logit(token + 1)));
        let inputs = toy.encode(&sample).unwrap();
        let mut written = vec![0.0_f64; 6];
        for layer in 0..2 {
            let site = Site::block(Part::Text, layer, Point::MlpOut);
            let trace = toy.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
            let own = last(&inputs, &trace.get(site).unwrap().to_values().unwrap());
            written.iter_mut().zip(own).for_each(|(sum, x)| *sum += f64::from(x));
        }
        let wanted = Unembedding::of(&toy).unwrap().unwrap().logits(&[written], Fold::None).unwrap()[token as usize];
        prop_assert!((one.iter().sum::<f32>() - wanted).abs() < 1e-4);
        let difference = score(Objective::logit_difference(token, token + 1));
        let wanted: Vec<f32> = one.iter().zip(&other).map(|(a, b)| a - b).collect();
        ROUNDING.check("difference", &difference, &wanted).unwrap();
    }
}

#[test]
fn multimodal_neurons_are_those_of_torch() {
    let oracle = Oracle::open("methods/multimodal-neurons").unwrap();
    // A picture of one piece, and one in tiles.
    for (subject, front) in [(llava("llava-a") as &dyn Subject, ""), (opened("smolvlm-a"), "smolvlm-a/")] {
        multimodal_as_in_torch(&oracle, (subject, front), &|settings| {
            MultimodalNeurons::new(settings).unwrap()
        });
    }
}

fn multimodal_as_in_torch(
    oracle: &Oracle,
    (subject, front): (&dyn Subject, &str),
    made: &dyn Fn(multimodal_neurons::Settings) -> MultimodalNeurons,
) {
    let top = oracle.about()["top"].as_u64().unwrap() as usize;
    for (by, name) in [(By::Weights, "weights"), (By::Gradients, "gradients")] {
        let name = format!("{front}{name}");
        let settings = multimodal_neurons::Settings { by, top, ..Default::default() };
        let found = made(settings).run(subject, &question()).unwrap();
        agree(&found, "score", oracle, &format!("{name}/score"), ROUNDING);
        agree(&found, "map", oracle, &format!("{name}/map"), ROUNDING);
        agree(&found, "mask", oracle, &format!("{name}/mask"), mmlens_core::finding::Tolerance::EXACT);
        ROUNDING
            .check(
                "share",
                &[scalar(&found, "share of the top")],
                &oracle.array(&format!("{name}/share")).unwrap().values,
            )
            .unwrap();
        let width = found.table("score").unwrap().shape()[1];
        let best = oracle.array(&format!("{name}/best")).unwrap().ids();
        let axis = &found.table("scores").unwrap().axes()[0];
        for (at, unit) in best.iter().enumerate() {
            let unit = *unit as usize;
            assert_eq!(axis.label(at).unwrap(), format!("{}.{}", unit / width, unit % width));
            assert_eq!(numbers(&found, "scores")[at], numbers(&found, "score")[unit]);
        }
        // The word explained is said by a neuron that has it among its words.
        let target = subject.token(oracle.array(&format!("{front}target")).unwrap().ids()[0]);
        let words = found.table("words").unwrap().as_texts().unwrap();
        let says: Vec<f32> = words.chunks(10).map(|own| f32::from(u8::from(own.contains(&target)))).collect();
        assert_eq!(numbers(&found, "says it"), says);
        assert!(scalar(&found, "share of the top") > scalar(&found, "even share"));
    }
}

#[test]
fn named_neurons_are_shown_in_their_order_and_others_are_refused() {
    let case = question();
    let run = |settings: serde_json::Value| {
        let settings: value_vectors::Settings = serde_json::from_value(settings).unwrap();
        ValueVectors::new(settings).and_then(|method| method.run(llava("llava-a"), &case))
    };
    let found = run(json!({ "neurons": ["2.7", "0.3"], "top": 2 })).unwrap();
    let axis = &found.table("words").unwrap().axes()[0];
    assert_eq!([axis.label(0).unwrap(), axis.label(1).unwrap()], ["2.7", "0.3"]);
    let one = run(json!({ "neurons": ["0.3"], "top": 2 })).unwrap();
    assert_eq!(numbers(&found, "logits")[2..], *numbers(&one, "logits"));
    let said = |settings| run(settings).unwrap_err().to_string();
    assert_eq!(
        said(json!({ "neurons": ["1.99"] })),
        "value-vectors: neurons = 1.99, of 37 in a layer, but neurons that there are"
    );
    assert!(said(json!({ "neurons": ["9.1"] })).contains("layers = 9, of 3"));
    assert_eq!(said(json!({ "neurons": [] })), "value-vectors: neurons = none, but there must be one");
    let wrong = serde_json::from_value::<value_vectors::Settings>(json!({ "neurons": ["x"] })).unwrap_err();
    assert!(wrong.to_string().contains("`x` is no neuron"), "{wrong}");
}

#[test]
fn a_stream_that_is_normed_behind_its_sums_is_refused() {
    let bert = open(checkpoint("bert-a"), &mmlens_core::device::host()).unwrap();
    let case = Case::new(Sample::prompt(Vec::new(), "a [MASK] circle"));
    let said =
        ValueVectors::new(Default::default()).unwrap().run(bert.as_ref(), &case).unwrap_err().to_string();
    assert_eq!(
        said,
        "value-vectors needs a stream that is one running sum, but a norm follows each of its sums"
    );
    let gpt = open(checkpoint("gpt2-a"), &mmlens_core::device::host()).unwrap();
    let said = MultimodalNeurons::default().run(gpt.as_ref(), &case).unwrap_err().to_string();
    assert_eq!(
        said,
        "multimodal-neurons needs a subject that sees pictures or hears recordings, but this one takes words alone"
    );
    let words = about(shown(&[], "Red?"), Objective::logit(3));
    let said = MultimodalNeurons::default().run(llava("llava-a"), &words).unwrap_err().to_string();
    assert_eq!(said, "multimodal-neurons needs at least one position, but the sample has none of `pictures`");
    assert!(kind::blocks(gpt.as_ref(), Part::Text) > 0);
}

#[test]
fn cautions_come_where_they_are_due() {
    // A trained model's neurons write words; those of random weights do no better than shuffled ones.
    let trained = mmlens_zoo::shipped::shapes(&mmlens_core::device::host()).unwrap();
    let case =
        Case::new(Sample::ask(shown(&["square"], "").pictures.remove(0), "what colour is the square ?"));
    let kinds = |found: &Finding| found.cautions().iter().map(|own| own.kind).collect::<Vec<_>>();
    let settings = || value_vectors::Settings { count: 12, ..Default::default() };
    let found = values(settings(), &trained, &case);
    println!("{:?} {:?}", numbers(&found, "stands out"), numbers(&found, "shuffled stands out"));
    assert_eq!(kinds(&values(settings(), llava("llava-a"), &question())), [CautionKind::Chance]);
    let seen = |top| {
        let settings = multimodal_neurons::Settings { top, ..Default::default() };
        let found = MultimodalNeurons::new(settings).unwrap().run(llava("llava-a"), &question()).unwrap();
        let (a, b) = (numbers(&found, "map").to_vec(), numbers(&found, "map of others").to_vec());
        (kinds(&found), a, b)
    };
    let (said, ..) = seen(5);
    assert_eq!(said, []);
}
