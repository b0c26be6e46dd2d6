//! Any bytes as a `.npy` file; what is read is written and read again, the same.
#![no_main]

use gemmconv::data::npy::{read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensor) = read(bytes) else {
        return;
    };
    let written = write(&tensor).expect("what was read can be written");
    let again = read(&written).expect("what was written can be read");
    // NaN is not equal to itself; its bytes are.
    assert_eq!(written, write(&again).expect("written once more"));
});
