//! Written text to spoken text.

pub mod cleanup;
pub mod numbers;

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

/// `text` as it is to be spoken.
pub fn normalize(text: &str, language: Language) -> String {
    match language {
        Language::Chinese => cleanup::chinese(text),
        Language::English => numbers::spell_out(text),
    }
}
