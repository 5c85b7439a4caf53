use super::*;
use crate::dsp::source::{PhaseRule, SourceParams};
use crate::model::vocoder::Ran;

const HOP: usize = 480;
const OVERLAP: usize = 8;

/// Runs whose speech says which frame it came from: every sample of a frame is the first number of its mel.
struct Fake {
    fixed: bool,
    widths: std::cell::RefCell<Vec<usize>>,
}

impl VocoderRuns for Fake {
    fn has_fixed_widths(&self) -> bool {
        self.fixed
    }

    fn run(&self, run: VocoderRun) -> Result<Ran> {
        let mel = &run.mel;
        let values = match &run.decode {
            None => vec![0.0; mel.cols],
            Some(decode) => {
                assert_eq!(decode.source.len(), mel.cols * HOP);
                self.widths.borrow_mut().push(mel.cols);
                mel.row(0).iter().flat_map(|&v| [v; HOP]).collect()
            }
        };
        Ok(Ran {
            values,
            caches: Vec::new(),
        })
    }
}

fn vocoder() -> Overlapped {
    let params = SourceParams {
        sample_rate: 24_000,
        hop: HOP,
        harmonics: 0,
        sine_amp: 0.1,
        noise_std: 0.003,
        voiced_threshold: 10.0,
        merge_weight: vec![1.0],
        merge_bias: 0.0,
        rule: PhaseRule::Linear,
    };
    Overlapped {
        // Halves that sum to one, unlike the reference's window, so that a fade of equal speech changes nothing.
        window: vec![0.5; 2 * OVERLAP * HOP],
        ..Overlapped::new(HarmonicSource::new(params).unwrap(), OVERLAP)
    }
}

/// The first sample of each frame that comes out for chunks of so many frames, and the widths that ran.
fn speak(fixed: bool, chunks: &[usize]) -> (Vec<f32>, Vec<usize>) {
    let fake = Fake {
        fixed,
        widths: Vec::new().into(),
    };
    let (vocoder, mut state, mut frame) = (vocoder(), OverlappedState::default(), 0);
    let mut out = Vec::new();
    for (i, &frames) in chunks.iter().enumerate() {
        let data = (frame..frame + frames).map(|f| f as f32).collect();
        frame += frames;
        let mel = Mel {
            rows: 1,
            cols: frames,
            data,
        };
        let last = i + 1 == chunks.len();
        out.extend(vocoder.push(&fake, &mut state, &mel, last, || 0.0).unwrap());
    }
    assert_eq!(out.len() % HOP, 0);
    (out.into_iter().step_by(HOP).collect(), fake.widths.into_inner())
}

#[test]
fn every_frame_is_spoken_once_however_the_mel_comes() {
    let last = [0, 1, 7, 8, 24, 25, 49, 50, 51, 99];
    for fixed in [false, true] {
        for first in [1, 19, 20, 25, 34, 47, 49, 69] {
            for last in last {
                for between in [0, 1, 4] {
                    let mut chunks = vec![first];
                    chunks.extend(std::iter::repeat_n(50, between));
                    chunks.push(last);
                    let (frames, _) = speak(fixed, &chunks);
                    let all: Vec<f32> = (0..chunks.iter().sum::<usize>()).map(|f| f as f32).collect();
                    assert_eq!(frames, all, "{chunks:?} fixed: {fixed}");
                }
            }
        }
    }
}

#[test]
fn a_stream_of_fixed_widths_runs_only_those() {
    for first in [20, 25, 34, 47, 49, 68] {
        for last in [0, 1, 24, 50, 73] {
            let (_, widths) = speak(true, &[first, 50, 50, 50, last]);
            assert!(limits::VOCODER_FIRST_FRAMES.contains(&widths[0]), "{widths:?}");
            assert!(widths[1..].iter().all(|&w| w == 58), "{first} {last}: {widths:?}");
        }
    }
}

#[test]
fn a_short_answer_is_one_run() {
    assert_eq!(speak(true, &[33]).1, [33]);
    assert_eq!(speak(true, &[120]).1, [120]);
}
