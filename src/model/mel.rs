//! Mel spectrograms as the stages pass them on: bins-major matrices [bins, frames], cut and joined in time.

pub use crate::dsp::Matrix as Mel;

/// Frames `from..to` (clamped) of `mel`.
pub fn frames(mel: &Mel, from: usize, to: usize) -> Mel {
    let to = to.min(mel.cols);
    let from = from.min(to);
    let mut cut = Mel {
        rows: mel.rows,
        cols: to - from,
        data: Vec::with_capacity(mel.rows * (to - from)),
    };
    for bin in 0..mel.rows {
        cut.data.extend_from_slice(&mel.row(bin)[from..to]);
    }
    cut
}

/// `first` followed by `next`; both have the same bins, or `first` is empty.
pub fn join(first: &Mel, next: &Mel) -> Mel {
    let mut both = Mel {
        rows: next.rows,
        cols: first.cols + next.cols,
        data: Vec::new(),
    };
    for bin in 0..next.rows {
        both.data.extend_from_slice(first.row(bin));
        both.data.extend_from_slice(next.row(bin));
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_and_joining_are_inverse() {
        let mel = Mel {
            rows: 2,
            cols: 3,
            data: vec![1., 2., 3., 4., 5., 6.],
        };
        assert_eq!(frames(&mel, 1, 9).data, vec![2., 3., 5., 6.]);
        assert_eq!(join(&frames(&mel, 0, 1), &frames(&mel, 1, 3)), mel);
        assert_eq!(join(&Mel::default(), &mel), mel);
        assert_eq!(frames(&mel, 3, 3).cols, 0);
    }
}
