//! The parser is total: every shape of headers, cut at every byte, is read as a second reader reads it, or refused.
//!
//! Bounded, and without chance: each test goes through all values of what it is about, with what may stand around it. What the
//! bounds leave out (larger values of a field than any that matters) is for the fuzz targets.

use std::collections::BTreeMap;

use firewall_common::packet::{Link, Transport};
use firewall_common::reason::Reason;
use firewall_tests::second_reader::{Parsed, check};

const ETHERNET: Link = Link::Ethernet { stripped_tags: 0 };
const SOURCE_V4: [u8; 4] = [203, 0, 113, 5];
const HOST_V4: [u8; 4] = [10, 0, 1, 10];
const SOURCE_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const HOST_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
/// Protocols that mean something in a family, that mean something in the other one only, and that mean nothing.
const PROTOCOLS: [u8; 9] = [0, 1, 6, 17, 47, 51, 58, 59, 255];

/// How often frames were read as what.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn check(&mut self, frame: &[u8], link: Link) -> Parsed {
        let parsed = check(frame, link);
        let name = match &parsed {
            Parsed::NotIp => "not IP",
            Parsed::Packet(Transport::Tcp(_)) => "TCP",
            Parsed::Packet(Transport::Udp { .. }) => "UDP",
            Parsed::Packet(Transport::Icmp(_)) => "ICMP",
            Parsed::Packet(Transport::Portless) => "portless",
            Parsed::Packet(Transport::LaterFragment) => "later fragment",
            Parsed::Refused(reason) => reason.name(),
        };
        *self.0.entry(name.to_owned()).or_default() += 1;
        parsed
    }

    /// The frame, and whatever is left of it when it is cut anywhere.
    fn check_cut_anywhere(&mut self, frame: &[u8], link: Link) {
        (0..=frame.len()).for_each(|length| _ = self.check(&frame[..length], link));
    }

    /// A test that has not met these has tested nothing.
    fn must_have_met(&self, names: &[&str]) {
        let missing: Vec<_> = names.iter().filter(|&&name| !self.0.contains_key(name)).collect();
        assert!(missing.is_empty(), "{missing:?} not among {:?}", self.0);
        println!("{:?}", self.0);
    }
}

fn ethernet(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 header as it is told, right or wrong, and its payload.
struct V4 {
    version: u8,
    header_words: u8,
    total_length: u16,
    flags_and_offset: u16,
    protocol: u8,
}

impl V4 {
    /// One that is right.
    fn around(protocol: u8, payload: &[u8]) -> Self {
        let total_length = 20 + u16::try_from(payload.len()).unwrap();
        Self { version: 4, header_words: 5, total_length, flags_and_offset: 0, protocol }
    }

    fn to_bytes(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![self.version << 4 | self.header_words, 0];
        bytes.extend(self.total_length.to_be_bytes());
        bytes.extend(7_u16.to_be_bytes());
        bytes.extend(self.flags_and_offset.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(SOURCE_V4);
        bytes.extend(HOST_V4);
        bytes.resize(usize::from(self.header_words.max(5)) * 4, 1);
        bytes.extend(payload);
        bytes
    }
}

fn v6(payload_length: u16, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(payload_length.to_be_bytes());
    bytes.extend([next_header, 64]);
    bytes.extend(SOURCE_V6);
    bytes.extend(HOST_V6);
    bytes.extend(payload);
    bytes
}

fn v6_around(next_header: u8, payload: &[u8]) -> Vec<u8> {
    v6(payload.len().try_into().unwrap(), next_header, payload)
}

fn tcp(header_words: u8, flags: u8, length: usize) -> Vec<u8> {
    let mut bytes =
        vec![0x9c, 0x40, 0, 22, 0, 0, 4, 1, 0, 0, 8, 1, header_words << 4, flags, 1, 0, 0, 0, 0, 0];
    bytes.resize(length, 0);
    bytes
}

fn udp(stated_length: u16, length: usize) -> Vec<u8> {
    let [high, low] = stated_length.to_be_bytes();
    let mut bytes = vec![0x9c, 0x40, 0, 53, high, low, 0, 0];
    bytes.resize(length, 0);
    bytes
}

/// A whole transport header of any protocol, and four bytes of data.
fn transport(protocol: u8) -> Vec<u8> {
    match protocol {
        6 => tcp(5, 0x10, 24),
        17 => udp(12, 12),
        _ => vec![8, 0, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0],
    }
}

#[test]
fn every_link_header() {
    const TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
    let mut stacks: Vec<Vec<u16>> = vec![Vec::new()];
    for depth in 0..3 {
        let deepest: Vec<_> = stacks.iter().filter(|stack| stack.len() == depth).cloned().collect();
        stacks.extend(deepest.iter().flat_map(|stack| TAGS.map(|tag| [&stack[..], &[tag]].concat())));
    }
    let snap = |inner: u16| [&[0xaa, 0xaa, 3, 0, 0, 0], &inner.to_be_bytes()[..]].concat();
    let segment = tcp(5, 2, 20);
    let (v4, v6) = (V4::around(6, &segment).to_bytes(&segment), v6_around(6, &segment));
    let contents: Vec<(u16, Vec<u8>)> = vec![
        (0x0800, v4.clone()),
        (0x86dd, v6.clone()),
        (0x0800, v6.clone()),
        (0x86dd, v4.clone()),
        (0x0806, vec![0; 28]),
        (0x88cc, vec![0; 28]),
        (0x0026, [snap(0x0800), v4].concat()),
        (0x0026, [snap(0x86dd), v6].concat()),
        (0x0026, snap(0x8100)),
        (0x0026, snap(0x0806)),
        (0x0026, snap(0x88cc)),
        (0x05ff, vec![0x42, 0x42, 3, 0, 0, 0, 0, 0]),
    ];
    let mut tally = Tally::default();
    for stack in &stacks {
        for (ethertype, payload) in &contents {
            let frame = ethernet(stack, *ethertype, payload);
            for stripped_tags in 0..=2 {
                tally.check_cut_anywhere(&frame, Link::Ethernet { stripped_tags });
            }
        }
    }
    tally.must_have_met(&["not IP", "TCP", "truncated", "unknown-encapsulation", "bad-header-length"]);
}

#[test]
fn every_first_byte_without_a_link_header() {
    let mut tally = Tally::default();
    for first in 0..=u8::MAX {
        for mut packet in
            [V4::around(17, &transport(17)).to_bytes(&transport(17)), v6_around(17, &transport(17))]
        {
            packet[0] = first;
            tally.check_cut_anywhere(&packet, Link::None);
        }
    }
    tally.must_have_met(&["UDP", "truncated", "bad-header-length"]);
}

#[test]
fn every_ipv4_header() {
    const FRAGMENTS: [u16; 9] = [0, 0x4000, 0x8000, 0x2000, 1, 2, 0x2003, 0x00b9, 0x1fff];
    let mut tally = Tally::default();
    for protocol in PROTOCOLS {
        let payload = transport(protocol);
        for (version, header_words) in (0..16).flat_map(|version| (0..16).map(move |words| (version, words)))
        {
            let header = u16::from(header_words) * 4;
            let whole = header.max(20) + u16::try_from(payload.len()).unwrap();
            // Other versions are refused whatever follows.
            let fragments = if version == 4 { &FRAGMENTS[..] } else { &FRAGMENTS[..1] };
            for &flags_and_offset in fragments {
                let lengths =
                    [0, 1, 19, 20, header.saturating_sub(1), header, header + 1, header + 7, header + 8];
                for total_length in lengths.into_iter().chain([whole - 1, whole, whole + 1, u16::MAX]) {
                    let ip = V4 { version, header_words, total_length, flags_and_offset, protocol };
                    let bytes = ip.to_bytes(&payload);
                    tally.check(&ethernet(&[], 0x0800, &bytes), ETHERNET);
                    // What follows the datagram is padding, whatever it says.
                    tally.check(&ethernet(&[], 0x0800, &[bytes, vec![0xff; 60]].concat()), ETHERNET);
                }
            }
        }
    }
    tally.must_have_met(&["TCP", "UDP", "ICMP", "portless", "later fragment", "bad-length", "tiny-fragment"]);
}

#[test]
fn every_ipv4_packet_cut_anywhere() {
    let mut tally = Tally::default();
    for protocol in 0..=u8::MAX {
        for (header_words, flags_and_offset) in [(5, 0), (5, 0x2000), (5, 0x00b9), (15, 0)] {
            let payload = transport(protocol);
            let total_length = u16::from(header_words) * 4 + u16::try_from(payload.len()).unwrap();
            let ip = V4 { version: 4, header_words, total_length, flags_and_offset, protocol };
            tally.check_cut_anywhere(&ethernet(&[], 0x0800, &ip.to_bytes(&payload)), ETHERNET);
            // The header knows that it was cut: the datagram ends there.
            for kept in 0..payload.len() {
                let ip = V4 { total_length: ip.total_length - (payload.len() - kept) as u16, ..ip };
                tally.check(&ethernet(&[], 0x0800, &ip.to_bytes(&payload)), ETHERNET);
            }
        }
    }
    tally.must_have_met(&["TCP", "UDP", "ICMP", "portless", "later fragment", "truncated", "tiny-fragment"]);
}

#[test]
fn every_tcp_header() {
    let mut tally = Tally::default();
    for (words, flags) in (0..16).flat_map(|words| (0..=u8::MAX).map(move |flags| (words, flags))) {
        for length in [0, 19, 20, 21, 59, 60, 61] {
            let segment = tcp(words, flags, length.max(20));
            let segment = &segment[..length];
            for flags_and_offset in [0, 0x2000] {
                let ip = V4 { flags_and_offset, ..V4::around(6, segment) };
                tally.check(&ethernet(&[], 0x0800, &ip.to_bytes(segment)), ETHERNET);
            }
            tally.check(&ethernet(&[], 0x86dd, &v6_around(6, segment)), ETHERNET);
        }
    }
    tally.must_have_met(&["TCP", "truncated", "tiny-fragment", "bad-transport-header"]);
}

#[test]
fn every_udp_length() {
    let mut tally = Tally::default();
    for (stated, length) in
        (0..=40).chain([u16::MAX]).flat_map(|stated| (8..=40).map(move |length| (stated, length)))
    {
        let datagram = udp(stated, length);
        for flags_and_offset in [0, 0x2000] {
            let ip = V4 { flags_and_offset, ..V4::around(17, &datagram) };
            tally.check(&ethernet(&[], 0x0800, &ip.to_bytes(&datagram)), ETHERNET);
        }
        let is_right = (8..=length).contains(&usize::from(stated));
        let parsed = tally.check(&ethernet(&[], 0x86dd, &v6_around(17, &datagram)), ETHERNET);
        assert_eq!(matches!(parsed, Parsed::Packet(_)), is_right, "{stated} of {length}");
    }
    tally.must_have_met(&["UDP", "bad-length"]);
}

/// All types and codes; what the errors among them quote, cut anywhere, is checked by the second reader.
#[test]
fn every_icmp_message() {
    let mut tally = Tally::default();
    for (icmp_type, code) in (0..=u8::MAX).flat_map(|icmp_type| [0, 1, 4, 255].map(|code| (icmp_type, code)))
    {
        for protocol in [1, 6, 17, 47, 58] {
            let quoted = transport(protocol);
            let mut v4 = V4::around(protocol, &quoted).to_bytes(&quoted);
            // From whom the error is to.
            v4[12..16].copy_from_slice(&HOST_V4);
            let mut v6 = v6_around(protocol, &quoted);
            v6[8..24].copy_from_slice(&HOST_V6);
            for kept in [0, 19, 20, 21, 27, 28, 39, 40, 41, 47, 48, usize::MAX] {
                let message = |quote: &[u8]| {
                    [&[icmp_type, code, 0, 0, 0, 0, 0, 0], &quote[..kept.min(quote.len())]].concat()
                };
                let (v4, v6) = (message(&v4), message(&v6));
                tally.check(&ethernet(&[], 0x0800, &V4::around(1, &v4).to_bytes(&v4)), ETHERNET);
                tally.check(&ethernet(&[], 0x86dd, &v6_around(58, &v6)), ETHERNET);
            }
        }
    }
    tally.must_have_met(&["ICMP"]);
}

/// The extension headers of IPv6: all that are followed, one that is not, and what may stand in them.
fn extension(kind: u8, next: u8, length: u8) -> Vec<Vec<u8>> {
    let plain = |third: u8| vec![next, length, third, 0, 0, 0, 0, 0];
    match kind {
        43 => vec![plain(0), plain(2), plain(4)],
        // Whole, first, later, last.
        44 => [[0, 0], [0, 1], [0, 9], [5, 0xc8]]
            .map(|place| [next, 0, place[0], place[1], 0, 0, 0, 7].to_vec())
            .into(),
        _ => vec![plain(0)],
    }
}

const EXTENSIONS: [u8; 7] = [0, 43, 44, 51, 60, 135, 139];

#[test]
fn every_chain_of_two_extension_headers_cut_anywhere() {
    let mut tally = Tally::default();
    let pairs = EXTENSIONS.into_iter().flat_map(|first| EXTENSIONS.map(|second| (first, second)));
    for (first, second) in pairs {
        for protocol in [6, 17, 58, 59] {
            for (one, two) in [(0, 0), (1, 0), (0, 1), (0, 255), (255, 0)] {
                for front in extension(first, second, one) {
                    for back in extension(second, protocol, two) {
                        let chain = [front.clone(), back, vec![0; 8], transport(protocol)].concat();
                        tally.check_cut_anywhere(&ethernet(&[], 0x86dd, &v6_around(first, &chain)), ETHERNET);
                        for kept in 0..chain.len() {
                            let bytes = v6(kept as u16, first, &chain);
                            tally.check(&ethernet(&[], 0x86dd, &bytes), ETHERNET);
                        }
                    }
                }
            }
        }
    }
    tally.must_have_met(&[
        "TCP",
        "UDP",
        "ICMP",
        "portless",
        "later fragment",
        "truncated",
        "routing-header-0",
    ]);
}

/// Eight are followed, of at most 512 bytes.
#[test]
fn every_length_of_a_chain_of_extension_headers() {
    let mut tally = Tally::default();
    for kind in [0, 43, 44, 51, 60, 135] {
        for count in 0..=12 {
            for length in [0, 1, 6, 7, 8, 14, 15, 16, 31, 62, 63, 64, 255] {
                let mut chain = Vec::new();
                for number in 0..count {
                    let next = if number + 1 == count { 6 } else { kind };
                    // A routing header that is no type 0, a fragment header of a whole datagram.
                    let mut header = vec![next, if kind == 44 { 0 } else { length }, 0, 0, 0, 0, 0, 0];
                    header[2] = if kind == 43 { 2 } else { 0 };
                    let bytes = match kind {
                        44 => 8,
                        51 => (usize::from(length) + 2) * 4,
                        _ => (usize::from(length) + 1) * 8,
                    };
                    header.resize(bytes.max(8), 0);
                    chain.extend(header);
                }
                chain.extend(tcp(5, 0x10, 20));
                let first = if count == 0 { 6 } else { kind };
                let parsed = tally.check(&ethernet(&[], 0x86dd, &v6_around(first, &chain)), ETHERNET);
                if count > 8 && !matches!(parsed, Parsed::Refused(_)) {
                    panic!("{count} headers of kind {kind} are followed");
                }
            }
        }
    }
    tally.must_have_met(&["TCP", "too-many-extension-headers"]);
}

#[test]
fn every_payload_length_of_ipv6() {
    let mut tally = Tally::default();
    for protocol in PROTOCOLS {
        let payload = transport(protocol);
        for stated in (0..=80).chain([u16::MAX]) {
            let bytes = v6(stated, protocol, &payload);
            let parsed = tally.check(&ethernet(&[], 0x86dd, &bytes), ETHERNET);
            if usize::from(stated) > payload.len() {
                assert_eq!(parsed, Parsed::Refused(Reason::BadLength));
            }
            tally.check(&ethernet(&[], 0x86dd, &[bytes, vec![0xff; 40]].concat()), ETHERNET);
        }
    }
    tally.must_have_met(&["TCP", "UDP", "ICMP", "portless", "bad-length", "truncated"]);
}

/// A length of 0 stands for what the field cannot say, and for nothing else.
#[test]
fn every_segment_larger_than_the_fields_can_say() {
    let mut tally = Tally::default();
    for payload_length in [65_494, 65_495, 65_496, 65_515, 65_516, 70_000] {
        for stated in [0, 1, 20, 40, u16::MAX] {
            let segment = tcp(5, 0x10, payload_length);
            let ip = V4 { total_length: stated, ..V4::around(6, &[]) };
            tally.check(&ethernet(&[], 0x0800, &ip.to_bytes(&segment)), ETHERNET);
            tally.check(&ethernet(&[], 0x86dd, &v6(stated, 6, &segment)), ETHERNET);
            let with_options = [&[6, 0, 0, 0, 0, 0, 0, 0], &segment[..]].concat();
            tally.check(&ethernet(&[], 0x86dd, &v6(stated, 0, &with_options)), ETHERNET);
        }
    }
    tally.must_have_met(&["TCP", "bad-length"]);
}
