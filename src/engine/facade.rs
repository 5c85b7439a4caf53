//! The engine as the api and the command line see it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::admission::Admission;
use super::lane::{Lane, LaneOptions, Lanes, Place};
use super::live::{self, LiveText};
use super::pipeline::{Pipeline, Tally};
use super::stages::{Conditioning, Script, Stages};
use super::urgency::Urgency;
use super::{Mode, SpeechRequest, SpeechStream, Target, Usage, sizing, warm_up};
use crate::model::Bundle;
use crate::model::bundle::{FlowKind, PagedFlowConfig};
use crate::runtime::{Options, Runtime};
use crate::{Error, Result, limits};

/// How to load and run a model.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Where saved voices live (created when missing).
    pub voices_dir: PathBuf,
    /// ONNX Runtime's shared library; `None` looks in the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the shared intra-op pool; 0 means one per core.
    pub threads: usize,
    /// Devices, as [`Device::choose`](crate::runtime::Device::choose) reads them: `cpu`, `cuda:0,cuda:1`, `auto`. One lane each.
    pub devices: String,
    /// Bytes of flow state that a lane keeps for later chunks and requests; `None`: what suits the device.
    pub flow_cache: Option<u64>,
    /// Seconds of speech before a chunk that the flow sees, 0 for all; `None`: what the bundle says.
    pub left_context: Option<f32>,
    /// Where TensorRT keeps the engines it has built.
    pub tensorrt_cache: PathBuf,
    /// Syntheses at work at once; `None`: what suits the devices.
    pub concurrency: Option<usize>,
    /// Requests that may wait beyond those.
    pub queue: usize,
    /// Time one request may take.
    pub deadline: Duration,
    /// Whether every stage runs once before the engine is ready; if not, first requests pay for it.
    pub warm_up: bool,
}

/// What is loaded.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Model name.
    pub name: String,
    /// CosyVoice generation.
    pub generation: u32,
    /// Weight precision.
    pub precision: String,
    /// Output rate, hertz.
    pub sample_rate: u32,
}

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Devices by name, one lane each.
    pub devices: Vec<String>,
    /// Syntheses at work.
    pub active: usize,
    /// Bytes of flow state in use, over all lanes: of running utterances and of recent voices.
    pub flow_cache_bytes: u64,
    /// Streamed chunks, since the start, that came later than the moment their client had run dry.
    pub underruns: u64,
}

/// A loaded model that speaks. Cheap to share; dropped last, it unloads the model.
pub struct Engine {
    pub(super) stages: Arc<Stages>,
    lanes: Arc<Lanes>,
    underruns: Arc<AtomicU64>,
    pub(super) admission: Admission,
    pub(super) deadline: Duration,
    info: ModelInfo,
}

impl Engine {
    /// Loads the bundle and, if asked to, warms it up. Blocks; call it off the async threads.
    pub fn load(options: EngineOptions) -> Result<Arc<Self>> {
        let bundle = Bundle::open(&options.bundle)?;
        bundle.verify()?;
        let runtime = Runtime::get(&Options {
            library: options.onnxruntime.clone(),
            threads: options.threads,
        })?;
        let devices = sizing::devices(runtime, &options.devices, &bundle.manifest)?;
        let concurrency = match options.concurrency {
            Some(concurrency) => concurrency,
            None => sizing::concurrency(&devices)?,
        };
        let lane_options = lane_options(&options, &bundle, concurrency.div_ceil(devices.len().max(1)));
        let lanes = Arc::new(Lanes::load(runtime, &bundle, &devices, &lane_options)?);
        let first = devices.first().copied().unwrap_or_default();
        let stages = Arc::new(Stages::load(runtime, &bundle, first, &options.voices_dir)?);
        if options.warm_up {
            warm_up::run(&stages, &lanes)?;
        }
        let manifest = &stages.manifest;
        let info = ModelInfo {
            name: manifest.name.clone(),
            generation: manifest.generation,
            precision: manifest.precision.clone(),
            sample_rate: manifest.sample_rate,
        };
        Ok(Arc::new(Self {
            admission: Admission::new(concurrency, options.queue),
            deadline: options.deadline,
            underruns: Arc::default(),
            info,
            stages,
            lanes,
        }))
    }

    /// What is loaded.
    pub fn model(&self) -> &ModelInfo {
        &self.info
    }

    /// Syntheses at work at once; more wait.
    pub fn concurrency(&self) -> usize {
        self.admission.concurrency()
    }

    /// What is going on.
    pub fn status(&self) -> Status {
        Status {
            devices: self.lanes.iter().map(|lane| lane.device.to_string()).collect(),
            active: self.lanes.active(),
            flow_cache_bytes: self.lanes.iter().map(|lane| lane.flow.bytes_in_use()).sum(),
            underruns: self.underruns.load(Ordering::Relaxed),
        }
    }

    /// Starts a synthesis. Everything wrong with the request itself is told here, before any audio; it returns
    /// when the request has been admitted (it may wait in the queue; a full queue is [`Error::Overloaded`]).
    pub async fn speak(&self, request: SpeechRequest) -> Result<SpeechStream> {
        let started = Instant::now();
        let deadline = started + self.deadline;
        self.admission.refuse_if_full()?;
        let stages = self.stages.clone();
        let (request, segments) = blocking(move || stages.check(&request).map(|s| (request, s))).await?;
        let permit = self.admission.enter(deadline).await?;
        let stages = self.stages.clone();
        let (request, script, voice, permit) = blocking(move || {
            let voice = stages.condition(&request.mode, &request.text)?;
            let script = stages.script(&request.mode, segments, &voice)?;
            Ok((request, script, voice, permit))
        })
        .await?;
        let place = self.lanes.enter();
        Ok(self.start(request, voice, started, (place, permit), |_, _| script))
    }

    /// Starts a synthesis of a text that streams in, through the first of what it returns. As [`Engine::speak`], but for
    /// the request's text, which is not read, and a prompt of the text's own, which is not looked for. Its deadline applies
    /// to each segment of the text; the text itself must keep coming ([`limits::LIVE_IDLE`]).
    pub async fn speak_live(&self, request: SpeechRequest) -> Result<(LiveText, SpeechStream)> {
        if let Mode::Convert { .. } = request.mode {
            return Err(Error::invalid("mode: voice conversion takes no text"));
        }
        let started = Instant::now();
        self.admission.refuse_if_full()?;
        let stages = self.stages.clone();
        let request = blocking(move || stages.check_live(&request).map(|()| request)).await?;
        let permit = self.admission.enter(started + self.deadline).await?;
        let stages = self.stages.clone();
        let (request, voice, permit) = blocking(move || {
            let voice = stages.condition(&request.mode, "")?;
            Ok((request, voice, permit))
        })
        .await?;
        let (text, pieces) = live::text();
        let (place, stages) = (self.lanes.enter(), self.stages.clone());
        let stream = self.start(request, voice, started, (place, permit), |lane, voice| {
            let whole = stages.interleaver(voice).is_none();
            Script::Live(live::read(stages, whole, pieces, lane.lm.signal()))
        });
        Ok((text, stream))
    }

    /// Speaks on a thread of its own, which holds what it `holds` until the end.
    fn start(
        &self,
        request: SpeechRequest,
        voice: Conditioning,
        started: Instant,
        holds: (Place, OwnedSemaphorePermit),
        script: impl FnOnce(&Lane, &Conditioning) -> Script,
    ) -> SpeechStream {
        let (sink, chunks) = mpsc::channel(limits::CHUNKS_IN_FLIGHT);
        let (stages, underruns, limit) = (self.stages.clone(), self.underruns.clone(), self.deadline);
        let script = script(holds.0.lane(), &voice);
        let usage = Arc::new(Usage::default());
        let spent = usage.clone();
        tokio::task::spawn_blocking(move || {
            let place = &holds.0;
            let mut pipeline = Pipeline {
                stages: &stages,
                lane: place.lane(),
                crowded: place.is_crowded(),
                voice: &voice,
                speed: request.speed,
                seed: request.seed,
                stream: request.stream,
                deadline: started + limit,
                limit,
                started,
                urgency: Urgency::new(started, request.stream),
                sink: sink.clone(),
                tally: Tally::default(),
            };
            // A panic must end the stream with an error, or a cut-off speech would look complete.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pipeline.run(&script)))
                .unwrap_or_else(|_| Err(Error::Internal("the synthesis thread panicked".into())));
            let tally = &pipeline.tally;
            spent.settle(tally.text_tokens as u64, tally.tokens as u64);
            underruns.fetch_add(pipeline.urgency.underruns().into(), Ordering::Relaxed);
            report(&request, &pipeline, stages.manifest.sample_rate, &result);
            // A slot is free before the last word is read, so the end of one request never holds up the next.
            drop((holds, script));
            if let Err(error) = result {
                let _ = sink.blocking_send(Err(error));
            }
        });
        SpeechStream {
            sample_rate: self.info.sample_rate,
            chunks,
            usage,
        }
    }

    /// Stops admitting, and waits until running syntheses end or `limit` passes.
    pub async fn drain(&self, limit: Duration) {
        self.admission.drain(limit).await;
    }
}

fn lane_options(options: &EngineOptions, bundle: &Bundle, slots: usize) -> LaneOptions {
    let manifest = &bundle.manifest;
    LaneOptions {
        slots,
        flow_cache: options.flow_cache,
        left_chunks: match &manifest.flow.kind {
            FlowKind::Paged(flow) => left_chunks(flow, options.left_context, manifest.token_rate),
            FlowKind::Overlapped(_) => None,
        },
        tensorrt_cache: options.tensorrt_cache.clone(),
    }
}

/// Chunks of left context in `seconds` of speech (0: all), or what the bundle says.
fn left_chunks(flow: &PagedFlowConfig, seconds: Option<f32>, token_rate: u32) -> Option<usize> {
    let chunk_seconds = flow.chunk_tokens as f32 / token_rate as f32;
    match seconds {
        None => flow.left_chunks,
        Some(seconds) if seconds > 0.0 => Some((seconds / chunk_seconds).ceil() as usize),
        Some(_) => None,
    }
}

/// Runs `work` where blocking is allowed; a panic there becomes an internal error.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("a worker thread", e))?
}

/// The one line a synthesis leaves in the log.
fn report(request: &SpeechRequest, pipeline: &Pipeline<'_>, sample_rate: u32, result: &Result<()>) {
    let tally = &pipeline.tally;
    let seconds = pipeline.started.elapsed().as_secs_f64();
    let audio = tally.samples as f64 / f64::from(sample_rate);
    let rtf = if audio > 0.0 { seconds / audio } else { 0.0 };
    let first_audio_ms = tally.first_audio.map_or(0, |d| d.as_millis() as u64);
    let (id, mode) = (request.id.as_str(), request.mode.name());
    let voice = match &request.mode {
        Mode::Sft { voice }
        | Mode::Instruct { voice, .. }
        | Mode::Convert {
            target: Target::Voice(voice),
            ..
        } => voice.as_str(),
        _ => "prompt",
    };
    let chars = request.text.chars().count();
    let (audio, rtf) = (format!("{audio:.2}"), format!("{rtf:.3}"));
    let (tokens, seed, stream) = (tally.tokens, request.seed, request.stream);
    let underruns = pipeline.urgency.underruns();
    match result {
        Ok(()) => {
            tracing::info!(
                id,
                mode,
                voice,
                chars,
                tokens,
                audio,
                first_audio_ms,
                rtf,
                seed,
                stream,
                underruns,
                "spoke"
            );
        }
        Err(Error::Cancelled) => {
            tracing::info!(
                id,
                mode,
                voice,
                chars,
                tokens,
                audio,
                first_audio_ms,
                "cancelled: nobody listens any more"
            );
        }
        // The client is told, and nothing is wrong here.
        Err(error @ Error::Invalid(_)) => {
            tracing::info!(id, mode, voice, chars, %error, "synthesis refused");
        }
        Err(error @ Error::Internal(_)) => {
            tracing::error!(id, mode, voice, chars, tokens, audio, %error, "synthesis failed");
        }
        Err(error) => tracing::warn!(id, mode, voice, chars, tokens, audio, %error, "synthesis ended early"),
    }
}
