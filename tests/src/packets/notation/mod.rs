//! Frames as text, in the notation of the conformance table (`docs/semantics.md`, §6.1).
//!
//! ```text
//! tcp C:40000>E:22 SYN                      flags joined by +; ACK where none are given
//! udp D:53>E:5353 data=40
//! icmp C>E 8/0 id=7                         icmpv6 for IPv6
//! icmp R>E 3/4 quoting (tcp E:40000>D:443)
//! 47 C>E                                    any other protocol by number
//! arp
//! ethertype 88cc
//! ```
//!
//! Words that may follow: `data=N`, `seq=N`, `ack=N`, `hop=N`, `options=N` (bytes of IPv4 options), `ext=hbh,dst,rh0,
//! rh2,ah,mob,atomic`, `frag=first:ID`, `frag=later:ID@OFFSET`, `quote=N` (bytes quoted), `vlan=8100.5,88a8.7`; and
//! on purpose wrong: `ihl=4` (an impossible header length), `claims=N` (bytes more than there are), `cut=N` (bytes of
//! the transport header, fewer than all).
//! Addresses are literals (`[2001:db8::1]:22` where a port follows) or the names of [`HOSTS`].

mod display;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Content, Extension, Fragment, Frame, IcmpBody, Packet, Segment, Transport, VlanTag, WHOLE_QUOTE,
    protocol, tcp,
};

/// The hosts of the fixture (`docs/semantics.md`, §6.1), and R, a router between them.
pub const HOSTS: &[(&str, IpAddr)] = &[
    ("C", IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5))),
    ("C6", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 5))),
    ("D", IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7))),
    ("D2", IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8))),
    ("D6", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, 7))),
    ("E", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10))),
    ("E6", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10))),
    ("N", IpAddr::V4(Ipv4Addr::new(10, 0, 1, 21))),
    ("R", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    ("R6", IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 1))),
];

const EXTENSIONS: [(&str, Extension); 8] = [
    ("hbh", Extension::HopByHop),
    ("dst", Extension::DestinationOptions),
    ("rh0", Extension::Routing(0)),
    ("rh2", Extension::Routing(2)),
    ("rh4", Extension::Routing(4)),
    ("ah", Extension::Authentication),
    ("mob", Extension::Mobility),
    ("atomic", Extension::AtomicFragment),
];

/// Reads a frame.
///
/// # Errors
///
/// Text that is not in the notation, or describes no frame that could be built.
pub fn parse_frame(text: &str) -> Result<Frame> {
    let text = text.trim();
    let (words, tags) = take_tags(text)?;
    let content = match words.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["arp"] => Content::Arp,
        ["ethertype", number] => Content::Other {
            ethertype: u16::from_str_radix(number, 16).with_context(|| format!("Ethertype {number}"))?,
        },
        _ => Content::Ip(parse_packet(&words)?),
    };
    Ok(Frame { tags, content })
}

/// Reads an address: a literal or the name of one of [`HOSTS`].
///
/// # Errors
///
/// Anything else.
pub fn parse_address(text: &str) -> Result<IpAddr> {
    if let Some((_, address)) = HOSTS.iter().find(|(name, _)| *name == text) {
        return Ok(*address);
    }
    text.parse().with_context(|| format!("`{text}` is neither an address nor a host of the fixture"))
}

fn take_tags(text: &str) -> Result<(String, Vec<VlanTag>)> {
    let mut tags = Vec::new();
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let Some(list) = word.strip_prefix("vlan=") else {
            words.push(word);
            continue;
        };
        for tag in list.split(',') {
            let (ethertype, vlan) = tag.split_once('.').context("a tag is ETHERTYPE.VLAN")?;
            tags.push(VlanTag { ethertype: u16::from_str_radix(ethertype, 16)?, vlan: vlan.parse()? });
        }
    }
    Ok((words.join(" "), tags))
}

/// Reads an IP packet.
fn parse_packet(text: &str) -> Result<Packet> {
    let (text, quoted) = match text.split_once(" quoting (") {
        Some((head, quoted)) => (head, Some(quoted.strip_suffix(')').context("no `)` after the quote")?)),
        None => (text, None),
    };
    let mut words = text.split_whitespace();
    let kind = words.next().context("an empty packet")?;
    let ends = words.next().context("no SOURCE>DESTINATION")?;
    let (source, destination) =
        ends.split_once('>').with_context(|| format!("`{ends}` is no SOURCE>DESTINATION"))?;
    let ((source, source_port), (destination, destination_port)) =
        (parse_end(source)?, parse_end(destination)?);
    ensure!(source.is_ipv6() == destination.is_ipv6(), "`{ends}` mixes two families");
    let ports = source_port.zip(destination_port);
    let mut transport = parse_transport(kind, ports, source.is_ipv6())?;
    if let Some(quoted) = quoted {
        let packet = Box::new(parse_packet(quoted)?);
        let Transport::Icmp { body, .. } = &mut transport else { bail!("only ICMP quotes packets") };
        *body = IcmpBody::Quote { packet, bytes: WHOLE_QUOTE };
    }
    let mut packet = Packet::new(source, destination, transport);
    for word in words {
        parse_word(&mut packet, word).with_context(|| format!("`{word}` in `{text}`"))?;
    }
    Ok(packet)
}

fn parse_end(text: &str) -> Result<(IpAddr, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) =
            rest.split_once("]:").with_context(|| format!("`{text}` is no [ADDRESS]:PORT"))?;
        return Ok((parse_address(address)?, Some(port.parse()?)));
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => Ok((parse_address(address)?, Some(port.parse()?))),
        _ => Ok((parse_address(text)?, None)),
    }
}

fn parse_transport(kind: &str, ports: Option<(u16, u16)>, is_ipv6: bool) -> Result<Transport> {
    if let "tcp" | "udp" = kind {
        let (source_port, destination_port) = ports.with_context(|| format!("{kind} needs ports"))?;
        return Ok(match kind {
            "tcp" => Transport::Tcp(Segment::new(source_port, destination_port, tcp::ACK)),
            _ => Transport::Udp { source_port, destination_port, data: 0 },
        });
    }
    ensure!(ports.is_none(), "{kind} has no ports");
    match (kind, is_ipv6) {
        ("icmp", false) | ("icmpv6", true) => {
            Ok(Transport::Icmp { icmp_type: 0, code: 0, body: IcmpBody::Identifier(1) })
        }
        ("icmp" | "icmpv6", _) => bail!("{kind} between addresses of the other family"),
        _ => {
            let protocol = kind.parse().with_context(|| format!("protocol `{kind}`"))?;
            ensure!(
                !matches!(protocol, protocol::TCP | protocol::UDP),
                "protocol {protocol} is written by name"
            );
            Ok(Transport::Other { protocol, data: 8 })
        }
    }
}

fn parse_word(packet: &mut Packet, word: &str) -> Result<()> {
    let Some((key, value)) = word.split_once('=') else {
        return parse_bare_word(&mut packet.transport, word);
    };
    match (key, &mut packet.transport) {
        ("hop", _) => packet.hop_limit = value.parse()?,
        ("options", _) => packet.options = value.parse()?,
        ("ext", _) => {
            for name in value.split(',') {
                let known = EXTENSIONS.iter().find(|(known, _)| *known == name);
                packet.extensions.push(known.with_context(|| format!("extension header `{name}`"))?.1);
            }
        }
        ("frag", _) => packet.fragment = parse_fragment(value)?,
        ("ihl", _) => {
            let words = value.parse()?;
            ensure!(words < 5 && packet.source.is_ipv4(), "only an IPv4 header length below 5 is wrong");
            packet.flaws.header_words = Some(words);
        }
        ("claims", _) => packet.flaws.claimed_bytes = value.parse()?,
        ("cut", transport) => {
            let bytes = value.parse()?;
            ensure!(bytes < transport.header_length(), "the transport header is no longer than that");
            packet.flaws.transport_bytes = Some(bytes);
        }
        ("seq", Transport::Tcp(segment)) => segment.sequence = value.parse()?,
        ("ack", Transport::Tcp(segment)) => segment.acknowledgement = value.parse()?,
        ("data", Transport::Tcp(segment)) => segment.data = value.parse()?,
        ("data", Transport::Udp { data, .. } | Transport::Other { data, .. }) => *data = value.parse()?,
        ("id", Transport::Icmp { body: IcmpBody::Identifier(identifier), .. }) => {
            *identifier = value.parse()?
        }
        ("quote", Transport::Icmp { body: IcmpBody::Quote { bytes, .. }, .. }) => *bytes = value.parse()?,
        _ => bail!("not a word of this kind of packet"),
    }
    Ok(())
}

/// TCP flags, or an ICMP type and code.
fn parse_bare_word(transport: &mut Transport, word: &str) -> Result<()> {
    match transport {
        Transport::Tcp(segment) => {
            let mut flags = 0;
            for name in word.split('+').filter(|name| *name != "NONE") {
                let known = tcp::NAMES.iter().find(|(_, known)| *known == name);
                flags |= known.with_context(|| format!("TCP flag `{name}`"))?.0;
            }
            *segment = Segment::new(segment.source_port, segment.destination_port, flags);
        }
        Transport::Icmp { icmp_type, code, .. } => {
            let (left, right) = word.split_once('/').context("not TYPE/CODE")?;
            (*icmp_type, *code) = (left.parse()?, right.parse()?);
        }
        _ => bail!("not a word of this kind of packet"),
    }
    Ok(())
}

fn parse_fragment(text: &str) -> Result<Fragment> {
    if let Some(identification) = text.strip_prefix("first:") {
        return Ok(Fragment::First { identification: identification.parse()? });
    }
    let rest = text.strip_prefix("later:").context("a fragment is first:ID or later:ID@OFFSET")?;
    let (identification, offset) = rest.split_once('@').context("a later fragment is later:ID@OFFSET")?;
    let offset: u16 = offset.parse()?;
    ensure!(offset > 0 && offset.is_multiple_of(8), "offset {offset} is not a positive multiple of 8");
    Ok(Fragment::Later { identification: identification.parse()?, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_frame_are_two_forms_of_one_thing() {
        for text in [
            "tcp C:40000>E:22 SYN+ACK seq=5 ack=6 data=7",
            "tcp C6:40000>E6:22 NONE ext=hbh,dst,rh0,ah,mob,atomic frag=later:3@64",
            "udp C:40000>E:53 data=7 options=8 frag=first:9",
            "icmp R>E 3/4 quote=28 quoting (tcp E:40000>D:443 SYN hop=3)",
            "icmpv6 C6>E6 135/0 hop=255",
            "tcp C:1>E:2 SYN ihl=4 claims=100 cut=8",
            "47 10.0.0.1>E hop=1 vlan=88a8.5,8100.7",
            "arp vlan=8100.0",
            "ethertype 88cc",
        ] {
            let frame = parse_frame(text).unwrap();
            assert_eq!(parse_frame(&frame.to_string()).unwrap(), frame, "{text} became {frame}");
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for text in [
            "",
            "tcp C>E SYN",
            "tcp C:1>E6:2",
            "icmp C6>E6 8/0",
            "47 C:1>E:2",
            "6 C>E",
            "tcp C:1>E:2 SIN",
            "udp C:1>E:2 ack=3",
            "udp C:1>E:2 frag=later:1@9",
            "udp X:1>E:2",
        ] {
            assert!(parse_frame(text).is_err(), "`{text}` was read");
        }
    }
}
