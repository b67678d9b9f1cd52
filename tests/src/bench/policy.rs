//! The policy that the firewalls hold while they are measured, in the words of each.
//!
//! It is as large as asked for, and regular, so that the senders of a flood can be made to match or not: the listed
//! prefixes are every other block of all forged sources.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::flood::Senders;
use crate::lab::Family;

/// Open to everybody in both directions: no state is kept.
pub(super) const UNTRACKED_PORT: u16 = 9;

/// Open to everybody, for connections from the router: iperf3, and nginx.
pub(super) const SERVER_PORTS: [u16; 2] = [5201, 80];

/// The group, in `sgfw`, and the table, in nftables.
pub(super) const NAME: &str = "bench";

/// The first port range, and from one to the next.
const FIRST_PORT: u16 = 20_000;
const PORTS_BETWEEN: u16 = 40;
const PORTS_IN_RANGE: u16 = 20;

/// A policy of one prefix list and a number of port ranges that are open to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Listed prefixes of each family, a power of two.
    pub(super) prefixes: u32,
    /// Port ranges, at most 1024.
    pub(super) ranges: u16,
}

impl Size {
    /// A port that is open to the listed prefixes, in the middle range.
    pub(super) fn tracked_port(self) -> u16 {
        *self.range(self.ranges / 2).start()
    }

    /// Senders of whom all are listed, or none.
    pub(super) fn senders(self, family: Family, are_listed: bool) -> Senders {
        let mask = 1 << (self.shift(family) - 1);
        Senders::Anybody { mask, value: if are_listed { 0 } else { mask } }
    }

    /// The prefixes, as text.
    pub(super) fn prefixes(self, family: Family) -> impl Iterator<Item = String> {
        let shift = self.shift(family);
        (0..self.prefixes).map(move |block| match family {
            Family::V4 => format!("{}/{}", Ipv4Addr::from(0x4000_0000 | block << shift), 33 - shift),
            Family::V6 => {
                let forged = u128::from(u64::from(block) << shift) << 64;
                format!("{}/{}", Ipv6Addr::from(0xfd66 << 112 | forged), 65 - shift)
            }
        })
    }

    /// Forged bits below the number of a block; the highest of them is 0 in what is listed.
    fn shift(self, family: Family) -> u32 {
        let forged = match family {
            // `forged_sources` leaves 29 bits of an IPv4 address.
            Family::V4 => 29,
            Family::V6 => 32,
        };
        forged - self.prefixes.trailing_zeros()
    }

    fn range(self, number: u16) -> RangeInclusive<u16> {
        let first = FIRST_PORT + PORTS_BETWEEN * number;
        first..=first + PORTS_IN_RANGE - 1
    }

    fn ranges(self) -> impl Iterator<Item = String> {
        (0..self.ranges).map(move |number| {
            let range = self.range(number);
            format!("{}-{}", range.start(), range.end())
        })
    }

    /// As a policy document of `sgfw`.
    pub(super) fn document(self) -> Value {
        let anywhere = Family::ALL.map(Family::anywhere);
        let tracked = self.ranges().flat_map(|ports| {
            Family::ALL.map(|family| json!({"protocol": "udp", "ports": ports, "prefix_list": list(family)}))
        });
        let servers = SERVER_PORTS.into_iter().flat_map(|port| {
            ["tcp", "udp"].map(|protocol| json!({"protocol": protocol, "ports": port, "cidr": anywhere}))
        });
        let untracked = json!({"protocol": "udp", "ports": UNTRACKED_PORT, "cidr": anywhere});
        let lists = Family::ALL.map(|family| {
            json!({
                "name": list(family),
                "family": match family { Family::V4 => "ipv4", Family::V6 => "ipv6" },
                "max_entries": self.prefixes + 1,
                "entries": self.prefixes(family).map(|prefix| json!({"cidr": prefix})).collect::<Vec<_>>(),
            })
        });
        json!({
            "version": 1,
            "groups": [{
                "name": NAME,
                "description": "measured",
                "ingress": tracked.chain(servers).chain([untracked]).collect::<Vec<_>>(),
            }],
            "prefix_lists": lists,
        })
    }

    /// As a ruleset of nftables in its best form: established flows first, then two lookups in sets of intervals.
    pub(super) fn ruleset(self) -> String {
        let mut sets = String::new();
        for (family, kind) in Family::ALL.into_iter().zip(["ipv4_addr", "ipv6_addr"]) {
            let elements = self.prefixes(family).collect::<Vec<_>>().join(", ");
            let name = list(family);
            let _ =
                writeln!(sets, "set {name} {{ type {kind}; flags interval; elements = {{ {elements} }}; }}");
        }
        let ports = self.ranges().collect::<Vec<_>>().join(", ");
        let servers = SERVER_PORTS.map(|port| port.to_string()).join(", ");
        format!(
            "table inet {NAME} {{
                counter tracked-frames {{ }}
                counter untracked-frames {{ }}
                counter rule-frames {{ }}
                counter no-rule-frames {{ }}
                {sets}
                set ports {{ type inet_service; flags interval; elements = {{ {ports} }}; }}
                chain before_conntrack_in {{
                    type filter hook prerouting priority raw;
                    udp dport {UNTRACKED_PORT} notrack
                }}
                chain before_conntrack_out {{
                    type filter hook output priority raw;
                    udp sport {UNTRACKED_PORT} notrack
                }}
                chain input {{
                    type filter hook input priority filter; policy drop;
                    ct state established,related counter name tracked-frames accept
                    udp dport {UNTRACKED_PORT} counter name untracked-frames accept
                    udp dport @ports ip saddr @{v4} counter name rule-frames accept
                    udp dport @ports ip6 saddr @{v6} counter name rule-frames accept
                    meta l4proto {{ tcp, udp }} th dport {{ {servers} }} accept
                    meta l4proto ipv6-icmp accept
                    counter name no-rule-frames
                }}
                chain output {{
                    type filter hook output priority filter; policy accept;
                    ct state established,related accept
                }}
            }}\n",
            v4 = list(Family::V4),
            v6 = list(Family::V6),
        )
    }
}

/// The name of the prefix list, or set, of a family.
pub(super) const fn list(family: Family) -> &'static str {
    match family {
        Family::V4 => "peers-v4",
        Family::V6 => "peers-v6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_block_of_the_forged_sources_is_listed() {
        let size = Size { prefixes: 4, ranges: 1 };
        let [v4, v6] = Family::ALL.map(|family| size.prefixes(family).collect::<Vec<_>>());
        assert_eq!(v4, ["64.0.0.0/6", "72.0.0.0/6", "80.0.0.0/6", "88.0.0.0/6"]);
        assert_eq!(v6, ["fd66::/35", "fd66:0:4000::/35", "fd66:0:8000::/35", "fd66:0:c000::/35"]);
        let bit = |family| match size.senders(family, false) {
            Senders::Anybody { mask, value } if mask == value => mask,
            other => panic!("{other:?}"),
        };
        // 64.0.0.0/6 is listed and 68.0.0.0/6 is not; fd66::/35 is and fd66:0:2000::/35 is not.
        assert_eq!(Family::ALL.map(bit), [0x0400_0000, 0x2000_0000]);
    }

    #[test]
    fn the_tracked_port_is_in_the_middle_range() {
        assert_eq!(Size { prefixes: 1, ranges: 1 }.tracked_port(), 20_000);
        assert_eq!(Size { prefixes: 1, ranges: 1024 }.tracked_port(), 40_480);
    }
}
