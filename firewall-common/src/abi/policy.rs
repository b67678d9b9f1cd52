//! The compiled policy as the programs read it.
//!
//! Address → address class by interval in IPv4 and by longest prefix in IPv6; (protocol, destination port or ICMP type and
//! code) → service class by array; (policy, direction, address class, service class) → rule set id by hash. Class 0 means
//! that no rule anywhere names the address or the service.

use bytemuck::{Pod, Zeroable};

use super::Be16;
use super::Direction;
use crate::flow_table::life::Lifetimes;

/// Key of the cells: which rules match, for one policy, direction, address class and service class. A missing cell
/// is a deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct CellKey {
    /// Policy of the interface ([`InterfaceSettings::policy`]).
    pub policy: u16,
    /// Service class of the packet.
    pub service_class: u16,
    /// Address class of the peer in the low 31 bits, [`Direction`] in the highest.
    pub direction_and_address_class: u32,
}

impl CellKey {
    /// Puts the parts together.
    #[must_use]
    #[inline(always)]
    pub const fn new(policy: u16, direction: Direction, address_class: u32, service_class: u16) -> Self {
        Self {
            policy,
            service_class,
            direction_and_address_class: (address_class & 0x7fff_ffff) | ((direction as u32) << 31),
        }
    }

    /// The key as it stands in the table.
    #[must_use]
    #[inline(always)]
    pub const fn word(&self) -> u64 {
        self.policy as u64
            | (self.service_class as u64) << 16
            | (self.direction_and_address_class as u64) << 32
    }
}

/// Bit of a cell's value: the packet is admitted without keeping state (AWS "untracked connections").
pub const UNTRACKED: u32 = 1 << 31;

/// Bit of a cell's value: the packet is exempt by an address that the operator has named, and so are the replies to it.
/// It stands beside the rules of the cell, if there are any.
pub const EXEMPT: u32 = 1 << 30;

/// Bit of a cell's value, ingress alone: the peer and the service are of a management prefix. Where rules admit the packet
/// and its flow finds no place, it passes without one, and so do the replies.
pub const MANAGEMENT: u32 = 1 << 29;

/// The part of a cell's value that is a rule set id; 0 where no rule matches.
pub const RULE_SET: u32 = MANAGEMENT - 1;

/// Service classes in one element of the service array. Array elements take at least 8 bytes each, so they are packed.
pub const SERVICE_CHUNK: usize = 32;

/// Entries of the service index space; see [`ServiceIndex`].
pub const SERVICE_INDEXES: usize = 4 * 65_536 + 2 * 256;

/// Elements of the service array.
pub const SERVICE_CHUNKS: u32 = (SERVICE_INDEXES / SERVICE_CHUNK) as u32;

/// Where a packet's service stands in the service array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceIndex(u32);

impl ServiceIndex {
    /// TCP by destination port.
    #[must_use]
    #[inline(always)]
    pub const fn tcp(port: Be16) -> Self {
        Self(port.get() as u32)
    }

    /// UDP by destination port.
    #[must_use]
    #[inline(always)]
    pub const fn udp(port: Be16) -> Self {
        Self(0x1_0000 + port.get() as u32)
    }

    /// ICMP (protocol 1 in IPv4) by type and code.
    #[must_use]
    #[inline(always)]
    pub const fn icmp(icmp_type: u8, code: u8) -> Self {
        Self(0x2_0000 + ((icmp_type as u32) << 8) + code as u32)
    }

    /// ICMPv6 (protocol 58 in IPv6) by type and code.
    #[must_use]
    #[inline(always)]
    pub const fn icmpv6(icmp_type: u8, code: u8) -> Self {
        Self(0x3_0000 + ((icmp_type as u32) << 8) + code as u32)
    }

    /// Any other protocol by number, including ICMP in IPv6 and ICMPv6 in IPv4, which the `icmp` and `icmpv6` of a
    /// rule do not mean.
    #[must_use]
    #[inline(always)]
    pub const fn other(protocol: u8) -> Self {
        Self(0x4_0000 + protocol as u32)
    }

    /// What cannot be told apart by port: rules that admit every port or every type of the protocol. Non-first
    /// fragments without a known first fragment are judged by it.
    #[must_use]
    #[inline(always)]
    pub const fn every_port(protocol: u8) -> Self {
        Self(0x4_0100 + protocol as u32)
    }

    /// The service of a position.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Position in the whole index space.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Settings of one interface, found by the program's slot. They are published together with the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InterfaceSettings {
    /// Policy in [`CellKey`]s; 0 = no policy, everything but exempt traffic is dropped.
    pub policy: u16,
    /// Zone of the interface's flows: flow state is shared within a zone.
    pub zone: u16,
    /// Bits of [`interface_flag`].
    pub flags: u16,
    /// Bits of [`exempt_flag`].
    pub exempt: u16,
    /// Jiffies in a second on the running kernel (`CONFIG_HZ`).
    pub jiffies_per_second: u32,
    /// How long flows may be idle.
    pub lifetimes: Lifetimes,
    /// What is untracked whoever the peer is.
    pub untracked: UntrackedServices,
    /// Lines of the table of cells.
    pub cell_lines: u32,
}

/// The service classes of one policy whose cells have [`UNTRACKED`] for every peer of a family, as far as their numbers
/// are at most [`UntrackedServices::CLASSES`]: a word for each direction and family, in which bit `n - 1` stands for class
/// `n`. The cells of the other direction admit every peer on every port of the same protocol.
///
/// This spares such packets the look for their peer and for their cell. What is not named here has cells that say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct UntrackedServices {
    ingress: [u32; 2],
    egress: [u32; 2],
}

impl UntrackedServices {
    /// As many classes, from 1, can be named.
    pub const CLASSES: u16 = 32;

    /// Names a class, if its number is not too large.
    pub const fn insert(&mut self, direction: Direction, is_ipv6: bool, class: u16) {
        let bit = Self::bit(class);
        match direction {
            Direction::Ingress => self.ingress[is_ipv6 as usize] |= bit,
            Direction::Egress => self.egress[is_ipv6 as usize] |= bit,
        }
    }

    /// Whether a class is named.
    #[must_use]
    #[inline(always)]
    pub const fn contains(&self, direction: Direction, is_ipv6: bool, class: u16) -> bool {
        let words = match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        };
        words[is_ipv6 as usize] & Self::bit(class) != 0
    }

    #[inline(always)]
    const fn bit(class: u16) -> u32 {
        if class == 0 || class > Self::CLASSES { 0 } else { 1 << (class - 1) }
    }
}

/// Bits of [`InterfaceSettings::flags`].
pub mod interface_flag {
    /// ICMP errors pass only where a rule admits them, as AWS documents it; otherwise those that quote live state
    /// pass too.
    pub const ICMP_ERRORS_BY_RULES_ONLY: u16 = 1 << 0;
    /// A TCP segment other than a SYN does not start a flow.
    pub const TCP_STRICT: u16 = 1 << 1;
    /// Audit mode: what would be dropped is counted as such, and passes.
    pub const AUDIT: u16 = 1 << 2;
}

/// Bits of [`InterfaceSettings::exempt`]: traffic that passes whatever the rules say.
pub mod exempt_flag {
    /// ARP.
    pub const ARP: u16 = 1 << 0;
    /// IPv6 neighbour discovery: ICMPv6 133 to 137 with hop limit 255.
    pub const NEIGHBOR_DISCOVERY: u16 = 1 << 1;
    /// IPv6 multicast listener discovery: ICMPv6 130, 131, 132 and 143 with hop limit 1.
    pub const MULTICAST_LISTENER: u16 = 1 << 2;
    /// DHCPv4 and DHCPv6 client traffic.
    pub const DHCP_CLIENT: u16 = 1 << 3;
    /// Frames that carry neither IP nor ARP.
    pub const NON_IP: u16 = 1 << 4;
    /// Cells with [`EXEMPT`](super::EXEMPT) exist for this interface. Without it they are not looked for.
    pub const ADDRESSES: u16 = 1 << 5;
    /// All but addresses, which the operator has to name: the default.
    pub const ALL: u16 = ARP | NEIGHBOR_DISCOVERY | MULTICAST_LISTENER | DHCP_CLIENT | NON_IP;
}

const _: () = {
    assert!(size_of::<CellKey>() == 8);
    assert!(size_of::<UntrackedServices>() == 16);
    assert!(size_of::<InterfaceSettings>() == 96);
    assert!(SERVICE_INDEXES.is_multiple_of(SERVICE_CHUNK));
};
