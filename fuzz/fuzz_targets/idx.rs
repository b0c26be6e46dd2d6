//! Any bytes as an idx file; what is read is the same from a packed file.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gemmconv::data::idx::read;
use libfuzzer_sys::fuzz_target;

/// Bytes that the elements may take.
const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = read(bytes, LIMIT) else {
        return;
    };
    let header = 4 + 4 * array.ndim();
    assert!((header + array.len()) as u64 <= LIMIT);
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    assert_eq!(bytes.len(), header + array.len());
    assert!(array.iter().eq(&bytes[header..]));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all");
    let packed = encoder.finish().expect("memory takes all");
    assert_eq!(read(&packed, LIMIT), Ok(array));
});
