//! `/voices` with the real model and a real disk: import, preview, rename, remove, over restarts.

use cosyserve::audio::decode::decode;
use reqwest::{Method, multipart::Form};
use serde_json::{Value, json};

use crate::{
    client::{Answer, SENTENCE, client, file, plausible},
    server::Server,
    torch_writer::{self, Value as Saved},
};

/// The path of a voice.
fn path(server: &Server, id: &str, rest: &str) -> reqwest::Url {
    let mut url = reqwest::Url::parse(&format!("{}/voices", server.base)).unwrap();
    url.path_segments_mut().unwrap().push(id);
    reqwest::Url::parse(&format!("{url}{rest}")).unwrap()
}

async fn call(server: &Server, method: Method, id: &str, body: Option<Value>) -> Answer {
    let request = client().request(method, path(server, id, ""));
    let request = body.iter().fold(request, |request, body| request.json(body));
    Answer::of(request.send().await.unwrap()).await
}

async fn preview(server: &Server, id: &str, query: &str) -> Answer {
    let url = path(server, id, &format!("/preview{query}"));
    Answer::of(client().get(url).send().await.unwrap()).await
}

async fn import(server: &Server, content: &[u8]) -> Answer {
    server
        .form("/voices/import", Form::new().part("file", file(content)))
        .await
}

/// A clone, named in three scripts, that its server previews and renames, and that is gone after its removal: each time
/// also for the next server over the same directory.
#[tokio::test]
async fn a_voice_is_shown_previewed_renamed_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let (id, wav) = ("小明 Анна 50%", server.recording().await);
    server.clone_voice(id, None, &wav).await.ok();
    let shown = call(&server, Method::GET, id, None).await.ok().json();
    assert_eq!(
        (&shown["spk_id"], &shown["kind"], &shown["built_in"]),
        (&json!(id), &json!("clone"), &json!(false))
    );
    assert_eq!(
        (&shown["prompt_text"], &shown["language"]),
        (&json!(SENTENCE), &json!("zh"))
    );
    let length = decode(wav, "recording").unwrap().seconds();
    let told = shown["prompt_seconds"].as_f64().unwrap() as f32;
    // Silence at both ends is trimmed, 0.2 s of it appended.
    assert!((0.5..=length + 0.3).contains(&told), "{told} s of {length} s");
    let list = server.get("/voices").await.ok().json();
    assert_eq!(
        list["voices"].as_array().unwrap().len(),
        server.voices().await.len()
    );
    assert_eq!(list["voices"].as_array().unwrap().last().unwrap(), &shown);

    let first = preview(&server, id, "").await.ok();
    plausible(first.mp3_seconds());
    assert!(preview(&server, id, "").await.ok().body == first.body);
    let other = preview(&server, id, "?text=%E4%BD%A0%E5%A5%BD%E3%80%82")
        .await
        .ok();
    assert!(other.body != first.body);

    let renamed = call(&server, Method::PATCH, id, Some(json!({"spk_name": "安娜"})))
        .await
        .ok();
    assert_eq!(renamed.json()["spk_name"], "安娜");
    drop(server);
    let server = Server::start(data.path(), &[]);
    assert_eq!(
        server.voices().await.last().unwrap(),
        &(id.to_owned(), "安娜".to_owned())
    );
    assert!(
        preview(&server, id, "").await.ok().body == first.body,
        "the voice changed over a restart"
    );

    call(&server, Method::DELETE, id, None).await.ok();
    for answer in [
        call(&server, Method::GET, id, None).await,
        call(&server, Method::DELETE, id, None).await,
        preview(&server, id, "").await,
    ] {
        assert_eq!((answer.status, answer.json()["detail"].is_string()), (404, true));
    }
    let gone = server
        .post("/tts", json!({"tts_text": SENTENCE, "spk_id": id}))
        .await;
    assert_eq!(gone.status, 400);
    let built_in = server.voice().await;
    assert_eq!(call(&server, Method::DELETE, &built_in, None).await.status, 400);
    drop(server);
    let server = Server::start(data.path(), &[]);
    assert!(server.voices().await.iter().all(|(other, _)| other != id));
}

/// A preset speaker and a zero-shot one with the features of a built-in voice, as CosyVoice saves them.
#[tokio::test]
async fn an_imported_voice_speaks_and_survives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let wav = server.recording().await;
    server.clone_voice("source", None, &wav).await.ok();
    let body = |id: &str| json!({"tts_text": SENTENCE, "spk_id": id, "seed": 3});
    let cloned = server.post("/tts/pcm", body("source")).await.ok().body;
    let (built_in, content) = (server.voice().await, saved_as_torch_does(data.path()));
    let embedding = || Saved::floats(&[1, 192], &[0.05; 192]);
    let answer = import(&server, &content).await.ok().json();
    assert_eq!(answer["imported"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["imported"][0]["kind"], "clone");
    assert_eq!(answer["imported"][1]["kind"], "preset");
    // The same features: the same voice, sample for sample.
    assert!(server.post("/tts/pcm", body("同一个")).await.ok().body == cloned);
    let preset = server.post("/tts/pcm", body("preset")).await.ok();
    plausible(preset.pcm().len() as f32 / 24_000.0);

    // A voice of another model beside a good one is skipped; alone it is refused.
    let foreign = Saved::dict([("embedding", Saved::floats(&[1, 256], &[0.1; 256]))]);
    let preset_speaker = || Saved::dict([("embedding", embedding())]);
    let mixed = Saved::dict([
        ("foreign", foreign.clone()),
        ("good", preset_speaker()),
        (&built_in, preset_speaker()),
    ]);
    let answer = import(&server, &torch_writer::file(&mixed)).await.ok().json();
    let skipped = answer["skipped"].as_array().unwrap();
    assert_eq!((skipped.len(), &skipped[0]["spk_id"]), (2, &json!("foreign")));
    assert!(
        skipped[0]["reason"].as_str().unwrap().contains("another model"),
        "{answer}"
    );
    assert!(
        skipped[1]["reason"].as_str().unwrap().contains("built-in voice"),
        "{answer}"
    );
    let refused = import(&server, &torch_writer::file(&Saved::dict([("foreign", foreign)]))).await;
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 400);
    assert!(
        detail.starts_with("file: no voice could be imported") && detail.contains("256 numbers"),
        "{detail}"
    );

    server.kill();
    let server = Server::start(data.path(), &[]);
    for id in ["同一个", "preset", "good"] {
        call(&server, Method::GET, id, None).await.ok();
    }
    assert!(server.post("/tts/pcm", body("同一个")).await.ok().body == cloned);
}

/// The saved voice of a directory as `add_zero_shot_spk` and `save_spkinfo` would have written it, and a preset speaker.
fn saved_as_torch_does(data: &std::path::Path) -> Vec<u8> {
    let mut entries = std::fs::read_dir(data.join("voices")).unwrap();
    let content = std::fs::read(entries.next().unwrap().unwrap().path()).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&content).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4)
            .map(|word| word.try_into().unwrap())
            .collect()
    };
    let floats = |name| {
        words(name)
            .into_iter()
            .map(f32::from_le_bytes)
            .collect::<Vec<_>>()
    };
    let ints = |name| {
        words(name)
            .into_iter()
            .map(|word| i32::from_le_bytes(word).into())
            .collect::<Vec<i64>>()
    };
    let zero_shot = torch_writer::zero_shot_speaker(
        &floats("embedding"),
        &ints("prompt_text_tokens"),
        &ints("speech_tokens"),
        &floats("speech_feat"),
        80,
    );
    let preset = Saved::dict([("embedding", Saved::floats(&[1, 192], &floats("embedding")))]);
    torch_writer::file(&Saved::dict([("同一个", zero_shot), ("preset", preset)]))
}
