//! The small inputs of the language model and its logits, at fixed addresses.

use crate::Result;
use crate::model::bundle::LlmConfig;
use crate::runtime::{Binding, Buffer, Graph};

/// Of up to so many rows of a batch.
pub(super) struct Inputs {
    pub ids: Buffer,
    pub last: Buffer,
    pub lengths: Buffer,
    pub total: Buffer,
    pub logits: Buffer,
    /// Prompt rows and their width, where the model reads any.
    pub rows: Option<(Buffer, usize)>,
    vocab: usize,
}

impl Inputs {
    /// For `ids` ids over all of `rows` rows of a batch, which name up to `prompt_rows` prompt rows.
    pub fn new(
        graph: &Graph,
        config: &LlmConfig,
        ids: usize,
        rows: usize,
        prompt_rows: usize,
    ) -> Result<Self> {
        let width = config.rows.as_ref().map(|rows| rows.rows_width);
        let vocab = config.speech_vocab;
        Ok(Self {
            ids: Buffer::host::<i64>(graph, ids)?,
            last: Buffer::host::<i64>(graph, rows)?,
            lengths: Buffer::host::<i32>(graph, rows)?,
            total: Buffer::host::<i32>(graph, 1)?,
            logits: Buffer::host::<f32>(graph, rows * vocab)?,
            rows: width
                .map(|width| Ok((Buffer::host::<f32>(graph, prompt_rows * width)?, width)))
                .transpose()?,
            vocab,
        })
    }

    /// Rows `low` to `low + count`, with `length` ids each, and the first `prompt_rows` prompt rows.
    pub fn bind(
        &self,
        binding: &mut Binding,
        low: usize,
        count: usize,
        length: usize,
        prompt_rows: usize,
    ) -> Result<()> {
        binding
            .input("input_ids", &self.ids, low * length, &[count, length])?
            .input("last_index", &self.last, low, &[count])?
            .input("seqlens_k", &self.lengths, low, &[count])?
            .input("total_sequence_length", &self.total, 0, &[])?
            .output("logits", &self.logits, low * self.vocab, &[count, self.vocab])?;
        if let Some((rows, width)) = &self.rows {
            binding.input("rows", rows, 0, &[prompt_rows, *width])?;
        }
        Ok(())
    }
}
