//! The threads that sample the rows of one step of a language model.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result, limits};

/// Rows that one thread samples at least: waking another one takes as long as sampling a few.
const ROWS_EACH: usize = 4;

/// Threads of one lane; none where its stages take turns, because there is no core to spare.
pub(super) struct Samplers(Option<ThreadPool>);

impl Samplers {
    /// For a lane whose stages take turns, or do not.
    pub fn new(turns: bool) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / 2).min(limits::LM_SAMPLING_THREADS);
        if turns || threads == 0 {
            return Ok(Self(None));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("sampling {i}"))
            .build()
            .map_err(|e| Error::internal("starting the sampling threads", e))?;
        Ok(Self(Some(pool)))
    }

    /// Does `each` of `rows`, on several threads where there is enough of it.
    pub fn share<T: Send>(&self, rows: &mut [T], each: &(impl Fn(&mut T) + Sync)) {
        let helpers = self.0.as_ref().map_or(0, ThreadPool::current_num_threads);
        let most = rows.len().div_ceil(helpers + 1).max(ROWS_EACH);
        let (own, others) = rows.split_at_mut(most.min(rows.len()));
        match &self.0 {
            Some(pool) if !others.is_empty() => pool.in_place_scope(|scope| {
                for part in others.chunks_mut(most) {
                    scope.spawn(move |_| part.iter_mut().for_each(each));
                }
                own.iter_mut().for_each(each);
            }),
            _ => rows.iter_mut().for_each(each),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop where something is broken")]
    use super::*;

    /// Guarantees that every row is done once, whoever does it.
    #[test]
    fn every_row_is_done_once() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for samplers in [Samplers(None), Samplers(Some(pool))] {
            for count in [0, 1, 4, 5, 12, 13, 64] {
                let mut rows = vec![0; count];
                samplers.share(&mut rows, &|row| *row += 1);
                assert_eq!(rows, vec![1; count]);
            }
        }
    }
}
