//! What tests ask of a server.

use std::{path::Path, time::Duration};

use cosyserve::audio::{decode::decode, encode::AudioFormat, encode::encode_whole};
use reqwest::{
    Client, Response,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::Server;

/// A short sentence with words of both languages the bundled model speaks.
pub const SENTENCE: &str = "你好，很高兴认识你。";
/// Speech long enough to be interrupted.
pub const STORY: &str = "从前有一个小镇，镇上住着一位老木匠。他每天清晨都会打开店门，点亮一盏小灯。孩子们喜欢来听他讲故事，他一边干活，一边慢慢地说。有一天，一位远方的客人来到镇上，带来了一个奇怪的木盒。老木匠看了很久，终于笑着点了点头。";

/// Finite patience, so that a hang is a failure.
pub fn client() -> Client {
    Client::builder()
        .timeout(Duration::from_secs(180))
        .build()
        .unwrap()
}

/// A finished answer.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Seconds of the MP3 in the body.
    #[track_caller]
    pub fn mp3_seconds(&self) -> f32 {
        assert_eq!(self.header("content-type"), "audio/mpeg");
        let audio = decode(self.body.clone(), "answer").unwrap();
        assert!(audio.samples.iter().any(|sample| sample.abs() > 0.01), "silence");
        audio.seconds()
    }

    /// Samples of the PCM in the body.
    #[track_caller]
    pub fn pcm(&self) -> Vec<f32> {
        assert_eq!(self.body.len() % 2, 0);
        let samples = self
            .body
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        samples.map(|sample| f32::from(sample) / 32_768.0).collect()
    }
}

impl Server {
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(client().get(format!("{}{path}", self.base)).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.open(path, &body).await).await
    }

    /// The answer's head; its body is still to come.
    pub async fn open(&self, path: &str, body: &Value) -> Response {
        client()
            .post(format!("{}{path}", self.base))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    pub async fn form(&self, path: &str, form: Form) -> Answer {
        let request = client().post(format!("{}{path}", self.base)).multipart(form);
        Answer::of(request.send().await.unwrap()).await
    }

    /// (id, name) of every voice.
    pub async fn voices(&self) -> Vec<(String, String)> {
        let list = self.get("/available_spks").await.ok().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let voice = |entry: &Value| (text(&entry["spk_id"]), text(&entry["spk_name"]));
        list["speakers"].as_array().unwrap().iter().map(voice).collect()
    }

    /// The first built-in voice.
    pub async fn voice(&self) -> String {
        self.voices().await[0].0.clone()
    }

    /// A request that any speech route of a known voice takes.
    pub async fn sft(&self, text: &str, seed: u64) -> Value {
        json!({"tts_text": text, "spk_id": self.voice().await, "seed": seed})
    }

    /// A recording to clone: the model's own speech, as a WAV file, at least 0.6 s long.
    pub async fn recording(&self) -> Vec<u8> {
        let answer = self.post("/tts/pcm", self.sft(SENTENCE, 11).await).await.ok();
        let mut samples = answer.pcm();
        while samples.len() < 24_000 {
            samples.extend_from_within(..);
        }
        let rate = answer.header("x-sample-rate").parse().unwrap();
        encode_whole(AudioFormat::Wav, rate, &samples).unwrap()
    }

    pub async fn clone_voice(&self, id: &str, name: Option<&str>, wav: &[u8]) -> Answer {
        let form = Form::new()
            .text("prompt_text", SENTENCE)
            .text("spk_id", id.to_owned());
        let form = match name {
            Some(name) => form.text("spk_name", name.to_owned()),
            None => form,
        };
        self.form("/clone", form.part("prompt_audio", file(wav))).await
    }
}

/// A file part.
pub fn file(content: &[u8]) -> Part {
    Part::bytes(content.to_vec())
        .file_name("prompt.wav")
        .mime_str("audio/wav")
        .unwrap()
}

/// Whether a length of speech is believable for [`SENTENCE`] (10 characters).
#[track_caller]
pub fn plausible(seconds: f32) {
    assert!((0.4..20.0).contains(&seconds), "{seconds} s");
}

/// A file in `directory`; its path.
pub fn file_in(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
