//! Whole files: what is read of them, what is refused, and which voices fit a model.

use std::path::Path;

use half::{bf16, f16};
use zip::CompressionMethod;

use self::torch_writer::{Tensor, Value, file, zero_shot_speaker, zip_of};
use super::features::PromptFeatures;
use super::*;
use crate::model::Bundle;

#[path = "../../../tests/support/torch_writer.rs"]
pub(crate) mod torch_writer;

/// The file's only speaker.
fn speaker(content: &[u8]) -> Result<Features, Refusal> {
    let speakers = SpeakerFile::read(content, "file").unwrap().into_speakers();
    assert_eq!(speakers.len(), 1);
    speakers[0].features.clone()
}

fn one(value: Value) -> Vec<u8> {
    file(&Value::dict([("a", value)]))
}

/// Why a file is refused as a whole.
fn refusal(content: &[u8]) -> String {
    match SpeakerFile::read(content, "file") {
        Err(Error::Invalid(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn refused(content: &[u8], says: &str) {
    let why = refusal(content);
    assert!(why.starts_with("file: ") && why.contains(says), "{why}");
}

#[test]
fn a_file_that_torch_wrote_is_read() {
    let content = include_bytes!("../../../tests/fixtures/spk2info.pt");
    let speakers = SpeakerFile::read(content, "file").unwrap().into_speakers();
    let ids: Vec<&str> = speakers.iter().map(SavedSpeaker::id).collect();
    assert_eq!(ids, ["中文女", "英文男"]);
    let embeddings: Vec<_> = speakers.iter().map(|s| s.features.clone().unwrap()).collect();
    assert!(
        embeddings
            .iter()
            .all(|f| f.embedding.len() == 192 && f.prompt.is_none())
    );
    assert_ne!(embeddings[0], embeddings[1]);
}

#[test]
fn every_naming_of_a_speaker_is_read() {
    let feat: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let want = Features {
        embedding: vec![0.5, -1.0],
        prompt: Some(PromptFeatures {
            text_tokens: vec![1, 300],
            speech_tokens: vec![7, 8],
            speech_feat: feat.clone(),
            bins: 2,
        }),
    };
    let reference = zero_shot_speaker(&[0.5, -1.0], &[1, 300], &[7, 8], &feat, 2);
    assert_eq!(speaker(&one(reference)).unwrap(), want);
    let older = Value::dict([
        ("prompt_text_token", Value::ints(&[2], &[1, 300])),
        ("speech_token", Value::ints(&[2], &[7, 8])),
        ("speech_feat", Value::floats(&[4, 2], &feat)),
        ("embedding", Value::floats(&[2], &[0.5, -1.0])),
    ]);
    assert_eq!(speaker(&one(older)).unwrap(), want);
    let preset = Value::dict([("embedding", Value::floats(&[1, 2], &[0.5, -1.0]))]);
    let preset = speaker(&one(preset)).unwrap();
    assert_eq!((preset.embedding, preset.prompt), (want.embedding, None));
    let numbered = Value::Dict(vec![(Value::Int(7), Value::Int(1))]);
    let numbered = SpeakerFile::read(&file(&numbered), "file")
        .unwrap()
        .into_speakers();
    assert_eq!(numbered[0].id(), "7");
    assert_eq!(numbered[0].features, Err("it is not a dictionary".into()));
}

#[test]
fn every_element_type_is_read() {
    let floats = |storage, bytes: &[u8]| {
        let tensor = Value::tensor(storage, &[1, 2], bytes.to_vec());
        speaker(&one(Value::dict([("embedding", tensor)])))
    };
    let two = |a: &[u8], b: &[u8]| [a, b].concat();
    let want = vec![1.5, -3.0];
    for (storage, bytes) in [
        (
            "DoubleStorage",
            two(&1.5_f64.to_le_bytes(), &(-3.0_f64).to_le_bytes()),
        ),
        (
            "FloatStorage",
            two(&1.5_f32.to_le_bytes(), &(-3.0_f32).to_le_bytes()),
        ),
        (
            "HalfStorage",
            two(
                &f16::from_f32(1.5).to_le_bytes(),
                &f16::from_f32(-3.0).to_le_bytes(),
            ),
        ),
        (
            "BFloat16Storage",
            two(
                &bf16::from_f32(1.5).to_le_bytes(),
                &bf16::from_f32(-3.0).to_le_bytes(),
            ),
        ),
    ] {
        assert_eq!(floats(storage, &bytes).unwrap().embedding, want, "{storage}");
    }
    assert!(
        floats("LongStorage", &[0; 16])
            .unwrap_err()
            .contains("whole numbers")
    );
    let nan = two(&f32::NAN.to_le_bytes(), &1.0_f32.to_le_bytes());
    assert_eq!(floats("FloatStorage", &nan).unwrap_err(), "embedding holds NaN");
    for (storage, width) in [
        ("LongStorage", 8),
        ("IntStorage", 4),
        ("ShortStorage", 2),
        ("CharStorage", 1),
        ("ByteStorage", 1),
        ("BoolStorage", 1),
    ] {
        let mut bytes = vec![0; 2 * width];
        bytes[width] = 1;
        let prompted = Value::dict([
            ("embedding", Value::floats(&[1], &[0.5])),
            ("speech_token", Value::tensor(storage, &[1, 2], bytes)),
            ("speech_feat", Value::floats(&[1, 1, 1], &[0.5])),
        ]);
        let prompt = speaker(&one(prompted)).unwrap().prompt.unwrap();
        assert_eq!(prompt.speech_tokens, [0, 1], "{storage}");
        assert!(prompt.text_tokens.is_empty());
    }
}

#[test]
fn views_of_a_storage_are_followed() {
    let bytes = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let view = |offset: i64, size: [i64; 2], stride: [i64; 2]| Tensor {
        storage: "FloatStorage",
        elements: 12,
        bytes: Vec::clone(&bytes),
        offset,
        size: size.to_vec(),
        stride: stride.to_vec(),
    };
    let read = |tensor: Tensor| {
        let prompted = Value::dict([
            ("embedding", Value::floats(&[1], &[0.5])),
            ("speech_token", Value::ints(&[1], &[1])),
            ("speech_feat", Value::Tensor(tensor)),
        ]);
        speaker(&one(prompted)).map(|f| f.prompt.unwrap().speech_feat)
    };
    let transposed = [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0];
    assert_eq!(read(view(0, [4, 3], [1, 4])).unwrap(), transposed);
    assert_eq!(read(view(5, [2, 2], [4, 1])).unwrap(), [5.0, 6.0, 9.0, 10.0]);
    assert_eq!(
        read(view(1, [3, 2], [0, 1])).unwrap(),
        [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    );
    for beyond in [
        view(1, [3, 4], [4, 1]),
        view(12, [1, 1], [1, 1]),
        view(0, [2, 2], [i64::MAX, 1]),
    ] {
        assert!(read(beyond).unwrap_err().contains("beyond its storage"));
    }
    // A million elements out of one: a file cannot grow without its bytes.
    assert!(
        read(view(0, [1 << 11, 1 << 11], [0, 0]))
            .unwrap_err()
            .contains("more than 1048576 elements")
    );
    let mut short = view(0, [3, 4], [4, 1]);
    short.bytes.truncate(40);
    assert!(read(short).unwrap_err().contains("shorter than its pickle says"));
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let feat = || Value::floats(&[1, 2, 1], &[0.0; 2]);
    let embedding = || Value::floats(&[1, 2], &[0.5; 2]);
    for (items, says) in [
        (
            vec![("prompt_text", Value::ints(&[1], &[1]))],
            "no tensor flow_embedding or embedding",
        ),
        (
            vec![("embedding", Value::floats(&[2, 2], &[0.5; 4]))],
            "embedding has shape [2, 2]",
        ),
        (
            vec![("embedding", Value::List(vec![Value::Float(0.5)]))],
            "no tensor",
        ),
        (
            vec![("embedding", embedding()), ("speech_feat", feat())],
            "no speech tokens",
        ),
        (
            vec![
                ("embedding", embedding()),
                ("speech_token", Value::ints(&[1], &[1])),
            ],
            "no mel",
        ),
        (
            vec![
                ("embedding", embedding()),
                ("speech_feat", feat()),
                ("speech_token", Value::floats(&[1], &[1.0])),
            ],
            "speech_token holds floats",
        ),
        (
            vec![
                ("embedding", embedding()),
                ("speech_feat", embedding()),
                ("speech_token", Value::ints(&[1, 1, 1], &[1])),
            ],
            "speech_token has shape [1, 1, 1]",
        ),
    ] {
        let why = speaker(&one(Value::dict(items))).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn what_is_no_such_file_is_told() {
    refused(b"", "not a torch file");
    refused(b"RIFF....WAVE", "not a torch file");
    refused(&[0x80, 2, b'}', b'.'], "before PyTorch 1.6");
    refused(b"PK\x03\x04 and no more", "damaged");
    let entry = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
    refused(
        &zip_of(&[entry("a.txt", b"hi")], CompressionMethod::Stored),
        "without a data.pkl",
    );
    let two = [entry("a/data.pkl", b"}."), entry("b/data.pkl", b"}.")];
    refused(&zip_of(&two, CompressionMethod::Stored), "without a data.pkl");
    let big = [entry("a/data.pkl", b"}."), entry("a/byteorder", b"big")];
    refused(&zip_of(&big, CompressionMethod::Stored), "big-endian");
    refused(&file(&Value::List(Vec::new())), "not a dictionary of speakers");
    refused(&file(&Value::dict([])), "no speakers");
    refused(&file(&Value::Dict(vec![(Value::None, Value::None)])), "as its id");
    refused(
        &one(Value::Global("os", "system")),
        "refused: it asks for os.system",
    );
}

#[test]
fn sizes_are_bounded() {
    let long = vec![0; limits::IMPORT_BYTES + 1];
    assert!(
        matches!(SpeakerFile::read(&long, "file"), Err(Error::TooLarge(text)) if text.starts_with("file: "))
    );
    let entry = |name: String, content: Vec<u8>| (name, content);
    let pickle = entry("a/data.pkl".into(), vec![b'N'; limits::PICKLE_BYTES + 1]);
    refused(&zip_of(&[pickle], CompressionMethod::Deflated), "at most 8388608");
    let many = (0..=limits::ARCHIVE_ENTRIES).map(|i| entry(format!("a/data/{i}"), Vec::new()));
    let many: Vec<_> = many.collect();
    refused(
        &zip_of(&many, CompressionMethod::Stored),
        "entries; at most 32768",
    );
    let speakers = (0..=limits::IMPORT_VOICES as i64).map(|i| (Value::Int(i), Value::None));
    refused(
        &file(&Value::Dict(speakers.collect())),
        "1001 speakers; at most 1000",
    );
}

/// Guarantees that a small file cannot unpack to more than its bound, however often it names its records.
#[test]
fn a_file_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0; 3 << 20];
    let speakers = (0..50).map(|i| {
        let mut tensor = Value::tensor("ByteStorage", &[1, 4], zeros.clone());
        if let Value::Tensor(tensor) = &mut tensor {
            tensor.elements = zeros.len();
        }
        (Value::Int(i), Value::dict([("embedding", tensor)]))
    });
    let (pickle, records) = torch_writer::pickle(&Value::Dict(speakers.collect()));
    let mut entries = vec![("a/data.pkl".to_owned(), pickle)];
    let record = |(i, bytes)| (format!("a/data/{i}"), bytes);
    entries.extend(records.into_iter().enumerate().map(record));
    let bomb = zip_of(&entries, CompressionMethod::Deflated);
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let speakers = SpeakerFile::read(&bomb, "file").unwrap().into_speakers();
    let told: Vec<_> = speakers.iter().map(|s| s.features.clone().unwrap_err()).collect();
    assert!(told[0].contains("whole numbers"), "{}", told[0]);
    assert!(told[49].contains("unpacked it is larger than"), "{}", told[49]);
}

#[test]
fn compressed_and_damaged_records() {
    let whole = one(zero_shot_speaker(&[0.5; 4], &[1], &[7], &[0.25; 4], 2));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&whole)).unwrap();
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.unwrap().into_owned())
        .collect();
    let content = |name: &String, archive: &mut zip::ZipArchive<_>| {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name(name).unwrap(), &mut content).unwrap();
        (name.clone(), content)
    };
    let entries: Vec<_> = names.iter().map(|name| content(name, &mut archive)).collect();
    let deflated = zip_of(&entries, CompressionMethod::Deflated);
    assert_eq!(speaker(&deflated), speaker(&whole));
    let missing: Vec<_> = entries
        .iter()
        .filter(|(name, _)| !name.contains("/data/"))
        .cloned()
        .collect();
    let why = speaker(&zip_of(&missing, CompressionMethod::Stored)).unwrap_err();
    assert!(
        why.contains("its record data/") && why.contains("is missing"),
        "{why}"
    );
    // A flipped bit of an embedding: the checksum tells.
    let mut flipped = one(Value::dict([("embedding", Value::floats(&[4], &[0.5; 4]))]));
    let at = flipped
        .windows(4)
        .position(|bytes| bytes == 0.5_f32.to_le_bytes());
    flipped[at.unwrap()] ^= 1;
    let why = speaker(&flipped).unwrap_err();
    assert!(
        why.starts_with("embedding: its record data/0 cannot be read"),
        "{why}"
    );
}

/// The bundled model, which needs no test bundles.
fn model() -> (Manifest, TextTokenizer) {
    let bundle = Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled")).unwrap();
    let tokenizer = TextTokenizer::from_file(&bundle.path(&bundle.manifest.tokenizer)).unwrap();
    (bundle.manifest, tokenizer)
}

fn prompted(embedding: usize, text: &[i64], tokens: &[i64], frames: usize, bins: usize) -> Vec<u8> {
    let feat = vec![0.25; frames * bins];
    one(zero_shot_speaker(
        &vec![0.5; embedding],
        text,
        tokens,
        &feat,
        bins,
    ))
}

#[test]
fn a_speaker_of_the_model_becomes_a_voice() {
    let (manifest, tokenizer) = model();
    let text = tokenizer.encode("你好，世界。").unwrap();
    let voice = |content: &[u8]| {
        let mut speakers = SpeakerFile::read(content, "file").unwrap().into_speakers();
        speakers.remove(0).voice(&manifest, &tokenizer)
    };
    let clone = voice(&prompted(192, &text, &[1, 2, 3, 4], 8, 80)).unwrap();
    assert_eq!((clone.id.as_str(), clone.name.as_str()), ("a", "a"));
    let prompt = clone.prompt.unwrap();
    assert_eq!(
        (prompt.text.as_str(), &prompt.text_tokens),
        ("你好，世界。", &text)
    );
    assert_eq!(
        (prompt.speech_tokens, prompt.speech_feat.len()),
        (vec![1, 2, 3, 4], 640)
    );
    // What was saved before the reference trimmed both to one length is trimmed.
    let longer = voice(&prompted(192, &[], &[1, 2, 3, 4], 11, 80))
        .unwrap()
        .prompt
        .unwrap();
    assert_eq!((longer.speech_tokens.len(), longer.speech_feat.len()), (4, 640));
    let shorter = voice(&prompted(192, &[], &[1, 2, 3, 4], 7, 80))
        .unwrap()
        .prompt
        .unwrap();
    assert_eq!((shorter.speech_tokens.len(), shorter.speech_feat.len()), (3, 480));
    let preset = Value::dict([("embedding", Value::floats(&[1, 192], &[0.5; 192]))]);
    assert_eq!(voice(&one(preset)).unwrap().prompt, None);
}

#[test]
fn a_speaker_of_another_model_is_refused_in_words() {
    let (manifest, tokenizer) = model();
    let long = vec![1; 800];
    for (content, says) in [
        (
            prompted(256, &[1], &[1; 4], 8, 80),
            "its embedding has 256 numbers, not 192: it belongs to another model than",
        ),
        (
            prompted(192, &[1], &[1; 4], 8, 100),
            "its mel has 100 bins, not 80: it belongs to another model",
        ),
        (
            prompted(192, &[1], &[1, 6_561], 4, 80),
            "it has speech token 6561, not one of 6561: it belongs",
        ),
        (prompted(192, &[1], &[-1; 4], 8, 80), "it has speech token -1"),
        (
            prompted(192, &[104_307], &[1; 4], 8, 80),
            "it has text token 104307, not one of",
        ),
        // Generation 1: 50 tokens and 93.75 frames a second.
        (
            prompted(192, &[1], &[1; 200], 375, 80),
            "it has 375 mel frames for 200 speech tokens, not 400: it belongs",
        ),
        (
            prompted(192, &[1], &long, 1_600, 80),
            "its prompt is 32 s long; at most 30 s",
        ),
        (
            prompted(192, &[1; 641], &[1; 4], 8, 80),
            "641 text tokens; at most 640",
        ),
        (prompted(192, &[1], &[1], 1, 80), "its prompt holds no speech"),
    ] {
        let mut speakers = SpeakerFile::read(&content, "file").unwrap().into_speakers();
        match speakers.remove(0).voice(&manifest, &tokenizer) {
            Err(Error::Invalid(text)) => assert!(text.contains(says), "{text}"),
            other => panic!("{says}: {other:?}"),
        }
    }
}
