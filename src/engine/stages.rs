//! What all lanes share: the manifest, the text front end, voices and prompts; what one synthesis is made with.

use std::path::Path;
use std::sync::Arc;

use super::abilities::{Abilities, Ability};
use super::live::LiveSegments;
use super::{Mode, PromptAudio, SpeechRequest, Target};
use crate::model::Bundle;
use crate::model::bundle::{Manifest, SpecialToken};
use crate::model::flow::FlowVoice;
use crate::model::prompt_encoder::{PromptEncoder, PromptFeatures};
use crate::model::vocoder::Vocoder;
use crate::runtime::{Device, Runtime};
use crate::text::interleave::{Interleaver, Opening};
use crate::text::{LayoutIds, TextFrontend, TextTokenizer, template};
use crate::voice::{PromptCache, Voice, VoicePrompt, VoiceStore};
use crate::{Error, Result, limits};

/// Everything loaded once, shared by all requests.
pub struct Stages {
    pub(super) manifest: Manifest,
    pub(super) text: TextFrontend,
    pub(super) vocoder: Vocoder,
    pub(super) layout: LayoutIds,
    pub(super) voices: VoiceStore,
    pub(super) abilities: Abilities,
    encoder: PromptEncoder,
    prompts: PromptCache,
}

/// What a request has the model speak.
#[derive(Debug)]
pub enum Script {
    /// Text ids, segment by segment, for the language model.
    Text(Vec<Vec<i64>>),
    /// Likewise, of a text that still comes.
    Live(LiveSegments),
    /// Speech tokens, segment by segment, ready for the flow.
    Tokens(Vec<Vec<i64>>),
}

/// How the voice of a request conditions the language model and the flow.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Text ids before the text: the prompt's transcript or the instruction.
    pub prompt_text: Vec<i64>,
    /// Speech tokens the language model continues.
    pub llm_speech: Vec<i64>,
    /// The speaker's embedding for a language model that reads one; `None`: it is not told.
    pub llm_speaker: Option<Vec<f32>>,
    /// What the flow knows of the speaker.
    pub flow: Arc<FlowVoice>,
}

impl Stages {
    /// Loads them; `device` prepares prompts.
    pub fn load(runtime: &Runtime, bundle: &Bundle, device: Device, voices_dir: &Path) -> Result<Self> {
        let manifest = bundle.manifest.clone();
        let tokenizer = TextTokenizer::from_file(&bundle.path(&manifest.tokenizer))?;
        let llm = &manifest.llm;
        let layout = LayoutIds {
            text_vocab: llm.text_vocab,
            speech_offset: llm.speech_offset,
            speech_tokens: llm.speech_tokens as i64,
            sos_id: llm.sos_id,
            task_id: llm.task_id,
            min_ratio: llm.min_ratio,
            max_ratio: llm.max_ratio,
            max_positions: llm.max_positions,
            rows_offset: llm.rows.as_ref().map(|rows| rows.rows_offset),
        };
        Ok(Self {
            text: TextFrontend::new(tokenizer),
            vocoder: Vocoder::new(bundle)?,
            encoder: PromptEncoder::load(runtime, bundle, device.without_engines())?,
            voices: VoiceStore::open(bundle, voices_dir)?,
            prompts: PromptCache::default(),
            abilities: Abilities::of(&manifest),
            layout,
            manifest,
        })
    }

    /// Checks what can be told without running the model: the text, the numbers, the voice. Returns the text ids of
    /// the segments (none for a voice conversion).
    pub fn check(&self, request: &SpeechRequest) -> Result<Vec<Vec<i64>>> {
        self.check_live(request)?;
        if let Mode::Convert { .. } = request.mode {
            return Ok(Vec::new());
        }
        let (own, text) = self.own_prompt(&request.text)?;
        within("tts_text (its prompt)", &own)?;
        let segments = self.text.segments(text)?;
        segments.iter().map(|s| self.text.tokens(s)).collect()
    }

    /// The same without the text.
    pub fn check_live(&self, request: &SpeechRequest) -> Result<()> {
        if !(limits::SPEED_MIN..=limits::SPEED_MAX).contains(&request.speed) {
            return Err(Error::Invalid(format!(
                "speed: {} is outside {} to {}",
                request.speed,
                limits::SPEED_MIN,
                limits::SPEED_MAX
            )));
        }
        let cloned = match &request.mode {
            Mode::Sft { voice }
            | Mode::Instruct { voice, .. }
            | Mode::Convert {
                target: Target::Voice(voice),
                ..
            } => self.voices.get(voice)?.prompt.is_some(),
            _ => false,
        };
        self.abilities.check(Ability::of(&request.mode, cloned))?;
        match &request.mode {
            Mode::Sft { .. } => {}
            Mode::Instruct { instruct_text, .. } => self.instruction(instruct_text).map(drop)?,
            Mode::ZeroShot { prompt_text, .. } => self.transcript(prompt_text).map(drop)?,
            Mode::InstructPrompt { instruct_text, .. } => self.instruction(instruct_text).map(drop)?,
            Mode::CrossLingual { .. } | Mode::Convert { .. } => {}
        }
        Ok(())
    }

    /// How text that streams in is laid out between the speech, if the model can read it so and the prompt allows it:
    /// its speech must be long enough to go on after its text.
    pub(super) fn interleaver(&self, voice: &Conditioning) -> Option<Interleaver> {
        let mix = self.abilities.mix()?;
        let (before, transcript) = match self.required_marker() {
            None => (&[][..], &voice.prompt_text[..]),
            Some(marker) => {
                let marker = marker.id?;
                let at = voice.prompt_text.iter().rposition(|&id| id == marker)?;
                voice.prompt_text.split_at(at + 1)
            }
        };
        if transcript.len() * mix.speech > voice.llm_speech.len() * mix.text {
            return None;
        }
        let opening = Opening {
            lead: [&[self.layout.sos_id], before].concat(),
            prompt_text: transcript.to_vec(),
            prompt_speech: voice.llm_speech.clone(),
            speech_offset: self.layout.speech_offset,
            task_id: self.layout.task_id,
        };
        Some(Interleaver::new(mix, opening))
    }

    /// Most speech tokens of a segment of `voice`: bounded, and with its prompt within what the flow can make.
    pub(super) fn most_speech_tokens(&self, voice: &FlowVoice) -> usize {
        let manifest = &self.manifest;
        let prompt = voice.feat.len() / manifest.mel.bins.max(1);
        let room = manifest.flow.max_frames().saturating_sub(prompt);
        let most = limits::SEGMENT_SPEECH_SECONDS * manifest.token_rate as usize;
        manifest.tokens_within(room).clamp(1, most.max(1))
    }

    /// What is to be spoken with `voice`: the checked segments, or the source's speech tokens in a voice conversion.
    pub fn script(&self, mode: &Mode, segments: Vec<Vec<i64>>, voice: &Conditioning) -> Result<Script> {
        let Mode::Convert { source, .. } = mode else {
            return Ok(Script::Text(segments));
        };
        let room = self.most_speech_tokens(&voice.flow) as f32 / self.manifest.token_rate as f32;
        let pieces = source.pieces(room.min(limits::PROMPT_MAX_SECONDS));
        let tokens = pieces.map(|piece| self.encoder.speech_tokens(piece));
        Ok(Script::Tokens(tokens.collect::<Result<_>>()?))
    }

    /// What the mode, the voice and the text of a request give the stages.
    pub fn condition(&self, mode: &Mode, text: &str) -> Result<Conditioning> {
        let conditioning = self.of_mode(mode)?;
        match mode {
            Mode::Convert { .. } => Ok(conditioning),
            _ => self.prompted(conditioning, text),
        }
    }

    /// A speaker without a prompt.
    pub fn of_embedding(&self, embedding: Vec<f32>) -> Result<Conditioning> {
        self.prompted(of_embedding(embedding), "")
    }

    /// With a prompt before it where the model requires one: the text's own, or else that of its training.
    fn prompted(&self, conditioning: Conditioning, text: &str) -> Result<Conditioning> {
        let Some(marker) = self.required_marker() else {
            return Ok(conditioning);
        };
        let given = conditioning.prompt_text;
        let (own, _) = self.own_prompt(text)?;
        let has_marker = marker.id.is_some_and(|id| given.contains(&id));
        let prompt_text = match (has_marker, own.is_empty()) {
            (true, _) => [given, own].concat(),
            (false, false) => [own, given].concat(),
            (false, true) => [self.text.tokens(&template::plain(&marker.text))?, given].concat(),
        };
        Ok(Conditioning {
            prompt_text,
            ..conditioning
        })
    }

    /// Text ids of the prompt that a text brings itself, and the text behind it.
    fn own_prompt<'t>(&self, text: &'t str) -> Result<(Vec<i64>, &'t str)> {
        match self.required_marker() {
            None => Ok((Vec::new(), text)),
            Some(marker) => {
                let (own, text) = self.text.own_prompt(text, &marker.text)?;
                let tokens = own.map(|own| self.text.tokens(own)).transpose()?;
                Ok((tokens.unwrap_or_default(), text))
            }
        }
    }

    /// The marker of a model that must find it in its text.
    fn required_marker(&self) -> Option<&SpecialToken> {
        self.manifest
            .end_of_prompt
            .as_ref()
            .filter(|marker| marker.required)
    }

    /// What mode and voice give (the `frontend_*` functions of cli/frontend.py).
    fn of_mode(&self, mode: &Mode) -> Result<Conditioning> {
        match mode {
            Mode::Sft { voice } => Ok(of_voice(&*self.voices.get(voice)?)),
            Mode::Instruct { voice, instruct_text } => {
                let voice = self.voices.get(voice)?;
                Ok(Conditioning {
                    prompt_text: self.instruction(instruct_text)?,
                    llm_speech: Vec::new(),
                    // It would pull against the instruction too.
                    llm_speaker: None,
                    ..of_voice(&voice)
                })
            }
            Mode::ZeroShot { prompt, prompt_text } => {
                let (_, prompt_text) = self.transcript(prompt_text)?;
                let features = self.features(prompt)?;
                Ok(Conditioning {
                    prompt_text,
                    llm_speech: features.speech_tokens.clone(),
                    ..of_features(&features)
                })
            }
            // The language model hears nothing of the prompt: its words are in another language.
            Mode::CrossLingual { prompt } => Ok(of_features(&*self.features(prompt)?)),
            Mode::Convert { target, .. } => match target {
                Target::Voice(voice) => Ok(of_voice(&*self.voices.get(voice)?)),
                Target::Prompt(prompt) => Ok(of_features(&*self.features(prompt)?)),
            },
            // The prompt's speech would pull against the instruction, so only the flow hears it.
            Mode::InstructPrompt {
                prompt,
                instruct_text,
            } => Ok(Conditioning {
                prompt_text: self.instruction(instruct_text)?,
                llm_speaker: None,
                ..of_features(&*self.features(prompt)?)
            }),
        }
    }

    fn instruction(&self, instruct_text: &str) -> Result<Vec<i64>> {
        let marker = self.manifest.end_of_prompt.as_ref();
        let text = match self.required_marker() {
            Some(marker) => self.text.marked_instruct_text(instruct_text, &marker.text)?,
            None => self
                .text
                .instruct_text(instruct_text, marker.map(|marker| marker.text.as_str()))?,
        };
        let tokens = self.text.tokens(&text)?;
        within("instruct_text", &tokens)?;
        Ok(tokens)
    }

    fn features(&self, audio: &PromptAudio) -> Result<Arc<PromptFeatures>> {
        let prepared = audio.prepared();
        self.prompts.get_or_make(&prepared.at_24k, || {
            self.encoder.encode(&prepared.at_16k, &prepared.at_24k)
        })
    }

    /// Text ids of a prompt's transcript; refused when they would leave no room for the text to speak.
    fn transcript(&self, prompt_text: &str) -> Result<(String, Vec<i64>)> {
        let text = match self.required_marker() {
            Some(marker) => self.text.marked_prompt_text(prompt_text, &marker.text)?,
            None => self.text.prompt_text(prompt_text)?,
        };
        let tokens = self.text.tokens(&text)?;
        within("prompt_text", &tokens)?;
        Ok((text, tokens))
    }

    /// Makes a voice of a recording.
    pub fn voice_of(&self, id: &str, name: &str, prompt_text: &str, audio: &PromptAudio) -> Result<Voice> {
        self.voices.check_id(id)?;
        let (text, text_tokens) = self.transcript(prompt_text)?;
        let features = self.features(audio)?;
        Ok(Voice {
            id: id.to_string(),
            name: name.to_string(),
            model: String::new(),
            embedding: features.embedding.clone(),
            prompt: Some(VoicePrompt {
                text,
                text_tokens,
                speech_tokens: features.speech_tokens.clone(),
                speech_feat: features.speech_feat.clone(),
            }),
        })
    }
}

fn within(field: &str, tokens: &[i64]) -> Result<()> {
    match tokens.len() {
        n if n <= limits::PROMPT_TEXT_TOKENS => Ok(()),
        n => Err(Error::Invalid(format!(
            "{field}: {n} text tokens; at most {} leave room for the text to speak",
            limits::PROMPT_TEXT_TOKENS
        ))),
    }
}

fn of_voice(voice: &Voice) -> Conditioning {
    let embedding = voice.embedding.clone();
    match &voice.prompt {
        None => of_embedding(embedding),
        Some(p) => Conditioning {
            prompt_text: p.text_tokens.clone(),
            // Speech whose words it does not know tells the language model nothing: only the flow hears it.
            llm_speech: match p.text_tokens.is_empty() {
                true => Vec::new(),
                false => p.speech_tokens.clone(),
            },
            llm_speaker: Some(embedding.clone()),
            flow: FlowVoice::new(p.speech_tokens.clone(), p.speech_feat.clone(), embedding).into(),
        },
    }
}

fn of_features(features: &PromptFeatures) -> Conditioning {
    let PromptFeatures {
        speech_tokens,
        speech_feat,
        embedding,
    } = features.clone();
    Conditioning {
        prompt_text: Vec::new(),
        llm_speech: Vec::new(),
        llm_speaker: Some(embedding.clone()),
        flow: FlowVoice::new(speech_tokens, speech_feat, embedding).into(),
    }
}

/// A speaker without a prompt.
fn of_embedding(embedding: Vec<f32>) -> Conditioning {
    Conditioning {
        prompt_text: Vec::new(),
        llm_speech: Vec::new(),
        llm_speaker: Some(embedding.clone()),
        flow: FlowVoice::new(Vec::new(), Vec::new(), embedding).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees that the flow hears every recording of a voice, the language model only one whose words it knows.
    #[test]
    fn speech_without_its_words_is_the_flows_alone() {
        let voice = |text_tokens: Vec<i64>| Voice {
            id: "anna".into(),
            name: "Anna".into(),
            model: String::new(),
            embedding: vec![0.5; 192],
            prompt: Some(VoicePrompt {
                text: String::new(),
                text_tokens,
                speech_tokens: vec![7, 8],
                speech_feat: vec![0.0; 4 * 80],
            }),
        };
        for (words, heard) in [(vec![1, 2], vec![7, 8]), (Vec::new(), Vec::new())] {
            let conditioning = of_voice(&voice(words.clone()));
            assert_eq!(conditioning.prompt_text, words);
            assert_eq!(conditioning.llm_speech, heard);
            assert_eq!(conditioning.flow.tokens, [7, 8]);
        }
    }
}
