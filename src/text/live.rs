//! Text that comes a few characters at a time, as a language model writes it: to words, to ids, to segments.
//!
//! What comes out depends on the text alone, not on how it was cut on its way (but for [`LiveSplitter::close`], which
//! is the caller's own cut). So nothing leaves before what follows shows that it is complete: a word when something
//! else than a letter or digit follows, which is where the tokenizer separates words too; words with digits when enough
//! follows to read them ("3 May", "5 kg", "3个"). Scripts that write no spaces are cut every few characters.
//!
//! A segment is closed at the end of a sentence once it is as long as the splitter's segments are ([`SplitRule`]), and
//! anywhere between words before it exceeds [`LONGEST`]. For models that must be given whole sentences, every sentence
//! is one, and goes through the same front end as any other text.

use crate::Result;
use crate::text::frontend::TextFrontend;
use crate::text::normalize::Language;
use crate::text::split::{self, LONGEST, SplitRule, cut_long};

/// Characters of a script without spaces that are tokenised together: what the tokenizer would join is rarely longer.
const RUN: usize = 6;
/// What must follow a digit before its words can be read: a word counts two, a character of a script without spaces one.
const AFTER_DIGITS: usize = 4;
/// Characters after which words with digits are read as they are.
const MOST_DIGITS: usize = 120;
/// Characters after which even a word is cut.
const MOST_HELD: usize = 200;
/// Characters after which a tag that was opened counts as text.
const MOST_TAG: usize = 24;
/// Bytes of a sentence without an end: about [`LONGEST`] tokens.
const MOST_SENTENCE: usize = 4 * LONGEST;

/// What the text has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More ids of the current segment.
    Text(Vec<i64>),
    /// The current segment is complete.
    End,
    /// Whole segments.
    Whole(Vec<Vec<i64>>),
}

/// The text that has come and has not gone on.
pub struct LiveSplitter<'a> {
    frontend: &'a TextFrontend,
    whole: bool,
    held: String,
    /// What the current segment has been given, as it was written.
    segment: String,
    /// Its tokens.
    tokens: usize,
    language: Language,
}

impl<'a> LiveSplitter<'a> {
    /// For a model that takes words as they come, or only `whole` sentences.
    pub fn new(frontend: &'a TextFrontend, whole: bool) -> Self {
        Self {
            frontend,
            whole,
            held: String::new(),
            segment: String::new(),
            tokens: 0,
            language: Language::English,
        }
    }

    /// Takes the next characters.
    pub fn push(&mut self, text: &str) -> Result<Vec<Event>> {
        for c in text.chars() {
            let gap = c.is_whitespace() || c.is_control();
            match (gap, self.held.chars().next_back()) {
                (true, Some(' ')) => {}
                (true, _) => self.held.push(' '),
                (false, _) => self.held.push(c),
            }
        }
        self.release(false)
    }

    /// What has come is all there is of this segment.
    pub fn close(&mut self) -> Result<Vec<Event>> {
        let mut events = self.release(true)?;
        if self.whole {
            self.speak_sentence(&mut events)?;
        } else if self.tokens > 0 {
            let (closed, stop) = match self.language {
                Language::Chinese => (self.segment.trim_end().ends_with(is_end), "。"),
                Language::English => (self.segment.trim_end().ends_with(is_end), "."),
            };
            if !closed {
                events.push(Event::Text(self.frontend.tokens(stop)?));
            }
            self.end_segment(&mut events);
        }
        Ok(events)
    }

    fn release(&mut self, all: bool) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some((end, sentence)) = first_stretch(&self.held, all) {
            let stretch: String = self.held.drain(..end).collect();
            self.take(&stretch, sentence, &mut events)?;
        }
        Ok(events)
    }

    /// Adds a stretch of the text to the segment; `sentence`: it ends one.
    fn take(&mut self, stretch: &str, sentence: bool, events: &mut Vec<Event>) -> Result<()> {
        let mut stretch = stretch;
        if self.segment.is_empty() {
            stretch = stretch.trim_start_matches(is_leftover);
            // Marks alone are nothing to begin with.
            if !split::is_speakable(stretch) {
                return Ok(());
            }
        }
        self.note_language(stretch);
        if self.whole {
            self.segment.push_str(stretch);
            if sentence || self.segment.len() > MOST_SENTENCE {
                self.speak_sentence(events)?;
            }
            return Ok(());
        }
        let spoken = self.spoken(stretch);
        for part in cut_long(vec![spoken], |part| self.frontend.count(part))? {
            let mut ids = self.frontend.tokens(&part)?;
            if self.tokens > 0 && self.tokens + ids.len() > LONGEST {
                self.end_segment(events);
                ids = self.frontend.tokens(part.trim_start_matches(is_leftover))?;
            }
            if !ids.is_empty() {
                self.tokens += ids.len();
                events.push(Event::Text(ids));
            }
        }
        self.segment.push_str(stretch);
        if sentence && self.tokens > SplitRule::default().min {
            self.end_segment(events);
        }
        Ok(())
    }

    /// The stretch with its numbers in words.
    fn spoken(&self, stretch: &str) -> String {
        let spaced = self.segment.chars().next_back().is_some_and(|c| c.is_ascii());
        let stretch = match self.language {
            // A space stays between words that are written with spaces.
            Language::Chinese if !spaced => stretch.trim_start(),
            _ => stretch,
        };
        self.frontend.spoken_part(stretch, self.language)
    }

    /// The language is that of the segment so far, and that of the segment before where there is no letter yet.
    fn note_language(&mut self, stretch: &str) {
        let letters = |text: &str| text.chars().any(char::is_alphabetic);
        if Language::of(stretch) == Language::Chinese {
            self.language = Language::Chinese;
        } else if letters(stretch) && Language::of(&self.segment) == Language::English {
            self.language = Language::English;
        }
    }

    fn end_segment(&mut self, events: &mut Vec<Event>) {
        self.segment.clear();
        self.tokens = 0;
        events.push(Event::End);
    }

    fn speak_sentence(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let sentence = std::mem::take(&mut self.segment);
        if !split::is_speakable(&sentence) {
            return Ok(());
        }
        let segments = self.frontend.segments_in(&sentence, self.language)?;
        let ids = segments.iter().map(|segment| self.frontend.tokens(segment));
        events.push(Event::Whole(ids.collect::<Result<_>>()?));
        Ok(())
    }
}

/// The end of what can go on (a byte), and whether a sentence ends there. With `all`, everything goes.
fn first_stretch(held: &str, all: bool) -> Option<(usize, bool)> {
    let mut seen = Seen::default();
    let mut chars = held.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        seen.take(c);
        let end = at + c.len_utf8();
        if is_wide_end(c) {
            return Some((end, true));
        }
        let Some(next) = chars.peek().map(|&(_, next)| next) else {
            return all.then_some((end, seen.mark));
        };
        if seen.mark && next == ' ' {
            return Some((end, true));
        }
        let between_words = c.is_alphanumeric() && !next.is_alphanumeric();
        if between_words {
            seen.end_word();
        }
        let may_cut = between_words || seen.run >= RUN;
        if (may_cut && seen.is_complete()) || seen.count >= MOST_HELD {
            return Some((end, false));
        }
    }
    None
}

/// What lies before a place in the text.
#[derive(Debug, Default)]
struct Seen {
    count: usize,
    /// Whether there is a digit.
    digits: bool,
    /// Whether there is one in this word.
    word_digits: bool,
    /// Words (two each) and characters of scripts without spaces since the last digit.
    after: usize,
    /// Such characters in a row.
    run: usize,
    /// Whether a mark that ends a sentence stands here, perhaps with a closing quote behind it.
    mark: bool,
    /// Characters since a tag was opened, if one is open.
    tag: Option<usize>,
}

impl Seen {
    fn take(&mut self, c: char) {
        self.count += 1;
        self.tag = match (c, self.tag) {
            ('<' | '[', _) => Some(0),
            ('>' | ']', _) => None,
            (_, open) => open.map(|n| n + 1).filter(|&n| n < MOST_TAG),
        };
        self.mark =
            matches!(c, '.' | '!' | '?' | ';') || self.mark && matches!(c, '"' | '\'' | ')' | '”' | '’');
        let unspaced = is_unspaced(c);
        self.run = if unspaced { self.run + 1 } else { 0 };
        if c.is_numeric() {
            (self.digits, self.word_digits, self.after) = (true, true, 0);
        } else if unspaced {
            self.after += 1;
        } else if !c.is_alphanumeric() {
            self.word_digits = false;
        }
    }

    /// A word has ended.
    fn end_word(&mut self) {
        if !self.word_digits && self.run == 0 {
            self.after += 2;
        }
    }

    fn is_complete(&self) -> bool {
        let read = !self.digits || self.after >= AFTER_DIGITS || self.count >= MOST_DIGITS;
        read && self.tag.is_none()
    }
}

/// Han, kana: scripts whose words no space separates.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// A mark that ends a sentence whatever follows.
fn is_wide_end(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '；')
}

fn is_end(c: char) -> bool {
    is_wide_end(c) || matches!(c, '.' | '!' | '?' | ';' | ':' | '：')
}

/// What belongs to the segment before, if anywhere.
fn is_leftover(c: char) -> bool {
    c.is_whitespace()
        || is_end(c)
        || matches!(
            c,
            ',' | '，' | '、' | '”' | '’' | ')' | '）' | '」' | '』' | '》' | '…'
        )
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
