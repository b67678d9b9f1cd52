//! `cargo xtask build-ebpf`: sources in, the same bytes out, on every machine with the same toolchain.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use super::provenance::{self, Provenance};
use super::toolchain::{Route, Toolchain};
use crate::{command, workspace};

/// By this aya-ebpf chooses the register layout for kprobes. We have none, so one object serves every machine.
pub(crate) const TARGET_ARCH: &str = "--cfg=bpf_target_arch=\"x86_64\"";

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the object there and leave the committed one and its provenance alone.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Build this way; the default is the first one that the machine offers.
    #[arg(long, value_enum)]
    route: Option<Route>,
}

/// Builds the object and records its provenance.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let toolchain = Toolchain::find(arguments.route)?;
    if let Some(path) = &arguments.out {
        return build(&toolchain, path);
    }
    // Before the build: if a source changes meanwhile, the recorded hash is stale and `verify-ebpf` says so.
    let source_sha256 = provenance::source_hash()?;
    let object = workspace::bpf_object();
    build(&toolchain, &object)?;
    let provenance = Provenance {
        source_sha256,
        object_sha256: provenance::file_hash(&object)?,
        toolchain: toolchain.versions()?,
    };
    provenance.write()?;
    eprintln!("wrote {} and {}", object.display(), workspace::provenance().display());
    Ok(())
}

/// Builds the object into `out`.
pub(crate) fn build(toolchain: &Toolchain, out: &Path) -> Result<()> {
    let target = workspace::target().join("ebpf");
    // First, so that the folders of the registry exist when their paths are remapped.
    command::run(toolchain.cargo("fetch").args(["--target", "bpfel-unknown-none"]))?;
    let mut compile = toolchain.cargo("build");
    compile
        .args(["--release", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain)?)
        .env("RUSTC_WRAPPER", workspace::root().join("xtask/rustc-stable-metadata.sh"));
    if toolchain.route == Route::Nightly {
        compile.arg("-Zbuild-std=core");
    }
    command::run(&mut compile)?;

    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // DWARF goes, BTF stays: the kernel and aya need it, and with its line information the verifier's log shows source.
    let linked = target.join("bpfel-unknown-none/release/firewall");
    command::run(Command::new(&toolchain.objcopy).arg("--strip-debug").arg(linked).arg(out))
}

/// The flags of the BPF target. They name no place of this machine that could get into the object.
fn rustflags(toolchain: &Toolchain) -> Result<OsString> {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.bpf_linker);
    let mut flags = vec![
        OsString::from(TARGET_ARCH),
        // bpf-linker makes BTF out of it.
        OsString::from("-Cdebuginfo=2"),
        OsString::from("-Clink-arg=--btf"),
        // 32-bit arithmetic and comparisons, which every kernel since 5.3 has.
        OsString::from("-Ctarget-cpu=v3"),
        // Otherwise zeros are written by a call that loops over bytes.
        OsString::from("-Clink-arg=--disable-expand-memcpy-in-order"),
        linker,
        remap(workspace::root(), "/sgfw"),
    ];
    for registry in registry_sources()? {
        flags.push(remap(&registry, "/registry"));
    }
    // Cargo's separator of encoded flags.
    Ok(flags.join(OsString::from("\x1f").as_os_str()))
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}

/// The folders with the sources of dependencies, one per registry or mirror.
fn registry_sources() -> Result<Vec<PathBuf>> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo")
        }
    };
    let sources = home.join("registry/src");
    let entries = fs::read_dir(&sources).with_context(|| format!("cannot list {}", sources.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
