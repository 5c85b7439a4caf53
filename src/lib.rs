//! cosyserve: CosyVoice speech models as ONNX Runtime stages behind one server.
//!
//! The modules are floors; each imports only from those listed above it here (see ARCHITECTURE.md).
pub mod error;
pub mod limits;
pub mod telemetry;

pub mod dsp;
pub mod text;

pub mod audio;
pub mod runtime;

pub mod model;

pub mod voice;

pub mod engine;

pub mod api;
pub mod server;

pub mod cli;

pub use error::{Error, Result};
