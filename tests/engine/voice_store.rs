//! Saved voices on disk: they belong to the model that made them.

use crate::support;
use cosyserve::voice::{Voice, VoiceStore};

fn voice(id: &str) -> Voice {
    Voice {
        id: id.into(),
        name: id.into(),
        model: String::new(),
        embedding: vec![0.5; 192],
        prompt: None,
    }
}

/// Guarantees that a saved voice comes back with the same model, also after its precision changed, and is left out
/// (but not deleted) with a model whose tokens mean something else.
#[test]
fn a_voice_is_listed_for_its_own_model_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut bundle = support::bundle();
    let saved = |bundle: &cosyserve::model::Bundle| {
        let store = VoiceStore::open(bundle, dir.path()).unwrap();
        store
            .list()
            .iter()
            .any(|known| known.voice.id == "anna" && !known.built_in)
    };
    VoiceStore::open(&bundle, dir.path())
        .unwrap()
        .save(voice("anna"))
        .unwrap();
    bundle.manifest.precision = "int8".into();
    assert!(saved(&bundle));
    bundle.manifest.speech_tokenizer.sha256 = "0".repeat(64);
    assert!(!saved(&bundle));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "the file stays"
    );
}

/// Guarantees that a rename is in the file, changes nothing else, and that what is removed stays removed.
#[test]
fn a_saved_voice_is_renamed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = support::bundle();
    let open = || VoiceStore::open(&bundle, dir.path()).unwrap();
    let store = open();
    let saved = store.save(voice("anna")).unwrap();
    let renamed = store.rename("anna", "Anna (Berlin)").unwrap();
    assert_eq!(
        (renamed.voice.name.as_str(), renamed.revision),
        ("Anna (Berlin)", saved.revision)
    );
    let reopened = open().get("anna").unwrap();
    assert_eq!(reopened, renamed.voice);
    assert_eq!(reopened.embedding, saved.voice.embedding);
    assert_ne!(store.save(voice("anna")).unwrap().revision, saved.revision);

    assert_eq!(store.remove("anna").unwrap().voice.id, "anna");
    assert!(store.get("anna").is_err() && open().get("anna").is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // A file that somebody else took away is no reason to keep the voice.
    store.save(voice("anna")).unwrap();
    let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(file.path()).unwrap();
    assert!(store.remove("anna").is_ok() && store.get("anna").is_err());
}

#[test]
fn built_in_and_unknown_voices_are_neither_renamed_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = VoiceStore::open(&support::bundle(), dir.path()).unwrap();
    let built_in = store.list()[0].voice.id.clone();
    for (id, says) in [
        (built_in.as_str(), "is a built-in voice and cannot be "),
        ("nobody", "no speaker \"nobody\""),
    ] {
        for error in [store.rename(id, "x").unwrap_err(), store.remove(id).unwrap_err()] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }
    assert_ne!(store.get(&built_in).unwrap().name, "x");
}
