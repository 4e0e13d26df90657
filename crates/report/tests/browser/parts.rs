//! Every part of the page is there and says what it should.

use image::{Rgb, RgbImage};
use mmlens_finding::{Axis, Finding, Labelled, Modality, PatchLabel, Provenance, Role, TokenLabel, Unit};
use mmlens_report::{OverlaySettings, Page, Picture, overlay};
use mmlens_testkit::Seen;
use serde_json::{Value, json};

use crate::seen::{VIRTUAL, html, probe, see};
use crate::{pair, specimen};

pub(crate) fn every_part_is_there_and_the_console_is_silent() {
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

pub(crate) fn many_pictures_and_many_axes_are_drawn() {
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

pub(crate) fn hostile_texts_stay_texts() {
    let Seen { dom, .. } = see(&[("page.html", &html(2))], VIRTUAL);
    assert_eq!(dom.matches("<script").count(), 2, "the data and the script of the page");
    assert!(!dom.contains("<script>alert"));
    // the token in the flow, the word of the lens, the concept of the table
    assert!(dom.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() > 10);
}

pub(crate) fn the_tip_tells_what_lies_under_the_pointer() {
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

pub(crate) fn the_page_paints_what_the_png_shows() {
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
pub(crate) fn a_slider_shows_the_layer_that_it_names() {
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
pub(crate) fn a_word_has_its_own_colour() {
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
pub(crate) fn words_have_the_scale_of_words() {
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
