//! Written text to spoken text: numbers, dates, money and units in words, then each language's clean-ups.
//!
//! Mirrors the body of `text_normalize` in `cosyvoice/cli/frontend.py` up to the splitting. Like the pinned WeText,
//! the grammar acts only on text with a decimal digit.
//!
//! Departures: text the grammar has no reading for (upstream crashes) is tried again with its white space made plain,
//! and else left as it is; long texts are read in parts (see `PART_EN`); what is left when `BUDGET` is spent stays
//! as it is, English digits then being read plainly; and what `cleanup`, `numbers` and `temperature` name.

pub mod cleanup;
pub mod digits;
pub mod fst;
pub mod grammar;
pub mod numbers;
pub mod openfst;
mod parts;
pub mod temperature;

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
    let text = read(&one_line(text, language), language);
    match language {
        Language::Chinese => cleanup::chinese(&text),
        Language::English => numbers::spell_out(&text),
    }
}

/// A part of a running text as it is to be spoken: like [`normalize`], for words that others stand before and behind. A
/// space in front stays, and nothing is done to the end. There must be no line breaks in it.
pub fn normalize_part(text: &str, language: Language) -> String {
    let words = text.trim_start();
    let gap = &text[..text.len() - words.len()];
    let said = read(words, language);
    let spoken = format!("{gap}{}", if said == words { words } else { said.trim() });
    match language {
        Language::Chinese => cleanup::chinese(&spoken),
        Language::English => numbers::spell_out(&spoken),
    }
}

/// `text` without line breaks, tabs and other control characters, at which models drop words: English gets one space
/// for a run of white space that holds one, Chinese (where the clean-ups drop line breaks) a line break.
fn one_line(text: &str, language: Language) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let gap = if language == Language::Chinese { '\n' } else { ' ' };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if !(c.is_whitespace() || c.is_control()) {
            out.push(c);
            continue;
        }
        let mut control = c.is_control();
        let mut run = String::from(c);
        while let Some(next) = rest.next_if(|c| c.is_whitespace() || c.is_control()) {
            control |= next.is_control();
            run.push(next);
        }
        if control {
            out.push(gap);
        } else {
            out.push_str(&run);
        }
    }
    out
}

/// Bytes read as a whole: usually, and at most. English is read in shorter parts because its grammar's small
/// preferences drown in the rounding of a long text's cost: the reference reads "1,234" as "one two three four" from
/// about the twentieth word on.
const PART_ZH: (usize, usize) = (1_000, 1_000);
const PART_EN: (usize, usize) = (300, 1_000);
/// Places the search may look at in one text (about half a second), and in one part of it (some 30 MB).
const BUDGET: usize = 1 << 21;
const BUDGET_PART: usize = 1 << 19;

/// The grammar, after what it would read in a way that nobody says.
fn read(text: &str, language: Language) -> String {
    match language {
        Language::Chinese => read_numbers(&temperature::below_zero(text), language),
        Language::English => read_numbers(text, language),
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
    let sizes = if language == Language::Chinese {
        PART_ZH
    } else {
        PART_EN
    };
    let mut budget = BUDGET;
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(parts::end_of_first(rest, sizes));
        let mut left = budget.min(BUDGET_PART);
        budget -= left;
        let spoken = grammar.read_aloud(part, &mut left).or_else(|| {
            let plain = part.split_whitespace().collect::<Vec<_>>().join(" ");
            grammar.read_aloud(&plain, &mut left)
        });
        budget += left;
        out.push_str(spoken.as_deref().unwrap_or(part));
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_tabs_become_gaps() {
        let english = |text| one_line(text, Language::English);
        assert_eq!(
            english("Hello.\n\n\nHow are you?\r\nFine.\tThanks."),
            "Hello. How are you? Fine. Thanks."
        );
        assert_eq!(english("two  spaces stay"), "two  spaces stay");
        assert_eq!(english("a\u{0}b"), "a b");
        assert_eq!(one_line("你好\r\n世界", Language::Chinese), "你好\n世界");
    }

    #[test]
    fn temperatures_below_zero_are_read_as_they_are_said() {
        let chinese = |text| normalize(text, Language::Chinese);
        assert_eq!(chinese("气温降到了-5度。"), "气温降到了零下五度。");
        assert_eq!(chinese("今天-12.5℃。"), "今天零下十二点五摄氏度。");
        assert_eq!(chinese("今天－１２℃。"), "今天零下十二摄氏度。");
        assert_eq!(chinese("气温-10到-2℃。"), "气温零下十到零下两摄氏度。");
        assert_eq!(chinese("结果是-5。"), "结果是负五。");
    }
}
