//! Any bytes as a model: read, planned for inputs of its own sizes, and run where that is little work.
#![no_main]

use gemmconv::network::{Dim, Graph, Network, NetworkOptions, Tensor};
use gemmconv::onnx::{ImportOptions, import_bytes};
use libfuzzer_sys::fuzz_target;

/// Memory that a model may ask for.
const LIMIT: usize = 16 << 20;

/// Activations of a model that is run, in bytes: the work grows with them.
const SMALL: usize = 64 << 10;

/// Zeros of the sizes that the model names, 2 where it leaves one free.
fn inputs(graph: &Graph) -> Option<Vec<(String, Tensor)>> {
    let mut inputs = Vec::new();
    for input in graph.inputs() {
        let dims = input.dims.iter().flatten();
        let shape: Vec<usize> = dims
            .map(|dim| match dim {
                Dim::Size(size) => *size,
                Dim::Free(_) => 2,
            })
            .collect();
        let len = shape
            .iter()
            .try_fold(1usize, |len, &size| len.checked_mul(size))?;
        if len > SMALL {
            return None;
        }
        let tensor = Tensor::zeros(input.dtype, &shape).ok()?;
        inputs.push((graph.name(input.value).to_owned(), tensor));
    }
    Some(inputs)
}

fuzz_target!(|bytes: &[u8]| {
    let options = ImportOptions::new().memory_limit(LIMIT);
    let Ok(graph) = import_bytes(bytes, &options) else {
        return;
    };
    let Some(inputs) = inputs(&graph) else {
        return;
    };
    let options = NetworkOptions::new().memory_limit(LIMIT);
    let Ok(network) = Network::with_options(graph, options) else {
        return;
    };
    let Ok(session) = network.session(&inputs) else {
        return;
    };
    if session.activation_bytes() <= SMALL {
        let _ = network.run(&inputs);
    }
});
