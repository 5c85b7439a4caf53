//! What a request's thread keeps of the segment it speaks.

use rand::distr::Distribution;
use rand_chacha::ChaCha12Rng;
use rand_distr::StandardNormal;

use super::flow::FlowStream;
use super::pipeline::Pipeline;
use super::plan::ChunkPlan;
use crate::dsp::stretch::StreamStretch;
use crate::model::vocoder::VocoderState;

/// Generators of the flow's noise begin here; those of sampling are the even ones below, the vocoder's the odd ones.
const FLOW_NOISE: u64 = 1 << 63;

/// What a segment has been given and has spoken so far.
pub(super) struct Speech {
    pub tokens: Vec<i64>,
    pub plan: ChunkPlan,
    pub flow: FlowStream,
    /// Tokens of the chunk that the flow has been asked for.
    pub begun: Option<usize>,
    pub stretch: StreamStretch,
    pub state: VocoderState,
    pub noise: Noise,
}

impl Speech {
    /// Nothing yet of segment `index`.
    pub fn new(pipeline: &Pipeline<'_>, index: u64) -> Self {
        let flow = &pipeline.stages.manifest.flow;
        let voice = &pipeline.voice.flow;
        let mut flow_noise = Noise(pipeline.generator(FLOW_NOISE + index));
        Self {
            tokens: Vec::new(),
            plan: ChunkPlan::of(&flow.kind, voice.tokens.len(), pipeline.crowded),
            flow: pipeline
                .lane
                .flow
                .open(voice.clone(), pipeline.urgency.clone(), move || flow_noise.next()),
            begun: None,
            stretch: StreamStretch::new(pipeline.speed),
            state: pipeline.stages.vocoder.begin(),
            noise: Noise(pipeline.generator(2 * index + 1)),
        }
    }
}

/// Standard normal draws: for the vocoder's source, and where the flow's noise is not fixed.
pub(super) struct Noise(ChaCha12Rng);

impl Noise {
    pub fn next(&mut self) -> f32 {
        StandardNormal.sample(&mut self.0)
    }
}
