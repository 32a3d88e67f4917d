//! The program. Everything is in the library.

use std::process::ExitCode;

/// A request is many short-lived pieces of memory: this allocator takes a third of the time of the
/// system's (benches/README.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    permyx::cli::main()
}
