//! The built binary with the bundled model, over HTTP: real speech, real voices on a real disk, real signals.
//!
//! `COSYSERVE_TEST_MODEL` names another bundle than `onnx/bundled`, `COSYSERVE_TEST_BINARY` another binary than the
//! one just built (a release build, an installed one).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where something is wrong"
)]

mod bench;
mod client;
mod grpc;
mod inference;
mod live;
#[path = "../support/live_client.rs"]
mod live_client;
mod load;
mod manage;
mod openai;
mod server;
mod speech;
#[path = "../support/torch_writer.rs"]
mod torch_writer;
mod vc;
mod voices;
