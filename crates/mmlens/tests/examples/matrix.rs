//! `docs/matrix.md` says what the code does: every method is run on every kind of checkpoint.

use std::path::Path;

#[path = "../../../../examples/method_matrix/matrix.rs"]
mod written;

#[test]
fn the_page_is_what_every_method_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = written::matrix(&written::checkpoints(&root).unwrap()).unwrap();
    let page = std::fs::read_to_string(root.join("docs/matrix.md")).unwrap();
    for (line, (found, written)) in found.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            found,
            written,
            "line {}: `cargo run --release --example method_matrix` writes the page",
            line + 1
        );
    }
    assert_eq!(found.lines().count(), page.lines().count());
}
