//! What `say` and `convert` make of speech: a file, or standard output while it is made.

use std::{
    fs::File,
    io::{Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::options::speed;
use crate::{
    Error, Result,
    api::wire::draw_seed,
    audio::encode::{AudioFormat, encode_whole, encoder},
    engine::SpeechStream,
};

/// How the speech is made and where it goes.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// File to write (.wav, .mp3, .flac, .opus, .pcm); - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How the audio is coded [default: by the file's name, else wav]
    #[arg(long, env = "COSYSERVE_FORMAT", value_enum)]
    format: Option<Coding>,
    /// Speed factor, 0.5 to 2
    #[arg(long, env = "COSYSERVE_SPEED", value_name = "FACTOR", default_value = "1", value_parser = speed, help_heading = "Voice")]
    pub speed: f32,
    /// Seed that makes the speech reproducible; 0 draws one
    #[arg(
        long,
        env = "COSYSERVE_SEED",
        value_name = "N",
        default_value_t = 0,
        help_heading = "Voice"
    )]
    seed: u64,
    /// Make the speech in small chunks (with -o - they are written as they come)
    #[arg(long, env = "COSYSERVE_STREAM", help_heading = "Voice")]
    pub stream: bool,
}

impl OutputArgs {
    /// The seed asked for, or one drawn.
    pub fn seed(&self) -> u64 {
        match self.seed {
            0 => draw_seed(),
            seed => seed,
        }
    }

    /// Writes the speech: at its end, or as it comes (always, or to standard output when streaming).
    pub async fn write(
        &self,
        speech: SpeechStream,
        as_it_comes: bool,
        seed: u64,
        progress: &Progress,
    ) -> Result<()> {
        let (started, rate) = (Instant::now(), speech.sample_rate);
        let to_stdout = self.output.as_os_str() == "-";
        let format = self.format.or_else(|| Coding::of(&self.output));
        let format = format.unwrap_or(Coding::Wav).format();
        let samples = if as_it_comes || to_stdout && self.stream {
            let mut out = Out::open(&self.output)?;
            pass_on(speech, format, progress, &mut out).await?
        } else {
            let samples = gather(speech, progress).await?;
            Out::open(&self.output)?.write(&encode_whole(format, rate, &samples)?)?;
            samples.len()
        };
        progress.end();
        let (seconds, took) = (samples as f32 / rate as f32, started.elapsed().as_secs_f32());
        let file = self.output.display();
        eprintln!("{file}: {seconds:.2} s of speech in {took:.2} s, seed {seed}");
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Coding {
    Wav,
    Mp3,
    Flac,
    /// In an Ogg stream
    Opus,
    Pcm,
}

impl Coding {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "wav" => Some(Coding::Wav),
            "mp3" => Some(Coding::Mp3),
            "flac" => Some(Coding::Flac),
            "opus" | "ogg" => Some(Coding::Opus),
            "pcm" | "raw" => Some(Coding::Pcm),
            _ => None,
        }
    }

    fn format(self) -> AudioFormat {
        match self {
            Coding::Wav => AudioFormat::Wav,
            Coding::Mp3 => AudioFormat::Mp3,
            Coding::Flac => AudioFormat::Flac,
            Coding::Opus => AudioFormat::Opus,
            Coding::Pcm => AudioFormat::L16,
        }
    }
}

/// All samples.
async fn gather(mut speech: SpeechStream, progress: &Progress) -> Result<Vec<f32>> {
    let mut samples = Vec::new();
    while let Some(chunk) = speech.chunks.recv().await {
        samples.extend_from_slice(&chunk?);
        progress.at(samples.len(), speech.sample_rate);
    }
    Ok(samples)
}

/// Writes what comes, as it comes, and at the end what a file begins with; gives the number of samples.
async fn pass_on(
    mut speech: SpeechStream,
    format: AudioFormat,
    progress: &Progress,
    out: &mut Out,
) -> Result<usize> {
    let mut encoder = encoder(format, speech.sample_rate)?;
    let mut samples = 0;
    while let Some(chunk) = speech.chunks.recv().await {
        let chunk = chunk?;
        samples += chunk.len();
        out.write(&encoder.encode(&chunk)?)?;
        progress.at(samples, speech.sample_rate);
    }
    out.write(&encoder.finish()?)?;
    if let Some(heading) = encoder.heading()? {
        out.begin_with(&heading)?;
    }
    Ok(samples)
}

/// Where the audio goes.
enum Out {
    Stdout,
    File(PathBuf, File),
}

impl Out {
    /// The file at `path`, emptied; - is standard output.
    fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Out::Stdout);
        }
        let file = File::create(path).map_err(|error| wrong(path, &error))?;
        Ok(Out::File(path.to_owned(), file))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Out::Stdout => {
                let mut out = std::io::stdout().lock();
                let written = out.write_all(bytes).and_then(|()| out.flush());
                written.map_err(|error| Error::Invalid(format!("standard output: {error}")))
            }
            Out::File(path, file) => file.write_all(bytes).map_err(|error| wrong(path, &error)),
        }
    }

    /// Puts `bytes` over a file's beginning, if it has one to come back to.
    fn begin_with(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Out::File(path, file) if file.metadata().is_ok_and(|file| file.is_file()) => {
                let written = file.rewind().and_then(|()| file.write_all(bytes));
                written.map_err(|error| wrong(path, &error))
            }
            Out::Stdout | Out::File(..) => Ok(()),
        }
    }
}

fn wrong(path: &Path, error: &std::io::Error) -> Error {
    Error::Invalid(format!("{}: {error}", path.display()))
}

/// A line that moves while something is made; on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Begins with the loading of the model.
    pub fn start() -> Self {
        // indicatif draws on stderr, and nothing at all where that is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        bar.set_message("loading the model");
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            started: Instant::now(),
        }
    }

    fn at(&self, samples: usize, sample_rate: u32) {
        let seconds = samples as f32 / sample_rate.max(1) as f32;
        let pace = seconds / self.started.elapsed().as_secs_f32().max(0.001);
        self.bar
            .set_message(format!("{seconds:.1} s of speech ({pace:.1}x real time)"));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
