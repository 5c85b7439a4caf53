//! The flow at work: graphs, arenas and the bindings of the shapes that come up.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::arenas::{Arenas, PageRows};
use super::prepared::Prepared;
use super::shape::Shaping;
use super::{Flow, FlowVoice, Shape};
use crate::model::Mel;
use crate::model::pages::Page;
use crate::{Result, limits};

/// One row of a run: positions `from..to` of the voice's prompt followed by an utterance.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The voice.
    pub voice: &'a FlowVoice,
    /// Speech tokens of the utterance, those after `to` included: they are its look-ahead.
    pub tokens: &'a [i64],
    /// First new position, prompt tokens counted. On the chunk grid.
    pub from: usize,
    /// End of the new positions. On the chunk grid if they are written.
    pub to: usize,
    /// Pages of the chunks before `from`, oldest first: all that a chunk from there on may see.
    pub history: &'a [Page],
    /// Pages that take the last chunks before `to`; chunks before those are not kept.
    pub write: &'a [Page],
}

/// What positions see of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attention {
    /// Everything: whole utterances.
    Full,
    /// The own chunk and, before it, `left` chunks or all.
    Chunked {
        /// Chunks of left context.
        left: Option<usize>,
    },
}

/// A [`Flow`] with memory for pages. Belongs to one thread.
pub struct FlowRunner {
    flow: Flow,
    arenas: (Arenas, Arenas),
    shaping: Shaping,
    captured: HashMap<(Attention, Shape), Prepared>,
    recent: LruCache<Shape, Prepared>,
}

impl FlowRunner {
    /// With memory for `pages` pages beside the reserved ones.
    pub fn new(flow: Flow, pages: usize) -> Result<Self> {
        let (config, ratio) = (&flow.config, flow.ratio);
        let caches = &config.caches;
        let encoder_rows = PageRows::encoder(config, ratio);
        let estimator_rows = PageRows::estimator(config, flow.steps, ratio);
        let arenas = (
            Arenas::new(&flow.encoder, &caches.encoder, encoder_rows, pages)?,
            Arenas::new(&flow.estimator, &caches.estimator, estimator_rows, pages)?,
        );
        let shaping = Shaping {
            chunk: config.chunk_tokens,
            exact: !flow.batches(),
        };
        let kept = NonZeroUsize::new(limits::FLOW_SHAPES).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            flow,
            arenas,
            shaping,
            captured: HashMap::new(),
            recent: LruCache::new(kept),
        })
    }

    /// What it runs.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The shape a run over so many rows, new tokens and pages of history would have.
    pub fn shape(&self, rows: usize, tokens: usize, history: usize) -> Shape {
        self.shaping.shape(rows, tokens, history)
    }

    /// Begins a run. Its pages are good once [`Running::advance`] has given the mel.
    pub fn begin(&mut self, rows: &[Row<'_>], attention: Attention) -> Result<Running> {
        let most = |of: fn(&Row<'_>) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let shape = self.shape(rows.len(), most(|r| r.to - r.from), most(|r| r.history.len()));
        let captured = self.captured.remove(&(attention, shape));
        let is_captured = captured.is_some();
        let prepared = match captured.or_else(|| self.recent.pop(&shape)) {
            Some(prepared) => prepared,
            None => Prepared::new(&self.flow, &self.arenas, shape, None)?,
        };
        let running = Running {
            attention,
            shape,
            prepared,
            is_captured,
            valid: rows.iter().map(|r| r.to - r.from).collect(),
            runs: 0,
            computing: Duration::ZERO,
        };
        match running.prepared.begin(&self.flow, rows, attention) {
            Ok(()) => Ok(running),
            Err(error) => {
                self.end(running);
                Err(error)
            }
        }
    }

    /// Takes back what a run was made with, finished or not.
    pub fn end(&mut self, running: Running) {
        let Running {
            attention,
            shape,
            prepared,
            ..
        } = running;
        match running.is_captured {
            true => drop(self.captured.insert((attention, shape), prepared)),
            false => drop(self.recent.put(shape, prepared)),
        }
    }

    /// The mel `[bins, frames]` of each row's new positions, at once.
    pub fn run(&mut self, rows: &[Row<'_>], attention: Attention) -> Result<Vec<Mel>> {
        let mut running = self.begin(rows, attention)?;
        let mels = loop {
            match running.advance(&self.flow) {
                Ok(None) => {}
                Ok(Some(mels)) => break Ok(mels),
                Err(error) => break Err(error),
            }
        };
        self.end(running);
        mels
    }

    /// Gives the memory of these pages back to the system. Nobody may hold them: what they hold is lost.
    pub fn discard(&self, pages: &[i64]) -> Result<()> {
        for &page in pages {
            let page = page as usize;
            self.arenas.0.discard(page)?;
            self.arenas.1.discard(page)?;
        }
        Ok(())
    }

    /// Captures the shapes that streams mostly have, of up to `most` rows, where the device captures graphs. Nothing
    /// else may use the device meanwhile.
    pub fn capture(&mut self, attention: Attention, most: usize) -> Result<()> {
        if !self.flow.batches() {
            return Ok(());
        }
        for (chunks, history) in limits::FLOW_CAPTURED_PAGES {
            let mut rows = 1;
            while rows <= most.next_power_of_two().min(limits::FLOW_BATCH) {
                let shape = self.shape(rows, chunks * self.shaping.chunk, history);
                let id = self.captured.len() as u16;
                let mut prepared = Prepared::new(&self.flow, &self.arenas, shape, Some(id))?;
                prepared.begin(&self.flow, &[], attention)?;
                // Two of each: one captures, one shows that the capture can be replayed.
                for step in 0..2 {
                    prepared.encode()?;
                    prepared.step(step)?;
                }
                self.captured.insert((attention, shape), prepared);
                rows *= 2;
            }
        }
        Ok(())
    }
}

/// A run at work; others may be begun and advanced in between.
pub struct Running {
    attention: Attention,
    shape: Shape,
    prepared: Prepared,
    is_captured: bool,
    /// New tokens of each row.
    valid: Vec<usize>,
    /// Runs of a graph made: the encoder's, then one for each Euler step.
    runs: usize,
    /// Time they took.
    computing: Duration,
}

impl Running {
    /// The next run of a graph. After the last one, the mel `[bins, frames]` of each row's new positions.
    pub fn advance(&mut self, flow: &Flow) -> Result<Option<Vec<Mel>>> {
        let started = Instant::now();
        match self.runs.checked_sub(1) {
            None => self.prepared.encode()?,
            Some(step) => self.prepared.step(step)?,
        }
        self.computing += started.elapsed();
        if self.runs == 0 {
            tracing::trace!(us = self.computing.as_micros() as u64, "flow encoder ran");
        }
        self.runs += 1;
        if self.runs <= flow.steps {
            return Ok(None);
        }
        let Shape {
            rows,
            tokens,
            history,
        } = self.shape;
        tracing::debug!(
            utterances = self.valid.len(),
            rows,
            tokens,
            history,
            captured = self.is_captured,
            ms = self.computing.as_secs_f64() * 1e3,
            "flow ran"
        );
        self.prepared.mels(flow, &self.valid).map(Some)
    }

    /// New tokens and pages of history of its rows, and how many rows.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}
