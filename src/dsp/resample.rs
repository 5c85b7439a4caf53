//! Rate conversion with a windowed-sinc kernel, for any pair of rates.
//!
//! This is the polyphase form of torchaudio's `sinc_interp_hann` resampler (J. O. Smith, "Digital Audio Resampling"):
//! six zero crossings of a sinc at 0.99 of the lower Nyquist frequency under a squared-cosine window. The reference
//! prepares every prompt with it, so features computed behind it match.

/// Zero crossings of the kernel on each side.
const CROSSINGS: f64 = 6.0;
/// Cut-off as a part of the lower rate's half.
const ROLLOFF: f64 = 0.99;

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The kernel of one output phase: the input samples `first..first + taps.len()`, counted from the start of the
/// input period, weighted.
struct Phase {
    first: i64,
    taps: Vec<f32>,
}

/// The kernel at output phase `phase`, for `orig` input samples on `new` output samples (coprime).
fn kernel(phase: u64, orig: f64, new: f64) -> Phase {
    let base = orig.min(new) * ROLLOFF;
    let scale = base / orig;
    let centre = phase as f64 / new;
    // The window ends where |t| reaches the number of crossings; t = (i / orig - centre) * base.
    let reach = CROSSINGS / base;
    let first = ((centre - reach) * orig).ceil();
    let last = ((centre + reach) * orig).floor();
    let count = (last - first) as usize + 1;
    let weight = |i: usize| {
        let t = ((first + i as f64) / orig - centre) * base;
        let t = t.clamp(-CROSSINGS, CROSSINGS);
        let window = (t * std::f64::consts::PI / CROSSINGS / 2.0).cos().powi(2);
        let x = t * std::f64::consts::PI;
        let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
        (sinc * window * scale) as f32
    };
    Phase {
        first: first as i64,
        taps: (0..count).map(weight).collect(),
    }
}

/// Converts a signal from `from` hertz to `to` hertz. The result has `ceil(samples * to / from)` samples; beyond its
/// ends the signal counts as zero. Equal rates (or a rate of 0) give the signal back unchanged.
///
/// Time is linear in the length of the longer signal; the kernel holds at most `to / gcd(from, to)` phases of about
/// `12 max(1, from / to)` taps, and never more phases than there are output samples.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    if from == to || from == 0 || to == 0 || samples.is_empty() {
        return samples.to_vec();
    }
    let common = gcd(u64::from(from), u64::from(to));
    let (orig, new) = (u64::from(from) / common, u64::from(to) / common);
    let length = (samples.len() as u64 * new).div_ceil(orig);
    let phases: Vec<Phase> = (0..new.min(length))
        .map(|phase| kernel(phase, orig as f64, new as f64))
        .collect();
    (0..length)
        .map(|j| {
            let phase = &phases[(j % new) as usize];
            let first = (j / new * orig) as i64 + phase.first;
            let skip = (-first).max(0) as usize;
            let start = first.max(0) as usize;
            let taps = phase.taps.get(skip..).unwrap_or(&[]);
            let x = samples.get(start..).unwrap_or(&[]);
            taps.iter().zip(x).map(|(w, s)| w * s).sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|i| (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin() as f32)
            .collect()
    }

    #[test]
    fn a_tone_keeps_its_frequency_and_level_at_any_pair_of_rates() {
        for (from, to) in [
            (44_100, 24_000),
            (48_000, 16_000),
            (8_000, 24_000),
            (11_025, 16_000),
            (22_050, 24_000),
            (44_101, 16_000),
            (384_000, 16_000),
            (24_000, 22_050),
        ] {
            let got = resample(&tone(440.0, from, from as usize / 2), from, to);
            assert_eq!(got.len(), (to as usize).div_ceil(2), "{from} -> {to}");
            let want = tone(440.0, to, got.len());
            let edge = to as usize / 50;
            let worst = got[edge..got.len() - edge]
                .iter()
                .zip(&want[edge..])
                .map(|(g, w)| (g - w).abs())
                .fold(0.0, f32::max);
            assert!(worst < 5e-3, "{from} -> {to}: {worst}");
        }
    }

    #[test]
    fn what_the_new_rate_cannot_carry_is_removed() {
        let got = resample(&tone(11_000.0, 48_000, 24_000), 48_000, 16_000);
        let peak = got[200..got.len() - 200]
            .iter()
            .fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(peak < 2e-2, "{peak}");
    }

    #[test]
    fn edge_cases_do_not_panic() {
        assert!(resample(&[], 16_000, 24_000).is_empty());
        assert_eq!(resample(&[0.5], 24_000, 24_000), [0.5]);
        assert_eq!(resample(&[0.5], 16_000, 24_000).len(), 2);
        assert_eq!(resample(&[0.5; 3], 48_000, 16_000).len(), 1);
        assert_eq!(resample(&[0.5; 2], 384_000, 8_000).len(), 1);
    }
}
