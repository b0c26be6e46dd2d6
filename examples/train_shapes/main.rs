//! Trains the network that the repository ships, on drawings, with the bare functions of the library.
//!
//! ```text
//! cargo run --release --features cli --example train_shapes [FOLDER]
//! ```
//!
//! Writes `shapes.onnx`, `labels.txt` and `pictures/` to FOLDER, `examples/shapes` where none is given. `drawing.rs`
//! draws, `classifier.rs` is the network with its gradients, this file the loop around them. Every picture is drawn
//! once, from a seed of its own, and sums do not depend on threads: on CPUs of one instruction set a run always
//! gives the same network.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;
use gemmconv::data::prepare::{Prepare, Preset};
use gemmconv::onnx::export;
use gemmconv::{Layout, Result};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ndarray::Array4;
use rayon::prelude::*;

use classifier::{Classifier, SIDE};
use drawing::{Scene, Shape};

mod classifier;
mod drawing;

const EPOCHS: usize = 14;
const STEPS: usize = 256;
const BATCH: usize = 32;

/// Drawings that the network is tried on after each epoch.
const TRIED: usize = 2048;

/// The largest step: the first epoch leads up to it, then half a cosine down to nothing.
const RATE: f32 = 0.05;

/// The side of drawings, which are made smaller as photographs are.
const DRAWN: u32 = 96;

/// Where the seeds of drawings begin, so far from each other that none is met twice.
const TRAINING: u64 = 0;
const TEST: u64 = 1 << 32;
const SHIPPED: u64 = 2 << 32;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.unwrap_or_else(|| "examples/shapes".into()));
    // What `gemmconv classify` does where nothing is said.
    let preset = Preset::ImagenetTorchvision;
    let prepare = preset.prepare(Some((SIDE, SIDE)), Some(3), Layout::ChannelsFirst)?;

    let mut classifier = Classifier::new(BATCH, Shape::ALL.len(), &mut Rng::with_seed(1))?;
    println!("{} parameters", classifier.parameters());
    for epoch in 0..EPOCHS {
        let begin = Instant::now();
        let mut loss = 0.0;
        for step in epoch * STEPS..(epoch + 1) * STEPS {
            let (pictures, classes) = draw(TRAINING + (step * BATCH) as u64, &prepare)?;
            loss += classifier.learn(pictures, &classes, rate(step))? / STEPS as f32;
        }
        println!(
            "epoch {:2}: loss {loss:.4}, {:.2} % of {TRIED} fresh drawings right, {:.1} s",
            epoch + 1,
            100.0 * accuracy(&classifier, &prepare)?,
            begin.elapsed().as_secs_f32(),
        );
    }

    let pictures = folder.join("pictures");
    fs::create_dir_all(&pictures)?;
    export(&classifier.graph(), folder.join("shapes.onnx"))?;
    let labels = Shape::ALL.map(|shape| shape.name().to_owned() + "\n");
    fs::write(folder.join("labels.txt"), labels.concat())?;
    for index in 0..12 {
        ship(index, &pictures)?;
    }
    Ok(())
}

/// How far a step goes.
fn rate(step: usize) -> f32 {
    let warm = (step + 1) as f32 / STEPS as f32;
    let done = step as f32 / (EPOCHS * STEPS) as f32;
    RATE * warm.min(1.0) * 0.5 * (1.0 + (std::f32::consts::PI * done).cos())
}

/// The part of drawings, none of which it has learned from, whose class is found.
fn accuracy(classifier: &Classifier, prepare: &Prepare) -> Result<f64> {
    let mut right = 0;
    for first in (0..TRIED).step_by(BATCH) {
        let (pictures, classes) = draw(TEST + first as u64, prepare)?;
        let found = classifier.classify(pictures)?;
        right += found.iter().zip(&classes).filter(|(a, b)| a == b).count();
    }
    Ok(right as f64 / TRIED as f64)
}

/// A batch of drawings as the network takes them, and their classes.
fn draw(first: u64, prepare: &Prepare) -> Result<(Array4<f32>, Vec<usize>)> {
    let classes: Vec<usize> = (0..BATCH).map(|index| index % Shape::ALL.len()).collect();
    let mut pictures = Array4::zeros((BATCH, 3, SIDE, SIDE));
    let numbers = pictures
        .as_slice_mut()
        .expect("a new array is in one piece");
    let places = numbers.par_chunks_exact_mut(3 * SIDE * SIDE);
    places.enumerate().try_for_each(|(index, place)| {
        let mut random = Rng::with_seed(first + index as u64);
        let scene = Scene::random(Shape::ALL[classes[index]], &mut random);
        let picture = scene.paint(DRAWN, DRAWN, &mut random);
        prepare.run(picture.into(), &mut Default::default(), place)
    })?;
    Ok((pictures, classes))
}

/// Writes a picture for the repository, every third one a JPEG.
fn ship(index: usize, folder: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let shape = Shape::ALL[index % Shape::ALL.len()];
    let mut random = Rng::with_seed(SHIPPED + index as u64);
    let scene = Scene::random(shape, &mut random).clean();
    let picture = scene.paint(320, [240, 320][index % 2], &mut random);
    let name = format!("{}-{}", shape.name(), index / Shape::ALL.len() + 1);
    let mut bytes = Vec::new();
    let extension = match index % 3 {
        2 => {
            picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 80))?;
            "jpg"
        }
        _ => {
            let (best, filter) = (CompressionType::Best, FilterType::Adaptive);
            picture.write_with_encoder(PngEncoder::new_with_quality(&mut bytes, best, filter))?;
            "png"
        }
    };
    fs::write(folder.join(format!("{name}.{extension}")), bytes)?;
    Ok(())
}
