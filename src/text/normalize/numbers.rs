//! English words for the digits that the grammar left.
//!
//! Mirrors `spell_out_number` in `cosyvoice/utils/frontend_utils.py` and, for plain numbers, `number_to_words` of
//! Python's `inflect` ("one thousand, two hundred and five"; leading zeros do not count).
//!
//! Departures: numbers of more than 36 digits, which upstream refuses, are read digit by digit; superscripts,
//! subscripts and circled numbers, which upstream reads "zero", get their own value, set off by spaces, and a
//! superscript after a letter or digit is an exponent.

use super::digits::{self, Digit};

const ONES: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = [
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
const MILLS: [&str; 12] = [
    "",
    " thousand",
    " million",
    " billion",
    " trillion",
    " quadrillion",
    " quintillion",
    " sextillion",
    " septillion",
    " octillion",
    " nonillion",
    " decillion",
];

/// Every run of digits in words.
pub fn spell_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match digits::of(c) {
            None => out.push(c),
            Some(Digit::Plain(first)) => {
                let mut number = vec![first];
                while let Some(Digit::Plain(digit)) = chars.peek().copied().and_then(digits::of) {
                    number.push(digit);
                    chars.next();
                }
                out.push_str(&number_to_words(&number));
            }
            Some(Digit::Super(first)) => {
                let mut number = vec![first];
                while let Some(Digit::Super(digit)) = chars.peek().copied().and_then(digits::of) {
                    number.push(digit);
                    chars.next();
                }
                let exponent = out.chars().next_back().is_some_and(char::is_alphanumeric);
                let words = match &number[..] {
                    [2] if exponent => "squared".to_owned(),
                    [3] if exponent => "cubed".to_owned(),
                    number if exponent => format!("to the power of {}", number_to_words(number)),
                    number => number_to_words(number),
                };
                set_off(&mut out, &words, chars.peek());
            }
            Some(Digit::Sub(digit)) => set_off(&mut out, ONES[usize::from(digit)], chars.peek()),
            Some(Digit::Circled(value)) => set_off(&mut out, &below_hundred(value), chars.peek()),
        }
    }
    out
}

/// Adds `words` with spaces where a word is next to them.
fn set_off(out: &mut String, words: &str, next: Option<&char>) {
    if out.chars().next_back().is_some_and(char::is_alphanumeric) {
        out.push(' ');
    }
    out.push_str(words);
    // Another such character sets itself off.
    if next.is_some_and(|&c| c.is_alphanumeric() && !matches!(digits::of(c), Some(d) if !d.is_plain())) {
        out.push(' ');
    }
}

/// The number whose decimal digits are given, in words.
fn number_to_words(digits: &[u8]) -> String {
    let zeros = digits.iter().take_while(|&&d| d == 0).count();
    let number = &digits[zeros..];
    if number.is_empty() {
        return ONES[0].to_owned();
    }
    if number.len() > 3 * MILLS.len() {
        return digits
            .iter()
            .map(|&d| ONES[usize::from(d)])
            .collect::<Vec<_>>()
            .join(" ");
    }
    let groups: Vec<u16> = number
        .rchunks(3)
        .map(|group| {
            group
                .iter()
                .fold(0, |value, &digit| value * 10 + u16::from(digit))
        })
        .collect();
    let mut words = String::new();
    for (power, &value) in groups.iter().enumerate().rev().filter(|&(_, &value)| value != 0) {
        if !words.is_empty() {
            // The last group joins with "and" when it has no hundreds to bring one.
            words.push_str(if power == 0 && value < 100 { " and " } else { ", " });
        }
        words.push_str(&below_thousand(value));
        words.push_str(MILLS[power]);
    }
    words
}

fn below_thousand(value: u16) -> String {
    let (hundreds, rest) = (usize::from(value / 100), (value % 100) as u8);
    match (hundreds, rest) {
        (0, rest) => below_hundred(rest),
        (hundreds, 0) => format!("{} hundred", ONES[hundreds]),
        (hundreds, rest) => format!("{} hundred and {}", ONES[hundreds], below_hundred(rest)),
    }
}

fn below_hundred(value: u8) -> String {
    let value = usize::from(value);
    match (value / 10, value % 10) {
        (0 | 1, _) => ONES[value].to_owned(),
        (tens, 0) => TENS[tens].to_owned(),
        (tens, ones) => format!("{}-{}", TENS[tens], ONES[ones]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_as_inflect_does() {
        for (digits, words) in [
            ("0", "zero"),
            ("105", "one hundred and five"),
            ("1000100", "one million, one hundred"),
            ("1001001", "one million, one thousand and one"),
            ("1000000000000000000000000000000001", "one decillion and one"),
            ("٣٤", "thirty-four"),
            ("007", "seven"),
        ] {
            assert_eq!(spell_out(digits), words, "{digits}");
        }
        assert_eq!(spell_out("a1b22 c"), "aonebtwenty-two c");
        assert!(spell_out(&"1".repeat(37)).starts_with("one one one"));
    }

    #[test]
    fn reads_small_and_circled_digits() {
        assert_eq!(spell_out("①②③ ½"), "one two three ½");
        assert_eq!(
            spell_out("x² + y³ = z¹⁰"),
            "x squared + y cubed = z to the power of ten"
        );
        assert_eq!(spell_out("²"), "two");
        assert_eq!(spell_out("H₂O"), "H two O");
        assert_eq!(spell_out("⑳th, ㊷"), "twenty th, forty-two");
    }
}
