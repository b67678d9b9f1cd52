//! The partition of addresses into classes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{FamilyPeer, PolicyInput};
use crate::model::{AddressFamily, Peer};

/// Prefixes with their classes, and what the classes mean.
pub(super) struct AddressClasses {
    pub(super) v4: Vec<(Ipv4Net, u32)>,
    pub(super) v6: Vec<(Ipv6Net, u32)>,
    /// The peers that contain the addresses of class `i + 1`. Class 0 is the addresses that no peer contains.
    pub(super) peers: Vec<BTreeSet<FamilyPeer>>,
}

/// Partitions the addresses of both families by the peers that contain them.
pub(super) fn partition(peers: &BTreeSet<FamilyPeer>, input: &PolicyInput) -> AddressClasses {
    let mut v4: BTreeMap<Ipv4Net, BTreeSet<FamilyPeer>> = BTreeMap::new();
    let mut v6: BTreeMap<Ipv6Net, BTreeSet<FamilyPeer>> = BTreeMap::new();
    for peer in peers {
        for prefix in prefixes(peer, input) {
            match prefix {
                IpNet::V4(prefix) => v4.entry(prefix).or_default().insert(*peer),
                IpNet::V6(prefix) => v6.entry(prefix).or_default().insert(*peer),
            };
        }
    }
    let mut classes = Classes::default();
    AddressClasses {
        v4: push_down(v4, |outer, inner| outer.contains(inner), &mut classes),
        v6: push_down(v6, |outer, inner| outer.contains(inner), &mut classes),
        peers: classes.peers,
    }
}

/// The prefixes of a peer, in its family.
fn prefixes(peer: &FamilyPeer, input: &PolicyInput) -> Vec<IpNet> {
    let family = if peer.is_ipv6 { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 };
    let all: Vec<IpNet> = match &peer.peer {
        Peer::Cidr(prefix) => vec![*prefix],
        Peer::Group(group) => input.members.get(group).cloned().unwrap_or_default(),
        Peer::PrefixList(id) => {
            let lists = input.prefix_lists.iter().filter(|list| list.id == *id);
            lists.flat_map(|list| list.entries.iter().map(|entry| entry.prefix)).collect()
        }
    };
    all.iter().filter(|prefix| AddressFamily::of(prefix) == family).map(IpNet::trunc).collect()
}

/// Gives each prefix the peers of the prefixes that contain it too. A longest-prefix match finds the most specific
/// prefix alone, so without this a /24 rule would hide the /0 rule around it.
///
/// The map is sorted by address and then by length: what contains a prefix comes before it.
fn push_down<N: Copy>(
    prefixes: BTreeMap<N, BTreeSet<FamilyPeer>>,
    contains: impl Fn(&N, &N) -> bool,
    classes: &mut Classes,
) -> Vec<(N, u32)> {
    let mut result = Vec::with_capacity(prefixes.len());
    let mut around: Vec<(N, u32)> = Vec::new();
    for (prefix, own) in prefixes {
        while around.last().is_some_and(|(outer, _)| !contains(outer, &prefix)) {
            around.pop();
        }
        let outer = around.last().map_or(0, |(_, class)| *class);
        let class = classes.union(outer, &own);
        around.push((prefix, class));
        // Where nothing changes the lookup may as well find the outer prefix.
        if class != outer {
            result.push((prefix, class));
        }
    }
    result
}

/// The classes found so far.
#[derive(Default)]
struct Classes {
    peers: Vec<BTreeSet<FamilyPeer>>,
    numbers: HashMap<BTreeSet<FamilyPeer>, u32>,
    /// A prefix list is thousands of prefixes with the same peers: each union is made once.
    unions: HashMap<(u32, BTreeSet<FamilyPeer>), u32>,
}

impl Classes {
    /// The class of addresses that the peers of class `outer`, and `own`, contain.
    fn union(&mut self, outer: u32, own: &BTreeSet<FamilyPeer>) -> u32 {
        if let Some(class) = self.unions.get(&(outer, own.clone())) {
            return *class;
        }
        let mut peers = own.clone();
        if outer != 0 {
            peers.extend(self.peers[outer as usize - 1].iter().copied());
        }
        let class = self.number(peers);
        self.unions.insert((outer, own.clone()), class);
        class
    }

    fn number(&mut self, peers: BTreeSet<FamilyPeer>) -> u32 {
        if let Some(number) = self.numbers.get(&peers) {
            return *number;
        }
        self.peers.push(peers.clone());
        // Each class has a prefix of its own in memory, so there are far fewer than 2³¹.
        let number = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.numbers.insert(peers, number);
        number
    }
}
