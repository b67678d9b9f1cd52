//! `cargo xtask test`: the tests, ring by ring.
//!
//! Ring a needs no privilege. Rings b to d load programs and make network namespaces, so they need root; without it
//! they are skipped aloud, or fail under `SGFW_REQUIRE_BPF=1`. Every test makes its own namespaces: the interfaces
//! of this machine are never touched.

use std::env;
use std::path::Path;
use std::process::Command;
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
    /// After the rings, run the floods and the comparisons at full length: some ten minutes each.
    #[arg(long)]
    soak: bool,
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// How many frames each comparison of ring D decides.
const DIFFERENTIAL_PACKETS: &str = "SGFW_DIFFERENTIAL_PACKETS";

/// The same in CI: two minutes.
const CI_DIFFERENTIAL_PACKETS: &str = "1000000";

/// One of the long tests that `--soak` runs.
struct Soak {
    name: &'static str,
    /// Its test binary.
    binary: &'static str,
    /// What makes it long.
    variable: &'static str,
    packets: &'static str,
}

const SOAK: [Soak; 3] = [
    Soak { name: "floods", binary: "soak", variable: "SGFW_FLOOD_PACKETS", packets: "10000000" },
    Soak { name: "differential", binary: "differential", variable: DIFFERENTIAL_PACKETS, packets: "5000000" },
    Soak {
        name: "comparison with nftables",
        binary: "nftables",
        variable: "SGFW_NFTABLES_PACKETS",
        // Each conversation has a client's port of its own, of which there are 50 000: one that is used again within half
        // a minute is a live flow to conntrack, and none to the programs, which forget theirs with each policy.
        packets: "40000",
    },
];

/// A ring of tests, from the core outwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ring {
    /// Unit, property and golden tests: no privilege.
    A,
    /// Packets through the programs by BPF_PROG_TEST_RUN.
    B,
    /// The real binary between network namespaces, with real peers, and under short floods.
    C,
    /// Random policies and packets: the oracle and nftables against the kernel.
    D,
}

impl Ring {
    /// The runs of `cargo test` that make up the ring.
    fn runs(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::A => &[
                &["--workspace", "--exclude", "firewall-tests"],
                &["--package", "firewall-tests", "--lib"],
                &["--package", "firewall-tests", "--test", "transcripts"],
            ],
            Self::B => &[&["--package", "firewall-tests", "--test", "prog"]],
            Self::C => &[
                &["--package", "firewall-tests", "--test", "netns"],
                &["--package", "firewall-tests", "--test", "soak"],
            ],
            Self::D => &[
                &["--package", "firewall-tests", "--test", "differential"],
                &["--package", "firewall-tests", "--test", "nftables"],
            ],
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
    let mut summary = run_rings(rings, &sgfw, arguments.filter.as_deref())?;
    if arguments.soak {
        if !environment::is_root() {
            bail!("--soak needs root");
        }
        environment::mount_bpffs()?;
        summary.extend(run_soak(&sgfw)?);
    }
    for line in summary {
        eprintln!("{line}");
    }
    Ok(())
}

fn run_rings(rings: &[Ring], sgfw: &Path, filter: Option<&str>) -> Result<Vec<String>> {
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
            command::run(cargo_test(run, sgfw).args(filter))?;
        }
        summary.push(format!("ring {ring:?}: passed in {:.0} s", start.elapsed().as_secs_f32()));
    }
    Ok(summary)
}

fn run_soak(sgfw: &Path) -> Result<Vec<String>> {
    let mut summary = Vec::new();
    for Soak { name, binary, variable, packets } in SOAK {
        let start = Instant::now();
        let mut test = cargo_test(&["--package", "firewall-tests", "--test", binary], sgfw);
        // The figures are what one runs it for.
        test.args(["--", "--nocapture"]).env(variable, packets);
        command::run(&mut test)?;
        let seconds = start.elapsed().as_secs_f32();
        summary.push(format!("soak, {name} of {packets} packets each: passed in {seconds:.0} s"));
    }
    Ok(summary)
}

fn cargo_test(run: &[&str], sgfw: &Path) -> Command {
    let mut test = cargo(["test", "--locked"]);
    test.args(run).env("SGFW_BIN", sgfw);
    if environment::is_ci() && env::var_os(DIFFERENTIAL_PACKETS).is_none() {
        test.env(DIFFERENTIAL_PACKETS, CI_DIFFERENTIAL_PACKETS);
    }
    test
}
