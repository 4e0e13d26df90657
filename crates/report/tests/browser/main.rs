//! The page in a real browser: its parts are there after its script ran, nothing is wrong on the console, nothing
//! reaches beyond a narrow screen, no text becomes code, and its heat maps are those of the PNG.
//!
//! Without a browser the tests are listed as ignored, unless `MMLENS_BROWSER=required`.
#![expect(clippy::unwrap_used, reason = "a program of tests")]

mod choices;
mod heard;
#[path = "../../examples/specimen/large.rs"]
mod large;
#[path = "../../examples/specimen/pair.rs"]
mod pair;
mod parts;
mod phone;
mod seen;
#[path = "../../examples/specimen/page.rs"]
mod specimen;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Every test by its name.
macro_rules! tests {
    ($($part:ident::$name:ident),* $(,)?) => {
        [$((stringify!($name), $part::$name as fn())),*]
    };
}

fn main() -> ExitCode {
    let tests = tests![
        parts::every_part_is_there_and_the_console_is_silent,
        parts::many_pictures_and_many_axes_are_drawn,
        parts::hostile_texts_stay_texts,
        heard::a_recording_is_played_and_its_axes_are_those_of_the_token_map,
        phone::nothing_reaches_beyond_a_narrow_screen,
        parts::the_tip_tells_what_lies_under_the_pointer,
        parts::the_page_paints_what_the_png_shows,
        parts::a_slider_shows_the_layer_that_it_names,
        parts::a_word_has_its_own_colour,
        parts::words_have_the_scale_of_words,
        choices::a_token_of_the_answer_is_shown_alone,
        choices::tiles_are_drawn_apart_and_together,
        phone::a_large_page_opens_quickly_on_a_phone,
    ];
    let ignored = mmlens_testkit::without_browser();
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        if ignored { trial.with_kind("no Chromium on PATH").with_ignored_flag(true) } else { trial }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
