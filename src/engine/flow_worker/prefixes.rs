//! The prompts of recent voices: pages of the chunks that depend on the voice alone, shared by its utterances.

use lru::LruCache;

use crate::model::pages::{Page, PagePool};

/// Voices by their key, the one used longest ago goes first.
pub(super) struct Prefixes {
    voices: LruCache<u64, Vec<Page>>,
    /// Pages kept at most.
    budget: usize,
    held: usize,
}

impl Prefixes {
    /// Keeps at most `budget` pages.
    pub fn new(budget: usize) -> Self {
        Self {
            voices: LruCache::unbounded(),
            budget,
            held: 0,
        }
    }

    /// The pages of a voice.
    pub fn get(&mut self, key: u64) -> Option<Vec<Page>> {
        self.voices.get(&key).cloned()
    }

    /// Keeps the pages of a voice, within the budget; utterances go on holding what is let go.
    pub fn insert(&mut self, key: u64, pages: Vec<Page>) {
        self.held += pages.len();
        self.held -= self.voices.put(key, pages).map_or(0, |old| old.len());
        while self.held > self.budget
            && let Some((_, pages)) = self.voices.pop_lru()
        {
            self.held -= pages.len();
        }
    }

    /// Lets go of voices nobody speaks with until `pool` has `needed` free pages; false when that cannot be.
    pub fn make_room(&mut self, pool: &PagePool, needed: usize) -> bool {
        if pool.free() >= needed {
            return true;
        }
        let unused = |(key, pages): (&u64, &Vec<Page>)| (!pages.iter().any(Page::is_shared)).then_some(*key);
        let keys: Vec<u64> = self.voices.iter().rev().filter_map(unused).collect();
        for key in keys {
            self.held -= self.voices.pop(&key).map_or(0, |pages| pages.len());
            if pool.free() >= needed {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voices_are_kept_within_the_budget() {
        let pool = PagePool::new(8);
        let mut prefixes = Prefixes::new(4);
        for key in 0..3 {
            prefixes.insert(key, pool.take(2).unwrap());
        }
        assert!(prefixes.get(0).is_none() && prefixes.get(1).is_some());
        assert_eq!(pool.free(), 4);
        prefixes.insert(9, pool.take(4).unwrap());
        assert!(prefixes.get(2).is_none() && prefixes.get(9).is_some());
        assert_eq!(pool.free(), 4);
        prefixes.insert(10, pool.take(4).unwrap());
        assert_eq!((pool.free(), prefixes.held), (4, 4));
    }

    #[test]
    fn room_is_made_of_what_nobody_uses() {
        let pool = PagePool::new(6);
        let mut prefixes = Prefixes::new(6);
        for key in 0..3 {
            prefixes.insert(key, pool.take(2).unwrap());
        }
        let used = prefixes.get(0).unwrap();
        assert!(prefixes.make_room(&pool, 2));
        assert_eq!(pool.free(), 2, "one was enough");
        assert!(prefixes.get(1).is_none(), "the oldest that nobody uses");
        assert!(!prefixes.make_room(&pool, 5));
        assert_eq!(pool.free(), 4);
        drop(used);
        assert!(prefixes.make_room(&pool, 6));
        assert_eq!(prefixes.held, 0);
    }
}
