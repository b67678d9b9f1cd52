//! `cargo xtask test`: the tests, ring by ring.
//!
//! Ring a needs no privilege. Rings b to d load programs and make network namespaces, so they need root; without it
//! they are skipped aloud, or fail under `SGFW_REQUIRE_BPF=1`. Every test makes its own namespaces: the interfaces
//! of this machine are never touched.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::command::{self, cargo};
use crate::ebpf::provenance::Provenance;
use crate::ebpf::verify;
use crate::environment;

/// Options of `test`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Run only these rings.
    #[arg(long = "ring", value_enum)]
    rings: Vec<Ring>,
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// A ring of tests, from the core outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ring {
    /// Unit, property and golden tests: no privilege.
    A,
    /// Packets through the programs by BPF_PROG_TEST_RUN.
    B,
    /// The real binary between network namespaces, with real peers.
    C,
    /// Random policies and packets: the oracle against the kernel.
    D,
}

impl Ring {
    /// The runs of `cargo test` that make up the ring.
    fn runs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::A => {
                &[&["--workspace", "--exclude", "firewall-tests"], &["--package", "firewall-tests", "--lib"]]
            }
            Self::B => &[&["--package", "firewall-tests", "--test", "prog"]],
            Self::C => &[&["--package", "firewall-tests", "--test", "netns"]],
            Self::D => &[&["--package", "firewall-tests", "--test", "differential"]],
        }
    }

    fn needs_root(self) -> bool {
        self != Self::A
    }
}

/// Builds `sgfw`, then runs the rings asked for, or all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // The tests load the committed object: a stale one would test yesterday's sources.
    verify::check_hashes(&Provenance::read()?)?;
    let sgfw = command::build_sgfw()?;

    let rings = if arguments.rings.is_empty() { Ring::value_variants() } else { &arguments.rings };
    if environment::is_root() && rings.iter().any(|ring| ring.needs_root()) {
        environment::mount_bpffs()?;
    }
    let mut summary = Vec::new();
    for &ring in rings {
        if ring.needs_root() && !environment::is_root() {
            if environment::bpf_required() {
                bail!("ring {ring:?} needs root, and SGFW_REQUIRE_BPF=1 forbids to skip it");
            }
            summary.push(format!("ring {ring:?}: SKIPPED, it needs root"));
            continue;
        }
        let start = Instant::now();
        for run in ring.runs() {
            cargo_test(run, &sgfw, arguments.filter.as_deref())?;
        }
        summary.push(format!("ring {ring:?}: passed in {:.0} s", start.elapsed().as_secs_f32()));
    }
    for line in summary {
        eprintln!("{line}");
    }
    Ok(())
}

fn cargo_test(run: &[&str], sgfw: &Path, filter: Option<&str>) -> Result<()> {
    let mut test = cargo(["test", "--locked"]);
    test.args(run).args(filter).env("SGFW_BIN", sgfw);
    command::run(&mut test)
}
