//! The vocoder's two graphs, over batches of equal shape.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use super::VocoderRuns;
use crate::model::Mel;
use crate::model::bundle::{Bundle, Manifest};
use crate::runtime::{Device, Engines, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result, limits};

/// Mel frames that TensorRT's engine is built for: all chunks of a stream but unusual last ones.
const ENGINE_FRAMES: RangeInclusive<usize> = 16..=128;
/// Mel frames and rows it is tuned for: a chunk of 50 with its overlap, from several streams.
const ENGINE_USUAL: (usize, usize) = (58, 8);

/// The two graphs of the stage.
pub struct VocoderGraphs {
    any: Pair,
    /// On a GPU, sessions that only ever see one shape, by frames and rows: ONNX Runtime plans cuDNN's convolutions
    /// anew whenever a session's shape changes, which takes 130 ms here.
    fixed: BTreeMap<(usize, usize), Pair>,
    /// The decoder as TensorRT's engine, for the shapes it is built for.
    engine: Option<Graph>,
    hop: usize,
    bins: usize,
}

struct Pair {
    f0: Graph,
    decoder: Graph,
}

impl VocoderGraphs {
    /// Loads them on a device, for batches of up to `most` rows. TensorRT's engine of the decoder is kept in the
    /// directory `engines`.
    pub fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        device: Device,
        most: usize,
        engines: &Path,
    ) -> Result<Self> {
        let config = &bundle.manifest.vocoder;
        let options = GraphOptions::on(device.without_engines());
        let load =
            |name, file, options: &GraphOptions| Graph::load(runtime, name, &bundle.path(file), options);
        let pair = || -> Result<Pair> {
            Ok(Pair {
                f0: load("vocoder f0", &config.f0, &options)?,
                decoder: load("vocoder decoder", &config.decoder, &options)?,
            })
        };
        let mut fixed = BTreeMap::new();
        if let Device::Cuda(_) = device {
            let next = limits::VOCODER_NEW_FRAMES + config.cache_mel_frames;
            for frames in limits::VOCODER_FIRST_FRAMES.into_iter().chain([next]) {
                for rows in limits::VOCODER_ROWS
                    .into_iter()
                    .filter(|&rows| rows <= most.max(1))
                {
                    fixed.insert((frames, rows), pair()?);
                }
            }
        }
        let engine = match device {
            Device::Cpu | Device::Cuda(_) => None,
            Device::TensorRt(_) => {
                let options = GraphOptions {
                    engines: Some(decoder_engines(&bundle.manifest, engines)?),
                    ..GraphOptions::on(device)
                };
                Some(load("vocoder decoder", &config.decoder, &options)?)
            }
        };
        Ok(Self {
            any: pair()?,
            fixed,
            engine,
            hop: config.hop,
            bins: bundle.manifest.mel.bins,
        })
    }

    /// Whether streams should keep to the widths of `limits`.
    pub fn has_fixed_widths(&self) -> bool {
        !self.fixed.is_empty()
    }

    /// Runs every session that has a shape of its own, so that it is planned; nothing else may use the device
    /// meanwhile.
    pub fn warm_up(&self) -> Result<()> {
        for &(frames, rows) in self.fixed.keys() {
            let mel = Mel {
                rows: self.bins,
                cols: frames,
                data: vec![0.0; self.bins * frames],
            };
            let source = vec![0.0; frames * self.hop];
            self.f0(&vec![&mel; rows])?;
            self.decode(&vec![&mel; rows], &vec![source.as_slice(); rows])?;
        }
        Ok(())
    }

    /// Fundamental frequencies of each of `mels`, which have one shape.
    pub fn f0(&self, mels: &[&Mel]) -> Result<Vec<Vec<f32>>> {
        let (pair, rows) = self.for_shape(mels);
        let (shape, data) = stack(mels, rows)?;
        let [f0] = pair.f0.run(&[("mel", Input::F32(&shape, &data))], ["f0"])?;
        Ok(rows_of(&f0, rows, mels.len()))
    }

    /// Samples of each of `mels`, which have one shape, from their sources.
    pub fn decode(&self, mels: &[&Mel], sources: &[&[f32]]) -> Result<Vec<Vec<f32>>> {
        let (pair, rows) = self.for_shape(mels);
        let (shape, data) = stack(mels, rows)?;
        let samples = shape[2] * self.hop;
        if sources.len() != mels.len() || sources.iter().any(|source| source.len() != samples) {
            return Err(Error::Internal("the harmonic source does not fit the mel".into()));
        }
        let mut source = sources.concat();
        source.resize(rows * samples, 0.0);
        let in_range = ENGINE_FRAMES.contains(&shape[2]) && mels.len() <= limits::VOCODER_BATCH;
        let engine = self.engine.as_ref().filter(|_| in_range);
        let [audio] = engine.unwrap_or(&pair.decoder).run(
            &[
                ("mel", Input::F32(&shape, &data)),
                ("source", Input::F32(&[rows, 1, samples], &source)),
            ],
            ["audio"],
        )?;
        Ok(rows_of(&audio, rows, mels.len()))
    }

    /// The session for `mels` and how many rows it runs.
    fn for_shape(&self, mels: &[&Mel]) -> (&Pair, usize) {
        let frames = mels.first().map_or(0, |mel| mel.cols);
        let mut fitting = self.fixed.range((frames, mels.len())..=(frames, usize::MAX));
        match fitting.next() {
            Some((&(_, rows), pair)) => (pair, rows),
            None => (&self.any, mels.len()),
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

    fn f0(&self, mel: &Mel) -> Result<Vec<f32>> {
        self.f0(&[mel]).map(|mut rows| rows.swap_remove(0))
    }

    fn decode(&self, mel: &Mel, source: &[f32]) -> Result<Vec<f32>> {
        self.decode(&[mel], &[source]).map(|mut rows| rows.swap_remove(0))
    }
}

/// Mels of one shape as a tensor [rows, bins, frames]; rows beyond theirs are zeros.
fn stack(mels: &[&Mel], rows: usize) -> Result<([usize; 3], Vec<f32>)> {
    let (bins, frames) = mels.first().map_or((0, 0), |mel| (mel.rows, mel.cols));
    if frames == 0 || mels.iter().any(|mel| (mel.rows, mel.cols) != (bins, frames)) {
        return Err(Error::Internal("the vocoder runs mels of one shape".into()));
    }
    let mut data = Vec::with_capacity(rows * bins * frames);
    mels.iter().for_each(|mel| data.extend_from_slice(&mel.data));
    data.resize(rows * bins * frames, 0.0);
    Ok(([rows, bins, frames], data))
}

/// The first `count` of `rows` rows.
fn rows_of(data: &[f32], rows: usize, count: usize) -> Vec<Vec<f32>> {
    data.chunks_exact((data.len() / rows).max(1))
        .take(count)
        .map(<[f32]>::to_vec)
        .collect()
}
