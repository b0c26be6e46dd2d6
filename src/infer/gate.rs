//! Memory that several threads share: whoever wants more than is free waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub(crate) struct Gate {
    free: Mutex<u64>,
    freed: Condvar,
}

impl Gate {
    pub fn new(bytes: u64) -> Self {
        Self {
            free: Mutex::new(bytes),
            freed: Condvar::new(),
        }
    }

    /// Takes `bytes`, at most what the gate began with, until the permit is dropped.
    pub fn enter(&self, bytes: u64) -> Permit<'_> {
        let free = lock(&self.free);
        let mut free = self
            .freed
            .wait_while(free, |free| *free < bytes)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Permit { gate: self, bytes }
    }
}

pub(crate) struct Permit<'g> {
    gate: &'g Gate,
    bytes: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *lock(&self.gate.free) += self.bytes;
        self.gate.freed.notify_all();
    }
}

/// What a mutex holds: a panic elsewhere leaves nothing half done in it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_gate_never_lets_in_more_than_it_has() {
        let gate = Gate::new(10);
        let inside = Mutex::new((0u64, 0u64));
        thread::scope(|scope| {
            for worker in 0..8u64 {
                let (gate, inside) = (&gate, &inside);
                scope.spawn(move || {
                    for round in 0..50 {
                        let bytes = (worker * 7 + round * 3) % 11;
                        let _permit = gate.enter(bytes);
                        {
                            let mut inside = lock(inside);
                            inside.0 += bytes;
                            inside.1 = inside.1.max(inside.0);
                        }
                        thread::yield_now();
                        lock(inside).0 -= bytes;
                    }
                });
            }
        });
        let (left, most) = *lock(&inside);
        assert_eq!(left, 0);
        assert!((1..=10).contains(&most), "{most}");
        assert_eq!(*lock(&gate.free), 10);
    }
}
