//! Tests of rings b and c in a guest: on another kernel, with that kernel's own modules.
//!
//! The guest has the test binaries, `sgfw`, and the programs that tests start which need no installation: tests with
//! servers as peers do not run there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::filesystem::{self, Initramfs};
use super::guest::{self, Network};
use super::programs::Programs;
use crate::command;

/// Of rings b and c.
const BINARIES: [&str; 2] = ["prog", "netns"];

/// What those tests start, and what the kernel starts to load a module.
const TOOLS: [&str; 5] = ["bpftool", "ethtool", "ip", "modprobe", "tc"];

/// Copies what tests may need of a kernel's modules, without the drivers of cards that QEMU has not, which are most of them.
/// In shell, since it is all about copying trees.
const COPY_MODULES: &str = "set -eu
from=$1 to=$2/lib/modules/${1##*/}
for part in arch crypto lib net drivers/virtio drivers/ptp drivers/net/bonding drivers/net/ppp drivers/net/vmxnet3; do
    [ -e \"$from/kernel/$part\" ] || continue
    mkdir -p \"$to/kernel/$part\"
    cp -r \"$from/kernel/$part/.\" \"$to/kernel/$part\"
done
cp \"$from\"/kernel/drivers/net/*.ko* \"$to/kernel/drivers/net\"
cp \"$from\"/modules.order \"$from\"/modules.builtin* \"$to\"
depmod --basedir \"$2\" \"${1##*/}\"";

/// A guest for tests.
pub(crate) struct TestGuest<'a> {
    programs: &'a Programs,
    image: PathBuf,
    initramfs: Initramfs,
}

impl<'a> TestGuest<'a> {
    /// With the tests, for one kernel and with its modules if it has some.
    pub(crate) fn build(programs: &'a Programs, image: &Path, modules: Option<&Path>) -> Result<Self> {
        let (sgfw, tests) = programs.tests(&BINARIES)?;
        let name = modules.and_then(Path::file_name).map_or("image".into(), OsStr::to_string_lossy);
        let root = filesystem::begin(programs, &format!("{name}-tests"))?;
        filesystem::install(programs, &sgfw, &root, "bin/sgfw")?;
        for (name, path) in BINARIES.iter().zip(tests) {
            filesystem::install(programs, &path, &root, &format!("bin/{name}"))?;
        }
        for name in TOOLS {
            // Where the kernel looks for modprobe.
            let folder = if name == "modprobe" { "sbin" } else { "bin" };
            filesystem::install(programs, &programs.find(name)?, &root, &format!("{folder}/{name}"))?;
        }
        if let Some(modules) = modules {
            copy_modules(modules, &root)?;
        }
        Ok(Self { programs, image: image.to_owned(), initramfs: filesystem::pack(&root)? })
    }

    /// Boots the kernel and runs the tests whose names contain what `filters` say (`netns/vlan::,prog/tables::`), and returns
    /// what they said.
    pub(crate) fn run(&self, filters: &str, network: Network) -> Result<String> {
        let variables = format!("SGFW_TESTS={filters}");
        let console =
            guest::boot(self.programs.architecture, &self.image, &self.initramfs, &variables, network)?;
        ensure!(
            console.contains("sgfw-guest: tests passed"),
            "tests fail in a guest with {}\n{console}",
            self.image.display()
        );
        Ok(console)
    }
}

fn copy_modules(modules: &Path, root: &Path) -> Result<()> {
    let mut copy = Command::new("sh");
    copy.args(["-c", COPY_MODULES, "sh"]).arg(modules).arg(root);
    command::output(&mut copy).map(drop)
}
