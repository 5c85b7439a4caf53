//! The fixed noise of generation 3's source: uniform numbers of MT19937 (Matsumoto and Nishimura 1998), as
//! `torch.rand` draws them on a CPU.

/// Words of the generator's state.
const WORDS: usize = 624;
/// Distance of the words that are mixed.
const MIXED: usize = 397;
/// The twist's matrix.
const MATRIX: u32 = 0x9908_b0df;
/// Bits of a draw that make a number: as many as a float holds exactly.
const BITS: u32 = 24;

/// A generator of uniform numbers in [0, 1). A copy goes on from where the original is.
#[derive(Clone)]
pub struct UniformNoise {
    words: Box<[u32; WORDS]>,
    /// Words used since the last twist.
    used: usize,
}

impl std::fmt::Debug for UniformNoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UniformNoise").finish_non_exhaustive()
    }
}

impl UniformNoise {
    /// Seeded with `seed`, its first `skip` numbers left out.
    pub fn new(seed: u32, skip: u64) -> Self {
        let mut words = Box::new([seed; WORDS]);
        for i in 1..WORDS {
            let last = words[i - 1];
            words[i] = 1_812_433_253u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        let mut noise = Self { words, used: WORDS };
        for _ in 0..skip {
            noise.draw();
        }
        noise
    }

    /// The next number.
    pub fn draw(&mut self) -> f32 {
        let kept = self.word() & ((1 << BITS) - 1);
        kept as f32 / (1u32 << BITS) as f32
    }

    fn word(&mut self) -> u32 {
        if self.used == WORDS {
            self.twist();
        }
        let mut y = self.words[self.used];
        self.used += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let next = self.words[(i + 1) % WORDS];
            let y = (self.words[i] & 0x8000_0000) | (next & 0x7fff_ffff);
            let odd = if y & 1 == 1 { MATRIX } else { 0 };
            self.words[i] = self.words[(i + MIXED) % WORDS] ^ (y >> 1) ^ odd;
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_authors_program() {
        let mut noise = UniformNoise::new(5489, 0);
        let first: Vec<u32> = (0..5).map(|_| noise.word()).collect();
        let expected = [
            3_499_211_612,
            581_869_302,
            3_890_346_734,
            3_586_334_585,
            545_404_204,
        ];
        assert_eq!(first, expected);
        let mut later = UniformNoise::new(5489, 9_999);
        assert_eq!(later.word(), 4_123_659_995, "the ten thousandth");
    }

    #[test]
    fn a_copy_goes_on_from_the_same_place() {
        let mut noise = UniformNoise::new(0, 1_000);
        let mut copy = noise.clone();
        for _ in 0..2_000 {
            let number = noise.draw();
            assert!((0.0..1.0).contains(&number));
            assert_eq!(number, copy.draw());
        }
    }
}
