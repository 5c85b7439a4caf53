//! What the CUDA driver is asked directly: how much memory a GPU has.

use cudarc::driver::{CudaContext, sys};

use crate::{Error, Result};

/// A GPU's memory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Nobody has it.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// The memory of a CUDA device.
pub(super) fn memory(device: u32) -> Result<DeviceMemory> {
    // SAFETY: it only tries to open the driver's library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Internal("CUDA's driver library cannot be opened".into()));
    }
    let failed = |e| Error::internal(&format!("the memory of CUDA device {device}"), e);
    // The context is the one that ONNX Runtime uses too.
    let context = CudaContext::new(device as usize).map_err(failed)?;
    let (free, total) = context.mem_get_info().map_err(failed)?;
    Ok(DeviceMemory {
        free: free as u64,
        total: total as u64,
    })
}
