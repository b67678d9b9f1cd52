//! The programs of this repository that guests run, for their kind of processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::architecture::Architecture;
use crate::command::{self, cargo};
use crate::{requirement, workspace};

/// AArch64, as Rust calls it.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What guests of another kind of processor run beside the programs of this repository, and what those are built with.
const PACKAGES: [&str; 6] = ["bpftool", "ethtool", "iproute2", "kmod", "libgcc-s1", "libstd-rust-web-dev"];

/// Where the programs of guests come from.
pub(crate) struct Programs {
    pub(crate) architecture: Architecture,
    /// Programs and libraries of another kind of processor, unpacked.
    root: Option<PathBuf>,
}

impl Programs {
    /// For the machine's own kind of processor, or for another one, of which everything is downloaded once.
    pub(crate) fn of(apt: &Apt) -> Result<Self> {
        let architecture = apt.architecture;
        if architecture == Architecture::Amd64 {
            return Ok(Self { architecture, root: None });
        }
        requirement::ensure_all(requirement::GUEST_ARM64)?;
        let root = workspace::target().join("kernels").join(format!("root-{}", architecture.name()));
        if !root.exists() {
            apt.unpack(&PACKAGES, &root)?;
        }
        Ok(Self { architecture, root: Some(root) })
    }

    /// Builds the first process of guests.
    pub(crate) fn guest(&self) -> Result<PathBuf> {
        command::run(
            self.cargo(&["build", "--package", "firewall-tests", "--bin", "guest"]).arg("--locked"),
        )?;
        Ok(self.built().join("guest"))
    }

    /// Builds `sgfw` and the tests, and returns the paths of `sgfw` and of these test binaries.
    pub(crate) fn tests(&self, binaries: &[&str]) -> Result<(PathBuf, Vec<PathBuf>)> {
        // With all packages, as the tests are built elsewhere: no dependency is compiled for this alone.
        let mut build = self.cargo(&["build", "--locked", "--workspace", "--bin", "sgfw"]);
        build.args(binaries.iter().flat_map(|name| ["--test", name])).arg("--message-format=json");
        let messages = command::output(&mut build)?;
        let paths = binaries.iter().map(|name| test_binary(&messages, name)).collect::<Result<_>>()?;
        Ok((self.built().join("sgfw"), paths))
    }

    /// A program that is installed, or unpacked.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf> {
        let found = match &self.root {
            None => command::find(name),
            Some(root) => ["bin", "sbin", "usr/bin", "usr/sbin"]
                .iter()
                .find_map(|folder| resolve(root, root.join(folder).join(name))),
        };
        found.with_context(|| format!("{name} is missing"))
    }

    /// The libraries that a program needs: where each is, and where the program looks for it.
    pub(crate) fn libraries(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        let Some(root) = &self.root else {
            let listed = command::output(Command::new("ldd").arg(program))?;
            let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
            return Ok(paths.map(|path| (path.into(), path.into())).collect());
        };
        let mut names = vec!["ld-linux-aarch64.so.1".to_owned()];
        let mut found = Vec::new();
        needed(program, &mut names)?;
        // Grows while it is walked: libraries need libraries.
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            let (path, inside) = library(root, &name)?;
            needed(&path, &mut names)?;
            found.push((path, inside));
            next += 1;
        }
        Ok(found)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let Some(root) = &self.root else {
            return cargo(arguments.iter().copied());
        };
        // rustup may have no standard library for it, and Debian has one for its own compiler alone.
        let mut command = Command::new("/usr/bin/cargo");
        command
            .current_dir(workspace::root())
            .args(arguments)
            .args(["--target", TARGET, "--target-dir"])
            .arg(workspace::target().join("arm64"))
            .env("RUSTC", "/usr/bin/rustc")
            .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                format!("--sysroot={}", root.join("usr").display()),
            )
            // `cargo run` of rustup's toolchain, under which xtask stands, sets these for itself.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH");
        command
    }

    fn built(&self) -> PathBuf {
        match self.root {
            None => workspace::target().join("debug"),
            Some(_) => workspace::target().join("arm64").join(TARGET).join("debug"),
        }
    }
}

/// Where cargo says that a test binary is.
fn test_binary(messages: &str, name: &str) -> Result<PathBuf> {
    let executables = messages.lines().filter_map(|line| line.split_once("\"executable\":\""));
    let mut paths =
        executables.filter_map(|(_, rest)| rest.split_once('"')).map(|(path, _)| PathBuf::from(path));
    let prefix = format!("{name}-");
    let found =
        paths.find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&prefix)));
    found.with_context(|| format!("cargo names no test binary {name}"))
}

/// Adds the names of the libraries that a program or a library names, if they are not there.
fn needed(file: &Path, names: &mut Vec<String>) -> Result<()> {
    let dynamic = command::output(Command::new("readelf").arg("--dynamic").arg(file))?;
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(())
}

/// The file that a path names where `root` is the root: links to absolute paths lead into it.
fn resolve(root: &Path, path: PathBuf) -> Option<PathBuf> {
    match fs::read_link(&path) {
        Ok(target) if target.is_absolute() => resolve(root, root.join(target.strip_prefix("/").ok()?)),
        Ok(target) => resolve(root, path.parent()?.join(target)),
        Err(_) => path.is_file().then_some(path),
    }
}

/// A library in the folder of unpacked packages, and where it is to be.
fn library(root: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    let folders = ["lib", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
    let found = folders.iter().map(|folder| Path::new("/").join(folder).join(name)).find_map(|inside| {
        let path = resolve(root, root.join(inside.strip_prefix("/").ok()?))?;
        Some((path, inside))
    });
    found.with_context(|| format!("no package has the library {name}"))
}
