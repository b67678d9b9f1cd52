//! What the committed BPF object was built from: the content of `PROVENANCE.toml`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::toolchain::Versions;
use crate::workspace;

const HEADER: &str =
    "# Written by `cargo xtask build-ebpf`, checked by `cargo xtask verify-ebpf`. Do not edit.\n";

/// Everything that decides the bytes of the object, and their hash.
///
/// The root `Cargo.toml` is left out: most changes to it do not concern the object, and the rebuild in CI finds
/// those that do.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provenance {
    /// Hash over the sources, see [`source_hash`].
    pub(crate) source_sha256: String,
    /// Hash of the object.
    pub(crate) object_sha256: String,
    /// What it was built with.
    pub(crate) toolchain: Versions,
}

impl Provenance {
    /// Reads the committed file.
    pub(crate) fn read() -> Result<Self> {
        let path = workspace::provenance();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}; run `cargo xtask build-ebpf`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// Writes the committed file.
    pub(crate) fn write(&self) -> Result<()> {
        let path = workspace::provenance();
        let text = format!("{HEADER}{}", toml::to_string(self)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The hash of a file.
pub(crate) fn file_hash(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&Sha256::digest(content)))
}

/// One hash over the sources of the object: manifests, lock file and code of the two crates that it consists of.
pub(crate) fn source_hash() -> Result<String> {
    let root = workspace::root();
    let mut files = Vec::new();
    for folder in ["firewall-common", "firewall-ebpf"] {
        collect(&root.join(folder), &mut files).with_context(|| format!("cannot list {folder}"))?;
    }
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let name = file.strip_prefix(root)?.to_string_lossy().into_owned();
        hasher.update(format!("{name}\0{}\n", file_hash(&file)?));
    }
    Ok(hex(&hasher.finalize()))
}

/// Collects manifests, lock file and code below `folder`. Tests, benches, licences and build output do not reach the
/// object.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !matches!(&*name, "target" | "tests" | "benches") {
                collect(&entry.path(), files)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".toml") || name == "Cargo.lock" {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
