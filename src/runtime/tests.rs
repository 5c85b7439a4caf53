#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop where something is broken"
)]
use std::path::Path;
use std::sync::Arc;

use super::*;

const BINS: usize = 80;

/// The bundled voice's f0 predictor: `mel` f32 [1, 80, T] to `f0` f32 [1, T].
fn graph() -> Arc<Graph> {
    let runtime = Runtime::get(&Options {
        library: None,
        threads: 2,
    })
    .expect("ONNX Runtime; run `make setup`");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled/hift_f0.onnx");
    let options = GraphOptions::on(Device::Cpu);
    Arc::new(Graph::load(runtime, "f0", &path, &options).unwrap())
}

fn mel(frames: usize, phase: f32) -> Vec<f32> {
    (0..BINS * frames)
        .map(|i| (i as f32 * 0.37 + phase).sin() * 3.0 - 4.0)
        .collect()
}

/// Guarantees that a bound run computes what a plain run does, that it reads what the host wrote since the last run,
/// and that offsets are elements.
#[test]
fn bound_runs_read_and_write_in_place() {
    let graph = graph();
    let frames = 12;
    let input = Buffer::host::<f32>(&graph, 7 + BINS * frames).unwrap();
    let output = Buffer::host::<f32>(&graph, 3 + frames).unwrap();
    let mut binding = Binding::new(&graph).unwrap();
    binding
        .input("mel", &input, 7, &[1, BINS, frames])
        .unwrap()
        .output("f0", &output, 3, &[1, frames])
        .unwrap()
        .captured(0)
        .unwrap();
    for phase in [0.0, 1.0] {
        let mel = mel(frames, phase);
        input.host_slice_mut::<f32>().unwrap()[7..].copy_from_slice(&mel);
        binding.run().unwrap();
        let [expected] = graph
            .run(&[("mel", Input::F32(&[1, BINS, frames], &mel))], ["f0"])
            .unwrap();
        let got = output.host_slice::<f32>().unwrap();
        assert_eq!(got[3..], expected[..]);
        assert_eq!(got[..3], [0.0; 3]);
        drop(got);
    }
}

#[test]
fn memory_is_the_hosts_or_a_runs() {
    let graph = graph();
    let input = Buffer::host::<f32>(&graph, BINS * 4).unwrap();
    let output = Buffer::host::<f32>(&graph, 4).unwrap();
    let mut binding = Binding::new(&graph).unwrap();
    binding.input("mel", &input, 0, &[1, BINS, 4]).unwrap();
    binding.output("f0", &output, 0, &[1, 4]).unwrap();
    let reading = output.host_slice::<f32>().unwrap();
    assert!(output.host_slice_mut::<f32>().is_err());
    assert!(binding.run().is_err());
    drop(reading);
    binding.run().unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let graph = graph();
    let buffer = Buffer::host::<f32>(&graph, 8).unwrap();
    assert!(buffer.host_slice::<i64>().is_err());
    assert!(buffer.zero_prefix(9).is_err());
    let mut binding = Binding::new(&graph).unwrap();
    assert!(binding.input("mel", &buffer, 1, &[1, 8, 1]).is_err());
    assert!(
        binding
            .input("mel", &buffer, usize::MAX, &[1, 8, usize::MAX])
            .is_err()
    );
    assert!(binding.input("no such input", &buffer, 0, &[8]).is_err() || binding.run().is_err());
    let device = Buffer::device(&graph, Element::I64, 4).unwrap();
    assert!(device.host_slice::<i64>().is_err());
}

#[test]
fn prefixes_are_zeroed() {
    let graph = graph();
    let buffer = Buffer::host::<i32>(&graph, 6).unwrap();
    buffer.host_slice_mut::<i32>().unwrap().fill(9);
    buffer.zero_prefix(4).unwrap();
    assert_eq!(buffer.host_slice::<i32>().unwrap()[..], [0, 0, 0, 0, 9, 9]);
}

/// Bytes of the memory below `data` that the system has given.
#[cfg(target_os = "linux")]
fn resident(data: &[f32]) -> usize {
    // SAFETY: it only asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let from = data.as_ptr().addr() / page * page;
    let bytes = data.as_ptr().addr() + size_of_val(data) - from;
    let mut pages = vec![0u8; bytes.div_ceil(page)];
    // SAFETY: the range begins on a page and is mapped, and `pages` has a byte for each of its pages.
    let result = unsafe { libc::mincore(from as *mut _, bytes, pages.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|&&page| page & 1 == 1).count() * page
}

/// Guarantees that what is given back costs no memory until it is written again, and that no other element changes.
#[cfg(target_os = "linux")]
#[test]
fn discarded_memory_goes_back_to_the_system() {
    const MIB: usize = (1 << 20) / size_of::<f32>();
    let (from, to) = (3 * MIB + 100, 11 * MIB - 100);
    let buffer = Buffer::host::<f32>(&graph(), 16 * MIB).unwrap();
    buffer.host_slice_mut::<f32>().unwrap().fill(9.0);
    let held = resident(&buffer.host_slice::<f32>().unwrap());
    assert!(held >= 16 << 20, "{held}");
    buffer.discard(from..to).unwrap();
    let data = buffer.host_slice::<f32>().unwrap();
    let left = resident(&data);
    assert!(left < 9 << 20, "of 16 MiB, 8 were given back: {left}");
    assert!(data[..from].iter().chain(&data[to..]).all(|&v| v == 9.0));
    assert!(data[from..to].iter().all(|&v| v == 9.0 || v == 0.0));
    assert_eq!(data[7 * MIB], 0.0);
    assert!(buffer.discard(0..MIB).is_err(), "it is being read");
    drop(data);
    buffer.host_slice_mut::<f32>().unwrap()[from..to].fill(7.0);
    assert_eq!(resident(&buffer.host_slice::<f32>().unwrap()), held);
    // Less than a page of the system's goes nowhere.
    buffer.discard(5..6).unwrap();
    assert_eq!(buffer.host_slice::<f32>().unwrap()[5], 9.0);
    assert!(buffer.discard(16 * MIB..16 * MIB + 1).is_err());
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let runtime = Runtime::get(&Options::default()).unwrap();
    assert_eq!(Device::choose(runtime, "cpu").unwrap(), vec![Device::Cpu]);
    assert_eq!(Device::choose(runtime, "auto").unwrap().len(), 1);
    assert!(Device::choose(runtime, "cuda:4000").is_err());
}
