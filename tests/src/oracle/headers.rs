//! Frames that cannot be judged because their headers are evasive (`docs/decisions.md`, "Evasive headers").

use firewall_common::reason::Reason;

use super::segment::answers_and_ends;
use crate::packets::{Content, Extension, Fragment, Frame, IcmpBody, Packet, Transport, tcp};

/// Two tags are what IEEE 802.1ad has.
const MAX_TAGS: usize = 2;

/// Extension headers that are walked, the fragment header included.
const MAX_EXTENSIONS: usize = 8;

/// The reason to drop a frame whatever the rules say.
pub(super) fn unreadable(frame: &Frame) -> Option<Reason> {
    if frame.tags.len() > MAX_TAGS {
        return Some(Reason::UnknownEncapsulation);
    }
    let Content::Ip(packet) = &frame.content else {
        return None;
    };
    if packet.flaws.header_words.is_some() {
        return Some(Reason::BadHeaderLength);
    }
    if packet.flaws.claimed_bytes > 0 {
        return Some(Reason::BadLength);
    }
    evasive_extensions(packet).or_else(|| cut_transport(packet)).or_else(|| evasive_segment(packet))
}

fn evasive_extensions(packet: &Packet) -> Option<Reason> {
    let mut chain = packet.extensions.clone();
    if packet.source.is_ipv6() && packet.fragment != Fragment::Whole {
        // To the walk, one fragment header is like another.
        chain.push(Extension::AtomicFragment);
    }
    for (index, extension) in chain.iter().enumerate() {
        match extension {
            _ if index >= MAX_EXTENSIONS => return Some(Reason::TooManyExtensionHeaders),
            // RFC 5095.
            Extension::Routing(0) => return Some(Reason::RoutingHeader0),
            _ => {}
        }
    }
    None
}

/// The first fragment must have the whole transport header (RFC 1858), and so must a packet that is not fragmented.
fn cut_transport(packet: &Packet) -> Option<Reason> {
    packet.flaws.transport_bytes?;
    match packet.fragment {
        Fragment::Whole => Some(Reason::Truncated),
        Fragment::First { .. } => Some(Reason::TinyFragment),
        Fragment::Later { .. } => None,
    }
}

fn evasive_segment(packet: &Packet) -> Option<Reason> {
    let Transport::Tcp(segment) = &packet.transport else {
        return None;
    };
    if let Fragment::Later { offset, .. } = packet.fragment {
        // RFC 3128: it would overwrite what the first fragment was judged by.
        return (offset < 20).then_some(Reason::TinyFragment);
    }
    let openers_and_enders =
        [tcp::SYN, tcp::FIN, tcp::RST].iter().filter(|flag| segment.flags & **flag != 0).count();
    let needs_ack = segment.flags & (tcp::SYN | tcp::RST) == 0;
    let makes_sense =
        answers_and_ends(segment) || openers_and_enders <= 1 && (!needs_ack || segment.flags & tcp::ACK != 0);
    (!makes_sense).then_some(Reason::BadTransportHeader)
}

/// Whether an error that quotes so many bytes of a packet says which flow it is about: the ports or the identifier
/// are there, it is not a later fragment, and it is not an ICMP error or another message without a flow.
pub(super) fn identifies_its_flow(quoted: &Packet, bytes: u16) -> bool {
    let is_single_message = match &quoted.transport {
        Transport::Icmp { body: IcmpBody::Quote { .. }, .. } => true,
        Transport::Icmp { icmp_type, .. } if quoted.source.is_ipv6() => !matches!(icmp_type, 128 | 129),
        Transport::Icmp { icmp_type, .. } => !matches!(icmp_type, 0 | 8 | 13..=18),
        _ => false,
    };
    if is_single_message
        || matches!(quoted.fragment, Fragment::Later { .. })
        || evasive_extensions(quoted).is_some()
    {
        return false;
    }
    // RFC 792 promises the first 8 bytes.
    let needed_of_transport = quoted.transport.header_length().min(8);
    bytes >= network_header_length(quoted) + needed_of_transport
}

fn network_header_length(packet: &Packet) -> u16 {
    if packet.source.is_ipv4() {
        return 20 + u16::from(packet.options);
    }
    let fragment_header = if packet.fragment == Fragment::Whole { 0 } else { 8 };
    let extensions: u16 = packet.extensions.iter().map(|extension| extension_length(*extension)).sum();
    40 + extensions + fragment_header
}

const fn extension_length(extension: Extension) -> u16 {
    match extension {
        Extension::Authentication => 16,
        _ => 8,
    }
}
