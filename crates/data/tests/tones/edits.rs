//! Counterfactual scenes, and what is true of them.

use mmlens_core::Words;
use mmlens_data::tones::{
    Counterfactual, Edit, EditError, Event, Kind, Length, Loudness, Pitch, RATE, Scene, Split, Timbre, World,
};

use crate::support::{check, read, truth};

fn scenes(count: u64) -> impl Iterator<Item = Scene> {
    (0..count).map(|index| World::new(5).scene(Split::Test, index))
}

fn edits() -> Vec<Edit> {
    let mut all = vec![Edit::Remove, Edit::Start(400), Edit::Start(1130), Edit::Start(2200)];
    all.extend(Timbre::ALL.iter().map(|own| Edit::Timbre(*own)));
    all.extend(Pitch::ALL.iter().map(|own| Edit::Pitch(*own)));
    all.extend(Length::ALL.iter().map(|own| Edit::Length(*own)));
    all.extend(Loudness::ALL.iter().map(|own| Edit::Loudness(*own)));
    all
}

fn made(scene: &Scene) -> Vec<Counterfactual> {
    let all = (0..scene.events.len()).flat_map(|event| edits().into_iter().map(move |edit| (event, edit)));
    all.filter_map(|(event, edit)| scene.counterfactual(event, edit).ok()).collect()
}

fn samples(event: &Event) -> std::ops::Range<usize> {
    let at = |milliseconds: u32| (milliseconds * RATE / 1000) as usize;
    at(event.start)..at(event.end())
}

#[test]
fn a_recording_differs_where_the_sound_was_or_is_and_nowhere_else() {
    let (mut looked, mut differ) = (0, 0);
    for scene in scenes(12) {
        for made in made(&scene) {
            let (own, new) = made.edited();
            let changed = made.changed();
            assert!(changed.contains(&true), "{}", made.edit);
            for (at, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
                assert!(
                    samples(own.unwrap()).contains(&at) || new.is_some_and(|new| samples(new).contains(&at))
                );
                differ += 1;
            }
            looked += 1;
        }
    }
    assert!(looked > 200 && differ > 500_000, "{looked} {differ}");
}

#[test]
fn only_the_edited_sound_is_another() {
    for scene in scenes(20) {
        for made in made(&scene) {
            let mut others = made.after.events.clone();
            if made.edit == Edit::Remove {
                assert_eq!(others.len() + 1, scene.events.len());
            } else {
                let (own, was) = (others.remove(made.event), scene.events[made.event]);
                let same = [
                    own.timbre == was.timbre,
                    own.pitch == was.pitch && own.hertz == was.hertz,
                    own.length == was.length && own.milliseconds == was.milliseconds,
                    own.loudness == was.loudness && own.level == was.level,
                    own.start == was.start,
                ];
                assert_eq!(same.iter().filter(|same| !**same).count(), 1, "{}", made.edit);
                assert_eq!(own.grain, was.grain);
            }
            let mut before = scene.events.clone();
            before.remove(made.event);
            assert_eq!(others, before);
            assert_eq!((made.after.noise, made.after.grain), (scene.noise, scene.grain));
        }
    }
}

/// Every question the world asks is answered as the world answers it; in an edited scene as a second reader does.
#[test]
fn questions_are_answered_by_what_is_there() {
    let (mut answered, mut none, mut unclear) = (0, 0, 0);
    for scene in scenes(40) {
        let questions = scene.questions();
        for question in &questions {
            assert_eq!(scene.answered(&question.text).as_ref(), Some(question), "{}", question.text);
        }
        for made in made(&scene).iter().step_by(3) {
            for question in questions.iter().step_by(5) {
                match made.after.answered(&question.text) {
                    Some(other) => {
                        assert_eq!((other.kind, &other.text), (question.kind, &question.text));
                        check(&made.after, &other);
                        answered += 1;
                    }
                    None if made.after.is_clear() => none += 1,
                    None => unclear += 1,
                }
            }
        }
    }
    assert!(answered > 1000 && none > 100 && unclear > 100, "{answered} {none} {unclear}");
}

/// Whether an edit of a sound can matter to a question that it is not the evidence for: where it says what is not there, what is first or
/// loudest, or makes a name mean more than one.
fn hangs_on_others(edit: Edit, question: &mmlens_data::tones::Question) -> bool {
    let ranked =
        ["first sound", "second sound", "last sound"].iter().any(|rank| question.text.contains(rank));
    match edit {
        Edit::Start(_) => ranked || question.kind == Kind::Overlap,
        Edit::Length(_) => question.kind == Kind::Overlap,
        Edit::Loudness(_) => question.text.contains("loudest"),
        Edit::Remove => ranked || question.text.contains("loudest"),
        Edit::Pitch(_) | Edit::Timbre(_) => matches!(question.kind, Kind::Count | Kind::Existence),
    }
}

/// The answer changes where the edited sound is evidence for it, in a property that is asked about, or where it hangs on the sound
/// otherwise; nowhere else.
#[test]
fn answers_change_exactly_where_they_should() {
    let (mut same, mut other, mut by_property) = (0, 0, 0);
    for scene in scenes(30) {
        let questions = scene.questions();
        for made in made(&scene) {
            if !made.after.is_clear() {
                continue;
            }
            for question in &questions {
                let Some([own, edited]) = made.answers(&question.text) else { continue };
                assert_eq!(&own, question);
                let evidence = question.evidence.contains(&made.event);
                if !evidence && !hangs_on_others(made.edit, question) {
                    assert_eq!(own.answer, edited.answer, "{}:{} {}", made.event, made.edit, question.text);
                    same += 1;
                }
                // What is asked is what was edited, of a sound called by something else.
                let asked = matches!(
                    (made.edit, question.kind),
                    (Edit::Pitch(_), Kind::Pitch)
                        | (Edit::Timbre(_), Kind::Timbre)
                        | (Edit::Length(_), Kind::Length)
                        | (Edit::Loudness(_), Kind::Loudness)
                );
                if evidence && asked {
                    assert_ne!(own.answer, edited.answer, "{}:{} {}", made.event, made.edit, question.text);
                    by_property += 1;
                }
                other += usize::from(own.answer != edited.answer);
            }
        }
    }
    assert!(same > 2000 && other > 1000 && by_property > 150, "{same} {other} {by_property}");
}

#[test]
fn flips_change_the_answer_and_leave_all_clear() {
    let mut by_kind = std::collections::BTreeMap::new();
    for scene in scenes(25) {
        let questions = scene.questions();
        let overlap = questions.iter().filter(|question| question.kind == Kind::Overlap);
        for question in questions.iter().step_by(5).chain(overlap) {
            for made in scene.flips(&question.text) {
                let [own, other] = made.answers(&question.text).unwrap();
                assert_eq!(own, *question);
                assert_ne!(own.answer, other.answer);
                assert!(made.after.is_clear());
                let second = read(&truth(&made.after), &question.text).unwrap();
                assert_eq!(second.answer, other.answer);
                *by_kind.entry(question.kind).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(by_kind.len(), Kind::ALL.len(), "{by_kind:?}");
}

#[test]
fn a_pair_plays_both_recordings_and_asks_the_same() {
    let scene = World::new(5).scene(Split::Test, 1);
    let made = scene.counterfactual(0, Edit::Remove).unwrap();
    let pair = made.pair("how many sounds are there ?").unwrap();
    assert_eq!(pair.clean.sample.words, Words::Question("how many sounds are there ?".to_owned()));
    assert_eq!(pair.corrupted.words, pair.clean.sample.words);
    assert_eq!(pair.clean.sample.recordings[0].samples(), scene.sound("one").unwrap().samples());
    assert_eq!(pair.corrupted.recordings[0].samples(), scene.without(0).sound("other").unwrap().samples());
    assert_eq!(pair.difference(), "test 1, 0:remove");
}

#[test]
fn what_cannot_be_is_refused() {
    let scene = World::new(5).scene(Split::Test, 2);
    let said = |event, edit| scene.counterfactual(event, edit).unwrap_err();
    let len = scene.events.len();
    assert_eq!(said(9, Edit::Remove), EditError::NoEvent { index: 9, len });
    let own = Edit::Pitch(scene.events[0].pitch);
    assert_eq!(said(0, own), EditError::Same { index: 0, edit: own.to_string() });
    let end = f64::from(2950 + scene.events[0].milliseconds) / 1000.0;
    assert_eq!(said(0, Edit::Start(2950)), EditError::Outside { index: 0, end });
    assert_eq!(
        said(0, Edit::Start(2950)).to_string(),
        format!("sound 0 would end at {end} s, behind the end of the recording at 3 s")
    );
}
