//! The flow of generations 2 and 3: speech tokens -> mel, by conditional flow matching with classifier-free guidance.
//!
//! The encoder graph gives the mean and the speaker vector, the estimator graph one Euler step, guidance included
//! (`CausalMaskedDiffWithXvec.inference` and `CausalConditionalCFM` of the reference). Both keep what later chunks
//! need in pages (see [`pages`](super::pages)), so a chunk costs the same wherever it is in an utterance. A
//! [`FlowRunner`] runs any number of utterances in one batch.
mod arenas;
mod prepared;
mod runner;
mod shape;
mod voice;

use std::sync::Arc;

pub use runner::{Attention, FlowRunner, Row, Running};
pub use shape::Shape;
pub use voice::FlowVoice;

use super::bundle::{Bundle, FlowKind, PagedFlowConfig};
use super::mel::Mel;
use crate::runtime::{Device, Graph, GraphOptions, Runtime};
use crate::{Error, Result};

/// A loaded flow.
pub struct Flow {
    encoder: Arc<Graph>,
    estimator: Arc<Graph>,
    noise: Mel,
    config: PagedFlowConfig,
    steps: usize,
    spk_dim: usize,
    bins: usize,
    ratio: usize,
    batches: bool,
}

impl Flow {
    /// Loads the stage.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device) -> Result<Self> {
        let manifest = &bundle.manifest;
        let (FlowKind::Paged(config), Some(ratio)) = (&manifest.flow.kind, manifest.token_mel_ratio) else {
            return Err(Error::Internal("the bundle's flow has no pages".into()));
        };
        let (config, bins) = (config.clone(), manifest.mel.bins);
        let noise = read_noise(bundle, &config, bins)?;
        let options = |arena| GraphOptions {
            arena,
            cuda_graph: true,
            ..GraphOptions::on(device)
        };
        let load =
            |name, file, arena| Graph::load(runtime, name, &bundle.path(file), &options(arena)).map(Arc::new);
        Ok(Self {
            // It runs once per chunk, but the attention of a whole utterance may need much memory at once.
            encoder: load("flow encoder", &manifest.flow.encoder, device != Device::Cpu)?,
            estimator: load("flow estimator", &manifest.flow.estimator, true)?,
            noise,
            config,
            steps: manifest.flow.steps,
            spk_dim: manifest.flow.spk_dim,
            bins,
            ratio,
            batches: device != Device::Cpu,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &PagedFlowConfig {
        &self.config
    }

    /// Width of a speaker embedding.
    pub fn spk_dim(&self) -> usize {
        self.spk_dim
    }

    /// Mel bins.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Mel frames per speech token.
    pub fn ratio(&self) -> usize {
        self.ratio
    }

    /// Mel frames it can make in one utterance, prompt included.
    pub fn max_frames(&self) -> usize {
        self.noise.cols
    }

    /// Whether several utterances run at once, in few padded shapes: so on a GPU. A CPU does one after the other just
    /// as fast, and what an utterance sounds like then never depends on others.
    pub fn batches(&self) -> bool {
        self.batches
    }

    /// The same, batching or not whatever the device.
    pub fn batching(self, batches: bool) -> Self {
        Self { batches, ..self }
    }

    /// Whether its pages are the CPU's memory, which costs nothing while nobody uses it.
    pub fn gives_memory_back(&self) -> bool {
        self.estimator.device() == Device::Cpu
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> u64 {
        arenas::page_bytes(&self.config, self.steps, self.ratio)
    }
}

fn read_noise(bundle: &Bundle, config: &PagedFlowConfig, bins: usize) -> Result<Mel> {
    let path = bundle.path(&config.noise.file);
    let bytes =
        std::fs::read(&path).map_err(|e| Error::internal(&format!("reading {}", path.display()), e))?;
    let data: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    if data.len() != bins * config.noise.frames {
        return Err(Error::Internal(format!(
            "{} holds {} numbers, not {bins} x {}",
            path.display(),
            data.len(),
            config.noise.frames
        )));
    }
    Ok(Mel {
        rows: bins,
        cols: config.noise.frames,
        data,
    })
}
