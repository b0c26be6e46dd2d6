//! Networks, their files, data sets and training.
#![cfg(feature = "network")]

#[path = "../common/mod.rs"]
mod common;

mod graph;
mod torch_layers;

#[cfg(feature = "onnx")]
mod onnx_bad;
#[cfg(feature = "onnx")]
mod onnx_conformance;
#[cfg(feature = "onnx")]
mod onnx_export;
#[cfg(feature = "onnx")]
mod onnx_mnist;

#[cfg(feature = "train")]
mod checkpoint;
#[cfg(feature = "train")]
mod data_sets;
#[cfg(feature = "train")]
mod safetensors_bad;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_loader;
#[cfg(feature = "train")]
mod train_torch;
