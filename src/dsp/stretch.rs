//! Speed change by linear interpolation of a mel in time, whole or chunk by chunk.

use super::Matrix;

/// Frames that `frames` frames become at `speed`: `frames / speed`, rounded down.
pub fn stretched_frames(frames: usize, speed: f32) -> usize {
    (frames as f64 / f64::from(speed)) as usize
}

/// Where output frame `j` lies between input frames: the earlier one and the part of the next.
fn position(j: usize, scale: f32) -> (usize, f32) {
    let at = ((j as f32 + 0.5) * scale - 0.5).max(0.0);
    (at as usize, at - at.floor())
}

/// A bins-major mel ([bins, T]) spoken `speed` times as fast: T becomes [`stretched_frames`]. This is
/// `torch.nn.functional.interpolate(mode="linear", align_corners=False)` to that size, as the reference does on
/// whole utterances. At speed 1 (or for a speed that is not positive) the mel comes back unchanged.
pub fn stretch(mel: &Matrix, speed: f32) -> Matrix {
    if speed == 1.0 || speed.is_nan() || speed <= 0.0 || mel.cols == 0 {
        return mel.clone();
    }
    let frames = stretched_frames(mel.cols, speed);
    let scale = mel.cols as f32 / frames.max(1) as f32;
    let mut out = Matrix::zeros(mel.rows, frames);
    for (row, source) in out.data.chunks_exact_mut(frames.max(1)).zip(mel.iter_rows()) {
        for (j, o) in row.iter_mut().enumerate() {
            let (i, part) = position(j, scale);
            let i = i.min(source.len() - 1);
            let next = source[(i + 1).min(source.len() - 1)];
            *o = source[i] * (1.0 - part) + next * part;
        }
    }
    out
}

/// [`stretch`] for a mel that arrives in chunks: the chunks that come out join without a seam.
///
/// It steps by exactly `speed` input frames, where [`stretch`] steps by T / floor(T / speed), which needs the whole
/// length; over an utterance the two drift apart by less than one frame.
#[derive(Debug, Clone)]
pub struct StreamStretch {
    speed: f64,
    /// Input frames seen.
    taken: usize,
    /// Output frames given.
    given: usize,
    /// Last input frame seen, one value per bin.
    last: Vec<f32>,
}

impl StreamStretch {
    /// A stretch at `speed` (a speed that is not positive counts as 1).
    pub fn new(speed: f32) -> Self {
        let speed = if speed > 0.0 { f64::from(speed) } else { 1.0 };
        StreamStretch {
            speed,
            taken: 0,
            given: 0,
            last: Vec::new(),
        }
    }

    /// Takes the next frames of a bins-major mel ([bins, T]); the number of bins must stay the same (other chunks
    /// are dropped). Gives the frames that are settled by now; with `last`, all that remain: then the total is
    /// [`stretched_frames`] of what came in.
    pub fn push(&mut self, mel: &Matrix, last: bool) -> Matrix {
        if self.taken == 0 {
            self.last = vec![0.0; mel.rows];
        }
        if mel.rows != self.last.len() || (mel.cols == 0 && !last) {
            return Matrix::zeros(self.last.len(), 0);
        }
        let before = self.taken;
        self.taken += mel.cols;
        let whole = (self.taken as f64 / self.speed) as usize;
        let at = |j: usize| ((j as f64 + 0.5) * self.speed - 0.5).max(0.0);
        let mut end = self.given;
        // A frame is settled when the input frame after it is there.
        while end < whole && (last || at(end) + 1.0 < self.taken as f64) {
            end += 1;
        }
        let mut out = Matrix::zeros(mel.rows, end - self.given);
        let top = self.taken.saturating_sub(1);
        for bin in 0..mel.rows {
            let row = mel.row(bin);
            let value = |i: usize| match i.min(top).checked_sub(before) {
                Some(i) => row[i],
                None => self.last[bin],
            };
            for (k, j) in (self.given..end).enumerate() {
                let (i, part) = (at(j) as usize, at(j).fract() as f32);
                out.data[bin * (end - self.given) + k] = value(i) * (1.0 - part) + value(i + 1) * part;
            }
        }
        if mel.cols > 0 {
            for (bin, keep) in self.last.iter_mut().enumerate() {
                *keep = mel.data[(bin + 1) * mel.cols - 1];
            }
        }
        self.given = end;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(frames: usize) -> Matrix {
        let row = |k: f32| (0..frames).map(move |i| k * i as f32);
        Matrix {
            rows: 2,
            cols: frames,
            data: row(1.0).chain(row(-2.0)).collect(),
        }
    }

    #[test]
    fn speed_one_is_the_identity_and_two_halves() {
        let mel = ramp(11);
        assert_eq!(stretch(&mel, 1.0), mel);
        let fast = stretch(&mel, 2.0);
        assert_eq!((fast.rows, fast.cols), (2, 5));
        // scale 11 / 5 = 2.2: the first output frame lies at 0.5 * 2.2 - 0.5 = 0.6.
        assert!((fast.data[0] - 0.6).abs() < 1e-6);
        assert!((fast.data[5] + 1.2).abs() < 1e-6);
        assert_eq!(stretch(&mel, 0.5).cols, 22);
        assert_eq!(stretch(&Matrix::zeros(2, 0), 2.0).cols, 0);
        assert_eq!(stretch(&ramp(1), 2.0).cols, 0);
    }

    #[test]
    fn chunks_of_any_size_join_to_the_same_mel() {
        let mel = ramp(97);
        for speed in [0.5, 0.77, 1.0, 1.3, 2.0] {
            let whole = StreamStretch::new(speed).push(&mel, true);
            assert_eq!(whole.cols, stretched_frames(97, speed));
            for size in [1, 2, 7, 50] {
                let mut stream = StreamStretch::new(speed);
                let mut rows = vec![Vec::new(); 2];
                let mut start = 0;
                while start < 97 {
                    let end = (start + size).min(97);
                    let mut part = Matrix::zeros(2, end - start);
                    for bin in 0..2 {
                        part.data[bin * (end - start)..(bin + 1) * (end - start)]
                            .copy_from_slice(&mel.row(bin)[start..end]);
                    }
                    let got = stream.push(&part, end == 97);
                    rows.iter_mut()
                        .enumerate()
                        .for_each(|(bin, row)| row.extend(got.row(bin)));
                    start = end;
                }
                assert_eq!(rows.concat(), whole.data, "speed {speed}, chunks of {size}");
            }
        }
    }
}
