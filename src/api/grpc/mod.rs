//! The gRPC service of `openapi/cosyvoice.proto`, with health and reflection beside it.
//!
//! Every call passes the [`door`] first: it refuses what must not come in before a byte of the message is read. What is
//! let in is [`convert`]ed and spoken; [`outgoing`] hands the audio on as messages.

mod convert;
mod deadline;
mod door;
mod outgoing;
mod probes;
mod service;
mod status;

use axum::{Router, middleware};
use tonic::service::Routes;

use self::{
    door::Door,
    proto::cosy_voice_server::CosyVoiceServer,
    service::Service,
};
use super::ApiState;
use crate::{Result, limits};

/// Messages, server and client of `openapi/cosyvoice.proto`, generated.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, reason = "generated")]
pub mod proto {
    tonic::include_proto!("cosyvoice");

    /// The file's descriptors, encoded, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("cosyvoice_descriptor");
}

/// The services as a server needs them.
pub struct Grpc {
    /// All of them, for connections that speak HTTP/2.
    pub router: Router,
    /// What the health service says.
    pub health: Health,
}

/// Sets what the health service says.
#[derive(Debug, Clone)]
pub struct Health(tonic_health::server::HealthReporter);

impl Health {
    /// From now on the server takes no calls, and says so.
    pub async fn not_serving(&self) {
        probes::set(&self.0, tonic_health::ServingStatus::NotServing).await;
    }

    /// Ends the streams of those who watch, which would keep their connections open.
    pub async fn end(&mut self) {
        probes::clear(&mut self.0).await;
    }
}

/// The services over this state.
///
/// # Errors
/// [`crate::Error::Internal`] when the descriptors that were built in cannot be read.
pub async fn services(state: ApiState) -> Result<Grpc> {
    let door = Door::new(&state);
    let speech = CosyVoiceServer::new(Service::new(state))
        .max_decoding_message_size(limits::GRPC_MESSAGE_BYTES);
    let (routes, reporter) = probes::add_to(Routes::new(speech)).await?;
    let router = routes
        .into_axum_router()
        .layer(middleware::from_fn_with_state(door, door::admit))
        .layer(middleware::from_fn(door::track));
    Ok(Grpc {
        router,
        health: Health(reporter),
    })
}

#[cfg(test)]
mod tests;
