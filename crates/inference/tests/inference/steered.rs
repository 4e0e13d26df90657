//! Directions that an answer is steered by: against transformers and numpy, against identities, against misuse.

use mmlens_core::finding::{CautionKind, Tolerance, largest};
use mmlens_core::{
    Altered, Analysis, Annotated, Case, Examples, Fit, Fitted, Generation, Given, Objective, On, Outcome,
    Picture, Plan, Region, Reply, Sample, Seed, Session, Subject, Target, Unwatched, from_fn,
};
use mmlens_inference::caa::{Applied, Caa, Learned, Settings, Steering, Way};
use mmlens_inference::{Decoder, decoding::Branches};
use mmlens_testkit::{Oracle, Toy, analysis_breaches, picture};
use proptest::prelude::*;

use crate::support::{few, kinds, numbers, opened, painted, shown};

/// Passes in f32 with a cache, against passes in f32 without one.
const SCORE: Tolerance = Tolerance::either(5e-5, 5e-6);
/// Means of rows of passes in f32.
const DIRECTION: Tolerance = Tolerance::either(2e-6, 2e-6);

fn site() -> mmlens_core::Site {
    "text.blocks.1.resid_post".parse().unwrap()
}

fn steering(learned: Learned) -> Steering {
    Steering::new(learned).unwrap()
}

/// Scores of a row at every step along some tokens.
fn along(mut session: Branches<'_>, tokens: &[u32]) -> Vec<f32> {
    let mut said = session.scores()[0].scores.clone();
    for token in tokens {
        session.step(&[*token], Plan::new()).unwrap();
        said.extend(&session.scores()[0].scores);
    }
    said
}

#[test]
fn directions_and_steered_scores_are_those_of_transformers() {
    for name in ["llava-a", "llama-b"] {
        let oracle = Oracle::open(&format!("methods/steering-{name}")).unwrap();
        let about = oracle.about();
        let subject = opened(name);
        let prompts: Vec<String> =
            about["prompts"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
        let shows = about["picture"].as_str().map(|name| Picture::open(picture(name)).unwrap());
        let of = move |i: usize| Sample::prompt(shows.clone().into_iter().collect(), prompts[i].clone());
        let first = of(0);
        let data = from_fn("prompts", 8, move |i| Ok(Case::new(of(i))));
        let data = Annotated::new(data, ["even", "odd"], (0..8).map(|i| i % 2).collect()).unwrap();
        let settings = Settings { site: site(), held_out: 0.25, ..Settings::default() };
        let seed = Seed(about["seed"].as_u64().unwrap());
        let Outcome { fitted, finding, .. } =
            Caa::new(settings).unwrap().learn(&On::new(subject), &data, seed).unwrap();
        let learned = Analysis::settings(&fitted).clone();
        let wanted = &oracle.array("direction").unwrap().values;
        let gap = DIRECTION.check("direction", &learned.direction, wanted).unwrap();
        println!("{name}: direction {:.1e}", gap.absolute);
        assert_eq!(
            f64::from(numbers(&finding, "separation")[0]),
            oracle.array("separation").unwrap().values[0]
        );
        let tokens: Vec<u32> =
            about["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let inputs = subject.encode(&first).unwrap();
        for (form, key) in [(Way::Add, "add"), (Way::Turn, "turn")] {
            let mut found = Vec::new();
            for strength in about["strengths"].as_array().unwrap() {
                let strength = strength.as_f64().unwrap() as f32;
                let own = steering(Learned { form, strength, ..learned.clone() });
                found.extend(along(own.begin(subject, &inputs).unwrap(), &tokens));
            }
            let gap = SCORE.check(key, &found, &oracle.array(key).unwrap().values).unwrap();
            println!("{name}, {key}: {} scores, {:.1e}", found.len(), gap.absolute);
            // The change of the first step's logits is what the method tells, too.
            let (vocab, plain) = (found.len() / 6, &oracle.array("plain").unwrap().values);
            let case = Case { target: Target::Objective(Objective::logit(7)), ..Case::new(first.clone()) };
            let own = Learned { form, strengths: vec![-1.5, 0.75], draws: 2, ..learned.clone() };
            let told = steering(own).run(subject, &case).unwrap();
            let wanted = [0, 3].map(|row| f64::from(found[row * vocab + 7]) - plain[7]);
            SCORE.check("change", &numbers(&told, "change")[..2], &wanted).unwrap();
        }
    }
}

fn learned(seed: u64, width: usize) -> Learned {
    let direction = mmlens_engine::direction(width, Seed(seed));
    Learned { site: site(), direction, ..Learned::default() }
}

fn width(subject: &dyn Subject) -> usize {
    subject.sites().iter().find(|spec| spec.site == site()).unwrap().axes.last().unwrap().1.unwrap()
}

fn greedy(max_new: usize) -> Generation {
    Generation { max_new, stop_at_end: false, ..Generation::default() }
}

proptest! {
    #![proptest_config(few())]
    #[test]
    fn no_strength_is_plain_decoding_to_the_bit(seed in 0_u64..1000) {
        let toy = Toy::curved(seed);
        let inputs = toy.encode(&Sample::prompt(vec![painted(seed as u32)], "#abc")).unwrap();
        let plain = toy.generate(&inputs, &greedy(4)).unwrap();
        for form in [Way::Add, Way::Turn] {
            let own = steering(Learned { form, strength: 0.0, ..learned(seed, width(&toy)) });
            prop_assert_eq!(&own.write(&toy, &inputs, &greedy(4)).unwrap(), &plain);
        }
        let none = steering(Learned { strengths: vec![0.0], ..learned(seed, width(&toy)) });
        let case = Case::new(Sample::prompt(vec![painted(seed as u32)], "#abc"));
        let found = none.run(&toy, &case).unwrap();
        prop_assert_eq!(numbers(&found, "change"), [0.0, 0.0]);
    }

    #[test]
    fn everywhere_is_the_standing_edit(seed in 0_u64..1000) {
        let toy = Toy::curved(seed);
        let inputs = toy.encode(&Sample::prompt(vec![painted(seed as u32)], "#abc")).unwrap();
        let own = Learned { applied: Applied::Everywhere, strength: 1.5, ..learned(seed, width(&toy)) };
        let own = steering(own);
        let standing = Altered::new(Toy::curved(seed), [own.alteration().unwrap()]).unwrap();
        let (steered, edited) =
            (own.write(&toy, &inputs, &greedy(3)).unwrap(), standing.generate(&inputs, &greedy(3)).unwrap());
        prop_assert_eq!(&steered[0].tokens, &edited[0].tokens);
        let gaps: Vec<f32> =
            steered[0].probabilities.iter().zip(&edited[0].probabilities).map(|(a, b)| a - b).collect();
        prop_assert!(largest(&gaps).unwrap() < 1e-5);
        let plain = toy.generate(&inputs, &greedy(3)).unwrap();
        prop_assert!(plain[0].probabilities != steered[0].probabilities);
    }

    #[test]
    fn a_case_with_an_answer_is_steered_as_it_is_written(seed in 0_u64..1000) {
        let toy = Toy::curved(seed);
        let sample = Sample::prompt(vec![painted(seed as u32)], "#abc");
        let own = steering(Learned { strength: 1.0, strengths: vec![1.0], draws: 1, ..learned(seed, width(&toy)) });
        let inputs = toy.encode(&sample).unwrap();
        let tokens = toy.tokens("cd").unwrap();
        prop_assert!(tokens.len() > 1);
        let logs = |session: Branches<'_>| {
            let values = along(session, &tokens[..tokens.len() - 1]);
            let vocab = values.len() / tokens.len();
            let rows = values.chunks(vocab).zip(&tokens);
            rows.map(|(row, token)| mmlens_engine::distribution::log_probabilities(row)[*token as usize]).sum::<f64>()
        };
        let plain = steering(Learned { strength: 0.0, ..Analysis::settings(&own).clone() });
        let wanted = logs(own.begin(&toy, &inputs).unwrap()) - logs(plain.begin(&toy, &inputs).unwrap());
        let answered = sample.answered(Reply::Tokens(tokens.clone()));
        let found = own.run(&toy, &Case::answer(answered)).unwrap();
        let found = f64::from(numbers(&found, "change")[0]);
        prop_assert!((found - wanted).abs() < 1e-4, "{} {}", found, wanted);
    }
}

#[test]
fn a_planted_direction_is_found_and_saved() {
    let (width, mut rows, mut labels) = (6, Vec::new(), Vec::new());
    for i in 0..60_u64 {
        let side = i % 2;
        let noise = mmlens_engine::direction(width, Seed(i));
        let shift = if side == 0 { 2.0 } else { -1.0 };
        rows.extend(noise.iter().enumerate().map(|(at, x)| (x + if at == 3 { shift } else { 0.0 }) as f32));
        labels.push(side as usize);
    }
    let examples = Examples::new("drawn", rows, vec!["up".to_owned(), "down".to_owned()], labels).unwrap();
    let caa = |positive: Option<&str>| {
        let settings = Settings { positive: positive.map(str::to_owned), ..Settings::default() };
        Caa::new(settings).unwrap().fit(&examples, Seed(5), &Unwatched)
    };
    let up = caa(None).unwrap();
    let direction = Analysis::settings(&up.fitted).direction.clone();
    // 2 less -1, give or take the means of some twenty-five draws of length one.
    assert!((direction[3] - 3.0).abs() < 0.4, "{direction:?}");
    assert!(direction.iter().enumerate().all(|(at, x)| at == 3 || x.abs() < 0.4), "{direction:?}");
    let separation = numbers(&up.finding, "separation");
    assert!(separation[0] > 0.99 && separation[1] < 0.99, "{separation:?}");
    assert!(kinds(&up.finding).is_empty());
    let down = caa(Some("down")).unwrap();
    let other: Vec<f64> = Analysis::settings(&down.fitted).direction.iter().map(|x| -x).collect();
    assert_eq!(other, direction);
    let said = caa(Some("left")).unwrap_err().to_string();
    assert!(said.contains("`up` and `down`") && said.contains("`left`"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("caa.safetensors");
    up.fitted.save(&path).unwrap();
    assert_eq!(Analysis::settings(&Steering::load(&path).unwrap()), Analysis::settings(&up.fitted));
    // The program's edit reads the direction from there.
    let text = format!("text.blocks.0.resid_post=add:{}#direction*0.5", path.display());
    let read = mmlens_core::Alteration::parse(&text).unwrap();
    assert!(matches!(read.change(), mmlens_core::Change::Add(_)) && *read.region() == Region::all());
}

#[test]
fn what_chance_does_as_well_is_cautioned_of() {
    let rows: Vec<f32> =
        (0..40_u64).flat_map(|i| mmlens_engine::direction(6, Seed(i))).map(|x| x as f32).collect();
    let labels = (0..40).map(|i| i % 2).collect();
    let examples = Examples::new("noise", rows, vec!["a".to_owned(), "b".to_owned()], labels).unwrap();
    let found = Caa::new(Settings::default()).unwrap().fit(&examples, Seed(2), &Unwatched).unwrap();
    assert!(kinds(&found.finding).contains(&CautionKind::NoBetter));
    let few: Vec<f32> =
        (0..8_u64).flat_map(|i| mmlens_engine::direction(6, Seed(i))).map(|x| x as f32).collect();
    let labels = (0..8).map(|i| i / 4).collect();
    let examples = Examples::new("few", few, vec!["a".to_owned(), "b".to_owned()], labels).unwrap();
    let settings = Settings { held_out: 0.5, ..Settings::default() };
    let few = (0..9)
        .find_map(|seed| Caa::new(settings.clone()).unwrap().fit(&examples, Seed(seed), &Unwatched).ok());
    assert!(kinds(&few.unwrap().finding).contains(&CautionKind::FewRows));
    // A direction that nothing reads moves no case more than a random one does.
    let toy = Toy::curved(1);
    let mut nothing = learned(1, width(&toy));
    nothing.direction.iter_mut().for_each(|x| *x *= 1e-12);
    let case = Case::new(Sample::prompt(vec![painted(1)], "#abc"));
    assert!(kinds(&steering(nothing).run(&toy, &case).unwrap()).contains(&CautionKind::NoBetter));
}

#[test]
fn what_is_learned_keeps_the_contract() {
    let toy = Toy::curved(2);
    let sample = Sample::prompt(vec![painted(1)], "#abc");
    for sample in [sample.clone(), sample.answered(Reply::Text("ab".to_owned()))] {
        for form in [Way::Add, Way::Turn] {
            for applied in [Applied::Spoken, Applied::Everywhere] {
                let own = Learned { form, applied, draws: 2, rows: 3, ..learned(4, width(&toy)) };
                let given = Given::new(Case::new(sample.clone())).unwrap();
                let probe = toy.encode(&sample).unwrap();
                let breaches = analysis_breaches(&steering(own), &toy, &given, &probe);
                assert!(breaches.is_empty(), "{}", breaches.join("\n"));
            }
        }
    }
}

#[test]
fn misuse_is_refused() {
    let refused = |learned: Learned| Steering::new(learned).err().unwrap().to_string();
    let own = learned(1, 8);
    assert!(refused(Learned { direction: Vec::new(), ..own.clone() }).contains("learned"));
    assert!(refused(Learned { direction: vec![0.0; 4], ..own.clone() }).contains("above zero"));
    assert!(refused(Learned { strengths: vec![f32::NAN], ..own.clone() }).contains("finite"));
    assert!(refused(Learned { draws: 0, ..own.clone() }).contains("draws"));
    let subject = opened("llava-a");
    let inputs = subject.encode(&shown("square", "<image>Red?")).unwrap();
    let short = steering(Learned { direction: vec![1.0; 3], ..own.clone() });
    assert!(short.begin(subject, &inputs).err().unwrap().to_string().contains("the direction has 3"));
    let tower = Learned { site: "vision.blocks.0.resid_post".parse().unwrap(), ..own };
    let said = steering(tower).begin(subject, &inputs).err().unwrap().to_string();
    assert!(said.contains("a row for each position of the decoder"), "{said}");
}
