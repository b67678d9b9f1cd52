//! `cargo xtask fuzz`: the fuzz targets, each for a bounded time.
//!
//! What a run finds on the way goes to `target/fuzz-corpus`, so that the next one begins there; the corpora in `fuzz/`
//! are only read. Built without a sanitizer, because those need nightly and the code under test is safe Rust, but with
//! debug assertions and overflow checks.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
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
    for &target in targets {
        let name = target.name();
        let repeat = format!("cargo xtask fuzz --target {name}");
        steps.step(&format!("fuzz target {name}"), &repeat, || fuzz(target, seconds));
    }
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
    fuzz.arg(target.name()).arg(found).arg(workspace::root().join("fuzz/corpus").join(target.name()));
    // Sequences of packets need inputs of full length from the start.
    fuzz.args(["--", "-len_control=0"]).arg(format!("-max_len={LONGEST_INPUT}"));
    fuzz.arg(format!("-max_total_time={seconds}"));
    command::run(&mut fuzz)
}
