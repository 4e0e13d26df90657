//! The targets under libFuzzer: `MMLENS_FUZZ_TARGET` names one. `cargo xtask fuzz --coverage TARGET` builds and starts it.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::{Corpus, fuzz_target};
use mmlens_fuzz::{Outcome, Room, Target};

thread_local! {
    static ROOM: OnceCell<(&'static Target, Room)> = const { OnceCell::new() };
}

fn started() -> (&'static Target, Room) {
    let name = std::env::var("MMLENS_FUZZ_TARGET").unwrap_or_default();
    let room = Target::named(&name).zip(Room::new().ok());
    room.unwrap_or_else(|| {
        // There is nobody to return an error to.
        std::process::exit(2)
    })
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    ROOM.with(|cell| {
        let (target, room) = cell.get_or_init(started);
        match target.once(room, bytes) {
            Ok(Outcome::Accepted | Outcome::Refused(_)) => Corpus::Keep,
            Err(_) => std::process::exit(2),
        }
    })
});
