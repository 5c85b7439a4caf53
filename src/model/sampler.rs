//! Repetition-aware sampling (VALL-E 2, as CosyVoice's `utils/common.py` does it): nucleus first; where the choice
//! already fills its share of the recent window, that id is masked and the whole distribution is sampled.

use rand::{Rng, RngExt};

use super::bundle::SamplingConfig;
use super::softmax::{LANES, greatest, softmax};

/// A source of categorical draws, so that tests can inject the reference's.
pub trait Draw {
    /// An index into `weights` (finite, >= 0, not all zero; not normalised), with probability proportional to it.
    fn pick(&mut self, weights: &[f32]) -> usize;
}

/// Draws by inverting the cumulative sum with one uniform number, so a draw costs one step of the generator.
impl<R: Rng> Draw for R {
    fn pick(&mut self, weights: &[f32]) -> usize {
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let mut left = self.random::<f64>() * total;
        for (i, &w) in weights.iter().enumerate() {
            left -= f64::from(w);
            if left < 0.0 {
                return i;
            }
        }
        weights.iter().rposition(|&w| w > 0.0).unwrap_or(0)
    }
}

/// Picks the next id from `logits` (changed in place: softmax, masks) given what was `decoded` so far.
pub fn sample(logits: &mut [f32], decoded: &[usize], config: &SamplingConfig, draw: &mut impl Draw) -> usize {
    softmax(logits);
    let nucleus = nucleus(logits, config.top_p, config.top_k);
    let weights: Vec<f32> = nucleus.iter().map(|&i| logits[i]).collect();
    let choice = nucleus[draw.pick(&weights).min(nucleus.len() - 1)];
    let window = &decoded[decoded.len().saturating_sub(config.win_size)..];
    let repeats = window.iter().filter(|&&t| t == choice).count();
    if (repeats as f32) < config.win_size as f32 * config.tau_r {
        return choice;
    }
    // A distribution with all its mass on the masked id has nothing else to offer.
    let masked = std::mem::replace(&mut logits[choice], 0.0);
    if logits.iter().all(|&p| p <= 0.0) {
        logits[choice] = masked;
    }
    draw.pick(logits).min(logits.len() - 1)
}

/// The ids of the nucleus, most probable first (ties by id): the one that crosses `top_p` is kept, at most `top_k`.
pub fn nucleus(probabilities: &[f32], top_p: f32, top_k: usize) -> Vec<usize> {
    let mut best = best(probabilities, top_k.max(1));
    let mut mass = 0.0;
    let kept = best
        .iter()
        .take_while(|&&i| {
            let open = mass < top_p;
            mass += probabilities[i];
            open
        })
        .count();
    best.truncate(kept.max(1));
    best
}

/// The ids of the `k` greatest, greatest first, ties by id. Every one of them is at least the k-th greatest of the
/// greatest of each block, which leaves little to sort.
fn best(values: &[f32], k: usize) -> Vec<usize> {
    const BLOCK: usize = 2 * LANES;
    let tops: Vec<f32> = values.chunks(BLOCK).map(greatest).collect();
    let mut ranked = tops.clone();
    let least = match k < ranked.len() {
        true => *ranked.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1,
        false => f32::NEG_INFINITY,
    };
    // Not a number is never out, so that something is left whatever the model gives.
    let out = |value: f32| value < least;
    let blocks = values.chunks(BLOCK).zip(&tops).enumerate();
    let mut ids: Vec<usize> = blocks
        .filter(|(_, (_, top))| !out(**top))
        .flat_map(|(n, (block, _))| block.iter().enumerate().map(move |(i, v)| (n * BLOCK + i, *v)))
        .filter(|(_, value)| !out(*value))
        .map(|(id, _)| id)
        .collect();
    ids.sort_unstable_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    ids.truncate(k);
    ids
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha12Rng;

    use super::*;

    struct Fixed(Vec<usize>);
    impl Draw for Fixed {
        fn pick(&mut self, _: &[f32]) -> usize {
            self.0.remove(0)
        }
    }

    const CONFIG: SamplingConfig = SamplingConfig {
        top_p: 0.8,
        top_k: 25,
        win_size: 10,
        tau_r: 0.1,
    };

    #[test]
    fn keeps_the_token_that_crosses_top_p() {
        assert_eq!(nucleus(&[0.5, 0.2, 0.2, 0.1], 0.6, 25), vec![0, 1]);
        assert_eq!(nucleus(&[0.25; 4], 0.9, 2), vec![0, 1]);
    }

    #[test]
    fn a_repeat_masks_the_id_and_samples_the_rest() {
        let mut logits = vec![5.0, 0.0, 0.0];
        assert_eq!(
            sample(&mut logits.clone(), &[1, 2], &CONFIG, &mut Fixed(vec![0])),
            0
        );
        assert_eq!(sample(&mut logits, &[0], &CONFIG, &mut Fixed(vec![0, 2])), 2);
        assert_eq!(logits[0], 0.0);
    }

    #[test]
    fn a_certain_token_is_not_masked_into_nothing() {
        let mut logits = vec![0.0, f32::NEG_INFINITY];
        assert_eq!(sample(&mut logits, &[0], &CONFIG, &mut Fixed(vec![0, 0])), 0);
    }

    /// What the sampler did before it was made fast, for comparison.
    mod plain {
        pub fn softmax(logits: &mut [f32]) {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut sum = 0.0f64;
            for v in logits.iter_mut() {
                *v = (*v - max).exp();
                sum += f64::from(*v);
            }
            let scale = (1.0 / sum) as f32;
            logits.iter_mut().for_each(|v| *v *= scale);
        }

        pub fn best(probabilities: &[f32], k: usize) -> Vec<usize> {
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
            order.truncate(k);
            order
        }
    }

    /// Logits as a model gives them: a wide bell, a few that stand out, ties, masks.
    fn logits(draws: &mut ChaCha12Rng, len: usize) -> Vec<f32> {
        let spread = draws.random_range(0.5..6.0f32);
        let mut logits: Vec<f32> = (0..len)
            .map(|_| (0..6).map(|_| draws.random::<f32>() - 0.5).sum::<f32>() * spread)
            .collect();
        for _ in 0..draws.random_range(1..40) {
            let (at, from) = (draws.random_range(0..len), draws.random_range(0..len));
            logits[at] = logits[from] + draws.random_range(0..3) as f32 * spread;
        }
        let masked = draws.random_range(0..len);
        logits[masked] = f32::NEG_INFINITY;
        logits
    }

    #[test]
    fn probabilities_and_nuclei_are_those_of_the_plain_way() {
        let mut draws = ChaCha12Rng::seed_from_u64(5);
        for round in 0..300 {
            let len = if round % 3 == 0 {
                6564
            } else {
                draws.random_range(1..200)
            };
            let mut plain = logits(&mut draws, len);
            let mut fast = plain.clone();
            plain::softmax(&mut plain);
            softmax(&mut fast);
            let worst = plain
                .iter()
                .zip(&fast)
                .map(|(a, b)| (a - b).abs() / a.max(1e-30))
                .fold(0.0, f32::max);
            assert!(worst <= 3e-7, "{worst}");
            let k = draws.random_range(1..60).min(len);
            assert_eq!(best(&fast, k), plain::best(&fast, k));
        }
        assert_eq!(nucleus(&[f32::NAN; 40], 0.5, 2), vec![0]);
    }
}
