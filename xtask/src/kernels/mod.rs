//! `cargo xtask kernels`: whether the verifiers of the kernels that people run accept every program, and at what price.
//!
//! Each kernel boots under QEMU's software emulation, so that no machine needs KVM. Its only process
//! (`tests/src/guest`) loads all programs and says on the console how many instructions the verifier walked through;
//! the number is compared with a budget, since what newer verifiers accept older ones may find too long. On a kernel that
//! needs the bound on packet offsets, programs without it must be refused: so this check can fail. With `--flow` a second
//! guest then takes an interface from attaching to detaching, by a test of ring c.

pub(crate) mod apt;
pub(crate) mod architecture;
pub(crate) mod debian;
mod filesystem;
pub(crate) mod guest;
pub(crate) mod programs;
mod report;
pub(crate) mod test_guest;

use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::requirement;
use apt::Apt;
use architecture::Architecture;
use debian::{Flavour, Series};
use filesystem::Initramfs;
use guest::Network;
use programs::Programs;
use report::Report;
use test_guest::TestGuest;

/// Options of `kernels`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// The series of Debian's kernels, as 6.1; the default is 6.1, 6.12 and the newest that apt knows, of --suite the newest.
    #[arg(value_name = "VERSION")]
    series: Vec<Series>,
    /// Boot this image (a vmlinuz or bzImage) instead, which has everything that tests need built in; VERSION then says which
    /// series it is held to.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Then take an interface from attaching to detaching on each kernel
    #[arg(long)]
    flow: bool,
    /// Take the kernels from this suite of Debian, as trixie-backports, instead of those that apt is configured for.
    #[arg(long, value_name = "SUITE")]
    suite: Option<String>,
    /// The kind of processor; for another one than the machine's own everything is built once more, in some ten minutes.
    #[arg(long, value_enum, default_value_t)]
    arch: Architecture,
}

impl Arguments {
    /// The default, and then the whole flow.
    pub(crate) fn with_flow() -> Self {
        Self { flow: true, ..Self::default() }
    }
}

/// What a kernel is held to.
struct Budget {
    /// The first series that it is for.
    from: Series,
    /// Whether programs without the bound on packet offsets are refused.
    needs_bound: bool,
    /// The tests that `--flow` runs: decisions of the loaded programs, the whole flow, and on a kernel without TCX what others
    /// may do to filters.
    tests: &'static str,
}

const FLOW: &str = "prog/tables::,netns/whole_flow::an_interface";
const ON_CLSACT: &str = "prog/tables::,netns/whole_flow::an_interface,netns/clsact::";

/// The most instructions that a verifier may walk through in a program that decides, on every kernel: 60 602 on 6.1, 78 846 on
/// 6.12.117 and 86 712 on 6.18 have been measured (`egress_tc`). None walks beyond a million.
const INSTRUCTIONS: u32 = 100_000;

/// The same where it also logs: 104 323 on 6.18.
const INSTRUCTIONS_WITH_LOG: u32 = 120_000;

/// By the first series; a kernel is held to the last that is not newer than itself.
const BUDGETS: [Budget; 3] = [
    Budget { from: Series::new(6, 1), needs_bound: true, tests: ON_CLSACT },
    Budget { from: Series::new(6, 12), needs_bound: false, tests: FLOW },
    Budget { from: Series::new(7, 3), needs_bound: false, tests: FLOW },
];

/// A kernel to boot.
struct Kernel {
    name: String,
    image: PathBuf,
    /// Its modules, which tests need; an image alone has none.
    modules: Option<PathBuf>,
    budget: Option<&'static Budget>,
}

/// Boots the kernels, all at the same time, and compares what they say with the budgets.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    requirement::ensure_all(requirement::GUEST)?;
    let apt = Apt::of(arguments.suite.as_deref(), arguments.arch)?;
    let kernels = kernels(&apt, arguments)?;
    let programs = Programs::of(&apt)?;
    let mut faults = load(&programs, &kernels)?;
    if arguments.flow {
        for kernel in &kernels {
            if let Err(error) = flow(&programs, kernel) {
                faults.push(format!("{error:#}"));
            }
        }
    }
    if !faults.is_empty() {
        bail!("kernels do not take the programs as they should\n{}", faults.join("\n"));
    }
    Ok(())
}

/// Loads the programs into each kernel, and returns what is not as it should be.
fn load(programs: &Programs, kernels: &[Kernel]) -> Result<Vec<String>> {
    let initramfs = filesystem::minimal(programs)?;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let boot = |kernel| boot(programs.architecture, kernel, &initramfs);
        let runs: Vec<_> = kernels.iter().map(|kernel| scope.spawn(move || boot(kernel))).collect();
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
    Ok(faults)
}

/// Runs the tests of a kernel that is held to a budget, in a guest with its modules.
fn flow(programs: &Programs, kernel: &Kernel) -> Result<()> {
    let Some(budget) = kernel.budget else {
        return Ok(());
    };
    let guest = TestGuest::build(programs, &kernel.image, kernel.modules.as_deref())?;
    let start = Instant::now();
    let console = guest.run(budget.tests, Network::None)?;
    println!("{console}");
    let (tests, seconds) = (budget.tests, start.elapsed().as_secs());
    println!("{}\n  passed in {seconds} s: {tests}", kernel.name);
    Ok(())
}

fn kernels(apt: &Apt, arguments: &Arguments) -> Result<Vec<Kernel>> {
    if let Some(image) = &arguments.image {
        // Its series is not known before it runs: if none is said it is held to no budget, and the figures are printed.
        let name = image.display().to_string();
        let budget = arguments.series.first().and_then(|series| budget(*series));
        return Ok(vec![Kernel { name, image: image.clone(), modules: None, budget }]);
    }
    let packages = debian::packages(apt, Flavour::Cloud, &arguments.series)?;
    packages
        .into_iter()
        .map(|package| {
            let (name, image) = (package.name.clone(), debian::image(apt, &package)?);
            Ok(Kernel { name, image, modules: Some(package.modules()?), budget: budget(package.series) })
        })
        .collect()
}

fn budget(series: Series) -> Option<&'static Budget> {
    BUDGETS.iter().rfind(|budget| budget.from <= series)
}

fn boot(architecture: Architecture, kernel: &Kernel, initramfs: &Initramfs) -> Result<Report> {
    let needs_bound = kernel.budget.is_some_and(|budget| budget.needs_bound);
    let variables = if needs_bound { "SGFW_CONTROL=1" } else { "" };
    Report::parse(&guest::boot(architecture, &kernel.image, initramfs, variables, Network::None)?)
}
