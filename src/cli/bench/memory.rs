//! What a process and the GPUs hold, as the operating system and the driver tell it.

use std::{fs, path::Path, process::Command};

const LISTENING: &str = "0A";

/// Resident memory of a process, MiB: now, and the most it ever was. `None` where there is no `/proc`, or no such
/// process.
pub fn resident_mib(pid: u32) -> Option<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((field(&status, "VmRSS:")?, field(&status, "VmHWM:")?))
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// The process of this machine that listens on `port`, if it may be seen.
pub fn listener(port: u16) -> Option<u32> {
    let sockets = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = sockets
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| listening_inode(&table, port))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| holds(Path::new(&format!("/proc/{pid}/fd")), &wanted))
}

/// The inode of the socket that listens on `port`, from a table like `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let ending = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&ending) && *columns.get(3)? == LISTENING;
        listens.then(|| columns.get(9).map(ToString::to_string)).flatten()
    })
}

fn holds(descriptors: &Path, target: &str) -> bool {
    let Ok(entries) = fs::read_dir(descriptors) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == target))
}

/// Memory in use on all NVIDIA GPUs together, by all processes, MiB; `None` without `nvidia-smi`.
pub fn gpu_mib() -> Option<f64> {
    let asked = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    let output = Command::new("nvidia-smi").args(asked).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let used: Vec<f64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
    (!used.is_empty()).then(|| used.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let (now, most) = resident_mib(std::process::id()).unwrap();
        assert!(now > 1.0 && most >= now);
        assert!(field("VmRSS:\t 2048 kB\n", "VmRSS:") == Some(2.0));
        assert!(field("VmRSS:\t 2048 kB\n", "VmHWM:").is_none());
    }

    #[test]
    fn this_process_listens() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(std::process::id()));
        drop(socket);
        assert_eq!(listener(port), None);
    }

    #[test]
    fn connections_are_not_listeners() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |state| {
            format!(
                "{head}   0: 0100007F:1388 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 4242 1\n"
            )
        };
        assert_eq!(listening_inode(&row("0A"), 5000).as_deref(), Some("4242"));
        assert_eq!(listening_inode(&row("01"), 5000), None);
        assert_eq!(listening_inode(&row("0A"), 5001), None);
    }
}
