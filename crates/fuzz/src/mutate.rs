//! From whole files to strange ones.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use crate::Format;

/// Case `index` of a run: one of the seeds, changed in one to a few places. The same arguments give the same bytes.
#[must_use]
pub fn mutate(format: Format, seeds: &[Vec<u8>], seed: u64, index: u64, longest: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(mmlens_core::Seed(seed).at(index).value());
    let Some(chosen) = seeds.choose(&mut rng) else { return Vec::new() };
    let (choice, file) = chosen.split_at(format.chooses(chosen).min(chosen.len()));
    let mut choice = choice.to_vec();
    if rng.random_bool(0.02) {
        choice.iter_mut().for_each(|byte| *byte = rng.random_range(0..64));
    }
    let other = seeds.choose(&mut rng).unwrap_or(chosen);
    let other = &other[format.chooses(other).min(other.len())..];
    let mut file = match format {
        Format::Json => json(&mut rng, file, other),
        Format::Template => template(&mut rng, file, other),
        Format::Safetensors => safetensors(&mut rng, file, other),
        Format::Picture => picture(&mut rng, file, other),
        Format::Recording => recording(&mut rng, file, other),
        Format::Any if file.starts_with(b"{") && rng.random_bool(0.7) => json(&mut rng, file, other),
        Format::Any if file.get(8) == Some(&b'{') => safetensors(&mut rng, file, other),
        Format::Any | Format::Lines => bytes(&mut rng, file, other, file.len()),
    };
    file.truncate(longest);
    [choice, file].concat()
}

fn times(rng: &mut ChaCha8Rng) -> usize {
    *[1, 1, 1, 1, 2, 2, 3, 6].choose(rng).unwrap_or(&1)
}

/// Whatever the format: bytes flipped, set, cut, doubled, moved, taken from another file. `within` bounds where.
fn bytes(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8], within: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..times(rng) {
        let len = file.len().min(within.max(1));
        if len == 0 {
            file.push(rng.random());
            continue;
        }
        let at = rng.random_range(0..len);
        let most = 1_usize << rng.random_range(0..10);
        let long = rng.random_range(1..=(len - at).min(most));
        match rng.random_range(0..9) {
            0 => file[at] ^= 1 << rng.random_range(0..8),
            1 => file[at] = *[0, 1, 0x7f, 0x80, 0xff, b'\n', b'\r', b'"', b'{'].choose(rng).unwrap_or(&0),
            2 => drop(file.drain(at..at + long)),
            3 => {
                let copy = file[at..at + long].to_vec();
                let count = if rng.random_bool(0.05) { 1000 } else { 1 };
                file.splice(at..at, copy.repeat(count));
            }
            4 => file.truncate(at),
            5 => {
                let number: [u8; 8] = match rng.random_range(0..6) {
                    0 => u64::MAX,
                    1 => 1 << rng.random_range(0..64),
                    2 => (1_u64 << rng.random_range(0..63)).wrapping_sub(1),
                    3 => 0,
                    4 => 65535,
                    _ => rng.random(),
                }
                .to_le_bytes();
                let wide = *[1, 2, 4, 8].choose(rng).unwrap_or(&4);
                let mut number = number[..wide].to_vec();
                if rng.random_bool(0.4) {
                    number.reverse();
                }
                number.iter().zip(&mut file[at..]).for_each(|(new, old)| *old = *new);
            }
            6 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let to = (from + long).min(other.len());
                file.splice(at..at + long.min(file.len() - at), other[from..to].iter().copied());
            }
            7 => {
                let word = *b"\xef\xbb\xbf|\xe2\x80\xae|\xf0\x9f\x98\x80|\x00|\xc3|\xff\xfe|\r\n|\\u0000|\\ud800|e999|-".split(|b| *b == b'|').collect::<Vec<_>>().choose(rng).unwrap_or(&&b""[..]);
                file.splice(at..at, word.iter().copied());
            }
            _ => file[at] = rng.random(),
        }
        if file.len() > 1 << 21 {
            break;
        }
    }
    file
}

/// What JSON cannot hold as a value is written as a string with this mark and put in afterwards.
const RAW: &str = "\u{1}raw:";

fn json(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(file) else {
        return bytes(rng, file, other, file.len());
    };
    if rng.random_bool(0.08) {
        return bytes(rng, file, other, file.len());
    }
    let rival = serde_json::from_slice::<Value>(other).unwrap_or(Value::Null);
    for _ in 0..times(rng) {
        let nodes = count(&value);
        // Near the root more often: a tokenizer's vocabulary would drown the rest.
        let aim = if rng.random_bool(0.5) {
            rng.random_range(0..nodes)
        } else {
            rng.random_range(0..nodes.min(60))
        };
        let from = rng.random_range(0..count(&rival));
        let mut left = aim;
        change(rng, &mut value, &mut left, nth(&rival, from));
    }
    let text = match rng.random_bool(0.5) {
        true => serde_json::to_string(&value),
        false => serde_json::to_string_pretty(&value),
    };
    let mut text = raw(&text.unwrap_or_default());
    if rng.random_bool(0.03) {
        text = text.replace('\n', "\r\n");
    }
    let text = text.into_bytes();
    if rng.random_bool(0.05) { bytes(rng, &text, other, text.len()) } else { text }
}

/// Strings with [`RAW`] become what they say: `1e999` and other numbers that no value can hold.
fn raw(text: &str) -> String {
    let mut parts = text.split("\"\\u0001raw:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('"').unwrap_or((part, ""));
        out.push_str(number);
        out.push_str(rest);
    }
    out
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

fn nth(value: &Value, at: usize) -> Value {
    fn walk<'a>(value: &'a Value, left: &mut usize) -> Option<&'a Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Array(list) => list.iter().find_map(|v| walk(v, left)),
            Value::Object(map) => map.values().find_map(|v| walk(v, left)),
            _ => None,
        }
    }
    let mut left = at;
    walk(value, &mut left).cloned().unwrap_or(Value::Null)
}

/// Changes the node that is reached when `left` others were passed.
fn change(rng: &mut ChaCha8Rng, value: &mut Value, left: &mut usize, rival: Value) -> bool {
    if *left == 0 {
        one(rng, value, rival);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|v| change(rng, v, left, rival.clone())),
        Value::Object(map) => map.values_mut().any(|v| change(rng, v, left, rival.clone())),
        _ => false,
    }
}

fn one(rng: &mut ChaCha8Rng, value: &mut Value, rival: Value) {
    let any = |rng: &mut ChaCha8Rng| match rng.random_range(0..22) {
        0 => Value::Null,
        1 => Value::Bool(rng.random()),
        2 => 0.into(),
        3 => (-1).into(),
        4 => 1.into(),
        5 => 1_000_000_000.into(),
        6 => i64::from(i32::MAX).into(),
        7 => (1_i64 << 32).into(),
        8 => u64::MAX.into(),
        9 => i64::MIN.into(),
        10 => 1e308.into(),
        11 => 1e-40.into(),
        12 => 0.5.into(),
        13 => Value::String(String::new()),
        14 => Value::String("\u{202e}\u{0}é😀".to_owned()),
        15 => Value::String("a".repeat(rng.random_range(1..5000))),
        16 => Value::Array(vec![]),
        17 => Value::Object(Map::new()),
        18 => deep(rng),
        19 => Value::String(format!("{RAW}1e999")),
        20 => Value::String(format!("{RAW}-0")),
        _ => Value::Array(vec![1.into(); rng.random_range(1..300)]),
    };
    if rng.random_bool(0.15) {
        *value = rival;
        return;
    }
    match value {
        Value::Number(number) if rng.random_bool(0.6) => {
            let was = number.as_f64().unwrap_or(0.0);
            let new = match rng.random_range(0..8) {
                0 => was + 1.0,
                1 => was - 1.0,
                2 => was * 2.0,
                3 => -was,
                4 => was / 3.0,
                5 => was * 1000.0,
                6 => 0.0,
                _ => was * was,
            };
            *value = if new.fract() == 0.0 && new.abs() < 9e15 { (new as i64).into() } else { new.into() };
        }
        Value::String(text) if rng.random_bool(0.5) => {
            let chars: Vec<char> = text.chars().collect();
            let at = rng.random_range(0..=chars.len());
            let put = *["", "^", "$1", "##", "{}", "<image>", "(", "\\", "\u{2581}", " ", "[MASK]"]
                .choose(rng)
                .unwrap_or(&"");
            let keep = rng.random_bool(0.7);
            *text = chars[..at].iter().collect::<String>()
                + put
                + &chars[if keep { at } else { (at + 1).min(chars.len()) }..].iter().collect::<String>();
        }
        Value::Array(list) if !list.is_empty() && rng.random_bool(0.7) => {
            let at = rng.random_range(0..list.len());
            match rng.random_range(0..5) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, list[at].clone()),
                2 => list.insert(at, any(rng)),
                3 => list.truncate(at),
                _ => list.reverse(),
            }
        }
        Value::Object(map) if !map.is_empty() && rng.random_bool(0.8) => {
            let at = rng.random_range(0..map.len());
            let key = map.keys().nth(at).cloned().unwrap_or_default();
            match rng.random_range(0..5) {
                0 | 1 => drop(map.shift_remove(&key)),
                2 => drop(map.insert(key, any(rng))),
                3 => {
                    let value = map.shift_remove(&key).unwrap_or(Value::Null);
                    map.insert(format!("{key}_"), value);
                }
                _ => drop(map.insert(format!("{}{key}", if rng.random() { "x" } else { "" }), rival)),
            }
        }
        _ => *value = any(rng),
    }
}

/// Lists in lists, or objects in objects; below what `serde_json` itself reads, and beyond.
fn deep(rng: &mut ChaCha8Rng) -> Value {
    let levels = *[10, 100, 127].choose(rng).unwrap_or(&10);
    let lists = rng.random_bool(0.5);
    (0..levels).fold(Value::Null, |inner, _| match lists {
        true => Value::Array(vec![inner]),
        false => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
    })
}

/// Words that loop, multiply, nest and recurse.
const WORDS: &[&str] = &[
    "{% for i in range(99999) %}",
    "{% endfor %}",
    "{{ 'a' * 99999999 }}",
    "{{ [1] * 99999999 }}",
    "{% set ns = namespace(a=1) %}",
    "{% set ns.a = ns %}",
    "{{ ns }}",
    "{{ messages | tojson(indent=999999999) }}",
    "{{ messages|batch(1000000000)|list }}",
    "{{ 'x' | indent(9223372036854775807) }}",
    "{{ 'x'|center(999999999) }}",
    "{{ loop.cycle() }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}",
    "{{ f(1) }}",
    "{% if true %}",
    "{% endif %}",
    "{%- ",
    " -%}",
    "{% raw %}",
    "{% endraw %}",
    "{{ raise_exception('x') }}",
    "{{ x.y.z }}",
    "{{ messages[0]['content'] }}",
    "{{ messages[::-1] }}",
    "{{ strftime_now('%Y') }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{%}x",
    "{{}}",
    "{#",
    "#}",
    "\r\n",
    "\r",
    "<image>",
    "{{ messages | length }}",
    "{{ 1 // 0 }}",
    "{{ 1 % 0 }}",
    "{{ 2 ** 99999 }}",
    "{{ -9223372036854775808 // -1 }}",
    "{{ 'a'.replace('', 'b' * 99999) }}",
    "{{ 'abc' | replace('', 'x') }}",
    "{{ range(0, 99999999, 0) }}",
    "{{ 'a' ~ 'b' }}",
    "{{ '%s' % 'a' }}",
    "{{ '%999999999d' % 1 }}",
    "{{ ('a', 'b') | join('c' * 9999999) }}",
    "{% set x = x ~ x %}",
    "{% include 'a' %}",
    "{% extends 'a' %}",
    "{% block a %}",
    "{% endblock %}",
    "{{ self.a() }}",
    "{{ caller() }}",
    "{% call f() %}",
    "{% endcall %}",
    "{% filter upper %}",
    "{% endfilter %}",
    "{{ lipsum() }}",
];

fn template(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8]) -> Vec<u8> {
    if rng.random_bool(0.2) {
        return bytes(rng, file, other, file.len());
    }
    let mut text: Vec<char> = String::from_utf8_lossy(file).chars().collect();
    for _ in 0..times(rng) {
        let at = rng.random_range(0..=text.len());
        let long = rng.random_range(0..=(text.len() - at).min(80));
        match rng.random_range(0..6) {
            0 | 1 => {
                let word: Vec<char> = WORDS.choose(rng).unwrap_or(&"").chars().collect();
                text.splice(at..at, word);
            }
            2 => drop(text.drain(at..at + long)),
            3 => {
                let copy = text[at..at + long].to_vec();
                let count = if rng.random_bool(0.1) { 500 } else { 2 };
                text.splice(at..at, copy.repeat(count));
            }
            4 => {
                let (open, close) =
                    *[("(", ")"), ("[", "]"), ("{", "}"), ("{{ ", " }}"), ("not ", ""), ("-", "")]
                        .choose(rng)
                        .unwrap_or(&("(", ")"));
                let levels = *[1, 30, 300, 20_000].choose(rng).unwrap_or(&1);
                text.splice(at + long..at + long, close.repeat(levels).chars());
                text.splice(at..at, open.repeat(levels).chars());
            }
            _ => {
                let number = *[
                    "0",
                    "-1",
                    "999999999",
                    "9223372036854775807",
                    "1e308",
                    "none",
                    "true",
                    "''",
                    "[]",
                    "messages",
                ]
                .choose(rng)
                .unwrap_or(&"0");
                text.splice(at..at + long.min(3), number.chars());
            }
        }
        if text.len() > 1 << 20 {
            break;
        }
    }
    text.into_iter().collect::<String>().into_bytes()
}

fn safetensors(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8]) -> Vec<u8> {
    let len = file.first_chunk::<8>().map(|len| u64::from_le_bytes(*len) as usize);
    let parts = len
        .filter(|_| rng.random_bool(0.85))
        .and_then(|len| Some((file.get(8..8 + len)?, file.get(8 + len..)?)));
    let Some((header, values)) = parts else { return bytes(rng, file, other, 4096) };
    if rng.random_bool(0.15) {
        // Values alone: what is no number, or far too large a one.
        let strange = *[f32::NAN, f32::INFINITY, 3e38, -0.0, 1e-44, 65504.0].choose(rng).unwrap_or(&f32::NAN);
        let mut values = values.to_vec();
        for _ in 0..times(rng) {
            let at = rng.random_range(0..values.len().max(1)) / 4 * 4;
            strange.to_le_bytes().iter().zip(values.iter_mut().skip(at)).for_each(|(new, old)| *old = *new);
        }
        return [&file[..8 + header.len()], &values].concat();
    }
    let header =
        if rng.random_bool(0.8) { json(rng, header, b"{}") } else { bytes(rng, header, other, header.len()) };
    let len = match rng.random_range(0..20) {
        0 => rng.random(),
        1 => header.len() as u64 + 1,
        _ => header.len() as u64,
    };
    [&len.to_le_bytes(), &header[..], values].concat()
}

fn picture(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8]) -> Vec<u8> {
    let within = if rng.random_bool(0.7) { 64 } else { file.len() };
    let mut file = bytes(rng, file, other, within);
    if file.starts_with(b"\x89PNG") && rng.random_bool(0.7) {
        right_sums(&mut file);
    }
    file
}

fn recording(rng: &mut ChaCha8Rng, file: &[u8], other: &[u8]) -> Vec<u8> {
    let within = if rng.random_bool(0.6) { 64 } else { file.len() };
    let mut file = bytes(rng, file, other, within);
    if file.starts_with(b"OggS") && rng.random_bool(0.5) {
        right_pages(&mut file);
    }
    file
}

/// Makes the checksums of the pages of an Ogg file right: four bytes behind 22, which count as zero.
fn right_pages(file: &mut [u8]) {
    let mut at = 0;
    while file.get(at..at + 4) == Some(b"OggS") {
        let Some(segments) = file.get(at + 26).map(|count| usize::from(*count)) else { return };
        let Some(table) = file.get(at + 27..at + 27 + segments) else { return };
        let length = 27 + segments + table.iter().map(|length| usize::from(*length)).sum::<usize>();
        let Some(page) = file.get_mut(at..at + length) else { return };
        page[22..26].fill(0);
        let sum = page.iter().fold(0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
                sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        at += length;
    }
}

/// Makes the checksums of a PNG's chunks right.
fn right_sums(file: &mut [u8]) {
    let mut at = 8;
    while let Some(len) = file.get(at..at + 4).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes) {
        let end = at + 8 + len as usize;
        let Some(sum) = file.get(at + 4..end).map(crc32fast::hash) else { return };
        let Some(place) = file.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}
