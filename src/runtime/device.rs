//! Where graphs run: names, lists of them, and what this machine has.

use std::fmt;
use std::str::FromStr;

use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session;

use super::{Runtime, driver};
use crate::{Error, Result};

/// A place that runs graphs. Numbers are CUDA device numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU through CUDA's kernels.
    Cuda(u32),
    /// An NVIDIA GPU through TensorRT's engines; what TensorRT cannot run, CUDA's kernels do.
    TensorRt(u32),
}

impl Device {
    /// The devices named by a list as `cuda:0,cuda:1`, or those found on this machine for `auto`: the first GPU if
    /// the loaded ONNX Runtime can use it, else the CPU.
    pub fn choose(runtime: &Runtime, list: &str) -> Result<Vec<Self>> {
        if list.trim() == "auto" {
            let gpu = Device::Cuda(0);
            return match gpu.check(runtime) {
                Ok(()) => Ok(vec![gpu]),
                Err(e) => {
                    tracing::debug!(reason = %e, "no GPU is used");
                    Ok(vec![Device::Cpu])
                }
            };
        }
        let devices = Self::list(list)?;
        for device in &devices {
            device.check(runtime)?;
        }
        Ok(devices)
    }

    /// The devices of a list as `cuda:0,cuda:1`, each at most once.
    pub fn list(list: &str) -> Result<Vec<Self>> {
        let mut devices: Vec<Self> = Vec::new();
        for name in list.split(',') {
            let device = name.trim().parse()?;
            if devices.contains(&device) {
                return Err(Error::Invalid(format!("device: {device} is named twice")));
            }
            devices.push(device);
        }
        Ok(devices)
    }

    /// The device whose kernels run what is not an engine: TensorRT's own GPU through CUDA.
    pub fn without_engines(self) -> Self {
        match self {
            Device::TensorRt(id) => Device::Cuda(id),
            other => other,
        }
    }

    /// Bytes of a GPU's memory that nobody has; `None` for the CPU.
    pub fn free_memory(self) -> Result<Option<u64>> {
        self.gpu().map(driver::free_memory).transpose()
    }

    pub(super) fn gpu(self) -> Option<u32> {
        match self {
            Device::Cpu => None,
            Device::Cuda(id) | Device::TensorRt(id) => Some(id),
        }
    }

    /// Says why the device cannot be used. Loading the provider reads the driver's device count.
    fn check(self, runtime: &Runtime) -> Result<()> {
        let Some(id) = self.gpu() else { return Ok(()) };
        let unusable = |e: String| Error::Invalid(format!("device: {self} cannot be used: {e}"));
        if !CUDA::is_available().map_err(|e| unusable(e.to_string()))? {
            return Err(unusable("the loaded ONNX Runtime was built without CUDA".into()));
        }
        let provider = CUDA::default()
            .with_device_id(id as i32)
            .build()
            .error_on_failure();
        Session::builder(&runtime.environment)
            .map_err(|e| unusable(e.to_string()))?
            .with_execution_providers([provider])
            .map_err(|e| unusable(e.to_string()))?;
        Ok(())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(id) => write!(f, "cuda:{id}"),
            Device::TensorRt(id) => write!(f, "tensorrt:{id}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            Error::Invalid(format!(
                "device: {name:?} is not cpu, cuda, cuda:N, tensorrt or tensorrt:N"
            ))
        };
        let (kind, id) = match name.split_once(':') {
            None => (name, None),
            // `parse` would take a sign.
            Some((kind, id)) if id.bytes().all(|b| b.is_ascii_digit()) => {
                (kind, Some(id.parse::<u16>().map_err(|_| unknown())?))
            }
            Some(_) => return Err(unknown()),
        };
        match (kind, id) {
            ("cpu", None) => Ok(Device::Cpu),
            ("cuda", id) => Ok(Device::Cuda(id.unwrap_or(0).into())),
            ("tensorrt", id) => Ok(Device::TensorRt(id.unwrap_or(0).into())),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop where something is broken")]
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["cpu", "cuda:0", "cuda:13", "tensorrt:1"] {
            assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        assert_eq!("tensorrt".parse::<Device>().unwrap(), Device::TensorRt(0));
        for name in [
            "",
            "gpu",
            "CPU",
            "cpu:0",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:70000",
            "cuda:0:1",
        ] {
            assert!(name.parse::<Device>().is_err(), "{name}");
        }
    }

    #[test]
    fn lists_name_each_device_once() {
        assert_eq!(
            Device::list("cuda:0, cuda:1").unwrap(),
            vec![Device::Cuda(0), Device::Cuda(1)]
        );
        assert!(Device::list("cuda,cuda:0").is_err());
        assert!(Device::list("cuda:0,").is_err());
    }
}
