//! Packets as the frames that they are sent in: one, or several fragments, in order or not.

use firewall_tests::packets::{Frame, Packet, Transport};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

/// Data of a datagram that is sent in fragments.
pub(crate) const LARGE: u16 = 3000;

/// Bytes of the datagram in each fragment but the last, multiples of 8.
const SIZES: [usize; 3] = [256, 1024, 1440];

const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
/// Next header number of a fragment header.
const FRAGMENT: u8 = 44;

/// One packet on the link.
pub(crate) struct Frames {
    frames: Vec<Vec<u8>>,
    /// Which of them has the transport header.
    pub(crate) first: usize,
}

impl Frames {
    /// The frames of a packet; those of a [`LARGE`] datagram are of different sizes, and some come out of order.
    pub(crate) fn of(packet: &Packet, identification: u16, random: &mut StdRng) -> Self {
        if !is_large(packet) {
            return Self { frames: vec![Frame::ip(packet.clone()).to_bytes()], first: 0 };
        }
        let size = *SIZES.choose(random).expect("there are sizes");
        let mut frames: Vec<_> = fragments(packet, identification, size).into_iter().enumerate().collect();
        if random.random_bool(0.3) {
            frames.shuffle(random);
        }
        let first = frames.iter().position(|(index, _)| *index == 0).expect("there is a first one");
        Self { frames: frames.into_iter().map(|(_, frame)| frame).collect(), first }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(Vec::as_slice)
    }

    pub(crate) fn are_fragments(&self) -> bool {
        self.frames.len() > 1
    }
}

/// Whether a packet is sent in fragments.
pub(crate) fn is_large(packet: &Packet) -> bool {
    matches!(packet.transport, Transport::Udp { data: LARGE, .. })
}

/// What a router leaves as it is: place in the datagram, whether more follows, and everything behind the IP headers.
/// The identification of IPv6 is not among it: conntrack puts datagrams together and cuts them anew.
pub(crate) fn part(frame: &[u8]) -> Option<(u16, &[u8])> {
    let packet = frame.get(ETHERNET_HEADER..)?;
    if packet.first()? >> 4 == 4 {
        let place = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
        // But for "don't fragment".
        return Some((place & 0x3fff, packet.get(IPV4_HEADER..)?));
    }
    let behind = packet.get(IPV6_HEADER..)?;
    if packet[6] != FRAGMENT {
        return Some((0, behind));
    }
    Some((u16::from_be_bytes([*behind.get(2)?, *behind.get(3)?]), behind.get(FRAGMENT_HEADER..)?))
}

/// Cuts a datagram into frames, by RFC 791 §3.2 or RFC 8200 §4.5.
fn fragments(packet: &Packet, identification: u16, size: usize) -> Vec<Vec<u8>> {
    let frame = Frame::ip(packet.clone()).to_bytes();
    let is_ipv6 = packet.source.is_ipv6();
    let header = ETHERNET_HEADER + if is_ipv6 { IPV6_HEADER } else { IPV4_HEADER };
    let (headers, datagram) = frame.split_at(header);
    let count = datagram.len().div_ceil(size);
    let parts = datagram.chunks(size).enumerate();
    parts
        .map(|(index, part)| {
            let offset = u16::try_from(index * size / 8).expect("13 bits");
            let has_more = index + 1 < count;
            if is_ipv6 {
                ipv6_fragment(headers, part, identification, offset, has_more)
            } else {
                ipv4_fragment(headers, part, identification, offset, has_more)
            }
        })
        .collect()
}

fn ipv4_fragment(headers: &[u8], part: &[u8], identification: u16, offset: u16, has_more: bool) -> Vec<u8> {
    let mut frame = [headers, part].concat();
    let packet = &mut frame[ETHERNET_HEADER..];
    let length = u16::try_from(packet.len()).expect("a fragment is short");
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[4..6].copy_from_slice(&identification.to_be_bytes());
    packet[6..8].copy_from_slice(&(offset | u16::from(has_more) << 13).to_be_bytes());
    packet[10..12].fill(0);
    let words =
        packet[..IPV4_HEADER].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn ipv6_fragment(headers: &[u8], part: &[u8], identification: u16, offset: u16, has_more: bool) -> Vec<u8> {
    let mut headers = headers.to_vec();
    let packet = &mut headers[ETHERNET_HEADER..];
    let length = u16::try_from(FRAGMENT_HEADER + part.len()).expect("a fragment is short");
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    let transport = std::mem::replace(&mut packet[6], FRAGMENT);
    let [high, low] = (offset << 3 | u16::from(has_more)).to_be_bytes();
    let [id_high, id_low] = identification.to_be_bytes();
    [&headers[..], &[transport, 0, high, low, 0, 0, id_high, id_low], part].concat()
}
