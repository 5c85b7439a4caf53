//! `cosyserve say`.

mod live;

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::options::{ModelArgs, speed};
use crate::{
    Error, Result,
    api::wire::{check_text, draw_seed},
    audio::{
        decode,
        encode::{AudioFormat, encode_whole, encoder},
    },
    engine::{Engine, Mode, PromptAudio, SpeechRequest, SpeechStream},
    limits,
};

const EXAMPLES: &str = "\
Examples:
  cosyserve say \"你好，世界\" -o hello.wav
  cosyserve say \"Hello there\" -o hello.mp3 --prompt me.wav --prompt-text \"What I say in it.\"
  cosyserve say \"今天真高兴\" -o happy.wav --voice 中文女 --instruct \"用开心的语气说\"
  my-chatbot | cosyserve say --live -o - --format pcm | aplay -r 24000 -f S16_LE
  cat story.txt | cosyserve say - -o - --format pcm --stream | aplay -r 24000 -f S16_LE";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SayArgs {
    /// What to say; - reads it from standard input
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    text: Option<String>,
    /// Speak what standard input brings while it still comes, as a language model writes it; audio is written as it
    /// is made
    #[arg(long, env = "COSYSERVE_LIVE")]
    live: bool,
    /// File to write (.wav, .mp3, .pcm); - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How the audio is coded [default: by the file's name, else wav]
    #[arg(long, env = "COSYSERVE_FORMAT", value_enum)]
    format: Option<Coding>,
    /// Voice id [default: the first one]
    #[arg(
        long,
        env = "COSYSERVE_VOICE",
        value_name = "ID",
        conflicts_with = "prompt",
        help_heading = "Voice"
    )]
    voice: Option<String>,
    /// Recording whose voice speaks (0.5 to 30 s)
    #[arg(long, env = "COSYSERVE_PROMPT", value_name = "FILE", help_heading = "Voice")]
    prompt: Option<PathBuf>,
    /// What is said in the recording; without it the voice is taken across languages
    #[arg(
        long,
        env = "COSYSERVE_PROMPT_TEXT",
        value_name = "TEXT",
        requires = "prompt",
        help_heading = "Voice"
    )]
    prompt_text: Option<String>,
    /// How to speak
    #[arg(
        long,
        env = "COSYSERVE_INSTRUCT",
        value_name = "TEXT",
        conflicts_with = "prompt_text",
        help_heading = "Voice"
    )]
    instruct: Option<String>,
    /// Speed factor, 0.5 to 2
    #[arg(long, env = "COSYSERVE_SPEED", value_name = "FACTOR", default_value = "1", value_parser = speed, help_heading = "Voice")]
    speed: f32,
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
    stream: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Coding {
    Wav,
    Mp3,
    Pcm,
}

impl Coding {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "wav" => Some(Coding::Wav),
            "mp3" => Some(Coding::Mp3),
            "pcm" | "raw" => Some(Coding::Pcm),
            _ => None,
        }
    }

    fn format(self) -> AudioFormat {
        match self {
            Coding::Wav => AudioFormat::Wav,
            Coding::Mp3 => AudioFormat::Mp3,
            Coding::Pcm => AudioFormat::L16,
        }
    }
}

pub async fn run(mut args: SayArgs) -> Result<()> {
    let to_stdout = args.output.as_os_str() == "-";
    let format = args
        .format
        .or_else(|| Coding::of(&args.output))
        .unwrap_or(Coding::Wav)
        .format();
    let text = match args.text.take().as_deref() {
        None => String::new(),
        Some("-") => read_stdin()?,
        Some(text) => text.to_owned(),
    };
    if !args.live {
        check_text("text", &text, limits::TTS_TEXT_CHARS)
            .map_err(|error| Error::Invalid(error.detail().into()))?;
    }
    let prompt = args
        .prompt
        .as_deref()
        .map(|path| recording(path, "--prompt"))
        .transpose()?;
    let progress = Progress::start();
    let engine = args.model.clone().load().await?;
    let mode = mode(&mut args, prompt, &engine)?;
    let seed = if args.seed == 0 { draw_seed() } else { args.seed };
    let request = SpeechRequest {
        id: "say".into(),
        text,
        mode,
        speed: args.speed,
        seed,
        stream: args.stream || args.live,
    };
    let started = Instant::now();
    let speech = match args.live {
        false => engine.speak(request).await?,
        true => {
            let (text, speech) = engine.speak_live(request).await?;
            live::read_stdin(text);
            speech
        }
    };
    let rate = speech.sample_rate;
    let samples = if args.live || to_stdout && args.stream {
        let mut out = Out::open(&args.output)?;
        pass_on(speech, format, &progress, &mut out).await?
    } else {
        let samples = gather(speech, &progress).await?;
        Out::open(&args.output)?.write(&encode_whole(format, rate, &samples)?)?;
        samples.len()
    };
    progress.end();
    let (seconds, took) = (samples as f32 / rate as f32, started.elapsed().as_secs_f32());
    eprintln!(
        "{}: {seconds:.2} s of speech in {took:.2} s, seed {seed}",
        args.output.display()
    );
    Ok(())
}

/// Whose voice, as the options say it.
fn mode(args: &mut SayArgs, prompt: Option<PromptAudio>, engine: &Engine) -> Result<Mode> {
    if let Some(prompt) = prompt {
        return Ok(match (args.prompt_text.take(), args.instruct.take()) {
            (Some(prompt_text), _) => Mode::ZeroShot { prompt, prompt_text },
            (None, Some(instruct_text)) => Mode::InstructPrompt {
                prompt,
                instruct_text,
            },
            (None, None) => Mode::CrossLingual { prompt },
        });
    }
    let first = || engine.voices().into_iter().next().map(|voice| voice.id);
    let voice = args.voice.take().or_else(first).ok_or_else(|| {
        Error::Invalid(
            "the model has no voice of its own: give --prompt, or add one with `voices add`".into(),
        )
    })?;
    Ok(match args.instruct.take() {
        Some(instruct_text) => Mode::Instruct { voice, instruct_text },
        None => Mode::Sft { voice },
    })
}

/// Reads and decodes a recording.
pub fn recording(path: &Path, option: &str) -> Result<PromptAudio> {
    let wrong = |error| Error::Invalid(format!("{option} {}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(wrong)?;
    let decoded = decode::decode(bytes, option)?;
    PromptAudio::prepare(&decoded.samples, decoded.sample_rate, option)
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

/// Writes what comes, as it comes; gives the number of samples.
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
    Ok(samples)
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    // Four bytes hold any character; one more shows that there is too much.
    let most = limits::TTS_TEXT_CHARS as u64 * 4 + 1;
    let read = std::io::stdin().take(most).read_to_string(&mut text);
    read.map_err(|error| Error::Invalid(format!("standard input: {error}")))?;
    Ok(text)
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
}

fn wrong(path: &Path, error: &std::io::Error) -> Error {
    Error::Invalid(format!("{}: {error}", path.display()))
}

/// A line that moves while something is made; on a terminal only.
struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    fn start() -> Self {
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
