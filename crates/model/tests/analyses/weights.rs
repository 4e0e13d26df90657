//! Weights by name: what they say of sites holds in every decoder, and gradients made of sites are those of torch.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use mmlens_core::finding::Tolerance;
use mmlens_core::{
    Analysis, AnyTensor, AxisName, Case, Inputs, Objective, Part, Picture, Plan, Point, Port, Position,
    Sample, Site, SiteSpec, Subject, Target, Through, Trace, WeightKind, WeightSpec, Words,
};
use mmlens_engine::{Gain, Projection, folded, is_covered};
use mmlens_model::DirectLogitAttribution;
use mmlens_model::direct_logit_attribution::Settings;
use mmlens_testkit::{Oracle, Toy, checkpoint, picture};

use crate::ears::hum;
use crate::support::{painted, question, scalar, total};

const WORDS: [&str; 10] = [
    "llama-a",
    "llama-b",
    "mistral-a",
    "mistral-b",
    "qwen2-a",
    "qwen3-a",
    "gemma2-a",
    "gemma2-b",
    "gpt2-a",
    "gpt2-old",
];
const PICTURES: [&str; 9] = [
    "llava-a",
    "llava-b",
    "llava-next-a",
    "idefics3-a",
    "smolvlm-a",
    "qwen2-vl-a",
    "qwen2.5-vl-a",
    "qwen3-vl-a",
    "qwen3-vl-b",
];
const SAME: Tolerance = Tolerance::relative(1e-5);

/// A decoder of the zoo, or the toy, and a prompt for it.
pub(crate) fn decoders() -> impl Iterator<Item = (&'static str, Box<dyn Subject>, Sample)> {
    let open = |name: &str| mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
    let shown = |name: &str| {
        let picture = Picture::open(picture("wide")).unwrap();
        match name {
            "llava-a" | "llava-b" => Sample::prompt(vec![picture], "<image>Red?"),
            _ => Sample::ask(picture, "Red?"),
        }
    };
    let toy = ("toy", Box::new(Toy::curved(3)) as Box<dyn Subject>, Sample::prompt(vec![painted(1)], "#abc"));
    let words = WORDS.into_iter().map(move |name| (name, open(name), Sample::prompt(vec![], "It is red.")));
    words.chain(PICTURES.into_iter().map(move |name| (name, open(name), shown(name)))).chain([toy])
}

/// What else the zoo has: encoders, classifiers and dual encoders, models that look from outside and that listen.
fn others() -> impl Iterator<Item = (&'static str, Box<dyn Subject>, Sample)> {
    let seen = |words| Sample::new(vec![Picture::open(picture("wide")).unwrap()], words);
    let one = |text: &str| Words::Texts(vec![text.to_owned()]);
    let heard = |words| Sample::new(Vec::new(), words).with_recordings(vec![hum(0.7)]);
    let samples = [
        ("clip-a", seen(one("a red square"))),
        ("siglip-a", seen(one("a red square"))),
        ("vit-a", seen(Words::Nothing)),
        ("bert-a", Sample::prompt(vec![], "It is red.")),
        ("bert-b", Sample::prompt(vec![], "It is red.")),
        ("blip-a", seen(Words::Prompt("It is".to_owned()))),
        ("blip-qa", seen(Words::Question("Is it red?".to_owned()))),
        ("blip-itm", seen(one("a red square"))),
        ("whisper-a", heard(Words::Nothing)),
        ("qwen2-audio-a", heard(Words::Question("What is it?".to_owned()))),
    ];
    let open = |name: &str| mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
    samples.into_iter().map(move |(name, sample)| (name, open(name), sample))
}

/// The places a weight names.
fn ports(spec: &WeightSpec) -> impl Iterator<Item = &Port> {
    spec.reads.iter().chain(&spec.writes)
}

/// A pass that read all the places that weights name, and where the words or patches of their parts enter, to which tables are added.
fn read(subject: &dyn Subject, inputs: &Inputs) -> Trace {
    let mut sites: BTreeSet<Site> = subject.weights().iter().flat_map(ports).map(|port| port.site).collect();
    let enters: Vec<Site> = sites.iter().map(|site| Site::of(site.part(), Point::Embed)).collect();
    sites.extend(enters.into_iter().filter(|site| SiteSpec::among(subject.sites(), *site).is_ok()));
    let plan = sites.into_iter().fold(Plan::new(), |plan, site| plan.read(site).unwrap());
    subject.run(inputs, plan).unwrap()
}

#[test]
fn what_is_written_is_what_is_read_times_the_weight() {
    let (mut products, mut gains, mut biases, mut tables) = (0, 0, 0, 0);
    for (model, subject, sample) in decoders().chain(others()) {
        let inputs = subject.encode(&sample).unwrap().all_logits();
        let trace = read(subject.as_ref(), &inputs);
        let mut names = BTreeSet::new();
        for spec in subject.weights() {
            let at = format!("{model}: `{}`", spec.name);
            assert!(names.insert(&spec.name), "{at} twice");
            let weight = subject.weight(&spec.name).unwrap();
            assert_eq!(weight.dims(), spec.dims(), "{at}");
            let compared = match (spec.kind, &spec.reads, &spec.writes) {
                (WeightKind::Product { .. }, Some(reads), Some(writes)) => {
                    let projection = Projection::of(subject.as_ref(), &spec.name).unwrap();
                    products += 1;
                    Some((projection.apply(trace.get(reads.site).unwrap()).unwrap(), writes.site))
                }
                (WeightKind::Gain { .. }, Some(reads), Some(writes)) => {
                    let x = trace.get(reads.site).unwrap().clone();
                    let [b, p, d] = x.dims()[..] else { panic!("{at}") };
                    let x: Tensor<2> = x.rank_of::<3>(reads.site).unwrap().reshape([b * p, d]);
                    let y = Gain::of(subject.as_ref(), &spec.name).unwrap().apply(x);
                    gains += 1;
                    Some((y.reshape([b, p, d]).into(), writes.site))
                }
                (WeightKind::Bias, None, _) => {
                    let own = spec.name.strip_suffix(".bias").unwrap();
                    let owner = subject.weights().iter().find(|other| other.name == own).unwrap();
                    assert_eq!(spec, &owner.bias(), "{at}");
                    biases += 1;
                    None
                }
                (WeightKind::Table, None, Some(writes)) => {
                    tables += 1;
                    row(subject.as_ref(), &trace, (&weight, writes), &inputs, &at);
                    None
                }
                // What lies between the products of a head of words is at no site, nor is the one position that is pooled.
                (WeightKind::Product { .. }, ..) => {
                    let within = ["text.head.dense", "text.unembed", "text.pooler"];
                    assert!(within.contains(&spec.name.as_str()) && model.starts_with('b'), "{at}");
                    None
                }
                // What a norm in front of a product gives, and one behind it is given, is no site.
                (WeightKind::Gain { .. }, ..) => None,
                other => panic!("{at}: {other:?}"),
            };
            if let Some((made, site)) = compared {
                let found = trace.get(site).unwrap();
                // A vector for a whole input has one position, or none that is named.
                let named = |dims: Vec<usize>| match dims[..] {
                    [rows, 1, width] => vec![rows, width],
                    _ => dims,
                };
                assert_eq!(named(made.dims()), named(found.dims()), "{at}");
                SAME.check(&at, &made.to_values().unwrap(), &found.to_values().unwrap()).unwrap();
            }
            if let Some(other) = &spec.tied {
                let other = subject.weight(other).unwrap().to_values().unwrap();
                assert_eq!(weight.to_values().unwrap(), other, "{at}");
            }
        }
        // Every output and input projection of every block of every part is there.
        let parts = subject.anatomy().iter().filter(|_| model != "toy");
        for (part, block) in parts.flat_map(|own| (0..own.blocks).map(|block| (own.part, block))) {
            let site = |point| Site::block(part, block, point);
            let pairs = [
                (Point::ResidPre, Point::Q),
                (Point::ResidPre, Point::K),
                (Point::ResidPre, Point::V),
                (Point::Z, Point::AttnOut),
                (Point::MlpIn, Point::MlpPre),
                (Point::MlpPost, Point::MlpOut),
            ];
            for (from, to) in pairs {
                let found = Projection::between(subject.as_ref(), site(from), site(to)).unwrap();
                assert!(found.is_some(), "{model}: {} to {}", site(from), site(to));
            }
        }
        // What carries features into the language model is covered from end to end.
        let connects = |spec: &SiteSpec| spec.site.part() == Part::Connector;
        if model != "toy" && subject.sites().iter().any(connects) {
            let single = ["idefics3-a", "smolvlm-a", "qwen2-audio-a"].contains(&model);
            let wanted = if single { &["projection"][..] } else { &["up", "down"] };
            for name in wanted.iter().map(|name| format!("connector.{name}")) {
                let spec = subject.weights().iter().find(|spec| spec.name == name);
                assert!(spec.is_some_and(is_covered), "{model}: {name}");
            }
        }
    }
    println!("{products} products, {gains} norms, {biases} biases, {tables} tables");
    assert!(products > 600 && gains > 40 && biases > 150 && tables > 30);
}

/// The rows of a table stand at the position of a word: the token's where words enter, the position's where positions are added.
fn row(
    subject: &dyn Subject,
    trace: &Trace,
    (table, writes): (&AnyTensor, &Port),
    inputs: &Inputs,
    at: &str,
) {
    let part = writes.site.part();
    let [embed, input] = [Point::Embed, Point::Input].map(|point| Site::of(part, point));
    let last = trace.get(embed).unwrap().dims()[1] - 1;
    let state = |site: Site| trace.get(site).unwrap().part(1, last, 1).unwrap().to_values().unwrap();
    let row = |table: &AnyTensor, index: usize| table.rows(index, 1).unwrap().to_values().unwrap();
    let sum = |x: &[f32], y: &[f32]| -> Vec<f32> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
    let called = |name: &str| format!("{}.{name}", part.name());
    let shown = |name: &str| subject.weights().iter().any(|spec| spec.name == called(name));
    let wanted = match (writes.site == embed, &writes.through) {
        (true, through) => {
            let scale = match through {
                Some(Through::Scale(by)) => *by,
                None => 1.0,
                other => panic!("{at}: {other:?}"),
            };
            // An answer to a question begins with a token of its own.
            let ids = &inputs.ids[0];
            let own = ids.get(last).filter(|_| ids.len() == last + 1);
            let id = own.copied().unwrap_or_else(|| {
                let found = state(embed);
                (0..table.dims()[0] as u32).find(|id| row(table, *id as usize) == found).expect(at)
            });
            row(table, id as usize).iter().map(|x| x * scale).collect()
        }
        (false, None) => sum(&state(embed), &row(table, last)),
        // All tables of the part together, then the norm.
        (false, Some(Through::Norm(name))) => {
            let mut x = sum(&state(embed), &row(&subject.weight(&called("positions")).unwrap(), last));
            if shown("types") {
                x = sum(&x, &row(&subject.weight(&called("types")).unwrap(), 0));
            }
            let x = Tensor::<1>::from_floats(x.as_slice(), &Device::default()).unsqueeze::<2>();
            AnyTensor::new(Gain::of(subject, name).unwrap().apply(x)).to_values().unwrap()
        }
        other => panic!("{at}: {other:?}"),
    };
    let site = if writes.site == embed { embed } else { input };
    SAME.check(at, &state(site), &wanted).unwrap();
}

/// The head of words of BERT and BLIP: a product, the nonlinearity, a norm, and the unembedding, by the weights that are shown of it.
#[test]
fn a_head_of_words_is_made_of_what_is_shown_of_it() {
    for (name, subject, sample) in
        others().filter(|(name, ..)| ["bert-a", "blip-a", "blip-qa"].contains(name))
    {
        let [normed, logits] = [Point::FinalNorm, Point::Logits].map(|point| Site::of(Part::Text, point));
        let inputs = subject.encode(&sample).unwrap().all_logits();
        let plan = Plan::new().read(normed).unwrap().read(logits).unwrap();
        let trace = subject.run(&inputs, plan).unwrap();
        let weight = |name: &str| -> Tensor<2> { subject.weight(name).unwrap().rank_of(name).unwrap() };
        let bias = |name: &str| -> Tensor<2> {
            subject.weight(name).unwrap().rank_of::<1>(name).unwrap().unsqueeze()
        };
        let x: Tensor<3> = trace.get(normed).unwrap().clone().rank_of(normed).unwrap();
        let [_, positions, d] = x.dims();
        let vocab = weight("text.unembed").dims()[0];
        let x = x.reshape([positions, d]).matmul(weight("text.head.dense").transpose());
        let x = x + bias("text.head.dense.bias");
        let x = match name {
            // `gelu_new`: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
            "blip-qa" => {
                let inner =
                    (x.clone() + x.clone().powi_scalar(3) * 0.044715) * std::f32::consts::FRAC_2_PI.powf(0.5);
                x * 0.5 * (inner.tanh() + 1.0)
            }
            _ => burn::tensor::activation::gelu(x),
        };
        let x = Gain::of(subject.as_ref(), "text.head.norm").unwrap().apply(x);
        let x = x.matmul(weight("text.unembed").transpose()) + bias("text.unembed.bias");
        assert_eq!(x.dims(), [positions, vocab]);
        let found = AnyTensor::new(x).to_values().unwrap();
        let wanted = trace.get(logits).unwrap().to_values().unwrap();
        // Sums of a hidden width, twice, in another order.
        Tolerance::either(1e-4, 1e-5).check(name, &found, &wanted).unwrap();
    }
}

/// Of a caption the shares of its tower add up to how well it fits, of a difference of two captions with a constant.
#[test]
fn the_tower_of_a_caption_is_shared_out() {
    for name in ["clip-a", "siglip-a"] {
        let (_, subject, sample) = others().find(|(own, ..)| *own == name).unwrap();
        let other =
            subject.encode(&Sample::captions(Picture::open(picture("wide")).unwrap(), ["a"])).unwrap();
        let other = subject.run(&other, Plan::new().to_output()).unwrap();
        let other = other.output().pairs.as_ref().unwrap().texts.to_values().unwrap();
        for objective in [Objective::Similarity, Objective::Cosine, Objective::Against { other }] {
            let settings = Settings { part: Some(Part::Text), ..Settings::default() };
            let case = Case { sample: sample.clone(), target: Target::Objective(objective.clone()) };
            let method = DirectLogitAttribution::new(settings).unwrap();
            let found = method.run(subject.as_ref(), &case).unwrap();
            let all = |table: &str| total(found.table(table).unwrap().as_numbers().unwrap());
            let said = f64::from(scalar(&found, "objective"));
            let sum = all("layers") + all("outside the layers");
            assert!((sum - said).abs() < 1e-4 * said.abs().max(1.0), "{name}, {objective}: {sum} {said}");
            assert!(all("layers").abs() > 1e-3, "{name}, {objective}");
        }
    }
}

#[test]
fn gradients_of_weights_are_those_of_torch() {
    let mut compared = 0;
    for name in ["llava-a", "gemma2-a", "gpt2-a"] {
        let oracle = Oracle::open(&format!("methods/weight-gradients-{name}")).unwrap();
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        let sample = match name {
            "llava-a" => question().sample,
            _ => Sample::prompt(vec![], oracle.about()["prompt"].as_str().unwrap()),
        };
        let inputs = subject.encode(&sample).unwrap();
        let target = oracle.array("target").unwrap().ids()[0];
        for (weight, wanted) in
            oracle.arrays().filter(|(name, _)| *name != "target" && !name.ends_with(".bias"))
        {
            let projection = Projection::of(subject.as_ref(), weight).unwrap();
            let (reads, writes) =
                (projection.spec().reads.clone().unwrap(), projection.spec().writes.clone().unwrap());
            let plan = Plan::new().read(reads.site).unwrap().grad(writes.site).unwrap();
            let trace = subject.run(&inputs, plan.objective(Objective::logit(target))).unwrap();
            let found = projection.gradient(&trace).unwrap();
            let mut dims = projection.spec().dims();
            dims.insert(0, 1);
            assert_eq!(found.weight.dims(), dims, "{name} {weight}");
            let own = found.weight.to_values().unwrap();
            let gap = Tolerance::relative(1e-4)
                .check(&format!("{name} {weight}"), &own[..wanted.values.len()], &wanted.values)
                .unwrap();
            println!("{name} {weight}: {:.1e}", gap.relative);
            if let Ok(wanted) = oracle.array(&format!("{weight}.bias")) {
                let own = found.bias.to_values().unwrap();
                Tolerance::relative(1e-4)
                    .check(&format!("{name} {weight}.bias"), &own, &wanted.values)
                    .unwrap();
                compared += 1;
            }
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared}");
}

/// The logit `c tanh(u . x / c)` has the gradient `(1 - (logit / c)^2) x` along `u`, and nothing along the other words.
#[test]
fn the_gradient_of_an_unembedding_goes_through_its_cap() {
    let subject = mmlens_zoo::open(checkpoint("gemma2-a"), &Device::default()).unwrap();
    let inputs = subject.encode(&Sample::prompt(vec![], "It is red.")).unwrap().all_logits();
    let projection = Projection::of(subject.as_ref(), "text.unembed").unwrap();
    let [normed, logits] = [Point::FinalNorm, Point::Logits].map(|point| Site::of(Part::Text, point));
    let Some(Through::Cap(cap)) = projection.spec().writes.clone().unwrap().through else { panic!() };
    let objective = Objective::Logit { at: Position::At(2), token: 7 };
    let plan = Plan::new().read(normed).unwrap().grad(logits).unwrap().objective(objective);
    let trace = subject.run(&inputs, plan).unwrap();
    let logit = trace.scores().unwrap()[0];
    let x = trace.get(normed).unwrap().part(1, 2, 1).unwrap().to_values().unwrap();
    let wanted: Vec<f32> = x.iter().map(|x| x * (1.0 - (logit / cap).powi(2))).collect();
    let found = projection.gradient(&trace).unwrap().weight.to_values().unwrap();
    let width = x.len();
    SAME.check("the row", &found[7 * width..8 * width], &wanted).unwrap();
    let rest = found.iter().enumerate().filter(|(i, _)| i / width != 7);
    assert!(rest.clone().count() > 0 && rest.into_iter().all(|(_, grad)| *grad == 0.0));
}

/// Several rows have a gradient each.
#[test]
fn every_row_has_the_gradient_it_has_alone() {
    let toy = Toy::curved(5);
    let name = "text.blocks.0.mlp.up";
    let projection = Projection::of(&toy, name).unwrap();
    let (reads, writes) =
        (projection.spec().reads.clone().unwrap(), projection.spec().writes.clone().unwrap());
    let gradient = |inputs: &Inputs| {
        let plan = Plan::new().read(reads.site).unwrap().grad(writes.site).unwrap();
        let trace = toy.run(inputs, plan.objective(Objective::logit(4))).unwrap();
        projection.gradient(&trace).unwrap()
    };
    let of = |words: &str| toy.encode(&Sample::prompt(vec![], words)).unwrap();
    let (one, other) = (of("abc"), of("bdf"));
    let both = gradient(&Inputs::batch(&[one.clone(), other.clone()], toy.pad()).unwrap());
    let rows: Tensor<2> = folded(both.weight).unwrap();
    for (row, alone) in [one, other].iter().enumerate() {
        let own = AnyTensor::new(rows.clone().narrow(0, row, 1)).to_values().unwrap();
        SAME.check(name, &own, &gradient(alone).weight.to_values().unwrap()).unwrap();
    }
}

#[test]
fn what_is_not_there_is_named() {
    let toy = Toy::curved(1);
    assert_eq!(
        toy.weight("text.blocks.1.attn.out").unwrap_err().to_string(),
        "`curved toy` publishes no weight `text.blocks.1.attn.out` (did you mean `text.blocks.1.attn.o`?)"
    );
    assert_eq!(
        Projection::of(&toy, "text.embed").unwrap_err().to_string(),
        "`curved toy` does not offer a product between two sites under the name `text.embed`"
    );
    let spec = toy.weights().iter().find(|spec| spec.name == "text.blocks.0.attn.o").unwrap();
    assert_eq!(spec.axes, [(AxisName::DModel, 6), (AxisName::Head, 2), (AxisName::DHead, 3)]);
    let short = AnyTensor::from_values(vec![0.0; 6], &[1, 1, 6], &Device::default()).unwrap();
    let said = Projection::of(&toy, "text.blocks.0.attn.o").unwrap().apply(&short).unwrap_err().to_string();
    assert!(said.contains("[2, 3]"), "{said}");
    // A stream that is no running sum, whatever it shows.
    let blip = mmlens_zoo::open(checkpoint("blip-a"), &Device::default()).unwrap();
    let sample = Sample::prompt(vec![Picture::open(picture("wide")).unwrap()], "Red");
    let said =
        DirectLogitAttribution::default().run(blip.as_ref(), &Case::new(sample)).unwrap_err().to_string();
    assert!(said.starts_with("direct-logit-attribution needs "), "{said}");
}
