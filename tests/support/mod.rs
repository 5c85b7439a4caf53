//! What the integration tests share: the goldens, the exported tiny bundle, the runtime, error measures.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where its fixture is broken"
)]

pub mod engine;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cosyserve::engine::flow_worker::{FlowWorker, PagedStream};
use cosyserve::engine::urgency::Urgency;
use cosyserve::model::flow::{Flow, FlowVoice};
use cosyserve::model::vocoder::{VocoderGraphs, VocoderRun};
use cosyserve::model::{Bundle, Mel};
use cosyserve::runtime::{Device, Options, Runtime};
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadableElement};

/// A path of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The process's ONNX Runtime.
pub fn runtime() -> &'static Runtime {
    Runtime::get(&Options {
        library: None,
        threads: 2,
    })
    .expect("ONNX Runtime; run `make setup`")
}

/// The tiny CosyVoice 2 checkpoint as exported by `make test-bundle`.
pub fn bundle() -> Bundle {
    open("target/test-bundles/tiny-cosyvoice2")
}

/// Likewise CosyVoice 3.
pub fn bundle_3() -> Bundle {
    open("target/test-bundles/tiny-cosyvoice3")
}

/// Likewise CosyVoice 1.
pub fn bundle_1() -> Bundle {
    open("target/test-bundles/tiny-cosyvoice1")
}

fn open(dir: &str) -> Bundle {
    Bundle::open(&root(dir)).unwrap_or_else(|e| panic!("{e}; `make test-bundle` exports it"))
}

/// The flow of [`bundle`] on the CPU.
pub fn flow() -> Flow {
    flow_of(&bundle())
}

/// The flow of a bundle on the CPU.
pub fn flow_of(bundle: &Bundle) -> Flow {
    Flow::load(runtime(), bundle, Device::Cpu).unwrap()
}

/// A worker over [`flow`] with pages for a minute of speech.
pub fn flow_worker(left_chunks: Option<usize>) -> FlowWorker {
    flow_worker_of(flow(), left_chunks)
}

/// Likewise over any flow.
pub fn flow_worker_of(flow: Flow, left_chunks: Option<usize>) -> FlowWorker {
    let bytes = 60 * flow.page_bytes();
    FlowWorker::start(flow, None, bytes, left_chunks).unwrap()
}

/// Never stops anything.
pub fn keep_going() -> cosyserve::Result<()> {
    Ok(())
}

/// Inputs of the flow.
pub struct FlowCase {
    /// The voice.
    pub voice: Arc<FlowVoice>,
    /// The utterance's speech tokens.
    pub tokens: Vec<i64>,
}

impl FlowCase {
    /// As one case of the goldens has it.
    pub fn read(golden: &Golden, case: &str) -> Self {
        let voice = FlowVoice::new(
            golden.ints(&format!("{case}/prompt_token")),
            golden.floats(&format!("{case}/prompt_feat")),
            golden.floats(&format!("{case}/embedding")),
        );
        Self {
            voice: Arc::new(voice),
            tokens: golden.ints(&format!("{case}/token")),
        }
    }

    /// An utterance of its voice.
    pub fn open(&self, worker: &FlowWorker) -> PagedStream {
        worker.open(self.voice.clone(), Urgency::new(Instant::now(), true))
    }
}

/// 8 s of speech after a prompt of `prompt` tokens: the goldens' own, repeated.
pub fn long_case(prompt: usize) -> FlowCase {
    let golden = Golden::open("flow_2");
    let case = FlowCase::read(&golden, "final1_stream1");
    let repeat = |tokens: &[i64], count: usize| -> Vec<i64> {
        let all = tokens.iter().cycle().enumerate();
        // Shifted at each repetition, so that no two chunks are alike.
        let shifted = all.map(|(i, t)| (t + 7 * (i / tokens.len()) as i64) % 6561);
        shifted.take(count).collect()
    };
    let voice = &case.voice;
    let feat = voice.feat.iter().cycle().take(prompt * 2 * 80).copied();
    let tokens = repeat(&voice.tokens, prompt);
    FlowCase {
        voice: Arc::new(FlowVoice::new(tokens, feat.collect(), voice.embedding.clone())),
        tokens: repeat(&case.tokens, 200),
    }
}

/// The vocoder's graphs of [`bundle`] on the CPU.
pub fn vocoder_graphs() -> VocoderGraphs {
    vocoder_graphs_of(&bundle())
}

/// Likewise, of a bundle.
pub fn vocoder_graphs_of(bundle: &Bundle) -> VocoderGraphs {
    VocoderGraphs::load(runtime(), bundle, Device::Cpu, 1, Path::new("")).unwrap()
}

/// Values of one run of a vocoder's graph.
pub fn vocoder_run(graphs: &VocoderGraphs, run: VocoderRun) -> Vec<f32> {
    graphs.run(&[&run]).unwrap().remove(0).values
}

/// Holds f0 and samples of a vocoder against a golden, with the reference's source injected.
pub fn check_vocoder(graphs: &VocoderGraphs, golden: &Golden, least_db: f64) {
    let f0 = vocoder_run(graphs, VocoderRun::f0(golden.matrix("full/mel")));
    let error = max_error(&f0, &golden.floats("full/f0"));
    println!("vocoder f0: max error {error:.2e} Hz");
    assert!(error <= 1e-2, "f0: {error}");
    for (case, mel_of, source) in [
        ("full", "full/mel", Some("full/source")),
        ("cached", "full/mel", Some("cached/source")),
        ("decode_zero_source", "decode_zero_source/mel", None),
    ] {
        let expected = golden.floats(&format!("{case}/audio"));
        let source = source.map_or_else(|| vec![0.0; expected.len()], |s| golden.floats(s));
        let audio = vocoder_run(graphs, VocoderRun::decode(golden.matrix(mel_of), source));
        let snr = snr_db(&audio, &expected);
        println!("vocoder {case}: SNR {snr:.1} dB");
        assert!(snr >= least_db, "{case}: {snr}");
    }
}

/// The goldens' prompt recording: samples and rate.
pub fn prompt_wav() -> (Vec<f32>, u32) {
    let bytes = std::fs::read(root("tests/goldens/common/zero_shot_prompt.wav")).unwrap();
    let audio = cosyserve::audio::decode::decode(bytes, "prompt").unwrap();
    (audio.samples, audio.sample_rate)
}

/// One npz of the goldens.
pub struct Golden(String);

impl Golden {
    /// By name, as in tests/goldens/tiny.
    pub fn open(name: &str) -> Self {
        Self(format!("tests/goldens/tiny/{name}.npz"))
    }

    /// By name, as in tests/goldens/common.
    pub fn common(name: &str) -> Self {
        Self(format!("tests/goldens/common/{name}.npz"))
    }

    /// Names of its arrays.
    pub fn names(&self) -> Vec<String> {
        let mut file = NpzReader::new(File::open(root(&self.0)).expect(&self.0)).expect(&self.0);
        let names = file.names().expect(&self.0);
        names
            .into_iter()
            .map(|n| n.trim_end_matches(".npy").to_string())
            .collect()
    }

    /// A boolean array, flat.
    pub fn bools(&self, key: &str) -> Vec<bool> {
        self.array::<bool>(key).unwrap().into_iter().collect()
    }

    fn array<T: ReadableElement>(&self, key: &str) -> Result<ArrayD<T>, String> {
        let mut file = NpzReader::new(File::open(root(&self.0)).expect(&self.0)).expect(&self.0);
        file.by_name::<OwnedRepr<T>, IxDyn>(&format!("{key}.npy"))
            .map_err(|e| format!("{} {key}: {e}", self.0))
    }

    /// A float array, flat.
    pub fn floats(&self, key: &str) -> Vec<f32> {
        self.array::<f32>(key).unwrap().into_iter().collect()
    }

    /// An array of doubles, flat, rounded.
    pub fn doubles(&self, key: &str) -> Vec<f32> {
        let array = self.array::<f64>(key).unwrap();
        array.into_iter().map(|v| v as f32).collect()
    }

    /// A bins-major matrix.
    pub fn matrix(&self, key: &str) -> Mel {
        let array = self.array::<f32>(key).unwrap();
        let (rows, cols) = (array.shape()[0], array.shape()[1]);
        Mel {
            rows,
            cols,
            data: array.into_iter().collect(),
        }
    }

    /// An integer array of 32 or 64 bits, flat.
    pub fn ints(&self, key: &str) -> Vec<i64> {
        match self.array::<i32>(key) {
            Ok(array) => array.into_iter().map(i64::from).collect(),
            Err(_) => self.array::<i64>(key).unwrap().into_iter().collect(),
        }
    }
}

/// Largest absolute difference; lengths must agree.
pub fn max_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len(), "lengths");
    assert!(got.iter().all(|v| v.is_finite()), "not finite");
    got.iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Signal-to-noise ratio of `got` against `expected`, decibels.
pub fn snr_db(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len(), "lengths");
    let power = |v: f32| f64::from(v) * f64::from(v);
    let signal: f64 = expected.iter().map(|&v| power(v)).sum();
    let noise: f64 = got.iter().zip(expected).map(|(a, b)| power(a - b)).sum();
    10.0 * (signal / noise.max(1e-30)).log10()
}
