//! Address classes by interval instead of by prefix, and the index of them that the programs search.
//!
//! A longest-prefix match finds one class for every address; where it changes, an interval begins. Asked by `datapath` for
//! the index of IPv4, and by `plan` for what two policies make of every address.

use std::mem::take;
use std::ops::Add;

use firewall_common::abi::{CHILD_NODE, INTERVAL_NODE_ENTRIES, IntervalNode, UpperHalves};

use super::CompiledPolicy;

impl CompiledPolicy {
    /// Where the class of IPv4 addresses changes, and to which, ascending from 0.0.0.0.
    #[must_use]
    pub fn intervals_v4(&self) -> Vec<(u32, u32)> {
        let prefixes = self.addresses_v4.iter();
        let spans = prefixes
            .map(|(prefix, class)| (prefix.network().to_bits(), prefix.broadcast().to_bits(), *class));
        intervals(spans, u32::MAX)
    }

    /// Where the class of IPv6 addresses changes, and to which, ascending from `::`.
    #[must_use]
    pub fn intervals_v6(&self) -> Vec<(u128, u32)> {
        let prefixes = self.addresses_v6.iter();
        let spans = prefixes
            .map(|(prefix, class)| (prefix.network().to_bits(), prefix.broadcast().to_bits(), *class));
        intervals(spans, u128::MAX)
    }

    /// The index of IPv4 addresses.
    #[must_use]
    pub fn address_index_v4(&self) -> AddressIndex {
        AddressIndex::new(&self.intervals_v4())
    }
}

/// The index of IPv4 addresses, as the programs search it ([`class_in`](firewall_common::abi::class_in)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressIndex {
    /// [`UPPER_HALF_LINES`](firewall_common::abi::UPPER_HALF_LINES) lines.
    pub upper_halves: Vec<UpperHalves>,
    /// The nodes that they refer to; one at the least, for the kernel has no array of no elements.
    pub nodes: Vec<IntervalNode>,
}

impl AddressIndex {
    /// Of sorted intervals, the first of which begins at 0.0.0.0.
    fn new(intervals: &[(u32, u32)]) -> Self {
        let mut entries = Vec::with_capacity(1 << 16);
        let mut nodes = Vec::new();
        // The intervals of the node that is being filled, and the one in which the /16 begins.
        let (mut filling, mut first) = (0..0, 0);
        for upper_half in 0..=u16::MAX {
            let last_address = u32::from(upper_half) << 16 | 0xffff;
            let begins_in_it = intervals[first..].iter().take_while(|(start, _)| *start <= last_address);
            let end = first + begins_in_it.count();
            if let [(_, class)] = intervals[first..end] {
                entries.push(class);
            } else if end - first > INTERVAL_NODE_ENTRIES {
                finish(&mut nodes, &intervals[take(&mut filling)]);
                entries.push(CHILD_NODE | number(nodes.len()));
                nodes.extend(node_of_nodes(&intervals[first..end], number(nodes.len())));
            } else {
                if filling.is_empty() || end - filling.start > INTERVAL_NODE_ENTRIES {
                    finish(&mut nodes, &intervals[take(&mut filling)]);
                    filling = first..end;
                }
                filling.end = end;
                entries.push(CHILD_NODE | number(nodes.len()));
            }
            // The last one goes on, unless another begins with the next /16.
            let goes_on = intervals.get(end).is_none_or(|(start, _)| *start > last_address + 1);
            first = if goes_on { end - 1 } else { end };
        }
        finish(&mut nodes, &intervals[filling]);
        if nodes.is_empty() {
            nodes.push(IntervalNode::new(&[]));
        }
        Self { upper_halves: entries.as_chunks().0.to_vec(), nodes }
    }
}

/// Ends the node that is being filled, if there is one.
fn finish(nodes: &mut Vec<IntervalNode>, intervals: &[(u32, u32)]) {
    if !intervals.is_empty() {
        nodes.push(IntervalNode::new(intervals));
    }
}

/// The nodes of a /16 of more intervals than one has entries: the first one, which will have this number, refers to the others.
fn node_of_nodes(intervals: &[(u32, u32)], number: u32) -> Vec<IntervalNode> {
    let leaves = intervals.chunks(INTERVAL_NODE_ENTRIES);
    let entries: Vec<_> =
        leaves.clone().zip(number + 1..).map(|(leaf, number)| (leaf[0].0, CHILD_NODE | number)).collect();
    std::iter::once(IntervalNode::new(&entries)).chain(leaves.map(IntervalNode::new)).collect()
}

/// There are fewer nodes than addresses.
fn number(nodes: usize) -> u32 {
    u32::try_from(nodes).unwrap_or(u32::MAX)
}

/// The intervals of spans, which are prefixes: first address, last address and class. What contains one comes before it.
fn intervals<N>(spans: impl Iterator<Item = (N, N, u32)>, highest: N) -> Vec<(N, u32)>
where
    N: Copy + Ord + From<u8> + Add<Output = N>,
{
    let mut intervals = vec![(N::from(0), 0)];
    let mut around: Vec<(N, u32)> = Vec::new();
    for (first, last, class) in spans {
        leave(&mut around, &mut intervals, first);
        begin(&mut intervals, first, class);
        around.push((last, class));
    }
    // What ends at the highest address has nothing after it.
    leave(&mut around, &mut intervals, highest);
    intervals
}

/// Steps out of the spans that end before `start`.
fn leave<N>(around: &mut Vec<(N, u32)>, intervals: &mut Vec<(N, u32)>, start: N)
where
    N: Copy + Ord + From<u8> + Add<Output = N>,
{
    while let Some(&(last, _)) = around.last().filter(|(last, _)| *last < start) {
        around.pop();
        begin(intervals, last + N::from(1), around.last().map_or(0, |(_, class)| *class));
    }
}

/// The last interval to begin at an address counts. Neighbours of one class are one interval.
fn begin<N: PartialEq>(intervals: &mut Vec<(N, u32)>, start: N, class: u32) {
    if intervals.last().is_some_and(|(known, _)| *known == start) {
        intervals.pop();
    }
    if intervals.last().is_none_or(|(_, before)| *before != class) {
        intervals.push((start, class));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use firewall_common::abi::{Ipv4, class_in};
    use ipnet::Ipv4Net;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn policy(addresses_v4: Vec<(Ipv4Net, u32)>) -> CompiledPolicy {
        let (addresses_v6, services, cells) = (Vec::new(), Vec::new(), Vec::new());
        CompiledPolicy { interfaces: Vec::new(), addresses_v4, addresses_v6, services, cells }
    }

    fn found(index: &AddressIndex, address: u32) -> u32 {
        class_in(
            |line| index.upper_halves.get(line as usize),
            |node| index.nodes.get(node as usize),
            Ipv4::from_bytes(address.to_be_bytes()),
        )
    }

    fn by_longest_prefix(prefixes: &[(Ipv4Net, u32)], address: u32) -> u32 {
        let containing = prefixes.iter().filter(|(prefix, _)| prefix.contains(&Ipv4Addr::from_bits(address)));
        containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class)
    }

    /// Close together, so that prefixes lie in each other and side by side.
    fn prefix() -> impl Strategy<Value = Ipv4Net> {
        let first = prop_oneof![Just(0), Just(0xffff_ff00), Just(0x0a00_0000), any::<u32>()];
        (first, any::<u8>(), prop_oneof![0..=32_u8, 24..=32_u8]).prop_map(|(first, low, length)| {
            Ipv4Net::new(Ipv4Addr::from_bits(first | u32::from(low)), length).unwrap().trunc()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_address_has_the_class_of_its_longest_prefix(
            prefixes in btree_map(prefix(), 1..5_u32, 0..200),
            addresses in prop::collection::vec(any::<u32>(), 20),
        ) {
            let prefixes: Vec<(Ipv4Net, u32)> = prefixes.into_iter().collect();
            let policy = policy(prefixes.clone());
            let (intervals, index) = (policy.intervals_v4(), policy.address_index_v4());
            let ends = prefixes.iter().flat_map(|(prefix, _)| {
                let [first, last] = [prefix.network(), prefix.broadcast()].map(Ipv4Addr::to_bits);
                [first.saturating_sub(1), first, last, last.saturating_add(1)]
            });
            for address in ends.chain(addresses).chain([0, u32::MAX]) {
                let expected = by_longest_prefix(&prefixes, address);
                prop_assert_eq!(found(&index, address), expected, "{}", Ipv4Addr::from_bits(address));
            }
            prop_assert!(intervals.is_sorted_by(|one, next| one.0 < next.0 && one.1 != next.1));
        }
    }

    #[test]
    fn there_are_as_many_nodes_as_the_intervals_need() {
        // Every other address of as many as it takes, so that each prefix is two intervals.
        for (prefixes, nodes) in [(0, 1), (128, 1), (129, 3), (32_767, 257), (32_768, 257), (32_769, 258)] {
            let hosts = (0..prefixes).map(|host| Ipv4Addr::from_bits(0x0a00_0000 + 2 * host));
            let index = policy(hosts.map(|host| (host.into(), 7)).collect()).address_index_v4();
            assert_eq!(index.nodes.len(), nodes, "{prefixes} prefixes");
            for address in 0..=2 * prefixes {
                let class = if address % 2 == 0 && address < 2 * prefixes { 7 } else { 0 };
                assert_eq!(found(&index, 0x0a00_0000 + address), class, "{address} of {prefixes} prefixes");
            }
            assert_eq!([found(&index, 0), found(&index, u32::MAX)], [0, 0]);
        }
    }

    #[test]
    fn prefixes_that_lie_apart_share_nodes() {
        // A host in each /16: four intervals of each are one more than its neighbours share.
        let hosts = (0..1000).map(|host: u32| (Ipv4Addr::from_bits(0x0a00_0007 + (host << 16)).into(), 7));
        let index = policy(hosts.collect()).address_index_v4();
        assert_eq!(index.nodes.len(), 8, "2000 intervals in nodes of 256");
        for host in 0..1000_u32 {
            let address = 0x0a00_0007 + (host << 16);
            assert_eq!([-1, 0, 1].map(|by| found(&index, address.wrapping_add_signed(by))), [0, 7, 0]);
        }
        // Whole ones need no node.
        let whole =
            (0..1000_u32).map(|upper| (Ipv4Net::new(Ipv4Addr::from_bits(upper << 17), 16).unwrap(), 7));
        let index = policy(whole.collect()).address_index_v4();
        let classes = [0x0002_0000, 0x0002_ffff, 0x0003_0000].map(|address| found(&index, address));
        assert_eq!(classes, [7, 7, 0]);
        assert_eq!(index.nodes, [IntervalNode::new(&[])]);
    }

    #[test]
    fn where_a_line_or_a_node_is_missing_no_rule_names_the_address() {
        let hosts = (0..200).map(|host| (Ipv4Addr::from_bits(0x0a00_0000 + 2 * host).into(), 7));
        let index = policy(hosts.collect()).address_index_v4();
        let nodes = index.nodes[..1].to_vec();
        let without_leaves = AddressIndex { nodes, ..index.clone() };
        let without_lines = AddressIndex { upper_halves: Vec::new(), ..index.clone() };
        let classes = [index, without_leaves, without_lines].map(|index| found(&index, 0x0a00_0000));
        assert_eq!(classes, [7, 0, 0]);
    }
}
