//! Pictures read and prepared by threads of their own, handed on in the order in which they came.
//!
//! ```text
//! worker:    take the next one, at most `ahead` before the one that is waited for ─► read ─► wait for memory ─► decode ─► prepare
//! consumer:  next()   the first one that has not been handed on, as soon as it is ready
//! ```
//!
//! Workers are outside the pool that computes: one that waits for a disk holds nobody up.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fast_image_resize::Resizer;

use super::gate::{Gate, lock};
use crate::data::prepare::Prepare;
use crate::data::{guarded, picture};
use crate::element::filled;
use crate::error::Result;

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// Here: the bytes of a file.
    Bytes(Vec<u8>),
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A picture that is prepared, or what is wrong with it.
pub(super) struct Ready<T> {
    pub item: T,
    pub prepared: Result<Vec<f32>>,
}

/// What workers and consumer share. `I` gives pictures with whatever the caller wants to know them by.
pub(super) struct Queue<'p, T, I> {
    prepare: &'p Prepare,
    len: usize,
    ahead: usize,
    limit: u64,
    gate: Gate,
    state: Mutex<State<T, I>>,
    changed: Condvar,
}

struct State<T, I> {
    sources: I,
    /// From the one that is waited for; `None` while a worker has it.
    slots: VecDeque<Option<Ready<T>>>,
    /// How many have been handed on.
    handed: u64,
    /// Whether there are no more to take.
    ended: bool,
    /// Buffers to use again.
    free: Vec<Vec<f32>>,
    busy: Duration,
}

impl<'p, T, I> Queue<'p, T, I>
where
    T: Send,
    I: Iterator<Item = (T, Source)> + Send,
{
    /// For at most `ahead` pictures of `len` numbers each; decoding them takes at most `limit` bytes together.
    pub fn new(sources: I, prepare: &'p Prepare, len: usize, ahead: usize, limit: u64) -> Self {
        Self {
            prepare,
            len,
            ahead: ahead.max(1),
            limit,
            gate: Gate::new(limit),
            state: Mutex::new(State {
                sources,
                slots: VecDeque::new(),
                handed: 0,
                ended: false,
                free: Vec::new(),
                busy: Duration::ZERO,
            }),
            changed: Condvar::new(),
        }
    }

    /// Reads and prepares pictures until there are no more.
    pub fn work(&self) {
        let _end = EndOnPanic(|| self.stop());
        let mut resizer = Resizer::new();
        loop {
            let state = lock(&self.state);
            let mut state = self
                .changed
                .wait_while(state, |state| {
                    !state.ended && state.slots.len() >= self.ahead
                })
                .unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            let Some((item, source)) = state.sources.next() else {
                state.ended = true;
                self.changed.notify_all();
                return;
            };
            let number = state.handed + state.slots.len() as u64;
            state.slots.push_back(None);
            let buffer = state.free.pop();
            drop(state);
            let begin = Instant::now();
            let prepared = self.prepared(&source, buffer, &mut resizer);
            let mut state = lock(&self.state);
            state.busy += begin.elapsed();
            // It stays in the queue until it is ready, so it is not before the first.
            let place = usize::try_from(number - state.handed).unwrap_or(usize::MAX);
            if let Some(slot) = state.slots.get_mut(place) {
                *slot = Some(Ready { item, prepared });
            }
            self.changed.notify_all();
        }
    }

    fn prepared(
        &self,
        source: &Source,
        buffer: Option<Vec<f32>>,
        resizer: &mut Resizer,
    ) -> Result<Vec<f32>> {
        let work = || {
            let read;
            let bytes = match source {
                Source::File(path) => {
                    read = picture::read_file(path, self.limit)?;
                    &read
                }
                Source::Bytes(bytes) => bytes,
            };
            let opened = picture::open(bytes, self.limit)?;
            let _memory = self.gate.enter(opened.decoding_bytes());
            let image = opened.decode()?;
            let mut out = match buffer {
                Some(buffer) => buffer,
                None => filled(self.len, 0.0)?,
            };
            self.prepare.run(image, resizer, &mut out)?;
            Ok(out)
        };
        // A decoder that panics on a broken file costs that file, not the others.
        guarded("the decoder", work)
    }

    /// The next picture in the order in which they came, when it is ready; `None` after the last one.
    pub fn next(&self) -> Option<Ready<T>> {
        let state = lock(&self.state);
        let mut state = self
            .changed
            .wait_while(state, |state| match state.slots.front() {
                Some(slot) => slot.is_none(),
                None => !state.ended,
            })
            .unwrap_or_else(PoisonError::into_inner);
        let ready = state.slots.pop_front().flatten()?;
        state.handed += 1;
        self.changed.notify_all();
        Some(ready)
    }

    /// Gives a buffer back.
    pub fn give_back(&self, buffer: Vec<f32>) {
        lock(&self.state).free.push(buffer);
    }

    /// Lets the workers end, whatever is left.
    pub fn stop(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// How long the workers have worked, together.
    pub fn busy(&self) -> Duration {
        lock(&self.state).busy
    }
}

/// Whoever waits for a worker that panics outside a picture, in the caller's iterator, is told.
struct EndOnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for EndOnPanic<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}
