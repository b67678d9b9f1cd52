//! The bpf filesystem, in which everything of the data plane is pinned.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::HostError;
use super::capability::{Act, denied};

/// Mounts a bpf filesystem at `path`, unless one is mounted there.
pub fn mount(path: &Path) -> Result<(), HostError> {
    let cannot_mount = |source| HostError::CannotMount { path: path.to_owned(), source };
    if statfs(path).is_ok_and(|filesystem| filesystem.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(cannot_mount)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=700")).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => denied(Act::MountBpffs, errno),
        errno => cannot_mount(errno.into()),
    })
}
