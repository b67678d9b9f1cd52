//! Ranges of services, and the common refinement of two partitions of them.

use std::collections::BTreeMap;
use std::fmt;

use firewall_common::abi::{Be16, ServiceIndex};

use crate::model::{AddressFamily, IcmpSelector};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Services that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceRange {
    /// Every protocol.
    All,
    /// Destination ports of TCP.
    Tcp {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Destination ports of UDP.
    Udp {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Messages of ICMP.
    Icmp(IcmpRange),
    /// Messages of ICMPv6.
    Icmpv6(IcmpRange),
    /// Protocols by number, none of the above.
    Protocols {
        /// The lowest.
        first: u8,
        /// The highest.
        last: u8,
    },
    /// Every protocol but TCP, UDP and the ICMP of the address family.
    EveryOther,
}

/// Every one of some codes of every one of some types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IcmpRange {
    /// The lowest type.
    pub first_type: u8,
    /// The highest type.
    pub last_type: u8,
    /// The lowest code.
    pub first_code: u8,
    /// The highest code.
    pub last_code: u8,
}

impl IcmpRange {
    const ALL: Self = Self { first_type: 0, last_type: u8::MAX, first_code: 0, last_code: u8::MAX };

    const fn has_every_code(self) -> bool {
        self.first_code == 0 && self.last_code == u8::MAX
    }
}

impl From<IcmpSelector> for IcmpRange {
    fn from(selector: IcmpSelector) -> Self {
        match selector {
            IcmpSelector::All => Self::ALL,
            IcmpSelector::Type(icmp_type) => {
                Self { first_type: icmp_type, last_type: icmp_type, ..Self::ALL }
            }
            IcmpSelector::TypeCode(icmp_type, code) => {
                Self { first_type: icmp_type, last_type: icmp_type, first_code: code, last_code: code }
            }
        }
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::All => f.write_str("all protocols"),
            Self::Tcp { first, last } => write_numbers(f, "tcp", first, last),
            Self::Udp { first, last } => write_numbers(f, "udp", first, last),
            Self::Icmp(range) => write!(f, "icmp {range}"),
            Self::Icmpv6(range) => write!(f, "icmpv6 {range}"),
            Self::Protocols { first, last } if first == last => write!(f, "protocol {first}"),
            Self::Protocols { first, last } => write!(f, "protocols {first}-{last}"),
            Self::EveryOther => f.write_str("every other protocol"),
        }
    }
}

impl fmt::Display for IcmpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_type, last_type, first_code, last_code } = *self;
        if *self == Self::ALL {
            return f.write_str("all");
        }
        if first_type == last_type {
            write!(f, "type {first_type}")?;
        } else {
            write!(f, "types {first_type}-{last_type}")?;
        }
        match (self.has_every_code(), first_code == last_code) {
            (true, _) => Ok(()),
            (false, true) => write!(f, " code {first_code}"),
            (false, false) => write!(f, " codes {first_code}-{last_code}"),
        }
    }
}

/// The service classes of both policies, before and after.
pub(super) type ClassPair = (u16, u16);

/// First and last index, both included.
pub(super) type Run = (u32, u32);

/// The common refinement of the service partitions of two policies, for the services that are [`possible`].
pub(super) fn refine(possible: &[Run], before: &[u16], after: &[u16]) -> BTreeMap<ClassPair, Vec<Run>> {
    let mut pieces: BTreeMap<ClassPair, Vec<Run>> = BTreeMap::new();
    for &(first, last) in possible {
        let indexes = first as usize..=last as usize;
        let mut current: Option<(ClassPair, Run)> = None;
        for (index, classes) in (first..).zip(before[indexes.clone()].iter().zip(&after[indexes])) {
            let classes = (*classes.0, *classes.1);
            match &mut current {
                Some((known, run)) if *known == classes => run.1 = index,
                _ => {
                    let done = current.replace((classes, (index, index)));
                    done.into_iter().for_each(|(known, run)| pieces.entry(known).or_default().push(run));
                }
            }
        }
        current.into_iter().for_each(|(known, run)| pieces.entry(known).or_default().push(run));
    }
    pieces
}

/// Puts runs together into as few ranges as there are, of those that are [`possible`].
pub(super) fn ranges(possible: &[Run], mut runs: Vec<Run>) -> Vec<ServiceRange> {
    runs.sort_unstable();
    let merged = merge(runs);
    if merged == possible {
        return vec![ServiceRange::All];
    }
    let others = |(first, _): &Run| *first >= ServiceIndex::other(0).get();
    let has_every_other =
        possible.iter().filter(|run| others(run)).eq(merged.iter().filter(|run| others(run)));
    let mut ranges: Vec<ServiceRange> =
        merged.into_iter().filter(|run| !(has_every_other && others(run))).flat_map(named).collect();
    if has_every_other {
        ranges.push(ServiceRange::EveryOther);
    }
    ranges
}

/// Runs of different protocols do not follow each other, though their indexes do.
fn merge(runs: Vec<Run>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    for (first, last) in runs {
        let begins_protocol = first < ServiceIndex::other(0).get() && first & 0xffff == 0;
        match merged.last_mut() {
            Some((_, end))
                if *end + 1 == first && !begins_protocol && first != ServiceIndex::other(0).get() =>
            {
                *end = last;
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// The indexes of services that packets of a family can have. Indexes for fragments whose first one was not seen are left
/// out: they are no services of their own.
pub(super) fn possible(family: AddressFamily) -> Vec<Run> {
    let icmp = match family {
        AddressFamily::Ipv4 => ServiceIndex::icmp as fn(u8, u8) -> ServiceIndex,
        AddressFamily::Ipv6 => ServiceIndex::icmpv6,
    };
    let number = match family {
        AddressFamily::Ipv4 => ICMP,
        AddressFamily::Ipv6 => ICMPV6,
    };
    let port = |index: fn(Be16) -> ServiceIndex, port| index(Be16::new(port)).get();
    let mut runs = vec![
        (port(ServiceIndex::tcp, 0), port(ServiceIndex::tcp, u16::MAX)),
        (port(ServiceIndex::udp, 0), port(ServiceIndex::udp, u16::MAX)),
        (icmp(0, 0).get(), icmp(u8::MAX, u8::MAX).get()),
    ];
    let has_own_index = |protocol: &u8| [TCP, UDP, number].contains(protocol);
    let others = (0..=u8::MAX).filter(|protocol| !has_own_index(protocol)).map(ServiceIndex::other);
    runs.extend(merge(others.map(|index| (index.get(), index.get())).collect()));
    runs
}

/// The ranges that a run consists of: more than one where it begins or ends amidst the codes of an ICMP type.
fn named((first, last): Run) -> Vec<ServiceRange> {
    let low = |index: u32| (index & 0xffff) as u16;
    match first >> 16 {
        0 => vec![ServiceRange::Tcp { first: low(first), last: low(last) }],
        1 => vec![ServiceRange::Udp { first: low(first), last: low(last) }],
        2 => icmp_ranges(low(first), low(last)).into_iter().map(ServiceRange::Icmp).collect(),
        3 => icmp_ranges(low(first), low(last)).into_iter().map(ServiceRange::Icmpv6).collect(),
        _ => vec![ServiceRange::Protocols { first: low(first) as u8, last: low(last) as u8 }],
    }
}

fn icmp_ranges(first: u16, last: u16) -> Vec<IcmpRange> {
    let ([first_type, first_code], [last_type, last_code]) = (first.to_be_bytes(), last.to_be_bytes());
    let range = |first_type, last_type, first_code, last_code| IcmpRange {
        first_type,
        last_type,
        first_code,
        last_code,
    };
    if first_type == last_type {
        return vec![range(first_type, last_type, first_code, last_code)];
    }
    let mut ranges = Vec::new();
    let (mut whole_first, mut whole_last) = (u16::from(first_type), u16::from(last_type));
    if first_code != 0 {
        ranges.push(range(first_type, first_type, first_code, u8::MAX));
        whole_first += 1;
    }
    let ends_amidst = last_code != u8::MAX;
    if ends_amidst {
        whole_last -= 1;
    }
    if whole_first <= whole_last {
        ranges.push(range(whole_first as u8, whole_last as u8, 0, u8::MAX));
    }
    if ends_amidst {
        ranges.push(range(last_type, last_type, 0, last_code));
    }
    ranges
}

fn write_numbers(f: &mut fmt::Formatter<'_>, protocol: &str, first: u16, last: u16) -> fmt::Result {
    match (first, last) {
        (0, u16::MAX) => write!(f, "{protocol} all"),
        _ if first == last => write!(f, "{protocol} {first}"),
        _ => write!(f, "{protocol} {first}-{last}"),
    }
}
