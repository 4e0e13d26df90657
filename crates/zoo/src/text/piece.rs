//! Tokens as people can read them.

use serde_json::Value;

/// How a vocabulary writes what is not plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alphabet {
    /// Every byte is a character of its own, as in GPT-2's vocabulary.
    bytes: bool,
    /// What ends a word in the vocabulary, as in CLIP's.
    word_end: Option<String>,
}

/// What a space is shown as.
const SPACE: char = '␣';

impl Alphabet {
    /// By the decoder, the step that cuts texts, and what ends a word.
    pub(super) fn new(decoder: &Value, splitter: &Value, word_end: Option<&str>) -> Self {
        let word_end = word_end.filter(|end| !end.is_empty()).map(str::to_owned);
        Self { bytes: uses_bytes(decoder) || uses_bytes(splitter), word_end }
    }

    /// A joined text with spaces for what ends a word.
    pub(super) fn joined(&self, text: String) -> String {
        match &self.word_end {
            Some(end) => text.replace(end, " ").trim().to_owned(),
            None => text,
        }
    }

    /// The token made readable; `added` if it stands beside the vocabulary and is text as it is.
    pub(super) fn show(&self, token: &str, added: bool) -> String {
        if added {
            return visible(token.as_bytes());
        }
        let ended = self.word_end.as_deref().and_then(|end| token.strip_suffix(end));
        let (token, end) = ended.map_or((token, ""), |token| (token, " "));
        if let Some(byte) = single_byte(token) {
            return visible(&[byte]);
        }
        let mut bytes = Vec::with_capacity(token.len() + 1);
        for character in token.chars() {
            match byte_of(character).filter(|_| self.bytes) {
                Some(byte) => bytes.push(byte),
                None if character == '\u{2581}' => bytes.push(b' '),
                None => bytes.extend(character.to_string().as_bytes()),
            }
        }
        bytes.extend(end.as_bytes());
        visible(&bytes)
    }
}

/// Whether any part of a pipeline works on bytes.
fn uses_bytes(part: &Value) -> bool {
    match part {
        Value::Object(fields) => {
            fields.get("type").and_then(Value::as_str) == Some("ByteLevel") || fields.values().any(uses_bytes)
        }
        Value::Array(parts) => parts.iter().any(uses_bytes),
        _ => false,
    }
}

/// The byte of a token such as `<0xE2>`.
fn single_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The byte that a character of GPT-2's alphabet stands for: printable bytes are themselves, the others follow from
/// U+0100 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|&byte| !printable(byte)).nth(usize::try_from(code - 256).ok()?),
    }
}

/// Text with spaces shown and the rest of what cannot be seen escaped; bytes that are no text in hexadecimal digits.
fn visible(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' ' => out.push(SPACE),
                c if c.is_control() => out.extend(c.escape_default()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        let characters = (0..0x200).filter_map(char::from_u32);
        let mut bytes: Vec<u8> = characters.filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        // GPT-2 writes a space as U+0120 and a line end as U+010A.
        assert_eq!(
            (byte_of('\u{120}'), byte_of('\u{10A}'), byte_of('a')),
            (Some(b' '), Some(b'\n'), Some(b'a'))
        );
    }

    #[test]
    fn tokens_are_shown_as_text() {
        let gpt2 = Alphabet { bytes: true, word_end: None };
        assert_eq!(gpt2.show("\u{120}caf\u{C3}\u{A9}", false), "␣café");
        assert_eq!(gpt2.show("\u{C3}", false), "\\xC3");
        assert_eq!(gpt2.show("\u{10A}\u{10A}", false), "\\n\\n");
        assert_eq!(gpt2.show("<image>", true), "<image>");
        let llama = Alphabet { bytes: false, word_end: None };
        assert_eq!(llama.show("\u{2581}a\u{2581}é", false), "␣a␣é");
        assert_eq!(
            (llama.show("<0x0A>", false), llama.show("<0xE2>", false)),
            ("\\n".into(), "\\xE2".into())
        );
        let clip = Alphabet { bytes: true, word_end: Some("</w>".into()) };
        assert_eq!((clip.show("cat</w>", false), clip.show("cat", false)), ("cat␣".into(), "cat".into()));
    }
}
