//! `cargo xtask lint`: formatting, spelling, citations, licences, clippy, documentation.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::ebpf::build::TARGET_ARCH;
use crate::ebpf::toolchain::{Route, Toolchain};
use crate::{citations, requirement, workspace};

/// Runs every check; the first that fails ends the run.
pub(crate) fn run() -> Result<()> {
    if let Some(missing) = requirement::LINT.iter().find(|requirement| !requirement.is_met()) {
        bail!("{} is missing; run `{}`", missing.name, missing.install);
    }
    command::run(&mut cargo(["fmt", "--all", "--check"]))?;
    command::run(with_manifest(&mut cargo(["fmt", "--check"]), &workspace::ebpf_manifest()))?;
    command::run(with_manifest(&mut cargo(["fmt", "--check"]), &workspace::fuzz_manifest()))?;
    command::run(Command::new("typos").current_dir(workspace::root()))?;
    citations::check()?;
    deny(&workspace::root().join("Cargo.toml"))?;
    deny(&workspace::ebpf_manifest())?;
    command::run(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))?;
    clippy_fuzz()?;
    clippy_ebpf()?;
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    command::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Advisories are not among the checks: they come from the network and change without a change here. See
/// CONTRIBUTING.md for the command.
fn deny(manifest: &Path) -> Result<()> {
    let mut deny = Command::new("cargo-deny");
    deny.current_dir(workspace::root()).args(["--config", "deny.toml", "--locked", "--all-features"]);
    with_manifest(&mut deny, manifest).args(["check", "bans", "licenses", "sources"]);
    command::run(&mut deny)
}

/// The fuzz targets are no part of what is shipped, so `deny` does not look at them. In the workspace's target folder,
/// where most of what they depend on is built already.
fn clippy_fuzz() -> Result<()> {
    let mut clippy = cargo(["clippy", "--all-targets", "--locked", "--target-dir"]);
    with_manifest(clippy.arg(workspace::target()), &workspace::fuzz_manifest());
    command::run(clippy.args(["--", "--deny", "warnings"]))
}

/// The eBPF crate compiles for the BPF target alone, so its clippy is Debian's, which goes with the
/// toolchain that builds it.
fn clippy_ebpf() -> Result<()> {
    let mut clippy = Toolchain::find(Some(Route::Debian))?.clippy();
    clippy
        .args(["--release", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(workspace::target().join("ebpf"))
        .args(["--", "--deny", "warnings"])
        .env("CARGO_ENCODED_RUSTFLAGS", TARGET_ARCH);
    command::run(&mut clippy)
}

fn with_manifest<'a>(command: &'a mut Command, manifest: &Path) -> &'a mut Command {
    command.arg("--manifest-path").arg(manifest)
}
