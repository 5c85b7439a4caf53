//! Whether a saved speaker can be one of the loaded model's, and the voice it is there.

use super::features::{Features, PromptFeatures};
use super::value::Refusal;
use crate::audio::prompt::RATE_24K;
use crate::model::bundle::Manifest;
use crate::text::TextTokenizer;
use crate::voice::{Voice, VoicePrompt};
use crate::{Error, Result, limits};

/// Frames by which mel and speech tokens of a prompt may differ: files saved before the reference trimmed both to one
/// length have a few more.
const SPARE_FRAMES: f32 = 4.0;

/// The voice of `features` for the model that `manifest` describes.
///
/// # Errors
/// [`Error::Invalid`] when it belongs to another model, or is longer than a prompt may be.
pub fn voice(id: &str, features: Features, manifest: &Manifest, tokenizer: &TextTokenizer) -> Result<Voice> {
    let Features { embedding, prompt } = features;
    let width = manifest.flow.spk_dim;
    if embedding.len() != width {
        let what = format!("its embedding has {} numbers, not {width}", embedding.len());
        return Err(other_model(manifest, &what));
    }
    Ok(Voice {
        id: id.to_owned(),
        name: id.to_owned(),
        model: String::new(),
        embedding,
        prompt: prompt.map(|p| fit_prompt(p, manifest, tokenizer)).transpose()?,
    })
}

fn fit_prompt(prompt: PromptFeatures, manifest: &Manifest, tokenizer: &TextTokenizer) -> Result<VoicePrompt> {
    let PromptFeatures {
        text_tokens,
        mut speech_tokens,
        mut speech_feat,
        bins,
    } = prompt;
    if bins != manifest.mel.bins {
        let what = format!("its mel has {bins} bins, not {}", manifest.mel.bins);
        return Err(other_model(manifest, &what));
    }
    let speech_ids = manifest.llm.speech_tokens as i64;
    within("speech token", &speech_tokens, speech_ids).map_err(|what| other_model(manifest, &what))?;
    within("text token", &text_tokens, manifest.llm.text_vocab)
        .map_err(|what| other_model(manifest, &what))?;
    let (tokens, frames) = (speech_tokens.len(), speech_feat.len() / bins.max(1));
    // All generations take a prompt's mel from samples at this rate, whatever their own is.
    let ratio = RATE_24K as f32 / (manifest.mel.hop as f32 * manifest.token_rate as f32);
    let expected = tokens as f32 * ratio;
    if (frames as f32 - expected).abs() > SPARE_FRAMES + expected / 100.0 {
        let what = format!("it has {frames} mel frames for {tokens} speech tokens, not {expected:.0}");
        return Err(other_model(manifest, &what));
    }
    bounded(tokens, text_tokens.len(), manifest.token_rate)?;
    if let Some(ratio) = manifest.token_mel_ratio {
        let tokens = tokens.min(frames / ratio);
        speech_tokens.truncate(tokens);
        speech_feat.truncate(tokens * ratio * bins);
    }
    if speech_tokens.is_empty() {
        return Err(Error::invalid("its prompt holds no speech"));
    }
    Ok(VoicePrompt {
        text: tokenizer.decode(&text_tokens)?,
        text_tokens,
        speech_tokens,
        speech_feat,
    })
}

/// The bounds of a recording that is cloned; 1 s more for the silence that was appended.
fn bounded(speech_tokens: usize, text_tokens: usize, token_rate: u32) -> Result<()> {
    let seconds = speech_tokens as f32 / token_rate.max(1) as f32;
    if seconds > limits::PROMPT_MAX_SECONDS + 1.0 {
        let most = limits::PROMPT_MAX_SECONDS;
        return Err(Error::Invalid(format!(
            "its prompt is {seconds:.0} s long; at most {most} s are taken"
        )));
    }
    if text_tokens > limits::PROMPT_TEXT_TOKENS {
        let most = limits::PROMPT_TEXT_TOKENS;
        return Err(Error::Invalid(format!(
            "its prompt has {text_tokens} text tokens; at most {most} leave room for the text to speak"
        )));
    }
    Ok(())
}

fn within(what: &str, tokens: &[i64], below: i64) -> Result<(), Refusal> {
    match tokens.iter().find(|token| !(0..below).contains(*token)) {
        Some(token) => Err(format!("it has {what} {token}, not one of {below}")),
        None => Ok(()),
    }
}

fn other_model(manifest: &Manifest, what: &str) -> Error {
    Error::Invalid(format!(
        "{what}: it belongs to another model than {}",
        manifest.name
    ))
}
