//! Where heads look: maps, measures of heads, and layers in the mean.

use mmlens_core::finding::{Finding, Tolerance};
use mmlens_core::{
    Analysis, Case, Measure, Objective, Part, Plan, Point, Sample, Site, Subject, Target, Words,
};
use mmlens_engine::{Indices, Positions};
use mmlens_model::attention_by_depth::{self, AttentionByDepth};
use mmlens_model::attention_maps::{self, AttentionMaps};
use mmlens_model::head_measures::{self, HeadMeasures};
use mmlens_testkit::{Oracle, Toy, checkpoint};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, question, shown};

/// Weights in f32, whose sums are grouped in another way.
const WEIGHT: Tolerance = Tolerance::either(1e-6, 1e-5);

fn wanted(oracle: &Oracle, name: &str) -> (Vec<usize>, Vec<f64>) {
    let array = oracle.array(name).unwrap();
    (array.dims.clone(), array.values.clone())
}

fn agree(found: &Finding, table: &str, oracle: &Oracle, name: &str) {
    let (dims, values) = wanted(oracle, name);
    assert_eq!(found.table(table).unwrap().shape(), dims, "{table}");
    WEIGHT.check(table, numbers(found, table), &values).unwrap();
}

#[test]
fn maps_are_those_of_the_library() {
    let oracle = Oracle::open("methods/attention").unwrap();
    let found = AttentionMaps::default().run(llava("llava-a"), &question()).unwrap();
    agree(&found, "attention", &oracle, "llava/maps");
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap();
    let sample = Sample::new(shown(&["square"], "").pictures, Words::Texts(vec!["a".to_owned()]));
    let found = AttentionMaps::default().run(clip.as_ref(), &Case::new(sample)).unwrap();
    agree(&found, "attention", &oracle, "clip/maps");
}

#[test]
fn heads_are_measured_as_in_numpy() {
    let oracle = Oracle::open("methods/attention").unwrap();
    let found = HeadMeasures::default().run(llava("llava-a"), &question()).unwrap();
    for (table, name) in
        [("share", "on the picture"), ("evenness", "evenness"), ("score", "score"), ("entropy", "entropy")]
    {
        agree(&found, table, &oracle, &format!("llava/{name}"));
    }
}

/// Of a tower: what the class token gives to the patches, from the weights of the library.
#[test]
fn heads_of_a_tower_are_measured_by_its_class_token() {
    let oracle = Oracle::open("methods/attention").unwrap();
    let (dims, weights) = wanted(&oracle, "clip/maps");
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap();
    let sample = Sample::new(shown(&["square"], "").pictures, Words::Texts(vec!["a".to_owned()]));
    let run = |positions| {
        let settings = head_measures::Settings { positions, ..Default::default() };
        HeadMeasures::new(settings).unwrap().run(clip.as_ref(), &Case::new(sample.clone())).unwrap()
    };
    let found = run(Positions::Last);
    let keys = dims[2];
    let entropy =
        |shares: &[f64]| -shares.iter().map(|p| if *p > 0.0 { p * p.ln() } else { 0.0 }).sum::<f64>();
    let (mut shares, mut scores, mut entropies) = (Vec::new(), Vec::new(), Vec::new());
    for row in weights.chunks(keys) {
        let share: f64 = row[1..].iter().sum();
        let within: Vec<f64> = row[1..].iter().map(|own| own / share).collect();
        shares.push(share);
        scores.push(share * (1.0 - entropy(&within) / ((keys - 1) as f64).ln()));
        entropies.push(entropy(row));
    }
    for (table, wanted) in [("share", &shares), ("score", &scores), ("entropy", &entropies)] {
        assert_eq!(found.table(table).unwrap().shape(), dims[..2]);
        WEIGHT.check(table, numbers(&found, table), wanted).unwrap();
    }
    let even = (keys - 1) as f64 / keys as f64;
    WEIGHT.check("even", numbers(&found, "even share"), &vec![even; dims[0]]).unwrap();
    assert_eq!(found.provenance.settings["part"], "vision");
    // All patches look, too, each at all of them and the class token.
    let others = run(Positions::Pictures);
    assert!(numbers(&others, "share") != numbers(&found, "share") && others.provenance.objective.is_none());
    let words = run_words(clip.as_ref(), &sample);
    assert!(words.contains("positions of a tower"), "{words}");
}

fn run_words(subject: &dyn mmlens_core::Subject, sample: &Sample) -> String {
    let settings = head_measures::Settings { among: Some(Positions::Words), ..Default::default() };
    HeadMeasures::new(settings).unwrap().run(subject, &Case::new(sample.clone())).unwrap_err().to_string()
}

#[test]
fn layers_look_as_in_numpy() {
    let oracle = Oracle::open("methods/attention").unwrap();
    let found = AttentionByDepth::default().run(llava("llava-a"), &question()).unwrap();
    for table in ["shares", "entropy", "distance"] {
        agree(&found, table, &oracle, &format!("llava/by depth/{table}"));
    }
    for table in ["shares", "entropy", "distance"] {
        let (_, even) = wanted(&oracle, &format!("llava/by depth/uniform {table}"));
        // Every layer sees the same.
        let found = numbers(&found, &format!("even {table}"));
        assert_eq!(found.len(), 3 * even.len());
        for layer in found.chunks(even.len()) {
            WEIGHT.check(table, layer, &even).unwrap();
        }
    }
}

/// A tower: a class token and patches, each of which sees all.
#[test]
fn layers_of_a_tower_look_as_in_numpy() {
    let oracle = Oracle::open("methods/attention").unwrap();
    let clip = mmlens_zoo::open(checkpoint("clip-a"), &mmlens_core::device::host()).unwrap();
    let sample = Sample::new(shown(&["square"], "").pictures, Words::Texts(vec!["a".to_owned()]));
    let found = AttentionByDepth::default().run(clip.as_ref(), &Case::new(sample)).unwrap();
    assert_eq!(found.provenance.settings["part"], "vision");
    let axis = &found.table("shares").unwrap().axes()[1];
    assert_eq!([axis.label(0).unwrap(), axis.label(1).unwrap()], ["image", "special"]);
    for table in ["shares", "entropy", "distance"] {
        let (dims, values) = wanted(&oracle, &format!("clip/by depth/{table}"));
        assert_eq!(found.table(table).unwrap().shape(), dims, "{table}");
        println!("{table}: {:?}", WEIGHT.check(table, numbers(&found, table), &values).unwrap());
        let (_, even) = wanted(&oracle, &format!("clip/by depth/uniform {table}"));
        for layer in numbers(&found, &format!("even {table}")).chunks(even.len()) {
            WEIGHT.check(table, layer, &even).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(few())]

    /// Rows sum to one, the mean is that of the heads, and a map is the row of the site.
    #[test]
    fn maps_are_rows_of_the_pattern(seed in 0..99_u64, word in "[a-f]{2,5}") {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let inputs = toy.encode(&case.sample).unwrap();
        let found = AttentionMaps::default().run(&toy, &case).unwrap();
        let table = found.table("attention").unwrap();
        let [layers, heads, keys] = table.shape()[..] else { panic!() };
        let values = table.as_numbers().unwrap();
        prop_assert!(values.chunks(keys).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        for layer in 0..layers {
            let at = Site::block(Part::Text, layer, Point::Pattern);
            let pattern = toy.run(&inputs, Plan::new().read(at).unwrap()).unwrap().get(at).unwrap().to_values().unwrap();
            for head in 0..heads {
                let row = &pattern[(head * keys + keys - 1) * keys..(head + 1) * keys * keys];
                prop_assert_eq!(&values[(layer * heads + head) * keys..][..keys], row);
            }
        }
        let mean = numbers(&found, "mean over heads");
        for (at, mean) in mean.iter().enumerate() {
            let (layer, key) = (at / keys, at % keys);
            let sum: f32 = (0..heads).map(|head| values[(layer * heads + head) * keys + key]).sum();
            prop_assert!((mean - sum / heads as f32).abs() < 1e-6);
        }
    }

    /// What lies on all kinds of positions is everything; so it is of the measures of heads.
    #[test]
    fn shares_of_all_kinds_sum_to_one(seed in 0..99_u64, word in "[a-f]{2,5}") {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let depth = AttentionByDepth::default().run(&toy, &case).unwrap();
        let table = depth.table("shares").unwrap();
        let kinds = table.shape()[2];
        for name in ["shares", "even shares"] {
            let values = numbers(&depth, name);
            prop_assert!(values.chunks(kinds).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5), "{name}");
        }
        let share = |among: Positions| {
            let settings = head_measures::Settings { among: Some(among), ..Default::default() };
            numbers(&HeadMeasures::new(settings).unwrap().run(&toy, &case).unwrap(), "share").to_vec()
        };
        let (pictures, words, all) = (share(Positions::Pictures), share(Positions::Words), share(Positions::All));
        for ((pictures, words), all) in pictures.iter().zip(&words).zip(&all) {
            prop_assert!((pictures + words - 1.0).abs() < 1e-5 && (all - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn some_layers_and_other_positions_are_what_they_are_of_all() {
    let (subject, case) = (llava("llava-a"), question());
    let maps = |settings| AttentionMaps::new(settings).unwrap().run(subject, &case).unwrap();
    let all = maps(attention_maps::Settings::default());
    let layers = Indices::At(vec![1]);
    let one = maps(attention_maps::Settings { layers: layers.clone(), ..Default::default() });
    let wide = numbers(&all, "attention").len() / 3;
    let same = |one: &Finding, all: &Finding, table: &str, range: std::ops::Range<usize>| {
        WEIGHT.check(table, numbers(one, table), &numbers(all, table)[range]).unwrap();
    };
    same(&one, &all, "attention", wide..2 * wide);
    // The mean of two positions.
    let at = |positions: Vec<usize>| {
        let positions = Positions::At(positions);
        numbers(&maps(attention_maps::Settings { positions, ..Default::default() }), "attention").to_vec()
    };
    let (two, three, both) = (at(vec![27]), at(vec![28]), at(vec![27, 28]));
    assert!(
        both.iter().zip(two.iter().zip(&three)).all(|(both, (a, b))| (both - (a + b) / 2.0).abs() < 1e-6)
    );

    let heads = |layers| {
        let settings = head_measures::Settings { layers, ..Default::default() };
        HeadMeasures::new(settings).unwrap().run(subject, &case).unwrap()
    };
    let (all, one) = (heads(Indices::All), heads(layers.clone()));
    same(&one, &all, "score", 6..12);
    // 25 of the 30 positions that the last one sees show the picture.
    assert_eq!(numbers(&all, "even share")[0], 25.0 / 30.0);
    let depth = |layers| {
        let settings = attention_by_depth::Settings { layers, ..Default::default() };
        AttentionByDepth::new(settings).unwrap().run(subject, &case).unwrap()
    };
    let (all, one) = (depth(Indices::All), depth(layers));
    same(&one, &all, "shares", 9..18);
}

/// Each token of an answer where it is decided, and all of them in the mean.
#[test]
fn tokens_of_an_answer_look_from_where_they_are_decided() {
    let subject = llava("llava-a");
    let sample = shown(&["square"], "<image>Red?").answered(mmlens_core::Reply::Text("bad".to_owned()));
    let inputs = subject.encode(&sample).unwrap();
    let reply: Vec<usize> = inputs.map().reply().collect();
    let target = Target::Answer { from: 0, to: None, measure: Measure::LogProbability, each: true };
    let case = Case { sample, target };
    let found = AttentionMaps::default().run(subject, &case).unwrap();
    let each = found.table("mean over heads by answer token").unwrap();
    assert_eq!(each.shape()[0], reply.len());
    let whole = numbers(&found, "mean over heads");
    let values = each.as_numbers().unwrap();
    let count = reply.len() as f32;
    for (at, whole) in whole.iter().enumerate() {
        let mean = values.iter().skip(at).step_by(whole_len(&found)).sum::<f32>() / count;
        assert!((mean - whole).abs() < 1e-6);
    }
    let positions = Positions::At(vec![reply[1] - 1]);
    let second = AttentionMaps::new(attention_maps::Settings { positions, ..Default::default() }).unwrap();
    let second = second.run(subject, &case).unwrap();
    let len = whole_len(&found);
    WEIGHT.check("the second token", &values[len..2 * len], numbers(&second, "mean over heads")).unwrap();
}

fn whole_len(found: &Finding) -> usize {
    numbers(found, "mean over heads").len()
}

#[test]
fn towers_look_from_their_class_token_and_blip_through_cross_attention() {
    let open = |name: &str| mmlens_zoo::open(checkpoint(name), &mmlens_core::device::host()).unwrap();
    let pictured = |words| Sample::new(shown(&["square"], "").pictures, words);
    let run = |name: &str, sample: Sample, settings: attention_maps::Settings| {
        AttentionMaps::new(settings).unwrap().run(open(name).as_ref(), &Case::new(sample)).unwrap()
    };
    let vit = run("vit-a", pictured(Words::Nothing), attention_maps::Settings::default());
    let axis = &vit.table("mean over heads").unwrap().axes()[1];
    assert_eq!(axis.label(0).unwrap(), "class");
    // SigLIP has no class token: all positions look, and attention pools them.
    let words = Words::Texts(vec!["a".to_owned()]);
    let siglip = run("siglip-a", pictured(words), attention_maps::Settings::default());
    let pooling = siglip.table("pooling").unwrap();
    assert_eq!(pooling.shape(), [4, 16]);
    assert!(pooling.as_numbers().unwrap().chunks(16).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    let blip = run("blip-a", pictured(Words::Prompt("a".to_owned())), attention_maps::Settings::default());
    let cross = blip.table("cross attention").unwrap();
    assert_eq!(cross.shape()[2], 17);
    assert!(cross.as_numbers().unwrap().chunks(17).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    let part = Some(Part::Vision);
    let tower = AttentionMaps::new(attention_maps::Settings { part, ..Default::default() }).unwrap();
    let tower = tower.run(llava("llava-a"), &question()).unwrap();
    assert_eq!(tower.table("attention").unwrap().shape(), [4, 5, 26]);
}

#[test]
fn what_cannot_look_is_refused() {
    let toy = Toy::curved(3);
    let case = asked(1, "abc", 4);
    let said = |settings| {
        AttentionMaps::new(settings).and_then(|method| method.run(&toy, &case)).unwrap_err().to_string()
    };
    let base = attention_maps::Settings::default;
    let part = Some(Part::Connector);
    assert_eq!(
        said(attention_maps::Settings { part, ..base() }),
        "attention-maps needs a part with attention, but that part publishes none, but `text`"
    );
    let positions = Positions::At(vec![99]);
    assert!(said(attention_maps::Settings { positions, ..base() }).contains("position 99 was asked for of "));
    let layers = Indices::At(vec![9]);
    assert!(said(attention_maps::Settings { layers: layers.clone(), ..base() }).contains("layers = 9, of "));
    let subject = llava("llava-a");
    let words = about(Sample::prompt(Vec::new(), "Red?"), Objective::logit(3));
    let pictures = head_measures::Settings { among: Some(Positions::Pictures), ..Default::default() };
    let none = HeadMeasures::new(pictures).unwrap().run(subject, &words).unwrap_err().to_string();
    assert_eq!(none, "head-measures needs at least one position, but the sample has none of `pictures`");
    // Of words alone it is the question.
    let found = HeadMeasures::default().run(subject, &words).unwrap();
    assert_eq!(found.provenance.settings["among"], "question");
    let settings = attention_by_depth::Settings { layers, ..Default::default() };
    let past = AttentionByDepth::new(settings).unwrap().run(&toy, &case).unwrap_err().to_string();
    assert!(past.contains("layers = 9, of "), "{past}");
    let part = Some(Part::Vision);
    let maps =
        AttentionMaps::new(attention_maps::Settings { part, positions: Positions::Question, ..base() });
    let said = maps.unwrap().run(subject, &question()).unwrap_err().to_string();
    assert!(said.contains("positions of a tower"), "{said}");
}
