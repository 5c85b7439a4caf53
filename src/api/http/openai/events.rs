//! The audio of an answer as server-sent events.

use std::{convert::Infallible, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::wire::{OpenAiError, SpeechEvent, SpeechUsage};
use crate::{
    Result,
    api::{error::ApiError, http::layers::RequestId},
    engine::Usage,
};

/// The media type of events.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// One event per piece of audio, and one at the end: what it cost, or why it broke off.
///
/// Events have data only, no names: clients tell them apart by their `type`, and older ones of OpenAI's own pass a named
/// event on in another shape.
pub fn of(
    audio: impl Stream<Item = Result<Bytes>> + Send + 'static,
    usage: Arc<Usage>,
    id: RequestId,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let deltas = audio.map(Some).chain(stream::once(async { None }));
    let mut broken = false;
    let events = deltas.filter_map(move |piece| {
        let event = match piece {
            Some(Ok(bytes)) => Some(SpeechEvent::Delta {
                audio: STANDARD.encode(bytes),
            }),
            Some(Err(error)) => {
                broken = true;
                Some(SpeechEvent::Error {
                    error: OpenAiError::late(ApiError::from(error), id.as_str()),
                })
            }
            None if broken => None,
            None => Some(SpeechEvent::Done { usage: spent(&usage) }),
        };
        std::future::ready(event)
    });
    events.map(|event| Ok(line(&event)))
}

fn spent(usage: &Usage) -> SpeechUsage {
    let (input_tokens, output_tokens) = (usage.text_tokens(), usage.speech_tokens());
    SpeechUsage {
        input_tokens,
        output_tokens,
        total_tokens: input_tokens + output_tokens,
    }
}

/// An event as it is sent. JSON has no line breaks of its own, so one line of data holds it.
fn line(event: &SpeechEvent) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("data: {data}\n\n").into()
}
