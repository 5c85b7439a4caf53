//! A listener's player, to tell whether a stream ran dry.

use std::time::Duration;

/// Plays from the first chunk on, without a buffer of its own; stops where nothing is left and goes on with the next
/// chunk.
#[derive(Debug, Default)]
pub struct Player {
    first: Option<Duration>,
    received: Duration,
    stalled: Duration,
    stalls: usize,
}

/// What one request took; times count from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Until its first audio.
    pub first: Duration,
    /// Until its last audio.
    pub total: Duration,
    /// Its speech.
    pub audio: Duration,
    /// How often a player ran dry.
    pub stalls: usize,
    /// How long it was silent then, in all.
    pub stalled: Duration,
}

impl Player {
    /// Takes a chunk of so much audio that came `at` this time.
    pub fn chunk(&mut self, at: Duration, audio: Duration) {
        if audio.is_zero() {
            return;
        }
        let first = *self.first.get_or_insert(at);
        let dry = first + self.received + self.stalled;
        if !self.received.is_zero() && at > dry {
            self.stalls += 1;
            self.stalled += at - dry;
        }
        self.received += audio;
    }

    /// What was heard when the stream ended `at` this time; `None` when that was nothing.
    pub fn end(self, at: Duration) -> Option<Sample> {
        Some(Sample {
            first: self.first?,
            total: at,
            audio: self.received,
            stalls: self.stalls,
            stalled: self.stalled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(chunks: &[(u64, u64)]) -> Sample {
        let mut player = Player::default();
        for &(at, audio) in chunks {
            player.chunk(Duration::from_millis(at), Duration::from_millis(audio));
        }
        player.end(Duration::from_millis(9_000)).unwrap()
    }

    #[test]
    fn audio_that_comes_in_time_never_stalls() {
        // The last one comes at the very moment it is needed.
        let sample = play(&[(300, 1_000), (900, 500), (1_800, 700)]);
        assert_eq!((sample.stalls, sample.stalled), (0, Duration::ZERO));
        assert_eq!(sample.first, Duration::from_millis(300));
        assert_eq!(sample.audio, Duration::from_millis(2_200));
        assert_eq!(sample.total, Duration::from_secs(9));
    }

    #[test]
    fn a_stall_delays_what_follows() {
        // Dry at 1,300, silent for 200; then dry at 2,000, silent for 50.
        let sample = play(&[(300, 1_000), (1_500, 500), (2_050, 100)]);
        assert_eq!((sample.stalls, sample.stalled), (2, Duration::from_millis(250)));
        // Without the first stall's delay the second chunk would have been late.
        let sample = play(&[(300, 1_000), (1_500, 500), (1_999, 100)]);
        assert_eq!((sample.stalls, sample.stalled), (1, Duration::from_millis(200)));
    }

    #[test]
    fn nothing_is_no_speech() {
        let mut player = Player::default();
        player.chunk(Duration::from_millis(5), Duration::ZERO);
        assert_eq!(player.end(Duration::from_millis(9)), None);
    }
}
