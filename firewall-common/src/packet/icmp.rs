//! ICMP and ICMPv6 messages, by the part they play in flow state.

use super::be16;
use crate::abi::Be16;

/// The first 8 bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Its part in flow state.
    pub role: Role,
}

/// The part a message plays in flow state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Asks for a reply: echo, timestamp, information and address mask requests.
    Query {
        /// The identifier.
        identifier: Be16,
    },
    /// Answers a query.
    Reply {
        /// The identifier.
        identifier: Be16,
        /// The type of the queries it answers.
        query_type: u8,
    },
    /// Reports a packet, which it quotes.
    Error,
    /// Stands alone.
    Other,
}

/// Reads an ICMP message (RFC 792).
#[must_use]
#[inline(always)]
pub fn v4(header: &[u8; 8]) -> Icmp {
    let identifier = be16(header, 4);
    let role = match header[0] {
        8 | 13 | 15 | 17 => Role::Query { identifier },
        0 => Role::Reply { identifier, query_type: 8 },
        14 => Role::Reply { identifier, query_type: 13 },
        16 => Role::Reply { identifier, query_type: 15 },
        18 => Role::Reply { identifier, query_type: 17 },
        // Destination unreachable, time exceeded, parameter problem. Source quench and redirect also quote a packet,
        // but they are obsolete and an attack respectively; they need a rule.
        3 | 11 | 12 => Role::Error,
        _ => Role::Other,
    };
    Icmp { icmp_type: header[0], code: header[1], role }
}

/// Reads an ICMPv6 message (RFC 4443).
#[must_use]
#[inline(always)]
pub fn v6(header: &[u8; 8]) -> Icmp {
    let identifier = be16(header, 4);
    let role = match header[0] {
        128 => Role::Query { identifier },
        129 => Role::Reply { identifier, query_type: 128 },
        1..=4 => Role::Error,
        _ => Role::Other,
    };
    Icmp { icmp_type: header[0], code: header[1], role }
}
