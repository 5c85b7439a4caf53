//! Connections that speak HTTP/2, as gRPC's do, with or without TLS.

use axum::Router;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{greeting::Greeted, stall::StallGuard, to_its_end};
use crate::limits;

/// Bytes of HTTP/2's preface, with which a client begins.
const PREFACE: usize = 24;

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: TcpStream,
    app: Router,
    tls: Option<TlsAcceptor>,
    closing: CancellationToken,
) {
    // Audio goes out the moment it is made.
    let _ = stream.set_nodelay(true);
    let stream = StallGuard::new(stream, limits::WRITE_IDLE);
    let Some(tls) = tls else {
        return talk(stream, app, closing).await;
    };
    match timeout(limits::GRPC_GREETING, tls.accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, app, closing).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    closing: CancellationToken,
) {
    let io = TokioIo::new(Greeted::new(stream, PREFACE, limits::GRPC_GREETING));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits::GRPC_STREAMS)
        .max_send_buf_size(limits::GRPC_SEND_BYTES)
        .max_header_list_size(limits::GRPC_METADATA_BYTES)
        .keep_alive_interval(limits::GRPC_KEEP_ALIVE)
        .keep_alive_timeout(limits::GRPC_KEEP_ALIVE_ANSWER);
    let connection = http.serve_connection(io, TowerToHyperService::new(app));
    if let Err(error) = to_its_end(connection, &closing, |it| it.graceful_shutdown()).await {
        // A client that left, or sent what is not HTTP/2: nothing an operator must act on.
        tracing::debug!(%error, "a gRPC connection broke off");
    }
}
