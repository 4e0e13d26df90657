//! The tour of a what-if session: what it shows is so.

#[path = "../../../../examples/whatif/tour.rs"]
mod tour;

use mmlens::core::burn::tensor::Device;
use mmlens::zoo::shipped;

/// The object that is asked about takes the answer with it, and more of its probability than any other.
#[test]
fn the_object_that_is_asked_about_takes_the_answer_with_it() {
    let (subject, tour) = (shipped::shapes(&Device::default()).unwrap(), tour::first().unwrap());
    let rows = tour.without(&subject).unwrap();
    assert_eq!((rows.len(), rows[0].divergence), (5, 0.0));
    assert!(
        tour.question.contains("colour") && rows[0].answer == tour.answer && rows[4].what.contains("colour")
    );
    let own = &rows[1 + tour.asked];
    assert_ne!(own.answer, tour.answer);
    for (at, row) in rows.iter().enumerate().take(4).filter(|(at, _)| *at != 1 + tour.asked) {
        assert!(own.log_probability < row.log_probability - 1.0, "{at}: {}", row.what);
        assert_eq!(row.answer, tour.answer, "{}", row.what);
    }
}
