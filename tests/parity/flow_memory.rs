//! The memory of the flow's pages: what nobody needs goes back to the system, and nobody hears it.

use std::time::Instant;

use crate::support::{flow, flow_worker, keep_going, long_case};
use cosyserve::limits;
use cosyserve::model::flow::{Attention, FlowRunner, Row};
use cosyserve::model::pages::PagePool;
use cosyserve::model::{Mel, mel};

const CHUNK: usize = 25;

/// Guarantees that giving back the memory of free pages, while an utterance holds others, changes no bit of its mel.
#[test]
fn memory_given_back_changes_no_mel() {
    let (case, pool) = (long_case(23), PagePool::new(20));
    let mut runner = FlowRunner::new(flow(), pool.total()).unwrap();
    let mut given = 0;
    let mut speak = |trim: bool| {
        let (mut all, mut pages) = (Mel::default(), Vec::new());
        for chunk in 0..8 {
            let write = pool.take(1).unwrap();
            let row = Row {
                voice: &case.voice,
                tokens: &case.tokens,
                from: chunk * CHUNK,
                to: (chunk + 1) * CHUNK,
                history: &pages,
                write: &write,
            };
            let mels = runner.run(&[row], Attention::Chunked { left: None }).unwrap();
            all = mel::join(&all, &mels[0]);
            pages.extend(write);
            if trim {
                given += pool.trim(pool.total(), |free| {
                    runner.discard(free).unwrap();
                    free.len()
                });
            }
        }
        all
    };
    let expected = speak(false);
    for _ in 0..3 {
        assert_eq!(speak(true), expected);
    }
    assert!(given >= 3 * 4, "pages went back in between: {given}");
}

/// Guarantees that a worker with nothing to do gives back the memory of the pages nobody holds, also when an utterance
/// lets go of them while the worker already waits.
#[test]
fn an_idle_worker_gives_memory_back() {
    let case = long_case(92);
    let worker = flow_worker(None);
    let mut stream = case.open(&worker);
    stream.chunk(&case.tokens[..60], false, &keep_going).unwrap();
    std::thread::sleep(limits::CANCEL_POLL);
    drop(stream);
    assert!(worker.pages().has_spare());
    let end = Instant::now() + 10 * limits::FLOW_TRIM_WINDOW;
    while worker.pages().has_spare() {
        assert!(Instant::now() < end, "it keeps the memory");
        std::thread::sleep(limits::CANCEL_POLL);
    }
}
