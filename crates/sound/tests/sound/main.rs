//! Recordings against other libraries, within their limits, and damaged in every way.
#![cfg(test)]

mod broken;
mod cuts;
mod decoded;
mod limits;
mod ogg;
mod oracle;
mod resampled;
mod settings;
mod spectrograms;

/// Counts what is allocated, for the test that no length is believed.
#[global_allocator]
static ALLOCATED: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
