//! Logs: to stderr always, to a file that changes every day on request.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use tracing_appender::{
    non_blocking::{NonBlockingBuilder, WorkerGuard},
    rolling::{RollingFileAppender, Rotation},
};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{Error, Result, limits};

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: with colours on a terminal, compact elsewhere.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What to log, where and how.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Shape of the lines, in the file as on stderr.
    pub format: LogFormat,
    /// A level (`info`) or directives (`info,cosyserve::engine=debug`).
    pub filter: String,
    /// A file beside stderr. `logs/cosyserve.log` becomes `logs/cosyserve.2026-01-31.log`, one a day,
    /// [`limits::LOG_FILES_KEPT`] of them kept.
    pub file: Option<PathBuf>,
}

/// Writes out what is still buffered when dropped; `main` holds it.
#[derive(Debug)]
pub struct LogGuard(#[allow(dead_code, reason = "held for its drop")] Option<WorkerGuard>);

/// Starts logging, once per process.
///
/// # Errors
/// [`Error::Invalid`] for a filter that does not parse, a file that cannot be opened, or a second start.
pub fn start(options: &LogOptions) -> Result<LogGuard> {
    let filter = EnvFilter::builder().parse(&options.filter);
    let filter =
        filter.map_err(|error| Error::Invalid(format!("log level {:?}: {error}", options.filter)))?;
    let mut layers = vec![stderr_layer(options.format)];
    let mut guard = None;
    if let Some(path) = &options.file {
        let lines = NonBlockingBuilder::default().buffered_lines_limit(limits::LOG_LINES_BUFFERED);
        let (writer, worker) = lines.finish(daily(path)?);
        guard = Some(worker);
        let layer = fmt::layer().with_writer(writer).with_ansi(false);
        layers.push(match options.format {
            LogFormat::Text => layer.compact().boxed(),
            LogFormat::Json => layer.json().flatten_event(true).boxed(),
        });
    }
    let started = tracing_subscriber::registry()
        .with(layers)
        .with(filter)
        .try_init();
    started.map_err(|error| Error::Invalid(format!("logging: {error}")))?;
    Ok(LogGuard(guard))
}

fn stderr_layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text if terminal => layer.with_target(false).boxed(),
        LogFormat::Text => layer.compact().boxed(),
    }
}

fn daily(path: &Path) -> Result<RollingFileAppender> {
    let wrong =
        |error: &dyn std::fmt::Display| Error::Invalid(format!("log file {}: {error}", path.display()));
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .ok_or_else(|| wrong(&"it has no name"))?;
    let directory = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let suffix = path
        .extension()
        .and_then(|suffix| suffix.to_str())
        .unwrap_or("log");
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(|error| wrong(&error))?;
    }
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .filename_suffix(suffix)
        .max_log_files(limits::LOG_FILES_KEPT)
        .build(directory.unwrap_or(Path::new(".")))
        .map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_refused() {
        let options = LogOptions {
            filter: "a=b=c".into(),
            ..LogOptions::default()
        };
        assert!(start(&options).unwrap_err().to_string().contains("a=b=c"));
    }

    #[test]
    fn a_log_file_is_named_by_its_day() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/server.log");
        drop(daily(&path).unwrap());
        let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        let name = names[0].as_ref().unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with("server.2") && name.ends_with(".log"), "{name}");
        assert!(daily(Path::new("/")).is_err());
    }
}
