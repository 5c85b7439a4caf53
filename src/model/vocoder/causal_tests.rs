use std::cell::RefCell;

use super::*;
use crate::dsp::source::{PhaseRule, SourceParams};
use crate::model::bundle::CausalCaches;
use crate::model::vocoder::Ran;

const HOP: usize = 16;
const DELAY: usize = 4;
const AHEAD: usize = 4;

/// Runs that give the mel as f0 and the source as speech, and count in their caches.
struct Fake {
    fixed: bool,
    /// Frames of the decoder's runs.
    widths: RefCell<Vec<usize>>,
    /// Runs of the f0 predictor and of the decoder.
    counts: [RefCell<f32>; 2],
}

impl VocoderRuns for Fake {
    fn has_fixed_widths(&self) -> bool {
        self.fixed
    }

    fn run(&self, run: VocoderRun) -> Result<Ran> {
        let mut count = self.counts[usize::from(run.decode.is_some())].borrow_mut();
        assert_eq!(run.caches.first().map_or(0.0, |kept| kept[0]), *count);
        *count += 1.0;
        let values = match &run.decode {
            None => run.mel.row(0)[..run.mel.cols - (AHEAD - 1)].to_vec(),
            Some(decode) => {
                let frames = run.mel.cols - AHEAD;
                assert_eq!(decode.source.len(), HOP * frames + 2 * DELAY);
                assert!(frames == decode.valid || run.mel.row(0)[decode.valid..].iter().all(|&v| v == 0.0));
                self.widths.borrow_mut().push(frames);
                decode.source[..HOP * frames].to_vec()
            }
        };
        Ok(Ran {
            values,
            caches: vec![vec![*count]],
        })
    }
}

fn source() -> HarmonicSource {
    HarmonicSource::new(SourceParams {
        sample_rate: 24_000,
        hop: HOP,
        harmonics: 2,
        sine_amp: 0.1,
        noise_std: 0.003,
        voiced_threshold: 10.0,
        merge_weight: vec![1.0, -0.5, 0.25],
        merge_bias: 0.1,
        rule: PhaseRule::Held,
    })
    .unwrap()
}

fn vocoder() -> Causal {
    let config = CausalConfig {
        caches: CausalCaches {
            f0: Vec::new(),
            decoder: Vec::new(),
        },
        f0_lookahead_frames: AHEAD - 1,
        lookahead_frames: AHEAD,
        delay_samples: DELAY,
        noise: FixedNoiseConfig::Uniform { seed: 0, skip: 5 },
    };
    Causal::new(source(), config, 1).unwrap()
}

/// f0 of so many frames, some of them unvoiced, none 0.
fn f0(frames: usize) -> Vec<f32> {
    (0..frames).map(|i| 1.0 + (i * 37 % 200) as f32).collect()
}

/// The speech of chunks of so many frames, and the frames of the decoder's runs.
fn speak(fixed: bool, chunks: &[usize]) -> (Vec<f32>, Vec<usize>) {
    let fake = Fake {
        fixed,
        widths: RefCell::default(),
        counts: Default::default(),
    };
    let (vocoder, all) = (vocoder(), f0(chunks.iter().sum()));
    let (mut state, mut rest, mut speech) = (vocoder.begin(), all.as_slice(), Vec::new());
    for (i, &frames) in chunks.iter().enumerate() {
        let (new, after) = rest.split_at(frames);
        rest = after;
        let mel = Mel {
            rows: 1,
            cols: frames,
            data: new.to_vec(),
        };
        let last = i + 1 == chunks.len();
        speech.extend(vocoder.push(&fake, &mut state, &mel, last).unwrap());
    }
    (speech, fake.widths.into_inner())
}

#[test]
fn every_sample_is_spoken_once_however_the_mel_comes() {
    for fixed in [false, true] {
        for first in [0, 1, 4, 5, 19, 20, 49, 54, 120] {
            for last in [0, 1, 3, 4, 24, 45, 46, 49, 50, 51, 54, 99] {
                for between in [0, 1, 4] {
                    let mut chunks = vec![first];
                    chunks.extend(std::iter::repeat_n(50, between));
                    chunks.push(last);
                    let (speech, _) = speak(fixed, &chunks);
                    let mut noise = UniformNoise::new(0, 5);
                    let whole = source().render(&f0(chunks.iter().sum()), &[], || noise.draw());
                    assert!(speech == whole, "{chunks:?} fixed: {fixed}");
                }
            }
        }
    }
}

#[test]
fn fixed_widths_are_the_only_ones() {
    let widths = new_frames(&vocoder().config);
    assert_eq!(widths, [16, 30, 45, 50]);
    for first in [20, 34, 49, 120] {
        for last in 0..=110 {
            let (_, ran) = speak(true, &[first, 50, 50, last]);
            assert!(
                ran.iter().all(|width| widths.contains(width)),
                "{first} {last}: {ran:?}"
            );
        }
    }
}

#[test]
fn a_stream_runs_what_it_can_and_a_short_answer_once() {
    assert_eq!(speak(false, &[33]).1, [34]);
    assert_eq!(speak(false, &[20, 50, 50, 0]).1, [16, 50, 50, 5]);
    assert_eq!(speak(true, &[20, 50, 50, 0]).1, [16, 50, 50, 16]);
}
