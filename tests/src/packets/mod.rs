//! Frames as values.
//!
//! A [`Frame`] describes what a test sends: the oracle reads the description, [`Frame::to_bytes`] builds what the
//! programs read, and [`notation`] is the description as text. Nothing here knows how a firewall parses a frame.

mod bytes;
pub mod notation;

use std::net::IpAddr;

/// One frame on an Ethernet link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// VLAN tags, the outer one first.
    pub tags: Vec<VlanTag>,
    /// What the frame carries.
    pub content: Content,
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100, 0x88a8 or an older one.
    pub ethertype: u16,
    /// VLAN identifier; 0 is a priority tag.
    pub vlan: u16,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// IPv4 or IPv6.
    Ip(Packet),
    /// An ARP request.
    Arp,
    /// Anything else, by its Ethertype (or, below 0x600, by its IEEE 802.3 length).
    Other {
        /// The Ethertype.
        ethertype: u16,
    },
}

/// One IP packet. Source and destination are of one family, which is the packet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IPv4 time to live or IPv6 hop limit.
    pub hop_limit: u8,
    /// IPv4: bytes of options, a multiple of 4, at most 40.
    pub options: u8,
    /// IPv6: extension headers in order, before the fragment header that [`Packet::fragment`] asks for.
    pub extensions: Vec<Extension>,
    /// Which part of a datagram it is.
    pub fragment: Fragment,
    /// What it carries.
    pub transport: Transport,
    /// What is wrong with its headers, on purpose.
    pub flaws: Flaws,
}

/// What is wrong with the headers of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// IPv4: a header length, in words, that the header states instead of the true one; below 5.
    pub header_words: Option<u8>,
    /// How many bytes more than there are the IP header states.
    pub claimed_bytes: u16,
    /// How many bytes of the transport header are there; fewer than all.
    pub transport_bytes: Option<u16>,
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, 8 bytes.
    HopByHop,
    /// Destination options, 8 bytes.
    DestinationOptions,
    /// Routing header of a type, 8 bytes.
    Routing(u8),
    /// Authentication header, 16 bytes.
    Authentication,
    /// Mobility header, 8 bytes.
    Mobility,
    /// A fragment header of a whole datagram (RFC 6946).
    AtomicFragment,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The part with the transport header.
    First {
        /// Identification field.
        identification: u16,
    },
    /// A later part. It carries the bytes of a transport header all the same, as an attacker's would.
    Later {
        /// Identification field.
        identification: u16,
        /// Where the part stands, in bytes, a multiple of 8.
        offset: u16,
    },
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Segment),
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Bytes of data.
        data: u16,
    },
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp {
        /// Type.
        icmp_type: u8,
        /// Code.
        code: u8,
        /// What follows the checksum.
        body: IcmpBody,
    },
    /// Any other protocol.
    Other {
        /// Protocol number.
        protocol: u8,
        /// Bytes of data.
        data: u16,
    },
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bits of [`tcp`].
    pub flags: u8,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Bytes of data.
    pub data: u16,
}

/// What an ICMP message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IcmpBody {
    /// An identifier and a sequence number.
    Identifier(u16),
    /// The packet that an error is about.
    Quote {
        /// The packet.
        packet: Box<Packet>,
        /// How many of its bytes are quoted; all of them where it is longer than the packet.
        bytes: u16,
    },
}

/// TCP flags.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
    /// Each flag with its name in the notation.
    pub const NAMES: [(u8, &str); 6] =
        [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"), (URG, "URG")];
}

/// Protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Sequence number of a segment that does not say otherwise.
pub const DEFAULT_SEQUENCE: u32 = 1000;

/// All of a quoted packet.
pub const WHOLE_QUOTE: u16 = u16::MAX;

impl Frame {
    /// An untagged frame with an IP packet.
    #[must_use]
    pub fn ip(packet: Packet) -> Self {
        Self { tags: Vec::new(), content: Content::Ip(packet) }
    }

    /// The frame as it goes over the link, with valid lengths and checksums.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::frame(self)
    }

    /// Where the network header starts in [`Frame::to_bytes`].
    #[must_use]
    pub fn network_offset(&self) -> usize {
        14 + 4 * self.tags.len()
    }
}

impl Packet {
    /// A plain packet.
    ///
    /// # Panics
    ///
    /// Where the addresses are of different families.
    #[must_use]
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        assert_eq!(source.is_ipv6(), destination.is_ipv6(), "{source} and {destination} are of two families");
        Self {
            source,
            destination,
            hop_limit: 64,
            options: 0,
            extensions: Vec::new(),
            fragment: Fragment::Whole,
            transport,
            flaws: Flaws::default(),
        }
    }

    /// The IP protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match &self.transport {
            Transport::Tcp(_) => protocol::TCP,
            Transport::Udp { .. } => protocol::UDP,
            Transport::Icmp { .. } if self.source.is_ipv6() => protocol::ICMPV6,
            Transport::Icmp { .. } => protocol::ICMP,
            Transport::Other { protocol, .. } => *protocol,
        }
    }

    /// The packet from its IP header on.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes::packet(self)
    }

    /// What the receiver of a whole packet would send back: ports and addresses swapped, an ICMP query answered, a
    /// SYN acknowledged. `None` where nothing would come back.
    #[must_use]
    pub fn reply(&self) -> Option<Self> {
        let transport = match &self.transport {
            Transport::Tcp(segment) => Transport::Tcp(segment.reply()?),
            Transport::Udp { source_port, destination_port, data } => {
                Transport::Udp { source_port: *destination_port, destination_port: *source_port, data: *data }
            }
            Transport::Icmp { icmp_type, code, body: body @ IcmpBody::Identifier(_) } => {
                let icmp_type = reply_type(*icmp_type, self.source.is_ipv6())?;
                Transport::Icmp { icmp_type, code: *code, body: body.clone() }
            }
            Transport::Icmp { .. } => return None,
            other @ Transport::Other { .. } => other.clone(),
        };
        Some(Self::new(self.destination, self.source, transport))
    }

    /// An ICMP error about this packet, from `reporter` to its source.
    #[must_use]
    pub fn error(&self, reporter: IpAddr, icmp_type: u8, code: u8) -> Self {
        let body = IcmpBody::Quote { packet: Box::new(self.clone()), bytes: WHOLE_QUOTE };
        Self::new(reporter, self.source, Transport::Icmp { icmp_type, code, body })
    }
}

impl Transport {
    /// Length of the transport header; 0 for protocols that have none here.
    #[must_use]
    pub const fn header_length(&self) -> u16 {
        match self {
            Self::Tcp(_) => 20,
            Self::Udp { .. } | Self::Icmp { .. } => 8,
            Self::Other { .. } => 0,
        }
    }
}

impl Segment {
    /// A segment without data and with the sequence numbers of a connection where each side begins at
    /// [`DEFAULT_SEQUENCE`].
    #[must_use]
    pub fn new(source_port: u16, destination_port: u16, flags: u8) -> Self {
        let acknowledgement = if flags & tcp::ACK == 0 { 0 } else { DEFAULT_SEQUENCE + 1 };
        Self { source_port, destination_port, flags, sequence: DEFAULT_SEQUENCE, acknowledgement, data: 0 }
    }

    fn reply(&self) -> Option<Self> {
        if self.flags & tcp::RST != 0 {
            return None;
        }
        let flags = match self.flags & (tcp::SYN | tcp::FIN | tcp::ACK) {
            tcp::SYN => tcp::SYN | tcp::ACK,
            _ => tcp::ACK,
        };
        let mut reply = Self::new(self.destination_port, self.source_port, flags);
        if self.flags & tcp::SYN != 0 {
            reply.acknowledgement = self.sequence.wrapping_add(1);
        }
        Some(reply)
    }
}

/// Type of the reply to an ICMP query (RFC 792, RFC 950, RFC 4443).
fn reply_type(icmp_type: u8, is_ipv6: bool) -> Option<u8> {
    match (icmp_type, is_ipv6) {
        (8, false) => Some(0),
        (13 | 15 | 17, false) => Some(icmp_type + 1),
        (128, true) => Some(129),
        _ => None,
    }
}
