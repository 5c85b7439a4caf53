//! When a streamed utterance may run the flow: the reference's chunk plan (cli/model.py `tts`), local to a request.
//!
//! A chunk needs its hop and the flow's look-ahead. The first hop is padded so that prompt and hop end on an
//! attention chunk; later hops double up to four chunks, so that a long utterance runs the flow less often.

/// Growth of the hop from chunk to chunk.
const HOP_GROWTH: usize = 2;
/// Largest hop, in attention chunks.
const MAX_HOP_CHUNKS: usize = 4;

/// The plan of one utterance (one text segment).
#[derive(Debug, Clone)]
pub struct ChunkPlan {
    hop: usize,
    pad: usize,
    max_hop: usize,
    lookahead: usize,
    offset: usize,
}

/// One run of the flow: over `tokens[..upto]`, of which those before `offset` have been spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Tokens spoken before.
    pub offset: usize,
    /// Tokens to give the flow, look-ahead included.
    pub upto: usize,
}

impl ChunkPlan {
    /// `chunk` and `lookahead` in tokens; `prompt` is the length of the flow's prompt.
    pub fn new(chunk: usize, lookahead: usize, prompt: usize) -> Self {
        let chunk = chunk.max(1);
        Self {
            hop: chunk,
            pad: prompt.next_multiple_of(chunk) - prompt,
            max_hop: chunk * MAX_HOP_CHUNKS,
            lookahead,
            offset: 0,
        }
    }

    /// The next chunk, if `available` tokens are enough for it.
    pub fn next(&mut self, available: usize) -> Option<Chunk> {
        let hop = self.hop + if self.offset == 0 { self.pad } else { 0 };
        let upto = self.offset + hop + self.lookahead;
        if available < upto {
            return None;
        }
        let chunk = Chunk {
            offset: self.offset,
            upto,
        };
        self.offset += hop;
        self.hop = (self.hop * HOP_GROWTH).min(self.max_hop);
        Some(chunk)
    }

    /// The last chunk, once all `total` tokens are there.
    pub fn last(&self, total: usize) -> Chunk {
        Chunk {
            offset: self.offset,
            upto: total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_grow_and_the_first_is_padded_to_a_chunk_boundary() {
        // The reference's own run: prompt 23, 100 tokens -> 30, 80, then all (goldens stream_2).
        let mut plan = ChunkPlan::new(25, 3, 23);
        assert_eq!(plan.next(29), None);
        assert_eq!(plan.next(30), Some(Chunk { offset: 0, upto: 30 }));
        assert_eq!(plan.next(80), Some(Chunk { offset: 27, upto: 80 }));
        assert_eq!(plan.next(100), None);
        assert_eq!(
            plan.last(100),
            Chunk {
                offset: 77,
                upto: 100
            }
        );
    }

    #[test]
    fn hops_stop_growing_at_four_chunks() {
        let mut plan = ChunkPlan::new(25, 3, 0);
        let uptos: Vec<_> = std::iter::from_fn(|| plan.next(400)).map(|c| c.upto).collect();
        assert_eq!(uptos, vec![28, 78, 178, 278, 378]);
    }
}
