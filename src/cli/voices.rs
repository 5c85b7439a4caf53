//! `cosyserve voices`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{options::ModelArgs, say::recording};
use crate::{Error, Result, api::wire};

const EXAMPLES: &str = "\
Examples:
  cosyserve voices list
  cosyserve voices add anna --audio anna.wav --text \"What Anna says in it.\" --name \"Anna (Berlin)\"
  cosyserve voices remove anna

A server that is running reads its voices when it starts; add voices to it through its /clone route.";

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
            wire::check_voice_name("--name", &name).map_err(|error| Error::Invalid(error.detail().into()))?;
            let prompt = recording(&audio, "--audio")?;
            let voice = args
                .model
                .load()
                .await?
                .add_voice(&id, &name, &prompt_text, prompt)
                .await?;
            println!("{}\t{}\tsaved", voice.id, voice.name);
        }
        Command::Remove { id } => args.model.load().await?.remove_voice(&id).await?,
    }
    Ok(())
}
