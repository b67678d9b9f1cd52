//! The file system that a guest boots from: its first process, and what that is to start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::programs::Programs;
use crate::{command, workspace};

/// A file system that is packed.
pub(crate) struct Initramfs(pub(crate) PathBuf);

/// One with the first process of guests, with nothing else to start.
pub(crate) fn minimal(programs: &Programs) -> Result<Initramfs> {
    let name = format!("initramfs-{}", programs.architecture.name());
    pack(&begin(programs, &name)?)
}

/// The folder of a file system with the first process of guests and its libraries.
pub(crate) fn begin(programs: &Programs, name: &str) -> Result<PathBuf> {
    let guest = programs.guest()?;
    let root = workspace::target().join("kernels").join(name);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for mount_point in ["dev", "proc", "run", "sys", "tmp"] {
        let mount_point = root.join(mount_point);
        fs::create_dir_all(&mount_point)
            .with_context(|| format!("cannot create {}", mount_point.display()))?;
    }
    install(programs, &guest, &root, "init")?;
    Ok(root)
}

/// Puts a program and the libraries that it needs into a file system, without its debug information, which is most of it.
pub(crate) fn install(programs: &Programs, program: &Path, root: &Path, name: &str) -> Result<()> {
    for (library, inside) in programs.libraries(program)? {
        copy(&library, &root.join(inside.strip_prefix("/").unwrap_or(&inside)))?;
    }
    copy(program, &root.join(name))?;
    let mut strip = Command::new(programs.architecture.strip());
    command::output(strip.arg("--strip-debug").arg(root.join(name))).map(drop)
}

/// Makes a file system of a folder, which stands beside it.
pub(crate) fn pack(root: &Path) -> Result<Initramfs> {
    let path = root.with_added_extension("cpio");
    let archive = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio --quiet --create --format=newc"]).current_dir(root).stdout(archive);
    command::run(&mut pack)?;
    Ok(Initramfs(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
