//! The example of causes says what its page says, on fewer questions.

#![allow(clippy::print_stdout, reason = "the page quotes what is printed here")]

#[path = "../../../../examples/causal/causes.rs"]
mod causes;

use mmlens::data::shapes::Kind;

#[test]
fn causes_of_answers() {
    let found = causes::causes(4).unwrap();
    println!("{}", found.text);
    // A colour is in the picture, and which object is meant in the words: neither does it alone.
    let (kind, effects) = &found.effects[0];
    assert_eq!(*kind, Kind::Colour);
    assert!(effects.iter().all(|effect| *effect > 1.0), "{effects:?}");
    for (kind, rows) in &found.accuracy {
        let of = |name: &str| rows.iter().find(|(own, _)| own == name).unwrap().1;
        assert!(of("with the picture") >= of("without"), "{kind}");
    }
    // Colours are no sum of what is seen and what is asked.
    assert!(found.variance[0].1[2] > 0.05, "{:?}", found.variance);
    // What a new colour changes comes to the last position through heads, and through a few of them.
    assert!((found.joint[4] - found.total).abs() < 1e-3 && found.joint[5].abs() < 1e-3);
    assert!(found.joint[0] / found.total > 0.8, "{:?}", found.joint);
    assert!(found.joint[8].abs() < found.joint[0].abs());
}
