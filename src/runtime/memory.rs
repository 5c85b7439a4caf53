//! Memory that stays where it is: buffers that graphs read and write in place, run after run.
//!
//! On CUDA a host buffer is pinned memory. Addresses are unified there, so the GPU's kernels read and write it through
//! the same pointer, and it is bound as if it were the GPU's own: no copy, and an address that never changes, which
//! captured graphs need.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use half::f16;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::SharedSessionInner;
use ort::value::{Tensor, TensorRefMut};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Element, Graph, HostElement};
use crate::{Error, Result};

/// Alignment of buffers on the CPU: a cache line, the widest vector load.
const ALIGN: usize = 64;
/// Bytes zeroed at once on a device: bounds the zeros held on the host.
const ZEROS: usize = 8 << 20;

/// One allocation; clones name the same memory, and bindings keep it alive.
#[derive(Clone)]
pub struct Buffer(pub(super) Arc<Memory>);

pub(super) struct Memory {
    data: NonNull<u8>,
    element: Element,
    len: usize,
    /// The CPU may read and write `data`.
    host: bool,
    /// CUDA device number; `None` on the CPU.
    gpu: Option<u32>,
    owner: Owner,
    /// Shared while the host reads, exclusive while the host writes or a graph runs.
    access: RwLock<()>,
}

enum Owner {
    System(Layout),
    Session {
        allocator: Allocator,
        /// The allocator's arena is the session's.
        _session: Arc<SharedSessionInner>,
    },
}

// SAFETY: `data` is reached only under `access`: shared to read, exclusively to write or to run a graph on it.
// `owner`'s allocator, which may not be called from two threads at once, is called when the memory is made and when
// its last handle is dropped.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        match &self.owner {
            // SAFETY: `data` came from `alloc` or `alloc_zeroed` with this layout.
            Owner::System(layout) => unsafe { std::alloc::dealloc(self.data.as_ptr(), *layout) },
            // SAFETY: `data` came from this allocator's `alloc`.
            Owner::Session { allocator, .. } => unsafe { allocator.free(self.data.as_ptr()) },
        }
    }
}

impl Buffer {
    /// `len` zeros in host memory that `graph`'s device reads and writes directly.
    pub fn host<T: HostElement>(graph: &Graph, len: usize) -> Result<Self> {
        let memory = match graph.device().gpu() {
            None => Memory::on_cpu(T::ELEMENT, len, true)?,
            Some(id) => Memory::on_gpu(graph, T::ELEMENT, len, id, true)?,
        };
        let buffer = Self(Arc::new(memory));
        if graph.device().gpu().is_some() {
            buffer.zero_prefix(len)?;
        }
        Ok(buffer)
    }

    /// `len` elements of the device's own memory, not initialised. On the CPU, pages that are never touched cost no
    /// memory.
    pub fn device(graph: &Graph, element: Element, len: usize) -> Result<Self> {
        let memory = match graph.device().gpu() {
            None => Memory::on_cpu(element, len, false)?,
            Some(id) => Memory::on_gpu(graph, element, len, id, false)?,
        };
        Ok(Self(Arc::new(memory)))
    }

    /// Elements in it.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Their type.
    pub fn element(&self) -> Element {
        self.0.element
    }

    /// Zeroes the first `len` elements.
    pub fn zero_prefix(&self, len: usize) -> Result<()> {
        if len > self.0.len {
            return Err(Error::Internal(format!(
                "zeroing {len} elements of a buffer of {}",
                self.0.len
            )));
        }
        let _exclusive = self.0.exclusive()?;
        let bytes = len * self.0.element.bytes();
        if self.0.reaches_host() {
            // SAFETY: the first `len` elements lie within the allocation, the CPU may write them, and nothing else
            // reaches them while `access` is held exclusively.
            unsafe { self.0.data.as_ptr().write_bytes(0, bytes) };
            return Ok(());
        }
        self.0
            .zero_on_gpu(bytes)
            .map_err(|e| Error::internal("zeroing a device buffer", e))
    }

    /// Gives the memory of these elements back to the system, as far as it is whole pages of the system's: it costs
    /// nothing until it is written again, and what it held is lost. No effect on a GPU's memory.
    pub fn discard(&self, elements: Range<usize>) -> Result<()> {
        if elements.start > elements.end || elements.end > self.0.len {
            return Err(Error::Internal(format!(
                "discarding elements {elements:?} of a buffer of {}",
                self.0.len
            )));
        }
        let _exclusive = self.0.exclusive()?;
        if self.0.gpu.is_some() {
            return Ok(());
        }
        let size = self.0.element.bytes();
        // SAFETY: the elements lie within the allocation, and nothing else reaches them while `access` is held
        // exclusively. Whatever they read as afterwards, zeros or what they were, is a value of their type.
        unsafe { give_back(self.0.data.as_ptr(), elements.start * size..elements.end * size) }
            .map_err(|e| Error::internal("giving memory back", e))
    }

    /// The elements of a host buffer. An error if a graph is running on it or the slice of [`Self::host_slice_mut`]
    /// is alive.
    pub fn host_slice<T: HostElement>(&self) -> Result<HostSlice<'_, T>> {
        self.0.check_host(T::ELEMENT)?;
        let shared = self.0.access.try_read().ok_or_else(in_use)?;
        // SAFETY: `check_host` vouches for host memory of `len` elements of T, aligned and initialised (zeroed when it
        // was made); writers are kept out while `shared` lives.
        let data = unsafe { std::slice::from_raw_parts(self.0.data.as_ptr().cast::<T>(), self.0.len) };
        Ok(HostSlice {
            data,
            _shared: shared,
        })
    }

    /// As [`Self::host_slice`], to write.
    pub fn host_slice_mut<T: HostElement>(&self) -> Result<HostSliceMut<'_, T>> {
        self.0.check_host(T::ELEMENT)?;
        let exclusive = self.0.exclusive()?;
        // SAFETY: as in `host_slice`; everybody else is kept out while `exclusive` lives.
        let data = unsafe { std::slice::from_raw_parts_mut(self.0.data.as_ptr().cast::<T>(), self.0.len) };
        Ok(HostSliceMut {
            data,
            _exclusive: exclusive,
        })
    }
}

/// The elements of a host buffer, to read.
pub struct HostSlice<'a, T> {
    data: &'a [T],
    _shared: RwLockReadGuard<'a, ()>,
}

impl<T> Deref for HostSlice<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.data
    }
}

/// The elements of a host buffer, to read and write.
pub struct HostSliceMut<'a, T> {
    data: &'a mut [T],
    _exclusive: RwLockWriteGuard<'a, ()>,
}

impl<T> Deref for HostSliceMut<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.data
    }
}

impl<T> DerefMut for HostSliceMut<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.data
    }
}

impl Memory {
    fn on_cpu(element: Element, len: usize, host: bool) -> Result<Self> {
        let failed = || Error::Internal(format!("no memory for a buffer of {len} elements"));
        let bytes = len.checked_mul(element.bytes()).ok_or_else(failed)?;
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_| failed())?;
        let data = match host {
            // SAFETY: the layout's size is not zero.
            true => unsafe { std::alloc::alloc_zeroed(layout) },
            // SAFETY: as above.
            false => unsafe { std::alloc::alloc(layout) },
        };
        Ok(Self {
            data: NonNull::new(data).ok_or_else(failed)?,
            element,
            len,
            host,
            gpu: None,
            owner: Owner::System(layout),
            access: RwLock::new(()),
        })
    }

    fn on_gpu(graph: &Graph, element: Element, len: usize, id: u32, pinned: bool) -> Result<Self> {
        let (device, kind) = match pinned {
            true => (AllocationDevice::CUDA_PINNED, MemoryType::CPUOutput),
            false => (AllocationDevice::CUDA, MemoryType::Default),
        };
        let failed =
            |e: String| graph.failed(format!("allocating {len} elements on {}: {e}", graph.device()));
        let bytes = len
            .checked_mul(element.bytes())
            .ok_or_else(|| failed("too many".into()))?;
        let session = graph.lock();
        let info = MemoryInfo::new(device, id as i32, AllocatorType::Device, kind);
        let allocator = info
            .and_then(|info| Allocator::new(&session, info))
            .map_err(|e| failed(e.to_string()))?;
        let data = allocator
            .alloc::<u8>(bytes.max(1))
            .map(|block| block.into_raw().cast::<u8>())
            .map_err(|e| failed(e.to_string()))?;
        Ok(Self {
            data: NonNull::new(data).ok_or_else(|| failed("it gave nothing".into()))?,
            element,
            len,
            host: pinned,
            gpu: Some(id),
            owner: Owner::Session {
                allocator,
                _session: session.inner(),
            },
            access: RwLock::new(()),
        })
    }

    /// Keeps everybody else out while the guard lives.
    pub(super) fn exclusive(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        self.access.try_write().ok_or_else(in_use)
    }

    /// Whether the CPU can reach it.
    pub(super) fn reaches_host(&self) -> bool {
        self.host || self.gpu.is_none()
    }

    fn check_host(&self, element: Element) -> Result<()> {
        match self.host && self.element == element {
            true => Ok(()),
            false => Err(Error::Internal(format!(
                "a buffer of {:?} was taken for host memory of {element:?}",
                self.element
            ))),
        }
    }

    /// A tensor over part of the memory, for a graph that wants it in its device's memory, or on the host.
    pub(super) fn view(&self, offset: usize, shape: &[usize], on_host: bool) -> ort::Result<View<'_>> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let end = elements.and_then(|n| n.checked_add(offset));
        if end.is_none_or(|end| end > self.len) {
            return Err(ort::Error::new(format!(
                "shape {shape:?} at {offset} does not fit a buffer of {}",
                self.len
            )));
        }
        let info = match self.gpu {
            Some(id) if !(self.host && on_host) => gpu_memory(id)?,
            _ => MemoryInfo::default(),
        };
        // SAFETY: `offset` is within the allocation, as checked.
        let data = unsafe { self.data.as_ptr().add(offset * self.element.bytes()) }.cast();
        let shape = shape.iter().map(|&d| d as i64).collect();
        // SAFETY: the elements lie within the allocation, which outlives the view, and are of the type named; `info`
        // says where they are (a GPU reaches pinned memory by the host's address). Graphs run on them only while the
        // caller holds `access` exclusively.
        unsafe {
            Ok(match self.element {
                Element::F32 => View::F32(TensorRefMut::from_raw(info, data, shape)?),
                Element::F16 => View::F16(TensorRefMut::from_raw(info, data, shape)?),
                Element::I64 => View::I64(TensorRefMut::from_raw(info, data, shape)?),
                Element::I32 => View::I32(TensorRefMut::from_raw(info, data, shape)?),
            })
        }
    }

    fn zero_on_gpu(&self, bytes: usize) -> ort::Result<()> {
        let Some(id) = self.gpu else { return Ok(()) };
        let mut at = 0;
        while at < bytes {
            let n = (bytes - at).min(ZEROS);
            let mut zeros = Tensor::<u8>::new(&Allocator::default(), [n])?;
            zeros.extract_tensor_mut().1.fill(0);
            // SAFETY: bytes `at` to `at + n` lie within the allocation, on this GPU, and `zero_prefix` holds `access`.
            let target = unsafe {
                let data = self.data.as_ptr().add(at).cast();
                TensorRefMut::<u8>::from_raw(gpu_memory(id)?, data, [n as i64].into_iter().collect())?
            };
            zeros.copy_into(target)?;
            at += n;
        }
        Ok(())
    }
}

/// A tensor over a buffer's memory.
pub(super) enum View<'a> {
    F32(TensorRefMut<'a, f32>),
    F16(TensorRefMut<'a, f16>),
    I64(TensorRefMut<'a, i64>),
    I32(TensorRefMut<'a, i32>),
}

/// Gives the whole pages within `bytes` of `data` back to the system.
///
/// # Safety
/// The bytes belong to one allocation of the system allocator's, and nobody uses them meanwhile or needs what they hold.
#[cfg(unix)]
unsafe fn give_back(data: *mut u8, bytes: Range<usize>) -> std::io::Result<()> {
    // SAFETY: it only asks for a number.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0);
    if page == 0 {
        return Ok(());
    }
    let base = data.addr();
    let (from, to) = (
        (base + bytes.start).next_multiple_of(page),
        (base + bytes.end) / page * page,
    );
    if from >= to {
        return Ok(());
    }
    // SAFETY: these pages lie within the bytes that the caller gives up. They stay mapped: the allocator's memory is
    // private and anonymous, so Linux takes it away and maps zeros when it is touched next.
    match unsafe { libc::madvise(data.add(from - base).cast(), to - from, libc::MADV_DONTNEED) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Other systems keep it.
#[cfg(not(unix))]
unsafe fn give_back(_: *mut u8, _: Range<usize>) -> std::io::Result<()> {
    Ok(())
}

fn gpu_memory(id: u32) -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(
        AllocationDevice::CUDA,
        id as i32,
        AllocatorType::Device,
        MemoryType::Default,
    )
}

fn in_use() -> Error {
    Error::Internal("a buffer is in use by a run or another slice".into())
}
