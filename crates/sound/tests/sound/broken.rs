//! Files that are damaged, and what is not read.

use std::time::{Duration, Instant};

use mmlens_sound::{Sound, SoundError};
use proptest::prelude::*;

use crate::limits::silence;
use crate::ogg::{resigned, vorbis};
use crate::oracle::{FILES, bytes, path};

fn said(file: &[u8]) -> String {
    Sound::from_bytes("a", file).unwrap_err().to_string()
}

#[test]
fn what_is_not_read_is_named_with_what_is() {
    let is = |found: &str| {
        format!(
            "a: it is {found}; what is read are WAV (PCM of 8, 16, 24 or 32 bits, A-law, mu-law, floats of 32 or 64), FLAC, MP3 and \
             Ogg Vorbis"
        )
    };
    assert_eq!(said(&bytes("opus.ogg")), is("Ogg Opus"));
    assert_eq!(said(b""), is("empty"));
    assert_eq!(said(b"no sound"), is("no sound of a known format"));
    assert_eq!(said(b"\0\0\0\x18ftypmp42"), is("MP4 (as it holds AAC or ALAC)"));
    assert_eq!(said(b"\xff\xf1\x50\x80\x02\x1f\xfc"), is("AAC (ADTS)"));
    // ADPCM is WAV by its container.
    let mut adpcm = bytes("pcm_16.wav");
    for (coding, found) in
        [(2, "WAV in Microsoft's ADPCM"), (0x11, "WAV in IMA ADPCM"), (0x55, "WAV with MP3 in it")]
    {
        adpcm[20] = coding;
        assert_eq!(said(&adpcm), is(found));
    }
    // A coding that nobody knows.
    adpcm[20] = 0x7f;
    assert!(matches!(Sound::from_bytes("a", &adpcm), Err(SoundError::Broken { .. })), "{}", said(&adpcm));
}

/// However a file is cut, it is an error, and one that says how much was read where that is so.
#[test]
fn a_file_that_is_cut_off_is_an_error() {
    for name in FILES.into_iter().chain(["untagged.mp3"]) {
        let whole = bytes(name);
        let full = Sound::open(path(name)).unwrap().samples().len();
        let step = (whole.len() / 150).max(1);
        for end in (0..whole.len()).step_by(step) {
            match Sound::from_bytes("a", &whole[..end]) {
                Err(SoundError::CutOff { read, .. }) => assert!(read <= full as u64 + 2000, "{name} {end}"),
                Err(_) => {}
                // Frames of MP3 follow each other without an end: of whole ones none is missing.
                Ok(sound) => {
                    assert_eq!(name, "untagged.mp3", "{end}");
                    assert!(sound.samples().len() < full, "{end}");
                }
            }
        }
        let last = said(&whole[..whole.len() - 1]);
        assert!(last.starts_with("a: it is cut off: ") && last.contains(" samples ("), "{name}: {last}");
    }
}

#[test]
fn cut_off_files_say_how_much_was_read() {
    let wav = bytes("pcm_16.wav");
    // 101 bytes are 50 samples and a half.
    assert_eq!(
        said(&wav[..wav.len() - 101]),
        "a: it is cut off: the file ends, and its header promises 200 samples, after 149 samples (0.019 s)"
    );
    assert_eq!(said(&wav[..20]), "a: it is cut off: the file ends, after 0 samples (0.000 s)");
    let ogg = bytes("mono.ogg");
    assert!(said(&ogg[..ogg.len() - 1]).starts_with("a: it is cut off: the page of Ogg at byte "));
    let mp3 = bytes("untagged.mp3");
    let cut = said(&mp3[..mp3.len() - 9]);
    assert!(cut.starts_with("a: it is cut off: its last frame is not whole, after "), "{cut}");
}

#[test]
fn what_decoders_pass_over_is_an_error() {
    // A page of Ogg less: they begin with "OggS".
    let ogg = bytes("stereo.ogg");
    let pages: Vec<usize> = (0..ogg.len() - 4).filter(|at| &ogg[*at..at + 4] == b"OggS").collect();
    assert!(pages.len() >= 3, "{pages:?}");
    let less = [&ogg[..pages[1]], &ogg[pages[2]..]].concat();
    assert_eq!(
        said(&less),
        format!("a: pages are missing before byte {}, after 0 samples were read", pages[1])
    );
    let mut flipped = ogg.clone();
    flipped[pages[2] + 60] ^= 1;
    let damaged = said(&flipped);
    assert!(damaged.contains(&format!("the page of Ogg at byte {} is damaged", pages[2])), "{damaged}");
    let twice = [ogg.clone(), ogg.clone()].concat();
    assert!(said(&twice).contains("it holds several streams, one behind the other"), "{}", said(&twice));
    // A frame of FLAC whose checksum is wrong, and samples that are not those of the file's checksum.
    let mut flac = bytes("stereo.flac");
    let middle = flac.len() - 600;
    flac[middle] ^= 1;
    assert!(matches!(
        Sound::from_bytes("a", &flac),
        Err(SoundError::CutOff { .. } | SoundError::Broken { .. })
    ));
    let mut flac = bytes("mono.flac");
    // The checksum is the last 16 of the 34 bytes that stand behind the first 8.
    flac[30] ^= 1;
    assert_eq!(said(&flac), "a: its samples are not those of its checksum, after 800 samples were read");
    // A frame less of three, in a file that does not say how many samples it has.
    let silent = silence(1, 3);
    assert_eq!(Sound::from_bytes("a", &silent).unwrap().samples().len(), 3 * 65535);
    let frame = (silent.len() - 42) / 3;
    let less = [&silent[..42 + frame], &silent[42 + 2 * frame..]].concat();
    let missing =
        "a: frames are missing: the next one begins with sample 131070, after 65535 samples were read";
    assert_eq!(said(&less), missing);
    // Bytes between two frames of MP3. The first frame, of 64 kbit/s, has 72 * 64000 / 16000 = 288.
    let mp3 = bytes("untagged.mp3");
    let (before, behind) = mp3.split_at(288);
    assert_eq!(behind[0], 0xff);
    let between = [before, &[0; 50], behind].concat();
    assert!(said(&between).contains("are no frame of MP3"), "{}", said(&between));
    // A frame less than the first one says: the last one, of 56 kbit/s, has 252.
    let tagged = bytes("mono.mp3");
    let less = [&tagged[..tagged.len() - 252]].concat();
    assert!(said(&less).contains("it is cut off: it says that it has "), "{}", said(&less));
}

/// Of a codebook of 32 dimensions symphonia asserts that 2 to the power of 32 is more than its entries, in 32 bits.
#[test]
fn a_panic_of_the_decoder_is_an_error_of_the_file() {
    let said = said(&vorbis(1, 100, 32));
    assert!(said.starts_with("a: the decoder fails: ") && said.contains(" (a panic at symphonia"), "{said}");
}

/// A test of every file: whatever happens to its bytes, it ends soon, without a panic.
fn survives(file: &[u8]) -> Result<(), TestCaseError> {
    let begun = Instant::now();
    let result = Sound::from_bytes("a", file);
    prop_assert!(begun.elapsed() < Duration::from_secs(20));
    if let Err(error) = &result {
        prop_assert!(error.to_string().starts_with("a: "), "{}", error);
    }
    if let Ok(sound) = result {
        prop_assert!(sound.samples().iter().all(|sample| sample.is_finite()));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn bits_that_flip(name in 0..FILES.len(), flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..6)) {
        let mut file = bytes(FILES[name]);
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        survives(&file)?;
    }

    /// Damage that no checksum tells, so that it comes to the decoder.
    #[test]
    fn bits_that_flip_under_a_checksum(stereo: bool, flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4)) {
        let mut file = bytes(if stereo { "stereo.ogg" } else { "mono.ogg" });
        for (at, bit) in flips {
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
        }
        survives(&resigned(&file))?;
    }

    #[test]
    fn headers_that_are_overwritten(name in 0..FILES.len(), at in 0_usize..120, with in proptest::collection::vec(any::<u8>(), 1..9)) {
        let mut file = bytes(FILES[name]);
        for (offset, byte) in with.into_iter().enumerate() {
            file[at + offset] = byte;
        }
        survives(&file)?;
    }

    #[test]
    fn pieces_that_are_moved(name in 0..FILES.len(), from in any::<prop::sample::Index>(), many in 1_usize..400, to in any::<prop::sample::Index>()) {
        let mut file = bytes(FILES[name]);
        let start = from.index(file.len());
        let end = (start + many).min(file.len());
        let piece: Vec<u8> = file.drain(start..end).collect();
        let at = to.index(file.len() + 1);
        file.splice(at..at, piece);
        survives(&file)?;
    }

    #[test]
    fn anything_behind_a_beginning(name in 0..FILES.len(), keep in 4_usize..200, rest in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let file = [&bytes(FILES[name])[..keep], &rest].concat();
        survives(&file)?;
    }
}
