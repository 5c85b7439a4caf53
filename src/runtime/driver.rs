//! What the CUDA driver is asked directly: how much memory a GPU has.

use cudarc::driver::{CudaContext, sys};

use crate::{Error, Result};

/// Bytes of a CUDA device's memory that nobody has.
pub(super) fn free_memory(device: u32) -> Result<u64> {
    // SAFETY: it only tries to open the driver's library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Internal("CUDA's driver library cannot be opened".into()));
    }
    let failed = |e| Error::internal(&format!("the memory of CUDA device {device}"), e);
    // The context is the one that ONNX Runtime uses too.
    let context = CudaContext::new(device as usize).map_err(failed)?;
    let (free, _) = context.mem_get_info().map_err(failed)?;
    Ok(free as u64)
}
