//! The normalisation grammars of WeText: a tagger that marks and reads numbers, dates, money and the like, and a
//! verbalizer that turns the marked tokens into words, with the tokens' fields brought into speaking order between.
//!
//! Mirrors `wetext.Normalizer` 0.0.4 (`lang="auto"`, `operator="tn"`, `remove_erhua=False`) and its token parser. The
//! transducers are those the WeText package ships (see `wetext/README.md` beside this file), built into the binary.

use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

use super::Language;
use super::fst::Fst;
use super::openfst;
use crate::{Error, Result};

/// The fields of a token class, in speaking order.
type Orders = &'static [(&'static str, &'static [&'static str])];

const ORDERS_ZH: Orders = &[
    ("date", &["year", "month", "day"]),
    ("fraction", &["denominator", "numerator"]),
    ("measure", &["denominator", "numerator", "value"]),
    ("money", &["value", "currency"]),
    ("time", &["noon", "hour", "minute", "second"]),
];

const ORDERS_EN: Orders = &[
    ("date", &["preserve_order", "text", "day", "month", "year"]),
    (
        "money",
        &["integer_part", "fractional_part", "quantity", "currency_maj"],
    ),
];

macro_rules! grammar {
    ($name:literal, $orders:expr) => {
        LazyLock::new(|| {
            Grammar::read(
                include_bytes!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/src/text/normalize/wetext/",
                    $name,
                    "_tagger.fst.gz"
                )),
                include_bytes!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/src/text/normalize/wetext/",
                    $name,
                    "_verbalizer.fst.gz"
                )),
                $orders,
            )
        })
    };
}

static CHINESE: LazyLock<Result<Grammar>> = grammar!("zh", ORDERS_ZH);
static ENGLISH: LazyLock<Result<Grammar>> = grammar!("en", ORDERS_EN);

/// The two transducers of a language. Read-only, shared by all threads.
pub struct Grammar {
    tagger: Fst,
    verbalizer: Fst,
    orders: Orders,
}

impl Grammar {
    /// The grammar of `language`, read on first use.
    pub fn of(language: Language) -> Result<&'static Self> {
        let grammar = match language {
            Language::Chinese => &CHINESE,
            Language::English => &ENGLISH,
        };
        LazyLock::force(grammar).as_ref().map_err(Clone::clone)
    }

    fn read(tagger: &[u8], verbalizer: &[u8], orders: Orders) -> Result<Self> {
        let read = |packed: &[u8]| {
            let mut bytes = Vec::new();
            GzDecoder::new(packed)
                .read_to_end(&mut bytes)
                .map_err(|e| Error::internal("unpacking a normalisation grammar", e))?;
            openfst::read(&bytes)
        };
        Ok(Self {
            tagger: read(tagger)?,
            verbalizer: read(verbalizer)?,
            orders,
        })
    }

    /// `text` in words; `None` where the grammar has no reading for it, or the search is over `budget` (see
    /// [`Fst::rewrite`]).
    pub fn read_aloud(&self, text: &str, budget: &mut usize) -> Option<String> {
        let tagged = self.tagger.rewrite(text.as_bytes(), budget)?;
        let ordered = reorder(&tagged, self.orders)?;
        let spoken = self.verbalizer.rewrite(&ordered, budget)?;
        String::from_utf8(spoken).ok()
    }
}

/// Brings the fields of `class { key: "value" ... } ...` into speaking order, unless the token says
/// `preserve_order: "true"`; fields that the order does not name are dropped, as upstream does.
fn reorder(tagged: &[u8], orders: Orders) -> Option<Vec<u8>> {
    let mut parser = Parser { rest: tagged };
    let mut out = Vec::with_capacity(tagged.len());
    while let Some(class) = parser.word() {
        parser.skip(b" {");
        let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
        loop {
            parser.skip(b" ");
            if parser.rest.first() == Some(&b'}') {
                parser.rest = &parser.rest[1..];
                break;
            }
            let key = parser.word()?;
            parser.skip(b": ");
            fields.push((key, parser.quoted()?));
        }
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(class);
        out.extend_from_slice(b" {");
        let value = |key: &[u8]| {
            fields
                .iter()
                .rev()
                .find(|(k, _)| *k == key)
                .map(|&(_, value)| value)
        };
        let mut write = |key: &[u8]| {
            if let Some(value) = value(key) {
                out.push(b' ');
                out.extend_from_slice(key);
                out.extend_from_slice(b": \"");
                out.extend_from_slice(value);
                out.push(b'"');
            }
        };
        let order = orders.iter().find(|(name, _)| name.as_bytes() == class);
        match order {
            Some((_, order)) if value(b"preserve_order") != Some(b"true") => {
                order.iter().for_each(|key| write(key.as_bytes()));
            }
            _ => fields.iter().for_each(|(key, _)| write(key)),
        }
        out.extend_from_slice(b" }");
    }
    parser
        .rest
        .is_empty()
        .then_some(out)
        .filter(|out| !out.is_empty())
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn skip(&mut self, any: &[u8]) {
        let skipped = self.rest.iter().take_while(|b| any.contains(b)).count();
        self.rest = &self.rest[skipped..];
    }

    /// A name, after spaces.
    fn word(&mut self) -> Option<&'a [u8]> {
        self.skip(b" ");
        let len = self
            .rest
            .iter()
            .take_while(|b| b.is_ascii_alphabetic() || **b == b'_')
            .count();
        let (word, rest) = self.rest.split_at(len);
        self.rest = rest;
        (len > 0).then_some(word)
    }

    /// A value in quotes; a backslash keeps the character after it.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.strip_prefix(b"\"")?;
        let mut len = 0;
        while *text.get(len)? != b'"' {
            len += if text[len] == b'\\' { 2 } else { 1 };
        }
        self.rest = &text[len + 1..];
        Some(&text[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(tagged: &str) -> Option<String> {
        reorder(tagged.as_bytes(), ORDERS_ZH).map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn fields_come_in_speaking_order() {
        assert_eq!(
            ordered(r#"char { value: "在" } date { day: "十五日" month: "三月" } "#).unwrap(),
            r#"char { value: "在" } date { month: "三月" day: "十五日" }"#
        );
        assert_eq!(
            ordered(r#"date { preserve_order: "true" day: "a" year: "b" }"#).unwrap(),
            r#"date { preserve_order: "true" day: "a" year: "b" }"#
        );
        assert_eq!(
            ordered(r#"char { value: "\"" }"#).unwrap(),
            r#"char { value: "\"" }"#
        );
        assert_eq!(ordered(r#"char { value: "x"#), None);
        assert_eq!(ordered("9"), None);
        assert_eq!(ordered(""), None);
    }

    #[test]
    fn both_grammars_load_and_read() {
        let chinese = Grammar::of(Language::Chinese).unwrap();
        assert_eq!(
            chinese.read_aloud("2024年3月15日", &mut 10_000).unwrap(),
            "二零二四年三月十五日"
        );
        let english = Grammar::of(Language::English).unwrap();
        assert_eq!(
            english.read_aloud("room 204", &mut 10_000).unwrap(),
            "room two hundred and four "
        );
    }
}
