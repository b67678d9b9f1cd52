//! The benchmark as a program of its own, so that `cargo xtask` can start it without being built with user space.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use firewall_tests::bench::report::{baseline, to_json, to_svg, to_table};
use firewall_tests::bench::{self, Extent, Part};

/// Measure sgfw beside no firewall, an empty program, and nftables.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    /// Only what the targets need, with fewer repetitions
    #[arg(long)]
    quick: bool,
    /// Only this part: paths, policies, flows, bulk, web, publication, updates, memory. Repeat it for more
    #[arg(long = "part", value_name = "PART")]
    parts: Vec<Part>,
    /// Write the report as JSON, which `--check` takes
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the times by frame
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Fail if a ratio is worse than in this report of an earlier run, by more than a quarter
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: with RUST_BACKTRACE set the message would drown.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    // Before the minutes of measuring, not after them.
    let baseline = arguments.check.as_ref().map(|path| -> Result<serde_json::Value> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
    });
    let baseline = baseline.transpose()?;
    let extent = if arguments.quick { Extent::Quick } else { Extent::Full };
    let parts = if arguments.parts.is_empty() { Part::ALL.to_vec() } else { arguments.parts };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let report = bench::run(&parts, extent, &format!("cargo xtask bench {}", words.join(" ")))?;

    print!("{}", to_table(&report));
    if let Some(path) = arguments.json {
        let json = serde_json::to_string_pretty(&to_json(&report))?;
        fs::write(&path, json + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = arguments.svg {
        fs::write(&path, to_svg(&report)?).with_context(|| format!("write {}", path.display()))?;
    }
    let Some(baseline) = baseline else {
        return Ok(());
    };
    let regressions = baseline::regressions(&report, &baseline)?;
    for regression in &regressions {
        let baseline::Regression { ratio, before, now } = regression;
        println!("worse: {ratio}: {now:.2}, was {before:.2}");
    }
    if !regressions.is_empty() {
        bail!("{} ratios are worse than in the baseline", regressions.len());
    }
    println!("no ratio is worse than in the baseline by more than {:.0}%", 100.0 * baseline::TOLERANCE);
    Ok(())
}
