//! What tests on other people's data share: where the data lies, and how to read it.

// Every test program compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

/// The path of `name` in the data folder, or `None` where it is missing.
///
/// The folder is `$GEMMCONV_DATA`, else `../shared/data` next to the package. Where `name` is not in
/// it, a line on standard error says so, past the capture of the test harness; with `CI=true` the
/// test fails instead.
pub fn data(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("GEMMCONV_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let message = format!(
        "NOT TESTED: {} is missing (GEMMCONV_DATA names the data folder)",
        path.display()
    );
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    // `eprintln!` would be captured, and shown only for tests that fail.
    let _ = writeln!(std::io::stderr(), "{message}");
    None
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON list of non-negative numbers.
pub fn sizes(value: &serde_json::Value) -> Vec<usize> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is not a list"));
    list.iter()
        .map(|size| size.as_u64().unwrap() as usize)
        .collect()
}

/// One tensor of a safetensors file.
pub struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Tensor {
    fn array<T, const N: usize>(&self, from: impl Fn([u8; N]) -> T) -> ArrayD<T> {
        let (chunks, rest) = self.bytes.as_chunks::<N>();
        assert!(rest.is_empty());
        let values = chunks.iter().map(|&bytes| from(bytes)).collect();
        ArrayD::from_shape_vec(IxDyn(&self.shape), values).unwrap()
    }

    /// The values of an `F32` tensor.
    pub fn f32(&self) -> ArrayD<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.array(f32::from_le_bytes)
    }

    /// The values of an `F32` or `F64` tensor, exact.
    pub fn f64(&self) -> ArrayD<f64> {
        match self.dtype {
            Dtype::F32 => self.array(|bytes| f64::from(f32::from_le_bytes(bytes))),
            Dtype::F64 => self.array(f64::from_le_bytes),
            other => panic!("{other:?} is no float type of these files"),
        }
    }

    /// The values of an `I64` tensor that has no negative ones.
    pub fn indices(&self) -> ArrayD<usize> {
        assert_eq!(self.dtype, Dtype::I64);
        self.array(|bytes| usize::try_from(i64::from_le_bytes(bytes)).unwrap())
    }
}

/// The tensors of a safetensors file, by name.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let tensor = Tensor {
            shape: view.shape().to_vec(),
            dtype: view.dtype(),
            bytes: view.data().to_vec(),
        };
        (name, tensor)
    });
    tensors.collect()
}

/// Every element within `atol + rtol · |expected|`; NaN equals NaN.
pub fn assert_close(what: &str, got: &ArrayD<f64>, expected: &ArrayD<f64>, rtol: f64, atol: f64) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    for ((index, &got), &expected) in got.indexed_iter().zip(expected) {
        let close = got == expected
            || (got.is_nan() && expected.is_nan())
            || (got - expected).abs() <= atol + rtol * expected.abs();
        assert!(close, "{what} at {index:?}: {got}, expected {expected}");
    }
}
