//! One sequence of the language model: what it is fed next, and what is made of its logits.

use std::sync::Arc;

use rand_chacha::ChaCha12Rng;

use super::{Counted, LmInput, LmRequest};
use crate::engine::token_stream::TokenSink;
use crate::engine::urgency::Urgency;
use crate::model::bundle::{LlmConfig, SamplingConfig};
use crate::model::llm::RowPrompt;
use crate::model::sampler;
use crate::text::interleave::Next;
use crate::{Error, Result};

/// What the model's manifest says of sampling.
pub(super) struct Rules {
    sampling: SamplingConfig,
    withheld: Vec<usize>,
    stop: Vec<usize>,
    fill: Option<usize>,
    min_ratio: f32,
    max_ratio: f32,
}

impl Rules {
    pub fn of(config: &LlmConfig) -> Self {
        Self {
            sampling: config.sampling,
            withheld: config.withheld.clone(),
            stop: config.stop.clone(),
            fill: config.fill,
            min_ratio: config.min_ratio,
            max_ratio: config.max_ratio,
        }
    }
}

/// A sequence at work or waiting for a slot.
pub(super) struct Sequence {
    input: LmInput,
    sink: TokenSink,
    urgency: Arc<Urgency>,
    generator: ChaCha12Rng,
    max_tokens: usize,
    /// All that was sampled, fills included.
    decoded: Vec<usize>,
    /// How many of those are speech.
    spoken: usize,
    over: bool,
    _counted: Counted,
}

impl Sequence {
    pub fn new(request: LmRequest, sink: TokenSink, counted: Counted) -> Self {
        let LmRequest {
            input,
            max_tokens,
            generator,
            urgency,
        } = request;
        Self {
            input,
            sink,
            urgency,
            generator,
            max_tokens,
            decoded: Vec::new(),
            spoken: 0,
            over: false,
            _counted: counted,
        }
    }

    pub fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// Takes the text that has come. Each token is a piece of its own, so that the layout does not depend on how the
    /// text came.
    pub fn poll(&mut self) {
        let LmInput::Live { interleaver, text } = &mut self.input else {
            return;
        };
        let (ids, end) = text.take();
        let waited = interleaver.next() == Next::Wait;
        ids.iter().for_each(|&id| interleaver.push(&[id]));
        match end {
            None => {}
            Some(Ok(())) => interleaver.finish(),
            Some(Err(error)) => return self.end(Err(error)),
        }
        if waited && interleaver.next() != Next::Wait {
            self.urgency.text_came();
        }
        if interleaver.next() == Next::End {
            self.end(Ok(()));
        }
    }

    /// What the model is to be given next.
    pub fn next(&self) -> Next<'_> {
        match &self.input {
            LmInput::Whole { ids, .. } => match self.decoded.last() {
                None => Next::Feed(ids),
                Some(&last) => Next::Step(last),
            },
            LmInput::Live { interleaver, .. } => interleaver.next(),
        }
    }

    /// Whether it has ended, or nobody listens any more.
    pub fn is_over(&self) -> bool {
        self.over || self.sink.is_gone()
    }

    /// The prompt rows that its ids name.
    pub fn rows(&self) -> Option<&RowPrompt> {
        match &self.input {
            LmInput::Whole { rows, .. } => rows.as_ref(),
            LmInput::Live { .. } => None,
        }
    }

    /// Whether the model has ids to read for it that are more than its last token.
    pub fn has_ids(&self) -> bool {
        self.may_go_on() && matches!(self.next(), Next::Feed(_))
    }

    /// The token that a step of the model goes on with.
    pub fn step_token(&self) -> Option<usize> {
        match self.next() {
            Next::Step(token) if self.may_go_on() => Some(token),
            _ => None,
        }
    }

    fn may_go_on(&self) -> bool {
        !self.over && self.sink.has_room()
    }

    /// Takes the next token from `logits`.
    pub fn advance(&mut self, logits: &mut [f32], rules: &Rules) {
        let token = match self.forced() {
            Some(token) => token,
            None => {
                self.withhold(logits, rules);
                let token = sampler::sample(logits, &self.decoded, &rules.sampling, &mut self.generator);
                if logits[token].is_nan() {
                    return self.end(Err(Error::Internal("the language model gave no numbers".into())));
                }
                token
            }
        };
        if self.may_end() && rules.stop.contains(&token) {
            return self.end(Ok(()));
        }
        self.decoded.push(token);
        let spoken = match &mut self.input {
            LmInput::Whole { .. } => true,
            LmInput::Live { interleaver, .. } => interleaver.sampled(token),
        };
        if spoken {
            self.sink.push(token);
            self.spoken += 1;
        }
        if self.spoken >= self.most(rules) {
            self.end(Ok(()));
        }
    }

    pub fn end(&mut self, end: Result<()>) {
        self.sink.end(end);
        self.over = true;
    }

    fn forced(&self) -> Option<usize> {
        match &self.input {
            LmInput::Whole { .. } => None,
            LmInput::Live { interleaver, .. } => interleaver.forced(),
        }
    }

    /// Whether the model has all of the text.
    fn may_end(&self) -> bool {
        match &self.input {
            LmInput::Whole { .. } => true,
            LmInput::Live { interleaver, .. } => interleaver.may_end(),
        }
    }

    /// Masks what must not be sampled now: the end before the least length or while text may come; the call for text
    /// when there is no more.
    fn withhold(&self, logits: &mut [f32], rules: &Rules) {
        let mut mask = |id: usize| {
            if let Some(logit) = logits.get_mut(id) {
                *logit = f32::NEG_INFINITY;
            }
        };
        let least = match &self.input {
            LmInput::Whole { min_tokens, .. } => *min_tokens,
            LmInput::Live { interleaver, .. } => {
                if !interleaver.may_end() {
                    let ends = rules.stop.iter().filter(|id| rules.fill != Some(**id));
                    return ends.for_each(|&id| mask(id));
                }
                rules.fill.into_iter().for_each(&mut mask);
                (interleaver.text_tokens() as f32 * rules.min_ratio) as usize
            }
        };
        if self.spoken < least {
            rules.withheld.iter().for_each(|&id| mask(id));
        }
    }

    /// Tokens of speech after which it must end.
    fn most(&self, rules: &Rules) -> usize {
        match &self.input {
            LmInput::Live { interleaver, .. } if interleaver.may_end() => {
                let of_text = interleaver.text_tokens() as f32 * rules.max_ratio;
                self.max_tokens.min(of_text as usize)
            }
            _ => self.max_tokens,
        }
    }
}
