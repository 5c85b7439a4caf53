//! The C library's heap, which ONNX Runtime takes its memory from.

/// Has large blocks go back to the system when they are freed. Called before anything large is allocated.
///
/// glibc raises its bound, up to 32 MiB, whenever such a block is freed; what lies below it comes from heaps of every
/// thread that ever ran, which keep their holes. With three listeners they grew from 140 to 245 MiB, 200 of them in
/// use. Setting the bound would set the other one, of what a heap's end keeps, to 128 KiB: that alone cost 3% of the
/// time to first audio in page faults, so it is set too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_large_blocks_back() {
    use crate::limits::{HEAP_BLOCK_BYTES, HEAP_END_BYTES};
    let settings = [
        (libc::M_MMAP_THRESHOLD, HEAP_BLOCK_BYTES),
        (libc::M_TRIM_THRESHOLD, HEAP_END_BYTES),
    ];
    for (setting, bytes) in settings {
        // SAFETY: it sets a number of the allocator's, under the allocator's own lock. What it cannot set stays as it
        // was: no reason not to start.
        unsafe { libc::mallopt(setting, bytes) };
    }
}

/// Other C libraries have other heaps.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_large_blocks_back() {}

/// Bytes of this process that are in memory, weights mapped from files included; `None` where there is no `/proc`.
pub fn resident_bytes() -> Option<u64> {
    kib_line("/proc/self/status", "VmRSS:")
}

/// Bytes of memory that this process may hope for: the machine's, or less in a container that is given less.
pub fn machine_bytes() -> Option<u64> {
    let all = kib_line("/proc/meminfo", "MemTotal:")?;
    let given = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let given = given.and_then(|bytes| bytes.trim().parse().ok());
    Some(given.map_or(all, |given: u64| given.min(all)))
}

/// The bytes that a line such as "VmRSS: 2048 kB" of a file in `/proc` tells.
fn kib_line(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_takes_and_what_there_is() {
        let (taken, all) = (resident_bytes().unwrap(), machine_bytes().unwrap());
        assert!(taken > 1 << 20 && taken < all, "{taken} of {all}");
        assert_eq!(kib_line("/proc/self/status", "NoSuchLine:"), None);
    }
}
