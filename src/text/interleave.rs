//! The language model's input while its text still comes: blocks of text and speech take turns.
//!
//! Mirrors `inference_bistream` in `cosyvoice/llm/llm.py` as a state machine without a model: text ids and sampled
//! tokens go in; what to feed next comes out. The layout is `[start, 5 text, 15 speech, 5 text, 15 speech, ..., rest of
//! the text, task, speech to the end]`, the prompt's text and speech first. After each block of speech the model gives
//! (or is taken to have given) the fill token, which asks for more text and is itself never fed.
//!
//! As the reference, a piece of text begins one block at most, and what was fed last is fed once more before the rest of
//! the text. Pieces of one token therefore make the layout that models are trained with, however the text came.
//!
//! Departures: without prompt speech the first block waits for text in generation 3 too; prompt speech that is still
//! left when the text ends stands behind the task id, as in training (the reference forgets it); what was fed last is
//! fed again only if it was one speech token, not a whole block.

use std::collections::VecDeque;

/// How text and speech take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Text tokens of a block.
    pub text: usize,
    /// Speech tokens of a block.
    pub speech: usize,
    /// Speech id that asks for the next block of text.
    pub fill: usize,
}

/// Ids in front of everything, and those that the layout adds.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Start of the sequence, and what is read before any block (a system prompt).
    pub lead: Vec<i64>,
    /// Text ids of the prompt's transcript.
    pub prompt_text: Vec<i64>,
    /// Its speech tokens.
    pub prompt_speech: Vec<i64>,
    /// Id of speech token 0.
    pub speech_offset: i64,
    /// End of text, start of speech.
    pub task_id: i64,
}

/// What a sequence needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// The model is to be given these ids, and the token after them to be told.
    Feed(&'a [i64]),
    /// The model is to be given this speech token, and the token after it to be told.
    Step(usize),
    /// More text, or its end.
    Wait,
    /// Nothing: the text ended before there was any.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Feeding,
    Speaking(usize),
    Over,
}

/// One sequence.
#[derive(Debug, Clone)]
pub struct Interleaver {
    mix: Mix,
    speech_offset: i64,
    task_id: i64,
    /// Pieces not yet looked at.
    pieces: VecDeque<Vec<i64>>,
    /// Text looked at and not yet laid out.
    text: VecDeque<i64>,
    /// Prompt speech not yet laid out.
    prompt_speech: VecDeque<i64>,
    /// Laid out and not yet fed.
    pending: Vec<i64>,
    /// Text tokens so far, without the prompt's.
    spoken_text: usize,
    /// Whether the next block of speech needs a block of text before it.
    needs_text: bool,
    /// Tokens sampled, fills included.
    sampled: usize,
    /// The number of sampled tokens at which a fill is due.
    next_fill: usize,
    text_ended: bool,
    last_part: bool,
    state: State,
}

impl Interleaver {
    /// A sequence that waits for text.
    pub fn new(mix: Mix, opening: Opening) -> Self {
        let prompt = opening.prompt_speech.len();
        Self {
            mix,
            speech_offset: opening.speech_offset,
            task_id: opening.task_id,
            pieces: VecDeque::new(),
            text: opening.prompt_text.into(),
            needs_text: prompt == 0,
            prompt_speech: opening.prompt_speech.into(),
            pending: opening.lead,
            spoken_text: 0,
            sampled: 0,
            next_fill: (prompt / mix.speech + 1) * mix.speech - prompt,
            text_ended: false,
            last_part: false,
            state: State::Waiting,
        }
    }

    /// Adds a piece of text.
    pub fn push(&mut self, ids: &[i64]) {
        self.spoken_text += ids.len();
        self.pieces.push_back(ids.to_vec());
        self.settle();
    }

    /// No more text will come.
    pub fn finish(&mut self) {
        self.text_ended = true;
        self.settle();
    }

    /// What is to be done now. Asking changes nothing; telling what was sampled does.
    pub fn next(&self) -> Next<'_> {
        match self.state {
            State::Waiting => Next::Wait,
            State::Feeding => Next::Feed(&self.pending),
            State::Speaking(token) => Next::Step(token),
            State::Over => Next::End,
        }
    }

    /// The token to take instead of sampling one, if a fill is due.
    pub fn forced(&self) -> Option<usize> {
        (!self.last_part && self.sampled == self.next_fill).then_some(self.mix.fill)
    }

    /// Whether the model has all of the text, so that it may end the speech.
    pub fn may_end(&self) -> bool {
        self.last_part
    }

    /// Text tokens to speak that have come so far.
    pub fn text_tokens(&self) -> usize {
        self.spoken_text
    }

    /// Ids that come before the text, at most.
    pub fn prompt_len(&self) -> usize {
        self.pending.len() + self.text.len() + self.prompt_speech.len()
    }

    /// Tells what was sampled after [`Self::next`] had been done; says whether it is to be spoken.
    pub fn sampled(&mut self, token: usize) -> bool {
        self.pending.clear();
        if self.last_part || token != self.mix.fill {
            self.sampled += 1;
            self.state = State::Speaking(token);
            return true;
        }
        self.next_fill = self.sampled + self.mix.speech + 1;
        self.sampled += 1;
        self.needs_text = true;
        if let State::Speaking(before) = self.state {
            self.pending.push(self.speech_offset + before as i64);
        }
        self.state = State::Waiting;
        self.settle();
        false
    }

    /// Looks at pieces until there is something to feed.
    fn settle(&mut self) {
        while self.state == State::Waiting {
            match self.pieces.pop_front() {
                Some(piece) => {
                    self.text.extend(piece);
                    self.lay_out_prompt();
                    if self.prompt_speech.is_empty() && (!self.needs_text || self.lay_out_block()) {
                        self.state = State::Feeding;
                    }
                }
                None if self.text_ended => self.lay_out_rest(),
                None => return,
            }
        }
    }

    fn lay_out_prompt(&mut self) {
        while !self.prompt_speech.is_empty() && self.text.len() >= self.mix.text {
            self.pending.extend(self.text.drain(..self.mix.text));
            let speech = self.mix.speech.min(self.prompt_speech.len());
            let offset = self.speech_offset;
            self.pending
                .extend(self.prompt_speech.drain(..speech).map(|token| offset + token));
        }
    }

    /// A block of text, if there is enough of it.
    fn lay_out_block(&mut self) -> bool {
        if self.text.len() < self.mix.text {
            return false;
        }
        if self.sampled > 0 {
            // The token before the fill has been fed.
            self.pending.clear();
        }
        self.pending.extend(self.text.drain(..self.mix.text));
        true
    }

    fn lay_out_rest(&mut self) {
        if self.spoken_text == 0 {
            self.state = State::Over;
            return;
        }
        self.pending.extend(self.text.drain(..));
        self.pending.push(self.task_id);
        let offset = self.speech_offset;
        self.pending
            .extend(self.prompt_speech.drain(..).map(|token| offset + token));
        self.last_part = true;
        self.state = State::Feeding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix {
        text: 5,
        speech: 15,
        fill: 63,
    };
    const TASK: i64 = 999;
    const SPEECH: i64 = 1_000;

    /// A sequence whose prompt has so many text and speech tokens: text ids from 100, speech from 0.
    fn sequence(prompt_text: usize, prompt_speech: usize) -> Interleaver {
        Interleaver::new(
            MIX,
            Opening {
                lead: vec![-1],
                prompt_text: (100..).take(prompt_text).collect(),
                prompt_speech: (0..).take(prompt_speech).collect(),
                speech_offset: SPEECH,
                task_id: TASK,
            },
        )
    }

    /// What was fed until it waits or has made `end` tokens in its last part, speaking 7 all the time.
    fn drive(sequence: &mut Interleaver, end: usize) -> Vec<Vec<i64>> {
        let (mut fed, mut last) = (Vec::new(), 0);
        loop {
            match sequence.next() {
                Next::Feed(ids) => fed.push(ids.to_vec()),
                Next::Step(token) => fed.push(vec![SPEECH + token as i64]),
                Next::Wait | Next::End => return fed,
            }
            last += usize::from(sequence.may_end());
            let token = sequence.forced().unwrap_or(7);
            sequence.sampled(token);
            if last > end {
                return fed;
            }
        }
    }

    fn lengths(fed: &[Vec<i64>]) -> Vec<usize> {
        fed.iter().map(Vec::len).collect()
    }

    #[test]
    fn blocks_of_text_and_speech_take_turns() {
        let mut sequence = sequence(0, 0);
        assert_eq!(sequence.next(), Next::Wait);
        sequence.push(&[1, 2, 3, 4]);
        assert_eq!(sequence.next(), Next::Wait);
        sequence.push(&[5, 6]);
        let fed = drive(&mut sequence, 0);
        assert_eq!(fed[0], [-1, 1, 2, 3, 4, 5]);
        assert_eq!(
            lengths(&fed),
            [&[6][..], &[1; 15]].concat(),
            "15 tokens, then a fill"
        );
        assert!(!sequence.may_end());
        sequence.push(&[7]);
        sequence.finish();
        let fed = drive(&mut sequence, 3);
        assert_eq!(fed[0], [SPEECH + 7, 6, 7, TASK], "the last token once more");
        assert_eq!(lengths(&fed), [4, 1, 1, 1]);
        assert!(sequence.may_end());
    }

    #[test]
    fn the_prompt_goes_first_and_shortens_the_first_block() {
        let mut sequence = sequence(6, 20);
        sequence.push(&[1]);
        assert_eq!(sequence.next(), Next::Wait);
        sequence.push(&[2, 3, 4, 5]);
        let fed = drive(&mut sequence, 0);
        let speech = |range: std::ops::Range<i64>| range.map(|token| SPEECH + token).collect::<Vec<_>>();
        let wanted = [
            vec![-1, 100, 101, 102, 103, 104],
            speech(0..15),
            vec![105, 1, 2, 3, 4],
            speech(15..20),
        ];
        assert_eq!(fed[0], wanted.concat());
        assert_eq!(
            lengths(&fed).len(),
            1 + 10,
            "10 tokens of speech are left of its block"
        );
    }

    #[test]
    fn single_tokens_make_the_layout_of_the_training_however_they_come() {
        let run = |chunk: usize| {
            let mut sequence = sequence(0, 0);
            let mut fed = Vec::new();
            for ids in (0..23).collect::<Vec<_>>().chunks(chunk) {
                ids.iter().for_each(|&id| sequence.push(&[id]));
                fed.extend(drive(&mut sequence, 0));
            }
            sequence.finish();
            fed.extend(drive(&mut sequence, 4));
            fed
        };
        let fed = run(1);
        for chunk in [2, 7, 23] {
            assert_eq!(run(chunk), fed, "{chunk}");
        }
        let blocks: Vec<usize> = lengths(&fed).into_iter().filter(|&n| n > 1).collect();
        assert_eq!(blocks, [6, 5, 5, 5, 1 + 3 + 1]);
    }

    #[test]
    fn a_fill_of_the_models_own_ends_the_block() {
        let mut sequence = sequence(0, 0);
        sequence.push(&[1, 2, 3, 4, 5]);
        sequence.push(&[6, 7, 8, 9, 10]);
        assert!(sequence.sampled(7));
        assert_eq!(sequence.next(), Next::Step(7));
        assert!(!sequence.sampled(MIX.fill));
        assert_eq!(sequence.next(), Next::Feed(&[6, 7, 8, 9, 10]));
        let fed = drive(&mut sequence, 0);
        assert_eq!(fed.len(), 16, "15 more, then a fill");
    }

    #[test]
    fn a_fill_right_after_a_block_does_not_repeat_the_block() {
        let mut sequence = sequence(0, 0);
        sequence.push(&[1, 2, 3, 4, 5]);
        assert!(!sequence.sampled(MIX.fill));
        sequence.finish();
        assert_eq!(sequence.next(), Next::Feed(&[TASK]));
    }

    #[test]
    fn a_short_text_keeps_all_of_the_prompt() {
        let mut sequence = sequence(7, 20);
        sequence.push(&[1]);
        sequence.finish();
        let Next::Feed(ids) = sequence.next() else {
            panic!("{:?}", sequence.next())
        };
        let speech = |range: std::ops::Range<i64>| range.map(|token| SPEECH + token).collect::<Vec<_>>();
        let wanted = [
            vec![-1, 100, 101, 102, 103, 104],
            speech(0..15),
            vec![105, 106, 1, TASK],
            speech(15..20),
        ];
        assert_eq!(ids, wanted.concat());
    }

    #[test]
    fn without_text_there_is_nothing() {
        let mut sequence = sequence(7, 20);
        sequence.push(&[]);
        sequence.finish();
        assert_eq!(sequence.next(), Next::End);
    }

    #[test]
    fn the_last_part_takes_no_fill() {
        let mut sequence = sequence(0, 0);
        sequence.push(&[1]);
        sequence.finish();
        assert_eq!(sequence.next(), Next::Feed(&[-1, 1, TASK]));
        for _ in 0..40 {
            assert_eq!(sequence.forced(), None);
            sequence.sampled(7);
        }
    }
}
