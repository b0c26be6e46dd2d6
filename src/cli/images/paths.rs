//! The pictures that were named, in an order that is the same every time.

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::filter;

/// Files as they are, folders as the files in them and below, sorted; `-` as the lines of standard input.
///
/// `output` is left out where it lies in a folder. What cannot be listed stands for itself: it gets a row that says
/// why.
pub(super) fn find(names: &[PathBuf], outputs: &[&Path]) -> Result<Vec<PathBuf>> {
    let outputs: Vec<PathBuf> = outputs
        .iter()
        .filter_map(|output| output.canonicalize().ok())
        .collect();
    let mut found = Vec::new();
    for name in names {
        if name == Path::new("-") {
            for line in io::stdin().lock().split(b'\n') {
                let line = line.context("reading the list on standard input")?;
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !line.is_empty() {
                    found.push(PathBuf::from(os_string(line)));
                }
            }
            continue;
        }
        if !name.is_dir() {
            found.push(name.clone());
            continue;
        }
        match filter::files_in(name) {
            Ok(files) if !files.is_empty() => found.extend(files.into_iter().filter(|file| {
                outputs.is_empty()
                    || !file
                        .canonicalize()
                        .is_ok_and(|file| outputs.contains(&file))
            })),
            _ => found.push(name.clone()),
        }
    }
    Ok(found)
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt;

    std::ffi::OsStr::from_bytes(bytes).to_owned()
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
