//! The known voices: those of the bundle and those saved in a directory, all held in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};

use super::{Voice, file};
use crate::model::Bundle;
use crate::model::bundle::hex;
use crate::{Error, Result, limits};

/// A voice of the store.
#[derive(Debug, Clone)]
pub struct Known {
    /// The voice.
    pub voice: Arc<Voice>,
    /// Comes with the model (true) or was saved (false).
    pub built_in: bool,
    /// Another one whenever the id sounds another way: two voices saved under one id differ in it, a renamed one has
    /// what it had.
    pub revision: u64,
}

/// Built-in and saved voices.
pub struct VoiceStore {
    built_in: Vec<Arc<Voice>>,
    saved: RwLock<BTreeMap<String, Known>>,
    revisions: AtomicU64,
    dir: PathBuf,
    bins: usize,
    model: String,
    /// Serialises writers, so that readers never wait for a disk.
    writing: Mutex<()>,
}

impl VoiceStore {
    /// Reads the bundle's voices and those saved in `dir` (made when missing). A damaged saved file is logged and
    /// left alone; a damaged built-in one is an error.
    pub fn open(bundle: &Bundle, dir: &Path) -> Result<Self> {
        let built_in = bundle
            .manifest
            .voices
            .iter()
            .map(|entry| {
                let mut voice = file::read(&bundle.path(&entry.file))?;
                (voice.id, voice.name) = (entry.id.clone(), entry.name.clone());
                Ok(Arc::new(voice))
            })
            .collect::<Result<_>>()?;
        std::fs::create_dir_all(dir).map_err(|e| Error::internal(&format!("making {}", dir.display()), e))?;
        let store = Self {
            built_in,
            saved: RwLock::default(),
            revisions: AtomicU64::default(),
            dir: dir.to_path_buf(),
            bins: bundle.manifest.mel.bins,
            model: bundle.manifest.voice_space(),
            writing: Mutex::new(()),
        };
        store.load_saved()?;
        Ok(store)
    }

    fn load_saved(&self) -> Result<()> {
        let entries = std::fs::read_dir(&self.dir)
            .map_err(|e| Error::internal(&format!("reading {}", self.dir.display()), e))?;
        let mut saved = self.saved.write();
        for path in entries.flatten().map(|e| e.path()) {
            if file::is_unfinished(&path) {
                // Its writer was killed; a voice counts only from its renaming on.
                let _ = std::fs::remove_file(&path);
            }
            if path.extension().is_none_or(|e| e != "safetensors") {
                continue;
            }
            match file::read(&path) {
                Ok(voice) if voice.model != self.model => {
                    tracing::warn!(voice = voice.id, "saved voice belongs to another model; left out");
                }
                Ok(voice) => {
                    saved.insert(voice.id.clone(), self.new_revision(voice));
                }
                Err(error) => tracing::warn!(%error, "saved voice cannot be read; left out"),
            }
        }
        Ok(())
    }

    /// The voice of that id.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`].
    pub fn get(&self, id: &str) -> Result<Arc<Voice>> {
        self.known(id).map(|known| known.voice)
    }

    /// Likewise, with what the store knows of it.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`].
    pub fn known(&self, id: &str) -> Result<Known> {
        let built_in = || self.built_in.iter().find(|v| v.id == id).map(of_bundle);
        let saved = || self.saved.read().get(id).cloned();
        built_in().or_else(saved).ok_or_else(|| {
            let shown: String = id.chars().take(limits::VOICE_ID_CHARS).collect();
            Error::UnknownVoice(format!(
                "spk_id: no speaker \"{shown}\"; GET /available_spks lists them"
            ))
        })
    }

    /// All voices: the bundle's in its order, then the saved ones by id.
    pub fn list(&self) -> Vec<Known> {
        let saved = self.saved.read();
        let built_in = self.built_in.iter().map(of_bundle);
        built_in.chain(saved.values().cloned()).collect()
    }

    /// Whether `id` may be saved: a well-formed id that shadows no built-in voice, and room for one more.
    pub fn check_id(&self, id: &str) -> Result<()> {
        let count = id.chars().count();
        if count == 0 || count > limits::VOICE_ID_CHARS {
            return Err(Error::Invalid(format!(
                "spk_id: {count} characters; an id has 1 to {}",
                limits::VOICE_ID_CHARS
            )));
        }
        if id.trim() != id {
            return Err(Error::invalid(
                "spk_id: it must not begin or end with white space",
            ));
        }
        if id.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) || matches!(id, "." | "..") {
            return Err(Error::invalid(
                "spk_id: path separators and control characters are not allowed",
            ));
        }
        if self.built_in.iter().any(|v| v.id == id) {
            return Err(Error::Invalid(format!(
                "spk_id: \"{id}\" is a built-in voice and cannot be replaced"
            )));
        }
        let saved = self.saved.read();
        if !saved.contains_key(id) && saved.len() >= limits::SAVED_VOICES {
            return Err(Error::Invalid(format!(
                "spk_id: {} voices are saved, the most",
                limits::SAVED_VOICES
            )));
        }
        Ok(())
    }

    /// Saves a voice, replacing one of its id. Blocks on the disk.
    pub fn save(&self, mut voice: Voice) -> Result<Known> {
        let _writer = self.writing.lock();
        self.check_id(&voice.id)?;
        voice.model.clone_from(&self.model);
        let known = self.new_revision(voice);
        self.put(known.clone())?;
        Ok(known)
    }

    /// Gives a saved voice another name to show. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`]; [`Error::Invalid`] for a built-in voice.
    pub fn rename(&self, id: &str, name: &str) -> Result<Known> {
        let _writer = self.writing.lock();
        let old = self.changeable(id, "renamed")?;
        let voice = Voice {
            name: name.to_owned(),
            ..(*old.voice).clone()
        };
        let renamed = Known {
            voice: Arc::new(voice),
            ..old
        };
        self.put(renamed.clone())?;
        Ok(renamed)
    }

    /// Removes a saved voice. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::UnknownVoice`]; [`Error::Invalid`] for a built-in voice.
    pub fn remove(&self, id: &str) -> Result<Known> {
        let _writer = self.writing.lock();
        let old = self.changeable(id, "removed")?;
        file::remove(&self.file(id))?;
        self.saved.write().remove(id);
        Ok(old)
    }

    /// Writes a voice, then makes it known.
    fn put(&self, known: Known) -> Result<()> {
        let id = known.voice.id.clone();
        file::write(&self.file(&id), &known.voice, self.bins)?;
        self.saved.write().insert(id, known);
        Ok(())
    }

    /// A voice that may be `changed`: a saved one.
    fn changeable(&self, id: &str, changed: &str) -> Result<Known> {
        let known = self.known(id)?;
        if known.built_in {
            return Err(Error::Invalid(format!(
                "spk_id: \"{id}\" is a built-in voice and cannot be {changed}"
            )));
        }
        Ok(known)
    }

    fn new_revision(&self, voice: Voice) -> Known {
        Known {
            voice: Arc::new(voice),
            built_in: false,
            revision: self.revisions.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Ids are any script, so a file is named by a hash of its id; the id itself is inside.
    fn file(&self, id: &str) -> PathBuf {
        let digest = Sha256::digest(id.as_bytes());
        self.dir.join(format!("{}.safetensors", hex(&digest[..16])))
    }
}

fn of_bundle(voice: &Arc<Voice>) -> Known {
    Known {
        voice: voice.clone(),
        built_in: true,
        revision: 0,
    }
}
