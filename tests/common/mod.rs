//! Where the real data lies, for every integration test.

use std::path::PathBuf;

/// A file or folder of the data: below `GEMMCONV_DATA`, or else `../shared/data`.
///
/// Where it is missing the test says so aloud and is left out; with `CI=true` that is a failure.
pub fn data(relative: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GEMMCONV_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join(relative);
    if path.exists() {
        return Some(path);
    }
    let message = format!("NOT TESTED: {} is missing; set GEMMCONV_DATA", path.display());
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    eprintln!("{message}");
    None
}
