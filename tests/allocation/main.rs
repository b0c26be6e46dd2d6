//! What calls take from the allocator: a global one counts, on every thread of the process.

#[cfg(feature = "train")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod convolution;
mod counting;
#[cfg(feature = "train")]
mod idx_bad;
mod memory_budget;
#[cfg(feature = "network")]
mod sessions;
#[cfg(feature = "network")]
mod steps;

/// One test, since the counters are one for the whole process, the test harness included.
#[test]
fn calls_take_no_more_than_they_say() {
    convolution::passes_with_scratch_allocate_nothing();
    memory_budget::forms_and_tables_are_counted();
    #[cfg(feature = "network")]
    steps::steps_allocate_nothing_and_do_not_depend_on_threads();
    #[cfg(feature = "network")]
    sessions::runs_after_the_first_allocate_nothing();
    #[cfg(feature = "train")]
    idx_bad::each_file_ends_as_the_list_says();
}
