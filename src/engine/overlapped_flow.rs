//! The flow of generation 1 at work. An utterance keeps little of its chunks (noise and mean where they meet), so its
//! request's own thread runs the graphs when it has the turn, as it does the vocoder's on a CPU: one run a turn, the
//! utterance due first before the others.

use std::sync::Arc;

use super::turn::{Turn, TurnGuard};
use super::urgency::Urgency;
use crate::Result;
use crate::dsp::fade::{cross_fade_mel, hamming};
use crate::model::flow::FlowVoice;
use crate::model::overlapped_flow::{Carried, OverlappedFlow};
use crate::model::{Mel, mel};

/// The flow of one lane.
pub struct OverlappedFlows {
    flow: Arc<OverlappedFlow>,
    turn: Arc<Turn>,
}

/// Standard normal numbers.
type Noise = Box<dyn FnMut() -> f32 + Send>;

/// One utterance.
pub struct OverlappedStream {
    flow: Arc<OverlappedFlow>,
    turn: Arc<Turn>,
    voice: Arc<FlowVoice>,
    urgency: Arc<Urgency>,
    noise: Noise,
    /// Tokens that are done with.
    done: usize,
    carried: Option<Carried>,
    /// The end of the mel made so far, which the next chunk fades in over; empty before the first.
    end: Mel,
    asked: Option<Chunk>,
}

/// A chunk that has been asked for.
struct Chunk {
    tokens: Vec<i64>,
    last: bool,
}

impl OverlappedFlows {
    /// Runs wait for the `turn` of the lane; without one they take turns among themselves.
    pub fn new(flow: OverlappedFlow, turn: Option<Arc<Turn>>) -> Self {
        Self {
            flow: Arc::new(flow),
            turn: turn.unwrap_or_default(),
        }
    }

    /// A new utterance of `voice`. `noise` gives standard normal numbers: the nth frame that is made, those of the prompt
    /// counted, takes the nth `bins` of them. So a frame's noise is the same streamed or whole, but for what the lengths
    /// of chunks lose in rounding.
    pub fn open(
        &self,
        voice: Arc<FlowVoice>,
        urgency: Arc<Urgency>,
        noise: impl FnMut() -> f32 + Send + 'static,
    ) -> OverlappedStream {
        OverlappedStream {
            flow: self.flow.clone(),
            turn: self.turn.clone(),
            voice,
            urgency,
            noise: Box::new(noise),
            done: 0,
            carried: None,
            end: Mel::default(),
            asked: None,
        }
    }
}

impl OverlappedStream {
    /// Asks for the chunk that `tokens` (all so far) end with: the tokens that are not done with. Unless it is the last
    /// one, those that it shares with the next are not done with after it.
    pub fn begin(&mut self, tokens: &[i64], last: bool) {
        let chunk = Chunk {
            tokens: tokens.get(self.done..).unwrap_or_default().to_vec(),
            last,
        };
        let shared = if last {
            0
        } else {
            self.flow.config().overlap_tokens
        };
        self.done = self.done.max(tokens.len().saturating_sub(shared));
        self.asked = (!chunk.tokens.is_empty()).then_some(chunk);
    }

    /// The mel `[bins, frames]` of what was asked for, but for its end, which the next chunk fades in over.
    pub fn finish(&mut self, keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        let Some(Chunk { tokens, last }) = self.asked.take() else {
            return Ok(Mel {
                rows: self.flow.bins(),
                ..Mel::default()
            });
        };
        let mut made = self.solve(&tokens, keep_going)?;
        let overlap = self.flow.config().mel_overlap_frames;
        if self.end.cols > 0 {
            cross_fade_mel(&mut made, &self.end, &hamming(2 * overlap));
        }
        if last {
            return Ok(made);
        }
        let settled = made.cols.saturating_sub(overlap);
        self.end = mel::frames(&made, settled, made.cols);
        Ok(mel::frames(&made, 0, settled))
    }

    /// A chunk from noise to mel: the encoder's run and one for each Euler step, each in its turn.
    fn solve(&mut self, tokens: &[i64], keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        let mut held = self.in_turn(None);
        keep_going()?;
        let (voice, noise) = (&self.voice, &mut self.noise);
        let mut solving = self.flow.begin(voice, tokens, &mut self.carried, noise)?;
        loop {
            held = self.in_turn(Some(held));
            keep_going()?;
            if let Some(mel) = self.flow.advance(&mut solving)? {
                return Ok(mel);
            }
        }
    }

    /// The turn; one that is held is given up for what is due earlier.
    fn in_turn(&self, held: Option<TurnGuard>) -> TurnGuard {
        let deadline = self.urgency.deadline();
        match held {
            Some(held) if !held.is_wanted_before(deadline) => held,
            held => {
                drop(held);
                self.turn.take(deadline)
            }
        }
    }
}

#[cfg(test)]
#[path = "overlapped_flow_tests.rs"]
mod tests;
