//! The model stages: typed inputs and outputs, no text and no HTTP.
pub mod bundle;
