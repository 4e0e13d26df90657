//! Objectives that are no token's logit: phrases, what sites hold, sums. Every method explains them, or says that it does not.

use burn::tensor::activation::log_softmax;
use mmlens_core::finding::{Finding, Tolerance, Unit};
use mmlens_core::{
    Analysis, AnyTensor, AxisName, Baseline, Capability, Case, Change, Custom, Form, Given, Measure, Method,
    Moved, Objective, On, Picture, Plan, Position, Reading, Region, Reply, Sample, Subject, Words, rerun,
};
use mmlens_engine::{End, Positions};
use mmlens_model::METHODS;
use mmlens_model::integrated_gradients::{self, IntegratedGradients};
use mmlens_model::occlusion::{self, Occlusion};
use mmlens_testkit::{Toy, analysis_breaches, checkpoint, picture};

use crate::support::{about, llava, many, numbers, painted, scalar, settings, shown, site, total};

const ROUNDING: Tolerance = Tolerance::either(2e-6, 1e-5);

fn neuron(place: &str, neuron: usize, position: usize) -> Objective {
    let region = Region::all().neurons([neuron]).positions([position]);
    Reading::at(site(place)).within(region).into()
}

/// Objectives of a prompt, those that no position of the output alone decides among them.
fn objectives(subject: &dyn Subject, sample: &Sample) -> Vec<(&'static str, Objective)> {
    let inputs = subject.encode(sample).unwrap();
    let (ids, last) = (inputs.ids[0].clone(), inputs.positions() - 1);
    let span = Objective::span(last - 1, ids[last - 1..].to_vec());
    // The toy has no blocks in its tower.
    let tower = site("vision.blocks.1.mlp.post");
    let seen = match subject.sites().iter().any(|spec| spec.site == tower) {
        true => neuron("vision.blocks.1.mlp.post", 3, 1),
        false => {
            let out = Reading::at(site("connector.out"));
            out.within(Region::all().positions([1]).of(AxisName::DModel, [2])).into()
        }
    };
    vec![
        ("probability", Objective::Probability { at: Position::Last, token: 4 }),
        ("phrase", span.clone()),
        ("neuron", neuron("text.blocks.1.mlp.post", 2, last)),
        ("early neuron", neuron("text.blocks.0.mlp.post", 1, last - 1)),
        ("neuron of the tower", seen),
        ("sum", Objective::Sum(vec![(1.0, span), (-2.0, neuron("text.blocks.1.mlp.post", 0, last))])),
    ]
}

/// Methods that explain something of a case, of a model of words.
fn of_a_case() -> impl Iterator<Item = &'static Method> {
    let words = |method: &&Method| !method.card.needs.contains(&Capability::SharedSpace);
    METHODS.iter().filter(|method| method.form != Form::ManyCases).filter(words)
}

/// Methods that say no to some of them, and to which.
const REFUSED: [(&str, &[&str], &str); 14] = [
    (
        "logit-lens",
        &["neuron", "early neuron", "neuron of the tower", "sum"],
        "an objective that names tokens",
    ),
    (
        "direct-logit-attribution",
        &["probability", "neuron", "early neuron", "neuron of the tower", "sum"],
        "an objective that is a logit",
    ),
    ("value-vectors", &["neuron", "early neuron", "neuron of the tower"], "an objective that looks at"),
    (
        "multimodal-neurons",
        &["probability", "neuron", "early neuron", "neuron of the tower", "sum"],
        "an objective that",
    ),
    ("attention-rollout", &["neuron", "early neuron", "neuron of the tower"], "an objective that looks at"),
    ("attention-relevance", &["neuron", "early neuron", "neuron of the tower"], "an objective that looks at"),
    // What leaves the tower comes behind its neurons.
    ("grad-cam", &["neuron of the tower"], ""),
    ("attention-maps", &["neuron", "early neuron", "neuron of the tower"], "an objective that looks at"),
    ("head-measures", &["neuron", "early neuron", "neuron of the tower"], "an objective that looks at"),
    (
        "attention-knockout",
        &["neuron", "early neuron", "neuron of the tower"],
        "an objective that looks at positions",
    ),
    // Behind what is looked at nothing has an effect.
    ("attribution-patching", &["neuron", "early neuron", "neuron of the tower"], "no gradient reached"),
    ("edge-attribution", &["neuron", "early neuron", "neuron of the tower"], ""),
    ("causal-tracing", &["neuron", "early neuron", "neuron of the tower"], "two samples that"),
    ("path-patching", &["neuron", "early neuron", "neuron of the tower", "sum"], "where this pass resumes"),
];

#[test]
fn every_method_explains_them_or_says_that_it_does_not() {
    let toy = Toy::curved(3);
    let of = |picture: u32, words: &str| Sample::prompt(vec![painted(picture)], words);
    let on_toy: (&dyn Subject, _, _) = (&toy, of(1, "#abc"), of(2, "#xbz"));
    let on_llava: (&dyn Subject, _, _) =
        (llava("llava-a"), shown(&["square"], "<image>Red?"), shown(&["tall"], "<image>Red?"));
    let mut explained = 0;
    for (subject, clean, corrupted) in [on_toy, on_llava] {
        for (name, objective) in objectives(subject, &clean) {
            let given = Given::new(about(clean.clone(), objective.clone())).unwrap();
            let given = given.against(corrupted.clone()).over(many(&clean));
            let probe = subject.encode(&clean).unwrap();
            for method in of_a_case() {
                let made = method.make(settings(method).swap_remove(0)).unwrap();
                let what = format!("{} of a {name} on {}", method.card.id, subject.name());
                let refused = REFUSED.iter().find(|(id, ..)| *id == method.card.id);
                let refused = refused.filter(|(_, names, _)| names.contains(&name)).map(|(.., why)| *why);
                match (made.run_given(&On::new(subject), &given), refused) {
                    (Ok(found), _) => {
                        let told = &found.provenance.objective;
                        // What is read out directly are the logits of it.
                        let direct = method.card.id == "direct-logit-attribution";
                        let own = objective.to_string();
                        let own = if direct { own.replace("log-probability", "logit") } else { own };
                        assert!(told.as_ref().is_none_or(|told| *told == own), "{told:?}");
                        let breaches = analysis_breaches(made.as_ref(), subject, &given, &probe);
                        assert!(breaches.is_empty(), "{what}:\n{}", breaches.join("\n"));
                        explained += 1;
                    }
                    (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{what}: {error}"),
                    (Err(error), None) => panic!("{what}: {error}"),
                }
            }
        }
    }
    assert!(explained > 80, "{explained}");
}

/// What tokens have behind what stands before them, from the logits of one pass.
#[test]
fn a_phrase_is_its_tokens_one_after_the_other() {
    let subject = llava("llava-a");
    let inputs = subject.encode(&shown(&["square"], "<image>Red?")).unwrap().all_logits();
    let (ids, end) = (inputs.ids[0].clone(), inputs.positions());
    let output = subject.run(&inputs, Plan::new()).unwrap();
    let logits = output.output().logits.clone().unwrap().rank_of::<3>("logits").unwrap();
    let host = |x: burn::tensor::Tensor<3>| AnyTensor::new(x).to_values().unwrap();
    let vocab = logits.dims()[2];
    let (logits, shares) = (host(logits.clone()), host(log_softmax(logits, 2)));
    let at =
        |values: &[f32], position: usize| f64::from(values[(position - 1) * vocab + ids[position] as usize]);
    let from = end - 3;
    let sum = |values: &[f32]| (from..end).map(|position| at(values, position)).sum::<f64>();
    for (measure, wanted) in [
        (Measure::Logit, sum(&logits)),
        (Measure::LogProbability, sum(&shares)),
        (Measure::Probability, sum(&shares).exp()),
    ] {
        let objective = Objective::Span { from, tokens: ids[from..].to_vec(), measure };
        let found = subject.run(&inputs, Plan::new().objective(&objective)).unwrap().scores().unwrap()[0];
        assert!(
            (f64::from(found) - wanted).abs() < 1e-5 * wanted.abs().max(1e-3),
            "{measure}: {found} {wanted}"
        );
    }
    let first = Objective::span(0, [ids[0]]);
    let said = subject.run(&inputs, Plan::new().objective(&first)).unwrap_err().to_string();
    assert_eq!(said, "the log-probability of 1 token from position 0 has no token before it");
}

/// Contributions to a neuron sum to its change; what a word adds to it is what it loses without the word.
#[test]
fn a_neuron_is_explained_as_a_logit_is() {
    let toy = Toy::curved(5);
    let sample = Sample::prompt(vec![painted(1)], "#abc");
    let inputs = toy.encode(&sample).unwrap();
    let objective = neuron("text.blocks.1.mlp.post", 2, inputs.positions() - 1);
    let case = about(sample, objective.clone());
    let settings = integrated_gradients::Settings { steps: Some(64), ..Default::default() };
    let found = IntegratedGradients::new(settings).unwrap().run(&toy, &case).unwrap();
    let (at_input, gap) = (scalar(&found, "objective"), scalar(&found, "completeness gap"));
    let sum = total(numbers(&found, "by site"));
    assert!(gap.abs() < 1e-3 * sum.abs() as f32 && sum.abs() > 1e-2, "{gap} {sum}");
    let read = site("text.blocks.1.mlp.post");
    let value = |plan: Plan| {
        let trace = toy.run(&inputs, plan.read(read).unwrap()).unwrap();
        let dims = trace.get(read).unwrap().dims();
        let values = trace.get(read).unwrap().to_values().unwrap();
        values[(dims[1] - 1) * dims[2] + 2]
    };
    assert_eq!(at_input, value(Plan::new()));
    let settings = occlusion::Settings { picture: None, ..Default::default() };
    let hidden = Occlusion::new(settings).unwrap().run(&toy, &case).unwrap();
    let drops = numbers(&hidden, "tokens");
    assert_eq!(drops.len(), 3);
    for (word, drop) in drops.iter().enumerate() {
        let position = inputs.positions() - 3 + word;
        let without = Plan::new()
            .change("text.blocks.0.resid_pre", Region::all().positions([position]), Change::Zero)
            .unwrap();
        ROUNDING.check("drop", &[*drop], &[at_input - value(without)]).unwrap();
    }
}

/// A closure of the same value gives the same finding, but for its name.
#[test]
fn a_closure_is_an_objective() {
    let toy = Toy::curved(6);
    let sample = Sample::prompt(vec![painted(1)], "#abc");
    let read = site("text.blocks.0.mlp.post");
    let own = Custom::new("difference and neuron", Unit::Logit, move |output| {
        let post = output.kept(read)?.clone().rank_of::<3>(read)?;
        let [rows, ..] = post.dims();
        let neuron = post.slice([0..rows, 1..2, 3..4]).reshape([rows as i32]);
        Ok(output.logit(Position::Last, 4)? - output.logit(Position::Last, 7)? + neuron)
    });
    let same = Objective::Sum(vec![
        (1.0, Objective::logit_difference(4, 7)),
        (1.0, neuron("text.blocks.0.mlp.post", 3, 1)),
    ]);
    let ends = vec![End::new(site("text.input"), Baseline::Zero)];
    let settings = integrated_gradients::Settings { along: Some(ends), steps: Some(8), ..Default::default() };
    let method = IntegratedGradients::new(settings).unwrap();
    let found = |objective: Objective| method.run(&toy, &about(sample.clone(), objective)).unwrap();
    let (own, same) = (found(own.reading([read]).into()), found(same));
    assert_eq!(own.provenance.objective.as_deref(), Some("difference and neuron"));
    for table in same.tables().iter().filter(|table| table.as_numbers().is_some()) {
        ROUNDING.check(table.name(), numbers(&own, table.name()), table.as_numbers().unwrap()).unwrap();
    }
}

/// What is said for one caption rather than another is the difference of their logits, in one pass over one of them.
#[test]
fn a_caption_is_held_against_another() {
    let subject = mmlens_zoo::open(checkpoint("clip-a"), &burn::tensor::Device::default()).unwrap();
    let picture = shown(&["square"], "").pictures;
    let of = |texts: &[&str]| {
        let words = Words::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
        subject.encode(&Sample::new(picture.clone(), words)).unwrap()
    };
    let score = |texts: &[&str], objective: Objective| {
        subject.run(&of(texts), Plan::new().objective(objective)).unwrap().scores().unwrap().to_vec()
    };
    let both = score(&["a red square", "blue"], Objective::Similarity);
    let other = subject.run(&of(&["blue"]), Plan::new()).unwrap();
    let other = other.output().pairs.clone().unwrap().texts.to_values().unwrap();
    let found = score(&["a red square"], Objective::Against { other: other.clone() });
    assert!((found[0] - (both[0] - both[1])).abs() < 1e-5 && found[0].abs() > 1e-3, "{found:?} {both:?}");
    let short = Plan::new().objective(Objective::Against { other: other[1..].to_vec() });
    let said = subject.run(&of(&["blue"]), short).unwrap_err().to_string();
    assert!(said.contains("values cannot fill a tensor of shape"), "{said}");
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let toy = Toy::curved(3);
    let inputs = toy.encode(&Sample::prompt(vec![painted(1)], "#abc")).unwrap();
    let said = |reading: Reading| toy.run(&inputs, Plan::new().objective(reading)).unwrap_err().to_string();
    let post = || Reading::at(site("text.blocks.1.mlp.post"));
    assert_eq!(
        said(post().within(Region::all().rows([0]))),
        "`text.blocks.1.mlp.post[batch=0]` is no objective: an objective has a value for every row, so that its region \
         names no rows"
    );
    assert!(said(post().within(Region::all().neurons([99]))).contains("neuron 99 is out of range"));
    assert!(said(post().within(Region::all().positions([99]))).contains("pos 99 is out of range"));
    assert!(said(post().within(Region::all().heads([0]))).contains("no `head` to choose from"));
    assert!(said(post().along(vec![1.0])).contains("the direction has 1 numbers, the last axis"));
    assert!(said(Reading::at(site("text.blocks.7.mlp.post"))).contains("text.blocks.7.mlp.post"));
    let shown = Reading::at(site("vision.features")).within(Region::all().of(AxisName::Image, [3]));
    let said = said(shown);
    assert!(said.contains("image 3 is out of range, there are 1"), "{said}");
}

/// Every method takes a sample with an answer: explained is all of it, by default by its log-probability; the finding is made
/// again from what it says.
#[test]
fn a_given_answer_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (subject, path) = (llava("llava-a"), folder.path().join("square.png"));
    std::fs::copy(picture("square"), &path).unwrap();
    let asked = Sample::prompt(vec![Picture::open(&path).unwrap()], "<image>Red?");
    let prompt = subject.encode(&asked).unwrap().positions();
    let sample = asked.answered(Reply::Text(" it is".to_owned()));
    let inputs = subject.encode(&sample).unwrap();
    let tokens = inputs.ids[0][prompt..].to_vec();
    assert!(tokens.len() > 1, "{tokens:?}");
    let wanted = Objective::span(prompt, tokens).to_string();
    let given = Given::new(Case::answer(sample)).unwrap();
    let mut explained = 0;
    for method in of_a_case() {
        let made = method.make(settings(method).swap_remove(0)).unwrap();
        match made.run_given(&On::new(subject), &given) {
            Ok(found) => {
                if let Some(told) = &found.provenance.objective {
                    let direct = method.card.id == "direct-logit-attribution";
                    let own =
                        if direct { wanted.replace("log-probability", "logit") } else { wanted.clone() };
                    assert_eq!(*told, own);
                }
                let read = Finding::from_bytes(&found.to_bytes().unwrap()).unwrap();
                let again = rerun(METHODS, &read, &On::new(subject), Moved::default()).unwrap();
                assert_eq!(again.differences, [], "{}", method.card.id);
                explained += 1;
            }
            Err(error) => panic!("{}: {error}", method.card.id),
        }
    }
    assert_eq!(explained, of_a_case().count());
    // What was said is no part of the question.
    let map = inputs.map();
    for positions in [Positions::Question, Positions::Words, Positions::Last] {
        let chosen = positions.of(map).unwrap();
        assert!(!chosen.is_empty() && chosen.iter().all(|at| *at < prompt), "{positions} {chosen:?}");
    }
    assert_eq!(Positions::Answer.of(map).unwrap(), map.reply().collect::<Vec<_>>());
    let settings = occlusion::Settings { picture: None, each: occlusion::Each::Token, ..Default::default() };
    let hidden = Occlusion::new(settings).unwrap().run(subject, &given.case).unwrap();
    assert_eq!(numbers(&hidden, "tokens").len(), Positions::Words.of(map).unwrap().len());
}
