//! Chains of thought: against transformers, against identities, against misuse.

use burn::tensor::Device;
use mmlens_core::finding::{CautionKind, Finding, Tolerance};
use mmlens_core::{
    Analysis, AnalysisError, Case, Generation, Objective, On, Picture, Plan, Reply, Sample, Subject,
};
use mmlens_data::{shapes, tones};
use mmlens_inference::early_answering::{EarlyAnswering, Mistake, Settings};
use mmlens_inference::uncertainty::clusters::normalised;
use mmlens_testkit::{Oracle, Toy};
use proptest::prelude::*;

use crate::support::{asked, few, kinds, numbers, opened, painted};

/// Sums of three log-probabilities of passes in f32, with a cache and without.
const LOGS: Tolerance = Tolerance::either(1e-5, 1e-5);

fn method(settings: Settings) -> EarlyAnswering {
    EarlyAnswering::new(settings).unwrap()
}

fn texts<'a>(finding: &'a Finding, table: &str) -> &'a [String] {
    finding.table(table).unwrap().as_texts().unwrap()
}

#[test]
fn answers_behind_a_cut_chain_are_those_of_transformers() {
    for name in ["llava-a", "gpt2-a"] {
        let oracle = Oracle::open(&format!("methods/early-answering-{name}")).unwrap();
        let about = oracle.about();
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let list = |name: &str| -> Vec<String> { about[name].as_array().unwrap().iter().map(word).collect() };
        let count = |name: &str| about[name].as_u64().unwrap() as usize;
        let mistake = Mistake {
            at: about["mistake"]["at"].as_u64().unwrap() as usize,
            sentence: word(&about["mistake"]["sentence"]),
        };
        let settings = Settings {
            ask: word(&about["ask"]),
            filler: word(&about["filler"]),
            max_new: count("max_new"),
            mistakes: vec![mistake],
            chain: count("anew"),
        };
        let (chain, answers, chains) = (list("chain"), list("answers"), list("chains"));
        let sample = asked(&about["picture"], &word(&about["prompt"]));
        let case = Case::new(sample.answered(Reply::Text(chain.concat())));
        let found = EarlyAnswering::new(settings).unwrap().run(opened(name), &case).unwrap();
        assert_eq!(texts(&found, "sentences"), chain);
        let trimmed: Vec<String> = answers.iter().map(|answer| answer.trim().to_owned()).collect();
        assert_eq!(texts(&found, "answer"), &trimmed[..=chain.len()]);
        assert_eq!(texts(&found, "chains"), &chains[chain.len() + 1..]);
        let wanted = &oracle.array("log probability").unwrap().values;
        let (kept, instead) = wanted.split_at(chain.len() + 1);
        for (table, wanted) in [("log probability", kept), ("instead log probability", instead)] {
            let gap = LOGS.check(table, numbers(&found, table), wanted).unwrap();
            println!("{name} {table}: {:.1e}", gap.absolute);
        }
        // None of the answers is that behind the whole chain, but for that one.
        assert_eq!(numbers(&found, "same answer"), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(numbers(&found, "area over the curve"), [1.0]);
        assert_eq!(numbers(&found, "instead"), [0.0, 0.0]);
        assert_eq!(kinds(&found), []);
    }
}

/// The shipped models, each with a chain in its own words, settings that are, too, and how many tokens the chain has.
fn shipped() -> [(Box<dyn Subject>, Sample, Settings, usize); 2] {
    let device = Device::default();
    let settings = |ask: &str| Settings {
        ask: ask.to_owned(),
        filler: " .".to_owned(),
        max_new: 3,
        mistakes: vec![Mistake { at: 1, sentence: "there are two . ".to_owned() }],
        chain: 4,
    };
    let seen = shapes::World::new(5).scene(shapes::Split::Test, 0).render();
    let seen = Sample::ask(Picture::new("scene", seen), "what colour is the circle ?");
    let heard = tones::World::new(5).scene(tones::Split::Test, 0).sound("scene").unwrap();
    let heard = Sample::hear(heard, "how many sounds are there ?");
    let behind = |sample: Sample, chain: &str| sample.answered(Reply::Text(chain.to_owned()));
    let seen = behind(seen, "there is a red circle . there is a blue square . the circle is large .");
    let heard = behind(heard, "there is a deep beep . there is a high buzz . there are many sounds .");
    let shapes = Settings {
        mistakes: vec![Mistake { at: 1, sentence: "there is a ring . ".to_owned() }],
        ..settings(" the circle is")
    };
    [
        (Box::new(mmlens_zoo::shipped::shapes(&device).unwrap()), seen, shapes, 17),
        (Box::new(mmlens_zoo::shipped::tones(&device).unwrap()), heard, settings(" there are"), 17),
    ]
}

/// What ships inside has few words, and neither the paper's filler nor its question for the answer among them.
#[test]
fn shipped_models_are_asked_in_their_own_words() {
    for (subject, sample, settings, long) in shipped() {
        let case = Case::new(sample);
        let refused = |settings: &Settings| {
            let method = method(settings.clone());
            let costed = method.cost(&On::new(subject.as_ref()), &case).unwrap_err();
            let said = method.run(subject.as_ref(), &case).unwrap_err();
            assert_eq!(said.to_string(), costed.to_string());
            match said {
                AnalysisError::Setting { setting, found, .. } => (setting, found),
                other => panic!("{other}"),
            }
        };
        let default = Settings::default();
        let papers = Settings { ask: default.ask.clone(), ..settings.clone() };
        assert_eq!(refused(&papers), ("ask", "` So the answer is`".to_owned()));
        let dots = Settings { filler: default.filler, ..settings.clone() };
        assert_eq!(refused(&dots), ("filler", format!("`{}`", " ...".repeat(long))));
        // Without a space between them they are one word, which it does not have.
        let joined = Settings { filler: ".".to_owned(), ..settings.clone() };
        assert_eq!(refused(&joined), ("filler", format!("`{}`", ".".repeat(long))));
        let sentence = "there is a dragon . ".to_owned();
        let strange = Settings { mistakes: vec![Mistake { at: 0, sentence }], ..settings.clone() };
        assert_eq!(refused(&strange), ("mistakes", "`there is a dragon . `".to_owned()));
        let found = method(settings.clone()).run(subject.as_ref(), &case).unwrap();
        assert_eq!(texts(&found, "sentences").len(), 3);
        let concepts = found.table("instead").unwrap().axes()[0].clone();
        assert_eq!(concepts.label(0).unwrap(), "filler");
        assert_eq!(texts(&found, "chains")[0], " .".repeat(long));
        let inputs = |text: String| subject.encode(&case.sample.clone().answered(Reply::Text(text))).unwrap();
        let chain = texts(&found, "sentences").concat();
        let (filled, whole) = (inputs(" .".repeat(long)), inputs(chain));
        assert_eq!(filled.positions(), whole.positions());
        // What it says behind the filler is what the model itself says there.
        let asked = inputs(format!("{}{}", " .".repeat(long), settings.ask));
        let how = Generation { max_new: 3, ..Generation::default() };
        let said = subject.generate(&asked, &how).unwrap().remove(0).text;
        let same = normalised(&said) == normalised(&texts(&found, "answer")[3]);
        assert_eq!(numbers(&found, "instead")[0], f32::from(u8::from(same)));
        println!("{:?} {said:?} {:?}", texts(&found, "answer"), texts(&found, "chains"));
        println!("{:?} {:?}", numbers(&found, "same answer"), numbers(&found, "log probability"));
    }
}

proptest! {
    #![proptest_config(few())]

    /// With the whole chain the answer is the same, and so with a mistake that is none and has nothing behind it; the area follows from what is the same; answers
    /// and their log-probabilities are the model's own.
    #[test]
    fn a_whole_chain_says_what_it_says(seed in 0..500_u64) {
        let toy = Toy::curved(seed);
        let sample = Sample::prompt(vec![painted(seed as u32)], "#ab");
        let chain = ["cd. ", "efg! ", "hij. ", "kl."];
        let mistakes = vec![Mistake { at: 3, sentence: "kl.".to_owned() }, Mistake { at: 1, sentence: "zz. ".to_owned() }];
        let settings = Settings { ask: "so".to_owned(), max_new: 2, mistakes, chain: 0, ..Settings::default() };
        let case = Case::new(sample.clone().answered(Reply::Text(chain.concat())));
        let found = method(settings).run(&toy, &case).unwrap();
        let same = numbers(&found, "same answer");
        prop_assert_eq!((same.len(), same[4], numbers(&found, "instead")[1]), (5, 1.0, 1.0));
        let area = 1.0 - same[..4].iter().sum::<f32>() / 4.0;
        prop_assert_eq!(numbers(&found, "area over the curve"), [area]);
        let whole = texts(&found, "answer")[4].clone();
        for (kept, same) in same.iter().enumerate() {
            let text = format!("{}so", chain[..kept].concat());
            let inputs = toy.encode(&sample.clone().answered(Reply::Text(text))).unwrap();
            let how = Generation { max_new: 2, ..Generation::default() };
            let said = toy.generate(&inputs, &how).unwrap().remove(0);
            prop_assert_eq!(&said.text, &texts(&found, "answer")[kept]);
            prop_assert_eq!(*same == 1.0, normalised(&said.text) == normalised(&whole));
            // A toy writes what stands for pictures too, and does not read it in a whole pass.
            if kept == 4 && !said.tokens.contains(&26) {
                let own = said.tokens.clone();
                let both = inputs.clone().with(|batch| batch.ids[0].extend(&own)).unwrap().all_logits();
                let span = Objective::span(inputs.positions(), own);
                let score = toy.run(&both, Plan::new().objective(span)).unwrap().scores().unwrap()[0];
                LOGS.check("whole", &numbers(&found, "log probability")[4..], &[score]).unwrap();
            }
        }
        prop_assert_eq!(&texts(&found, "chains")[2], "cd. zz. ");
    }
}

#[test]
fn cautions_come_where_they_should() {
    let toy = Toy::curved(1);
    let found = |chain: &str| {
        let sample = Sample::text("ab").answered(Reply::Text(chain.to_owned()));
        let settings = Settings { ask: String::new(), max_new: 2, ..Settings::default() };
        method(settings).run(&toy, &Case::new(sample)).unwrap()
    };
    let (mut moved, mut unmoved) = (0, 0);
    for chain in ["a. a. a. a.", "b. b. b.", "z. y. x. w.", "q. qq. qqq. q.", "cd. ef. gh. ij.", "m. n. o."] {
        let found = found(chain);
        let all = numbers(&found, "same answer").iter().all(|same| *same == 1.0);
        assert_eq!(kinds(&found).contains(&CautionKind::NothingMoved), all, "{chain}");
        if all { unmoved += 1 } else { moved += 1 }
    }
    println!("{moved} moved, {unmoved} unmoved");
    assert!(moved > 0);
    assert!(kinds(&found("ab. cd.")).contains(&CautionKind::FewRows));
    // Whatever it reads, a model with nothing behind its words says one thing.
    let nothing = mmlens_core::Alteration::new(
        "text.blocks.1.resid_post",
        mmlens_core::Region::all(),
        mmlens_core::Change::Zero,
    )
    .unwrap();
    let still = mmlens_core::Altered::new(Toy::curved(1).ending(0..27), [nothing]).unwrap();
    let sample = Sample::text("ab").answered(Reply::Text("c. d. e.".to_owned()));
    let found =
        method(Settings { max_new: 1, ..Settings::default() }).run(&still, &Case::new(sample)).unwrap();
    assert_eq!(kinds(&found), [CautionKind::NothingMoved]);
    assert_eq!(numbers(&found, "area over the curve"), [0.0]);
}

#[test]
fn what_is_no_chain_is_refused() {
    let toy = Toy::curved(1);
    let said = |settings: Settings, sample: Sample| {
        method(settings).run(&toy, &Case::new(sample)).unwrap_err().to_string()
    };
    assert_eq!(
        said(Settings::default(), Sample::text("ab")),
        "early-answering needs a chain of thought, as the answer of the case, but it holds none"
    );
    let beyond =
        Settings { mistakes: vec![Mistake { at: 2, sentence: "x.".to_owned() }], ..Settings::default() };
    assert_eq!(
        said(beyond, Sample::text("ab").answered(Reply::Text("c. d.".to_owned()))),
        "early-answering needs mistakes in sentences of the chain, counted from 0, but a mistake is at 2, and the chain has 2 sentences"
    );
    let none = Settings { max_new: 0, ..Settings::default() };
    assert_eq!(
        EarlyAnswering::new(none).unwrap_err().to_string(),
        "early-answering: max_new = 0, but it must be at least 1"
    );
    let blank = Settings { filler: " \n".to_owned(), ..Settings::default() };
    assert_eq!(
        EarlyAnswering::new(blank).unwrap_err().to_string(),
        "early-answering: filler = ` \n`, but there must be a word in it"
    );
    let empty =
        Settings { mistakes: vec![Mistake { at: 1, sentence: " ".to_owned() }], ..Settings::default() };
    assert_eq!(
        EarlyAnswering::new(empty).unwrap_err().to_string(),
        "early-answering: mistakes = no words at 1, but each must have a sentence"
    );
}
