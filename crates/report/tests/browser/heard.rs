//! A recording on a page: its sound is what the browser decodes, its axes say where the token map says it lies, and a cursor follows.

use image::{Rgb, RgbImage};
use mmlens_core::sound::{Sound, wav};
use mmlens_core::{Sample, Subject};
use mmlens_finding::{Axis, Finding, Labelled, Provenance, Role, Unit};
use mmlens_report::{Page, Picture, Recording};
use mmlens_testkit::Toy;
use serde_json::Value;

use crate::seen::{VIRTUAL, see};

const RATE: u32 = 16_000;
/// 600 ms: 12 frames of 50.
const SAMPLES: usize = 9600;

/// A file of one channel of 16 bits.
fn file() -> Vec<u8> {
    let level = |at: usize| ((at as f32 * 0.3).sin() * 8000.0) as i16;
    wav(&(0..SAMPLES).map(level).collect::<Vec<i16>>(), RATE)
}

/// A page in a browser, and what a script of the test says of it in the end, when what it waits for came.
fn probe_later(html: &str, script: &str) -> Value {
    let start = html.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let end = start + html[start..].find('>').unwrap() + 1;
    let open = [&html[..start], &html[end..]].concat();
    let script = format!(
        "<script>(async () => {{ {script} }})().then((said) => {{\
         const bytes = new TextEncoder().encode(JSON.stringify(said));\
         document.body.dataset.said = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));\
         }});</script></body>"
    );
    see(&[("page.html", &open.replace("</body>", &script))], VIRTUAL).said()
}

pub(crate) fn a_recording_is_played_and_its_axes_are_those_of_the_token_map() {
    let toy = Toy::curved(1).with_ears();
    let bytes = file();
    let sound = Sound::from_bytes("hum.wav", &bytes).unwrap();
    let sample = Sample::prompt(Vec::new(), "~ab").with_recordings(vec![sound.clone()]);
    let inputs = toy.encode(&sample).unwrap();
    let map = inputs.map();
    let scale = &map.sounds[0].scale;
    let (wide, high) = map.pictures[0];
    let spectrogram = RgbImage::from_fn(wide, high, |x, y| Rgb([(x * 20) as u8, (y * 40) as u8, 90]));
    let recording = Recording { scale: scale.clone(), seconds: sound.seconds(), wav: bytes };
    let picture = Picture::from_rgb("hum.wav", &spectrogram).unwrap().heard(recording);
    // Cells of the whole recording, two bands of three stretches.
    let spans = |edges: &[f32]| edges.windows(2).map(|own| [own[0], own[1]]).collect::<Vec<_>>();
    let rows = Axis::heard(Role::Row, 0, spans(&[0.0, 3.0, 6.0]), scale);
    let cols = Axis::heard(Role::Column, 0, spans(&[0.0, 4.0, 8.0, 12.0]), scale);
    let values = vec![0.1, 0.2, 0.3, -0.4, 0.5, -0.6];
    let table = Labelled::numbers("recording", Unit::Logit, vec![rows, cols], values).unwrap();
    let finding = Finding::new(Provenance::new("occlusion", "toy"), vec![table]).unwrap();
    let page = Page {
        pictures: vec![picture],
        prompt: map.tokens.clone(),
        findings: vec![finding],
        ..Page::default()
    };
    let html = page.html().unwrap();
    assert!(html.contains("media-src data:") && html.contains("Where in the recording"));
    let script = "
        const audio = document.querySelector('audio');
        if (audio.readyState < 1) await new Promise((done) => audio.addEventListener('loadedmetadata', done));
        const file = Uint8Array.from(atob(audio.src.split(',')[1]), (c) => c.charCodeAt(0)).buffer;
        const decoded = await new OfflineAudioContext(1, 16000, 16000).decodeAudioData(file);
        const figure = document.querySelector('figure.heard');
        const stage = figure.querySelector('.stage').getBoundingClientRect();
        const marks = (name, from, length, key) => [...figure.querySelectorAll(`${name} span`)].map((mark) => {
            const box = mark.getBoundingClientRect();
            const middle = name === '.times' ? (box.left + box.right) / 2 - stage.left : (box.top + box.bottom) / 2 - stage.top;
            return [Number(mark.dataset[key]), middle / length];
        });
        const times = marks('.times', stage.left, stage.width, 'seconds');
        const frequencies = marks('.frequencies', stage.top, stage.height, 'hertz');
        const seeked = new Promise((done) => audio.addEventListener('seeked', done));
        audio.currentTime = 0.45;
        await seeked;
        const cursor = figure.querySelector('.cursor').getBoundingClientRect();
        const place = ((cursor.left + cursor.right) / 2 - stage.left) / stage.width;
        figure.querySelector('.stage').dispatchEvent(new PointerEvent('pointermove', {
            bubbles: true, pointerType: 'mouse', clientX: stage.left + stage.width * 0.5, clientY: stage.top + stage.height * 0.75 }));
        return { duration: audio.duration, decoded: [decoded.duration, decoded.length], times, frequencies,
            cursor: [audio.currentTime, place], tip: document.getElementById('tip').innerText,
            painted: !figure.querySelector('canvas').hidden };";
    let said = probe_later(&html, script);
    let number = |value: &Value| value.as_f64().unwrap();
    let near = |one: f64, other: f64, far: f64| assert!((one - other).abs() < far, "{one} {other}: {said}");
    near(number(&said["duration"]), sound.seconds(), 1e-3);
    near(number(&said["decoded"][0]), sound.seconds(), 1e-6);
    assert_eq!(said["decoded"][1], SAMPLES);
    // Every mark stands where the token map has its instant or frequency: half a pixel of some 600 is a thousandth.
    let whole = scale.seconds([0.0, wide as f32])[1];
    let pairs = |name: &str| -> Vec<(f64, f64)> {
        said[name].as_array().unwrap().iter().map(|own| (number(&own[0]), number(&own[1]))).collect()
    };
    assert!(pairs("times").len() >= 3 && pairs("frequencies").len() >= 3, "{said}");
    for (seconds, place) in pairs("times") {
        near(place, seconds / whole, 2e-3);
        let [column, _] = scale.columns([seconds, seconds]);
        near(f64::from(column), place * f64::from(wide), 0.03);
    }
    for (hertz, place) in pairs("frequencies") {
        near(place * f64::from(high), f64::from(scale.rows([0.0, hertz])[0]), 0.06);
    }
    // The token of the third stretch of 200 ms is where the sound is at 0.45 s, three quarters of the way.
    near(number(&said["cursor"][0]), 0.45, 1e-3);
    near(number(&said["cursor"][1]), 0.45 / whole, 4e-3);
    let token = map.tokens.iter().filter_map(|token| token.patch).nth(2).unwrap();
    assert_eq!(scale.describe(token.bbox), "0.4–0.6 s");
    // The middle of the lower half: the second stretch, which has 0.5.
    let tip = said["tip"].as_str().unwrap();
    assert!(tip.contains("0.5") && tip.contains("0.2–0.4 s") && tip.contains(" Hz"), "{tip}");
    assert_eq!(said["painted"], true);
}
