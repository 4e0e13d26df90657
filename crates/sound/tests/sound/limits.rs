//! A test for each limit, and that none of them is reached by what a file claims.

use mmlens_sound::{LogMel, LogMelSettings, MOST_SAMPLES, Sound};

use crate::ALLOCATED;
use crate::decoded::floats;
use crate::ogg::{signed, vorbis};
use crate::oracle::path;

fn said(file: &[u8]) -> String {
    Sound::from_bytes("a", file).unwrap_err().to_string()
}

fn put(file: &mut [u8], at: usize, with: &[u8]) {
    file[at..at + with.len()].copy_from_slice(with);
}

#[test]
fn bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = folder.path().join("a.wav");
    std::fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    let said = Sound::open(&sparse).unwrap_err().to_string();
    assert!(said.ends_with("a.wav: it has 1099511627776 bytes, expected at most 268435456"), "{said}");
    let said = Sound::open(folder.path()).unwrap_err().to_string();
    assert!(said.ends_with("it is a folder, expected a regular file"), "{said}");
}

#[test]
fn rates() {
    let expected = |rate: u32| format!("a: its rate is {rate} Hz, expected 1000 to 768000");
    for rate in [0, 999, 768_001, u32::MAX] {
        let mut file = floats(1, 8000, &[0.0; 9]);
        put(&mut file, 24, &rate.to_le_bytes());
        assert_eq!(said(&file), expected(rate));
        assert_eq!(Sound::new("a", vec![0.0], rate).unwrap_err().to_string(), expected(rate));
        assert_eq!(
            Sound::new("a", vec![0.0], 8000).unwrap().at(rate).unwrap_err().to_string(),
            expected(rate)
        );
    }
    for rate in [1000, 768_000] {
        assert_eq!(Sound::from_bytes("a", &floats(1, rate, &[0.0; 9])).unwrap().rate(), rate);
    }
}

#[test]
fn channels() {
    assert_eq!(said(&floats(27, 8000, &[0.0; 54])), "a: it has 27 channels, expected at most 26");
    assert_eq!(Sound::from_bytes("a", &floats(26, 8000, &[0.5; 52])).unwrap().samples(), [0.5, 0.5]);
    // The number of channels stands in the first page of Ogg, behind the header, one length, the name and four bytes of version.
    let mut ogg = bytes_of("mono.ogg");
    let first = (4..ogg.len()).find(|at| ogg[*at..].starts_with(b"OggS")).unwrap();
    ogg[27 + 1 + 7 + 4] = 3;
    let ogg = [signed(ogg[..first].to_vec()), ogg[first..].to_vec()].concat();
    assert_eq!(said(&ogg), "a: it has 3 channels of Vorbis, expected at most 2");
    let none = said(&floats(0, 8000, &[0.0; 9]));
    assert!(none.contains("channel"), "{none}");
}

#[test]
fn levels() {
    let file = floats(1, 8000, &[0.5, 2.0, f32::NAN]);
    assert_eq!(said(&file), "a: sample 2 is NaN, expected a number from -16 to 16 (full scale is 1)");
    for (at, level) in [f32::INFINITY, -32768.0, 16.1].into_iter().enumerate() {
        let mut samples = vec![0.0; 3];
        samples[at] = level;
        let said = Sound::new("a", samples, 8000).unwrap_err().to_string();
        assert!(said.starts_with(&format!("a: sample {at} is {level}, expected")), "{said}");
    }
    // Infinite in both channels, in other directions: no number.
    let said = said(&floats(2, 8000, &[f32::INFINITY, f32::NEG_INFINITY]));
    assert!(said.starts_with("a: sample 0 is NaN"), "{said}");
}

#[test]
fn no_samples() {
    assert_eq!(Sound::new("a", Vec::new(), 8000).unwrap_err().to_string(), "a: it has no samples");
    assert_eq!(said(&floats(1, 8000, &[])), "a: it has no samples");
    let one = Sound::new("a", vec![0.5], 48000).unwrap();
    assert_eq!(one.at(16000).unwrap_err().to_string(), "a: what it is at 16000 Hz has no samples");
}

#[test]
fn samples() {
    // FLAC packs silence: frames of 65535 samples in 8 channels, each a constant, in 40 bytes or so.
    let file = silence(8, 257);
    assert!(file.len() < 12_000, "{}", file.len());
    // 256 * 65535 * 8 = 134215680 are within 2^27 = 134217728, those of the next frame are not
    let expected =
        format!("a: it has {} samples in all channels, expected at most {MOST_SAMPLES}", 257 * 65535 * 8);
    assert_eq!(said(&file), expected);
    let sound = Sound::new("a", vec![0.0; 200_000], 1000).unwrap();
    let said = sound.at(768_000).unwrap_err().to_string();
    let expected = "a: it has 153600000 samples at the higher rate, expected at most 134217728";
    assert_eq!(said, expected);
}

/// A FLAC file of silence, which does not say how many samples it has: 42 bytes, then frames of one length for
/// numbers below 128.
pub(crate) fn silence(channels: u8, frames: u32) -> Vec<u8> {
    let mut file = b"fLaC\x80\0\0\x22".to_vec();
    // Least and most samples of a block, sizes of frames (unknown), rate in 20 bits, channels less one in 3, bits less one in 5,
    // samples in 36 (unknown), checksum (none)
    file.extend([0xff; 4]);
    file.extend([0; 6]);
    let about = (8000_u64 << 44) | (u64::from(channels - 1) << 41) | (15 << 36);
    file.extend(about.to_be_bytes());
    file.extend([0; 16]);
    for frame in 0..frames {
        // Blocks of one size, which stands behind in 16 bits; the rate is that of the file; channels; 16 bits a sample
        let mut header = vec![0xff, 0xf8, 0x70, ((channels - 1) << 4) | 8];
        let number = char::from_u32(frame).unwrap().to_string();
        header.extend(number.as_bytes());
        header.extend(65534_u16.to_be_bytes());
        header.push(crc8(&header));
        for _ in 0..channels {
            // A constant, of 16 bits
            header.extend([0, 0, 0]);
        }
        let sum = crc16(&header);
        header.extend(sum.to_be_bytes());
        file.extend(header);
    }
    file
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| (0..8).fold(sum ^ byte, |sum, _| (sum << 1) ^ (0x07 * (sum >> 7))))
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum: u16, _| (sum << 1) ^ (0x8005 * (sum >> 15)))
    })
}

#[test]
fn codebooks() {
    // Each of 131072 entries of 32 numbers, in 25 bytes or so.
    let file = vorbis(256, 1 << 17, 32);
    assert!(file.len() < 6700);
    let all = 256_u64 * (1 << 17) * 33;
    assert_eq!(said(&file), format!("a: it has {all} numbers in its codebooks, expected at most 16777216"));
}

#[test]
fn no_length_is_believed() {
    // What the tests beside this one hold at once, and more; what the files claim are gigabytes.
    const OTHERS: usize = 1 << 30;
    ALLOCATED.reset_peak_usage();
    // The length of a chunk of WAV stands four bytes behind its name.
    let mut wav = bytes_of("pcm_16.wav");
    let data = wav.windows(4).position(|four| four == b"data").unwrap();
    put(&mut wav, 4, &[0xff; 4]);
    put(&mut wav, data + 4, &[0xf0, 0xff, 0xff, 0xff]);
    let cut = said(&wav);
    assert!(cut.starts_with("a: it is cut off: ") && cut.ends_with("after 200 samples (0.025 s)"), "{cut}");
    // The number of samples of FLAC has 36 bits, the last four of the byte 21 and the four behind it.
    let mut flac = bytes_of("mono.flac");
    flac[21] |= 0x0f;
    put(&mut flac, 22, &[0xff; 4]);
    let cut = said(&flac);
    assert_eq!(
        cut,
        "a: it is cut off: the file ends, and its header promises 68719476735 samples, after 800 samples (0.050 s)"
    );
    let list = [&bytes_of("pcm_16.wav")[..36], b"LIST\xff\xff\xff\x7fINFO".as_slice()].concat();
    assert!(Sound::from_bytes("a", &list).is_err());
    assert!(ALLOCATED.peak_usage() < OTHERS, "{}", ALLOCATED.peak_usage());
}

fn bytes_of(name: &str) -> Vec<u8> {
    crate::oracle::bytes(name)
}

#[test]
fn spectrograms() {
    let listening = LogMel::new(LogMelSettings::default()).unwrap();
    let long = Sound::new("a", vec![0.0; 480_001], 16000).unwrap();
    assert_eq!(
        listening.of(&long).unwrap_err().to_string(),
        "a: it is 30.0000625 s long, expected at most 30: long form is not supported, take a part of it (`--from` and `--to`; in \
         Rust `Sound::between`)"
    );
    assert_eq!(listening.of(&long.between(0.0, 30.0).unwrap()).unwrap().sound_frames(), 3000);
    let other = Sound::open(path("pcm_16.wav")).unwrap();
    assert_eq!(
        listening.of(&other).unwrap_err().to_string(),
        "pcm_16.wav: its rate is 8000 Hz, expected 16000: resample it with `Sound::at`"
    );
}
