//! Repetition-aware sampling against the reference's decisions, its draws injected.

use crate::support::Golden;
use cosyserve::model::bundle::SamplingConfig;
use cosyserve::model::sampler::{Draw, nucleus, sample};

const CONFIG: SamplingConfig = SamplingConfig {
    top_p: 0.8,
    top_k: 25,
    win_size: 10,
    tau_r: 0.1,
};

/// Gives the reference's nucleus pick first and its draw from the whole distribution second.
struct Injected {
    picks: Vec<usize>,
    weights_seen: Vec<usize>,
}

impl Draw for Injected {
    fn pick(&mut self, weights: &[f32]) -> usize {
        self.weights_seen.push(weights.len());
        self.picks.remove(0)
    }
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|&v| f64::from(v - max).exp()).sum();
    scores
        .iter()
        .map(|&v| (f64::from(v - max).exp() / sum) as f32)
        .collect()
}

/// The scores and the history of a case. One distribution serves all the histories of its number: `c3_2` has the scores
/// of `c3_0`.
fn inputs(golden: &Golden, case: &str) -> (Vec<f32>, Vec<usize>) {
    let Some((number, _)) = case.rsplit_once('_') else {
        panic!("{case} is no case of the goldens")
    };
    let distribution = format!("{number}_0");
    let decoded = golden.ints(&format!("{case}/decoded"));
    (
        golden.floats(&format!("{distribution}/scores")),
        decoded.iter().map(|&t| t as usize).collect(),
    )
}

/// Guarantees, for every distribution, history and draw of the goldens: the nucleus (ids, order, size, mass), whether
/// the repeat is masked, and the id that results.
#[test]
fn decisions_are_the_reference_s() {
    let golden = Golden::common("sampling");
    let mut checked = 0;
    for name in golden.names().iter().filter(|n| n.ends_with("/ras_ids")) {
        let case = name.trim_end_matches("/ras_ids");
        let (scores, decoded) = inputs(&golden, case);
        let nucleus_ids = golden.ints(&format!("{case}/nucleus_idx"));
        let probabilities = softmax(&scores);
        let ours = nucleus(&probabilities, CONFIG.top_p, CONFIG.top_k);
        assert_eq!(
            ours.iter().map(|&i| i as i64).collect::<Vec<_>>(),
            nucleus_ids,
            "{case}: nucleus"
        );
        for (id, p) in ours.iter().zip(golden.floats(&format!("{case}/nucleus_prob"))) {
            assert!((probabilities[*id] - p).abs() <= 1e-6, "{case}: mass of {id}");
        }
        let picks = golden.ints(&format!("{case}/nucleus_pick"));
        let fallback = golden.bools(&format!("{case}/fallback"));
        let expected = golden.ints(&format!("{case}/ras_ids"));
        for ((&pick, &fell), &id) in picks.iter().zip(&fallback).zip(&expected) {
            let mut draw = Injected {
                picks: vec![pick as usize, id as usize],
                weights_seen: Vec::new(),
            };
            let got = sample(&mut scores.clone(), &decoded, &CONFIG, &mut draw);
            assert_eq!(got as i64, id, "{case}");
            let draws: &[usize] = if fell {
                &[ours.len(), scores.len()]
            } else {
                &[ours.len()]
            };
            assert_eq!(
                draw.weights_seen, draws,
                "{case}: which distributions were drawn from"
            );
            checked += 1;
        }
    }
    println!("{checked} decisions identical");
    assert!(
        checked > 800,
        "only {checked} decisions were found in the goldens"
    );
}

/// Guarantees that our own draws follow the distribution: the share of each id over many seeds, against the
/// reference's 20,000 draws where the goldens hold them.
#[test]
fn frequencies_follow_the_reference_s() {
    use rand::SeedableRng;
    let golden = Golden::common("sampling");
    let mut draws = rand_chacha::ChaCha12Rng::seed_from_u64(7);
    let mut cases = 0;
    for name in golden.names().iter().filter(|n| n.ends_with("/counts20000")) {
        let case = name.trim_end_matches("/counts20000");
        let (scores, decoded) = inputs(&golden, case);
        let expected = golden.ints(name);
        let mut counts = vec![0i64; scores.len()];
        for _ in 0..20_000 {
            counts[sample(&mut scores.clone(), &decoded, &CONFIG, &mut draws)] += 1;
        }
        for (id, (&ours, &theirs)) in counts.iter().zip(&expected).enumerate() {
            // Two binomial samples: five standard deviations of their difference.
            let bound = 5.0 * ((ours + theirs) as f64).sqrt() + 5.0;
            assert!(
                (ours - theirs).abs() as f64 <= bound,
                "{case}: id {id}: {ours} against {theirs}"
            );
        }
        cases += 1;
    }
    assert!(cases >= 2, "only {cases} counted distributions were found");
}
