//! A small finite-state transducer engine: reads OpenFst's binary vector format and finds the cheapest rewriting of a
//! byte string.
//!
//! What OpenFst does in three steps (compose the string with the transducer, take the shortest path, print its output)
//! is done here on the product of string and transducer directly, which is never stored with its arcs. The grammars
//! hold many equally cheap readings ("#" is "number" as well as "hash"), so the search relaxes its places in the very
//! order of OpenFst's `ShortestPath`: the reverse of the order in which a depth-first search leaves them, or last in,
//! first out when no arc weighs anything.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use crate::{Error, Result};

/// Places one search may look at (about 100 bytes each).
const PLACES: usize = 1 << 20;

type Index = HashMap<u64, u32, BuildHasherDefault<Mix>>;

/// A place's key: where in the input, which state.
fn key(at: u32, state: u32) -> u64 {
    u64::from(at) << 32 | u64::from(state)
}

/// A hasher for keys that are small numbers already.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

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
    /// Outputs of the arcs.
    pool: Vec<u8>,
}

/// One place of the search: a state of the transducer at a byte of the input.
struct Place {
    at: u32,
    state: u32,
    cost: f32,
    /// The place and the arc it is best reached by.
    from: u32,
    arc: u32,
    /// Whether the end can be reached from here.
    useful: bool,
}

/// A place being explored: the arcs of it that are still to be followed.
struct Open {
    place: u32,
    arcs: Range<u32>,
    /// Arcs that read the next byte, after the epsilons.
    then: Range<u32>,
    /// Weight of the arc being followed.
    weight: f32,
}

/// The product of an input and the transducer, as far as it can be reached.
struct Search {
    places: Vec<Place>,
    index: Index,
    /// Places from which the end can be reached, in the order in which a depth-first search leaves them.
    order: Vec<u32>,
    /// Whether no arc between those weighs anything.
    flat: bool,
}

impl Fst {
    /// Reads a `vector` transducer with `standard` arcs.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let raw =
            Raw::read(bytes).ok_or_else(|| Error::Internal("a normalisation grammar is damaged".into()))?;
        Ok(raw.fold())
    }

    /// The output of the cheapest path that reads all of `input`; `None` when there is none, or when more than
    /// [`PLACES`] places would have to be looked at. Among equally cheap paths it takes the one OpenFst takes.
    pub fn rewrite(&self, input: &[u8]) -> Option<Vec<u8>> {
        let input: Vec<u8> = input.iter().copied().filter(|&byte| byte != 0).collect();
        let mut search = self.explore(&input)?;
        let end = if search.flat {
            self.first_found(&input, &mut search)
        } else {
            self.cheapest(&input, &mut search)
        };
        let places = search.places;
        let mut place = end?;
        let mut parts = Vec::new();
        while place != 0 {
            let Place { from, arc, .. } = places[place as usize];
            parts.push(self.output(arc));
            place = from;
        }
        parts.reverse();
        Some(parts.concat())
    }

    /// The last place of the cheapest path. Every place comes before those it leads to, and of equally cheap ways in
    /// the first stays.
    fn cheapest(&self, input: &[u8], search: &mut Search) -> Option<u32> {
        let mut end: Option<(f32, u32)> = None;
        let order = std::mem::take(&mut search.order);
        for &this in order.iter().rev() {
            let Place { at, state, cost, .. } = search.places[this as usize];
            let total = cost + self.finals[state as usize];
            if at as usize == input.len() && total < end.map_or(f32::INFINITY, |(least, _)| least) {
                end = Some((total, this));
            }
            let (epsilons, reads) = self.ways(state, input.get(at as usize).copied());
            for arc in epsilons.chain(reads) {
                let total = cost + self.arcs[arc as usize].weight;
                let Some(to) = self.follow(at, arc, search) else {
                    continue;
                };
                let to = &mut search.places[to as usize];
                if total < to.cost {
                    (to.cost, to.from, to.arc) = (total, this, arc);
                }
            }
        }
        end.map(|(_, place)| place)
    }

    /// The last place of the first path found going deep, last way first: where nothing costs anything.
    fn first_found(&self, input: &[u8], search: &mut Search) -> Option<u32> {
        let mut open = vec![0];
        let mut end = None;
        while let Some(this) = open.pop() {
            let Place { at, state, .. } = search.places[this as usize];
            if at as usize == input.len() && self.finals[state as usize].is_finite() {
                end = end.or(Some(this));
            }
            let (epsilons, reads) = self.ways(state, input.get(at as usize).copied());
            for arc in epsilons.chain(reads) {
                let Some(to) = self.follow(at, arc, search) else {
                    continue;
                };
                let place = &mut search.places[to as usize];
                if place.cost.is_infinite() {
                    (place.cost, place.from, place.arc) = (0.0, this, arc);
                    open.push(to);
                }
            }
        }
        end
    }

    /// The place `arc` leads to from a place at `at`, if it is of use.
    fn follow(&self, at: u32, arc: u32, search: &Search) -> Option<u32> {
        let Arc { input, next, .. } = self.arcs[arc as usize];
        let to = *search.index.get(&key(at + u32::from(input != 0), next))?;
        search.places[to as usize].useful.then_some(to)
    }

    /// Looks at every place that can be reached.
    fn explore(&self, input: &[u8]) -> Option<Search> {
        let mut search = Search {
            places: vec![],
            index: Index::default(),
            order: vec![],
            flat: true,
        };
        let mut open = Vec::new();
        self.enter(0, self.start, input, &mut search, &mut open);
        search.places[0].cost = 0.0;
        while let Some(top) = open.last_mut() {
            let this = top.place;
            let Some(arc) = top.arcs.next().or_else(|| top.then.next()) else {
                open.pop();
                if search.places[this as usize].useful {
                    search.order.push(this);
                    if let Some(above) = open.last() {
                        search.places[above.place as usize].useful = true;
                        search.flat &= above.weight == 0.0;
                    }
                }
                continue;
            };
            let Arc {
                input: reads,
                next,
                weight,
                ..
            } = self.arcs[arc as usize];
            top.weight = weight;
            let at = search.places[this as usize].at + u32::from(reads != 0);
            let known = self.enter(at, next, input, &mut search, &mut open);
            if known.is_some_and(|known| search.places[known as usize].useful) {
                search.places[this as usize].useful = true;
                search.flat &= weight == 0.0;
            }
            if search.places.len() > PLACES {
                return None;
            }
        }
        Some(search)
    }

    /// Opens a place, or names it if it is known already.
    fn enter(
        &self,
        at: u32,
        state: u32,
        input: &[u8],
        search: &mut Search,
        open: &mut Vec<Open>,
    ) -> Option<u32> {
        let new = search.places.len() as u32;
        let this = *search.index.entry(key(at, state)).or_insert(new);
        if this != new {
            return Some(this);
        }
        let useful = at as usize == input.len() && self.finals[state as usize].is_finite();
        search.places.push(Place {
            at,
            state,
            cost: f32::INFINITY,
            from: 0,
            arc: 0,
            useful,
        });
        let (arcs, then) = self.ways(state, input.get(at as usize).copied());
        open.push(Open {
            place: new,
            arcs,
            then,
            weight: 0.0,
        });
        None
    }

    /// The arcs of `state` to follow before `byte`: epsilons, and those that read it.
    fn ways(&self, state: u32, byte: Option<u8>) -> (Range<u32>, Range<u32>) {
        let state = state as usize;
        let (from, to) = (self.first[state], self.first[state + 1]);
        let arcs = &self.arcs[from as usize..to as usize];
        let below = |byte: u8| from + arcs.partition_point(|arc| arc.input < byte) as u32;
        let epsilons = from..below(1);
        let reads = byte.map_or(to..to, |byte| below(byte)..byte.checked_add(1).map_or(to, below));
        (epsilons, reads)
    }

    fn output(&self, arc: u32) -> &[u8] {
        let Arc { out_at, out_len, .. } = self.arcs[arc as usize];
        &self.pool[out_at as usize..out_at as usize + usize::from(out_len)]
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

    /// The only arc of a state that is nothing but a step to a state nothing else leads to.
    fn step(&self, state: usize, ways_in: &[u32]) -> Option<RawArc> {
        match self.arcs[state][..] {
            [arc] if arc.input == 0 && self.finals[state].is_infinite() && ways_in[arc.next] == 1 => {
                Some(arc)
            }
            _ => None,
        }
    }

    /// Runs of such steps become one arc with several output bytes, which changes nothing in the order of the search,
    /// and states nobody reaches are dropped.
    fn fold(&self) -> Fst {
        let mut ways_in = vec![0; self.finals.len()];
        self.arcs.iter().flatten().for_each(|arc| ways_in[arc.next] += 1);
        ways_in[self.start] += 1;
        let mut fst = Fst {
            start: 0,
            first: vec![0],
            arcs: vec![],
            finals: vec![],
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
                while let Some(step) = self.step(next, &ways_in) {
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
        fst.pool.shrink_to_fit();
        fst.arcs.shrink_to_fit();
        fst
    }
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
