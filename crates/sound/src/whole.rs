//! Whether a file is there as a whole: decoders look for the next piece that makes sense and pass over what does not.

/// What is wrong with how a file is put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends too early.
    CutOff(String),
    /// Something else.
    Broken(String),
}

fn broken(reason: impl Into<String>) -> Fault {
    Fault::Broken(reason.into())
}

/// What of a page of Ogg stands before its table of segments.
const PAGE: usize = 27;

/// Looks through the pages of an Ogg file: one follows the other, each with its checksum, all of one stream, the last one
/// marked as such. What stands behind it is passed over, unless it is another stream. Gives the third packet: of Vorbis, the
/// setup header.
pub(crate) fn pages(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let (mut at, mut before) = (0, None);
    let (mut packets, mut third) = (0, Vec::new());
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let cut = || Fault::CutOff(format!("the page of Ogg at byte {at} is not whole"));
        let header: &[u8; PAGE] = rest.first_chunk().ok_or_else(cut)?;
        if !header.starts_with(b"OggS\0") {
            return Err(broken(format!("no page of Ogg begins at byte {at}, where one must")));
        }
        let number = |at: usize| {
            header
                .get(at..)
                .and_then(|bytes| bytes.first_chunk())
                .map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let [.., segments] = *header;
        let table = rest.get(PAGE..PAGE + usize::from(segments)).ok_or_else(cut)?;
        let length = PAGE + table.len() + table.iter().map(|length| usize::from(*length)).sum::<usize>();
        let page = rest.get(..length).ok_or_else(cut)?;
        if checksum(page) != number(22) {
            return Err(broken(format!(
                "the page of Ogg at byte {at} is damaged: its checksum is not what it says"
            )));
        }
        let (stream, sequence) = (number(14), number(18));
        match before {
            Some((own, _)) if own != stream => {
                return Err(broken("it holds several streams at once, expected one"));
            }
            Some((_, last)) if sequence != u32::wrapping_add(last, 1) => {
                return Err(broken(format!("pages are missing before byte {at}")));
            }
            _ => before = Some((stream, sequence)),
        }
        let mut data = page.get(PAGE + table.len()..).unwrap_or_default();
        for length in table {
            if packets > 2 {
                break;
            }
            let (piece, behind) = data.split_at_checked(usize::from(*length)).unwrap_or_default();
            if packets == 2 {
                third.extend_from_slice(piece);
            }
            // Another piece of the same packet follows one of 255 bytes.
            packets += usize::from(*length < 255);
            data = behind;
        }
        at += length;
        let flags = header.get(5).copied().unwrap_or_default();
        if flags & 4 != 0 {
            return match bytes.get(at..).is_some_and(|rest| rest.starts_with(b"OggS")) {
                true => Err(broken("it holds several streams, one behind the other, expected one")),
                false => Ok(third),
            };
        }
    }
    Err(Fault::CutOff("its last page is not there".to_owned()))
}

/// The checksum of a page of Ogg, in which the four bytes of the checksum count as zero.
fn checksum(page: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let (mut value, mut bit) = ((at as u32) << 24, 0);
            while bit < 8 {
                value = (value << 1) ^ if value >> 31 == 1 { 0x04c1_1db7 } else { 0 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    page.iter().enumerate().fold(0, |sum, (at, byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { *byte };
        let [first, ..] = sum.to_be_bytes();
        (sum << 8) ^ TABLE.get(usize::from(first ^ byte)).copied().unwrap_or_default()
    })
}

/// Which bytes of an MP3 file the frames are that were read.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    first: Option<usize>,
    end: usize,
    last: [u8; 2],
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, first: None, end: 0, last: [0; 2] }
    }

    /// Whether a first frame was passed over that is no sound, but says how long the others are.
    pub(crate) fn has_tag(&self) -> bool {
        self.first.is_some_and(|first| first > 0)
    }

    /// Notes the next frame that was read, which must stand right behind the one before.
    pub(crate) fn next(&mut self, frame: &[u8]) -> Result<(), Fault> {
        let rest = self.bytes.get(self.end..).unwrap_or_default();
        if let Some(begins) = frame.first_chunk() {
            self.last = *begins;
        }
        let skipped = match rest.starts_with(frame) {
            true => 0,
            false => rest.windows(frame.len().max(1)).position(|piece| piece == frame).unwrap_or(rest.len()),
        };
        let between = rest.get(..skipped).unwrap_or_default();
        let tag = |name: &[u8]| between.windows(4).any(|four| four == name);
        let known = self.first.is_none() && [b"Xing", b"Info", b"VBRI"].into_iter().any(|name| tag(name));
        if skipped > 0 && !known {
            return Err(broken(format!("bytes {} to {} are no frame of MP3", self.end, self.end + skipped)));
        }
        let start = self.end + skipped;
        self.first.get_or_insert(start);
        self.end = start + frame.len();
        Ok(())
    }

    /// What stands behind the last frame: tags of players are well, but no frame.
    pub(crate) fn done(&self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.end..).unwrap_or_default();
        // Eleven bits that are set, then version and layer, which do not change inside of a file.
        match (rest, self.last) {
            (&[0xff, second, ..], [_, own]) if second & 0xfe == own & 0xfe => {
                Err(Fault::CutOff("its last frame is not whole".to_owned()))
            }
            (&[0xff], _) => Err(Fault::CutOff("its last frame is not whole".to_owned())),
            _ => Ok(()),
        }
    }
}
