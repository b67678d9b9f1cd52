//! Steps of a long command: each runs whatever became of those before it, and at the end stand the failures, with what
//! repeats each, and the steps that took longest.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::command;

/// How many of the slowest steps, and of the slowest tests, are shown.
pub(crate) const SLOWEST: usize = 10;

/// What has run so far.
#[derive(Default)]
pub(crate) struct Steps {
    times: Vec<(String, Duration)>,
    failures: Vec<Failure>,
}

/// Something that failed.
pub(crate) struct Failure {
    /// What, and how.
    pub(crate) what: String,
    /// The command that does it again.
    pub(crate) repeat: String,
}

impl Steps {
    /// Runs a command, whose line is the name of the step.
    pub(crate) fn run(&mut self, command: &mut Command) {
        let line = command::line(command);
        self.step(&line, &line, || command::run(command));
    }

    /// Does `work`, which `repeat` does again.
    pub(crate) fn step(&mut self, name: &str, repeat: &str, work: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let outcome = work();
        self.add(name, repeat, start.elapsed(), outcome);
    }

    /// Adds what has run beside others.
    pub(crate) fn add(&mut self, name: &str, repeat: &str, time: Duration, outcome: Result<()>) {
        self.times.push((name.to_owned(), time));
        if let Err(error) = outcome {
            eprintln!("error: {error:#}");
            self.fail(Failure { what: format!("{name}: {error:#}"), repeat: repeat.to_owned() });
        }
    }

    /// Adds a failure that a step consists of.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Shows what took longest and what failed.
    ///
    /// # Errors
    ///
    /// When anything failed.
    pub(crate) fn finish(mut self) -> Result<()> {
        eprintln!("\nthe slowest steps:");
        show_slowest(&mut self.times);
        if self.failures.is_empty() {
            return Ok(());
        }
        eprintln!("\nwhat failed, and how to repeat it:");
        for Failure { what, repeat } in &self.failures {
            eprintln!("  {what}\n      {repeat}");
        }
        bail!("{} failed", self.failures.len())
    }
}

/// Prints the longest times, longest first.
pub(crate) fn show_slowest(times: &mut [(String, Duration)]) {
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    for (name, time) in times.iter().take(SLOWEST) {
        eprintln!("  {:>7.1} s  {name}", time.as_secs_f32());
    }
}
