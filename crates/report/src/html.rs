//! Text as HTML: nothing that comes from outside ever becomes markup.

use serde::Serialize;

use crate::ReportError;

/// Text as it may stand between tags and inside quoted attributes.
pub(crate) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{2400}'),
            c => out.push(c),
        }
    }
    out
}

/// A value as JSON that may stand inside a script element, whatever texts it holds.
pub(crate) fn json(value: &impl Serialize) -> Result<String, ReportError> {
    let raw = serde_json::to_string(value).map_err(|source| ReportError::Data { source })?;
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            // inside JSON these stand only within strings, where the escape means the same
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// A number for readers: three significant digits, whole numbers whole.
pub(crate) fn number(value: f32) -> String {
    if value.is_nan() {
        return "no value".to_owned();
    }
    let size = f64::from(value.abs());
    let sign = if value < 0.0 { "\u{2212}" } else { "" };
    if size.is_infinite() {
        return format!("{sign}\u{221e}");
    }
    if size == 0.0 {
        return "0".to_owned();
    }
    if size.fract() == 0.0 && size < 1e6 {
        return format!("{sign}{size}");
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{sign}{size:.2e}").replace("e-", "e\u{2212}");
    }
    // digits after the point that leave three significant ones
    let places = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else if size >= 0.1 {
        3
    } else if size >= 0.01 {
        4
    } else {
        5
    };
    format!("{sign}{size:.places$}")
}

/// A count with its thousands apart.
pub(crate) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join("\u{202f}")
}

/// A token without the space before it; one of nothing but space as a mark.
pub(crate) fn visible(token: &str) -> String {
    let marked = token.replace('\n', "\u{23ce}").replace('\t', "\u{21e5}").replace('\r', "\u{240d}");
    match marked.trim_start_matches(' ') {
        "" if token.is_empty() => "\u{2205}".to_owned(),
        "" => "\u{2423}".repeat(marked.len()),
        word => word.to_owned(),
    }
}

/// The name of a method or table in words: `integrated_gradients` becomes `Integrated gradients`.
pub(crate) fn words(name: &str) -> String {
    let spaced = name.replace(['_', '-'], " ");
    let mut chars = spaced.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::{grouped, json, number, text, visible, words};

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            text(r#"<script>alert("1" & '2')</script>"#),
            "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;"
        );
        assert_eq!(text("röt \u{202e}x"), "röt \u{202e}x");
    }

    #[test]
    fn json_cannot_leave_its_script_element() {
        let hostile = "</script><!--<script>\u{2028}&\"\\";
        let coded = json(&[hostile]).unwrap();
        assert!(!coded.contains(['<', '>', '&', '\u{2028}']), "{coded}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&coded).unwrap(), [hostile]);
    }

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.500"),
            (-1.25, "−1.25"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (42.0, "42"),
            (0.012_34, "0.0123"),
            (1.5e-5, "1.50e−5"),
            (-2.5e7, "−2.50e7"),
            (f32::INFINITY, "∞"),
            (f32::NAN, "no value"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 14_400_000].map(grouped),
            ["0", "999", "1\u{202f}000", "14\u{202f}400\u{202f}000"]
        );
    }

    #[test]
    fn every_token_can_be_seen() {
        let seen = ["", " ", "  ", " red", "\n", " \n", "a b"].map(visible);
        assert_eq!(seen, ["∅", "␣", "␣␣", "red", "⏎", "⏎", "a b"]);
    }

    #[test]
    fn names_become_words() {
        assert_eq!(words("integrated_gradients"), "Integrated gradients");
        assert_eq!(words(""), "");
    }
}
