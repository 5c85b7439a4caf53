//! The Rust stages against the reference implementation's own numbers (tests/goldens), on the exported tiny
//! CosyVoice 2 checkpoint; the language model's on CosyVoice 1 and 3 too. `make test` exports it first; see tests/support.

use crate::support::{
    self, FlowCase, Golden, bundle, bundle_1, bundle_3, check_vocoder, keep_going, max_error, runtime,
    snr_db, vocoder_graphs, vocoder_run,
};
use cosyserve::model::bundle::{LlmConfig, VocoderKind};
use cosyserve::model::llm::{Llm, RowPrompt};
use cosyserve::model::prompt_encoder::PromptEncoder;
use cosyserve::model::vocoder::{Vocoder, VocoderRun};
use cosyserve::model::{Bundle, Mel, mel};
use cosyserve::runtime::Device;
use cosyserve::text::{LayoutIds, lay_out};

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&v| f64::from(v - max).exp()).sum();
    logits
        .iter()
        .map(|&v| (f64::from(v - max) - sum.ln()) as f32)
        .collect()
}

/// Guarantees the language model's log-probabilities at prefill and eight decode steps through the shared KV buffer.
#[test]
fn llm_log_probabilities() {
    let plain = ["zero_shot", "cross_lingual"];
    for (bundle, golden, cases) in [
        (
            bundle_1(),
            "llm_1",
            &["zero_shot", "cross_lingual", "instruct_noemb"][..],
        ),
        (bundle(), "llm_2", &plain),
        (bundle_3(), "llm_3", &plain),
    ] {
        let llm = Llm::load(runtime(), &bundle, Device::Cpu, 2).unwrap();
        log_probabilities_of(llm, golden, cases);
    }
}

/// What a model is given of its text: ids, or the rows that they name.
fn layout(config: &LlmConfig) -> LayoutIds {
    LayoutIds {
        text_vocab: config.text_vocab,
        speech_offset: config.speech_offset,
        speech_tokens: config.speech_tokens as i64,
        sos_id: config.sos_id,
        task_id: config.task_id,
        min_ratio: config.min_ratio,
        max_ratio: config.max_ratio,
        max_positions: config.max_positions,
        rows_offset: config.rows.as_ref().map(|rows| rows.rows_offset),
    }
}

fn log_probabilities_of(mut llm: Llm, golden: &str, cases: &[&str]) {
    let config = llm.config().clone();
    let name = golden;
    let golden = Golden::open(name);
    for case in cases {
        let ints = |name: &str| golden.ints(&format!("{case}/{name}"));
        // Generations 2 and 3 know nothing of a speaker.
        let speaker = config
            .rows
            .as_ref()
            .map(|_| golden.floats(&format!("{case}/embedding")));
        let speaker = speaker.filter(|embedding| !embedding.is_empty());
        let (prompt, text, speech) = (ints("prompt_text"), ints("text"), ints("prompt_speech_token"));
        let input = lay_out(&layout(&config), speaker.is_some(), &prompt, &text, &speech).unwrap();
        let rows = input.text.map(|text| RowPrompt { text, speaker });
        let expected = golden.floats(&format!("{case}/step_logp"));
        let steps: Vec<&[f32]> = expected.chunks(config.speech_vocab).collect();
        let slot = llm.open().unwrap();
        let mut worst = max_error(
            &log_softmax(&llm.prefill(&slot, &input.ids, rows.as_ref()).unwrap()),
            steps[0],
        );
        for (token, row) in ints("greedy_tokens").iter().zip(&steps[1..]) {
            let mut step = llm.step(&[(&slot, *token as usize)]).unwrap();
            worst = worst.max(max_error(&log_softmax(step.rows()[0]), row));
        }
        llm.close(slot);
        println!("{name} {case}: max log-probability error {worst:.2e}");
        assert!(worst <= 1e-3, "{name} {case}: {worst}");
    }
}

/// Guarantees f0 and samples of the vocoder, with the reference's source injected.
#[test]
fn vocoder_audio() {
    check_vocoder(&vocoder_graphs(), &Golden::open("hift_2"), 50.0);
}

/// Guarantees the chunked synthesis: the flow's mel of every chunk, the mel that reaches the vocoder, and the samples
/// decoded from the reference's source, cross-fades included. The reference's last chunk has full attention.
#[test]
fn streamed_chunks() {
    let bundle = bundle();
    let vocoder = vocoder_graphs();
    let golden = Golden::open("stream_2");
    let case = FlowCase::read(&golden, "stream");
    let worker = support::flow_worker(None);
    let (mut stream, mut whole) = (case.open(&worker), case.open(&worker));
    let VocoderKind::Overlapped(kind) = &bundle.manifest.vocoder.kind else {
        panic!("generation 2's chunks overlap");
    };
    let cached = kind.cache_mel_frames;
    let hop = bundle.manifest.vocoder.hop;
    let window = cosyserve::dsp::fade::hamming(2 * cached * hop);
    let (mut made, mut carried_mel, mut carried_speech) = (Mel::default(), Mel::default(), Vec::new());
    for (chunk, finalize) in [(0, false), (1, false), (2, true)] {
        let key = |name: &str| format!("stream/chunk{chunk}/{name}");
        let n = golden.ints(&key("n_token"))[0] as usize;
        let new = match finalize {
            false => stream.chunk(&case.tokens[..n], false, &keep_going).unwrap(),
            true => {
                let all = whole.whole(&case.tokens[..n], &keep_going).unwrap();
                let new = mel::frames(&all, made.cols, all.cols);
                made = mel::frames(&all, 0, made.cols);
                new
            }
        };
        made = mel::join(&made, &new);
        let error = max_error(&made.data, &golden.floats(&key("mel")));
        let to_vocoder = mel::join(&carried_mel, &new);
        let hift_error = max_error(&to_vocoder.data, &golden.floats(&key("hift_mel")));
        let decode = VocoderRun::decode(to_vocoder.clone(), golden.floats(&key("hift_source")));
        let mut audio = vocoder_run(&vocoder, decode);
        if chunk > 0 {
            cosyserve::dsp::fade::cross_fade(&mut audio, &carried_speech, &window);
        }
        if !finalize {
            carried_mel = mel::frames(&to_vocoder, to_vocoder.cols - cached, to_vocoder.cols);
            carried_speech = audio.split_off(audio.len() - cached * hop);
        }
        let expected = golden.floats(&key("out"));
        assert_eq!(audio.len(), expected.len(), "samples of chunk {chunk}");
        let snr = snr_db(&audio, &expected);
        println!(
            "stream chunk {chunk}: mel {error:.2e}, vocoder mel {hift_error:.2e}, audio SNR {snr:.1} dB"
        );
        assert!(
            error <= 2e-3 && hift_error <= 2e-3 && snr >= 50.0,
            "chunk {chunk}"
        );
    }
}

/// Guarantees the length bookkeeping of the vocoder's own streaming: pushed in chunks or whole, the same number of
/// samples, and the join shaped by the same fade.
#[test]
fn pushed_chunks_have_the_length_of_the_whole() {
    let graphs = vocoder_graphs();
    let vocoder = Vocoder::new(&bundle()).unwrap();
    let mel = Golden::open("flow_2").matrix("final1_stream1/mel");
    let silent = || 0.0;
    let mut whole_state = vocoder.begin();
    let whole = vocoder
        .push(&graphs, &mut whole_state, &mel, true, silent)
        .unwrap();
    let mut state = vocoder.begin();
    let mut streamed = Vec::new();
    for (from, to) in [(0, 50), (50, 100), (100, mel.cols)] {
        let part = mel::frames(&mel, from, to);
        streamed.extend(
            vocoder
                .push(&graphs, &mut state, &part, to == mel.cols, silent)
                .unwrap(),
        );
    }
    assert_eq!(streamed.len(), whole.len());
}

/// Guarantees the speed change of whole utterances: the stretched mel the reference vocodes.
#[test]
fn speed_changes_the_mel_as_the_reference() {
    let golden = Golden::open("stream_2");
    let case = FlowCase::read(&golden, "speed1.3");
    let worker = support::flow_worker(None);
    let mel = case.open(&worker).whole(&case.tokens, &keep_going).unwrap();
    let stretched = cosyserve::dsp::stretch::stretch(&mel, 1.3);
    let error = max_error(&stretched.data, &golden.floats("speed1.3/chunk0/hift_mel"));
    println!("speed 1.3: max mel error {error:.2e}");
    assert!(error <= 2e-3);
}

/// Guarantees what a prompt recording becomes: speech tokens, speaker embedding and mel of the reference's front end.
#[test]
fn prompt_features() {
    for (bundle, golden) in [(bundle(), "frontend_2"), (bundle_1(), "frontend_1")] {
        prompt_features_of(&bundle, &Golden::open(golden));
    }
}

fn prompt_features_of(bundle: &Bundle, golden: &Golden) {
    let encoder = PromptEncoder::load(runtime(), bundle, Device::Cpu).unwrap();
    let (samples, rate) = support::prompt_wav();
    let resampled = |to| cosyserve::dsp::resample::resample(&samples, rate, to);
    let features = encoder.encode(&resampled(16_000), &resampled(24_000)).unwrap();
    assert_eq!(
        features.speech_tokens,
        golden.ints("zero_shot/flow_prompt_speech_token")
    );
    let feat = golden.floats("zero_shot/prompt_speech_feat");
    let error = max_error(&features.speech_feat, &feat);
    let embedding = golden.floats("zero_shot/flow_embedding");
    let embedding_error = max_error(&features.embedding, &embedding);
    let range = feat.iter().copied().fold(0.0f32, |m, v| m.max(v.abs()));
    println!("prompt mel: max error {error:.2e} of {range:.1}; embedding {embedding_error:.2e}");
    assert!(error <= 1e-4 * range && embedding_error <= 1e-3);
}
