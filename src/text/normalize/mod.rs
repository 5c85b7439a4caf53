//! Written text to spoken text: numbers, dates, money and units in words, then each language's clean-ups.
//!
//! Mirrors the body of `text_normalize` in `cosyvoice/cli/frontend.py` up to the splitting. Like the pinned WeText,
//! the grammar acts only on text with a decimal digit.
//!
//! Departures: text the grammar has no reading for (upstream crashes) is tried again with its white space made plain,
//! and else left as it is; what `cleanup` and `numbers` name.

pub mod cleanup;
pub mod digits;
pub mod fst;
pub mod grammar;
pub mod numbers;

use grammar::Grammar;

use crate::Result;

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

/// Reads the grammars now rather than at the first request.
pub fn warm_up() -> Result<()> {
    Grammar::of(Language::Chinese)?;
    Grammar::of(Language::English)?;
    Ok(())
}

/// `text` as it is to be spoken.
pub fn normalize(text: &str, language: Language) -> String {
    let text = read_numbers(text, language);
    match language {
        Language::Chinese => cleanup::chinese(&text),
        Language::English => numbers::spell_out(&text),
    }
}

/// The grammar alone.
pub fn read_numbers(text: &str, language: Language) -> String {
    if !digits::has_plain(text) {
        return text.to_owned();
    }
    let Ok(grammar) = Grammar::of(language) else {
        return text.to_owned();
    };
    grammar
        .read_aloud(text)
        .or_else(|| grammar.read_aloud(&text.split_whitespace().collect::<Vec<_>>().join(" ")))
        .unwrap_or_else(|| text.to_owned())
}
