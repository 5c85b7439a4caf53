//! Voice files: one safetensors file a voice (tensors and metadata in `onnx/BUNDLE.md`).

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Voice, VoicePrompt};
use crate::{Error, Result};

/// Largest voice file read: 30 s of prompt are about 0.5 MB.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a voice.
pub fn read(path: &Path) -> Result<Voice> {
    let failed = |e: String| Error::Internal(format!("voice file {}: {e}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > MAX_BYTES {
        return Err(failed(format!(
            "{size} bytes are more than the limit of {MAX_BYTES}"
        )));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| failed(e.to_string()))?;
    let none = HashMap::new();
    let notes = header.metadata().as_ref().unwrap_or(&none);
    let note = |key: &str| notes.get(key).cloned();
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| failed(e.to_string()))?;
    let floats = |name: &str| -> Result<Vec<f32>> {
        let tensor = tensors.tensor(name).map_err(|e| failed(e.to_string()))?;
        match tensor.dtype() {
            Dtype::F32 => Ok(tensor
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect()),
            other => Err(failed(format!("{name} is {other:?}, not f32"))),
        }
    };
    let ints = |name: &str| -> Result<Vec<i64>> {
        let tensor = tensors.tensor(name).map_err(|e| failed(e.to_string()))?;
        match tensor.dtype() {
            Dtype::I32 => Ok(tensor
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| i64::from(i32::from_le_bytes(b)))
                .collect()),
            other => Err(failed(format!("{name} is {other:?}, not i32"))),
        }
    };
    let prompt = match tensors.tensor("speech_tokens") {
        Err(_) => None,
        Ok(_) => Some(VoicePrompt {
            text: note("prompt_text").unwrap_or_default(),
            text_tokens: ints("prompt_text_tokens")?,
            speech_tokens: ints("speech_tokens")?,
            speech_feat: floats("speech_feat")?,
        }),
    };
    let id = note("id").ok_or_else(|| failed("it names no id".into()))?;
    Ok(Voice {
        model: note("model").unwrap_or_default(),
        name: note("name").unwrap_or_else(|| id.clone()),
        id,
        embedding: floats("embedding")?,
        prompt,
    })
}

/// How the name of a file that is being written begins and ends.
const UNFINISHED: (&str, &str) = (".new-", ".tmp");

/// Whether this is what a writer left that did not finish.
pub fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(UNFINISHED.0) && name.ends_with(UNFINISHED.1))
}

/// Writes a voice so that `path` holds either the old file or the whole new one, also after a crash: a temporary
/// file in the same directory, flushed to disk, renamed over it, and the directory flushed.
pub fn write(path: &Path, voice: &Voice, bins: usize) -> Result<()> {
    let failed = |e: String| Error::Internal(format!("saving voice {}: {e}", voice.id));
    let bytes = serialize(voice, bins).map_err(|e| failed(e.to_string()))?;
    let dir = path
        .parent()
        .ok_or_else(|| failed("it has no directory".into()))?;
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED.0)
        .suffix(UNFINISHED.1)
        .tempfile_in(dir)
        .map_err(|e| failed(e.to_string()))?;
    file.write_all(&bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|e| failed(e.to_string()))?;
    file.persist(path).map_err(|e| failed(e.to_string()))?;
    flush(dir).map_err(|e| failed(e.to_string()))
}

/// Removes a voice file, so that it is gone after a crash too. One that is gone already is no error.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    removed
        .and_then(|()| path.parent().map_or(Ok(()), flush))
        .map_err(|e| Error::internal(&format!("removing {}", path.display()), e))
}

/// Names in a directory are on disk only after this.
fn flush(dir: &Path) -> std::io::Result<()> {
    std::fs::File::open(dir).and_then(|d| d.sync_all())
}

fn serialize(voice: &Voice, bins: usize) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let f32s = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let i32s = |v: &[i64]| {
        v.iter()
            .flat_map(|&x| (x as i32).to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let mut parts = vec![(
        "embedding",
        Dtype::F32,
        vec![voice.embedding.len()],
        f32s(&voice.embedding),
    )];
    let mut notes = HashMap::from([
        ("format".to_string(), "1".to_string()),
        ("id".to_string(), voice.id.clone()),
        ("name".to_string(), voice.name.clone()),
        ("model".to_string(), voice.model.clone()),
    ]);
    if let Some(p) = &voice.prompt {
        notes.insert("prompt_text".to_string(), p.text.clone());
        parts.push((
            "prompt_text_tokens",
            Dtype::I32,
            vec![p.text_tokens.len()],
            i32s(&p.text_tokens),
        ));
        parts.push((
            "speech_tokens",
            Dtype::I32,
            vec![p.speech_tokens.len()],
            i32s(&p.speech_tokens),
        ));
        let shape = vec![p.speech_feat.len() / bins.max(1), bins];
        parts.push(("speech_feat", Dtype::F32, shape, f32s(&p.speech_feat)));
    }
    let views = parts
        .iter()
        .map(|(name, dtype, shape, data)| Ok((*name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize(views, Some(notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_survives_its_file_and_a_broken_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.safetensors");
        let mut voice = Voice {
            id: "张三".into(),
            model: "m".into(),
            name: "Zhang".into(),
            embedding: vec![0.5; 4],
            prompt: None,
        };
        write(&path, &voice, 2).unwrap();
        assert_eq!(read(&path).unwrap(), voice);
        voice.prompt = Some(VoicePrompt {
            text: "你好".into(),
            text_tokens: vec![1, 2],
            speech_tokens: vec![7],
            speech_feat: vec![1.0, -2.0, 3.0, 4.5],
        });
        write(&path, &voice, 2).unwrap();
        assert_eq!(read(&path).unwrap(), voice);
        std::fs::write(&path, b"not a voice").unwrap();
        assert!(read(&path).is_err());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
