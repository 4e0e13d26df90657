//! Circuits in every kind of decoder: what must hold whatever stands in its blocks.

use burn::tensor::Device;
use mmlens_core::{Analysis, Case, Pair, Part, Picture, Point, Sample, Subject, Words};
use mmlens_engine::{Receiver, Sender};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_rollout::AttentionRollout;
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::path_patching::{self, Frozen, PathPatching, Receivers};
use mmlens_testkit::{checkpoint, picture};

use crate::support::{largest, numbers, scalar, total};

/// GPT-2's joint projections and layer norms, Qwen3's normed heads, windows of attention, one KV head for many.
const WORDS: [&str; 4] = ["gpt2-a", "qwen3-a", "mistral-a", "llama-b"];
/// Tiles; positions in space; what a tower adds after later blocks.
const PICTURES: [&str; 4] = ["llava-next-a", "smolvlm-a", "qwen2-vl-a", "qwen3-vl-a"];
/// A norm after attention and after the MLP.
const NORMED: &str = "gemma2-a";

/// A subject, and a pair of prompts of equal length.
fn opened(name: &str) -> (Box<dyn Subject>, Pair) {
    let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
    if PICTURES.contains(&name) {
        let clean = Picture::open(picture("wide")).unwrap();
        let mut inverted = (*clean.image).clone();
        inverted.invert();
        let corrupted = Picture::new("inverted", inverted);
        let pair =
            Pair { clean: Case::new(Sample::ask(clean, "Red?")), corrupted: Sample::ask(corrupted, "Red?") };
        return (subject, pair);
    }
    let of = |words: &str| Sample::prompt(vec![], words);
    let ids = |words: &str| subject.encode(&of(words)).unwrap().ids.remove(0);
    let clean = ids("It is red.");
    let fits = |words: &&str| ids(words).len() == clean.len() && ids(words) != clean;
    let corrupted = ["Is it red.", "It is bed.", "At is red.", "It is rad.", "It is red!", "It-is red."];
    let corrupted = of(corrupted.into_iter().find(fits).unwrap());
    (subject, Pair { clean: Case::new(of("It is red.")), corrupted })
}

fn blocks(subject: &dyn Subject) -> usize {
    subject.anatomy().iter().find(|a| a.part == Part::Text).unwrap().blocks
}

#[test]
fn edges_add_up_to_their_nodes() {
    for name in WORDS.into_iter().chain(PICTURES) {
        let (subject, pair) = opened(name);
        let settings = edge_attribution::Settings { layers: 2, ..Default::default() };
        let edges = EdgeAttribution::new(settings).unwrap().run(subject.as_ref(), &pair).unwrap();
        let settings = attribution_patching::Settings {
            points: vec![Point::ResidPre, Point::Z, Point::MlpOut, Point::ResidPost],
            ..Default::default()
        };
        let nodes = AttributionPatching::new(settings).unwrap().run(subject.as_ref(), &pair).unwrap();
        let scale = largest(numbers(&edges, "edges"));
        assert!(scale > 0.0, "{name}");
        // all that is written is what the last norm reads
        let streams = nodes.table("resid_post").unwrap();
        let wide = streams.shape()[1];
        let read = total(streams.as_numbers().unwrap().chunks(wide).last().unwrap());
        let told = f64::from(*numbers(&edges, "receivers").last().unwrap());
        assert!((read - told).abs() < 1e-3 * scale, "{name}: {read} {told}");
        let heads = nodes.table("attn.z/heads").unwrap();
        // What a point scores at a layer, at all positions.
        let layer_of = |point: &str, layer: usize| {
            let table = nodes.table(point).unwrap();
            total(table.as_numbers().unwrap().chunks(table.shape()[1]).nth(layer).unwrap())
        };
        let senders = edges.table("senders").unwrap();
        let (mut single, mut mlps, mut inputs) = (0, 0, 0);
        for at in 0..senders.len() {
            let label = senders.axes()[0].label(at).unwrap();
            let node = match label.split_once('.') {
                None => {
                    inputs += 1;
                    assert_eq!(label, "input");
                    layer_of("resid_pre", 0)
                }
                Some((layer, "mlp")) => {
                    mlps += 1;
                    layer_of("mlp_out", layer.parse().unwrap())
                }
                // What a tower adds after a block has no node of its own there.
                Some((_, "deepstack")) => continue,
                Some((layer, head)) => {
                    single += 1;
                    let head = head.strip_prefix('h').unwrap();
                    f64::from(heads.get(&[layer.parse().unwrap(), head.parse().unwrap()]).unwrap())
                }
            };
            let sum = f64::from(senders.get(&[at]).unwrap());
            assert!((node - sum).abs() < 1e-3 * scale, "{name} {label}: {node} {sum}");
        }
        let text = subject.anatomy().iter().find(|a| a.part == Part::Text).unwrap();
        assert_eq!((single, mlps, inputs), (text.blocks * text.heads, text.blocks, 1), "{name}");
    }
}

#[test]
fn the_last_mlp_speaks_to_the_logits_alone() {
    for name in WORDS.into_iter().chain(PICTURES).chain([NORMED]) {
        let (subject, pair) = opened(name);
        let last = blocks(subject.as_ref()) - 1;
        let settings = path_patching::Settings {
            senders: Some(vec![Sender::Mlp { layer: last }]),
            receivers: Receivers::Each(vec![Receiver::Logits, Receiver::Mlp { layer: last }]),
            frozen: Frozen::Corrupted,
            ..Default::default()
        };
        let path = PathPatching::new(settings).unwrap().run(subject.as_ref(), &pair).unwrap();
        let settings = activation_patching::Settings {
            points: vec![Point::MlpOut],
            places: Places::Together,
            ..Default::default()
        };
        let whole = ActivationPatching::new(settings).unwrap().run(subject.as_ref(), &pair).unwrap();
        let (effect, exact) = (numbers(&path, "effect"), numbers(&whole, "mlp_out/effect")[last]);
        assert!((effect[0] - exact).abs() < 1e-4 * exact.abs() + 1e-6, "{name}: {} {exact}", effect[0]);
        assert!(exact != 0.0 && effect[1] == 0.0, "{name}");
        for score in ["clean", "corrupted"] {
            let (path, whole) = (scalar(&path, score), scalar(&whole, score));
            assert!((path - whole).abs() <= 1e-5 * whole.abs(), "{name}: {score} {path} {whole}");
        }
    }
}

/// Shares of all positions of a tower sum to one, wherever it is read: by attention, or at its class token.
#[test]
fn shares_of_a_pooled_tower_sum_to_one() {
    let shown = || vec![Picture::open(picture("wide")).unwrap()];
    let text = || Words::Texts(vec!["Red?".to_owned()]);
    for (name, words) in [("siglip-a", text()), ("clip-a", text()), ("vit-a", Words::Nothing)] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let case = Case::new(Sample::new(shown(), words));
        let found = AttentionRollout::default().run(subject.as_ref(), &case).unwrap();
        let on = total(numbers(&found, "picture through the tower"));
        let sum = on + f64::from(scalar(&found, "outside the patches"));
        assert!(on > 0.0 && (sum - 1.0).abs() < 1e-5, "{name}: {sum}");
    }
}

/// Where patches are merged, they have together what the position that shows them has.
#[test]
fn merged_patches_share_what_their_position_has() {
    for name in ["qwen2-vl-a", "qwen2.5-vl-a", "qwen3-vl-a"] {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let sample = Sample::ask(Picture::open(picture("wide")).unwrap(), "Red?");
        let found = AttentionRollout::default().run(subject.as_ref(), &Case::new(sample)).unwrap();
        let through = total(numbers(&found, "picture through the tower"));
        let shown = total(numbers(&found, "picture"));
        assert!(shown > 0.0 && (through - shown).abs() < 1e-5, "{name}: {through} {shown}");
    }
}

#[test]
fn heads_behind_a_norm_are_not_taken_apart() {
    let (subject, pair) = opened(NORMED);
    let method = EdgeAttribution::new(edge_attribution::Settings::default()).unwrap();
    let said = method.run(subject.as_ref(), &pair).unwrap_err().to_string();
    let start = "edge-attribution needs a decoder whose heads add up to what attention adds to the stream, but in block 0";
    assert!(said.starts_with(start), "{said}");
}
