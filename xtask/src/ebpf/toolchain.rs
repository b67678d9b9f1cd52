//! Which compiler builds the BPF object.
//!
//! Two routes lead to an object: Debian's packages bring a stable compiler with `core` prebuilt for BPF; rustup's
//! nightly compiles `core` itself. The committed object comes from the Debian route, so that one is preferred.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::requirement::{self, Requirement};
use crate::{command, workspace};

/// Crates that use unstable features. `RUSTC_BOOTSTRAP` lets a stable compiler accept them: aya-ebpf needs
/// `asm_experimental_arch` for its helper calls, our programs and the decision core for what neither the compiler nor the
/// verifier is to know.
const UNSTABLE_CRATES: &str = "aya_ebpf,firewall,firewall_common";

/// Where the compiler and `core` come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Route {
    /// Debian's rustc-web, cargo-web, libstd-rust-web-dev-bpf and llvm-22-dev.
    Debian,
    /// rustup's nightly with rust-src.
    Nightly,
}

/// The programs of one route.
pub(crate) struct Toolchain {
    /// Where it comes from.
    pub(crate) route: Route,
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// Its cargo; rustup's would take another compiler.
    pub(crate) cargo: PathBuf,
    /// The linker.
    pub(crate) bpf_linker: PathBuf,
    /// What strips DWARF and keeps BTF.
    pub(crate) objcopy: PathBuf,
}

/// The versions that decide the bytes of the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// The route taken.
    pub(crate) route: Route,
    /// What `rustc --version` says.
    pub(crate) rustc: String,
    /// The LLVM that rustc carries; bpf-linker must be built with the same.
    pub(crate) llvm: String,
    /// What `bpf-linker --version` says.
    pub(crate) bpf_linker: String,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with LLVM {}, {}, {:?} route", self.rustc, self.llvm, self.bpf_linker, self.route)
    }
}

impl Route {
    /// What the route needs.
    pub(crate) fn requirements(self) -> &'static [Requirement] {
        match self {
            Self::Debian => requirement::BUILD_DEBIAN,
            Self::Nightly => requirement::BUILD_NIGHTLY,
        }
    }

    fn missing(self) -> Vec<&'static Requirement> {
        self.requirements().iter().filter(|requirement| !requirement.is_met()).collect()
    }
}

impl Toolchain {
    /// The toolchain of `route`, or of the first route that this machine offers.
    pub(crate) fn find(route: Option<Route>) -> Result<Self> {
        let routes = route.map_or_else(|| vec![Route::Debian, Route::Nightly], |route| vec![route]);
        match routes.iter().find(|route| route.missing().is_empty()) {
            Some(Route::Debian) => Self::debian(),
            Some(Route::Nightly) => Self::nightly(),
            None => bail!("no toolchain for the BPF object{}", explain_missing(&routes)),
        }
    }

    /// Its cargo at work on the eBPF crate.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        self.cargo_program(&self.cargo, verb)
    }

    /// Its clippy at work on the eBPF crate.
    pub(crate) fn clippy(&self) -> Command {
        // By path: cargo looks for subcommands among rustup's programs first.
        let mut command = self.cargo_program(&self.cargo.with_file_name("cargo-clippy"), "clippy");
        command.env("CARGO", &self.cargo);
        command
    }

    /// The versions that go into the provenance file.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let verbose = command::output(Command::new(&self.rustc).arg("-vV"))?;
        let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        Ok(Versions {
            route: self.route,
            rustc: verbose.lines().next().unwrap_or_default().to_owned(),
            llvm: llvm.context("`rustc -vV` names no LLVM version")?.to_owned(),
            bpf_linker: command::output(Command::new(&self.bpf_linker).arg("--version"))?,
        })
    }

    fn cargo_program(&self, program: &Path, verb: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args([verb, "--locked", "--manifest-path"])
            .arg(workspace::ebpf_manifest())
            .env("RUSTC", &self.rustc)
            // `cargo run` of rustup's toolchain, under which xtask stands, sets these for itself.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        if self.route == Route::Debian {
            command.env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES);
        }
        command
    }

    fn debian() -> Result<Self> {
        Ok(Self {
            route: Route::Debian,
            // By path: rustup's programs stand first on PATH where both are installed.
            rustc: PathBuf::from("/usr/bin/rustc"),
            cargo: PathBuf::from("/usr/bin/cargo"),
            bpf_linker: program("bpf-linker")?,
            objcopy: program("llvm-objcopy-22")?,
        })
    }

    fn nightly() -> Result<Self> {
        let sysroot = nightly_sysroot()?;
        let host_programs = host_programs(&sysroot)?;
        Ok(Self {
            route: Route::Nightly,
            rustc: sysroot.join("bin/rustc"),
            cargo: sysroot.join("bin/cargo"),
            bpf_linker: program("bpf-linker")?,
            objcopy: host_programs.join("rust-objcopy"),
        })
    }
}

/// The folder of rustup's nightly.
pub(crate) fn nightly_sysroot() -> Result<PathBuf> {
    command::output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))
        .map(PathBuf::from)
}

fn host_programs(sysroot: &Path) -> Result<PathBuf> {
    let host = command::output(Command::new(sysroot.join("bin/rustc")).args(["--print", "host-tuple"]))?;
    Ok(sysroot.join("lib/rustlib").join(host).join("bin"))
}

fn program(name: &str) -> Result<PathBuf> {
    command::find(name).with_context(|| format!("{name} is not installed"))
}

fn explain_missing(routes: &[Route]) -> String {
    let mut text = String::new();
    for route in routes {
        text.push_str(&format!("\n  the {route:?} route lacks:"));
        for requirement in route.missing() {
            text.push_str(&format!("\n    {:<28} {}", requirement.name, requirement.install));
        }
    }
    text
}
