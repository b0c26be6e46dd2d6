//! Broken and lying idx files: each ends as its list says, in memory bounded by the file. An allocator counts.
#![cfg(feature = "train")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::{data, json};
use gemmconv::data::idx::{DEFAULT_LIMIT, read, read_file};

/// Bytes that reading may hold beside the elements: buffers, and the window of deflate.
const BESIDE: usize = 1 << 18;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Layout) -> *mut u8 {
        let held = HELD.fetch_add(memory.size(), SeqCst) + memory.size();
        MOST.fetch_max(held, SeqCst);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Layout) {
        HELD.fetch_sub(memory.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and how many bytes it held at its most.
fn held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(SeqCst);
    MOST.store(before, SeqCst);
    let result = work();
    (result, MOST.load(SeqCst) - before)
}

#[test]
fn each_file_ends_as_the_list_says() {
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
        let ((from_file, from_bytes), most) = held(|| {
            let bytes = fs::read(&path).unwrap();
            (read_file(&path, DEFAULT_LIMIT), read(&bytes, DEFAULT_LIMIT))
        });
        let bytes = entry["bytes"].as_u64().unwrap() as usize;
        assert!(most < bytes + BESIDE, "{name}: {most} bytes held");
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
