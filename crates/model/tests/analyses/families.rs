//! Circuits in every kind of decoder: what must hold whatever stands in its blocks.

use burn::tensor::Device;
use mmlens_core::finding::Labels;
use mmlens_core::{
    Analysis, AnyTensor, Baseline, Case, Inputs, Pair, Part, Picture, Plan, Point, Sample, Subject, Words,
};
use mmlens_engine::{Receiver, Sender};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::attention_rollout::AttentionRollout;
use mmlens_model::attribution_patching::{self, AttributionPatching};
use mmlens_model::edge_attribution::{self, EdgeAttribution};
use mmlens_model::kernel_shap::{self, KernelShap};
use mmlens_model::occlusion::{self, Cover, Each, Occlusion};
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
    let ids = |words: &str| subject.encode(&of(words)).unwrap().ids.concat();
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
        let settings = edge_attribution::Settings { blocks: 2, ..Default::default() };
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
    let wanted = "edge-attribution needs heads whose output is added to the stream as it is, but a norm follows the sum of its heads";
    assert_eq!(said, wanted);
}

/// The pixels of a sample, those whose middle lies in a box on the original at zero: by hand, in tiles and in patches.
fn hidden(inputs: &Inputs, [x0, y0, x1, y1]: [f32; 4]) -> (Inputs, usize) {
    let (map, pixels) = (inputs.map(), inputs.seen.values.as_ref().unwrap());
    let (dims, mut values) = (pixels.dims(), pixels.to_values().unwrap());
    let mut count = 0;
    let mut within = |view: usize, row: usize, col: usize| {
        let ([top, bottom], [left, right]) = (map.views[view].rows[row], map.views[view].cols[col]);
        let (y, x) = ((top + bottom) / 2.0, (left + right) / 2.0);
        let inside = top < bottom && left < right && y0 <= y && y < y1 && x0 <= x && x < x1;
        count += usize::from(inside);
        inside
    };
    match *dims {
        [entries, channels, height, width] => {
            for (entry, row, col) in (0..entries).flat_map(|entry| {
                (0..height).flat_map(move |row| (0..width).map(move |col| (entry, row, col)))
            }) {
                if within(entry, row, col) {
                    for channel in 0..channels {
                        values[((entry * channels + channel) * height + row) * width + col] = 0.0;
                    }
                }
            }
        }
        [patches, each] => {
            let side = map.views[0].rows.len() / inputs.seen.grids[0].rows;
            for (patch, label) in map.patches.iter().enumerate().take(patches) {
                for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
                    if within(0, label.row * side + y, label.col * side + x) {
                        for deep in 0..each / (side * side) {
                            values[patch * each + (deep * side + y) * side + x] = 0.0;
                        }
                    }
                }
            }
        }
        _ => panic!("{dims:?}"),
    }
    let pixels = Some(AnyTensor::from_values(values, &dims, &Device::default()).unwrap());
    (inputs.clone().with(|batch| batch.seen.values = pixels).unwrap(), count)
}

/// One map on the original, whether a model is given tiles or patches in sequence; every cell is a pass without its pixels.
#[test]
fn cells_are_hidden_wherever_a_tower_is_given_them() {
    for name in PICTURES {
        let (subject, pair) = opened(name);
        let subject = subject.as_ref();
        let (inputs, objective) = pair.clean.open(subject).unwrap();
        let score = |inputs: &Inputs| {
            subject.run(inputs, Plan::new().objective(&objective)).unwrap().scores().unwrap()[0]
        };
        let (whole, all) = (score(&inputs), hidden(&inputs, [0.0, 0.0, 1e6, 1e6]).1);
        let settings = occlusion::Settings {
            picture: Some(Cover::Grid { rows: 2, cols: 3 }),
            pixels: Baseline::Zero,
            words: None,
            rows: 4,
            ..Default::default()
        };
        let found = Occlusion::new(settings).unwrap().run(subject, &pair.clean).unwrap();
        let table = found.table("picture").unwrap();
        assert_eq!(table.shape(), [2, 3], "{name}");
        let spans = |axis: usize| match &table.axes()[axis].labels {
            Labels::Spans { image: 0, spans, .. } => spans.clone(),
            other => panic!("{name}: {other:?}"),
        };
        let mut seen = 0;
        for (row, [y0, y1]) in spans(0).into_iter().enumerate() {
            for (col, [x0, x1]) in spans(1).into_iter().enumerate() {
                let (inputs, count) = hidden(&inputs, [x0, y0, x1, y1]);
                let (drop, wanted) = (table.get(&[row, col]).unwrap(), whole - score(&inputs));
                assert!(
                    count > 0 && (drop - wanted).abs() < 1e-4 * whole.abs().max(1.0),
                    "{name}: {drop} {wanted}"
                );
                assert!(drop != 0.0, "{name}");
                seen += count;
            }
        }
        assert_eq!(seen, all, "{name}: every pixel lies in one cell");
    }
}

/// Patches, segments, whole pictures and words of every family as players: shares add up, and one player has all.
#[test]
fn shares_of_every_family_add_up() {
    for name in PICTURES {
        let (subject, pair) = opened(name);
        let run = |settings: kernel_shap::Settings| {
            KernelShap::new(settings).unwrap().run(subject.as_ref(), &pair.clean).unwrap()
        };
        let base = || kernel_shap::Settings { samples: 40, words: None, ..Default::default() };
        for (picture, words) in [
            (Cover::Grid { rows: 2, cols: 2 }, true),
            (Cover::Slic { segments: 5, compactness: 10.0 }, false),
            (Cover::Whole, true),
        ] {
            let words = kernel_shap::Settings::default().words.filter(|_| words);
            let found = run(kernel_shap::Settings { picture: Some(picture), words, ..base() });
            let shares = ["picture", "tokens"].into_iter().filter_map(|table| found.table(table).ok());
            let sum: f64 = shares.map(|table| total(table.as_numbers().unwrap())).sum();
            let (to, from) = (scalar(&found, "objective"), scalar(&found, "objective of nothing"));
            let gap = (sum - f64::from(to - from)).abs();
            assert!(gap < 1e-5 * f64::from(to.abs()).max(1.0), "{name} {picture:?}: {sum} {to} {from}");
            assert!(largest(numbers(&found, "picture")) > 0.0, "{name} {picture:?}");
        }
        // The whole as one player: its share is its drop.
        let settings = occlusion::Settings {
            picture: Some(Cover::Whole),
            words: None,
            each: Each::All,
            ..Default::default()
        };
        let drop = Occlusion::new(settings).unwrap().run(subject.as_ref(), &pair.clean).unwrap();
        let share = run(kernel_shap::Settings { picture: Some(Cover::Whole), ..base() });
        let (drop, share) = (numbers(&drop, "picture")[0], numbers(&share, "picture")[0]);
        assert!((drop - share).abs() < 1e-4 * drop.abs().max(1.0), "{name}: {drop} {share}");
        // A patch at a time, as many as positions show.
        let settings =
            occlusion::Settings { picture: Some(Cover::Patches), words: None, ..Default::default() };
        let found = Occlusion::new(settings).unwrap().run(subject.as_ref(), &pair.clean).unwrap();
        let Labels::Patches(patches) = &found.table("picture").unwrap().axes()[0].labels else {
            panic!("{name}: no patches")
        };
        let shown = subject.encode(&pair.clean.sample).unwrap();
        let shown = shown.map().tokens.iter().filter(|token| token.patch.is_some()).count();
        assert_eq!(patches.len(), shown, "{name}");
    }
}
