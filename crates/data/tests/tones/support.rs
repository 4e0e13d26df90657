//! A second reading of the world, written apart from the generator: it reads a question as text and answers it from a list of sounds.

use mmlens_data::tones::{Kind, Length, Loudness, Mention, Pitch, Question, Scene, Timbre};

/// A sound, as whoever hears it would write it down: times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) timbre: Timbre,
    pub(crate) pitch: Pitch,
    pub(crate) length: Length,
    pub(crate) loudness: Loudness,
    pub(crate) seconds: [f64; 2],
}

/// What is true of a scene.
pub(crate) fn truth(scene: &Scene) -> Vec<Heard> {
    let heard = |event: &mmlens_data::tones::Event| Heard {
        timbre: event.timbre,
        pitch: event.pitch,
        length: event.length,
        loudness: event.loudness,
        seconds: event.seconds(),
    };
    scene.events.iter().map(heard).collect()
}

/// Asserts that a question's answer, evidence and mentions are what a reader of its text would say.
pub(crate) fn check(scene: &Scene, question: &Question) {
    let about = || format!("scene {} {}: {question:?}", scene.split, scene.id);
    let heard = truth(scene);
    let read = read(&heard, &question.text).unwrap_or_else(|| panic!("cannot read {}", about()));
    assert_eq!(question.kind, read.kind, "kind of {}", about());
    assert_eq!(question.answer, read.answer, "answer of {}", about());
    assert_eq!(question.evidence, read.evidence, "evidence of {}", about());
    assert_eq!(question.mentions, read.mentions, "mentions of {}", about());
    for mention in &question.answer_mentions {
        let noun = question.answer.split(' ').nth(mention.word).unwrap();
        let own = heard[mention.event].timbre.word();
        assert!(noun == own || noun == "sound", "noun of the answer of {}", about());
    }
    let named = match question.kind {
        Kind::Describe => heard.len(),
        Kind::Order => 1,
        _ => 0,
    };
    assert_eq!(question.answer_mentions.len(), named, "nouns of the answer of {}", about());
}

pub(crate) struct Reading {
    pub(crate) kind: Kind,
    pub(crate) answer: String,
    pub(crate) evidence: Vec<usize>,
    pub(crate) mentions: Vec<Mention>,
}

/// Reads a question, and answers it from what is heard. None for one that cannot be read, or that these sounds do not answer.
pub(crate) fn read(heard: &[Heard], text: &str) -> Option<Reading> {
    let words: Vec<&str> = text.split(' ').collect();
    let reading = |kind, answer: &str, mut evidence: Vec<usize>, mentions: Vec<Mention>| {
        evidence.sort_unstable();
        Some(Reading { kind, answer: answer.to_owned(), evidence, mentions })
    };
    match words.as_slice() {
        ["what", "pitch", "is", rest @ .., "?"] => {
            let (event, mention) = the(heard, rest, 3)?;
            let answer = heard[event].pitch.word();
            assert!(!rest.contains(&answer), "the question gives its answer away");
            reading(Kind::Pitch, answer, vec![event], vec![mention])
        }
        ["what", "kind", "is", rest @ .., "?"] => {
            let (event, mention) = the(heard, rest, 3)?;
            let answer = heard[event].timbre.word();
            assert!(!rest.contains(&answer), "the question gives its answer away");
            reading(Kind::Timbre, answer, vec![event], vec![mention])
        }
        ["how", asked @ ("long" | "loud"), "is", rest @ .., "?"] => {
            let (event, mention) = the(heard, rest, 3)?;
            assert!(!rest.iter().any(|word| ["short", "long", "soft", "loud"].contains(word)));
            let (kind, answer) = match *asked {
                "long" => (Kind::Length, heard[event].length.word()),
                _ => (Kind::Loudness, heard[event].loudness.word()),
            };
            reading(kind, answer, vec![event], vec![mention])
        }
        ["when", "does", rest @ .., "begin", "?"] => {
            let (event, mention) = the(heard, rest, 2)?;
            let answer = match heard[event].seconds[0] {
                ..1.0 => "early",
                1.0..2.0 => "midway",
                _ => "late",
            };
            reading(Kind::Begin, answer, vec![event], vec![mention])
        }
        ["how", "many", rest @ .., "are", "there", "?"] => {
            let events = fitting(heard, rest);
            let mentions = at(words.len() - 4, &events);
            reading(Kind::Count, &events.len().to_string(), events, mentions)
        }
        ["is", "there", "a", rest @ .., "?"] => {
            let events = fitting(heard, rest);
            let mentions = at(words.len() - 2, &events);
            reading(Kind::Existence, if events.is_empty() { "no" } else { "yes" }, events, mentions)
        }
        ["which", "comes", "first", ",", rest @ .., "?"] => {
            let cut = rest.iter().position(|word| *word == "or")?;
            let (one, first) = the(heard, &rest[..cut], 4)?;
            let (other, second) = the(heard, &rest[cut + 1..], 4 + cut + 1)?;
            assert_ne!(one, other);
            let before = heard[one].seconds[0] < heard[other].seconds[0];
            let words = if before { &rest[1..cut] } else { &rest[cut + 2..] };
            reading(Kind::Order, &words.join(" "), vec![one, other], vec![first, second])
        }
        ["does", rest @ .., "?"] => {
            let cut = rest.iter().position(|word| *word == "begin")?;
            let (one, first) = the(heard, &rest[..cut], 1)?;
            let (other, second) = the(heard, &rest[cut + 2..], 1 + cut + 2)?;
            assert_ne!(one, other);
            let before = heard[one].seconds[0] < heard[other].seconds[0];
            let yes = match rest[cut + 1] {
                "before" => before,
                "after" => !before,
                _ => return None,
            };
            reading(Kind::Before, if yes { "yes" } else { "no" }, vec![one, other], vec![first, second])
        }
        ["do", "two", "sounds", "overlap", "?"] => {
            assert!(heard.len() > 1);
            let both = |index: &usize| {
                let [from, to] = heard[*index].seconds;
                let others = heard.iter().enumerate().filter(|(other, _)| other != index);
                // no NaN: times are finite
                others.into_iter().any(|(_, other)| other.seconds[0].max(from) < other.seconds[1].min(to))
            };
            let events: Vec<usize> = (0..heard.len()).filter(both).collect();
            reading(Kind::Overlap, if events.is_empty() { "no" } else { "yes" }, events, vec![])
        }
        ["describe", "the", "recording", "."] | ["what", "is", "in", "the", "recording", "?"] => {
            let mut all: Vec<&Heard> = heard.iter().collect();
            all.sort_by(|one, other| one.seconds[0].total_cmp(&other.seconds[0]));
            let phrase = |Heard { timbre, pitch, length, loudness, .. }: &&Heard| {
                [length.word(), loudness.word(), pitch.word(), timbre.word()].join(" ")
            };
            let phrases: Vec<String> = all.iter().map(|own| format!("a {}", phrase(own))).collect();
            reading(Kind::Describe, &phrases.join(" , "), (0..heard.len()).collect(), vec![])
        }
        _ => None,
    }
}

/// The one sound that "the ..." refers to.
fn the(heard: &[Heard], words: &[&str], from: usize) -> Option<(usize, Mention)> {
    let (&"the", rest) = words.split_first()? else { return None };
    let by_time = |last: usize| {
        let mut all: Vec<usize> = (0..heard.len()).collect();
        all.sort_by(|one, other| heard[*one].seconds[0].total_cmp(&heard[*other].seconds[0]));
        all.get(last).copied()
    };
    let ranked = (heard.len() > 1).then_some(());
    let event = match rest {
        ["first", "sound"] => ranked.and_then(|()| by_time(0)),
        ["second", "sound"] => (heard.len() == 3).then(|| by_time(1)).flatten(),
        ["last", "sound"] => ranked.and_then(|()| by_time(heard.len() - 1)),
        ["loudest", "sound"] => ranked.and_then(|()| {
            let loud: Vec<usize> =
                (0..heard.len()).filter(|index| heard[*index].loudness == Loudness::Loud).collect();
            (loud.len() == 1).then(|| loud[0])
        }),
        _ => match fitting(heard, rest).as_slice() {
            [event] => Some(*event),
            _ => None,
        },
    }?;
    Some((event, Mention { word: from + words.len() - 1, event }))
}

fn at(word: usize, events: &[usize]) -> Vec<Mention> {
    events.iter().map(|&event| Mention { word, event }).collect()
}

/// The sounds that fit every word of an expression.
fn fitting(heard: &[Heard], words: &[&str]) -> Vec<usize> {
    let fits = |own: &Heard, word: &str| {
        let plural = match own.timbre.word() {
            "buzz" => "buzzes".to_owned(),
            "hiss" => "hisses".to_owned(),
            timbre => format!("{timbre}s"),
        };
        word == "sound"
            || word == "sounds"
            || [own.timbre.word(), own.pitch.word(), own.length.word(), &plural].contains(&word)
    };
    (0..heard.len()).filter(|&index| words.iter().all(|word| fits(&heard[index], word))).collect()
}
