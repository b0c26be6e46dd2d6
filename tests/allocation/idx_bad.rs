//! Broken and lying idx files: each ends as its list says, in memory bounded by the file.

use std::fs;

use crate::common::{data, json};
use crate::counting::counted;
use gemmconv::data::idx::{DEFAULT_LIMIT, read, read_file};

/// Bytes that reading may hold beside the elements: buffers, and the window of deflate.
const BESIDE: usize = 1 << 18;

pub fn each_file_ends_as_the_list_says() {
    let Some(folder) = data("bad/idx") else {
        return;
    };
    // What the error has to say, beyond that there is one.
    let words = [
        ("empty.idx", "cut short"),
        ("magic_only.idx", "cut short"),
        ("bad_magic.idx", "0x09"),
        ("truncated_body.idx", "the file has 2363"),
        ("count_overflow.idx", "the file has 800"),
        ("count_huge.idx", "the file has 800"),
        ("ndim255.idx", "255 axes"),
        ("trailing.idx", "the file has 11"),
        ("truncated.gz", "cut short"),
        ("bad_crc.gz", "checksum"),
        ("not_gzip.gz", "not an idx file"),
        ("bomb_1GiB.gz", "has more"),
    ];
    let list = json(&folder.join("MANIFEST.json"));
    let list = list.as_array().unwrap();
    assert!(list.len() >= 13, "{} files", list.len());
    for entry in list {
        let name = entry["file"].as_str().unwrap();
        let path = folder.join(name);
        assert_eq!(fs::metadata(&path).unwrap().len(), entry["bytes"], "{name}");
        let ((from_file, from_bytes), counts) = counted(|| {
            let bytes = fs::read(&path).unwrap();
            (read_file(&path, DEFAULT_LIMIT), read(&bytes, DEFAULT_LIMIT))
        });
        let bytes = entry["bytes"].as_u64().unwrap() as usize;
        assert!(
            counts.most < bytes + BESIDE,
            "{name}: {} bytes held",
            counts.most
        );
        if entry["expect"].as_str().unwrap().starts_with("OK") {
            let array = from_file.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(array.is_empty());
            assert_eq!(Ok(array), from_bytes);
            continue;
        }
        let error = from_file.expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
        let known = words.iter().find(|(known, _)| *known == name);
        let (_, word) = known.unwrap_or_else(|| panic!("{name} is new: say what its error is"));
        assert!(error.contains(word), "{name}: {error}");
        // The same but for the name of the file.
        let bare = from_bytes.expect_err(name).to_string();
        assert!(error.ends_with(&bare), "{error}; {bare}");
    }
}
