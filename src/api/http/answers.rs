//! What the routes may answer, for the document: audio, and every failure once, under a name of its own.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::{
    IntoResponses,
    openapi::{
        Content, ContentBuilder, Header, HeaderBuilder, KnownFormat, ObjectBuilder, Ref, RefOr, Response,
        ResponseBuilder, SchemaFormat, Type,
    },
};

use super::openai::wire::OpenAiError;
use crate::audio::encode::AudioFormat;

/// Speech in the coding that was asked for.
pub struct Speech;
/// Speech as bare samples.
pub struct Samples;
/// Why there is no speech.
pub struct SpeechFailures;
/// Why a body is not taken.
pub struct UploadFailures;
/// A sample of a voice.
pub struct Preview;
/// Why there is none.
pub struct PreviewFailures;
/// The voice in the path is not known, or the path is not UTF-8.
pub struct UnknownVoice;
/// Why a voice stays as it is.
pub struct VoiceFailures;
/// Why a connection does not become a WebSocket.
pub struct SocketFailures;
/// Speech as OpenAI's clients ask for it.
pub struct OpenAiSpeech;
/// Why there is none, in their words.
pub struct OpenAiSpeechFailures;
/// What every list of theirs may answer.
pub struct OpenAiKeyFailures;
/// A model of theirs that this server has no name for.
pub struct UnknownModel;
/// What every route behind the key may answer.
pub struct KeyFailures;
/// What a server that is shutting down answers.
pub struct DrainingFailures;

type Responses = BTreeMap<String, RefOr<Response>>;

impl IntoResponses for Speech {
    fn responses() -> Responses {
        let description = "Speech, as MP3 unless `format` asks for another coding. With `stream` it is chunked and sent \
                           while it is made; a stream that breaks off ends without its last chunk.";
        let formats = [
            AudioFormat::Mp3,
            AudioFormat::Opus,
            AudioFormat::Flac,
            AudioFormat::Wav,
            AudioFormat::L16,
        ];
        let mut response = audio(description, &formats);
        for (name, header) in pcm_headers("; with `format` `pcm` only") {
            response.headers.insert(name, header.into());
        }
        ok(response)
    }
}

impl IntoResponses for Samples {
    fn responses() -> Responses {
        let description = "Mono samples, 16 bit, little-endian, chunked and sent while they are made.";
        let mut response = audio(description, &[AudioFormat::L16]);
        for (name, header) in pcm_headers("") {
            response.headers.insert(name, header.into());
        }
        ok(response)
    }
}

impl IntoResponses for SpeechFailures {
    fn responses() -> Responses {
        named(&[400, 401, 408, 413, 415, 500, 503, 504])
    }
}

impl IntoResponses for UploadFailures {
    fn responses() -> Responses {
        named(&[400, 401, 408, 413, 415, 500, 503])
    }
}

impl IntoResponses for Preview {
    fn responses() -> Responses {
        ok(audio("Speech.", &[AudioFormat::Mp3]))
    }
}

impl IntoResponses for PreviewFailures {
    fn responses() -> Responses {
        named(&[400, 401, 500, 503, 504])
    }
}

impl IntoResponses for UnknownVoice {
    fn responses() -> Responses {
        named(&[400, 401, 404])
    }
}

impl IntoResponses for VoiceFailures {
    fn responses() -> Responses {
        named(&[400, 401, 500, 503])
    }
}

impl IntoResponses for SocketFailures {
    fn responses() -> Responses {
        named(&[400, 401, 403, 426, 503])
    }
}

impl IntoResponses for OpenAiSpeech {
    fn responses() -> Responses {
        let description = "Speech, chunked while it is made: the audio (`pcm` is at 24 kHz), or with `stream_format` `sse` \
                           events: `speech.audio.delta` with `audio` in base64, then `speech.audio.done` or `error`.";
        let coded = [
            AudioFormat::Mp3,
            AudioFormat::Opus,
            AudioFormat::Flac,
            AudioFormat::Wav,
        ];
        let mut response = audio(description, &coded);
        response.content.insert("audio/pcm".into(), bytes().into());
        let event = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("SpeechEvent")))
            .build();
        response.content.insert("text/event-stream".into(), event.into());
        for (name, header) in pcm_headers("; with `response_format` `pcm` only") {
            response.headers.insert(name, header.into());
        }
        ok(response)
    }
}

impl IntoResponses for OpenAiSpeechFailures {
    fn responses() -> Responses {
        named_openai(&OPENAI_STATUSES)
    }
}

impl IntoResponses for OpenAiKeyFailures {
    fn responses() -> Responses {
        named_openai(&[401])
    }
}

impl IntoResponses for UnknownModel {
    fn responses() -> Responses {
        named_openai(&[400, 401, 404])
    }
}

impl IntoResponses for KeyFailures {
    fn responses() -> Responses {
        named(&[401])
    }
}

impl IntoResponses for DrainingFailures {
    fn responses() -> Responses {
        named(&[503])
    }
}

/// A kind of failure: its status, its name in the document, what it means, and an example of its `detail`.
struct Failure {
    status: u16,
    name: &'static str,
    description: &'static str,
    example: &'static str,
}

const FAILURES: [Failure; 11] = [
    Failure {
        status: 400,
        name: "BadRequest",
        description: "A field is missing, empty or out of range, a recording cannot be decoded, a voice is not known, or \
                      the model cannot do what is asked. `detail` names the field and the limit.",
        example: "speed: must be between 0.5 and 2, not 3",
    },
    Failure {
        status: 401,
        name: "Unauthorized",
        description: "The server was started with an API key, and the request has not got it.",
        example: "an API key is required: send Authorization: Bearer <key> or X-API-Key: <key>",
    },
    Failure {
        status: 403,
        name: "Forbidden",
        description: "Pages of this origin may not call.",
        example: "Origin: pages of https://elsewhere.example may not call",
    },
    Failure {
        status: 404,
        name: "NotFound",
        description: "There is no such voice or model.",
        example: "spk_id: no voice \"nobody\"",
    },
    Failure {
        status: 408,
        name: "BodyStalled",
        description: "The request's body stopped coming.",
        example: "body: nothing came for 30 s",
    },
    Failure {
        status: 413,
        name: "TooLarge",
        description: "The body, a file or a field is too large. `detail` names the limit.",
        example: "prompt_wav: more than 33554432 bytes",
    },
    Failure {
        status: 415,
        name: "WrongContentType",
        description: "The route does not take this content type. `detail` names those it takes.",
        example: "Content-Type: must be application/json",
    },
    Failure {
        status: 426,
        name: "UpgradeRequired",
        description: "The request is no WebSocket handshake.",
        example: "a WebSocket handshake is required",
    },
    Failure {
        status: 500,
        name: "Fault",
        description: "The server failed. `detail` has the id under which its log tells more.",
        example: "internal error; the server's log has its cause under id 5b0e9a52",
    },
    Failure {
        status: 503,
        name: "Busy",
        description: "The queue is full, or the server is shutting down. Try again after `Retry-After` seconds.",
        example: "the queue is full (64 requests waiting); try again later",
    },
    Failure {
        status: 504,
        name: "DeadlinePassed",
        description: "The request took longer than the operator allows.",
        example: "no audio within 300 s",
    },
];

/// How names of failures begin whose bodies OpenAI's clients read.
const OPENAI: &str = "OpenAi";

/// What OpenAI's routes may fail with.
const OPENAI_STATUSES: [u16; 9] = [400, 401, 404, 408, 413, 415, 500, 503, 504];

/// Every failure by its name, for the document's components: with this server's body, and with OpenAI's.
pub fn components() -> BTreeMap<String, RefOr<Response>> {
    let own = FAILURES.iter().map(|failure| {
        let example = json!({"detail": failure.example});
        (failure.name.to_string(), response(failure, "ErrorBody", example))
    });
    let theirs = FAILURES
        .iter()
        .filter(|failure| OPENAI_STATUSES.contains(&failure.status));
    let theirs = theirs.map(|failure| {
        let told =
            StatusCode::from_u16(failure.status).map(|status| OpenAiError::new(status, failure.example));
        let example = json!({"error": told.ok(), "detail": failure.example});
        (
            format!("{OPENAI}{}", failure.name),
            response(failure, "OpenAiErrorBody", example),
        )
    });
    own.chain(theirs)
        .map(|(name, response)| (name, response.into()))
        .collect()
}

/// References to the failures of these statuses.
fn named(statuses: &[u16]) -> Responses {
    references("", statuses)
}

/// Likewise with the bodies that OpenAI's clients read.
fn named_openai(statuses: &[u16]) -> Responses {
    references(OPENAI, statuses)
}

fn references(prefix: &str, statuses: &[u16]) -> Responses {
    let those = FAILURES
        .iter()
        .filter(|failure| statuses.contains(&failure.status));
    let reference = |name: &str| Ref::from_response_name(format!("{prefix}{name}"));
    those
        .map(|failure| (failure.status.to_string(), reference(failure.name).into()))
        .collect()
}

fn response(failure: &Failure, schema: &str, example: Value) -> Response {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .example(Some(example))
        .build();
    let response = ResponseBuilder::new()
        .description(failure.description)
        .content("application/json", body)
        .header("X-Request-Id", request_id());
    match failure.status {
        401 => response.header("WWW-Authenticate", text("How to authenticate: `Bearer`")),
        503 => response.header("Retry-After", whole("Seconds after which to try again")),
        _ => response,
    }
    .build()
}

fn ok(response: Response) -> Responses {
    [("200".to_string(), response.into())].into()
}

fn audio(description: &str, formats: &[AudioFormat]) -> Response {
    let response = ResponseBuilder::new()
        .description(description)
        .header(
            "X-Seed",
            whole("The seed: the same request with it gives the same audio"),
        )
        .header("X-Request-Id", request_id());
    let all = formats.iter();
    all.fold(response, |response, format| {
        response.content(format.content_type(), bytes())
    })
    .build()
}

fn bytes() -> Content {
    let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(format));
    ContentBuilder::new().schema(Some(schema)).build()
}

fn pcm_headers(when: &str) -> [(String, Header); 3] {
    [
        ("X-Sample-Rate".into(), whole(&format!("Hertz{when}"))),
        ("X-Channels".into(), whole(&format!("1{when}"))),
        ("X-Bit-Depth".into(), whole(&format!("16{when}"))),
    ]
}

fn request_id() -> Header {
    text(
        "The request's own `X-Request-Id` where it is short and plain, else a new one; also in the server's log",
    )
}

fn text(description: &str) -> Header {
    header(description, Type::String)
}

fn whole(description: &str) -> Header {
    header(description, Type::Integer)
}

fn header(description: &str, kind: Type) -> Header {
    let schema = ObjectBuilder::new().schema_type(kind);
    HeaderBuilder::new()
        .schema(Some(schema))
        .description(Some(description))
        .build()
}
