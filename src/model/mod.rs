//! The model stages: typed inputs and outputs, no text and no HTTP.
pub mod bundle;
pub mod flow;
pub mod llm;
pub mod mel;
pub mod overlapped_flow;
pub mod pages;
pub mod prompt_encoder;
pub mod sampler;
mod softmax;
pub mod vocoder;

pub use bundle::Bundle;
pub use mel::Mel;
