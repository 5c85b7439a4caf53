//! The gRPC service of `openapi/cosyvoice.proto`, with health and reflection beside it.
//!
//! Every call passes the `door` first: it refuses what must not come in before a byte of the message is read. What is
//! let in is converted (`convert`) and spoken; `outgoing` hands the audio on as messages.

mod convert;
mod deadline;
mod door;
mod live;
mod outgoing;
mod probes;
mod service;
mod status;

use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use self::{door::Door, proto::cosy_voice_server::CosyVoiceServer, service::Service};
use super::ApiState;
use crate::{Result, limits};

/// Messages, server and client of `openapi/cosyvoice.proto`, generated.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, reason = "generated")]
pub mod proto {
    tonic::include_proto!("cosyvoice");

    /// The file's descriptors, encoded, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("cosyvoice_descriptor");
}

/// The services over this state, for connections that speak HTTP/2; `closing`: those that only watch are to end.
///
/// # Errors
/// [`crate::Error::Internal`] when the descriptors that were built in cannot be read.
pub async fn router(state: ApiState, closing: CancellationToken) -> Result<Router> {
    let door = Door::new(&state);
    let probes = probes::router(&state, closing).await?;
    let speech = CosyVoiceServer::new(Service::new(state, door.clone()));
    let speech = Routes::new(speech.max_decoding_message_size(limits::GRPC_MESSAGE_BYTES));
    let routes = speech.into_axum_router().merge(probes);
    Ok(routes
        .layer(middleware::from_fn_with_state(door, door::admit))
        .layer(middleware::from_fn(door::track)))
}

#[cfg(test)]
mod tests;
