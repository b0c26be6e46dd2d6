//! A folder with a folder of pictures for each class.
//!
//! ```text
//! dir/cat/1.jpg, dir/cat/more/2.png, dir/dog/1.jpg      classes: cat, dog, the sorted names
//!
//! picture ──► u8 [C, H, W]: decoded, cropped, resized ──► (v · scale − mean) / std, as the preset says
//!             kept, if all of them fit in the limit
//! ```
//!
//! [`Listing`] says which files are pictures.

use std::path::{Path, PathBuf};

use fast_image_resize::Resizer;
use rayon::prelude::*;

use super::dataset::{Dataset, check_place};
use super::listing::Listing;
use super::picture::{self, DEFAULT_PICTURE_LIMIT};
use super::prepare::{Prepare, Preset};
use super::{guarded, named, unreadable};
use crate::element::filled;
use crate::error::{Error, Result, product};
use crate::geometry::Layout;

/// How pictures become images.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    preset: Preset,
    size: Option<(usize, usize)>,
    channels: Option<usize>,
    memory_limit: u64,
    picture_limit: u64,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl FolderOptions {
    /// Red, green and blue in 0..1, at the size that all pictures have; 1 GiB to keep them in.
    pub fn new() -> Self {
        Self {
            preset: Preset::Unit,
            size: None,
            channels: None,
            memory_limit: 1 << 30,
            picture_limit: DEFAULT_PICTURE_LIMIT,
        }
    }

    /// Sets how pictures are cropped and what their values become.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Sets height and width. Without it, it is the preset's, or the one that all pictures must have.
    pub fn size(mut self, height: usize, width: usize) -> Self {
        self.size = Some((height, width));
        self
    }

    /// Sets the number of channels, 1 or 3, where the preset leaves it open.
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Sets the most bytes of decoded pictures that are kept, one for each value; if all take more, they are read
    /// when they are asked for.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets the most bytes that decoding one picture may take.
    pub fn picture_limit(mut self, bytes: u64) -> Self {
        self.picture_limit = bytes;
        self
    }
}

/// Pictures in files, with the folder that each is in as its class.
#[derive(Debug)]
pub struct Folder {
    listing: Listing,
    /// To bytes, channels first.
    prepare: Prepare,
    len: usize,
    /// What a byte of each channel becomes.
    values: Vec<[f32; 256]>,
    kept: Option<Vec<u8>>,
    picture_limit: u64,
}

impl Folder {
    /// The pictures in `dir`, which has a folder for each class.
    ///
    /// # Errors
    /// As [`Listing::of`] and [`Folder::new`].
    pub fn open(dir: &Path, options: &FolderOptions) -> Result<Self> {
        Self::new(Listing::of(dir)?, options)
    }

    /// The pictures of a listing.
    ///
    /// # Errors
    /// Pictures of different sizes where none is asked for; sizes and channels that the preset does not make; a
    /// picture that cannot be read, if all fit in the limit. (If not, it is found when it is asked for.)
    pub fn new(listing: Listing, options: &FolderOptions) -> Result<Self> {
        let (values, prepare) = ways(&listing, options)?;
        let len = prepare.check()?;
        let mut folder = Self {
            listing,
            prepare,
            len,
            values,
            kept: None,
            picture_limit: options.picture_limit,
        };
        let bytes = product("the pictures", &[folder.listing.files.len(), len])?;
        if bytes as u64 <= options.memory_limit {
            let mut kept = filled(bytes, 0)?;
            let tasks = kept.par_chunks_mut(len).zip(&folder.listing.files);
            // All of them, so that the first error is the one that is told.
            let done: Vec<Result<()>> = tasks
                .map_init(Resizer::new, |resizer, (out, path)| {
                    folder.decode(path, resizer, out)
                })
                .collect();
            done.into_iter().collect::<Result<()>>()?;
            folder.kept = Some(kept);
        }
        Ok(folder)
    }

    /// The file of each example.
    pub fn files(&self) -> &[PathBuf] {
        &self.listing.files
    }

    /// Whether all pictures are kept decoded.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    fn decode(&self, path: &Path, resizer: &mut Resizer, out: &mut [u8]) -> Result<()> {
        let work = || {
            let bytes = picture::read_file(path, self.picture_limit)?;
            let image = picture::open(&bytes, self.picture_limit)?.decode()?;
            let mut values = filled(self.len, 0.0)?;
            self.prepare.run(image, resizer, &mut values)?;
            // Whole numbers from 0 to 255.
            for (out, value) in out.iter_mut().zip(values) {
                *out = value as u8;
            }
            Ok(())
        };
        guarded("the decoder", work).map_err(|error| named(error, path))
    }
}

/// What a byte of each channel becomes, and how pictures become bytes.
fn ways(listing: &Listing, options: &FolderOptions) -> Result<(Vec<[f32; 256]>, Prepare)> {
    if let Some(channels) = options.channels
        && !matches!(channels, 1 | 3)
    {
        return Err(Error::Parameter {
            what: "the number of channels",
            got: channels as f64,
            expected: "1 or 3",
        });
    }
    let size = match (options.size, options.preset) {
        (None, Preset::Unit | Preset::Raw) => Some(common_size(listing, options.picture_limit)?),
        (size, _) => size,
    };
    let layout = Layout::ChannelsFirst;
    let wanted = options.preset.prepare(size, options.channels, layout)?;
    let channels = wanted.colour.channels();
    if let Some(asked) = options.channels
        && asked != channels
    {
        return Err(Error::Parameter {
            what: "the number of channels",
            got: asked as f64,
            expected: "as many as the preset makes",
        });
    }
    let values = (0..channels).map(|channel| {
        let (mean, std) = (wanted.mean[channel], wanted.std[channel]);
        std::array::from_fn(|value| (value as f32 * wanted.scale - mean) / std)
    });
    Ok((
        values.collect(),
        Prepare {
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..wanted
        },
    ))
}

/// Height and width of all pictures.
fn common_size(listing: &Listing, limit: u64) -> Result<(usize, usize)> {
    let sizes: Vec<Result<(u32, u32)>> = listing
        .files
        .par_iter()
        .map(|path| {
            let work = || picture::file_size(path, limit);
            guarded("the decoder", work).map_err(|error| named(error, path))
        })
        .collect();
    let mut first = None;
    for (size, path) in sizes.into_iter().zip(&listing.files) {
        let size = size?;
        let (expected, like) = *first.get_or_insert((size, path));
        if size != expected {
            return Err(unreadable(format!(
                "{} x {} pixels, but {} has {} x {}; ask for a size to bring all to",
                size.1,
                size.0,
                like.display(),
                expected.1,
                expected.0
            ))
            .at(path.display().to_string()));
        }
    }
    let Some(((height, width), _)) = first else {
        return Err(Error::ZeroCount { what: "pictures" });
    };
    let side = |side: u32| usize::try_from(side).unwrap_or(usize::MAX);
    Ok((side(height), side(width)))
}

impl Dataset for Folder {
    fn shape(&self) -> [usize; 3] {
        self.prepare.shape()
    }

    fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    fn labels(&self) -> &[usize] {
        &self.listing.labels
    }

    fn image(&self, index: usize, out: &mut [f32]) -> Result<()> {
        check_place(self, index, out.len())?;
        let read;
        let bytes = match &self.kept {
            Some(kept) => &kept[index * self.len..][..self.len],
            None => {
                let mut bytes = filled(self.len, 0)?;
                self.decode(&self.listing.files[index], &mut Resizer::new(), &mut bytes)?;
                read = bytes;
                &read
            }
        };
        let plane = self.len / self.values.len();
        let planes = out.chunks_exact_mut(plane).zip(bytes.chunks_exact(plane));
        for ((out, bytes), values) in planes.zip(&self.values) {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = values[usize::from(byte)];
            }
        }
        Ok(())
    }
}
