//! Privileges, and the age of the kernel.

use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use super::HostError;

/// The first kernel whose TC hooks have BPF links (TCX). Older ones have filters of a qdisc, which cannot be pinned or
/// replaced in one step, and which `tc qdisc del` takes along.
const OLDEST: (u32, u32) = (6, 6);

/// Refuses unless the process is root.
pub fn require_root() -> Result<(), HostError> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(HostError::NotRoot)
}

/// Refuses a kernel older than the oldest that is supported.
pub fn require_supported_kernel() -> Result<(), HostError> {
    let name = uname().map_err(HostError::Uname)?;
    let release = name.release().to_string_lossy();
    if version(&release).is_some_and(|found| found >= OLDEST) {
        return Ok(());
    }
    Err(HostError::KernelTooOld { found: release.into_owned(), required: OLDEST })
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("6.18+"), Some((6, 18)));
        assert!(version("6.1.0-18-amd64").unwrap() < OLDEST);
        assert!(version("6.18.0").unwrap() > OLDEST);
        assert_eq!(version("unknown"), None);
    }
}
