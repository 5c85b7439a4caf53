//! The options that every synthesis takes, said once.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::{
    api::{error::ApiError, lax},
    audio::encode::AudioFormat,
    limits,
};

/// Declares a request: its own fields, then the options that every synthesis takes. (`serde(flatten)` would lose the name
/// of the field that an error is about.) `nullable` says whether the document allows `null` for an option.
macro_rules! request {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident(nullable = $null:tt) { $($fields:tt)* }
    ) => {
        $crate::api::wire::with_pace! {
            $(#[$meta])*
            $vis $name(nullable = $null) {
                $($fields)*
                /// Send audio while it is made instead of the whole at the end.
                #[serde(default, deserialize_with = "crate::api::lax::flag")]
                #[schema(default = false, nullable = $null)]
                $vis stream: Option<bool>,
                /// How the audio is coded.
                #[serde(default, deserialize_with = "crate::api::wire::Format::lax")]
                #[schema(default = "mp3", nullable = $null)]
                $vis format: Option<$crate::api::wire::Format>,
            }
        }

        impl $name {
            /// The options, checked, and the coding (MP3 unless another was asked for).
            ///
            /// # Errors
            /// 400 when `speed` is out of range.
            $vis fn delivery(
                &self,
            ) -> Result<($crate::api::wire::Delivery, $crate::audio::encode::AudioFormat), $crate::api::ApiError> {
                let delivery = $crate::api::wire::Delivery::new(self.stream, self.speed, self.seed)?;
                Ok((delivery, self.format.unwrap_or($crate::api::wire::Format::Mp3).into()))
            }
        }
    };
}
pub(crate) use request;

/// Declares a request of the basic inference API, a form whose answer is always streamed samples.
macro_rules! basic_request {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($fields:tt)* }) => {
        $crate::api::wire::with_pace! { $(#[$meta])* $vis $name(nullable = false) { $($fields)* } }
    };
}
pub(crate) use basic_request;

/// Declares a struct of these fields and the two options that all have.
macro_rules! with_pace {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident(nullable = $null:tt) { $($fields:tt)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, serde::Deserialize, utoipa::ToSchema)]
        $vis struct $name {
            $($fields)*
            /// Speed factor.
            #[serde(default, deserialize_with = "crate::api::lax::number")]
            #[schema(default = 1.0, minimum = 0.5, maximum = 2.0, nullable = $null)]
            $vis speed: Option<f64>,
            /// Seed that makes the answer reproducible; 0 draws a new one, named in `X-Seed`.
            #[serde(default, deserialize_with = "crate::api::lax::whole")]
            #[schema(default = 0, minimum = 0, nullable = $null)]
            $vis seed: Option<u64>,
        }
    };
}
pub(crate) use with_pace;

/// How the audio of an answer is coded: `mp3`, `opus` (in an Ogg stream), `flac`, `wav`, or `pcm` (bare little-endian
/// 16-bit samples).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Format {
    /// MPEG Layer III.
    Mp3,
    /// Opus in an Ogg stream.
    Opus,
    /// FLAC.
    Flac,
    /// RIFF/WAVE.
    Wav,
    /// Bare little-endian 16-bit samples.
    Pcm,
}

impl Format {
    /// The names there are, for an error's text.
    pub const NAMES: &str = "mp3, opus, flac, wav or pcm";

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Wav => "wav",
            Self::Pcm => "pcm",
        }
    }

    /// By its name, in any case.
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Mp3, Self::Opus, Self::Flac, Self::Wav, Self::Pcm];
        all.into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// From a field; `None` for null and for an empty form field.
    ///
    /// # Errors
    /// When there is no such format.
    pub fn lax<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        let Some(name) = name.filter(|name| !name.trim().is_empty()) else {
            return Ok(None);
        };
        let wrong = || format!("must be {}, not {}", Self::NAMES, lax::quoted(&name));
        Self::of(name.trim())
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(wrong()))
    }
}

impl From<Format> for AudioFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Mp3 => AudioFormat::Mp3,
            Format::Opus => AudioFormat::Opus,
            Format::Flac => AudioFormat::Flac,
            Format::Wav => AudioFormat::Wav,
            Format::Pcm => AudioFormat::L16,
        }
    }
}

/// How an answer is delivered: the three options every synthesis takes, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delivery {
    /// Audio while it is made.
    pub stream: bool,
    /// Speed factor, 0.5 to 2.
    pub speed: f32,
    /// Seed, never 0: drawn when the client left it open.
    pub seed: u64,
}

impl Delivery {
    /// Fills in the defaults and checks the ranges.
    ///
    /// # Errors
    /// 400 when `speed` is out of range.
    pub fn new(stream: Option<bool>, speed: Option<f64>, seed: Option<u64>) -> Result<Self, ApiError> {
        let speed = speed.unwrap_or(1.0) as f32;
        if !(limits::SPEED_MIN..=limits::SPEED_MAX).contains(&speed) {
            let (min, max) = (limits::SPEED_MIN, limits::SPEED_MAX);
            return Err(ApiError::field(
                "speed",
                format!("must be between {min} and {max}, not {speed}"),
            ));
        }
        let seed = match seed.unwrap_or(0) {
            0 => draw_seed(),
            seed => seed,
        };
        Ok(Self {
            stream: stream.unwrap_or(false),
            speed,
            seed,
        })
    }
}

/// A new seed, 1 to 2^32 - 1: exact in every client's number type, so that `X-Seed` can be sent back.
pub fn draw_seed() -> u64 {
    rand::random_range(1..=u64::from(u32::MAX))
}
