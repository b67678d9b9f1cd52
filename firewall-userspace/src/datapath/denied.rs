//! Which errors are the kernel's refusal to let this process do something.

use std::io::{self, ErrorKind};

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::links::LinkError;
use aya::programs::{ProgramError, TcError, XdpError};

use super::DatapathError;
use crate::host::Act;

impl DatapathError {
    /// What the kernel refused with EPERM or EACCES, if that is the error. The verifier's refusals are none: it has more to say.
    #[must_use]
    pub fn denied(&self) -> Option<Act> {
        match self {
            Self::Map { source, .. } => of_map(source),
            Self::Program { source, .. } => of_program(source),
            Self::Object { source } => of_object(source),
            Self::Link { source: LinkError::SyscallError(error), .. }
            | Self::Pin { source: PinError::SyscallError(error), .. } => by_bpf(&error.io_error),
            Self::Log { source, .. } => match &**source {
                aya_log::Error::MapError(error) => of_map(error),
                aya_log::Error::ProgramError(error) => of_program(error),
                _ => None,
            },
            Self::Clsact { source, .. } => of_program(source),
            Self::Interfaces(source) | Self::Netlink { source, .. } => {
                let rtnetlink::Error::NetlinkError(message) = &**source else {
                    return None;
                };
                is_denial(&message.to_io()).then_some(Act::Netlink)
            }
            Self::NetlinkSocket(error) => is_denial(error).then_some(Act::Netlink),
            _ => None,
        }
    }
}

fn of_object(error: &EbpfError) -> Option<Act> {
    match error {
        EbpfError::MapError(error) => of_map(error),
        EbpfError::ProgramError(error) => of_program(error),
        _ => None,
    }
}

fn of_map(error: &MapError) -> Option<Act> {
    match error {
        MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => by_bpf(io_error),
        MapError::SyscallError(error) | MapError::PinError { error: PinError::SyscallError(error), .. } => {
            by_call(error.call, &error.io_error)
        }
        _ => None,
    }
}

fn of_program(error: &ProgramError) -> Option<Act> {
    match error {
        ProgramError::LoadError { io_error, .. } | ProgramError::IOError(io_error) => by_bpf(io_error),
        ProgramError::SyscallError(error) => by_call(error.call, &error.io_error),
        ProgramError::MapError(error) => of_map(error),
        ProgramError::TcError(TcError::NetlinkError(error))
        | ProgramError::XdpError(XdpError::NetlinkError(error))
        | ProgramError::NetlinkError(error) => {
            let errno = error.raw_os_error().map(io::Error::from_raw_os_error)?;
            is_denial(&errno).then_some(Act::TrafficControl)
        }
        ProgramError::TcError(TcError::IoError(error)) => is_denial(error).then_some(Act::TrafficControl),
        _ => None,
    }
}

fn by_bpf(error: &io::Error) -> Option<Act> {
    is_denial(error).then_some(Act::Bpf)
}

/// By the name that aya gives a call of bpf(2).
fn by_call(call: &str, error: &io::Error) -> Option<Act> {
    let is_by_id = call.ends_with("_by_id") || call.ends_with("_next_id");
    is_denial(error).then_some(if is_by_id { Act::BpfById } else { Act::Bpf })
}

fn is_denial(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;
    use nix::errno::Errno;

    use super::*;

    fn failed_call(call: &'static str, errno: Errno) -> SyscallError {
        SyscallError { call, io_error: errno.into() }
    }

    #[test]
    fn what_is_denied_is_told_by_the_call() {
        let in_map = |call, errno| DatapathError::in_map("CELLS")(failed_call(call, errno).into()).denied();
        assert_eq!(in_map("bpf_map_update_elem", Errno::EPERM), Some(Act::Bpf));
        assert_eq!(in_map("bpf_map_get_fd_by_id", Errno::EPERM), Some(Act::BpfById));
        assert_eq!(in_map("bpf_map_update_elem", Errno::ENOMEM), None);
        let pin = |errno| {
            let source = PinError::SyscallError(failed_call("BPF_OBJ_PIN", errno));
            DatapathError::Pin { path: "/sys/fs/bpf/sgfw".into(), source }.denied()
        };
        assert_eq!([Errno::EACCES, Errno::EEXIST].map(pin), [Some(Act::Bpf), None]);
        let socket = DatapathError::NetlinkSocket(Errno::EPERM.into());
        assert_eq!(socket.denied(), Some(Act::Netlink));
    }

    #[test]
    fn a_map_without_memory_is_none_of_a_kind_that_the_kernel_lacks() {
        let created = |errno: Errno| {
            let error = MapError::CreateError { name: "FLOW_LINES".to_owned(), io_error: errno.into() };
            DatapathError::from(EbpfError::MapError(error))
        };
        assert!(created(Errno::ENOMEM).is_for_want_of_memory());
        assert!(!created(Errno::EINVAL).is_for_want_of_memory());
        assert_eq!(created(Errno::EPERM).denied(), Some(Act::Bpf));
    }
}
