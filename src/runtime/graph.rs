//! One ONNX graph as a session: named inputs from slices, named outputs as owned arrays.

use std::path::Path;

use ort::ep::CPU;
use ort::session::{RunOptions, Session, SessionInputValue, builder::GraphOptimizationLevel};
use ort::value::{TensorElementType, TensorRef};
use parking_lot::{Mutex, MutexGuard};

use super::Runtime;
use crate::{Error, Result};

/// Input elements of a run that counts as large: the flow's estimator at about 25 s of speech.
const LARGE_RUN_ELEMENTS: usize = 600_000;

/// An input tensor: shape and row-major data, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// 32-bit floats.
    F32(&'a [usize], &'a [f32]),
    /// 64-bit integers; an empty shape is a scalar.
    I64(&'a [usize], &'a [i64]),
    /// 32-bit integers.
    I32(&'a [usize], &'a [i32]),
}

impl Input<'_> {
    fn elements(&self) -> usize {
        match self {
            Input::F32(_, data) => data.len(),
            Input::I64(_, data) => data.len(),
            Input::I32(_, data) => data.len(),
        }
    }
}

/// A loaded graph. Runs are serialised by a lock.
pub struct Graph {
    name: String,
    session: Mutex<Session>,
    inputs: Vec<String>,
    outputs: Vec<(String, TensorElementType)>,
}

impl Graph {
    /// Loads a graph file; `name` is what errors call it.
    pub fn load(runtime: &Runtime, name: &str, path: &Path) -> Result<Self> {
        Self::open(runtime, name, path, true)
    }

    /// As [`Graph::load`], for a graph that runs rarely but may need much memory at once (its attention grows with
    /// the square of the length): that memory goes back to the system after every run.
    pub fn load_frugal(runtime: &Runtime, name: &str, path: &Path) -> Result<Self> {
        Self::open(runtime, name, path, false)
    }

    fn open(runtime: &Runtime, name: &str, path: &Path, arena: bool) -> Result<Self> {
        let failed = |e: String| Error::Internal(format!("loading {name} from {}: {e}", path.display()));
        let session = commit(runtime, path, arena).map_err(|e| failed(e.to_string()))?;
        let inputs = session.inputs().iter().map(|i| i.name().to_string()).collect();
        let outputs = session
            .outputs()
            .iter()
            .map(|o| {
                let element = o.dtype().tensor_type().unwrap_or(TensorElementType::Float32);
                (o.name().to_string(), element)
            })
            .collect();
        Ok(Self {
            name: name.to_string(),
            session: Mutex::new(session),
            inputs,
            outputs,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock()
    }

    pub(super) fn failed(&self, e: impl std::fmt::Display) -> Error {
        Error::Internal(format!("running {}: {e}", self.name))
    }

    /// Runs the graph on named inputs and returns the named f32 outputs (row-major), in the order
    /// asked for.
    pub fn run<const N: usize>(
        &self,
        inputs: &[(&str, Input<'_>)],
        outputs: [&str; N],
    ) -> Result<[Vec<f32>; N]> {
        let values = self.values(inputs)?;
        let elements: usize = inputs.iter().map(|(_, input)| input.elements()).sum();
        let options = self.run_options(elements > LARGE_RUN_ELEMENTS)?;
        let mut session = self.lock();
        let produced = session
            .run_with_options(values, &options)
            .map_err(|e| self.failed(e))?;
        let mut taken = Vec::with_capacity(N);
        for name in outputs {
            let value = produced
                .get(name)
                .ok_or_else(|| self.failed(format!("it has no output {name}")))?;
            let (_, data) = value.try_extract_tensor::<f32>().map_err(|e| self.failed(e))?;
            taken.push(data.to_vec());
        }
        taken.try_into().map_err(|_| self.failed("outputs are missing"))
    }

    /// Runs a graph whose names are not ours (the official tokenizer and speaker encoder): inputs by position; the
    /// first output, integers widened to i64 and floats as they are.
    pub fn run_positional(&self, inputs: &[Input<'_>]) -> Result<Positional> {
        let named: Vec<(&str, Input<'_>)> = self
            .inputs
            .iter()
            .map(String::as_str)
            .zip(inputs.iter().copied())
            .collect();
        let values = self.values(&named)?;
        let (name, element) = self
            .outputs
            .first()
            .ok_or_else(|| self.failed("it has no output"))?;
        let mut session = self.lock();
        let produced = session.run(values).map_err(|e| self.failed(e))?;
        let value = produced
            .get(name)
            .ok_or_else(|| self.failed("its output is missing"))?;
        Ok(match element {
            TensorElementType::Int32 => {
                let (_, data) = value.try_extract_tensor::<i32>().map_err(|e| self.failed(e))?;
                Positional::Ints(data.iter().map(|&v| i64::from(v)).collect())
            }
            TensorElementType::Int64 => {
                let (_, data) = value.try_extract_tensor::<i64>().map_err(|e| self.failed(e))?;
                Positional::Ints(data.to_vec())
            }
            _ => {
                let (_, data) = value.try_extract_tensor::<f32>().map_err(|e| self.failed(e))?;
                Positional::Floats(data.to_vec())
            }
        })
    }

    /// Options of a run; after a `large` one the memory it took goes back to the system, which would otherwise keep the
    /// peak of the longest sentence for ever.
    fn run_options(&self, large: bool) -> Result<RunOptions> {
        let mut options = RunOptions::new().map_err(|e| self.failed(e))?;
        if large {
            options
                .set("memory.enable_memory_arena_shrinkage", "cpu:0")
                .map_err(|e| self.failed(e))?;
        }
        Ok(options)
    }

    fn values<'a>(&self, inputs: &[(&'a str, Input<'a>)]) -> Result<Vec<(&'a str, SessionInputValue<'a>)>> {
        inputs
            .iter()
            .map(|&(name, input)| {
                let value: ort::Result<SessionInputValue<'a>> = match input {
                    Input::F32(s, d) => TensorRef::from_array_view((s.to_vec(), d)).map(Into::into),
                    Input::I64(s, d) => TensorRef::from_array_view((s.to_vec(), d)).map(Into::into),
                    Input::I32(s, d) => TensorRef::from_array_view((s.to_vec(), d)).map(Into::into),
                };
                value
                    .map(|v| (name, v))
                    .map_err(|e| self.failed(format!("input {name}: {e}")))
            })
            .collect()
    }
}

fn commit(runtime: &Runtime, path: &Path, arena: bool) -> ort::Result<Session> {
    Session::builder(&runtime.environment)?
        .with_execution_providers([CPU::default().with_arena_allocator(arena).build()])?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?
        .with_config_entry("session.intra_op.allow_spinning", "0")?
        .commit_from_file(path)
}

/// The first output of [`Graph::run_positional`].
#[derive(Debug, Clone, PartialEq)]
pub enum Positional {
    /// Integer tensor, flat.
    Ints(Vec<i64>),
    /// Float tensor, flat.
    Floats(Vec<f32>),
}
