//! A server process for tests.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Time a server may take to get ready, on a slow and busy machine.
const READY: Duration = Duration::from_secs(120);

/// The bundle under test. Its absence is a failure, not a reason to skip.
pub fn bundle() -> PathBuf {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled");
    let path = std::env::var_os("COSYSERVE_TEST_MODEL").map_or(bundled, PathBuf::from);
    assert!(
        path.join("bundle.json").is_file(),
        "{} is no bundle",
        path.display()
    );
    path
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_cosyserve"));
    std::env::var_os("COSYSERVE_TEST_BINARY").map_or_else(built, PathBuf::from)
}

/// A running server; it is killed when dropped.
pub struct Server {
    child: Child,
    /// `http://address:port`
    pub base: String,
    /// The ready line.
    pub ready: String,
    log: PathBuf,
}

impl Server {
    /// Starts one on a free port, with its voices in `data`, and waits until it is ready; it is not warm.
    pub fn start(data: &Path, args: &[&str]) -> Self {
        let log = data.join("server.log");
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COSYSERVE_")) {
            command.env_remove(name);
        }
        command
            .args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--grpc-port",
                "0",
                "--no-warm-up",
                "--model",
            ])
            .arg(bundle())
            .arg("--data-dir")
            .arg(data)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        // From here on the child is killed whatever happens.
        let mut server = Self {
            child,
            base: String::new(),
            ready: String::new(),
            log,
        };
        match lines.recv_timeout(READY) {
            Ok(line) => server.ready = line,
            Err(_) => panic!("the server did not get ready:\n{}", server.log()),
        }
        let address = server.ready.split("http://").nth(1).expect("an address");
        let address = address
            .split(&[':', ' '][..])
            .take(2)
            .collect::<Vec<_>>()
            .join(":");
        server.base = format!("http://{address}");
        server
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not end:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// A server that tests share, and its directory.
pub struct Shared {
    pub server: Server,
    _data: tempfile::TempDir,
}

/// The shared server: started by the first test that wants it, killed after the last one that holds it.
pub fn shared() -> Arc<Shared> {
    static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &["--queue", "64"]);
    let new = Arc::new(Shared { server, _data: data });
    *shared = Arc::downgrade(&new);
    new
}
