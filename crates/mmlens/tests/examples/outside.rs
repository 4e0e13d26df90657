//! A program with one dependency does what it says. That it needs no other, its own package shows, which is checked beside.

#[allow(
    unreachable_pub,
    clippy::needless_update,
    clippy::print_stdout,
    reason = "a program with lints of its own"
)]
#[path = "../../../../outside/src/main.rs"]
mod program;

#[test]
fn it_finds_all_that_it_looks_for() {
    program::main().unwrap();
}
