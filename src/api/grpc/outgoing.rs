//! Audio on its way out as messages.
//!
//! A task takes the audio from the synthesis, because the answer itself is not asked for anything while its client
//! reads nothing: so a deadline passes, and a client that has stalled is given up, all the same.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{
        mpsc::{self, Sender},
        oneshot,
    },
    time::timeout,
};
use tonic::Status;

use super::{deadline, door::Call, proto, status};
use crate::{Result, limits};

/// How a call ends.
type End = Result<(), Status>;

/// The answer of a call: `audio` in messages of bounded size, the first of which names rate and seed.
pub(super) fn messages(
    audio: impl Stream<Item = Result<Bytes>> + Send + 'static,
    (sample_rate, seed): (u32, u64),
    call: Call,
) -> BoxStream<'static, Result<proto::Response, Status>> {
    let (sender, messages) = mpsc::channel(1);
    let (ending, end) = oneshot::channel();
    let died = status::internal(&call.id);
    tokio::spawn(async move {
        let first = (sample_rate, seed);
        let ended = tokio::select! {
            ended = pass_on(audio, first, &call, &sender) => ended,
            () = deadline::passed(call.deadline) => Err(status::late()),
            // Nobody listens: what is dropped here is the synthesis.
            () = sender.closed() => return,
        };
        // The place is free before the end is read, so that who calls again at once is not refused.
        drop(call);
        let _ = ending.send(ended);
    });
    let stream = futures::stream::unfold(Some((messages, end, died)), async |answer| {
        let (mut messages, end, died) = answer?;
        if let Some(message) = messages.recv().await {
            return Some((Ok(message), Some((messages, end, died))));
        }
        let end = end.await.unwrap_or(Err(died));
        end.err().map(|status| (Err(status), None))
    });
    stream.boxed()
}

/// Sends all of the audio, as fast as it is taken.
async fn pass_on(
    audio: impl Stream<Item = Result<Bytes>>,
    (mut sample_rate, mut seed): (u32, u64),
    call: &Call,
    sender: &Sender<proto::Response>,
) -> End {
    let mut audio = std::pin::pin!(audio);
    while let Some(bytes) = audio.next().await {
        let mut bytes = bytes.map_err(|error| status::of(&error, &call.id))?;
        while !bytes.is_empty() {
            let message = proto::Response {
                tts_audio: bytes.split_to(bytes.len().min(limits::GRPC_AUDIO_BYTES)),
                sample_rate: std::mem::take(&mut sample_rate),
                seed: std::mem::take(&mut seed),
            };
            let taken = timeout(limits::WRITE_IDLE, sender.send(message)).await;
            taken.map_err(|_| stalled())?.map_err(|_| stalled())?;
        }
    }
    Ok(())
}

/// ABORTED: the client has taken nothing for too long.
fn stalled() -> Status {
    let seconds = limits::WRITE_IDLE.as_secs();
    Status::aborted(format!("nothing of the answer was taken for {seconds} s"))
}
