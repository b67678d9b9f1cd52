//! `cargo xtask doctor`: what this machine lacks, and the command that installs it.

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::ebpf::toolchain::Route;
use crate::requirement::{self, Requirement};

/// Options of `doctor`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the machine is to be used for.
    #[arg(long = "for", value_enum, default_value_t = Purpose::All)]
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Run sgfw.
    Use,
    /// Run `cargo xtask demo`.
    Demo,
    /// Build the BPF object.
    Build,
    /// Run `cargo xtask lint`.
    Lint,
    /// Run the tests.
    Test,
    /// Run `cargo xtask fuzz`.
    Fuzz,
    /// Run `cargo xtask kernels`.
    Kernels,
    /// Run `cargo xtask bench`.
    Bench,
    /// All of these.
    All,
}

/// Prints a line per requirement; an error if one is not met.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let wanted = |purpose| arguments.purpose == purpose || arguments.purpose == Purpose::All;
    let mut missing = 0;
    if wanted(Purpose::Use) {
        missing += report("to run sgfw", requirement::USE);
    }
    if wanted(Purpose::Demo) {
        missing += report("to run the demo", requirement::DEMO);
    }
    if wanted(Purpose::Build) {
        missing += report_build();
    }
    if wanted(Purpose::Lint) {
        missing += report("to lint", requirement::LINT);
    }
    if wanted(Purpose::Test) {
        missing += report("to run the tests", requirement::TEST);
    }
    if wanted(Purpose::Fuzz) {
        missing += report("to fuzz", requirement::FUZZ);
    }
    if wanted(Purpose::Kernels) {
        missing += report("to boot other kernels", requirement::GUEST);
    }
    if wanted(Purpose::Bench) {
        missing += report("to measure", requirement::BENCH);
    }
    ensure!(missing == 0, "{missing} missing; the commands above install them");
    Ok(())
}

/// One complete route is enough to build. Without any, what the Debian route lacks counts as missing.
fn report_build() -> usize {
    let debian = report("to build the BPF object: Debian's packages", Route::Debian.requirements());
    if debian == 0 {
        return 0;
    }
    let nightly = report("or: rustup's nightly", Route::Nightly.requirements());
    if nightly == 0 { 0 } else { debian }
}

fn report(heading: &str, requirements: &[Requirement]) -> usize {
    println!("{heading}");
    let mut missing = 0;
    for requirement in requirements {
        if requirement.is_met() {
            println!("  ok       {}", requirement.name);
        } else {
            missing += 1;
            println!("  missing  {:<28} {}", requirement.name, requirement.install);
        }
    }
    missing
}
