//! The allocator that counts: requests, those of an engine's packing by themselves, and bytes held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Alignment from which a request is an engine's: vectors of numbers ask for 8 bytes at most.
const PACKED: usize = 16;

/// Requests below that alignment.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static PACKED_TAKEN: AtomicUsize = AtomicUsize::new(0);
static PACKED_FREED: AtomicUsize = AtomicUsize::new(0);
static PACKED_LARGEST: AtomicUsize = AtomicUsize::new(0);
/// Bytes taken and not given back, and the most of them so far.
static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// What grows or comes zeroed goes through these two.
//
// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Layout) -> *mut u8 {
        if memory.align() < PACKED {
            TAKEN.fetch_add(1, SeqCst);
        } else {
            PACKED_TAKEN.fetch_add(1, SeqCst);
            PACKED_LARGEST.fetch_max(memory.size(), SeqCst);
        }
        let held = HELD.fetch_add(memory.size(), SeqCst) + memory.size();
        MOST.fetch_max(held, SeqCst);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, memory: Layout) {
        if memory.align() >= PACKED {
            PACKED_FREED.fetch_add(1, SeqCst);
        }
        HELD.fetch_sub(memory.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one piece of work asked for.
pub struct Counts {
    /// Requests but those for packing.
    pub taken: usize,
    /// Requests for packing, how many of them were given back, and the largest in bytes.
    pub packed: usize,
    pub packed_freed: usize,
    pub packed_largest: usize,
    /// Bytes that are still held.
    pub held: usize,
    /// The most that were held at any time.
    #[cfg(feature = "train")]
    pub most: usize,
}

/// What `work` gives, and what was asked for meanwhile by all threads.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let counters = [&TAKEN, &PACKED_TAKEN, &PACKED_FREED, &HELD];
    PACKED_LARGEST.store(0, SeqCst);
    MOST.store(HELD.load(SeqCst), SeqCst);
    let before = counters.map(|counter| counter.load(SeqCst));
    let result = work();
    let after = counters.map(|counter| counter.load(SeqCst));
    let counts = Counts {
        taken: after[0] - before[0],
        packed: after[1] - before[1],
        packed_freed: after[2] - before[2],
        packed_largest: PACKED_LARGEST.load(SeqCst),
        held: after[3].saturating_sub(before[3]),
        #[cfg(feature = "train")]
        most: MOST.load(SeqCst) - before[3],
    };
    (result, counts)
}
