//! Privileges.

use nix::unistd::geteuid;

use super::HostError;

/// Refuses unless the process is root.
pub fn require_root() -> Result<(), HostError> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(HostError::NotRoot)
}
