//! Frames as bytes, with etherparse for every header that it knows.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader,
    Ipv6Header, TcpHeader, UdpHeader, checksum,
};

use super::{Content, Extension, Fragment, Frame, IcmpBody, Packet, Segment, Transport, tcp};

const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const DESTINATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

pub(super) fn frame(frame: &Frame) -> Vec<u8> {
    let mut content = match &frame.content {
        Content::Ip(packet) => self::packet(packet),
        Content::Arp => arp_request(),
        Content::Other { .. } => vec![0; 46],
    };
    let mut ethertype = match &frame.content {
        Content::Ip(packet) if packet.source.is_ipv6() => EtherType::IPV6.0,
        Content::Ip(_) => EtherType::IPV4.0,
        Content::Arp => EtherType::ARP.0,
        Content::Other { ethertype } => *ethertype,
    };
    // From the inside out: each tag holds the Ethertype of what it encloses.
    for tag in frame.tags.iter().rev() {
        content.splice(0..0, [tag.vlan.to_be_bytes(), ethertype.to_be_bytes()].concat());
        ethertype = tag.ethertype;
    }
    let header = Ethernet2Header {
        source: SOURCE_MAC,
        destination: DESTINATION_MAC,
        ether_type: EtherType(ethertype),
    };
    [header.to_bytes().as_slice(), &content].concat()
}

/// Who has the fixture's router? (RFC 826)
fn arp_request() -> Vec<u8> {
    let fixed = [0, 1, 0x08, 0, 6, 4, 0, 1];
    [&fixed[..], &SOURCE_MAC, &[10, 0, 1, 10], &[0; 6], &[10, 0, 1, 1]].concat()
}

pub(super) fn packet(packet: &Packet) -> Vec<u8> {
    let mut transport = transport(packet);
    if let Some(bytes) = packet.flaws.transport_bytes {
        transport.truncate(bytes.into());
    }
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Header {
                time_to_live: packet.hop_limit,
                protocol: IpNumber(packet.protocol()),
                source: source.octets(),
                destination: destination.octets(),
                // Options of one byte each: no operation.
                options: Ipv4Options::try_from(vec![1; usize::from(packet.options)].as_slice())
                    .expect("at most 40 bytes of options, a multiple of 4"),
                dont_fragment: packet.fragment == Fragment::Whole,
                ..Ipv4Header::default()
            };
            header.set_payload_len(transport.len()).expect("a datagram fits in 64 KiB");
            (header.identification, header.more_fragments, header.fragment_offset) = match packet.fragment {
                Fragment::Whole => (0, false, IpFragOffset::ZERO),
                Fragment::First { identification } => (identification, true, IpFragOffset::ZERO),
                Fragment::Later { identification, offset } => {
                    (identification, false, fragment_offset(offset))
                }
            };
            header.total_len += packet.flaws.claimed_bytes;
            header.header_checksum = header.calc_header_checksum();
            let mut bytes = [header.to_bytes().as_slice(), &transport].concat();
            if let Some(words) = packet.flaws.header_words {
                bytes[0] = 4 << 4 | words;
            }
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (first, extensions) = extension_headers(packet);
            let header = Ipv6Header {
                payload_length: u16::try_from(extensions.len() + transport.len())
                    .expect("a datagram fits in 64 KiB")
                    + packet.flaws.claimed_bytes,
                next_header: IpNumber(first),
                hop_limit: packet.hop_limit,
                source: source.octets(),
                destination: destination.octets(),
                ..Ipv6Header::default()
            };
            [header.to_bytes().as_slice(), &extensions, &transport].concat()
        }
        _ => unreachable!("Packet::new refuses two families"),
    }
}

fn fragment_offset(bytes: u16) -> IpFragOffset {
    assert!(bytes.is_multiple_of(8), "fragment offset {bytes} is no multiple of 8");
    IpFragOffset::try_new(bytes / 8).expect("a 16-bit offset in units of 8 bytes has 13 bits")
}

/// The number of the first next header, and the chain that leads to the transport header.
fn extension_headers(packet: &Packet) -> (u8, Vec<u8>) {
    let mut next = packet.protocol();
    let mut chain = Vec::new();
    if let Some(header) = fragment_header(packet.fragment, next) {
        chain = header;
        next = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
    }
    for extension in packet.extensions.iter().rev() {
        let (number, header) = extension_header(*extension, next);
        chain.splice(0..0, header);
        next = number;
    }
    (next, chain)
}

fn fragment_header(fragment: Fragment, next: u8) -> Option<Vec<u8>> {
    let (identification, more, offset) = match fragment {
        Fragment::Whole => return None,
        Fragment::First { identification } => (identification, true, IpFragOffset::ZERO),
        Fragment::Later { identification, offset } => (identification, false, fragment_offset(offset)),
    };
    let header = Ipv6FragmentHeader::new(IpNumber(next), offset, more, identification.into());
    Some(header.to_bytes().to_vec())
}

fn extension_header(extension: Extension, next: u8) -> (u8, Vec<u8>) {
    // Options that fill the header: PadN of 4 zero bytes.
    let options = vec![next, 0, 1, 4, 0, 0, 0, 0];
    match extension {
        Extension::HopByHop => (0, options),
        Extension::DestinationOptions => (60, options),
        Extension::Routing(kind) => (43, vec![next, 0, kind, 0, 0, 0, 0, 0]),
        // RFC 4302: the length counts 4-byte words, minus 2; an empty integrity check value padded to 16 bytes.
        Extension::Authentication => (51, [vec![next, 2], vec![0; 14]].concat()),
        Extension::Mobility => (135, vec![next, 0, 0, 0, 0, 0, 0, 0]),
        Extension::AtomicFragment => (44, vec![next, 0, 0, 0, 0, 0, 0, 9]),
    }
}

fn transport(packet: &Packet) -> Vec<u8> {
    match &packet.transport {
        Transport::Tcp(segment) => self::segment(packet, segment),
        Transport::Udp { source_port, destination_port, data } => {
            let data = vec![0xda; usize::from(*data)];
            let mut header = UdpHeader {
                source_port: *source_port,
                destination_port: *destination_port,
                length: u16::try_from(8 + data.len()).expect("a datagram fits in 64 KiB"),
                checksum: 0,
            };
            header.checksum = pseudo_header(packet, 8 + data.len())
                .add_slice(&header.to_bytes())
                .add_slice(&data)
                .to_ones_complement_with_no_zero()
                .to_be();
            [header.to_bytes().as_slice(), &data].concat()
        }
        Transport::Icmp { icmp_type, code, body } => icmp(packet, *icmp_type, *code, body),
        Transport::Other { data, .. } => vec![0xda; usize::from(*data)],
    }
}

fn segment(packet: &Packet, segment: &Segment) -> Vec<u8> {
    let mut header = TcpHeader::new(segment.source_port, segment.destination_port, segment.sequence, 64_240);
    header.acknowledgment_number = segment.acknowledgement;
    header.fin = segment.flags & tcp::FIN != 0;
    header.syn = segment.flags & tcp::SYN != 0;
    header.rst = segment.flags & tcp::RST != 0;
    header.psh = segment.flags & tcp::PSH != 0;
    header.ack = segment.flags & tcp::ACK != 0;
    header.urg = segment.flags & tcp::URG != 0;
    let data = vec![0xda; usize::from(segment.data)];
    header.checksum = pseudo_header(packet, 20 + data.len())
        .add_slice(&header.to_bytes())
        .add_slice(&data)
        .ones_complement()
        .to_be();
    [header.to_bytes().as_slice(), &data].concat()
}

fn icmp(packet: &Packet, icmp_type: u8, code: u8, body: &IcmpBody) -> Vec<u8> {
    let mut message = vec![icmp_type, code, 0, 0];
    match body {
        IcmpBody::Identifier(identifier) => {
            message.extend(identifier.to_be_bytes());
            message.extend([0, 1]);
        }
        IcmpBody::Quote { packet: quoted, bytes } => {
            message.extend([0; 4]);
            let quoted = quoted.to_bytes();
            message.extend(&quoted[..quoted.len().min(usize::from(*bytes))]);
        }
    }
    let sum = if packet.source.is_ipv6() {
        pseudo_header(packet, message.len())
    } else {
        // RFC 792: the checksum of ICMP in IPv4 covers no addresses.
        checksum::Sum16BitWords::new()
    };
    let sum = sum.add_slice(&message).ones_complement().to_ne_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// What the transport checksums cover of the IP header (RFC 9293 §3.1, RFC 8200 §8.1).
fn pseudo_header(packet: &Packet, length: usize) -> checksum::Sum16BitWords {
    let mut sum = checksum::Sum16BitWords::new();
    let mut sum = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum.add_4bytes(source.octets()).add_4bytes(destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            sum.add_16bytes(source.octets()).add_16bytes(destination.octets())
        }
        _ => unreachable!("Packet::new refuses two families"),
    };
    let length = u32::try_from(length).expect("a datagram fits in 64 KiB");
    sum.add_4bytes(length.to_be_bytes()).add_2bytes([0, packet.protocol()])
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;
    use crate::packets::notation::parse_frame;

    fn bytes(text: &str) -> Vec<u8> {
        parse_frame(text).unwrap().to_bytes()
    }

    /// etherparse reads back what was built, and agrees with every checksum.
    #[test]
    fn frames_are_what_an_independent_parser_reads() {
        for text in [
            "tcp C:40000>E:22 SYN+ACK data=5",
            "tcp C6:40000>E6:22 ACK data=5 ext=hbh,dst",
            "udp C:40000>E:53 data=7 options=8",
            "udp C6:40000>E6:53 data=7",
            "icmp C>E 8/0 id=7",
            "icmpv6 C6>E6 128/0 id=7",
            "icmp R>E 3/4 quoting (tcp E:40000>D:443)",
            "47 C>E data=9",
            "tcp C:40000>E:22 SYN vlan=88a8.5,8100.7",
        ] {
            let frame = bytes(text);
            let parsed =
                SlicedPacket::from_ethernet(&frame).unwrap_or_else(|error| panic!("{text}: {error}"));
            let ip = parsed.net.as_ref().and_then(|net| net.ip_payload_ref()).unwrap();
            let (source, destination): (Vec<u8>, Vec<u8>) = match parsed.net.as_ref().unwrap() {
                etherparse::NetSlice::Ipv4(ip) => {
                    let header = ip.header().to_header();
                    assert_eq!(header.header_checksum, header.calc_header_checksum(), "{text}");
                    (header.source.to_vec(), header.destination.to_vec())
                }
                etherparse::NetSlice::Ipv6(ip) => {
                    (ip.header().source().to_vec(), ip.header().destination().to_vec())
                }
                etherparse::NetSlice::Arp(_) => panic!("{text}: read as ARP"),
            };
            assert_ne!(source, destination);
            verify_checksum(text, ip.ip_number.0, ip.payload, &source, &destination);
        }
    }

    /// RFC 1071: the sum over a message with a right checksum is all ones.
    fn verify_checksum(text: &str, protocol: u8, payload: &[u8], source: &[u8], destination: &[u8]) {
        let mut covered = payload.to_vec();
        if protocol == 47 {
            return;
        }
        if protocol != crate::packets::protocol::ICMP {
            covered.splice(0..0, [source, destination, &[0, protocol]].concat());
            covered.extend((payload.len() as u16).to_be_bytes());
            if payload.len() % 2 == 1 {
                // The length went in at an odd offset; put a pad before it.
                let length = covered.split_off(covered.len() - 2);
                covered.push(0);
                covered.extend(length);
            }
        }
        let sum = checksum::Sum16BitWords::new().add_slice(&covered).ones_complement();
        assert_eq!(sum, 0, "{text}: bad checksum");
    }

    #[test]
    fn fragments_say_where_they_stand() {
        let first = bytes("udp C:1>E:53 frag=first:9");
        assert_eq!(first[14 + 4..14 + 8], [0, 9, 0x20, 0]);
        let later = bytes("udp C:1>E:53 frag=later:9@1480");
        assert_eq!(later[14 + 4..14 + 8], [0, 9, 0, 185]);
        let later = bytes("udp C6:1>E6:53 frag=later:9@1480");
        assert_eq!(later[14 + 6], 44);
        assert_eq!(later[14 + 40..14 + 48], [17, 0, 0x05, 0xc8, 0, 0, 0, 9]);
    }

    #[test]
    fn tags_enclose_each_other() {
        let frame = bytes("udp C:1>E:53 vlan=88a8.5,8100.7");
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 8, 0]);
    }
}
