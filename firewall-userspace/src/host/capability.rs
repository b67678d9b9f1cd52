//! What the kernel lets some processes do only, and what a process lacks that it was refused.
//!
//! Root may lack capabilities(7): in a container, in a unit of systemd, in a user namespace. The kernel says EPERM then, or lets
//! its verifier say something else, and names no capability.

use std::error::Error;
use std::fmt;
use std::fs;

use nix::unistd::geteuid;

use super::HostError;

/// What is not for every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Maps, programs and links: bpf(2).
    Bpf,
    /// Of bpf(2), what finds programs and maps that somebody else has opened.
    BpfById,
    /// Changes of qdiscs and filters by netlink.
    TrafficControl,
    /// Questions by netlink, for which no capability is needed.
    Netlink,
    /// setns(2).
    EnterNamespace,
    /// mount(2) of a bpf filesystem.
    MountBpffs,
}

impl Act {
    const fn needed(self) -> &'static [Capability] {
        match self {
            Self::Bpf => &[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin],
            Self::TrafficControl => &[Capability::NetAdmin],
            Self::BpfById | Self::EnterNamespace | Self::MountBpffs => &[Capability::SysAdmin],
            Self::Netlink => &[],
        }
    }

    /// For bpf(2) CAP_SYS_ADMIN stands for every other one.
    fn is_granted(self, capability: Capability, effective: u64) -> bool {
        let has = |capability: Capability| effective & (1 << capability as u32) != 0;
        has(capability) || (self == Self::Bpf && has(Capability::SysAdmin))
    }

    fn missing(self, effective: u64) -> Vec<Capability> {
        let needed = self.needed().iter().copied();
        needed.filter(|capability| !self.is_granted(*capability, effective)).collect()
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "using BPF",
            Self::BpfById => "looking BPF programs up by their ids",
            Self::TrafficControl => "changing filters of traffic control",
            Self::Netlink => "asking by netlink",
            Self::EnterNamespace => "entering a network namespace",
            Self::MountBpffs => "mounting a bpf filesystem",
        })
    }
}

/// A capability, by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Changes of the network.
    NetAdmin = 12,
    /// Whatever no other one is for.
    SysAdmin = 21,
    /// What the verifier asks for before it allows arithmetic with pointers.
    Perfmon = 38,
    /// bpf(2).
    Bpf = 39,
}

impl Capability {
    /// Its name in capabilities(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// What the process lacks for an act that failed; `None` where it has all that is needed.
#[must_use]
pub fn lacking(act: Act) -> Option<HostError> {
    let missing = act.missing(effective()?);
    if missing.is_empty() {
        return None;
    }
    if !geteuid().is_root() {
        return Some(HostError::NotRoot);
    }
    Some(HostError::LacksCapability { act, missing })
}

/// Of an act that the kernel refused with EPERM or EACCES.
#[must_use]
pub fn denied(act: Act, source: impl Error + Send + Sync + 'static) -> HostError {
    lacking(act).unwrap_or_else(|| HostError::Forbidden { act, source: Box::new(source) })
}

/// The effective set of this process, a bit for each capability; `None` where /proc does not say it.
fn effective() -> Option<u64> {
    parse_effective(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 0x0000_01ff_ffff_ffff;

    fn without(capabilities: &[Capability]) -> u64 {
        capabilities.iter().fold(ALL, |set, capability| set & !(1 << *capability as u32))
    }

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tsgfw\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(parse_effective(status), Some(ALL));
        assert_eq!(parse_effective("Name:\tsgfw\n"), None);
        assert!(effective().is_some());
    }

    #[test]
    fn what_is_missing_is_all_that_bpf_needs_unless_sys_admin_stands_for_it() {
        use Capability::{Bpf, NetAdmin, Perfmon, SysAdmin};
        assert_eq!(Act::Bpf.missing(ALL), []);
        assert_eq!(Act::Bpf.missing(0), [Bpf, Perfmon, NetAdmin]);
        assert_eq!(Act::Bpf.missing(without(&[SysAdmin])), []);
        assert_eq!(Act::Bpf.missing(without(&[Bpf, SysAdmin])), [Bpf]);
        assert_eq!(Act::Bpf.missing(without(&[Bpf, Perfmon, NetAdmin])), []);
        assert_eq!(Act::BpfById.missing(without(&[SysAdmin])), [SysAdmin]);
        assert_eq!(Act::TrafficControl.missing(without(&[NetAdmin])), [NetAdmin]);
        assert_eq!(Act::Netlink.missing(0), []);
    }
}
