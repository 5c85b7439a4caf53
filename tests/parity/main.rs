//! Every part against the reference implementation's own numbers and against itself, on the exported tiny checkpoints;
//! `make test` exports them first. One program, because each one more would be compiled and linked with all of the
//! library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is broken"
)]

mod flow;
mod flow_1;
#[cfg(target_os = "linux")]
mod flow_memory;
mod interleave;
mod model;
mod sampler;
#[path = "../support/mod.rs"]
mod support;
mod text;
mod vocoder_3;
