//! `cargo xtask lint`: formatting, spelling, citations, walls, features, licences, clippy, documentation.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo};
use crate::ebpf::build::TARGET_ARCH;
use crate::ebpf::toolchain::{Route, Toolchain};
use crate::steps::Steps;
use crate::{citations, features, requirement, walls, workspace};

/// Runs every check, whichever of them fail.
pub(crate) fn run(steps: &mut Steps) {
    steps.step("tools of lint", "cargo xtask doctor --for lint", || {
        requirement::ensure_all(requirement::LINT)
    });
    steps.run(&mut cargo(["fmt", "--all", "--check"]));
    steps.run(with_manifest(&mut cargo(["fmt", "--check"]), &workspace::ebpf_manifest()));
    steps.run(with_manifest(&mut cargo(["fmt", "--check"]), &workspace::fuzz_manifest()));
    steps.run(Command::new("typos").current_dir(workspace::root()));
    steps.step("citations", "cargo test -p xtask citations", citations::check);
    steps.step("walls", "cargo test -p xtask walls", walls::check);
    steps.step("features", "cargo xtask lint", features::check);
    steps.run(&mut deny(&workspace::root().join("Cargo.toml")));
    steps.run(&mut deny(&workspace::ebpf_manifest()));
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];
    steps.run(&mut cargo(clippy));
    steps.run(&mut clippy_fuzz());
    steps.step("clippy of firewall-ebpf", "cargo xtask lint", clippy_ebpf);
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    steps.run(doc.env("RUSTDOCFLAGS", "--deny warnings"));
}

/// Advisories are not among the checks: they come from the network and change without a change here. See
/// CONTRIBUTING.md for the command.
fn deny(manifest: &Path) -> Command {
    let mut deny = Command::new("cargo-deny");
    deny.current_dir(workspace::root()).args(["--config", "deny.toml", "--locked", "--all-features"]);
    with_manifest(&mut deny, manifest).args(["check", "bans", "licenses", "sources"]);
    deny
}

/// The fuzz targets are no part of what is shipped, so `deny` does not look at them. In the workspace's target folder,
/// where most of what they depend on is built already.
fn clippy_fuzz() -> Command {
    let mut clippy = cargo(["clippy", "--all-targets", "--locked", "--target-dir"]);
    with_manifest(clippy.arg(workspace::target()), &workspace::fuzz_manifest());
    clippy.args(["--", "--deny", "warnings"]);
    clippy
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
