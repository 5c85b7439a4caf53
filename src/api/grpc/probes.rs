//! The services around ours: health (`grpc.health.v1`) and reflection.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    middleware::{self, Next},
    response::Response,
};
use futures::{StreamExt, stream};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;
use tokio_util::sync::CancellationToken;
use tonic::{Status, server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::{Builder, Error as BadDescriptors};

use super::{
    proto::{DESCRIPTORS, cosy_voice_server::CosyVoiceServer},
    service::Service,
};
use crate::{
    Error, Result,
    api::{ApiState, error::ApiError},
    limits,
};

/// Services that health is told of: the server as a whole, and ours.
const SERVICES: [&str; 2] = ["", <CosyVoiceServer<Service> as NamedService>::NAME];

/// The path of the service that says whether the server takes calls.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/";

/// Health, which says SERVING until `state` drains, and reflection in its present version and in the one that many tools
/// still ask for. Streams that watch end when the connections are `closing`.
pub(super) async fn router(state: &ApiState, closing: CancellationToken) -> Result<Router> {
    let reporter = HealthReporter::new();
    set(&reporter, ServingStatus::Serving).await;
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    tokio::spawn(tell_drain(state.clone(), closing.clone(), reporter));
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let bad = |error: BadDescriptors| Error::internal("reading gRPC descriptors", error);
    let (now, before) = (described().build_v1(), described().build_v1alpha());
    let most = limits::GRPC_PROBE_BYTES;
    // Of an empty router, which has no answer of its own for unknown paths: two cannot be merged.
    let routes = Routes::from(Router::new())
        .add_service(health.max_decoding_message_size(most))
        .add_service(now.map_err(bad)?.max_decoding_message_size(most))
        .add_service(before.map_err(bad)?.max_decoding_message_size(most));
    let closed = middleware::from_fn_with_state(closing, end_with_connections);
    Ok(routes.into_axum_router().layer(closed))
}

/// Says NOT_SERVING from the moment on in which new work is refused.
async fn tell_drain(state: ApiState, closing: CancellationToken, reporter: HealthReporter) {
    tokio::select! {
        () = state.draining() => {}
        () = closing.cancelled() => {}
    }
    set(&reporter, ServingStatus::NotServing).await;
}

async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Ends an answer that would go on for as long as its connection, which in turn waits for its answers.
async fn end_with_connections(
    State(closing): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    // One that is complete with its head has nothing to end.
    if response.headers().contains_key(Status::GRPC_STATUS) {
        return response;
    }
    response.map(|body| {
        let answer = Some((BodyStream::new(body), closing));
        let frames = stream::unfold(answer, async |answer| {
            let (mut frames, closing) = answer?;
            tokio::select! {
                // What there is to say is said.
                biased;
                frame = frames.next() => Some((frame?, Some((frames, closing)))),
                () = closing.cancelled() => Some((Ok(Frame::trailers(unavailable())), None)),
            }
        });
        Body::new(StreamBody::new(frames))
    })
}

/// The trailers of an answer that a server cuts because it ends.
fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Only a status with details may be too much for a header.
    let status = Status::unavailable(ApiError::draining().detail());
    let _ = status.add_header(&mut trailers);
    trailers
}
