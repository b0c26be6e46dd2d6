//! The network and the pictures that the repository ships: what the README shows is true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gemmconv::network::{Dim, Network, Tensor};
use gemmconv::onnx::{ImportOptions, export_bytes, import, import_bytes};
use ndarray::Array4;

fn shipped(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shapes");
    folder.join(name)
}

/// Every picture is named after what it shows, and the program says the same, as in the README.
#[test]
fn pictures_show_what_their_names_say() {
    let folder = shipped("pictures");
    let labels = fs::read_to_string(shipped("labels.txt")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
        .arg("classify")
        .arg("--model")
        .arg(shipped("shapes.onnx"))
        .arg("--labels")
        .arg(shipped("labels.txt"))
        .args(["--top", "1"])
        .arg(&folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let mut seen = Vec::new();
    for line in out.lines() {
        let (path, guess) = line.split_once(": ").unwrap();
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        let (shape, _) = name.split_once('-').unwrap();
        assert!(guess.starts_with(&format!("{shape} ")), "{line}");
        let size = fs::metadata(path).unwrap().len();
        assert!(size < 10_000, "{name} has {size} bytes");
        seen.push(shape.to_owned());
    }
    assert_eq!(seen.len(), fs::read_dir(folder).unwrap().count());
    for label in labels.lines() {
        assert!(seen.iter().any(|shape| shape == label), "no {label}");
    }
}

/// The file is what is written for the graph that it is read as; batches of any size give the same.
#[test]
fn the_network_is_written_as_it_was_read() {
    let bytes = fs::read(shipped("shapes.onnx")).unwrap();
    assert!(bytes.len() < 150_000, "{} bytes", bytes.len());
    let graph = import(shipped("shapes.onnx"), &ImportOptions::new()).unwrap();
    let again = export_bytes(&graph).unwrap();
    assert!(again == bytes, "other bytes");
    let dims = graph.inputs()[0].dims.clone().unwrap();
    assert_eq!(dims[0], Dim::Free("N".to_owned()));

    let again = import_bytes(again, &ImportOptions::new()).unwrap();
    let networks = [graph, again].map(|graph| Network::new(graph).unwrap());
    let mut random = fastrand::Rng::with_seed(1);
    for batch in [1, 5] {
        let pictures = Array4::from_shape_simple_fn((batch, 3, 48, 48), || random.f32());
        let pictures = Tensor::from(pictures.into_dyn());
        let [first, second] = networks.each_ref().map(|network| {
            let outputs = network.run(&[("image", &pictures)]).unwrap();
            let [(name, probabilities)] = <[_; 1]>::try_from(outputs).unwrap();
            assert_eq!(name, "probabilities");
            probabilities
        });
        assert_eq!(first, second);
        assert_eq!(first.shape(), [batch, 8]);
    }
}
