//! A model with a dictionary: the same to the last bit while nothing is edited, and open to every edit, gradient and method.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Alteration, Altered, Analysis, AnyTensor, Case, Change, Generation, Given, Inputs, Method, Objective, On,
    Plan, Region, Sample, Seed, Site, Subject,
};
use mmlens_engine::dictionary::{Kept, Of, Weights, dictionary_of};
use mmlens_engine::{Dictionary, DictionaryError, WithDictionary, normal};
use mmlens_model::{IntegratedGradients, METHODS, attribution_patching, integrated_gradients};
use mmlens_testkit::{Oracle, Toy, fixtures, subject_breaches};
use serde_json::json;

use crate::support::{llava, numbers, painted, shown, site};

fn drawn(count: usize, seed: u64) -> Vec<f32> {
    (0..count).map(|at| normal(Seed(seed).at(at as u64)) as f32).collect()
}

/// Directions drawn by chance.
pub(crate) fn dictionary(width: usize, features: usize, kept: Kept, at: &str) -> Arc<Dictionary> {
    let weights = Weights {
        width,
        features,
        encoder: drawn(width * features, 1),
        encoder_bias: drawn(features, 2),
        decoder: drawn(width * features, 3),
        decoder_bias: drawn(width, 4),
    };
    let of = Of { site: Some(site(at)), ..Of::default() };
    Arc::new(Dictionary::new(weights, kept, of).unwrap())
}

const STREAM: &str = "text.blocks.1.resid_post";

fn kinds(features: usize) -> [Kept; 3] {
    [Kept::Positive, Kept::Largest(3), Kept::Above(drawn(features, 5).iter().map(|x| x.abs()).collect())]
}

fn toy() -> (Toy, Sample) {
    (Toy::curved(2), Sample::prompt(vec![painted(1)], "#abc"))
}

fn width_of(subject: &dyn Subject, at: &str) -> usize {
    subject.sites().iter().find(|spec| spec.site == site(at)).unwrap().axes.last().unwrap().1.unwrap()
}

/// Models with dictionaries in the language model and in the tower, and a sample of each.
fn decorated() -> Vec<(WithDictionary<Box<dyn Subject>>, Inputs)> {
    let mut all = Vec::new();
    for kept in kinds(10) {
        let (toy, sample) = toy();
        let width = width_of(&toy, STREAM);
        let inputs = toy.encode(&sample).unwrap();
        let toy: Box<dyn Subject> = Box::new(toy);
        all.push((
            WithDictionary::new(toy, dictionary(width, 10, kept, STREAM), None, None).unwrap(),
            inputs,
        ));
    }
    for at in [STREAM, "vision.blocks.0.resid_post", "text.blocks.0.mlp.post"] {
        let subject = llava("llava-a");
        let inputs = subject.encode(&shown(&["square"], "<image>Red?")).unwrap();
        let own = dictionary(width_of(subject, at), 12, Kept::Largest(4), at);
        let subject: Box<dyn Subject> = Box::new(subject);
        all.push((WithDictionary::new(subject, own, None, None).unwrap(), inputs));
    }
    all
}

#[test]
fn its_sites_keep_the_contract_of_subjects() {
    for (subject, inputs) in decorated() {
        let breaches = subject_breaches(&subject, &inputs);
        assert!(breaches.is_empty(), "{subject:?}:\n{}", breaches.join("\n"));
    }
}

fn bits(values: &AnyTensor) -> Vec<u32> {
    // Adding nothing to a zero with a sign takes the sign.
    values.to_values().unwrap().iter().map(|x| (x + 0.0).to_bits()).collect()
}

/// With nothing edited what is said has the same bits, whatever is read and differentiated, and so has the gradient in front.
#[test]
fn nothing_is_changed_while_nothing_is_edited() {
    for (subject, inputs) in decorated() {
        let early: Site = if subject.features().part() == mmlens_core::Part::Vision {
            site("vision.pixels")
        } else {
            site("text.input")
        };
        let bare = Plan::new().objective(Objective::logit(3)).grad(early).unwrap().to_output();
        // The same subject without a plan of its own places passes by them.
        let without = subject.run(&inputs, bare.clone()).unwrap();
        let (features, error) = (subject.features(), subject.error());
        let looked =
            bare.read(features).unwrap().grad(features).unwrap().read(error).unwrap().grad(error).unwrap();
        let with = subject.run(&inputs, looked).unwrap();
        let logits = |trace: &mmlens_core::Trace| bits(trace.output().logits.as_ref().unwrap());
        assert_eq!(logits(&without), logits(&with), "{subject:?}");
        assert_eq!(bits(without.grad(early).unwrap()), bits(with.grad(early).unwrap()), "{subject:?}");
        // The gradient at the features is that at what they miss, by the directions.
        let (at_error, at_features) = (with.grad(error).unwrap(), with.grad(features).unwrap());
        assert!(at_features.to_values().unwrap().iter().any(|x| *x != 0.0));
        assert_eq!(at_error.dims().last(), Some(&subject_width(&subject)));
    }
}

fn subject_width(subject: &dyn Subject) -> usize {
    let error = subject.sites().iter().find(|spec| spec.site.to_string().ends_with("sae.error")).unwrap();
    error.axes.last().unwrap().1.unwrap()
}

fn rows(value: &AnyTensor, width: usize) -> Tensor<2> {
    let values = value.to_values().unwrap();
    let count = values.len() / width;
    Tensor::from_data(TensorData::new(values, [count, width]), &Device::default())
}

/// `x = f W_dec + b_dec + error`; without the error the reconstruction goes on; a feature that is taken away takes its direction along.
#[test]
fn features_and_error_are_what_the_stream_is_made_of() {
    let subject = llava("llava-a");
    let inputs = subject.encode(&shown(&["square"], "<image>Red?")).unwrap();
    let width = width_of(subject, STREAM);
    let own = dictionary(width, 12, Kept::Largest(4), STREAM);
    let with = WithDictionary::new(subject, own.clone(), None, None).unwrap();
    let (features, error) = (with.features(), with.error());
    let plan = Plan::new().read(site(STREAM)).unwrap().read(features).unwrap().read(error).unwrap();
    let trace = with.run(&inputs, plan).unwrap();
    let values = |at: Site| trace.get(at).unwrap().to_values().unwrap();
    let decoded = own.decode(rows(trace.get(features).unwrap(), 12));
    let put = AnyTensor::new(decoded.clone()).to_values().unwrap();
    let sum: Vec<f32> = put.iter().zip(values(error)).map(|(a, b)| a + b).collect();
    // Roundings of a difference and a sum of the largest of them, each half of 1.2e-7 of it, in a sum of twelve products.
    Tolerance::relative(2e-6).check("the sum", &sum, &values(site(STREAM))).unwrap();
    let active = values(features).chunks_exact(12).map(|row| row.iter().filter(|x| **x > 0.0).count()).max();
    assert_eq!(active, Some(4));

    let all = || Region::all();
    let logits = |plan: Plan| {
        with.run(&inputs, plan.to_output()).unwrap().output().logits.clone().unwrap().to_values().unwrap()
    };
    let spliced = logits(Plan::new().change(error, all(), Change::Zero).unwrap());
    let dims = trace.get(site(STREAM)).unwrap().dims();
    let set = AnyTensor::from_values(put, &dims, &Device::default()).unwrap();
    let wanted = logits(Plan::new().set(site(STREAM), set).unwrap());
    // Rounding of the stream, through one block.
    Tolerance::absolute(1e-4).check("the reconstruction goes on", &spliced, &wanted).unwrap();
    assert!(spliced.iter().zip(logits(Plan::new())).any(|(a, b)| (a - b).abs() > 1e-2));

    let one = values(features).chunks_exact(12).next_back().unwrap().iter().position(|x| *x > 0.0).unwrap();
    let edit = format!("{features}[feature={one}]=zero");
    let planned = logits(
        Plan::new().change(features, all().of(mmlens_core::AxisName::Feature, [one]), Change::Zero).unwrap(),
    );
    let altered = Altered::new(&with, [Alteration::parse(&edit).unwrap()]).unwrap();
    let stands =
        altered.run(&inputs, Plan::new()).unwrap().output().logits.clone().unwrap().to_values().unwrap();
    assert_eq!(planned, stands);
    assert_eq!(altered.alterations().len(), 2);
    let much: Vec<f32> = values(features).chunks_exact(12).map(|row| row[one]).collect();
    let direction = &own.weights().decoder[one * width..(one + 1) * width];
    let stream = values(site(STREAM));
    let less: Vec<f32> =
        stream.iter().enumerate().map(|(at, x)| x - much[at / width] * direction[at % width]).collect();
    let less = AnyTensor::from_values(less, &dims, &Device::default()).unwrap();
    let wanted = logits(Plan::new().set(site(STREAM), less).unwrap());
    Tolerance::absolute(1e-4).check("without a feature", &planned, &wanted).unwrap();
}

/// Sessions have the places of the dictionary too: with a feature pushed every step is another, with nothing edited none is.
#[test]
fn answers_are_generated_with_the_features() {
    let subject = llava("llava-a");
    let inputs = subject.encode(&shown(&["square"], "<image>Red?")).unwrap();
    let own = dictionary(width_of(subject, STREAM), 12, Kept::Largest(4), STREAM);
    let with = WithDictionary::new(subject, own.clone(), None, None).unwrap();
    let how = Generation { max_new: 4, ..Generation::default() };
    let said = |subject: &dyn Subject| subject.generate(&inputs, &how).unwrap()[0].clone();
    assert_eq!(format!("{:?}", said(&with)), format!("{:?}", said(subject)));
    let pushed = AnyTensor::from_values(vec![60.0; 12], &[1, 1, 12], &Device::default()).unwrap();
    let edit = Alteration::new(with.features(), Region::all(), Change::Add(pushed.clone())).unwrap();
    let altered = Altered::new(&with, [edit]).unwrap();
    // The same by the sum of the directions, where the model itself has its stream.
    let sum: Vec<f32> = (0..own.width())
        .map(|at| own.weights().decoder.iter().skip(at).step_by(own.width()).sum::<f32>() * 60.0)
        .collect();
    let sum = AnyTensor::from_values(sum, &[1, 1, own.width()], &Device::default()).unwrap();
    let edit = Alteration::new(site(STREAM), Region::all(), Change::Add(sum)).unwrap();
    let other = Altered::new(subject, [edit]).unwrap();
    let (pushed, summed) = (altered.generate(&inputs, &how).unwrap(), other.generate(&inputs, &how).unwrap());
    assert_eq!(pushed[0].tokens, summed[0].tokens);
    assert_ne!(pushed[0].tokens, said(subject).tokens);
}

/// With the error kept, what the features contribute adds up to what becomes of the objective without them.
#[test]
fn integrated_gradients_of_features_are_complete() {
    let subject = llava("llava-a");
    let own = dictionary(width_of(subject, STREAM), 12, Kept::Largest(4), STREAM);
    let with = WithDictionary::new(subject, own, None, None).unwrap();
    let case = Case::new(shown(&["square"], "<image>Red?"));
    let along = json!([{ "site": with.features(), "baseline": { "constant": 0.0 } }]);
    let settings: integrated_gradients::Settings =
        serde_json::from_value(json!({ "along": along, "gap": 1e-4 })).unwrap();
    let finding = IntegratedGradients::new(settings).unwrap().run(&with, &case).unwrap();
    let values = numbers(&finding, "by site");
    let inputs = with.encode(&case.sample).unwrap();
    let (_, objective) = On::new(&with).open(&case).unwrap();
    let score = |plan: Plan| with.run(&inputs, plan.objective(&objective)).unwrap().scores().unwrap()[0];
    let zero = Plan::new().change(with.features(), Region::all(), Change::Zero).unwrap();
    let change = f64::from(score(Plan::new()) - score(zero));
    let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
    assert!(change.abs() > 0.05, "{change}");
    // The panels are halved until they miss a ten-thousandth.
    assert!((sum - change).abs() < 1e-3 * change.abs() + 1e-5, "{sum} {change}");
}

/// Attribution patching at the features gives the gradient there times what differs.
#[test]
fn attribution_patching_reaches_features() {
    let subject = llava("llava-a");
    let own = dictionary(width_of(subject, STREAM), 12, Kept::Largest(4), STREAM);
    let with = WithDictionary::new(subject, own, None, None).unwrap();
    let settings: attribution_patching::Settings = serde_json::from_value(
        json!({ "points": ["resid_post.sae.features", "resid_post.sae.error"], "layers": { "at": [1] } }),
    )
    .unwrap();
    let clean = Case::new(shown(&["square"], "<image>Red?"));
    let given = Given::new(clean.clone()).unwrap().against(shown(&["tall"], "<image>Red?"));
    let method = Method::called(METHODS, "attribution").unwrap();
    let made = method.make(serde_json::to_value(&settings).unwrap()).unwrap();
    let finding = made.run_given(&On::new(&with), &given).unwrap();
    let found: Vec<&str> = crate::support::named(&finding);
    assert!(found.iter().any(|name| name.contains("sae.features")), "{found:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (toy, _) = toy();
    let width = width_of(&toy, STREAM);
    let said = |at: &str, width: usize| {
        let own = dictionary(width, 10, Kept::Positive, STREAM);
        WithDictionary::new(&toy, own, Some(site(at)), None).err().unwrap().to_string()
    };
    assert_eq!(
        said(STREAM, 5),
        format!("`{STREAM}` is [batch, pos, d_model={width}], and the dictionary is of rows of 5 numbers")
    );
    assert!(said("text.blocks.1.attn.pattern", width).contains("attn.pattern` is [batch, head="));
    assert!(said("text.blocks.9.resid_post", width).contains("text.blocks.9.resid_post"));
    let own = dictionary(width, 10, Kept::Positive, STREAM);
    let once = WithDictionary::new(&toy, own.clone(), None, Some(Path::new("a folder/sae"))).unwrap();
    let told = &once.alterations()[0];
    assert_eq!(dictionary_of(told), Some((site(STREAM), "a folder/sae".into(), &own.hash()[..12])));
    let twice = WithDictionary::new(&once, own.clone(), None, None).err().unwrap().to_string();
    assert_eq!(twice, format!("`{STREAM}` cannot have a dictionary: it has one"));
    let behind = WithDictionary::new(&once, own, Some(once.error()), None).err().unwrap().to_string();
    assert!(behind.ends_with("it is a place that stands behind another itself"), "{behind}");

    let weights = |k| {
        let weights = Weights {
            width: 1,
            features: 2,
            encoder: vec![1.0; 2],
            encoder_bias: vec![0.0; 2],
            decoder: vec![1.0; 2],
            decoder_bias: vec![0.0],
        };
        Dictionary::new(weights, Kept::Largest(k), Of::default()).map_err(|error| error.to_string())
    };
    assert_eq!(weights(3).unwrap_err(), "of a dictionary `k` is 3, expected 1 to 2");
    assert!(weights(2).is_ok());
    let nowhere = WithDictionary::new(&toy, Arc::new(weights(2).unwrap()), None, None);
    assert!(matches!(nowhere.err().unwrap(), DictionaryError::NoSite));
}

/// By hand: two features of two numbers. pre = (x - b_dec) W_enc + b_enc.
#[test]
fn features_by_hand() {
    let weights = Weights {
        width: 2,
        features: 3,
        encoder: vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0],
        encoder_bias: vec![0.0, 0.0, -1.0],
        decoder: vec![1.0, 0.0, 0.0, 2.0, 3.0, 4.0],
        decoder_bias: vec![1.0, 0.0],
    };
    let of = |kept: Kept| {
        let own = Dictionary::new(weights.clone(), kept, Of::default()).unwrap();
        // x - b_dec = [2, 2] and [2, -3]: pre = [2, 2, 3] and [2, -3, -2].
        let x = Tensor::from_data(TensorData::new(vec![3.0_f32, 2.0, 3.0, -3.0], [2, 2]), &Device::default());
        let f = own.encode(x).unwrap();
        let put = own.decode(f.clone());
        (AnyTensor::new(f).to_values().unwrap(), AnyTensor::new(put).to_values().unwrap())
    };
    // 2 [1, 0] + 2 [0, 2] + 3 [3, 4] + [1, 0] = [12, 16]; 2 [1, 0] + [1, 0] = [3, 0]
    assert_eq!(of(Kept::Positive), (vec![2.0, 2.0, 3.0, 2.0, 0.0, 0.0], vec![12.0, 16.0, 3.0, 0.0]));
    // Of two that are equal, the first: 2 [1, 0] + 3 [3, 4] + [1, 0] = [12, 12]
    assert_eq!(of(Kept::Largest(2)), (vec![2.0, 0.0, 3.0, 2.0, 0.0, 0.0], vec![12.0, 12.0, 3.0, 0.0]));
    // Above, and not at, the threshold.
    assert_eq!(of(Kept::Above(vec![2.0, 1.5, 0.0])).0, vec![0.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
}

/// What SAELens saved gives what it gives, and is saved again with the same numbers.
#[test]
fn dictionaries_of_saelens_are_read_and_written() {
    let oracle = Oracle::open("methods/sae-lens").unwrap();
    let array = |name: &str| oracle.array(name).unwrap();
    let input = rows(&AnyTensor::from_values(array("rows").f32(), &[7, 4], &Device::default()).unwrap(), 4);
    let folder = tempfile::tempdir().unwrap();
    for kind in ["standard", "topk", "scaled", "jumprelu"] {
        let own = Dictionary::open(fixtures().join("methods/saelens").join(kind)).unwrap();
        assert_eq!(
            (own.width(), own.features(), own.of().site),
            (4, 6, Some(site("text.blocks.1.resid_post")))
        );
        let features = own.encode(input.clone()).unwrap();
        let found = AnyTensor::new(features.clone()).to_values().unwrap();
        // Sums of four products in f32.
        let close = Tolerance::absolute(1e-5);
        let gap = close.check("features", &found, &array(&format!("{kind}.features")).f32()).unwrap();
        let put = AnyTensor::new(own.decode(features)).to_values().unwrap();
        let other = close.check("decoded", &put, &array(&format!("{kind}.decoded")).f32()).unwrap();
        println!("{kind}: features {:.1e}, decoded {:.1e}", gap.absolute, other.absolute);
        let saved = folder.path().join(kind);
        std::fs::create_dir(&saved).unwrap();
        for (name, bytes) in own.files().unwrap() {
            std::fs::write(saved.join(name), bytes).unwrap();
        }
        let again = Dictionary::open(&saved).unwrap();
        assert!(
            *own.weights() == *again.weights() && own.kept() == again.kept() && own.hash() == again.hash()
        );
    }
    let config = folder.path().join("topk/cfg.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let said = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(&config, text.replace(from, to)).unwrap();
        Dictionary::open(folder.path().join("topk")).unwrap_err().to_string()
    };
    assert!(
        said("\"topk\"", "\"gated\"")
            .ends_with("`architecture` is `gated`, and `standard`, `topk` or `jumprelu` is offered")
    );
    assert!(
        said("\"normalize_activations\": \"none\"", "\"normalize_activations\": \"layer_norm\"")
            .ends_with("`normalize_activations` is layer_norm, and `none` is offered")
    );
    assert!(said("\"d_sae\": 6", "\"d_sae\": 5").contains("`W_enc` is [4, 6], expected [4, 5]"));
    assert!(
        said("\"device\": \"cpu\"", "\"finetuning_scaling_factor\": true")
            .contains("`finetuning_scaling_factor` is true")
    );
}
