//! The only user of `ort` and `cudarc`: the ONNX Runtime library, its environment, devices, sessions, buffers and bindings.
//!
//! Invariants: no other module names `ort`, and `unsafe` is here alone; every session runs under its own lock (one run
//! at a time per graph), all of them share one intra-op thread pool, and no thread spins while idle; a buffer's memory
//! is the host's to read or write, or a running graph's, never both.
mod binding;
mod device;
mod driver;
mod element;
mod graph;
mod heap;
mod library;
mod memory;
mod placement;
mod providers;
#[cfg(test)]
mod tests;

pub use binding::Binding;
pub use device::Device;
pub use element::{Element, HostElement};
pub use graph::{Graph, GraphOptions, Input, Positional};
pub use heap::{give_large_blocks_back, machine_bytes, resident_bytes};
pub use library::{Options, Runtime};
pub use memory::{Buffer, HostSlice, HostSliceMut};
pub use providers::Engines;
