//! `cargo xtask COMMAND`: everything a developer does with this repository, one module per command.
//!
//! Messages go to standard error, so that the output of a command can be piped. A command that fails says what to
//! run to mend it.

mod bench;
mod ci;
mod citations;
mod command;
mod demo;
mod doctor;
mod ebpf;
mod environment;
mod features;
mod fuzz;
mod guest;
mod kernels;
mod lint;
mod requirement;
mod steps;
mod test;
mod test_report;
mod walls;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use steps::Steps;

/// Developer commands of sgfw.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rebuild the BPF object and its provenance file.
    BuildEbpf(ebpf::build::Arguments),
    /// Check that the committed BPF object is what the sources build.
    VerifyEbpf(ebpf::verify::Arguments),
    /// Say what this machine lacks, and the command that installs it.
    Doctor(doctor::Arguments),
    /// Check formatting, clippy, documentation, spelling and dependencies.
    Lint,
    /// Run the tests, ring by ring.
    Test(test::Arguments),
    /// Run the fuzz targets, each for a bounded time.
    Fuzz(fuzz::Arguments),
    /// Run the three-tier demonstration between network namespaces.
    Demo(demo::Arguments),
    /// Measure sgfw beside no firewall, an empty program, and nftables.
    Bench(bench::Arguments),
    /// Load the programs into other kernels, each in a machine under QEMU.
    Kernels(kernels::Arguments),
    /// Run tests of devices and modules that a host may lack, in a machine under QEMU.
    Guest(guest::Arguments),
    /// Run everything that must pass before a change lands: lint, verify-ebpf, test, kernels, fuzz.
    Ci,
}

fn main() -> ExitCode {
    environment::find_installed_tools();
    let outcome = match Arguments::parse().command {
        Command::BuildEbpf(arguments) => ebpf::build::run(&arguments),
        Command::VerifyEbpf(arguments) => ebpf::verify::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Lint => finish(lint::run),
        Command::Test(arguments) => finish(|steps| test::run(&arguments, steps)),
        Command::Fuzz(arguments) => finish(|steps| fuzz::run(&arguments, steps)),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Kernels(arguments) => kernels::run(&arguments),
        Command::Guest(arguments) => guest::run(&arguments),
        Command::Ci => ci::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: with RUST_BACKTRACE set the message would drown.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs steps to the last, and says how they ended.
fn finish(run: impl FnOnce(&mut Steps)) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    run(&mut steps);
    steps.finish()
}
