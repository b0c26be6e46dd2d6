//! `gemmconv train`: a network learns from examples.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::data::DataArgs;
use super::folder::{Description, RunFolder};
use super::look;
use super::progress::Progress;
use crate::cli::model::ModelArgs;
use crate::cli::{complain, list, printable, refuse};
use crate::data::augment::Augment;
use crate::data::dataset::{Dataset, Split};
use crate::data::normalise::Normalise;
use crate::network::Graph;
use crate::train::architectures::Architecture;
use crate::train::checkpoint::Checkpoints;
use crate::train::loader::{Loader, LoaderOptions};
use crate::train::metrics::Metrics;
use crate::train::optimizer::OptimizerOptions;
use crate::train::schedule::Schedule;
use crate::train::{
    Ended, EpochRecord, Fit, FitOptions, Go, Model, Running, Trainer, TrainerOptions, TrainingLog,
    Watch, replace_head,
};

/// Train a network on labelled images
///
/// Everything goes to the folder given with --out: a checkpoint after each epoch, a line an epoch in log.jsonl, curves,
/// the first filters, feature maps and the confusion matrix as pictures, and in the end the network as model.onnx.
/// Ctrl-C finishes the step, saves, and says how to go on. The same options and seed give the same bits, on any number
/// of threads, stopped and resumed or not.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,

    #[arg(short, long, value_name = "NAME", help = arch_help())]
    arch: String,

    /// Where everything goes; a folder that is made
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Epochs in all
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    epochs: u64,

    /// Images of a step
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,

    /// The learning rate; 0.05 for sgd, 0.001 for the others unless told otherwise
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,

    /// sgd[:momentum=0.9,nesterov,decay=5e-4], adam[:beta1=…,beta2=…,epsilon=…,decay=…] or adamw[:…]
    #[arg(long, value_name = "HOW", default_value = "sgd:momentum=0.9", value_parser = parse::<OptimizerOptions>)]
    optimizer: OptimizerOptions,

    /// How the rate goes: constant, step:EPOCHS,FACTOR or cosine[:MIN], each with warmup=EPOCHS
    #[arg(long, value_name = "HOW", default_value = "cosine", value_parser = parse::<Schedule>)]
    schedule: Schedule,

    /// How images are changed at random: shift:N, flip, crop:N, with commas between them
    #[arg(long, value_name = "HOW")]
    augment: Option<Augment>,

    /// Bring every channel to mean 0 and deviation 1 over the training set
    #[arg(long)]
    normalise: bool,

    /// What decides first weights, the order of the examples, and all else that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Of the right class's share, what all classes get: label smoothing
    #[arg(long, value_name = "PART", default_value_t = 0.0)]
    smoothing: f32,

    /// The largest norm of the gradients together
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,

    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    accumulate: u16,

    /// Keep the parameters whose names begin with this; may be repeated
    #[arg(long, value_name = "PREFIX")]
    freeze: Vec<String>,

    /// Steps between checkpoints within an epoch
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,

    /// Checkpoints that are kept
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,

    /// Go on from the newest checkpoint in the folder, with the same options. More epochs may be asked for, but not
    /// with a cosine, which ends with the last
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    model_args: ModelArgs,
}

const EXAMPLES: &str = "\
Examples:
  gemmconv train --data mnist/ --arch mnist-cnn --epochs 5 --out runs/mnist
  gemmconv train --data cifar-10-batches-bin/ --arch resnet20 --augment crop:4,flip --normalise \\
      --optimizer sgd:momentum=0.9,decay=5e-4 --schedule cosine:warmup=1 --lr 0.1 --batch 128 --epochs 30 --out runs/c10
  gemmconv train --data flowers/ --size 224 --arch squeezenet.onnx --freeze conv1 --lr 0.005 --out runs/flowers
  gemmconv train … --out runs/mnist --resume

--data is a folder with idx files (MNIST, plain or .gz), CIFAR binaries, train_images.npy and train_labels.npy (and \
test_…), or a folder of pictures for each class, below train/ and test/ or not.

Exit status: 0 trained, 1 something went wrong, 2 wrong arguments, 130 stopped by Ctrl-C.";

fn arch_help() -> String {
    let names = Architecture::ALL.map(Architecture::name);
    format!(
        "The network: {}, or an ONNX file, whose weights are where it begins; its last layer is made anew where it has other classes than the data",
        list(&names)
    )
}

fn parse<T: std::str::FromStr<Err = crate::Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse()
        .map_err(|error: crate::Error| error.to_string())
}

/// Runs the command.
///
/// # Errors
/// Whatever data, network or options have wrong; a loss that is no number; a folder that cannot be written.
pub(crate) fn run(arguments: &TrainArgs) -> Result<ExitCode> {
    if let Err(error) = arguments.check() {
        return Ok(refuse(&error));
    }
    let pool = arguments.model_args.pool()?;
    pool.install(|| arguments.train())
}

impl TrainArgs {
    fn check(&self) -> Result<()> {
        let rate = self.rate();
        ensure!(
            rate > 0.0 && (rate as f32).is_finite() && rate as f32 > 0.0,
            "--lr {rate}: a learning rate is above 0 and finite"
        );
        ensure!(
            (0.0..1.0).contains(&self.smoothing),
            "--smoothing {}: it is at least 0 and below 1",
            self.smoothing
        );
        Ok(())
    }

    fn rate(&self) -> f64 {
        let usual = match self.optimizer {
            OptimizerOptions::Sgd { .. } => 0.05,
            _ => 0.001,
        };
        self.lr.unwrap_or(usual)
    }

    fn train(&self) -> Result<ExitCode> {
        let folder = RunFolder::new(&self.out);
        let checkpoints = Checkpoints::open(folder.checkpoints(), usize::from(self.keep))?;
        let there = !checkpoints.is_empty()?;
        ensure!(
            self.resume || !there,
            "{} holds the checkpoints of a training; go on with --resume, or choose another folder",
            self.out.display()
        );
        ensure!(
            !self.resume || there,
            "{} holds no checkpoint to resume",
            self.out.display()
        );
        let data: Arc<dyn Dataset> = Arc::from(self.data.open(Split::Train, self.seed)?);
        let test: Arc<dyn Dataset> = Arc::from(self.data.open(Split::Test, self.seed)?);
        ensure!(
            test.shape() == data.shape() && test.classes() == data.classes(),
            "the test data has images {:?} of {} classes, the training data {:?} of {}",
            test.shape(),
            test.classes().len(),
            data.shape(),
            data.classes().len()
        );
        let normalise = match self.normalise {
            true => Some(Normalise::of(data.as_ref())?),
            false => None,
        };
        let graph = match self.resume {
            true => folder.network(&self.model_args)?,
            false => self.graph(data.as_ref())?,
        };
        let description = Description::new(&self.arch, data.as_ref(), normalise.as_ref());
        let mut model = Model::new(graph.clone())?;
        for prefix in &self.freeze {
            model.freeze(prefix)?;
        }
        complain(&format!(
            "{}: {} parameters; {} images to train with, {} to test, {} classes of {}",
            printable(&self.arch),
            model.count(),
            data.len(),
            test.len(),
            data.classes().len(),
            super::folder::sizes(data.shape()),
        ));
        let mut fit = self.fit(model, &data, &test, normalise, checkpoints)?;
        let (log, records) = match self.resume {
            true => {
                description.must_be(&folder.description()?)?;
                let resumed = fit.resume()?;
                let (path, warnings) = resumed.context("no checkpoint loads")?;
                warnings
                    .iter()
                    .for_each(|warning| complain(&format!("warning: {warning}")));
                complain(&format!("going on from {}", path.display()));
                TrainingLog::resume(folder.log(), fit.progress().epochs)?
            }
            false => {
                folder.begin(&graph, &description)?;
                (TrainingLog::create(folder.log())?, Vec::new())
            }
        };
        let mut watcher = Watcher {
            progress: Progress::new(self.epochs),
            batch: u64::from(self.batch),
            before: Running::default(),
            stop: interrupted()?,
            log,
            records,
            title: self.title(),
            folder: &folder,
            confusion: None,
        };
        let ended = fit.run(&mut watcher)?;
        let Watcher {
            progress,
            records,
            confusion,
            ..
        } = watcher;
        drop(progress);
        if ended == Ended::Stopped {
            complain("stopped; everything is saved. This goes on:");
            complain(&format!("  {}", again()));
            return Ok(ExitCode::from(130));
        }
        let model = fit.trainer().model();
        let trained = model.graph();
        crate::onnx::export(&trained, folder.model())?;
        let example = look::example(test.as_ref(), &fit)?;
        look::write(
            &folder,
            model,
            example.view(),
            confusion.as_ref(),
            test.classes(),
        )?;
        if let Some(record) = records.last() {
            self.say_end(record, &folder, &description);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The network to begin with.
    fn graph(&self, data: &dyn Dataset) -> Result<Graph> {
        let classes = data.classes().len();
        if let Some(known) = Architecture::named(&self.arch) {
            return known
                .layers(classes)
                .graph(&data.shape(), self.seed)
                .with_context(|| format!("{} for images of {:?}", self.arch, data.shape()));
        }
        let path = Path::new(&self.arch);
        let is_file = path
            .extension()
            .is_some_and(|extension| extension == "onnx");
        if !is_file && !path.exists() {
            let names = Architecture::ALL.map(Architecture::name);
            bail!(
                "there is no architecture {:?}; there are {}, and files .onnx",
                printable(&self.arch),
                list(&names)
            );
        }
        let mut graph = self.model_args.import(path)?;
        let found = super::folder::classes(&mut graph, data.shape(), &self.model_args)?;
        if found == classes {
            return Ok(graph);
        }
        complain(&format!(
            "the network has {found} classes, the data {classes}: its last layer is made anew"
        ));
        Ok(replace_head(&graph, classes, self.seed)?)
    }

    fn fit(
        &self,
        model: Model,
        data: &Arc<dyn Dataset>,
        test: &Arc<dyn Dataset>,
        normalise: Option<Normalise>,
        checkpoints: Checkpoints,
    ) -> Result<Fit> {
        let options = TrainerOptions::new()
            .optimizer(self.optimizer)
            .smoothing(self.smoothing)
            .clip_norm(self.clip)
            .accumulate(self.accumulate.into())
            .seed(self.seed)
            .network(self.model_args.network_options());
        let batch = usize::try_from(self.batch)?;
        let mut training = LoaderOptions::training(batch, self.seed);
        let mut testing = LoaderOptions::evaluation(batch);
        if let Some(augment) = &self.augment {
            training = training.augment(augment.clone());
        }
        if let Some(normalise) = normalise {
            training = training.normalise(normalise.clone());
            testing = testing.normalise(normalise);
        }
        let trainer = Trainer::new(model, options)?;
        let options = FitOptions::new(self.epochs, self.rate())
            .schedule(self.schedule)
            .checkpoint_every(self.checkpoint_every)
            .network(self.model_args.network_options())
            .description(self.description());
        Ok(Fit::new(
            trainer,
            Loader::new(Arc::clone(data), training)?,
            Some(Loader::new(Arc::clone(test), testing)?),
            Some(checkpoints),
            options,
        )?)
    }

    /// What must be the same when the training goes on.
    fn description(&self) -> Vec<(String, String)> {
        let augment = self.augment.as_ref();
        let mut options = vec![
            ("--arch", self.arch.clone()),
            ("--batch", self.batch.to_string()),
            ("--lr", self.rate().to_string()),
            ("--optimizer", self.optimizer.to_string()),
            ("--schedule", self.schedule.to_string()),
            (
                "--augment",
                augment.map_or("nothing".to_owned(), ToString::to_string),
            ),
            ("--normalise", self.normalise.to_string()),
            ("--seed", self.seed.to_string()),
            ("--smoothing", self.smoothing.to_string()),
            (
                "--clip",
                self.clip
                    .map_or("nothing".to_owned(), |norm| norm.to_string()),
            ),
            ("--accumulate", self.accumulate.to_string()),
            ("--freeze", self.freeze.join(" ")),
        ];
        if !self.schedule.is_endless() {
            options.push(("--epochs", self.epochs.to_string()));
        }
        let named = options.into_iter();
        named
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn title(&self) -> String {
        let name = Path::new(&self.arch).file_name().unwrap_or_default();
        format!("{}, {}", printable(&name.to_string_lossy()), self.optimizer)
    }

    fn say_end(&self, record: &EpochRecord, folder: &RunFolder, description: &Description) {
        if let Some(accuracy) = record.test_accuracy {
            complain(&format!("test accuracy {:.2} %", 100.0 * accuracy));
        }
        let model = folder.model();
        complain(&format!(
            "the network is {}; of a picture it says:",
            model.display()
        ));
        complain(&format!("  {}", folder.classify(&model, description)));
    }
}

/// A flag that Ctrl-C sets; pressed once more, it ends the program at once.
fn interrupted() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("listening for Ctrl-C")?;
    Ok(flag)
}

/// The command of this process, with `--resume`.
fn again() -> String {
    let mut words: Vec<String> = std::env::args()
        .map(
            |word| match word.contains(|symbol: char| symbol.is_whitespace()) {
                true => format!("'{}'", printable(&word)),
                false => printable(&word),
            },
        )
        .collect();
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".to_owned());
    }
    words.join(" ")
}

/// Shows and records a training.
struct Watcher<'f> {
    progress: Progress,
    batch: u64,
    before: Running,
    stop: Arc<AtomicBool>,
    log: TrainingLog,
    records: Vec<EpochRecord>,
    title: String,
    folder: &'f RunFolder,
    confusion: Option<ndarray::Array2<u64>>,
}

impl Watch for Watcher<'_> {
    fn begins(&mut self, epoch: u64, steps: u64, done: u64) {
        self.before = Running::default();
        let images = steps.saturating_mul(self.batch);
        self.progress
            .begin(epoch, images, done.saturating_mul(self.batch));
    }

    fn step(&mut self, running: &Running) -> Go {
        self.progress
            .step(self.batch, running.mean_loss(), running.accuracy());
        match self.stop.load(Ordering::Relaxed) {
            true => Go::Stop,
            false => Go::On,
        }
    }

    fn tests(&mut self) {
        self.progress.note("testing");
    }

    fn ends(&mut self, record: &EpochRecord, test: Option<&Metrics>) -> crate::Result<()> {
        self.log.append(record)?;
        self.records.push(record.clone());
        self.confusion = test.map(Metrics::confusion);
        self.progress.end(record);
        // Curves that cannot be drawn are no reason to lose an epoch.
        if let Err(error) = look::curves(self.folder, &self.records, &self.title) {
            complain(&format!("warning: {}", crate::cli::told(&error)));
        }
        Ok(())
    }

    fn note(&mut self, what: &str) {
        self.progress.say(&format!("warning: {what}"));
    }
}
