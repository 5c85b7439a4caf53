//! The services around ours: health (`grpc.health.v1`) and reflection.

use tonic::{server::NamedService, service::Routes};
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
use crate::{Error, Result, limits};

/// Services that health is told of: the server as a whole, and ours.
const SERVICES: [&str; 2] = ["", <CosyVoiceServer<Service> as NamedService>::NAME];

/// The path of the service that says whether the server takes calls.
pub(super) const HEALTH: &str = "/grpc.health.v1.Health/";

/// Adds health, which says SERVING, and reflection in its present version and in the one that many tools still ask for.
pub(super) async fn add_to(routes: Routes) -> Result<(Routes, HealthReporter)> {
    let reporter = HealthReporter::new();
    set(&reporter, ServingStatus::Serving).await;
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let bad = |error: BadDescriptors| Error::internal("reading gRPC descriptors", error);
    let (now, before) = (described().build_v1(), described().build_v1alpha());
    let most = limits::GRPC_PROBE_BYTES;
    let routes = routes
        .add_service(health.max_decoding_message_size(most))
        .add_service(now.map_err(bad)?.max_decoding_message_size(most))
        .add_service(before.map_err(bad)?.max_decoding_message_size(most));
    Ok((routes, reporter))
}

/// Says so of all services.
pub(super) async fn set(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

/// Forgets them, which ends the streams of those who watch.
pub(super) async fn clear(reporter: &mut HealthReporter) {
    for service in SERVICES {
        reporter.clear_service_status(service).await;
    }
}
