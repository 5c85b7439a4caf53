//! The command line: `serve`, `say`, `convert`, `voices`, `bench`.
//!
//! Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage.

mod bench;
mod convert;
mod options;
mod output;
mod say;
mod serve;
mod voices;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use self::options::LogArgs;
use crate::{Error, Result, runtime, telemetry};

const EXAMPLES: &str = "\
Examples:
  cosyserve serve                                     serve the bundled model on port 5000
  cosyserve serve --model models/CosyVoice2 --port 80
  cosyserve say \"你好，世界\" -o hello.mp3              speak to a file
  cosyserve voices add anna --audio anna.wav --text \"What Anna says in it.\"
  cosyserve bench --requests 32 --streams 4           measure this machine

Every option can also be set by the environment variable shown with it.";

#[derive(Parser)]
#[command(name = "cosyserve", version, about, after_help = EXAMPLES, propagate_version = true)]
#[command(arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the model over HTTP and gRPC.
    Serve(serve::ServeArgs),
    /// Speak a text to a file or to standard output.
    Say(say::SayArgs),
    /// Speak what a recording says in another voice.
    Convert(convert::ConvertArgs),
    /// List, add, import, rename and remove voices.
    Voices(voices::VoicesArgs),
    /// Measure how fast this machine speaks.
    Bench(bench::BenchArgs),
}

/// Runs the command line and says how it ended.
pub fn main() -> ExitCode {
    // Wrong usage ends here: clap explains it and exits with 2.
    let cli = Cli::parse();
    runtime::give_large_blocks_back();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cosyserve: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    // A server tells what it does; the other commands only what goes wrong.
    let quiet = !matches!(cli.command, Command::Serve(_));
    let _logs = telemetry::start(&cli.logs.options(if quiet {
        "warn,symphonia=off,symphonia_core=off"
    } else {
        "info,symphonia=off,symphonia_core=off"
    }))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("starting", error))?;
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Say(args) => say::run(args).await,
            Command::Convert(args) => convert::run(args).await,
            Command::Voices(args) => voices::run(args).await,
            Command::Bench(args) => bench::run(args).await,
        }
    });
    // What still runs after the drain (or while the model loads) is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended
}

fn one_line(error: &Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_an_environment_variable() {
        let positional_or_output = ["help", "version", "text", "source", "id", "output", "json"];
        for command in Cli::command().get_subcommands() {
            for arg in command
                .get_arguments()
                .filter(|arg| !positional_or_output.contains(&arg.get_id().as_str()))
            {
                let env = arg
                    .get_env()
                    .map(|env| env.to_string_lossy().into_owned())
                    .unwrap_or_default();
                assert!(
                    env.starts_with("COSYSERVE_"),
                    "{} {}: {env:?}",
                    command.get_name(),
                    arg.get_id()
                );
                assert!(
                    arg.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    arg.get_id()
                );
            }
        }
    }

    #[test]
    fn wrong_usage_is_told() {
        for args in [
            vec!["cosyserve"],
            vec!["cosyserve", "sing"],
            vec!["cosyserve", "say"],
            vec!["cosyserve", "say", "hi"],
            vec!["cosyserve", "say", "hi", "-o", "a.wav", "--live"],
            vec!["cosyserve", "convert", "a.wav"],
            vec!["cosyserve", "convert", "-o", "a.wav"],
            vec!["cosyserve", "say", "hi", "-o", "a.wav", "--speed", "3"],
            vec!["cosyserve", "say", "hi", "-o", "a.wav", "--speed", "fast"],
            vec![
                "cosyserve",
                "say",
                "hi",
                "-o",
                "a.wav",
                "--voice",
                "a",
                "--prompt",
                "b.wav",
            ],
            vec!["cosyserve", "say", "hi", "-o", "a.wav", "--prompt-text", "x"],
            vec!["cosyserve", "serve", "--port", "70000"],
            vec!["cosyserve", "serve", "--max-conc", "0"],
            vec!["cosyserve", "serve", "--grpc-port", "-1"],
            vec!["cosyserve", "serve", "--grpc-tls-cert", "a.pem"],
            vec!["cosyserve", "serve", "--grpc-tls-key", "a.pem"],
            vec!["cosyserve", "voices", "add", "a"],
            vec!["cosyserve", "bench", "--requests", "0"],
            vec!["cosyserve", "bench", "--rate", "0"],
            vec!["cosyserve", "bench", "--rate", "2", "--streams", "2"],
            vec!["cosyserve", "bench", "--duration", "9", "--requests", "2"],
            vec!["cosyserve", "bench", "--text", "a", "--length", "long"],
            vec!["cosyserve", "bench", "--pid", "1"],
        ] {
            let error = Cli::try_parse_from(&args)
                .err()
                .unwrap_or_else(|| panic!("{args:?} was taken"));
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
        let help = Cli::try_parse_from(["cosyserve", "serve", "--help"])
            .err()
            .unwrap();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert!(help.to_string().contains("Examples:"));
    }

    #[test]
    fn errors_take_one_line() {
        assert_eq!(one_line(&Error::Invalid("a\n  b".into())), "a b");
    }
}
