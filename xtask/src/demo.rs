//! `cargo xtask demo`: the three tiers of the acceptance story, live, in namespaces of their own.
//!
//! The demo is a program of the tests crate, started and not linked: `build-ebpf` must work while user space does
//! not compile.

use anyhow::{Result, ensure};

use crate::command::{self, cargo};
use crate::environment;

/// Builds `sgfw` and runs the demo.
pub(crate) fn run() -> Result<()> {
    ensure!(
        environment::is_root(),
        "the demo makes network namespaces and loads BPF programs: run it as root"
    );
    environment::mount_bpffs()?;
    let sgfw = command::build_sgfw()?;
    let mut demo = cargo(["run", "--quiet", "--locked", "--package", "firewall-tests", "--bin", "demo"]);
    command::run(demo.env("SGFW_BIN", sgfw))
}
