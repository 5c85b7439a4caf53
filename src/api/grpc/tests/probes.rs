//! Health and reflection.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::api::ApiKey;

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

#[tokio::test]
async fn health_follows_the_drain_without_a_key() {
    let options = ApiOptions {
        api_key: Some(ApiKey::new("hunter2")),
        ..ApiOptions::default()
    };
    let app = app_with(options).await;
    let mut health = HealthClient::new(app.router.clone());
    for service in ["", "cosyvoice.CosyVoice"] {
        let answer = health.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let stranger = health.check(ask("nobody")).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
    let mut watch = health
        .watch(ask("cosyvoice.CosyVoice"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    app.state.start_draining();
    let change = timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(change.unwrap().unwrap().status(), ServingStatus::NotServing);
    for service in ["", "cosyvoice.CosyVoice"] {
        let answer = health.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing, "{service:?}");
    }
}

#[tokio::test]
async fn who_watches_does_not_keep_connections_open() {
    let app = app().await;
    let mut health = HealthClient::new(app.router.clone());
    let mut watch = health.watch(ask("")).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    app.closing.cancel();
    let end = timeout(PATIENCE, async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    });
    says(
        &end.await.unwrap(),
        Code::Unavailable,
        "the server is shutting down",
    );
    // What is over by itself ends as it does at any time.
    assert!(health.check(ask("")).await.is_ok());
}

#[tokio::test]
async fn reflection_describes_the_service_in_both_versions() {
    let app = app().await;
    let symbol = "cosyvoice.CosyVoice.Live".to_string();
    let ask = |message| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    use v1::server_reflection_request::MessageRequest as Ask;
    use v1::server_reflection_response::MessageResponse as Answer;
    let asked = futures::stream::iter([
        ask(Ask::ListServices(String::new())),
        ask(Ask::FileContainingSymbol(symbol.clone())),
    ]);
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(app.router.clone());
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let Some(Answer::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "cosyvoice.CosyVoice",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let Some(Answer::FileDescriptorResponse(file)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no file")
    };
    let holds = |file: &[u8], name: &[u8]| file.windows(name.len()).any(|window| window == name);
    let file = &file.file_descriptor_proto[0];
    assert!(holds(file, b"zero_shot_request") && holds(file, b"prompt_audio"));

    let asked = futures::stream::iter([v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol),
        ),
    }]);
    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(app.router);
    let mut answers = old.server_reflection_info(asked).await.unwrap().into_inner();
    assert!(matches!(
        answers.message().await.unwrap().unwrap().message_response,
        Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    ));
}
