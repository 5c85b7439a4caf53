//! Before the server says it is ready, every stage runs: ONNX Runtime plans memory and packs weights at first use, GPUs
//! capture graphs, and the first client should not pay for it.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::lane::{Lane, Lanes};
use super::pipeline::{Pipeline, Tally};
use super::stages::{Conditioning, Script, Stages};
use super::urgency::Urgency;
use crate::{Error, Result, limits};

/// Text of the warm-up: long enough for one streamed chunk.
const TEXT: &str = "One, two, three, four.";
/// Time speaking may take, all voices together.
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

/// Speaks into nowhere: [`TEXT`] with the first voice, and with each other one that has a prompt the fewest tokens that
/// are ever spoken, so that the flow has read what no later request of it reads again.
fn speak(stages: &Stages, lane: &Lane) -> Result<()> {
    let started = Instant::now();
    let text = Script::Text(vec![stages.text.tokens(TEXT)?]);
    say(stages, lane, &first_voice(stages)?, &text, started)?;
    let shortest = (limits::PROMPT_MIN_SECONDS * stages.manifest.token_rate as f32).ceil();
    let tokens = Script::Tokens(vec![vec![0; shortest as usize]]);
    let built_in = stages.voices.list().into_iter().filter(|known| known.built_in);
    let prompted = built_in.skip(1).filter(|known| known.voice.prompt.is_some());
    for known in prompted.take(limits::WARM_VOICES - 1) {
        if started.elapsed() >= LIMIT {
            break;
        }
        let voice = of_voice(stages, &known.voice.id)?;
        say(stages, lane, &voice, &tokens, started)?;
    }
    Ok(())
}

fn say(stages: &Stages, lane: &Lane, voice: &Conditioning, script: &Script, started: Instant) -> Result<()> {
    let (sink, mut chunks) = mpsc::channel(64);
    let mut pipeline = Pipeline {
        stages,
        lane,
        crowded: false,
        voice,
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
    match pipeline.run(script) {
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
        Some(known) => of_voice(stages, &known.voice.id),
        None => stages.of_embedding(vec![0.1; stages.manifest.flow.spk_dim]),
    }
}

fn of_voice(stages: &Stages, id: &str) -> Result<Conditioning> {
    let voice = id.to_string();
    stages.condition(&super::Mode::Sft { voice }, TEXT)
}
