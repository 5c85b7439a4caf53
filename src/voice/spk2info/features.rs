//! What a `spk2info.pt` says of each speaker.
//!
//! Three namings occur: `embedding` alone (preset speakers); what the reference saves for a zero-shot speaker
//! (`prompt_text`, `flow_prompt_speech_token`, `prompt_speech_feat`, `flow_embedding`, each with a leading axis of 1); and
//! an older deployment's (`prompt_text_token`, `speech_token`, `speech_feat`, `embedding`).

use super::archive::{Archive, Array};
use super::dtype::Element;
use super::pickle::Pickle;
use super::value::{Node, Refusal};
use crate::limits;

const EMBEDDING: [&str; 3] = ["flow_embedding", "embedding", "llm_embedding"];
const TEXT_TOKENS: [&str; 2] = ["prompt_text", "prompt_text_token"];
const SPEECH_TOKENS: [&str; 3] = [
    "flow_prompt_speech_token",
    "llm_prompt_speech_token",
    "speech_token",
];
const SPEECH_FEAT: [&str; 2] = ["prompt_speech_feat", "speech_feat"];

/// A speaker as it was saved; nothing is checked against a model yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Speaker embedding, finite numbers.
    pub embedding: Vec<f32>,
    /// The recording it was made from; `None`: a preset speaker.
    pub prompt: Option<PromptFeatures>,
}

/// A prompt as it was saved.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptFeatures {
    /// Text ids of its transcript; empty where none was given.
    pub text_tokens: Vec<i64>,
    /// Its speech tokens.
    pub speech_tokens: Vec<i64>,
    /// Its mel [frames, bins], row-major, finite numbers.
    pub speech_feat: Vec<f32>,
    /// Width of the mel.
    pub bins: usize,
}

/// A speaker's id and features, or why these are not whole.
pub type Saved = (String, Result<Features, Refusal>);

/// Ids and features of all speakers, in the file's order.
///
/// # Errors
/// When the file as a whole cannot be read. A speaker that is not whole is an error of its own.
pub fn speakers(archive: &mut Archive<'_>) -> Result<Vec<Saved>, Refusal> {
    let pickle = archive.pickle()?;
    let Node::Dict(speakers) = pickle.root() else {
        return Err("it is not a dictionary of speakers".into());
    };
    if speakers.is_empty() {
        return Err("it holds no speakers".into());
    }
    if speakers.len() > limits::IMPORT_VOICES {
        let (count, most) = (speakers.len(), limits::IMPORT_VOICES);
        return Err(format!("it holds {count} speakers; at most {most} are read"));
    }
    let speaker = |&(id, value)| {
        let id = match pickle.get(id) {
            Node::Text(id) => id.clone(),
            Node::Int(id) => id.to_string(),
            _ => return Err("a speaker has neither a string nor a number as its id".into()),
        };
        let entry = Entry {
            pickle: &pickle,
            value: pickle.get(value),
        };
        Ok((id, entry.features(archive)))
    };
    speakers.iter().map(speaker).collect()
}

struct Entry<'p> {
    pickle: &'p Pickle,
    value: &'p Node,
}

impl Entry<'_> {
    fn features(&self, archive: &mut Archive<'_>) -> Result<Features, Refusal> {
        if !matches!(self.value, Node::Dict(_)) {
            return Err("it is not a dictionary".into());
        }
        let (name, embedding) = self
            .find(archive, &EMBEDDING)?
            .ok_or_else(|| format!("it has no tensor {}", EMBEDDING.join(" or ")))?;
        let embedding = floats(name, row(name, embedding)?)?;
        let speech = self.find(archive, &SPEECH_TOKENS)?;
        let feat = self.find(archive, &SPEECH_FEAT)?;
        let prompt = match (speech, feat) {
            (None, None) => None,
            (Some(_), None) => return Err("it has speech tokens but no mel (prompt_speech_feat)".into()),
            (None, Some(_)) => {
                return Err("it has a mel but no speech tokens (flow_prompt_speech_token)".into());
            }
            (Some((tokens_name, tokens)), Some((feat_name, feat))) => {
                let bins = feat.shape.last().copied().unwrap_or_default();
                let text_tokens = match self.find(archive, &TEXT_TOKENS)? {
                    None => Vec::new(),
                    Some((name, tokens)) => ints(name, row(name, tokens)?)?,
                };
                Some(PromptFeatures {
                    text_tokens,
                    speech_tokens: ints(tokens_name, row(tokens_name, tokens)?)?,
                    speech_feat: floats(feat_name, table(feat_name, feat)?)?,
                    bins,
                })
            }
        };
        Ok(Features { embedding, prompt })
    }

    /// The first of these tensors that is there and not empty.
    fn find(
        &self,
        archive: &mut Archive<'_>,
        names: &[&'static str],
    ) -> Result<Option<(&'static str, Array)>, Refusal> {
        for &name in names {
            if let Some(Node::Tensor(tensor)) = self.item(name)
                && !tensor.size.contains(&0)
            {
                let array = archive.array(self.pickle, tensor);
                return array
                    .map(|array| Some((name, array)))
                    .map_err(|why| format!("{name}: {why}"));
            }
        }
        Ok(None)
    }

    fn item(&self, name: &str) -> Option<&Node> {
        let Node::Dict(items) = self.value else {
            return None;
        };
        let named = |&&(key, _): &&_| matches!(self.pickle.get(key), Node::Text(key) if key == name);
        items
            .iter()
            .rev()
            .find(named)
            .map(|&(_, value)| self.pickle.get(value))
    }
}

/// The elements of [n] or [1, n].
fn row(name: &str, array: Array) -> Result<Vec<Element>, Refusal> {
    match array.shape[..] {
        [_] | [1, _] => Ok(array.elements),
        _ => Err(wrong_shape(name, &array.shape)),
    }
}

/// The elements of [n, m] or [1, n, m].
fn table(name: &str, array: Array) -> Result<Vec<Element>, Refusal> {
    match array.shape[..] {
        [_, _] | [1, _, _] => Ok(array.elements),
        _ => Err(wrong_shape(name, &array.shape)),
    }
}

fn wrong_shape(name: &str, shape: &[usize]) -> Refusal {
    format!("{name} has shape {shape:?}, which is not one speaker's")
}

fn floats(name: &str, elements: Vec<Element>) -> Result<Vec<f32>, Refusal> {
    let float = |element| match element {
        Element::Float(value) if value.is_finite() => Ok(value),
        Element::Float(value) => Err(format!("{name} holds {value}")),
        Element::Int(_) => Err(format!("{name} holds whole numbers, not floats")),
    };
    elements.into_iter().map(float).collect()
}

fn ints(name: &str, elements: Vec<Element>) -> Result<Vec<i64>, Refusal> {
    let int = |element| match element {
        Element::Int(value) => Ok(value),
        Element::Float(_) => Err(format!("{name} holds floats, not whole numbers")),
    };
    elements.into_iter().map(int).collect()
}
