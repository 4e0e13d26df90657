//! Causal tracing: against hooks in transformers with the same draws, against identities, against misuse; windows of activation patching.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, Case, Objective, On, Pair, Part, Picture, Plan, Point, Sample, Seed, Site, Subject, Words,
    from_fn, kind,
};
use mmlens_engine::{Indices, Positions, normal};
use mmlens_model::activation_patching::{self, ActivationPatching, Places};
use mmlens_model::causal_tracing::{self, CausalTracing};
use mmlens_testkit::{Array, Oracle, Toy, checkpoint, kinds, picture, planted, shipped};
use proptest::prelude::*;

use crate::identities::{asked, few};
use crate::support::{about, llava, numbers, question, scalar, shown};

/// Probabilities and their differences: sums of f32 grouped in another way by passes that begin elsewhere.
const SHARE: Tolerance = Tolerance::either(2e-5, 1e-4);
/// The same of logits, which are ones or tens.
const LOGIT: Tolerance = Tolerance::either(1e-4, 1e-4);
/// Another grouping of the same sums in f32.
const ROUNDING: Tolerance = Tolerance::either(5e-6, 1e-5);

fn base() -> causal_tracing::Settings {
    causal_tracing::Settings { draws: 3, window: 2, ..causal_tracing::Settings::default() }
}

fn run(subject: &dyn Subject, case: &Case, settings: causal_tracing::Settings) -> Finding {
    CausalTracing::new(settings).unwrap().run(subject, case).unwrap()
}

fn mean(array: &Array) -> f64 {
    array.values.iter().sum::<f64>() / array.values.len() as f64
}

/// `tracing.py` prints this number of NumPy's.
#[test]
fn draws_are_those_of_the_oracle() {
    assert!((normal(Seed(7).at(3)) - 0.469_623_813_795_222_67).abs() < 1e-12);
}

fn as_in_transformers(name: &str, subject: &dyn Subject, case: &Case, cases: &[(&str, Option<Positions>)]) {
    let oracle = Oracle::open(&format!("methods/tracing-{name}")).unwrap();
    let about = |key: &str| oracle.about()[key].as_u64().unwrap();
    for (what, corrupted) in cases {
        let array = |key: &str| oracle.array(&format!("{what}.{key}")).unwrap();
        let settings = causal_tracing::Settings {
            corrupted: corrupted.clone(),
            draws: about("draws") as usize,
            window: about("window") as usize,
            seed: Seed(about("seed")),
            ..causal_tracing::Settings::default()
        };
        let found = CausalTracing::new(settings).unwrap().run(subject, case).unwrap();
        let agree = |tolerance: Tolerance, table: &str, wanted: &[f64]| {
            let gap = tolerance.check(table, numbers(&found, table), wanted).unwrap();
            println!("{name}, {what}, {table}: {gap:?}");
        };
        for point in ["resid_post", "mlp_out", "attn_out"] {
            agree(SHARE, point, &array(point).values);
            agree(SHARE, &format!("{point}/standard error"), &array(&format!("{point}.error")).values);
            agree(LOGIT, &format!("{point}/objective"), &array(&format!("{point}.objective")).values);
        }
        agree(SHARE, "corrupted by draw", &array("corrupted").values);
        agree(SHARE, "clean", &array("clean").values);
        agree(SHARE, "corrupted", &[mean(array("corrupted"))]);
        agree(SHARE, "total effect", &[array("clean").values[0] - mean(array("corrupted"))]);
        agree(LOGIT, "clean objective", &array("clean.objective").values);
        agree(LOGIT, "corrupted objective", &[mean(array("corrupted.objective"))]);
        let sigma = found.provenance.settings["sigma"].as_f64().unwrap();
        assert!((sigma / array("sigma").values[0] - 1.0).abs() < 1e-5, "{sigma}");
    }
}

#[test]
fn noise_on_words_and_pictures_is_that_of_hooks_in_transformers() {
    let cases = [("words", None), ("pictures", Some(Positions::Pictures))];
    as_in_transformers("llava-a", llava("llava-a"), &question(), &cases);
    let subject = mmlens_zoo::open(checkpoint("gpt2-a"), &Device::default()).unwrap();
    let at: Vec<usize> = {
        let oracle = Oracle::open("methods/tracing-gpt2-a").unwrap();
        let listed = oracle.about()["words at"].as_array().unwrap().clone();
        listed.iter().map(|at| at.as_u64().unwrap() as usize).collect()
    };
    let case = Case::new(Sample::prompt(vec![], "It is red."));
    as_in_transformers("gpt2-a", subject.as_ref(), &case, &[("words", Some(Positions::At(at)))]);
}

#[test]
fn windows_of_a_semantic_pair_are_those_of_hooks_in_transformers() {
    let oracle = Oracle::open("methods/tracing-llava-a").unwrap();
    let wanted = |key: &str| &oracle.array(&format!("pair.{key}")).unwrap().values;
    let pair = Pair { clean: question(), corrupted: shown(&["tall"], "<image>Red?") };
    let window = oracle.about()["window"].as_u64().unwrap() as usize;
    let points = vec![Point::MlpOut, Point::AttnOut];
    let settings = activation_patching::Settings { points, window, ..Default::default() };
    let found = ActivationPatching::new(settings).unwrap().run(llava("llava-a"), &pair).unwrap();
    for point in ["mlp_out", "attn_out"] {
        LOGIT.check(point, numbers(&found, &format!("{point}/effect")), wanted(point)).unwrap();
    }
    for end in ["clean", "corrupted"] {
        LOGIT.check(end, numbers(&found, end), wanted(end)).unwrap();
    }
}

proptest! {
    #![proptest_config(few())]

    /// The stream of all positions at one layer is all there is: put back, nothing is left of the noise. One in front of the first
    /// corrupted position was never touched.
    #[test]
    fn everything_put_back_is_the_clean_run_and_nothing_the_noisy_one(
        seed in 0..99_u64, draws in 1..4_usize, sigmas in 0.5..4.0_f32, word in "[a-f]{3,5}", rows in 1..9_usize,
    ) {
        let (toy, case) = (Toy::curved(seed), asked(1, &word, 3));
        let points = vec![Point::ResidPost, Point::ResidPre];
        let settings = || causal_tracing::Settings { draws, sigmas, rows, seed: Seed(seed), points: points.clone(), ..base() };
        let all = run(&toy, &case, causal_tracing::Settings { places: Places::Together, ..settings() });
        let total = scalar(&all, "total effect");
        for point in &points {
            for effect in numbers(&all, point.name()) {
                prop_assert!((effect - total).abs() < 1e-5, "{effect} {total}");
            }
            let objective = scalar(&all, "clean objective") - scalar(&all, "corrupted objective");
            for effect in numbers(&all, &format!("{}/objective", point.name())) {
                prop_assert!((effect - objective).abs() < 1e-4, "{effect} {objective}");
            }
        }
        prop_assert!((scalar(&all, "clean") - scalar(&all, "corrupted") - total).abs() < 1e-6);
        let errors = all.find("total effect/standard error");
        prop_assert_eq!(errors.is_some(), draws > 1);
        // The picture stands in front of the words.
        let places = Places::Each(Positions::Pictures);
        let none = run(&toy, &case, causal_tracing::Settings { places, ..settings() });
        for point in &points {
            prop_assert!(numbers(&none, point.name()).iter().all(|effect| effect.abs() < 1e-6));
        }
    }

    /// Which layers, positions and how many variants share a pass decides nothing.
    #[test]
    fn choices_are_parts_of_all(seed in 0..99_u64, rows in 1..20_usize) {
        let (toy, case) = (Toy::curved(seed), asked(2, "abcd", 5));
        let all = run(&toy, &case, base());
        let blocks = kind::blocks(&toy, Part::Text);
        let layers = Indices::At(vec![blocks - 1]);
        let places = Places::Each(Positions::Words);
        let some = run(&toy, &case, causal_tracing::Settings { layers, places, rows, ..base() });
        for name in ["resid_post", "mlp_out", "attn_out", "resid_post/standard error", "mlp_out/objective"] {
            let (wide, narrow) = (all.table(name).unwrap(), some.table(name).unwrap());
            let (count, own) = (wide.shape()[1], narrow.shape()[1]);
            prop_assert_eq!(narrow.shape()[0], 1);
            let row = &wide.as_numbers().unwrap()[(blocks - 1) * count..];
            ROUNDING.check(name, narrow.as_numbers().unwrap(), &row[count - own..]).unwrap();
        }
    }
}

/// At the last block all positions hold all that the answer is made of, in every family, wherever noise enters.
#[test]
fn noise_is_mended_in_every_family() {
    let asked = || Case::new(Sample::ask(Picture::open(picture("wide")).unwrap(), "Red?"));
    let texts = |text: &str| Words::Texts(vec![text.to_owned()]);
    let shown = || vec![Picture::open(picture("wide")).unwrap()];
    let pair = || about(Sample::new(shown(), texts("a red square")), Objective::Cosine);
    let words = |words: &str| Case::new(Sample::prompt(vec![], words));
    let cases = [
        ("llava-next-a", asked(), vec![None, Some("vision.pixels"), Some("connector.out")]),
        ("smolvlm-a", asked(), vec![None, Some("vision.pixels")]),
        ("qwen2-vl-a", asked(), vec![None, Some("vision.pixels")]),
        ("qwen3-vl-a", asked(), vec![None, Some("vision.pixels")]),
        ("clip-a", pair(), vec![None, Some("vision.pixels")]),
        ("siglip-a", pair(), vec![None, Some("vision.pixels")]),
        ("vit-a", Case::new(Sample::new(shown(), Words::Nothing)), vec![None]),
        ("bert-a", words("a [MASK] circle is red"), vec![None]),
        ("gemma2-a", words("It is red."), vec![None]),
        ("blip-a", Case::new(Sample::prompt(shown(), "a red")), vec![None, Some("vision.pixels")]),
        ("blip-qa", asked(), vec![None, Some("vision.pixels")]),
    ];
    let mut seen = 0;
    for (name, case, sites) in cases {
        let subject = mmlens_zoo::open(checkpoint(name), &Device::default()).unwrap();
        for site in sites {
            let site = site.map(|site| site.parse().unwrap());
            let settings = causal_tracing::Settings {
                site,
                points: vec![Point::ResidPost],
                places: Places::Together,
                ..base()
            };
            let found = CausalTracing::new(settings).unwrap().run(subject.as_ref(), &case);
            let found = found.unwrap_or_else(|error| panic!("{name} {site:?}: {error}"));
            let (total, effects) = (scalar(&found, "total effect"), numbers(&found, "resid_post"));
            let last = effects[effects.len() - 1];
            assert!(total != 0.0 && (last - total).abs() < 2e-5, "{name} {site:?}: {last} {total}");
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
}

#[test]
fn a_phrase_is_corrupted_where_it_stands() {
    let settings = |corrupted| causal_tracing::Settings { corrupted: Some(corrupted), ..base() };
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let case = Case::new(Sample::ask(
        Picture::open("../../docs/pictures/scene.png").unwrap(),
        "what colour is the triangle?",
    ));
    let found = run(&subject, &case, settings(Positions::Phrase("triangle".to_owned())));
    let table = found.table("corrupted tokens").unwrap();
    let texts: String = (0..table.len()).map(|at| table.get_text(&[at]).unwrap().to_owned()).collect();
    assert_eq!(texts.trim(), "triangle");
    let said =
        CausalTracing::new(settings(Positions::Phrase("hexagon".to_owned()))).unwrap().run(&subject, &case);
    let said = said.unwrap_err().to_string();
    assert_eq!(
        said,
        "causal-tracing needs at least one position, but the sample has none of `the phrase “hexagon”`"
    );
}

#[test]
fn a_deviation_of_a_data_set_is_that_of_all_its_numbers() {
    let subject = llava("llava-a");
    let data = from_fn("words", 3, |i| {
        Ok(Case::new(shown(&["square"], &format!("<image>{}", ["Red?", "Big?", "Redder?"][i]))))
    });
    let method = CausalTracing::new(base()).unwrap().over(&On::new(subject), &data).unwrap();
    let mut all = Vec::new();
    for i in 0..3 {
        let case = mmlens_core::Cases::case(&data, i).unwrap();
        let inputs = subject.encode(&case.sample).unwrap();
        let site = "text.input".parse().unwrap();
        let trace = subject.run(&inputs, mmlens_core::Plan::new().read(site).unwrap()).unwrap();
        let (dims, values) = (trace.get(site).unwrap().dims(), trace.get(site).unwrap().to_values().unwrap());
        for at in Positions::Question.of(inputs.map()).unwrap() {
            all.extend(values[at * dims[2]..(at + 1) * dims[2]].iter().map(|x| f64::from(*x)));
        }
    }
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let wanted = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    assert!(
        (f64::from(method.sigma().unwrap()) / wanted - 1.0).abs() < 1e-6,
        "{:?} {wanted}",
        method.sigma()
    );
}

#[test]
fn a_run_that_noise_leaves_as_it_was_is_spoken_of() {
    let of = |sigmas, draws| {
        let points = vec![Point::ResidPost];
        run(llava("llava-a"), &question(), causal_tracing::Settings { sigmas, draws, points, ..base() })
    };
    let barely = of(1e-3, 3);
    assert_eq!(kinds(&barely), [CautionKind::SmallDifference]);
    let said = &barely.cautions()[0].text;
    assert!(said.contains(&format!("{:.3} in the clean run", scalar(&barely, "clean"))), "{said}");
    let sound = of(3.0, 10);
    let share = scalar(&sound, "total effect/standard error") / scalar(&sound, "total effect");
    assert!(kinds(&sound).is_empty() && share < 0.5, "{:?} {share}", sound.cautions());
    // Draws that contradict each other do not settle the average.
    let mut unsteady = 0;
    for seed in 0..6 {
        let settings =
            causal_tracing::Settings { draws: 2, seed: Seed(seed), points: vec![Point::ResidPost], ..base() };
        let found = run(llava("llava-a"), &question(), settings);
        let (total, error) = (scalar(&found, "total effect"), scalar(&found, "total effect/standard error"));
        let due = total > 0.01 && error > 0.5 * total;
        assert_eq!(kinds(&found).contains(&CautionKind::Unsteady), due, "{seed}: {total} {error}");
        unsteady += usize::from(due);
    }
    assert!((1..6).contains(&unsteady), "{unsteady}");
}

#[test]
fn what_cannot_be_traced_is_refused() {
    let (toy, case) = (Toy::curved(1), asked(1, "abc", 2));
    let said = |settings| {
        CausalTracing::new(settings).and_then(|method| method.run(&toy, &case)).unwrap_err().to_string()
    };
    let of = |change: fn(&mut causal_tracing::Settings)| {
        let mut settings = base();
        change(&mut settings);
        said(settings)
    };
    assert_eq!(of(|s| s.draws = 0), "causal-tracing: draws = 0, but it must be at least 1");
    assert_eq!(of(|s| s.window = 0), "causal-tracing: window = 0, but it must be at least 1");
    assert_eq!(
        of(|s| s.sigmas = 0.0),
        "causal-tracing: sigmas = 0, but it must be a finite number above zero"
    );
    assert_eq!(
        of(|s| s.sigma = Some(f32::NAN)),
        "causal-tracing: sigma = NaN, but it must be a finite number above zero"
    );
    assert_eq!(
        of(|s| (s.site, s.corrupted) = (Some("vision.pixels".parse().unwrap()), Some(Positions::Words))),
        "causal-tracing: corrupted = `words`, at `vision.pixels`, but only the words' sites have positions of a prompt"
    );
    assert!(of(|s| s.layers = Indices::At(vec![40])).contains("layers = 40, of "));
    // Noise behind what is put back.
    let late = of(|s| {
        s.site = Some("text.blocks.0.resid_post".parse().unwrap());
        (s.points, s.layers) = (vec![Point::ResidPre], Indices::At(vec![0]));
    });
    assert_eq!(
        late,
        "causal-tracing needs two samples that differ in the states patched, but both hold the same at `text.blocks.0.resid_pre`"
    );
    let bare = about(Sample::prompt(vec![], "abc"), Objective::logit(1));
    let settings = causal_tracing::Settings { site: Some("vision.pixels".parse().unwrap()), ..base() };
    let said = CausalTracing::new(settings).unwrap().run(&toy, &bare).unwrap_err().to_string();
    assert_eq!(said, "causal-tracing needs a picture, but the sample has none");
}

/// A neuron planted in the built-in model that reads what stands at the last position of a question, and writes a word: its layer and
/// position are where the word is brought back. Five seeds, three strengths.
#[test]
fn a_planted_neuron_is_where_the_answer_is_brought_back() {
    let model = shipped("shapes-llava");
    let sample = || {
        Sample::ask(Picture::open("../../docs/pictures/scene.png").unwrap(), "what colour is the triangle?")
    };
    let plain = mmlens_zoo::open(&model, &Device::default()).unwrap();
    let inputs = plain.encode(&sample()).unwrap();
    let (last, mut faults) = (inputs.positions() - 1, Vec::new());
    for seed in 0..5_usize {
        let (layer, neuron, token) = (seed % 4, 37 * seed % 256, 20 + 7 * seed);
        let site = Site::block(Part::Text, layer, Point::ResidMid);
        let trace = plain.run(&inputs, Plan::new().read(site).unwrap()).unwrap();
        let stream = trace.get(site).unwrap().to_values().unwrap();
        for strength in [0.5, 1.0, 2.0_f32] {
            let folder = tempfile::tempdir().unwrap();
            planted(&model, folder.path(), |weights| {
                let name = |what: &str| format!("model.language_model.layers.{layer}.{what}.weight");
                let norm = weights[&name("post_attention_layernorm")].1.clone();
                let wide = norm.len();
                // What the MLP reads at a position.
                let read = |at: usize| -> Vec<f32> {
                    let row = &stream[at * wide..(at + 1) * wide];
                    let size = (row.iter().map(|x| x * x).sum::<f32>() / wide as f32 + 1e-5).sqrt();
                    row.iter().zip(&norm).map(|(x, w)| x / size * w).collect()
                };
                let mut mean = vec![0.0; wide];
                (0..last)
                    .for_each(|at| mean.iter_mut().zip(read(at)).for_each(|(m, x)| *m += x / last as f32));
                let own = read(last);
                let apart: Vec<f32> = own.iter().zip(&mean).map(|(x, m)| x - m).collect();
                let along: f32 = apart.iter().zip(&own).map(|(a, x)| a * x).sum();
                for what in ["mlp.gate_proj", "mlp.up_proj"] {
                    let (_, values) = weights.get_mut(&name(what)).unwrap();
                    values[neuron * wide..(neuron + 1) * wide]
                        .iter_mut()
                        .zip(&apart)
                        .for_each(|(slot, a)| *slot = a / along);
                }
                let word = weights["lm_head.weight"].1[token * wide..(token + 1) * wide].to_vec();
                let norm_of = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
                let size = strength * norm_of(&stream[last * wide..]) / norm_of(&word);
                let (shape, down) = weights.get_mut(&name("mlp.down_proj")).unwrap();
                let columns = shape[1];
                word.iter().enumerate().for_each(|(d, w)| down[d * columns + neuron] = size * w);
            });
            let subject = mmlens_zoo::open(folder.path(), &Device::default()).unwrap();
            let settings = causal_tracing::Settings {
                corrupted: Some(Positions::Last),
                points: vec![Point::MlpOut],
                places: Places::Each(Positions::Words),
                window: 1,
                draws: 6,
                seed: Seed(seed as u64),
                ..Default::default()
            };
            let case = about(sample(), Objective::logit(token as u32));
            let found = run(subject.as_ref(), &case, settings);
            let table = found.table("mlp_out/objective").unwrap();
            let (values, places) = (table.as_numbers().unwrap(), table.shape()[1]);
            let best = mmlens_core::finding::top(values).unwrap().unwrap();
            let total = scalar(&found, "clean objective") - scalar(&found, "corrupted objective");
            println!(
                "layer {layer}, strength {strength}: {} of {total}, at {:?}",
                values[best],
                (best / places, best % places)
            );
            let own = values[layer * places + places - 1];
            // A state further down brings back what is written above it, and may bring back more.
            let found = best % places == places - 1 && best / places <= layer && own > 0.3 * total;
            // Of one seed noise hardly takes anything of what the neuron writes, or adds to it.
            let known = total < 1.0 || found;
            faults.extend((!known).then(|| format!("seed {seed}, strength {strength}: {own} of {total}")));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}
