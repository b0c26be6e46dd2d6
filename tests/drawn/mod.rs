//! A network that tests write themselves: it says which of red, green and blue a picture has most of.
//!
//! ```text
//! x [1, 3, 8, 8] ──► Conv 1x1, 4 · identity, "scaled" ──► Relu ──► GlobalAveragePool ──► Flatten ──► Softmax
//! ```
//!
//! The file is put together by hand, so that the reader is tried on bytes that no code of the crate wrote.

// Every test program compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

/// The side of the pictures that the network takes.
pub const SIDE: usize = 8;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number with its tag.
fn number(tag: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(tag << 3, &mut out);
    varint(value, &mut out);
    out
}

/// Bytes with their tag: strings, messages, raw data.
fn block(tag: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    varint(tag << 3 | 2, &mut out);
    varint(bytes.as_ref().len() as u64, &mut out);
    out.extend_from_slice(bytes.as_ref());
    out
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut out: Vec<u8> = inputs.iter().flat_map(|name| block(1, name)).collect();
    out.extend(block(2, output));
    out.extend(block(3, format!("node of {output}")));
    out.extend(block(4, operator));
    out
}

fn value(name: &str, shape: &[usize]) -> Vec<u8> {
    let dims: Vec<u8> = shape
        .iter()
        .flat_map(|&size| block(1, number(1, size as u64)))
        .collect();
    let tensor = [number(1, 1), block(2, dims)].concat();
    [block(1, name), block(2, block(1, tensor))].concat()
}

fn tensor(name: &str, shape: &[usize], elements: &[f32]) -> Vec<u8> {
    let mut out: Vec<u8> = shape
        .iter()
        .flat_map(|&size| number(1, size as u64))
        .collect();
    out.extend(number(2, 1));
    out.extend(block(8, name));
    let raw: Vec<u8> = elements
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    out.extend(block(9, raw));
    out
}

/// The bytes of the network; its last operator is `last`.
pub fn colours(last: &str) -> Vec<u8> {
    network(last, value("x", &[1, 3, SIDE, SIDE]))
}

/// The same for any number of pictures of any size.
pub fn colours_of_any_size() -> Vec<u8> {
    let name = |axis: &str| block(1, block(2, axis));
    let dims = [name("N"), block(1, number(1, 3)), name("H"), name("W")].concat();
    let tensor = [number(1, 1), block(2, dims)].concat();
    let input = [block(1, "x"), block(2, block(1, tensor))].concat();
    network("Softmax", input)
}

/// `scores = Reshape(x)` to a shape that the file fixes; x is a picture.
pub fn reshaped(shape: &[i64]) -> Vec<u8> {
    let sizes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
    let shape = [
        number(1, shape.len() as u64),
        number(2, 7),
        block(8, "shape"),
        block(9, sizes),
    ];
    let graph = [
        block(1, node("Reshape", &["x", "shape"], "scores")),
        block(2, "reshaped"),
        block(5, shape.concat()),
        block(11, value("x", &[1, 3, SIDE, SIDE])),
        block(12, value("scores", &[1, 3 * SIDE * SIDE])),
    ];
    model(&graph.concat())
}

fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 7), block(7, graph), block(8, number(2, 13))].concat()
}

fn network(last: &str, input: Vec<u8>) -> Vec<u8> {
    let weights: Vec<f32> = (0..9)
        .map(|at| if at % 4 == 0 { 4.0 } else { 0.0 })
        .collect();
    let graph = [
        block(1, node("Conv", &["x", "w"], "scaled")),
        block(1, node("Relu", &["scaled"], "positive")),
        block(1, node("GlobalAveragePool", &["positive"], "mean")),
        block(1, node("Flatten", &["mean"], "flat")),
        block(1, node(last, &["flat"], "scores")),
        block(2, "colours"),
        block(5, tensor("w", &[3, 3, 1, 1], &weights)),
        block(11, input),
        block(12, value("scores", &[1, 3])),
    ];
    model(&graph.concat())
}

/// The network in a file of `folder`.
pub fn write_colours(folder: &Path) -> PathBuf {
    let path = folder.join("colours.onnx");
    std::fs::write(&path, colours("Softmax")).unwrap();
    path
}
