//! The vocoder of generations 1 and 2. The decoder is not causal, so a streamed utterance follows the reference
//! (cli/model.py `token2wav`): each chunk is vocoded together with the last mel frames of the one before, their source
//! is carried over, and the overlapping speech is cross-faded with a Hamming window.
//!
//! Where only few widths run fast (CUDA), a stream is cut into those: what does not fill a run waits for the next
//! chunk, and the last run begins as much earlier as it lacks frames. That gives the last chunk more of the past than
//! the reference does, and changes nothing else.

use super::{VocoderRun, VocoderRuns};
use crate::dsp::fade::{cross_fade, hamming};
use crate::dsp::source::HarmonicSource;
use crate::model::mel::{self, Mel};
use crate::{Result, limits};

/// The stage without its graphs: source, overlap, cross-fade.
#[derive(Debug, Clone)]
pub(super) struct Overlapped {
    source: HarmonicSource,
    hop: usize,
    /// Mel frames that chunks share.
    overlap: usize,
    window: Vec<f32>,
}

/// What one streamed utterance carries from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct OverlappedState {
    carried: Option<Carried>,
    /// Frames that wait for enough others to fill a run.
    pending: Option<Mel>,
}

#[derive(Debug)]
struct Carried {
    /// The last frames of the run before, and their source.
    mel: Mel,
    source: Vec<f32>,
    /// The end of its speech, which has not been spoken.
    speech: Vec<f32>,
}

impl Overlapped {
    /// With this `source`, and chunks that share `overlap` mel frames.
    pub fn new(source: HarmonicSource, overlap: usize) -> Self {
        let hop = source.params().hop;
        Self {
            window: hamming(2 * overlap * hop),
            source,
            hop,
            overlap,
        }
    }

    /// The next chunk of an utterance: `mel` are its new frames; the last `overlap` of each run are held back for the
    /// next one until `finalize`. `noise` gives standard normal numbers.
    pub fn push(
        &self,
        runs: &impl VocoderRuns,
        state: &mut OverlappedState,
        mel: &Mel,
        finalize: bool,
        mut noise: impl FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        let begins = state.carried.is_none();
        if !runs.has_fixed_widths() || (finalize && begins && state.pending.is_none()) {
            return self.run(runs, state, mel, self.overlap, finalize, &mut noise);
        }
        let mut pending = match state.pending.take() {
            Some(before) => mel::join(&before, mel),
            None => mel.clone(),
        };
        let mut speech = Vec::new();
        while let Some(width) = next_width(state.carried.is_none(), pending.cols) {
            let new = mel::frames(&pending, 0, width);
            pending = mel::frames(&pending, width, pending.cols);
            speech.extend(self.run(runs, state, &new, self.overlap, false, &mut noise)?);
        }
        match finalize {
            true => speech.extend(self.finish(runs, state, &pending, &mut noise)?),
            false => state.pending = Some(pending),
        }
        Ok(speech)
    }

    /// The last run of a stream of fixed widths.
    fn finish(
        &self,
        runs: &impl VocoderRuns,
        state: &mut OverlappedState,
        rest: &Mel,
        noise: &mut impl FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        let overlap = self.overlap;
        let before = match &state.carried {
            Some(carried) if rest.cols == 0 => return Ok(carried.speech.clone()),
            Some(carried) => Some(limits::VOCODER_NEW_FRAMES + overlap - rest.cols)
                .filter(|&frames| frames <= carried.mel.cols)
                .unwrap_or(overlap),
            None => overlap,
        };
        self.run(runs, state, rest, before, true, noise)
    }

    /// Vocodes `new` behind the last `before` frames of the run before it.
    fn run(
        &self,
        runs: &impl VocoderRuns,
        state: &mut OverlappedState,
        new: &Mel,
        before: usize,
        finalize: bool,
        noise: &mut impl FnMut() -> f32,
    ) -> Result<Vec<f32>> {
        let hop = self.hop;
        let carried = state.carried.take();
        let (mel, cached) = match &carried {
            Some(c) => {
                let skipped = c.mel.cols.saturating_sub(before);
                let known = mel::frames(&c.mel, skipped, c.mel.cols);
                (mel::join(&known, new), &c.source[skipped * hop..])
            }
            None => (new.clone(), &[][..]),
        };
        if mel.cols == 0 {
            return Ok(Vec::new());
        }
        let (mut speech, source) = self.vocode(runs, &mel, cached, noise)?;
        if let Some(c) = &carried {
            // What lies before the speech held back has been spoken.
            speech.drain(..cached.len() - c.speech.len());
            cross_fade(&mut speech, &c.speech, &self.window);
        }
        if finalize {
            return Ok(speech);
        }
        let frames = self.overlap.min(mel.cols);
        let held = speech.split_off(speech.len() - frames * hop);
        let kept = match runs.has_fixed_widths() {
            true => mel.cols,
            false => frames,
        };
        state.carried = Some(Carried {
            source: source[source.len() - kept * hop..].to_vec(),
            mel: mel::frames(&mel, mel.cols - kept, mel.cols),
            speech: held,
        });
        Ok(speech)
    }

    fn vocode(
        &self,
        runs: &impl VocoderRuns,
        mel: &Mel,
        cached: &[f32],
        mut noise: impl FnMut() -> f32,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let f0 = runs.run(VocoderRun::f0(mel.clone()))?.values;
        let start = self.source.start_phases(&mut noise);
        let mut source = self.source.render(&f0, &start, noise);
        let carried = cached.len().min(source.len());
        source[..carried].copy_from_slice(&cached[..carried]);
        let decode = VocoderRun::decode(mel.clone(), source.clone());
        Ok((runs.run(decode)?.values, source))
    }
}

/// New frames of the next run, where widths are fixed and so many frames are there.
fn next_width(begins: bool, frames: usize) -> Option<usize> {
    let first = limits::VOCODER_FIRST_FRAMES;
    match begins {
        true => first.into_iter().rev().find(|&width| width <= frames),
        false => (frames >= limits::VOCODER_NEW_FRAMES).then_some(limits::VOCODER_NEW_FRAMES),
    }
}

#[cfg(test)]
#[path = "overlapped_tests.rs"]
mod tests;
