//! Named network namespaces, as `ip netns` makes them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::HostError;
use super::capability::{Act, denied};

const DIRECTORY: &str = "/run/netns";
const OWN: &str = "/proc/thread-self/ns/net";

/// Moves the calling thread into a network namespace. Threads started later are in it too, earlier ones are not: call it
/// before there are any.
///
/// Only the network namespace changes. `ip netns exec` would also mount another /sys, which hides the bpf filesystem.
pub fn enter(name: &str) -> Result<(), HostError> {
    let path = Path::new(DIRECTORY).join(name);
    let namespace = File::open(&path).map_err(|source| HostError::NoSuchNamespace {
        name: name.to_owned(),
        path: path.clone(),
        source,
    })?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => denied(Act::EnterNamespace, errno),
        source => HostError::CannotEnterNamespace { name: name.to_owned(), source },
    })
}

/// A number that tells the network namespace of the calling thread from all others that exist.
pub fn current() -> Result<u64, HostError> {
    fs::metadata(OWN).map(|metadata| metadata.ino()).map_err(HostError::UnknownNamespace)
}
