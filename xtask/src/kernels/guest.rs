//! A machine under QEMU: an initramfs with one program and its libraries, and what it says on its serial console.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{self, cargo};
use crate::workspace;

/// How long a guest may run, for the busiest machine: an end for one that hangs.
const SECONDS: &str = "1200";

/// The file system that guests boot from.
pub(crate) struct Initramfs(PathBuf);

/// The folder in which file systems of guests are made.
fn folder() -> PathBuf {
    workspace::target().join("kernels")
}

/// A file system with the first process of guests, with nothing else to start.
pub(crate) fn build_initramfs() -> Result<Initramfs> {
    let root = build_root("initramfs")?;
    pack(&root, &folder().join("initramfs.cpio"))
}

/// The folder of a file system with the first process of guests and its libraries.
pub(crate) fn build_root(name: &str) -> Result<PathBuf> {
    command::run(&mut cargo(["build", "--locked", "--package", "firewall-tests", "--bin", "guest"]))?;
    let program = workspace::target().join("debug/guest");
    let root = folder().join(name);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    for mount_point in ["dev", "proc", "run", "sys", "tmp"] {
        let mount_point = root.join(mount_point);
        fs::create_dir_all(&mount_point)
            .with_context(|| format!("cannot create {}", mount_point.display()))?;
    }
    install(&program, &root, "init")?;
    Ok(root)
}

/// Puts a program and the libraries that it needs into a file system, without its debug information, which is most of it.
pub(crate) fn install(program: &Path, root: &Path, name: &str) -> Result<()> {
    for library in command::output(Command::new("ldd").arg(program))?.split_whitespace() {
        if let Some(inside) = library.strip_prefix('/') {
            copy(Path::new(library), &root.join(inside))?;
        }
    }
    copy(program, &root.join(name))?;
    command::output(Command::new("strip").arg("--strip-debug").arg(root.join(name))).map(drop)
}

/// Makes a file system of a folder.
pub(crate) fn pack(root: &Path, path: &Path) -> Result<Initramfs> {
    let archive = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio --quiet --create --format=newc"]).current_dir(root).stdout(archive);
    command::run(&mut pack)?;
    Ok(Initramfs(path.to_path_buf()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Boots `image` until the guest ends itself, and returns its console. `variables` are those of the first process.
pub(crate) fn boot(image: &Path, initramfs: &Initramfs, variables: &str) -> Result<String> {
    ensure!(image.is_file(), "there is no kernel at {}", image.display());
    let mut qemu = Command::new("timeout");
    qemu.args([SECONDS, "qemu-system-x86_64"])
        // Never KVM: it is absent or hangs where CI runs in a machine itself.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G"])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"])
        .arg(image)
        .arg("-initrd")
        .arg(&initramfs.0)
        // A panic restarts the machine, which ends QEMU.
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 {variables}")]);
    command::output(&mut qemu)
}
