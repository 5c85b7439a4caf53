//! One ONNX graph as a session: named inputs from slices, named outputs as owned arrays.

use std::path::Path;

use ort::session::{RunOptions, Session, SessionInputValue, builder::GraphOptimizationLevel};
use ort::value::{TensorElementType, TensorRef};
use parking_lot::{Mutex, MutexGuard};

use super::providers::{self, Engines};
use super::{Device, Runtime, placement};
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

/// How a graph is loaded.
#[derive(Debug, Clone)]
pub struct GraphOptions {
    /// Where it runs.
    pub device: Device,
    /// Keep the memory of a run for the next one. False for a graph that runs rarely but may need much at once (its
    /// attention grows with the square of the length): that memory goes back to the system after every run.
    pub arena: bool,
    /// On CUDA, let bindings capture their kernels (see [`Binding::captured`](super::Binding::captured)).
    pub cuda_graph: bool,
    /// How TensorRT builds its engines; without it, a [`Device::TensorRt`] runs on CUDA's kernels.
    pub engines: Option<Engines>,
}

impl GraphOptions {
    /// On `device`, with an arena, nothing captured.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            arena: true,
            cuda_graph: false,
            engines: None,
        }
    }
}

/// A loaded graph. Runs are serialised by a lock.
pub struct Graph {
    name: String,
    session: Mutex<Session>,
    options: GraphOptions,
    inputs: Vec<Outlet>,
    outputs: Vec<Outlet>,
}

/// An input or output of a graph.
struct Outlet {
    name: String,
    element: TensorElementType,
    /// The graph's kernels want it in the host's memory, wherever they run.
    on_host: bool,
}

impl Graph {
    /// Loads a graph file; `name` is what errors call it.
    pub fn load(runtime: &Runtime, name: &str, path: &Path, options: &GraphOptions) -> Result<Self> {
        let failed = |e: ort::Error| {
            Error::Internal(format!(
                "loading {name} from {} on {}: {e}",
                path.display(),
                options.device
            ))
        };
        let session = commit(runtime, path, options).map_err(failed)?;
        let places = placement::outlets_on_host(&session).map_err(failed)?;
        if options.device.gpu().is_some() {
            placement::log(name, &session).map_err(failed)?;
        }
        let outlet = |(outlet, &on_host): (&ort::value::Outlet, &bool)| Outlet {
            name: outlet.name().to_string(),
            element: outlet.dtype().tensor_type().unwrap_or(TensorElementType::Float32),
            on_host,
        };
        Ok(Self {
            name: name.to_string(),
            options: options.clone(),
            inputs: session.inputs().iter().zip(&places.inputs).map(outlet).collect(),
            outputs: session
                .outputs()
                .iter()
                .zip(&places.outputs)
                .map(outlet)
                .collect(),
            session: Mutex::new(session),
        })
    }

    /// Where it runs.
    pub fn device(&self) -> Device {
        self.options.device
    }

    /// Whether its bindings can capture their kernels.
    pub fn captures(&self) -> bool {
        self.options.cuda_graph && self.options.device.gpu().is_some()
    }

    pub(super) fn reads_on_host(&self, input: &str) -> bool {
        self.inputs.iter().any(|i| i.name == input && i.on_host)
    }

    pub(super) fn writes_on_host(&self, output: &str) -> bool {
        self.outputs.iter().any(|o| o.name == output && o.on_host)
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
        let taken = self.run_many(inputs, &outputs)?;
        taken.try_into().map_err(|_| self.failed("outputs are missing"))
    }

    /// As [`Graph::run`], for outputs whose number is the bundle's.
    pub fn run_many(&self, inputs: &[(&str, Input<'_>)], outputs: &[&str]) -> Result<Vec<Vec<f32>>> {
        let values = self.values(inputs)?;
        let elements: usize = inputs.iter().map(|(_, input)| input.elements()).sum();
        let options = self.plain_run_options(elements > LARGE_RUN_ELEMENTS)?;
        let mut session = self.lock();
        let produced = session
            .run_with_options(values, &options)
            .map_err(|e| self.failed(e))?;
        let mut taken = Vec::with_capacity(outputs.len());
        for name in outputs {
            let value = produced
                .get(name)
                .ok_or_else(|| self.failed(format!("it has no output {name}")))?;
            let (_, data) = value.try_extract_tensor::<f32>().map_err(|e| self.failed(e))?;
            taken.push(data.to_vec());
        }
        Ok(taken)
    }

    /// Runs a graph whose names are not ours (the official tokenizer and speaker encoder): inputs by position; the
    /// first output, integers widened to i64 and floats as they are.
    pub fn run_positional(&self, inputs: &[Input<'_>]) -> Result<Positional> {
        let named: Vec<(&str, Input<'_>)> = self
            .inputs
            .iter()
            .map(|i| i.name.as_str())
            .zip(inputs.iter().copied())
            .collect();
        let values = self.values(&named)?;
        let output = self
            .outputs
            .first()
            .ok_or_else(|| self.failed("it has no output"))?;
        let options = self.plain_run_options(false)?;
        let mut session = self.lock();
        let produced = session
            .run_with_options(values, &options)
            .map_err(|e| self.failed(e))?;
        let value = produced
            .get(&output.name)
            .ok_or_else(|| self.failed("its output is missing"))?;
        Ok(match output.element {
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

    /// Options of a run that captures nothing and replays nothing.
    pub(super) fn run_options(&self) -> Result<RunOptions> {
        let mut options = RunOptions::new().map_err(|e| self.failed(e))?;
        if self.captures() {
            options.set("gpu_graph_id", "-1").map_err(|e| self.failed(e))?;
        }
        Ok(options)
    }

    /// Options of a run with inputs from the host. After a `large` one on the CPU the memory it took goes back to the
    /// system, which would otherwise keep the peak of the longest sentence for ever; without an arena it has gone back.
    fn plain_run_options(&self, large: bool) -> Result<RunOptions> {
        let mut options = self.run_options()?;
        // Giving memory back to a GPU waits for all that it is doing: other streams would hear it.
        if large && self.options.arena && self.options.device.gpu().is_none() {
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

fn commit(runtime: &Runtime, path: &Path, options: &GraphOptions) -> ort::Result<Session> {
    let mut builder = Session::builder(&runtime.environment)?
        .with_execution_providers(providers::of(options))?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?
        .with_config_entry("session.intra_op.allow_spinning", "0")?;
    if options.device.gpu().is_some() {
        builder = builder.with_config_entry("session.record_ep_graph_assignment_info", "1")?;
    }
    builder.commit_from_file(path)
}

/// The first output of [`Graph::run_positional`].
#[derive(Debug, Clone, PartialEq)]
pub enum Positional {
    /// Integer tensor, flat.
    Ints(Vec<i64>),
    /// Float tensor, flat.
    Floats(Vec<f32>),
}
