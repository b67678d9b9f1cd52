//! `cargo xtask verify-ebpf`: the committed object is what the sources build.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use super::build;
use super::provenance::{self, Provenance};
use super::toolchain::Toolchain;
use crate::{command, environment, workspace};

/// How many lines of a disassembly diff are shown.
const DIFF_LINES: usize = 60;

/// Options of `verify-ebpf`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Compare hashes only.
    #[arg(long)]
    no_rebuild: bool,
}

/// Checks the hashes, then builds the object again and compares every byte.
///
/// The rebuild is left out where the toolchain is another one or absent, except under `SGFW_REQUIRE_BPF=1`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let recorded = Provenance::read()?;
    check_hashes(&recorded)?;
    if arguments.no_rebuild {
        eprintln!("verify-ebpf: the hashes of sources and object are those recorded");
        return Ok(());
    }

    let required = environment::bpf_required();
    let toolchain = match Toolchain::find(Some(recorded.toolchain.route)) {
        Err(error) if !required => {
            eprintln!("verify-ebpf: the hashes are those recorded; NOT rebuilt: {error:#}");
            return Ok(());
        }
        found => found?,
    };
    let versions = toolchain.versions()?;
    if versions != recorded.toolchain && !required {
        eprintln!(
            "verify-ebpf: the hashes are those recorded; NOT rebuilt: another toolchain would give other bytes\n  \
             recorded: {}\n  here:     {versions}",
            recorded.toolchain
        );
        return Ok(());
    }

    let rebuilt = workspace::target().join("ebpf/rebuilt.o");
    build::build(&toolchain, &rebuilt)?;
    if provenance::file_hash(&rebuilt)? != recorded.object_sha256 {
        show_difference(&workspace::bpf_object(), &rebuilt)?;
        bail!(
            "the committed BPF object is not what the sources build\n  recorded: {}\n  here:     {versions}\n\
             if the sources are right, run `cargo xtask build-ebpf` and commit the result",
            recorded.toolchain
        );
    }
    eprintln!("verify-ebpf: the sources build the committed object, byte for byte");
    Ok(())
}

/// The object is the recorded one, and the sources have not changed since.
pub(crate) fn check_hashes(recorded: &Provenance) -> Result<()> {
    ensure!(
        provenance::file_hash(&workspace::bpf_object())? == recorded.object_sha256,
        "{} is not the object that {} records; run `cargo xtask build-ebpf`",
        workspace::bpf_object().display(),
        workspace::provenance().display()
    );
    ensure!(
        provenance::source_hash()? == recorded.source_sha256,
        "the BPF object is stale: firewall-ebpf or firewall-common changed since it was built; \
         run `cargo xtask build-ebpf`"
    );
    Ok(())
}

/// Shows the first instructions that differ. Objects can also differ in BTF alone; then there are none.
fn show_difference(committed: &Path, rebuilt: &Path) -> Result<()> {
    let Some(objdump) = command::find("llvm-objdump-22") else {
        eprintln!("install llvm-22 to see the instructions that differ");
        return Ok(());
    };
    let listings = [("committed", committed), ("rebuilt", rebuilt)].map(|(name, object)| {
        let path = env::temp_dir().join(format!("sgfw-{}-{name}.s", std::process::id()));
        let listing =
            command::output(Command::new(&objdump).args(["-d", "-r", "--no-show-raw-insn"]).arg(object))?;
        // The first line names the file.
        let listing = listing.split_once('\n').map_or("", |(_, listing)| listing);
        fs::write(&path, listing).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path)
    });
    let [committed, rebuilt] = listings;
    let (committed, rebuilt) = (committed?, rebuilt?);
    let diff = Command::new("diff")
        .arg("-u")
        .arg(&committed)
        .arg(&rebuilt)
        .output()
        .context("cannot start `diff`")?;
    let diff = String::from_utf8_lossy(&diff.stdout);
    if diff.is_empty() {
        eprintln!("the instructions are the same; BTF or other sections differ");
    }
    for line in diff.lines().take(DIFF_LINES) {
        eprintln!("{line}");
    }
    fs::remove_file(committed)?;
    fs::remove_file(rebuilt)?;
    Ok(())
}
