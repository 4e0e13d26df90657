//! In-context ablation: against transformers, against identities, against misuse, on the shapes world.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Labelled, Labels, Tolerance};
use mmlens_core::{
    Analysis, Case, ManyCases, Objective, On, Picture, Plan, Position, Reply, Sample, Seed, Subject, Words,
    from_fn,
};
use mmlens_data::shapes::{Kind, Split, World};
use mmlens_engine::distribution::largest;
use mmlens_inference::InContext;
use mmlens_inference::in_context::{By, Condition, Settings};
use mmlens_testkit::{Oracle, Toy, picture};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{few, kinds, numbers, opened, painted};

/// Logarithms of probabilities of several tokens, of logits in f32.
const NAT: Tolerance = Tolerance::either(5e-5, 2e-6);

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn named(table: &Labelled) -> Vec<String> {
    let Labels::Names(names) = &table.axes()[0].labels else { panic!("{table:?}") };
    names.clone()
}

fn at(found: &Finding, table: &str, condition: Condition) -> f32 {
    let name = serde_json::to_value(condition).unwrap();
    let table = found.table(table).unwrap();
    table.as_numbers().unwrap()[named(table).iter().position(|own| name == *own).unwrap()]
}

#[test]
fn prompts_are_judged_as_in_transformers() {
    for checkpoint in ["llava-a", "llama-b"] {
        let oracle = Oracle::open(&format!("methods/in-context-{checkpoint}")).unwrap();
        let about = |key: &str| oracle.about()[key].clone();
        let (names, questions, answers) =
            (texts(&about("pictures")), texts(&about("questions")), texts(&about("answers")));
        let settings = Settings {
            demonstrations: about("demonstrations").as_u64().unwrap() as usize,
            seed: Seed(about("seed").as_u64().unwrap()),
            ..Settings::default()
        };
        // As a prompt with its place for the picture, and as a question; of words alone as a prompt.
        let cases = from_fn("eight", questions.len(), move |i| {
            let pictures: Vec<Picture> =
                names.get(i).map(|name| Picture::open(picture(name)).unwrap()).into_iter().collect();
            let sample = match i % 2 {
                _ if pictures.is_empty() => Sample::text(questions[i].clone()),
                0 => Sample::prompt(pictures, format!("<image>{}", questions[i])),
                _ => Sample::new(pictures, Words::Question(questions[i].clone())),
            };
            Ok(Case::new(sample.answered(Reply::Text(answers[i].clone()))))
        });
        let many = ManyCases::over(cases).unwrap();
        let found = InContext::new(settings).unwrap().run(opened(checkpoint), &many).unwrap();
        for table in ["by case", "right by case", "log-probability", "right", "change", "change error"] {
            let wanted = &oracle.array(table).unwrap().values;
            let gap = NAT.check(table, numbers(&found, table), wanted).unwrap();
            println!("{checkpoint} {table}: {gap:?}");
        }
        let before: Vec<f64> = numbers(&found, "demonstrations").iter().map(|own| f64::from(*own)).collect();
        assert_eq!(before, oracle.array("demonstrations").unwrap().values);
        let names = named(found.table("right").unwrap());
        assert_eq!(names, texts(&about("conditions")));
    }
}

/// Letters with answers, each with a picture of its own.
fn lettered(count: usize, answer: impl Fn(usize) -> String + Send + Sync + 'static) -> ManyCases {
    let cases = from_fn("letters", count, move |i| {
        let sample =
            Sample::prompt(vec![painted(i as u32)], format!("#{}", ["a", "bc", "d", "ba", "c"][i % 5]));
        Ok(Case::new(sample.answered(Reply::Text(answer(i)))))
    });
    ManyCases::over(cases).unwrap()
}

fn run(subject: &dyn Subject, many: &ManyCases, settings: Settings) -> Finding {
    InContext::new(settings).unwrap().run(subject, many).unwrap()
}

proptest! {
    #![proptest_config(few())]

    /// Without demonstrations what is left is the question; where nothing is exchanged nothing changes; one demonstration has one order.
    #[test]
    fn conditions_change_what_they_say(seed in 0..99_u64, by in proptest::bool::ANY) {
        let toy = Toy::curved(seed);
        let by = if by { By::Random } else { By::Nearest("text.input".parse().unwrap()) };
        let letter = |i: usize| ["ef", "fa"][i % 2].to_owned();
        let settings = |demonstrations| Settings { demonstrations, by, between: " ".to_owned(), seed: Seed(seed), ..Settings::default() };
        let many = lettered(5, letter);
        let found = run(&toy, &many, settings(1));
        let (mut alone, mut right) = (0.0, 0.0);
        for i in 0..5 {
            let sample = many.data().case(i).unwrap().sample;
            let Some(Reply::Text(answer)) = sample.reply.clone() else { panic!() };
            let case = Case::answer(sample.answered(Reply::Text(format!(" {answer}"))));
            let (inputs, objective) = On::new(&toy).open(&case).unwrap();
            let Objective::Span { from, tokens, .. } = &objective else { panic!("{objective}") };
            let trace = toy.run(&inputs, Plan::new().objective(&objective)).unwrap();
            alone += f64::from(trace.scores().unwrap()[0]) / 5.0;
            let all = toy.run(&inputs, Plan::new().to_output()).unwrap();
            let likeliest = |at: usize| {
                let row = all.output().at(Position::At(at)).unwrap();
                let row = mmlens_core::AnyTensor::new(row).to_values().unwrap();
                largest(&row.iter().map(|own| f64::from(*own)).collect::<Vec<_>>(), 1)[0].0 as u32
            };
            right += f64::from(u8::from(tokens.iter().enumerate().all(|(at, own)| likeliest(from + at - 1) == *own))) / 5.0;
        }
        prop_assert!((f64::from(at(&found, "right", Condition::None)) - right).abs() < 1e-6);
        NAT.check("none", &[at(&found, "log-probability", Condition::None)], &[alone]).unwrap();
        prop_assert_eq!(at(&found, "change", Condition::Full), 0.0);
        prop_assert_eq!(at(&found, "change", Condition::Reversed), 0.0);
        prop_assert!(at(&found, "change", Condition::NoPictures) != 0.0);
        // One answer for all: there is no other.
        let same = run(&toy, &lettered(5, |_| "e".to_owned()), settings(2));
        prop_assert_eq!(at(&same, "change", Condition::OtherAnswers), 0.0);
        prop_assert!(at(&same, "change", Condition::Reversed) != 0.0);
        prop_assert_eq!(numbers(&same, "trivial"), &[1.0, 1.0, 1.0]);
        let changed: Vec<f32> = Condition::ALL.iter().map(|own| at(&same, "log-probability", *own) - at(&same, "log-probability", Condition::Full)).collect();
        for (own, condition) in changed.iter().zip(Condition::ALL) {
            prop_assert!((own - at(&same, "change", condition)).abs() < 1e-4, "{condition:?}");
        }
        for (index, before) in numbers(&found, "demonstrations").iter().enumerate() {
            prop_assert!(*before as usize != index);
        }
    }
}

/// Of one picture and its mirror image a thousandfold alike, each stands before the other.
#[test]
fn the_nearest_case_stands_last() {
    let many = from_fn("near", 6, |i| {
        // Pairs of the same letters; pictures and answers differ.
        let sample = Sample::prompt(vec![painted(7)], format!("#{}", ["aaa", "bcb", "ddf"][i % 3]));
        Ok(Case::new(sample.answered(Reply::Text(["e", "f"][i / 3].to_owned()))))
    });
    let by = By::Nearest("text.embed".parse().unwrap());
    let settings =
        Settings { demonstrations: 2, by, conditions: vec![Condition::None], ..Settings::default() };
    let found = run(&Toy::curved(3), &ManyCases::over(many).unwrap(), settings);
    let last: Vec<f32> = numbers(&found, "demonstrations").chunks(2).map(|own| own[1]).collect();
    assert_eq!(last, [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
    let prompt = found.table("first prompt").unwrap().get_text(&[]).unwrap().to_owned();
    assert!(prompt.ends_with("#aaa f\n#aaa"), "{prompt}");
}

#[test]
fn what_does_not_help_is_spoken_of() {
    let subject = mmlens_zoo::shipped::shapes(&Device::default()).unwrap();
    let world = World::new(5);
    let asked: Vec<(Picture, String, String)> = (0..99)
        .filter_map(|id| {
            let scene = world.scene(Split::Test, id);
            let question = scene.ask(Kind::Colour, &mut scene.rng(0))?;
            Some((Picture::new(format!("scene {id}"), scene.render()), question.text, question.answer))
        })
        .take(12)
        .collect();
    let cases = from_fn("scenes", 12, move |i| {
        let (picture, text, answer) = asked[i].clone();
        Ok(Case::new(Sample::ask(picture, text).answered(Reply::Text(answer))))
    });
    let form = "<user>{question}<assistant>{answer}".to_owned();
    let settings = Settings { demonstrations: 1, form, between: "<eos>".to_owned(), ..Settings::default() };
    let found = run(&subject, &ManyCases::over(cases).unwrap(), settings);
    println!("{:?}\n{:?}\n{:?}", numbers(&found, "right"), numbers(&found, "change"), found.cautions());
    println!("{:?}", found.table("first prompt").unwrap().get_text(&[]));
    // It was trained on one question a prompt.
    assert!(at(&found, "right", Condition::None) >= 0.75);
    assert!(kinds(&found).contains(&CautionKind::FewRows) && kinds(&found).contains(&CautionKind::NoBetter));
}

#[test]
fn cases_that_are_no_examples_are_refused() {
    let toy = Toy::curved(1);
    let said = |many: &ManyCases| {
        InContext::new(Settings::default()).unwrap().run(&toy, many).unwrap_err().to_string()
    };
    let of = |sample: fn(usize) -> Sample| {
        ManyCases::over(from_fn("some", 4, move |i| Ok(Case::new(sample(i))))).unwrap()
    };
    let none = said(&of(|_| Sample::text("ab")));
    assert_eq!(
        none,
        "in-context-ablation needs cases with a right answer in words, as their answer, but case 0 has none"
    );
    let tokens = said(&of(|_| Sample::text("ab").answered(Reply::Tokens(vec![1]))));
    assert!(tokens.ends_with("but case 0 has one in tokens"), "{tokens}");
    let placeless = said(&of(|i| match i {
        0 => Sample::prompt(vec![painted(1)], "#a").answered(Reply::Text("b".to_owned())),
        _ => Sample::prompt(vec![painted(1)], "a").answered(Reply::Text("b".to_owned())),
    }));
    assert!(placeless.contains("prompts that say where their pictures are"), "{placeless}");
    let few = ManyCases::over(from_fn("few", 2, |_| {
        Ok(Case::new(Sample::text("a").answered(Reply::Text("b".to_owned()))))
    }));
    assert!(said(&few.unwrap()).contains("more cases than the 2 that stand before each"));
    for (settings, wanted) in [
        (Settings { demonstrations: 0, ..Settings::default() }, "demonstrations = 0"),
        (
            Settings { form: "{answer} {question}".to_owned(), ..Settings::default() },
            "form = `{answer} {question}`",
        ),
        (Settings { form: "{question}".to_owned(), ..Settings::default() }, "form = `{question}`"),
        (Settings { image: Some(String::new()), ..Settings::default() }, "image = an empty text"),
        (
            Settings { conditions: vec![Condition::None; 2], ..Settings::default() },
            "conditions = `none` twice",
        ),
    ] {
        let refused = InContext::new(settings).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
}
