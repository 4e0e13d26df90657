//! The studio in a real browser: patches are clicked and dragged over, words struck, heads switched off, and what the page shows changes
//! with the model's numbers; undo brings them back; nothing is wrong on the console.
//!
//! Without a browser the tests are listed as ignored, unless `MMLENS_BROWSER=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a program of tests")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use burn::tensor::Device;
use libtest_mimic::{Arguments, Trial};
use mmlens_core::{Picture, Sample, Subject};
use mmlens_data::shapes::{Kind, Split, World};
use mmlens_model::METHODS;
use mmlens_testkit::{Seen, without_browser};
use mmlens_whatif::{Direction, Server, Settings, Token, WhatIf, page};
use serde_json::Value;

/// What a script of the test does with the page, once it is ready, and says at its end.
fn driven(script: &str, object: &str) -> Value {
    let world = World::new(5);
    let (scene, question) = (0..1000)
        .find_map(|id| {
            let scene = world.scene(Split::Test, id);
            let question = scene.ask(Kind::Colour, &mut scene.rng(0)).filter(|_| scene.objects.len() == 3)?;
            Some((scene, question))
        })
        .expect("a scene of three objects");
    let [x0, y0, x1, y1] = scene.objects[question.evidence[0]].bbox;
    let inside = |cell: &u32| {
        let (x, y) = (cell % 8 * 8 + 4, cell / 8 * 8 + 4);
        x0 <= x + 4 && x <= x1 + 4 && y0 <= y + 4 && y <= y1 + 4
    };
    let cells: Vec<u32> = (0..64).filter(inside).collect();
    let script = format!(
        "(async () => {{
  const cells = {cells:?};
  const at = (id) => document.getElementById(id);
  const wait = (what, check) => new Promise((done, fail) => {{
    let left = 800;
    const look = () => {{ if (check()) done(); else if (left-- === 0) fail(new Error(what + ': ' + at('status').textContent)); else setTimeout(look, 25); }};
    look();
  }});
  const ready = () => at('status').textContent === '' && at('likely').children.length > 0;
  const shown = () => ({{ answer: at('answer').textContent, likely: [...at('likely').children].map((row) => [row.dataset.id, row.dataset.after]) }});
  const became = async (what, before) => {{ await wait(what, () => ready() && JSON.stringify(shown()) !== JSON.stringify(before)); return shown(); }};
  const cell = (index) => document.querySelectorAll('.cell')[index];
  let said;
  try {{ await wait('the page', ready); said = await (async () => {{ {script} }})(); }} catch (error) {{ said = {{ error: String(error) }}; }}
  const bytes = new TextEncoder().encode(JSON.stringify(said));
  document.body.dataset.said = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
}})();"
    );
    let picture = Picture::new("scene", scene.render());
    let document = page(std::slice::from_ref(&picture), &[&script]).unwrap();
    let server =
        Server::bind("127.0.0.1:0".parse().unwrap(), Token::drawn().unwrap(), Some(document)).unwrap();
    let (address, stop) = (server.page(), Arc::<AtomicBool>::default());
    let (stopped, sample) = (stop.clone(), Sample::ask(picture, question.text));
    let serving = thread::spawn(move || {
        let model = mmlens_zoo::shipped::shapes(&Device::flex()).unwrap();
        let width = model.anatomy().last().unwrap().d_model;
        let direction = Direction { name: "ones".to_owned(), values: vec![1.0; width] };
        let mut session =
            WhatIf::begin(&model, sample, METHODS, Settings::default()).unwrap().directions(vec![direction]);
        server.serve(&mut session, &|| stopped.load(Ordering::SeqCst)).unwrap();
    });
    let seen = Seen::at(&address, &["--virtual-time-budget=30000"]);
    stop.store(true, Ordering::SeqCst);
    serving.join().unwrap();
    let said = seen.said();
    assert_eq!(said.get("error"), None, "{object}: {said}");
    said
}

/// The share of the first token of a list, which is the answer's before any change.
fn share(shown: &Value) -> f64 {
    shown["likely"][0][1].as_str().unwrap().parse().unwrap()
}

fn a_patch_that_is_clicked_changes_the_probability_and_undo_brings_it_back() {
    let said = driven(
        "const before = shown();
         cell(cells[0]).click();
         const one = await became('one patch', before);
         const pressed = cell(cells[0]).getAttribute('aria-pressed');
         const pointer = (kind, node) => node.dispatchEvent(new PointerEvent(kind, { bubbles: true, pointerId: 1 }));
         pointer('pointerdown', cell(cells[1]));
         for (const own of cells.slice(2)) pointer('pointerenter', cell(own));
         pointer('pointerup', cell(cells[1]));
         const all = await became('the object', one);
         at('undo').click();
         await became('undo', all);
         at('undo').click();
         const back = await became('undo', one);
         return { before, one, all, back, pressed };",
        "a patch",
    );
    assert_eq!((&said["pressed"], &said["back"]), (&Value::from("true"), &said["before"]));
    let [before, one, all] = ["before", "one", "all"].map(|name| share(&said[name]));
    assert!(before > 0.9 && one != before && all < 0.5 * before, "{before} {one} {all}");
    assert_ne!(said["all"]["answer"], said["before"]["answer"]);
}

fn words_heads_and_a_direction_change_it_too() {
    let said = driven(
        "const before = shown();
         const word = () => at('words').children[1];
         word().click();
         const struck = await became('a word', before);
         const line = getComputedStyle(word()).textDecorationLine;
         at('reset').click();
         await became('reset', struck);
         const head = document.querySelector('[data-head=\"text.1.0\"]');
         head.click();
         const off = await became('a head', before);
         const pressed = head.getAttribute('aria-pressed');
         head.click();
         const on = await became('the head again', off);
         at('strength').value = 5;
         at('strength').dispatchEvent(new Event('input'));
         const steered = await became('the direction', before);
         at('reset').click();
         const back = await became('reset', steered);
         at('question').value = 'how many objects are there ?';
         at('ask').querySelector('button').click();
         const other = await became('another question', back);
         return { before, struck, line, off, pressed, on, steered, back, other };",
        "words",
    );
    assert_eq!((&said["line"], &said["pressed"]), (&Value::from("line-through"), &Value::from("true")));
    assert_eq!((&said["on"], &said["back"]), (&said["before"], &said["before"]));
    for name in ["struck", "off", "steered"] {
        assert_ne!(share(&said[name]), share(&said["before"]), "{name}");
    }
    assert_eq!(said["other"]["answer"], "3");
}

fn a_map_is_drawn_over_the_picture_and_a_refusal_is_told() {
    let said = driven(
        "at('map').click();
         await wait('a map', () => document.querySelectorAll('.heat').length > 0 && at('status').textContent === '');
         const heat = document.querySelectorAll('.heat').length;
         const box = document.querySelector('.heat').getBoundingClientRect();
         const told = at('mapped').textContent;
         at('unmap').click();
         const left = document.querySelectorAll('.heat').length;
         at('word-fill').value = 'mask';
         at('word-fill').dispatchEvent(new Event('change'));
         await wait('the fill', ready);
         at('words').children[1].click();
         await wait('a refusal', () => at('status').classList.contains('wrong'));
         return { heat, left, told, wide: box.width > 0, refused: at('status').textContent };",
        "a map",
    );
    assert!(said["heat"].as_u64().unwrap() >= 16 && said["left"] == 0 && said["wide"] == true, "{said}");
    assert!(said["refused"].as_str().unwrap().contains("no token that stands for a missing word"), "{said}");
}

/// A map that is shown is of the state that is shown: it is made anew after every change, and undo brings the first one back.
fn a_map_changes_with_what_is_changed() {
    let said = driven(
        "const map = () => [...document.querySelectorAll('.heat')].map((node) => [node.style.left, node.style.top, node.style.background, node.style.opacity]);
         const stale = () => document.body.classList.contains('stale');
         const told = (what) => wait(what, () => ready() && !stale() && map().length > 0);
         at('map').click();
         const busy = at('map-section').getAttribute('aria-busy');
         await told('a map');
         const first = map();
         cell(cells[0]).click();
         const marked = stale() && getComputedStyle(at('remade')).display !== 'none';
         const kept = JSON.stringify(map()) === JSON.stringify(first);
         await told('the map of a hidden patch');
         const hidden = map();
         at('undo').click();
         await told('the map after undo');
         const back = map();
         document.querySelector('[data-head=\"text.1.0\"]').click();
         await told('the map without a head');
         const off = map();
         at('words').children[1].click();
         await told('the map without a word');
         const struck = map();
         at('unmap').click();
         at('reset').click();
         await wait('the reset', () => ready() && at('undo').disabled === false && at('answer').textContent !== '');
         await new Promise((done) => setTimeout(done, 500));
         return { busy, marked, kept, first, hidden, back, off, struck, left: map().length, stale: stale() };",
        "a map anew",
    );
    assert_eq!((&said["busy"], &said["marked"], &said["kept"]), (&"true".into(), &true.into(), &true.into()));
    assert_eq!(said["back"], said["first"]);
    for (one, other) in [("first", "hidden"), ("first", "off"), ("off", "struck")] {
        assert_ne!(said[one], said[other], "{one}, {other}");
    }
    // Once it is cleared, nothing makes another.
    assert_eq!((&said["left"], &said["stale"]), (&0.into(), &false.into()));
}

/// A map that was asked for before a change comes late, whatever becomes of its request, and is not drawn.
fn a_map_of_an_earlier_state_is_never_drawn() {
    let said = driven(
        "const real = window.fetch;
         const asked = [];
         window.fetch = (url, options) => { asked.push(JSON.parse(options.body).do); return real(url, { ...options, signal: undefined }); };
         let drawn = 0;
         new MutationObserver((seen) => { if (seen.some((one) => [...one.addedNodes].some((node) => node.className === 'heat'))) drawn++; })
           .observe(at('pictures-shown'), { childList: true, subtree: true });
         at('map').click();
         // Within this task no reply can come.
         while (!asked.includes('map')) await null;
         cell(cells[0]).click();
         await wait('the map', () => ready() && !document.body.classList.contains('stale') && document.querySelectorAll('.heat').length > 0);
         return { drawn, asked };",
        "a late map",
    );
    assert_eq!(said["asked"], serde_json::json!(["map", "hide", "difference", "map"]));
    assert_eq!(said["drawn"], 1);
}

fn main() -> ExitCode {
    let tests: [(&str, fn()); 5] = [
        (
            "a_patch_that_is_clicked_changes_the_probability_and_undo_brings_it_back",
            a_patch_that_is_clicked_changes_the_probability_and_undo_brings_it_back,
        ),
        ("words_heads_and_a_direction_change_it_too", words_heads_and_a_direction_change_it_too),
        (
            "a_map_is_drawn_over_the_picture_and_a_refusal_is_told",
            a_map_is_drawn_over_the_picture_and_a_refusal_is_told,
        ),
        ("a_map_changes_with_what_is_changed", a_map_changes_with_what_is_changed),
        ("a_map_of_an_earlier_state_is_never_drawn", a_map_of_an_earlier_state_is_never_drawn),
    ];
    let ignored = without_browser();
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        if ignored { trial.with_kind("no Chromium on PATH").with_ignored_flag(true) } else { trial }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
