//! `cosyserve bench`: how fast this machine speaks, measured through the engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use super::options::{ModelArgs, at_least_one};
use crate::{
    Error, Result,
    engine::{Engine, Mode, SpeechRequest},
};

const EXAMPLES: &str = "\
Examples:
  cosyserve bench
  cosyserve bench --requests 64 --concurrency 8 --json > bench.json
  cosyserve bench --whole --text \"一段更长的文字。\"

First audio is the time from a request to its first samples; RTF is the time a request took
divided by the length of its speech (below 1 is faster than real time). Seeds are fixed, so two
runs say the same.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Requests in all
    #[arg(long, env = "COSYSERVE_BENCH_REQUESTS", value_name = "N", default_value = "16", value_parser = at_least_one, help_heading = "Load")]
    requests: usize,
    /// Requests at once
    #[arg(long, env = "COSYSERVE_BENCH_CONCURRENCY", value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Load")]
    concurrency: usize,
    /// What each request says
    #[arg(
        long = "text",
        env = "COSYSERVE_BENCH_TEXT",
        value_name = "TEXT",
        default_value = "收到好友从远方寄来的生日礼物，那份意外的惊喜让我心中充满了甜蜜的快乐。",
        help_heading = "Load"
    )]
    say: String,
    /// Voice id [default: the first one]
    #[arg(long, env = "COSYSERVE_VOICE", value_name = "ID", help_heading = "Load")]
    voice: Option<String>,
    /// Make whole segments instead of small chunks
    #[arg(long, env = "COSYSERVE_BENCH_WHOLE", help_heading = "Load")]
    whole: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// What one request took.
#[derive(Debug, Clone, Copy)]
struct Sample {
    first_ms: f64,
    total_s: f64,
    audio_s: f64,
}

/// The 50th, 90th and 99th percentile.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// All that is measured.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    precision: String,
    requests: usize,
    concurrency: usize,
    stream: bool,
    load_s: f64,
    wall_s: f64,
    audio_s: f64,
    first_audio_ms: Percentiles,
    rtf: Percentiles,
    audio_s_per_s: f64,
    resident_mib: Option<f64>,
    resident_peak_mib: Option<f64>,
}

pub async fn run(args: BenchArgs) -> Result<()> {
    let started = Instant::now();
    let engine = args.model.clone().load().await?;
    let load_s = started.elapsed().as_secs_f64();
    let first = || engine.voices().into_iter().next().map(|voice| voice.id);
    let voice = args.voice.clone().or_else(first);
    let voice =
        voice.ok_or_else(|| Error::Invalid("the model has no voice: name one with --voice".into()))?;

    let load = Load {
        engine: engine.clone(),
        text: args.say.clone(),
        voice,
        stream: !args.whole,
    };
    let started = Instant::now();
    let samples = load.run(args.requests, args.concurrency).await?;
    let report = report(&args, &engine, load_s, started.elapsed(), &samples);
    if args.json {
        let json =
            serde_json::to_string_pretty(&report).map_err(|error| Error::internal("the report", error))?;
        println!("{json}");
    } else {
        print(&report);
    }
    Ok(())
}

/// What every request of a run shares.
struct Load {
    engine: Arc<Engine>,
    text: String,
    voice: String,
    stream: bool,
}

impl Load {
    /// Runs all requests, so many at once.
    async fn run(self, requests: usize, concurrency: usize) -> Result<Vec<Sample>> {
        let (load, next) = (Arc::new(self), Arc::new(AtomicUsize::new(0)));
        let workers = (0..concurrency.min(requests)).map(|_| {
            let (load, next) = (load.clone(), next.clone());
            tokio::spawn(async move {
                let mut samples = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return Ok::<_, Error>(samples);
                    }
                    samples.push(load.one(number).await?);
                }
            })
        });
        let mut all = Vec::with_capacity(requests);
        for worker in workers.collect::<Vec<_>>() {
            all.extend(
                worker
                    .await
                    .map_err(|error| Error::internal("a bench worker", error))??,
            );
        }
        Ok(all)
    }

    async fn one(&self, number: usize) -> Result<Sample> {
        let request = SpeechRequest {
            id: format!("bench-{number}"),
            text: self.text.clone(),
            mode: Mode::Sft {
                voice: self.voice.clone(),
            },
            speed: 1.0,
            seed: number as u64 + 1,
            stream: self.stream,
        };
        let started = Instant::now();
        let mut speech = self.engine.speak(request).await?;
        let (mut first, mut samples) = (None, 0);
        while let Some(chunk) = speech.chunks.recv().await {
            samples += chunk?.len();
            first.get_or_insert_with(|| started.elapsed());
        }
        let first = first.ok_or_else(|| Error::Internal("the engine gave no audio".into()))?;
        Ok(Sample {
            first_ms: first.as_secs_f64() * 1e3,
            total_s: started.elapsed().as_secs_f64(),
            audio_s: samples as f64 / f64::from(speech.sample_rate),
        })
    }
}

fn report(args: &BenchArgs, engine: &Engine, load_s: f64, wall: Duration, samples: &[Sample]) -> Report {
    let (model, wall_s) = (engine.model(), wall.as_secs_f64());
    let audio_s = samples.iter().map(|sample| sample.audio_s).sum::<f64>();
    Report {
        model: model.name.clone(),
        precision: model.precision.clone(),
        requests: samples.len(),
        concurrency: args.concurrency,
        stream: !args.whole,
        load_s,
        wall_s,
        audio_s,
        first_audio_ms: Percentiles::of(samples.iter().map(|sample| sample.first_ms).collect()),
        rtf: Percentiles::of(
            samples
                .iter()
                .map(|sample| sample.total_s / sample.audio_s.max(1e-9))
                .collect(),
        ),
        audio_s_per_s: audio_s / wall_s.max(1e-9),
        resident_mib: memory_mib("VmRSS:"),
        resident_peak_mib: memory_mib("VmHWM:"),
    }
}

fn print(report: &Report) {
    let row =
        |name: &str, p: &Percentiles| println!("{name:<18}{:>10.3}{:>10.3}{:>10.3}", p.p50, p.p90, p.p99);
    let chunks = if report.stream { "streamed" } else { "whole" };
    println!(
        "{} ({}), {} requests, {} at once, {chunks}",
        report.model, report.precision, report.requests, report.concurrency
    );
    println!("{:<18}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99");
    row("first audio, ms", &report.first_audio_ms);
    row("RTF", &report.rtf);
    println!("{:<18}{:>10.3}", "load, s", report.load_s);
    println!("{:<18}{:>10.3}", "audio, s per s", report.audio_s_per_s);
    for (name, value) in [
        ("memory, MiB", report.resident_mib),
        ("peak, MiB", report.resident_peak_mib),
    ] {
        if let Some(value) = value {
            println!("{name:<18}{value:>10.1}");
        }
    }
}

impl Percentiles {
    /// By the nearest rank; of nothing they are 0.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self {
            p50: at(50),
            p90: at(90),
            p99: at(99),
        }
    }
}

/// A line of this process's status, in MiB; `None` where there is no such file.
fn memory_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let p = Percentiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((p.p50, p.p90, p.p99), (50.0, 90.0, 99.0));
        let one = Percentiles::of(vec![7.0]);
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
        assert_eq!(Percentiles::of(Vec::new()).p50, 0.0);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(memory_mib("VmRSS:").unwrap() > 1.0);
        assert!(memory_mib("VmNothing:").is_none());
    }
}
