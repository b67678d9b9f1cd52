//! What can go wrong at the border to the kernel.

use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use aya::sys::SyscallError;
use firewall_common::abi::{Direction, INTERFACE_LINE_ENTRIES, INTERFACE_LINES};
use nix::errno::Errno;

/// Read by aya.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// An operation on programs, links or maps that failed.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The directory for pins is not in a bpf filesystem.
    #[error("{path} is not in a mounted bpf filesystem", path = path.display())]
    BpffsNotMounted {
        /// The directory.
        path: PathBuf,
    },
    /// The pin of a map is gone, while programs that use it are attached.
    #[error("the pin of BPF map {map} is gone; the attached programs go on by what was last published")]
    MapsGone {
        /// Name of the map.
        map: &'static str,
    },
    /// There is no such interface in this network namespace.
    #[error("there is no interface {name} in this network namespace")]
    NoSuchInterface {
        /// Its name.
        name: String,
    },
    /// The XDP hook of the interface is taken.
    #[error("interface {interface} already has the XDP program {program:?} (id {id})")]
    ForeignXdp {
        /// Name of the interface.
        interface: String,
        /// Name of the program.
        program: String,
        /// Its id, as in `bpftool prog`.
        id: u32,
    },
    /// The table of interfaces has no room for one.
    #[error(
        "{interface} (index {index}) cannot be attached: {INTERFACE_LINE_ENTRIES} attached interfaces have an index that is the \
         same modulo {INTERFACE_LINES}"
    )]
    TooManyAlike {
        /// Name of the interface.
        interface: String,
        /// Its index.
        index: u32,
    },
    /// XDP was asked for where there is none.
    #[error("interface {interface} has no Ethernet header, which XDP needs")]
    XdpNeedsEthernet {
        /// Name of the interface.
        interface: String,
    },
    /// The kernel has neither of the two ways in which TC programs are attached.
    #[error(
        "the kernel has neither TCX nor clsact with cls_bpf, by which TC programs are attached to {interface}"
    )]
    NoTc {
        /// Name of the interface.
        interface: String,
    },
    /// The interface has another qdisc where clsact goes.
    #[error("interface {interface} has the qdisc {kind} in the place of clsact")]
    OtherQdisc {
        /// Name of the interface.
        interface: String,
        /// Kind of the qdisc.
        kind: String,
    },
    /// A change of the clsact qdisc or one of its filters.
    #[error("cannot {action} {interface}")]
    Clsact {
        /// What was to be done.
        action: &'static str,
        /// Name of the interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A filter that was to be replaced is no more.
    #[error("the {direction} filter of {interface} is gone", direction = direction.name())]
    FilterGone {
        /// Name of the interface.
        interface: String,
        /// The direction that it decided.
        direction: Direction,
    },
    /// The kernel attached the program in a way that ends with this process.
    #[error("the kernel has no BPF links for {hook} on {interface}")]
    NoLink {
        /// Name of the interface.
        interface: String,
        /// The hook.
        hook: &'static str,
    },
    /// The verifier refused a program: the object does not suit the kernel.
    #[error("the kernel's verifier refused program {program}: {reason}")]
    Verifier {
        /// Name of the program.
        program: &'static str,
        /// Its reason, or what the kernel said where it gives none.
        reason: String,
    },
    /// Another error of a program.
    #[error("BPF program {program}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// All places where a flow may stand hold protected ones.
    #[error("the flow table is full")]
    FlowTableFull,
    /// The flow table would become too small for what is tracked.
    #[error("{flows} of the connections that are tracked find no place in a flow table for {flow_entries}")]
    FlowsDoNotFit {
        /// How many find none.
        flows: u64,
        /// The size that was asked for.
        flow_entries: u32,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random numbers for the flow table")]
    NoRandomness(#[source] getrandom::Error),
    /// Another error of a map.
    #[error("BPF map {map}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<MapError>,
    },
    /// The file that says how many values a map with one for each CPU has.
    #[error("{POSSIBLE_CPUS}, where the kernel says which CPUs there may be, is not there")]
    NoSysfs,
    /// The object could not be loaded.
    #[error("loading the BPF object")]
    Object {
        /// What went wrong.
        #[source]
        source: Box<EbpfError>,
    },
    /// A file operation.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Asking the kernel which interfaces there are.
    #[error("asking the kernel about its interfaces")]
    Interfaces(#[source] Box<rtnetlink::Error>),
    /// Asking the kernel about an interface.
    #[error("asking the kernel about interface {interface}")]
    Netlink {
        /// Name of the interface.
        interface: String,
        /// What went wrong.
        #[source]
        source: Box<rtnetlink::Error>,
    },
    /// The socket or the runtime for that.
    #[error("opening a netlink socket")]
    NetlinkSocket(#[source] io::Error),
    /// Reading the clock.
    #[error("reading the kernel's clock")]
    Clock(#[source] Errno),
    /// Reading a program's log.
    #[error("opening the log of program {program}")]
    Log {
        /// Id of the program.
        program: u32,
        /// What went wrong.
        #[source]
        source: Box<aya_log::Error>,
    },
    /// Opening or examining a pinned link.
    #[error("link {path}", path = path.display())]
    Link {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: LinkError,
    },
    /// Pinning a link.
    #[error("pinning {path}", path = path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: PinError,
    },
    /// The object lacks a program: it is not sgfw's.
    #[error("the BPF object has no program {program}")]
    MissingProgram {
        /// Name of the program.
        program: &'static str,
    },
    /// Waiting for a program's log.
    #[error("waiting for the programs' logs")]
    LogSocket(#[source] io::Error),
    /// A name in the directory of links that sgfw has not written.
    #[error("{path} is not a pin of sgfw", path = path.display())]
    ForeignPin {
        /// The file.
        path: PathBuf,
    },
    /// The pins are those of a version with another ABI.
    #[error("the interfaces were attached by another version of sgfw (ABI {version})")]
    OtherVersion {
        /// Which.
        version: u32,
    },
    /// Flows of a version that this one does not know.
    #[error("the flows of another version of sgfw (ABI {version}) cannot be taken over")]
    UnreadableFlows {
        /// Which.
        version: u32,
    },
    /// A generation waits to be confirmed.
    #[error("generation waits to be confirmed")]
    AwaitingConfirmation,
    /// A table of the policy would have to become larger than there is memory for.
    #[error(
        "the policy has {needed} {what}, and the kernel has no {mebibytes} MiB of memory for a table that holds them"
    )]
    NoMemory {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        needed: u32,
        /// What the table would take.
        mebibytes: u64,
    },
    /// The policy needs more than the tables can hold.
    #[error("the policy has {needed} {what}, more than the {limit} that the tables can hold")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        needed: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl DatapathError {
    pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("read", path)
    }

    pub(super) fn creating(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("create", path)
    }

    pub(super) fn removing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io("remove", path)
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn netlink(interface: &str) -> impl FnOnce(rtnetlink::Error) -> Self {
        let interface = interface.to_owned();
        move |source| Self::Netlink { interface, source: Box::new(source) }
    }

    pub(super) fn in_map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| match &source {
            MapError::SyscallError(SyscallError { io_error: error, .. }) | MapError::IoError(error)
                if error.kind() == io::ErrorKind::NotFound && !Path::new(POSSIBLE_CPUS).exists() =>
            {
                Self::NoSysfs
            }
            _ => Self::Map { map, source: Box::new(source) },
        }
    }

    /// Whether a map of the object found no memory.
    #[must_use]
    pub fn is_for_want_of_memory(&self) -> bool {
        let Self::Object { source } = self else {
            return false;
        };
        let EbpfError::MapError(error) = &**source else {
            return false;
        };
        matches!(errno_of_creation(error), Some(Errno::ENOMEM | Errno::E2BIG))
    }

    pub(super) fn in_program(program: &'static str) -> impl Fn(ProgramError) -> Self {
        move |source| match source {
            ProgramError::LoadError { io_error, verifier_log } if !is_before_verifier(&io_error) => {
                let reason = verifier_reason(&verifier_log.to_string());
                Self::Verifier { program, reason: reason.unwrap_or_else(|| io_error.to_string()) }
            }
            source => Self::Program { program, source: Box::new(source) },
        }
    }
}

impl From<EbpfError> for DatapathError {
    fn from(source: EbpfError) -> Self {
        Self::Object { source: Box::new(source) }
    }
}

/// Why the kernel has not made a map, if that is the error.
pub(super) fn errno_of_creation(error: &MapError) -> Option<Errno> {
    let MapError::CreateError { io_error, .. } = error else {
        return None;
    };
    io_error.raw_os_error().map(Errno::from_raw)
}

/// EACCES is how the verifier says no, EPERM is said before it is asked.
fn is_before_verifier(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EPERM as i32)
}

/// The verifier's reason: the last line of its log before its statistics.
fn verifier_reason(log: &str) -> Option<String> {
    const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];
    let is_statistic = |line: &str| STATISTICS.iter().any(|statistic| line.starts_with(statistic));
    log.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_statistic(line)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_the_verifier_stands_before_its_statistics() {
        let log = "336: (0f) r1 += r4\n\
                   math between pkt pointer and register with unbounded min value is not allowed\n\
                   verification time 512 usec\n\
                   stack depth 440\n\
                   processed 912 insns (limit 1000000) max_states_per_insn 1 total_states 30 peak_states 30 mark_read 9\n";
        assert_eq!(
            verifier_reason(log).as_deref(),
            Some("math between pkt pointer and register with unbounded min value is not allowed")
        );
        let too_large =
            "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000)\n\n";
        assert_eq!(
            verifier_reason(too_large).as_deref(),
            Some("BPF program is too large. Processed 1000001 insn")
        );
        assert_eq!(verifier_reason(""), None);
    }
}
