//! The only user of `ort`: the ONNX Runtime library, its environment, sessions and bindings.
//!
//! Invariants: no other module names `ort`; every session runs under its own lock (one run at a time per graph),
//! all of them share one intra-op thread pool, and no thread spins while idle.
mod binding;
mod graph;
mod library;

pub use binding::{Cache, CachedRun};
pub use graph::{Graph, Input, Positional};
pub use library::{Options, Runtime};
