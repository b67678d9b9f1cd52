//! Address classes by interval instead of by prefix, and the tree of them that the programs search.
//!
//! A longest-prefix match finds one class for every address; where it changes, an interval begins. Asked by `datapath` for
//! the tree of IPv4, and by `plan` for what two policies make of every address.

use std::ops::Add;

use firewall_common::abi::{CHILD_NODE, INTERVAL_NODE_ENTRIES, IntervalNode};

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

    /// The nodes of the interval tree of IPv4, the root first.
    #[must_use]
    pub fn interval_tree_v4(&self) -> Vec<IntervalNode> {
        tree(self.intervals_v4())
    }
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

/// The nodes over sorted intervals, level by level from the root.
fn tree(intervals: Vec<(u32, u32)>) -> Vec<IntervalNode> {
    let mut levels = vec![intervals];
    while let Some(below) = levels.last().filter(|level| level.len() > INTERVAL_NODE_ENTRIES) {
        // Where each node of that level begins, and its position there.
        let nodes = below.chunks(INTERVAL_NODE_ENTRIES).zip(0..);
        let level = nodes.map(|(entries, position)| (entries[0].0, position)).collect();
        levels.push(level);
    }
    let mut nodes = Vec::new();
    while let Some(mut level) = levels.pop() {
        if !levels.is_empty() {
            let first_child = nodes.len() + level.len().div_ceil(INTERVAL_NODE_ENTRIES);
            // There are fewer nodes than addresses.
            let first_child = u32::try_from(first_child).unwrap_or(u32::MAX);
            level.iter_mut().for_each(|(_, position)| *position = CHILD_NODE | (first_child + *position));
        }
        nodes.extend(level.chunks(INTERVAL_NODE_ENTRIES).map(IntervalNode::new));
    }
    nodes
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

    fn found(tree: &[IntervalNode], address: u32) -> u32 {
        class_in(|index| tree.get(index as usize), Ipv4::from_bytes(address.to_be_bytes()))
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
            let (intervals, tree) = (policy.intervals_v4(), policy.interval_tree_v4());
            let ends = prefixes.iter().flat_map(|(prefix, _)| {
                let [first, last] = [prefix.network(), prefix.broadcast()].map(Ipv4Addr::to_bits);
                [first.saturating_sub(1), first, last, last.saturating_add(1)]
            });
            for address in ends.chain(addresses).chain([0, u32::MAX]) {
                let expected = by_longest_prefix(&prefixes, address);
                prop_assert_eq!(found(&tree, address), expected, "{}", Ipv4Addr::from_bits(address));
            }
            prop_assert!(intervals.is_sorted_by(|one, next| one.0 < next.0 && one.1 != next.1));
        }
    }

    #[test]
    fn a_tree_is_as_deep_as_its_intervals_need() {
        // Every other address of as many as it takes, so that each prefix is two intervals.
        for (prefixes, nodes) in [(0, 1), (127, 1), (128, 3), (32_767, 257), (32_768, 260)] {
            let hosts = (0..prefixes).map(|host| Ipv4Addr::from_bits(0x0a00_0000 + 2 * host));
            let tree = policy(hosts.map(|host| (host.into(), 7)).collect()).interval_tree_v4();
            assert_eq!(tree.len(), nodes, "{prefixes} prefixes");
            for address in 0..=2 * prefixes {
                let class = if address % 2 == 0 && address < 2 * prefixes { 7 } else { 0 };
                assert_eq!(found(&tree, 0x0a00_0000 + address), class, "{address} of {prefixes} prefixes");
            }
            assert_eq!([found(&tree, 0), found(&tree, u32::MAX)], [0, 0]);
        }
    }

    #[test]
    fn where_a_node_is_missing_no_rule_names_the_address() {
        let hosts = (0..200).map(|host| (Ipv4Addr::from_bits(0x0a00_0000 + 2 * host).into(), 7));
        let tree = policy(hosts.collect()).interval_tree_v4();
        assert_eq!((found(&tree, 0x0a00_0000), found(&tree[..1], 0x0a00_0000)), (7, 0));
        assert_eq!(found(&[], 0x0a00_0000), 0);
    }
}
