//! A folder of pictures through a trained network, on a thread pool of the caller's.
//!
//! ```sh
//! cargo run --release --features infer,onnx --example batch_inference -- squeezenet.onnx imagenet-caffe photos/
//! ```
//!
//! A service does the same with `Source::Bytes` and whatever it knows a request by in place of the path: one
//! `Pipeline` for all threads, one `run` for each stream of pictures. Nothing of a picture is kept after its row.

use std::error::Error;
use std::path::PathBuf;

use gemmconv::Layout;
use gemmconv::data::prepare::Preset;
use gemmconv::infer::{ImageInput, InferOptions, Pipeline, Scores, Source, top};
use gemmconv::onnx::{ImportOptions, import};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, preset, folder] = arguments.as_slice() else {
        return Err("give MODEL PRESET FOLDER".into());
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();

    // Everything that can be wrong with the model or the options is found here, before the first picture.
    let graph = import(model, &ImportOptions::new())?;
    let input = ImageInput::of(&graph, Layout::ChannelsFirst)?;
    let prepare = preset
        .parse::<Preset>()?
        .prepare(input.size, input.channels, input.layout)?;
    let output = *graph.outputs().first().ok_or("the model has no output")?;
    let scores = Scores::of(&graph, output);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let options = InferOptions::new().batch(8).decoders(2);
    let pipeline = pool.install(|| Pipeline::new(graph, prepare, options))?;

    // In the order of the list; a broken picture costs nobody else anything.
    let sources = paths.iter().map(|path| (path, Source::from(path.clone())));
    let times = pool.install(|| {
        pipeline.run(sources, |path, outcome| {
            match outcome {
                Ok(output) => {
                    let mut probabilities = output.to_vec();
                    scores.probabilities(&mut probabilities);
                    println!("{}: {:?}", path.display(), top(&probabilities, 3));
                }
                Err(error) => println!("{}: {error}", path.display()),
            }
            Ok::<_, gemmconv::Error>(())
        })
    })?;
    println!(
        "{} pictures in {:.2?}, {:.2?} of it in the network",
        paths.len(),
        times.whole,
        times.network
    );
    Ok(())
}
