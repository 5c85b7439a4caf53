//! A small finite-state transducer engine: reads OpenFst's binary vector format and finds the cheapest rewriting of a
//! byte string.
//!
//! What OpenFst does in three steps (compose the string with the transducer, take the shortest path, print its output)
//! is one pass here: at every byte the set of reachable states with their cheapest cost is carried on. Nothing of the
//! size of text times transducer is ever built, so long texts cost memory only for the outputs still competing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{Error, Result};

/// No output so far: the root of the history.
const ROOT: u32 = u32::MAX;
/// Outputs kept before those that no state refers to any more are dropped.
const HISTORY: usize = 1 << 18;
/// Competing outputs beyond which the text is given up (and left as it is).
const HISTORY_MAX: usize = 1 << 22;

#[derive(Clone, Copy)]
struct Arc {
    input: u8,
    out_len: u8,
    out_at: u32,
    weight: f32,
    next: u32,
}

/// A transducer over bytes with tropical weights.
pub struct Fst {
    start: u32,
    /// Arcs of state `s`: `arcs[first[s]..first[s + 1]]`, by input; epsilons (0) come first.
    first: Vec<u32>,
    arcs: Vec<Arc>,
    /// Infinite where the state is not final.
    finals: Vec<f32>,
    /// Order in which epsilons lead from state to state.
    rank: Vec<u32>,
    /// Outputs of the arcs.
    pool: Vec<u8>,
}

/// The cheapest way found to a state at the current byte.
#[derive(Clone, Copy)]
struct Best {
    stamp: u32,
    cost: f32,
    history: u32,
    out_at: u32,
    out_len: u8,
}

/// One output, linked to the one before.
struct Said {
    before: u32,
    out_at: u32,
    out_len: u8,
}

impl Fst {
    /// Reads a `vector` transducer with `standard` arcs.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let raw =
            Raw::read(bytes).ok_or_else(|| Error::Internal("a normalisation grammar is damaged".into()))?;
        raw.fold()
            .ok_or_else(|| Error::Internal("a normalisation grammar has an empty loop".into()))
    }

    /// The output of the cheapest path that reads all of `input`; `None` when there is none.
    pub fn rewrite(&self, input: &[u8]) -> Option<Vec<u8>> {
        let blank = Best {
            stamp: 0,
            cost: 0.0,
            history: ROOT,
            out_at: 0,
            out_len: 0,
        };
        let mut here = vec![blank; self.finals.len()];
        let mut there = here.clone();
        let mut history: Vec<Said> = Vec::new();
        let mut limit = HISTORY;
        let mut queue: BinaryHeap<Reverse<(u32, u32)>> = BinaryHeap::new();
        let mut reached: Vec<u32> = Vec::new();
        let mut stamp = 1;

        here[self.start as usize] = Best { stamp, ..blank };
        queue.push(Reverse((self.rank[self.start as usize], self.start)));
        let mut bytes = input.iter().copied().filter(|&b| b != 0);
        loop {
            // Epsilons first, in an order in which no state is left before its last improvement.
            reached.clear();
            while let Some(Reverse((_, state))) = queue.pop() {
                let best = &mut here[state as usize];
                if best.out_len > 0 {
                    history.push(Said {
                        before: best.history,
                        out_at: best.out_at,
                        out_len: best.out_len,
                    });
                    best.history = history.len() as u32 - 1;
                    best.out_len = 0;
                }
                let best = *best;
                reached.push(state);
                for arc in self.arcs_of(state).iter().take_while(|arc| arc.input == 0) {
                    if improve(&mut here[arc.next as usize], stamp, &best, arc) {
                        queue.push(Reverse((self.rank[arc.next as usize], arc.next)));
                    }
                }
            }
            let Some(byte) = bytes.next() else { break };
            stamp += 1;
            for &state in &reached {
                let best = here[state as usize];
                let arcs = self.arcs_of(state);
                let from = arcs.partition_point(|arc| arc.input < byte);
                for arc in arcs[from..].iter().take_while(|arc| arc.input == byte) {
                    if improve(&mut there[arc.next as usize], stamp, &best, arc) {
                        queue.push(Reverse((self.rank[arc.next as usize], arc.next)));
                    }
                }
            }
            std::mem::swap(&mut here, &mut there);
            if queue.is_empty() {
                return None;
            }
            if history.len() > limit {
                forget(
                    &mut history,
                    queue.iter().map(|Reverse((_, s))| *s as usize),
                    &mut here,
                );
                limit = (history.len() * 2).max(HISTORY);
                if limit > HISTORY_MAX {
                    return None;
                }
            }
        }

        let mut end: Option<(f32, u32)> = None;
        for &state in &reached {
            let cost = here[state as usize].cost + self.finals[state as usize];
            if cost.is_finite() && end.is_none_or(|(least, _)| cost < least) {
                end = Some((cost, here[state as usize].history));
            }
        }
        let (_, mut at) = end?;
        let mut parts = Vec::new();
        while let Some(said) = history.get(at as usize) {
            parts.push(self.output(said.out_at, said.out_len));
            at = said.before;
        }
        parts.reverse();
        Some(parts.concat())
    }

    fn arcs_of(&self, state: u32) -> &[Arc] {
        let state = state as usize;
        &self.arcs[self.first[state] as usize..self.first[state + 1] as usize]
    }

    fn output(&self, at: u32, len: u8) -> &[u8] {
        &self.pool[at as usize..at as usize + usize::from(len)]
    }
}

/// Takes `arc` from `best` if that is cheaper than what `slot` holds. True when `slot` is new at this byte.
fn improve(slot: &mut Best, stamp: u32, best: &Best, arc: &Arc) -> bool {
    let cost = best.cost + arc.weight;
    let new = slot.stamp != stamp;
    if new || cost < slot.cost {
        *slot = Best {
            stamp,
            cost,
            history: best.history,
            out_at: arc.out_at,
            out_len: arc.out_len,
        };
    }
    new
}

/// Drops the outputs that no live state leads back to.
fn forget(history: &mut Vec<Said>, live: impl Iterator<Item = usize> + Clone, best: &mut [Best]) {
    let mut kept = vec![false; history.len()];
    for state in live.clone() {
        if let Some(kept) = kept.get_mut(best[state].history as usize) {
            *kept = true;
        }
    }
    // An output always comes after the one before it.
    for i in (0..history.len()).rev() {
        if kept[i]
            && let Some(kept) = kept.get_mut(history[i].before as usize)
        {
            *kept = true;
        }
    }
    let mut moved = vec![ROOT; history.len()];
    let mut count = 0;
    for i in 0..history.len() {
        if kept[i] {
            moved[i] = count;
            count += 1;
        }
    }
    let to = |at: u32| moved.get(at as usize).copied().unwrap_or(ROOT);
    let mut i = 0;
    history.retain_mut(|said| {
        i += 1;
        said.before = to(said.before);
        kept[i - 1]
    });
    for state in live {
        best[state].history = to(best[state].history);
    }
}

/// The file as it is: one output label per arc.
struct Raw {
    start: usize,
    finals: Vec<f32>,
    arcs: Vec<Vec<RawArc>>,
}

#[derive(Clone, Copy)]
struct RawArc {
    input: u8,
    output: u8,
    weight: f32,
    next: usize,
}

impl Raw {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        if cursor.i32()? != 2_125_659_606 || cursor.string()? != b"vector" || cursor.string()? != b"standard"
        {
            return None;
        }
        let (_version, flags, _properties) = (cursor.i32()?, cursor.i32()?, cursor.i64()?);
        let (start, states, _arcs) = (cursor.i64()?, cursor.i64()?, cursor.i64()?);
        // Flags announce symbol tables, which these files do not have.
        if flags != 0 || states < 1 || start < 0 || start >= states || states as usize > bytes.len() {
            return None;
        }
        let states = states as usize;
        let mut raw = Self {
            start: start as usize,
            finals: Vec::new(),
            arcs: Vec::new(),
        };
        for _ in 0..states {
            raw.finals.push(cursor.f32()?);
            let count = usize::try_from(cursor.i64()?).ok()?;
            let mut arcs = Vec::with_capacity(count.min(1024));
            for _ in 0..count {
                let arc = RawArc {
                    input: u8::try_from(cursor.i32()?).ok()?,
                    output: u8::try_from(cursor.i32()?).ok()?,
                    weight: cursor.f32()?,
                    next: usize::try_from(cursor.i32()?)
                        .ok()
                        .filter(|&next| next < states)?,
                };
                arcs.push(arc);
            }
            arcs.sort_by_key(|arc| arc.input);
            raw.arcs.push(arcs);
        }
        cursor.0.is_empty().then_some(raw)
    }

    /// The only arc of a state that is nothing but a step on the way.
    fn step(&self, state: usize) -> Option<RawArc> {
        match self.arcs[state][..] {
            [arc] if arc.input == 0 && self.finals[state].is_infinite() => Some(arc),
            _ => None,
        }
    }

    /// Runs of steps become one arc with several output bytes, and states nobody reaches are dropped: about a tenth
    /// of the states remain. `None` when epsilons go in a circle.
    fn fold(&self) -> Option<Fst> {
        let mut fst = Fst {
            start: 0,
            first: vec![0],
            arcs: vec![],
            finals: vec![],
            rank: vec![],
            pool: vec![],
        };
        let mut number = vec![u32::MAX; self.finals.len()];
        let mut order = vec![self.start];
        number[self.start] = 0;
        let mut at = 0;
        while let Some(&state) = order.get(at) {
            at += 1;
            for arc in &self.arcs[state] {
                let out_at = fst.pool.len();
                let (mut weight, mut next) = (arc.weight, arc.next);
                fst.pool.extend((arc.output != 0).then_some(arc.output));
                while let Some(step) = self.step(next) {
                    // One weight per arc: sums must be made in the order of the path.
                    if (weight != 0.0 && step.weight != 0.0) || fst.pool.len() - out_at >= 255 {
                        break;
                    }
                    weight += step.weight;
                    next = step.next;
                    fst.pool.extend((step.output != 0).then_some(step.output));
                }
                if number[next] == u32::MAX {
                    number[next] = order.len() as u32;
                    order.push(next);
                }
                let out_len = (fst.pool.len() - out_at) as u8;
                fst.arcs.push(Arc {
                    input: arc.input,
                    out_len,
                    out_at: out_at as u32,
                    weight,
                    next: number[next],
                });
            }
            fst.first.push(fst.arcs.len() as u32);
            fst.finals.push(self.finals[state]);
        }
        fst.rank = ranks(&fst)?;
        fst.pool.shrink_to_fit();
        fst.arcs.shrink_to_fit();
        Some(fst)
    }
}

/// A topological order of the states over epsilon arcs.
fn ranks(fst: &Fst) -> Option<Vec<u32>> {
    let states = fst.finals.len();
    let epsilons = |s: usize| fst.arcs_of(s as u32).iter().take_while(|arc| arc.input == 0);
    let mut incoming = vec![0_u32; states];
    for state in 0..states {
        epsilons(state).for_each(|arc| incoming[arc.next as usize] += 1);
    }
    let mut ready: Vec<usize> = (0..states).filter(|&s| incoming[s] == 0).collect();
    let mut rank = vec![0; states];
    let mut count = 0;
    while let Some(state) = ready.pop() {
        rank[state] = count;
        count += 1;
        for arc in epsilons(state) {
            incoming[arc.next as usize] -= 1;
            if incoming[arc.next as usize] == 0 {
                ready.push(arc.next as usize);
            }
        }
    }
    (count as usize == states).then_some(rank)
}

/// Little-endian reads that end in `None`.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn f32(&mut self) -> Option<f32> {
        self.take().map(f32::from_le_bytes)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.i32()?).ok()?;
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}
