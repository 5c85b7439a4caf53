//! Speakers as CosyVoice keeps them, in a `spk2info.pt`: a zip archive (`archive`) of a pickle (`pickle`) and raw
//! tensors. Both are read without PyTorch and without running anything.

mod archive;
mod dtype;
mod features;
mod fit;
mod opcodes;
mod pickle;
mod value;

use self::archive::Archive;
use self::features::Features;
use self::value::Refusal;
use super::Voice;
use crate::model::bundle::Manifest;
use crate::text::TextTokenizer;
use crate::{Error, Result, limits};

/// The speakers of one `spk2info.pt`, not yet checked against a model.
#[derive(Debug, Clone)]
pub struct SpeakerFile(Vec<SavedSpeaker>);

/// One of them.
#[derive(Debug, Clone)]
pub struct SavedSpeaker {
    id: String,
    features: Result<Features, Refusal>,
}

impl SpeakerFile {
    /// Reads the content of a file. Takes time in proportion to its size: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::TooLarge`], named by `field`: no torch file of the zip format, damaged, beyond a
    /// bound, or with anything in it but tensors and plain data.
    pub fn read(bytes: &[u8], field: &str) -> Result<Self> {
        if bytes.len() > limits::IMPORT_BYTES {
            let most = limits::IMPORT_BYTES;
            return Err(Error::TooLarge(format!("{field}: more than {most} bytes")));
        }
        let read = Archive::open(bytes).and_then(|mut archive| features::speakers(&mut archive));
        let speakers = read.map_err(|why| Error::Invalid(format!("{field}: {why}")))?;
        let speaker = |(id, features)| SavedSpeaker { id, features };
        Ok(Self(speakers.into_iter().map(speaker).collect()))
    }

    /// The speakers, in the file's order.
    pub fn into_speakers(self) -> Vec<SavedSpeaker> {
        self.0
    }
}

impl SavedSpeaker {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its voice for the model that `manifest` describes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not whole or belongs to another model.
    pub fn voice(self, manifest: &Manifest, tokenizer: &TextTokenizer) -> Result<Voice> {
        let features = self.features.map_err(Error::Invalid)?;
        fit::voice(&self.id, features, manifest, tokenizer)
    }
}

#[cfg(test)]
pub(crate) mod tests;
