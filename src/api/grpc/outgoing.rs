//! An answer on its way out.
//!
//! A task makes it, because the answer itself is not asked for anything while its client reads nothing: so a deadline
//! passes, and a client that has stalled is given up, all the same.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{
        mpsc::{self, Permit, Sender},
        oneshot,
    },
    time::timeout,
};
use tonic::Status;
use tracing::Instrument;

use super::{deadline, door::Call, proto, status};
use crate::{Result, limits};

/// How a call ends.
pub(super) type End = Result<(), Status>;

/// An answer that comes message by message.
pub(super) type Answer<T> = BoxStream<'static, Result<T, Status>>;

/// The answer that `work` makes, until it ends, the call's deadline passes or its client leaves.
pub(super) fn answer<T, F>(call: &Call, work: impl FnOnce(Sender<T>) -> F) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = End> + Send + 'static,
{
    let (sender, messages) = mpsc::channel(1);
    let (ending, end) = oneshot::channel();
    let (deadline, died) = (call.deadline, status::internal(&call.id));
    let work = work(sender.clone());
    let made = async move {
        let ended = tokio::select! {
            ended = work => ended,
            () = deadline::passed(deadline) => {
                // What is dropped here stops the synthesis, which only knows that nobody listens any more.
                tracing::info!("the client's deadline passed");
                Err(status::late())
            }
            // Nobody listens: what is dropped here stops the synthesis.
            () = sender.closed() => return,
        };
        let _ = ending.send(ended);
    };
    tokio::spawn(made.in_current_span());
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

/// Waits until a message may be sent.
///
/// # Errors
/// ABORTED when none was taken for [`limits::WRITE_IDLE`].
pub(super) async fn room<T>(sender: &Sender<T>) -> Result<Permit<'_, T>, Status> {
    room_within(sender, limits::WRITE_IDLE).await
}

async fn room_within<T>(sender: &Sender<T>, patience: Duration) -> Result<Permit<'_, T>, Status> {
    let seconds = patience.as_secs();
    let stalled = || Status::aborted(format!("nothing of the answer was taken for {seconds} s"));
    let room = timeout(patience, sender.reserve()).await;
    // Where there is no receiver, nobody reads what is said here.
    room.map_err(|_| stalled())?.map_err(|_| stalled())
}

/// Sends all of `audio` in messages of bounded size, the first of which names rate and seed.
pub(super) async fn speech(
    audio: impl Stream<Item = Result<Bytes>>,
    (mut sample_rate, mut seed): (u32, u64),
    call: Call,
    sender: Sender<proto::Response>,
) -> End {
    let mut audio = std::pin::pin!(audio);
    while let Some(bytes) = audio.next().await {
        let mut bytes = bytes.map_err(|error| status::of(&error, &call.id))?;
        while !bytes.is_empty() {
            let tts_audio = bytes.split_to(bytes.len().min(limits::GRPC_AUDIO_BYTES));
            room(&sender).await?.send(proto::Response {
                tts_audio,
                sample_rate: std::mem::take(&mut sample_rate),
                seed: std::mem::take(&mut seed),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn long_audio_goes_out_in_bounded_messages() {
        let all: Vec<u8> = (0..2 * limits::GRPC_AUDIO_BYTES + 10).map(|i| i as u8).collect();
        let audio = futures::stream::iter([Ok(Bytes::new()), Ok(all.clone().into()), Ok(vec![1, 2].into())]);
        let call = Call::lone();
        let answer = answer(&call.clone(), |sender| speech(audio, (24_000, 7), call, sender));
        let messages: Vec<_> = answer.map(Result::unwrap).collect().await;
        let lengths: Vec<_> = messages.iter().map(|message| message.tts_audio.len()).collect();
        let most = limits::GRPC_AUDIO_BYTES;
        assert_eq!(lengths, [most, most, 10, 2]);
        let heads = messages.iter().map(|message| (message.sample_rate, message.seed));
        assert_eq!(heads.collect::<Vec<_>>(), [(24_000, 7), (0, 0), (0, 0), (0, 0)]);
        let heard: Vec<u8> = messages
            .iter()
            .flat_map(|message| message.tts_audio.to_vec())
            .collect();
        assert!(heard[..all.len()] == all && heard[all.len()..] == [1, 2]);
    }

    #[tokio::test]
    async fn work_that_dies_is_no_end() {
        let call = Call::lone();
        let mut answer = answer::<(), _>(&call, |_| async { panic!("on purpose") });
        let status = answer.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains(call.id.as_str()) && answer.next().await.is_none());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (sender, mut taken) = mpsc::channel(1);
        let soon = Duration::from_millis(30);
        room_within(&sender, soon).await.unwrap().send(1);
        let stalled = room_within(&sender, soon).await.unwrap_err();
        assert_eq!(stalled.code(), Code::Aborted);
        assert_eq!(taken.recv().await, Some(1));
        assert!(room_within(&sender, soon).await.is_ok());
    }
}
