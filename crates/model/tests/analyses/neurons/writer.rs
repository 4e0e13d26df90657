//! One neuron planted in the weights of the model that ships, which reads the colour of an answer and writes its word, is found by four methods: five seeds, three
//! strengths.
//!
//! Its gate and its other factor read the class by what the neurons of the layer hold before their nonlinearity, fitted by least squares on training scenes, so that it
//! holds the square of that where it is above zero; its value vector is the shortest that raises the logit of the word, behind the gain of the last norm, and of no other, made
//! three times as long as others are. The strength says how much of each is that, and how much what it was.

use mmlens_core::{Analysis, Cases, ManyCases, Part, Point, Site, Subject, from_fn};
use mmlens_data::shapes::{Kind, ShapesCases, Split, World};
use mmlens_engine::{Indices, NeuronAt, Positions};
use mmlens_model::clip_dissect::{self, ClipDissect};
use mmlens_model::group_ablation::{self, GroupAblation};
use mmlens_model::multimodal_neurons::MultimodalNeurons;
use mmlens_model::value_vectors::{self, ValueVectors};
use mmlens_testkit::{planted, shipped};

use super::planted::{SEEDS, STRENGTHS, detector, drawn, held, solved};
use crate::support::{numbers, scalar};

/// What the neuron holds is the square of about this where its class is.
const HELD: f64 = 4.0;
/// How long its value vector is beside others of its layer.
const LONG: f64 = 3.0;

struct Plant<'a> {
    at: NeuronAt,
    strength: f64,
    /// Of the neurons of the layer before their nonlinearity.
    reads: &'a [f64],
    word: usize,
}

impl Plant<'_> {
    fn write(&self, folder: &std::path::Path) {
        let Self { at: NeuronAt { layer, neuron }, strength, reads, word } = self;
        let own = 1.0 - strength;
        planted(&shipped("shapes-llava"), folder, |weights| {
            let name = |what: &str| format!("model.language_model.layers.{layer}.mlp.{what}_proj.weight");
            let (dims, gate) = weights[&name("gate")].clone();
            let wide = dims[1];
            let read: Vec<f64> = (0..wide)
                .map(|at| {
                    reads.iter().enumerate().map(|(row, c)| HELD * c * f64::from(gate[row * wide + at])).sum()
                })
                .collect();
            for what in ["gate", "up"] {
                let row = &mut weights.get_mut(&name(what)).unwrap().1[neuron * wide..(neuron + 1) * wide];
                for (value, read) in row.iter_mut().zip(&read) {
                    *value = (own * f64::from(*value) + strength * read) as f32;
                }
            }
            let (dims, unembedding) = weights["lm_head.weight"].clone();
            let gain = weights["model.language_model.norm.weight"].1.clone();
            let row = |row: usize| -> Vec<f64> {
                (0..wide).map(|at| f64::from(gain[at]) * f64::from(unembedding[row * wide + at])).collect()
            };
            let rows: Vec<Vec<f64>> = (0..dims[0]).map(row).collect();
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let mut between: Vec<Vec<f64>> =
                rows.iter().map(|own| rows.iter().map(|other| product(own, other)).collect()).collect();
            (0..dims[0]).for_each(|at| between[at][at] += 1e-6);
            let of = solved(between, (0..dims[0]).map(|at| f64::from(u8::from(at == *word))).collect());
            let says: Vec<f64> =
                (0..wide).map(|at| rows.iter().zip(&of).map(|(row, c)| c * row[at]).sum()).collect();
            let size = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let (dims, down) = weights.get_mut(&name("down")).unwrap();
            let count = dims[1];
            let column = |of: usize, down: &[f32]| {
                (0..wide).map(|row| f64::from(down[row * count + of])).collect::<Vec<f64>>()
            };
            let length = (0..count).map(|of| size(&column(of, down))).sum::<f64>() / count as f64;
            let before = column(*neuron, down);
            for row in 0..wide {
                let says = LONG * length * says[row] / size(&says);
                down[row * count + neuron] = (own * before[row] + strength * says) as f32;
            }
        });
    }
}

#[test]
fn a_neuron_that_reads_a_colour_and_writes_its_word_is_found() {
    let device = mmlens_core::device::host();
    let plain = mmlens_zoo::shipped::shapes(&device).unwrap();
    let train = ShapesCases::new(World::new(11), Split::Train, Kind::Colour, 400);
    let test = ShapesCases::new(World::new(12), Split::Test, Kind::Colour, 90);
    let labels: Vec<usize> = (0..train.len()).map(|case| train.label(case).unwrap().unwrap()).collect();
    let (mut tried, mut found) = (0, [0; 4]);
    for seed in SEEDS {
        // The colour is at the last position from the third block on.
        let (layer, neuron, class) = drawn(seed, 2, train.classes().len());
        let (at, colour) = (NeuronAt { layer: 2 + layer, neuron }, test.classes()[class].clone());
        let site = Site::block(Part::Text, at.layer, Point::MlpGate);
        let rows: Vec<Vec<f64>> =
            (0..train.len()).map(|case| held(&plain, &train, case, site).pop().unwrap()).collect();
        let own: Vec<bool> = labels.iter().map(|label| *label == class).collect();
        let reads = detector(&rows, &own, 0.0);
        let word = (0..66).find(|id| plain.token(*id).trim() == colour).unwrap() as usize;
        let cases: Vec<usize> =
            (0..test.len()).filter(|case| test.label(*case).unwrap() == Some(class)).collect();
        for strength in STRENGTHS {
            let folder = tempfile::tempdir().unwrap();
            Plant { at, strength, reads: &reads, word }.write(folder.path());
            let subject = mmlens_zoo::open(folder.path(), &device).unwrap();
            let one = test.case(cases[0]).unwrap();
            tried += 1;
            // What it writes: among those whose writing counts most for the case, and its first word.
            let values = ValueVectors::new(value_vectors::Settings::default())
                .unwrap()
                .run(subject.as_ref(), &one)
                .unwrap();
            let axis = &values.table("words").unwrap().axes()[0];
            let place = (0..axis.len()).find(|row| axis.label(*row).unwrap() == at.to_string());
            let says = place
                .map(|row| values.table("words").unwrap().get_text(&[row, 0]).unwrap().trim().to_owned());
            let out = place.map(|row| {
                (numbers(&values, "stands out")[row], numbers(&values, "shuffled stands out")[row])
            });
            let writes =
                says.as_deref() == Some(colour.as_str()) && out.is_some_and(|(own, chance)| own > chance);
            // Among the ten that turn what is seen into the word.
            let seen = MultimodalNeurons::default().run(subject.as_ref(), &one).unwrap();
            let axis = &seen.table("scores").unwrap().axes()[0];
            let rank = (0..axis.len()).find(|row| axis.label(*row).unwrap() == at.to_string());
            let turns = rank.is_some_and(|row| numbers(&seen, "says it")[row] == 1.0);
            // Without it the word loses more than without any of twenty others.
            let (some, chosen) = (test.clone(), cases.clone());
            let own = from_fn("own", cases.len(), move |i: usize| some.case(chosen[i]));
            let settings = group_ablation::Settings { neurons: Some(vec![at]), ..Default::default() };
            let lost = GroupAblation::new(settings)
                .unwrap()
                .run(subject.as_ref(), &ManyCases::over(own).unwrap())
                .unwrap();
            let (change, p) = (numbers(&lost, "mean change")[0], scalar(&lost, "p"));
            let needed = change < 0.0 && p <= 0.05;
            // By the pictures that it fires for, as another model compares them with words.
            let clip = mmlens_zoo::shipped::shapes_clip(&device).unwrap();
            let many = ManyCases::over(test.clone()).unwrap().beside(clip);
            let settings = clip_dissect::Settings {
                words: Some(test.classes().to_vec()),
                part: Some(Part::Text),
                positions: Positions::Last,
                layers: Indices::At(vec![at.layer]),
                top: Some(10),
                ..Default::default()
            };
            let named = ClipDissect::new(settings).unwrap().run(subject.as_ref(), &many).unwrap();
            let called = named.table("words").unwrap().get_text(&[0, neuron, 0]).unwrap().to_owned();
            println!(
                "{seed} {strength} {at} {colour}: writes {says:?} {out:?}; rank {rank:?} {turns}; change {change} p {p}; called {called}"
            );
            let all = [writes, turns, needed, called == colour];
            found.iter_mut().zip(all).for_each(|(count, own)| *count += usize::from(own));
        }
    }
    println!("of {tried}: {found:?}");
    // The neuron of the first seed counts for too little in what the model says to be among those that value vectors and multimodal neurons list,
    // at any of the three strengths; that it is needed, and for which pictures it fires, is found of all.
    assert_eq!((tried, found), (15, [12, 12, 15, 15]));
}
