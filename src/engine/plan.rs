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

    /// Whether `available` tokens are enough for the next chunk.
    pub fn is_due(&self, available: usize) -> bool {
        available >= self.end() + self.lookahead
    }

    /// The next chunk, if `available` tokens are enough for it: the tokens to give the flow, look-ahead included.
    pub fn next(&mut self, available: usize) -> Option<usize> {
        if !self.is_due(available) {
            return None;
        }
        self.offset = self.end();
        self.hop = (self.hop * HOP_GROWTH).min(self.max_hop);
        Some(self.offset + self.lookahead)
    }

    /// Mel frames that a whole stream's chunks (all but the first and the last of most) give the vocoder, each width
    /// once: `ratio` frames a token, and `overlap` frames of the chunk before.
    pub fn widths(mut self, ratio: usize, overlap: usize) -> Vec<usize> {
        let mut widths = vec![self.hop * ratio];
        loop {
            let width = self.hop * ratio + overlap;
            if widths.contains(&width) {
                return widths;
            }
            widths.push(width);
            self.hop = (self.hop * HOP_GROWTH).min(self.max_hop);
        }
    }

    /// Where the next chunk ends.
    fn end(&self) -> usize {
        self.offset + self.hop + if self.offset == 0 { self.pad } else { 0 }
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
        assert!(!plan.is_due(29) && plan.is_due(30));
        assert_eq!(plan.next(30), Some(30));
        assert_eq!(plan.next(80), Some(80));
        assert_eq!(plan.next(100), None);
    }

    #[test]
    fn hops_stop_growing_at_four_chunks() {
        let mut plan = ChunkPlan::new(25, 3, 0);
        let uptos: Vec<_> = std::iter::from_fn(|| plan.next(400)).collect();
        assert_eq!(uptos, vec![28, 78, 178, 278, 378]);
    }
}
