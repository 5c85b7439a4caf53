//! Shapes of the flow's runs. A CPU takes them as they come; a GPU gets few of them, so that bindings and captured
//! graphs serve again and again.

/// Pages of history and new chunks together come in multiples of this on a GPU: 200 mel frames, so that the rows of
/// its attention bias stay aligned.
const PAGE_STEP: usize = 4;
/// Up to so many pages every multiple of [`PAGE_STEP`] is a shape of its own; beyond, two shapes per doubling.
const FINE_PAGES: usize = 16;

/// Shape of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Batch rows.
    pub rows: usize,
    /// New tokens of each row.
    pub tokens: usize,
    /// Pages of history of each row.
    pub history: usize,
}

/// How shapes are chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shaping {
    /// Attention chunk, tokens.
    pub chunk: usize,
    /// Every shape as it comes.
    pub exact: bool,
}

impl Shaping {
    /// The shape of a run over `rows` rows of `tokens` new tokens at most, after `history` pages at most.
    pub fn shape(&self, rows: usize, tokens: usize, history: usize) -> Shape {
        if self.exact {
            return Shape {
                rows,
                tokens,
                history,
            };
        }
        let tokens = self.tokens(tokens);
        let new = tokens / self.chunk;
        let all = new + history;
        let padded = match all.next_power_of_two() {
            // Without history there is one shape per length anyway.
            _ if history == 0 || all <= FINE_PAGES => all.next_multiple_of(PAGE_STEP),
            power if all <= power / 4 * 3 => power / 4 * 3,
            power => power,
        };
        Shape {
            rows: rows.next_power_of_two(),
            tokens,
            history: padded - new,
        }
    }

    /// Tokens a run over `tokens` new tokens is padded to.
    pub fn tokens(&self, tokens: usize) -> usize {
        match self.exact {
            true => tokens,
            false => tokens.next_multiple_of(self.chunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: Shaping = Shaping {
        chunk: 25,
        exact: false,
    };

    fn history(pages: usize, tokens: usize) -> usize {
        GPU.shape(1, tokens, pages).history
    }

    #[test]
    fn history_comes_in_few_sizes() {
        let sizes = |new: usize| {
            let mut sizes: Vec<_> = (1..=63).map(|pages| history(pages, new)).collect();
            sizes.dedup();
            sizes
        };
        assert_eq!(sizes(25), [3, 7, 11, 15, 23, 31, 47, 63]);
        assert_eq!(sizes(50)[..4], [2, 6, 10, 14]);
        assert_eq!(history(0, 25 * 60), 0);
        assert_eq!(history(0, 25 * 61), 3);
    }

    #[test]
    fn padded_shapes_hold_what_they_are_asked_for_and_align() {
        for (rows, tokens, pages) in [(1, 1, 0), (3, 30, 5), (32, 25, 40), (5, 101, 17)] {
            let shape = GPU.shape(rows, tokens, pages);
            assert!(shape.rows >= rows && shape.tokens >= tokens && shape.history >= pages);
            assert_eq!((shape.history * 25 + shape.tokens) * 2 % 8, 0);
        }
        let exact = Shaping { exact: true, ..GPU };
        assert_eq!(
            exact.shape(3, 30, 5),
            Shape {
                rows: 3,
                tokens: 30,
                history: 5
            }
        );
    }
}
