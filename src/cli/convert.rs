//! `cosyserve convert`.

use std::path::PathBuf;

use clap::Args;

use super::options::ModelArgs;
use super::output::{OutputArgs, Progress};
use super::say::{decoded, recording, voice_or_first};
use crate::{
    Result,
    engine::{Mode, SourceAudio, SpeechRequest, Target},
};

const EXAMPLES: &str = "\
Examples:
  cosyserve convert me.wav -o her.wav --voice 英文女
  cosyserve convert me.wav -o you.mp3 --prompt you.wav";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// Recording whose words are spoken, as they are spoken there (0.5 to 300 s)
    source: PathBuf,
    /// Voice id to speak them with [default: the first one]
    #[arg(
        long,
        env = "COSYSERVE_VOICE",
        value_name = "ID",
        conflicts_with = "prompt",
        help_heading = "Voice"
    )]
    voice: Option<String>,
    /// Recording whose voice speaks them (0.5 to 30 s)
    #[arg(long, env = "COSYSERVE_PROMPT", value_name = "FILE", help_heading = "Voice")]
    prompt: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    model: ModelArgs,
}

pub async fn run(args: ConvertArgs) -> Result<()> {
    let source = decoded(&args.source, "source")?;
    let source = SourceAudio::prepare(&source.samples, source.sample_rate, "source")?;
    let prompt = args.prompt.as_deref().map(|path| recording(path, "--prompt"));
    let prompt = prompt.transpose()?;
    let progress = Progress::start();
    let engine = args.model.load().await?;
    let target = match prompt {
        Some(prompt) => Target::Prompt(prompt),
        None => Target::Voice(voice_or_first(args.voice, &engine)?),
    };
    let seed = args.output.seed();
    let speech = engine.speak(SpeechRequest {
        id: "convert".into(),
        text: String::new(),
        mode: Mode::Convert { source, target },
        speed: args.output.speed,
        seed,
        stream: args.output.stream,
    });
    args.output.write(speech.await?, false, seed, &progress).await
}
