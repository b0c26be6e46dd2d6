//! The `gemmconv` program.
fn main() {}
