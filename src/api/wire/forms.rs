//! Requests as forms, for the document: the same fields as in JSON, and files.
#![allow(dead_code, reason = "only the schemas are used")]

use utoipa::ToSchema;

use super::{basic_request, request};

request! {
    /// Speak with the voice of a recording and its transcript.
    pub ZeroShotForm(nullable = false) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "See you soon.")]
        tts_text: String,
        /// What is said in the recording, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "What I say in it.")]
        prompt_text: String,
        /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        prompt_wav: Vec<u8>,
    }
}

request! {
    /// Speak with the voice of a recording in another language (or without its transcript).
    pub CrossLingualForm(nullable = false) {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        tts_text: String,
        /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        prompt_wav: Vec<u8>,
    }
}

request! {
    /// Say what a recording says in another voice: that of a recording, or a known one.
    pub ConvertForm(nullable = false) {
        /// What to say: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 300 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        source_wav: Vec<u8>,
        /// The voice to say it with, 0.5 to 30 s; or `spk_id`.
        #[schema(value_type = Option<String>, format = Binary, content_media_type = "application/octet-stream", nullable = false)]
        prompt_wav: Option<Vec<u8>>,
        /// The voice to say it with, built in or cloned (see `/available_spks`); or a recording, not both.
        #[schema(min_length = 1, max_length = 64, example = "英文女", nullable = false)]
        spk_id: Option<String>,
    }
}

basic_request! {
    /// Speak with a known voice.
    pub InferenceSftForm {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        tts_text: String,
        /// Voice id, built in or cloned (see `/available_spks`).
        #[schema(min_length = 1, max_length = 64, example = "中文女")]
        spk_id: String,
    }
}

basic_request! {
    /// Speak with a known voice, following an instruction.
    pub InferenceInstructForm {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        tts_text: String,
        /// Voice id, built in or cloned (see `/available_spks`).
        #[schema(min_length = 1, max_length = 64, example = "中文女")]
        spk_id: String,
        /// How to speak, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "说得快一点")]
        instruct_text: String,
    }
}

basic_request! {
    /// Speak with the voice of a recording and its transcript.
    pub InferenceZeroShotForm {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "See you soon.")]
        tts_text: String,
        /// What is said in the recording, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "What I say in it.")]
        prompt_text: String,
        /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        prompt_wav: Vec<u8>,
    }
}

basic_request! {
    /// Speak with the voice of a recording in another language (or without its transcript).
    pub InferenceCrossLingualForm {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        tts_text: String,
        /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        prompt_wav: Vec<u8>,
    }
}

basic_request! {
    /// Speak with the voice of a recording, following an instruction.
    pub InferenceInstruct2Form {
        /// Text to speak, at most 10,000 characters.
        #[schema(min_length = 1, max_length = 10_000, example = "你好，很高兴认识你。")]
        tts_text: String,
        /// How to speak, at most 1,000 characters.
        #[schema(min_length = 1, max_length = 1_000, example = "说得快一点")]
        instruct_text: String,
        /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
        #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
        prompt_wav: Vec<u8>,
    }
}

/// The form of `/clone`.
#[derive(ToSchema)]
pub struct CloneForm {
    /// What is said in the recording, at most 1,000 characters.
    #[schema(min_length = 1, max_length = 1_000, example = "What I say in it.")]
    prompt_text: String,
    /// Id of the new voice: 1 to 64 characters, no path separators or control characters.
    #[schema(min_length = 1, max_length = 64, example = "anna")]
    spk_id: String,
    /// Name to show; the id when absent.
    #[schema(max_length = 64, example = "Anna", nullable = false)]
    spk_name: Option<String>,
    /// The recording: WAV, MP3, FLAC, OGG, WebM or M4A; 0.5 to 30 s.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    prompt_audio: Vec<u8>,
}

/// The form of `/voices/import`.
#[derive(ToSchema)]
pub struct ImportForm {
    /// A `spk2info.pt`, at most 32 MiB.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// The form of `/upload_audio`.
#[derive(ToSchema)]
pub struct UploadForm {
    /// Any file, at most 32 MiB.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}
