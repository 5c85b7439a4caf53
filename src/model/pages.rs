//! The page pool of the incremental flow: who holds which page of the arenas.
//!
//! A page is the flow's state of one attention chunk. It is written once, in the run that computes its chunk, and
//! never changed, so utterances of one voice share the pages of the prompt. Dropping the last handle of a page gives
//! it back. The page given back last is taken next: on a CPU, memory that was never needed is never touched.

use std::sync::Arc;

use parking_lot::Mutex;

/// The page of zeros: padding and "no history". Nobody writes it.
pub const ZERO_PAGE: i64 = 0;
/// The page anybody may write and nobody reads.
pub const SCRATCH_PAGE: i64 = 1;
/// Pages that are never handed out.
pub const RESERVED_PAGES: usize = 2;

/// The free pages of one set of arenas. Clones are handles of the same pool.
#[derive(Debug, Clone)]
pub struct PagePool {
    free: Arc<Mutex<Vec<i64>>>,
    total: usize,
}

/// A held page. Clones share it.
#[derive(Debug, Clone)]
pub struct Page(Arc<Held>);

#[derive(Debug)]
struct Held {
    id: i64,
    free: Arc<Mutex<Vec<i64>>>,
}

impl PagePool {
    /// A pool of `total` pages beside the reserved ones.
    pub fn new(total: usize) -> Self {
        let first = RESERVED_PAGES as i64;
        let ids = (first..first + total as i64).rev().collect();
        Self {
            free: Arc::new(Mutex::new(ids)),
            total,
        }
    }

    /// Takes `count` pages, or none when there are not so many.
    pub fn take(&self, count: usize) -> Option<Vec<Page>> {
        let mut free = self.free.lock();
        let left = free.len().checked_sub(count)?;
        let ids: Vec<i64> = free.drain(left..).rev().collect();
        drop(free);
        let page = |id| {
            let free = self.free.clone();
            Page(Arc::new(Held { id, free }))
        };
        Some(ids.into_iter().map(page).collect())
    }

    /// Pages that can be taken.
    pub fn free(&self) -> usize {
        self.free.lock().len()
    }

    /// Pages there are beside the reserved ones.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Page {
    /// Its number in the arenas.
    pub fn id(&self) -> i64 {
        self.0.id
    }

    /// Whether others hold it too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.lock().push(self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(pages: &[Page]) -> Vec<i64> {
        pages.iter().map(Page::id).collect()
    }

    #[test]
    fn pages_come_in_order_and_the_last_given_back_is_taken_next() {
        let pool = PagePool::new(4);
        let first = pool.take(3).unwrap();
        assert_eq!(ids(&first), [2, 3, 4]);
        assert!(pool.take(2).is_none());
        assert_eq!(pool.free(), 1, "a refused request takes nothing");
        let shared = first[1].clone();
        assert!(shared.is_shared() && !first[0].is_shared());
        drop(first);
        assert_eq!(pool.free(), 3, "the shared page is still held");
        assert_eq!(ids(&pool.take(1).unwrap()), [4]);
        drop(shared);
        assert_eq!(pool.free(), pool.total());
    }

    proptest! {
        /// Whatever is taken, shared and dropped: no page is held twice, none is lost, the reserved ones stay.
        #[test]
        fn no_page_is_lost_or_held_twice(actions in prop::collection::vec((0usize..3, 0usize..5), 1..60)) {
            let pool = PagePool::new(8);
            let mut held: Vec<Page> = Vec::new();
            for (action, n) in actions {
                match action {
                    0 => held.extend(pool.take(n).unwrap_or_default()),
                    1 if !held.is_empty() => drop(held.swap_remove(n % held.len())),
                    2 if !held.is_empty() => held.push(held[n % held.len()].clone()),
                    _ => {}
                }
                let mut distinct = ids(&held);
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert!(distinct.iter().all(|&id| (2..10).contains(&id)));
                prop_assert_eq!(distinct.len() + pool.free(), pool.total());
            }
            drop(held);
            prop_assert_eq!(pool.free(), pool.total());
        }
    }
}
