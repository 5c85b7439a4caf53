//! Prompt recordings as the models expect them: trimmed, level and with a little silence behind.

use crate::dsp::resample::resample;
use crate::{Error, Result, limits};

/// Hertz that tokenizer and speaker encoder take.
pub const RATE_16K: u32 = 16_000;
/// Hertz that the prompt's mel is computed from, in every generation.
pub const RATE_24K: u32 = 24_000;

const TRIM_DB: f64 = 60.0;
const TRIM_FRAME: usize = 440;
const TRIM_HOP: usize = 220;
const PEAK: f32 = 0.8;
const TAIL_SECONDS: f32 = 0.2;

/// One prepared prompt at both rates the features need.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedPrompt {
    /// Samples at 16 kHz (speech tokens, speaker embedding).
    pub at_16k: Vec<f32>,
    /// Samples at 24 kHz (mel).
    pub at_24k: Vec<f32>,
    /// Length after trimming, without the added silence, seconds.
    pub seconds: f32,
}

/// Prepares a recording as CosyVoice's services do: to 16 kHz; silence more than 60 dB below the loudest frame
/// trimmed at both ends (frames of 440 samples, hop 220, as `librosa.effects.trim`); peak lowered to 0.8 when above;
/// 0.2 s of silence added (less when the whole would exceed the tokenizer's 30 s). The 24 kHz version comes from the
/// recording itself, not from the 16 kHz one, and is cut at the same times and scaled by the same factor, so that
/// it keeps what lies above 8 kHz.
///
/// # Errors
/// [`Error::Invalid`], named by `field`: shorter than [`limits::PROMPT_MIN_SECONDS`] or longer than
/// [`limits::PROMPT_MAX_SECONDS`] after trimming, with the measured length; silent; a rate out of range.
pub fn prepare(samples: &[f32], sample_rate: u32, field: &str) -> Result<PreparedPrompt> {
    let (low, high) = (limits::PROMPT_MIN_RATE, limits::PROMPT_MAX_RATE);
    if !(low..=high).contains(&sample_rate) {
        return Err(Error::invalid(format!(
            "{field}: sample rate {sample_rate} Hz is outside {low} to {high} Hz"
        )));
    }
    let at_16k = resample(samples, sample_rate, RATE_16K);
    let peak = |x: &[f32]| x.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
    if !at_16k.is_empty() && peak(&at_16k) == 0.0 {
        return Err(Error::invalid(format!("{field}: the recording is silent")));
    }
    let (start, end) = trim_bounds(&at_16k);
    let seconds = (end - start) as f32 / RATE_16K as f32;
    check_length(seconds, field)?;

    let at_24k = resample(samples, sample_rate, RATE_24K);
    let scale = |i: usize| (i * RATE_24K as usize / RATE_16K as usize).min(at_24k.len());
    let (cut_16k, cut_24k) = (&at_16k[start..end], &at_24k[scale(start)..scale(end)]);
    let loudest = peak(cut_16k).max(peak(cut_24k));
    let gain = if loudest > PEAK { PEAK / loudest } else { 1.0 };
    let tail = TAIL_SECONDS.min(limits::PROMPT_MAX_SECONDS - seconds).max(0.0);
    let finish = |x: &[f32], rate: u32| -> Vec<f32> {
        let silence = (tail * rate as f32) as usize;
        x.iter()
            .map(|v| v * gain)
            .chain(std::iter::repeat_n(0.0, silence))
            .collect()
    };
    Ok(PreparedPrompt {
        at_16k: finish(cut_16k, RATE_16K),
        at_24k: finish(cut_24k, RATE_24K),
        seconds,
    })
}

fn check_length(seconds: f32, field: &str) -> Result<()> {
    let (least, most) = (limits::PROMPT_MIN_SECONDS, limits::PROMPT_MAX_SECONDS);
    if (least..=most).contains(&seconds) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: the prompt audio is {seconds:.2} s long after trimming silence; {least} to {most} s are accepted"
    )))
}

/// First and one-past-last sample worth keeping, as `librosa.effects.trim(top_db=60, frame_length=440,
/// hop_length=220)`: frames centred on multiples of the hop, zeros beyond the ends, power relative to the loudest.
/// A recording of zeros is kept whole, an empty one gives (0, 0).
pub fn trim_bounds(samples: &[f32]) -> (usize, usize) {
    let n = samples.len();
    let frames = n / TRIM_HOP + 1;
    let power: Vec<f64> = (0..frames)
        .map(|frame| {
            let centre = frame * TRIM_HOP;
            let start = centre.saturating_sub(TRIM_FRAME / 2);
            let end = (centre + TRIM_FRAME / 2).min(n);
            let sum: f64 = samples[start.min(end)..end]
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum();
            // librosa clips powers at 1e-10 before it takes the logarithm.
            (sum / TRIM_FRAME as f64).max(1e-10)
        })
        .collect();
    let loudest = power.iter().copied().fold(1e-10, f64::max);
    let heard = |p: &f64| 10.0 * (p / loudest).log10() > -TRIM_DB;
    match (power.iter().position(heard), power.iter().rposition(heard)) {
        (Some(first), Some(last)) => ((first * TRIM_HOP).min(n), ((last + 1) * TRIM_HOP).min(n)),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(seconds: f32, rate: u32, level: f32) -> Vec<f32> {
        let samples = (seconds * rate as f32) as usize;
        (0..samples).map(|i| level * (i as f32 * 0.1).sin()).collect()
    }

    fn padded(before: usize, tone: Vec<f32>, after: usize) -> Vec<f32> {
        [vec![0.0; before], tone, vec![0.0; after]].concat()
    }

    #[test]
    fn silence_is_trimmed_as_librosa_does() {
        // A frame covers 220 samples on each side of its centre: the first heard one is centred at or after
        // 4400 - 219, the last at or before 4400 + 8800 + 219; the end is one hop behind the last.
        let samples = padded(4_400, tone(0.55, RATE_16K, 0.5), 6_600);
        assert_eq!(trim_bounds(&samples), (4_400, 13_420));
        assert_eq!(trim_bounds(&[]), (0, 0));
        // The bounds that librosa 0.11 gives for a recording, for slow fades and for the same far too quiet.
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/goldens/common/zero_shot_prompt.wav"
        );
        let speech = crate::audio::decode::decode(std::fs::read(path).unwrap(), "f").unwrap();
        assert_eq!(
            trim_bounds(&resample(&speech.samples, speech.sample_rate, RATE_16K)),
            (4_840, 51_040)
        );
        let fades = |gain: f32| -> Vec<f32> {
            let level = |i: f32| 10f32.powf(-((6e3 - i).max(0.0) + (i - 12e3).max(0.0)) / 1e3 / 2.0);
            (0..20_000)
                .map(|i| gain * level(i as f32) * (i as f32 * 0.3).sin())
                .collect()
        };
        assert_eq!(trim_bounds(&fades(0.5)), (220, 18_040));
        assert_eq!(trim_bounds(&fades(5e-5)), (0, 20_000));
        assert_eq!(trim_bounds(&[0.0; 1000]), (0, 1000));
        assert_eq!(trim_bounds(&[0.5; 100]), (0, 100));
    }

    #[test]
    fn the_peak_is_lowered_and_silence_added() {
        let got = prepare(&tone(1.0, 48_000, 1.0), 48_000, "f").unwrap();
        assert_eq!(got.at_16k.len(), 16_000 + 3_200);
        assert_eq!(got.at_24k.len(), 24_000 + 4_800);
        assert_eq!(got.seconds, 1.0);
        let peak = got
            .at_24k
            .iter()
            .chain(&got.at_16k)
            .fold(0.0f32, |m, x| m.max(x.abs()));
        assert!((peak - 0.8).abs() < 1e-6);
        assert!(got.at_24k[24_000..].iter().all(|x| *x == 0.0));
        let quiet = prepare(&tone(1.0, 48_000, 0.1), 48_000, "f").unwrap();
        assert!(quiet.at_24k.iter().fold(0.0f32, |m, x| m.max(x.abs())) < 0.11);
    }

    #[test]
    fn lengths_out_of_range_are_refused_with_their_length() {
        let text = |samples: &[f32], rate| prepare(samples, rate, "prompt_wav").unwrap_err().to_string();
        let short = text(&padded(32_000, tone(0.3, RATE_16K, 0.5), 32_000), RATE_16K);
        assert!(
            short.starts_with("prompt_wav: the prompt audio is 0.3"),
            "{short}"
        );
        let long = text(&tone(31.0, RATE_24K, 0.5), RATE_24K);
        assert!(long.contains("31.00 s long"), "{long}");
        assert!(text(&[0.0; 32_000], RATE_16K).contains("silent"));
        assert!(text(&[], RATE_16K).contains("0.00 s"));
        assert!(text(&[0.1; 32_000], 4_000).contains("4000 Hz"));
    }

    #[test]
    fn thirty_seconds_stay_within_the_tokenizers_limit() {
        let got = prepare(&tone(29.9, RATE_16K, 0.5), RATE_16K, "f").unwrap();
        assert!(
            got.at_16k.len() <= 30 * 16_000 && got.at_16k.len() >= 30 * 16_000 - 2,
            "{}",
            got.at_16k.len()
        );
        assert!(prepare(&tone(30.0, RATE_16K, 0.5), RATE_16K, "f").is_ok());
        // Silence does not count.
        assert!(prepare(&padded(80_000, tone(20.0, RATE_16K, 0.5), 160_000), RATE_16K, "f").is_ok());
    }
}
