//! Generation 3's vocoder against the reference's own samples and against itself: however an utterance is cut into runs,
//! its samples are those of one run. On the exported tiny CosyVoice 3 checkpoint; `make test` exports it first.

use std::cell::RefCell;

use crate::support::{Golden, bundle_3, max_error, snr_db, vocoder_graphs_of};
use cosyserve::Result;
use cosyserve::dsp::noise::UniformNoise;
use cosyserve::model::bundle::{FixedNoiseConfig, VocoderConfig, VocoderKind};
use cosyserve::model::vocoder::{Ran, Vocoder, VocoderGraphs, VocoderRun, VocoderRuns};
use cosyserve::model::{Mel, mel};
use proptest::prelude::*;

/// Same samples: what is left of f32 rounding when runs differ in shape.
const SAME_DB: f64 = 90.0;
const GOLDEN_DB: f64 = 50.0;
const HOP: usize = 480;

fn noise(config: &VocoderConfig) -> UniformNoise {
    match &config.kind {
        VocoderKind::Causal(kind) => {
            let FixedNoiseConfig::Uniform { seed, skip } = kind.noise;
            UniformNoise::new(seed, skip)
        }
        VocoderKind::Overlapped(_) => panic!("generation 3's vocoder is causal"),
    }
}

/// The graphs, with a source whose phases are rounded as the reference rounds them: without that, samples move apart by
/// what the rounding does, which grows with the phase.
struct Rounded<'a> {
    graphs: &'a VocoderGraphs,
    config: &'a VocoderConfig,
    made: RefCell<Made>,
}

struct Made {
    turns: [f64; 9],
    noise: UniformNoise,
    source: Vec<f32>,
    /// Frames that the decoder has been given.
    decoded: usize,
    f0: Vec<f32>,
}

impl<'a> Rounded<'a> {
    fn new(graphs: &'a VocoderGraphs, config: &'a VocoderConfig) -> Self {
        let made = Made {
            turns: [0.0; 9],
            noise: noise(config),
            source: Vec::new(),
            decoded: 0,
            f0: Vec::new(),
        };
        Self {
            graphs,
            config,
            made: made.into(),
        }
    }
}

impl Made {
    fn render(&mut self, f0: &[f32], config: &VocoderConfig) {
        for &pitch in f0 {
            self.f0.push(pitch);
            let voiced = pitch > config.voiced_threshold;
            let level = if voiced {
                config.noise_std
            } else {
                config.sine_amp / 3.0
            };
            let sines: [f32; 9] = std::array::from_fn(|h| {
                self.turns[h] += f64::from((pitch * (h + 1) as f32 / 24_000.0).rem_euclid(1.0));
                let phase = self.turns[h] as f32 * 2.0 * std::f32::consts::PI * HOP as f32;
                let sine = f64::from(phase).sin() as f32 * config.sine_amp;
                if voiced { sine } else { 0.0 }
            });
            for _ in 0..HOP {
                let merged: f32 = sines
                    .iter()
                    .zip(&config.merge_weight)
                    .map(|(sine, weight)| weight * (sine + level * self.noise.draw()))
                    .sum();
                self.source.push((merged + config.merge_bias).tanh());
            }
        }
    }

    /// Sample `i`, which may lie before or behind those there are; `ends`: none follow.
    fn sample(&self, i: isize, ends: bool) -> f32 {
        let last = self.source.len() as isize - 1;
        let at = match i {
            i if i < 0 => -i,
            i if i > last && ends && i <= last + 8 => 2 * last - i,
            i => i,
        };
        self.source.get(at as usize).copied().unwrap_or(0.0)
    }
}

impl VocoderRuns for Rounded<'_> {
    fn has_fixed_widths(&self) -> bool {
        false
    }

    fn run(&self, mut run: VocoderRun) -> Result<Ran> {
        let mut made = self.made.borrow_mut();
        if let Some(decode) = &mut run.decode {
            let frames = run.mel.cols - 4;
            let ends = decode.valid < frames;
            if ends {
                let known = made.decoded + decode.valid;
                made.source.truncate(known * HOP);
                made.f0.truncate(known);
            }
            let from = (made.decoded * HOP) as isize - 8;
            decode.source = (from..from + (frames * HOP + 16) as isize)
                .map(|i| made.sample(i, ends))
                .collect();
            made.decoded += frames;
            return VocoderRuns::run(self.graphs, run);
        }
        let ran = VocoderRuns::run(self.graphs, run)?;
        made.render(&ran.values, self.config);
        Ok(ran)
    }
}

/// The samples of `mel` when it comes in parts that end at `cuts` and at its end; without `finalize` more would follow.
fn spoken(vocoder: &Vocoder, runs: &impl VocoderRuns, mel: &Mel, cuts: &[usize], finalize: bool) -> Vec<f32> {
    let mut state = vocoder.begin();
    let (mut from, mut samples) = (0, Vec::new());
    for (i, &to) in cuts.iter().chain([&mel.cols]).enumerate() {
        let part = mel::frames(mel, from, to);
        let last = finalize && i == cuts.len();
        let new = vocoder.push(runs, &mut state, &part, last, || unreachable!());
        samples.extend(new.unwrap());
        from = to;
    }
    samples
}

/// Guarantees the fixed noise of the source, number by number.
#[test]
fn the_noise_is_the_references() {
    let bundle = bundle_3();
    for golden in ["noise_3", "hift_3"] {
        let expected = Golden::open(golden).floats("sine_waves_head");
        let mut noise = noise(&bundle.manifest.vocoder);
        assert!(expected.iter().all(|&number| noise.draw() == number), "{golden}");
    }
}

/// Guarantees f0 and samples, with the end of an utterance and before it. The reference then gives 4 frames fewer than
/// are known.
#[test]
fn samples_are_the_references() {
    let bundle = bundle_3();
    let (graphs, vocoder) = (vocoder_graphs_of(&bundle), Vocoder::new(&bundle).unwrap());
    let golden = Golden::open("hift_3");
    for (case, finalize) in [("final1", true), ("final0", false)] {
        let mel = golden.matrix(&format!("{case}/mel"));
        let expected = golden.floats(&format!("{case}/audio"));
        let rounded = Rounded::new(&graphs, &bundle.manifest.vocoder);
        let theirs = spoken(&vocoder, &rounded, &mel, &[], finalize);
        let ours = spoken(&vocoder, &graphs, &mel, &[], finalize);
        let f0: Vec<f32> = golden.doubles(&format!("{case}/f0"));
        let error = max_error(&rounded.made.borrow().f0[..f0.len()], &f0);
        let [as_reference, as_is] = [&theirs, &ours].map(|got| snr_db(&got[..expected.len()], &expected));
        println!(
            "vocoder {case}: f0 {error:.2e} Hz, SNR {as_reference:.1} dB, phases not rounded {as_is:.1} dB"
        );
        assert!(!finalize || ours.len() == expected.len());
        assert!(
            error <= 1e-3 && as_reference >= GOLDEN_DB && as_is >= GOLDEN_DB,
            "{case}"
        );
    }
}

/// Guarantees the samples of the reference's chunks, from its mels as they came to its vocoder.
#[test]
fn streamed_samples_are_the_references() {
    let bundle = bundle_3();
    let (graphs, vocoder) = (vocoder_graphs_of(&bundle), Vocoder::new(&bundle).unwrap());
    let golden = Golden::open("stream_3");
    for case in ["stream", "full", "speed1.3"] {
        let chunks = golden.ints(&format!("{case}/chunk_samples")).len();
        let rounded = Rounded::new(&graphs, &bundle.manifest.vocoder);
        let mut state = vocoder.begin();
        let (mut ours, mut theirs, mut known) = (Vec::new(), Vec::new(), 0);
        for chunk in 0..chunks {
            let key = |name: &str| format!("{case}/chunk{chunk}/{name}");
            let mel = golden.matrix(&key("hift_mel"));
            let new = mel::frames(&mel, known, mel.cols);
            known = mel.cols;
            let last = golden.bools(&key("finalize"))[0];
            ours.extend(
                vocoder
                    .push(&rounded, &mut state, &new, last, || unreachable!())
                    .unwrap(),
            );
            theirs.extend(golden.floats(&key("out")));
        }
        let snr = snr_db(&ours, &theirs);
        println!("vocoder {case}, {chunks} chunks: SNR {snr:.1} dB");
        assert!(snr >= GOLDEN_DB, "{case}: {snr}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// However the mel comes, the samples are those of one run.
    #[test]
    fn cuts_do_not_matter(mut cuts in prop::collection::vec(0usize..=100, 0..8)) {
        cuts.sort_unstable();
        let bundle = bundle_3();
        let (graphs, vocoder) = (vocoder_graphs_of(&bundle), Vocoder::new(&bundle).unwrap());
        let mel = Golden::open("stream_3").matrix("full/chunk0/hift_mel");
        let whole = spoken(&vocoder, &graphs, &mel, &[], true);
        // The last part may be empty: an utterance may be known to end only after its last frame.
        let parts = spoken(&vocoder, &graphs, &mel, &cuts, true);
        prop_assert_eq!(whole.len(), mel.cols * HOP);
        let snr = snr_db(&parts, &whole);
        println!("parts that end at {cuts:?}: SNR {snr:.1} dB");
        prop_assert!(snr >= SAME_DB, "{snr}");
    }
}

/// The graphs, and what their runs were and gave.
struct Recorded<'a>(&'a VocoderGraphs, RefCell<Vec<(VocoderRun, Ran)>>);

impl VocoderRuns for Recorded<'_> {
    fn has_fixed_widths(&self) -> bool {
        false
    }

    fn run(&self, run: VocoderRun) -> Result<Ran> {
        let ran = VocoderRuns::run(self.0, run.clone())?;
        self.1.borrow_mut().push((run, ran.clone()));
        Ok(ran)
    }
}

/// Guarantees that rows of a batch do not touch each other, where one begins, one goes on, one ends and one is nothing,
/// as in a batch that is filled up.
#[test]
fn rows_of_a_batch_are_on_their_own() {
    let bundle = bundle_3();
    let (graphs, vocoder) = (vocoder_graphs_of(&bundle), Vocoder::new(&bundle).unwrap());
    let mel = mel::frames(&Golden::open("stream_3").matrix("full/chunk0/hift_mel"), 0, 79);
    let recorded = Recorded(&graphs, RefCell::default());
    // The decoder then runs four times over 20 frames, the last one of them behind the end.
    spoken(&vocoder, &recorded, &mel, &[24, 44, 64], true);
    for decodes in [false, true] {
        let all = recorded.1.borrow();
        let alone: Vec<_> = all
            .iter()
            .filter(|(run, _)| run.decode.is_some() == decodes)
            .collect();
        let width = alone[1].0.mel.cols;
        let alike: Vec<_> = alone
            .into_iter()
            .filter(|(run, _)| run.mel.cols == width)
            .collect();
        assert!(alike.len() >= 3);
        let mut nothing = alike[0].0.clone();
        nothing.mel.data.fill(0.0);
        nothing.caches.clear();
        if let Some(decode) = &mut nothing.decode {
            decode.source.fill(0.0);
            decode.valid = 0;
        }
        let batch: Vec<_> = alike.iter().map(|(run, _)| run).chain([&nothing]).collect();
        let together = graphs.run(&batch).unwrap();
        for ((_, alone), row) in alike.iter().zip(&together) {
            assert!(max_error(&row.values, &alone.values) <= 1e-4);
            assert_eq!(row.caches.len(), alone.caches.len());
            for (kept, expected) in row.caches.iter().zip(&alone.caches) {
                let range = expected.iter().fold(1.0f32, |range, v| range.max(v.abs()));
                assert!(max_error(kept, expected) <= 1e-4 * range);
            }
        }
    }
}
