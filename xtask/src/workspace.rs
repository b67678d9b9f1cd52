//! Where things are in this repository. Every other module asks here for paths.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The manifest of the eBPF crate, which is a workspace of its own: another target, another toolchain.
pub(crate) fn ebpf_manifest() -> PathBuf {
    root().join("firewall-ebpf/Cargo.toml")
}

/// The manifest of the fuzz targets, which are a workspace of their own too: they are built with instrumentation.
pub(crate) fn fuzz_manifest() -> PathBuf {
    root().join("fuzz/Cargo.toml")
}

/// The committed BPF object.
pub(crate) fn bpf_object() -> PathBuf {
    root().join("firewall-userspace/bpf/firewall.bpfel.o")
}

/// The committed record of what the BPF object was built from.
pub(crate) fn provenance() -> PathBuf {
    root().join("firewall-userspace/bpf/PROVENANCE.toml")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}
