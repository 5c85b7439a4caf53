//! Speakers that CosyVoice itself saved, imported for the models they belong to: the same voices that the exporter makes of
//! them.

use crate::support;
use cosyserve::model::Bundle;
use cosyserve::text::TextTokenizer;
use cosyserve::voice::{SpeakerFile, Voice, VoiceStore};
use ndarray_npy::NpzReader;

use crate::torch_writer::{self, Value};

/// The voices of a file for the model of a bundle, as they are saved.
fn voices(content: &[u8], bundle: &Bundle) -> Vec<cosyserve::Result<Voice>> {
    let tokenizer = TextTokenizer::from_file(&bundle.path(&bundle.manifest.tokenizer)).unwrap();
    let speakers = SpeakerFile::read(content, "file").unwrap().into_speakers();
    let voice =
        |speaker: cosyserve::voice::spk2info::SavedSpeaker| speaker.voice(&bundle.manifest, &tokenizer);
    speakers.into_iter().map(voice).collect()
}

/// Guarantees that an imported preset speaker is the built-in voice that the exporter made of the same file, for every
/// generation. (The three checkpoints have one file.)
#[test]
fn the_exporter_and_the_import_make_the_same_voices() {
    let content = std::fs::read(support::root("tests/fixtures/spk2info.pt")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for bundle in [support::bundle_1(), support::bundle(), support::bundle_3()] {
        let store = VoiceStore::open(&bundle, dir.path()).unwrap();
        let built_in = store.list();
        let imported = voices(&content, &bundle);
        assert_eq!(imported.len(), built_in.len());
        for (imported, built_in) in imported.into_iter().zip(built_in) {
            assert_eq!(imported.unwrap(), *built_in.voice);
        }
    }
}

/// Three speakers of a public deployment of CosyVoice2-0.5B, as a file in its naming.
fn real() -> (Vec<u8>, Vec<(&'static str, [usize; 3])>) {
    let path = support::root("tests/goldens/common/real_spk2info.npz");
    let mut npz = NpzReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut sizes = Vec::new();
    let speakers = ["001", "longxiaoxia", "xiaohe"].map(|id| {
        let mut ints = |name: &str| -> Vec<i64> {
            let array: ndarray::ArrayD<i32> = npz.by_name(&format!("{id}.{name}.npy")).unwrap();
            array.iter().map(|&value| value.into()).collect()
        };
        let (text, tokens) = (ints("prompt_text_token"), ints("speech_token"));
        let mut floats = |name: &str| -> Vec<f32> {
            let array: ndarray::ArrayD<f32> = npz.by_name(&format!("{id}.{name}.npy")).unwrap();
            array.iter().copied().collect()
        };
        let (feat, embedding) = (floats("speech_feat"), floats("embedding"));
        sizes.push((id, [text.len(), tokens.len(), feat.len()]));
        let speaker = Value::dict([
            ("prompt_text_token", Value::ints(&[1, text.len()], &text)),
            ("speech_token", Value::ints(&[1, tokens.len()], &tokens)),
            ("speech_feat", Value::floats(&[1, feat.len() / 80, 80], &feat)),
            ("embedding", Value::floats(&[1, embedding.len()], &embedding)),
        ]);
        (id, speaker)
    });
    (torch_writer::file(&Value::dict(speakers)), sizes)
}

/// Guarantees that real speakers become whole voices of their own generation, survive their files, and are refused in
/// words by others.
#[test]
fn real_speakers_are_voices_of_their_model_only() {
    let (content, sizes) = real();
    let bundle = support::bundle();
    let dir = tempfile::tempdir().unwrap();
    let store = VoiceStore::open(&bundle, dir.path()).unwrap();
    for (voice, (id, [text, tokens, feat])) in voices(&content, &bundle).into_iter().zip(&sizes) {
        let saved = store.save(voice.unwrap()).unwrap().voice;
        let prompt = saved.prompt.as_ref().unwrap();
        assert_eq!(&saved.id, id);
        let have = [
            prompt.text_tokens.len(),
            prompt.speech_tokens.len(),
            prompt.speech_feat.len(),
        ];
        assert_eq!(have, [*text, *tokens, *feat], "{id}");
        assert_eq!(prompt.speech_feat.len(), prompt.speech_tokens.len() * 2 * 80);
        let reopened = VoiceStore::open(&bundle, dir.path()).unwrap();
        assert_eq!(reopened.get(id).unwrap(), saved);
    }
    for voice in voices(&content, &support::bundle_1()) {
        let error = voice.unwrap_err().to_string();
        assert!(error.contains("it belongs to another model than"), "{error}");
    }
}
