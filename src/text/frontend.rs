//! The front end as the engine uses it: one struct that owns the tokenizer.
//!
//! Mirrors `CosyVoiceFrontEnd.text_normalize` in `cosyvoice/cli/frontend.py`. Text that holds `<|` and `|>` is taken
//! as it is: not normalised, not split.

use crate::limits::{PROMPT_TEXT_CHARS, SEGMENT_TEXT_TOKENS, TEXT_SEGMENTS, TTS_TEXT_CHARS};
use crate::text::normalize::{self, Language};
use crate::text::split::{self, SplitRule};
use crate::text::tags::Tags;
use crate::text::template;
use crate::text::tokenizer::TextTokenizer;
use crate::{Error, Result};

/// Normalises, splits and tokenises.
pub struct TextFrontend {
    tokenizer: TextTokenizer,
    tags: Tags,
}

impl TextFrontend {
    /// A front end over the bundle's tokenizer. Reads the normalisation grammars too (once per process, about a
    /// tenth of a second), so that the first request need not.
    pub fn new(tokenizer: TextTokenizer) -> Self {
        normalize::warm_up();
        let tags = Tags::new(tokenizer.special_tokens());
        Self { tokenizer, tags }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// What is to be spoken of `tts_text`, in segments; never empty.
    pub fn segments(&self, tts_text: &str) -> Result<Vec<String>> {
        self.segments_in(tts_text, Language::English)
    }

    /// Like [`segments`](Self::segments), but text without any letter ("10:30") is read in `otherwise`, say the
    /// language of the prompt; the reference reads it in English.
    pub fn segments_in(&self, tts_text: &str, otherwise: Language) -> Result<Vec<String>> {
        bounded("tts_text", tts_text, TTS_TEXT_CHARS)?;
        if !split::is_speakable(tts_text) {
            return Err(nothing_to_speak());
        }
        let mut segments = if is_markup(tts_text) {
            vec![tts_text.to_owned()]
        } else {
            let text = tts_text.trim();
            let language = if text.chars().any(char::is_alphabetic) {
                Language::of(text)
            } else {
                otherwise
            };
            let text = self.spoken(text, language);
            let count = |s: &str| self.tokenizer.count(s);
            let segments = split::split(&text, language, SplitRule::default(), count)?;
            split::cut_long(segments, count)?
        };
        segments.retain(|s| split::is_speakable(s));
        if segments.is_empty() {
            return Err(nothing_to_speak());
        }
        if segments.len() > TEXT_SEGMENTS {
            return Err(Error::Invalid(format!(
                "tts_text makes {} segments; the limit is {TEXT_SEGMENTS}",
                segments.len()
            )));
        }
        for segment in &segments {
            // A token is at least one byte, so most segments need no counting.
            if segment.len() > SEGMENT_TEXT_TOKENS && self.tokenizer.count(segment)? > SEGMENT_TEXT_TOKENS {
                return Err(Error::Invalid(format!(
                    "tts_text has a part of more than {SEGMENT_TEXT_TOKENS} tokens that cannot be split"
                )));
            }
        }
        Ok(segments)
    }

    /// `text` normalised but not split, as the reference does with the words of a prompt.
    pub fn normalize(&self, text: &str) -> String {
        if is_markup(text) {
            return text.to_owned();
        }
        let text = text.trim();
        self.spoken(text, Language::of(text))
    }

    /// A part of a text that still comes, as it is to be spoken.
    pub fn spoken_part(&self, text: &str, language: Language) -> String {
        self.tags
            .around(text, |text| normalize::normalize_part(text, language))
    }

    fn spoken(&self, text: &str, language: Language) -> String {
        self.tags
            .around(text, |text| normalize::normalize(text, language))
    }

    /// The words of a prompt, checked against their bound and normalised.
    pub fn prompt_text(&self, prompt_text: &str) -> Result<String> {
        bounded("prompt_text", prompt_text, PROMPT_TEXT_CHARS)?;
        Ok(self.normalize(prompt_text))
    }

    /// The words of a prompt that hold its instruction, up to the last `marker`, which stay as they are; its
    /// transcript is normalised, whatever stands before it.
    pub fn marked_prompt_text(&self, prompt_text: &str, marker: &str) -> Result<String> {
        bounded("prompt_text", prompt_text, PROMPT_TEXT_CHARS)?;
        let (own, transcript) = template::split_own(prompt_text, marker);
        Ok(format!(
            "{}{}",
            own.unwrap_or_default(),
            self.normalize(transcript)
        ))
    }

    /// The prompt that a text brings itself, if any, and the text behind it, where the model looks for `marker`.
    pub fn own_prompt<'a>(&self, tts_text: &'a str, marker: &str) -> Result<(Option<&'a str>, &'a str)> {
        let (own, text) = template::split_own(tts_text, marker);
        bounded(
            "tts_text (its prompt)",
            own.unwrap_or_default(),
            PROMPT_TEXT_CHARS,
        )?;
        Ok((own, text))
    }

    /// An instruction, checked against its bound, as a model that requires `marker` reads it.
    pub fn marked_instruct_text(&self, instruct_text: &str, marker: &str) -> Result<String> {
        bounded("instruct_text", instruct_text, PROMPT_TEXT_CHARS)?;
        Ok(template::instruction(instruct_text, marker))
    }

    /// An instruction, checked against its bound, ended with `marker`; the reference does not normalise it.
    pub fn instruct_text(&self, instruct_text: &str, marker: Option<&str>) -> Result<String> {
        bounded("instruct_text", instruct_text, PROMPT_TEXT_CHARS)?;
        Ok(match marker {
            Some(marker) => with_end_of_prompt(instruct_text, marker),
            None => instruct_text.to_owned(),
        })
    }

    /// How many ids `text` has.
    pub fn count(&self, text: &str) -> Result<usize> {
        self.tokenizer.count(text)
    }

    /// Ids of `text`.
    pub fn tokens(&self, text: &str) -> Result<Vec<i64>> {
        self.tokenizer.encode(text)
    }
}

/// `text` with `marker` (`<|endofprompt|>`) at its end, unless it holds the marker already. Without it the model
/// speaks the instruction aloud.
pub fn with_end_of_prompt(text: &str, marker: &str) -> String {
    if text.contains(marker) {
        text.to_owned()
    } else {
        format!("{text}{marker}")
    }
}

/// Text with tags of its own (`<|zh|>`) is passed on untouched.
fn is_markup(text: &str) -> bool {
    text.contains("<|") && text.contains("|>")
}

fn nothing_to_speak() -> Error {
    Error::invalid("tts_text has nothing to speak: it needs at least one letter or digit")
}

fn bounded(field: &str, text: &str, limit: usize) -> Result<()> {
    // Bytes bound characters, so short texts are not counted.
    if text.len() > limit {
        let chars = text.chars().count();
        if chars > limit {
            return Err(Error::Invalid(format!(
                "{field} has {chars} characters; the limit is {limit}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn frontend() -> TextFrontend {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer_subset.json");
        TextFrontend::new(TextTokenizer::from_file(&path).unwrap())
    }

    #[test]
    fn refuses_what_cannot_be_spoken() {
        let frontend = frontend();
        for text in ["", " \n\t", "。。。", "!?", "😀", "<|zh|>", "\u{0}", "\u{3000}"] {
            let error = frontend.segments(text).unwrap_err();
            assert!(
                matches!(&error, Error::Invalid(why) if why.starts_with("tts_text")),
                "{text:?}: {error}"
            );
        }
        assert!(matches!(
            frontend.segments(&"a".repeat(TTS_TEXT_CHARS + 1)),
            Err(Error::Invalid(_))
        ));
        assert!(frontend.segments(&"字".repeat(TTS_TEXT_CHARS)).is_ok());
        assert!(matches!(
            frontend.prompt_text(&"a".repeat(1001)),
            Err(Error::Invalid(_))
        ));
        assert!(matches!(
            frontend.instruct_text(&"a".repeat(1001), None),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn tags_are_passed_on_untouched() {
        let frontend = frontend();
        assert_eq!(frontend.segments("<|zh|> 3个。4个").unwrap(), ["<|zh|> 3个。4个"]);
        assert_eq!(frontend.normalize(" <|en|> 3 "), " <|en|> 3 ");
        let long = format!("<|en|>{}", "a b ".repeat(2000));
        assert!(matches!(frontend.segments(&long), Err(Error::Invalid(_))));
    }

    #[test]
    fn bare_numbers_can_follow_the_prompt() {
        let frontend = frontend();
        assert_eq!(frontend.segments("10:30").unwrap(), ["ten thirty ."]);
        assert_eq!(
            frontend.segments_in("10:30", Language::Chinese).unwrap(),
            ["十点三十分。"]
        );
        assert_eq!(
            frontend.segments_in("at 10:30", Language::Chinese).unwrap(),
            ["at ten thirty ."]
        );
    }

    #[test]
    fn instructions_end_with_the_marker_once() {
        let frontend = frontend();
        let marker = "<|endofprompt|>";
        let ended = frontend.instruct_text("用四川话说3遍", Some(marker)).unwrap();
        assert_eq!(ended, "用四川话说3遍<|endofprompt|>");
        assert_eq!(frontend.instruct_text(&ended, Some(marker)).unwrap(), ended);
        assert_eq!(frontend.instruct_text("x", None).unwrap(), "x");
        assert_eq!(frontend.tokens(&ended).unwrap().last(), Some(&151_646));
    }

    #[test]
    fn a_prompt_of_the_texts_own_leaves_the_rest_to_be_normalised() {
        let frontend = frontend();
        let marker = "<|endofprompt|>";
        let (own, text) = frontend
            .own_prompt("Take 3.<|endofprompt|>I have 3 cats.", marker)
            .unwrap();
        assert_eq!(own, Some("Take 3.<|endofprompt|>"));
        assert!(frontend.segments(text).unwrap()[0].starts_with("I have three cats"));
        let prompt = |text| frontend.marked_prompt_text(text, marker).unwrap();
        assert!(prompt("Take 3.<|endofprompt|>I have 3.").starts_with("Take 3.<|endofprompt|>I have three"));
        assert!(prompt("I have 3.").starts_with("I have three"));
        let long = format!("{}{marker}Hi", "a".repeat(PROMPT_TEXT_CHARS));
        assert!(matches!(
            frontend.own_prompt(&long, marker),
            Err(Error::Invalid(_))
        ));
    }

    #[test]
    fn long_and_odd_texts_take_bounded_time() {
        let frontend = frontend();
        // Ten times what a release build takes, so that a busy machine does not fail it.
        let limit = Duration::from_secs(10);
        for pattern in [
            "1",
            "1 ",
            "1.",
            "中1",
            "12:30-2023-01-01",
            "a",
            "a.",
            " ",
            "\"",
            ".\"",
            "一。",
            "$1,000.50 ",
            "\u{301}",
            "\n1",
        ] {
            let text: String = pattern.chars().cycle().take(TTS_TEXT_CHARS).collect();
            let start = Instant::now();
            let _ = frontend.segments(&text);
            assert!(start.elapsed() < limit, "{pattern:?} took {:?}", start.elapsed());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_segments_or_a_refusal(text in "(\\PC|[\\x00-\\x7f]|[0-9一-十年月日.,，。:/%$€℃²①\"”{}<|>\\\\ ]){0,60}") {
            static FRONTEND: std::sync::LazyLock<TextFrontend> = std::sync::LazyLock::new(frontend);
            match FRONTEND.segments(&text) {
                Ok(segments) => {
                    prop_assert!(!segments.is_empty());
                    for segment in segments {
                        prop_assert!(split::is_speakable(&segment));
                        let ids = FRONTEND.tokens(&segment).unwrap();
                        prop_assert!(!ids.is_empty() && ids.len() <= SEGMENT_TEXT_TOKENS);
                    }
                }
                Err(error) => prop_assert!(matches!(error, Error::Invalid(_)), "{error}"),
            }
            let _ = FRONTEND.normalize(&text);
        }
    }
}
