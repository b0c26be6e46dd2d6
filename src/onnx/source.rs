//! Where the elements of a model's tensors may come from, and how much memory they may take.
//!
//! ```text
//! external_data = location, offset, length      elements = bytes [offset, offset + length) of folder/location
//! ```
//!
//! A model is a stranger's word. So a location is a relative path without `..`; each of its folders and the file
//! itself is opened from the one above without following links; the file is a regular one with a single name;
//! and what is claimed of it is compared with its length before anything is allocated.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::proto::EntryProto;
use crate::element::reserved;
use crate::error::{Error, Result};

/// The folder whose files tensors may refer to, and the memory that is left for them.
pub(super) struct Source {
    folder: Option<PathBuf>,
    limit: usize,
    used: Cell<usize>,
}

/// What `external_data` says.
struct Place<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl Source {
    /// No files but those in `folder` and below it, no more memory than `limit`.
    pub fn new(folder: Option<PathBuf>, limit: usize) -> Self {
        Self {
            folder,
            limit,
            used: Cell::new(0),
        }
    }

    /// Books memory that is about to be allocated.
    pub fn claim(&self, bytes: usize) -> Result<()> {
        let needed = self.used.get().saturating_add(bytes);
        if needed > self.limit {
            return Err(Error::MemoryBudget {
                needed,
                budget: self.limit,
            });
        }
        self.used.set(needed);
        Ok(())
    }

    /// The `bytes` bytes that `entries` say where to find.
    pub fn read(&self, entries: &[EntryProto], bytes: usize) -> Result<Vec<u8>> {
        let place = Place::new(entries)?;
        let wrong = |what: String| Error::Model {
            what: format!("external data {:?}: {what}", place.location),
        };
        let parts = parts(place.location).map_err(|what| wrong(what.to_owned()))?;
        let Some(folder) = &self.folder else {
            return Err(wrong(
                "no folder is given to read it from; a model from memory has none".to_owned(),
            ));
        };
        let mut file = open(folder, &parts).map_err(|error| wrong(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("no regular file".to_owned()));
        }
        if names(&metadata) > 1 {
            return Err(wrong(
                "the file has a second name (a hard link), which may lie elsewhere".to_owned(),
            ));
        }
        let size = metadata.len();
        let left = size
            .checked_sub(place.offset)
            .ok_or_else(|| wrong(format!("offset {} in a file of {size} bytes", place.offset)))?;
        let length = place.length.unwrap_or(left);
        if length > left {
            return Err(wrong(format!(
                "{length} bytes from offset {} in a file of {size}",
                place.offset
            )));
        }
        if length != bytes as u64 {
            return Err(wrong(format!("{length} bytes, its shape needs {bytes}")));
        }
        self.claim(bytes)?;
        let mut elements = reserved(bytes)?;
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| file.take(length).read_to_end(&mut elements))
            .map_err(|error| wrong(error.to_string()))?;
        if elements.len() != bytes {
            return Err(wrong("it became shorter while it was read".to_owned()));
        }
        Ok(elements)
    }
}

impl<'a> Place<'a> {
    fn new(entries: &'a [EntryProto]) -> Result<Self> {
        let (mut location, mut offset, mut length) = (None, None, None);
        for entry in entries {
            let wrong = |what: &str| Error::Model {
                what: format!("external data: {} {:?} {what}", entry.key, entry.value),
            };
            let number = || {
                let digits = entry.value.bytes().all(|byte| byte.is_ascii_digit());
                let number = entry.value.parse::<u64>().ok().filter(|_| digits);
                number.ok_or_else(|| wrong("is no number of bytes"))
            };
            let twice = match entry.key.as_str() {
                "location" => location.replace(entry.value.as_str()).is_some(),
                "offset" => offset.replace(number()?).is_some(),
                "length" => length.replace(number()?).is_some(),
                "checksum" => false,
                _ => return Err(wrong("is unknown")),
            };
            if twice {
                return Err(wrong("is given twice"));
            }
        }
        Ok(Self {
            location: location.ok_or_else(|| Error::Model {
                what: "external data without a location".to_owned(),
            })?,
            offset: offset.unwrap_or(0),
            length,
        })
    }
}

/// The folders and the file of a location, or what is wrong with it.
fn parts(location: &str) -> std::result::Result<Vec<&str>, &'static str> {
    if location.is_empty() {
        return Err("the location is empty");
    }
    if location.contains(['\\', '\0']) {
        return Err("a location is written with `/`");
    }
    let mut parts = Vec::new();
    for component in Path::new(location).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().ok_or("no text")?),
            Component::ParentDir => return Err("a location may not contain `..`"),
            Component::RootDir | Component::Prefix(_) => {
                return Err("a location is relative to the folder of the model");
            }
        }
    }
    match parts.is_empty() {
        true => Err("the location is a folder"),
        false => Ok(parts),
    }
}

/// Opens a file below `folder` with no link on the way.
#[cfg(unix)]
fn open(folder: &Path, parts: &[&str]) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags, open, openat};

    let common = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = open(folder, common | OFlags::DIRECTORY, Mode::empty())?;
    let (file, folders) = parts.split_last().expect("a location has a file");
    for part in folders {
        let flags = common | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        at = openat(&at, *part, flags, Mode::empty())?;
    }
    // A pipe would wait for a writer.
    let flags = common | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match openat(&at, *file, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::LOOP) => Err(std::io::Error::other("the file is a link")),
        Err(error) => Err(error.into()),
    }
}

/// Opens a file below `folder` after a look for links on the way.
#[cfg(not(unix))]
fn open(folder: &Path, parts: &[&str]) -> std::io::Result<File> {
    let mut path = folder.to_owned();
    for part in parts {
        path.push(part);
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_symlink() || !(kind.is_file() || kind.is_dir()) {
            return Err(std::io::Error::other("the file is a link or none"));
        }
    }
    File::open(path)
}

/// How many names a file has.
#[cfg(unix)]
fn names(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// How many names a file has, where that can be asked.
#[cfg(not(unix))]
fn names(_metadata: &std::fs::Metadata) -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Vec<EntryProto> {
        let entry = |&(key, value): &(&str, &str)| EntryProto {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        pairs.iter().map(entry).collect()
    }

    /// A folder with a file of ten bytes, the same in a folder below, and a secret above.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let temporary = tempfile::tempdir().unwrap();
        let model = temporary.path().join("model");
        std::fs::create_dir_all(model.join("below")).unwrap();
        for name in ["weights", "below/weights", "../secret"] {
            std::fs::write(model.join(name), b"0123456789").unwrap();
        }
        (temporary, model)
    }

    fn read(source: &Source, pairs: &[(&str, &str)], bytes: usize) -> Result<Vec<u8>> {
        source.read(&entries(pairs), bytes)
    }

    #[test]
    fn pieces_of_files() {
        let (_temporary, model) = folder();
        let source = Source::new(Some(model), usize::MAX);
        let all = [("location", "weights")];
        assert_eq!(read(&source, &all, 10).unwrap(), b"0123456789");
        let piece = [
            ("location", "./below/weights"),
            ("offset", "3"),
            ("length", "4"),
        ];
        assert_eq!(read(&source, &piece, 4).unwrap(), b"3456");
        let none = [("location", "weights"), ("offset", "10"), ("length", "0")];
        assert_eq!(read(&source, &none, 0).unwrap(), b"");
    }

    #[test]
    fn numbers_beyond_the_file() {
        let (_temporary, model) = folder();
        let source = Source::new(Some(model), 20);
        for (offset, length, bytes, expected) in [
            ("11", "0", 0, "offset 11 in a file of 10 bytes"),
            ("8", "3", 3, "3 bytes from offset 8 in a file of 10"),
            ("0", "9", 10, "9 bytes, its shape needs 10"),
            ("18446744073709551615", "1", 1, "in a file of 10"),
            ("18446744073709551616", "1", 1, "is no number of bytes"),
            ("-1", "1", 1, "is no number of bytes"),
            ("+1", "1", 1, "is no number of bytes"),
            ("0", "-1", 1, "is no number of bytes"),
            ("0", "", 1, "is no number of bytes"),
        ] {
            let pairs = [
                ("location", "weights"),
                ("offset", offset),
                ("length", length),
            ];
            let error = read(&source, &pairs, bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
        let all = [("location", "weights")];
        assert!(read(&source, &all, 10).is_ok());
        assert!(read(&source, &all, 10).is_ok());
        assert_eq!(
            read(&source, &all, 10),
            Err(Error::MemoryBudget {
                needed: 30,
                budget: 20
            })
        );
    }

    #[test]
    fn nothing_outside_the_folder() {
        let (_temporary, model) = folder();
        let absolute = model.join("weights").display().to_string();
        let source = Source::new(Some(model), usize::MAX);
        for (location, expected) in [
            ("../secret", "may not contain `..`"),
            ("below/../../secret", "may not contain `..`"),
            ("below/../weights", "may not contain `..`"),
            (absolute.as_str(), "relative to the folder"),
            ("", "is empty"),
            (".", "is a folder"),
            ("below", "no regular file"),
            ("below\\weights", "written with `/`"),
            ("weights\0", "written with `/`"),
            ("missing", "No such file"),
            ("*/_ORT_MEM_ADDR_/*", "No such file"),
        ] {
            let error = read(&source, &[("location", location)], 10).unwrap_err();
            assert!(
                error.to_string().contains(expected),
                "{location:?}: {error}"
            );
        }
        let error = read(&source, &[], 10).unwrap_err().to_string();
        assert!(error.contains("without a location"), "{error}");
        for pairs in [
            [("location", "weights"), ("location", "weights")],
            [("location", "weights"), ("__class__", "x")],
        ] {
            assert!(read(&source, &pairs, 10).is_err(), "{pairs:?}");
        }
        let none = Source::new(None, usize::MAX);
        let error = read(&none, &[("location", "weights")], 10).unwrap_err();
        assert!(error.to_string().contains("no folder is given"), "{error}");
    }

    /// A link leads out, whether it is the file or a folder on the way; a second name hides one.
    #[cfg(unix)]
    #[test]
    fn no_links() {
        use std::os::unix::fs::symlink;

        let (_temporary, model) = folder();
        symlink("../secret", model.join("link")).unwrap();
        symlink("..", model.join("up")).unwrap();
        std::fs::hard_link(model.join("../secret"), model.join("twin")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(model.join("pipe"))
            .status();
        assert!(made.unwrap().success());
        let source = Source::new(Some(model), usize::MAX);
        for (location, expected) in [
            ("link", "the file is a link"),
            ("up/secret", "Not a directory"),
            ("twin", "a second name"),
            ("pipe", "no regular file"),
        ] {
            let error = read(&source, &[("location", location)], 10).unwrap_err();
            assert!(
                error.to_string().contains(expected),
                "{location:?}: {error}"
            );
        }
    }
}
