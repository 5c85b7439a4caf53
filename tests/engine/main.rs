//! The engine and what it keeps, without a server, on the bundled voice and on the exported tiny checkpoints; `make test`
//! exports these first. One program, because each one more would be compiled and linked with all of the library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is broken"
)]

mod convert;
mod crowd;
mod generation_1;
mod generation_3;
mod live;
mod spk2info;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/torch_writer.rs"]
mod torch_writer;
mod voice_store;
mod warm_up;
