//! `cargo xtask fuzz`: the fuzz targets, each for a bounded time.
//!
//! What a run finds on the way goes to `target/fuzz-corpus`, so that the next one begins there; the corpora in `fuzz/`
//! are only read. Built without a sanitizer, because those need nightly and the code under test is safe Rust, but with
//! debug assertions and overflow checks.

use std::fs::{self, File};
use std::num::NonZero;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::command::{self, cargo};
use crate::steps::Steps;
use crate::{requirement, workspace};

/// Options of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only these targets.
    #[arg(long = "target", value_enum)]
    targets: Vec<Target>,
    /// How long to run each target.
    #[arg(long, default_value_t = SECONDS_IN_CI)]
    seconds: u32,
    /// Run each target for an hour.
    #[arg(long, conflicts_with = "seconds")]
    long: bool,
}

/// A fuzz target, named as its file in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Any bytes through the parser, and through a second one.
    Packet,
    /// Any sequence of packets of one flow.
    Flow,
    /// Any frames, decided by any tables.
    Decision,
    /// Any scenario, decided by the core and by the oracle.
    Differential,
}

const SECONDS_IN_CI: u32 = 20;
const SECONDS_IF_LONG: u32 = 3600;

/// How much of what a target says is shown where it fails: the finding and how it came about.
const LINES_OF_FAILURE: usize = 60;

/// Larger inputs find nothing that smaller ones do not, and take longer.
const LONGEST_INPUT: usize = 4096;

/// As CI does.
impl Default for Arguments {
    fn default() -> Self {
        Self { targets: Vec::new(), seconds: SECONDS_IN_CI, long: false }
    }
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Flow => "flow",
            Self::Decision => "decision",
            Self::Differential => "differential",
        }
    }
}

/// Runs the targets asked for, or all.
pub(crate) fn run(arguments: &Arguments, steps: &mut Steps) {
    let targets = if arguments.targets.is_empty() { Target::value_variants() } else { &arguments.targets };
    let seconds = if arguments.long { SECONDS_IF_LONG } else { arguments.seconds };
    steps.step("tools of fuzz", "cargo xtask doctor --for fuzz", || {
        requirement::ensure_all(requirement::FUZZ)
    });
    // All targets at once: with a step for each, the first would seem to be slow.
    steps.run(&mut cargo_fuzz("build"));
    for (target, time, outcome) in fuzz_side_by_side(targets, seconds) {
        let name = target.name();
        let repeat = format!("cargo xtask fuzz --target {name}");
        steps.add(&format!("fuzz target {name}"), &repeat, time, outcome);
    }
}

/// As many at once as there are CPUs, since each keeps one busy.
fn fuzz_side_by_side(targets: &[Target], seconds: u32) -> Vec<(Target, Duration, Result<()>)> {
    let waiting = Mutex::new(targets.iter().copied());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some(target) = next() {
            let start = Instant::now();
            let outcome = fuzz(target, seconds);
            done.push((target, start.elapsed(), outcome));
        }
        done
    };
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cpus.min(targets.len())).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn cargo_fuzz(command: &str) -> Command {
    let mut fuzz = cargo(["fuzz", command, "--fuzz-dir", "fuzz", "--sanitizer", "none", "--target-dir"]);
    fuzz.arg(workspace::target().join("fuzz"));
    fuzz
}

fn fuzz(target: Target, seconds: u32) -> Result<()> {
    let found = workspace::target().join("fuzz-corpus").join(target.name());
    fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;
    let mut fuzz = cargo_fuzz("run");
    // libFuzzer writes to the first folder and reads all.
    fuzz.arg(target.name()).arg(&found).arg(workspace::root().join("fuzz/corpus").join(target.name()));
    // Sequences of packets need inputs of full length from the start.
    fuzz.args(["--", "-len_control=0"]).arg(format!("-max_len={LONGEST_INPUT}"));
    fuzz.arg(format!("-max_total_time={seconds}"));
    let log = found.with_extension("log");
    let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    fuzz.stdout(output.try_clone()?).stderr(output);
    let line = command::line(&fuzz);
    eprintln!("$ {line} >{} 2>&1", log.display());
    let status = fuzz.status().with_context(|| format!("cannot start `{line}`"))?;
    let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    eprintln!(
        "fuzz target {}:\n{}",
        target.name(),
        end(&text, if status.success() { 1 } else { LINES_OF_FAILURE })
    );
    ensure!(status.success(), "`{line}` failed: {status}; all it said is in {}", log.display());
    Ok(())
}

/// The last lines of a text.
fn end(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
