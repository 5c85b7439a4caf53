//! Options that several commands share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::{
    Error, Result,
    engine::{Engine, EngineOptions},
    limits,
    runtime::Device,
    telemetry::{LogFormat, LogOptions},
};

/// Which model, where its voices live, and how much of the machine it may use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model bundle directory [default: the bundled model]
    #[arg(long, env = "COSYSERVE_MODEL", value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where saved voices live [default: $XDG_DATA_HOME/cosyserve, ~/.local/share/cosyserve or ./data]
    #[arg(long, env = "COSYSERVE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// ONNX Runtime's shared library [default: looked for in the usual places]
    #[arg(long, env = "COSYSERVE_ONNXRUNTIME", value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Threads for computation; 0 takes one per core
    #[arg(long, env = "COSYSERVE_THREADS", value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Where to compute: cpu, cuda, cuda:N, tensorrt, tensorrt:N, a list of those separated by commas (requests go to
    /// the least busy), or auto (the first GPU if it can be used, else the CPU). Not auto by itself: a GPU gives other
    /// samples for the same seed, and is shared with whatever else runs on it
    #[arg(long, env = "COSYSERVE_DEVICE", value_name = "LIST", default_value = "cpu", value_parser = devices)]
    device: String,
    /// Memory for flow state that later chunks and requests of a voice reuse, per device [default: a quarter of the
    /// memory there is: on a CPU 1024 to 8192, taken as it is used; of a GPU's free memory 16384 at most, taken at once]
    #[arg(long, env = "COSYSERVE_FLOW_CACHE", value_name = "MIB", value_parser = clap::value_parser!(u64).range(..=1_048_576))]
    flow_cache: Option<u64>,
    /// Speech before a chunk that the flow sees while streaming (generations 2 and 3); 0 is all [default: as the model says]
    #[arg(long, env = "COSYSERVE_LEFT_CONTEXT", value_name = "SECONDS", value_parser = seconds)]
    left_context: Option<f32>,
    /// Where TensorRT keeps the engines it builds (the first start takes minutes) [default: tensorrt in the data
    /// directory]
    #[arg(long, env = "COSYSERVE_TENSORRT_CACHE", value_name = "DIR")]
    tensorrt_cache: Option<PathBuf>,
    /// Syntheses at work at once [default: 4 on a CPU; on each GPU what its memory holds, 32 at most]
    #[arg(long, env = "COSYSERVE_MAX_CONC", value_name = "N", value_parser = at_least_one)]
    max_conc: Option<usize>,
    /// Requests that may wait beyond those; more are told to come back later
    #[arg(long, env = "COSYSERVE_QUEUE", value_name = "N", default_value_t = limits::QUEUE_LENGTH)]
    queue: usize,
    /// Time one request may take
    #[arg(long, env = "COSYSERVE_TIMEOUT", value_name = "SECONDS", default_value_t = limits::REQUEST_DEADLINE.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl ModelArgs {
    /// As the engine takes them; `warm_up`: whether it is to be warm before it is ready.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no model is found.
    pub fn options(self, warm_up: bool) -> Result<EngineOptions> {
        let data_dir = self.data_dir.unwrap_or_else(default_data_dir);
        Ok(EngineOptions {
            bundle: find_model(self.model)?,
            voices_dir: data_dir.join("voices"),
            onnxruntime: self.onnxruntime,
            threads: self.threads,
            devices: self.device,
            flow_cache: self.flow_cache.map(|mib| mib << 20),
            left_context: self.left_context,
            tensorrt_cache: self.tensorrt_cache.unwrap_or_else(|| data_dir.join("tensorrt")),
            concurrency: self.max_conc,
            queue: self.queue,
            deadline: Duration::from_secs(self.timeout),
            warm_up,
        })
    }

    /// Loads the model for one piece of work, which would only wait for a warm-up.
    ///
    /// # Errors
    /// When no model is found, or what [`Engine::load`] says.
    pub async fn load(self) -> Result<Arc<Engine>> {
        load_engine(self.options(false)?).await
    }
}

/// Loads a model away from the async threads.
///
/// # Errors
/// What [`Engine::load`] says.
pub async fn load_engine(options: EngineOptions) -> Result<Arc<Engine>> {
    let loading = tokio::task::spawn_blocking(move || Engine::load(options));
    loading
        .await
        .map_err(|error| Error::internal("loading the model", error))?
}

/// The model named, else the first bundled one found.
fn find_model(named: Option<PathBuf>) -> Result<PathBuf> {
    let is_bundle = |path: &Path| path.join("bundle.json").is_file();
    if let Some(path) = named {
        let text = format!(
            "{} is not a model bundle: it holds no bundle.json",
            path.display()
        );
        return if is_bundle(&path) {
            Ok(path)
        } else {
            Err(Error::Invalid(text))
        };
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    let places = [
        Some(PathBuf::from("onnx/bundled")),
        beside.map(|root| root.join("share/cosyserve/bundled")),
        Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled")),
    ];
    let places: Vec<PathBuf> = places.into_iter().flatten().collect();
    if let Some(found) = places.iter().find(|path| is_bundle(path)) {
        return Ok(found.clone());
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(Error::Invalid(format!(
        "no model found; name one with --model (looked in {})",
        looked.join(", ")
    )))
}

fn default_data_dir() -> PathBuf {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path: &PathBuf| path.is_absolute())
    };
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    match absolute("XDG_DATA_HOME").or_else(home) {
        Some(data) => data.join("cosyserve"),
        None => PathBuf::from("data"),
    }
}

/// What to log and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Shape of log lines
    #[arg(
        long,
        env = "COSYSERVE_LOG_FORMAT",
        value_enum,
        default_value = "text",
        global = true
    )]
    log_format: Format,
    /// Level (error, warn, info, debug, trace) or directives (info,cosyserve::engine=debug) [default: info for serve,
    /// else warn]
    #[arg(long, env = "COSYSERVE_LOG_LEVEL", value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    /// Log to a file too, a new one each day: logs/cosyserve.log becomes logs/cosyserve.2026-01-31.log
    #[arg(long, env = "COSYSERVE_LOG_FILE", value_name = "PATH", global = true)]
    log_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogArgs {
    /// As `telemetry` takes them; RUST_LOG counts where no level is given.
    pub fn options(&self, default_level: &str) -> LogOptions {
        let level = self.log_level.clone().or_else(|| std::env::var("RUST_LOG").ok());
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        let filter = level.unwrap_or_else(|| default_level.to_owned());
        LogOptions {
            format,
            filter,
            file: self.log_file.clone(),
        }
    }
}

/// A count of at least one.
pub fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number".into()),
    }
}

/// A list of devices, or `auto`.
fn devices(text: &str) -> std::result::Result<String, String> {
    if text != "auto" {
        Device::list(text).map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

/// A time, 0 or more.
fn seconds(text: &str) -> std::result::Result<f32, String> {
    match text.parse::<f32>() {
        Ok(seconds) if (0.0..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("must be a number of seconds between 0 and 3600".into()),
    }
}

/// A speed factor.
pub fn speed(text: &str) -> std::result::Result<f32, String> {
    let (min, max) = (limits::SPEED_MIN, limits::SPEED_MAX);
    match text.parse::<f32>() {
        Ok(speed) if (min..=max).contains(&speed) => Ok(speed),
        _ => Err(format!("must be a number between {min} and {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_model_must_be_a_bundle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        assert!(find_model(Some(path.clone())).is_err());
        std::fs::write(path.join("bundle.json"), "{}").unwrap();
        assert_eq!(find_model(Some(path.clone())).unwrap(), path);
    }

    #[test]
    fn device_lists_and_times() {
        assert!(devices("auto").is_ok() && devices("cpu").is_ok() && devices("cuda:0,tensorrt:1").is_ok());
        assert!(devices("gpu").is_err() && devices("auto,cpu").is_err() && devices("").is_err());
        assert_eq!(seconds("0"), Ok(0.0));
        assert!(seconds("-1").is_err() && seconds("NaN").is_err());
    }

    #[test]
    fn speeds() {
        assert_eq!(speed("0.5"), Ok(0.5));
        assert!(speed("NaN").is_err() && speed("2.1").is_err() && speed("").is_err());
    }
}
