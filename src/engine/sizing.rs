//! What suits the devices: which of them can run a bundle, how many requests at once, how much flow state.

use crate::model::bundle::Manifest;
use crate::runtime::{Device, Runtime, machine_bytes};
use crate::{Error, Result, limits};

/// Precisions whose kernels only processors have.
const CPU_PRECISIONS: [&str; 2] = ["int8", "int4"];

/// The devices that `list` names ([`Device::choose`]), all of which can run the bundle.
pub fn devices(runtime: &Runtime, list: &str, manifest: &Manifest) -> Result<Vec<Device>> {
    let devices = Device::choose(runtime, list)?;
    let precision = manifest.precision.as_str();
    let Some(gpu) = devices.iter().find(|&&device| device != Device::Cpu) else {
        return Ok(devices);
    };
    if !CPU_PRECISIONS.contains(&precision) {
        return Ok(devices);
    }
    if list.trim() == "auto" {
        tracing::info!("{gpu} is not used: the kernels of a bundle in {precision} are for processors");
        return Ok(vec![Device::Cpu]);
    }
    Err(Error::Invalid(format!(
        "device: {gpu} has no kernels for this bundle, which is {precision}; export the model as fp16, or use cpu"
    )))
}

/// Requests at work at once: few on a CPU, where each slows the others; many on a GPU, which runs them in batches.
pub fn concurrency(devices: &[Device]) -> Result<usize> {
    let of = |&device: &Device| {
        Ok(match device.free_memory()? {
            None => limits::CONCURRENCY_CPU,
            Some(free) => slots_on(free),
        })
    };
    devices.iter().map(of).sum()
}

/// Bytes of flow state kept for later chunks and requests.
pub fn flow_cache(device: Device) -> Result<u64> {
    Ok(match device.free_memory()? {
        None => cache_in(machine_bytes().unwrap_or_default()),
        Some(free) => cache_on(free),
    })
}

/// Of the memory that a machine has. It is taken as it is used.
fn cache_in(all: u64) -> u64 {
    let part = all / limits::FLOW_CACHE_PART;
    part.clamp(
        limits::FLOW_CACHE_BYTES_CPU_LEAST,
        limits::FLOW_CACHE_BYTES_CPU_MOST,
    )
}

fn cache_on(free: u64) -> u64 {
    (free / limits::FLOW_CACHE_PART).min(limits::FLOW_CACHE_BYTES_GPU)
}

/// Requests that fit into a GPU's memory beside its share of flow state.
fn slots_on(free: u64) -> usize {
    let left = free.saturating_sub(cache_on(free) + limits::GPU_BYTES_FIXED);
    let slots = usize::try_from(left / limits::GPU_BYTES_PER_SLOT).unwrap_or(usize::MAX);
    slots.clamp(1, limits::CONCURRENCY_GPU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_machines_keep_more() {
        assert_eq!([0, 2, 16, 512].map(|gib| cache_in(gib << 30) >> 30), [1, 1, 4, 8]);
    }

    #[test]
    fn small_gpus_get_less() {
        let of = |gib: u64| {
            let free = gib << 30;
            (cache_on(free) >> 30, slots_on(free))
        };
        assert_eq!(of(8), (2, 1));
        assert_eq!(of(24), (6, 10));
        assert_eq!(of(80), (16, 32));
        assert_eq!(of(140), (16, 32));
    }
}
