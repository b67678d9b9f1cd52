//! `cargo xtask kernels`: whether the verifiers of the kernels that people run accept every program, and at what price.
//!
//! Each kernel boots under QEMU's software emulation, so that no machine needs KVM. Its only process
//! (`tests/src/guest`) loads all programs and says on the console how many instructions the verifier walked through;
//! the number is compared with a budget, since what newer verifiers accept older ones may find too long. On a kernel that
//! needs the bound on packet offsets, programs without it must be refused: so this check can fail.

pub(crate) mod debian;
pub(crate) mod guest;
mod report;

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, bail};

use crate::requirement;
use debian::Series;
use guest::Initramfs;
use report::Report;

/// Options of `kernels`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// The series of Debian's kernels, as 6.1; the default is 6.1, 6.12 and the newest that apt knows.
    #[arg(value_name = "VERSION")]
    series: Vec<Series>,
    /// Boot this image (a vmlinuz or bzImage) instead.
    #[arg(long, value_name = "FILE", conflicts_with = "series")]
    image: Option<PathBuf>,
}

/// What a kernel is held to.
struct Budget {
    /// The first series that it is for.
    from: Series,
    /// The most instructions that the verifier may walk through in a program.
    instructions: u32,
    /// Whether programs without the bound on packet offsets are refused.
    needs_bound: bool,
}

/// By the first series; a kernel is held to the last that is not newer than itself. A quarter above the most that was
/// measured: 172 158 (`ingress_tc_log`) on 6.1, 105 108 (`egress_tc_log`) on 6.12.117. No verifier walks beyond a million.
const BUDGETS: [Budget; 2] = [
    Budget { from: Series::new(6, 1), instructions: 215_000, needs_bound: true },
    Budget { from: Series::new(6, 12), instructions: 131_000, needs_bound: false },
];

/// A kernel to boot.
struct Kernel {
    name: String,
    image: PathBuf,
    budget: Option<&'static Budget>,
}

/// Boots the kernels, all at the same time, and compares what they say with the budgets.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    requirement::ensure_all(requirement::GUEST)?;
    let kernels = kernels(arguments)?;
    let initramfs = guest::build_initramfs()?;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let runs: Vec<_> = kernels.iter().map(|kernel| scope.spawn(|| boot(kernel, &initramfs))).collect();
        runs.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut faults = Vec::new();
    for (kernel, outcome) in kernels.iter().zip(outcomes) {
        match outcome {
            Ok(Ok(report)) => {
                println!("{}\n{report}", kernel.name);
                faults.extend(
                    report.faults(kernel.budget).into_iter().map(|fault| format!("{}: {fault}", kernel.name)),
                );
            }
            Ok(Err(error)) => faults.push(format!("{}: {error:#}", kernel.name)),
            Err(_) => faults.push(format!("{}: the thread that boots it panicked", kernel.name)),
        }
    }
    if !faults.is_empty() {
        bail!("kernels do not take the programs as they should\n{}", faults.join("\n"));
    }
    Ok(())
}

fn kernels(arguments: &Arguments) -> Result<Vec<Kernel>> {
    if let Some(image) = &arguments.image {
        // Its series is not known before it runs, so that it is held to no budget: the figures are printed.
        return Ok(vec![Kernel { name: image.display().to_string(), image: image.clone(), budget: None }]);
    }
    let packages = debian::packages(&arguments.series)?;
    packages
        .into_iter()
        .map(|package| {
            let budget = BUDGETS.iter().rfind(|budget| budget.from <= package.series);
            Ok(Kernel { image: debian::image(&package)?, name: package.name, budget })
        })
        .collect()
}

fn boot(kernel: &Kernel, initramfs: &Initramfs) -> Result<Report> {
    let needs_bound = kernel.budget.is_some_and(|budget| budget.needs_bound);
    let variables = if needs_bound { "SGFW_CONTROL=1" } else { "" };
    Report::parse(&guest::boot(&kernel.image, initramfs, variables)?)
}
