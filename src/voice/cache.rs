//! Features of recent prompt recordings, so that a client that sends its prompt with every request pays once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::model::prompt_encoder::PromptFeatures;
use crate::{Result, limits};

/// Key of a recording: a hash of its prepared samples.
type Key = [u8; 32];

/// Least-recently-used prompts, at most [`limits::PROMPT_CACHE_ENTRIES`] (about 0.5 MB each at 30 s).
pub struct PromptCache {
    entries: Mutex<LruCache<Key, Arc<PromptFeatures>>>,
}

impl Default for PromptCache {
    fn default() -> Self {
        let size = NonZeroUsize::new(limits::PROMPT_CACHE_ENTRIES).unwrap_or(NonZeroUsize::MIN);
        Self {
            entries: Mutex::new(LruCache::new(size)),
        }
    }
}

impl PromptCache {
    /// The features of a recording, made by `make` at its first use.
    pub fn get_or_make(
        &self,
        samples: &[f32],
        make: impl FnOnce() -> Result<PromptFeatures>,
    ) -> Result<Arc<PromptFeatures>> {
        let key = key(samples);
        if let Some(found) = self.entries.lock().get(&key) {
            return Ok(found.clone());
        }
        let made = Arc::new(make()?);
        self.entries.lock().put(key, made.clone());
        Ok(made)
    }
}

fn key(samples: &[f32]) -> Key {
    let mut hash = Sha256::new();
    for block in samples.chunks(4096) {
        let bytes: Vec<u8> = block.iter().flat_map(|s| s.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    hash.finalize().into()
}
