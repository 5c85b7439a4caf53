//! The front end as the engine uses it: one struct that owns the tokenizer.
//!
//! Mirrors `CosyVoiceFrontEnd.text_normalize` in `cosyvoice/cli/frontend.py`. Text that holds `<|` and `|>` is taken
//! as it is: not normalised, not split.

use crate::limits::{PROMPT_TEXT_CHARS, SEGMENT_TEXT_TOKENS, TEXT_SEGMENTS, TTS_TEXT_CHARS};
use crate::text::normalize::{self, Language};
use crate::text::split::{self, SplitRule};
use crate::text::tokenizer::TextTokenizer;
use crate::{Error, Result};

/// Normalises, splits and tokenises.
pub struct TextFrontend {
    tokenizer: TextTokenizer,
}

impl TextFrontend {
    /// A front end over the bundle's tokenizer.
    pub fn new(tokenizer: TextTokenizer) -> Self {
        Self { tokenizer }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// What is to be spoken of `tts_text`, in segments; never empty.
    pub fn segments(&self, tts_text: &str) -> Result<Vec<String>> {
        bounded("tts_text", tts_text, TTS_TEXT_CHARS)?;
        if !split::is_speakable(tts_text) {
            return Err(nothing_to_speak());
        }
        let mut segments = if is_markup(tts_text) {
            vec![tts_text.to_owned()]
        } else {
            let text = tts_text.trim();
            let language = Language::of(text);
            let text = normalize::normalize(text, language);
            let count = |s: &str| self.tokenizer.count(s);
            let segments = split::split(&text, language, SplitRule::default(), count)?;
            split::cut_long(segments, count)?
        };
        segments.retain(|s| split::is_speakable(s));
        if segments.is_empty() {
            return Err(nothing_to_speak());
        }
        if segments.len() > TEXT_SEGMENTS {
            return Err(Error::TooLarge(format!(
                "tts_text makes {} segments; the limit is {TEXT_SEGMENTS}",
                segments.len()
            )));
        }
        for segment in &segments {
            // A token is at least one byte, so most segments need no counting.
            if segment.len() > SEGMENT_TEXT_TOKENS && self.tokenizer.count(segment)? > SEGMENT_TEXT_TOKENS {
                return Err(Error::TooLarge(format!(
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
        normalize::normalize(text, Language::of(text))
    }

    /// The words of a prompt, checked against their bound and normalised.
    pub fn prompt_text(&self, prompt_text: &str) -> Result<String> {
        bounded("prompt_text", prompt_text, PROMPT_TEXT_CHARS)?;
        Ok(self.normalize(prompt_text))
    }

    /// An instruction, checked against its bound, ended with `marker`; the reference does not normalise it.
    pub fn instruct_text(&self, instruct_text: &str, marker: Option<&str>) -> Result<String> {
        bounded("instruct_text", instruct_text, PROMPT_TEXT_CHARS)?;
        Ok(match marker {
            Some(marker) => with_end_of_prompt(instruct_text, marker),
            None => instruct_text.to_owned(),
        })
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
            return Err(Error::TooLarge(format!(
                "{field} has {chars} characters; the limit is {limit}"
            )));
        }
    }
    Ok(())
}
