#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop where something is broken"
)]
use std::path::Path;

use super::*;
use crate::runtime::Options;

/// Logits of the bundled int8 model, whose products are rounded by what is computed together.
const EXTEND_ERROR: f32 = 0.25;

/// The bundled voice's language model, its caches full of what must never be read.
fn poisoned(slots: usize) -> Llm {
    let runtime = Runtime::get(&Options {
        library: None,
        threads: 2,
    })
    .expect("ONNX Runtime; run `make setup`");
    let bundle = Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundled")).unwrap();
    let config = bundle.manifest.llm.clone();
    let options = GraphOptions::on(Device::Cpu);
    let graph = Graph::load(runtime, "llm", &bundle.path(&config.graph), &options).unwrap();
    Llm::over(Arc::new(graph), config, slots, |graph, len| {
        let buffer = Buffer::host::<f32>(graph, len)?;
        buffer.host_slice_mut::<f32>()?.fill(f32::NAN);
        Ok(buffer)
    })
    .unwrap()
}

fn ids(llm: &Llm, text: std::ops::Range<i64>) -> Vec<i64> {
    let config = llm.config();
    std::iter::once(config.sos_id)
        .chain(text)
        .chain([config.task_id])
        .collect()
}

fn best(logits: &[f32]) -> usize {
    assert!(logits.iter().all(|v| v.is_finite()));
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap()
}

/// Greedy tokens and the logits that gave them, of one sequence alone.
fn alone(llm: &mut Llm, slot: &Slot, ids: &[i64], steps: usize) -> (Vec<usize>, Vec<Vec<f32>>) {
    let mut logits = vec![llm.prefill(slot, ids, None).unwrap().to_vec()];
    let mut tokens = vec![best(&logits[0])];
    for i in 0..steps {
        logits.push(llm.step(&[(slot, tokens[i])]).unwrap().rows()[0].to_vec());
        tokens.push(best(&logits[i + 1]));
    }
    (tokens, logits)
}

/// Guarantees that what a slot held before, and what its neighbours do, never shows: not a bit of the logits differs,
/// with sequences that come, sit out and go, and NaN in all memory that was not written.
#[test]
fn a_sequence_depends_on_its_own_ids_alone() {
    let mut llm = poisoned(8);
    assert!(
        llm.rows_agree().unwrap(),
        "bits differ together; rows run one by one here"
    );
    let slots: Vec<Slot> = (0..8).map(|_| llm.open().unwrap()).collect();
    assert!(llm.open().is_none());
    let texts: Vec<Vec<i64>> = (0..8).map(|i| ids(&llm, 10 * i..10 * i + 5 + 9 * i)).collect();
    let expected: Vec<_> = texts.iter().map(|t| alone(&mut llm, &slots[0], t, 12)).collect();
    // Sequences end up in other slots than alone, start at step 2 * i % 5 and take part in two steps of three.
    let mut made = vec![0; 8];
    for step in 0..30 {
        for i in 0..8 {
            if 2 * i % 5 == step {
                let logits = llm.prefill(&slots[7 - i], &texts[i], None).unwrap().to_vec();
                assert_eq!(logits, expected[i].1[0]);
            }
        }
        let rows: Vec<usize> = (0..8)
            .filter(|&i| 2 * i % 5 <= step && (step + i) % 3 != 0 && made[i] < 12)
            .collect();
        let inputs: Vec<_> = rows
            .iter()
            .map(|&i| (&slots[7 - i], expected[i].0[made[i]]))
            .collect();
        let mut logits = llm.step(&inputs).unwrap();
        for (&i, row) in rows.iter().zip(logits.rows()) {
            made[i] += 1;
            assert!(row == expected[i].1[made[i]], "sequence {i}, token {}", made[i]);
        }
    }
    assert_eq!(made, vec![12; 8]);
}

#[test]
fn rows_one_by_one_give_the_same() {
    let mut llm = poisoned(3);
    let slots: Vec<Slot> = (0..3).map(|_| llm.open().unwrap()).collect();
    let ids = ids(&llm, 3..20);
    let (tokens, logits) = alone(&mut llm, &slots[0], &ids, 1);
    llm.together = false;
    for slot in &slots {
        llm.prefill(slot, &ids, None).unwrap();
    }
    let rows: Vec<_> = slots.iter().map(|slot| (slot, tokens[0])).collect();
    let mut step = llm.step(&rows).unwrap();
    assert!(step.rows().iter().all(|row| *row == logits[1]));
}

/// Guarantees that ids behind a past are computed as if they had come one by one, whatever the slot held before, and
/// that the sequence goes on from there.
#[test]
fn many_ids_behind_a_past_are_as_one_by_one() {
    let mut llm = poisoned(2);
    let (one, many) = (llm.open().unwrap(), llm.open().unwrap());
    let offset = llm.config().speech_offset;
    // Whatever was there must not show.
    llm.prefill(&many, &[7; 60], None).unwrap();
    let start = ids(&llm, 3..40);
    for slot in [&one, &many] {
        llm.prefill(slot, &start, None).unwrap();
    }
    for (count, text) in [(5, 50), (1, 90), (12, 200), (200, 300)] {
        let ids: Vec<i64> = (text..text + count).chain([offset + text]).collect();
        let mut expected = Vec::new();
        for &id in &ids {
            expected = llm.step_ids(&[(&one, id)]).unwrap().rows().concat();
        }
        let got = llm.extend(&many, &ids).unwrap().to_vec();
        assert_eq!(best(&got), best(&expected));
        let worst = got
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        println!("{count} ids: {worst:e}");
        assert!(worst <= EXTEND_ERROR, "{count} ids: {worst}");
        let mut after = |slot| llm.step(&[(slot, 9)]).unwrap().rows().concat();
        let (a, b) = (after(&one), after(&many));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= EXTEND_ERROR));
        assert_eq!(llm.length(&one), llm.length(&many));
    }
}

#[test]
fn windows_cover_the_rows_and_skip_wide_gaps() {
    let mut llm = poisoned(16);
    assert_eq!(llm.windows_over(vec![]), vec![]);
    assert_eq!(llm.windows_over(vec![5, 2, 3]), vec![(2, 4)]);
    assert_eq!(llm.windows_over(vec![0, 4, 15]), vec![(0, 1), (4, 1), (15, 1)]);
    assert_eq!(llm.windows_over(vec![0, 3, 4]), vec![(0, 5)]);
    llm.together = false;
    assert_eq!(llm.windows_over(vec![4, 3]), vec![(3, 1), (4, 1)]);
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let mut llm = poisoned(2);
    let slot = llm.open().unwrap();
    assert!(llm.step(&[(&slot, 1)]).is_err(), "no prefill yet");
    assert!(llm.prefill(&slot, &[], None).is_err());
    assert!(llm.prefill(&slot, &vec![1; llm.capacity() + 1], None).is_err());
    assert!(
        llm.prefill(&slot, &[1, 1 << 40], None).is_err(),
        "an id of no row"
    );
    assert!(llm.extend(&slot, &[1]).is_err(), "nothing to go on from");
    let most = vec![1; llm.capacity() - 1];
    llm.prefill(&slot, &most, None).unwrap();
    llm.step(&[(&slot, 1)]).unwrap();
    assert!(llm.step(&[(&slot, 1)]).is_err(), "full");
    assert!(llm.extend(&slot, &[1]).is_err(), "full");
    llm.close(slot);
    let slot = llm.open().unwrap();
    assert!(llm.step(&[(&slot, 1)]).is_err(), "nothing in it");
}
