//! When a streamed utterance may run the flow.
//!
//! The flow's chunks lie on a grid that begins with the prompt, and their mel does not depend on how many are computed
//! at once. So the first hop only reaches the end of the chunk that the prompt began, and later hops are whole chunks:
//! one, and then twice as many each time.
//!
//! Where chunks overlap (generation 1) all hops are alike, and the overlap is what a hop looks ahead.

use crate::model::bundle::FlowKind;

/// Growth of the hop from chunk to chunk.
const HOP_GROWTH: usize = 2;
/// Shortest first hop, tokens (0.4 s). The vocoder holds back 0.16 s of it, so a shorter one would leave the client
/// too little to play while the 25 tokens of the next chunk are made.
const MIN_FIRST_HOP: usize = 10;

/// Longest hop, chunks. Longer runs cost less for each chunk; but whoever waits for a run waits for all of it.
const MAX_HOP: usize = 4;

/// The plan of one utterance (one text segment).
#[derive(Debug, Clone)]
pub struct ChunkPlan {
    /// The next hop, tokens.
    next: usize,
    /// The one after it.
    hop: usize,
    max_hop: usize,
    lookahead: usize,
    /// Tokens before the next hop.
    offset: usize,
}

impl ChunkPlan {
    /// `chunk` and `lookahead` in tokens; `prompt` is the length of the flow's prompt. Where the stages are `crowded`
    /// the first hop is a chunk at least.
    pub fn new(chunk: usize, lookahead: usize, prompt: usize, crowded: bool) -> Self {
        let chunk = chunk.max(1);
        let pad = prompt.next_multiple_of(chunk) - prompt;
        let least = if crowded { chunk } else { MIN_FIRST_HOP };
        Self {
            next: if pad < least { pad + chunk } else { pad },
            hop: chunk,
            max_hop: chunk * MAX_HOP,
            lookahead,
            offset: 0,
        }
    }

    /// The plan that suits a flow.
    pub fn of(flow: &FlowKind, prompt: usize, crowded: bool) -> Self {
        match flow {
            FlowKind::Paged(flow) => Self::new(flow.chunk_tokens, flow.lookahead_tokens, prompt, crowded),
            FlowKind::Overlapped(flow) => Self::even(flow.hop_tokens, flow.overlap_tokens),
        }
    }

    /// Hops of `hop` tokens, each with `overlap` tokens of the next one behind it.
    fn even(hop: usize, overlap: usize) -> Self {
        Self {
            next: hop,
            hop,
            max_hop: hop,
            lookahead: overlap,
            offset: 0,
        }
    }

    /// How many tokens to give the flow now, look-ahead included, if `available` tokens are enough for its next hop.
    pub fn next(&mut self, available: usize) -> Option<usize> {
        if self.missing(available) > 0 {
            return None;
        }
        self.offset += self.next;
        self.next = self.hop;
        self.hop = (self.hop * HOP_GROWTH).min(self.max_hop);
        Some(self.offset + self.lookahead)
    }

    /// Tokens that `available` ones lack for the next hop.
    pub fn missing(&self, available: usize) -> usize {
        (self.offset + self.next + self.lookahead).saturating_sub(available)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uptos(prompt: usize) -> Vec<usize> {
        let mut plan = ChunkPlan::new(25, 3, prompt, false);
        std::iter::from_fn(|| plan.next(300)).collect()
    }

    #[test]
    fn hops_grow_to_four_chunks() {
        assert_eq!(uptos(0), [28, 53, 103, 203]);
    }

    #[test]
    fn the_first_hop_ends_the_chunk_that_the_prompt_began() {
        assert_eq!(uptos(90), [13, 38, 88, 188, 288]);
        assert_eq!(uptos(15)[0], 10 + 3);
        assert_eq!(uptos(16)[0], 9 + 25 + 3, "too short for a hop");
        assert_eq!(uptos(100)[0], 25 + 3);
    }

    #[test]
    fn crowded_stages_begin_with_a_chunk_at_least() {
        let first = |prompt| ChunkPlan::new(25, 3, prompt, true).next(100);
        assert_eq!(first(87), Some(13 + 25 + 3));
        assert_eq!(first(75), Some(25 + 3));
    }

    #[test]
    fn a_hop_waits_for_its_look_ahead() {
        let mut plan = ChunkPlan::new(25, 3, 23, false);
        assert_eq!(plan.next(29), None);
        assert_eq!(plan.next(30), Some(30));
        assert_eq!(plan.next(54), None);
        assert_eq!(plan.next(55), Some(55));
    }

    #[test]
    fn hops_that_overlap_are_alike() {
        let mut plan = ChunkPlan::even(100, 20);
        assert_eq!(plan.missing(50), 70);
        let uptos: Vec<_> = std::iter::from_fn(|| plan.next(330)).collect();
        assert_eq!(uptos, [120, 220, 320]);
    }

    #[test]
    fn every_hop_ends_on_the_grid() {
        for prompt in 0..60 {
            for upto in uptos(prompt) {
                assert_eq!((prompt + upto - 3) % 25, 0);
            }
        }
    }
}
