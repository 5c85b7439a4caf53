//! A mel spectrogram as the stages pass it on.

/// Log-mel [bins, frames], row-major (one row per bin), as the flow makes it and the vocoder takes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mel {
    /// Rows.
    pub bins: usize,
    /// Columns.
    pub frames: usize,
    /// `bins * frames` values.
    pub data: Vec<f32>,
}

impl Mel {
    /// From row-major data; the length must be `bins * frames`.
    pub fn new(bins: usize, frames: usize, data: Vec<f32>) -> Self {
        debug_assert_eq!(data.len(), bins * frames);
        Self { bins, frames, data }
    }

    /// Frames `from..to` (clamped) as a mel of their own.
    pub fn slice(&self, from: usize, to: usize) -> Mel {
        let to = to.min(self.frames);
        let from = from.min(to);
        let mut data = Vec::with_capacity(self.bins * (to - from));
        for row in self.rows() {
            data.extend_from_slice(&row[from..to]);
        }
        Mel::new(self.bins, to - from, data)
    }

    /// This mel followed by `next` (same bins).
    pub fn join(&self, next: &Mel) -> Mel {
        let bins = self.bins.max(next.bins);
        let mut data = Vec::with_capacity(self.data.len() + next.data.len());
        for bin in 0..bins {
            data.extend_from_slice(self.row(bin));
            data.extend_from_slice(next.row(bin));
        }
        Mel::new(bins, self.frames + next.frames, data)
    }

    /// One bin over time; empty when there is no frame.
    pub fn row(&self, bin: usize) -> &[f32] {
        self.data.get(bin * self.frames..(bin + 1) * self.frames).unwrap_or(&[])
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.bins).map(|b| self.row(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_and_joins_are_inverse() {
        let mel = Mel::new(2, 3, vec![1., 2., 3., 4., 5., 6.]);
        assert_eq!(mel.slice(1, 9).data, vec![2., 3., 5., 6.]);
        assert_eq!(mel.slice(0, 1).join(&mel.slice(1, 3)), mel);
        assert_eq!(Mel::default().join(&mel), mel);
        assert_eq!(mel.slice(3, 3).frames, 0);
    }
}
