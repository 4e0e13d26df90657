//! Sessions about the shipped model: their numbers are those of the library's own calls, changes are taken back to the last bit, and what
//! is refused changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use mmlens_core::{
    Alteration, Altered, Baseline, Generation, Given, Inputs, Method, On, Picture, Plan, Position, Sample,
    Session, Subject, SubjectError, Unwatched, Watch, forward_subject,
};
use mmlens_data::shapes::{Kind as Asks, Split, World};
use mmlens_engine::{Absent, Aim, Coalition, Hiding, Positions, Units};
use mmlens_model::METHODS;
use mmlens_testkit::Toy;
use mmlens_whatif::{
    Answered, Difference, Direction, Kind, Refusal, Reply, Request, Settings, Shown, Top, WhatIf, WordFill,
    parse,
};
use mmlens_zoo::Vlm;
use serde_json::{Value, json};

static MODEL: LazyLock<Vlm> = LazyLock::new(|| mmlens_zoo::shipped::shapes(&Device::flex()).unwrap());

/// A scene of three objects, a question about the colour of one of them, its box, and the answer.
fn scene() -> (Sample, [f32; 4], String) {
    let world = World::new(5);
    for id in 0..1000 {
        let scene = world.scene(Split::Test, id);
        let asked = scene.ask(Asks::Colour, &mut scene.rng(0)).filter(|_| scene.objects.len() == 3);
        let Some(question) = asked else { continue };
        let bbox = scene.objects[question.evidence[0]].bbox.map(|edge| edge as f32);
        let picture = Picture::new("scene", scene.render());
        return (Sample::ask(picture, question.text.clone()), bbox, question.answer);
    }
    panic!("no scene has three objects")
}

fn begun(subject: &dyn Subject) -> WhatIf<'_> {
    WhatIf::begin(subject, scene().0, METHODS, Settings::default()).unwrap()
}

fn request(value: Value) -> Request {
    parse(value.to_string().as_bytes()).unwrap().1
}

fn done(session: &mut WhatIf<'_>, value: Value) -> Reply {
    session.now_do(request(value)).unwrap()
}

fn refused(session: &mut WhatIf<'_>, value: Value) -> Refusal {
    let before = session.state().clone();
    let refusal = session.now_do(request(value)).unwrap_err();
    assert_eq!(session.state(), &before, "{refusal}");
    refusal
}

fn asked(session: &mut WhatIf<'_>) -> Answered {
    let Reply::Answered(asked) = done(session, json!({"do": "ask"})) else { panic!("another reply") };
    *asked
}

fn difference(session: &mut WhatIf<'_>) -> Difference {
    let Reply::Difference(difference) = done(session, json!({"do": "difference", "top": 3})) else {
        panic!("another reply")
    };
    *difference
}

/// The cells whose middle lies in a box around an object.
fn around([x0, y0, x1, y1]: [f32; 4]) -> Value {
    json!({"do": "hide", "region": [x0 - 4.0, y0 - 4.0, x1 + 4.0, y1 + 4.0]})
}

/// What a subject generates and gives the next token.
fn own(subject: &dyn Subject, inputs: &Inputs) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let answer = subject.generate(inputs, &Generation::default()).unwrap().remove(0);
    let logits = subject.begin(inputs, Plan::new()).unwrap().logits().to_values().unwrap();
    (answer.tokens, answer.probabilities, logits)
}

fn said(asked: &Answered) -> (Vec<u32>, Vec<f32>) {
    asked.tokens.iter().map(|token| (token.id, token.probability)).unzip()
}

#[test]
fn hiding_the_object_takes_the_answer_away_and_undo_brings_its_bits_back() {
    let (_, bbox, right) = scene();
    let mut session = begun(&*MODEL);
    let first = asked(&mut session);
    assert_eq!((first.answer.as_str(), first.of), (right.as_str(), "tokens"));
    done(&mut session, around(bbox));
    let hidden = asked(&mut session);
    assert_ne!(hidden.answer, right);
    assert!(hidden.first.log_probability < first.first.log_probability - 1.0, "{hidden:?}");
    assert_eq!(
        (hidden.first.answer.as_str(), hidden.first.tokens[0].id),
        (right.as_str(), first.tokens[0].id)
    );
    let told = difference(&mut session);
    assert!(!told.same && told.before == right && told.divergence.unwrap() > 0.1);
    assert_eq!(told.likely[0].text.trim(), right);
    assert!(told.likely.iter().all(|one| one.change == one.after - one.before));
    assert_eq!(told.log_probability, [first.first.log_probability, hidden.first.log_probability]);
    done(&mut session, json!({"do": "undo"}));
    assert_eq!(asked(&mut session), first);
    // And in a session that never asked before.
    let mut other = begun(&*MODEL);
    done(&mut other, around(bbox));
    done(&mut other, json!({"do": "show", "all": true}));
    assert_eq!(asked(&mut other), first);
    done(&mut other, around(bbox));
    assert_eq!(asked(&mut other), hidden);
    done(&mut other, json!({"do": "reset"}));
    assert_eq!(difference(&mut other).divergence, Some(0.0));
}

/// The object without what lies around it leaves the answer; a part of the ground takes nothing.
#[test]
fn the_ground_may_go() {
    let (_, bbox, right) = scene();
    let mut session = begun(&*MODEL);
    let Reply::Described(told) = done(&mut session, json!({"do": "describe"})) else {
        panic!("another reply")
    };
    assert_eq!((told.pictures[0].cells.len(), told.pictures[0].width), (64, 64));
    let apart = |[x0, y0, x1, y1]: &[f32; 4]| {
        *x1 < bbox[0] - 4.0 || bbox[2] + 4.0 < *x0 || *y1 < bbox[1] - 4.0 || bbox[3] + 4.0 < *y0
    };
    let ground: Vec<usize> = (0..64).filter(|cell| apart(&told.pictures[0].cells[*cell])).collect();
    assert!(ground.len() > 20);
    done(&mut session, json!({"do": "hide", "cells": ground}));
    assert_eq!(asked(&mut session).answer, right);
}

/// Cells of a recording's spectrogram are hidden as those of a picture are, also beside one.
#[test]
fn a_part_of_a_recording_may_go() {
    let toy = Toy::curved(3).with_ears();
    let hum = (0..9600).map(|at| (at as f32 * 0.2).sin() * 0.3).collect();
    let hum = mmlens_core::sound::Sound::new("hum", hum, 16_000).unwrap();
    let grey = Picture::new(
        "grey",
        image::RgbImage::from_fn(8, 8, |x, y| image::Rgb([(x * 30) as u8, (y * 30) as u8, 9])),
    );
    for pictures in [Vec::new(), vec![grey]] {
        let (at, words) = (pictures.len(), if pictures.is_empty() { "~ab" } else { "#~ab" });
        let sample = Sample::prompt(pictures, words).with_recordings(vec![hum.clone()]);
        let settings = Settings { grid: [2, 3], ..Settings::default() };
        let mut session = WhatIf::begin(&toy, sample.clone(), METHODS, settings).unwrap();
        let Reply::Described(told) = done(&mut session, json!({"do": "describe"})) else { panic!() };
        assert_eq!((told.pictures.len(), told.pictures[at].name.as_str()), (at + 1, "hum"));
        let inputs = toy.encode(&sample).unwrap();
        for (fill, absent) in [
            (json!("silence"), Absent::Silence),
            (json!("mean"), Baseline::Mean.into()),
            (json!({"noise": {"seed": 7}}), Absent::Noise { seed: mmlens_core::Seed(7) }),
        ] {
            done(&mut session, json!({"do": "reset"}));
            done(&mut session, json!({"do": "hide", "picture": at, "cells": [1, 4], "picture_fill": fill}));
            let units = Units::cells(&inputs, at, [2, 3]).unwrap().instead(absent);
            let hiding = Hiding::new(&toy, &sample, &inputs, units).unwrap();
            let (hidden, _) = hiding.only(&Coalition::all(6).without(1).without(4)).unwrap();
            let (tokens, probabilities, _) = own(&toy, &hidden);
            let found = said(&asked(&mut session));
            assert_eq!(
                (&found.0[..], &found.1[..]),
                (&tokens[..found.0.len()], &probabilities[..found.1.len()]),
                "{fill}"
            );
            assert_ne!(probabilities, own(&toy, &inputs).1, "{fill}");
        }
        let blur = refused(
            &mut session,
            json!({"do": "hide", "picture": at, "cells": [0], "picture_fill": {"blur": {"sigma": 2.0}}}),
        );
        assert!(blur.to_string().contains("a part of a recording"), "{blur}");
    }
}

#[test]
fn hidden_cells_give_what_the_library_gives() {
    let (sample, bbox, _) = scene();
    let mut session = begun(&*MODEL);
    for fill in [json!("mean"), json!("zero"), json!({"blur": {"sigma": 3.0}}), json!({"noise": {"seed": 7}})]
    {
        let mut hide = around(bbox);
        hide["picture_fill"] = fill.clone();
        let Reply::State(now) = done(&mut session, hide) else { panic!("another reply") };
        let absent: Absent = match &fill {
            Value::String(name) if name == "mean" => Baseline::Mean.into(),
            Value::String(_) => Baseline::Zero.into(),
            Value::Object(own) if own.contains_key("blur") => Absent::Blur { sigma: 3.0 },
            _ => Absent::Noise { seed: mmlens_core::Seed(7) },
        };
        let inputs = MODEL.encode(&sample).unwrap();
        let units = Units::cells(&inputs, 0, [8, 8]).unwrap().instead(absent);
        let hiding = Hiding::new(&*MODEL, &sample, &inputs, units).unwrap();
        let hidden = &now.hidden[&0];
        let (inputs, _) =
            hiding.only(&hidden.iter().fold(Coalition::all(64), |some, cell| some.without(*cell))).unwrap();
        let (tokens, shares, logits) = own(&*MODEL, &inputs);
        let asked = asked(&mut session);
        assert_eq!(said(&asked), (tokens, shares), "{fill}");
        assert_eq!(asked.likely[0].logit, logits[asked.likely[0].id as usize]);
        assert_eq!(now.alterations.len(), 1);
        assert!(now.alterations[0].starts_with("picture 0, cells "), "{:?}", now.alterations);
    }
}

#[test]
fn struck_words_give_what_the_library_gives() {
    let (sample, ..) = scene();
    let mut session = begun(&*MODEL);
    let first = asked(&mut session);
    for (fill, absent) in [
        (WordFill::Unattended, Absent::Unattended),
        (WordFill::Zero, Baseline::Zero.into()),
        (WordFill::Mean, Baseline::Mean.into()),
    ] {
        let Reply::State(now) = done(&mut session, json!({"do": "hide", "words": [1, 4], "word_fill": fill}))
        else {
            panic!("another reply")
        };
        assert_eq!(now.words.iter().filter(|word| word.struck).count(), 2);
        let inputs = MODEL.encode(&sample).unwrap();
        let units = Units::words(&inputs, &Positions::Question).unwrap().instead(absent);
        let hiding = Hiding::new(&*MODEL, &sample, &inputs, units).unwrap();
        let all = Coalition::all(hiding.units().len());
        let (inputs, plan) = hiding.only(&all.without(1).without(4)).unwrap();
        let trace = MODEL.run(&inputs.last_logits(), plan.to_output()).unwrap();
        let logits =
            mmlens_core::AnyTensor::new(trace.output().at(Position::Last).unwrap()).to_values().unwrap();
        let asked = asked(&mut session);
        let found: Vec<f32> = asked.likely.iter().map(|one| one.logit).collect();
        let own: Vec<f32> = asked.likely.iter().map(|one| logits[one.id as usize]).collect();
        assert_eq!(found, own, "{fill:?}");
        assert_ne!(found, first.likely.iter().map(|one| one.logit).collect::<Vec<_>>(), "{fill:?}");
    }
}

#[test]
fn edits_and_directions_give_what_the_library_gives() {
    let (sample, ..) = scene();
    let values: Vec<f32> =
        (0..MODEL.anatomy().iter().find(|own| own.part == mmlens_core::Part::Text).unwrap().d_model)
            .map(|i| (i as f32).sin())
            .collect();
    let mut session =
        begun(&*MODEL).directions(vec![Direction { name: "waves".to_owned(), values: values.clone() }]);
    let head = "text.blocks.1.attn.z[head=0]=zero";
    done(&mut session, json!({"do": "edit", "edit": head}));
    let steer = json!({"do": "steer", "name": "slider", "direction": "waves", "site": "text.blocks.2.resid_post", "strength": 1.5});
    let Reply::State(now) = done(&mut session, steer.clone()) else { panic!("another reply") };
    let names: Vec<&str> = now.edits.iter().map(|edit| edit.name.as_str()).collect();
    assert_eq!(names, ["1", "slider"]);
    let added: Vec<f32> = values.iter().map(|value| value * 1.5).collect();
    let added = mmlens_core::AnyTensor::from_values(added, &[values.len()], &Device::flex()).unwrap();
    let add = Alteration::new(
        "text.blocks.2.resid_post",
        mmlens_core::Region::all(),
        mmlens_core::Change::Add(added),
    );
    let altered = Altered::new(&*MODEL, [Alteration::parse(head).unwrap(), add.unwrap()]).unwrap();
    let (tokens, shares, _) = own(&altered, &altered.encode(&sample).unwrap());
    assert_eq!(said(&asked(&mut session)), (tokens, shares));
    assert_eq!(now.alterations, altered.alterations());
    // An edit of a name that is there is replaced, in its place.
    let mut weaker = steer;
    weaker["strength"] = json!(0.0);
    done(&mut session, weaker);
    let alone = Altered::new(&*MODEL, [Alteration::parse(head).unwrap()]).unwrap();
    let (tokens, shares, _) = own(&alone, &alone.encode(&sample).unwrap());
    assert_eq!(said(&asked(&mut session)), (tokens, shares));
    let Reply::State(now) = done(&mut session, json!({"do": "unedit", "names": ["1"]})) else {
        panic!("another reply")
    };
    assert_eq!(now.edits.len(), 1);
    done(&mut session, json!({"do": "unedit", "all": true}));
    assert_eq!(difference(&mut session).divergence, Some(0.0));
}

#[test]
fn a_map_is_the_finding_of_its_method_under_the_state() {
    let (sample, bbox, _) = scene();
    let mut session = begun(&*MODEL);
    done(&mut session, around(bbox));
    done(&mut session, json!({"do": "edit", "edit": "text.blocks.1.attn.z[head=0]=zero"}));
    let settings = json!({"words": null});
    let method = Method::called(METHODS, "occlusion").unwrap();
    let Reply::Mapped(map) =
        done(&mut session, json!({"do": "map", "method": "occlusion", "settings": settings}))
    else {
        panic!("another reply")
    };
    let cells = hidden_cells(&mut session);
    let head = Alteration::parse("text.blocks.1.attn.z[head=0]=zero").unwrap();
    let subject = Shown::new(Altered::new(&*MODEL, [head]).unwrap(), &cells, [8, 8], Baseline::Mean);
    let on = On::new(&subject);
    let settled = Aim::default().at_most(64).settle(&on, sample).unwrap();
    let made = method.make(settings).unwrap();
    let finding = made.run_given(&on, &Given::new(settled.case).unwrap()).unwrap();
    let answer = finding.answer();
    assert_eq!(map.numbers.as_deref(), answer[0].as_numbers());
    assert_eq!((map.axes.as_slice(), map.table.as_str()), (answer[0].axes(), answer[0].name()));
    assert_eq!(finding.provenance.alterations, subject.alterations());
}

fn hidden_cells(
    session: &mut WhatIf<'_>,
) -> std::collections::BTreeMap<usize, std::collections::BTreeSet<usize>> {
    let Reply::Described(told) = done(session, json!({"do": "describe"})) else { panic!("another reply") };
    told.state.hidden.into_iter().map(|(picture, cells)| (picture, cells.into_iter().collect())).collect()
}

#[test]
fn words_are_replaced_and_struck_ones_keep_their_places() {
    let (sample, ..) = scene();
    let mut session = begun(&*MODEL);
    let Reply::State(now) = done(&mut session, json!({"do": "hide", "words": [4]})) else {
        panic!("another reply")
    };
    let texts: Vec<String> = now.words.iter().map(|word| word.text.clone()).collect();
    assert_eq!(&texts[..2], ["what", "colour"]);
    let Reply::State(now) = done(&mut session, json!({"do": "replace", "word": 1, "by": "is this"})) else {
        panic!("another reply")
    };
    assert!(now.question.as_deref().unwrap().starts_with("what is this "), "{now:?}");
    let struck: Vec<&str> =
        now.words.iter().filter(|word| word.struck).map(|word| word.text.as_str()).collect();
    assert_eq!(struck, [texts[4].as_str()]);
    done(&mut session, json!({"do": "undo"}));
    done(&mut session, json!({"do": "show", "all": true}));
    done(&mut session, json!({"do": "replace", "word": 1, "by": "shape"}));
    let question = session.state().text().unwrap().to_owned();
    let other = Sample::ask(sample.pictures[0].clone(), question);
    let (tokens, shares, _) = own(&*MODEL, &MODEL.encode(&other).unwrap());
    assert_eq!(said(&asked(&mut session)), (tokens, shares));
    done(&mut session, json!({"do": "question", "text": "how many objects are there ?"}));
    assert_eq!(asked(&mut session).answer, "3");
}

#[test]
fn what_cannot_be_is_refused_by_its_field_and_changes_nothing() {
    let mut session = begun(&*MODEL);
    done(&mut session, json!({"do": "hide", "cells": [0]}));
    for (value, kind, field) in [
        (json!({"do": "hide", "cells": [64]}), Kind::Missing, "cells"),
        (json!({"do": "hide", "picture": 1, "cells": [0]}), Kind::Missing, "picture"),
        (json!({"do": "hide", "region": [200, 200, 300, 300]}), Kind::Missing, "region"),
        (json!({"do": "hide", "words": [99]}), Kind::Missing, "words"),
        (json!({"do": "hide"}), Kind::Request, "do"),
        (json!({"do": "hide", "cells": [1], "picture_fill": {"blur": {"sigma": -1.0}}}), Kind::Model, "do"),
        (json!({"do": "hide", "words": [1], "word_fill": "mask"}), Kind::Model, "do"),
        (json!({"do": "show", "cells": [64]}), Kind::Missing, "cells"),
        (json!({"do": "replace", "word": 99, "by": ""}), Kind::Missing, "word"),
        (json!({"do": "replace", "word": 0, "by": "x".repeat(300)}), Kind::Size, "by"),
        (json!({"do": "question", "text": "x".repeat(9000)}), Kind::Size, "text"),
        (json!({"do": "edit", "edit": "text.blocks.1.attn.z[haed=0]=zero"}), Kind::Request, "edit"),
        (json!({"do": "edit", "edit": "text.blocks.99.attn.z=zero"}), Kind::Model, "edit"),
        (json!({"do": "edit", "edit": "text.blocks.1.resid_post[pos=4000]=zero"}), Kind::Model, "edit"),
        (json!({"do": "edit", "edit": "text.blocks.1.resid_post=add:/etc/passwd#x"}), Kind::Request, "edit"),
        (
            json!({"do": "edit", "edit": format!("text.blocks.1.attn.z[head={}]=zero", "0,".repeat(600))}),
            Kind::Size,
            "edit",
        ),
        (json!({"do": "edit", "edit": "text.blocks.1.attn.z=zero", "name": ""}), Kind::Request, "name"),
        (
            json!({"do": "steer", "direction": "red", "site": "text.blocks.1.resid_post", "strength": 1}),
            Kind::Missing,
            "direction",
        ),
        (json!({"do": "unedit", "names": ["7"]}), Kind::Missing, "names"),
        (json!({"do": "ask", "top": 0}), Kind::Size, "top"),
        (json!({"do": "map", "method": "oclusion"}), Kind::Missing, "method"),
        (json!({"do": "map", "method": "occlusion", "settings": {"nonsense": 1}}), Kind::Request, "settings"),
    ] {
        let refusal = refused(&mut session, value.clone());
        assert_eq!((refusal.kind, refusal.field.as_str()), (kind, field), "{value}: {refusal}");
        assert!(!refusal.expected.is_empty());
    }
    done(&mut session, json!({"do": "aim", "aim": {"span": "nothing of the kind"}}));
    assert_eq!(refused(&mut session, json!({"do": "map", "method": "occlusion"})).field, "aim");
    for _ in 0..2 {
        done(&mut session, json!({"do": "undo"}));
    }
    assert_eq!(refused(&mut session, json!({"do": "undo"})).found, "undo");
    let cut = Settings { most_rows: 3, ..Settings::default() };
    let mut short = WhatIf::begin(&*MODEL, scene().0, METHODS, cut).unwrap();
    assert_eq!(refused(&mut short, json!({"do": "map", "method": "occlusion"})).kind, Kind::Size);
    let wide = Settings { grid: [65, 1], ..Settings::default() };
    assert_eq!(WhatIf::begin(&*MODEL, scene().0, METHODS, wide).unwrap_err().field, "grid");
}

/// Goes on for so many steps.
struct Steps(AtomicUsize);

impl Watch for Steps {
    fn step(&self, _: &'static str, _: usize, _: usize) -> ControlFlow<()> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[test]
fn what_is_stopped_is_said_and_asked_again() {
    let mut session = begun(&*MODEL);
    for steps in [0, 1] {
        let refusal = session.request(Request::Ask { top: Top(5) }, &Steps(steps.into())).unwrap_err();
        assert_eq!(refusal.kind, Kind::Stopped, "{refusal}");
    }
    let map = request(json!({"do": "map", "method": "occlusion"}));
    assert_eq!(session.request(map, &Steps(2.into())).unwrap_err().kind, Kind::Stopped);
    assert_eq!(asked(&mut session).answer, scene().2);
}

/// A subject that counts how often it reads a prompt, and how often it encodes one.
struct Counted<'a> {
    inner: &'a Vlm,
    begun: AtomicUsize,
    encoded: AtomicUsize,
}

impl Subject for Counted<'_> {
    forward_subject!(|own| own.inner; name, weights_hash, alterations, dtype, device, kernels, edited, sites, anatomy, read_behind, weights, weight,
        forward, resumes_from_suffix, need, dims, fits, run, read_out, longest_answer, rules, generate, decode, token, tokens, mask, pad);

    fn encode(&self, sample: &Sample) -> Result<Inputs, SubjectError> {
        self.encoded.fetch_add(1, Ordering::SeqCst);
        self.inner.encode(sample)
    }

    fn begin(&self, inputs: &Inputs, plan: Plan) -> Result<Box<dyn Session + '_>, SubjectError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.inner.begin(inputs, plan)
    }
}

/// What is unchanged is computed once: asking again takes no row, a state beside it not the first one's.
#[test]
fn what_is_known_is_not_computed_again() {
    let counted = Counted { inner: &MODEL, begun: AtomicUsize::new(0), encoded: AtomicUsize::new(0) };
    let mut session = begun(&counted);
    let rows = |session: &mut WhatIf<'_>| {
        let before = counted.begun.load(Ordering::SeqCst);
        asked(session);
        counted.begun.load(Ordering::SeqCst) - before
    };
    let once = rows(&mut session);
    assert_eq!(once, 1);
    assert_eq!(rows(&mut session), 0);
    done(&mut session, json!({"do": "hide", "cells": [0]}));
    assert_eq!(rows(&mut session), 1);
    let encoded = counted.encoded.load(Ordering::SeqCst);
    done(&mut session, json!({"do": "edit", "edit": "text.blocks.1.attn.z[head=0]=zero"}));
    assert_eq!((rows(&mut session), counted.encoded.load(Ordering::SeqCst)), (1, encoded));
    done(&mut session, json!({"do": "undo"}));
    done(&mut session, json!({"do": "undo"}));
    assert_eq!(rows(&mut session), 0);
    done(&mut session, json!({"do": "aim", "aim": {"measure": "logit"}}));
    assert_eq!(rows(&mut session), 0);
    done(&mut session, json!({"do": "hide", "cells": [0]}));
    assert_eq!(rows(&mut session), 0);
}

#[test]
fn lines_are_answered_one_by_one_whatever_they_hold() {
    let toy = Toy::curved(1);
    let mut session = WhatIf::begin(&toy, Sample::text("abcd"), &[], Settings::default()).unwrap();
    let mut lines = b"{\"do\": \"ask\", \"id\": 1}\n\nno json\n{\"do\": \"dance\", \"id\": \"b\"}\n".to_vec();
    lines.extend(std::iter::repeat_n(b'x', 200_000));
    lines.write_all(b"\n\xff\xfe\n{\"do\": \"undo\"}\n{\"do\": \"ask\", \"id\": 2}").unwrap();
    let mut replies = Vec::new();
    session.converse(lines.as_slice(), &mut replies, &Unwatched).unwrap();
    let replies: Vec<Value> =
        String::from_utf8(replies).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |at: usize| {
        (
            replies[at]["id"].clone(),
            replies[at]["error"]["kind"].clone(),
            replies[at]["error"]["field"].clone(),
        )
    };
    assert_eq!(replies.len(), 7);
    assert_eq!((&replies[0]["done"], &replies[0]["version"], of(0).0), (&json!("ask"), &json!(1), json!(1)));
    assert_eq!(of(1), (Value::Null, json!("request"), json!("do")));
    assert_eq!(of(2), (json!("b"), json!("request"), json!("do")));
    assert_eq!(of(3), (Value::Null, json!("size"), json!("do")));
    assert_eq!(of(4), (Value::Null, json!("request"), json!("do")));
    assert_eq!(of(5), (Value::Null, json!("missing"), json!("do")));
    assert_eq!(replies[6]["result"], replies[0]["result"]);
}

/// A dual encoder is asked which caption fits, and is shown pictures without some cells.
#[test]
fn captions_are_asked_for_too() {
    let model = mmlens_zoo::shipped::shapes_clip(&Device::flex()).unwrap();
    let (sample, bbox, _) = scene();
    let captions = ["a red circle .", "a blue star ."];
    let sample = Sample::captions(sample.pictures[0].clone(), captions);
    let mut session = WhatIf::begin(&model, sample.clone(), METHODS, Settings::default()).unwrap();
    let first = asked(&mut session);
    assert_eq!((first.of, first.likely.len()), ("captions", 2));
    assert!(captions.contains(&first.answer.as_str()));
    let told = difference(&mut session);
    assert_eq!((told.likely.len(), told.divergence), (2, Some(0.0)));
    done(&mut session, around(bbox));
    assert_ne!(asked(&mut session).likely, first.likely);
    assert_eq!(refused(&mut session, json!({"do": "hide", "words": [0]})).kind, Kind::Missing);
    done(&mut session, json!({"do": "reset"}));
    assert_eq!(asked(&mut session), first);
}
