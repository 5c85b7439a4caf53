//! The language model stage: ids of the one id space in, logits over speech ids out, many sequences at once.
//!
//! Keys and values live in one buffer a layer, [slots, heads, positions, width]. A sequence owns a slot; its prefill
//! writes straight into it, and a decode step runs over a window of neighbouring slots. Rows of a window that take no
//! part compute too, harmlessly: a free slot writes its position 0, which the next prefill overwrites, and a sequence
//! that sits out writes its next position, which its next step overwrites.
//!
//! Generation 1 reads text and speaker as rows that a graph of their own makes of them; ids above all others name them.

mod inputs;
mod text_encoder;

use std::collections::BTreeMap;
use std::sync::Arc;

use inputs::Inputs;
pub use text_encoder::RowPrompt;
use text_encoder::TextEncoder;

use super::bundle::{Bundle, LlmConfig};
use crate::runtime::{Binding, Buffer, Device, Element, Graph, GraphOptions, HostSliceMut, Runtime};
use crate::{Error, Result, limits};

/// Idle rows between two sequences that cost less than another run of the graph on a CPU.
const IDLE_ROWS: usize = 2;
/// Prompt rows bound where no id names one: the input must not be empty.
const NO_ROWS: usize = 1;
/// Prompt rows of one sequence at most: the speaker's and the text's.
const PROMPT_ROWS: usize = 1 + limits::SEGMENT_TEXT_TOKENS;
/// Rows compared by [`Llm::rows_agree`]: more than the kernels for small products compute at once.
const AGREEING_ROWS: usize = 5;

/// A loaded language model and its sequences. One thread owns it.
pub struct Llm {
    graph: Arc<Graph>,
    config: LlmConfig,
    capacity: usize,
    caches: Vec<Cache>,
    /// Positions filled in each slot; `None`: the slot is free.
    slots: Vec<Option<usize>>,
    prefill: Inputs,
    step: Inputs,
    windows: BTreeMap<(usize, usize), Binding>,
    /// Makes the prompt rows, where the model reads any.
    text_encoder: Option<TextEncoder>,
    /// Whether rows compute the same bits alone and together.
    together: bool,
}

/// One layer's keys or values.
struct Cache {
    input: String,
    output: String,
    buffer: Buffer,
}

/// A sequence's place. It must be given back with [`Llm::close`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(usize);

/// The logits of a step.
pub struct Step<'a> {
    data: HostSliceMut<'a, f32>,
    width: usize,
    rows: Vec<usize>,
}

impl Step<'_> {
    /// The logits of every row (`speech_vocab` each), in the order the rows were given.
    pub fn rows(&mut self) -> Vec<&mut [f32]> {
        let mut all: Vec<Option<&mut [f32]>> = self.data.chunks_exact_mut(self.width).map(Some).collect();
        self.rows
            .iter()
            .filter_map(|&row| all.get_mut(row).and_then(Option::take))
            .collect()
    }
}

impl Llm {
    /// Loads the stage with room for `slots` sequences.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device, slots: usize) -> Result<Self> {
        let device = place(device, Element::float(&bundle.manifest.llm.kv_dtype)?);
        if device == Device::Cpu {
            let mut llm = Self::open_graph(runtime, bundle, GraphOptions::on(device), slots)?;
            llm.together = llm.rows_agree()?;
            return Ok(llm);
        }
        let options = GraphOptions {
            cuda_graph: true,
            ..GraphOptions::on(device)
        };
        let captured = Self::open_graph(runtime, bundle, options, slots)
            .and_then(|mut llm| llm.run_every_window().map(|()| llm));
        captured.or_else(|e| {
            tracing::warn!(reason = %e, "the language model's steps cannot be captured; they will be slower");
            let mut llm = Self::open_graph(runtime, bundle, GraphOptions::on(device), slots)?;
            llm.run_every_window()?;
            Ok(llm)
        })
    }

    fn open_graph(runtime: &Runtime, bundle: &Bundle, options: GraphOptions, slots: usize) -> Result<Self> {
        let config = bundle.manifest.llm.clone();
        let element = Element::float(&config.kv_dtype)?;
        let graph = Graph::load(runtime, "llm", &bundle.path(&config.graph), &options)?;
        let encoder = |rows| TextEncoder::load(runtime, bundle, rows, options.device);
        let text_encoder = config.rows.as_ref().map(encoder).transpose()?;
        let mut llm = Self::over(Arc::new(graph), config, slots, |graph, len| {
            let buffer = Buffer::device(graph, element, len)?;
            // A masked value still counts as zero times itself in some GPU kernels: it must be a number. The CPU's read
            // what was written, and pages that are never touched cost no memory.
            if options.device != Device::Cpu {
                buffer.zero_prefix(len)?;
            }
            Ok(buffer)
        })?;
        llm.text_encoder = text_encoder;
        Ok(llm)
    }

    fn over(
        graph: Arc<Graph>,
        config: LlmConfig,
        slots: usize,
        memory: impl Fn(&Graph, usize) -> Result<Buffer>,
    ) -> Result<Self> {
        let capacity = config.max_positions;
        let len = slots * config.kv_heads * capacity * config.head_dim;
        let names = (0..config.layers).flat_map(|i| ["key", "value"].map(|kind| format!("{i}.{kind}")));
        let cache = |name| {
            Ok(Cache {
                input: format!("past_key_values.{name}"),
                output: format!("present.{name}"),
                buffer: memory(&graph, len)?,
            })
        };
        Ok(Self {
            caches: names.map(cache).collect::<Result<_>>()?,
            prefill: Inputs::new(&graph, &config, capacity, 1, PROMPT_ROWS)?,
            step: Inputs::new(&graph, &config, slots, slots, NO_ROWS)?,
            slots: vec![None; slots],
            windows: BTreeMap::new(),
            text_encoder: None,
            together: true,
            graph,
            config,
            capacity,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &LlmConfig {
        &self.config
    }

    /// Most positions of one sequence.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether every step computes on the CPU.
    pub fn on_cpu(&self) -> bool {
        self.graph.device() == Device::Cpu
    }

    /// The lowest free slot: low slots keep windows small.
    pub fn open(&mut self) -> Option<Slot> {
        let free = self.slots.iter().position(Option::is_none)?;
        self.slots[free] = Some(0);
        Some(Slot(free))
    }

    /// Gives a slot back.
    pub fn close(&mut self, slot: Slot) {
        self.slots[slot.0] = None;
    }

    /// Starts the sequence of `slot` with `ids`, forgetting what was there; returns the logits after the last one.
    /// `rows` are those that the ids name, where the model reads any.
    pub fn prefill(
        &mut self,
        slot: &Slot,
        ids: &[i64],
        rows: Option<&RowPrompt>,
    ) -> Result<HostSliceMut<'_, f32>> {
        if ids.is_empty() || ids.len() > self.capacity {
            return Err(Error::Internal(format!(
                "{} ids do not fit the model's {} positions",
                ids.len(),
                self.capacity
            )));
        }
        let prompt_rows = self.set_rows(rows)?;
        self.run_alone(slot, 0, ids, prompt_rows)?;
        self.prefill.logits.host_slice_mut()
    }

    /// Goes on with `ids` of the one id space where the sequence of `slot` is; returns the logits after the last one. A
    /// CPU takes them in one run. A GPU gets one after the other: its single steps are captured, and its attention
    /// kernels differ in whether they take more behind a past.
    pub fn extend(&mut self, slot: &Slot, ids: &[i64]) -> Result<HostSliceMut<'_, f32>> {
        let past = self.length(slot);
        if past == 0 || ids.is_empty() || past + ids.len() > self.capacity {
            return Err(Error::Internal(format!(
                "{} ids do not fit behind {past} of the model's {} positions",
                ids.len(),
                self.capacity
            )));
        }
        if self.on_cpu() {
            self.run_alone(slot, past, ids, NO_ROWS)?;
            return self.prefill.logits.host_slice_mut();
        }
        let mut logits = Vec::new();
        for &id in ids {
            logits = self.step_ids(&[(slot, id)])?.rows().concat();
        }
        let mut kept = self.prefill.logits.host_slice_mut::<f32>()?;
        kept.copy_from_slice(&logits);
        Ok(kept)
    }

    /// Positions that the sequence of `slot` has filled.
    pub fn length(&self, slot: &Slot) -> usize {
        self.slots[slot.0].unwrap_or(0)
    }

    /// One run of one sequence over `ids`, `past` positions behind its beginning, with so many prompt rows bound.
    fn run_alone(&mut self, slot: &Slot, past: usize, ids: &[i64], prompt_rows: usize) -> Result<()> {
        let (inputs, total) = (&self.prefill, past + ids.len());
        inputs.ids.host_slice_mut::<i64>()?[..ids.len()].copy_from_slice(ids);
        inputs.last.host_slice_mut::<i64>()?[0] = ids.len() as i64 - 1;
        inputs.lengths.host_slice_mut::<i32>()?[0] = total as i32 - 1;
        inputs.total.host_slice_mut::<i32>()?[0] = total as i32;
        let mut binding = Binding::new(&self.graph)?;
        self.bind_caches(&mut binding, slot.0, 1)?;
        inputs.bind(&mut binding, 0, 1, ids.len(), prompt_rows)?;
        binding.run()?;
        self.slots[slot.0] = Some(total);
        Ok(())
    }

    /// Makes the rows of a prompt; returns how many to bind, which are one at least.
    fn set_rows(&self, prompt: Option<&RowPrompt>) -> Result<usize> {
        let Some(prompt) = prompt else { return Ok(NO_ROWS) };
        let (Some(encoder), Some((buffer, width))) = (&self.text_encoder, &self.prefill.rows) else {
            return Err(Error::Internal("this language model reads no prompt rows".into()));
        };
        let rows = encoder.rows(prompt)?;
        let count = rows.len() / width;
        match buffer.host_slice_mut::<f32>()?.get_mut(..rows.len()) {
            Some(taken) => taken.copy_from_slice(&rows),
            None => return Err(Error::Internal(format!("{count} prompt rows are too many"))),
        }
        Ok(count)
    }

    /// Appends one speech token to each of the sequences (no slot twice) and computes what follows.
    pub fn step(&mut self, rows: &[(&Slot, usize)]) -> Result<Step<'_>> {
        let offset = self.config.speech_offset;
        let rows: Vec<_> = rows
            .iter()
            .map(|&(slot, token)| (slot, offset + token as i64))
            .collect();
        self.step_ids(&rows)
    }

    /// As [`Self::step`], with ids of the one id space.
    fn step_ids(&mut self, rows: &[(&Slot, i64)]) -> Result<Step<'_>> {
        let width = self.config.speech_vocab;
        self.set_inputs(rows)?;
        for (low, count) in self.windows_over(rows.iter().map(|(slot, _)| slot.0).collect()) {
            self.run_window(low, count)?;
        }
        for (slot, _) in rows {
            self.slots[slot.0] = self.slots[slot.0].map(|length| length + 1);
        }
        Ok(Step {
            data: self.step.logits.host_slice_mut()?,
            width,
            rows: rows.iter().map(|(slot, _)| slot.0).collect(),
        })
    }

    /// (first slot, slots) of the runs that cover `rows`.
    fn windows_over(&self, mut rows: Vec<usize>) -> Vec<(usize, usize)> {
        rows.sort_unstable();
        let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
            return Vec::new();
        };
        if !self.on_cpu() {
            return vec![(0, (last + 1).next_power_of_two().min(self.slots.len()))];
        }
        if !self.together {
            return rows.into_iter().map(|row| (row, 1)).collect();
        }
        let mut windows = vec![(first, 1)];
        for row in rows.into_iter().skip(1) {
            match windows.last_mut() {
                Some((low, count)) if row - (*low + *count) <= IDLE_ROWS => *count = row + 1 - *low,
                _ => windows.push((row, 1)),
            }
        }
        windows
    }

    fn set_inputs(&mut self, rows: &[(&Slot, i64)]) -> Result<()> {
        let mut ids = self.step.ids.host_slice_mut::<i64>()?;
        let mut lengths = self.step.lengths.host_slice_mut::<i32>()?;
        ids.fill(0);
        for (length, slot) in lengths.iter_mut().zip(&self.slots) {
            // The row of a full sequence that sits out has nowhere left to write but its last position.
            *length = slot.unwrap_or(0).min(self.capacity - 1) as i32;
        }
        for &(slot, id) in rows {
            match self.slots[slot.0] {
                Some(length) if (1..self.capacity).contains(&length) => {}
                _ => {
                    return Err(Error::Internal(
                        "a step of a slot that has no room or no prefill".into(),
                    ));
                }
            }
            ids[slot.0] = id;
        }
        Ok(())
    }

    fn run_window(&mut self, low: usize, count: usize) -> Result<()> {
        let total = match self.graph.captures() {
            // Read on the host, so a capture freezes it; the kernels go by each row's own length.
            true => self.capacity as i32,
            false => {
                let lengths = self.step.lengths.host_slice::<i32>()?;
                1 + lengths[low..low + count].iter().copied().max().unwrap_or(0)
            }
        };
        self.step.total.host_slice_mut::<i32>()?[0] = total;
        if !self.windows.contains_key(&(low, count)) {
            if self.windows.len() >= limits::LM_WINDOWS {
                self.windows.clear();
            }
            let mut binding = Binding::new(&self.graph)?;
            self.bind_caches(&mut binding, low, count)?;
            self.step.bind(&mut binding, low, count, 1, NO_ROWS)?;
            binding.captured(count as u16)?;
            self.windows.insert((low, count), binding);
        }
        match self.windows.get_mut(&(low, count)) {
            Some(binding) => binding.run(),
            None => Ok(()),
        }
    }

    fn bind_caches(&self, binding: &mut Binding, low: usize, count: usize) -> Result<()> {
        let config = &self.config;
        let shape = [count, config.kv_heads, self.capacity, config.head_dim];
        let offset = low * shape[1..].iter().product::<usize>();
        for cache in &self.caches {
            binding.input(&cache.input, &cache.buffer, offset, &shape)?;
            binding.output(&cache.output, &cache.buffer, offset, &shape)?;
        }
        Ok(())
    }

    /// Runs the windows of every size once on the calling thread, which captures belong to, so that no client waits for
    /// what the first run of each costs.
    pub fn run_every_window(&mut self) -> Result<()> {
        let mut rows = 1;
        loop {
            let count = rows.min(self.slots.len());
            self.set_inputs(&[])?;
            self.run_window(0, count)?;
            if count == self.slots.len() {
                return Ok(());
            }
            rows *= 2;
        }
    }

    /// Whether this processor's kernels give a row the same bits whatever is computed with it: a request must sound
    /// the same alone and under load. Where they do not, rows are computed one by one.
    fn rows_agree(&mut self) -> Result<bool> {
        if self.slots.len() < 2 {
            return Ok(true);
        }
        let slots: Vec<Slot> = (0..AGREEING_ROWS).map_while(|_| self.open()).collect();
        let ids = [self.config.sos_id, 1, 2, 3, 4, 5, 6, self.config.task_id];
        let mut alone = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            self.prefill(slot, &ids[i % 4..], None)?;
            let mut step = self.step(&[(slot, i)])?;
            alone.push(step.rows().concat());
        }
        let mut agree = true;
        for count in (2..=slots.len()).rev() {
            for (i, slot) in slots.iter().enumerate() {
                self.slots[slot.0] = Some(ids[i % 4..].len());
            }
            let rows: Vec<_> = slots[..count].iter().enumerate().map(|(i, s)| (s, i)).collect();
            agree &= self.step(&rows)?.rows().iter().zip(&alone).all(|(a, b)| a == b);
        }
        slots.into_iter().for_each(|slot| self.close(slot));
        if !agree {
            tracing::info!(
                "this processor computes rows differently together: sequences are stepped one by one"
            );
        }
        Ok(agree)
    }
}

/// Where the model runs: attention has CUDA kernels for f16 caches only, and TensorRT none.
fn place(device: Device, cache: Element) -> Device {
    match (device.without_engines(), cache) {
        (Device::Cpu, _) => Device::Cpu,
        (gpu, Element::F16) => gpu,
        (gpu, _) => {
            tracing::warn!(
                "the language model runs on the CPU: {gpu} has no attention for its f32 cache; export it as fp16"
            );
            Device::Cpu
        }
    }
}

#[cfg(test)]
#[path = "llm_tests.rs"]
mod tests;
