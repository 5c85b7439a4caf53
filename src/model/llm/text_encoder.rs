//! Prompt rows: text and speaker as the language model of generation 1 reads them.

use crate::model::bundle::{Bundle, RowsConfig};
use crate::runtime::{Device, Graph, GraphOptions, Input, Runtime};
use crate::{Error, Result};

/// What the rows of a prompt are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPrompt {
    /// Text ids, prompt text first; at least one.
    pub text: Vec<i64>,
    /// Raw speaker embedding; `None`: the model is not told, and no id names the row.
    pub speaker: Option<Vec<f32>>,
}

/// The graph that makes them.
pub(super) struct TextEncoder {
    graph: Graph,
    width: usize,
    spk_dim: usize,
}

impl TextEncoder {
    pub fn load(runtime: &Runtime, bundle: &Bundle, config: &RowsConfig, device: Device) -> Result<Self> {
        let options = GraphOptions {
            // It runs once per segment, and the memory of a long one's attention need not stay.
            arena: device != Device::Cpu,
            ..GraphOptions::on(device)
        };
        let path = bundle.path(&config.text_encoder);
        Ok(Self {
            graph: Graph::load(runtime, "text encoder", &path, &options)?,
            width: config.rows_width,
            spk_dim: bundle.manifest.flow.spk_dim,
        })
    }

    /// The rows [1 + text, width]: the speaker's, then one per text id.
    pub fn rows(&self, prompt: &RowPrompt) -> Result<Vec<f32>> {
        let unknown = vec![0.0; self.spk_dim];
        let speaker = prompt.speaker.as_ref().unwrap_or(&unknown);
        let inputs = [
            ("text", Input::I64(&[1, prompt.text.len()], &prompt.text)),
            ("embedding", Input::F32(&[1, speaker.len()], speaker)),
        ];
        let [rows] = self.graph.run(&inputs, ["rows"])?;
        if rows.len() != (1 + prompt.text.len()) * self.width {
            return Err(Error::Internal("the text encoder gave another length".into()));
        }
        Ok(rows)
    }
}
