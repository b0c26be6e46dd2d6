//! Any bytes as a tensor; what is read is written and read again, the same.
#![no_main]

use gemmconv::onnx::{read_tensor, write_tensor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((name, tensor)) = read_tensor(bytes) else {
        return;
    };
    let written = write_tensor(&name, &tensor).expect("it was small enough to be read");
    let (again, same) = read_tensor(&written).expect("it was written here");
    assert_eq!(again, name);
    // NaN does not equal itself.
    assert_eq!(format!("{same:?}"), format!("{tensor:?}"));
});
