//! `cosyserve voices`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{options::ModelArgs, say::recording};
use crate::{
    Error, Result,
    api::wire,
    engine::{Imported, SpeakerFile},
    limits,
};

const EXAMPLES: &str = "\
Examples:
  cosyserve voices list
  cosyserve voices add anna --audio anna.wav --text \"What Anna says in it.\" --name \"Anna (Berlin)\"
  cosyserve voices import pretrained_models/CosyVoice2-0.5B/spk2info.pt
  cosyserve voices rename anna \"Anna (Hamburg)\"
  cosyserve voices remove anna

A server that is running reads its voices when it starts; change them there through /clone and /voices.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct VoicesArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List built-in voices, then saved ones: id, name, kind.
    List,
    /// Make a voice from a recording and save it, replacing a saved one of that id.
    Add {
        /// Id of the new voice: 1 to 64 characters, no slashes
        id: String,
        /// Recording of the voice, 0.5 to 30 s
        #[arg(long, env = "COSYSERVE_AUDIO", value_name = "FILE")]
        audio: PathBuf,
        /// What is said in the recording
        #[arg(long = "text", env = "COSYSERVE_AUDIO_TEXT", value_name = "TEXT")]
        prompt_text: String,
        /// Name to show [default: the id]
        #[arg(long, env = "COSYSERVE_NAME", value_name = "NAME")]
        name: Option<String>,
    },
    /// Save the voices of CosyVoice's spk2info.pt, replacing saved ones of their ids. Those that cannot be voices of the
    /// model, and built-in ones, are skipped and named.
    Import {
        /// The file
        #[arg(value_name = "FILE")]
        source: PathBuf,
    },
    /// Give a saved voice another name to show.
    Rename {
        /// Its id
        id: String,
        /// Its new name: 1 to 64 characters
        #[arg(value_name = "NAME")]
        text: String,
    },
    /// Remove a saved voice.
    Remove {
        /// Its id
        id: String,
    },
}

pub async fn run(args: VoicesArgs) -> Result<()> {
    match args.command {
        Command::List => {
            for voice in args.model.load().await?.voices() {
                let kind = if voice.built_in { "built-in" } else { "saved" };
                println!("{}\t{}\t{kind}", voice.id, voice.name);
            }
        }
        Command::Add {
            id,
            audio,
            prompt_text,
            name,
        } => {
            let name = name.unwrap_or_else(|| id.clone());
            check_name("--name", &name)?;
            let prompt = recording(&audio, "--audio")?;
            let voice = args
                .model
                .load()
                .await?
                .add_voice(&id, &name, &prompt_text, prompt)
                .await?;
            println!("{}\t{}\tsaved", voice.id, voice.name);
        }
        Command::Import { source } => {
            let file = tokio::task::spawn_blocking(move || speakers(&source));
            let file = file
                .await
                .map_err(|error| Error::internal("reading voices", error))??;
            let Imported { voices, skipped } = args.model.load().await?.import_voices(file).await?;
            for voice in voices {
                println!("{}\t{}\tsaved", voice.id, voice.name);
            }
            for (id, reason) in skipped {
                eprintln!("skipped {id}: {reason}");
            }
        }
        Command::Rename { id, text } => {
            check_name("NAME", &text)?;
            let voice = args.model.load().await?.rename_voice(&id, &text).await?;
            println!("{}\t{}\tsaved", voice.id, voice.name);
        }
        Command::Remove { id } => {
            args.model.load().await?.remove_voice(&id).await?;
        }
    }
    Ok(())
}

fn check_name(field: &str, name: &str) -> Result<()> {
    wire::check_voice_name(field, name).map_err(|error| Error::Invalid(error.detail().into()))
}

/// The voices of a file, read before the model is loaded: what is wrong with it is told at once.
fn speakers(path: &Path) -> Result<SpeakerFile> {
    let shown = path.display().to_string();
    let failed = |error| Error::Invalid(format!("{shown}: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    // One byte more than may be read shows that there is too much, whatever the size of a pipe.
    let mut file = file.take(limits::IMPORT_BYTES as u64 + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    SpeakerFile::read(&bytes, &shown)
}
