//! What a run found, as a table or as JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    load::{Arrivals, Outcome},
    player::Sample,
};

/// The 50th, 90th and 99th percentile.
#[derive(Debug, Serialize)]
pub struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// Streams whose player ran dry.
#[derive(Debug, Serialize)]
pub struct Underruns {
    /// Streams with at least one.
    streams: usize,
    /// All of them.
    stalls: usize,
    /// Silence in all, milliseconds.
    stalled_ms: f64,
    /// Silence of the worst stream, milliseconds.
    worst_ms: f64,
}

/// Memory of the process that speaks and of the GPUs, MiB; what is not known is left out.
#[derive(Debug, Default, Serialize)]
pub struct Memory {
    /// Resident.
    pub resident_mib: Option<f64>,
    /// The most that ever was.
    pub resident_peak_mib: Option<f64>,
    /// On all GPUs together.
    pub gpu_mib: Option<f64>,
}

/// Who was measured.
#[derive(Debug, Serialize)]
pub struct Subject {
    /// The server's address; none for the engine in this process.
    pub url: Option<String>,
    /// Model and precision, where known.
    pub model: Option<String>,
    /// Weight precision.
    pub precision: Option<String>,
    /// Time to load and warm up, seconds.
    pub load_s: Option<f64>,
}

/// All that is measured.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    subject: Subject,
    streams: Option<usize>,
    rate: Option<f64>,
    stream: bool,
    requests: usize,
    failed: u64,
    errors: BTreeMap<String, u64>,
    wall_s: f64,
    audio_s: f64,
    audio_s_per_s: f64,
    first_audio_ms: Percentiles,
    rtf: Percentiles,
    underruns: Underruns,
    #[serde(flatten)]
    memory: Memory,
}

impl Report {
    /// The report of a run that took `wall`.
    pub fn new(
        subject: Subject,
        arrivals: Arrivals,
        stream: bool,
        wall: Duration,
        outcome: &Outcome,
        memory: Memory,
    ) -> Self {
        let samples = &outcome.samples;
        let of = |value: fn(&Sample) -> f64| Percentiles::of(samples.iter().map(value).collect());
        let (wall_s, audio_s) = (wall.as_secs_f64(), outcome.audio().as_secs_f64());
        let (streams, rate) = match arrivals {
            Arrivals::Streams(streams) => (Some(streams), None),
            Arrivals::Rate(rate) => (None, Some(rate)),
        };
        Self {
            subject,
            streams,
            rate,
            stream,
            requests: samples.len(),
            failed: outcome.failed(),
            errors: outcome.errors.clone(),
            wall_s,
            audio_s,
            audio_s_per_s: audio_s / wall_s.max(1e-9),
            first_audio_ms: of(|sample| sample.first.as_secs_f64() * 1e3),
            rtf: of(|sample| sample.total.as_secs_f64() / sample.audio.as_secs_f64().max(1e-9)),
            underruns: Underruns::of(samples),
            memory,
        }
    }

    /// The table.
    pub fn print(&self) {
        println!("{}", self.title());
        println!("{:<20}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99");
        for (name, p) in [("first audio, ms", &self.first_audio_ms), ("RTF", &self.rtf)] {
            println!("{name:<20}{:>10.3}{:>10.3}{:>10.3}", p.p50, p.p90, p.p99);
        }
        let line = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                println!("{name:<20}{value:>10.3}");
            }
        };
        line("audio, s", Some(self.audio_s));
        line("audio, s per s", Some(self.audio_s_per_s));
        if self.stream {
            let dry = &self.underruns;
            println!(
                "{:<20}{:>10} of {} streams, {:.0} ms in all, {:.0} ms the worst",
                "ran dry", dry.streams, self.requests, dry.stalled_ms, dry.worst_ms
            );
        }
        line("load, s", self.subject.load_s);
        line("memory, MiB", self.memory.resident_mib);
        line("peak, MiB", self.memory.resident_peak_mib);
        line("GPU memory, MiB", self.memory.gpu_mib);
        for (text, count) in &self.errors {
            println!("failed {count:>13}: {text}");
        }
    }

    fn title(&self) -> String {
        let subject = &self.subject;
        let precision = subject
            .precision
            .as_ref()
            .map(|p| format!(" ({p})"))
            .unwrap_or_default();
        let name = subject.url.as_ref().or(subject.model.as_ref());
        let arrive = match (self.streams, self.rate) {
            (Some(streams), _) => format!("{streams} at once"),
            (None, rate) => format!("{} a second", rate.unwrap_or_default()),
        };
        let chunks = if self.stream { "streamed" } else { "whole" };
        let requests = self.requests as u64 + self.failed;
        let name = name.map_or("", String::as_str);
        format!("{name}{precision}: {requests} requests, {arrive}, {chunks}")
    }
}

impl Outcome {
    /// All speech so far.
    pub fn audio(&self) -> Duration {
        self.samples.iter().map(|sample| sample.audio).sum()
    }
}

impl Underruns {
    fn of(samples: &[Sample]) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            streams: samples.iter().filter(|sample| sample.stalls > 0).count(),
            stalls: samples.iter().map(|sample| sample.stalls).sum(),
            stalled_ms: samples.iter().map(|sample| ms(sample.stalled)).sum(),
            worst_ms: samples
                .iter()
                .map(|sample| ms(sample.stalled))
                .fold(0.0, f64::max),
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
    fn a_report_adds_up() {
        let ms = Duration::from_millis;
        let sample = |stalled: u64| Sample {
            first: ms(200),
            total: ms(1_000),
            audio: ms(2_000),
            stalls: usize::from(stalled > 0),
            stalled: ms(stalled),
        };
        let outcome = Outcome {
            samples: vec![sample(0), sample(30), sample(50)],
            errors: BTreeMap::from([("full".into(), 2)]),
        };
        let subject = Subject {
            url: Some("http://a".into()),
            model: None,
            precision: None,
            load_s: None,
        };
        let report = Report::new(
            subject,
            Arrivals::Streams(3),
            true,
            ms(3_000),
            &outcome,
            Memory::default(),
        );
        assert_eq!((report.requests, report.failed), (3, 2));
        assert_eq!((report.audio_s, report.audio_s_per_s), (6.0, 2.0));
        assert_eq!((report.first_audio_ms.p50, report.rtf.p99), (200.0, 0.5));
        let dry = &report.underruns;
        assert_eq!(
            (dry.streams, dry.stalls, dry.stalled_ms, dry.worst_ms),
            (2, 2, 80.0, 50.0)
        );
        assert_eq!(report.title(), "http://a: 5 requests, 3 at once, streamed");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["url"], "http://a");
        assert_eq!(json["errors"]["full"], 2);
        assert!(json["resident_mib"].is_null());
    }
}
