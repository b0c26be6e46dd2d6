//! Any bytes as a file of weights; the tensors of f32 in it are read, written and read again, the same.
#![no_main]

use gemmconv::Error;
use gemmconv::train::weights::{Encoded, NamedTensor, Target, Weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(weights) = Weights::from_bytes(bytes.to_vec()) else {
        return;
    };
    let tensors: Vec<_> = weights.tensors().collect();
    if tensors.iter().any(|(_, _, dtype)| dtype != "F32") {
        let none = weights.load_into(&mut []);
        let Err(Error::Tensors { list }) = none else {
            panic!("tensors that nobody asked for are not told");
        };
        assert_eq!(list.len(), tensors.len());
        return;
    }
    let elements = |shape: &[usize]| shape.iter().product();
    let places = tensors
        .iter()
        .map(|(_, shape, _)| vec![0f32; elements(shape)]);
    let mut places: Vec<_> = places.collect();
    let targets = tensors.iter().zip(&mut places);
    let mut targets: Vec<_> = targets
        .map(|(&(name, shape, _), values)| Target {
            name,
            shape,
            values,
        })
        .collect();
    weights
        .load_into(&mut targets)
        .expect("these are its tensors");

    let named: Vec<_> = tensors
        .iter()
        .zip(&places)
        .map(|(&(name, shape, _), values)| NamedTensor {
            name,
            shape,
            values,
        })
        .collect();
    let written = |named: &[NamedTensor<'_>]| {
        let mut bytes = Vec::new();
        let file = Encoded::new(named, weights.metadata()).expect("what was read can be written");
        file.write(&mut bytes).expect("there is memory for it");
        bytes
    };
    let bytes = written(&named);
    let again = Weights::from_bytes(bytes.clone()).expect("what was written can be read");
    assert_eq!(again.metadata(), weights.metadata());
    assert!(again.tensors().eq(weights.tensors()));
    // NaN is not equal to itself; its bytes are.
    assert_eq!(bytes, written(&named));
});
