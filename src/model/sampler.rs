//! Repetition-aware sampling (VALL-E 2, as CosyVoice's `utils/common.py` does it): nucleus first; where the choice
//! already fills its share of the recent window, that id is masked and the whole distribution is sampled.

use rand::{Rng, RngExt};

use super::bundle::SamplingConfig;

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
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    let by = |a: &usize, b: &usize| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b));
    let k = top_k.clamp(1, order.len().max(1));
    if k < order.len() {
        order.select_nth_unstable_by(k - 1, by);
        order.truncate(k);
    }
    order.sort_unstable_by(by);
    let mut mass = 0.0;
    let kept = order
        .iter()
        .take_while(|&&i| {
            let open = mass < top_p;
            mass += probabilities[i];
            open
        })
        .count();
    order.truncate(kept.max(1));
    order
}

fn softmax(logits: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for v in logits.iter_mut() {
        *v = (*v - max).exp();
        sum += f64::from(*v);
    }
    let scale = (1.0 / sum) as f32;
    for v in logits.iter_mut() {
        *v *= scale;
    }
}

#[cfg(test)]
mod tests {
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
}
