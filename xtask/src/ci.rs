//! `cargo xtask ci`: everything that must pass before a change lands. `.ci/run` prepares a machine and calls it.

use anyhow::Result;

use crate::{ebpf, fuzz, kernels, lint, test};

/// Runs all checks.
pub(crate) fn run() -> Result<()> {
    lint::run()?;
    ebpf::verify::run(&ebpf::verify::Arguments::default())?;
    test::run(&test::Arguments::default())?;
    kernels::run(&kernels::Arguments::default())?;
    fuzz::run(&fuzz::Arguments::default())
}
