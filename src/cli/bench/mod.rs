//! `cosyserve bench`: how fast this machine, or a server, speaks.

mod http;
mod load;
mod memory;
mod player;
mod report;
mod script;
mod target;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use parking_lot::Mutex;

use self::{
    http::Server,
    load::{Amount, Arrivals, Load, Outcome},
    report::{Memory, Report, Subject},
    script::ScriptArgs,
    target::{Target, Who},
};
use super::{
    options::{ModelArgs, at_least_one, load_engine},
    say,
};
use crate::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  cosyserve bench
  cosyserve bench --requests 64 --streams 8 --length long --json > bench.json
  cosyserve bench --prompt me.wav --prompt-text \"What I say in it.\" --whole
  cosyserve bench --url http://127.0.0.1:5000 --rate 2.5 --duration 600

First audio is the time from a request to its first samples; RTF is the time a request took
divided by the length of its speech (below 1 is faster than real time). A stream ran dry when a
player that started with the first samples had nothing left to play. Seeds are fixed, so two
runs say the same. A recording's features are kept by the engine: the first request pays for them.

Without --url the engine runs in this process and lets all --streams work at once. A server is asked
on /tts/pcm for streams and on /tts for whole answers, with --prompt on /tts/zero_shot (as MP3).";

/// How often a long run tells where it stands.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// A running server to measure instead of an engine of its own
    #[arg(
        long,
        env = "COSYSERVE_BENCH_URL",
        value_name = "URL",
        help_heading = "Server"
    )]
    url: Option<String>,
    /// The server's process, whose memory is reported [default: the one that listens on the port]
    #[arg(
        long,
        env = "COSYSERVE_BENCH_PID",
        value_name = "PID",
        requires = "url",
        help_heading = "Server"
    )]
    pid: Option<u32>,
    /// The server's key
    #[arg(
        long,
        env = "COSYSERVE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        help_heading = "Server"
    )]
    api_key: Option<String>,
    /// Listeners at once; each asks again when its answer has ended
    #[arg(long, alias = "concurrency", env = "COSYSERVE_BENCH_STREAMS", value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Load")]
    streams: usize,
    /// Requests a second, whether or not earlier ones have ended (instead of --streams)
    #[arg(long, env = "COSYSERVE_BENCH_RATE", value_name = "R", value_parser = rate, conflicts_with = "streams", help_heading = "Load")]
    rate: Option<f64>,
    /// Requests in all
    #[arg(long, env = "COSYSERVE_BENCH_REQUESTS", value_name = "N", default_value = "16", value_parser = at_least_one, help_heading = "Load")]
    requests: usize,
    /// Ask for so long, and tell every minute where things stand (instead of --requests)
    #[arg(long, env = "COSYSERVE_BENCH_DURATION", value_name = "SECONDS", conflicts_with = "requests",
        value_parser = clap::value_parser!(u64).range(1..=604_800), help_heading = "Load")]
    duration: Option<u64>,
    #[command(flatten)]
    script: ScriptArgs,
    /// Voice id [default: the first one]
    #[arg(
        long,
        env = "COSYSERVE_VOICE",
        value_name = "ID",
        conflicts_with = "prompt",
        help_heading = "Load"
    )]
    voice: Option<String>,
    /// Recording whose voice speaks (0.5 to 30 s), sent with every request
    #[arg(long, env = "COSYSERVE_PROMPT", value_name = "FILE", help_heading = "Load")]
    prompt: Option<PathBuf>,
    /// What is said in the recording; without it the voice is taken across languages
    #[arg(
        long,
        env = "COSYSERVE_PROMPT_TEXT",
        value_name = "TEXT",
        requires = "prompt",
        help_heading = "Load"
    )]
    prompt_text: Option<String>,
    /// Make whole segments instead of small chunks
    #[arg(long, env = "COSYSERVE_BENCH_WHOLE", help_heading = "Load")]
    whole: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub async fn run(args: BenchArgs) -> Result<()> {
    let texts = args.script.texts()?;
    let (target, subject, pid) = match &args.url {
        Some(url) => server(&args, url).await?,
        None => engine(&args).await?,
    };
    let load = Arc::new(Load {
        target,
        texts,
        stream: !args.whole,
        arrivals: args.rate.map_or(Arrivals::Streams(args.streams), Arrivals::Rate),
        amount: match args.duration {
            Some(seconds) => Amount::Time(Duration::from_secs(seconds)),
            None => Amount::Requests(args.requests as u64),
        },
        outcome: Mutex::default(),
    });
    let started = Instant::now();
    tokio::select! {
        () = load.run() => {}
        () = tell(&load, pid, started) => {}
    }
    let wall = started.elapsed();
    let memory = tokio::task::spawn_blocking(move || memory_of(pid, true)).await;
    let memory = memory.map_err(|error| Error::internal("looking at memory", error))?;
    let outcome = std::mem::take(&mut *load.outcome.lock());
    let report = Report::new(subject, load.arrivals, load.stream, wall, &outcome, memory);
    if args.json {
        let json = serde_json::to_string_pretty(&report);
        println!("{}", json.map_err(|error| Error::internal("the report", error))?);
    } else {
        report.print();
    }
    all_failed(&outcome)
}

/// A run without any speech is no measurement.
fn all_failed(outcome: &Outcome) -> Result<()> {
    match outcome.errors.first_key_value() {
        Some((text, _)) if outcome.samples.is_empty() => {
            Err(Error::Invalid(format!("every request failed: {text}")))
        }
        _ => Ok(()),
    }
}

/// The engine in this process.
async fn engine(args: &BenchArgs) -> Result<(Target, Subject, Option<u32>)> {
    let started = Instant::now();
    let mut options = args.model.clone().options(true)?;
    if args.rate.is_none() {
        // The engine is to be measured, not its queue.
        options.concurrency = options.concurrency.max(Some(args.streams));
    }
    let engine = load_engine(options).await?;
    let load_s = started.elapsed().as_secs_f64();
    let first = || {
        engine
            .voices()
            .into_iter()
            .next()
            .map(|voice| Who::Voice(voice.id))
    };
    let who = who(args)?.or_else(first);
    let who = who.ok_or_else(|| Error::Invalid("the model has no voice: name one with --voice".into()))?;
    let subject = Subject {
        url: None,
        model: Some(engine.model().name.clone()),
        precision: Some(engine.model().precision.clone()),
        load_s: Some(load_s),
    };
    Ok((Target::engine(engine, who), subject, Some(std::process::id())))
}

/// A server.
async fn server(args: &BenchArgs, url: &str) -> Result<(Target, Subject, Option<u32>)> {
    let key = args.api_key.clone().filter(|key| !key.is_empty());
    let server = Server::new(url, key)?.speak_as(who(args)?).await?;
    let pid = args.pid.or_else(|| memory::listener(server.local_port()?));
    let subject = Subject {
        url: Some(url.to_owned()),
        model: None,
        precision: None,
        load_s: None,
    };
    Ok((Target::Server(server), subject, pid))
}

/// Whose voice, as the options say it; `None` leaves it to the model.
fn who(args: &BenchArgs) -> Result<Option<Who>> {
    let Some(path) = &args.prompt else {
        return Ok(args.voice.clone().map(Who::Voice));
    };
    let wrong = |error| Error::Invalid(format!("--prompt {}: {error}", path.display()));
    Ok(Some(Who::Prompt {
        audio: say::recording(path, "--prompt")?,
        recording: std::fs::read(path).map_err(wrong)?,
        text: args.prompt_text.clone(),
    }))
}

/// Tells on stderr, every minute and for ever, where things stand.
async fn tell(load: &Load, pid: Option<u32>, started: Instant) {
    loop {
        tokio::time::sleep(EVERY).await;
        let resident = memory_of(pid, false).resident_mib;
        let resident = resident.map_or("n/a".into(), |mib| format!("{mib:.1} MiB"));
        let outcome = load.outcome.lock();
        eprintln!(
            "{:>5} s: {} requests, {:.0} s of speech, {} failed, memory {resident}",
            started.elapsed().as_secs(),
            outcome.samples.len(),
            outcome.audio().as_secs_f64(),
            outcome.failed(),
        );
    }
}

fn memory_of(pid: Option<u32>, gpu: bool) -> Memory {
    let resident = pid.and_then(memory::resident_mib);
    Memory {
        resident_mib: resident.map(|(now, _)| now),
        resident_peak_mib: resident.map(|(_, most)| most),
        gpu_mib: if gpu { memory::gpu_mib() } else { None },
    }
}

/// The time that `count` of something take at so many a second.
fn seconds_of(count: usize, per_second: u32) -> Duration {
    Duration::from_secs_f64(count as f64 / f64::from(per_second.max(1)))
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1_000.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number between 0.001 and 1000".into()),
    }
}
