//! When memory of the page pool goes back to the system: what the last seconds did not need.

use std::time::Instant;

use crate::model::pages::PagePool;
use crate::{Result, limits};

/// Looks at the pool at the end of each window of time.
pub(super) struct Trim {
    pool: PagePool,
    end: Instant,
}

impl Trim {
    pub fn new(pool: PagePool) -> Self {
        let end = Instant::now() + limits::FLOW_TRIM_WINDOW;
        Self { pool, end }
    }

    /// When to look next; `None` while there is nothing to give back.
    pub fn due(&self) -> Option<Instant> {
        self.pool.has_spare().then_some(self.end)
    }

    /// At the end of a window, hands the pages that it and the one before did not need to `give_back`.
    pub fn round(&mut self, now: Instant, give_back: impl FnOnce(&[i64]) -> Result<()>) -> Result<()> {
        if now < self.end {
            return Ok(());
        }
        self.end = now + limits::FLOW_TRIM_WINDOW;
        self.pool.trim(limits::FLOW_TRIM_PAGES, |pages| {
            let result = give_back(pages);
            if !pages.is_empty() {
                let us = now.elapsed().as_micros() as u64;
                tracing::debug!(pages = pages.len(), us, "memory of free pages given back");
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees that memory goes back after two windows in which nobody needed it, once, and that nobody waits for
    /// the end of a window when there is none to give.
    #[test]
    fn what_two_windows_did_not_need_goes_back() {
        let pool = PagePool::new(4);
        let mut trim = Trim::new(pool.clone());
        assert_eq!(trim.due(), None);
        let mut now = trim.end;
        let mut round = |trim: &mut Trim, after| {
            now += after;
            let mut given: Vec<i64> = Vec::new();
            let give = |pages: &[i64]| {
                given.extend(pages);
                Ok(())
            };
            trim.round(now, give).unwrap();
            given.len()
        };
        drop(pool.take(3));
        assert_eq!(trim.due(), Some(trim.end));
        let window = limits::FLOW_TRIM_WINDOW;
        assert_eq!(round(&mut trim, window / 2), 0, "needed in this window");
        assert_eq!(round(&mut trim, window), 0, "needed in the window before");
        assert_eq!(round(&mut trim, window / 2), 0, "within a window");
        assert_eq!(round(&mut trim, window / 2), 3);
        assert_eq!(trim.due(), None);
        assert_eq!(round(&mut trim, window), 0);
    }
}
