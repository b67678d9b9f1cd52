//! The partition of (protocol, port) and (ICMP type, code) into classes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use firewall_common::abi::{Be16, SERVICE_INDEXES, ServiceIndex};

use super::numbering::NumberSets;
use super::{CompileError, Limits};
use crate::model::{IcmpSelector, PortRange, Service};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Which protocol the members of a class have, as far as it matters: AWS has untracked TCP and UDP only, and asks
/// for the reverse rule of the same protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ClassKind {
    Tcp,
    Udp,
    Other,
}

/// The classes of all services, and what they mean.
pub(super) struct ServiceClasses {
    /// Class by [`ServiceIndex`].
    pub(super) indexes: Vec<u16>,
    /// Kind of class `i + 1`. Class 0 is the services that neither a rule nor an exemption names.
    kinds: Vec<ClassKind>,
    /// The classes whose members each service contains, by the number of the service.
    classes_of: Vec<Vec<u16>>,
}

impl ServiceClasses {
    /// The kind of a class other than 0.
    pub(super) fn kind(&self, class: u16) -> ClassKind {
        self.kinds[usize::from(class) - 1]
    }

    /// The classes whose members a service contains.
    pub(super) fn classes_of(&self, service: u32) -> &[u16] {
        &self.classes_of[service as usize]
    }
}

/// Partitions the index space by the services that contain each point, which are numbered by their places. Classes of
/// the services that are `untracked` come first: there is room for a few numbers only where the programs look for them.
pub(super) fn partition(
    services: &[Service],
    untracked: &BTreeSet<u32>,
    limits: Limits,
) -> Result<ServiceClasses, CompileError> {
    let mut ranges: Vec<(u32, u32, u32)> = Vec::new();
    for (number, service) in (0..).zip(services) {
        ranges.extend(index_ranges(*service).into_iter().map(|(first, last)| (first, last, number)));
    }
    let mut classes = Classes::default();
    let mut indexes = vec![0; SERVICE_INDEXES];
    each_elementary_range(&ranges, limits, |start, end, members| {
        indexes[start as usize..end as usize].fill(classes.number(kind(start), members)?);
        Ok(())
    })?;
    classes.put_first(untracked, &mut indexes);
    let mut classes_of = vec![Vec::new(); services.len()];
    for (class, members) in (1..).zip(&classes.members) {
        for service in classes.sets.members(*members) {
            classes_of[*service as usize].push(class);
        }
    }
    Ok(ServiceClasses { indexes, kinds: classes.kinds, classes_of })
}

/// First and last index of each run that a service covers.
fn index_ranges(service: Service) -> Vec<(u32, u32)> {
    let every_port = |protocol| {
        let index = ServiceIndex::every_port(protocol).get();
        (index, index)
    };
    match service {
        Service::All => vec![(0, ServiceIndex::every_port(u8::MAX).get())],
        Service::Tcp(ports) => with_every_port(ports, ServiceIndex::tcp, every_port(TCP)),
        Service::Udp(ports) => with_every_port(ports, ServiceIndex::udp, every_port(UDP)),
        Service::Icmp(selector) => icmp_ranges(selector, ServiceIndex::icmp, every_port(ICMP)),
        Service::Icmpv6(selector) => icmp_ranges(selector, ServiceIndex::icmpv6, every_port(ICMPV6)),
        Service::Protocol(protocol) => {
            let index = ServiceIndex::other(protocol.number()).get();
            vec![(index, index), every_port(protocol.number())]
        }
    }
}

fn with_every_port(
    ports: PortRange,
    index: fn(Be16) -> ServiceIndex,
    every_port: (u32, u32),
) -> Vec<(u32, u32)> {
    let run = (index(Be16::new(ports.first())).get(), index(Be16::new(ports.last())).get());
    if ports == PortRange::ALL { vec![run, every_port] } else { vec![run] }
}

fn icmp_ranges(
    selector: IcmpSelector,
    index: fn(u8, u8) -> ServiceIndex,
    every_port: (u32, u32),
) -> Vec<(u32, u32)> {
    match selector {
        IcmpSelector::All => vec![(index(0, 0).get(), index(u8::MAX, u8::MAX).get()), every_port],
        IcmpSelector::Type(icmp_type) => vec![(index(icmp_type, 0).get(), index(icmp_type, u8::MAX).get())],
        IcmpSelector::TypeCode(icmp_type, code) => {
            vec![(index(icmp_type, code).get(), index(icmp_type, code).get())]
        }
    }
}

/// Cuts the index space wherever a range begins or ends, or the kind changes, and calls `visit` for each piece with the
/// services that cover it, in ascending order; pieces that none covers are left out. Ends are exclusive.
fn each_elementary_range(
    ranges: &[(u32, u32, u32)],
    limits: Limits,
    mut visit: impl FnMut(u32, u32, &[u32]) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let mut begins: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ends: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (first, last, service) in ranges {
        begins.entry(*first).or_default().push(*service);
        ends.entry(last + 1).or_default().push(*service);
    }
    let mut cuts: BTreeSet<u32> = begins.keys().chain(ends.keys()).copied().collect();
    cuts.extend([ServiceIndex::udp(Be16::new(0)).get(), ServiceIndex::icmp(0, 0).get()]);
    let mut active: BTreeSet<u32> = BTreeSet::new();
    let (mut start, mut visited) = (0, 0);
    for cut in cuts {
        if !active.is_empty() && cut > start {
            visited += active.len();
            if visited > limits.matches {
                return Err(CompileError::NestedPorts { limit: limits.matches });
            }
            let members: Vec<u32> = active.iter().copied().collect();
            visit(start, cut, &members)?;
        }
        for service in ends.get(&cut).into_iter().flatten() {
            active.remove(service);
        }
        active.extend(begins.get(&cut).into_iter().flatten());
        start = cut;
    }
    Ok(())
}

fn kind(index: u32) -> ClassKind {
    if index < ServiceIndex::udp(Be16::new(0)).get() {
        return ClassKind::Tcp;
    }
    if index < ServiceIndex::icmp(0, 0).get() {
        return ClassKind::Udp;
    }
    ClassKind::Other
}

#[derive(Default)]
struct Classes {
    sets: NumberSets,
    numbers: HashMap<(ClassKind, u32), u16>,
    kinds: Vec<ClassKind>,
    /// The services that contain class `i + 1`, as a set.
    members: Vec<u32>,
}

impl Classes {
    fn number(&mut self, kind: ClassKind, members: &[u32]) -> Result<u16, CompileError> {
        let members = self.sets.number(members);
        if let Some(number) = self.numbers.get(&(kind, members)) {
            return Ok(*number);
        }
        self.kinds.push(kind);
        self.members.push(members);
        let number = u16::try_from(self.kinds.len())
            .map_err(|_| CompileError::TooManyServices { limit: usize::from(u16::MAX) })?;
        self.numbers.insert((kind, members), number);
        Ok(number)
    }

    /// Numbers the classes anew, those of these services first, here and in `indexes`. Nothing is numbered afterwards.
    fn put_first(&mut self, services: &BTreeSet<u32>, indexes: &mut [u16]) {
        let is_first = |members| self.sets.members(members).iter().any(|service| services.contains(service));
        let mut places: Vec<usize> = (0..self.members.len()).collect();
        places.sort_by_cached_key(|place| !is_first(self.members[*place]));
        // Of class 0, which stays, and of the others in turn.
        let mut numbers = vec![0; places.len() + 1];
        for (number, place) in (1..).zip(&places) {
            numbers[place + 1] = number;
        }
        for class in indexes {
            *class = numbers[usize::from(*class)];
        }
        self.kinds = places.iter().map(|place| self.kinds[*place]).collect();
        self.members = places.iter().map(|place| self.members[*place]).collect();
    }
}
