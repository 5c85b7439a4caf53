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

type Index = HashMap<u64, u32, BuildHasherDefault<Mix>>;

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
pub(super) struct Arc {
    pub input: u8,
    pub out_len: u8,
    pub out_at: u32,
    pub weight: f32,
    pub next: u32,
}

/// A transducer over bytes with tropical weights.
pub struct Fst {
    pub(super) start: u32,
    /// Arcs of state `s`: `arcs[first[s]..first[s + 1]]`, by input; epsilons (0) come first.
    pub(super) first: Vec<u32>,
    pub(super) arcs: Vec<Arc>,
    /// Infinite where the state is not final.
    pub(super) finals: Vec<f32>,
    /// The bytes a state can read next, epsilons aside, as bits; bit 0 says that the input may end there.
    pub(super) next_bytes: Vec<[u64; 4]>,
    /// Whether just one arc leads to a state.
    pub(super) single: Vec<bool>,
    /// Outputs of the arcs.
    pub(super) pool: Vec<u8>,
}

/// No link.
const NONE: u32 = u32::MAX;

/// One place of the search: a state of the transducer at a byte of the input.
struct Place {
    at: u32,
    state: u32,
    cost: f32,
    /// The link it is best reached by.
    by: u32,
    /// Its links to places of use: the first and the last of a chain.
    links: (u32, u32),
    /// Whether the end can be reached from here.
    useful: bool,
}

/// A way from one place to another.
struct Link {
    from: u32,
    to: u32,
    arc: u32,
    /// The next link of the same place.
    next: u32,
}

/// A place being explored: the arcs of it that are still to be followed.
struct Open {
    place: u32,
    epsilons: Range<u32>,
    reads: Range<u32>,
    /// The arc being followed.
    arc: u32,
}

/// The product of an input and the transducer, as far as it can be reached.
struct Search<'a> {
    fst: &'a Fst,
    input: &'a [u8],
    places: Vec<Place>,
    links: Vec<Link>,
    index: Index,
    open: Vec<Open>,
    /// Places from which the end can be reached, in the order in which a depth-first search leaves them.
    order: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(fst: &'a Fst, input: &'a [u8]) -> Self {
        let (places, links, open, order) = (vec![], vec![], vec![], vec![]);
        Self {
            fst,
            input,
            places,
            links,
            index: Index::default(),
            open,
            order,
        }
    }

    /// Looks at every place that can be reached and can go on. False when that takes more than `budget`.
    fn explore(&mut self, budget: usize) -> bool {
        self.enter(0, self.fst.start);
        self.places[0].cost = 0.0;
        while let Some(top) = self.open.last_mut() {
            let this = top.place;
            let Some(arc) = top.epsilons.next().or_else(|| top.reads.next()) else {
                self.leave(this);
                continue;
            };
            top.arc = arc;
            let Arc { input, next, .. } = self.fst.arcs[arc as usize];
            let at = self.places[this as usize].at + u32::from(input != 0);
            if !self.fst.can_go_on(next, self.input.get(at as usize).copied()) {
                continue;
            }
            // (A place in a circle of epsilons would be open still, and is not the way to its own end.)
            if let Some(known) = self.enter(at, next)
                && self.places[known as usize].useful
            {
                self.link(this, known, arc);
            }
            if self.places.len() > budget {
                return false;
            }
        }
        true
    }

    /// Opens a place, or names it if it is known already.
    fn enter(&mut self, at: u32, state: u32) -> Option<u32> {
        let new = self.places.len() as u32;
        // What only one arc leads to is never met twice.
        if !self.fst.single[state as usize] {
            let this = *self
                .index
                .entry(u64::from(at) << 32 | u64::from(state))
                .or_insert(new);
            if this != new {
                return Some(this);
            }
        }
        let useful = at as usize == self.input.len() && self.fst.finals[state as usize].is_finite();
        self.places.push(Place {
            at,
            state,
            cost: f32::INFINITY,
            by: NONE,
            links: (NONE, NONE),
            useful,
        });
        let (epsilons, reads) = self.fst.ways(state, self.input.get(at as usize).copied());
        self.open.push(Open {
            place: new,
            epsilons,
            reads,
            arc: 0,
        });
        None
    }

    /// Closes the place opened last.
    fn leave(&mut self, this: u32) {
        self.open.pop();
        if self.places[this as usize].useful {
            self.order.push(this);
            if let Some(&Open { place, arc, .. }) = self.open.last() {
                self.link(place, this, arc);
            }
        }
    }

    fn link(&mut self, from: u32, to: u32, arc: u32) {
        let new = self.links.len() as u32;
        self.links.push(Link {
            from,
            to,
            arc,
            next: NONE,
        });
        let place = &mut self.places[from as usize];
        place.useful = true;
        match place.links {
            (NONE, _) => place.links = (new, new),
            (first, last) => {
                self.links[last as usize].next = new;
                place.links = (first, new);
            }
        }
    }

    /// The last place of the cheapest path. Every place comes before those it leads to, and of equally cheap ways in
    /// the first stays.
    fn cheapest(&mut self) -> Option<u32> {
        let mut end: Option<(f32, u32)> = None;
        for &this in self.order.iter().rev() {
            let Place {
                at,
                state,
                cost,
                links,
                ..
            } = self.places[this as usize];
            let total = cost + self.fst.finals[state as usize];
            if at as usize == self.input.len() && total < end.map_or(f32::INFINITY, |(least, _)| least) {
                end = Some((total, this));
            }
            let mut by = links.0;
            while let Some(link) = self.links.get(by as usize) {
                let total = cost + self.fst.arcs[link.arc as usize].weight;
                let to = &mut self.places[link.to as usize];
                if total < to.cost {
                    (to.cost, to.by) = (total, by);
                }
                by = link.next;
            }
        }
        end.map(|(_, place)| place)
    }

    /// The last place of the first path found going deep, last way first: where nothing costs anything.
    fn first_found(&mut self) -> Option<u32> {
        let mut open = vec![0];
        let mut end = None;
        while let Some(this) = open.pop() {
            let Place { at, state, links, .. } = self.places[this as usize];
            if at as usize == self.input.len() && self.fst.finals[state as usize].is_finite() {
                end = end.or(Some(this));
            }
            let mut by = links.0;
            while let Some(link) = self.links.get(by as usize) {
                let to = &mut self.places[link.to as usize];
                if to.cost.is_infinite() {
                    (to.cost, to.by) = (0.0, by);
                    open.push(link.to);
                }
                by = link.next;
            }
        }
        end
    }

    /// What the path to `place` says.
    fn output(&self, place: u32) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut by = self.places[place as usize].by;
        while let Some(link) = self.links.get(by as usize) {
            parts.push(self.fst.output(link.arc));
            by = self.places[link.from as usize].by;
        }
        parts.reverse();
        parts.concat()
    }
}

impl Fst {
    /// The output of the cheapest path that reads all of `input`; `None` when there is none, or when more places
    /// than `budget` would have to be looked at; what is looked at is taken off it. Among equally cheap paths it takes
    /// the one OpenFst takes.
    pub fn rewrite(&self, input: &[u8], budget: &mut usize) -> Option<Vec<u8>> {
        let input: Vec<u8> = input.iter().copied().filter(|&byte| byte != 0).collect();
        if !self.can_go_on(self.start, input.first().copied()) {
            return None;
        }
        let mut search = Search::new(self, &input);
        let done = search.explore(*budget);
        *budget = budget.saturating_sub(search.places.len());
        if !done {
            return None;
        }
        let flat = search
            .links
            .iter()
            .all(|link| self.arcs[link.arc as usize].weight == 0.0);
        let end = if flat {
            search.first_found()
        } else {
            search.cheapest()
        };
        Some(search.output(end?))
    }

    /// Whether `state` can read `byte`, or end where there is none.
    fn can_go_on(&self, state: u32, byte: Option<u8>) -> bool {
        let byte = byte.unwrap_or(0);
        self.next_bytes[state as usize][usize::from(byte / 64)] >> (byte % 64) & 1 == 1
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
