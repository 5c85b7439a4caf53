//! Speech at another rate than the model's, for formats that need one.

use super::{AudioEncoder, clipped};
use crate::{Result, dsp::resample::Resampler};

/// An encoder behind a change of rate.
pub struct Resampled {
    resampler: Resampler,
    encoder: Box<dyn AudioEncoder>,
}

impl Resampled {
    /// Samples at `from` hertz for an encoder of samples at `to` hertz.
    pub fn new(from: u32, to: u32, encoder: Box<dyn AudioEncoder>) -> Self {
        Resampled {
            resampler: Resampler::new(from, to),
            encoder,
        }
    }
}

impl AudioEncoder for Resampled {
    fn content_type(&self) -> &'static str {
        self.encoder.content_type()
    }

    fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>> {
        // What is no number would spread over all samples that the kernel reaches.
        let clipped: Vec<f32> = samples.iter().map(|x| clipped(*x)).collect();
        self.encoder.encode(&self.resampler.push(&clipped))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = self.encoder.encode(&self.resampler.finish())?;
        out.extend(self.encoder.finish()?);
        Ok(out)
    }

    fn heading(&mut self) -> Result<Option<Vec<u8>>> {
        self.encoder.heading()
    }
}
