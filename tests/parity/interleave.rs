//! Text that streams in: the real interleaver and the real language model against the reference's `inference_bistream`,
//! token by token and forward by forward. On the exported tiny checkpoints; `make test` exports them first.

use crate::support::{self, Golden};
use cosyserve::model::Bundle;
use cosyserve::model::llm::Llm;
use cosyserve::runtime::Device;
use cosyserve::text::interleave::{Interleaver, Mix, Next, Opening};

/// Tokens of the last part, after which the recorded run was ended.
const LAST_TOKENS: usize = 9;

/// Tokens that came out, and the length of every forward.
type Run = (Vec<i64>, Vec<i64>);

fn best(logits: &[f32], speech_tokens: usize) -> usize {
    let real = &logits[..speech_tokens];
    (0..real.len())
        .max_by(|&a, &b| real[a].total_cmp(&real[b]).then(b.cmp(&a)))
        .unwrap()
}

/// Feeds the model what the interleaver says and samples as the recorded run did.
fn drive(llm: &mut Llm, mut sequence: Interleaver, pieces: &[Vec<i64>]) -> Run {
    let speech_tokens = llm.config().speech_tokens;
    let slot = llm.open().unwrap();
    let (mut tokens, mut lengths, mut last) = (Vec::new(), Vec::new(), 0);
    let mut pieces = pieces.iter();
    while last <= LAST_TOKENS {
        let logits = match sequence.next() {
            Next::Wait => {
                match pieces.next() {
                    Some(piece) => sequence.push(piece),
                    None => sequence.finish(),
                }
                continue;
            }
            Next::Feed(ids) => {
                lengths.push(ids.len() as i64);
                match llm.length(&slot) {
                    0 => llm.prefill(&slot, ids, None).unwrap().to_vec(),
                    _ => llm.extend(&slot, ids).unwrap().to_vec(),
                }
            }
            Next::Step(token) => {
                lengths.push(1);
                llm.step(&[(&slot, token)]).unwrap().rows().concat()
            }
            Next::End => panic!("no text"),
        };
        last += usize::from(sequence.may_end());
        if last > LAST_TOKENS {
            break;
        }
        let token = sequence.forced().unwrap_or_else(|| best(&logits, speech_tokens));
        if sequence.sampled(token) {
            tokens.push(token as i64);
        }
    }
    llm.close(slot);
    (tokens, lengths)
}

struct Case {
    llm: Llm,
    mix: Mix,
    opening: Opening,
    pieces: Vec<Vec<i64>>,
    recorded: Run,
}

fn case(bundle: &Bundle, golden: &Golden, name: &str) -> Case {
    let llm = Llm::load(support::runtime(), bundle, Device::Cpu, 1).unwrap();
    let config = llm.config().clone();
    let ints = |key: &str| golden.ints(&format!("{name}/{key}"));
    let prompt = ints("prompt_text");
    let marker = bundle
        .manifest
        .end_of_prompt
        .as_ref()
        .filter(|marker| marker.required);
    let read_before = marker.map_or(0, |m| prompt.iter().position(|&id| Some(id) == m.id).unwrap() + 1);
    let (text, mut at) = (ints("text"), 0);
    let piece = |len: i64| {
        at += len as usize;
        text[at - len as usize..at].to_vec()
    };
    let [text_block, speech_block] = config.mix_ratio.unwrap();
    Case {
        mix: Mix {
            text: text_block,
            speech: speech_block,
            fill: config.fill.unwrap(),
        },
        opening: Opening {
            lead: [&[config.sos_id], &prompt[..read_before]].concat(),
            prompt_text: prompt[read_before..].to_vec(),
            prompt_speech: ints("prompt_speech_token"),
            speech_offset: config.speech_offset,
            task_id: config.task_id,
        },
        pieces: ints("piece_len").into_iter().map(piece).collect(),
        recorded: (ints("out_tokens"), ints("forward_lengths")),
        llm,
    }
}

fn identical(bundle: &Bundle, golden: &str, name: &str) {
    let mut case = case(bundle, &Golden::open(golden), name);
    let sequence = Interleaver::new(case.mix, case.opening);
    let (tokens, lengths) = drive(&mut case.llm, sequence, &case.pieces);
    assert_eq!(lengths, case.recorded.1, "{golden} {name}: forwards");
    assert_eq!(tokens, case.recorded.0, "{golden} {name}: tokens");
}

#[test]
fn generation_2_is_identical() {
    for name in ["prompt37", "noprompt"] {
        identical(&support::bundle(), "bistream_2", name);
    }
}

#[test]
fn generation_3_is_identical_with_a_prompt() {
    identical(&support::bundle_3(), "bistream_3", "prompt37");
}

/// Without prompt speech the reference begins to speak before it has any text; here the first block waits for it, and
/// everything else is as recorded: as many blocks, of the same lengths, and all of the text.
#[test]
fn generation_3_waits_for_text_without_a_prompt() {
    let mut case = case(&support::bundle_3(), &Golden::open("bistream_3"), "noprompt");
    // A transcript without its speech is nothing to go on from.
    let transcript = std::mem::take(&mut case.opening.prompt_text);
    case.pieces[0].splice(0..0, transcript);
    let (lead, block) = (case.opening.lead.len() as i64, case.mix.text as i64);
    let blocks = |lengths: &[i64]| -> Vec<i64> { lengths.iter().copied().filter(|&n| n > 1).collect() };
    let mut expected = blocks(&case.recorded.1);
    assert_eq!(expected[0], lead, "the recorded run begins without text");
    expected[0] += block;
    *expected.last_mut().unwrap() -= block;
    let sequence = Interleaver::new(case.mix, case.opening);
    assert_eq!(sequence.next(), Next::Wait);
    let (tokens, lengths) = drive(&mut case.llm, sequence, &case.pieces);
    assert_eq!(blocks(&lengths), expected);
    assert_eq!(lengths.len(), case.recorded.1.len());
    assert_eq!(tokens.len(), case.recorded.0.len());
}
