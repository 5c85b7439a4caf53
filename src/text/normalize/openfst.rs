//! Reads OpenFst's binary files (type `vector`, arcs `standard`, little-endian) into an [`Fst`].

use super::fst::{Arc, Fst};
use crate::{Error, Result};

/// Reads a transducer.
pub fn read(bytes: &[u8]) -> Result<Fst> {
    let raw = Raw::read(bytes).ok_or_else(|| Error::Internal("a normalisation grammar is damaged".into()))?;
    Ok(raw.fold())
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
            next_bytes: vec![],
            single: vec![],
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
        fst.next_bytes = next_bytes(&fst);
        let mut ways_in = vec![0; fst.finals.len()];
        fst.arcs.iter().for_each(|arc| ways_in[arc.next as usize] += 1);
        ways_in[0] += 1;
        fst.single = ways_in.iter().map(|&ways| ways == 1).collect();
        fst
    }
}

/// What [`Fst::next_bytes`] says.
fn next_bytes(fst: &Fst) -> Vec<[u64; 4]> {
    let states = fst.finals.len();
    let mut all = vec![[0_u64; 4]; states];
    let mut changed = true;
    while changed {
        changed = false;
        for state in (0..states).rev() {
            let mut bytes = all[state];
            bytes[0] |= u64::from(fst.finals[state].is_finite());
            for arc in &fst.arcs[fst.first[state] as usize..fst.first[state + 1] as usize] {
                if arc.input == 0 {
                    let next = all[arc.next as usize];
                    bytes
                        .iter_mut()
                        .zip(next)
                        .for_each(|(bytes, next)| *bytes |= next);
                } else {
                    bytes[usize::from(arc.input / 64)] |= 1 << (arc.input % 64);
                }
            }
            changed |= bytes != all[state];
            all[state] = bytes;
        }
    }
    all
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
