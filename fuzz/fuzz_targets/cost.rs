#![no_main]

#[path = "../../tests/checks/cost.rs"]
mod cost;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cost::read(bytes, || ALLOCATOR.stats().bytes_allocated);
});
