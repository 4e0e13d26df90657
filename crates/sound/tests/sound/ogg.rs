//! Pages of Ogg, made and changed with checksums that are right.

use crate::oracle::bytes;

/// A page of Ogg with some packets, of the stream 7.
pub(crate) fn page(sequence: u32, flags: u8, packets: &[&[u8]]) -> Vec<u8> {
    let mut table = Vec::new();
    for packet in packets {
        table.extend(std::iter::repeat_n(255, packet.len() / 255));
        table.push((packet.len() % 255) as u8);
    }
    let mut page = [b"OggS\0".as_slice(), &[flags], &[0; 8]].concat();
    page.extend(7_u32.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.push(table.len() as u8);
    page.extend(table);
    page.extend(packets.concat());
    signed(page)
}

/// A page of Ogg with its checksum.
pub(crate) fn signed(mut page: Vec<u8>) -> Vec<u8> {
    page[22..26].fill(0);
    let sum = page.iter().fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 24), |sum, _| (sum << 1) ^ (0x04c1_1db7 * (sum >> 31)))
    });
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    page
}

/// A file of Ogg whose pages have their checksums put right, as far as they are pages.
pub(crate) fn resigned(file: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = file;
    while rest.starts_with(b"OggS") && rest.len() > 27 {
        let segments = usize::from(rest[26]);
        let length = 27
            + segments
            + rest[27..].iter().take(segments).map(|length| usize::from(*length)).sum::<usize>();
        let (page, behind) = rest.split_at(length.min(rest.len()));
        all.extend(signed(page.to_vec()));
        rest = behind;
    }
    all.extend(rest);
    all
}

/// A file of Vorbis that ends with its setup header: so many codebooks alike.
pub(crate) fn vorbis(books: u32, entries: u32, dimensions: u32) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |number: u32, many: u32| bits.extend((0..many).map(|place| (number >> place) & 1 == 1));
    put(books - 1, 8);
    for _ in 0..books {
        put(0x56_4342, 24);
        put(dimensions, 16);
        put(entries, 24);
        // In order of their lengths: all of 17 bits
        put(1, 1);
        put(16, 5);
        put(entries, u32::BITS - entries.leading_zeros());
        // A number for each place, as many as fit: of 32 dimensions one, of 1 bit
        put(1, 4);
        put(0, 32);
        put(0, 32);
        put(0, 4);
        put(0, 1);
        put(0, 1);
    }
    let packed =
        bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit)));
    let setup: Vec<u8> = b"\x05vorbis".iter().copied().chain(packed).chain([0; 99]).collect();
    let own = bytes("mono.ogg");
    let first = (4..own.len()).find(|at| own[*at..].starts_with(b"OggS")).unwrap();
    let comment = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";
    [&own[..first], &page(1, 4, &[comment, &setup])].concat()
}
