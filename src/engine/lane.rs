//! Lanes: one per device, each with the stages that run there. A request takes one lane for all of its work.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::flow::FlowStage;
use super::lm_worker::LmWorker;
use super::turn::Turn;
use super::vocoder_worker::VocoderWorker;
use crate::model::Bundle;
use crate::model::llm::Llm;
use crate::model::vocoder::VocoderGraphs;
use crate::runtime::{Device, Runtime, resident_bytes};
use crate::{Result, limits};

/// The stages of one device.
pub struct Lane {
    /// The device.
    pub device: Device,
    /// Requests it has at work at most.
    pub slots: usize,
    /// Language model.
    pub lm: LmWorker,
    /// Flow.
    pub flow: FlowStage,
    /// Vocoder.
    pub vocoder: VocoderWorker,
}

/// What an operator may choose about a lane.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// Requests it has at work at most.
    pub slots: usize,
    /// Bytes of flow state kept for later chunks and requests, where the flow has pages; `None`: what suits the device.
    pub flow_cache: Option<u64>,
    /// Chunks of left context that the flow sees; `None`: all.
    pub left_chunks: Option<usize>,
    /// Where TensorRT keeps the engines it has built.
    pub tensorrt_cache: PathBuf,
}

impl Lane {
    /// Whether stages of one request may work at the same time: a GPU's do, a CPU's would compete for its cores.
    pub fn overlaps(&self) -> bool {
        self.device != Device::Cpu
    }

    fn load(runtime: &Runtime, bundle: &Bundle, device: Device, options: &LaneOptions) -> Result<Self> {
        // On a CPU the stages would compete for the cores; a GPU interleaves them itself.
        let turn = (device == Device::Cpu).then(Turn::new);
        let log = |stage| log_memory(device, stage);
        log("nothing")?;
        let flow = FlowStage::load(runtime, bundle, device, turn.clone(), options)?;
        log("flow")?;
        let vocoder = VocoderGraphs::load(runtime, bundle, device, options.slots, &options.tensorrt_cache)?;
        log("vocoder")?;
        let llm = Llm::load(runtime, bundle, device, options.slots)?;
        log("language model")?;
        Ok(Self {
            device,
            slots: options.slots,
            lm: LmWorker::start(llm, turn.clone())?,
            flow,
            vocoder: VocoderWorker::start(vocoder, turn)?,
        })
    }
}

/// Says what memory is taken, and what is left of a GPU's, after a stage was loaded.
fn log_memory(device: Device, stage: &str) -> Result<()> {
    let free_mib = device.free_memory()?.map(|bytes| bytes >> 20);
    let resident_mib = resident_bytes().map(|bytes| bytes >> 20);
    tracing::debug!(%device, stage, resident_mib, free_mib, "loaded");
    Ok(())
}

/// All lanes, and how many requests each has.
pub struct Lanes {
    lanes: Vec<Lane>,
    active: Mutex<Vec<usize>>,
}

impl Lanes {
    /// Loads the stages on every device.
    pub fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        devices: &[Device],
        options: &LaneOptions,
    ) -> Result<Self> {
        let lanes = devices
            .iter()
            .map(|&device| Lane::load(runtime, bundle, device, options));
        Ok(Self {
            lanes: lanes.collect::<Result<_>>()?,
            active: Mutex::new(vec![0; devices.len()]),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// Requests at work.
    pub fn active(&self) -> usize {
        self.active.lock().iter().sum()
    }

    /// A place on the lane with the fewest requests.
    pub fn enter(self: &Arc<Self>) -> Place {
        let mut active = self.active.lock();
        let index = least(&active);
        active[index] += 1;
        Place {
            lanes: self.clone(),
            index,
        }
    }
}

/// The first of the smallest.
fn least(counts: &[usize]) -> usize {
    (0..counts.len()).min_by_key(|&i| counts[i]).unwrap_or(0)
}

/// A request's place on a lane, given back when dropped.
pub struct Place {
    lanes: Arc<Lanes>,
    index: usize,
}

impl Place {
    /// The lane.
    pub fn lane(&self) -> &Lane {
        &self.lanes.lanes[self.index]
    }

    /// Whether so many share the lane that a stream's second chunk will take long. Never on a CPU, where a request's
    /// bytes must not depend on the load.
    pub fn is_crowded(&self) -> bool {
        self.lane().overlaps() && self.lanes.active.lock()[self.index] > limits::CROWDED_LANE
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lanes.active.lock()[self.index] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::least;

    #[test]
    fn the_least_loaded_lane_is_taken_and_the_first_of_equals() {
        assert_eq!(least(&[0, 0]), 0);
        assert_eq!(least(&[2, 1, 1]), 1);
    }
}
