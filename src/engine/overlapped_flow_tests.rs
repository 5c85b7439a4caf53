//! On the exported tiny CosyVoice 1 checkpoint; `make test` exports it first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop where something is broken"
)]
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::model::Bundle;
use crate::runtime::{Device, Options, Runtime};

fn flows(turn: &Arc<Turn>) -> OverlappedFlows {
    let runtime = Runtime::get(&Options {
        library: None,
        threads: 2,
    })
    .expect("ONNX Runtime; run `make setup`");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-bundles/tiny-cosyvoice1");
    let bundle = Bundle::open(&dir).expect("`make test-bundle` exports it");
    let flow = OverlappedFlow::load(runtime, &bundle, Device::Cpu).unwrap();
    OverlappedFlows::new(flow, Some(turn.clone()))
}

/// An utterance of a speaker without a prompt that is wanted after so many seconds.
fn open(flows: &OverlappedFlows, seconds: u64) -> OverlappedStream {
    let urgency = Urgency::new(Instant::now(), true);
    urgency.sent(Duration::from_secs(seconds));
    let voice = FlowVoice::new(Vec::new(), Vec::new(), vec![0.1; 192]);
    flows.open(voice.into(), urgency, || 0.5)
}

/// Guarantees that an utterance wanted earlier goes between two runs of another one, all of it.
#[test]
fn what_is_due_first_interrupts() {
    let turn = Turn::new();
    let flows = flows(&turn);
    let (mut late, soon) = (open(&flows, 9), Mutex::new(Some(open(&flows, 1))));
    let runs = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let runs = &runs;
        let note = |who| {
            runs.lock().push(who);
            runs.lock().len()
        };
        late.begin(&[1, 2, 3], true);
        let made = late.finish(&|| {
            if note("late") == 3 {
                let mut soon = soon.lock().take().unwrap();
                scope.spawn(move || {
                    soon.begin(&[4, 5], true);
                    soon.finish(&|| {
                        note("soon");
                        Ok(())
                    })
                });
                // This one has the turn.
                while turn.waiting() == 0 {
                    std::thread::yield_now();
                }
            }
            Ok(())
        });
        assert_eq!(made.unwrap().cols, 5);
    });
    // The encoder's run and ten Euler steps each.
    let expected = [["late"; 3].to_vec(), ["soon"; 11].to_vec(), ["late"; 8].to_vec()];
    assert_eq!(*runs.lock(), expected.concat());
}
