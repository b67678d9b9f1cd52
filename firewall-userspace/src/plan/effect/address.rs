//! Ranges of addresses, and the common refinement of two partitions of them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::HashSet;
use ipnet::IpNet;

use crate::compile::CompiledPolicy;
use crate::model::AddressFamily;

/// Addresses of one family that follow each other, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// The lowest address.
    #[must_use]
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub const fn last(self) -> IpAddr {
        self.last
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// The one prefix that it is, if it is one.
    #[must_use]
    pub fn prefix(self) -> Option<IpNet> {
        let (first, last) = (number(self.first), number(self.last));
        let bits: u32 = if self.first.is_ipv4() { 32 } else { 128 };
        // All bits that differ, if the range is a prefix.
        let host = first ^ last;
        let is_prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
        let length = u8::try_from(bits - (128 - host.leading_zeros())).ok()?;
        is_prefix.then(|| IpNet::new(self.first, length).ok()).flatten()
    }
}

/// A prefix where it is one, else both ends.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => prefix.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// The address classes of both policies, before and after.
pub(super) type ClassPair = (u32, u32);

/// Where the addresses of each pair of classes are, as first and last number, ascending.
pub(super) type Spans = BTreeMap<ClassPair, Vec<(u128, u128)>>;

/// The common refinement of the partitions of two policies, for one family.
pub(super) fn refine(family: AddressFamily, before: &CompiledPolicy, after: &CompiledPolicy) -> Spans {
    let (before, after) = (steps(family, before), steps(family, after));
    let mut starts: Vec<u128> = before.iter().chain(&after).map(|(start, _)| *start).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut spans = Spans::new();
    let (mut before, mut after) = (Cursor::new(&before), Cursor::new(&after));
    for (position, &start) in starts.iter().enumerate() {
        let last = starts.get(position + 1).map_or(highest(family), |next| next - 1);
        let pieces = spans.entry((before.class_at(start), after.class_at(start))).or_default();
        match pieces.last_mut() {
            Some((_, end)) if *end + 1 == start => *end = last,
            _ => pieces.push((start, last)),
        }
    }
    spans
}

/// The classes that any address has, of either family.
pub(super) fn classes(policy: &CompiledPolicy) -> HashSet<u32> {
    let families = [AddressFamily::Ipv4, AddressFamily::Ipv6].into_iter();
    families.flat_map(|family| steps(family, policy)).map(|(_, class)| class).collect()
}

/// Puts spans together into as few ranges as there are.
pub(super) fn ranges(family: AddressFamily, mut spans: Vec<(u128, u128)>) -> Vec<AddressRange> {
    spans.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in spans {
        match merged.last_mut() {
            Some((_, end)) if *end + 1 == first => *end = last,
            _ => merged.push((first, last)),
        }
    }
    let range = |(first, last)| AddressRange { first: address(family, first), last: address(family, last) };
    merged.into_iter().map(range).collect()
}

/// Walks along steps.
struct Cursor<'s> {
    steps: &'s [(u128, u32)],
    next: usize,
}

impl<'s> Cursor<'s> {
    const fn new(steps: &'s [(u128, u32)]) -> Self {
        Self { steps, next: 0 }
    }

    /// The class of a number that is not below those asked for earlier.
    fn class_at(&mut self, number: u128) -> u32 {
        while self.steps.get(self.next).is_some_and(|(start, _)| *start <= number) {
            self.next += 1;
        }
        // The first step is at 0.
        self.next.checked_sub(1).map_or(0, |current| self.steps[current].1)
    }
}

/// Where the class changes, and to which, ascending from 0.
fn steps(family: AddressFamily, policy: &CompiledPolicy) -> Vec<(u128, u32)> {
    match family {
        AddressFamily::Ipv4 => {
            policy.intervals_v4().into_iter().map(|(start, class)| (start.into(), class)).collect()
        }
        AddressFamily::Ipv6 => policy.intervals_v6(),
    }
}

const fn highest(family: AddressFamily) -> u128 {
    match family {
        AddressFamily::Ipv4 => u32::MAX as u128,
        AddressFamily::Ipv6 => u128::MAX,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: AddressFamily, number: u128) -> IpAddr {
    match family {
        AddressFamily::Ipv4 => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        AddressFamily::Ipv6 => Ipv6Addr::from_bits(number).into(),
    }
}
