//! Saved voices on disk: they belong to the model that made them.
mod support;

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
