//! The hash tables that the programs search: the cells, and the prefixes of IPv6.

use std::collections::BTreeSet;

use firewall_common::abi::Address as _;
use firewall_common::abi::{
    CELLS_OF_LINE, CellLine, Ipv6, LENGTH_NODES, LINES_SEARCHED, LengthNode, PREFIXES_OF_LINE, PrefixLine,
    cell_hash, first_line, line_behind, prefix_hash,
};

use super::CompiledPolicy;

/// The prefixes of IPv6, as the programs search them ([`class_in_v6`](firewall_common::abi::class_in_v6)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixTable {
    /// [`LENGTH_NODES`] of them.
    pub lengths: Vec<LengthNode>,
    /// One at the least, for the kernel has no array of no elements.
    pub lines: Vec<PrefixLine>,
}

/// A prefix, or the mark of longer ones at a shorter length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    address: u128,
    length: u8,
    /// Of a mark the class is still to be found.
    is_mark: bool,
    class: u32,
}

impl CompiledPolicy {
    /// The cells, as the programs search them ([`cell_in`](firewall_common::abi::cell_in)). At least one line.
    #[must_use]
    pub fn cell_lines(&self) -> Vec<CellLine> {
        let hashes = self.cells.iter().map(|(key, _)| cell_hash(key.word()));
        table(hashes, CELLS_OF_LINE, |line: &mut CellLine, cell| {
            let (key, value) = self.cells[cell];
            line.insert(&key, value)
        })
    }

    /// The table of IPv6 prefixes.
    #[must_use]
    pub fn prefix_table_v6(&self) -> PrefixTable {
        let mut entries = self.addresses_v6.iter().map(|(prefix, class)| Entry {
            address: prefix.network().to_bits(),
            length: prefix.prefix_len(),
            is_mark: false,
            class: *class,
        });
        // It contains every other prefix, so it is the first one.
        let everywhere = entries.clone().next().filter(|entry| entry.length == 0).map(|entry| entry.class);
        let entries = entries.by_ref().filter(|entry| entry.length > 0).collect::<Vec<_>>();
        let lengths: BTreeSet<u8> = entries.iter().map(|entry| entry.length).collect();
        let lengths: Vec<u8> = lengths.into_iter().collect();
        let everywhere = everywhere.unwrap_or(0);
        let entries = with_marks(entries, &lengths, everywhere);
        let place = |entry: &Entry| {
            let address = Ipv6::from_bytes(entry.address.to_be_bytes());
            (prefix_hash(address.words(), entry.length.into()), address)
        };
        let hashes = entries.iter().map(|entry| place(entry).0);
        let lines: Vec<PrefixLine> = table(hashes, PREFIXES_OF_LINE, |line: &mut PrefixLine, entry| {
            let entry = &entries[entry];
            line.insert(&place(entry).1, entry.length, entry.class)
        });
        let mut nodes = vec![LengthNode::default(); LENGTH_NODES];
        nodes[0] = LengthNode::root(everywhere, u32::try_from(lines.len()).unwrap_or(u32::MAX));
        each_node(&lengths, |node, index, _| nodes[node] = LengthNode::new(lengths[index]));
        PrefixTable { lengths: nodes, lines }
    }
}

/// Fills a table by the hashes of its entries. It becomes larger until every entry stands where it is searched.
fn table<L: Clone + Default>(
    hashes: impl ExactSizeIterator<Item = u64> + Clone,
    entries_of_line: usize,
    insert: impl Fn(&mut L, usize) -> bool,
) -> Vec<L> {
    // Two thirds full.
    let mut size = (3 * hashes.len()).div_ceil(2 * entries_of_line).max(1);
    loop {
        if let Some(lines) = filled(hashes.clone(), size, &insert) {
            return lines;
        }
        size += size.div_ceil(4);
    }
}

fn filled<L: Clone + Default>(
    hashes: impl Iterator<Item = u64>,
    size: usize,
    insert: impl Fn(&mut L, usize) -> bool,
) -> Option<Vec<L>> {
    // More lines than can be counted no policy needs: its cells and prefixes are limited.
    let count = u32::try_from(size).unwrap_or(u32::MAX);
    let mut lines = vec![L::default(); size];
    for (entry, hash) in hashes.enumerate() {
        let first = first_line(hash, count);
        let mut searched = std::iter::successors(Some(first), |line| Some(line_behind(*line, count)));
        let mut searched = searched.by_ref().take(LINES_SEARCHED as usize);
        if !searched.any(|line| insert(&mut lines[line as usize], entry)) {
            return None;
        }
    }
    Some(lines)
}

/// Visits the tree of a search among sorted lengths: element of the tree, place of the length in the list, and the places of
/// the shorter lengths at which the search has found something before it comes there.
///
/// It begins with the shortest length, where most strangers are found out at once, and goes on as a binary search.
fn each_node(lengths: &[u8], mut visit: impl FnMut(usize, usize, &[usize])) {
    // Element, and the part of the list that is below it.
    let mut open = vec![(1, 0..lengths.len(), Vec::new())];
    while let Some((node, part, found)) = open.pop() {
        if part.is_empty() {
            continue;
        }
        let middle = if node == 1 { part.start } else { part.start + part.len() / 2 };
        visit(node, middle, &found);
        open.push((2 * node, part.start..middle, found.clone()));
        let found = [found.as_slice(), &[middle]].concat();
        open.push((2 * node + 1, middle + 1..part.end, found));
    }
}

/// The prefixes and their marks. Each has the class of the longest prefix that contains it.
fn with_marks(mut entries: Vec<Entry>, lengths: &[u8], everywhere: u32) -> Vec<Entry> {
    let mut marks_of_length = vec![Vec::new(); 129];
    each_node(lengths, |_, index, found| {
        marks_of_length[usize::from(lengths[index])] = found.iter().map(|index| lengths[*index]).collect();
    });
    let marks: Vec<Entry> = entries
        .iter()
        .flat_map(|entry| {
            let mark = |length: &u8| Entry {
                address: entry.address & u128::MAX << (128 - u32::from(*length)),
                length: *length,
                is_mark: true,
                class: 0,
            };
            marks_of_length[usize::from(entry.length)].iter().map(mark)
        })
        .collect();
    entries.extend(marks);
    // What contains another comes before it, and a prefix before its mark.
    entries.sort_unstable();
    entries.dedup_by_key(|entry| (entry.address, entry.length));
    // Last address and class of the prefixes around.
    let mut around: Vec<(u128, u32)> = Vec::new();
    for entry in &mut entries {
        while around.pop_if(|(last, _)| *last < entry.address).is_some() {}
        if entry.is_mark {
            entry.class = around.last().map_or(everywhere, |(_, class)| *class);
        } else {
            let beyond = u128::MAX.checked_shr(entry.length.into()).unwrap_or(0);
            around.push((entry.address | beyond, entry.class));
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv6Addr;

    use firewall_common::abi::{CellKey, Direction, cell_in, class_in_v6, prefix_in};
    use ipnet::Ipv6Net;
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    fn policy(addresses_v6: Vec<(Ipv6Net, u32)>, cells: Vec<(CellKey, u32)>) -> CompiledPolicy {
        let (addresses_v4, services) = (Vec::new(), Vec::new());
        CompiledPolicy { interfaces: Vec::new(), addresses_v4, addresses_v6, services, cells }
    }

    fn class_of(table: &PrefixTable, address: u128) -> u32 {
        class_in_v6(
            |index| table.lengths.get(index as usize),
            |lines, prefix, length| prefix_in(|index| table.lines.get(index as usize), lines, prefix, length),
            Ipv6::from_bytes(address.to_be_bytes()).words(),
        )
    }

    fn by_longest_prefix(prefixes: &BTreeMap<Ipv6Net, u32>, address: u128) -> u32 {
        let address = Ipv6Addr::from_bits(address);
        let containing = prefixes.iter().filter(|(prefix, _)| prefix.contains(&address));
        containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class)
    }

    /// Close together, so that prefixes lie in each other and side by side.
    fn prefix() -> impl Strategy<Value = Ipv6Net> {
        let first = prop_oneof![Just(0), Just(u128::MAX - 255), Just(0x2001_0db8 << 96), any::<u128>()];
        (first, any::<u8>(), prop_oneof![0..=128_u8, 120..=128_u8, Just(64)]).prop_map(
            |(first, low, length)| {
                Ipv6Net::new(Ipv6Addr::from_bits(first | u128::from(low)), length).unwrap().trunc()
            },
        )
    }

    fn check(prefixes: &BTreeMap<Ipv6Net, u32>, others: &[u128]) {
        let table = policy(prefixes.clone().into_iter().collect(), Vec::new()).prefix_table_v6();
        let ends = prefixes.keys().flat_map(|prefix| {
            let [first, last] = [prefix.network(), prefix.broadcast()].map(Ipv6Addr::to_bits);
            [first.saturating_sub(1), first, last, last.saturating_add(1)]
        });
        for address in ends.chain(others.iter().copied()).chain([0, u128::MAX]) {
            let expected = by_longest_prefix(prefixes, address);
            assert_eq!(class_of(&table, address), expected, "{}", Ipv6Addr::from_bits(address));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn every_address_has_the_class_of_its_longest_prefix(
            prefixes in btree_map(prefix(), 1..5_u32, 0..200),
            addresses in prop::collection::vec(any::<u128>(), 20),
        ) {
            check(&prefixes, &addresses);
        }

        #[test]
        fn every_cell_is_found_and_no_other(numbers in btree_map(any::<(u16, u32)>(), 1..u32::MAX, 0..500)) {
            let key = |(service, class): (u16, u32)| CellKey::new(7, Direction::Egress, class >> 1, service);
            let cells: BTreeMap<CellKey, u32> =
                numbers.into_iter().map(|(parts, value)| (key(parts), value)).collect();
            let lines = policy(Vec::new(), cells.clone().into_iter().collect()).cell_lines();
            let found = |key: &CellKey| {
                let count = u32::try_from(lines.len()).unwrap();
                cell_in(|index| lines.get(index as usize), count, key.word())
            };
            for (cell, value) in &cells {
                prop_assert_eq!(found(cell), *value);
                let other = CellKey { policy: 8, ..*cell };
                prop_assert_eq!(found(&other), 0);
            }
            prop_assert_eq!(lines.iter().flat_map(CellLine::values).count(), cells.len());
        }
    }

    #[test]
    fn all_lengths_may_occur() {
        // Each in the one before, and one beside each.
        let inside = |length: u8| Ipv6Net::new(Ipv6Addr::from_bits(u128::MAX), length).unwrap().trunc();
        let beside = |length: u8| {
            Ipv6Net::new(Ipv6Addr::from_bits(u128::MAX ^ 1 << (128 - u32::from(length))), length).unwrap()
        };
        let prefixes: BTreeMap<Ipv6Net, u32> = (0..=128)
            .map(|length| (inside(length), u32::from(length) + 1))
            .chain((1..=128).map(|length| (beside(length).trunc(), u32::from(length) + 1000)))
            .collect();
        check(&prefixes, &[]);
    }

    #[test]
    fn a_table_without_entries_has_a_line() {
        let empty = policy(Vec::new(), Vec::new());
        assert_eq!((empty.cell_lines().len(), empty.prefix_table_v6().lines.len()), (1, 1));
        check(&BTreeMap::new(), &[1]);
    }

    #[test]
    fn many_prefixes_take_bounded_memory() {
        // Random hosts in one /32, so that each has marks of its own.
        let mut random = 1_u128;
        let hosts = (0..100_000).map(|_| {
            random = random.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            let length = [128, 64, 56, 48][(random >> 100) as usize % 4];
            let address = 0x2001_0db8 << 96 | random >> 32;
            (Ipv6Net::new(Ipv6Addr::from_bits(address), length).unwrap().trunc(), 7)
        });
        let prefixes: BTreeMap<Ipv6Net, u32> = hosts.collect();
        let table = policy(prefixes.clone().into_iter().collect(), Vec::new()).prefix_table_v6();
        let bytes = table.lines.len() * size_of::<PrefixLine>();
        assert!(bytes < 120 * prefixes.len(), "{bytes} bytes");
    }
}
