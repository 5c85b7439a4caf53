//! `cosyserve serve`.

use std::{io::Write, path::PathBuf};

use axum::http::HeaderValue;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::ModelArgs;
use crate::{
    Error, Result,
    api::{ApiKey, ApiOptions},
    server::{self, GrpcOptions, Ready, ServerOptions, TlsFiles},
};

const EXAMPLES: &str = "\
Examples:
  cosyserve serve
  cosyserve serve --host 127.0.0.1 --port 0 --grpc-port 0       any free ports; the ready line names them
  cosyserve serve --model models/CosyVoice2 --max-conc 8 --queue 32
  COSYSERVE_API_KEY=secret cosyserve serve --cors-origin https://app.example
  cosyserve serve --grpc-tls-cert cert.pem --grpc-tls-key key.pem
  curl http://localhost:5000/tts -H 'Content-Type: application/json' \\
       -d '{\"tts_text\": \"你好\", \"spk_id\": \"中文女\"}' -o hello.mp3

One line on standard output says when the server is ready; logs go to standard error.
SIGTERM and SIGINT drain: new work is answered 503 (gRPC: UNAVAILABLE) while running speech ends. A
second signal stops at once.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Be ready sooner: the first requests, of each voice, do what a warm-up does before
    #[arg(long, env = "COSYSERVE_NO_WARM_UP", help_heading = "Model")]
    no_warm_up: bool,
    /// Address to listen on
    #[arg(
        long,
        env = "COSYSERVE_HOST",
        value_name = "ADDRESS",
        default_value = "0.0.0.0",
        help_heading = "Network"
    )]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(
        long,
        env = "COSYSERVE_PORT",
        value_name = "PORT",
        default_value_t = 5000,
        help_heading = "Network"
    )]
    port: u16,
    /// Port of the gRPC service (openapi/cosyvoice.proto); 0 takes a free one
    #[arg(
        long,
        env = "COSYSERVE_GRPC_PORT",
        value_name = "PORT",
        default_value_t = 50_001,
        help_heading = "Network"
    )]
    grpc_port: u16,
    /// Serve no gRPC
    #[arg(long, env = "COSYSERVE_NO_GRPC", help_heading = "Network")]
    no_grpc: bool,
    /// Certificate of the gRPC service and those that vouch for it, PEM [default: no TLS]
    #[arg(
        long,
        env = "COSYSERVE_GRPC_TLS_CERT",
        value_name = "PATH",
        requires = "grpc_tls_key",
        help_heading = "Network"
    )]
    grpc_tls_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(
        long,
        env = "COSYSERVE_GRPC_TLS_KEY",
        value_name = "PATH",
        requires = "grpc_tls_cert",
        help_heading = "Network"
    )]
    grpc_tls_key: Option<PathBuf>,
    /// Origin that browsers may call from (repeatable; * for any) [default: any]
    #[arg(
        long,
        env = "COSYSERVE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    cors_origin: Vec<HeaderValue>,
    /// Key that clients must send as `Authorization: Bearer KEY` or `X-API-Key: KEY` (better set by the environment,
    /// where other users cannot see it)
    #[arg(
        long,
        env = "COSYSERVE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Network"
    )]
    api_key: Option<String>,
}

pub async fn run(args: ServeArgs) -> Result<()> {
    let tls = args.grpc_tls_cert.zip(args.grpc_tls_key);
    let grpc = GrpcOptions {
        port: args.grpc_port,
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
    };
    let options = ServerOptions {
        host: args.host,
        port: args.port,
        grpc: (!args.no_grpc).then_some(grpc),
        engine: args.model.options(!args.no_warm_up)?,
        api: ApiOptions {
            cors_origins: origins(args.cors_origin),
            // An empty variable is how an environment says "none".
            api_key: args
                .api_key
                .filter(|key| !key.is_empty())
                .map(|key| ApiKey::new(&key)),
        },
    };
    let (mut stop, mut hurry) = (Signals::new()?, Signals::new()?);
    let again = async move {
        hurry.next().await;
        hurry.next().await;
    };
    server::run(options, async move { stop.next().await }, again, announce).await
}

/// The origins to restrict to; `*` among them lifts the restriction.
fn origins(named: Vec<HeaderValue>) -> Vec<HeaderValue> {
    match named.iter().any(|origin| origin == "*") {
        true => Vec::new(),
        false => named,
    }
}

/// The one line on standard output; nobody reading it is no reason to stop.
fn announce(ready: &Ready<'_>) {
    let model = ready.model;
    let mut out = std::io::stdout();
    let grpc = ready.grpc.map(|address| format!("; gRPC on {address}"));
    let _ = writeln!(
        out,
        "cosyserve {} ready on http://{}: model {} (generation {}, {}, {} Hz), {} voices, in {:.2} s{}",
        env!("CARGO_PKG_VERSION"),
        ready.address,
        model.name,
        model.generation,
        model.precision,
        model.sample_rate,
        ready.voices,
        ready.took.as_secs_f32(),
        grpc.unwrap_or_default(),
    );
    let _ = out.flush();
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::internal("listening for signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_origin() {
        let list = |names: &[&'static str]| names.iter().map(|name| HeaderValue::from_static(name)).collect();
        assert_eq!(origins(list(&["https://a", "*"])), Vec::<HeaderValue>::new());
        assert_eq!(origins(list(&["https://a"])), ["https://a"]);
    }
}
