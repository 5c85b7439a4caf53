//! Runs of a graph that keeps state in fixed buffers: each buffer is bound as input and as output of the same
//! memory, so a decode step moves no cache.

use half::f16;
use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, Tensor};

use super::Graph;
use crate::{Error, Result};

/// The fixed buffers of one sequence (or batch): pairs of input and output names over one tensor each.
pub struct Cache {
    buffers: Vec<(String, String, DynTensor)>,
}

impl Cache {
    /// Zeroed buffers of one shape, one per (input, output) name pair. `element` is `f32` or `f16`.
    pub fn new(
        names: impl IntoIterator<Item = (String, String)>,
        shape: [usize; 4],
        element: &str,
    ) -> Result<Self> {
        let failed = |e: ort::Error| Error::internal("allocating the KV cache", e);
        let allocator = Allocator::default();
        let mut buffers = Vec::new();
        for (input, output) in names {
            let tensor: DynTensor = match element {
                "f32" => {
                    let mut t = Tensor::<f32>::new(&allocator, shape).map_err(failed)?;
                    t.extract_tensor_mut().1.fill(0.0);
                    t.upcast()
                }
                "f16" => {
                    let mut t = Tensor::<f16>::new(&allocator, shape).map_err(failed)?;
                    t.extract_tensor_mut().1.fill(f16::ZERO);
                    t.upcast()
                }
                other => {
                    return Err(Error::Internal(format!(
                        "KV caches of type {other} are not known"
                    )));
                }
            };
            buffers.push((input, output, tensor));
        }
        Ok(Self { buffers })
    }
}

/// A graph bound to a [`Cache`], run step by step with small inputs that change each time.
pub struct CachedRun {
    binding: IoBinding,
    result: Tensor<f32>,
}

impl CachedRun {
    /// Binds `cache` and the f32 output `output` of `shape`.
    pub fn new(graph: &Graph, mut cache: Cache, output: &str, shape: [usize; 2]) -> Result<Self> {
        let session = graph.lock();
        let mut binding = session.create_binding().map_err(|e| graph.failed(e))?;
        for (input, out, tensor) in &mut cache.buffers {
            binding
                .bind_input(input.as_str(), &*tensor)
                .map_err(|e| graph.failed(e))?;
            binding
                .bind_output(out.as_str(), tensor)
                .map_err(|e| graph.failed(e))?;
        }
        let mut result = Tensor::<f32>::new(&Allocator::default(), shape).map_err(|e| graph.failed(e))?;
        binding
            .bind_output(output, &mut result)
            .map_err(|e| graph.failed(e))?;
        // The binding holds the buffers from here on.
        Ok(Self { binding, result })
    }

    /// One run; `ints64` and `ints32` are (name, shape, data). Returns the bound output's data.
    pub fn run(
        &mut self,
        graph: &Graph,
        ints64: &[(&str, &[usize], &[i64])],
        ints32: &[(&str, &[usize], &[i32])],
    ) -> Result<&[f32]> {
        for &(name, shape, data) in ints64 {
            let tensor = Tensor::from_array((shape.to_vec(), data.to_vec())).map_err(|e| graph.failed(e))?;
            self.binding
                .bind_input(name, &tensor)
                .map_err(|e| graph.failed(e))?;
        }
        for &(name, shape, data) in ints32 {
            let tensor = Tensor::from_array((shape.to_vec(), data.to_vec())).map_err(|e| graph.failed(e))?;
            self.binding
                .bind_input(name, &tensor)
                .map_err(|e| graph.failed(e))?;
        }
        {
            let mut session = graph.lock();
            session.run_binding(&self.binding).map_err(|e| graph.failed(e))?;
        }
        Ok(self.result.extract_tensor().1)
    }
}
