//! When audio of a request is next needed: what the stages order their work by.
//!
//! A stream's first audio is wanted soon; from then on its client plays, and the next audio is wanted when what it has
//! been sent runs out. A whole answer is treated as a stream that began to play some seconds later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::limits;

/// How much less urgent the tokens of a request are while a chunk of it is being made.
const ONE_CHUNK: Duration = Duration::from_secs(1);

/// One request's urgency, written by its own thread (and by the worker that gets its text) and read by the workers.
#[derive(Debug)]
pub struct Urgency {
    started: Instant,
    stream: bool,
    /// Nanoseconds after `started` at which the client has played all it was sent, or should begin to play.
    dry: AtomicU64,
    playing: AtomicBool,
    making: AtomicUsize,
    underruns: AtomicU32,
}

impl Urgency {
    /// Of a request that arrived at `started`; `stream`: its client plays while it comes.
    pub fn new(started: Instant, stream: bool) -> Arc<Self> {
        let patience = if stream {
            limits::FIRST_AUDIO_PATIENCE
        } else {
            limits::WHOLE_ANSWER_PATIENCE
        };
        Arc::new(Self {
            started,
            stream,
            dry: AtomicU64::new(nanos(patience)),
            playing: AtomicBool::new(false),
            making: AtomicUsize::new(0),
            underruns: AtomicU32::new(0),
        })
    }

    /// When audio of this request is next needed.
    pub fn deadline(&self) -> Instant {
        self.started + Duration::from_nanos(self.dry.load(Ordering::Relaxed))
    }

    /// When its next speech tokens are needed: one chunk later while a chunk is being made of those it has.
    pub fn token_deadline(&self) -> Instant {
        match self.making.load(Ordering::Relaxed) {
            0 => self.deadline(),
            _ => self.deadline() + ONE_CHUNK,
        }
    }

    /// A chunk of this request is being made until the guard is dropped.
    pub fn making(self: &Arc<Self>) -> Making {
        self.making.fetch_add(1, Ordering::Relaxed);
        Making(self.clone())
    }

    /// Samples are about to go out: counts an underrun if the client has run dry before them.
    pub fn ready(&self) {
        let dry = self.dry.load(Ordering::Relaxed);
        if self.stream && self.playing.load(Ordering::Relaxed) && nanos(self.started.elapsed()) > dry {
            self.underruns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Samples that last `audio` went out. Called by the request's own thread.
    pub fn sent(&self, audio: Duration) {
        let dry = self.dry.load(Ordering::Relaxed);
        // A client that ran dry, or has not begun, plays from now on.
        let now = nanos(self.started.elapsed());
        let from = match (self.stream, self.playing.swap(true, Ordering::Relaxed)) {
            (true, true) => dry.max(now),
            (true, false) => now,
            (false, _) => dry,
        };
        self.dry
            .store(from.saturating_add(nanos(audio)), Ordering::Relaxed);
    }

    /// Text came that was waited for. A client that has run dry meanwhile has waited for it, not for the stages, and
    /// begins anew.
    pub fn text_came(&self) {
        let now = nanos(self.started.elapsed());
        if self.stream && self.dry.load(Ordering::Relaxed) < now {
            self.playing.store(false, Ordering::Relaxed);
            let patience = nanos(limits::FIRST_AUDIO_PATIENCE);
            self.dry.store(now.saturating_add(patience), Ordering::Relaxed);
        }
    }

    /// How often audio came later than the moment its client had run dry.
    pub fn underruns(&self) -> u32 {
        self.underruns.load(Ordering::Relaxed)
    }
}

/// See [`Urgency::making`].
#[derive(Debug)]
pub struct Making(Arc<Urgency>);

impl Drop for Making {
    fn drop(&mut self) {
        self.0.making.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stream_is_wanted_soon_and_then_when_its_audio_runs_out() {
        let started = Instant::now();
        let urgency = Urgency::new(started, true);
        assert_eq!(urgency.deadline(), started + limits::FIRST_AUDIO_PATIENCE);
        urgency.ready();
        urgency.sent(SECOND);
        let first = urgency.deadline();
        assert!(first >= started + SECOND && first <= Instant::now() + SECOND);
        urgency.ready();
        urgency.sent(2 * SECOND);
        assert_eq!(urgency.deadline(), first + 2 * SECOND);
        assert_eq!(urgency.underruns(), 0);
    }

    #[test]
    fn late_audio_is_an_underrun_and_the_client_plays_on_from_there() {
        let urgency = Urgency::new(Instant::now(), true);
        urgency.sent(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        let late = Instant::now();
        urgency.ready();
        urgency.sent(SECOND);
        assert_eq!(urgency.underruns(), 1);
        assert!(urgency.deadline() >= late + SECOND);
        urgency.ready();
        assert_eq!(urgency.underruns(), 1);
    }

    #[test]
    fn a_client_that_waited_for_text_begins_anew() {
        let urgency = Urgency::new(Instant::now(), true);
        urgency.sent(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(5));
        let before = Instant::now();
        urgency.text_came();
        assert!(urgency.deadline() >= before + limits::FIRST_AUDIO_PATIENCE);
        urgency.ready();
        urgency.sent(SECOND);
        assert_eq!(urgency.underruns(), 0, "it was the text that was late");
        let plays_until = urgency.deadline();
        urgency.text_came();
        assert_eq!(urgency.deadline(), plays_until, "it has not run dry");
    }

    #[test]
    fn a_whole_answer_has_a_head_start_and_no_underruns() {
        let started = Instant::now();
        let urgency = Urgency::new(started, false);
        assert_eq!(urgency.deadline(), started + limits::WHOLE_ANSWER_PATIENCE);
        urgency.ready();
        urgency.sent(SECOND);
        assert_eq!(
            urgency.deadline(),
            started + limits::WHOLE_ANSWER_PATIENCE + SECOND
        );
        assert_eq!(urgency.underruns(), 0);
    }

    #[test]
    fn tokens_are_less_urgent_while_a_chunk_is_made() {
        let urgency = Urgency::new(Instant::now(), true);
        let (one, two) = (urgency.making(), urgency.making());
        drop(one);
        assert_eq!(urgency.token_deadline(), urgency.deadline() + ONE_CHUNK);
        drop(two);
        assert_eq!(urgency.token_deadline(), urgency.deadline());
    }
}
