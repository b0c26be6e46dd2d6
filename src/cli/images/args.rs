//! The arguments that say which network, which pictures, and how they are prepared.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::Layout;
use crate::cli::list;
use crate::cli::model::ModelArgs;
use crate::cli::shape::Size;
use crate::data::prepare::{Colour, Filter, Fit, Prepare, Preset};
use crate::infer::{ImageInput, InferOptions, Pipeline};
use crate::network::Graph;

/// What classify and features share.
#[derive(Clone, Debug, Args)]
pub(super) struct ImageArgs {
    /// Pictures, folders of pictures (with all folders in them), or - for a list on standard input, a name a line
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,

    /// The network, an ONNX file
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,

    #[arg(short, long, value_name = "NAME", default_value_t = Preset::ImagenetTorchvision, help = preset_help())]
    preset: Preset,

    /// Height and width of what the network takes, 224 or 240x320; by default what the model says, else the preset
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// stretch, or crop[:PART]: the middle, of the largest box of the right proportions this part of each side (1
    /// without a number; torchvision's Resize(256) and CenterCrop(224) are 0.875)
    #[arg(long, value_name = "HOW")]
    fit: Option<FitArg>,

    /// How pixels between pixels are computed
    #[arg(long, value_enum, value_name = "NAME")]
    filter: Option<FilterName>,

    /// The channels
    #[arg(long, visible_alias = "color", value_enum, value_name = "NAME")]
    colour: Option<ColourName>,

    /// What the stored 0 to 255 is multiplied by: 1/255 and the like
    #[arg(long, value_name = "X", value_parser = number)]
    scale: Option<f32>,

    /// Subtracted after that: one number, or one for each channel
    #[arg(long, value_name = "X,X,X", allow_hyphen_values = true)]
    mean: Option<Three>,

    /// Divided by after that: one number, or one for each channel
    #[arg(long, value_name = "X,X,X")]
    std: Option<Three>,

    /// The order of the axes that the model takes
    #[arg(long, value_enum, default_value_t = LayoutName::Nchw)]
    layout: LayoutName,

    /// Pictures that go through the network together; a model that cannot take so many takes as many as it can
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Threads that read and decode, beside those that compute; by default as many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    decoders: Option<u16>,

    /// The most memory that decoding may take, in MiB; a picture that needs more is refused
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    picture_memory: u32,

    #[command(flatten)]
    pub model_args: ModelArgs,
}

fn preset_help() -> String {
    format!(
        "How pictures are prepared, where nothing else is said: {}",
        list(&Preset::ALL)
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LayoutName {
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColourName {
    Rgb,
    Bgr,
    #[value(alias = "gray")]
    Grey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FilterName {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

/// `stretch`, `crop` or `crop:PART`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FitArg(Fit);

impl FromStr for FitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected stretch, crop or crop:PART with a part up to 1".to_owned();
        Ok(Self(match text {
            "stretch" => Fit::Stretch,
            "crop" => Fit::Crop(1.0),
            other => {
                let part = other.strip_prefix("crop:").ok_or_else(wrong)?;
                let part: f64 = part.parse().map_err(|_| wrong())?;
                match part > 0.0 && part <= 1.0 {
                    true => Fit::Crop(part),
                    false => return Err(wrong()),
                }
            }
        }))
    }
}

/// `0.5` or `1/255`.
fn number(text: &str) -> Result<f32, String> {
    let part = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((over, under)) => part(over)
            .zip(part(under))
            .map(|(over, under)| over / under),
        None => part(text),
    };
    value
        .map(|value| value as f32)
        .filter(|value| value.is_finite())
        .ok_or_else(|| format!("{text:?} is not a finite number"))
}

/// One number three times, or three.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Three([f32; 3]);

impl FromStr for Three {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
        match numbers[..] {
            [one] => Ok(Self([one; 3])),
            [one, two, three] => Ok(Self([one, two, three])),
            _ => Err("expected one number or three".to_owned()),
        }
    }
}

impl ImageArgs {
    /// The graph with `output` as its only output, or its first one.
    pub(super) fn graph(&self, output: Option<&str>) -> Result<Graph> {
        let mut graph = self.model_args.import(&self.model)?;
        let name = match (output, graph.outputs().first()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(&first)) => graph.name(first).to_owned(),
            (None, None) => bail!("{}: the model has no output", self.model.display()),
        };
        graph.set_outputs(&[name])?;
        Ok(graph)
    }

    fn prepare(&self, graph: &Graph) -> Result<Prepare> {
        let layout = match self.layout {
            LayoutName::Nchw => Layout::ChannelsFirst,
            LayoutName::Nhwc => Layout::ChannelsLast,
        };
        let input = ImageInput::of(graph, layout)?;
        let size = self
            .size
            .map(|Size(height, width)| (height, width))
            .or(input.size);
        let mut prepare = self
            .preset
            .prepare(size, input.channels, layout)
            .context("give --size")?;
        if let Some(FitArg(fit)) = self.fit {
            prepare.fit = fit;
        }
        if let Some(filter) = self.filter {
            prepare.filter = match filter {
                FilterName::Nearest => Filter::Nearest,
                FilterName::Bilinear => Filter::Bilinear,
                FilterName::Bicubic => Filter::Bicubic,
                FilterName::Lanczos => Filter::Lanczos,
            };
        }
        if let Some(colour) = self.colour {
            prepare.colour = match colour {
                ColourName::Rgb => Colour::Rgb,
                ColourName::Bgr => Colour::Bgr,
                ColourName::Grey => Colour::Grey,
            };
        }
        prepare.scale = self.scale.unwrap_or(prepare.scale);
        prepare.mean = self.mean.map_or(prepare.mean, |Three(mean)| mean);
        prepare.std = self.std.map_or(prepare.std, |Three(std)| std);
        if let Some(channels) = input.channels {
            ensure!(
                channels == prepare.colour.channels(),
                "the model takes {channels} channels, pictures are prepared with {}; give --colour or another --preset",
                prepare.colour.channels()
            );
        }
        Ok(prepare)
    }

    /// The network for `pictures` pictures, on the rayon pool in force.
    pub(super) fn pipeline(&self, graph: Graph, pictures: usize) -> Result<Pipeline> {
        let prepare = self.prepare(&graph)?;
        let threads = self.model_args.threads();
        let options = InferOptions::new()
            // The same for a run that is resumed, so that it computes the same.
            .batch(usize::from(self.batch).min(pictures).max(1))
            .decoders(self.decoders.map_or(threads, usize::from))
            .picture_limit(u64::from(self.picture_memory) << 20)
            .network(self.model_args.network_options());
        Pipeline::new(graph, prepare, options).with_context(|| self.model.display().to_string())
    }

    /// Refuses to write what is read.
    pub(super) fn spare_inputs(&self, output: &Path, labels: Option<&Path>) -> Result<()> {
        let Ok(output) = output.canonicalize() else {
            return Ok(());
        };
        let read = self.paths.iter().chain([&self.model]).map(PathBuf::as_path);
        for path in read.chain(labels) {
            ensure!(
                path.canonicalize().ok().as_ref() != Some(&output),
                "{} is read, and would be written over",
                path.display()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused_in_words() {
        assert_eq!("224".parse(), Ok(Size(224, 224)));
        assert_eq!("240x320".parse(), Ok(Size(240, 320)));
        assert_eq!("stretch".parse(), Ok(FitArg(Fit::Stretch)));
        assert_eq!("crop".parse(), Ok(FitArg(Fit::Crop(1.0))));
        assert_eq!("crop:0.875".parse(), Ok(FitArg(Fit::Crop(0.875))));
        assert_eq!("0.5".parse(), Ok(Three([0.5; 3])));
        assert_eq!("1,-2, 3".parse(), Ok(Three([1.0, -2.0, 3.0])));
        assert_eq!(number("1/255"), Ok(1.0 / 255.0));
        for text in ["", "0", "0x9", "9x", "-1", "a"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "crop:", "crop:0", "crop:1.1", "crop:nan", "pad"] {
            assert!(text.parse::<FitArg>().is_err(), "{text}");
        }
        for text in ["", "1,2", "1,2,3,4", "nan", "inf", "1/0"] {
            assert!(text.parse::<Three>().is_err(), "{text}");
        }
    }
}
