//! Weights out of files of others: malformed and hostile ones, and real ones.

use crate::common::{data, json, tensors};
use gemmconv::Error;
use gemmconv::train::weights::{Encoded, NamedTensor, Target, Weights};

/// What the message of each file must say; nothing for those that are read.
const EXPECTED: &[(&str, &str)] = &[
    ("good_i32_2x2.safetensors", ""),
    ("extra_bytes_polyglot.safetensors", "file not fully covered"),
    ("missing_2_bytes.safetensors", "ends at byte"),
    ("header_too_large.safetensors", "at most 8388608"),
    ("empty.safetensors", "the file has 0 bytes"),
    ("header_len_past_eof.safetensors", "0 bytes are there"),
    (
        "header_non_utf8.safetensors",
        "the header of the file is broken",
    ),
    (
        "header_not_json.safetensors",
        "the header of the file is broken",
    ),
    ("whitespace_padded_ok.safetensors", ""),
    ("zero_sized_ok.safetensors", ""),
    ("shape_offset_mismatch.safetensors", "ends at byte 4 of 0"),
    ("shape_overflow.safetensors", "overflow"),
    ("shape_overflow_bytes.safetensors", "overflow"),
    ("overlap_json_attack.safetensors", "invalid offset"),
    ("hole.safetensors", "invalid offset"),
    ("begin_gt_end.safetensors", "invalid offset"),
    ("negative_offset.safetensors", "invalid value: integer `-"),
    ("duplicate_keys.safetensors", r#""a" stands twice"#),
    ("unknown_dtype.safetensors", "unknown variant"),
    ("float_shape.safetensors", "invalid type: floating point"),
    ("deep_json.safetensors", "broken"),
    ("many_tensors_200k.safetensors", ""),
    ("nan_inf_values.safetensors", ""),
];

#[test]
fn bad_files_end_in_an_error() {
    let Some(folder) = data("bad/safetensors") else {
        return;
    };
    let manifest = json(&folder.join("MANIFEST.json"));
    let listed = manifest.as_array().unwrap();
    assert_eq!(listed.len(), EXPECTED.len());
    let mut failures = Vec::new();
    for entry in listed {
        let name = entry["file"].as_str().unwrap();
        let good = entry["expect"].as_str().unwrap().starts_with("OK");
        let known = EXPECTED.iter().find(|(file, _)| *file == name);
        let &(_, part) = known.unwrap_or_else(|| panic!("{name} is new"));
        assert_eq!(part.is_empty(), good, "{name}: {entry}");
        match Weights::read(folder.join(name)) {
            Ok(_) if good => {}
            Err(Error::At { place, source })
                if !good && place.ends_with(name) && source.to_string().contains(part) => {}
            other => failures.push(format!("{name}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let values = &mut [0.0; 3];
    let read = Weights::read(folder.join("nan_inf_values.safetensors")).unwrap();
    let target = Target {
        name: "w",
        shape: &[3],
        values,
    };
    read.load_into(&mut [target]).unwrap();
    assert!(values[0].is_nan() && values[1] == f32::INFINITY && values[2] == f32::NEG_INFINITY);
    let many = Weights::read(folder.join("many_tensors_200k.safetensors")).unwrap();
    assert!(many.tensors().count() >= 20_000);
}

#[test]
fn a_missing_file_and_a_folder() {
    let error = Weights::read("no/such/file.safetensors").unwrap_err();
    assert!(matches!(
        error,
        Error::Io {
            kind: std::io::ErrorKind::NotFound,
            ..
        }
    ));
    let error = Weights::read("tests").unwrap_err().to_string();
    assert!(error.contains("is not a regular file"), "{error}");
}

/// A file of PyTorch's has tensors of f64, which are refused; without them it is read, written and read again.
#[test]
fn a_file_of_pytorch() {
    let Some(path) = data("torch-layers/train_sgd.safetensors") else {
        return;
    };
    let weights = Weights::read(&path).unwrap();
    assert!(weights.metadata()["optimizer"].contains("SGD lr .05 momentum .9"));
    let shapes: Vec<_> = weights
        .tensors()
        .map(|(name, shape, _)| (name.to_owned(), shape.to_owned()))
        .collect();
    let Err(Error::Tensors { list }) = read_all(&weights, &shapes) else {
        panic!("the file has tensors of f64");
    };
    assert_eq!(list.len(), 7, "six final weights and the losses: {list:?}");
    let part = r#""final.c1.bias" has elements of type F64"#;
    assert!(list[0].starts_with(part), "{list:?}");

    let expected: Vec<_> = tensors(&path)
        .into_iter()
        .filter(|(name, _)| name.starts_with("init.") || name == "losses.f32")
        .map(|(name, tensor)| (name, tensor.f32()))
        .collect();
    let singles: Vec<_> = expected
        .iter()
        .map(|(name, array)| NamedTensor {
            name,
            shape: array.shape(),
            values: array.as_slice().unwrap(),
        })
        .collect();
    assert_eq!(singles.len(), 7);
    let mut bytes = Vec::new();
    let file = Encoded::new(&singles, weights.metadata()).unwrap();
    file.write(&mut bytes).unwrap();
    let again = Weights::from_bytes(bytes).unwrap();
    assert_eq!(again.metadata(), weights.metadata());
    let shapes: Vec<_> = expected
        .iter()
        .map(|(name, array)| (name.clone(), array.shape().to_owned()))
        .collect();
    for ((name, array), values) in expected.iter().zip(read_all(&again, &shapes).unwrap()) {
        assert_eq!(values, array.as_slice().unwrap(), "{name}");
    }
}

/// The elements of all tensors, which must be these.
fn read_all(weights: &Weights, shapes: &[(String, Vec<usize>)]) -> gemmconv::Result<Vec<Vec<f32>>> {
    let places = shapes
        .iter()
        .map(|(_, shape)| vec![0.0; shape.iter().product()]);
    let mut places: Vec<_> = places.collect();
    let targets = shapes.iter().zip(&mut places);
    let mut targets: Vec<_> = targets
        .map(|((name, shape), values)| Target {
            name,
            shape,
            values,
        })
        .collect();
    weights.load_into(&mut targets)?;
    Ok(places)
}
