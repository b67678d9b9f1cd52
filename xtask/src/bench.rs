//! `cargo xtask bench`: the benchmark, in namespaces of its own.
//!
//! It is a program of the tests crate, started and not linked, like the demo.

use anyhow::{Result, ensure};

use crate::command::{self, cargo};
use crate::environment;

/// Options of `bench`, which takes them itself.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Options of the benchmark; --help shows them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds `sgfw` and runs the benchmark.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        environment::is_root(),
        "the benchmark makes network namespaces and loads BPF programs: run it as root"
    );
    environment::mount_bpffs()?;
    let sgfw = command::build_sgfw()?;
    let mut bench = cargo(["run", "--quiet", "--release", "--locked", "--package", "firewall-tests"]);
    bench.args(["--bin", "bench", "--"]).args(&arguments.options);
    command::run(bench.env("SGFW_BIN", sgfw))
}
