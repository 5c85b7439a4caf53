//! Admission, the pipeline of a request, and the lanes whose workers run the stages for all requests. Knows no HTTP and
//! no serde.
mod abilities;
mod admission;
mod answer;
mod facade;
pub mod flow;
pub mod flow_worker;
mod lane;
mod live;
pub mod lm_worker;
pub mod overlapped_flow;
mod pipeline;
mod plan;
mod request;
mod sampling;
mod silence;
mod sizing;
mod speech;
mod stages;
mod text_feed;
mod token_stream;
pub mod turn;
pub mod urgency;
mod vocoder_worker;
mod voices;
mod warm_up;

pub use crate::voice::SpeakerFile;
pub use facade::{Engine, EngineOptions, ModelInfo, Status};
pub use live::LiveText;
pub use request::{
    Imported, Mode, PromptAudio, SourceAudio, SpeechRequest, SpeechStream, Target, Usage, VoiceInfo,
    VoicePromptInfo,
};
