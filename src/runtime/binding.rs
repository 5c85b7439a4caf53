//! Runs of a graph on buffers that stay where they are.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;

use ort::AsPointer;
use ort::session::{IoBinding, RunOptions};

use super::memory::{Memory, View};
use super::{Buffer, Graph};
use crate::Result;

/// One set of bound inputs and outputs of a graph. One buffer may be input and output at once, where the graph
/// updates it in place.
pub struct Binding {
    graph: Arc<Graph>,
    binding: IoBinding,
    options: RunOptions,
    /// What is bound, by name; inputs and outputs have names of their own.
    bound: BTreeMap<(Side, String), Arc<Memory>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Input,
    Output,
}

impl Binding {
    /// Nothing bound yet.
    pub fn new(graph: &Arc<Graph>) -> Result<Self> {
        let binding = graph.lock().create_binding().map_err(|e| graph.failed(e))?;
        Ok(Self {
            graph: graph.clone(),
            binding,
            options: graph.run_options()?,
            bound: BTreeMap::new(),
        })
    }

    /// Binds input `name` to the elements of `buffer` from `offset` on, as `shape` (empty: a scalar); replaces what
    /// was bound.
    pub fn input(
        &mut self,
        name: &str,
        buffer: &Buffer,
        offset: usize,
        shape: &[usize],
    ) -> Result<&mut Self> {
        self.bind(Side::Input, name, buffer, offset, shape)
    }

    /// As [`Self::input`], for an output. Outputs that are not bound are not returned.
    pub fn output(
        &mut self,
        name: &str,
        buffer: &Buffer,
        offset: usize,
        shape: &[usize],
    ) -> Result<&mut Self> {
        self.bind(Side::Output, name, buffer, offset, shape)
    }

    /// On a graph loaded with [`GraphOptions::cuda_graph`](super::GraphOptions): capture the kernels at the first run
    /// and replay them afterwards. `id` is the capture's own in this graph. Addresses and shapes must not change any
    /// more, inputs that the graph reads on the host are frozen, and the first run computes twice, so it must not
    /// matter that an in-place update is made again. No effect elsewhere.
    pub fn captured(&mut self, id: u16) -> Result<&mut Self> {
        if self.graph.captures() {
            self.options
                .set("gpu_graph_id", id.to_string())
                .map_err(|e| self.graph.failed(e))?;
        }
        Ok(self)
    }

    /// Runs the graph; what it wrote to host buffers can be read when this returns.
    pub fn run(&mut self) -> Result<()> {
        let mut memories: Vec<&Arc<Memory>> = self.bound.values().collect();
        memories.sort_unstable_by_key(|m| Arc::as_ptr(m));
        memories.dedup_by_key(|m| Arc::as_ptr(m));
        let _exclusive = memories
            .iter()
            .map(|m| m.exclusive())
            .collect::<Result<Vec<_>>>()?;
        let mut session = self.graph.lock();
        session
            .run_binding_with_options(&self.binding, &self.options)
            .map_err(|e| self.graph.failed(e))?;
        if self.graph.device().gpu().is_some() {
            self.binding
                .synchronize_outputs()
                .map_err(|e| self.graph.failed(e))?;
        }
        Ok(())
    }

    fn bind(
        &mut self,
        side: Side,
        name: &str,
        buffer: &Buffer,
        offset: usize,
        shape: &[usize],
    ) -> Result<&mut Self> {
        let failed = |e: &dyn std::fmt::Display| self.graph.failed(format!("binding {name}: {e}"));
        let on_host = match side {
            Side::Input => self.graph.reads_on_host(name),
            Side::Output => self.graph.writes_on_host(name),
        };
        if on_host && !buffer.0.reaches_host() {
            // The library would copy it once, now, and later runs would not see each other's writes.
            return Err(failed(
                &"kernels on the CPU use it, and it is bound to the GPU's memory",
            ));
        }
        let c_name = CString::new(name).map_err(|e| failed(&e))?;
        let view = buffer.0.view(offset, shape, on_host).map_err(|e| failed(&e))?;
        let value = match &view {
            View::F32(t) => t.ptr(),
            View::F16(t) => t.ptr(),
            View::I64(t) => t.ptr(),
            View::I32(t) => t.ptr(),
        };
        let api = ort::api();
        let bind = match side {
            Side::Input => api.BindInput,
            Side::Output => api.BindOutput,
        };
        // `ort` would copy borrowed inputs and hand out every output after every run, so the library is asked itself.
        // SAFETY: the binding, the name and the value are alive during the call. ONNX Runtime shares the value; the
        // memory below it lives as long as `bound` holds it, and `bound` lives as long as the binding.
        let status = unsafe { bind(self.binding.ptr_mut(), c_name.as_ptr(), value) };
        // SAFETY: the status is the one just returned.
        unsafe { ort::Error::result_from_status(status) }.map_err(|e| failed(&e))?;
        drop(view);
        self.bound.insert((side, name.to_string()), buffer.0.clone());
        Ok(self)
    }
}
