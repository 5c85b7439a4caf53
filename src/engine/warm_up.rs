//! One short synthesis before the server says it is ready: ONNX Runtime plans memory and packs weights at first use,
//! and the first client should not pay for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::pipeline::{Pipeline, Tally};
use super::stages::{Conditioning, Script, Stages};
use crate::model::flow::FlowVoice;
use crate::{Error, Result};

/// Text of the warm-up: long enough for one streamed chunk.
const TEXT: &str = "One, two, three, four.";
/// Time it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Speaks [`TEXT`] with the first voice into nowhere.
pub fn run(stages: &Stages) -> Result<()> {
    let started = Instant::now();
    stages.flow.warm_up()?;
    let voices = stages.voices.list();
    let voice = match voices.first() {
        Some((voice, _)) => stages.condition(&super::Mode::Sft {
            voice: voice.id.clone(),
        })?,
        None => {
            let embedding = vec![0.1; stages.manifest.flow.spk_dim];
            Conditioning {
                prompt_text: Vec::new(),
                llm_speech: Vec::new(),
                flow: Arc::new(FlowVoice::new(Vec::new(), Vec::new(), embedding)),
            }
        }
    };
    let script = Script::Text(vec![stages.text.tokens(TEXT)?]);
    let (sink, mut chunks) = mpsc::channel(64);
    let mut pipeline = Pipeline {
        stages,
        voice: &voice,
        speed: 1.0,
        seed: 1,
        stream: true,
        deadline: started + LIMIT,
        started,
        sink,
        tally: Tally::default(),
    };
    match pipeline.run(&script) {
        // A large model on a small machine may need longer; its first clients then do the rest.
        Err(Error::Deadline(_)) => {
            tracing::warn!(seconds = LIMIT.as_secs(), "the warm-up was not finished in time")
        }
        result => result?,
    }
    chunks.close();
    tracing::debug!(ms = started.elapsed().as_millis() as u64, "warmed up");
    Ok(())
}
