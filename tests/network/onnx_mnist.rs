//! Two trained networks on the 10 000 test digits of MNIST: as many are right as ONNX Runtime finds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::common::data;
use flate2::read::GzDecoder;
use gemmconv::network::{Network, Tensor};
use gemmconv::onnx::{ImportOptions, import};
use ndarray::ArrayD;

/// The bytes behind the header of an idx file: 4 bytes, and 4 more for each axis.
fn idx(path: &Path, axes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes.split_off(4 + 4 * axes)
}

#[test]
fn as_many_digits_are_right_as_by_onnx_runtime() {
    let (Some(digits), Some(models)) = (data("mnist"), data("models")) else {
        return;
    };
    let pixels = idx(&digits.join("t10k-images-idx3-ubyte.gz"), 3);
    let labels = idx(&digits.join("t10k-labels-idx1-ubyte.gz"), 1);
    assert_eq!((pixels.len(), labels.len()), (10_000 * 784, 10_000));
    for (name, expected) in [("mnist-8", 9_891), ("cnn_mnist_pytorch", 9_904)] {
        let graph = import(models.join(name).join("model.onnx"), &ImportOptions::new()).unwrap();
        let input = graph.name(graph.inputs()[0].value).to_owned();
        let network = Network::new(graph).unwrap();
        let mut right = 0;
        for (image, &label) in pixels.chunks_exact(784).zip(&labels) {
            let numbers = image.iter().map(|&pixel| f32::from(pixel)).collect();
            let image = ArrayD::from_shape_vec(vec![1, 1, 28, 28], numbers).unwrap();
            let outputs = network.run(&[(&input, Tensor::from(image))]).unwrap();
            let scores = outputs[0].1.array::<f32>().unwrap();
            let best = (0..10).max_by(|&a, &b| scores[[0, a]].total_cmp(&scores[[0, b]]));
            right += usize::from(best == Some(usize::from(label)));
        }
        assert_eq!(right, expected, "{name}");
    }
}
