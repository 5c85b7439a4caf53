//! The language model stage: ids of the one id space in, logits over speech ids out, with a fixed KV buffer.

use std::sync::Arc;

use super::bundle::{Bundle, LlmConfig};
use crate::runtime::{Cache, CachedRun, Device, Graph, GraphOptions, Runtime};
use crate::{Error, Result};

/// KV buffers grow in steps of this many positions, so that few sizes exist.
const POSITION_STEP: usize = 64;

/// A loaded language model. Sequences are independent; each holds its own cache.
pub struct Llm {
    graph: Arc<Graph>,
    config: LlmConfig,
}

/// One sequence: its cache and how much of it is filled.
pub struct Sequence {
    run: CachedRun,
    length: usize,
    capacity: usize,
}

impl Llm {
    /// Loads the stage.
    pub fn load(runtime: &Runtime, bundle: &Bundle) -> Result<Self> {
        let config = bundle.manifest.llm.clone();
        let graph = Arc::new(Graph::load(
            runtime,
            "llm",
            &bundle.path(&config.graph),
            &GraphOptions::on(Device::Cpu),
        )?);
        Ok(Self { graph, config })
    }

    /// Its configuration.
    pub fn config(&self) -> &LlmConfig {
        &self.config
    }

    /// A new sequence for `ids` with room for `room` more; returns it and the logits (`speech_vocab`) after the
    /// last id.
    pub fn prefill(&self, ids: &[i64], room: usize) -> Result<(Sequence, Vec<f32>)> {
        let needed = ids.len() + room;
        if ids.is_empty() || needed > self.config.max_positions {
            return Err(Error::Invalid(format!(
                "tts_text: this text and prompt need {needed} positions; the model holds {}",
                self.config.max_positions
            )));
        }
        let capacity = needed
            .next_multiple_of(POSITION_STEP)
            .min(self.config.max_positions);
        let shape = [1, self.config.kv_heads, capacity, self.config.head_dim];
        let names = (0..self.config.layers).flat_map(|i| {
            ["key", "value"].map(|kind| {
                (
                    format!("past_key_values.{i}.{kind}"),
                    format!("present.{i}.{kind}"),
                )
            })
        });
        let cache = Cache::new(names, shape, &self.config.kv_dtype)?;
        let run = CachedRun::new(&self.graph, cache, "logits", [1, self.config.speech_vocab])?;
        let mut sequence = Sequence {
            run,
            length: 0,
            capacity,
        };
        let logits = self.advance(&mut sequence, ids)?;
        Ok((sequence, logits))
    }

    /// Appends one speech token and returns the logits after it.
    pub fn step(&self, sequence: &mut Sequence, speech_token: usize) -> Result<Vec<f32>> {
        self.advance(sequence, &[self.config.speech_offset + speech_token as i64])
    }

    fn advance(&self, sequence: &mut Sequence, ids: &[i64]) -> Result<Vec<f32>> {
        let total = sequence.length + ids.len();
        if total > sequence.capacity {
            return Err(Error::Internal("the KV buffer is full".into()));
        }
        let logits = sequence.run.run(
            &self.graph,
            &[
                ("input_ids", &[1, ids.len()], ids),
                ("last_index", &[1], &[ids.len() as i64 - 1]),
            ],
            &[
                ("seqlens_k", &[1], &[total as i32 - 1]),
                ("total_sequence_length", &[], &[total as i32]),
            ],
        )?;
        let logits = logits.to_vec();
        sequence.length = total;
        Ok(logits)
    }
}
