//! Who asks when.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{player::Sample, target::Target};
use crate::{Result, limits};

/// Pause after a failed request, so that a server that is gone is not asked thousands of times a second.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Different error texts that are kept; the rest is counted together.
const ERROR_TEXTS: usize = 16;

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// So many listeners, all starting at once; each asks again when its answer has ended.
    Streams(usize),
    /// So many requests a second, whether or not earlier ones have ended.
    Rate(f64),
}

/// When to stop asking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// After so many requests.
    Requests(u64),
    /// After this time; what has begun is heard to its end.
    Time(Duration),
}

/// What became of the requests so far.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that spoke.
    pub samples: Vec<Sample>,
    /// How many failed, by what was said.
    pub errors: BTreeMap<String, u64>,
}

/// All that a run needs.
pub struct Load {
    /// Who speaks.
    pub target: Target,
    /// What is said, in turn.
    pub texts: Vec<String>,
    /// In small chunks, or whole segments.
    pub stream: bool,
    /// How requests arrive.
    pub arrivals: Arrivals,
    /// When to stop asking.
    pub amount: Amount,
    /// What became of them.
    pub outcome: Mutex<Outcome>,
}

impl Outcome {
    fn add(&mut self, result: Result<Sample>) {
        match result {
            Ok(sample) => self.samples.push(sample),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, text: String) {
        let known = self.errors.len() < ERROR_TEXTS || self.errors.contains_key(&text);
        let text = if known { text } else { "others".to_owned() };
        *self.errors.entry(text).or_default() += 1;
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Load {
    /// Makes all requests; ends when the last answer has ended.
    pub async fn run(self: &Arc<Self>) {
        let mut tasks = JoinSet::new();
        match self.arrivals {
            Arrivals::Streams(streams) => self.streams(&mut tasks, streams),
            Arrivals::Rate(rate) => self.paced(&mut tasks, rate).await,
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                self.outcome.lock().fail(format!("a bench task: {error}"));
            }
        }
    }

    fn streams(self: &Arc<Self>, tasks: &mut JoinSet<()>, streams: usize) {
        let (next, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
        for _ in 0..streams {
            let (load, next) = (self.clone(), next.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !load.amount.goes_on(number, started.elapsed()) {
                        return;
                    }
                    if !load.one(number).await {
                        sleep(AFTER_FAILURE).await;
                    }
                }
            });
        }
    }

    async fn paced(self: &Arc<Self>, tasks: &mut JoinSet<()>, rate: f64) {
        let started = Instant::now();
        for number in 0.. {
            sleep_until(started + Duration::from_secs_f64(number as f64 / rate)).await;
            if !self.amount.goes_on(number, started.elapsed()) {
                return;
            }
            while tasks.try_join_next().is_some() {}
            if tasks.len() >= limits::BENCH_OPEN_REQUESTS {
                let text = format!("not sent: {} requests were open", limits::BENCH_OPEN_REQUESTS);
                self.outcome.lock().fail(text);
                continue;
            }
            let load = self.clone();
            tasks.spawn(async move {
                load.one(number).await;
            });
        }
    }

    /// Makes one request; whether it spoke.
    async fn one(&self, number: u64) -> bool {
        let text = &self.texts[(number % self.texts.len() as u64) as usize];
        let result = self.target.say(number, text, self.stream).await;
        let spoke = result.is_ok();
        self.outcome.lock().add(result);
        spoke
    }
}

impl Amount {
    fn goes_on(self, number: u64, elapsed: Duration) -> bool {
        match self {
            Amount::Requests(requests) => number < requests,
            Amount::Time(time) => elapsed < time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn amounts() {
        assert!(Amount::Requests(2).goes_on(1, Duration::MAX));
        assert!(!Amount::Requests(2).goes_on(2, Duration::ZERO));
        assert!(Amount::Time(Duration::from_secs(1)).goes_on(99, Duration::from_millis(999)));
        assert!(!Amount::Time(Duration::from_secs(1)).goes_on(0, Duration::from_secs(1)));
    }

    #[test]
    fn errors_are_counted_by_text_and_bounded() {
        let mut outcome = Outcome::default();
        for i in 0..40 {
            outcome.add(Err(Error::Overloaded(format!("full {}", i / 2))));
        }
        assert_eq!(outcome.failed(), 40);
        assert_eq!(outcome.errors["full 0"], 2);
        assert_eq!(outcome.errors.len(), ERROR_TEXTS + 1);
        assert_eq!(outcome.errors["others"], 8);
    }
}
