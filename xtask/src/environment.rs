//! What the machine and its operator allow: privileges, bpffs, and whether skipping is acceptable.

use std::process::Command;
use std::{env, fs, iter};

use anyhow::Result;
use nix::unistd::Uid;

use crate::{command, workspace};

/// Where bpffs is mounted on every distribution.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Puts the programs that `.ci/setup` has installed into `target/tools` on `PATH`, for this process and its children.
pub(crate) fn find_installed_tools() {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = workspace::root().join("target/tools/bin");
    if let Ok(path) = env::join_paths(iter::once(tools).chain(env::split_paths(&path))) {
        // SAFETY: called first in `main`; no other thread reads the environment.
        unsafe { env::set_var("PATH", path) };
    }
}

/// Whether `SGFW_REQUIRE_BPF=1` turns what would be skipped into a failure. CI sets it.
pub(crate) fn bpf_required() -> bool {
    env::var_os("SGFW_REQUIRE_BPF").is_some_and(|value| value == "1")
}

/// Whether we may load programs and make namespaces.
pub(crate) fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Whether bpffs is mounted where it belongs.
pub(crate) fn bpffs_is_mounted() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

/// Mounts bpffs if it is not; the command line is shown.
pub(crate) fn mount_bpffs() -> Result<()> {
    if bpffs_is_mounted() {
        return Ok(());
    }
    command::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}
