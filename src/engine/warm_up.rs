//! Before the server says it is ready, every stage runs: ONNX Runtime plans memory and packs weights at first use, GPUs
//! capture graphs, and the first client should not pay for it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::lane::{Lane, Lanes};
use super::pipeline::{Pipeline, Tally};
use super::stages::{Conditioning, Script, Stages};
use super::urgency::Urgency;
use crate::{Error, Result};

/// Text of the warm-up: long enough for one streamed chunk.
const TEXT: &str = "One, two, three, four.";
/// Time speaking it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Warms up one lane after the other, and in each one stage after the other: a GPU must do nothing else while kernels
/// are captured.
pub fn run(stages: &Stages, lanes: &Lanes) -> Result<()> {
    for lane in lanes.iter() {
        timed(lane, "flow", || lane.flow.warm_up(lane.slots))?;
        timed(lane, "vocoder", || lane.vocoder.warm_up())?;
        timed(lane, "speech", || speak(stages, lane))?;
    }
    Ok(())
}

fn timed(lane: &Lane, stage: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    work()?;
    let (device, ms) = (lane.device, started.elapsed().as_millis() as u64);
    let free_mib = device.free_memory()?.map(|bytes| bytes >> 20);
    tracing::debug!(%device, stage, ms, free_mib, "warmed up");
    Ok(())
}

/// Speaks [`TEXT`] with the first voice into nowhere.
fn speak(stages: &Stages, lane: &Lane) -> Result<()> {
    let started = Instant::now();
    let voice = first_voice(stages)?;
    let script = Script::Text(vec![stages.text.tokens(TEXT)?]);
    let (sink, mut chunks) = mpsc::channel(64);
    let mut pipeline = Pipeline {
        stages,
        lane,
        crowded: false,
        voice: &voice,
        speed: 1.0,
        seed: 1,
        stream: true,
        deadline: started + LIMIT,
        limit: LIMIT,
        started,
        urgency: Urgency::new(started, true),
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
    Ok(())
}

fn first_voice(stages: &Stages) -> Result<Conditioning> {
    match stages.voices.list().first() {
        Some(known) => {
            let voice = known.voice.id.clone();
            stages.condition(&super::Mode::Sft { voice }, TEXT)
        }
        None => stages.of_embedding(vec![0.1; stages.manifest.flow.spk_dim]),
    }
}
