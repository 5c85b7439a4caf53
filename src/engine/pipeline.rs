//! One request from ids to audio: per text segment, speech tokens, then chunk by chunk mel and samples.
//!
//! The request's thread listens to the language model's worker until a chunk is due, has the flow's worker and the
//! vocoder make it, sends it, and listens again. Every random draw is a function of the request alone: each segment
//! has its own streams, so nothing depends on how the audio was chunked or on who else is at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha12Rng;
use rand_distr::StandardNormal;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::flow::FlowStream;
use super::lane::Lane;
use super::lm_worker::LmRequest;
use super::plan::ChunkPlan;
use super::silence::SilenceCap;
use super::stages::{Conditioning, Script, Stages};
use super::token_stream::TokenStream;
use super::urgency::Urgency;
use crate::dsp::stretch::{StreamStretch, stretch};
use crate::model::Mel;
use crate::model::llm::RowPrompt;
use crate::model::vocoder::VocoderState;
use crate::text::lay_out;
use crate::{Error, Result, limits};

/// Generators of the flow's noise begin here; those of sampling are the even ones below, the vocoder's the odd ones.
const FLOW_NOISE: u64 = 1 << 63;

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
    /// What all lanes share.
    pub stages: &'a Stages,
    /// Where it runs.
    pub lane: &'a Lane,
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
    /// Whether a longer first chunk is wanted ([`Place::is_crowded`](super::lane::Place::is_crowded)).
    pub crowded: bool,
    /// When its audio is needed.
    pub urgency: Arc<Urgency>,
    /// Where audio goes; its receiver's end means nobody listens any more.
    pub sink: mpsc::Sender<Result<Vec<f32>>>,
    /// Costs so far.
    pub tally: Tally,
}

impl<'a> Pipeline<'a> {
    /// Speaks the script: its segments one after the other, or its tokens.
    pub fn run(&mut self, script: &Script) -> Result<()> {
        match script {
            Script::Text(segments) => self.segments(segments)?,
            Script::Tokens(tokens) => self.tokens(tokens)?,
        }
        match self.tally.samples {
            0 => Err(Error::Internal(
                "the model ended the speech before it began".into(),
            )),
            _ => Ok(()),
        }
    }

    fn segments(&mut self, segments: &[Vec<i64>]) -> Result<()> {
        let mut texts = (0..).zip(segments);
        let mut current = self.join_next(&mut texts)?;
        while let Some(mut tokens) = current.take() {
            let mut speech = Speech::new(self, tokens.index);
            loop {
                if speech.begun.is_none() {
                    self.listen(&mut tokens, &mut speech, true)?;
                }
                // The next segment's tokens are made while this one's audio is, so that long texts do not stall.
                if tokens.ended && current.is_none() {
                    current = self.join_next(&mut texts)?;
                }
                if !self.speak_next(&mut speech, Some(&mut tokens))? {
                    break;
                }
            }
            self.speak_rest(&mut speech)?;
        }
        Ok(())
    }

    fn tokens(&mut self, tokens: &[i64]) -> Result<()> {
        let mut speech = Speech::new(self, 0);
        speech.tokens = tokens.to_vec();
        self.tally.tokens += tokens.len();
        while self.speak_next(&mut speech, None)? {}
        self.speak_rest(&mut speech)
    }

    fn join_next<'t>(
        &self,
        texts: &mut impl Iterator<Item = (u64, &'t Vec<i64>)>,
    ) -> Result<Option<Tokens<'a>>> {
        texts
            .next()
            .map(|(index, text)| self.join(index, text))
            .transpose()
    }

    /// Has the language model begin a segment.
    fn join(&self, index: u64, text: &[i64]) -> Result<Tokens<'a>> {
        let stages = self.stages;
        let input = lay_out(
            &stages.layout,
            self.voice.llm_speaker.is_some(),
            &self.voice.prompt_text,
            text,
            &self.voice.llm_speech,
        )?;
        let max_tokens = input.max_tokens.min(stages.most_speech_tokens(&self.voice.flow));
        let stream = self.lane.lm.join(LmRequest {
            ids: input.ids,
            rows: input.text.map(|text| RowPrompt {
                text,
                speaker: self.voice.llm_speaker.clone(),
            }),
            min_tokens: input.min_tokens,
            max_tokens,
            generator: self.generator(2 * index),
            urgency: self.urgency.clone(),
        })?;
        Ok(Tokens {
            stream,
            silence: SilenceCap::new(&stages.manifest.silent_tokens, stages.manifest.max_silent_run),
            index,
            left: max_tokens,
            ended: false,
        })
    }

    /// Takes the tokens that are there; a `patient` one waits until a chunk is due or they end.
    fn listen(&mut self, tokens: &mut Tokens<'_>, speech: &mut Speech, patient: bool) -> Result<()> {
        while !tokens.ended {
            self.keep_going()?;
            let missing = match self.stream {
                true => speech.plan.missing(speech.tokens.len()),
                false => usize::MAX,
            };
            let due = !patient || missing == 0;
            let wait = if due { Duration::ZERO } else { limits::CANCEL_POLL };
            match tokens.stream.take(missing, Instant::now() + wait) {
                Ok(Some(some)) => {
                    self.tally.tokens += some.len();
                    tokens.left -= some.len();
                    let kept = some.into_iter().filter(|&token| tokens.silence.keeps(token));
                    speech.tokens.extend(kept.map(|token| token as i64));
                }
                Ok(None) => tokens.end(),
                Err(Error::Deadline(_)) if due => return Ok(()),
                Err(Error::Deadline(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Speaks the next chunk if it is due; says whether it was.
    fn speak_next(&mut self, speech: &mut Speech, tokens: Option<&mut Tokens<'_>>) -> Result<bool> {
        let making = self.urgency.making();
        if !self.begin_next(speech)? {
            return Ok(false);
        }
        let started = Instant::now();
        let mel = speech.flow.finish(&|| self.keep_going())?;
        let flow = started.elapsed();
        speech.begun = None;
        if self.lane.overlaps() {
            // The flow makes the next chunk while the vocoder makes this one.
            if let Some(tokens) = tokens {
                self.listen(tokens, speech, false)?;
            }
            self.begin_next(speech)?;
        }
        let mel = speech.stretch.push(&mel, false);
        let audio = self.vocode(speech, &mel, false)?;
        tracing::debug!(
            frames = mel.cols,
            begun_ms = started.duration_since(self.started).as_secs_f64() * 1e3,
            flow_ms = flow.as_secs_f64() * 1e3,
            vocoder_ms = (started.elapsed() - flow).as_secs_f64() * 1e3,
            "chunk made"
        );
        drop(making);
        self.send(audio)?;
        Ok(true)
    }

    /// Asks the flow for the next chunk if it is due; says whether one is being made.
    fn begin_next(&mut self, speech: &mut Speech) -> Result<bool> {
        if speech.begun.is_none()
            && self.stream
            && let Some(upto) = speech.plan.next(speech.tokens.len())
        {
            self.keep_going()?;
            speech.flow.begin(&speech.tokens[..upto], false)?;
            speech.begun = Some(upto);
        }
        Ok(speech.begun.is_some())
    }

    /// Speaks what is left at the end of a segment: its last chunk, or all of it when not streaming.
    fn speak_rest(&mut self, speech: &mut Speech) -> Result<()> {
        if speech.tokens.is_empty() {
            return Ok(());
        }
        let making = self.urgency.making();
        let keep_going = || self.keep_going();
        let mel = if self.stream {
            let mel = speech.flow.rest(&speech.tokens, &keep_going)?;
            speech.stretch.push(&mel, true)
        } else {
            stretch(&speech.flow.whole(&speech.tokens, &keep_going)?, self.speed)
        };
        let audio = self.vocode(speech, &mel, true)?;
        drop(making);
        self.send(audio)
    }

    fn vocode(&self, speech: &mut Speech, mel: &Mel, finalize: bool) -> Result<Vec<f32>> {
        let keep_going = || self.keep_going();
        let runs = self.lane.vocoder.client(&self.urgency, &keep_going);
        let Speech { state, noise, .. } = speech;
        let vocoder = &self.stages.vocoder;
        vocoder.push(&runs, state, mel, finalize, || noise.next())
    }

    fn send(&mut self, audio: Vec<f32>) -> Result<()> {
        if audio.is_empty() {
            return Ok(());
        }
        let seconds = audio.len() as f64 / f64::from(self.stages.manifest.sample_rate);
        self.tally.samples += audio.len();
        self.tally
            .first_audio
            .get_or_insert_with(|| self.started.elapsed());
        self.urgency.ready();
        let sent = match Handle::try_current() {
            // A reader that takes a byte now and then must not hold a slot beyond the deadline.
            Ok(handle) => handle.block_on(timeout_at(self.deadline.into(), self.sink.send(Ok(audio)))),
            Err(_) => Ok(self.sink.blocking_send(Ok(audio))),
        };
        match sent {
            Ok(sent) => sent.map_err(|_| Error::Cancelled)?,
            Err(_) => self.keep_going()?,
        }
        self.urgency.sent(Duration::from_secs_f64(seconds));
        Ok(())
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

/// The speech tokens of a segment, as the language model makes them.
struct Tokens<'a> {
    stream: TokenStream,
    silence: SilenceCap<'a>,
    /// Number of the segment.
    index: u64,
    /// Tokens it may still have.
    left: usize,
    ended: bool,
}

impl Tokens<'_> {
    fn end(&mut self) {
        self.ended = true;
        if self.left == 0 {
            tracing::warn!("a segment was cut at the most speech it may have");
        }
    }
}

/// What a segment has been given and has spoken so far.
struct Speech {
    tokens: Vec<i64>,
    plan: ChunkPlan,
    flow: FlowStream,
    /// Tokens of the chunk that the flow has been asked for.
    begun: Option<usize>,
    stretch: StreamStretch,
    state: VocoderState,
    noise: Noise,
}

impl Speech {
    fn new(pipeline: &Pipeline<'_>, index: u64) -> Self {
        let flow = &pipeline.stages.manifest.flow;
        let voice = &pipeline.voice.flow;
        let mut flow_noise = Noise(pipeline.generator(FLOW_NOISE + index));
        Self {
            tokens: Vec::new(),
            plan: ChunkPlan::of(&flow.kind, voice.tokens.len(), pipeline.crowded),
            flow: pipeline
                .lane
                .flow
                .open(voice.clone(), pipeline.urgency.clone(), move || flow_noise.next()),
            begun: None,
            stretch: StreamStretch::new(pipeline.speed),
            state: pipeline.stages.vocoder.begin(),
            noise: Noise(pipeline.generator(2 * index + 1)),
        }
    }
}

/// Standard normal draws: for the vocoder's source, and where the flow's noise is not fixed.
struct Noise(ChaCha12Rng);

impl Noise {
    fn next(&mut self) -> f32 {
        StandardNormal.sample(&mut self.0)
    }
}
