//! Privileges, and kernels that programs do not run on.

use std::fs;

use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use super::HostError;

/// Refuses unless the process is root.
pub fn require_root() -> Result<(), HostError> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(HostError::NotRoot)
}

/// Refuses on a kernel with PREEMPT_RT. Programs keep the packet that they decide in memory of their CPU, where another packet
/// would be written over it: there, a program may be preempted.
pub fn require_no_preempt_rt() -> Result<(), HostError> {
    let said = fs::read_to_string("/sys/kernel/realtime").is_ok_and(|value| value.trim() == "1");
    let version = uname().map(|name| name.version().to_string_lossy().into_owned()).unwrap_or_default();
    if said || is_preempt_rt(&version) {
        return Err(HostError::PreemptRt);
    }
    Ok(())
}

/// The kernel's version, not its release, has it as a word (`scripts/mkcompile_h`).
fn is_preempt_rt(version: &str) -> bool {
    version.split_ascii_whitespace().any(|word| word == "PREEMPT_RT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_time_kernel_is_known_by_its_version() {
        assert!(is_preempt_rt("#1 SMP PREEMPT_RT Debian 6.12.38-1 (2025-07-16)"));
        assert!(!is_preempt_rt("#1 SMP PREEMPT_DYNAMIC Debian 6.12.38-1 (2025-07-16)"));
        assert!(!is_preempt_rt("#1 SMP Debian 6.1.140-1"));
    }
}
