//! The folder of a training: what lies where.
//!
//! ```text
//! network.onnx     the network as it began            labels.txt       the classes, a line each
//! training.json    what it is for                     checkpoints/     the newest ones
//! log.jsonl        a line an epoch                    curves.svg, curves.png
//! model.onnx       the network at the end             filters.png, features.png, confusion.png
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::cli::model::{ModelArgs, write_file};
use crate::data::dataset::Dataset;
use crate::data::normalise::Normalise;
use crate::data::picture::read_file;
use crate::network::{Graph, Network};
use crate::train::{Model, Progress, checkpoint, flatten_scores, free_batch, images_input, scores};

/// The longest description that is read.
const MOST_BYTES: u64 = 64 << 20;

/// See the file head.
#[derive(Clone, Debug)]
pub(super) struct RunFolder(PathBuf);

/// What a network is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    pub architecture: String,
    /// Channels, height, width.
    pub shape: [usize; 3],
    pub classes: Vec<String>,
    /// Of every channel, of values 0 to 1; empty where nothing is subtracted.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// 1×28×28
pub(super) fn sizes(shape: [usize; 3]) -> String {
    shape.map(|size| size.to_string()).join("×")
}

impl Description {
    pub(super) fn new(
        architecture: &str,
        data: &dyn Dataset,
        normalise: Option<&Normalise>,
    ) -> Self {
        Self {
            architecture: architecture.to_owned(),
            shape: data.shape(),
            classes: data.classes().to_vec(),
            mean: normalise.map_or(Vec::new(), |normalise| normalise.mean().to_vec()),
            std: normalise.map_or(Vec::new(), |normalise| normalise.std().to_vec()),
        }
    }

    /// An error unless it is the same as `other`, which was written before.
    pub(super) fn must_be(&self, other: &Self) -> Result<()> {
        ensure!(
            self.shape == other.shape,
            "the images are {} now, they were {}",
            sizes(self.shape),
            sizes(other.shape)
        );
        ensure!(
            self.classes == other.classes,
            "the data has other classes than before, {} now and {} then",
            self.classes.len(),
            other.classes.len()
        );
        ensure!(
            (&self.mean, &self.std) == (&other.mean, &other.std),
            "the data has another mean or deviation than before: {:?} and {:?} now, {:?} and {:?} then",
            self.mean,
            self.std,
            other.mean,
            other.std
        );
        Ok(())
    }

    /// What images are normalised by.
    pub(super) fn normalise(&self) -> Result<Option<Normalise>> {
        if self.mean.is_empty() && self.std.is_empty() {
            return Ok(None);
        }
        Ok(Some(Normalise::new(self.mean.clone(), self.std.clone())?))
    }

    /// How `gemmconv classify` prepares pictures for it.
    fn classify_options(&self) -> String {
        let [channels, height, width] = self.shape;
        let numbers = |numbers: &[f32]| {
            let numbers: Vec<String> = numbers.iter().map(f32::to_string).collect();
            numbers.join(",")
        };
        let mut options = format!("--size {height}x{width} --scale 1/255");
        match self.mean.is_empty() {
            true => options.push_str(" --mean 0 --std 1"),
            false => options.push_str(&format!(
                " --mean {} --std {}",
                numbers(&self.mean),
                numbers(&self.std)
            )),
        }
        if channels == 1 {
            options.push_str(" --colour grey");
        }
        options
    }
}

impl RunFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    pub(super) fn model(&self) -> PathBuf {
        self.0.join("model.onnx")
    }

    pub(super) fn labels(&self) -> PathBuf {
        self.0.join("labels.txt")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The command that classifies a picture by `model`.
    pub(super) fn classify(&self, model: &Path, description: &Description) -> String {
        format!(
            "gemmconv classify --model {} --labels {} {} PICTURE",
            model.display(),
            self.labels().display(),
            description.classify_options()
        )
    }

    /// Writes what is known before the first step.
    pub(super) fn begin(&self, graph: &Graph, description: &Description) -> Result<()> {
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())?;
        crate::onnx::export(graph, self.file("network.onnx"))?;
        let labels: String = description
            .classes
            .iter()
            .map(|class| format!("{}\n", class.replace(['\n', '\r'], " ")))
            .collect();
        write_file(&self.labels(), labels.as_bytes())?;
        let text = serde_json::to_string_pretty(description)?;
        write_file(&self.file("training.json"), text.as_bytes())
    }

    /// The network as it began.
    pub(super) fn network(&self, arguments: &ModelArgs) -> Result<Graph> {
        arguments.import(&self.file("network.onnx"))
    }

    pub(super) fn description(&self) -> Result<Description> {
        let path = self.file("training.json");
        let told = || path.display().to_string();
        let text = read_file(&path, MOST_BYTES)?;
        serde_json::from_slice(&text).with_context(told)
    }

    /// The network with the weights of the newest checkpoint, and that checkpoint.
    pub(super) fn newest(&self, arguments: &ModelArgs) -> Result<(Graph, PathBuf)> {
        ensure!(
            self.file("training.json").exists(),
            "{} is not the folder of a training",
            self.0.display()
        );
        let mut model = Model::new(self.network(arguments)?)?;
        let newest = checkpoint::newest::<Progress>(self.checkpoints())?;
        let Some(found) = newest.checkpoint else {
            match newest.skipped.into_iter().next() {
                Some(error) => return Err(error.into()),
                None => bail!("{} holds no checkpoint", self.0.display()),
            }
        };
        model.load(&found.weights)?;
        Ok((model.graph(), found.path))
    }
}

/// The number of classes of a network for images of this shape; scores with axes of one element more lose these.
pub(super) fn classes(
    graph: &mut Graph,
    shape: [usize; 3],
    arguments: &ModelArgs,
) -> Result<usize> {
    let mut asked = graph.clone();
    let scores = scores(&asked)?;
    let name = asked.name(scores).to_owned();
    asked.set_outputs(&[name])?;
    let images = images_input(&asked)?;
    free_batch(&mut asked);
    let network = Network::with_options(asked, arguments.network_options())?;
    let [channels, height, width] = shape;
    let session = network
        .session_for(&[(images, vec![1, channels, height, width])])
        .with_context(|| format!("for images of {}", sizes(shape)))?;
    let shape = session.output_facts().next().map(|(_, shape)| shape);
    match shape.as_deref().unwrap_or_default() {
        [1, classes] => Ok(*classes),
        [1, classes, ones @ ..] if ones.iter().all(|&size| size == 1) => {
            flatten_scores(graph)?;
            Ok(*classes)
        }
        other => bail!(
            "the first output of the model is {other:?} for one image, not one score for each class"
        ),
    }
}
