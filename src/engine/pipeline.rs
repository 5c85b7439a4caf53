//! One request from ids to audio: per text segment, speech tokens, then chunk by chunk mel and samples.
//!
//! The request's thread listens to the language model's worker until a chunk is due, has the flow's worker and the
//! vocoder make it, sends it, and listens again. Every random draw is a function of the request alone: each segment
//! has its own streams, so nothing depends on how the audio was chunked or on who else is at work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::lane::Lane;
use super::live::{LiveSegment, LiveSegments};
use super::lm_worker::{LmInput, LmRequest};
use super::silence::SilenceCap;
use super::speech::Speech;
use super::stages::{Conditioning, Script, Stages};
use super::token_stream::{Taken, TokenStream};
use super::urgency::Urgency;
use crate::dsp::stretch::stretch;
use crate::model::Mel;
use crate::model::llm::RowPrompt;
use crate::text::lay_out;
use crate::{Error, Result, limits};

/// What one synthesis cost, for the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Text tokens of whole segments.
    pub text_tokens: usize,
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
    /// When the request must be done; of a text that streams in, its current segment.
    pub deadline: Instant,
    /// Time that is allowed for it.
    pub limit: Duration,
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
            Script::Text(segments) => self.segments(Segments::There(segments.iter()))?,
            Script::Live(segments) => self.segments(Segments::Coming(segments))?,
            Script::Tokens(tokens) => self.tokens(tokens)?,
        }
        match self.tally.samples {
            0 => Err(Error::Internal(
                "the model ended the speech before it began".into(),
            )),
            _ => Ok(()),
        }
    }

    fn segments(&mut self, mut texts: Segments<'_>) -> Result<()> {
        let (mut begun, mut next) = (0, None);
        loop {
            if next.is_none() {
                next = self.join_next(&mut texts, &mut begun, true)?;
            }
            let Some(mut tokens) = next.take() else { break };
            let mut speech = Speech::new(self, tokens.index);
            loop {
                if speech.begun.is_none() {
                    self.listen(&mut tokens, &mut speech, true)?;
                }
                // The next segment's tokens are made while this one's audio is, so that long texts do not stall.
                if tokens.ended && next.is_none() {
                    next = self.join_next(&mut texts, &mut begun, false)?;
                }
                if !self.speak_next(&mut speech, Some(&mut tokens))? {
                    break;
                }
            }
            self.speak_rest(&mut speech)?;
        }
        match begun {
            0 => Err(Error::Invalid(format!(
                "{} has nothing to speak: it needs at least one letter or digit",
                texts.field()
            ))),
            _ => Ok(()),
        }
    }

    fn tokens(&mut self, segments: &[Vec<i64>]) -> Result<()> {
        for (index, tokens) in (0..).zip(segments) {
            let mut speech = Speech::new(self, index);
            speech.tokens.clone_from(tokens);
            self.tally.tokens += tokens.len();
            while self.speak_next(&mut speech, None)? {}
            self.speak_rest(&mut speech)?;
        }
        Ok(())
    }

    /// Has the language model begin the next segment; a `patient` one waits for it to come. `None`: there is none (yet).
    fn join_next(
        &mut self,
        texts: &mut Segments<'_>,
        begun: &mut u64,
        patient: bool,
    ) -> Result<Option<Tokens<'a>>> {
        let segment = match texts {
            Segments::There(segments) => segments.next().cloned().map(LiveSegment::Text),
            Segments::Coming(segments) => self.coming(segments, patient)?,
        };
        let Some(segment) = segment else { return Ok(None) };
        *begun += 1;
        if let LiveSegment::Text(text) = &segment {
            self.tally.text_tokens += text.len();
        }
        self.join(*begun - 1, segment).map(Some)
    }

    /// The next segment of a text that streams in. Its time begins when it comes.
    fn coming(&mut self, segments: &LiveSegments, patient: bool) -> Result<Option<LiveSegment>> {
        loop {
            let wait = if patient {
                limits::CANCEL_POLL
            } else {
                Duration::ZERO
            };
            let segment = segments.next(wait)?;
            if patient || segment.is_some() {
                self.deadline = Instant::now() + self.limit;
            }
            match segment {
                Some(segment) => {
                    if patient {
                        self.urgency.text_came();
                    }
                    return Ok(segment);
                }
                None if patient => self.keep_going()?,
                None => return Ok(None),
            }
        }
    }

    /// Has the language model begin a segment.
    fn join(&self, index: u64, segment: LiveSegment) -> Result<Tokens<'a>> {
        let (input, max_tokens) = self.input(segment)?;
        let stages = self.stages;
        let stream = self.lane.lm.join(LmRequest {
            input,
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

    /// What the language model reads for a segment, and the most tokens it may make of it.
    fn input(&self, segment: LiveSegment) -> Result<(LmInput, usize)> {
        let (stages, voice) = (self.stages, self.voice);
        let most = stages.most_speech_tokens(&voice.flow);
        match segment {
            LiveSegment::Text(text) => {
                let speaker = &voice.llm_speaker;
                let (prompt_text, prompt_speech) = (&voice.prompt_text, &voice.llm_speech);
                let laid = lay_out(
                    &stages.layout,
                    speaker.is_some(),
                    prompt_text,
                    &text,
                    prompt_speech,
                )?;
                let rows = |text| RowPrompt {
                    text,
                    speaker: speaker.clone(),
                };
                let input = LmInput::Whole {
                    ids: laid.ids,
                    rows: laid.text.map(rows),
                    min_tokens: laid.min_tokens,
                };
                Ok((input, laid.max_tokens.min(most)))
            }
            LiveSegment::Coming(text) => {
                let interleaver = stages.interleaver(voice).ok_or_else(|| {
                    Error::Internal("a text streams in for a model that cannot read it so".into())
                })?;
                let input = LmInput::Live { interleaver, text };
                let room = self.lane.lm.capacity().saturating_sub(input.positions());
                Ok((input, room.min(most)))
            }
        }
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
            match tokens.stream.take(missing, Instant::now() + wait)? {
                Taken::Tokens(some) => {
                    self.tally.tokens += some.len();
                    tokens.left -= some.len();
                    let kept = some.into_iter().filter(|&token| tokens.silence.keeps(token));
                    speech.tokens.extend(kept.map(|token| token as i64));
                }
                Taken::End => tokens.end(),
                Taken::NotYet if due => return Ok(()),
                Taken::NotYet => {}
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
            let limit = self.limit.as_secs();
            return Err(Error::Deadline(format!(
                "the request took longer than its limit of {limit} s"
            )));
        }
        Ok(())
    }

    /// A generator of the request's, for one purpose.
    pub(super) fn generator(&self, stream: u64) -> ChaCha12Rng {
        let mut generator = ChaCha12Rng::seed_from_u64(self.seed);
        generator.set_stream(stream);
        generator
    }
}

/// Where segments come from.
enum Segments<'s> {
    There(std::slice::Iter<'s, Vec<i64>>),
    Coming(&'s LiveSegments),
}

impl Segments<'_> {
    /// The request's field that they are made of.
    fn field(&self) -> &'static str {
        match self {
            Segments::There(_) => "tts_text",
            Segments::Coming(_) => "text",
        }
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
