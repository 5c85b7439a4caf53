//! The method `Live`: utterances whose text is still being written, one after the other.
//!
//! Reading and writing go on side by side, so that a cancel is heard while audio waits for its client, and audio goes out
//! while text waits for the engine. What the reader begins, the writer tells of.

use std::pin::pin;

use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, Receiver, Sender},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    convert,
    door::Call,
    outgoing::{End, room},
    proto::{self, live_request::Event as Said, live_response::Event},
    service::Service,
    status,
};
use crate::{
    Error,
    api::{
        error::ApiError,
        live::{self, LiveAudio, LiveEvent, LiveEvents, LiveInput},
    },
    audio::encode::AudioFormat,
    limits,
};

/// An utterance as the reader has it.
struct Spoken {
    input: LiveInput,
    cancelled: bool,
    /// Its last event is on its way.
    over: CancellationToken,
}

/// What the writer is to tell.
enum Told {
    /// An utterance.
    Utterance {
        events: LiveEvents,
        over: CancellationToken,
        place: OwnedSemaphorePermit,
    },
    /// That a cancel met nothing to stop.
    Nothing,
}

/// Reads what the client says and answers, until it has said all and all is spoken.
pub(super) async fn talk(
    service: Service,
    call: Call,
    said: Streaming<proto::LiveRequest>,
    sender: Sender<proto::LiveResponse>,
) -> End {
    let (begun, coming) = mpsc::channel(1);
    let reader = Reader {
        service: &service,
        call: &call,
        begun,
        spoken: None,
    };
    let (read, written) = (
        pin!(reader.read(said)),
        pin!(write(&service, &call, coming, sender)),
    );
    futures::try_join!(read, written).map(|_| ())
}

struct Reader<'a> {
    service: &'a Service,
    call: &'a Call,
    begun: Sender<Told>,
    spoken: Option<Spoken>,
}

impl Reader<'_> {
    async fn read(mut self, mut said: Streaming<proto::LiveRequest>) -> End {
        loop {
            let message = tokio::select! {
                message = said.message() => message.map_err(|status| status::unread(&status))?,
                status = self.idle() => return Err(status),
            };
            match message {
                Some(proto::LiveRequest { event: Some(event) }) => self.take(event).await?,
                Some(proto::LiveRequest { event: None }) => {
                    let what = "event: must be one of start, text, flush, end and cancel";
                    return Err(Status::invalid_argument(what));
                }
                // Dropping the input ends the text.
                None => return Ok(()),
            }
        }
    }

    /// Waits until nothing has been going on for too long, or the server drains and nothing goes on.
    async fn idle(&self) -> Status {
        if let Some(spoken) = &self.spoken {
            spoken.over.cancelled().await;
        }
        let seconds = limits::GRPC_LIVE_IDLE.as_secs();
        tokio::select! {
            () = self.service.state().draining() => status::translated(&ApiError::draining(), &self.call.id),
            () = tokio::time::sleep(limits::GRPC_LIVE_IDLE) => {
                Status::deadline_exceeded(format!("start: no utterance began for {seconds} s"))
            }
        }
    }

    async fn take(&mut self, event: Said) -> End {
        let (service, call) = (self.service, self.call);
        let spoken = self.spoken.as_mut().filter(|spoken| !spoken.over.is_cancelled());
        match (event, spoken) {
            (Said::Start(start), None | Some(Spoken { cancelled: true, .. })) => self.start(start).await,
            (Said::Start(_), Some(_)) => Err(Status::failed_precondition(
                "start: an utterance is being spoken; end or cancel it first",
            )),
            // It may have crossed with the utterance's end, and is answered all the same.
            (Said::Cancel(_), None | Some(Spoken { cancelled: true, .. })) => {
                let _ = self.begun.send(Told::Nothing).await;
                Ok(())
            }
            (_, None) => Err(Status::failed_precondition("start: must come first")),
            (_, Some(Spoken { cancelled: true, .. })) => Ok(()),
            (Said::Text(text), Some(spoken)) => taken(service, call, spoken.input.text(text).await),
            (Said::Flush(_), Some(spoken)) => taken(service, call, spoken.input.flush().await),
            (Said::End(_), Some(spoken)) => {
                spoken.input.end();
                Ok(())
            }
            (Said::Cancel(_), Some(spoken)) => {
                spoken.input.cancel();
                spoken.cancelled = true;
                Ok(())
            }
        }
    }

    async fn start(&mut self, start: proto::LiveStart) -> End {
        let (service, id) = (self.service, &self.call.id);
        let translated = |error: ApiError| status::translated(&error, id);
        let state = service.state();
        if state.is_draining() {
            return Err(translated(ApiError::draining()));
        }
        // The one before was cancelled, and leaves its place when that has been told.
        if let Some(before) = &self.spoken {
            before.over.cancelled().await;
        }
        let place = service.door().place()?;
        // In single precision a tenth is more than a tenth.
        let ahead = Some(f64::from(start.ahead)).filter(|ahead| *ahead != 0.0);
        let audio = LiveAudio::new(AudioFormat::L16, ahead).map_err(translated)?;
        let request = start.request.unwrap_or_default();
        let request = convert::live_speech(state, id.as_str(), request)
            .await
            .map_err(translated)?;
        let first = request.text.clone();
        let (input, events) = live::begin(state, std::future::ready(Ok(request)), audio);
        let over = CancellationToken::new();
        let told = Told::Utterance {
            events,
            over: over.clone(),
            place,
        };
        // Where the writer has ended, the call has.
        let _ = self.begun.send(told).await;
        let first = input.text(first).await;
        self.spoken = Some(Spoken {
            input,
            cancelled: false,
            over,
        });
        taken(service, self.call, first)
    }
}

/// What a piece of text met; of an utterance that has ended, its events tell.
fn taken(service: &Service, call: &Call, taken: crate::Result<()>) -> End {
    match taken {
        Ok(()) | Err(Error::Cancelled) => Ok(()),
        Err(error) => Err(service.refused(&error, call)),
    }
}

/// Tells of one utterance after the other.
async fn write(
    service: &Service,
    call: &Call,
    mut coming: Receiver<Told>,
    sender: Sender<proto::LiveResponse>,
) -> End {
    while let Some(told) = coming.recv().await {
        match told {
            Told::Utterance { events, over, place } => {
                utterance(service, call, events, &sender, (over, place)).await?;
            }
            Told::Nothing => room(&sender)
                .await?
                .send(answer(Event::Cancelled(proto::LiveCancelled {}))),
        }
    }
    Ok(())
}

/// Tells of one, and gives back what it held before its end is read: the client may begin the next one then.
async fn utterance(
    service: &Service,
    call: &Call,
    mut events: LiveEvents,
    sender: &Sender<proto::LiveResponse>,
    (over, place): (CancellationToken, OwnedSemaphorePermit),
) -> End {
    loop {
        // Only what can be sent is taken: what waits is dropped by a cancel.
        let room = room(sender).await?;
        let last = match events.next().await {
            Some(LiveEvent::Started { sample_rate, seed }) => {
                room.send(answer(Event::Started(proto::LiveStarted { sample_rate, seed })));
                continue;
            }
            Some(LiveEvent::Audio(bytes)) => {
                room.send(answer(Event::TtsAudio(bytes)));
                continue;
            }
            Some(LiveEvent::Done { seconds }) => Event::Done(proto::LiveDone { seconds }),
            Some(LiveEvent::Cancelled) => Event::Cancelled(proto::LiveCancelled {}),
            Some(LiveEvent::Failed(error)) => return Err(service.refused(&error, call)),
            None => return Ok(()),
        };
        drop(place);
        over.cancel();
        room.send(answer(last));
        return Ok(());
    }
}

fn answer(event: Event) -> proto::LiveResponse {
    proto::LiveResponse { event: Some(event) }
}
