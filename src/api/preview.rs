//! Short samples of voices: what they say, and those made so far.

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::{engine::VoiceInfo, limits};

/// Seed of every preview: a voice says the same sentence the same way each time.
pub const PREVIEW_SEED: u64 = 1;

/// The language a voice is previewed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Mandarin.
    Chinese,
    /// Cantonese.
    Cantonese,
    /// English.
    English,
    /// Japanese.
    Japanese,
    /// Korean.
    Korean,
}

/// How CosyVoice's preset speakers, and those named after them, tell their language. Names of two characters of one
/// language (中 of 中文) would match names of people.
const TOLD_BY_NAME: [(&str, Language); 12] = [
    ("粤", Language::Cantonese),
    ("日语", Language::Japanese),
    ("日文", Language::Japanese),
    ("韩语", Language::Korean),
    ("韩文", Language::Korean),
    ("英语", Language::English),
    ("英文", Language::English),
    ("中文", Language::Chinese),
    ("japanese", Language::Japanese),
    ("korean", Language::Korean),
    ("cantonese", Language::Cantonese),
    ("chinese", Language::Chinese),
];

impl Language {
    /// That of the voice's transcript, else what its name or id tell, else that of the script they are written in.
    pub fn of(voice: &VoiceInfo) -> Self {
        let transcript = voice.prompt.as_ref().map(|prompt| spoken(&prompt.text));
        let named = || {
            let names = format!("{} {}", voice.name, voice.id).to_lowercase();
            let told = TOLD_BY_NAME.iter().find(|(part, _)| names.contains(part));
            told.map(|(_, language)| *language)
                .or_else(|| Self::written(&names))
        };
        let heard = transcript.and_then(Self::written);
        heard.or_else(named).unwrap_or(Language::English)
    }

    /// By the script: kana or hangul where there are any, else Han characters, else letters.
    fn written(text: &str) -> Option<Self> {
        let any = |ranges: &[std::ops::RangeInclusive<char>]| {
            text.chars()
                .any(|c| ranges.iter().any(|range| range.contains(&c)))
        };
        if any(&['\u{3040}'..='\u{30ff}']) {
            Some(Language::Japanese)
        } else if any(&['\u{ac00}'..='\u{d7af}', '\u{1100}'..='\u{11ff}']) {
            Some(Language::Korean)
        } else if any(&['\u{3400}'..='\u{9fff}', '\u{20000}'..='\u{2ffff}']) {
            Some(Language::Chinese)
        } else {
            text.chars().any(char::is_alphabetic).then_some(Language::English)
        }
    }

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Language::Chinese => "zh",
            Language::Cantonese => "yue",
            Language::English => "en",
            Language::Japanese => "ja",
            Language::Korean => "ko",
        }
    }

    /// What a voice of it says when nothing else is asked for.
    pub fn sample(self) -> &'static str {
        match self {
            Language::Chinese => "你好，很高兴认识你，希望你喜欢我的声音。",
            Language::Cantonese => "你好，好高兴认识你，希望你钟意我把声。",
            Language::English => "Hello, it is nice to meet you. I hope you like my voice.",
            Language::Japanese => "こんにちは、はじめまして。私の声を気に入ってくれるとうれしいです。",
            Language::Korean => "안녕하세요, 만나서 반가워요. 제 목소리가 마음에 들면 좋겠어요.",
        }
    }
}

/// What is spoken of a transcript: not the instruction that some models keep before it.
fn spoken(transcript: &str) -> &str {
    transcript.rsplit("|>").next().unwrap_or(transcript)
}

/// What a preview depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreviewKey {
    /// The voice's id.
    pub spk_id: String,
    /// Its revision: a voice that was replaced is another one.
    pub revision: u64,
    /// What it says.
    pub text: String,
}

/// Finished previews, at most [`limits::PREVIEW_CACHE_ENTRIES`] and [`limits::PREVIEW_CACHE_BYTES`]; the one asked for
/// longest ago goes first.
pub struct PreviewCache(Mutex<Entries>);

struct Entries {
    previews: LruCache<PreviewKey, Bytes>,
    bytes: usize,
}

impl Default for PreviewCache {
    fn default() -> Self {
        // The bounds are kept by `put`.
        let previews = LruCache::unbounded();
        Self(Mutex::new(Entries { previews, bytes: 0 }))
    }
}

impl PreviewCache {
    /// The MP3 of this preview, where it is kept.
    pub fn get(&self, key: &PreviewKey) -> Option<Bytes> {
        self.0.lock().previews.get(key).cloned()
    }

    /// Keeps it.
    pub fn put(&self, key: PreviewKey, mp3: Bytes) {
        let mut entries = self.0.lock();
        entries.bytes += mp3.len();
        if let Some(old) = entries.previews.put(key, mp3) {
            entries.bytes -= old.len();
        }
        while entries.bytes > limits::PREVIEW_CACHE_BYTES
            || entries.previews.len() > limits::PREVIEW_CACHE_ENTRIES
        {
            let Some((_, oldest)) = entries.previews.pop_lru() else {
                break;
            };
            entries.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::VoicePromptInfo;

    fn voice(name: &str, transcript: Option<&str>) -> VoiceInfo {
        VoiceInfo {
            id: "1".into(),
            name: name.into(),
            built_in: false,
            prompt: transcript.map(|text| VoicePromptInfo {
                text: text.into(),
                seconds: 3.0,
            }),
            revision: 0,
        }
    }

    #[test]
    fn the_transcript_tells_the_language_then_the_name() {
        for (name, transcript, code) in [
            ("英文女", None, "en"),
            ("中文女", None, "zh"),
            ("日语男", None, "ja"),
            ("韩语女", None, "ko"),
            ("粤语女", None, "yue"),
            ("小明", None, "zh"),
            ("anna", None, "en"),
            ("123", None, "en"),
            ("Japanese speaker", None, "ja"),
            ("anna", Some("希望你以后能够做的比我还好呦。"), "zh"),
            ("小明", Some("Good morning."), "en"),
            ("anna", Some("おはようございます、世界。"), "ja"),
            ("anna", Some("좋은 아침"), "ko"),
            (
                "anna",
                Some("You are a helpful assistant.<|endofprompt|>早上好"),
                "zh",
            ),
            ("日语男", Some(""), "ja"),
        ] {
            assert_eq!(
                Language::of(&voice(name, transcript)).code(),
                code,
                "{name} {transcript:?}"
            );
        }
    }

    #[test]
    fn samples_are_written_in_their_language_and_within_bounds() {
        for language in [
            Language::Chinese,
            Language::English,
            Language::Japanese,
            Language::Korean,
        ] {
            assert_eq!(Language::written(language.sample()), Some(language));
        }
        assert!(Language::Cantonese.sample().chars().count() <= limits::PREVIEW_TEXT_CHARS);
    }

    #[test]
    fn the_oldest_previews_go_when_there_are_too_many_bytes_or_entries() {
        let cache = PreviewCache::default();
        let key = |i: usize| PreviewKey {
            spk_id: "a".into(),
            revision: 0,
            text: i.to_string(),
        };
        let half = Bytes::from(vec![0; limits::PREVIEW_CACHE_BYTES / 2]);
        (0..3).for_each(|i| cache.put(key(i), half.clone()));
        assert_eq!(
            [0, 1, 2].map(|i| cache.get(&key(i)).is_some()),
            [false, true, true]
        );
        // Replacing one takes no more room; one that does not fit is not kept, nor is anything else.
        cache.put(key(2), half.clone());
        assert!(cache.get(&key(1)).is_some());
        cache.put(key(9), Bytes::from(vec![0; limits::PREVIEW_CACHE_BYTES + 1]));
        assert!(cache.get(&key(9)).is_none());
        (0..=limits::PREVIEW_CACHE_ENTRIES).for_each(|i| cache.put(key(i), Bytes::new()));
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(1)).is_some());
    }
}
