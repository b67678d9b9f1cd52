//! What a machine must have for a purpose, how to see whether it is there, and the command that installs it.
//!
//! `doctor` prints these; `ebpf::toolchain` names those that a build lacks.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::ebpf::toolchain;
use crate::{command, environment};

/// One thing that must be there.
pub(crate) struct Requirement {
    /// What it is, as the reader knows it.
    pub(crate) name: &'static str,
    /// The command that brings it.
    pub(crate) install: &'static str,
    presence: Presence,
}

/// How to see whether something is there.
enum Presence {
    /// A program on `PATH`, named as the requirement is.
    Program,
    /// A file or folder.
    Path(&'static str),
    /// Anything else.
    Check(fn() -> bool),
}

impl Requirement {
    /// Whether this machine has it.
    pub(crate) fn is_met(&self) -> bool {
        match self.presence {
            Presence::Program => command::find(self.name).is_some(),
            Presence::Path(path) => Path::new(path).exists(),
            Presence::Check(check) => check(),
        }
    }

    const fn program(name: &'static str, install: &'static str) -> Self {
        Self { name, install, presence: Presence::Program }
    }

    const fn path(name: &'static str, path: &'static str, install: &'static str) -> Self {
        Self { name, install, presence: Presence::Path(path) }
    }

    const fn check(name: &'static str, check: fn() -> bool, install: &'static str) -> Self {
        Self { name, install, presence: Presence::Check(check) }
    }
}

/// To run `sgfw`.
pub(crate) const USE: &[Requirement] = &[
    Requirement::check(
        "kernel with TCX, or clsact and cls_bpf",
        kernel_attaches_tc,
        "apt-get install linux-image-amd64",
    ),
    Requirement::check("bpffs mounted", environment::bpffs_is_mounted, "mount -t bpf bpf /sys/fs/bpf"),
    Requirement::check("root", environment::is_root, "sudo -i"),
];

/// To run the demo, which brings its own servers and probes.
pub(crate) const DEMO: &[Requirement] = &[
    Requirement::check("root", environment::is_root, "sudo -i"),
    Requirement::program("gcc", "apt-get install gcc"),
    Requirement::path("headers of the C library", "/usr/include/stdlib.h", "apt-get install libc6-dev"),
    Requirement::program("ip", "apt-get install iproute2"),
];

/// To build the BPF object from Debian's packages.
pub(crate) const BUILD_DEBIAN: &[Requirement] = &[
    Requirement::path("/usr/bin/rustc", "/usr/bin/rustc", "apt-get install rustc-web"),
    Requirement::path("/usr/bin/cargo", "/usr/bin/cargo", "apt-get install cargo-web"),
    Requirement::path(
        "core for bpfel-unknown-none",
        "/usr/lib/rustlib/bpfel-unknown-none",
        "apt-get install libstd-rust-web-dev-bpf",
    ),
    Requirement::program("llvm-objcopy-22", "apt-get install llvm-22-dev"),
    BPF_LINKER,
];

/// To build the BPF object with rustup's nightly.
pub(crate) const BUILD_NIGHTLY: &[Requirement] = &[
    Requirement::check(
        "rustup's nightly",
        || toolchain::nightly_sysroot().is_ok(),
        "rustup toolchain install nightly",
    ),
    Requirement::check(
        "nightly rust-src",
        nightly_has_sources,
        "rustup component add rust-src --toolchain nightly",
    ),
    BPF_LINKER,
];

const BPF_LINKER: Requirement = Requirement::program(
    "bpf-linker",
    "LLVM_PREFIX=/usr/lib/llvm-22 cargo install --locked bpf-linker --version 0.13.0 --no-default-features \
     --features llvm-22",
);

/// To lint.
pub(crate) const LINT: &[Requirement] = &[
    Requirement::program("cargo-deny", "cargo install --locked cargo-deny@0.20.2"),
    Requirement::program("typos", "cargo install --locked typos-cli@1.52.0"),
    Requirement::path("Debian's clippy", "/usr/bin/cargo-clippy", "apt-get install rust-web-clippy"),
];

/// To fuzz.
pub(crate) const FUZZ: &[Requirement] = &[
    Requirement::program("cargo-fuzz", "cargo install --locked cargo-fuzz@0.13.2"),
    Requirement::program("g++", "apt-get install g++"),
];

/// To run tests of any ring.
pub(crate) const NEXTEST: Requirement =
    Requirement::program("cargo-nextest", "cargo install --locked cargo-nextest@0.9.143");

/// To run the tests: the peers that talk through the firewall, and the tools that look at the kernel.
pub(crate) const TEST: &[Requirement] = &[
    NEXTEST,
    Requirement::program("ip", "apt-get install iproute2"),
    Requirement::program("tc", "apt-get install iproute2"),
    Requirement::program("bpftool", "apt-get install bpftool"),
    Requirement::program("ethtool", "apt-get install ethtool"),
    Requirement::program("nft", "apt-get install nftables"),
    Requirement::program("tcpdump", "apt-get install tcpdump"),
    Requirement::program("ping", "apt-get install iputils-ping"),
    Requirement::program("traceroute", "apt-get install traceroute"),
    Requirement::program("nmap", "apt-get install nmap"),
    Requirement::program("ncat", "apt-get install ncat"),
    Requirement::program("socat", "apt-get install socat"),
    Requirement::program("iperf3", "apt-get install iperf3"),
    Requirement::program("jq", "apt-get install jq"),
    Requirement::program("curl", "apt-get install curl"),
    Requirement::program("nginx", "apt-get install nginx-light"),
    Requirement::check("PostgreSQL server", postgresql_is_installed, "apt-get install postgresql"),
    Requirement::program("psql", "apt-get install postgresql-client"),
    Requirement::program("dnsmasq", "apt-get install dnsmasq-base"),
    Requirement::program("dig", "apt-get install bind9-dnsutils"),
    Requirement::program("dhcpcd", "apt-get install dhcpcd-base"),
    Requirement::path("OpenSSH server", "/usr/sbin/sshd", "apt-get install openssh-server"),
    Requirement::program("ssh", "apt-get install openssh-client"),
];

/// To boot other kernels.
pub(crate) const GUEST: &[Requirement] = &[
    Requirement::program("qemu-system-x86_64", "apt-get install qemu-system-x86"),
    Requirement::program("cpio", "apt-get install cpio"),
    Requirement::program("strip", "apt-get install binutils"),
    Requirement::program("depmod", "apt-get install kmod"),
];

/// To boot other kernels on AArch64, beside [`GUEST`].
pub(crate) const GUEST_ARM64: &[Requirement] = &[
    Requirement::program("qemu-system-aarch64", "apt-get install qemu-system-arm"),
    Requirement::program(
        "aarch64-linux-gnu-gcc",
        "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    ),
    Requirement::path("/usr/bin/rustc", "/usr/bin/rustc", "apt-get install rustc-web"),
    Requirement::path("/usr/bin/cargo", "/usr/bin/cargo", "apt-get install cargo-web"),
];

/// To measure.
pub(crate) const BENCH: &[Requirement] = &[
    Requirement::program("iperf3", "apt-get install iperf3"),
    Requirement::program("nginx", "apt-get install nginx-light"),
    Requirement::program("nft", "apt-get install nftables"),
    Requirement::program("wrk", "apt-get install wrk"),
];

/// Names those that are missing, with what installs them.
pub(crate) fn ensure_all(requirements: &[Requirement]) -> Result<()> {
    let missing: Vec<String> = requirements
        .iter()
        .filter(|requirement| !requirement.is_met())
        .map(|missing| format!("{} is missing; run `{}`", missing.name, missing.install))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", missing.join("\n"))
}

/// By its symbols, which every distribution's kernel lists, and its modules, and not by its version: RHEL 9.4 has TCX in
/// 5.14, and a newer kernel may be built without it.
fn kernel_attaches_tc() -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let has_symbol = |name: &str| symbols.lines().any(|line| line.split(' ').nth(2) == Some(name));
    let has_module =
        || Command::new("modinfo").arg("cls_bpf").output().is_ok_and(|output| output.status.success());
    has_symbol("tcx_prog_attach") || has_symbol("cls_bpf_classify") || has_module()
}

fn nightly_has_sources() -> bool {
    toolchain::nightly_sysroot()
        .is_ok_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").exists())
}

/// Debian keeps the server's programs out of `PATH`, in one folder per version.
fn postgresql_is_installed() -> bool {
    fs::read_dir("/usr/lib/postgresql")
        .is_ok_and(|versions| versions.flatten().any(|version| version.path().join("bin/postgres").exists()))
}
