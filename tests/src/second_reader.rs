//! Any bytes, read as a frame by the parser and by a second reader.
//!
//! Whatever the parser accepts must lie inside the frame, and etherparse, which knows nothing of us, must read the same addresses,
//! ports and flags in the same places: where two readers disagree, a packet can be judged by headers that the host does not see.

use etherparse::{
    Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};
use firewall_common::abi::{Ipv4, Ipv6};
use firewall_common::packet::quote::quoted_packet;
use firewall_common::packet::{
    Extent, Family, Fragment, Ip, Link, Network, Transport, network, parse_transport, tcp_flag,
};
use firewall_common::reason::Reason;

const ETHERNET_HEADER: usize = 14;

/// What the parser makes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// ARP, or neither ARP nor IP.
    NotIp,
    /// An IP packet, with what it carries.
    Packet(Transport),
    /// Dropped.
    Refused(Reason),
}

/// Has both read a frame.
///
/// # Panics
///
/// Where they disagree about what the parser accepts.
#[must_use]
pub fn check(frame: &[u8], link: Link) -> Parsed {
    match network(frame, link) {
        Ok(Network::Ipv4 { offset }) => {
            check_link(frame, link, 0x0800, offset);
            check_ipv4(frame, offset)
        }
        Ok(Network::Ipv6 { offset }) => {
            check_link(frame, link, 0x86dd, offset);
            check_ipv6(frame, offset)
        }
        Ok(Network::Arp | Network::Other) => {
            assert_ne!(link, Link::None, "no Ethertype said so");
            Parsed::NotIp
        }
        Err(reason) => Parsed::Refused(reason),
    }
}

/// The tags in the frame lead to the Ethertype that the parser went by.
fn check_link(frame: &[u8], link: Link, ethertype: u16, offset: u32) {
    let Link::Ethernet { stripped_tags } = link else {
        assert_eq!(offset, 0);
        return;
    };
    let offset = offset as usize;
    let tags = (offset - ETHERNET_HEADER) / 4;
    assert!(tags + stripped_tags as usize <= 2, "{tags} tags after {stripped_tags}");
    let mut found = Ethernet2HeaderSlice::from_slice(frame).expect("an Ethernet header").ether_type();
    for tag in 0..tags {
        assert!(matches!(found.0, 0x8100 | 0x88a8 | 0x9100 | 0x9200), "{found:?} is no tag");
        let tag = SingleVlanHeaderSlice::from_slice(&frame[ETHERNET_HEADER + 4 * tag..]).expect("a tag");
        found = tag.ether_type();
    }
    assert_eq!(found.0, ethertype);
}

fn check_ipv4(frame: &[u8], offset: u32) -> Parsed {
    let ip = match <Ipv4 as Family>::parse(frame, offset, Extent::Whole) {
        Ok(ip) => ip,
        Err(reason) => return Parsed::Refused(reason),
    };
    check_extent(&ip, frame, offset);
    let header = Ipv4HeaderSlice::from_slice(&frame[offset as usize..]).expect("an IPv4 header");
    assert_eq!(ip.source, Ipv4::from_bytes(header.source()));
    assert_eq!(ip.destination, Ipv4::from_bytes(header.destination()));
    assert_eq!(ip.payload - offset, u32::from(header.ihl()) * 4);
    // BIG TCP.
    let is_big = header.total_len() == 0 && frame.len() as u32 - offset > u32::from(u16::MAX);
    let total_length = if is_big { frame.len() as u32 - offset } else { header.total_len().into() };
    assert_eq!(ip.end - offset, total_length);
    assert_eq!((ip.protocol, ip.hop_limit), (header.protocol().0, header.ttl()));
    let place = (header.fragments_offset().value() * 8, header.more_fragments());
    check_fragment(ip.fragment, place, header.identification().into());
    check_transport(frame, &ip)
}

fn check_ipv6(frame: &[u8], offset: u32) -> Parsed {
    let ip = match <Ipv6 as Family>::parse(frame, offset, Extent::Whole) {
        Ok(ip) => ip,
        Err(reason) => return Parsed::Refused(reason),
    };
    check_extent(&ip, frame, offset);
    let header = Ipv6HeaderSlice::from_slice(&frame[offset as usize..]).expect("an IPv6 header");
    assert_eq!(ip.source, Ipv6::from_bytes(header.source()));
    assert_eq!(ip.destination, Ipv6::from_bytes(header.destination()));
    assert_eq!(ip.hop_limit, header.hop_limit());
    // RFC 2675.
    let is_jumbogram = header.payload_length() == 0
        && header.next_header() == IpNumber::IPV6_HEADER_HOP_BY_HOP
        && frame.len() as u32 - offset - 40 > u32::from(u16::MAX);
    let payload = offset + 40;
    let end = if is_jumbogram { frame.len() as u32 } else { payload + u32::from(header.payload_length()) };
    assert_eq!(ip.end, end);
    check_extensions(&frame[..end as usize], &ip, payload as usize, header.next_header());
    check_transport(frame, &ip)
}

/// Walks the extension headers once more, to the same transport header.
fn check_extensions(datagram: &[u8], ip: &Ip<Ipv6>, mut at: usize, mut next: IpNumber) {
    let mut fragment = ((0, false), 0);
    while at < ip.payload as usize {
        let rest = &datagram[at..];
        let length;
        (next, length) = match next {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest).expect("a fragment header");
                let place = (header.fragment_offset().value() * 8, header.more_fragments());
                fragment = (place, header.identification());
                (header.next_header(), header.slice().len())
            }
            IpNumber::AUTHENTICATION_HEADER => {
                // Not by etherparse, which refuses a length of 0; the kernel skips such a header (ipv6_skip_exthdr).
                (IpNumber(rest[0]), (usize::from(rest[1]) + 2) * 4)
            }
            other => {
                assert!(Ipv6RawExtHeaderSlice::header_type_supported(other), "{other:?} is no extension");
                let header = Ipv6RawExtHeaderSlice::from_slice(rest).expect("an extension header");
                (header.next_header(), header.slice().len())
            }
        };
        at += length;
    }
    assert_eq!((ip.payload as usize, ip.protocol), (at, next.0));
    check_fragment(ip.fragment, fragment.0, fragment.1);
}

fn check_extent<A>(ip: &Ip<A>, frame: &[u8], offset: u32) {
    assert!(offset < ip.payload, "the transport header begins before the network header");
    assert!(ip.payload <= ip.end, "the headers end at {}, the datagram at {}", ip.payload, ip.end);
    assert!(ip.end as usize <= frame.len(), "the datagram ends at {} of {}", ip.end, frame.len());
}

/// `place`: the fragment's offset in bytes, and whether more follow.
fn check_fragment(fragment: Fragment, place: (u16, bool), id: u32) {
    match (fragment, place) {
        (Fragment::None, (0, false)) => {}
        (Fragment::First { identification }, (0, true)) => assert_eq!(identification.get(), id),
        (Fragment::Later { identification, offset }, (expected, _)) if expected > 0 => {
            assert_eq!((identification.get(), offset), (id, expected.into()));
        }
        _ => panic!("{fragment:?} of {place:?}"),
    }
}

fn check_transport<A: Family>(frame: &[u8], ip: &Ip<A>) -> Parsed {
    let transport = match parse_transport(frame, ip, Extent::Whole) {
        Ok(transport) => transport,
        Err(reason) => return Parsed::Refused(reason),
    };
    let payload = &frame[ip.payload as usize..ip.end as usize];
    assert_eq!(transport == Transport::LaterFragment, matches!(ip.fragment, Fragment::Later { .. }));
    match transport {
        Transport::Tcp(tcp) => {
            let header = TcpHeaderSlice::from_slice(payload).expect("a TCP header");
            assert_eq!(ip.protocol, IpNumber::TCP.0);
            assert_eq!(tcp.source_port.get(), header.source_port());
            assert_eq!(tcp.destination_port.get(), header.destination_port());
            assert_eq!(tcp.sequence, header.sequence_number());
            assert_eq!(tcp.acknowledgement, header.acknowledgment_number());
            assert_eq!(tcp.has(tcp_flag::SYN), header.syn());
            assert_eq!(tcp.has(tcp_flag::ACK), header.ack());
            assert_eq!(tcp.has(tcp_flag::FIN), header.fin());
            assert_eq!(tcp.has(tcp_flag::RST), header.rst());
            assert_eq!(tcp.data_length as usize, payload.len() - header.slice().len());
        }
        Transport::Udp { source_port, destination_port } => {
            let header = UdpHeaderSlice::from_slice(payload).expect("a UDP header");
            assert_eq!(ip.protocol, IpNumber::UDP.0);
            assert_eq!(source_port.get(), header.source_port());
            assert_eq!(destination_port.get(), header.destination_port());
            if ip.fragment == Fragment::None {
                assert!((8..=payload.len()).contains(&header.length().into()));
            }
        }
        Transport::Icmp(icmp) => {
            let expected = if A::IS_IPV6 { IpNumber::IPV6_ICMP } else { IpNumber::ICMP };
            assert_eq!(ip.protocol, expected.0);
            assert_eq!([icmp.icmp_type, icmp.code], payload[..2]);
            check_quote(frame, ip);
        }
        Transport::Portless => {
            let has_ports = matches!(IpNumber(ip.protocol), IpNumber::TCP | IpNumber::UDP);
            assert!(!has_ports, "protocol {} is not portless", ip.protocol);
        }
        Transport::LaterFragment => {}
    }
    Parsed::Packet(transport)
}

/// A quote lies inside the error, was sent by whom the error is addressed to, and can be of a flow.
fn check_quote<A: Family>(frame: &[u8], error: &Ip<A>) {
    let Some((quoted, transport)) = quoted_packet(frame, error) else {
        return;
    };
    check_extent(&quoted, frame, error.payload + 8);
    assert!(quoted.source == error.destination);
    assert_ne!(transport, Transport::LaterFragment);
}
