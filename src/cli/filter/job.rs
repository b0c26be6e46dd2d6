//! One picture after another: read, convolve, show, write; several at a time, within a memory limit.
//!
//! ```text
//! worker:  next picture ─► header ─► wait for memory ─► decode ─► for some kernels at once:
//!                                                                 maps ─► tone ─► encode ─► next
//! ```
//!
//! Workers are threads of their own, outside the pool that convolves: a worker may sleep until another
//! one gives memory back, which inside the pool could block the very work it waits for.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use ndarray::{Array2, ArrayView3, Axis, s};

use super::convolve::{Comparison, Convolver, stack};
use super::files::Job;
use super::kernels::Kernel;
use super::picture::{self, Opened, Picture};
use super::render::{self, Show, Tone};
use super::sheet::{self, Panel};
use crate::cli::bytes;
use crate::infer::{Gate, lock};

/// What is done to every picture.
pub struct Work {
    /// The way through the library.
    pub convolver: Convolver,
    /// The bank, in the order given.
    pub kernels: Vec<Kernel>,
    /// How numbers become brightness.
    pub show: Show,
    /// The side of a panel, where a contact sheet is wanted.
    pub sheet: Option<u32>,
    /// Whether the plain loops run too.
    pub compare: bool,
    /// Bytes that all pictures in work may take together.
    pub memory: u64,
    /// Pictures in work at once.
    pub workers: usize,
}

/// What became of the pictures.
#[derive(Debug, Default)]
pub struct Tally {
    /// Pictures read and written.
    pub done: usize,
    /// Pictures that could not be.
    pub failed: usize,
    /// Files written.
    pub written: usize,
    /// Times of the plain loops, where asked for.
    pub comparison: Option<Comparison>,
}

impl Work {
    /// Does all jobs. `report` hears of every picture as it is done, and why where it is not.
    pub fn run(&self, jobs: &[Job], report: impl Fn(&Job, Option<&anyhow::Error>) + Sync) -> Tally {
        let gate = Gate::new(self.memory);
        let next = AtomicUsize::new(0);
        let written = AtomicUsize::new(0);
        let tally = Mutex::new(Tally::default());
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                // A decoder that panics on a broken file costs that file, not the others.
                let outcome = catch_unwind(AssertUnwindSafe(|| self.picture(job, &gate, &written)))
                    .unwrap_or_else(|panic| {
                        Err(anyhow!(
                            "stopped by a fault in this program: {}",
                            message(&panic)
                        ))
                    });
                let mut tally = lock(&tally);
                match &outcome {
                    Ok(comparison) => {
                        tally.done += 1;
                        tally.comparison = match (tally.comparison.take(), comparison.clone()) {
                            (Some(before), Some(now)) => Some(before.and(now)),
                            (before, now) => before.or(now),
                        };
                    }
                    Err(_) => tally.failed += 1,
                }
                report(job, outcome.as_ref().err());
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.workers.min(jobs.len()) {
                // Where the system gives no more threads, this one does the work alone.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        Tally {
            written: written.into_inner(),
            ..tally.into_inner().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Does one picture. `written` counts files, those of a picture too that fails later.
    fn picture(&self, job: &Job, gate: &Gate, written: &AtomicUsize) -> Result<Option<Comparison>> {
        let write = |image, path: &Path| {
            write(image, path).inspect(|()| {
                written.fetch_add(1, Ordering::Relaxed);
            })
        };
        let opened = picture::open(&job.input, self.memory)?;
        let batches = self.batches(&opened)?;
        let need = batches.bytes;
        ensure!(
            need <= self.memory,
            "is {} x {} pixels, which takes {} to filter; the limit is {}, raise it with --memory",
            opened.size().1,
            opened.size().0,
            bytes(need),
            bytes(self.memory)
        );
        let _memory = gate.enter(need);
        let picture = opened.decode(self.memory)?;
        let mut comparison: Option<Comparison> = None;
        let mut panels: Vec<Option<Panel>> = self.kernels.iter().map(|_| None).collect();
        let mut alpha: Option<Array2<f32>> = None;
        let mut alpha_for = None;
        for batch in &batches.kernels {
            let size = self.kernels[batch[0]].weights.dim();
            let weights = stack(
                batch
                    .iter()
                    .map(|&index| self.kernels[index].weights.view()),
            )?;
            let maps = self.convolver.maps(&picture.planes, &weights)?;
            if self.compare {
                let now = self.convolver.compare(&picture.planes, &weights)?;
                comparison = Some(match comparison {
                    Some(before) => before.and(now),
                    None => now,
                });
            }
            if let (Some(whole), true) = (&picture.alpha, alpha_for != Some(size)) {
                alpha = Some(self.convolver.alpha(whole, size)?);
                alpha_for = Some(size);
            }
            for (place, &index) in batch.iter().enumerate() {
                let map = maps.slice(s![.., place, .., ..]);
                let kernel = &self.kernels[index];
                let tone = Tone::choose(self.show, kernel.weights.view(), map);
                let image = render::image(map, alpha.as_ref(), tone, picture.deep)?;
                match self.sheet {
                    Some(side) => {
                        panels[index] =
                            Some(Panel::new(image, side, &kernel.caption, tone.caption()))
                    }
                    None => write(image, &job.outputs[index])?,
                }
            }
        }
        if let Some(side) = self.sheet {
            let mut all = vec![self.input_panel(&picture, &job.input, side)?];
            all.extend(panels.into_iter().flatten());
            write(sheet::compose(&all)?, &job.outputs[0])?;
        }
        Ok(comparison)
    }

    fn input_panel(&self, picture: &Picture, path: &Path, side: u32) -> Result<Panel> {
        let planes: ArrayView3<f32> = picture.planes.index_axis(Axis(1), 0);
        let image = render::image(
            planes,
            picture.alpha.as_ref(),
            Tone::Plain { gain: 1.0 },
            false,
        )?;
        let size = format!("{} x {}", image.width(), image.height());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Panel::new(image, side, &name, size))
    }

    /// The kernels in batches of one size each, and the memory that the largest step takes.
    ///
    /// As many kernels as fit into a worker's share of the memory go into one convolution, at least one.
    fn batches(&self, opened: &Opened) -> Result<Batches> {
        let picture = opened.size();
        let channels = opened.channels() as u64;
        let decoding = opened.decoding_bytes();
        let base = opened.picture_bytes();
        let share = self.memory / self.workers.max(1) as u64;
        let mut batches = Batches {
            kernels: Vec::new(),
            bytes: decoding,
        };
        let mut sizes: Vec<(usize, usize)> = Vec::new();
        for kernel in &self.kernels {
            if !sizes.contains(&kernel.weights.dim()) {
                sizes.push(kernel.weights.dim());
            }
        }
        for size in sizes {
            let (height, width) = self.convolver.output_size(picture, size)?;
            let pixels = (height as u64).saturating_mul(width as u64);
            // f32 maps; a comparison holds two more of each.
            let map = pixels.saturating_mul(4 * channels * if self.compare { 3 } else { 1 });
            // One finished image, a copy in another sample type (up to 8 bytes a pixel), the encoded file;
            // and the opacity before and after it was moved.
            let alpha = if opened.has_alpha() { 8 } else { 0 };
            let finish = pixels.saturating_mul(2 * opened.finished_pixel() + 8 + alpha);
            let room = share.saturating_sub(base.saturating_add(finish));
            let members: Vec<usize> = (0..self.kernels.len())
                .filter(|&index| self.kernels[index].weights.dim() == size)
                .collect();
            let at_once = (room / map.max(1)).clamp(1, members.len() as u64);
            let bytes = base
                .saturating_add(finish)
                .saturating_add(map.saturating_mul(at_once));
            batches.bytes = batches.bytes.max(bytes);
            batches
                .kernels
                .extend(members.chunks(at_once as usize).map(<[usize]>::to_vec));
        }
        Ok(batches)
    }
}

/// The kernels of each convolution, and the most memory that any of them takes.
struct Batches {
    kernels: Vec<Vec<usize>>,
    bytes: u64,
}

fn write(image: image::DynamicImage, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    picture::write(image, path)
}

fn message(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
