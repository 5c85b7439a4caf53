//! Which characters are digits, and what they are worth.
//!
//! Python's `str.isdigit` says yes to decimal digits of every script and to superscripts, subscripts and circled
//! digits; its regular expressions' `\d` only to the first. Here the kinds are told apart.

use unicode_general_category::{GeneralCategory, get_general_category};

/// A digit and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digit {
    /// A decimal digit of any script.
    Plain(u8),
    /// Superscript.
    Super(u8),
    /// Subscript.
    Sub(u8),
    /// A number in a circle, in brackets or with a full stop, up to 50.
    Circled(u8),
}

impl Digit {
    /// Whether it is a decimal digit.
    pub fn is_plain(self) -> bool {
        matches!(self, Digit::Plain(_))
    }
}

/// Numbers in one character: first, last, value of the first.
const CIRCLED: [(char, char, u8); 14] = [
    ('①', '⑳', 1),
    ('⑴', '⒇', 1),
    ('⒈', '⒛', 1),
    ('⓪', '⓪', 0),
    ('⓫', '⓴', 11),
    ('⓵', '⓾', 1),
    ('⓿', '⓿', 0),
    ('❶', '❿', 1),
    ('➀', '➉', 1),
    ('➊', '➓', 1),
    ('㉑', '㉟', 21),
    ('㊱', '㊿', 36),
    ('㈠', '㈩', 1),
    ('㊀', '㊉', 1),
];

/// The digit `c` is, if it is one.
pub fn of(c: char) -> Option<Digit> {
    if let Some(value) = c.to_digit(10) {
        return Some(Digit::Plain(value as u8));
    }
    let code = u32::from(c);
    match c {
        _ if c.is_ascii() => None,
        '²' | '³' => Some(Digit::Super((code - 0xb0) as u8)),
        '¹' => Some(Digit::Super(1)),
        '⁰' | '⁴'..='⁹' => Some(Digit::Super((code - 0x2070) as u8)),
        '₀'..='₉' => Some(Digit::Sub((code - 0x2080) as u8)),
        _ => circled(c)
            .map(Digit::Circled)
            .or_else(|| decimal(c).map(Digit::Plain)),
    }
}

fn circled(c: char) -> Option<u8> {
    let &(first, _, value) = CIRCLED
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&c))?;
    Some(value + (u32::from(c) - u32::from(first)) as u8)
}

/// Unicode keeps the ten digits of a script together and in order, so a digit's place in its run is its value.
fn decimal(c: char) -> Option<u8> {
    let is_decimal = |c: char| get_general_category(c) == GeneralCategory::DecimalNumber;
    if !is_decimal(c) {
        return None;
    }
    let before = (1..=u32::from(c))
        .map_while(|back| char::from_u32(u32::from(c) - back).filter(|&c| is_decimal(c)))
        .take(64)
        .count();
    Some((before % 10) as u8)
}

/// Whether `text` has a decimal digit (`\d`): only then does the reference normalise.
pub fn has_plain(text: &str) -> bool {
    text.chars().any(|c| of(c).is_some_and(Digit::is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_kinds_and_values() {
        assert_eq!(of('7'), Some(Digit::Plain(7)));
        assert_eq!(of('７'), Some(Digit::Plain(7)));
        assert_eq!(of('٣'), Some(Digit::Plain(3)));
        assert_eq!(of('𝟡'), Some(Digit::Plain(9)));
        assert_eq!(of('²'), Some(Digit::Super(2)));
        assert_eq!(of('⁹'), Some(Digit::Super(9)));
        assert_eq!(of('₄'), Some(Digit::Sub(4)));
        assert_eq!(of('⑳'), Some(Digit::Circled(20)));
        assert_eq!(of('㊿'), Some(Digit::Circled(50)));
        assert_eq!(of('½'), None);
        assert_eq!(of('三'), None);
        assert!(has_plain("a１") && !has_plain("①²"));
    }
}
