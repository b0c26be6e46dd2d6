//! Images with labels: what training reads.
//!
//! ```text
//! dataset:   N examples  (image [C, H, W], values 0 to 1;  label 0 ≤ l < classes)
//! ```
//!
//! A [`Dataset`] is asked for one image at a time, by any thread and in any order; it gives the same numbers each
//! time. [`InMemory`] holds arrays; [`Folder`](super::folder::Folder) reads pictures; [`open`](super::open::open)
//! finds out what a directory holds.

use std::path::Path;

use ndarray::{Array4, ArrayD, Axis, IxDyn};

use super::{named, picture, unreadable};
use crate::element::collected;
use crate::error::{Error, Result, check_len, product};
use crate::geometry::Layout;
use crate::network::Tensor;

/// Which examples of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those to learn from.
    Train,
    /// Those to test with.
    Test,
}

impl Split {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Images of one shape with labels.
pub trait Dataset: Send + Sync {
    /// The shape of an image: channels, height, width.
    fn shape(&self) -> [usize; 3];

    /// The names of the classes.
    fn classes(&self) -> &[String];

    /// The class of each example, below the number of classes.
    fn labels(&self) -> &[usize];

    /// Writes image `index`, `[C, H, W]` in standard order; 0 is black, 1 is white unless the data set says otherwise.
    ///
    /// # Errors
    /// An index that there is not; a place of another length; a file that cannot be read.
    fn image(&self, index: usize, out: &mut [f32]) -> Result<()>;

    /// How many examples.
    fn len(&self) -> usize {
        self.labels().len()
    }

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }
}

/// An error unless `data` has an image `index`, of `len` numbers.
pub(super) fn check_place(data: &dyn Dataset, index: usize, len: usize) -> Result<()> {
    let count = data.len();
    if index >= count {
        return Err(unreadable(format!(
            "there is no example {index}: the data set has {count}"
        )));
    }
    check_len("an image", product("an image", &data.shape())?, len)
}

/// How many classes there are by the labels of all training examples: none may be without an example, so that one
/// wrong label does not make a thousand classes.
pub(super) fn counted(labels: &[usize]) -> Result<usize> {
    let mut present: Vec<usize> = labels.to_vec();
    present.sort_unstable();
    present.dedup();
    let missing = present
        .iter()
        .zip(0..)
        .find(|&(&class, place)| class != place);
    match missing {
        None => Ok(present.len()),
        Some((_, class)) => Err(Error::EmptyClass {
            class: class.to_string(),
            examples: labels.len(),
        }),
    }
}

/// The names 0, 1, 2, ….
pub(super) fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

/// The names in a file, one a line; `expected` of them, if that is known.
pub(super) fn names_in(path: &Path, expected: Option<usize>) -> Result<Vec<String>> {
    const LONGEST: u64 = 1 << 20;
    let text = picture::read_file(path, LONGEST).map_err(|error| named(error, path))?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> = text
        .trim_end()
        .lines()
        .map(|line| line.trim().into())
        .collect();
    match expected {
        Some(expected) if expected != names.len() => Err(Error::BufferLength {
            what: "the list of the classes",
            expected,
            got: names.len(),
        }
        .at(path.display().to_string())),
        _ => Ok(names),
    }
}

/// Images and labels in memory.
#[derive(Clone, Debug)]
pub struct InMemory {
    pixels: Pixels,
    shape: [usize; 3],
    labels: Vec<usize>,
    classes: Vec<String>,
}

#[derive(Clone, Debug)]
enum Pixels {
    /// 0 to 255 for 0 to 1.
    Bytes(Vec<u8>),
    /// As they are.
    Singles(Vec<f32>),
}

impl InMemory {
    /// Images `[N, C, H, W]` of bytes, 255 for 1, with their labels and the names of the classes.
    ///
    /// # Errors
    /// As many labels as images there must be; each below the number of names; no side of an image may be 0.
    pub fn new(images: Array4<u8>, labels: Vec<usize>, classes: Vec<String>) -> Result<Self> {
        let shape = checked(images.shape(), &labels, &classes)?;
        Ok(Self {
            pixels: Pixels::Bytes(in_order(images)?),
            shape,
            labels,
            classes,
        })
    }

    /// Images `[N, C, H, W]` of numbers that are taken as they are, with their labels and the names of the classes.
    ///
    /// # Errors
    /// As [`new`](Self::new); a number that is not finite.
    pub fn from_f32(images: Array4<f32>, labels: Vec<usize>, classes: Vec<String>) -> Result<Self> {
        let shape = checked(images.shape(), &labels, &classes)?;
        let values = in_order(images)?;
        let len = product("an image", &shape)?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(unreadable(format!(
                "image {} has the value {} at element {}",
                at / len,
                values[at],
                at % len
            )));
        }
        Ok(Self {
            pixels: Pixels::Singles(values),
            shape,
            labels,
            classes,
        })
    }

    /// The same of a tensor of u8 or f32: `[N, H, W]`, or four axes in the order of `layout`.
    ///
    /// # Errors
    /// A tensor of other elements or axes; as [`new`](Self::new) and [`from_f32`](Self::from_f32).
    pub fn from_tensor(
        images: Tensor,
        layout: Layout,
        labels: Vec<usize>,
        classes: Vec<String>,
    ) -> Result<Self> {
        match images {
            Tensor::U8(images) => Self::new(four_axes(images, layout)?, labels, classes),
            Tensor::F32(images) => Self::from_f32(four_axes(images, layout)?, labels, classes),
            other => Err(Error::Operand {
                operand: "an array of images",
                expected: "u8 or f32".to_owned(),
                got: other.dtype().name().to_owned(),
            }),
        }
    }
}

/// `[N, H, W]` or four axes as `[N, C, H, W]`.
fn four_axes<T>(images: ArrayD<T>, layout: Layout) -> Result<Array4<T>> {
    let wrong = Error::Rank {
        what: "an array of images",
        expected: 4,
        got: images.ndim(),
    };
    let images = match (images.ndim(), layout) {
        (3, _) => images.insert_axis(Axis(1)),
        (4, Layout::ChannelsFirst) => images,
        (4, Layout::ChannelsLast) => images.permuted_axes(IxDyn(&[0, 3, 1, 2])),
        _ => return Err(wrong),
    };
    // Pictures with more than four channels whose other end has three were given the wrong way round.
    if let &[_, channels, _, width] = images.shape()
        && layout == Layout::ChannelsFirst
        && channels > 4
        && width == 3
    {
        return Err(Error::LayoutMismatch {
            what: "an array of images",
            shape: images.shape().to_vec(),
            given: layout.name(),
            other: Layout::ChannelsLast.name(),
            expected: 3,
            got: channels,
        });
    }
    images.into_dimensionality().map_err(|_| wrong)
}

/// The elements in standard order, copied only where they lie otherwise.
fn in_order<T: Copy>(images: Array4<T>) -> Result<Vec<T>> {
    let len = images.len();
    if !images.is_standard_layout() {
        return collected(len, images.iter().copied());
    }
    match images.into_raw_vec_and_offset() {
        (elements, None | Some(0)) if elements.len() == len => Ok(elements),
        // A part of a larger array.
        (elements, first) => {
            let part = elements.into_iter().skip(first.unwrap_or(0)).take(len);
            collected(len, part)
        }
    }
}

fn checked(images: &[usize], labels: &[usize], classes: &[String]) -> Result<[usize; 3]> {
    let &[count, channels, height, width] = images else {
        return Err(Error::Rank {
            what: "an array of images",
            expected: 4,
            got: images.len(),
        });
    };
    check_len("the list of labels", count, labels.len())?;
    if channels == 0 {
        return Err(Error::ZeroCount { what: "channels" });
    }
    for (axis, side) in [height, width].into_iter().enumerate() {
        if side == 0 {
            return Err(Error::Zero {
                what: "the size of images",
                axis,
            });
        }
    }
    let wrong = labels.iter().position(|&label| label >= classes.len());
    match wrong {
        None => Ok([channels, height, width]),
        Some(example) => Err(Error::Label {
            example,
            label: labels[example] as i128,
            classes: classes.len(),
        }),
    }
}

impl Dataset for InMemory {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn image(&self, index: usize, out: &mut [f32]) -> Result<()> {
        check_place(self, index, out.len())?;
        let len = out.len();
        match &self.pixels {
            Pixels::Singles(values) => out.copy_from_slice(&values[index * len..][..len]),
            Pixels::Bytes(bytes) => {
                for (value, &byte) in out.iter_mut().zip(&bytes[index * len..][..len]) {
                    *value = f32::from(byte) / 255.0;
                }
            }
        }
        Ok(())
    }
}

/// The labels in a tensor of any integers, `[N]` or `[N, 1]`.
///
/// # Errors
/// A tensor of other elements or axes; a label below 0, or one that is no class if `classes` are given.
pub fn labels(tensor: &Tensor, classes: Option<usize>) -> Result<Vec<usize>> {
    if !matches!(tensor.shape(), [_] | [_, 1]) {
        return Err(Error::Rank {
            what: "an array of labels",
            expected: 1,
            got: tensor.shape().len(),
        });
    }
    fn all<T: Copy + Into<i128>>(values: &ArrayD<T>, classes: Option<usize>) -> Result<Vec<usize>> {
        let class = |label: i128| usize::try_from(label).ok();
        let largest = values.iter().filter_map(|&label| class(label.into())).max();
        let classes = classes.unwrap_or(largest.map_or(0, |most| most.saturating_add(1)));
        let checked = values.iter().enumerate().map(|(example, &label)| {
            let label = label.into();
            let class = class(label).filter(|&class| class < classes);
            class.ok_or(Error::Label {
                example,
                label,
                classes,
            })
        });
        checked.collect()
    }
    match tensor {
        Tensor::U8(values) => all(values, classes),
        Tensor::U16(values) => all(values, classes),
        Tensor::U32(values) => all(values, classes),
        Tensor::U64(values) => all(values, classes),
        Tensor::I8(values) => all(values, classes),
        Tensor::I16(values) => all(values, classes),
        Tensor::I32(values) => all(values, classes),
        Tensor::I64(values) => all(values, classes),
        other => Err(Error::Operand {
            operand: "an array of labels",
            expected: "integers".to_owned(),
            got: other.dtype().name().to_owned(),
        }),
    }
}
