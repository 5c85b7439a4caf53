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
    /// Input frames that later output may need, per bin.
    kept: Vec<Vec<f32>>,
    /// Input frames dropped before the kept ones.
    dropped: usize,
    /// Output frames given.
    given: usize,
}

impl StreamStretch {
    /// A stretch at `speed` (a speed that is not positive counts as 1).
    pub fn new(speed: f32) -> Self {
        let speed = if speed > 0.0 { f64::from(speed) } else { 1.0 };
        StreamStretch {
            speed,
            kept: Vec::new(),
            dropped: 0,
            given: 0,
        }
    }

    /// Takes the next frames of a bins-major mel ([bins, T]); the number of bins must stay the same (other chunks
    /// are ignored). Gives the frames that are settled by now; with `last`, all that remain: then the total is
    /// [`stretched_frames`] of what came in.
    pub fn push(&mut self, mel: &Matrix, last: bool) -> Matrix {
        if self.kept.is_empty() {
            self.kept = vec![Vec::new(); mel.rows];
        }
        if mel.rows == self.kept.len() {
            self.kept
                .iter_mut()
                .enumerate()
                .for_each(|(bin, kept)| kept.extend(mel.row(bin)));
        }
        let speed = self.speed;
        let at = |j: usize| ((j as f64 + 0.5) * speed - 0.5).max(0.0);
        let taken = self.dropped + self.kept.first().map_or(0, Vec::len);
        // No more frames than the input so far is worth, and none before the input frame after it is there.
        let whole = (taken as f64 / speed) as usize;
        let mut end = self.given;
        while end < whole && (last || at(end) + 1.0 < taken as f64) {
            end += 1;
        }
        let mut out = Matrix::zeros(self.kept.len(), end - self.given);
        let columns = out.cols.max(1);
        for (row, kept) in out.data.chunks_exact_mut(columns).zip(&self.kept) {
            for (j, o) in (self.given..end).zip(row) {
                let (i, part) = (at(j) as usize - self.dropped, at(j).fract() as f32);
                let next = kept[(i + 1).min(kept.len() - 1)];
                *o = kept[i] * (1.0 - part) + next * part;
            }
        }
        self.given = end;
        let unneeded = (at(end) as usize).min(taken) - self.dropped;
        self.kept.iter_mut().for_each(|kept| drop(kept.drain(..unneeded)));
        self.dropped += unneeded;
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
                let mut rows = vec![Vec::<f32>::new(); 2];
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
