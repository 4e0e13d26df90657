//! The program `mmlens`.

use std::process::ExitCode;

/// Activations come and go by the megabyte; the system's allocator gives every one back and takes fresh pages for the next.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mmlens_cli::main()
}
