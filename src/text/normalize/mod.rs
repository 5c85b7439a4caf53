//! Written text to spoken text: numbers, dates, money and units in words, then each language's clean-ups.
//!
//! Mirrors the body of `text_normalize` in `cosyvoice/cli/frontend.py` up to the splitting. Like the pinned WeText,
//! the grammar acts only on text with a decimal digit.
//!
//! Departures: text the grammar has no reading for (upstream crashes) is tried again with its white space made plain,
//! and else left as it is; text of more than
//! [`WHOLE`] bytes is read in parts that end with a sentence; what is left after [`BUDGET`] stays as it is (English
//! digits are then read plainly); what `cleanup` and `numbers` name.

pub mod cleanup;
pub mod digits;
pub mod fst;
pub mod grammar;
pub mod numbers;
pub mod openfst;

use grammar::Grammar;

/// The two languages the reference's front end tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Holds at least one Chinese character (U+4E00 to U+9FFF).
    Chinese,
    /// Everything else.
    English,
}

impl Language {
    /// Mirrors `contains_chinese`.
    pub fn of(text: &str) -> Self {
        if text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)) {
            Self::Chinese
        } else {
            Self::English
        }
    }
}

/// Reads the grammars now rather than at the first request. (They are part of the binary; that they can be read is a
/// test's business, and [`normalize`] does without them if need be.)
pub fn warm_up() {
    let _ = Grammar::of(Language::Chinese);
    let _ = Grammar::of(Language::English);
}

/// `text` as it is to be spoken.
pub fn normalize(text: &str, language: Language) -> String {
    let text = read_numbers(text, language);
    match language {
        Language::Chinese => cleanup::chinese(&text),
        Language::English => numbers::spell_out(&text),
    }
}

/// Text up to this many bytes is read as a whole.
const WHOLE: usize = 1_000;
/// Places the search may look at in one text (about half a second), and in one part of it (some 50 MB).
const BUDGET: usize = 1 << 21;
const BUDGET_PART: usize = 1 << 19;

/// The grammar alone.
pub fn read_numbers(text: &str, language: Language) -> String {
    if !digits::has_plain(text) {
        return text.to_owned();
    }
    let Ok(grammar) = Grammar::of(language) else {
        return text.to_owned();
    };
    let mut budget = BUDGET;
    let mut read = |part: &str| {
        let mut left = budget.min(BUDGET_PART);
        let before = left;
        let plain = || part.split_whitespace().collect::<Vec<_>>().join(" ");
        let spoken = grammar
            .read_aloud(part, &mut left)
            .or_else(|| grammar.read_aloud(&plain(), &mut left));
        budget -= before - left;
        spoken
    };
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(part_end(rest));
        match read(part) {
            Some(spoken) => out.push_str(&spoken),
            None => out.push_str(part),
        }
        rest = after;
    }
    out
}

/// Where the first part of `text` ends: in the last half of [`WHOLE`], after a sentence mark, else after white space,
/// else anywhere.
fn part_end(text: &str) -> usize {
    if text.len() <= WHOLE {
        return text.len();
    }
    let head = &text[..text.floor_char_boundary(WHOLE)];
    let last = |wanted: &dyn Fn(char, Option<char>) -> bool| {
        let mut next = text[head.len()..].chars().next();
        head.char_indices()
            .rev()
            .take_while(|&(at, _)| at > WHOLE / 2)
            .find_map(|(at, c)| {
                let found = wanted(c, next);
                next = Some(c);
                found.then_some(at + c.len_utf8())
            })
    };
    last(&|c, _| "\n。！？；".contains(c))
        .or_else(|| last(&|c, next| ".!?;".contains(c) && next.is_some_and(char::is_whitespace)))
        .or_else(|| last(&|c, _| c.is_whitespace() || "，、".contains(c)))
        .unwrap_or(head.len())
}
