//! How much room the codebooks of a Vorbis file take: a few bytes of its header can ask for gigabytes.
//!
//! A decoder writes out all vectors of a codebook, `entries` times `dimensions` numbers; a header has up to 256 codebooks, and
//! says of each in 25 bytes that it has 131072 entries of 32 numbers. Here the header is read as far as that, as in section 3.2.1 of
//! the Vorbis I specification, and nothing is written out.

/// The most numbers in all codebooks together: 64 MiB of them. Encoders write some hundred thousand.
pub(crate) const MOST_NUMBERS: u64 = 1 << 24;

/// How many numbers the codebooks of a setup header have, up to the first one that is not what it should be: there the decoder
/// stops too.
pub(crate) fn numbers(setup: &[u8]) -> u64 {
    let mut bits = Bits { bytes: setup.strip_prefix(b"\x05vorbis").unwrap_or_default(), at: 0 };
    let books = bits.take(8).map_or(0, |count| count + 1);
    let mut all = 0;
    for _ in 0..books {
        let Some(book) = codebook(&mut bits) else { break };
        all += book;
    }
    all
}

/// The numbers of the next codebook.
fn codebook(bits: &mut Bits<'_>) -> Option<u64> {
    let (sync, dimensions, entries) = (bits.take(24)?, bits.take(16)?, bits.take(24)?);
    // Larger ones the decoder refuses by itself.
    if sync != 0x56_4342 || !(1..=32).contains(&dimensions) || entries > 1 << 17 {
        return None;
    }
    let ordered = bits.take(1)? == 1;
    if ordered {
        bits.skip(5);
        let mut left = entries;
        while left > 0 {
            left = left.checked_sub(bits.take(u32::BITS - left.leading_zeros())?)?;
        }
    } else if bits.take(1)? == 1 {
        for _ in 0..entries {
            if bits.take(1)? == 1 {
                bits.skip(5);
            }
        }
    } else {
        bits.skip(5 * u64::from(entries));
    }
    let kind = bits.take(4)?;
    if kind == 0 {
        return Some(u64::from(entries));
    }
    bits.skip(64);
    let each = bits.take(4)? + 1;
    bits.skip(1);
    let written = match kind {
        // The largest whole number whose power is no more than the entries.
        1 => (entries as f32).powf(1.0 / dimensions as f32).floor() as u64,
        2 => u64::from(entries) * u64::from(dimensions),
        _ => return None,
    };
    bits.skip(u64::from(each) * written);
    Some(u64::from(entries) * u64::from(dimensions + 1))
}

/// Bits, the least of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: u64,
}

impl Bits<'_> {
    /// A number of up to 32 bits.
    fn take(&mut self, many: u32) -> Option<u32> {
        let mut number = 0;
        for place in 0..many {
            let byte = self.bytes.get(usize::try_from(self.at / 8).ok()?)?;
            number |= u32::from((byte >> (self.at % 8)) & 1) << place;
            self.at += 1;
        }
        Some(number)
    }

    fn skip(&mut self, many: u64) {
        self.at = self.at.saturating_add(many);
    }
}
