//! The basic inference API with the real model, as the reference's own client calls it: GET with a form in the body.

use reqwest::{Method, multipart::Form};

use crate::{
    client::{Answer, SENTENCE, client, file, plausible},
    server::{Server, shared},
};

/// Sends an urlencoded form in the body.
async fn urlencoded(server: &Server, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
    let encoded = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<String>()
    };
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)));
    let body = pairs.collect::<Vec<_>>().join("&");
    let request = client().request(method, format!("{}{path}", server.base));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    Answer::of(request.body(body).send().await.unwrap()).await
}

/// Sends a multipart form with GET.
async fn get_form(server: &Server, path: &str, fields: &[(&'static str, &str)], wav: &[u8]) -> Answer {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| {
        form.text(*name, value.to_string())
    });
    let request = client().get(format!("{}{path}", server.base));
    let form = form.part("prompt_wav", file(wav));
    Answer::of(request.multipart(form).send().await.unwrap()).await
}

/// Checks that speech of a believable length came, as bare samples.
#[track_caller]
fn speech(answer: Answer) -> Answer {
    let answer = answer.ok();
    assert_eq!(answer.header("content-type"), "audio/L16");
    let (rate, samples) = (
        answer.header("x-sample-rate").parse::<f32>().unwrap(),
        answer.pcm(),
    );
    plausible(samples.len() as f32 / rate);
    assert!(samples.iter().any(|sample| sample.abs() > 0.01), "silence");
    answer
}

#[tokio::test]
async fn every_mode_of_the_references_client_speaks() {
    let shared = shared();
    let server = &shared.server;
    let voice = server.voice().await;
    let (text, wav) = (("tts_text", SENTENCE), server.recording().await);
    let sft = [text, ("spk_id", &voice), ("seed", "5")];
    let spoken = speech(urlencoded(server, Method::GET, "/inference_sft", &sft).await);
    // The same seed says the same as the general API.
    let general = server.post("/tts/pcm", server.sft(SENTENCE, 5).await).await.ok();
    assert!(spoken.body == general.body);
    let instruct = [text, ("spk_id", &voice), ("instruct_text", "用开心的语气说")];
    speech(urlencoded(server, Method::GET, "/inference_instruct", &instruct).await);
    speech(
        get_form(
            server,
            "/inference_zero_shot",
            &[text, ("prompt_text", SENTENCE)],
            &wav,
        )
        .await,
    );
    speech(get_form(server, "/inference_cross_lingual", &[text], &wav).await);
    let instruct2 = [text, ("instruct_text", "用开心的语气说")];
    speech(get_form(server, "/inference_instruct2", &instruct2, &wav).await);
}

#[tokio::test]
async fn post_and_the_query_speak_too_and_errors_are_told() {
    let shared = shared();
    let server = &shared.server;
    let voice = server.voice().await;
    let fields = [("tts_text", SENTENCE), ("spk_id", voice.as_str()), ("seed", "5")];
    let posted = speech(urlencoded(server, Method::POST, "/inference_sft", &fields).await);
    let mut query = reqwest::Url::parse(&format!("{}/inference_sft", server.base)).unwrap();
    query.query_pairs_mut().extend_pairs(fields);
    let asked = speech(Answer::of(client().get(query).send().await.unwrap()).await);
    assert!(asked.body == posted.body);
    let unknown = [("tts_text", SENTENCE), ("spk_id", "nobody")];
    let answer = urlencoded(server, Method::GET, "/inference_sft", &unknown).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["detail"].as_str().unwrap().starts_with("spk_id: "));
    let answer = get_form(server, "/inference_cross_lingual", &fields[..1], b"no audio").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .starts_with("prompt_wav: ")
    );
}
