//! Which format a recording is in, told by its bytes: what a file is called counts for nothing.

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Wav,
    Flac,
    Mp3,
    Vorbis,
}

/// Containers and formats by their first bytes, none of which is read.
const OTHERS: [(&[u8], &str); 16] = [
    (b"RF64", "WAV with lengths of 64 bits (RF64)"),
    (b"BW64", "WAV with lengths of 64 bits (BW64)"),
    (b"riff", "Wave64"),
    (b"RIFX", "WAV with its bytes in the other order (RIFX)"),
    (b"RIFF", "RIFF without WAVE in it"),
    (b"FORM", "AIFF"),
    (b"caff", "CAF"),
    (b".snd", "AU"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (b"ADIF", "AAC"),
    (b"#!AMR", "AMR"),
    (b"MAC ", "Monkey's Audio"),
    (b"wvPk", "WavPack"),
    (b"\x30\x26\xb2\x75", "Windows Media"),
    (b"MThd", "MIDI"),
    (b"NIST_1A", "NIST SPHERE"),
];

/// What is in an Ogg file, by how its first packet begins.
const IN_OGG: [(&[u8], &str); 4] = [
    (b"OpusHead", "Ogg Opus"),
    (b"\x7fFLAC", "FLAC in Ogg"),
    (b"Speex   ", "Speex"),
    (b"\x80theora", "a video (Theora)"),
];

/// The format of a file, and its bytes without tags of MP3 players; or what it is that is not read.
pub(crate) fn format_of(bytes: &[u8]) -> Result<(Format, &[u8]), &'static str> {
    let bytes = untagged(bytes);
    if bytes.is_empty() {
        return Err("empty");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE") {
        return Ok((Format::Wav, bytes));
    }
    if bytes.starts_with(b"fLaC") {
        return Ok((Format::Flac, bytes));
    }
    if bytes.starts_with(b"OggS") {
        return in_ogg(bytes).map(|format| (format, bytes));
    }
    if let Some((_, found)) = OTHERS.iter().find(|(begins, _)| bytes.starts_with(begins)) {
        return Err(found);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Err("MP4 (as it holds AAC or ALAC)");
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let frames = bytes.get(zeros..).unwrap_or_default();
    mpeg(frames).map(|format| (format, frames))
}

fn in_ogg(bytes: &[u8]) -> Result<Format, &'static str> {
    let segments = bytes.get(26).map_or(0, |count| usize::from(*count));
    let packet = bytes.get(27 + segments..).unwrap_or_default();
    if packet.starts_with(b"\x01vorbis") {
        return Ok(Format::Vorbis);
    }
    let known = IN_OGG.iter().find(|(begins, _)| packet.starts_with(begins));
    Err(known.map_or("Ogg without Vorbis in it", |(_, found)| found))
}

/// What a frame of MPEG audio begins with: eleven bits that are set, then version, layer, checksum or none, bits in a second,
/// and rate.
fn mpeg(bytes: &[u8]) -> Result<Format, &'static str> {
    const NONE: &str = "no sound of a known format";
    let &[0xff, second, third, ..] = bytes else { return Err(NONE) };
    let (version, layer) = ((second >> 3) & 3, (second >> 1) & 3);
    if second & 0xf6 == 0xf0 {
        return Err("AAC (ADTS)");
    }
    if second & 0xe0 != 0xe0 || version == 1 || third >> 4 == 15 || (third >> 2) & 3 == 3 {
        return Err(NONE);
    }
    match layer {
        1 => Ok(Format::Mp3),
        2 => Err("MPEG audio of layer II"),
        3 => Err("MPEG audio of layer I"),
        _ => Err(NONE),
    }
}

/// Codings of WAV that are not read, by their numbers.
const CODINGS: [(u16, &str); 6] = [
    (0x02, "WAV in Microsoft's ADPCM"),
    (0x11, "WAV in IMA ADPCM"),
    (0x31, "WAV in GSM 6.10"),
    (0x40, "WAV in G.721"),
    (0x50, "WAV with MPEG audio in it"),
    (0x55, "WAV with MP3 in it"),
];

/// What a WAV file is that is in a coding which is not read; nothing for any other file.
pub(crate) fn wav_coding(bytes: &[u8]) -> Option<&'static str> {
    let [coding, _] = wav_begins(bytes)?;
    CODINGS.iter().find(|(known, _)| *known == coding).map(|(_, found)| *found)
}

/// How many channels a WAV file says that it has.
pub(crate) fn wav_channels(bytes: &[u8]) -> Option<u16> {
    wav_begins(bytes).map(|[_, channels]| channels)
}

/// How the chunk `fmt ` of a WAV file begins: how samples are coded, and how many channels there are.
fn wav_begins(bytes: &[u8]) -> Option<[u16; 2]> {
    let mut rest = bytes.strip_prefix(b"RIFF")?.get(8..)?;
    loop {
        let length: &[u8; 4] = rest.get(4..8)?.first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if rest.starts_with(b"fmt ") {
            let two = |at: usize| Some(u16::from_le_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
            return Some([two(8)?, two(10)?]);
        }
        // A chunk begins at an even byte.
        rest = rest.get(8..)?.get(length.checked_next_multiple_of(2)?..)?;
    }
}

/// A file without the tags that players put before (ID3v2) and behind it (ID3v1).
fn untagged(mut bytes: &[u8]) -> &[u8] {
    while let &[b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] = bytes {
        // Seven bits of each byte; ten bytes of header, and as many behind if a flag says so.
        let size = [a, b, c, d].iter().fold(0_usize, |size, byte| (size << 7) | usize::from(byte & 0x7f));
        let all = 10 + size + if flags & 0x10 == 0 { 0 } else { 10 };
        bytes = bytes.get(all..).unwrap_or_default();
    }
    match bytes.len().checked_sub(128).and_then(|at| bytes.split_at_checked(at)) {
        Some((before, tag)) if tag.starts_with(b"TAG") => before,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_bytes() {
        let of = |bytes: &[u8]| format_of(bytes).map(|(format, _)| format);
        assert_eq!(of(b"RIFF\0\0\0\0WAVEfmt "), Ok(Format::Wav));
        assert_eq!(of(b"RIFF\0\0\0\0AVI LIST"), Err("RIFF without WAVE in it"));
        assert_eq!(of(b"fLaC"), Ok(Format::Flac));
        assert_eq!(of(b""), Err("empty"));
        assert_eq!(of(b"<html>"), Err("no sound of a known format"));
        assert_eq!(of(b"\0\0\0\x20ftypM4A "), Err("MP4 (as it holds AAC or ALAC)"));
        // MPEG 1 layer III of 128 kbit/s at 44.1 kHz; layer II; ADTS
        assert_eq!(of(b"\xff\xfb\x90\x00"), Ok(Format::Mp3));
        assert_eq!(of(b"\xff\xfd\x90\x00"), Err("MPEG audio of layer II"));
        assert_eq!(of(b"\xff\xf1\x50\x80"), Err("AAC (ADTS)"));
        // the rate 3 is not given to any
        assert_eq!(of(b"\xff\xfb\x9c\x00"), Err("no sound of a known format"));
        let ogg = |packet: &[u8]| [b"OggS".as_slice(), &[0; 22], &[1, 30], packet].concat();
        assert_eq!(of(&ogg(b"\x01vorbis")), Ok(Format::Vorbis));
        assert_eq!(of(&ogg(b"OpusHead")), Err("Ogg Opus"));
        assert_eq!(of(&ogg(b"else")), Err("Ogg without Vorbis in it"));
    }

    #[test]
    fn tags_are_left_out() {
        // 1 * 128 + 2 bytes of tag
        let tag = [b"ID3\x04\0\0\0\0\x01\x02".as_slice(), &[7; 130]].concat();
        let behind = [b"TAG".as_slice(), &[9; 125]].concat();
        let all = [&tag, &tag, b"\0\0\xff\xfb\x90\x00".as_slice(), &behind].concat();
        assert_eq!(format_of(&all), Ok((Format::Mp3, b"\xff\xfb\x90\x00".as_slice())));
        assert_eq!(format_of(&tag[..90]), Err("empty"));
    }
}
