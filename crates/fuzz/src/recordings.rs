//! Recordings, cut, taken to another rate, and heard by the toy with ears.

use anyhow::Context;
use mmlens_core::sound::Sound;
use mmlens_core::{Plan, Sample, Subject};
use mmlens_testkit::Toy;

use crate::checkpoint::behind;
use crate::{Outcome, Room};

/// Rates that the toy's ears do not have, and the one they have.
const RATES: [u32; 4] = [16_000, 8_000, 44_100, 1_000];
/// What the file is called: no word of a message.
const FILE: &str = "heard.bin";
/// The toy hears no more than a second.
const HEARD: f64 = 1.0;

/// Files of every format that is read, and of one that is not, behind a byte that says at which rate they are heard.
pub(crate) fn seeds(_: &Room) -> anyhow::Result<Vec<Vec<u8>>> {
    let folder = mmlens_testkit::fixtures().join("sound");
    let mut files = std::fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    let ends = ["wav", "flac", "mp3", "ogg"];
    let recording =
        |file: &&std::path::PathBuf| file.extension().is_some_and(|end| ends.iter().any(|own| end == *own));
    let each = files.iter().filter(recording).enumerate();
    each.map(|(at, file)| Ok([vec![at as u8], std::fs::read(file)?].concat())).collect()
}

/// Opens the recording, and has a second of it heard in a pass.
pub(crate) fn once(room: &Room, bytes: &[u8]) -> anyhow::Result<Outcome> {
    let Some((rate, contents)) = bytes.split_first() else { return Ok(Outcome::Accepted) };
    let path = room.file(FILE, contents)?;
    let sound = match Sound::open(&path) {
        Ok(sound) => sound,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let rate = RATES.get(usize::from(*rate) % RATES.len()).context("a rate")?;
    let heard = || -> anyhow::Result<()> {
        let part = if sound.seconds() > HEARD { sound.between(0.0, HEARD)? } else { sound };
        let toy = Toy::curved(1).with_ears();
        let inputs = toy.encode(&Sample::prompt(Vec::new(), "~ab").with_recordings(vec![part.at(*rate)?]))?;
        toy.run(&inputs, Plan::new())?;
        Ok(())
    };
    // What is refused behind the file is refused by the sound's name, which is not the file's path, or by a setting.
    Ok(match heard() {
        Ok(()) => Outcome::Accepted,
        Err(error) => {
            let said = error.to_string();
            Outcome::Refused(match said.contains(FILE) {
                true => format!("{}: {said}", room.path().display()),
                false => behind("toy", room.path(), &said),
            })
        }
    })
}
