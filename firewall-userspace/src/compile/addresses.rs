//! The partition of addresses into classes.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::numbering::NumberSets;
use super::{CompileError, FamilyPeer, Limits, PolicyInput};
use crate::model::{Peer, PrefixListEntry, PrefixListId};

/// Prefixes with their classes, and what the classes mean.
pub(super) struct AddressClasses {
    pub(super) v4: Vec<(Ipv4Net, u32)>,
    pub(super) v6: Vec<(Ipv6Net, u32)>,
    /// The numbers of the peers that contain the addresses of each class. Class 0 is the addresses that no peer contains.
    peers: NumberSets,
}

impl AddressClasses {
    /// The peers that contain the addresses of a class, in ascending order.
    pub(super) fn peers_of(&self, class: u32) -> &[u32] {
        self.peers.members(class)
    }

    /// The classes whose addresses each of `peers` peers contains, by the number of the peer, in ascending order.
    pub(super) fn by_peer(&self, peers: usize) -> Vec<Vec<u32>> {
        let mut classes = vec![Vec::new(); peers];
        for (class, members) in self.peers.iter() {
            members.iter().for_each(|peer| classes[*peer as usize].push(class));
        }
        classes
    }
}

/// Partitions the addresses of both families by the peers that contain them, which are numbered by their places.
pub(super) fn partition(
    peers: &[FamilyPeer],
    input: &PolicyInput<'_>,
    limits: Limits,
) -> Result<AddressClasses, CompileError> {
    let lists = input.prefix_lists.iter().map(|list| (list.id, list.entries.as_slice())).collect();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (number, peer) in (0..).zip(peers) {
        each_prefix(peer, input, &lists, |prefix| match prefix {
            IpNet::V4(prefix) if !peer.is_ipv6 => v4.push((prefix.trunc(), number)),
            IpNet::V6(prefix) if peer.is_ipv6 => v6.push((prefix.trunc(), number)),
            _ => {}
        });
    }
    let mut classes = Classes::new(limits);
    // IPv6 first, so that the numbers of its classes are the same whatever IPv4 has: a table with the same prefixes and
    // classes is not published anew (`datapath/receipt.rs`), and that of IPv4 costs nothing.
    let v6 = push_down(v6, |outer, inner| outer.contains(inner), &mut classes)?;
    let v4 = push_down(v4, |outer, inner| outer.contains(inner), &mut classes)?;
    Ok(AddressClasses { v4, v6, peers: classes.peers })
}

/// Calls `visit` with the prefixes of a peer, of either family.
fn each_prefix(
    peer: &FamilyPeer,
    input: &PolicyInput<'_>,
    lists: &HashMap<PrefixListId, &[PrefixListEntry]>,
    mut visit: impl FnMut(IpNet),
) {
    match peer.peer {
        Peer::Cidr(prefix) => visit(prefix),
        Peer::Group(group) => input.members.get(&group).into_iter().flatten().copied().for_each(visit),
        Peer::PrefixList(id) => {
            lists.get(&id).copied().unwrap_or_default().iter().for_each(|entry| visit(entry.prefix));
        }
    }
}

/// Gives each prefix the peers of the prefixes that contain it too. A longest-prefix match finds the most specific
/// prefix alone, so without this a /24 rule would hide the /0 rule around it.
fn push_down<N: Copy + Ord>(
    mut prefixes: Vec<(N, u32)>,
    contains: impl Fn(&N, &N) -> bool,
    classes: &mut Classes,
) -> Result<Vec<(N, u32)>, CompileError> {
    // By address and then by length: what contains a prefix comes before it.
    prefixes.sort_unstable();
    prefixes.dedup();
    let mut result = Vec::with_capacity(prefixes.len());
    let mut around: Vec<(N, u32)> = Vec::new();
    let mut own = Vec::new();
    for same in prefixes.chunk_by(|(one, _), (other, _)| one == other) {
        let prefix = same[0].0;
        while around.last().is_some_and(|(outer, _)| !contains(outer, &prefix)) {
            around.pop();
        }
        let outer = around.last().map_or(0, |(_, class)| *class);
        own.clear();
        own.extend(same.iter().map(|(_, peer)| *peer));
        let class = classes.union(outer, &own)?;
        around.push((prefix, class));
        // Where nothing changes the lookup may as well find the outer prefix.
        if class != outer {
            result.push((prefix, class));
        }
    }
    Ok(result)
}

/// The classes found so far.
struct Classes {
    /// By class.
    peers: NumberSets,
    /// The peers that have a prefix of their own, where there are several.
    own: NumberSets,
    /// A prefix list is thousands of prefixes with the same peers: each union is made once.
    unions: foldhash::HashMap<(u32, Own), u32>,
    /// How many peers the classes have together.
    members: usize,
    limits: Limits,
}

/// The peers that have a prefix themselves, rather than one around it. Mostly it is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Own {
    One(u32),
    Several(u32),
}

impl Classes {
    fn new(limits: Limits) -> Self {
        let (peers, own) = (NumberSets::default(), NumberSets::default());
        Self { peers, own, unions: foldhash::HashMap::default(), members: 0, limits }
    }

    /// The class of addresses that the peers of class `outer`, and `own`, contain.
    fn union(&mut self, outer: u32, own: &[u32]) -> Result<u32, CompileError> {
        let key = match own {
            [peer] => (outer, Own::One(*peer)),
            _ => (outer, Own::Several(self.own.number(own))),
        };
        if let Some(class) = self.unions.get(&key) {
            return Ok(*class);
        }
        let mut peers = [self.peers.members(outer), own].concat();
        peers.sort_unstable();
        peers.dedup();
        self.members += peers.len();
        if self.members > self.limits.matches {
            return Err(CompileError::NestedPrefixes { limit: self.limits.matches });
        }
        let class = self.peers.number(&peers);
        self.unions.insert(key, class);
        Ok(class)
    }
}
