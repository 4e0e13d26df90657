//! The tokens of an answer, explained one by one beside all of them together.

use mmlens_core::finding::{BY_TOKEN, Finding, Role, Tolerance};
use mmlens_core::{Given, Measure, On, Picture, Reply, Sample, Subject, Target};
use mmlens_model::METHODS;
use mmlens_testkit::picture;

use crate::support::{llava, numbers, settings, shown, total};

/// Rounding of sums over coordinates that are made in another order.
const ROUNDING: Tolerance = Tolerance::either(2e-5, 1e-4);

/// Methods whose tables are sums over the tokens of an answer, and a table that shows it.
const SUMS: [(&str, &str); 10] = [
    ("integrated-gradients", "by site"),
    ("occlusion", "tokens"),
    ("kernel-shap", "tokens"),
    ("attention-knockout", "change"),
    ("activation-patching", "resid_pre"),
    ("attribution-patching", "resid_pre"),
    ("gradient-times-input", "by site"),
    ("lime", "tokens"),
    ("rise", "picture"),
    ("permutation-shap", "tokens"),
];

fn answered() -> Sample {
    shown(&["square"], "<image>Red?").answered(Reply::Text(" it is".to_owned()))
}

fn given(sample: Sample, from: usize, to: Option<usize>, each: bool) -> Given {
    let target = Target::Answer { from, to, measure: Measure::LogProbability, each };
    let corrupted = shown(&["tall"], "<image>Red?").answered(Reply::Text(" it is".to_owned()));
    Given::new(mmlens_core::Case { sample, target }).unwrap().against(corrupted)
}

fn found(id: &str, given: &Given) -> Finding {
    let method = METHODS.iter().find(|method| method.card.id == id).unwrap();
    let made = method.make(settings(method).swap_remove(0)).unwrap();
    made.run_given(&On::new(llava("llava-a")), given).unwrap()
}

/// The table of the tokens holds for each what is found of it alone, and of all together their sum.
#[test]
fn what_is_found_of_tokens_adds_up() {
    let count = llava("llava-a").encode(&answered()).unwrap().map().reply().len();
    assert!(count > 1, "{count}");
    for (id, name) in SUMS {
        let whole = found(id, &given(answered(), 0, None, true));
        let twin = whole.table(&format!("{name}{BY_TOKEN}")).unwrap();
        assert_eq!((twin.axes()[0].role, twin.axes()[0].len()), (Role::Answer, count), "{id}");
        assert_eq!(twin.axes()[1..], *whole.table(name).unwrap().axes(), "{id}");
        let (values, wide) = (twin.as_numbers().unwrap(), twin.len() / count);
        let sum: Vec<f32> =
            (0..wide).map(|at| (0..count).map(|token| values[token * wide + at]).sum()).collect();
        ROUNDING.check(id, &sum, numbers(&whole, name)).unwrap();
        // What is cut are edges to all positions that decide a token of what is explained.
        for token in (0..count).filter(|_| id != "attention-knockout") {
            let alone = found(id, &given(answered(), token, Some(token + 1), false));
            let (own, scale) = (&values[token * wide..(token + 1) * wide], scale(id, &alone, &whole));
            let alone: Vec<f32> = numbers(&alone, name).iter().map(|value| value * scale).collect();
            ROUNDING.check(&format!("{id}, token {token}"), own, &alone).unwrap();
        }
        // Asking for it changes nothing of the whole.
        let plain = found(id, &given(answered(), 0, None, false));
        assert_eq!(numbers(&plain, name), numbers(&whole, name), "{id}");
        assert!(plain.tables().iter().all(|table| !table.name().ends_with(BY_TOKEN)), "{id}");
    }
}

/// What is brought back is told as a share of the whole, for each token too.
fn scale(id: &str, alone: &Finding, whole: &Finding) -> f32 {
    let apart = |found: &Finding| {
        let at = |name: &str| found.table(name).unwrap().as_scalar().unwrap();
        at("clean") - at("corrupted")
    };
    if id == "activation-patching" { apart(alone) / apart(whole) } else { 1.0 }
}

/// Shares of attention that reach an answer are the mean of those that reach its tokens.
#[test]
fn routes_to_an_answer_are_the_mean_of_those_to_its_tokens() {
    let whole = found("attention-rollout", &given(answered(), 0, None, true));
    for name in ["tokens", "picture through the tower", "by modality"] {
        let twin = whole.table(&format!("{name}{BY_TOKEN}")).unwrap();
        let count = twin.axes()[0].len();
        let (values, wide) = (twin.as_numbers().unwrap(), twin.len() / count);
        let at = |at: usize| (0..count).map(|token| values[token * wide + at]).sum::<f32>() / count as f32;
        ROUNDING.check(name, &(0..wide).map(at).collect::<Vec<_>>(), numbers(&whole, name)).unwrap();
        let alone = found("attention-rollout", &given(answered(), 1, Some(2), false));
        ROUNDING.check(name, &values[wide..2 * wide], numbers(&alone, name)).unwrap();
    }
    assert!((total(numbers(&whole, "tokens")) - 1.0).abs() < 1e-5);
}

/// At the last layer the lens says of every token what the model says of it.
#[test]
fn the_lens_follows_every_token_of_an_answer() {
    let found_of = |from, to| found("logit-lens", &given(answered(), from, to, true));
    let whole = found_of(0, None);
    let table = whole.table("target log probability").unwrap();
    let (layers, count) = (table.axes()[0].len(), table.axes()[1].len());
    assert_eq!(table.axes()[1].role, Role::Answer);
    let last = &table.as_numbers().unwrap()[(layers - 1) * count..];
    let spoken = found("occlusion", &given(answered(), 0, None, true));
    let twin = numbers(&spoken, "objective by answer token").to_vec();
    ROUNDING.check("the last layer", last, &twin).unwrap();
    // Of one token it is the column where the token is decided.
    let one = found_of(1, Some(2));
    let table = one.table("target log probability").unwrap();
    let (positions, at) = (table.axes()[1].len(), decided(1));
    let column: Vec<f32> = table.as_numbers().unwrap().chunks(positions).map(|row| row[at]).collect();
    let own: Vec<f32> = numbers(&whole, "target log probability").chunks(count).map(|row| row[1]).collect();
    assert_eq!(column, own);
}

/// The position where a token of the answer is decided.
fn decided(token: usize) -> usize {
    llava("llava-a").encode(&answered()).unwrap().map().reply().start + token - 1
}

/// Logits of tokens add up, and what writes them does: the sum is told, beside the log-probability it is a part of.
#[test]
fn logits_of_an_answer_are_shared_out() {
    let id = "direct-logit-attribution";
    let whole = found(id, &given(answered(), 0, None, true));
    let scalar = |found: &Finding, name: &str| found.table(name).unwrap().as_scalar().unwrap();
    let (logit, objective) = (scalar(&whole, "logit"), scalar(&whole, "objective"));
    assert!((logit - objective).abs() < 1e-4 && scalar(&whole, "gap").abs() < 1e-4, "{logit} {objective}");
    assert!(scalar(&whole, "log-probability") < 0.0);
    for name in ["layers", "heads"] {
        let twin = numbers(&whole, &format!("{name}{BY_TOKEN}")).to_vec();
        let wide = numbers(&whole, name).len();
        let sum: Vec<f32> = (0..wide).map(|at| twin.iter().skip(at).step_by(wide).sum::<f32>()).collect();
        ROUNDING.check(name, &sum, numbers(&whole, name)).unwrap();
    }
    let told = whole.provenance.objective.clone().unwrap();
    assert!(told.starts_with("logit of ") && told.contains("tokens from position"), "{told}");
}

/// The mean of a prompt's words, which stands for missing words, has no part of an answer behind it.
#[test]
fn what_stands_for_words_knows_nothing_of_the_answer() {
    let site = "text.embed".parse().unwrap();
    let subject = llava("llava-a");
    let baseline = |answer: &str| {
        let pictures = vec![Picture::open(picture("square")).unwrap()];
        let sample = Sample::prompt(pictures, "<image>Red?").answered(Reply::Text(answer.to_owned()));
        let inputs = subject.encode(&sample).unwrap();
        let plan = mmlens_core::Plan::new().read(site).unwrap();
        let value = subject.run(&inputs, plan).unwrap().get(site).unwrap().clone();
        let spec = mmlens_core::SiteSpec::among(subject.sites(), site).unwrap();
        let filled = mmlens_core::Baseline::Mean.at(spec, &value, &inputs).unwrap();
        let (dims, values) = (filled.dims(), filled.to_values().unwrap());
        let own = value.to_values().unwrap();
        let row = |values: &[f32], at: usize| values[at * dims[2]..(at + 1) * dims[2]].to_vec();
        // The answer is there as it was given.
        let reply = inputs.map().reply();
        reply.clone().for_each(|at| assert_eq!(row(&values, at), row(&own, at), "{at}"));
        assert_ne!(row(&values, reply.start - 1), row(&own, reply.start - 1));
        row(&values, reply.start - 1)
    };
    assert_eq!(baseline(" it is"), baseline(" blue, and green"));
}
