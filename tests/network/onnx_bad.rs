//! Malformed and hostile models end in the error that says what is wrong, before anything runs where it can be
//! known before; never in a panic, and never with more memory than they are allowed.

use std::path::Path;

use crate::common::{data, json};
use gemmconv::Error;
use gemmconv::network::{Dim, Graph, Network, NetworkOptions, Tensor};
use gemmconv::onnx::{ImportOptions, import, import_bytes};

/// Memory that a model of this test may ask for.
const LIMIT: usize = 64 << 20;

/// Where a model was refused.
#[derive(Debug, PartialEq)]
enum Stage {
    /// Its file cannot be read.
    Import(Error),
    /// It cannot be planned for the sizes of its inputs.
    Plan(Error),
    /// It fails on the elements of its inputs.
    Run(Error),
    /// Not at all; the outputs.
    Accepted(Vec<(String, Tensor)>),
}

/// Inputs of ones, with 1 for a size that is free; none that are larger than the memory allowed.
fn inputs(graph: &Graph) -> Vec<(String, Tensor)> {
    let mut inputs = Vec::new();
    for input in graph.inputs() {
        let dims = input.dims.iter().flatten();
        let shape: Vec<usize> = dims
            .map(|dim| match dim {
                Dim::Size(size) => *size,
                Dim::Free(_) => 1,
            })
            .collect();
        let elements = shape
            .iter()
            .try_fold(1usize, |len, &size| len.checked_mul(size));
        if elements.is_none_or(|elements| elements > LIMIT / 8) {
            continue;
        }
        let mut tensor = Tensor::zeros(input.dtype, &shape).unwrap();
        if let Tensor::F32(array) = &mut tensor {
            array.fill(1.0);
        }
        inputs.push((graph.name(input.value).to_owned(), tensor));
    }
    inputs
}

fn stage(graph: gemmconv::Result<Graph>) -> Stage {
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => return Stage::Import(error),
    };
    let inputs = inputs(&graph);
    let options = NetworkOptions::new().memory_limit(LIMIT);
    let network = match Network::with_options(graph, options) {
        Ok(network) => network,
        Err(error) => return Stage::Plan(error),
    };
    if let Err(error) = network.session(&inputs) {
        return Stage::Plan(error);
    }
    match network.run(&inputs) {
        Ok(outputs) => Stage::Accepted(outputs),
        Err(error) => Stage::Run(error),
    }
}

/// What the message of each model must say, and where it is refused: at import, in planning or in running.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("empty.onnx", "import", "ir_version is 0"),
    ("truncated_1.onnx", "import", "cut off at byte 1 of 1"),
    ("truncated_5.onnx", "import", "of 5"),
    ("truncated_135.onnx", "import", "of 135"),
    ("conv_stride_neg.onnx", "import", "attribute strides"),
    ("conv_pads_short.onnx", "plan", "pad"),
    ("conv_strides_len3.onnx", "plan", "stride"),
    ("conv_group0.onnx", "plan", "the number of groups is zero"),
    ("conv_group_neg.onnx", "import", "attribute group"),
    ("conv_group2_c3.onnx", "plan", "2 groups do not divide"),
    ("conv_w_2d.onnx", "plan", "axes"),
    ("conv_autopad_junk.onnx", "import", "attribute auto_pad"),
    ("conv_autopad_and_pads.onnx", "import", "auto_pad"),
    ("pool_pad_ge_k.onnx", "plan", "padding"),
    ("pool_k_2p31.onnx", "plan", "exceeds padded input"),
    ("pool_k_2p63m1.onnx", "plan", ""),
    ("convt_outshape_0.onnx", "plan", ""),
    ("convt_outshape_2p62.onnx", "plan", ""),
    ("raw_long.onnx", "import", "raw_data holds 4000 bytes"),
    ("raw_misaligned.onnx", "import", "raw_data holds 429 bytes"),
    ("ext_traversal.onnx", "import", "may not contain `..`"),
    (
        "ext_nested_traversal.onnx",
        "import",
        "may not contain `..`",
    ),
    ("ext_empty.onnx", "import", "the location is empty"),
    (
        "ext_neg_offset.onnx",
        "import",
        "offset \"-8\" is no number",
    ),
    ("ext_neg_len.onnx", "import", "length \"-1\" is no number"),
    ("ext_off_past.onnx", "import", "in a file of 64 bytes"),
    (
        "ext_dev.onnx",
        "import",
        "relative to the folder of the model",
    ),
    ("ext_memaddr.onnx", "import", "external data"),
    ("self_loop.onnx", "import", "cycle"),
    (
        "dup_output.onnx",
        "import",
        "two values have the name \"y\"",
    ),
    ("dup_init.onnx", "import", "two values have the name \"w\""),
    (
        "output_undefined.onnx",
        "import",
        "nothing makes the output",
    ),
    ("empty_input_name.onnx", "import", "missing"),
    ("unknown_domain.onnx", "import", "evil.co::Conv"),
    (
        "opset_none.onnx",
        "import",
        "no version of the operator set",
    ),
    ("ir_99.onnx", "import", "ir_version is 99"),
    ("gather_oob.onnx", "plan", "7"),
    ("bn_bad_len.onnx", "plan", ""),
    ("gemm_mismatch.onnx", "plan", ""),
    ("maxunpool_idx_oob.onnx", "run", ""),
    ("col2im_bad.onnx", "plan", ""),
];

/// Every model of the manifest.
#[test]
fn bad_models() {
    let Some(folder) = data("bad/onnx") else {
        return;
    };
    let manifest = json(&folder.join("MANIFEST.json"));
    let mut wrong = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let name = entry["file"].as_str().unwrap();
        let options = ImportOptions::new().memory_limit(LIMIT);
        let found = stage(import(folder.join(name), &options));
        if name == "nan_weights.onnx" {
            let Stage::Accepted(outputs) = &found else {
                wrong.push(format!("{name}: {found:?}"));
                continue;
            };
            let Tensor::F32(output) = &outputs[0].1 else {
                panic!("{outputs:?}")
            };
            assert!(!output.is_empty() && output.iter().all(|value| value.is_nan()));
            continue;
        }
        let Some((_, stage, says)) = EXPECTED.iter().find(|(known, ..)| *known == name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        let (at, error) = match &found {
            Stage::Import(error) => ("import", error),
            Stage::Plan(error) => ("plan", error),
            Stage::Run(error) => ("run", error),
            Stage::Accepted(outputs) => {
                wrong.push(format!("{name} is accepted: {outputs:?}"));
                continue;
            }
        };
        let message = error.to_string();
        if at != *stage || !message.contains(says) {
            wrong.push(format!(
                "{name}: {at}: {message} (expected {stage}: {says})"
            ));
        }
        if at == "import" && !message.contains(name) {
            wrong.push(format!("{name}: the file is not named: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(manifest.as_array().unwrap().len(), EXPECTED.len() + 1);
}

/// Real models with their weights in a second file.
#[test]
fn external_weights() {
    let Some(folder) = data("models/external-data") else {
        return;
    };
    let options = ImportOptions::new();
    for name in ["mnist.onnx", "conv_qdq_external_ini.onnx"] {
        let found = stage(import(folder.join(name), &options));
        assert!(matches!(found, Stage::Accepted(_)), "{name}: {found:?}");
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let error = import_bytes(bytes.clone(), &options).unwrap_err();
        assert!(error.to_string().contains("no folder is given"), "{error}");
        let options = ImportOptions::new().external_data(&folder);
        assert!(import_bytes(bytes, &options).is_ok());
    }
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = ImportOptions::new();
    let missing = folder.path().join("missing.onnx");
    let error = import(&missing, &options).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("missing.onnx"), "{error}");
    let error = import(folder.path(), &options).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    let device = Path::new("/dev/zero");
    if device.exists() {
        let error = import(device, &options).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
    let large = folder.path().join("large.onnx");
    std::fs::write(&large, vec![0; 1000]).unwrap();
    let error = import(&large, &ImportOptions::new().memory_limit(999)).unwrap_err();
    assert!(
        error.to_string().contains("1000 bytes are needed"),
        "{error}"
    );
}

/// Bits flipped, pieces cut out, put in twice or filled: an error or a graph, and nothing else.
#[test]
fn damaged_models() {
    let Some(folder) = data("models") else {
        return;
    };
    let options = ImportOptions::new().memory_limit(LIMIT);
    let mut random = fastrand::Rng::with_seed(1);
    for name in [
        "mnist-8/model.onnx",
        "yunet_s_320/model.onnx",
        "rten_mnist/model.onnx",
    ] {
        let whole = std::fs::read(folder.join(name)).unwrap();
        let mut refused = 0;
        for round in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..=round % 4 {
                let at = random.usize(..bytes.len());
                let end = (at + random.usize(..64)).min(bytes.len());
                match random.u8(..4) {
                    0 => bytes[at] ^= 1 << random.u8(..8),
                    1 => drop(bytes.drain(at..end)),
                    2 => bytes.extend_from_within(at..end),
                    _ => bytes[at..end].fill(0xff),
                }
            }
            let graph = import_bytes(bytes, &options);
            refused += usize::from(graph.is_err());
            // Most damage hits the weights, which makes a model no less valid.
            if round % 16 == 0 {
                let _ = stage(graph);
            }
        }
        assert!(refused > 20, "{name}: {refused} refused");
    }
}
