//! Images changed at random, so that a network sees others in each epoch.
//!
//! ```text
//! shift:N  moved by −N to N pixels down and across; what comes in is 0
//! crop:N   N zeros on each side, then a part of the old size anywhere in it: the same as shift:N
//! flip     left and right exchanged, every other time
//! ```
//!
//! Steps are written one after the other, as in `crop:4,flip`, and done in that order, before images are normalised.
//! The numbers of an example depend on (seed, epoch, index of the example) alone.

use std::fmt;
use std::str::FromStr;

use super::random::{End, generator};
use crate::element::filled;
use crate::error::{Error, Result, check_len, product};

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Moved by up to so many pixels.
    Shift(usize),
    /// A part of what it is with so many zeros on each side.
    Crop(usize),
    /// Left and right exchanged, or not.
    Flip,
}

/// Changes, one after the other. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    steps: Vec<Step>,
}

/// Which example of which epoch: what its random numbers depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The seed of the training.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// The place of the example in its data set.
    pub index: usize,
}

impl Augment {
    /// These steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether images of this shape can be changed so.
    ///
    /// # Errors
    /// A step that could move an image out of itself.
    pub fn check(&self, [_, height, width]: [usize; 3]) -> Result<()> {
        for step in &self.steps {
            let (what, pixels) = match *step {
                Step::Shift(pixels) => ("shift", pixels),
                Step::Crop(pixels) => ("crop", pixels),
                Step::Flip => continue,
            };
            if pixels == 0 || pixels >= height.min(width) {
                return Err(Error::Parameter {
                    what,
                    got: pixels as f64,
                    expected: "at least 1, less than the height and the width of the images",
                });
            }
        }
        Ok(())
    }

    /// Changes an image `[C, H, W]` in place.
    ///
    /// # Errors
    /// As [`check`](Self::check); a slice of another length.
    pub fn run(&self, image: &mut [f32], shape: [usize; 3], example: Example) -> Result<()> {
        self.check(shape)?;
        check_len("an image", product("an image", &shape)?, image.len())?;
        if self.is_empty() || image.is_empty() {
            return Ok(());
        }
        let [_, height, width] = shape;
        let Example { seed, epoch, index } = example;
        let mut random = generator(seed, End::Augment, &[epoch, index as u64]);
        let mut line = filled(width, 0.0)?;
        for step in &self.steps {
            match *step {
                Step::Shift(pixels) | Step::Crop(pixels) => {
                    let mut by = || random.u64(0..=2 * pixels as u64) as isize - pixels as isize;
                    let (down, across) = (by(), by());
                    for plane in image.chunks_exact_mut(height * width) {
                        move_lines(plane, width, down, across, &mut line);
                    }
                }
                Step::Flip => {
                    if random.bool() {
                        image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
                    }
                }
            }
        }
        Ok(())
    }
}

/// `out[y, x] = plane[y − down, x − across]`, 0 where that is outside.
fn move_lines(plane: &mut [f32], width: usize, down: isize, across: isize, line: &mut [f32]) {
    let height = plane.len() / width;
    for step in 0..height {
        // A line is read before it is written.
        let y = if down > 0 { height - 1 - step } else { step };
        let from = y.checked_add_signed(-down).filter(|&from| from < height);
        line.fill(0.0);
        if let Some(from) = from {
            let source = &plane[from * width..][..width];
            let by = across.unsigned_abs().min(width);
            match across >= 0 {
                true => line[by..].copy_from_slice(&source[..width - by]),
                false => line[..width - by].copy_from_slice(&source[by..]),
            }
        }
        plane[y * width..][..width].copy_from_slice(line);
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.steps.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match step {
                Step::Shift(pixels) => write!(formatter, "{comma}shift:{pixels}")?,
                Step::Crop(pixels) => write!(formatter, "{comma}crop:{pixels}")?,
                Step::Flip => write!(formatter, "{comma}flip")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Augment {
    type Err = String;

    /// `shift:2,flip`; nothing for no step.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let steps = text.split(',').map(|step| {
            let step = step.trim();
            let (name, number) = match step.split_once(':') {
                Some((name, number)) => (name, Some(number)),
                None => (step, None),
            };
            let pixels = || {
                let number = number.ok_or_else(|| {
                    format!("`{step}` lacks a number of pixels, as in `{name}:2`")
                })?;
                match number.parse::<u16>() {
                    Ok(pixels) if pixels > 0 => Ok(usize::from(pixels)),
                    _ => Err(format!(
                        "`{step}`: `{number}` is not a number of pixels from 1 to {}",
                        u16::MAX
                    )),
                }
            };
            match (name, number) {
                ("shift", _) => pixels().map(Step::Shift),
                ("crop", _) => pixels().map(Step::Crop),
                ("flip", None) => Ok(Step::Flip),
                ("flip", Some(_)) => Err(format!("`{step}`: flip takes no number")),
                _ => Err(format!(
                    "unknown augmentation `{step}`; there are shift:N, crop:N and flip"
                )),
            }
        });
        Ok(Self {
            steps: steps.collect::<std::result::Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHAPE: [usize; 3] = [2, 3, 4];

    fn image() -> Vec<f32> {
        (1..=24).map(|value| value as f32).collect()
    }

    fn run(text: &str, index: usize) -> Vec<f32> {
        let example = Example {
            seed: 3,
            epoch: 5,
            index,
        };
        let mut image = image();
        let augment: Augment = text.parse().unwrap();
        augment.run(&mut image, SHAPE, example).unwrap();
        image
    }

    /// What `shift` does, element by element.
    fn moved(down: isize, across: isize) -> Vec<f32> {
        let (image, [channels, height, width]) = (image(), SHAPE);
        let mut out = vec![0.0; image.len()];
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    let from = (y.checked_add_signed(-down)).zip(x.checked_add_signed(-across));
                    if let Some((v, u)) = from
                        && v < height
                        && u < width
                    {
                        out[(c * height + y) * width + x] = image[(c * height + v) * width + u];
                    }
                }
            }
        }
        out
    }

    #[test]
    fn shifts_are_all_there_is_and_all_there_can_be() {
        let mut expected = Vec::new();
        for down in -2..=2 {
            for across in -2..=2 {
                expected.push(moved(down, across));
            }
        }
        for text in ["shift:2", "crop:2"] {
            let mut counts = vec![0; expected.len()];
            for index in 0..2500 {
                let got = run(text, index);
                let place = expected.iter().position(|one| *one == got);
                counts[place.expect("a shift by at most 2")] += 1;
            }
            // 100 each are expected; ten is nine deviations off.
            assert!(counts.iter().all(|&count| count > 10), "{counts:?}");
        }
    }

    #[test]
    fn flips_are_half_of_them() {
        let flipped: Vec<f32> = image()
            .chunks(4)
            .flat_map(|line| line.iter().rev().copied().collect::<Vec<_>>())
            .collect();
        let mut count = 0;
        for index in 0..1000 {
            let got = run("flip", index);
            count += usize::from(got == flipped);
            assert!(got == flipped || got == image());
        }
        assert!((400..600).contains(&count), "{count}");
    }

    #[test]
    fn each_example_of_each_epoch_by_itself() {
        let augment: Augment = "crop:2,flip".parse().unwrap();
        let mut seen = BTreeSet::new();
        for seed in 0..4 {
            for epoch in 0..4 {
                let list: Vec<u32> = (0..4)
                    .flat_map(|index| {
                        let example = Example { seed, epoch, index };
                        let [mut once, mut again] = [image(), image()];
                        augment.run(&mut once, SHAPE, example).unwrap();
                        augment.run(&mut again, SHAPE, example).unwrap();
                        assert_eq!(once, again);
                        once.into_iter().map(f32::to_bits)
                    })
                    .collect();
                seen.insert(list);
            }
        }
        assert_eq!(seen.len(), 16);
    }

    #[test]
    fn text_and_back() {
        for text in ["", "flip", "shift:2,flip", "crop:4,flip,shift:1"] {
            assert_eq!(text.parse::<Augment>().unwrap().to_string(), text);
        }
        assert_eq!(
            " crop:4 , flip ".parse::<Augment>().unwrap().steps().len(),
            2
        );
        for (text, expected) in [
            ("shift", "shift:2"),
            ("shift:", "``"),
            ("shift:0", "`0`"),
            ("crop:-1", "`-1`"),
            ("crop:1.5", "`1.5`"),
            ("crop:65536", "65535"),
            ("flip:1", "no number"),
            ("flip,,crop:1", "unknown"),
            ("rotate:9", "shift:N, crop:N and flip"),
        ] {
            let error = text.parse::<Augment>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn images_too_small() {
        let augment: Augment = "flip,shift:3".parse().unwrap();
        let error = augment.check(SHAPE).unwrap_err().to_string();
        assert!(error.starts_with("shift is 3"), "{error}");
        assert!(augment.check([1, 4, 4]).is_ok());
        assert!(
            Augment::new(vec![Step::Shift(usize::MAX)])
                .check(SHAPE)
                .is_err()
        );
        let example = Example {
            seed: 0,
            epoch: 0,
            index: 0,
        };
        assert!(augment.run(&mut [0.0; 15], [1, 4, 4], example).is_err());
    }
}
