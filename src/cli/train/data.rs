//! The arguments that say which examples, and how they become images.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::Layout;
use crate::cli::shape::Size;
use crate::data::dataset::{Dataset, Split};
use crate::data::folder::FolderOptions;
use crate::data::open::{DataOptions, open_with};

/// Which examples.
#[derive(Clone, Debug, Args)]
pub(super) struct DataArgs {
    /// The examples, a folder
    #[arg(short, long, value_name = "DIR")]
    data: PathBuf,

    /// Height and width of the images of a folder of pictures, 32 or 24x32; pictures of one size need none
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// Channels of the images of a folder of pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    channels: Option<u8>,

    /// The share of each class that is for testing, where a folder of pictures has no test/
    #[arg(long, value_name = "PART", default_value_t = 0.2)]
    test_share: f64,

    /// The order of the axes of images in .npy
    #[arg(long, value_enum, default_value_t = Order::Nchw)]
    layout: Order,

    /// The most memory that the examples may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    data_memory: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Nchw,
    Nhwc,
}

impl DataArgs {
    /// The examples of a split.
    pub(super) fn open(&self, split: Split, seed: u64) -> Result<Box<dyn Dataset>> {
        let limit = u64::from(self.data_memory) << 20;
        let mut folder = FolderOptions::new().memory_limit(limit);
        if let Some(Size(height, width)) = self.size {
            folder = folder.size(height, width);
        }
        if let Some(channels) = self.channels {
            folder = folder.channels(channels.into());
        }
        let layout = match self.layout {
            Order::Nchw => Layout::ChannelsFirst,
            Order::Nhwc => Layout::ChannelsLast,
        };
        let options = DataOptions::new()
            .memory_limit(limit)
            .npy_layout(layout)
            .folder(folder)
            .test_share(self.test_share)
            .seed(seed);
        open_with(&self.data, split, &options)
            .with_context(|| format!("the {} data in {}", split.name(), self.data.display()))
    }
}
