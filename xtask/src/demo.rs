//! `cargo xtask demo`: the three tiers of the acceptance story, live, in namespaces of their own.
//!
//! The demo is a program of the tests crate, started and not linked: `build-ebpf` must work while user space does
//! not compile. What it needs is checked before anything is built.

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::{environment, requirement, workspace};

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Demonstrate the `sgfw` that is shipped: optimised, which takes some minutes longer to build.
    #[arg(long)]
    pub(crate) release: bool,
}

/// Builds `sgfw` and runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let missing: Vec<_> = requirement::DEMO.iter().filter(|requirement| !requirement.is_met()).collect();
    if !missing.is_empty() {
        let lines = missing.iter().map(|missing| format!("\n  {:<36} {}", missing.name, missing.install));
        bail!("the demo needs what is missing here:{}", lines.collect::<String>());
    }
    environment::mount_bpffs()?;
    let mut build = cargo(["build", "--locked", "--package", "firewall-tests", "--bin", "demo"]);
    if !arguments.release {
        // In one go, so that no dependency is compiled with two sets of features.
        build.args(["--package", "firewall-userspace", "--bin", "sgfw"]);
    }
    command::run(&mut build)?;
    let sgfw =
        if arguments.release { command::build_sgfw()? } else { workspace::target().join("debug/sgfw") };
    command::run(std::process::Command::new(workspace::target().join("debug/demo")).env("SGFW_BIN", sgfw))
}
