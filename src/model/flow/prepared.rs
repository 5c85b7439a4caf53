//! One shape of a flow run made ready: input and output memory, bound once, filled and run many times.

use std::sync::Arc;

use super::arenas::{Arenas, PageRows};
use super::{Attention, Flow, Row, Shape};
use crate::Result;
use crate::model::Mel;
use crate::model::pages::{Page, SCRATCH_PAGE, ZERO_PAGE};
use crate::runtime::{Binding, Buffer, Element, Graph, HostElement};

/// A token that is not there.
const NOTHING: i64 = -1;
/// A chunk, or a left context, that no sequence reaches.
const UNBOUNDED: i64 = 1 << 30;

/// Everything of one shape.
pub(super) struct Prepared {
    shape: Shape,
    token: Buffer,
    ahead: Buffer,
    embedding: Buffer,
    tail_from: Buffer,
    tail_to: Buffer,
    tokens: Window,
    x: Buffer,
    cond: Buffer,
    step: Buffer,
    frames: Window,
    encoder: Binding,
    estimator: Binding,
}

/// What attention sees and where state goes, at the rate of one graph (tokens or mel frames).
struct Window {
    /// Positions per page.
    per_page: usize,
    /// Arena rows from one page to the next.
    stride: usize,
    past: usize,
    new: usize,
    valid: Buffer,
    chunk: Buffer,
    left: Buffer,
    history: Buffer,
    skip: Buffer,
    write: Buffer,
}

impl Window {
    fn new(graph: &Arc<Graph>, shape: Shape, per_page: usize, stride: usize, new: usize) -> Result<Self> {
        let ints = |len: usize| Buffer::host::<i64>(graph, len);
        let past = shape.history * per_page;
        Ok(Self {
            per_page,
            stride,
            past,
            new,
            valid: ints(shape.rows)?,
            chunk: ints(1)?,
            left: ints(1)?,
            history: ints(shape.rows * past)?,
            skip: ints(shape.rows)?,
            write: ints(shape.rows * new)?,
        })
    }

    fn bind(&self, binding: &mut Binding, rows: usize) -> Result<()> {
        binding.input("valid", &self.valid, 0, &[rows])?;
        binding.input("chunk", &self.chunk, 0, &[])?;
        binding.input("left", &self.left, 0, &[])?;
        binding.input("history", &self.history, 0, &[rows, self.past])?;
        binding.input("skip", &self.skip, 0, &[rows])?;
        binding.input("write", &self.write, 0, &[rows, self.new])?;
        Ok(())
    }

    /// Rows of nothing: no history, nothing kept.
    fn clear(&self, attention: Attention) -> Result<()> {
        let (chunk, left) = match attention {
            Attention::Chunked { left } => (self.per_page as i64, left.map_or(UNBOUNDED, |n| n as i64)),
            Attention::Full => (UNBOUNDED, UNBOUNDED),
        };
        fill(&self.chunk, chunk)?;
        fill(&self.left, left)?;
        // Their positions are valid: a query that sees no key at all has no softmax.
        fill(&self.valid, self.new as i64)?;
        fill(&self.skip, self.past as i64)?;
        fill(&self.history, ZERO_PAGE)?;
        let first = SCRATCH_PAGE * self.stride as i64;
        for row in self.write.host_slice_mut::<i64>()?.chunks_exact_mut(self.new) {
            row.iter_mut()
                .enumerate()
                .for_each(|(i, slot)| *slot = first + (i % self.per_page) as i64);
        }
        Ok(())
    }

    /// Row `index`: `valid` new positions after `history`; the last `write.len()` pages of them are kept.
    fn fill(&self, index: usize, valid: usize, history: &[Page], write: &[Page]) -> Result<()> {
        let skip = self.past - history.len() * self.per_page;
        self.valid.host_slice_mut()?[index] = valid as i64;
        self.skip.host_slice_mut()?[index] = skip as i64;
        let mut past = self.history.host_slice_mut::<i64>()?;
        let past = &mut past[index * self.past..][skip..self.past];
        past.iter_mut()
            .zip(self.rows_of(history))
            .for_each(|(slot, row)| *slot = row);
        let unkept = valid.saturating_sub(write.len() * self.per_page);
        let mut new = self.write.host_slice_mut::<i64>()?;
        let new = &mut new[index * self.new..][unkept..valid];
        new.iter_mut()
            .zip(self.rows_of(write))
            .for_each(|(slot, row)| *slot = row);
        Ok(())
    }

    /// Arena rows of `pages`, one after the other.
    fn rows_of(&self, pages: &[Page]) -> impl Iterator<Item = i64> {
        let (per_page, stride) = (self.per_page as i64, self.stride as i64);
        let firsts = pages.iter().map(move |page| page.id() * stride);
        firsts.flat_map(move |first| first..first + per_page)
    }
}

impl Prepared {
    /// Memory and bindings of `shape`. With `capture` the runs are captured under that number where the device can.
    pub fn new(flow: &Flow, arenas: &(Arenas, Arenas), shape: Shape, capture: Option<u16>) -> Result<Self> {
        let (encoder, estimator) = (&flow.encoder, &flow.estimator);
        let Shape { rows, tokens, .. } = shape;
        let (config, bins, frames) = (&flow.config, flow.bins, tokens * flow.ratio);
        let ints = |len: usize| Buffer::host::<i64>(encoder, len);
        let per_page = config.chunk_tokens;
        let frame_stride = PageRows::estimator(config, flow.steps, flow.ratio).frame;
        let mu = Buffer::device(encoder, Element::F32, rows * bins * frames)?;
        let spks = Buffer::device(encoder, Element::F32, rows * bins)?;
        let mut prepared = Self {
            shape,
            token: ints(rows * tokens)?,
            ahead: ints(rows * config.lookahead_tokens)?,
            embedding: Buffer::host::<f32>(encoder, rows * flow.spk_dim)?,
            tail_from: ints(rows)?,
            tail_to: ints(rows)?,
            tokens: Window::new(encoder, shape, per_page, per_page, tokens)?,
            x: Buffer::host::<f32>(estimator, rows * bins * frames)?,
            cond: Buffer::host::<f32>(estimator, rows * bins * frames)?,
            step: ints(1)?,
            frames: Window::new(estimator, shape, per_page * flow.ratio, frame_stride, frames)?,
            encoder: binding(encoder, capture)?,
            estimator: binding(estimator, capture)?,
        };
        prepared.bind_encoder(flow, &mu, &spks)?;
        prepared.bind_estimator(flow, &mu, &spks)?;
        arenas.0.bind(&mut prepared.encoder)?;
        arenas.1.bind(&mut prepared.estimator)?;
        Ok(prepared)
    }

    fn bind_encoder(&mut self, flow: &Flow, mu: &Buffer, spks: &Buffer) -> Result<()> {
        let Shape { rows, tokens, .. } = self.shape;
        let binding = &mut self.encoder;
        binding.input("token", &self.token, 0, &[rows, tokens])?;
        binding.input("ahead", &self.ahead, 0, &[rows, flow.config.lookahead_tokens])?;
        binding.input("embedding", &self.embedding, 0, &[rows, flow.spk_dim])?;
        binding.input("tail_from", &self.tail_from, 0, &[rows])?;
        binding.input("tail_to", &self.tail_to, 0, &[rows])?;
        self.tokens.bind(binding, rows)?;
        binding.output("mu", mu, 0, &[rows, flow.bins, tokens * flow.ratio])?;
        binding.output("spks", spks, 0, &[rows, flow.bins])?;
        Ok(())
    }

    fn bind_estimator(&mut self, flow: &Flow, mu: &Buffer, spks: &Buffer) -> Result<()> {
        let Shape { rows, tokens, .. } = self.shape;
        let mel = [rows, flow.bins, tokens * flow.ratio];
        let binding = &mut self.estimator;
        binding.input("x", &self.x, 0, &mel)?;
        binding.input("mu", mu, 0, &mel)?;
        binding.input("spks", spks, 0, &[rows, flow.bins])?;
        binding.input("cond", &self.cond, 0, &mel)?;
        binding.input("step", &self.step, 0, &[])?;
        binding.input("tail_from", &self.tail_from, 0, &[rows])?;
        binding.input("tail_to", &self.tail_to, 0, &[rows])?;
        self.frames.bind(binding, rows)?;
        // The step's last operation: nothing reads x after it is written.
        binding.output("x_next", &self.x, 0, &mel)?;
        Ok(())
    }

    /// Takes in `rows` (at most as many as the shape has).
    pub fn begin(&self, flow: &Flow, rows: &[Row<'_>], attention: Attention) -> Result<()> {
        self.clear(attention)?;
        for (index, row) in rows.iter().enumerate() {
            self.fill(flow, index, row)?;
        }
        Ok(())
    }

    /// The run's beginning: mean and speaker vector.
    pub fn encode(&mut self) -> Result<()> {
        self.encoder.run()
    }

    /// One Euler step.
    pub fn step(&mut self, step: usize) -> Result<()> {
        fill(&self.step, step as i64)?;
        self.estimator.run()
    }

    /// The first `valid[i]` tokens' mel of each row i, after the last step.
    pub fn mels(&self, flow: &Flow, valid: &[usize]) -> Result<Vec<Mel>> {
        let frames = self.shape.tokens * flow.ratio;
        let size = flow.bins * frames;
        let x = self.x.host_slice::<f32>()?;
        let mel = |(x, &valid): (&[f32], &usize)| {
            let valid = valid * flow.ratio;
            let bins = x.chunks_exact(frames);
            Mel {
                rows: flow.bins,
                cols: valid,
                data: bins.flat_map(|bin| &bin[..valid]).copied().collect(),
            }
        };
        Ok(x.chunks_exact(size).zip(valid).map(mel).collect())
    }

    fn clear(&self, attention: Attention) -> Result<()> {
        fill(&self.token, NOTHING)?;
        fill(&self.ahead, NOTHING)?;
        fill(&self.embedding, 0.0f32)?;
        fill(&self.tail_from, ZERO_PAGE)?;
        fill(&self.tail_to, SCRATCH_PAGE)?;
        fill(&self.x, 0.0f32)?;
        fill(&self.cond, 0.0f32)?;
        self.tokens.clear(attention)?;
        self.frames.clear(attention)
    }

    fn fill(&self, flow: &Flow, index: usize, row: &Row<'_>) -> Result<()> {
        let at = |position: usize| match position.checked_sub(row.voice.tokens.len()) {
            None => row.voice.tokens.get(position),
            Some(own) => row.tokens.get(own),
        };
        // The look-ahead follows the row's own tokens at once, wherever the shape ends.
        let seen = row.to + flow.config.lookahead_tokens;
        let copy = |buffer: &Buffer, width: usize, from: usize| -> Result<()> {
            let mut slots = buffer.host_slice_mut::<i64>()?;
            let slots = slots[index * width..][..width].iter_mut();
            slots
                .zip(from..seen)
                .for_each(|(slot, i)| *slot = at(i).copied().unwrap_or(NOTHING));
            Ok(())
        };
        copy(&self.token, self.shape.tokens, row.from)?;
        let end = row.from + self.shape.tokens;
        copy(&self.ahead, flow.config.lookahead_tokens, end)?;
        let width = flow.spk_dim;
        self.embedding.host_slice_mut::<f32>()?[index * width..][..width]
            .copy_from_slice(&row.voice.embedding);
        if let Some(page) = row.history.last() {
            self.tail_from.host_slice_mut()?[index] = page.id();
        }
        if let Some(page) = row.write.last() {
            self.tail_to.host_slice_mut()?[index] = page.id();
        }
        let valid = row.to - row.from;
        self.tokens.fill(index, valid, row.history, row.write)?;
        self.frames
            .fill(index, valid * flow.ratio, row.history, row.write)?;
        self.fill_frames(flow, index, row)
    }

    /// The fixed noise at the row's own frames, and the prompt's mel where they are the prompt's.
    fn fill_frames(&self, flow: &Flow, index: usize, row: &Row<'_>) -> Result<()> {
        let (bins, frames) = (flow.bins, self.shape.tokens * flow.ratio);
        let (from, to) = (row.from * flow.ratio, row.to * flow.ratio);
        let mut x = self.x.host_slice_mut::<f32>()?;
        let x = x[index * bins * frames..].chunks_exact_mut(frames).take(bins);
        for (bin, x) in x.enumerate() {
            x[..to - from].copy_from_slice(&flow.noise.row(bin)[from..to]);
        }
        let mut cond = self.cond.host_slice_mut::<f32>()?;
        let cond = &mut cond[index * bins * frames..][..bins * frames];
        let prompt = row.voice.feat.chunks_exact(bins).take(to).skip(from);
        for (frame, values) in prompt.enumerate() {
            for (bin, &value) in values.iter().enumerate() {
                cond[bin * frames + frame] = value;
            }
        }
        Ok(())
    }
}

fn fill<T: HostElement>(buffer: &Buffer, value: T) -> Result<()> {
    buffer.host_slice_mut()?.fill(value);
    Ok(())
}

fn binding(graph: &Arc<Graph>, capture: Option<u16>) -> Result<Binding> {
    let mut binding = Binding::new(graph)?;
    if let Some(id) = capture {
        binding.captured(id)?;
    }
    Ok(binding)
}
