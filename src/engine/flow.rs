//! The flow of a lane, of whichever kind the bundle has, and an utterance's way through it.

use std::sync::Arc;

use super::flow_worker::{FlowWorker, PagedStream};
use super::lane::LaneOptions;
use super::overlapped_flow::{OverlappedFlows, OverlappedStream};
use super::sizing;
use super::turn::Turn;
use super::urgency::Urgency;
use crate::Result;
use crate::model::bundle::FlowKind;
use crate::model::flow::{Flow, FlowVoice};
use crate::model::overlapped_flow::OverlappedFlow;
use crate::model::{Bundle, Mel};
use crate::runtime::{Device, Runtime};

/// A flow.
pub enum FlowStage {
    /// Generations 2 and 3: a worker that runs all utterances over pages.
    Paged(FlowWorker),
    /// Generation 1: every utterance runs its own chunks.
    Overlapped(OverlappedFlows),
}

/// One utterance. Dropping it ends its work before the next run of a graph.
pub enum FlowStream {
    /// See [`PagedStream`].
    Paged(PagedStream),
    /// See [`OverlappedStream`].
    Overlapped(Box<OverlappedStream>),
}

impl FlowStage {
    /// Loads the stage on a device. With a `turn`, every run of a graph waits for it.
    pub fn load(
        runtime: &Runtime,
        bundle: &Bundle,
        device: Device,
        turn: Option<Arc<Turn>>,
        options: &LaneOptions,
    ) -> Result<Self> {
        if let FlowKind::Overlapped(_) = bundle.manifest.flow.kind {
            let flow = OverlappedFlow::load(runtime, bundle, device)?;
            return Ok(Self::Overlapped(OverlappedFlows::new(flow, turn)));
        }
        let cache = match options.flow_cache {
            Some(bytes) => bytes,
            None => sizing::flow_cache(device)?,
        };
        let flow = Flow::load(runtime, bundle, device)?;
        FlowWorker::start(flow, turn, cache, options.left_chunks).map(Self::Paged)
    }

    /// A new utterance of `voice`. `noise` gives standard normal numbers; a flow whose noise is fixed does not ask for
    /// them.
    pub fn open(
        &self,
        voice: Arc<FlowVoice>,
        urgency: Arc<Urgency>,
        noise: impl FnMut() -> f32 + Send + 'static,
    ) -> FlowStream {
        match self {
            Self::Paged(worker) => FlowStream::Paged(worker.open(voice, urgency)),
            Self::Overlapped(flows) => FlowStream::Overlapped(flows.open(voice, urgency, noise).into()),
        }
    }

    /// Captures the usual shapes of up to so many rows on a GPU. Nothing else may use the device meanwhile.
    pub fn warm_up(&self, rows: usize) -> Result<()> {
        match self {
            Self::Paged(worker) => worker.warm_up(rows),
            Self::Overlapped(_) => Ok(()),
        }
    }

    /// Bytes of the state that utterances and voices hold in pages.
    pub fn bytes_in_use(&self) -> u64 {
        match self {
            Self::Paged(worker) => worker.bytes_in_use(),
            Self::Overlapped(_) => 0,
        }
    }
}

impl FlowStream {
    /// Asks for the next chunk of an utterance whose tokens so far are `tokens`; with `last` none follow.
    /// [`Self::finish`] waits for it.
    pub fn begin(&mut self, tokens: &[i64], last: bool) -> Result<()> {
        match self {
            Self::Paged(stream) => stream.begin(tokens, last),
            Self::Overlapped(stream) => {
                stream.begin(tokens, last);
                Ok(())
            }
        }
    }

    /// The mel `[bins, frames]` that follows what was given before. `keep_going` is asked while waiting and ends it with
    /// its error.
    pub fn finish(&mut self, keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        match self {
            Self::Paged(stream) => stream.finish(keep_going),
            Self::Overlapped(stream) => stream.finish(keep_going),
        }
    }

    /// The last chunk of an utterance.
    pub fn rest(&mut self, tokens: &[i64], keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        keep_going()?;
        self.begin(tokens, true)?;
        self.finish(keep_going)
    }

    /// The mel of an utterance that is not streamed.
    pub fn whole(&mut self, tokens: &[i64], keep_going: &dyn Fn() -> Result<()>) -> Result<Mel> {
        match self {
            Self::Paged(stream) => stream.whole(tokens, keep_going),
            Self::Overlapped(_) => self.rest(tokens, keep_going),
        }
    }
}
