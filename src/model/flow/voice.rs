//! What the flow knows of a voice.

use sha2::{Digest, Sha256};

/// A voice as the flow is conditioned on it.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowVoice {
    /// Speech tokens of the prompt; may be empty.
    pub tokens: Vec<i64>,
    /// Mel of the prompt, [frames, bins] row-major; frames = mel frames per token * tokens, where a token has a whole
    /// number of them.
    pub feat: Vec<f32>,
    /// Raw speaker embedding, `spk_dim` numbers.
    pub embedding: Vec<f32>,
    /// Hash of the three: equal for equal voices.
    pub key: u64,
}

impl FlowVoice {
    /// A voice of its parts.
    pub fn new(tokens: Vec<i64>, feat: Vec<f32>, embedding: Vec<f32>) -> Self {
        let key = key(&tokens, &feat, &embedding);
        Self {
            tokens,
            feat,
            embedding,
            key,
        }
    }
}

/// Cryptographic, because clients choose what is hashed and one voice must never pass for another.
fn key(tokens: &[i64], feat: &[f32], embedding: &[f32]) -> u64 {
    let mut hash = Sha256::new();
    for length in [tokens.len(), feat.len(), embedding.len()] {
        hash.update((length as u64).to_le_bytes());
    }
    for token in tokens {
        hash.update(token.to_le_bytes());
    }
    for number in feat.iter().chain(embedding) {
        hash.update(number.to_le_bytes());
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::FlowVoice;

    #[test]
    fn the_key_tells_voices_apart() {
        let voice =
            |tokens: &[i64], feat: &[f32]| FlowVoice::new(tokens.to_vec(), feat.to_vec(), vec![1.0]).key;
        assert_eq!(voice(&[1, 2], &[0.5]), voice(&[1, 2], &[0.5]));
        assert_ne!(voice(&[1, 2], &[0.5]), voice(&[1, 3], &[0.5]));
        assert_ne!(voice(&[1, 2], &[0.5]), voice(&[1, 2], &[0.25]));
        assert_ne!(voice(&[], &[1.0]), voice(&[], &[]));
    }
}
