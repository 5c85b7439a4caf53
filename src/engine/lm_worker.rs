//! The thread that owns a language model: sequences join and leave between its steps.
//!
//! What a request's tokens are depends on the request alone: each has its own generator and sampler, and the model
//! computes a row the same whatever is computed with it. On a CPU every prefill and every step takes the turn, as due
//! as its most urgent sequence; sequences that are due much later then sit out, so that a new request's first audio
//! does not wait for tokens nobody needs yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;

use super::sampling::Samplers;
use super::token_stream::{Signal, TokenSink, TokenStream, channel};
use super::turn::{Turn, TurnGuard};
use super::urgency::Urgency;
use crate::model::bundle::SamplingConfig;
use crate::model::llm::{Llm, RowPrompt, Slot};
use crate::model::sampler;
use crate::{Error, Result};

/// On a CPU, sequences due this much later than the most urgent one sit out its steps: a row costs less in company
/// than alone, but not nothing.
const COMPANY: Duration = Duration::from_secs(1);
/// What one sequence is made of.
pub struct LmRequest {
    /// Ids of prompt, text and prompt speech, laid out for the model.
    pub ids: Vec<i64>,
    /// The prompt rows that they name, where the model reads any.
    pub rows: Option<RowPrompt>,
    /// Tokens before which the model may not stop.
    pub min_tokens: usize,
    /// Tokens after which it must.
    pub max_tokens: usize,
    /// The request's own draws.
    pub generator: ChaCha12Rng,
    /// How urgent it is.
    pub urgency: Arc<Urgency>,
}

/// A language model at work on its own thread; dropped, it ends every sequence.
pub struct LmWorker {
    shared: Arc<Shared>,
    turn: Option<Arc<Turn>>,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Requests the worker has not looked at; how many there can be is bounded where requests are admitted.
    joining: Mutex<Vec<Waiting>>,
    news: AtomicBool,
    closed: AtomicBool,
    load: AtomicUsize,
    signal: Arc<Signal>,
}

impl LmWorker {
    /// Starts the thread. With a `turn`, computing waits for it.
    pub fn start(llm: Llm, turn: Option<Arc<Turn>>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let capacity = llm.capacity();
        let mut work = Work::new(llm, turn.clone(), shared.clone())?;
        let (warm, ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("language model".into())
            .spawn(move || {
                // What CUDA captures belongs to the thread it was captured on.
                let _ = warm.send(work.warm_up());
                work.run()
            })
            .map_err(|e| Error::internal("starting the language model's thread", e))?;
        ready
            .recv()
            .map_err(|e| Error::internal("starting the language model's thread", e))??;
        Ok(Self {
            shared,
            turn,
            capacity,
            thread: Some(thread),
        })
    }

    /// Adds a sequence; its tokens come through the stream, and dropping that ends it.
    pub fn join(&self, request: LmRequest) -> Result<TokenStream> {
        let needed = request.ids.len() + request.max_tokens;
        if request.ids.is_empty() || request.max_tokens == 0 || needed > self.capacity {
            return Err(Error::Invalid(format!(
                "tts_text: this text and prompt need {needed} positions; the model holds {}",
                self.capacity
            )));
        }
        let (sink, stream) = channel(self.shared.signal.clone());
        self.shared.joining.lock().push(Waiting {
            request,
            sink,
            _counted: Counted::new(&self.shared),
        });
        self.shared.news.store(true, Ordering::Release);
        self.wake();
        if self.shared.closed.load(Ordering::Acquire) {
            // Nobody will look there any more; dropping what is there ends its streams.
            self.shared.joining.lock().clear();
        }
        Ok(stream)
    }

    /// Sequences at work or waiting.
    pub fn load(&self) -> usize {
        self.shared.load.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        self.shared.signal.raise();
        if let Some(turn) = &self.turn {
            turn.nudge();
        }
    }
}

impl Drop for LmWorker {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.news.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the streams, and says so there.
            let _ = thread.join();
        }
    }
}

/// Counts as load while it lives.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.load.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Waiting {
    request: LmRequest,
    sink: TokenSink,
    _counted: Counted,
}

/// A sequence in a slot.
struct Active {
    slot: Slot,
    request: LmRequest,
    sink: TokenSink,
    decoded: Vec<usize>,
    over: bool,
    _counted: Counted,
}

/// What the model's manifest says of sampling.
struct Rules {
    sampling: SamplingConfig,
    withheld: Vec<usize>,
    stop: Vec<usize>,
}

impl Active {
    /// Samples the next token from `logits`.
    fn advance(&mut self, logits: &mut [f32], rules: &Rules) {
        if self.decoded.len() < self.request.min_tokens {
            for &id in &rules.withheld {
                if let Some(logit) = logits.get_mut(id) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let token = sampler::sample(
            logits,
            &self.decoded,
            &rules.sampling,
            &mut self.request.generator,
        );
        if logits[token].is_nan() {
            return self.end(Err(Error::Internal("the language model gave no numbers".into())));
        }
        if rules.stop.contains(&token) {
            return self.end(Ok(()));
        }
        self.decoded.push(token);
        self.sink.push(token);
        if self.decoded.len() >= self.request.max_tokens {
            self.end(Ok(()));
        }
    }

    fn end(&mut self, end: Result<()>) {
        self.sink.end(end);
        self.over = true;
    }

    /// The token the model has not been given yet.
    fn last(&self) -> usize {
        self.decoded.last().copied().unwrap_or(0)
    }
}

/// So many steps and the time they took.
#[derive(Default)]
struct Steps {
    count: u32,
    model: Duration,
    sampling: Duration,
}

/// The worker's side.
struct Work {
    llm: Llm,
    rules: Rules,
    turn: Option<Arc<Turn>>,
    shared: Arc<Shared>,
    waiting: Vec<Waiting>,
    active: Vec<Active>,
    samplers: Samplers,
    /// Steps made since the worker was last idle, by rows.
    steps: BTreeMap<usize, Steps>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.joining.lock().clear();
    }
}

impl Work {
    fn new(llm: Llm, turn: Option<Arc<Turn>>, shared: Arc<Shared>) -> Result<Self> {
        let config = llm.config();
        let rules = Rules {
            sampling: config.sampling,
            withheld: config.withheld.clone(),
            stop: config.stop.clone(),
        };
        Ok(Self {
            llm,
            rules,
            samplers: Samplers::new(turn.is_some())?,
            turn,
            shared,
            waiting: Vec::new(),
            active: Vec::new(),
            steps: BTreeMap::new(),
        })
    }

    /// Nothing else may use a GPU meanwhile.
    fn warm_up(&mut self) -> Result<()> {
        match self.turn {
            Some(_) => Ok(()),
            None => self.llm.run_every_window(),
        }
    }

    fn run(mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            self.shared.news.store(false, Ordering::Release);
            self.waiting.append(&mut self.shared.joining.lock());
            self.waiting.retain(|waiting| !waiting.sink.is_gone());
            self.dismiss();
            let began = self.admit();
            let stepped = self.step();
            self.dismiss();
            if !began && !stepped {
                self.report();
                self.shared.signal.wait();
            }
        }
    }

    /// Tells what the steps have cost, when there is nothing left to do.
    fn report(&mut self) {
        if !self.active.is_empty() {
            return;
        }
        for (rows, steps) in std::mem::take(&mut self.steps) {
            let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(steps.count);
            let (model_ms, sampling_ms) = (each(steps.model), each(steps.sampling));
            tracing::debug!(
                rows,
                steps = steps.count,
                model_ms,
                sampling_ms,
                "language model stepped"
            );
        }
    }

    /// Gives back the slots of sequences that have ended or that nobody listens to.
    fn dismiss(&mut self) {
        let over = |active: &mut Active| active.over || active.sink.is_gone();
        for active in self.active.extract_if(.., over) {
            self.llm.close(active.slot);
        }
    }

    /// Waits for the turn of something due at `deadline`; `None` when there is news to look at first.
    fn turn(&self, deadline: Instant) -> Option<Option<TurnGuard>> {
        let news = || self.shared.news.load(Ordering::Acquire);
        match &self.turn {
            None => Some(None),
            Some(turn) => turn.take_unless(deadline, &news).map(Some),
        }
    }

    /// Starts the most urgent of the waiting, the first come among equals, if a slot is free. Says whether there is
    /// reason to come back at once.
    fn admit(&mut self) -> bool {
        let due = |(_, waiting): &(usize, &Waiting)| waiting.request.urgency.token_deadline();
        let Some((first, waiting)) = self.waiting.iter().enumerate().min_by_key(due) else {
            return false;
        };
        let deadline = waiting.request.urgency.token_deadline();
        let Some(slot) = self.llm.open() else { return false };
        let Some(_turn) = self.turn(deadline) else {
            self.llm.close(slot);
            return true;
        };
        let Waiting {
            request,
            sink,
            _counted,
        } = self.waiting.remove(first);
        let mut active = Active {
            slot,
            request,
            sink,
            decoded: Vec::new(),
            over: false,
            _counted,
        };
        let prompt = &active.request;
        match self.llm.prefill(&active.slot, &prompt.ids, prompt.rows.as_ref()) {
            Ok(mut logits) => active.advance(&mut logits, &self.rules),
            Err(e) => active.end(Err(e)),
        }
        self.active.push(active);
        true
    }

    /// One step of those that have room for another token. Says whether there is reason to come back at once.
    fn step(&mut self) -> bool {
        let Some(deadline) = self.earliest() else {
            return false;
        };
        let Some(_turn) = self.turn(deadline) else {
            return true;
        };
        // What is due may have changed while the turn was waited for.
        let latest = match &self.turn {
            Some(_) => self.earliest().map(|earliest| earliest + COMPANY),
            None => None,
        };
        let takes_part = |active: &&mut Active| {
            let in_time = latest.is_none_or(|latest| active.request.urgency.token_deadline() <= latest);
            in_time && !active.over && active.sink.has_room()
        };
        let mut rows: Vec<&mut Active> = self.active.iter_mut().filter(takes_part).collect();
        let started = Instant::now();
        let inputs: Vec<_> = rows.iter().map(|active| (&active.slot, active.last())).collect();
        let mut step = match self.llm.step(&inputs) {
            Ok(step) => step,
            Err(e) => {
                rows.into_iter().for_each(|active| active.end(Err(e.clone())));
                return true;
            }
        };
        let computed = Instant::now();
        let logits = step.rows();
        let mut work: Vec<_> = rows.iter_mut().zip(logits).collect();
        self.samplers
            .share(&mut work, &|(active, logits)| active.advance(logits, &self.rules));
        let steps = self.steps.entry(rows.len()).or_default();
        steps.count += 1;
        steps.model += computed - started;
        steps.sampling += computed.elapsed();
        true
    }

    /// When the next token of a sequence that has room for it is needed.
    fn earliest(&self) -> Option<Instant> {
        let ready = self.active.iter().filter(|a| !a.over && a.sink.has_room());
        ready.map(|a| a.request.urgency.token_deadline()).min()
    }
}

#[cfg(test)]
#[path = "lm_worker_tests.rs"]
mod tests;
