//! Signal processing: pure functions over slices, one file per stage, no input or output, no model knowledge.
//!
//! | file | what it computes | follows |
//! |---|---|---|
//! | [`resample`] | band-limited rate conversion for any rational ratio, whole or piece by piece | torchaudio `sinc_interp_hann` |
//! | [`stft`] | windows, reflection, power spectra of frames | `torch.stft` conventions |
//! | [`mel`] | log-mel of the flow and the vocoder, frames-major | HiFi-GAN / Matcha-TTS, librosa (Slaney) bank |
//! | [`whisper`] | log-mel of the speech tokenizer, bins-major | Whisper's front end |
//! | [`fbank`] | filter-bank features of the speaker encoder | Kaldi `compute-fbank-feats` |
//! | [`fade`] | Hamming cross-fade of chunks | CosyVoice's streaming joins |
//! | [`stretch`] | speed change of a mel, whole or chunk by chunk | `torch` linear interpolation |
//! | [`source`] | harmonic-plus-noise excitation of the vocoder | NSF / HiFT source module |
//! | [`noise`] | the fixed noise of generation 3's excitation | MT19937, `torch.rand` |
//!
//! Signals are mono `f32` in [-1, 1] unless a function says otherwise. Two-dimensional results are [`Matrix`],
//! row-major, and every function says which axis its rows are. Where the reference works in single precision but
//! the result depends on the order of summation, sums here run in double.

pub mod fade;
pub mod fbank;
pub mod mel;
pub mod noise;
#[cfg(test)]
mod parity;
pub mod resample;
pub mod source;
pub mod stft;
pub mod stretch;
pub mod whisper;

/// A dense row-major matrix of `f32`.
///
/// `data.len() == rows * cols`; element (r, c) is `data[r * cols + c]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements, row after row.
    pub data: Vec<f32>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Matrix {
            rows,
            cols,
            data: vec![0.0; rows * cols],
        }
    }

    /// Row `r`; empty when `r` is out of range.
    pub fn row(&self, r: usize) -> &[f32] {
        self.data.get(r * self.cols..(r + 1) * self.cols).unwrap_or(&[])
    }

    /// The rows, in order.
    pub fn iter_rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.cols.max(1))
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Matrix {
        let mut out = Matrix::zeros(self.cols, self.rows);
        for r in 0..self.rows {
            for c in 0..self.cols {
                out.data[c * self.rows + r] = self.data[r * self.cols + c];
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_same_matrix() {
        let m = Matrix {
            rows: 2,
            cols: 3,
            data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        };
        let t = m.transposed();
        assert_eq!((t.rows, t.cols), (3, 2));
        assert_eq!(t.data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(t.transposed(), m);
        assert_eq!(m.row(1), [4.0, 5.0, 6.0]);
        assert!(m.row(2).is_empty());
        assert_eq!(m.iter_rows().count(), 2);
    }
}
