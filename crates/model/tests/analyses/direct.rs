//! Direct logit attribution: the same numbers as torch, and shares that add up in every decoder.

use burn::tensor::Device;
use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Alteration, Altered, Analysis, Case, Measure, Objective, Part, Plan, Point, Position, Sample, Site,
    Subject,
};
use mmlens_model::direct_logit_attribution::{DirectLogitAttribution, Settings};
use mmlens_testkit::{Oracle, Toy, checkpoint};

use crate::support::{about, llava, named, numbers, question, scalar, total};
use crate::weights::decoders;

fn method(heads: bool, neurons: usize) -> DirectLogitAttribution {
    DirectLogitAttribution::new(Settings { by_head: heads, neurons, ..Settings::default() }).unwrap()
}

#[test]
fn shares_are_those_of_torch() {
    let share = Tolerance::relative(1e-5);
    let check = |what: &str, found: &[f32], wanted: &[f64]| {
        let gap = share.check(what, found, wanted).unwrap();
        println!("{what}: {:.1e}", gap.relative);
    };
    for name in ["llava-a", "gemma2-a", "gpt2-a"] {
        let oracle = Oracle::open(&format!("methods/direct-{name}")).unwrap();
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let case = match name {
            "llava-a" => question(),
            _ => Case::new(Sample::prompt(vec![], oracle.about()["prompt"].as_str().unwrap())),
        };
        let found: Finding =
            DirectLogitAttribution::new(Settings { by_head: true, neurons: 10_000, ..Settings::default() })
                .unwrap()
                .run(subject.as_ref(), &case)
                .unwrap();
        let wanted = |array: &str| oracle.array(array).unwrap().values.clone();
        let target = wanted("target")[0];
        assert_eq!(
            found.provenance.objective.as_deref(),
            Some(format!("logit of token {target} at the last position").as_str())
        );
        let layers: Vec<f64> = wanted("attention")
            .into_iter()
            .zip(wanted("mlp"))
            .flat_map(|(attention, mlp)| [attention, mlp])
            .collect();
        check(&format!("{name}, layers"), numbers(&found, "layers"), &layers);
        check(&format!("{name}, heads"), numbers(&found, "heads"), &wanted("heads"));
        let outside: Vec<f64> = ["embedding", "positions", "norm_bias"]
            .into_iter()
            .filter_map(|array| oracle.array(array).ok().map(|array| array.values[0]))
            .collect();
        check(&format!("{name}, outside"), numbers(&found, "outside the layers"), &outside);
        let ends = [scalar(&found, "logit"), scalar(&found, "objective")];
        check(&format!("{name}, logit"), &ends, &[wanted("logit")[0], wanted("said")[0]]);
        // By name, since the table is sorted by size.
        let table = found.table("neurons").unwrap();
        let neurons = oracle.array("neurons").unwrap();
        let own = table.axes()[0].clone();
        let of = |i: usize| {
            let label = own.label(i).unwrap();
            let (layer, neuron) = label.split_once('.').unwrap();
            let [layer, neuron]: [usize; 2] = [layer, neuron].map(|index| index.parse().unwrap());
            neurons.values[layer * neurons.dims[1] + neuron]
        };
        let wanted: Vec<f64> = (0..table.len()).map(of).collect();
        assert_eq!(table.len(), neurons.values.len());
        check(&format!("{name}, neurons"), table.as_numbers().unwrap(), &wanted);
        let sizes: Vec<f64> = wanted.iter().map(|share| share.abs()).collect();
        assert!(sizes.windows(2).all(|two| two[0] >= two[1] - 1e-6));
    }
}

/// Sums in every decoder, for one logit and a difference of two, at the last position and at another.
#[test]
fn shares_add_up() {
    for (model, subject, sample) in decoders() {
        let last = Objective::logit_difference(5, 9);
        for objective in [last, Objective::Logit { at: Position::At(1), token: 7 }] {
            let name = format!("{model}, {objective}");
            let found =
                method(true, usize::MAX).run(subject.as_ref(), &about(sample.clone(), objective)).unwrap();
            let layers = numbers(&found, "layers");
            let logit = f64::from(scalar(&found, "logit"));
            let scale = layers.iter().map(|share| f64::from(share.abs())).sum::<f64>() + logit.abs();
            let near = |what: &str, a: f64, b: f64| {
                assert!((a - b).abs() <= 1e-5 * scale, "{name}: {what} {a} {b}, of {scale}");
            };
            near("all", total(layers) + total(numbers(&found, "outside the layers")), logit);
            near("gap", f64::from(scalar(&found, "gap")), 0.0);
            let cap = if model.starts_with("gemma2") { 0.0 } else { 1.0 };
            if cap > 0.0 {
                near("said", f64::from(scalar(&found, "objective")), logit);
            }
            let width = found.table("layers").unwrap().shape()[1];
            let of = |layer: usize, component: usize| f64::from(layers[layer * width + component]);
            let bias = |layer: usize, component: usize| {
                found.table("biases").map_or(0.0, |table| f64::from(table.get(&[layer, component]).unwrap()))
            };
            let heads = found.table("heads").unwrap();
            let own = heads.as_numbers().unwrap().chunks(heads.shape()[1]);
            for (layer, heads) in own.enumerate() {
                near("heads", total(heads) + bias(layer, 0), of(layer, 0));
            }
            let neurons = found.table("neurons").unwrap();
            let mut sums = vec![0.0; layers.len() / width];
            for (i, share) in neurons.as_numbers().unwrap().iter().enumerate() {
                let label = neurons.axes()[0].label(i).unwrap();
                sums[label.split_once('.').unwrap().0.parse::<usize>().unwrap()] += f64::from(*share);
            }
            for (layer, sum) in sums.into_iter().enumerate() {
                near("neurons", sum + bias(layer, 1), of(layer, 1));
            }
        }
    }
}

/// What a tower adds behind a block counts at the position of a patch, behind the last block as well.
#[test]
fn what_is_added_behind_a_block_has_its_share() {
    for name in ["qwen3-vl-a", "qwen3-vl-b"] {
        let (_, subject, sample) = decoders().find(|(model, ..)| *model == name).unwrap();
        let inputs = subject.encode(&sample).unwrap();
        let patch = inputs.map().picture(0)[0];
        let objective = Objective::Logit { at: Position::At(patch), token: 7 };
        let found = method(false, 0).run(subject.as_ref(), &about(sample, objective)).unwrap();
        let table = found.table("layers").unwrap();
        assert_eq!(table.axes()[1].label(2).unwrap(), "deepstack");
        assert!(table.as_numbers().unwrap().chunks(3).any(|layer| layer[2] != 0.0), "{name}");
        let (sum, logit) = (
            total(table.as_numbers().unwrap()) + total(numbers(&found, "outside the layers")),
            f64::from(scalar(&found, "logit")),
        );
        let said = f64::from(scalar(&found, "objective"));
        assert!((sum - logit).abs() < 1e-5 * logit.abs().max(1.0), "{name}: {sum} {logit}");
        assert!((said - logit).abs() < 1e-5 * logit.abs().max(1.0), "{name}: {said} {logit}");
    }
}

/// Behind a norm whose scale is held, the logit is affine in each term: without a head, and with the stream's length as it was, the
/// logit is less by the head's share. In a model without norms that needs no holding, and a head of the last layer has no other way.
#[test]
fn a_head_of_the_last_layer_of_the_straight_toy_is_worth_what_it_takes_away() {
    let toy = Toy::straight(4);
    let case = about(Sample::prompt(vec![], "abcd"), Objective::logit(3));
    let found = method(true, 0).run(&toy, &case).unwrap();
    assert_eq!(named(&found), ["layers", "heads", "outside the layers", "logit", "gap", "objective"]);
    let (inputs, objective) = case.open(&toy).unwrap();
    let score = |subject: &dyn Subject| {
        subject.run(&inputs, Plan::new().objective(&objective)).unwrap().scores().unwrap()[0]
    };
    // The MLP behind it reads the head, too; its own share of what the head wrote is what is left.
    for head in 0..2 {
        let edit = format!("text.blocks.1.attn.z[head={head}]=zero");
        let frozen =
            toy.run(&inputs, Plan::new().read(Site::block(Part::Text, 1, Point::MlpOut)).unwrap()).unwrap();
        let mlp = frozen.get(Site::block(Part::Text, 1, Point::MlpOut)).unwrap().clone();
        let held = Alteration::new(
            "text.blocks.1.mlp_out",
            mmlens_core::Region::all(),
            mmlens_core::Change::Set(mlp),
        )
        .unwrap();
        let without = Altered::new(&toy, [Alteration::parse(&edit).unwrap(), held]).unwrap();
        let share = found.table("heads").unwrap().get(&[1, head]).unwrap();
        let drop = score(&toy) - score(&without);
        assert!((share - drop).abs() < 1e-5 && share.abs() > 1e-3, "head {head}: {share} {drop}");
    }
}

#[test]
fn what_is_no_logit_and_what_does_not_add_up_is_refused() {
    let said = |subject: &dyn Subject, method: &DirectLogitAttribution, case: &Case| {
        method.run(subject, case).unwrap_err().to_string()
    };
    let subject = llava("llava-a");
    let all = method(true, 1);
    assert_eq!(
        said(subject, &all, &about(question().sample, Measure::Probability.of(Position::Last, 3))),
        "direct-logit-attribution needs an objective that is a logit, a log-probability, or a difference of two logits, but this one is the \
         probability of token 3 at the last position"
    );
    assert_eq!(
        said(subject, &all, &about(question().sample, Objective::logit(331))),
        "the objective asks for token 331, but the output has 331"
    );
    let altered = |text: &str| Altered::new(subject, [Alteration::parse(text).unwrap()]).unwrap();
    assert_eq!(
        said(&altered("text.final_norm=scale:0.5"), &all, &question()),
        "direct-logit-attribution needs a stream without standing edits, but `text.final_norm` has one"
    );
    assert_eq!(
        said(&altered("text.blocks.1.attn_out=scale:0.5"), &all, &question()),
        "direct-logit-attribution needs heads that add up to what attention writes, or `by_head` = false, but \
         `text.blocks.1.attn_out` has a standing edit"
    );
    assert_eq!(
        said(&altered("text.blocks.1.mlp_out=scale:0.5"), &all, &question()),
        "direct-logit-attribution needs neurons that add up to what the MLP writes, or `neurons` = 0, but \
         `text.blocks.1.mlp_out` has a standing edit"
    );
    // Whole layers are still told apart, and add up to what the altered model says.
    for text in ["text.blocks.1.attn_out=scale:0.5", "text.blocks.1.mlp_out=scale:0.5"] {
        let found = method(false, 0).run(&altered(text), &question()).unwrap();
        let (gap, logit) = (scalar(&found, "gap"), scalar(&found, "logit"));
        assert!(
            gap.abs() < 1e-5 * logit.abs() && (logit - scalar(&found, "objective")).abs() < 1e-4,
            "{text}"
        );
    }
}
