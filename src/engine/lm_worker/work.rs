//! The worker's side: its loop over the sequences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::sequence::{Rules, Sequence};
use crate::Result;
use crate::engine::sampling::Samplers;
use crate::engine::turn::{Turn, TurnGuard};
use crate::model::llm::{Llm, Slot};
use crate::text::interleave::Next;

/// On a CPU, sequences due this much later than the most urgent one sit out its steps: a row costs less in company
/// than alone, but not nothing.
const COMPANY: Duration = Duration::from_secs(1);

/// A sequence in a slot.
struct Active {
    slot: Slot,
    sequence: Sequence,
}

/// So many steps and the time they took.
#[derive(Default)]
struct Steps {
    count: u32,
    model: Duration,
    sampling: Duration,
}

/// What the thread owns.
pub(super) struct Work {
    llm: Llm,
    rules: Rules,
    turn: Option<Arc<Turn>>,
    shared: Arc<Shared>,
    waiting: Vec<Sequence>,
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
    pub fn new(llm: Llm, turn: Option<Arc<Turn>>, shared: Arc<Shared>) -> Result<Self> {
        Ok(Self {
            rules: Rules::of(llm.config()),
            llm,
            samplers: Samplers::new(turn.is_some())?,
            turn,
            shared,
            waiting: Vec::new(),
            active: Vec::new(),
            steps: BTreeMap::new(),
        })
    }

    /// Nothing else may use a GPU meanwhile.
    pub fn warm_up(&mut self) -> Result<()> {
        match self.turn {
            Some(_) => Ok(()),
            None => self.llm.run_every_window(),
        }
    }

    pub fn run(mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            self.shared.news.store(false, Ordering::Release);
            self.waiting.append(&mut self.shared.joining.lock());
            self.poll();
            self.dismiss();
            let began = self.admit();
            let read = self.read_on();
            let stepped = self.step();
            self.dismiss();
            if !began && !read && !stepped {
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

    /// Has the sequences look for text that has come, and ends those that have filled the model's positions.
    fn poll(&mut self) {
        self.waiting.iter_mut().for_each(Sequence::poll);
        for Active { slot, sequence } in &mut self.active {
            sequence.poll();
            let more = match sequence.next() {
                Next::Feed(ids) => ids.len(),
                _ => 1,
            };
            if self.llm.length(slot) + more > self.llm.capacity() {
                sequence.end(Ok(()));
            }
        }
    }

    /// Lets go of sequences that have ended or that nobody listens to, and of their slots.
    fn dismiss(&mut self) {
        self.waiting.retain(|sequence| !sequence.is_over());
        for active in self.active.extract_if(.., |active| active.sequence.is_over()) {
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
        let ready = self.waiting.iter().enumerate().filter(|(_, s)| s.has_ids());
        let Some((first, deadline)) = ready
            .map(|(i, s)| (i, s.urgency().token_deadline()))
            .min_by_key(|(_, due)| *due)
        else {
            return false;
        };
        let Some(slot) = self.llm.open() else { return false };
        let Some(_turn) = self.turn(deadline) else {
            self.llm.close(slot);
            return true;
        };
        let sequence = self.waiting.remove(first);
        self.active.push(Active { slot, sequence });
        self.read(self.active.len() - 1);
        true
    }

    /// Has the model read the text that has come for the most urgent sequence at work. Says whether there is reason to
    /// come back at once.
    fn read_on(&mut self) -> bool {
        let ready = self
            .active
            .iter()
            .enumerate()
            .filter(|(_, a)| a.sequence.has_ids());
        let Some((first, deadline)) = ready
            .map(|(i, a)| (i, a.sequence.urgency().token_deadline()))
            .min_by_key(|(_, due)| *due)
        else {
            return false;
        };
        if let Some(_turn) = self.turn(deadline) {
            self.read(first);
        }
        true
    }

    /// Has the model read what is next for the sequence at `index`, and samples the token after it.
    fn read(&mut self, index: usize) {
        let Active { slot, sequence } = &mut self.active[index];
        let Next::Feed(ids) = sequence.next() else { return };
        let logits = match self.llm.length(slot) {
            0 => self.llm.prefill(slot, ids, sequence.rows()),
            _ => self.llm.extend(slot, ids),
        };
        match logits {
            Ok(mut logits) => sequence.advance(&mut logits, &self.rules),
            Err(e) => sequence.end(Err(e)),
        }
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
            let due = active.sequence.urgency().token_deadline();
            latest.is_none_or(|latest| due <= latest) && active.sequence.step_token().is_some()
        };
        let mut rows: Vec<&mut Active> = self.active.iter_mut().filter(takes_part).collect();
        let started = Instant::now();
        let inputs: Vec<_> = rows
            .iter()
            .filter_map(|active| Some((&active.slot, active.sequence.step_token()?)))
            .collect();
        let mut step = match self.llm.step(&inputs) {
            Ok(step) => step,
            Err(e) => {
                rows.into_iter()
                    .for_each(|active| active.sequence.end(Err(e.clone())));
                return true;
            }
        };
        let computed = Instant::now();
        let logits = step.rows();
        let mut work: Vec<_> = rows.iter_mut().zip(logits).collect();
        self.samplers.share(&mut work, &|(active, logits)| {
            active.sequence.advance(logits, &self.rules)
        });
        let steps = self.steps.entry(rows.len()).or_default();
        steps.count += 1;
        steps.model += computed - started;
        steps.sampling += computed.elapsed();
        true
    }

    /// When the next token of a sequence that has room for it is needed.
    fn earliest(&self) -> Option<Instant> {
        let ready = self.active.iter().filter(|a| a.sequence.step_token().is_some());
        ready.map(|a| a.sequence.urgency().token_deadline()).min()
    }
}
