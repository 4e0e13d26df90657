//! The page in a real browser: its parts are there after its script ran, nothing is wrong on the console, nothing
//! reaches beyond a narrow screen, no text becomes code, and its heat maps are those of the PNG.
//!
//! Without a browser the tests are listed as ignored, unless `MMLENS_BROWSER=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a program of tests")]

#[path = "../examples/specimen/large.rs"]
mod large;
#[path = "../examples/specimen/pair.rs"]
mod pair;
#[path = "../examples/specimen/page.rs"]
mod specimen;

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{Rgb, RgbImage};
use libtest_mimic::{Arguments, Trial};
use mmlens_finding::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};
use mmlens_report::{OverlaySettings, Page, Picture, overlay};
use serde_json::{Value, json};

const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const PATIENCE: Duration = Duration::from_secs(90);

/// Every test by its name.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), $name as fn())),*]
    };
}

fn main() -> ExitCode {
    let tests = tests![
        every_part_is_there_and_the_console_is_silent,
        many_pictures_and_many_axes_are_drawn,
        hostile_texts_stay_texts,
        nothing_reaches_beyond_a_narrow_screen,
        the_tip_tells_what_lies_under_the_pointer,
        the_page_paints_what_the_png_shows,
        a_slider_shows_the_layer_that_it_names,
        a_word_has_its_own_colour,
        words_have_the_scale_of_words,
        a_token_of_the_answer_is_shown_alone,
        tiles_are_drawn_apart_and_together,
        a_large_page_opens_quickly_on_a_phone,
    ];
    let ignored = browser().is_none() && env::var("MMLENS_BROWSER").as_deref() != Ok("required");
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        if ignored { trial.with_kind("no Chromium on PATH").with_ignored_flag(true) } else { trial }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn browser() -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// What a page became in the browser.
struct Seen {
    dom: String,
    console: Vec<String>,
}

/// Opens the first of these files, given by name and text, with these further options.
fn see(files: &[(&str, &str)], options: &[&str]) -> Seen {
    let browser = browser()
        .expect("no Chromium on PATH: install it (Debian and Ubuntu: `apt-get install -y chromium`)");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in files {
        fs::write(at(name), text).unwrap();
    }
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .args(options)
        .arg("--window-size=1200,900")
        .arg(format!("--user-data-dir={}", at("profile").display()))
        .arg(format!("file://{}", at(files[0].0).display()))
        .stdin(Stdio::null())
        .stdout(File::create(at("dom")).unwrap())
        .stderr(File::create(at("log")).unwrap())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the browser took longer than {PATIENCE:?}");
        }
        sleep(Duration::from_millis(50));
    }
    let text = |name: &str| String::from_utf8_lossy(&fs::read(at(name)).unwrap()).into_owned();
    let console = text("log").lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
    Seen { dom: text("dom"), console }
}

/// The page of `side` by `side` patches.
fn html(side: usize) -> String {
    specimen::page(side).unwrap().html().unwrap()
}

/// Time runs as fast as the page has nothing to do.
const VIRTUAL: &[&str] = &["--virtual-time-budget=4000"];

/// What a script of the test says at the end of a page in a frame of this width, since no window is as narrow as a phone.
fn probe(html: &str, width: u32, script: &str) -> Value {
    probe_with(html, width, "", script, VIRTUAL)
}

/// The same, with a script that runs before those of the page, and options of the browser.
fn probe_with(html: &str, width: u32, before: &str, script: &str, options: &[&str]) -> Value {
    let start = html.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let end = start + html[start..].find('>').unwrap() + 1;
    let open = [&html[..start], "<script>", before, "</script>", &html[end..]].concat();
    let script = format!(
        "<script>const said = (() => {{ {script} }})();\
         const bytes = new TextEncoder().encode(JSON.stringify(said));\
         parent.postMessage(btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join('')), '*');</script></body>"
    );
    let frame = format!(
        "<!doctype html><body style=\"margin:0\"><script>\
         addEventListener('message', (event) => {{ document.body.dataset.said = event.data; }});</script>\
         <iframe src=\"page.html\" style=\"border:0;width:{width}px;height:900px\"></iframe></body>"
    );
    let page = open.replace("</body>", &script);
    let seen = see(&[("frame.html", &frame), ("page.html", &page)], options);
    assert_eq!(seen.console, Vec::<String>::new());
    let (_, rest) = seen.dom.split_once("data-said=\"").expect("the script of the test ran");
    let bytes = STANDARD.decode(rest.split('"').next().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn every_part_is_there_and_the_console_is_silent() {
    for side in [2, 24] {
        let Seen { dom, console } = see(&[("page.html", &html(side))], VIRTUAL);
        assert_eq!(console, Vec::<String>::new(), "{side}");
        assert!(!dom.contains("class=\"failed\""), "a part could not be drawn");
        for part in [
            "<html lang=\"en\" data-ready=\"\">",
            "<div id=\"overlay\" data-ready=\"\">",
            "<div id=\"tokens\" data-ready=\"\">",
            "<div data-lens=\"0\" data-ready=\"\">",
            "<div data-map=\"0\" data-ready=\"\">",
            "<svg class=\"curve\"",
            "<table class=\"plain\">",
            "<dl class=\"scalars\">",
            "<details>",
            "<span class=\"run\">",
            "aria-label=\"recovered: 12 layer by ",
            "class=\"legend\"",
        ] {
            assert!(dom.contains(part), "{side}: {part}");
        }
        // four heat maps and the picture alone
        assert_eq!(dom.matches("type=\"radio\"").count(), 5, "{side}");
        let fold = dom.contains("Show all 576 picture positions");
        assert_eq!(fold, side == 24, "{side}: long runs are folded, short ones are not");
    }
}

fn many_pictures_and_many_axes_are_drawn() {
    let script = "
        const painted = () => [...document.querySelectorAll('.stage canvas')].map((canvas) => {
            if (canvas.hidden) return 0;
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer);
            return new Set(pixels).size;
        });
        const names = [...document.querySelectorAll('.choices label')].map((label) => label.innerText.replace(/\\s+/g, ' '));
        const counts = [...document.querySelectorAll('.choices input')].map((input) => { input.click(); return painted(); });
        const select = document.querySelector('#tokens select');
        const colours = () => [...document.querySelectorAll('.token')].map((token) => token.style.backgroundColor).join();
        const before = colours();
        select.value = '1';
        select.dispatchEvent(new Event('change'));
        const root = document.documentElement;
        return { names, counts, options: select.options.length, changed: colours() !== before,
            divided: document.querySelectorAll('.divide').length, out: root.scrollWidth > root.clientWidth,
            failed: document.querySelectorAll('.failed').length, text: document.body.innerText };";
    let said = probe(&pair::page().unwrap().html().unwrap(), 360, script);
    // one map for each finding, on both pictures: the tiles of the first and the whole beside them are one
    let names =
        ["Input gradients attribution", "Occlusion attribution", "Attention pattern", "Picture alone"];
    assert_eq!(said["names"], json!(names), "{said}");
    // the first is cut as its tiles are, 8 x 8, the second into 5 x 5 patches; no colours on the picture alone
    let counts: Vec<[usize; 2]> = serde_json::from_value(said["counts"].clone()).unwrap();
    assert!(counts[0][0] > 30 && counts[0][1] > 10, "{counts:?}");
    assert_eq!(counts.last(), Some(&[0, 0]));
    assert_eq!((&said["options"], &said["changed"], &said["divided"]), (&2.into(), &true.into(), &1.into()));
    assert_eq!((&said["out"], &said["failed"]), (&false.into(), &0.into()));
    let text = said["text"].as_str().unwrap();
    assert!(text.contains("No values.") && text.contains("12 without a value, in grey"), "{text}");
}

fn hostile_texts_stay_texts() {
    let Seen { dom, .. } = see(&[("page.html", &html(2))], VIRTUAL);
    assert_eq!(dom.matches("<script").count(), 2, "the data and the script of the page");
    assert!(!dom.contains("<script>alert"));
    // the token in the flow, the word of the lens, the concept of the table
    assert!(dom.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() > 10);
}

fn nothing_reaches_beyond_a_narrow_screen() {
    let script = "
        const root = document.documentElement;
        const measure = () => ({
            inner: innerWidth, client: root.clientWidth, scroll: root.scrollWidth,
            out: [...document.querySelectorAll('main *')].filter((node) => {
                if (node.closest('.scroll, svg') && !node.matches('.scroll')) return false;
                return node.getBoundingClientRect().right > root.clientWidth + 1;
            }).map((node) => node.tagName + '.' + node.className),
        });
        const before = measure();
        document.querySelectorAll('button').forEach((button) => button.click());
        document.querySelectorAll('details').forEach((details) => { details.open = true; });
        document.querySelectorAll('input[type=radio]').forEach((radio) => radio.click());
        document.querySelectorAll('input[type=range]').forEach((range) => {
            range.value = range.max;
            range.dispatchEvent(new Event('input'));
        });
        return { before, after: measure(), unfolded: document.querySelectorAll('.lens thead th').length };";
    for (side, width) in [(24, 320), (24, 360), (2, 360), (24, 1200)] {
        let said = probe(&html(side), width, script);
        for state in ["before", "after"] {
            let state = &said[state];
            assert_eq!(state["inner"], width, "the browser has the width asked for");
            assert_eq!(state["out"], Value::Array(vec![]), "{side} at {width}");
            assert!(state["scroll"].as_u64() <= state["client"].as_u64(), "{side} at {width}: {state}");
        }
        // a corner, 16 positions of text and all of the picture
        let positions = said["unfolded"].as_u64().unwrap();
        assert_eq!(positions, 1 + 16 + (side * side) as u64, "{side} at {width}");
    }
}

fn the_tip_tells_what_lies_under_the_pointer() {
    let script = "
        const tip = document.getElementById('tip');
        const at = (node, dx, dy) => {
            const box = node.getBoundingClientRect();
            const place = { bubbles: true, clientX: box.left + dx * box.width, clientY: box.top + dy * box.height };
            node.dispatchEvent(new MouseEvent('click', place));
            const text = tip.hidden ? '' : tip.innerText;
            const frame = tip.getBoundingClientRect();
            return { text, inside: frame.left >= 0 && frame.right <= innerWidth };
        };
        const cell = document.querySelector('.lens tbody tr:last-child td:nth-child(3)');
        return {
            stage: at(document.querySelector('.stage'), 0.3, 0.45),
            token: at([...document.querySelectorAll('.token')].find((token) => token.textContent === ' of'), 0.5, 0.5),
            strip: at(document.querySelector('.run canvas'), 0.3, 0.45),
            cell: at(cell, 0.5, 0.5),
            map: at(document.querySelector('.map .main'), 0.1, 0.7),
        };";
    let said = probe(&html(2), 360, script);
    let text = |part: &str| said[part]["text"].as_str().unwrap().to_owned();
    assert!(text("stage").contains("logit") && text("stage").contains("row 0, column 0"), "{said}");
    assert!(text("token").contains(" logit") && text("token").contains(" of"), "{said}");
    assert!(text("strip").contains("row 0, column 0"), "{said}");
    assert!(text("cell").contains("layer 11") && text("cell").lines().count() > 5, "{said}");
    assert!(text("map").contains("layer") && text("map").contains("ratio"), "{said}");
    for part in ["stage", "token", "strip", "cell", "map"] {
        assert_eq!(said[part]["inside"], true, "{part}: {said}");
    }
}

fn the_page_paints_what_the_png_shows() {
    // white beneath, so that the mix of the PNG can be compared with the colour and opacity of the canvas
    let page = specimen::page(24).unwrap();
    let (width, height) = page.pictures[0].dimensions();
    let white = Picture::from_rgb("white", &RgbImage::from_pixel(width, height, Rgb([255; 3]))).unwrap();
    let settings = OverlaySettings { opacity: 1.0, ..Default::default() };
    let map = page.findings[1].table("drop").unwrap();
    let png = overlay(&white, map, settings).unwrap();
    let script = "
        document.querySelectorAll('#overlay input[type=radio]')[1].click();
        const canvas = document.querySelector('.stage canvas');
        const context = canvas.getContext('2d');
        const all = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const list = [];
        for (let y = 3; y < canvas.height; y += 29)
            for (let x = 2; x < canvas.width; x += 31) list.push([x, y, ...all.slice(4 * (y * canvas.width + x)).slice(0, 4)]);
        return { size: [canvas.width, canvas.height], list };";
    let said = probe(&page.html().unwrap(), 1200, script);
    assert_eq!(said["size"], json!([width, height]));
    let list: Vec<[u32; 6]> = serde_json::from_value(said["list"].clone()).unwrap();
    assert!(list.len() > 100);
    for [x, y, r, g, b, a] in list {
        let mix = |c: u32| (f64::from(c) * f64::from(a) + 255.0 * (255.0 - f64::from(a))) / 255.0;
        let expected = png.get_pixel(x, y).0;
        for (mine, theirs) in [r, g, b].map(mix).into_iter().zip(expected) {
            // a canvas keeps colours multiplied by opacity, in bytes
            assert!((mine - f64::from(theirs)).abs() <= 2.5, "{x} {y}: {mine} {theirs}");
        }
    }
}

/// Every layer has its own patch that is strong: where a slider stands, that layer's patch is painted, and the label says it.
fn a_slider_shows_the_layer_that_it_names() {
    let patch = |col: usize| PatchLabel {
        image: 0,
        tile: 0,
        frame: 0,
        row: 0,
        col,
        bbox: [col as f32 * 20.0, 0.0, (col + 1) as f32 * 20.0, 20.0],
    };
    let layers = ["before block 0", "after block 0", "after block 1", "after block 2"];
    let axes = vec![Axis::names(Role::Layer, layers), Axis::patches((0..4).map(patch).collect())];
    let values = (0..16).map(|i| if i / 4 == i % 4 { 1.0 + (i / 4) as f32 } else { 0.0 }).collect();
    let map = Labelled::numbers("relevance", Unit::Ratio, axes, values).unwrap();
    let heads = Axis::names(Role::Head, ["h0", "h1", "h2"]);
    let axes = vec![heads, Axis::count(Role::Layer, 2), Axis::names(Role::Token, ["a", "b"])];
    let numbers = (0..12).map(|i| (i / 4) as f32).collect();
    let table = Labelled::numbers("by head", Unit::Logit, axes, numbers).unwrap();
    let page = Page {
        pictures: vec![Picture::from_rgb("p", &RgbImage::from_pixel(80, 20, Rgb([200; 3]))).unwrap()],
        findings: vec![
            Finding::new(Provenance::new("m", "s"), vec![map]).unwrap(),
            Finding::new(Provenance::new("o", "s"), vec![table]).unwrap(),
        ],
        ..Page::default()
    };
    let script = "
        const canvas = document.querySelector('.stage canvas');
        const strong = () => {
            const { width, height } = canvas;
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [width, height];
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const all = context.getImageData(0, 0, width, height).data;
            const at = (col) => all.slice(4 * (Math.floor(height / 2) * width + Math.floor((col + 0.5) * width / 4))).slice(0, 4).join();
            const paints = [0, 1, 2, 3].map(at);
            return paints.findIndex((paint) => paints.filter((other) => other === paint).length === 1);
        };
        const move = (slider, to, what) => {
            const input = slider.querySelector('input');
            input.value = to;
            input.dispatchEvent(new Event('input'));
            return [slider.querySelector('output').textContent, what()];
        };
        const first = [document.querySelector('#overlay .slider output').textContent, strong()];
        const overlay = [0, 1, 2, 3].map((layer) => move(document.querySelector('#overlay .slider'), layer, strong));
        const map = document.querySelector('[data-map]');
        const value = () => map.querySelector('.main').getAttribute('aria-label');
        const maps = [0, 1, 2].map((head) => move(map.querySelector('.slider'), head, value));
        return { first, overlay, maps };";
    let said = probe(&page.html().unwrap(), 800, script);
    // it begins at the strongest
    assert_eq!(said["first"], json!(["after block 2", 3]), "{said}");
    let overlay: Vec<Value> = layers.iter().enumerate().map(|(i, name)| json!([name, i])).collect();
    assert_eq!(said["overlay"], Value::Array(overlay), "{said}");
    for head in 0..3 {
        let name = format!("h{head}");
        assert_eq!(said["maps"][head][0], name.as_str(), "{said}");
        let label = said["maps"][head][1].as_str().unwrap();
        let value = if head == 0 { "largest 0 ".to_owned() } else { format!("largest {head} logit") };
        assert!(label.contains(&value) || label.contains(&format!("largest +{head}")), "{said}");
    }
}

/// One word of five is coloured, and it is the one with the value; what is said of a word is its own.
fn a_word_has_its_own_colour() {
    let words = ["The", " red", " ring", " is", " small"];
    let tokens: Vec<TokenLabel> = words.iter().map(|text| TokenLabel::new(*text, Modality::Text)).collect();
    for strong in 0..words.len() {
        let values: Vec<f32> = (0..words.len()).map(|i| if i == strong { 2.5 } else { 0.0 }).collect();
        let table = Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(tokens.clone())], values).unwrap();
        let page = Page {
            findings: vec![Finding::new(Provenance::new("m", "s"), vec![table]).unwrap()],
            ..Page::default()
        };
        let script = "
            const tip = document.getElementById('tip');
            return [...document.querySelectorAll('#tokens .token')].map((token) => {
                const box = token.getBoundingClientRect();
                token.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: box.left + 2, clientY: box.top + 2 }));
                return [token.textContent, token.style.backgroundColor, tip.innerText];
            });";
        let said = probe(&page.html().unwrap(), 800, script);
        let said: Vec<[String; 3]> = serde_json::from_value(said).unwrap();
        assert_eq!(said.len(), words.len());
        let plain = &said[(strong + 1) % words.len()][1];
        for (at, [text, colour, tip]) in said.iter().enumerate() {
            assert_eq!(text, words[at]);
            assert_eq!(colour != plain, at == strong, "{strong}: {said:?}");
            assert_eq!(tip.contains("2.50 logit"), at == strong, "{strong}: {said:?}");
        }
    }
}

/// What pictures hold does not pale the words beside them.
fn words_have_the_scale_of_words() {
    let patch = |col: usize| {
        let bbox = [col as f32, 0.0, (col + 1) as f32, 1.0];
        let patch = PatchLabel { image: 0, tile: 0, frame: 0, row: 0, col, bbox };
        TokenLabel::new("<image>", Modality::Image).with_patch(patch)
    };
    let colours = |of_patches: f32| {
        let mut tokens: Vec<TokenLabel> = (0..4).map(patch).collect();
        tokens.extend(["is", " it", " red"].map(|text| TokenLabel::new(text, Modality::Text)));
        let values = [[of_patches; 4].as_slice(), &[0.1, 0.2, 0.4]].concat();
        let table = Labelled::numbers("t", Unit::Logit, vec![Axis::tokens(tokens)], values).unwrap();
        let page = Page {
            findings: vec![Finding::new(Provenance::new("m", "s"), vec![table]).unwrap()],
            ..Page::default()
        };
        probe(
            &page.html().unwrap(),
            800,
            "return [...document.querySelectorAll('#tokens .token')].map((token) => token.style.backgroundColor);",
        )
    };
    let (small, large) = (colours(0.3), colours(900.0));
    assert_eq!(small, large);
    assert_eq!(small.as_array().unwrap().len(), 3);
}

/// Pressing a token of the answer shows its own numbers everywhere they are known; pressing "all" those of the whole answer.
fn a_token_of_the_answer_is_shown_alone() {
    let page = large::page().unwrap();
    let script = "
        const canvas = document.querySelector('.stage canvas');
        const colour = (patch) => {
            const [x, y] = [16 * (patch % 50) + 8, 16 * Math.floor(patch / 50) + 8];
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [...context.getImageData(x, y, 1, 1).data];
        };
        const buttons = [...document.querySelectorAll('.answer-tokens button')];
        const strip = () => [...document.querySelectorAll('.run small')].map((node) => node.textContent).join();
        const bars = () => document.querySelector('[data-bars] tbody').innerText;
        const state = () => ({
            pressed: buttons.filter((button) => button.getAttribute('aria-pressed') === 'true').map((button) => button.dataset.answer),
            said: document.querySelector('#answer .said').textContent,
            of: document.querySelector('#overlay .of').textContent,
            notes: [...document.querySelectorAll('.finding .of')].map((node) => node.textContent),
            // the bump of token 0 lies at patch 0, that of token 1 at column 7 of row 5
            first: colour(0), second: colour(5 * 50 + 7), strip: strip(), bars: bars(),
        });
        const all = state();
        buttons.find((button) => button.dataset.answer === '0').click();
        const zero = state();
        document.activeElement.blur();
        document.querySelector('#answer [aria-label=\"Token after\"]').click();
        const one = state();
        buttons.find((button) => button.dataset.answer === 'all').click();
        const again = state();
        return { all, zero, one, again, count: buttons.length, word: buttons[2].innerText };";
    let said = probe(&page.html().unwrap(), 800, script);
    assert_eq!(said["count"], 301);
    // the second token is likely by 1/2
    assert_eq!(
        said["word"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["incomprehensibilities0", "0.50"]
    );
    assert_eq!(said["all"], said["again"]);
    assert_eq!(said["all"]["pressed"], json!(["all"]));
    assert_eq!(said["zero"]["pressed"], json!(["0"]));
    assert_eq!(said["one"]["pressed"], json!(["1"]));
    assert_eq!(said["one"]["said"], "answer token 2 of 300: “incomprehensibilities0”");
    assert_eq!(said["one"]["of"], said["one"]["said"]);
    let red = |state: &str, patch: &str| {
        let [r, _, b, a]: [i64; 4] = serde_json::from_value(said[state][patch].clone()).unwrap();
        r > b && a > 200
    };
    assert!(red("zero", "first") && !red("zero", "second"), "{said}");
    assert!(red("one", "second") && !red("one", "first"), "{said}");
    let differ =
        |part: &str| said["zero"][part] != said["one"][part] && said["zero"][part] != said["all"][part];
    assert!(differ("strip") && differ("bars"), "{said}");
    // values of "by layer by answer token": token 0 begins -8, -7, ...; token 1 with 24 % 17 - 8 = -1
    let first = |state: &str| said[state]["bars"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert!(
        first("zero").contains("−8") && first("one").contains("−1") && first("all").contains('1'),
        "{said}"
    );
    let notes: Vec<String> = serde_json::from_value(said["one"]["notes"].clone()).unwrap();
    assert_eq!(notes[0], "Of answer token 2 of 300: “incomprehensibilities0”.");
    assert!(notes.last().unwrap().starts_with("The tokens above do not change this"), "{notes:?}");
}

/// Tiles and the whole of a picture: together what the PNG shows, or one of them alone.
fn tiles_are_drawn_apart_and_together() {
    let page = pair::page().unwrap();
    let (width, height) = page.pictures[0].dimensions();
    let white = Picture::from_rgb("white", &RgbImage::from_pixel(width, height, Rgb([255; 3]))).unwrap();
    let settings = OverlaySettings { opacity: 1.0, ..Default::default() };
    let table = page.findings[1].table("attribution").unwrap();
    let png = overlay(&white, table, settings).unwrap();
    let script = "
        document.querySelectorAll('#overlay input[type=radio]')[1].click();
        const canvas = document.querySelector('.stage canvas');
        const select = document.querySelector('#overlay select');
        const look = (tiles) => {
            select.value = tiles;
            select.dispatchEvent(new Event('change'));
            const copy = document.createElement('canvas');
            [copy.width, copy.height] = [canvas.width, canvas.height];
            const context = copy.getContext('2d', { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const all = context.getImageData(0, 0, canvas.width, canvas.height).data;
            const at = (i) => [...all.slice(4 * i, 4 * i + 4)];
            const list = [];
            // the middle of every pixel of the picture
            const zoom = canvas.width / 64;
            for (let y = 0; y < 64; y++) for (let x = 0; x < 64; x++) list.push(at(Math.floor((y + 0.5) * zoom) * canvas.width + Math.floor((x + 0.5) * zoom)));
            return list;
        };
        // what lies on the second eighth of the topmost row
        const said = (tiles) => {
            look(tiles);
            const stage = document.querySelector('.stage');
            const box = stage.getBoundingClientRect();
            stage.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: box.left + 12 / 64 * box.width, clientY: box.top + 4 / 64 * box.height }));
            return document.querySelector('#tip strong').textContent;
        };
        return { told: [said('details'), said('overview'), said('both')], options: [...select.options].map((option) => option.value), both: look('both'), overview: look('overview'), details: look('details') };";
    let said = probe(&page.html().unwrap(), 900, script);
    assert_eq!(said["options"], json!(["both", "overview", "details"]));
    // of tiles of 4 x 4 patches it is a patch itself, the second of the first tile; of the 3 x 3 of the whole it is a part of one
    let patches = table.as_numbers().unwrap();
    let (detail, share) = (patches[1 + 9 + 1], patches[1] * (8.0 * 8.0) / (64.0_f32 / 3.0).powi(2));
    let told: Vec<String> = serde_json::from_value(said["told"].clone()).unwrap();
    for (told, expected) in told.iter().zip([detail, share, detail + share]) {
        let told: f32 = told.trim_end_matches(" logit").replace('−', "-").parse().unwrap();
        assert!((told - expected).abs() <= 0.006 * expected.abs(), "{told} {expected}");
    }
    let both: Vec<[u32; 4]> = serde_json::from_value(said["both"].clone()).unwrap();
    let different =
        |part: &str| both.iter().zip(said[part].as_array().unwrap()).filter(|(a, b)| json!(a) != **b).count();
    assert!(different("overview") > 1000 && different("details") > 1000);
    let mut compared = 0;
    for (at, [r, g, b, a]) in both.into_iter().enumerate() {
        let mix = |c: u32| (f64::from(c) * f64::from(a) + 255.0 * (255.0 - f64::from(a))) / 255.0;
        let expected = png.get_pixel(at as u32 % 64, at as u32 / 64).0;
        for (mine, theirs) in [r, g, b].map(mix).into_iter().zip(expected) {
            assert!((mine - f64::from(theirs)).abs() <= 2.5, "{at}: {mine} {theirs}");
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * 64 * 64);
}

/// Writes down every text that is drawn on a canvas, as the four corners of its box.
const DRAWN_TEXTS: &str = "
    window.drawn = new Map();
    const before = HTMLCanvasElement.prototype.getContext;
    const fill = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const { width } = this.measureText(text);
        const left = x - ({ center: width / 2, right: width }[this.textAlign] || 0);
        const [m, ratio] = [this.getTransform(), this.canvas.width / (parseFloat(this.canvas.style.width) || 1)];
        const corner = (dx, dy) => [(m.a * dx + m.c * dy + m.e) / ratio, (m.b * dx + m.d * dy + m.f) / ratio];
        // the letters of a line of 11 pixels
        const box = [[left, y - 5], [left + width, y - 5], [left + width, y + 5], [left, y + 5]].map(([dx, dy]) => corner(dx, dy));
        if (!window.drawn.has(this.canvas)) window.drawn.set(this.canvas, []);
        window.drawn.get(this.canvas).push({ text, box });
        return fill.call(this, text, x, y);
    };
    const size = Object.getOwnPropertyDescriptor(HTMLCanvasElement.prototype, 'width');
    Object.defineProperty(HTMLCanvasElement.prototype, 'width', {
        get: size.get,
        set(value) { window.drawn.delete(this); size.set.call(this, value); },
    });";

/// 2000 patches, 300 answer tokens told one by one, 24 layers of 14 heads.
fn a_large_page_opens_quickly_on_a_phone() {
    let html = large::page().unwrap().html().unwrap();
    assert!(html.len() < 10_000_000, "{} bytes", html.len());
    assert!(html.len() > 6_000_000, "{} bytes: the numbers are there", html.len());
    let script = "
        const opened = performance.now();
        const root = document.documentElement;
        // whether two convex shapes share more than an edge: no side of either keeps them apart
        const meet = (a, b) => ![a, b].some((shape) => shape.some((from, i) => {
            const to = shape[(i + 1) % shape.length];
            const [nx, ny] = [to[1] - from[1], from[0] - to[0]];
            const along = (points) => points.map(([x, y]) => x * nx + y * ny);
            const [one, two] = [along(a), along(b)];
            const slack = 0.5 * Math.hypot(nx, ny);
            return Math.max(...one) <= Math.min(...two) + slack || Math.max(...two) <= Math.min(...one) + slack;
        }));
        const clashes = [];
        let labels = 0;
        const apart = (where, list) => list.forEach((a, i) => {
            labels += 1;
            for (const b of list.slice(i + 1)) if (meet(a.box, b.box)) clashes.push([where, a.text, b.text]);
        });
        const corners = ({ left, right, top, bottom }) => [[left, top], [right, top], [right, bottom], [left, bottom]];
        const look = (state) => {
            const rects = (nodes) => [...nodes].filter((node) => node.getClientRects().length && node.textContent).map((node) => ({ text: node.textContent, box: corners(node.getBoundingClientRect()) }));
            for (const [canvas, list] of window.drawn) apart(state + ' map ' + canvas.className, list);
            for (const svg of document.querySelectorAll('svg.curve')) apart(state + ' curve', rects(svg.querySelectorAll('text')));
            for (const legend of document.querySelectorAll('.legend')) apart(state + ' legend', rects(legend.querySelectorAll('.ends span, .note')));
            for (const slider of document.querySelectorAll('.slider')) apart(state + ' slider', rects(slider.querySelectorAll('label, output')));
            apart(state + ' answer', rects(document.querySelectorAll('.answer-tokens button')));
            apart(state + ' sight', rects(document.querySelectorAll('#answer > .name, #answer > .said, #answer button')));
            const cells = [...document.querySelectorAll('td.n, .scalars dd, .answer-tokens small, .heads small')].filter((node) => {
                const range = document.createRange();
                range.selectNodeContents(node);
                const [text, box] = [range.getBoundingClientRect(), (node.closest('button') || node).getBoundingClientRect()];
                return text.width > 0 && (text.left < box.left - 0.5 || text.right > box.right + 0.5 || text.top < box.top - 0.5 || text.bottom > box.bottom + 0.5);
            }).map((node) => [state, node.className, node.textContent]);
            const out = [...document.querySelectorAll('main *')].filter((node) => {
                if (node.closest('.scroll, svg') && !node.matches('.scroll')) return false;
                return node.getBoundingClientRect().right > root.clientWidth + 1;
            }).map((node) => [state, node.tagName, node.className]);
            return { cells, out, scroll: root.scrollWidth - root.clientWidth };
        };
        const first = look('opened');
        document.querySelector('[data-answer=\"7\"]').click();
        const token = look('token');
        [...document.querySelectorAll('#overlay input[type=radio]')].forEach((radio, i) => i === 3 && radio.click());
        const press = performance.now();
        document.querySelectorAll('button').forEach((button) => /^Show all/.test(button.textContent) && button.click());
        const unfolded = look('unfolded');
        return { opened, first, token, unfolded, clashes: clashes.slice(0, 10), labels, count: clashes.length,
            failed: document.querySelectorAll('.failed').length, inner: innerWidth, heads: document.querySelectorAll('.heads button').length };";
    let said = probe_with(&html, 390, DRAWN_TEXTS, script, &["--timeout=60000"]);
    assert_eq!((&said["inner"], &said["failed"]), (&390.into(), &0.into()));
    for state in ["first", "token", "unfolded"] {
        assert_eq!(said[state], json!({ "cells": [], "out": [], "scroll": 0 }), "{state}");
    }
    assert!(said["labels"].as_u64().unwrap() > 1000, "{said}");
    assert_eq!(said["clashes"], json!([]), "{} of {}", said["count"], said["labels"]);
    assert_eq!(said["heads"], 14);
    let opened = said["opened"].as_f64().unwrap();
    assert!(opened > 0.0 && opened < 2000.0, "{opened} ms until everything was drawn");
}
