//! Finds and loads ONNX Runtime's shared library, and makes the process's one environment.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::{Environment, GlobalThreadPoolOptions};

use crate::{Error, Result};

/// File name of the library this build was made for.
#[cfg(target_os = "linux")]
const LIBRARY: &str = "libonnxruntime.so.1.31.1";
#[cfg(target_os = "macos")]
const LIBRARY: &str = "libonnxruntime.1.31.1.dylib";
#[cfg(target_os = "windows")]
const LIBRARY: &str = "onnxruntime.dll";

/// How the runtime is set up; the first caller in a process decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Path of the shared library; `None` searches (see [`Runtime::get`]).
    pub library: Option<PathBuf>,
    /// Threads of the shared intra-op pool; 0 means one per core.
    pub threads: usize,
}

/// The loaded library and its environment.
pub struct Runtime {
    pub(super) environment: Environment,
}

impl Runtime {
    /// The process's runtime, loaded at the first call.
    ///
    /// Without an explicit path the library is looked for in `$ORT_DYLIB_PATH`, beside the executable (also in its
    /// `lib` and `../lib`), in `.runtime/lib` below the working directory and below each parent of the executable,
    /// and last by the system's loader.
    pub fn get(options: &Options) -> Result<&'static Runtime> {
        static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();
        RUNTIME
            .get_or_init(|| Self::load(options))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn load(options: &Options) -> Result<Runtime> {
        let path = find(options.library.as_deref());
        let builder = ort::init_from(&path).map_err(|e| {
            Error::Internal(format!(
                "ONNX Runtime could not be loaded from {}: {e}. Run `make setup`, or name the library with \
                 --onnxruntime or ORT_DYLIB_PATH",
                path.display()
            ))
        })?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads)
            .and_then(|p| p.with_inter_threads(1))
            .and_then(|p| p.with_spin_control(false))
            .map_err(|e| Error::internal("setting up ONNX Runtime's threads", e))?;
        let environment = builder
            .with_name("cosyserve")
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .build()
            .map_err(|e| Error::internal("starting ONNX Runtime", e))?;
        tracing::debug!(library = %path.display(), threads, "ONNX Runtime loaded");
        Ok(Runtime { environment })
    }
}

fn find(explicit: Option<&Path>) -> PathBuf {
    if let Some(path) = explicit {
        return path.to_path_buf();
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return path.into();
    }
    let mut places = Vec::new();
    if let Ok(exe) = std::env::current_exe()
        && let Some(dir) = exe.parent()
    {
        places.extend([dir.to_path_buf(), dir.join("lib"), dir.join("../lib")]);
        places.extend(dir.ancestors().map(|d| d.join(".runtime/lib")));
    }
    if let Ok(dir) = std::env::current_dir() {
        places.extend(dir.ancestors().map(|d| d.join(".runtime/lib")));
    }
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".runtime/lib"));
    let found = places.into_iter().map(|d| d.join(LIBRARY)).find(|p| p.is_file());
    found.unwrap_or_else(|| PathBuf::from(LIBRARY))
}
