//! `cargo xtask test`: the tests, ring by ring.
//!
//! Ring a needs no privilege. Rings b to d load programs and make network namespaces, so they need root; without it
//! they are skipped aloud, or fail under `SGFW_REQUIRE_BPF=1`. Every test makes its own namespaces: the interfaces
//! of this machine are never touched.

use std::num::NonZero;
use std::process::Command;
use std::thread;

use clap::ValueEnum;

use crate::command::{self, cargo};
use crate::ebpf::provenance::Provenance;
use crate::ebpf::verify;
use crate::steps::{Failure, Steps};
use crate::test_report::{FailedTest, Report};
use crate::{environment, guest, kernels, requirement, workspace};

/// Options of `test`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Run only these rings.
    #[arg(long = "ring", value_enum)]
    rings: Vec<Ring>,
    /// After the rings, run the floods, the comparisons and the crash tests at full length: some ten minutes each. Then the
    /// whole flow on other kernels, and the tests of devices in a guest.
    #[arg(long)]
    soak: bool,
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// One of the long tests that `--soak` runs.
struct Soak {
    name: &'static str,
    /// Its test binary.
    binary: &'static str,
    /// Which tests of it; all where it is empty.
    filter: &'static str,
    /// What makes it long.
    variable: &'static str,
    value: &'static str,
}

const SOAK: [Soak; 6] = [
    Soak { name: "floods", binary: "soak", filter: "", variable: "SGFW_FLOOD_PACKETS", value: "10000000" },
    Soak {
        name: "differential",
        binary: "differential",
        filter: "",
        variable: "SGFW_DIFFERENTIAL_PACKETS",
        value: "5000000",
    },
    Soak {
        name: "the flow table and a list",
        binary: "flow_table",
        filter: "",
        variable: "SGFW_SOAK",
        value: "1",
    },
    Soak { name: "crashes", binary: "netns", filter: "crash::", variable: "SGFW_SOAK", value: "1" },
    Soak { name: "reloads", binary: "netns", filter: "reload::", variable: "SGFW_SOAK", value: "1" },
    Soak {
        name: "comparison with nftables",
        binary: "nftables",
        filter: "",
        variable: "SGFW_NFTABLES_PACKETS",
        // Each conversation has a client's port of its own, of which there are 50 000: one that is used again within half
        // a minute is a live flow to conntrack, and none to the programs, which forget theirs with each policy.
        value: "40000",
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
    /// Its test binaries, as a filter of nextest.
    fn filter(self) -> &'static str {
        match self {
            Self::A => "not binary(/^(prog|netns|soak|differential|nftables)$/)",
            Self::B => "binary(prog)",
            Self::C => "binary(/^(netns|soak)$/)",
            Self::D => "binary(/^(differential|nftables)$/)",
        }
    }

    fn needs_root(self) -> bool {
        self != Self::A
    }

    /// The ring that a binary with this name belongs to, as `--ring` takes it.
    fn of(binary: &str) -> &'static str {
        match binary.rsplit("::").next().unwrap_or_default() {
            "prog" => "b",
            "netns" | "soak" => "c",
            "differential" | "nftables" => "d",
            _ => "a",
        }
    }
}

/// Builds `sgfw` and the tests, then runs the rings asked for, or all.
pub(crate) fn run(arguments: &Arguments, steps: &mut Steps) {
    steps.step("tools of test", "cargo xtask doctor --for test", || {
        requirement::ensure_all(requirement::TEST)
    });
    if !requirement::NEXTEST.is_met() {
        // Nothing else can run, and compiling takes minutes.
        return;
    }
    // The tests load the committed object: a stale one would test yesterday's sources.
    steps.step("hashes of the BPF object", "cargo xtask verify-ebpf --no-rebuild", || {
        verify::check_hashes(&Provenance::read()?)
    });
    if environment::is_root() {
        steps.step("bpffs", "mount -t bpf bpf /sys/fs/bpf", environment::mount_bpffs);
    }
    steps.run(nextest().arg("--no-run"));
    let rings = if arguments.rings.is_empty() { Ring::value_variants() } else { &arguments.rings };
    let (rings, without_root): (Vec<Ring>, Vec<Ring>) =
        rings.iter().partition(|ring| environment::is_root() || !ring.needs_root());
    for ring in without_root {
        eprintln!("ring {ring:?}: SKIPPED, it needs root");
        if environment::bpf_required() {
            let what = format!("ring {ring:?} needs root, and SGFW_REQUIRE_BPF=1 forbids to skip it");
            steps.fail(Failure { what, repeat: "sudo -i".to_owned() });
        }
    }
    if !rings.is_empty() {
        run_rings(&rings, arguments.filter.as_deref(), steps);
    }
    if arguments.soak {
        run_soak(steps);
    }
}

/// All rings in one run, so that the last test of one does not keep those of the next waiting.
fn run_rings(rings: &[Ring], filter: Option<&str>, steps: &mut Steps) {
    let mut tests = nextest();
    tests.args(["--test-threads", &tests_at_once().to_string()]);
    let filters: Vec<String> = rings.iter().map(|ring| format!("({})", ring.filter())).collect();
    tests.args(["--filterset", &filters.join(" + ")]).args(filter);
    let mut report = Report::default();
    steps.step("tests", "cargo xtask test", || {
        Report::forget()?;
        let outcome = command::run(&mut tests);
        report = Report::read()?;
        // What failed is told test by test.
        if report.failed.is_empty() { outcome } else { Ok(()) }
    });
    report.show();
    for FailedTest { binary, name, seed } in report.failed {
        let seed = seed.map(|seed| seed + " ").unwrap_or_default();
        let repeat = format!("{seed}cargo xtask test --ring {} {name}", Ring::of(&binary));
        steps.fail(Failure { what: format!("{binary} {name}"), repeat });
    }
    // nextest runs none.
    steps.run(&mut cargo(["test", "--locked", "--workspace", "--doc"]));
}

/// Twice as many as there are CPUs. Each test has network namespaces of its own, and waits for a third of its time: for
/// what must not arrive, for deadlines, for other processes. With one for each CPU, a third of the machine would wait too.
fn tests_at_once() -> usize {
    2 * thread::available_parallelism().map_or(1, NonZero::get)
}

fn run_soak(steps: &mut Steps) {
    for Soak { name, binary, filter, variable, value } in SOAK {
        let mut test = nextest();
        // The figures are what one runs it for.
        test.args(["--no-capture", "--filterset", &format!("binary({binary})"), filter]).env(variable, value);
        let repeat = format!("{variable}={value} {}", command::line(&test));
        steps.step(&format!("soak, {name} with {variable}={value}"), &repeat, || command::run(&mut test));
    }
    let flow = || kernels::run(&kernels::Arguments::with_flow());
    steps.step("soak, the whole flow on other kernels", "cargo xtask kernels --flow", flow);
    let devices = || guest::run(&guest::Arguments::default());
    steps.step("soak, devices in a guest", "cargo xtask guest", devices);
}

/// With one set of packages whatever is to run: another one would compile dependencies with other features.
fn nextest() -> Command {
    let mut nextest = cargo(["nextest", "run", "--locked", "--workspace"]);
    nextest.env("SGFW_BIN", workspace::target().join("debug/sgfw"));
    nextest
}
