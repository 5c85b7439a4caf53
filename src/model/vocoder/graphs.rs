//! The vocoder's two graphs, over batches of equal shape.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use super::causal::new_frames;
use super::{Decode, Ran, VocoderRun, VocoderRuns};
use crate::model::Mel;
use crate::model::bundle::{Bundle, FileEntry, Manifest, Phase, VocoderCache, VocoderConfig, VocoderKind};
use crate::runtime::{Device, Engines, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result, limits};

/// Mel frames that TensorRT's engine is built for: all chunks of a stream but unusual last ones.
const ENGINE_FRAMES: RangeInclusive<usize> = 16..=128;
/// Mel frames and rows it is tuned for: a chunk of 50 with its overlap, from several streams.
const ENGINE_USUAL: (usize, usize) = (58, 8);

/// The two graphs of the stage.
pub struct VocoderGraphs {
    f0: Stage,
    decoder: Stage,
    hop: usize,
    bins: usize,
    most_rows: usize,
    /// Mel frames that the decoder looks ahead, and samples its source is longer at each end.
    margins: (usize, usize),
}

/// One of them.
struct Stage {
    output: &'static str,
    any: Graph,
    /// On a GPU, sessions that only ever see one shape, by frames and rows: ONNX Runtime plans cuDNN's convolutions
    /// anew whenever a session's shape changes, which takes 130 ms for the decoder. (Generation 3's f0 predictor has
    /// no convolution nodes and needs none.)
    fixed: BTreeMap<(usize, usize), Graph>,
    /// TensorRT's engine, for the shapes it is built for.
    engine: Option<Graph>,
    /// Caches of a causal graph.
    caches: Vec<VocoderCache>,
    causal: bool,
}

impl VocoderGraphs {
    /// Loads them on a device, for batches of up to `most` rows. TensorRT's engine of the decoder is kept in the
    /// directory `engines`; only those whose chunks overlap have one.
    pub fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        device: Device,
        most: usize,
        engines: &Path,
    ) -> Result<Self> {
        let config = &bundle.manifest.vocoder;
        let options = GraphOptions::on(device.without_engines());
        let load = |name, file: &FileEntry, options: &GraphOptions| {
            Graph::load(runtime, name, &bundle.path(file), options)
        };
        let causal = match &config.kind {
            VocoderKind::Overlapped(_) => None,
            VocoderKind::Causal(kind) => Some(kind),
        };
        let engine = match (device, causal) {
            (Device::TensorRt(_), None) => {
                let options = GraphOptions {
                    engines: Some(decoder_engines(&bundle.manifest, engines)?),
                    ..GraphOptions::on(device)
                };
                Some(load("vocoder decoder", &config.decoder, &options)?)
            }
            _ => None,
        };
        let (f0_widths, decoder_widths) = match device != Device::Cpu && engine.is_none() {
            true => widths(config),
            false => Default::default(),
        };
        let most_rows = match causal {
            None => limits::VOCODER_BATCH,
            Some(_) => limits::VOCODER_BATCH_CAUSAL,
        };
        let stage =
            |name, file, output, widths: Vec<usize>, engine, caches: Option<&Vec<_>>| -> Result<Stage> {
                let rows = limits::VOCODER_ROWS
                    .into_iter()
                    .filter(|&rows| rows <= most.clamp(1, most_rows));
                let shapes = widths
                    .iter()
                    .flat_map(|&width| rows.clone().map(move |rows| (width, rows)));
                Ok(Stage {
                    output,
                    any: load(name, file, &options)?,
                    fixed: shapes
                        .map(|shape| Ok((shape, load(name, file, &options)?)))
                        .collect::<Result<_>>()?,
                    engine,
                    causal: caches.is_some(),
                    caches: caches.cloned().unwrap_or_default(),
                })
            };
        let caches = causal.map(|kind| &kind.caches);
        let (f0, decoder) = (&config.f0, &config.decoder);
        Ok(Self {
            f0: stage("vocoder f0", f0, "f0", f0_widths, None, caches.map(|c| &c.f0))?,
            decoder: stage(
                "vocoder decoder",
                decoder,
                "audio",
                decoder_widths,
                engine,
                caches.map(|c| &c.decoder),
            )?,
            hop: config.hop,
            bins: bundle.manifest.mel.bins,
            most_rows,
            margins: causal.map_or((0, 0), |kind| (kind.lookahead_frames, kind.delay_samples)),
        })
    }

    /// Runs of one shape that go at once.
    pub fn most_rows(&self) -> usize {
        self.most_rows
    }

    /// Whether streams should keep to the widths of `limits`.
    pub fn has_fixed_widths(&self) -> bool {
        !self.decoder.fixed.is_empty()
    }

    /// Runs every session that has a shape of its own, so that it is planned; nothing else may use the device
    /// meanwhile.
    pub fn warm_up(&self) -> Result<()> {
        for (stage, decodes) in [(&self.f0, false), (&self.decoder, true)] {
            for &(frames, rows) in stage.fixed.keys() {
                let run = VocoderRun {
                    mel: Mel::zeros(self.bins, frames),
                    decode: decodes.then(|| Decode {
                        source: vec![0.0; self.source_samples(frames)],
                        valid: frames - self.margins.0,
                    }),
                    caches: Vec::new(),
                };
                self.run(&vec![&run; rows])?;
            }
        }
        Ok(())
    }

    /// Runs that share a graph and a shape.
    pub fn run(&self, runs: &[&VocoderRun]) -> Result<Vec<Ran>> {
        let stage = match runs.first().map(|run| run.decode.is_some()) {
            None => return Ok(Vec::new()),
            Some(false) => &self.f0,
            Some(true) => &self.decoder,
        };
        let frames = runs[0].mel.cols;
        let samples = runs[0].decode.as_ref().map_or(0, |_| self.source_samples(frames));
        let alike = |run: &&VocoderRun| {
            run.mel.rows == self.bins && run.mel.cols == frames && run.source().len() == samples
        };
        if frames == 0 || !runs.iter().all(alike) {
            return Err(Error::Internal(
                "the vocoder runs mels of one shape, with sources that fit them".into(),
            ));
        }
        stage.run(runs, self.bins, frames)
    }

    /// Samples of the decoder's source for so many mel frames.
    fn source_samples(&self, frames: usize) -> usize {
        let (ahead, delay) = self.margins;
        frames.saturating_sub(ahead) * self.hop + 2 * delay
    }
}

impl Stage {
    /// Runs mels [bins, frames] as one batch; rows beyond them, where only more are planned, are zeros.
    fn run(&self, runs: &[&VocoderRun], bins: usize, frames: usize) -> Result<Vec<Ran>> {
        let (graph, rows) = self.for_shape(frames, runs.len());
        let stack = |row: fn(&VocoderRun) -> &[f32], each: usize| {
            let mut data: Vec<f32> = runs.iter().flat_map(|run| row(run)).copied().collect();
            data.resize(rows * each, 0.0);
            data
        };
        let samples = runs.first().map_or(0, |run| run.source().len());
        let mel = ([rows, bins, frames], stack(|run| &run.mel.data, bins * frames));
        let source = ([rows, 1, samples], stack(VocoderRun::source, samples));
        let mut valid: Vec<i64> = runs
            .iter()
            .filter_map(|run| run.decode.as_ref().map(|decode| decode.valid as i64))
            .collect();
        valid.resize(rows, 0);
        let caches = self.stacked_caches(runs, rows);

        let mut inputs = vec![("mel", Input::F32(&mel.0, &mel.1))];
        if samples > 0 {
            inputs.push(("source", Input::F32(&source.0, &source.1)));
        }
        let rows_shape = [rows];
        if samples > 0 && self.causal {
            inputs.push(("valid", Input::I64(&rows_shape, &valid)));
        }
        for (cache, (shape, data)) in self.caches.iter().zip(&caches) {
            inputs.push((&cache.name, Input::F32(shape, data)));
        }
        let mut outputs = vec![self.output];
        outputs.extend(self.caches.iter().map(|cache| cache.output.as_str()));
        let made = graph.run_many(&inputs, &outputs)?;
        Ok(rows_of(&made, rows, runs.len()))
    }

    /// The caches of all runs, [rows, shape...] each.
    fn stacked_caches(&self, runs: &[&VocoderRun], rows: usize) -> Vec<(Vec<usize>, Vec<f32>)> {
        let stacked = |(i, cache): (usize, &VocoderCache)| {
            let each: usize = cache.shape.iter().product();
            let mut data = Vec::with_capacity(rows * each);
            for (row, run) in (1..).zip(runs) {
                if let Some(kept) = run.caches.get(i) {
                    data.extend_from_slice(kept);
                }
                // The first run of an utterance begins with zeros.
                data.resize(row * each, 0.0);
            }
            data.resize(rows * each, 0.0);
            let shape = std::iter::once(rows).chain(cache.shape.iter().copied());
            (shape.collect(), data)
        };
        self.caches.iter().enumerate().map(stacked).collect()
    }

    /// The session for so many frames and runs, and how many rows it runs.
    fn for_shape(&self, frames: usize, runs: usize) -> (&Graph, usize) {
        let mut fitting = self.fixed.range((frames, runs)..=(frames, usize::MAX));
        if let Some((&(_, rows), graph)) = fitting.next() {
            return (graph, rows);
        }
        let in_range = ENGINE_FRAMES.contains(&frames) && runs <= limits::VOCODER_BATCH;
        (
            self.engine.as_ref().filter(|_| in_range).unwrap_or(&self.any),
            runs,
        )
    }
}

/// Mel frames of the runs of f0 predictor and decoder where few widths run fast.
fn widths(config: &VocoderConfig) -> (Vec<usize>, Vec<usize>) {
    match &config.kind {
        // Each run's source begins with phases of its own: the fewer runs, the better.
        VocoderKind::Overlapped(kind) if kind.phase == Phase::Samples => Default::default(),
        VocoderKind::Overlapped(kind) => {
            let next = limits::VOCODER_NEW_FRAMES + kind.cache_mel_frames;
            let all: Vec<usize> = limits::VOCODER_FIRST_FRAMES.into_iter().chain([next]).collect();
            (all.clone(), all)
        }
        VocoderKind::Causal(kind) => {
            let ahead = |new: usize| new + kind.lookahead_frames;
            (Vec::new(), new_frames(kind).into_iter().map(ahead).collect())
        }
    }
}

fn decoder_engines(manifest: &Manifest, cache: &Path) -> Result<Engines> {
    std::fs::create_dir_all(cache).map_err(|e| Error::internal(&format!("making {}", cache.display()), e))?;
    let (bins, hop) = (manifest.mel.bins, manifest.vocoder.hop);
    let shapes =
        |rows: usize, frames: usize| format!("mel:{rows}x{bins}x{frames},source:{rows}x1x{}", frames * hop);
    Ok(Engines {
        cache: cache.to_path_buf(),
        fp16: manifest.precision != "fp32",
        min_shapes: shapes(1, *ENGINE_FRAMES.start()),
        opt_shapes: shapes(ENGINE_USUAL.1, ENGINE_USUAL.0),
        max_shapes: shapes(limits::VOCODER_BATCH, *ENGINE_FRAMES.end()),
    })
}

impl VocoderRuns for VocoderGraphs {
    fn has_fixed_widths(&self) -> bool {
        self.has_fixed_widths()
    }

    fn run(&self, run: VocoderRun) -> Result<Ran> {
        let mut rans = self.run(&[&run])?;
        rans.pop()
            .ok_or_else(|| Error::Internal("the vocoder gave nothing".into()))
    }
}

/// What the first `count` of `rows` rows gave, from the outputs of a batch: values, then caches.
fn rows_of(outputs: &[Vec<f32>], rows: usize, count: usize) -> Vec<Ran> {
    let row = |output: &Vec<f32>, row: usize| {
        let each = output.len() / rows.max(1);
        output[row * each..(row + 1) * each].to_vec()
    };
    let ran = |i: usize| {
        let mut all = outputs.iter().map(|output| row(output, i));
        Ran {
            values: all.next().unwrap_or_default(),
            caches: all.collect(),
        }
    };
    (0..count).map(ran).collect()
}
