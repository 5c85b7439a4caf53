//! One stage computes at a time: on a CPU the stages share the cores, so they take turns, earliest deadline first.
//!
//! A turn is short (one step of the language model, one Euler step, one vocoder run) and is not interrupted; what is
//! due next waits for at most one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The gate.
#[derive(Debug, Default)]
pub struct Turn {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    arrivals: u64,
    /// By deadline, then by arrival.
    waiting: BTreeMap<(Instant, u64), Arc<Condvar>>,
}

impl State {
    /// Whether one with this deadline goes before all that wait.
    fn is_first(&self, deadline: Instant) -> bool {
        self.waiting
            .first_key_value()
            .is_none_or(|((first, _), _)| deadline < *first)
    }

    fn wake_first(&self) {
        if let Some((_, waiter)) = self.waiting.first_key_value() {
            waiter.notify_one();
        }
    }
}

impl Turn {
    /// A free gate.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Waits for the turn. The earliest deadline goes first, the first come among equals.
    pub fn take(self: &Arc<Self>, deadline: Instant) -> TurnGuard {
        self.acquire(self.state.lock(), deadline, &|| false);
        TurnGuard(self.clone())
    }

    /// As [`Turn::take`], but stops waiting (`None`) once `stale` says that something else should be asked for; it is
    /// asked whenever [`Turn::nudge`] is called.
    pub fn take_unless(self: &Arc<Self>, deadline: Instant, stale: &dyn Fn() -> bool) -> Option<TurnGuard> {
        self.acquire(self.state.lock(), deadline, stale)
            .then(|| TurnGuard(self.clone()))
    }

    /// Has everyone who waits in [`Turn::take_unless`] ask again whether to wait on.
    pub fn nudge(&self) {
        for waiter in self.state.lock().waiting.values() {
            waiter.notify_one();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Returns whether the turn was taken.
    fn acquire(&self, mut state: MutexGuard<'_, State>, deadline: Instant, stale: &dyn Fn() -> bool) -> bool {
        if state.taken || !state.is_first(deadline) {
            state.arrivals += 1;
            let key = (deadline, state.arrivals);
            let waiter = Arc::new(Condvar::new());
            state.waiting.insert(key, waiter.clone());
            while state.taken || state.waiting.first_key_value().map(|(first, _)| *first) != Some(key) {
                if stale() {
                    state.waiting.remove(&key);
                    if !state.taken {
                        state.wake_first();
                    }
                    return false;
                }
                waiter.wait(&mut state);
            }
            state.waiting.remove(&key);
        }
        state.taken = true;
        true
    }
}

/// The turn; given back when dropped.
#[derive(Debug)]
pub struct TurnGuard(Arc<Turn>);

impl TurnGuard {
    /// Whether something due before `deadline` waits: work that goes on keeps the turn until then. Dropping it and
    /// taking it again would let less urgent work in between.
    pub fn is_wanted_before(&self, deadline: Instant) -> bool {
        let state = self.0.state.lock();
        let first = state.waiting.first_key_value();
        first.is_some_and(|((first, _), _)| *first < deadline)
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.taken = false;
        state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn after(base: Instant, ms: u64) -> Instant {
        base + Duration::from_millis(ms)
    }

    /// Starts a thread that takes the turn and notes its name; returns when it waits.
    fn queue(
        turn: &Arc<Turn>,
        order: &Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
        deadline: Instant,
    ) -> std::thread::JoinHandle<()> {
        let before = turn.waiting();
        let (gate, order) = (turn.clone(), order.clone());
        let thread = std::thread::spawn(move || {
            let _turn = gate.take(deadline);
            order.lock().push(name);
        });
        while turn.waiting() == before {
            std::thread::yield_now();
        }
        thread
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_equals_in_order() {
        let (turn, order, now) = (Turn::new(), Arc::default(), Instant::now());
        let held = turn.take(now);
        let threads = [
            queue(&turn, &order, "late", after(now, 900)),
            queue(&turn, &order, "first of two", after(now, 500)),
            queue(&turn, &order, "second of two", after(now, 500)),
            queue(&turn, &order, "soon", after(now, 100)),
        ];
        drop(held);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(*order.lock(), ["soon", "first of two", "second of two", "late"]);
    }

    #[test]
    fn a_turn_is_wanted_by_what_is_due_earlier_only() {
        let (turn, order, now) = (Turn::new(), Arc::default(), Instant::now());
        let held = turn.take(now);
        assert!(!held.is_wanted_before(after(now, 900)));
        let late = queue(&turn, &order, "late", after(now, 900));
        assert!(!held.is_wanted_before(after(now, 900)), "equals wait");
        assert!(held.is_wanted_before(after(now, 901)));
        drop(held);
        late.join().unwrap();
    }

    #[test]
    fn one_at_a_time_and_a_panic_gives_the_turn_back() {
        let (turn, inside, now) = (Turn::new(), Arc::new(AtomicUsize::new(0)), Instant::now());
        let threads: Vec<_> = (0..8u64)
            .map(|i| {
                let (turn, inside) = (turn.clone(), inside.clone());
                std::thread::spawn(move || {
                    for round in 0..200 {
                        let _turn = turn.take(after(now, (i * 7 + round * 13) % 50));
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let gate = turn.clone();
        let panicked = std::thread::spawn(move || {
            let _turn = gate.take(now);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.join().is_err());
        drop(turn.take(now));
    }
}
