//! The arenas: the memory of all pages, bound as inputs and outputs of the flow's graphs.

use std::sync::Arc;

use crate::model::bundle::{CacheConfig, CacheElement, CacheKind, PagedFlowConfig};
use crate::model::pages::RESERVED_PAGES;
use crate::runtime::{Binding, Buffer, Element, Graph};
use crate::{Error, Result};

/// Guidance rows of the estimator: with the condition and without.
const GUIDANCE_ROWS: usize = 2;

/// How many rows of each kind one page has in one graph's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRows {
    token: usize,
    pub frame: usize,
    tail: usize,
}

impl PageRows {
    /// Those of the encoder's caches; `ratio` mel frames per token.
    pub fn encoder(config: &PagedFlowConfig, ratio: usize) -> Self {
        Self {
            token: config.chunk_tokens,
            frame: config.chunk_tokens * ratio,
            tail: 1,
        }
    }

    /// Those of the estimator's: every Euler step and guidance row has its own.
    pub fn estimator(config: &PagedFlowConfig, steps: usize, ratio: usize) -> Self {
        let each = steps * GUIDANCE_ROWS;
        Self {
            token: 0,
            frame: config.chunk_tokens * ratio * each,
            tail: each,
        }
    }

    fn of(&self, kind: CacheKind) -> usize {
        match kind {
            CacheKind::Token => self.token,
            CacheKind::Frame => self.frame,
            CacheKind::Tail => self.tail,
        }
    }

    fn bytes(&self, cache: &CacheConfig) -> u64 {
        let (_, size) = element(cache.element);
        self.elements(cache) as u64 * size
    }

    /// Elements one page has in `cache`.
    fn elements(&self, cache: &CacheConfig) -> usize {
        self.of(cache.kind) * cache.shape.iter().product::<usize>()
    }
}

/// Bytes of one page over all caches.
pub(super) fn page_bytes(config: &PagedFlowConfig, steps: usize, ratio: usize) -> u64 {
    let sum = |rows: PageRows, caches: &[CacheConfig]| caches.iter().map(|c| rows.bytes(c)).sum::<u64>();
    sum(PageRows::encoder(config, ratio), &config.caches.encoder)
        + sum(
            PageRows::estimator(config, steps, ratio),
            &config.caches.estimator,
        )
}

/// The arenas of one graph.
pub(super) struct Arenas(Vec<Arena>);

struct Arena {
    input: String,
    output: String,
    shape: Vec<usize>,
    /// Elements of one page.
    page: usize,
    buffer: Buffer,
}

impl Arenas {
    /// Memory for `pages` pages and the reserved ones. Only the page of zeros is touched.
    pub fn new(graph: &Arc<Graph>, caches: &[CacheConfig], rows: PageRows, pages: usize) -> Result<Self> {
        let arena = |cache: &CacheConfig| {
            let page = rows.elements(cache);
            if page == 0 {
                return Err(Error::Internal(format!(
                    "the bundle's cache {} holds nothing; export the model again",
                    cache.name
                )));
            }
            let pages = pages + RESERVED_PAGES;
            let (element, _) = element(cache.element);
            let buffer = Buffer::device(graph, element, pages * page)?;
            buffer.zero_prefix(page)?;
            let mut shape = vec![pages * rows.of(cache.kind)];
            shape.extend(&cache.shape);
            Ok(Arena {
                input: cache.name.clone(),
                output: cache.output.clone(),
                shape,
                page,
                buffer,
            })
        };
        caches.iter().map(arena).collect::<Result<_>>().map(Self)
    }

    /// Binds all of them, each as input and as output of the same memory.
    pub fn bind(&self, binding: &mut Binding) -> Result<()> {
        for arena in &self.0 {
            binding.input(&arena.input, &arena.buffer, 0, &arena.shape)?;
            binding.output(&arena.output, &arena.buffer, 0, &arena.shape)?;
        }
        Ok(())
    }

    /// Forgets what `page` holds; its memory goes back to the system.
    pub fn discard(&self, page: usize) -> Result<()> {
        let discard = |arena: &Arena| arena.buffer.discard(page * arena.page..(page + 1) * arena.page);
        self.0.iter().try_for_each(discard)
    }
}

/// As the runtime calls it, and its size in bytes.
fn element(element: CacheElement) -> (Element, u64) {
    match element {
        CacheElement::F32 => (Element::F32, 4),
        CacheElement::F16 => (Element::F16, 2),
    }
}
