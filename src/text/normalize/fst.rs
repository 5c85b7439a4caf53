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
    /// Outputs of the arcs.
    pub(super) pool: Vec<u8>,
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
    /// The output of the cheapest path that reads all of `input`; `None` when there is none, or when more places
    /// than `budget` would have to be looked at; what is looked at is taken off it. Among equally cheap paths it takes
    /// the one OpenFst takes.
    pub fn rewrite(&self, input: &[u8], budget: &mut usize) -> Option<Vec<u8>> {
        let input: Vec<u8> = input.iter().copied().filter(|&byte| byte != 0).collect();
        let search = self.explore(&input, *budget);
        *budget -= search
            .as_ref()
            .map_or(*budget, |search| search.places.len().min(*budget));
        let mut search = search?;
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
        // (Places that cannot go on are not in the index.)
        let to = *search.index.get(&key(at + u32::from(input != 0), next))?;
        search.places[to as usize].useful.then_some(to)
    }

    /// Looks at every place that can be reached.
    fn explore(&self, input: &[u8], budget: usize) -> Option<Search> {
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
            if search.places.len() > budget {
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
