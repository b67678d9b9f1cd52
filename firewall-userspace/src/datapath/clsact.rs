//! TC programs where the kernel has no TCX: filters of cls_bpf in the clsact qdisc of an interface.
//!
//! Such a filter has no link. It holds its program, is replaced in one step, and stays until somebody deletes it, or the
//! qdisc. So what counts is a dump: the filters that decide, and the ids of their programs.

use std::fmt;
use std::mem::ManuallyDrop;

use aya::programs::links::Link as _;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use firewall_common::abi::Direction;
use futures_util::TryStreamExt as _;
use nix::errno::Errno;
use nix::libc::ETH_P_ALL;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle as Handle, TcMessage, TcOption,
};

use super::{DatapathError, netlink};
use crate::host::name_of;

const CLSACT: &str = "clsact";

/// Of our filters ("sgfw"). Others number theirs from 1, and some replace what they find there.
const HANDLE: TcHandle = TcHandle::new(0x7367, 0x6677);

/// How many free priorities are tried: one that seemed free is taken if somebody was faster, or by a filter that the dump
/// does not show.
const ATTEMPTS: usize = 8;

/// One direction of an interface, where TC has its filters.
#[derive(Debug)]
pub(super) struct Filters {
    interface: String,
    ifindex: u32,
    direction: Direction,
}

/// A filter, as a dump shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Those of lower numbers decide before it.
    pub priority: u16,
    /// Its number among those of its priority.
    pub handle: u32,
    /// What the filter is called, or its kind.
    pub name: String,
    /// The id of its BPF program.
    pub program: Option<u32>,
    /// Whether it sees every packet, and what its program returns is the verdict.
    decides: bool,
}

/// A filter that packets meet before ours. What it accepts, ours does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterBefore {
    /// Of the packets.
    pub direction: Direction,
    /// Somebody else's.
    pub filter: Filter,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { priority, handle, name, .. } = self;
        write!(f, "{name} (pref {priority}, handle {handle:#x}")?;
        self.program.map_or(Ok(()), |program| write!(f, ", program {program}"))?;
        f.write_str(")")
    }
}

impl Filters {
    pub(super) fn of(interface: &str, ifindex: u32, direction: Direction) -> Self {
        Self { interface: interface.to_owned(), ifindex, direction }
    }

    /// `None` if there is no interface of this index in the current network namespace.
    pub(super) fn of_index(ifindex: u32, direction: Direction) -> Option<Self> {
        Some(Self { interface: name_of(ifindex)?, ifindex, direction })
    }

    /// Every filter that packets meet, in this order. No qdisc, no filters.
    pub(super) fn dump(&self) -> Result<Vec<Filter>, DatapathError> {
        let messages: Vec<TcMessage> = netlink::run(async |handle| {
            let filters = handle.traffic_filter(self.ifindex.cast_signed()).get();
            let filters = match self.direction {
                Direction::Ingress => filters.ingress(),
                Direction::Egress => filters.egress(),
            };
            filters.execute().try_collect().await.map_err(DatapathError::netlink(&self.interface))
        })?;
        Ok(messages.iter().filter_map(filter).collect())
    }

    /// The filter by which a program decides.
    pub(super) fn find(&self, program: u32) -> Result<Option<Filter>, DatapathError> {
        let mut filters = self.dump()?.into_iter();
        Ok(filters.find(|filter| filter.decides && filter.program == Some(program)))
    }

    /// Those that decide before any of these programs.
    pub(super) fn before(&self, programs: &[u32]) -> Result<Vec<FilterBefore>, DatapathError> {
        let is_ours =
            |filter: &Filter| filter.decides && filter.program.is_some_and(|id| programs.contains(&id));
        let before = self.dump()?.into_iter().take_while(|filter| !is_ours(filter));
        Ok(before.map(|filter| FilterBefore { direction: self.direction, filter }).collect())
    }

    /// Puts a program in the first free place, before which others decide.
    pub(super) fn add(&self, program: &mut SchedClassifier) -> Result<(), DatapathError> {
        self.add_qdisc()?;
        let taken: Vec<u16> = self.dump()?.iter().map(|filter| filter.priority).collect();
        let free = (1..=u16::MAX).filter(|priority| !taken.contains(priority));
        let mut refused = None;
        for priority in free.take(ATTEMPTS) {
            let options = NlOptions { priority, handle: HANDLE, classid: None };
            // Created, and never what is there replaced.
            let added = program.attach_with_options(
                &self.interface,
                self.attach_type(),
                TcAttachOptions::Netlink(options),
            );
            match added {
                Ok(id) => {
                    let link = program.take_link(id).map_err(self.failed("put a filter on"))?;
                    // It would take the filter with it.
                    let _ = ManuallyDrop::new(link);
                    return Ok(());
                }
                Err(error) if is_taken(&error) => refused = Some(error),
                Err(error) if errno(&error) == Some(Errno::ENOENT) => return Err(self.no_tc()),
                Err(error) => return Err(self.failed("put a filter on")(error)),
            }
        }
        let error = refused.unwrap_or_else(|| TcError::AlreadyAttached.into());
        Err(self.failed("find a place for a filter on")(error))
    }

    /// Puts a program in the place of a filter's, in one step: every packet is decided by one of the two.
    pub(super) fn replace(
        &self,
        filter: &Filter,
        program: &mut SchedClassifier,
    ) -> Result<(), DatapathError> {
        let failed = self.failed("replace the filter of");
        let replaced = self
            .link(filter)
            .and_then(|link| program.attach_to_link(link))
            .and_then(|id| program.take_link(id));
        // It would take the filter with it.
        replaced.map(ManuallyDrop::new).map(drop).map_err(failed)
    }

    /// Removes a program's filter, if there is one. The qdisc stays, whoever made it.
    pub(super) fn remove(&self, program: u32) -> Result<(), DatapathError> {
        let Some(filter) = self.find(program)? else {
            return Ok(());
        };
        match self.link(&filter).and_then(|link| link.detach()) {
            // Somebody was faster.
            Err(_) if self.find(program)?.is_none() => Ok(()),
            removed => removed.map_err(self.failed("remove the filter of")),
        }
    }

    fn link(&self, filter: &Filter) -> Result<SchedClassifierLink, ProgramError> {
        let Filter { priority, handle, .. } = *filter;
        let attach_type = self.attach_type();
        SchedClassifierLink::attached(&self.interface, attach_type, priority, handle.into(), None)
            .map_err(|error| TcError::IoError(error).into())
    }

    /// Adds the qdisc, unless it is there.
    fn add_qdisc(&self) -> Result<(), DatapathError> {
        if self.has_qdisc()? {
            return Ok(());
        }
        match qdisc_add_clsact(&self.interface).map_err(ProgramError::from) {
            Ok(()) => Ok(()),
            // Somebody was faster.
            Err(error) if errno(&error) == Some(Errno::EEXIST) && self.has_qdisc()? => Ok(()),
            Err(error) if errno(&error) == Some(Errno::ENOENT) => Err(self.no_tc()),
            Err(error) => Err(self.failed("add the qdisc clsact to")(error)),
        }
    }

    /// Refuses the qdisc `ingress`, which has the same place: it takes a filter of egress, for what arrives.
    fn has_qdisc(&self) -> Result<bool, DatapathError> {
        let index = self.ifindex.cast_signed();
        let qdiscs: Vec<TcMessage> = netlink::run(async |handle| {
            let qdiscs = handle.qdisc().get().index(index).execute();
            qdiscs.try_collect().await.map_err(DatapathError::netlink(&self.interface))
        })?;
        // Those of all interfaces.
        let is_there =
            |qdisc: &&TcMessage| qdisc.header.index == index && qdisc.header.parent == Handle::CLSACT;
        match qdiscs.iter().find(is_there).map(kind) {
            None => Ok(false),
            Some(CLSACT) => Ok(true),
            Some(kind) => {
                let interface = self.interface.clone();
                Err(DatapathError::OtherQdisc { interface, kind: kind.to_owned() })
            }
        }
    }

    const fn attach_type(&self) -> TcAttachType {
        match self.direction {
            Direction::Ingress => TcAttachType::Ingress,
            Direction::Egress => TcAttachType::Egress,
        }
    }

    /// What was to be replaced is not there any more.
    pub(super) fn gone(&self) -> DatapathError {
        DatapathError::FilterGone { interface: self.interface.clone(), direction: self.direction }
    }

    fn no_tc(&self) -> DatapathError {
        DatapathError::NoTc { interface: self.interface.clone() }
    }

    fn failed(&self, action: &'static str) -> impl Fn(ProgramError) -> DatapathError {
        let interface = self.interface.clone();
        move |source| DatapathError::Clsact { action, interface: interface.clone(), source: Box::new(source) }
    }
}

/// There is one, or one of another kind or protocol has the priority.
fn is_taken(error: &ProgramError) -> bool {
    matches!(errno(error), Some(Errno::EEXIST | Errno::EINVAL))
}

fn errno(error: &ProgramError) -> Option<Errno> {
    let ProgramError::TcError(TcError::NetlinkError(error)) = error else {
        return None;
    };
    error.raw_os_error().map(Errno::from_raw)
}

fn kind(message: &TcMessage) -> &str {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    });
    kind.unwrap_or_default()
}

/// `None` for the entry that stands for all filters of a priority, and for other chains, into which packets come only if a
/// filter sends them there.
fn filter(message: &TcMessage) -> Option<Filter> {
    let header = &message.header;
    let handle = u32::from(header.handle);
    let is_elsewhere =
        |attribute: &TcAttribute| matches!(attribute, TcAttribute::Chain(chain) if *chain != 0);
    if handle == 0 || message.attributes.iter().any(is_elsewhere) {
        return None;
    }
    let mut found = Filter {
        priority: (header.info >> 16) as u16,
        handle,
        name: kind(message).to_owned(),
        program: None,
        decides: false,
    };
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    for option in options.flatten() {
        match option {
            TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => found.program = Some(*id),
            // aya leaves it empty where the kernel loads no tracepoint programs (CONFIG_BPF_EVENTS), by which it asks for names.
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) if !name.is_empty() => {
                found.name.clone_from(name);
            }
            TcOption::Bpf(TcFilterBpfOption::Flags(flags)) => {
                let of_all = (ETH_P_ALL as u16).to_be();
                let protocol = (header.info & 0xffff) as u16;
                found.decides = flags.contains(TcBpfFlags::DirectAction) && protocol == of_all;
            }
            _ => {}
        }
    }
    Some(found)
}
