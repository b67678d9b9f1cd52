//! `cargo xtask ci`: everything that must pass before a change lands. `.ci/run` prepares a machine and calls it.

use anyhow::Result;

use crate::steps::Steps;
use crate::{demo, ebpf, fuzz, kernels, lint, test};

/// Runs all checks, whichever of them fail.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    lint::run(&mut steps);
    steps.step("verify-ebpf", "cargo xtask verify-ebpf", || {
        ebpf::verify::run(&ebpf::verify::Arguments::default())
    });
    test::run(&test::Arguments::default(), &mut steps);
    // The tests run an `sgfw` that is built fast and checks its own arithmetic; this one is shipped.
    steps.step("demo --release", "cargo xtask demo --release", || {
        demo::run(&demo::Arguments { release: true })
    });
    steps.step("kernels", "cargo xtask kernels", || kernels::run(&kernels::Arguments::default()));
    fuzz::run(&fuzz::Arguments::default(), &mut steps);
    steps.finish()
}
