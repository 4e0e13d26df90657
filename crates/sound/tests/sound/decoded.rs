//! Every format against libsndfile.

use mmlens_sound::{Origin, Sound, Unheard, wav};

use crate::oracle::{FILES, Oracle, bytes, difference, path};

/// In single precision decoders of lossy formats round in other orders; see `why.json`.
const LOSSY: f32 = 1e-6;

fn bound(name: &str) -> f32 {
    if name.ends_with(".mp3") || name.ends_with(".ogg") { LOSSY } else { 0.0 }
}

#[test]
fn every_format_is_read_as_libsndfile_reads_it() {
    let oracle = Oracle::open("decoded");
    for name in FILES.into_iter().chain(["untagged.mp3"]) {
        let sound = Sound::open(path(name)).unwrap();
        let expected = oracle.singles(name);
        assert_eq!(sound.rate() as usize, oracle.number(&format!("{name} rate")), "{name}");
        assert_eq!(sound.samples().len(), expected.len(), "{name}");
        let apart = difference(sound.samples(), &expected);
        println!("{name}: {apart:e}");
        assert!(apart <= bound(name), "{name}: {apart}");
    }
}

#[test]
fn a_sound_knows_where_it_came_from() {
    let sound = Sound::open(path("mono.flac")).unwrap();
    assert_eq!(sound.name, "mono.flac");
    assert_eq!(sound.origin, Origin::File(path("mono.flac").display().to_string()));
    let same = Sound::from_bytes("other", &bytes("mono.flac")).unwrap();
    assert_eq!((same.name.as_str(), &same.origin), ("other", &Origin::Memory));
    assert_eq!(same.samples(), sound.samples());
    assert_eq!(same.sha256(), sound.sha256());
    assert_eq!(same.seconds(), 0.05);
}

#[test]
fn the_hash_is_of_rate_and_samples() {
    let sound = Sound::new("a", vec![1.0, -0.5], 8000).unwrap();
    // sha256 of "8000 Hz " and 00 00 80 3f 00 00 00 bf
    assert_eq!(sound.sha256(), mmlens_files::sha256(b"8000 Hz \0\0\x80\x3f\0\0\0\xbf"));
    assert_ne!(sound.sha256(), Sound::new("a", vec![1.0, -0.5], 8001).unwrap().sha256());
}

#[test]
fn the_extension_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mono.mp3", "mono.ogg", "mono.flac", "pcm_16.wav"] {
        let file = folder.path().join("a.txt");
        std::fs::copy(path(name), &file).unwrap();
        assert_eq!(Sound::open(&file).unwrap().samples(), Sound::open(path(name)).unwrap().samples());
    }
}

#[test]
fn tags_of_players_change_nothing() {
    let tag = [b"ID3\x04\0\0\0\0\x01\x02".as_slice(), &[0xff; 130]].concat();
    let behind = [b"TAG".as_slice(), &[9; 125]].concat();
    for name in ["mono.mp3", "untagged.mp3", "mono.flac"] {
        let tagged = [tag.clone(), bytes(name), behind.clone()].concat();
        let expected = Sound::open(path(name)).unwrap();
        assert_eq!(Sound::from_bytes("a", &tagged).unwrap().samples(), expected.samples(), "{name}");
    }
}

/// A WAV of floats.
pub(crate) fn floats(channels: u16, rate: u32, samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x03\0".to_vec();
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * 4 * u32::from(channels)).to_le_bytes());
    file.extend((4 * channels).to_le_bytes());
    file.extend([32, 0]);
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    let length = file.len() as u32 - 8;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file
}

proptest::proptest! {
    /// Channels that are alike are what they are; the mean of one channel and its negative is silence.
    #[test]
    fn channels_are_mixed_by_their_mean(
        samples in proptest::collection::vec(-1.0_f32..1.0, 1..50),
        channels in 1_u16..9,
    ) {
        let alike: Vec<f32> = samples.iter().flat_map(|s| std::iter::repeat_n(*s, usize::from(channels))).collect();
        let sound = Sound::from_bytes("a", &floats(channels, 8000, &alike)).unwrap();
        proptest::prop_assert_eq!(sound.samples(), &samples);
        let against: Vec<f32> = samples.iter().flat_map(|s| [*s, -*s]).collect();
        let sound = Sound::from_bytes("a", &floats(2, 8000, &against)).unwrap();
        proptest::prop_assert!(sound.samples().iter().all(|s| *s == 0.0));
    }
}

#[test]
fn the_mean_of_channels_by_hand() {
    // (0.5 + 0.25 - 0.25) / 3, and (1 + 1 + 1) / 3
    let file = floats(3, 8000, &[0.5, 0.25, -0.25, 1.0, 1.0, 1.0]);
    let sound = Sound::from_bytes("a", &file).unwrap();
    assert_eq!(sound.samples(), [0.5_f32 / 3.0, 1.0]);
}

#[test]
fn a_wav_without_its_length_ends_where_the_file_does() {
    let mut file = bytes("pcm_16.wav");
    let data = file.windows(4).position(|four| four == b"data").unwrap();
    file[4..8].fill(0xff);
    file[data + 4..data + 8].fill(0xff);
    let read = Sound::from_bytes("a", &file).unwrap();
    assert_eq!(read.samples(), Sound::open(path("pcm_16.wav")).unwrap().samples());
}

/// 16 bits of two channels, each sample made of its number.
fn stereo(sample: impl Fn(usize) -> [i16; 2]) -> Vec<u8> {
    let mut file = wav(&(0..800).flat_map(sample).collect::<Vec<_>>(), 8000);
    // Two channels, and so as many bytes a second and a frame.
    file[22] = 2;
    file[28..32].copy_from_slice(&32_000_u32.to_le_bytes());
    file[32] = 4;
    file
}

/// What next to nothing is heard of says why; what is merely quiet, has a level, or has channels of its own does not.
#[test]
fn what_is_not_heard_says_why() {
    let of = |samples: Vec<f32>| Sound::new("a", samples, 8000).unwrap().unheard();
    let tone =
        |level: f32, by: f32| (0..800).map(|at| level + by * (at as f32 * 0.3).sin()).collect::<Vec<_>>();
    assert_eq!(of(vec![0.0; 9]), Some(Unheard::Level { mean: 0.0, deviation: 0.0 }));
    assert!(of(vec![0.0; 9]).unwrap().to_string().starts_with("is silent"));
    assert!(
        of(vec![0.25; 9]).unwrap().to_string().starts_with("is one level throughout: 0.250 of full scale")
    );
    assert!(of(tone(0.25, 1e-4)).is_some() && of(tone(0.0, 1e-4)).is_some());
    assert_eq!([of(tone(0.25, 2e-4)), of(tone(0.0, 2e-4)), of(tone(0.0, 0.5))], [None; 3]);

    let level = |at: usize| (8000.0 * (at as f64 * 0.3).sin()) as i16;
    let read = |file: Vec<u8>| Sound::from_bytes("a", &file).unwrap();
    let opposed = read(stereo(|at| [level(at), -level(at)]));
    assert_eq!(opposed.unheard(), Some(Unheard::Cancels { left: 0.0 }));
    // A twentieth of the level is left, a four hundredth of the power; and a tenth, of which more than a hundredth is left.
    let nearly = |left: i16| read(stereo(move |at| [level(at), level(at) / left * 2 - level(at)])).unheard();
    let Some(Unheard::Cancels { left }) = nearly(20) else { panic!("{:?}", nearly(20)) };
    assert!((left * 400.0 - 1.0).abs() < 0.15, "{left}");
    assert_eq!(nearly(8), None);
    assert!(opposed.between(0.0, 0.05).unwrap().unheard().is_some());
    let other = |at: usize| (8000.0 * (at as f64 * 0.7).cos()) as i16;
    let apart = read(stereo(|at| [level(at), other(at)]));
    assert_eq!([&apart, &apart.between(0.01, 0.05).unwrap()].map(Sound::unheard), [None; 2]);
    // One channel alone is half of the level; both silent are silence.
    assert_eq!(read(stereo(|at| [level(at), 0])).unheard(), None);
    assert_eq!(read(stereo(|_| [0, 0])).unheard(), Some(Unheard::Level { mean: 0.0, deviation: 0.0 }));
}
