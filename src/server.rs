//! The running server: engine, routes, connections, and an end that loses nobody's speech.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::stall::StallGuard;
pub use self::tls::TlsFiles;
use crate::{
    Error, Result,
    api::{ApiOptions, ApiState, grpc, http::router},
    engine::{Engine, EngineOptions, ModelInfo},
    limits,
};

mod greeting;
mod http2;
mod stall;
mod tls;

/// Everything an operator chooses.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// The gRPC service; `None`: there is none.
    pub grpc: Option<GrpcOptions>,
    /// The model and its bounds.
    pub engine: EngineOptions,
    /// The api's choices.
    pub api: ApiOptions,
}

/// Where the gRPC service is.
#[derive(Debug, Clone)]
pub struct GrpcOptions {
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// TLS; `None`: in the clear.
    pub tls: Option<TlsFiles>,
}

/// What is said once the server takes requests.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Where it listens; the port is the real one.
    pub address: SocketAddr,
    /// Where gRPC is served.
    pub grpc: Option<SocketAddr>,
    /// What is loaded.
    pub model: &'a ModelInfo,
    /// Number of voices.
    pub voices: usize,
    /// From the start to now.
    pub took: Duration,
}

/// Loads the model, serves until `stop` is done, then drains: new work is refused while running syntheses end, at
/// most [`limits::DRAIN_DEADLINE`] or until `hurry` is done.
///
/// # Errors
/// [`Error::Invalid`] when an address is taken or unknown, or a file of TLS is unusable; what [`Engine::load`] says.
pub async fn run(
    options: ServerOptions,
    stop: impl Future<Output = ()>,
    hurry: impl Future<Output = ()>,
    ready: impl FnOnce(&Ready<'_>),
) -> Result<()> {
    let started = Instant::now();
    let mut stop = std::pin::pin!(stop);
    // The addresses come first: a port that is taken should be known before the model is loaded.
    let (listener, address) = listen(&options.host, options.port, "--port").await?;
    let grpc_listener = match &options.grpc {
        Some(grpc) => {
            let tls = grpc.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
            Some((listen(&options.host, grpc.port, "--grpc-port").await?, tls))
        }
        None => None,
    };
    let loading = tokio::task::spawn_blocking(move || Engine::load(options.engine));
    let engine = tokio::select! {
        loaded = loading => loaded.map_err(|error| Error::internal("loading the model", error))??,
        () = &mut stop => return Ok(()),
    };
    let state = ApiState::new(engine.clone(), options.api);
    let doors = [Doors::new(), Doors::new()];
    let mut accepting = tokio::task::JoinSet::new();
    let mut grpc_address = None;
    if let Some(((listener, address), tls)) = grpc_listener {
        let router = grpc::router(state.clone(), doors[1].closing.clone()).await?;
        accepting.spawn(doors[1].clone().accept(listener, Serves::Grpc(router, tls)));
        grpc_address = Some(address);
    }
    accepting.spawn(
        doors[0]
            .clone()
            .accept(listener, Serves::Http(router(state.clone()))),
    );
    ready(&Ready {
        address,
        grpc: grpc_address,
        model: engine.model(),
        voices: engine.voices().len(),
        took: started.elapsed(),
    });
    drop(engine);
    stop.await;
    drain(&state, &doors, hurry).await;
    accepting.shutdown().await;
    // CUDA's driver ends before what is still loaded would, and a process that unloads then dies of it.
    let unloading = tokio::task::spawn_blocking(move || drop(state));
    if timeout(limits::UNLOAD_DEADLINE, unloading).await.is_err() {
        tracing::warn!("the model was not unloaded in time");
    }
    Ok(())
}

/// Listens on a port that `option` names.
async fn listen(host: &str, port: u16, option: &str) -> Result<(TcpListener, SocketAddr)> {
    let taken = |error| Error::Invalid(format!("cannot listen on {host}:{port} ({option}): {error}"));
    let listener = TcpListener::bind((host, port)).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    Ok((listener, address))
}

/// Refuses new work, lets running syntheses end and their last bytes go out.
async fn drain(state: &ApiState, doors: &[Doors], hurry: impl Future<Output = ()>) {
    tracing::info!(
        limit_s = limits::DRAIN_DEADLINE.as_secs(),
        "draining: new work is refused"
    );
    state.start_draining();
    let gently = async {
        state.speaker().drain(limits::DRAIN_DEADLINE).await;
        futures::future::join_all(doors.iter().map(Doors::close)).await;
        state.sockets_closed().await;
    };
    tokio::select! {
        ended = timeout(limits::DRAIN_DEADLINE, gently) => match ended {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!("the drain's deadline passed; what still ran is cut"),
        },
        () = hurry => tracing::warn!("told to hurry; what still ran is cut"),
    }
}

/// What is served on a port.
#[derive(Clone)]
enum Serves {
    Http(Router),
    Grpc(Router, Option<TlsAcceptor>),
}

impl Serves {
    /// Serves one connection to its end.
    async fn serve(self, stream: TcpStream, closing: CancellationToken) {
        match self {
            Serves::Http(app) => serve(stream, app, closing).await,
            Serves::Grpc(app, tls) => http2::serve(stream, app, tls, closing).await,
        }
    }
}

/// The connections of a port: how many, and when they are to end.
#[derive(Clone)]
struct Doors {
    room: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Doors {
    fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(limits::CONNECTIONS)),
            closing: CancellationToken::new(),
        }
    }

    /// Serves every connection that comes, until closed.
    async fn accept(self, listener: TcpListener, serves: Serves) {
        loop {
            let Ok(place) = self.room.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, _peer)) => {
                    let (serves, closing) = (serves.clone(), self.closing.clone());
                    tokio::spawn(async move {
                        serves.serve(stream, closing).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must close first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Lets every connection end with the answer it is giving, and waits for that.
    async fn close(&self) {
        self.closing.cancel();
        let all = u32::try_from(limits::CONNECTIONS).unwrap_or(u32::MAX);
        drop(self.room.acquire_many(all).await);
    }
}

/// Serves one connection that speaks HTTP/1 to its end.
async fn serve(stream: TcpStream, app: Router, closing: CancellationToken) {
    // Audio goes out the moment it is made.
    let _ = stream.set_nodelay(true);
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ);
    let io = TokioIo::new(StallGuard::new(stream, limits::WRITE_IDLE));
    let connection = http
        .serve_connection(io, TowerToHyperService::new(app))
        .with_upgrades();
    if let Err(error) = to_its_end(connection, &closing, |it| it.graceful_shutdown()).await {
        // A client that left, or sent what is not HTTP: nothing an operator must act on.
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Serves a connection to its end; `closing` asks it, by `ask`, to end with the answer it is giving.
async fn to_its_end<C: Future>(
    connection: C,
    closing: &CancellationToken,
    ask: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            ask(connection.as_mut());
            connection.await
        }
    }
}

#[cfg(test)]
mod tests;
