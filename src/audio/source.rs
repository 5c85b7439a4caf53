//! Recordings whose words are to be spoken by another voice.

use std::ops::Range;

use super::prompt::RATE_16K;
use crate::dsp::resample::resample;
use crate::{Error, Result, limits};

/// Frames whose loudness is compared, samples at 16 kHz: 40 ms, a speech token of 25 a second.
const FRAME: usize = 640;
/// Frames that are left for the last piece at least: what the speech tokenizer is given must not be too short.
const LEAST: usize = 12;

/// A recording at 16 kHz. Unlike a prompt it stays as it is, pauses at its ends included: what comes out is as long.
///
/// # Errors
/// [`Error::Invalid`], named by `field`: shorter than [`limits::PROMPT_MIN_SECONDS`] or longer than
/// [`limits::SOURCE_MAX_SECONDS`]; silent; a rate out of range.
pub fn prepare(samples: &[f32], sample_rate: u32, field: &str) -> Result<Vec<f32>> {
    let (low, high) = (limits::PROMPT_MIN_RATE, limits::PROMPT_MAX_RATE);
    if !(low..=high).contains(&sample_rate) {
        return Err(Error::invalid(format!(
            "{field}: sample rate {sample_rate} Hz is outside {low} to {high} Hz"
        )));
    }
    let seconds = samples.len() as f32 / sample_rate as f32;
    let (least, most) = (limits::PROMPT_MIN_SECONDS, limits::SOURCE_MAX_SECONDS);
    if !(least..=most).contains(&seconds) {
        return Err(Error::invalid(format!(
            "{field}: the recording is {seconds:.2} s long; {least} to {most} s are accepted"
        )));
    }
    if samples.iter().all(|&x| x == 0.0) {
        return Err(Error::invalid(format!("{field}: the recording is silent")));
    }
    Ok(resample(samples, sample_rate, RATE_16K))
}

/// Cuts samples at 16 kHz into pieces of at most `longest` samples: each as long as half of that at least (the last, half
/// a second), cut where the frame around the cut is the quietest, the last of equals. Cuts are whole frames behind the
/// piece's beginning.
pub fn pieces(samples: &[f32], longest: usize) -> Vec<Range<usize>> {
    let (longest, mut start) = ((longest / FRAME).max(2), 0);
    let least = LEAST.min(longest / 2);
    let mut pieces = Vec::new();
    while samples.len() - start > longest * FRAME {
        let left = (samples.len() - start) / FRAME;
        let cuts = longest.div_ceil(2)..=longest.min(left - least);
        let loudness = |cut: &usize| {
            let centre = start + cut * FRAME;
            let frame = &samples[centre - FRAME / 2..(centre + FRAME / 2).min(samples.len())];
            frame.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
        };
        let last = *cuts.end();
        let quietest = cuts.rev().min_by(|a, b| loudness(a).total_cmp(&loudness(b)));
        let end = start + quietest.unwrap_or(last) * FRAME;
        pieces.push(start..end);
        start = end;
    }
    pieces.push(start..samples.len());
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_recording_is_one_piece() {
        assert_eq!(pieces(&[0.5; 6_400], 6_400).first(), Some(&(0..6_400)));
        assert_eq!(pieces(&[0.5; 6_400], 6_400).len(), 1);
        assert_eq!(pieces(&[], 6_400).first(), Some(&(0..0)));
    }

    #[test]
    fn cuts_lie_in_the_pauses() {
        let mut samples = vec![0.5; 100 * FRAME];
        // Pauses around frames 12 (too early to cut at), 27 and 50; the one at 27 is not quite silent.
        for (pause, level) in [(12, 0.0), (27, 0.01), (50, 0.0)] {
            samples[pause * FRAME - FRAME / 2..pause * FRAME + FRAME / 2].fill(level);
        }
        let ends: Vec<usize> = pieces(&samples, 30 * FRAME)
            .iter()
            .map(|piece| piece.end / FRAME)
            .collect();
        assert_eq!(ends, [27, 50, 80, 100]);
    }

    #[test]
    fn lengths_and_silence_are_named() {
        let refused = |samples: &[f32], rate| prepare(samples, rate, "source_wav").unwrap_err().to_string();
        assert!(
            refused(&[0.1; 1_600], 16_000).starts_with("source_wav: the recording is 0.10 s long; 0.5 to")
        );
        let most = limits::SOURCE_MAX_SECONDS as usize;
        assert!(refused(&vec![0.1; (most + 1) * 8_000], 8_000).contains("s long"));
        assert!(refused(&[0.0; 16_000], 16_000).contains("silent"));
        assert!(refused(&[0.1; 16_000], 4_000).contains("4000 Hz"));
        let kept = [vec![0.0; 24_000], vec![0.9; 24_000], vec![0.0; 24_000]].concat();
        assert_eq!(
            prepare(&kept, 24_000, "f").unwrap().len(),
            48_000,
            "nothing is trimmed"
        );
    }

    proptest! {
        #[test]
        fn pieces_cover_everything_in_order(
            levels in proptest::collection::vec(0.0f32..1.0, 1..80),
            rest in 0..FRAME,
            longest in 0..20 * FRAME,
        ) {
            let samples: Vec<f32> = levels.iter().flat_map(|&level| vec![level; FRAME]).chain(vec![0.1; rest]).collect();
            let got = pieces(&samples, longest);
            let most = (longest / FRAME).max(2) * FRAME;
            prop_assert_eq!((got[0].start, got[got.len() - 1].end), (0, samples.len()));
            for pair in got.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
                prop_assert!(pair[0].len() >= most / 2 && pair[1].len() >= most.min(2 * LEAST * FRAME) / 2 / FRAME * FRAME);
            }
            prop_assert!(got.iter().all(|piece| !piece.is_empty() && piece.len() <= most));
        }
    }
}
