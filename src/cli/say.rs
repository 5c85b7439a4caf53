//! `cosyserve say`.

mod live;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;

use super::options::ModelArgs;
use super::output::{OutputArgs, Progress};
use crate::{
    Error, Result,
    api::wire::check_text,
    audio::decode::{self, Decoded},
    engine::{Engine, Mode, PromptAudio, SpeechRequest},
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
    #[command(flatten)]
    output: OutputArgs,
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
    #[command(flatten)]
    model: ModelArgs,
}

pub async fn run(mut args: SayArgs) -> Result<()> {
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
    let OutputArgs { speed, stream, .. } = args.output;
    let seed = args.output.seed();
    let request = SpeechRequest {
        id: "say".into(),
        text,
        mode,
        speed,
        seed,
        stream: stream || args.live,
    };
    let speech = match args.live {
        false => engine.speak(request).await?,
        true => {
            let (text, speech) = engine.speak_live(request).await?;
            live::read_stdin(text);
            speech
        }
    };
    args.output.write(speech, args.live, seed, &progress).await
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
    let voice = voice_or_first(args.voice.take(), engine)?;
    Ok(match args.instruct.take() {
        Some(instruct_text) => Mode::Instruct { voice, instruct_text },
        None => Mode::Sft { voice },
    })
}

/// The voice named, else the model's first.
pub fn voice_or_first(named: Option<String>, engine: &Engine) -> Result<String> {
    let first = || engine.voices().into_iter().next().map(|voice| voice.id);
    named.or_else(first).ok_or_else(|| {
        Error::Invalid(
            "the model has no voice of its own: give --prompt, or add one with `voices add`".into(),
        )
    })
}

/// Reads and decodes a recording of a voice.
pub fn recording(path: &Path, option: &str) -> Result<PromptAudio> {
    let decoded = decoded(path, option)?;
    PromptAudio::prepare(&decoded.samples, decoded.sample_rate, option)
}

/// Reads and decodes a file.
pub fn decoded(path: &Path, option: &str) -> Result<Decoded> {
    let wrong = |error| Error::Invalid(format!("{option} {}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(wrong)?;
    decode::decode(bytes, option)
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    // Four bytes hold any character; one more shows that there is too much.
    let most = limits::TTS_TEXT_CHARS as u64 * 4 + 1;
    let read = std::io::stdin().take(most).read_to_string(&mut text);
    read.map_err(|error| Error::Invalid(format!("standard input: {error}")))?;
    Ok(text)
}
