//! One request from ids to audio: per text segment, speech tokens, then chunk by chunk mel and samples.
//!
//! A request works on one thread: tokens until a chunk is due, then the chunk, then more tokens. On a CPU this gives
//! the earliest first audio (the stages do not compete for cores), and it makes every random draw a function of the
//! request alone.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha12Rng;
use rand_distr::StandardNormal;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::lm_worker::LmRequest;
use super::plan::{Chunk, ChunkPlan};
use super::silence::SilenceCap;
use super::stages::{Conditioning, Script, Stages};
use super::urgency::Urgency;
use crate::dsp::stretch::{StreamStretch, stretch};
use crate::model::flow::FlowInput;
use crate::model::vocoder::VocoderState;
use crate::model::{Mel, mel};
use crate::text::lay_out;
use crate::{Error, Result};

/// How often a request that waits for tokens looks whether anybody still listens.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What one synthesis cost, for the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Speech tokens sampled.
    pub tokens: usize,
    /// Samples made.
    pub samples: usize,
    /// Time to the first samples.
    pub first_audio: Option<Duration>,
}

/// A synthesis at work.
pub struct Pipeline<'a> {
    /// The model.
    pub stages: &'a Stages,
    /// The voice.
    pub voice: &'a Conditioning,
    /// Speed factor.
    pub speed: f32,
    /// Seed of every draw.
    pub seed: u64,
    /// Chunked (true) or by whole segments.
    pub stream: bool,
    /// When the request must be done.
    pub deadline: Instant,
    /// When it arrived.
    pub started: Instant,
    /// Where audio goes; its receiver's end means nobody listens any more.
    pub sink: mpsc::Sender<Result<Vec<f32>>>,
    /// Costs so far.
    pub tally: Tally,
}

impl Pipeline<'_> {
    /// Speaks the script: its segments one after the other, or its tokens.
    pub fn run(&mut self, script: &Script) -> Result<()> {
        match script {
            Script::Text(segments) => {
                for (index, text) in segments.iter().enumerate() {
                    self.segment(index as u64, text)?;
                }
            }
            Script::Tokens(tokens) => self.tokens(tokens)?,
        }
        match self.tally.samples {
            0 => Err(Error::Internal(
                "the model ended the speech before it began".into(),
            )),
            _ => Ok(()),
        }
    }

    fn segment(&mut self, index: u64, text: &[i64]) -> Result<()> {
        let stages = self.stages;
        let input = lay_out(
            &stages.layout,
            &self.voice.prompt_text,
            text,
            &self.voice.llm_speech,
        )?;
        let max_tokens = input
            .max_tokens
            .min(stages.most_speech_tokens(self.voice.flow_speech.len()));
        let mut speech = Speech::new(self, index);
        let mut silence = SilenceCap::new(&stages.manifest.silent_tokens);
        let mut stream = stages.lm.join(LmRequest {
            ids: input.ids,
            min_tokens: input.min_tokens,
            max_tokens,
            // Each segment draws from its own streams, so that no draw depends on how the audio was chunked.
            generator: self.generator(2 * index),
            urgency: Urgency::new(self.started, self.stream),
        })?;
        let mut tokens = 0;
        loop {
            self.keep_going()?;
            let token = match stream.next(self.deadline.min(Instant::now() + LOOK_UP)) {
                Ok(Some(token)) => token,
                Ok(None) => break,
                Err(Error::Deadline(_)) => continue,
                Err(e) => return Err(e),
            };
            tokens += 1;
            self.tally.tokens += 1;
            if silence.keeps(token) {
                speech.tokens.push(token as i64);
            }
            if self.stream {
                self.speak_due(&mut speech)?;
            }
        }
        if tokens == max_tokens {
            tracing::warn!(
                tokens = max_tokens,
                "a segment was cut at the most speech it may have"
            );
        }
        self.speak_rest(&mut speech)
    }

    fn tokens(&mut self, tokens: &[i64]) -> Result<()> {
        let mut speech = Speech::new(self, 0);
        speech.tokens = tokens.to_vec();
        self.tally.tokens += tokens.len();
        if self.stream {
            self.speak_due(&mut speech)?;
        }
        self.speak_rest(&mut speech)
    }

    /// Runs the chunks that are due.
    fn speak_due(&mut self, speech: &mut Speech) -> Result<()> {
        while let Some(chunk) = speech.plan.next(speech.tokens.len()) {
            let mel = self.new_mel(speech, chunk, false)?;
            let mel = speech.stretch.push(&mel, false);
            self.vocode(speech, &mel, false)?;
        }
        Ok(())
    }

    /// Speaks what is left at the end of a segment: its last chunk, or all of it when not streaming.
    fn speak_rest(&mut self, speech: &mut Speech) -> Result<()> {
        if speech.tokens.is_empty() {
            return Ok(());
        }
        let chunk = speech.plan.last(speech.tokens.len());
        let mel = self.new_mel(speech, chunk, true)?;
        let mel = match self.stream {
            true => speech.stretch.push(&mel, true),
            false => stretch(&mel, self.speed),
        };
        self.vocode(speech, &mel, true)
    }

    /// The frames of a chunk that have not been spoken.
    fn new_mel(&self, speech: &Speech, chunk: Chunk, finalize: bool) -> Result<Mel> {
        // The reference runs the last chunk with full attention, streamed or not.
        let mel = self.flow(&speech.tokens[..chunk.upto], !finalize, finalize)?;
        let spoken = chunk.offset * self.stages.manifest.token_mel_ratio;
        Ok(mel::frames(&mel, spoken, mel.cols))
    }

    fn vocode(&mut self, speech: &mut Speech, mel: &Mel, finalize: bool) -> Result<()> {
        let Speech { state, noise, .. } = speech;
        let (vocoder, graphs) = (&self.stages.vocoder, &self.stages.vocoder_graphs);
        let audio = vocoder.push(graphs, state, mel, finalize, &mut || noise.next())?;
        self.send(audio)
    }

    fn flow(&self, tokens: &[i64], streaming: bool, finalize: bool) -> Result<Mel> {
        let input = FlowInput {
            prompt_tokens: &self.voice.flow_speech,
            prompt_feat: &self.voice.flow_feat,
            embedding: &self.voice.embedding,
            tokens,
            streaming,
            finalize,
        };
        self.stages.flow.infer(&input, &|| self.keep_going())
    }

    fn send(&mut self, audio: Vec<f32>) -> Result<()> {
        if audio.is_empty() {
            return Ok(());
        }
        self.tally.samples += audio.len();
        self.tally
            .first_audio
            .get_or_insert_with(|| self.started.elapsed());
        let sent = match Handle::try_current() {
            // A reader that takes a byte now and then must not hold a slot beyond the deadline.
            Ok(handle) => handle.block_on(timeout_at(self.deadline.into(), self.sink.send(Ok(audio)))),
            Err(_) => Ok(self.sink.blocking_send(Ok(audio))),
        };
        match sent {
            Ok(sent) => sent.map_err(|_| Error::Cancelled),
            Err(_) => self.keep_going(),
        }
    }

    fn keep_going(&self) -> Result<()> {
        if self.sink.is_closed() {
            return Err(Error::Cancelled);
        }
        if Instant::now() >= self.deadline {
            let limit = self.deadline.duration_since(self.started).as_secs();
            return Err(Error::Deadline(format!(
                "the request took longer than its limit of {limit} s"
            )));
        }
        Ok(())
    }

    fn generator(&self, stream: u64) -> ChaCha12Rng {
        let mut generator = ChaCha12Rng::seed_from_u64(self.seed);
        generator.set_stream(stream);
        generator
    }
}

/// What a segment has been given and has spoken so far.
struct Speech {
    tokens: Vec<i64>,
    plan: ChunkPlan,
    stretch: StreamStretch,
    state: VocoderState,
    noise: Noise,
}

impl Speech {
    fn new(pipeline: &Pipeline<'_>, index: u64) -> Self {
        let flow = pipeline.stages.flow.config();
        Self {
            tokens: Vec::new(),
            plan: ChunkPlan::new(
                flow.chunk_tokens,
                flow.lookahead_tokens,
                pipeline.voice.flow_speech.len(),
            ),
            stretch: StreamStretch::new(pipeline.speed),
            state: VocoderState::default(),
            noise: Noise(pipeline.generator(2 * index + 1)),
        }
    }
}

/// Standard normal draws for the vocoder's source.
struct Noise(ChaCha12Rng);

impl Noise {
    fn next(&mut self) -> f32 {
        StandardNormal.sample(&mut self.0)
    }
}
