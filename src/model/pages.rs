//! The page pool of the incremental flow: who holds which page of the arenas.
//!
//! A page is the flow's state of one attention chunk. It is written once, in the run that computes its chunk, and
//! never changed, so utterances of one voice share the pages of the prompt. Dropping the last handle of a page gives
//! it back. The page given back last is taken next: on a CPU, memory that was never needed is never touched, and what
//! is not needed any more can be given back ([`PagePool::trim`]).

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
    free: Arc<Mutex<Free>>,
    total: usize,
}

#[derive(Debug)]
struct Free {
    /// The next one to be taken is the last.
    ids: Vec<i64>,
    /// So many of them, the first ones, have no memory: nobody took them since it was given back, or ever.
    untouched: usize,
    /// Pages held.
    held: usize,
    /// The most that were held at once: between the last two trims, and since the last one.
    most: [usize; 2],
}

/// A held page. Clones share it.
#[derive(Debug, Clone)]
pub struct Page(Arc<Held>);

#[derive(Debug)]
struct Held {
    id: i64,
    free: Arc<Mutex<Free>>,
}

impl PagePool {
    /// A pool of `total` pages beside the reserved ones.
    pub fn new(total: usize) -> Self {
        let first = RESERVED_PAGES as i64;
        let free = Free {
            ids: (first..first + total as i64).rev().collect(),
            untouched: total,
            held: 0,
            most: [0; 2],
        };
        Self {
            free: Arc::new(Mutex::new(free)),
            total,
        }
    }

    /// Takes `count` pages, or none when there are not so many.
    pub fn take(&self, count: usize) -> Option<Vec<Page>> {
        let ids = self.free.lock().take(count)?;
        let page = |id| {
            let free = self.free.clone();
            Page(Arc::new(Held { id, free }))
        };
        Some(ids.into_iter().map(page).collect())
    }

    /// Pages that can be taken.
    pub fn free(&self) -> usize {
        self.free.lock().ids.len()
    }

    /// Pages there are beside the reserved ones.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Whether free pages have memory.
    pub fn has_spare(&self) -> bool {
        self.free.lock().spare() > 0
    }

    /// Hands the free pages that were needed neither since the last call nor between that and the one before, at most
    /// `count` of them, to `give_back`, which gives their memory back. Nobody can take them meanwhile.
    pub fn trim<T>(&self, count: usize, give_back: impl FnOnce(&[i64]) -> T) -> T {
        let mut free = self.free.lock();
        let unneeded = free.end_window().min(count);
        let from = free.untouched;
        free.untouched += unneeded;
        give_back(&free.ids[from..from + unneeded])
    }
}

impl Free {
    fn take(&mut self, count: usize) -> Option<Vec<i64>> {
        let left = self.ids.len().checked_sub(count)?;
        self.untouched = self.untouched.min(left);
        self.held += count;
        self.most[1] = self.most[1].max(self.held);
        Some(self.ids.drain(left..).rev().collect())
    }

    /// Free pages that have memory.
    fn spare(&self) -> usize {
        self.ids.len() - self.untouched
    }

    /// The spare pages that neither this window nor the one before needed; a new window begins.
    fn end_window(&mut self) -> usize {
        let needed = self.most[0].max(self.most[1]);
        self.most = [self.most[1], self.held];
        (self.held + self.spare()).saturating_sub(needed)
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
        let mut free = self.free.lock();
        free.ids.push(self.id);
        free.held -= 1;
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

    /// Ends a window and returns the pages given back.
    fn trim(pool: &PagePool, count: usize) -> Vec<i64> {
        pool.trim(count, <[i64]>::to_vec)
    }

    #[test]
    fn what_was_not_needed_for_two_windows_is_given_back() {
        let pool = PagePool::new(8);
        let mut held = pool.take(5).unwrap();
        held.truncate(2);
        let no_page: [i64; 0] = [];
        assert_eq!(trim(&pool, 8), no_page, "five were needed in this window");
        assert_eq!(trim(&pool, 8), no_page, "and in the one before");
        held.extend(pool.take(1).unwrap());
        assert_eq!(ids(&held), [2, 3, 6]);
        assert_eq!(
            trim(&pool, 1),
            [4],
            "three are needed, one goes back: the one that would be taken last"
        );
        assert_eq!(trim(&pool, 8), [5]);
        assert!(!pool.has_spare());
        drop(held);
        assert!(pool.has_spare());
        assert_eq!((trim(&pool, 8).len(), trim(&pool, 8).len()), (0, 0));
        assert_eq!(trim(&pool, 8).len(), 3);
        assert_eq!(pool.free(), pool.total());
        let mut all = ids(&pool.take(8).unwrap());
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(2..10), "they can be taken again");
    }

    proptest! {
        /// Whatever is taken, dropped and trimmed: only free pages that have memory are given back, so that what two
        /// windows needed is left, and all that exceeds it goes.
        #[test]
        fn only_what_is_free_and_has_memory_is_given_back(
            actions in prop::collection::vec((0usize..3, 0usize..6), 1..80)
        ) {
            let pool = PagePool::new(12);
            let mut held: Vec<Page> = Vec::new();
            let mut touched = std::collections::BTreeSet::new();
            let mut windows = [0, 0];
            for (action, n) in actions {
                match action {
                    0 => held.extend(pool.take(n).unwrap_or_default()),
                    1 => drop(held.drain(..n.min(held.len()))),
                    _ => {
                        let left = touched.len().min(windows[0].max(windows[1]));
                        for id in trim(&pool, 12) {
                            prop_assert!(!ids(&held).contains(&id), "it is free");
                            prop_assert!(touched.remove(&id), "it has memory");
                        }
                        prop_assert_eq!(touched.len(), left);
                        windows = [windows[1], held.len()];
                    }
                }
                touched.extend(ids(&held));
                windows[1] = windows[1].max(held.len());
                prop_assert_eq!(pool.has_spare(), touched.len() > held.len());
            }
        }

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
