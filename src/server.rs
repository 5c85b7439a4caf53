//! The running server: engine, routes, connections, and an end that loses nobody's speech.

use std::{
    future::Future,
    net::SocketAddr,
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
use tokio_util::sync::CancellationToken;

use self::stall::StallGuard;
use crate::{
    Error, Result,
    api::{ApiOptions, ApiState, http::router},
    engine::{Engine, EngineOptions, ModelInfo},
    limits,
};

mod stall;

/// Everything an operator chooses.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// The model and its bounds.
    pub engine: EngineOptions,
    /// The api's choices.
    pub api: ApiOptions,
}

/// What is said once the server takes requests.
#[derive(Debug)]
pub struct Ready<'a> {
    /// Where it listens; the port is the real one.
    pub address: SocketAddr,
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
/// [`Error::Invalid`] when the address is taken or unknown; what [`Engine::load`] says.
pub async fn run(
    options: ServerOptions,
    stop: impl Future<Output = ()>,
    hurry: impl Future<Output = ()>,
    ready: impl FnOnce(&Ready<'_>),
) -> Result<()> {
    let started = Instant::now();
    let mut stop = std::pin::pin!(stop);
    // The address comes first: a port that is taken should be known before the model is loaded.
    let wanted = format!("{}:{}", options.host, options.port);
    let taken = |error| Error::Invalid(format!("cannot listen on {wanted}: {error}"));
    let listener = TcpListener::bind((options.host.as_str(), options.port))
        .await
        .map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    let loading = tokio::task::spawn_blocking(move || Engine::load(options.engine));
    let engine = tokio::select! {
        loaded = loading => loaded.map_err(|error| Error::internal("loading the model", error))??,
        () = &mut stop => return Ok(()),
    };
    ready(&Ready {
        address,
        model: engine.model(),
        voices: engine.voices().len(),
        took: started.elapsed(),
    });

    let state = ApiState::new(engine, options.api);
    let doors = Doors::new();
    let accepting = tokio::spawn(doors.clone().accept(listener, router(state.clone())));
    stop.await;
    drain(&state, &doors, hurry).await;
    accepting.abort();
    let _ = accepting.await;
    // CUDA's driver ends before what is still loaded would, and a process that unloads then dies of it.
    let unloading = tokio::task::spawn_blocking(move || drop(state));
    if timeout(limits::UNLOAD_DEADLINE, unloading).await.is_err() {
        tracing::warn!("the model was not unloaded in time");
    }
    Ok(())
}

/// Refuses new work, lets running syntheses end and their last bytes go out.
async fn drain(state: &ApiState, doors: &Doors, hurry: impl Future<Output = ()>) {
    tracing::info!(
        limit_s = limits::DRAIN_DEADLINE.as_secs(),
        "draining: new work is refused"
    );
    state.start_draining();
    let gently = async {
        state.speaker().drain(limits::DRAIN_DEADLINE).await;
        doors.close().await;
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

/// The connections: how many, and when they are to end.
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
    async fn accept(self, listener: TcpListener, app: Router) {
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
                    let (app, closing) = (app.clone(), self.closing.clone());
                    tokio::spawn(async move {
                        serve(stream, app, closing).await;
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

/// Serves one connection to its end.
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
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that left, or sent what is not HTTP: nothing an operator must act on.
        tracing::debug!(%error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests;
