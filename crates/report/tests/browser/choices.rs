//! What is shown is what was chosen: a token of the answer, some of the tiles.

use image::{Rgb, RgbImage};
use mmlens_report::{OverlaySettings, Picture, overlay};
use serde_json::json;

use crate::seen::probe;
use crate::{large, pair};

/// Pressing a token of the answer shows its own numbers everywhere they are known; pressing "all" those of the whole answer.
pub(crate) fn a_token_of_the_answer_is_shown_alone() {
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
            first: colour(0), second: colour(5 * 50 + 7), strip: strip(), bars: bars(), curve: document.querySelector('[data-curve] path').getAttribute('d'),
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
    assert!(differ("strip") && differ("bars") && differ("curve"), "{said}");
    // values of "by feature by answer token": token 0 begins -8, -7, ...; token 1 with 24 % 17 - 8 = -1
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
pub(crate) fn tiles_are_drawn_apart_and_together() {
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
