//! OpenAI's names of models and voices, and what they mean here. Data in one place; the README shows it.

use axum::http::StatusCode;

use crate::{
    api::error::ApiError,
    engine::{ModelInfo, VoiceInfo},
    text::Language,
};

/// OpenAI's speech models. Each stands for the model that is loaded, with a date behind it too
/// (`gpt-4o-mini-tts-2025-12-15`).
pub const MODELS: [&str; 3] = ["tts-1", "tts-1-hd", "gpt-4o-mini-tts"];

/// Whether a voice is that of a woman or a man.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gender {
    Female,
    Male,
}

/// OpenAI's voices, as they are commonly heard.
const VOICES: [(&str, Gender); 13] = [
    ("alloy", Gender::Female),
    ("ash", Gender::Male),
    ("ballad", Gender::Male),
    ("cedar", Gender::Male),
    ("coral", Gender::Female),
    ("echo", Gender::Male),
    ("fable", Gender::Male),
    ("marin", Gender::Female),
    ("nova", Gender::Female),
    ("onyx", Gender::Male),
    ("sage", Gender::Female),
    ("shimmer", Gender::Female),
    ("verse", Gender::Male),
];

/// The voice that speaks for one of OpenAI's: its id in CosyVoice's models (and the bundled one), by gender and by the
/// language of the text.
const fn stand_in(gender: Gender, language: Language) -> &'static str {
    match (language, gender) {
        (Language::Chinese, Gender::Female) => "中文女",
        (Language::Chinese, Gender::Male) => "中文男",
        (Language::English, Gender::Female) => "英文女",
        (Language::English, Gender::Male) => "英文男",
    }
}

/// Checks the name of a model: that of the loaded one (in any case, perhaps behind its owner's: `FunAudioLLM/...`), or one
/// of OpenAI's.
///
/// # Errors
/// 404 that names what there is.
pub fn check_model(name: &str, loaded: &ModelInfo) -> Result<(), ApiError> {
    let dated = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '-');
    let openai = |model: &&str| name.strip_prefix(*model).is_some_and(dated);
    let own = name.rsplit('/').next().unwrap_or(name);
    if own.to_lowercase() == loaded.name.to_lowercase() || MODELS.iter().any(openai) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    let known = MODELS.join(", ");
    let text = format!(
        "model: no model {shown:?}; there is {}, also called {known}",
        loaded.name
    );
    Err(ApiError::new(StatusCode::NOT_FOUND, text))
}

/// The id of the voice that a request means: a voice of this server, or one of OpenAI's, which the built-in voice of that
/// gender for the language of the text stands in for; where the model has no such voice, its first one.
///
/// # Errors
/// 400 that names the voices there are.
pub fn voice(name: &str, text: &str, voices: &[VoiceInfo]) -> Result<String, ApiError> {
    if let Some(own) = voices.iter().find(|voice| voice.id == name) {
        return Ok(own.id.clone());
    }
    let of_openai = VOICES.iter().find(|(voice, _)| voice.eq_ignore_ascii_case(name));
    let Some((_, gender)) = of_openai else {
        let shown: String = name.chars().take(64).collect();
        let text =
            format!("no voice {shown:?}; GET /v1/audio/voices lists them, and OpenAI's names are known too");
        return Err(ApiError::field("voice", text));
    };
    let wanted = stand_in(*gender, Language::of(text));
    let built_in = voices.iter().find(|voice| voice.built_in && voice.id == wanted);
    // The list has built-in voices first.
    match built_in.or(voices.first()) {
        Some(voice) => Ok(voice.id.clone()),
        None => Err(ApiError::field(
            "voice",
            "the model has no voice of its own; make one with /clone and name it here",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voices(ids: &[&str]) -> Vec<VoiceInfo> {
        let voice = |id: &&str| VoiceInfo {
            id: id.to_string(),
            name: id.to_string(),
            built_in: *id != "anna",
            prompt: None,
            revision: 0,
        };
        ids.iter().map(voice).collect()
    }

    #[test]
    fn openais_voices_become_built_in_ones_of_their_gender_and_the_texts_language() {
        let all = voices(&["中文女", "中文男", "英文女", "英文男", "anna"]);
        for (name, text, id) in [
            ("alloy", "Hello.", "英文女"),
            ("Nova", "Hello.", "英文女"),
            ("onyx", "Hello.", "英文男"),
            ("alloy", "你好。", "中文女"),
            ("onyx", "Hello 你好。", "中文男"),
            ("anna", "你好。", "anna"),
            ("中文女", "Hello.", "中文女"),
        ] {
            assert_eq!(voice(name, text, &all).unwrap(), id, "{name} for {text}");
        }
        for (name, _) in VOICES {
            assert!(voice(name, "Hello.", &all).unwrap().starts_with("英文"), "{name}");
        }
    }

    #[test]
    fn a_model_without_such_a_voice_speaks_with_its_first() {
        assert_eq!(
            voice("onyx", "Hello.", &voices(&["日语男", "英文女"])).unwrap(),
            "日语男"
        );
        assert_eq!(voice("onyx", "Hello.", &voices(&["anna"])).unwrap(), "anna");
        let none = voice("onyx", "Hello.", &[]).unwrap_err();
        assert_eq!(none.status(), 400);
        assert!(
            none.detail().starts_with("voice: the model has no voice"),
            "{}",
            none.detail()
        );
    }

    /// Guarantees that who clones a voice and calls it by one of OpenAI's names hears the clone.
    #[test]
    fn a_voice_of_that_very_name_comes_first() {
        let mut all = voices(&["英文女", "nova"]);
        all[1].built_in = false;
        assert_eq!(voice("nova", "Hello.", &all).unwrap(), "nova");
        let unknown = voice("nobody", "Hello.", &all).unwrap_err();
        assert_eq!(unknown.status(), 400);
        assert!(
            unknown.detail().starts_with("voice: no voice \"nobody\""),
            "{}",
            unknown.detail()
        );
    }

    #[test]
    fn the_loaded_model_has_its_own_name_and_openais() {
        let loaded = ModelInfo {
            name: "CosyVoice2-0.5B".into(),
            generation: 2,
            precision: "fp32".into(),
            sample_rate: 24_000,
        };
        for name in [
            "CosyVoice2-0.5B",
            "cosyvoice2-0.5b",
            "FunAudioLLM/CosyVoice2-0.5B",
            "tts-1",
            "tts-1-1106",
            "tts-1-hd",
            "gpt-4o-mini-tts",
            "gpt-4o-mini-tts-2025-12-15",
        ] {
            assert!(check_model(name, &loaded).is_ok(), "{name}");
        }
        for name in ["", "tts-2", "whisper-1", "gpt-4o-mini-tts-latest", "CosyVoice2"] {
            let error = check_model(name, &loaded).unwrap_err();
            assert_eq!(error.status(), 404, "{name}");
            assert!(error.detail().contains("CosyVoice2-0.5B"), "{}", error.detail());
        }
    }
}
